//! A tower layer that lets only requests with a valid token pass, for axum and any other stack on `tower::Service`.

use crate::{Claims, Rejection, TokenVerifier};
use artstore_metrics::{Clock, SystemClock};
use http::{HeaderMap, Request, Response, StatusCode, header};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// SHA-256 of the certificate that the client showed on this connection. Whoever ends TLS puts it into the request's extensions;
/// without it, tokens that are bound to a certificate (RFC 8705) are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientCertificate(pub [u8; 32]);

/// A layer that demands a bearer token with a scope. The token's [`Claims`] are in the extensions of the request that it passes on.
///
/// It answers as RFC 6750 wants, with an empty body and `WWW-Authenticate`: 401 without a valid token, 403 without the scope;
/// 503 while the issuer's keys cannot be had, which is no fault of the token.
///
/// ```
/// use artstore_auth::{Algorithm, Claims, JwksSource, KeySet, RequireToken, TokenVerifier, VerifierSettings};
/// use artstore_metrics::SystemClock;
/// use axum::{Extension, Router, routing::get};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let jwks = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
/// let keys = std::sync::Arc::new(KeySet::parse(jwks, &Algorithm::ALL)?);
/// let source = JwksSource::Local(std::sync::Arc::new(move || keys.clone()));
/// let settings = VerifierSettings::new("https://issuer.example", "my-api", source);
/// let verifier = TokenVerifier::new(settings, None, SystemClock::new())?;
///
/// let app: Router = Router::new()
///     .route("/who", get(|Extension(claims): Extension<Claims>| async move { claims.sub }))
///     .layer(RequireToken::new(verifier, "files:read"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RequireToken<C: Clock = SystemClock> {
    verifier: TokenVerifier<C>,
    scope: Arc<str>,
    realm: Arc<str>,
}

impl<C: Clock> RequireToken<C> {
    /// Demands a token that this verifier accepts and that allows `scope`.
    #[must_use]
    pub fn new(verifier: TokenVerifier<C>, scope: impl Into<Arc<str>>) -> Self {
        Self { verifier, scope: scope.into(), realm: "artstore".into() }
    }

    /// The same with a name of your own for what is protected, in place of `artstore`; it has neither quotes nor backslashes.
    #[must_use]
    pub fn realm(mut self, realm: impl Into<Arc<str>>) -> Self {
        self.realm = realm.into();
        self
    }

    async fn claims(&self, headers: &HeaderMap, certificate: Option<ClientCertificate>) -> Result<Claims, Rejection> {
        let certificate = certificate.map(|certificate| certificate.0);
        self.verifier.authenticate_over(headers, &self.scope, certificate.as_ref()).await
    }
}

impl<S, C: Clock> Layer<S> for RequireToken<C> {
    type Service = TokenRequired<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        TokenRequired { inner, require: self.clone() }
    }
}

/// The service that [`RequireToken`] makes.
#[derive(Debug, Clone)]
pub struct TokenRequired<S, C: Clock = SystemClock> {
    inner: S,
    require: RequireToken<C>,
}

impl<S, C, RequestBody, ResponseBody> Service<Request<RequestBody>> for TokenRequired<S, C>
where
    C: Clock,
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>> + Clone + Send + 'static,
    S::Future: Send,
    RequestBody: Send + 'static,
    ResponseBody: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        // The one that is ready is taken, and a fresh clone stays.
        let fresh = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, fresh);
        let require = self.require.clone();
        Box::pin(async move {
            let (mut head, body) = request.into_parts();
            let certificate = head.extensions.get::<ClientCertificate>().copied();
            match require.claims(&head.headers, certificate).await {
                Ok(claims) => {
                    head.extensions.insert(claims);
                    ready.call(Request::from_parts(head, body)).await
                }
                Err(rejection) => Ok(refusal(&rejection, &require.realm)),
            }
        })
    }
}

fn refusal<B: Default>(rejection: &Rejection, realm: &str) -> Response<B> {
    let mut response = Response::new(B::default());
    *response.status_mut() = match rejection {
        Rejection::KeysUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        Rejection::MissingToken | Rejection::InvalidToken(_) | Rejection::InsufficientScope { .. } => {
            rejection.status()
        }
    };
    if let Some(challenge) = rejection.challenge(realm) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}
