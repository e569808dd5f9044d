//! The Ingester Module: checks the client, chooses an element, streams, answers. It keeps nothing, in memory or on disk.
//!
//! # The life of an upload
//! [`form`] or [`fields`] and [`digest`] read what the client says; [`source`] gives its body, paced and with a limit on
//! silence; [`pipeline`] asks for the elements of the policy's mode, most free space first, and takes the first that says yes:
//! a body that fits the one-shot buffer goes by one request, a larger one by a [`session`]. Nothing is read ahead of what the
//! element takes. A session that ends any other way than by publishing is given up, also when its task is dropped; publishing
//! runs on when the client goes away, and an answer about it that is lost is looked for.
//!
//! # Choices
//! - An unknown form field or query parameter is refused, as is one that comes twice: a misspelt `retention_policy` must not
//!   store a file under another policy.
//! - A client that stalls gets `VALIDATION_ERROR` (400) and counts as `rejected`; one that breaks off counts as `cancelled`.
//! - Digest fields are verified for raw bodies. Those of a form would be about the form, not about the file, and are ignored.
//! - A record is read from the index and confirmed by its element, because the index may lag behind a deletion.
//! - With the index answering "no" and one element not answering at all, a file is `NOT_FOUND`; with the index away, too, it
//!   is `ELEMENT_UPLOAD_FAILED`: nobody knows.
//!
//! # Invariants
//! Only [`metrics`] moves a number. Only `peer` holds our token. Only [`failure`] decides code, outcome and log level.

mod app;
pub mod digest;
mod directory;
mod docs;
mod element;
pub mod failure;
mod feed;
pub mod fields;
mod files;
pub mod form;
mod health;
pub mod metrics;
pub mod openapi;
mod peer;
pub mod pipeline;
mod service;
pub mod session;
mod settings;
pub mod source;
pub mod structured;
mod upload;

pub use failure::Failure;
pub use metrics::IngesterMetrics;
pub use pipeline::UploadPipeline;
pub use service::{Ingester, IngesterDeps, OpenError};
pub use settings::IngesterSettings;
