//! The Ingester Module: checks the client, chooses an element, streams, answers. It keeps nothing, in memory or on disk.

pub mod digest;
pub mod failure;
pub mod fields;
pub mod form;
pub mod metrics;
mod settings;
pub mod source;
pub mod structured;

pub use failure::Failure;
pub use settings::IngesterSettings;
