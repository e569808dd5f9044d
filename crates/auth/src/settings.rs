//! What an [`AuthService`](crate::AuthService) is told at construction, with its defaults.

use crate::{AdminInstance, ClientAuthentication, Discovery, ExpectedClaims};
use artstore_metrics::Monotonic;
use artstore_trace::Tracer;
use std::borrow::Cow;
use std::time::Duration;

/// Where the token endpoint is.
#[derive(Debug, Clone)]
pub enum TokenEndpoint {
    /// Where the Admin Module has it: `/oauth2/token`, or `/api/v1/auth/token` for [`ClientAuthentication::OriginalJson`].
    Standard,
    /// At this path below the instance's base URL.
    Path(Cow<'static, str>),
    /// Where the issuer's metadata say (RFC 8414). Not for [`ClientAuthentication::OriginalJson`], which is no OAuth.
    Discovered(Discovery),
}

/// How long to leave an ailing issuer alone after a failed acquisition: `floor` plus a random share of `base`, doubled with
/// every failure in a row, so that the whole is at most `cap`. It is counted from the start of the failed acquisition, so that
/// time lost on a silent issuer does not come on top; at least `floor` lies between its end and the next start. An instance that
/// sent `Retry-After` is not asked before that, and if all did, the pause lasts until the first of them may be asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The least pause, and the least time between the starts of two acquisitions. 1 s.
    pub floor: Duration,
    /// The first window of jitter. 1 s.
    pub base: Duration,
    /// The longest pause of our own. 30 s.
    pub cap: Duration,
    /// The longest `Retry-After` that is believed. 300 s.
    pub max_retry_after: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            floor: Duration::from_secs(1),
            base: Duration::from_secs(1),
            cap: Duration::from_secs(30),
            max_retry_after: Duration::from_secs(300),
        }
    }
}

impl Backoff {
    /// When the next acquisition may start: after so many failures in a row (at least one), the last of them an acquisition from
    /// `started` to `ended`.
    pub(crate) fn next_start(&self, failures: u32, started: Monotonic, ended: Monotonic, asked: Duration) -> Monotonic {
        let doubled = self.base.saturating_mul(1_u32 << failures.saturating_sub(1).min(20));
        let window = doubled.min(self.cap.saturating_sub(self.floor));
        let own = started.plus(self.floor + crate::random::up_to(window));
        own.max(ended.plus(self.floor.max(asked.min(self.max_retry_after))))
    }
}

/// What an [`AuthService`](crate::AuthService) needs to know.
#[derive(Debug, Clone)]
pub struct AuthSettings {
    /// The service account.
    pub client_id: String,
    /// How it shows who it is.
    pub authentication: ClientAuthentication,
    /// The Admin Module's instances, tried in turn, beginning with the one that answered last.
    pub instances: Vec<AdminInstance>,
    /// Where tokens are asked for. Default [`TokenEndpoint::Standard`].
    pub endpoint: TokenEndpoint,
    /// The scopes to ask for; none means all that the account has. A narrower grant is a failure.
    pub scope: Vec<String>,
    /// Further parameters of the form, such as `resource` (RFC 8707) or what else an issuer wants. Default none.
    pub parameters: Vec<(String, String)>,
    /// What the received token's own claims must say; `None` for issuers whose tokens are opaque. Default `None`.
    pub expected: Option<ExpectedClaims>,
    /// The limit of one exchange, from its start to the end of its answer. 10 s.
    pub timeout: Duration,
    /// The limit of one acquisition over all instances. 30 s.
    pub acquisition_limit: Duration,
    /// The pauses between acquisitions.
    pub backoff: Backoff,
    /// The longest answer that is read. 64 KiB.
    pub max_response_bytes: usize,
    /// Makes a span of each acquisition: a part of the trace of who caused it, or, in the background, one of its own. Default
    /// none.
    pub tracer: Option<Tracer>,
}

impl AuthSettings {
    /// Settings with the defaults for everything that has one.
    #[must_use]
    pub fn new(
        client_id: impl Into<String>,
        authentication: impl Into<ClientAuthentication>,
        instances: Vec<AdminInstance>,
    ) -> Self {
        Self {
            client_id: client_id.into(),
            authentication: authentication.into(),
            instances,
            endpoint: TokenEndpoint::Standard,
            scope: Vec::new(),
            parameters: Vec::new(),
            expected: None,
            timeout: Duration::from_secs(10),
            acquisition_limit: Duration::from_secs(30),
            backoff: Backoff::default(),
            max_response_bytes: 64 * 1024,
            tracer: None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        if self.instances.is_empty() {
            return Err(SettingsError::NoInstance);
        }
        if self.client_id.is_empty() {
            return Err(SettingsError::NoClientId);
        }
        if self.timeout.is_zero() || self.acquisition_limit.is_zero() || self.backoff.floor.is_zero() {
            return Err(SettingsError::ZeroLimit);
        }
        if let ClientAuthentication::PrivateKeyJwt(jwt) = &self.authentication
            && jwt.lifetime.as_secs() == 0
        {
            return Err(SettingsError::ZeroLimit);
        }
        if let (TokenEndpoint::Discovered(_), ClientAuthentication::OriginalJson(_)) =
            (&self.endpoint, &self.authentication)
        {
            return Err(SettingsError::Discovery);
        }
        if matches!(&self.endpoint, TokenEndpoint::Path(path) if !path.starts_with('/')) {
            return Err(SettingsError::Path);
        }
        let ours =
            ["grant_type", "scope", "client_id", "client_secret", "client_assertion", "client_assertion_type", ""];
        if self.parameters.iter().any(|(name, _)| ours.contains(&name.as_str())) {
            return Err(SettingsError::Parameter);
        }
        let in_scope = |c: char| matches!(c, '\x21' | '\x23'..='\x5b' | '\x5d'..='\x7e');
        if !self.scope.iter().all(|scope| !scope.is_empty() && scope.chars().all(in_scope)) {
            return Err(SettingsError::Scope);
        }
        Ok(())
    }
}

/// Why a service or a verifier cannot be built from its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// There is no Admin Module to ask.
    #[error("at least one Admin Module instance is needed")]
    NoInstance,
    /// There is no client identifier.
    #[error("a client identifier is needed")]
    NoClientId,
    /// A time limit or the back-off's floor is zero.
    #[error("a time limit is zero")]
    ZeroLimit,
    /// A scope has characters that RFC 6749 does not allow.
    #[error("a scope is empty or holds characters other than printable ASCII without space, quote and backslash")]
    Scope,
    /// A path of an endpoint does not begin with a slash.
    #[error("the path of an endpoint must begin with a slash")]
    Path,
    /// A further parameter has no name, or that of one which is set already.
    #[error("a further parameter of the form has no name, or the name of one that other settings set")]
    Parameter,
    /// The original's form, at the issuer's OAuth token endpoint.
    #[error("the original's JSON form has an endpoint of its own, which no metadata name")]
    Discovery,
    /// The metrics were made for other instances.
    #[error("the metrics do not know this Admin Module instance")]
    UnknownInstance,
    /// No algorithm is accepted.
    #[error("at least one signature algorithm is needed")]
    NoAlgorithm,
    /// Issuer or audience are empty.
    #[error("issuer and audience are needed")]
    NoIssuerOrAudience,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DiscoverySettings, PrivateKeyJwt, SecretSource};

    fn settings() -> AuthSettings {
        let instance = AdminInstance::parse("https://admin:8000").unwrap();
        AuthSettings::new("ingester", SecretSource::inline("canary"), vec![instance])
    }

    #[test]
    fn defaults_are_those_of_the_documents() {
        let settings = settings();
        assert_eq!(settings.check(), Ok(()));
        assert_eq!((settings.timeout.as_secs(), settings.acquisition_limit.as_secs()), (10, 30));
        assert_eq!((settings.authentication.standard_path(), settings.max_response_bytes), ("/oauth2/token", 65_536));
        assert!(!format!("{settings:?}").contains("canary"));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let refused = |change: fn(&mut AuthSettings)| {
            let mut settings = settings();
            change(&mut settings);
            settings.check().unwrap_err()
        };
        assert_eq!(refused(|s| s.instances.clear()), SettingsError::NoInstance);
        assert_eq!(refused(|s| s.client_id.clear()), SettingsError::NoClientId);
        assert_eq!(refused(|s| s.timeout = Duration::ZERO), SettingsError::ZeroLimit);
        assert_eq!(refused(|s| s.acquisition_limit = Duration::ZERO), SettingsError::ZeroLimit);
        assert_eq!(refused(|s| s.backoff.floor = Duration::ZERO), SettingsError::ZeroLimit);
        assert_eq!(refused(|s| s.endpoint = TokenEndpoint::Path("token".into())), SettingsError::Path);
        let original_discovered = |s: &mut AuthSettings| {
            s.authentication = ClientAuthentication::OriginalJson(SecretSource::inline("s"));
            s.endpoint = TokenEndpoint::Discovered(Discovery::new(DiscoverySettings::new("https://i")).unwrap());
        };
        assert_eq!(refused(original_discovered), SettingsError::Discovery);
        for name in ["", "scope", "client_secret"] {
            let mut settings = settings();
            settings.parameters = vec![("resource".to_owned(), "r".to_owned()), (name.to_owned(), "x".to_owned())];
            assert_eq!(settings.check(), Err(SettingsError::Parameter), "{name}");
        }
        let short_lived = |s: &mut AuthSettings| {
            let jwt = PrivateKeyJwt {
                lifetime: Duration::from_millis(999),
                ..PrivateKeyJwt::new(SecretSource::inline("k"), "i")
            };
            s.authentication = jwt.into();
        };
        assert_eq!(refused(short_lived), SettingsError::ZeroLimit);
        assert_eq!(refused(|s| s.scope = vec!["a b".into()]), SettingsError::Scope);
        assert_eq!(refused(|s| s.scope = vec![String::new()]), SettingsError::Scope);
    }

    #[test]
    fn pauses_grow_to_the_cap_and_respect_the_issuer() {
        let backoff = Backoff::default();
        let at = |secs| Monotonic::from_origin(Duration::from_secs(secs));
        for (failures, most) in [(1, 2), (2, 3), (3, 5), (4, 9), (5, 17), (6, 30), (7, 30), (u32::MAX, 30)] {
            for _ in 0..50 {
                let next = backoff.next_start(failures, at(100), at(100), Duration::ZERO);
                assert!(next >= at(101) && next <= at(100 + most), "{failures}: {next:?}");
            }
        }
        assert_eq!(backoff.next_start(1, at(100), at(110), Duration::ZERO), at(111));
        assert_eq!(backoff.next_start(1, at(100), at(110), Duration::from_secs(120)), at(230));
        assert_eq!(backoff.next_start(1, at(100), at(110), Duration::MAX), at(410));
        assert_eq!(backoff.next_start(1, at(100), at(110), Duration::ZERO), at(111));
    }
}
