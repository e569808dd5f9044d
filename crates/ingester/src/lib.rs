//! The Ingester Module: checks the client, chooses an element, streams, answers. It keeps nothing, in memory or on disk.

pub mod digest;
mod directory;
mod element;
pub mod failure;
mod feed;
pub mod fields;
pub mod form;
pub mod metrics;
mod peer;
pub mod pipeline;
pub mod session;
mod settings;
pub mod source;
pub mod structured;

pub use failure::Failure;
pub use settings::IngesterSettings;
