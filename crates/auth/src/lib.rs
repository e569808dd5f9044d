//! OAuth 2.0 client credentials: a service that keeps one token, a verifier for incoming ones, and their metrics.
//!
//! [`AuthService`] gets one access token for one set of scopes from the Admin Module and keeps it fresh; the callers of
//! [`AuthService::access_token`] are served from its cache. [`TokenVerifier`] checks the tokens that come in with requests.
//! Neither opens a socket: both take a [`Transport`], which is any `tower::Service` for HTTP requests.
//!
//! ```
//! # use artstore_auth::{AdminInstance, AuthMetrics, AuthService, AuthSettings, RequestBody, ResponseBody, SecretSource};
//! # use artstore_auth::{Transport, TransportError};
//! # use artstore_metrics::{Registry, SystemClock};
//! # use http_body_util::{BodyExt, Full};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // With the feature `http`, `http_transport(client)` makes one from the pooled client of artstore-http.
//! let transport = Transport::new(tower::service_fn(async |_: http::Request<RequestBody>| {
//!     let answer = r#"{"access_token": "abc", "token_type": "Bearer", "expires_in": 1800}"#;
//!     let body: ResponseBody = Full::from(answer).map_err(|never| match never {}).boxed_unsync();
//!     Ok::<_, TransportError>(http::Response::new(body))
//! }));
//! let instances = vec![AdminInstance::parse("https://127.0.0.1:8000")?];
//! let metrics = AuthMetrics::new(&Registry::new(), &instances, SystemClock::new());
//! let settings = AuthSettings::new("ingester", SecretSource::File("/run/secrets/ingester".into()), instances);
//! # let settings = AuthSettings { authentication: SecretSource::inline("s").into(), ..settings };
//! let service = AuthService::new(settings, transport, metrics, SystemClock::new())?;
//!
//! let token = service.access_token().await?;
//! assert_eq!(token.authorization(), "Bearer abc");
//! // After a resource server's 401: service.invalidate(token.generation()), and once more from the start.
//! # Ok(())
//! # }
//! ```
//!
//! What they count is declared in [`metrics`]; every failure is one of [`AuthErrorType`].
//!
//! # Asking
//!
//! [`ClientAuthentication`] says how the client shows who it is, [`TokenEndpoint`] where tokens are asked for; both have the Admin
//! Module's ways as their defaults. For issuers that nobody here wrote there are [`Discovery`] (RFC 8414) and
//! [`AuthSettings::parameters`].
//!
//! # Checking what comes back
//!
//! An answer is taken only if it is JSON with a bearer token, a lifetime of 1 to 10^9 seconds, and no scope less than was asked for.
//! What the token says of itself is checked as far as one asks for it:
//!
//! | how | `alg` | `typ`, `crit` | `iss`, `aud` | `iat`, `nbf`, `exp` | signature |
//! |---|---|---|---|---|---|
//! | [`AuthSettings::expected`] is `None` (opaque tokens) | no | no | no | no | no |
//! | [`AuthSettings::expected`] | yes | yes | yes | yes | no: it came from the issuer over TLS |
//! | [`AuthService::with_verifier`] | yes | yes | yes | yes | yes |
//!
//! # Letting requests in
//!
//! [`TokenVerifier`] closes the known traps (algorithm confusion, embedded keys, missing or repeated claims, fractional times, unknown
//! `crit`): a token must be an RFC 9068 access token. [`RequireToken`] is the verifier as a tower layer, for axum and others.
//!
//! # Features
//!
//! - `http`: [`http_transport`](https://docs.rs/artstore-auth/latest/artstore_auth/fn.http_transport.html), the transport over the pooled
//!   client of `artstore-http`. Off by default: any `tower::Service` will do.

mod acquire;
mod assertion;
mod cache;
mod claims;
mod client_auth;
mod discovery;
mod error;
mod exchange;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "http")]
mod http_transport;
mod identity;
mod instance;
mod jwks;
mod jws;
mod keys;
pub mod metrics;
mod progress;
mod public_key;
mod random;
mod rejection;
mod require_token;
mod response;
mod secret;
mod service;
mod settings;
mod signing;
mod state;
mod taxonomy;
mod token;
mod transport;
mod verifier;

pub use assertion::{AssertionRules, ClientAssertion, MAX_ASSERTION_BYTES, MAX_JTI_BYTES};
pub use claims::{Claims, ExpectedClaims};
pub use client_auth::{AssertionAudience, ClientAuthentication, PrivateKeyJwt};
pub use discovery::{Discovery, DiscoverySettings};
pub use error::AuthError;
#[cfg(feature = "http")]
pub use http_transport::http_transport;
pub use instance::{AdminInstance, InstanceError};
pub use jwks::JwksSource;
pub use keys::{Algorithm, KeySet, KeySetError};
pub use metrics::{AuthMetrics, cache_hit_rate};
pub use public_key::PublicKey;
pub use rejection::{Rejection, bearer};
pub use require_token::{ClientCertificate, RequireToken, TokenRequired};
pub use secret::SecretSource;
pub use service::AuthService;
pub use settings::{AuthSettings, Backoff, SettingsError, TokenEndpoint};
pub use signing::{SigningError, SigningKey};
pub use state::{AuthState, TokenState};
pub use taxonomy::{AuthErrorType, classify_auth_error};
pub use token::AccessToken;
pub use transport::{BoxError, RequestBody, ResponseBody, Transport, TransportError, read_limited};
pub use verifier::{TokenVerifier, VerifierSettings, VerifyError};

/// The README's code is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
