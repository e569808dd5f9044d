//! The Admin Module: issues tokens, publishes keys, keeps accounts, the list of elements and the index of files.

mod accounts;
mod elements;
mod issuer;
mod jwk;
mod keys;
pub mod metrics;
mod module;
mod rebuild;
mod routes;
mod secret;
mod settings;
mod signing;
mod store;
mod token_request;

#[cfg(test)]
mod tests;

pub use accounts::AccountError;
pub use keys::{KeyError, generate_key_file};
pub use metrics::AdminMetrics;
pub use module::{Admin, OpenError};
pub use rebuild::RebuiltElement;
pub use routes::AccountPage;
pub use secret::{MIN_GIVEN_SECRET_CHARS, NoRandomness};
pub use settings::{AdminSettings, Database, SigningAlgorithm};
pub use signing::SigningError;
pub use store::StoreError;
