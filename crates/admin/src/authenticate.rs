//! Who asks for a token: from what a client presents to its account, or to the refusal that it gets.

use crate::limiter::{Limit, Limited};
use crate::module::Shared;
use crate::secret;
use crate::store::Credentials;
use crate::token_request::{Presented, TokenError};
use artstore_http::PeerInfo;
use artstore_metrics::Clock;
use std::net::{IpAddr, Ipv4Addr};

/// The other end of the connection that a request came over.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
}

impl Peer {
    /// As the server tells it. Without a server there is no address, so all such requests share one.
    pub(crate) fn of(extensions: &http::Extensions) -> Self {
        let info = extensions.get::<PeerInfo>();
        Self { address: info.map_or(Ipv4Addr::UNSPECIFIED.into(), |info| info.remote.ip()) }
    }
}

/// Why a client is not who it says: for the log.
struct NoMatch {
    reason: &'static str,
    /// Whether there is an account of this identifier. What an unknown client calls itself is not logged: it may be a secret
    /// in the wrong place.
    known: bool,
}

impl<C: Clock> Shared<C> {
    /// The account of a client that proves who it is. A failure is charged to the limits; success is never refused.
    pub(crate) async fn authenticate(&self, client: &Presented, peer: &Peer) -> Result<Credentials, TokenError> {
        let found = self.noted(self.store.account(client.client_id()).await).map_err(|_| TokenError::Unavailable)?;
        let proven = match client {
            Presented::Secret { secret, .. } => check_secret(secret, found),
        };
        proven.map_err(|NoMatch { reason, known }| {
            self.refuse(Some(client.client_id()), known, peer, reason, TokenError::NO_MATCH)
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
        match self.limiter.failed(client, peer.address) {
            Ok(charged) => {
                self.metrics.failures_forgotten(charged.forgotten);
                let client_id = client.filter(|_| known).map(tracing::field::display);
                tracing::warn!(client_id, address = %peer.address, "token refused: {reason}");
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

fn check_secret(presented: &secrecy::SecretString, found: Option<Credentials>) -> Result<Credentials, NoMatch> {
    let stored = match &found {
        Some(found) => [Some(found.secret_sha256.as_str()), found.previous_secret_sha256.as_deref()],
        None => [None, None],
    };
    // The same work whether or not the account exists.
    let matches = secret::matches(presented, stored);
    match found {
        Some(found) if matches => Ok(found),
        Some(_) => Err(NoMatch { reason: "wrong secret", known: true }),
        None => Err(NoMatch { reason: "unknown client", known: false }),
    }
}
