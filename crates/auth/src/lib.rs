//! OAuth 2.0 client credentials: a service that keeps one token, a verifier for incoming ones, and their metrics.
//!
//! [`AuthService`] gets one access token for one set of scopes from the Admin Module and keeps it fresh; the callers of
//! [`AuthService::access_token`] are served from its cache. [`TokenVerifier`] checks the tokens that come in with requests.
//! Neither opens a socket: both take a [`Transport`], which is any `tower::Service` for HTTP requests.
//!
//! What they count is declared in [`metrics`]; every failure is one of [`AuthErrorType`].

mod acquire;
mod claims;
mod error;
mod exchange;
#[cfg(feature = "http")]
mod http_transport;
mod instance;
mod jwks;
mod jws;
mod keys;
pub mod metrics;
mod random;
mod rejection;
mod response;
mod secret;
mod service;
mod settings;
mod state;
mod taxonomy;
mod token;
mod transport;
mod verifier;

pub use claims::{Claims, ExpectedClaims};
pub use error::AuthError;
#[cfg(feature = "http")]
pub use http_transport::http_transport;
pub use instance::{AdminInstance, InstanceError};
pub use jwks::JwksSource;
pub use keys::{Algorithm, KeySet, KeySetError};
pub use metrics::{AuthMetrics, cache_hit_rate};
pub use rejection::{Rejection, bearer};
pub use secret::SecretSource;
pub use service::AuthService;
pub use settings::{AuthSettings, Backoff, SettingsError, TokenEndpoint};
pub use state::{AuthState, TokenState};
pub use taxonomy::{AuthErrorType, classify_auth_error};
pub use token::AccessToken;
pub use transport::{BoxError, RequestBody, ResponseBody, Transport, TransportError, read_limited};
pub use verifier::{TokenVerifier, VerifierSettings, VerifyError};
