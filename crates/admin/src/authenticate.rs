//! Who asks for a token: from what a client presents to its account, or to the refusal that it gets.

use crate::credentials::certificate_matches;
use crate::limiter::{Limit, Limited};
use crate::module::Shared;
use crate::secret::{self, hex};
use crate::store::{Credentials, Remembered, millis};
use crate::token_request::{Presented, TokenError};
use artstore_api::account::Account;
use artstore_auth::{Algorithm, AssertionRules, ClientAssertion, KeySet, VerifyError};
use artstore_http::PeerInfo;
use artstore_metrics::Clock;
use artstore_tls::PeerCertificate;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// How far ahead the end of an assertion may lie.
const MAX_ASSERTION_LIFETIME: Duration = Duration::from_mins(5);
/// How much a client's clock may be ahead.
const LEEWAY: Duration = Duration::from_secs(10);
/// How much longer than its own end an assertion is remembered: replicas whose clocks differ by less never take one twice.
const REMEMBERED_LONGER: Duration = Duration::from_mins(2);
/// When a client that has used up its assertions may try again: by then some are forgotten.
const RETRY_ASSERTIONS: u32 = 60;

/// The other end of the connection that a request came over.
#[derive(Debug, Clone)]
pub(crate) struct Peer(Option<PeerInfo>);

impl Peer {
    /// As the server tells it.
    pub(crate) fn of(extensions: &http::Extensions) -> Self {
        Self(extensions.get::<PeerInfo>().cloned())
    }

    /// Without a server there is no address, so all such requests share one.
    fn address(&self) -> IpAddr {
        self.0.as_ref().map_or(Ipv4Addr::UNSPECIFIED.into(), |info| info.remote.ip())
    }

    /// The client's verified certificate.
    pub(crate) fn certificate(&self) -> Option<&PeerCertificate> {
        self.0.as_ref()?.certificate.as_deref()
    }
}

/// Why a client is not who it says.
struct NoMatch {
    /// For the log.
    reason: String,
    /// Whether there is an account of this identifier. What an unknown client calls itself is not logged: it may be a secret
    /// in the wrong place.
    known: bool,
    /// What the client is told.
    error: TokenError,
}

impl NoMatch {
    /// Without account there is nothing to compare with; the client is told the same as if its proof were wrong.
    fn unknown() -> Self {
        Self { reason: "unknown client".to_owned(), known: false, error: TokenError::NO_MATCH }
    }

    fn wrong(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), known: true, error: TokenError::NO_MATCH }
    }

    /// Only whoever has the key is told more than that it does not match.
    fn assertion(error: VerifyError) -> Self {
        let told = match error {
            VerifyError::Issuer | VerifyError::InvalidClaim("sub") | VerifyError::MissingClaim("iss" | "sub") => {
                TokenError::InvalidClient("iss and sub of the assertion must be the client_id")
            }
            VerifyError::Audience | VerifyError::MissingClaim("aud") => {
                TokenError::InvalidClient("aud of the assertion must be the issuer alone")
            }
            VerifyError::Expired | VerifyError::InvalidClaim("exp") | VerifyError::MissingClaim("exp") => {
                TokenError::InvalidClient("exp of the assertion must lie ahead, by 5 minutes at most")
            }
            VerifyError::NotYetValid => TokenError::InvalidClient("iat or nbf of the assertion lies ahead"),
            VerifyError::InvalidClaim(_) | VerifyError::MissingClaim(_) => TokenError::InvalidClient(
                "jti of the assertion must be a text of 256 bytes at most; times are whole seconds",
            ),
            VerifyError::Malformed(_)
            | VerifyError::Algorithm
            | VerifyError::Critical
            | VerifyError::Type
            | VerifyError::NoKeyId
            | VerifyError::UnknownKey
            | VerifyError::KeysUnavailable
            | VerifyError::Signature
            | VerifyError::Certificate => TokenError::NO_MATCH,
        };
        Self { reason: format!("assertion: {error}"), known: true, error: told }
    }
}

impl<C: Clock> Shared<C> {
    /// The account of a client that proves who it is. A failure is charged to the limits; success is never refused.
    pub(crate) async fn authenticate(&self, client: &Presented, peer: &Peer) -> Result<Account, TokenError> {
        let found = self.noted(self.store.account(client.client_id()).await).map_err(|_| TokenError::Unavailable)?;
        let proven = match client {
            Presented::Secret { secret, .. } => check_secret(secret, found),
            Presented::Certificate { .. } => check_certificate(peer, found),
            Presented::Assertion { assertion, .. } => match self.check_assertion(assertion, found) {
                Ok((account, assertion)) => self.first_use(account, &assertion).await?,
                Err(no_match) => Err(no_match),
            },
        };
        proven.map_err(|NoMatch { reason, known, error }| {
            self.refuse(Some(client.client_id()), known, peer, &reason, error)
        })
    }

    fn check_assertion(
        &self,
        assertion: &SecretString,
        found: Option<Credentials>,
    ) -> Result<(Account, ClientAssertion), NoMatch> {
        let found = found.ok_or_else(NoMatch::unknown)?;
        let keys = found.jwks.ok_or_else(|| NoMatch::wrong("assertion: the account has no keys"))?;
        let keys =
            KeySet::parse(keys.as_bytes(), &Algorithm::ALL).map_err(|error| NoMatch::wrong(error.to_string()))?;
        let rules = AssertionRules {
            client_id: &found.account.client_id,
            audience: &self.settings.issuer,
            max_lifetime: MAX_ASSERTION_LIFETIME,
            leeway: LEEWAY,
        };
        let verified = ClientAssertion::verify(assertion.expose_secret(), &keys, &rules, self.clock.wall());
        Ok((found.account, verified.map_err(NoMatch::assertion)?))
    }

    /// The account, if the assertion was never used before.
    async fn first_use(
        &self,
        account: Account,
        assertion: &ClientAssertion,
    ) -> Result<Result<Account, NoMatch>, TokenError> {
        let jti = hex(&Sha256::digest(assertion.jti.as_bytes()));
        let forget_at = millis(assertion.exp.plus(REMEMBERED_LONGER));
        let max = self.settings.max_assertions;
        let remembered = self.store.remember_assertion(&account.client_id, &jti, forget_at, max).await;
        Ok(match self.noted(remembered).map_err(|_| TokenError::Unavailable)? {
            Remembered::First => Ok(account),
            Remembered::Seen => Err(NoMatch {
                error: TokenError::InvalidClient("the assertion was used before"),
                ..NoMatch::wrong("assertion: used before")
            }),
            Remembered::Full => {
                tracing::warn!(client_id = %account.client_id, "token refused: too many assertions at once");
                return Err(TokenError::Limited { retry_after: RETRY_ASSERTIONS });
            }
        })
    }

    /// Charges a failed authentication to the limits and logs it, unless a limit is spent: then the client is told to wait,
    /// and a counter is all that moves, so that nobody can fill the log.
    pub(crate) fn refuse(
        &self,
        client: Option<&str>,
        known: bool,
        peer: &Peer,
        reason: &str,
        error: TokenError,
    ) -> TokenError {
        match self.limiter.failed(client, peer.address()) {
            Ok(charged) => {
                self.metrics.failures_forgotten(charged.forgotten);
                let client_id = client.filter(|_| known).map(tracing::field::display);
                tracing::warn!(client_id, address = %peer.address(), "token refused: {reason}");
                error
            }
            Err(Limited { limit, retry_after }) => {
                self.metrics.limited(limit.into());
                let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
                TokenError::Limited { retry_after: u32::try_from(seconds).unwrap_or(u32::MAX) }
            }
        }
    }
}

impl From<Limit> for crate::metrics::FailureLimit {
    fn from(limit: Limit) -> Self {
        match limit {
            Limit::Client => Self::Client,
            Limit::Address => Self::Address,
        }
    }
}

fn check_secret(presented: &SecretString, found: Option<Credentials>) -> Result<Account, NoMatch> {
    let stored = match &found {
        Some(found) => [found.secret_sha256.as_deref(), found.previous_secret_sha256.as_deref()],
        None => [None, None],
    };
    // The same work whether or not the account exists.
    let matches = secret::matches(presented, stored);
    match found {
        Some(found) if matches => Ok(found.account),
        Some(_) => Err(NoMatch::wrong("wrong secret")),
        None => Err(NoMatch::unknown()),
    }
}

fn check_certificate(peer: &Peer, found: Option<Credentials>) -> Result<Account, NoMatch> {
    let account = found.ok_or_else(NoMatch::unknown)?.account;
    let Some(rule) = &account.certificate else {
        return Err(NoMatch::wrong("the account has no certificate"));
    };
    match peer.certificate() {
        Some(shown) if certificate_matches(rule, shown) => Ok(account),
        _ => Err(NoMatch::wrong("another certificate than the account's")),
    }
}
