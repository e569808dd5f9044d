//! What an [`AuthService`](crate::AuthService) remembers between calls, and what it tells about itself to a health check.

use crate::AuthError;
use crate::client_auth::Credential;
use crate::identity::Identities;
use crate::metrics::Trigger;
use crate::token::AccessToken;
use crate::transport::Transport;
use artstore_metrics::Monotonic;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The service as a health check sees it.
#[derive(Debug, Clone)]
pub struct AuthState {
    /// The cached token.
    pub token: TokenState,
    /// The last acquisition's error, until one succeeds.
    pub error: Option<AuthError>,
}

/// The cached token as a health check sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenState {
    /// There is none yet, or it was invalidated.
    Missing,
    /// It may be handed out for so long.
    Usable(Duration),
    /// It is past its usable end.
    Expired,
    /// The service was closed.
    Closed,
}

/// How a flight ended, for all who wait for it.
pub(crate) type FlightResult = Result<AccessToken, AuthError>;

/// The acquisition under way, or about to start.
pub(crate) struct Flight {
    pub(crate) id: u64,
    pub(crate) result: watch::Receiver<Option<FlightResult>>,
}

/// The last acquisition's failure: the answer to everyone until the pause ends.
pub(crate) struct Failure {
    pub(crate) error: AuthError,
    pub(crate) until: Monotonic,
}

/// Everything that changes, apart from the token itself. Behind one lock that is never held across an await.
pub(crate) struct State {
    /// The number of the last token.
    pub(crate) generation: u64,
    /// What the next acquisition is started by if the cache is empty.
    pub(crate) absence: Trigger,
    pub(crate) flight: Option<Flight>,
    pub(crate) flights: u64,
    pub(crate) failure: Option<Failure>,
    /// Failed acquisitions in a row.
    pub(crate) failures: u32,
    /// When the last acquisition started, if there was one.
    pub(crate) started: Option<Monotonic>,
    /// The instance that is asked first: the one that answered last.
    pub(crate) preferred: usize,
    /// For each instance, until when it asked to be left alone (`Retry-After`) when it was asked last.
    pub(crate) left_alone: Vec<Monotonic>,
    pub(crate) identities: Identities,
    /// The secret or key as it was last read.
    pub(crate) secret: Option<Credential>,
    pub(crate) keeper: Option<JoinHandle<()>>,
    pub(crate) closed: bool,
}

impl State {
    pub(crate) fn new(instances: usize, transport: Transport) -> Self {
        Self {
            identities: Identities::new(transport),
            left_alone: vec![Monotonic::default(); instances],
            generation: 0,
            absence: Trigger::Initial,
            flight: None,
            flights: 0,
            failure: None,
            failures: 0,
            started: None,
            preferred: 0,
            secret: None,
            keeper: None,
            closed: false,
        }
    }

    /// The instances in the order in which a pass that starts now asks them: not those that want to be left alone, unless all do.
    pub(crate) fn order(&self, now: Monotonic) -> Vec<usize> {
        let count = self.left_alone.len();
        let all = (0..count).map(|step| (self.preferred + step) % count);
        let free: Vec<usize> = all.clone().filter(|instance| self.left_alone[*instance] <= now).collect();
        if free.is_empty() { all.collect() } else { free }
    }

    /// How long from now every instance wants to be left alone.
    pub(crate) fn all_left_alone_for(&self, now: Monotonic) -> Duration {
        self.left_alone.iter().map(|until| until.since(now)).min().unwrap_or_default()
    }

    /// The failure that still answers everyone at `now`.
    pub(crate) fn failure_at(&self, now: Monotonic) -> Option<&AuthError> {
        self.failure.as_ref().filter(|failure| now < failure.until).map(|failure| &failure.error)
    }
}
