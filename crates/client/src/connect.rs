//! From addresses, files and an account to a [`Session`]: the pooled mutual-TLS client and the `AuthService`, put together.

use crate::error::Error;
use crate::session::Session;
use crate::settings::{BaseUrl, Limits};
use crate::token::{Bearer, TokenError, TokenSource};
use crate::wire::BoxFuture;
use artstore_auth::{
    AccessToken, AdminInstance, AuthError, AuthErrorType, AuthMetrics, AuthService, AuthSettings, Backoff,
    SecretSource, http_transport,
};
use artstore_http::{Client, ClientSettings, HttpClientMetrics};
use artstore_metrics::{Clock, LabelValue as _, Registry, SystemClock, UnixTime};
use artstore_tls::{
    CertificateMetrics, Connector, ConnectorMetrics, ConnectorSettings, IdentityFiles, SetupError, TrustFile,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Longer than any stall that a session may allow.
const LONGEST_STALL: Duration = Duration::from_secs(24 * 3600);

/// What a [`Connection`] needs to know.
#[derive(Debug, Clone)]
pub struct ConnectSettings {
    /// The instances of the Admin Module, tried in turn.
    pub admin: Vec<BaseUrl>,
    /// The authorities that vouch for the servers; without them only plain HTTP to this machine is possible.
    pub ca_cert: Option<PathBuf>,
    /// A certificate and its key to show to the servers.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The service account.
    pub client_id: String,
    /// Its secret.
    pub secret: SecretSource,
    /// The scopes to ask for; none means all that the account has.
    pub scope: Vec<String>,
}

/// Why a connection cannot be set up. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A certificate or a key cannot be used.
    #[error(transparent)]
    Tls(#[from] SetupError),
    /// A setting is wrong.
    #[error("{0}")]
    Settings(String),
}

/// The pooled client and the token service of one account, for any number of sessions.
#[derive(Debug, Clone)]
pub struct Connection<C: Clock = SystemClock> {
    client: Client<C>,
    auth: AuthService<C>,
    clock: C,
}

/// An access token as text, for callers that carry it elsewhere.
#[derive(Debug, Clone)]
pub struct AccessTokenText {
    /// The token.
    pub token: SecretString,
    /// What it allows, by its own claims; `None` if they cannot be read.
    pub scope: Option<String>,
    /// When it ends, by its own claims; `None` if they cannot be read.
    pub expires_at: Option<UnixTime>,
    /// How long until then.
    pub expires_in: Option<Duration>,
}

impl Connection {
    /// Loads certificates and sets everything up, on the machine's clocks. Sends nothing yet.
    ///
    /// # Errors
    /// If a file or a setting cannot be used.
    pub fn open(settings: ConnectSettings) -> Result<Self, ConnectError> {
        Self::open_with(settings, &Registry::new(), SystemClock::new())
    }

    /// As [`Connection::open`], with these pauses after a token could not be had.
    ///
    /// # Errors
    /// If a file or a setting cannot be used.
    pub fn open_pausing(settings: ConnectSettings, backoff: Backoff) -> Result<Self, ConnectError> {
        Self::build(settings, backoff, &Registry::new(), SystemClock::new())
    }
}

impl<C: Clock> Connection<C> {
    /// As [`Connection::open`], measuring into `registry`, on another clock.
    ///
    /// # Errors
    /// If a file or a setting cannot be used.
    pub fn open_with(settings: ConnectSettings, registry: &Registry, clock: C) -> Result<Self, ConnectError> {
        Self::build(settings, Backoff::default(), registry, clock)
    }

    fn build(settings: ConnectSettings, backoff: Backoff, registry: &Registry, clock: C) -> Result<Self, ConnectError> {
        let connector = connector(&settings, registry, &clock)?;
        // A session has its own limit for a stalled body, and says so in its own words.
        let client_settings = ClientSettings { read_timeout: LONGEST_STALL, ..ClientSettings::default() };
        let client = Client::new(client_settings, connector, HttpClientMetrics::new(registry), clock.clone());
        let auth = auth(settings, backoff, &client, registry, &clock)?;
        Ok(Self { client, auth, clock })
    }

    /// A session with the Ingester at `base`.
    #[must_use]
    pub fn session(&self, base: BaseUrl, limits: Limits) -> Session {
        Session::new(base, self.client.clone(), ServiceTokens::new(self.auth.clone()), limits)
    }

    /// An access token as text.
    ///
    /// # Errors
    /// [`Error::Token`] if there is none.
    pub async fn access_token(&self) -> Result<AccessTokenText, Error> {
        let token = self.auth.access_token().await.map_err(|error| Error::Token(token_error(&error)))?;
        Ok(as_text(&token, self.clock.wall()))
    }
}

fn connector<C: Clock>(
    settings: &ConnectSettings,
    registry: &Registry,
    clock: &C,
) -> Result<Option<Connector<C>>, ConnectError> {
    let Some(ca_cert) = &settings.ca_cert else {
        let plain = settings.admin.iter().all(|url| url.as_str().starts_with("http:"));
        let missing =
            "https needs the certificates of the authorities to trust: set ARTSTORE_CA_CERT or give --ca-cert";
        return if plain { Ok(None) } else { Err(ConnectError::Settings(missing.to_owned())) };
    };
    let trust = TrustFile(ca_cert.clone()).load()?;
    let identity = match settings.identity.clone() {
        Some((cert, key)) => Some(IdentityFiles { cert, key }.load()?),
        None => None,
    };
    let settings = ConnectorSettings { identity, ..ConnectorSettings::new(trust) };
    let metrics = ConnectorMetrics::new(registry, &settings.policy, CertificateMetrics::new(registry, clock.clone()));
    Ok(Some(Connector::new(settings, metrics, clock.clone())?))
}

fn auth<C: Clock>(
    settings: ConnectSettings,
    backoff: Backoff,
    client: &Client<C>,
    registry: &Registry,
    clock: &C,
) -> Result<AuthService<C>, ConnectError> {
    let wrong = |text: String| ConnectError::Settings(text);
    let instances = settings
        .admin
        .iter()
        .map(|url| AdminInstance::parse(url.as_str()).map_err(|error| wrong(format!("{url}: {error}"))))
        .collect::<Result<Vec<_>, _>>()?;
    let metrics = AuthMetrics::new(registry, &instances, clock.clone());
    let mut auth = AuthSettings::new(settings.client_id, settings.secret, instances);
    auth.scope = settings.scope;
    auth.backoff = backoff;
    let transport = http_transport(client.clone());
    AuthService::new(auth, transport, metrics, clock.clone()).map_err(|error| wrong(error.to_string()))
}

/// The tokens of an [`AuthService`]; it remembers the last one, to be able to say that it was refused.
struct ServiceTokens<C: Clock> {
    service: AuthService<C>,
    last: Mutex<Option<AccessToken>>,
}

impl<C: Clock> ServiceTokens<C> {
    const fn new(service: AuthService<C>) -> Self {
        Self { service, last: Mutex::new(None) }
    }
}

impl<C: Clock> TokenSource for ServiceTokens<C> {
    fn token(&self) -> BoxFuture<'_, Result<Bearer, TokenError>> {
        Box::pin(async move {
            let token = self.service.access_token().await.map_err(|error| token_error(&error))?;
            let bearer = Bearer { authorization: token.authorization(), generation: token.generation() };
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
            Ok(bearer)
        })
    }

    fn invalidate(&self, generation: u64) {
        self.service.invalidate(generation);
    }

    fn rejected(&self, generation: u64) {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(token) = last.filter(|token| token.generation() == generation) {
            let error = self.service.resource_rejected(&token);
            tracing::debug!(%error, "a fresh token was refused");
        }
    }
}

fn token_error(error: &AuthError) -> TokenError {
    let kind = error.kind();
    let (refused, retryable) = match kind {
        AuthErrorType::InvalidClient
        | AuthErrorType::UnauthorizedClient
        | AuthErrorType::InvalidScope
        | AuthErrorType::InvalidRequest
        | AuthErrorType::TokenInvalid
        | AuthErrorType::ResourceRejected => (true, false),
        AuthErrorType::Connect
        | AuthErrorType::Timeout
        | AuthErrorType::Transport
        | AuthErrorType::RateLimited
        | AuthErrorType::ServerError
        | AuthErrorType::JwksUnavailable => (false, true),
        AuthErrorType::Dns
        | AuthErrorType::Tls
        | AuthErrorType::UnexpectedStatus
        | AuthErrorType::MalformedResponse
        | AuthErrorType::ClockSkew
        | AuthErrorType::Internal => (false, false),
    };
    let place = error.instance().map(|instance| format!(" from {instance}")).unwrap_or_default();
    let detail = error.detail().trim_start_matches(kind.as_str()).trim_start_matches(": ");
    TokenError { kind: kind.as_str(), detail: format!("{kind}{place}: {detail}"), refused, retryable }
}

/// The claims that a client may read of its own token, without trusting them.
#[derive(serde::Deserialize)]
struct OwnClaims {
    exp: Option<u64>,
    scope: Option<String>,
}

fn as_text(token: &AccessToken, now: UnixTime) -> AccessTokenText {
    let header = token.authorization();
    let text = header.to_str().ok().and_then(|text| text.strip_prefix("Bearer ")).unwrap_or_default();
    let claims = own_claims(text);
    let expires_at = claims.as_ref().and_then(|claims| claims.exp).map(UnixTime::from_secs);
    AccessTokenText {
        token: text.to_owned().into(),
        scope: claims.and_then(|claims| claims.scope),
        expires_at,
        expires_in: expires_at.map(|at| at.since(now)),
    }
}

fn own_claims(token: &str) -> Option<OwnClaims> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_of_an_opaque_token_are_unknown() {
        assert!(own_claims("opaque").is_none());
        assert!(own_claims("a.!.c").is_none());
        let claims = own_claims(&format!("h.{}.s", URL_SAFE_NO_PAD.encode(r#"{"exp":12,"scope":"a b"}"#))).unwrap();
        assert_eq!((claims.exp, claims.scope.as_deref()), (Some(12), Some("a b")));
    }
}
