//! The issuer's metadata (RFC 8414): where its token endpoint and its keys are, fetched when needed, kept when it is away.

use crate::jws::object;
use crate::response::retry_after;
use crate::transport::{RequestBody, Transport, read_limited};
use crate::{AdminInstance, AuthError, AuthErrorType, SettingsError, classify_auth_error};
use artstore_metrics::{Clock, Monotonic, UnixTime};
use futures_util::FutureExt as _;
use http::{Method, Request, StatusCode, Uri, header};
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tower::ServiceExt as _;

/// What a [`Discovery`] needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoverySettings {
    /// The issuer's identifier. The metadata must have exactly this `issuer`.
    pub issuer: String,
    /// The age at which metadata are fetched anew. 1 h.
    pub refresh_after: Duration,
    /// The age up to which metadata are used while they cannot be fetched. 24 h.
    pub max_stale: Duration,
    /// The least time between two fetches from one instance while older metadata serve. 30 s.
    pub cooldown: Duration,
    /// The limit of one fetch; half of what an exchange may take while older metadata serve. 10 s.
    pub timeout: Duration,
    /// The longest document that is read. 64 KiB.
    pub max_bytes: usize,
}

impl DiscoverySettings {
    /// Settings for this issuer with the defaults for the rest.
    #[must_use]
    pub fn new(issuer: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            refresh_after: Duration::from_secs(3600),
            max_stale: Duration::from_secs(24 * 3600),
            cooldown: Duration::from_secs(30),
            timeout: Duration::from_secs(10),
            max_bytes: 64 * 1024,
        }
    }
}

/// Finds an issuer's endpoints by its metadata. Clones share what was fetched, so give one to the service and to the verifier.
///
/// Each instance is asked at its own address, `/.well-known/oauth-authorization-server` before its path (RFC 8414 section 3.1).
/// An endpoint below the issuer's identifier is used at the instance that was asked, so that the instances of one issuer
/// stand in for each other; any other is used as it is. An endpoint without TLS is refused unless the instance has none.
///
/// A fetch that fails while older metadata serve is logged and counts nowhere: no exchange failed. Without any metadata the
/// exchange fails, with the fetch's kind of error and without a duration, since no token request was written.
#[derive(Clone)]
pub struct Discovery {
    shared: Arc<Shared>,
}

struct Shared {
    settings: DiscoverySettings,
    /// By the address that is asked.
    known: Mutex<HashMap<Uri, Known>>,
}

#[derive(Clone)]
struct Known {
    document: Arc<Document>,
    fetched: Monotonic,
    /// When to fetch anew: at `refresh_after`, earlier if it seems wrong, later after a failure.
    due: Monotonic,
}

/// What the metadata say.
#[derive(Debug)]
pub(crate) struct Document {
    token_endpoint: Option<Endpoint>,
    jwks_uri: Option<Endpoint>,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Where it is asked.
    pub(crate) url: Uri,
    /// How its issuer names it.
    pub(crate) published: String,
}

impl From<Uri> for Endpoint {
    fn from(url: Uri) -> Self {
        Self { published: url.to_string(), url }
    }
}

impl std::fmt::Debug for Discovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Discovery").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

impl Discovery {
    /// Nothing is fetched before it is needed.
    ///
    /// # Errors
    /// If the settings cannot work.
    pub fn new(settings: DiscoverySettings) -> Result<Self, SettingsError> {
        if settings.issuer.is_empty() {
            return Err(SettingsError::NoIssuerOrAudience);
        }
        if settings.timeout.is_zero() || settings.cooldown.is_zero() {
            return Err(SettingsError::ZeroLimit);
        }
        Ok(Self { shared: Arc::new(Shared { settings, known: Mutex::default() }) })
    }

    /// The token endpoint as this instance tells it, within so much time.
    pub(crate) async fn token_endpoint<C: Clock>(
        &self,
        instance: &AdminInstance,
        transport: &Transport,
        clock: &C,
        limit: Duration,
    ) -> Result<Endpoint, AuthError> {
        let document = self.document(instance, transport, clock, limit).await?;
        document.token_endpoint.clone().ok_or_else(|| malformed("the issuer's metadata name no usable token_endpoint"))
    }

    /// Where the keys are as this instance tells it, within so much time.
    pub(crate) async fn jwks_uri<C: Clock>(
        &self,
        instance: &AdminInstance,
        transport: &Transport,
        clock: &C,
        limit: Duration,
    ) -> Result<Uri, AuthError> {
        let document = self.document(instance, transport, clock, limit).await?;
        let endpoint = document.jwks_uri.as_ref();
        endpoint
            .map(|endpoint| endpoint.url.clone())
            .ok_or_else(|| malformed("the issuer's metadata name no usable jwks_uri"))
    }

    /// A request to an endpoint failed like this. If it may have moved, the metadata are fetched anew, but not again and again.
    pub(crate) fn failed(&self, instance: &AdminInstance, kind: AuthErrorType) {
        if may_have_moved(kind)
            && let Ok(url) = instance.metadata_url()
            && let Some(known) = self.lock().get_mut(&url)
        {
            known.due = known.due.min(known.fetched.plus(self.shared.settings.cooldown));
        }
    }

    async fn document<C: Clock>(
        &self,
        instance: &AdminInstance,
        transport: &Transport,
        clock: &C,
        limit: Duration,
    ) -> Result<Arc<Document>, AuthError> {
        let settings = &self.shared.settings;
        let url =
            instance.metadata_url().map_err(|error| AuthError::new(AuthErrorType::Internal, error.to_string()))?;
        let now = clock.monotonic();
        let known = self.lock().get(&url).filter(|known| now.since(known.fetched) < settings.max_stale).cloned();
        if let Some(known) = &known
            && now < known.due
        {
            return Ok(Arc::clone(&known.document));
        }
        // Older metadata are of use only if there is time left to use them.
        let limit = settings.timeout.min(if known.is_some() { limit / 2 } else { limit });
        let fetch = AssertUnwindSafe(self.fetch(url.clone(), instance, transport.clone(), clock.wall())).catch_unwind();
        let fetched = match tokio::time::timeout(limit, fetch).await {
            Err(_) => {
                let detail = format!("the issuer's metadata did not come within {limit:?}");
                Err(AuthError::new(AuthErrorType::Timeout, detail))
            }
            Ok(Err(_)) => Err(AuthError::new(AuthErrorType::Internal, "the transport panicked")),
            Ok(Ok(result)) => result,
        };
        let now = clock.monotonic();
        match (fetched, known) {
            (Ok(document), _) => {
                let document = Arc::new(document);
                let due = now.plus(settings.refresh_after);
                self.lock().insert(url, Known { document: Arc::clone(&document), fetched: now, due });
                Ok(document)
            }
            (Err(error), Some(known)) => {
                tracing::warn!(
                    error_type = error.kind().label(),
                    admin_module_url = instance.origin(),
                    "failed to fetch the issuer's metadata, older ones serve: {}",
                    error.detail()
                );
                if let Some(known) = self.lock().get_mut(&url) {
                    known.due = now.plus(settings.cooldown);
                }
                Ok(known.document)
            }
            (Err(error), None) => Err(error),
        }
    }

    async fn fetch(
        &self,
        url: Uri,
        instance: &AdminInstance,
        transport: Transport,
        now: UnixTime,
    ) -> Result<Document, AuthError> {
        let request = Request::builder()
            .method(Method::GET)
            .uri(url)
            .header(header::ACCEPT, "application/json")
            .body(RequestBody::empty())
            .map_err(|error| AuthError::new(AuthErrorType::Internal, error.to_string()))?;
        let of_transport = |error: crate::TransportError| {
            AuthError::new(error.kind, format!("the issuer's metadata: {}", error.detail))
        };
        let answer = transport.oneshot(request).await.map_err(of_transport)?;
        if answer.status() != StatusCode::OK {
            return Err(refusal(answer.status(), answer.headers(), now));
        }
        let max_bytes = self.shared.settings.max_bytes;
        let body = read_limited(answer.into_body(), max_bytes).await.map_err(of_transport)?;
        let body = body.ok_or_else(|| malformed("the issuer's metadata are longer than the limit"))?;
        Document::read(&body, &self.shared.settings.issuer, instance)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uri, Known>> {
        self.shared.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Document {
    pub(crate) fn read(body: &[u8], issuer: &str, instance: &AdminInstance) -> Result<Self, AuthError> {
        let members = object(body).ok_or_else(|| malformed("the issuer's metadata are not a JSON object"))?;
        let text = |name: &str| members.get(name).and_then(serde_json::Value::as_str);
        // RFC 8414 section 3.3: whoever could name another issuer could have its tokens taken for this one's.
        if text("issuer") != Some(issuer) {
            return Err(malformed("the issuer's metadata are of another issuer"));
        }
        let endpoint = |name| text(name).and_then(|url| endpoint(url, issuer, instance));
        Ok(Self { token_endpoint: endpoint("token_endpoint"), jwks_uri: endpoint("jwks_uri") })
    }

    #[cfg(any(fuzzing, test))]
    pub(crate) fn into_urls(self) -> [Option<Uri>; 2] {
        [self.token_endpoint, self.jwks_uri].map(|endpoint| endpoint.map(|endpoint| endpoint.url))
    }
}

/// Whether a failure says that there may be no endpoint any more. An issuer that is merely ailing is not asked more often for it.
const fn may_have_moved(kind: AuthErrorType) -> bool {
    match kind {
        AuthErrorType::Dns
        | AuthErrorType::Connect
        | AuthErrorType::Tls
        | AuthErrorType::UnexpectedStatus
        | AuthErrorType::MalformedResponse => true,
        AuthErrorType::Timeout
        | AuthErrorType::Transport
        | AuthErrorType::RateLimited
        | AuthErrorType::ServerError
        | AuthErrorType::InvalidClient
        | AuthErrorType::UnauthorizedClient
        | AuthErrorType::InvalidScope
        | AuthErrorType::InvalidRequest
        | AuthErrorType::TokenInvalid
        | AuthErrorType::ClockSkew
        | AuthErrorType::JwksUnavailable
        | AuthErrorType::ResourceRejected
        | AuthErrorType::Internal => false,
    }
}

/// An absolute URL that is as safe as the instance that told it.
fn endpoint(published: &str, issuer: &str, instance: &AdminInstance) -> Option<Endpoint> {
    let below = published.strip_prefix(issuer.trim_end_matches('/')).filter(|path| path.starts_with('/'));
    let url: Uri = match below {
        Some(path) => instance.url(path).ok()?,
        None => published.parse().ok()?,
    };
    // A URL may be well-formed and yet have no host, or a port that is no number: an instance has both, and no credentials.
    let place = AdminInstance::parse(&format!("{}://{}", url.scheme_str()?, url.authority()?)).ok()?;
    let safe = place.is_https() || !instance.is_https();
    (safe && !published.contains('#')).then(|| Endpoint { url, published: published.to_owned() })
}

fn malformed(detail: &'static str) -> AuthError {
    AuthError::new(AuthErrorType::MalformedResponse, detail)
}

/// A refusal to tell the metadata is no verdict about the client, whatever its status.
fn refusal(status: StatusCode, headers: &http::HeaderMap, now: UnixTime) -> AuthError {
    let kind = match classify_auth_error(status.as_u16(), None) {
        AuthErrorType::InvalidClient => AuthErrorType::UnexpectedStatus,
        kind => kind,
    };
    let detail = format!("the issuer answered {} instead of its metadata", status.as_u16());
    AuthError::new(kind, detail).with_retry_after(retry_after(headers, now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(document: &serde_json::Value, issuer: &str, instance: &str) -> Result<Document, AuthErrorType> {
        let instance = AdminInstance::parse(instance).unwrap();
        Document::read(document.to_string().as_bytes(), issuer, &instance).map_err(|error| error.kind())
    }

    fn token_endpoint(url: &str, issuer: &str, instance: &str) -> Option<String> {
        let document = json!({"issuer": issuer, "token_endpoint": url});
        read(&document, issuer, instance).unwrap().token_endpoint.map(|endpoint| endpoint.url.to_string())
    }

    #[test]
    fn an_endpoint_below_the_issuer_is_used_at_the_instance_and_another_as_it_is() {
        let cases = [
            ("https://i/token", "https://i", "https://a:1", "https://a:1/token"),
            ("https://i/x/token?y=1", "https://i/x/", "https://a:1/z", "https://a:1/z/token?y=1"),
            ("https://i/token", "https://i/x", "https://a:1", "https://i/token"),
            ("https://ii/token", "https://i", "https://a:1", "https://ii/token"),
            ("http://i/token", "http://i", "http://a:1", "http://a:1/token"),
            ("http://i/token", "http://i", "https://a:1", "https://a:1/token"),
            ("https://i2/token", "https://i", "http://a:1", "https://i2/token"),
        ];
        for (url, issuer, instance, expected) in cases {
            assert_eq!(token_endpoint(url, issuer, instance).as_deref(), Some(expected), "{url}");
        }
    }

    #[test]
    fn unsafe_endpoints_are_none() {
        for url in [
            "http://j/token",
            "ftp://j/token",
            "/token",
            "https://u:p@j/t",
            "https://j/t#f",
            "",
            "https://i@j/t",
            "https://:x.y/t",
            "https://:1/t",
            "https://j:/t",
            "https://j:99999/t",
            "*",
            "https:///t",
        ] {
            assert_eq!(token_endpoint(url, "https://i", "https://a:1"), None, "{url}");
        }
        assert_eq!(token_endpoint("ftp://j/t", "http://i", "http://a:1"), None);
    }

    #[test]
    fn only_the_exact_issuer_will_do() {
        for issuer in [json!("https://i/"), json!("https://I"), json!(null), json!(["https://i"]), json!("")] {
            let document = json!({"issuer": issuer, "token_endpoint": "https://i/token"});
            assert_eq!(read(&document, "https://i", "https://a").unwrap_err(), AuthErrorType::MalformedResponse);
        }
        let instance = AdminInstance::parse("https://a").unwrap();
        for body in ["", "[]", "{", r#"{"issuer":"https://j","issuer":"https://i"}"#] {
            assert!(Document::read(body.as_bytes(), "https://i", &instance).is_err(), "{body}");
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let refused = |change: fn(&mut DiscoverySettings)| {
            let mut settings = DiscoverySettings::new("https://i");
            change(&mut settings);
            Discovery::new(settings).unwrap_err()
        };
        assert_eq!(refused(|s| s.issuer.clear()), SettingsError::NoIssuerOrAudience);
        assert_eq!(refused(|s| s.timeout = Duration::ZERO), SettingsError::ZeroLimit);
        assert_eq!(refused(|s| s.cooldown = Duration::ZERO), SettingsError::ZeroLimit);
        assert!(format!("{:?}", Discovery::new(DiscoverySettings::new("https://i")).unwrap()).contains("https://i"));
    }
}
