//! The Storage Element: upload sessions, bytes, hashes and attributes; the truth about files.
//!
//! A [`BlobStore`](store::BlobStore) keeps bytes: in a folder ([`store::folder`]) or in a bucket of an S3-compatible engine
//! ([`store::s3`]). Nothing here knows end users: Ingesters come with a client certificate and a token for elements.

mod api;
mod element;
mod hash;
mod intake;
mod lease;
pub mod metrics;
mod outbox;
mod refusal;
mod report;
#[cfg(test)]
mod report_tests;
mod room;
mod settings;
pub mod store;
#[cfg(test)]
mod testing;
mod uploads;

pub use element::{Element, ElementDeps, OpenError};
pub use settings::{ElementSettings, S3Settings, StoreSettings};
