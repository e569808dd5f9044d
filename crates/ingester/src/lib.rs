//! The Ingester Module: checks the client, chooses an element, streams, answers. It keeps nothing, in memory or on disk.

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
