//! Checking incoming tokens: signature by the issuer's keys, then every claim.

use crate::claims::{Claims, Expected};
use crate::jwks::{JwksLimits, JwksSource, RemoteKeys};
use crate::jws::Compact;
use crate::{Algorithm, AuthMetrics, KeySet, SettingsError};
use artstore_metrics::{Clock, SystemClock};
use std::sync::Arc;
use std::time::Duration;

/// What a [`TokenVerifier`] needs to know.
#[derive(Debug, Clone)]
pub struct VerifierSettings {
    /// The exact issuer of the tokens.
    pub issuer: String,
    /// The audience that must be among theirs.
    pub audience: String,
    /// The algorithms that are accepted. All of [`Algorithm`].
    pub algorithms: Vec<Algorithm>,
    /// How far `iat` and `nbf` may lie in the future, for clocks that differ. `exp` is exact: from that second on a token is
    /// refused. 10 s.
    pub leeway: Duration,
    /// Where the keys come from.
    pub jwks: JwksSource,
    /// The least time between a fetch of the keys and the next one because of an unknown key. 30 s.
    pub cooldown: Duration,
    /// The age at which keys are fetched anew, in the background. 600 s.
    pub refresh_after: Duration,
    /// The age up to which keys are used while the issuer cannot be reached. 24 h.
    pub max_stale: Duration,
    /// The limit of one fetch. 10 s.
    pub timeout: Duration,
    /// The longest key set that is read. 256 KiB.
    pub max_jwks_bytes: usize,
    /// The longest token that is looked at. 16 KiB.
    pub max_token_bytes: usize,
}

impl VerifierSettings {
    /// Settings with the defaults for everything that has one.
    #[must_use]
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>, jwks: JwksSource) -> Self {
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            algorithms: Algorithm::ALL.to_vec(),
            leeway: Duration::from_secs(10),
            jwks,
            cooldown: Duration::from_secs(30),
            refresh_after: Duration::from_secs(600),
            max_stale: Duration::from_secs(24 * 3600),
            timeout: Duration::from_secs(10),
            max_jwks_bytes: 256 * 1024,
            max_token_bytes: 16 * 1024,
        }
    }
}

/// Why a token is refused. It repeats nothing of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// It is not a signed token at all.
    #[error("{0}")]
    Malformed(&'static str),
    /// Its algorithm is not accepted here.
    #[error("the signature algorithm is not accepted")]
    Algorithm,
    /// Its header demands extensions.
    #[error("the header demands an extension that is not supported")]
    Critical,
    /// It is another kind of token.
    #[error("the type is not at+jwt")]
    Type,
    /// It does not name its key.
    #[error("the header names no key")]
    NoKeyId,
    /// The issuer has no such key.
    #[error("the key is not one of the issuer's")]
    UnknownKey,
    /// The issuer's keys are not there and cannot be fetched. This is no fault of the token.
    #[error("the issuer's keys cannot be fetched")]
    KeysUnavailable,
    /// The signature is wrong, or made with another algorithm than the key's.
    #[error("the signature is not valid")]
    Signature,
    /// A claim is not there.
    #[error("the claim {0} is missing")]
    MissingClaim(&'static str),
    /// A claim has the wrong form.
    #[error("the claim {0} is malformed")]
    InvalidClaim(&'static str),
    /// Another issuer.
    #[error("the issuer is another one")]
    Issuer,
    /// Not for us.
    #[error("the audience is another one")]
    Audience,
    /// Its `iat` or `nbf` lies in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Its `exp` is reached.
    #[error("the token has expired")]
    Expired,
    /// It is bound to a client certificate that the connection does not show.
    #[error("the token is bound to another client certificate")]
    Certificate,
}

/// Verifies access tokens of one issuer for one audience. Clones share its keys.
#[derive(Clone)]
pub struct TokenVerifier<C: Clock = SystemClock> {
    inner: Arc<Inner<C>>,
}

struct Inner<C: Clock> {
    settings: VerifierSettings,
    audiences: [String; 1],
    keys: Keys<C>,
    clock: C,
}

enum Keys<C: Clock> {
    Remote(Arc<RemoteKeys<C>>),
    Local(Arc<dyn Fn() -> Arc<KeySet> + Send + Sync>),
}

impl<C: Clock> std::fmt::Debug for TokenVerifier<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenVerifier").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

impl<C: Clock> TokenVerifier<C> {
    /// A verifier. Remote keys need metrics, in which their fetches count; local ones need none. Nothing is fetched before the
    /// first token comes in.
    ///
    /// # Errors
    /// If the settings cannot work, or the metrics are missing or were made for other instances.
    pub fn new(
        settings: VerifierSettings,
        metrics: impl Into<Option<AuthMetrics<C>>>,
        clock: C,
    ) -> Result<Self, SettingsError> {
        if settings.issuer.is_empty() || settings.audience.is_empty() {
            return Err(SettingsError::NoIssuerOrAudience);
        }
        if settings.algorithms.is_empty() {
            return Err(SettingsError::NoAlgorithm);
        }
        if settings.timeout.is_zero() || settings.cooldown.is_zero() {
            return Err(SettingsError::ZeroLimit);
        }
        let (instances, discovery, transport) = match settings.jwks.clone() {
            JwksSource::Local(keys) => return Ok(Self::of(settings, Keys::Local(keys), clock)),
            JwksSource::Remote { instances, transport } => (instances, None, transport),
            JwksSource::Discovered { discovery, instances, transport } => (instances, Some(discovery), transport),
        };
        let limits = JwksLimits {
            cooldown: settings.cooldown,
            refresh_after: settings.refresh_after,
            max_stale: settings.max_stale,
            timeout: settings.timeout,
            max_bytes: settings.max_jwks_bytes,
        };
        let metrics = metrics.into().ok_or(SettingsError::UnknownInstance)?;
        let algorithms = settings.algorithms.clone();
        let keys = RemoteKeys::new(&instances, discovery, transport, algorithms, limits, metrics, clock.clone())?;
        Ok(Self::of(settings, Keys::Remote(Arc::new(keys)), clock))
    }

    fn of(settings: VerifierSettings, keys: Keys<C>, clock: C) -> Self {
        let audiences = [settings.audience.clone()];
        Self { inner: Arc::new(Inner { settings, audiences, keys, clock }) }
    }

    /// The claims of a valid token.
    ///
    /// A token that is bound to a client certificate passes; compare [`Claims::certificate`] with the connection's, or use
    /// [`authenticate_over`](Self::authenticate_over), which does.
    ///
    /// # Errors
    /// If anything about the token is wrong, or the issuer's keys cannot be had.
    pub async fn verify(&self, token: &str) -> Result<Claims, VerifyError> {
        let settings = &self.inner.settings;
        if token.len() > settings.max_token_bytes {
            return Err(VerifyError::Malformed("the token is too long"));
        }
        let compact = Compact::parse(token)?;
        compact.algorithm(&settings.algorithms)?;
        compact.check_header()?;
        let keys = match &self.inner.keys {
            Keys::Remote(keys) => keys.for_kid(compact.kid()?).await?,
            Keys::Local(keys) => keys(),
        };
        if !keys.contains(compact.kid()?) {
            return Err(VerifyError::UnknownKey);
        }
        let payload = compact.verified_payload(&keys, &settings.algorithms)?;
        let expected = Expected { issuer: &settings.issuer, audiences: &self.inner.audiences, leeway: settings.leeway };
        Claims::check(payload, &expected, self.inner.clock.wall())
    }
}
