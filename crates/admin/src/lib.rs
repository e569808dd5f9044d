//! The Admin Module: issues tokens, publishes keys, keeps accounts, the list of elements and the index of files.
//!
//! [`Admin::open`] opens the database and the folder of keys, [`Admin::router`] is what a listener serves,
//! [`Admin::run_background`] does what time demands. Nothing here binds a socket.
//!
//! | path | scope | |
//! |---|---|---|
//! | `POST /oauth2/token` | – | client credentials (RFC 6749): secret, assertion (RFC 7523) or certificate (RFC 8705) |
//! | `POST /api/v1/auth/token` | – | the original's JSON form of it |
//! | `GET /oauth2/jwks`, `/.well-known/oauth-authorization-server` | – | published keys, metadata (RFC 8414) |
//! | `POST`, `GET /api/v1/service-accounts` | `accounts:admin` | create, list |
//! | `GET`, `PATCH`, `DELETE /api/v1/service-accounts/{client_id}` | `accounts:admin` | one; its keys, certificate, binding; its end |
//! | `POST …/{client_id}/rotate-secret`, `DELETE …/previous-secret`, `…/secrets` | `accounts:admin` | a second secret; the end of the first; of both |
//! | `POST …/{client_id}/suspend`, `…/activate` | `accounts:admin` | no new tokens; tokens again |
//! | `GET /api/v1/storage-elements?mode=&status=` | `elements:read` | the list |
//! | `PUT /api/v1/storage-elements/{element_id}` | `elements:report` | heartbeat |
//! | `POST /api/v1/files` | `elements:report` | a batch of changes, as often as one likes |
//! | `GET /api/v1/files`, `/api/v1/files/{file_id}` | `index:read` | the index |
//!
//! **Changing the signing key.** The folder of keys may hold several files; all are published. [`generate_key_file`] adds one
//! (so does `openssl genpkey`); the module finds it within [`key_check_interval`](AdminSettings::key_check_interval), publishes
//! it, and signs with it [`key_settle`](AdminSettings::key_settle) later, when every replica publishes it too and nobody keeps an
//! older set: of the keys of the configured algorithm the last in the order of file names signs. The old file may go
//! [`key_overlap`](AdminSettings::key_overlap) after that; [`SigningKeys`] tells when, and removes it then.

mod accounts;
mod authenticate;
mod credentials;
mod elements;
mod issuer;
mod jwk;
mod keys;
mod limiter;
pub mod metrics;
mod module;
mod rebuild;
mod routes;
mod secret;
mod settings;
mod signing_keys;
mod store;
mod token_request;

#[cfg(test)]
mod tests;

pub use accounts::AccountError;
pub use keys::{KeyError, generate_key_file};
pub use limiter::FailureLimits;
pub use metrics::AdminMetrics;
pub use module::{Admin, OpenError};
pub use rebuild::RebuiltElement;
pub use routes::AccountPage;
pub use secret::{MIN_GIVEN_SECRET_CHARS, NoRandomness};
pub use settings::{AdminSettings, Database};
pub use signing_keys::{KeyState, RetireError, SigningKeyInfo, SigningKeys};
pub use store::StoreError;
