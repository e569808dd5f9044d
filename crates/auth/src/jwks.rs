//! The issuer's keys: fetched when needed, kept when the issuer is away, not asked for again and again.

use crate::metrics::Status;
use crate::token::Moment;
use crate::transport::{RequestBody, Transport, read_limited};
use crate::{
    AdminInstance, Algorithm, AuthMetrics, Backoff, Discovery, KeySet, SettingsError, VerifyError, classify_auth_error,
};
use arc_swap::ArcSwapOption;
use artstore_metrics::{Clock, Monotonic};
use artstore_trace::Context;
use futures_util::FutureExt;
use http::{Method, Request, header};
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tower::ServiceExt;

/// Where an issuer publishes its keys, below its base URL.
const JWKS_PATH: &str = "/oauth2/jwks";
/// How many unknown key identifiers are remembered.
const MAX_UNKNOWN: usize = 1024;

/// Where the verifier's keys come from.
#[derive(Clone)]
pub enum JwksSource {
    /// The Admin Module's instances, tried in turn at `/oauth2/jwks`.
    Remote {
        /// The instances.
        instances: Vec<AdminInstance>,
        /// How to reach them.
        transport: Transport,
    },
    /// The issuer's instances, tried in turn where its metadata say (RFC 8414).
    Discovered {
        /// What finds them; the service's own, so that metadata are fetched once for both.
        discovery: Discovery,
        /// The instances.
        instances: Vec<AdminInstance>,
        /// How to reach them.
        transport: Transport,
    },
    /// The process's own keys, for the Admin Module itself. The function gives the set that is valid now.
    Local(Arc<dyn Fn() -> Arc<KeySet> + Send + Sync>),
}

impl std::fmt::Debug for JwksSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Remote { instances, .. } => {
                f.debug_struct("Remote").field("instances", instances).finish_non_exhaustive()
            }
            Self::Discovered { discovery, instances, .. } => f
                .debug_struct("Discovered")
                .field("discovery", discovery)
                .field("instances", instances)
                .finish_non_exhaustive(),
            Self::Local(_) => f.write_str("Local"),
        }
    }
}

/// The limits of fetching and keeping keys.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JwksLimits {
    pub(crate) cooldown: Duration,
    pub(crate) refresh_after: Duration,
    pub(crate) max_stale: Duration,
    pub(crate) timeout: Duration,
    pub(crate) max_bytes: usize,
}

/// Keys fetched from an issuer. Clones share them.
pub(crate) struct RemoteKeys<C: Clock> {
    instances: Vec<(AdminInstance, usize)>,
    discovery: Option<Discovery>,
    transport: Transport,
    algorithms: Vec<Algorithm>,
    limits: JwksLimits,
    metrics: AuthMetrics<C>,
    clock: C,
    current: ArcSwapOption<Fetched>,
    state: Mutex<FetchState>,
}

struct Fetched {
    keys: Arc<KeySet>,
    at: Moment,
}

impl Fetched {
    /// Their age by the clock that saw more time pass: the monotonic one stands still while the machine is suspended.
    fn age<C: Clock>(&self, clock: &C) -> Duration {
        let now = Moment::now(clock);
        now.monotonic.since(self.at.monotonic).max(now.wall.since(self.at.wall))
    }
}

#[derive(Default)]
struct FetchState {
    flight: Option<watch::Receiver<bool>>,
    failures: u32,
    /// No fetch before this, whoever asks.
    not_before: Monotonic,
    /// Key identifiers that a fetch did not bring, and until when they are not asked for again.
    unknown: HashMap<Box<str>, Monotonic>,
}

impl<C: Clock> RemoteKeys<C> {
    pub(crate) fn new(
        instances: &[AdminInstance],
        discovery: Option<Discovery>,
        transport: Transport,
        algorithms: Vec<Algorithm>,
        limits: JwksLimits,
        metrics: AuthMetrics<C>,
        clock: C,
    ) -> Result<Self, SettingsError> {
        if instances.is_empty() {
            return Err(SettingsError::NoInstance);
        }
        let place = |instance: &AdminInstance| {
            metrics.instance(instance).map(|place| (instance.clone(), place)).ok_or(SettingsError::UnknownInstance)
        };
        let instances = instances.iter().map(place).collect::<Result<_, _>>()?;
        let (current, state) = (ArcSwapOption::empty(), Mutex::default());
        Ok(Self { instances, discovery, transport, algorithms, limits, metrics, clock, current, state })
    }

    /// The key set to verify a token of this key with.
    pub(crate) async fn for_kid(self: &Arc<Self>, kid: &str) -> Result<Arc<KeySet>, VerifyError> {
        let now = self.clock.monotonic();
        if let Some(fetched) = self.fresh_enough() {
            if fetched.age(&self.clock) >= self.limits.refresh_after {
                // The old keys serve while new ones are fetched, and on if that fails.
                let _ = self.fetch(now);
            }
            if fetched.keys.contains(kid) {
                return Ok(Arc::clone(&fetched.keys));
            }
            if self.is_known_unknown(kid, now) {
                return Err(VerifyError::UnknownKey);
            }
        }
        let asked = match self.fetch(now) {
            // Ends also when the task goes away.
            Some(mut flight) => flight.wait_for(|done| *done).await.is_ok(),
            None => false,
        };
        let now = self.clock.monotonic();
        let fetched = self.fresh_enough().ok_or(VerifyError::KeysUnavailable)?;
        if fetched.keys.contains(kid) {
            return Ok(Arc::clone(&fetched.keys));
        }
        if self.lock().failures > 0 {
            // The key may be a new one that we could not hear of. A refusal would cost the client a good token.
            return Err(VerifyError::KeysUnavailable);
        }
        if asked {
            self.remember_unknown(kid, now);
        }
        Err(VerifyError::UnknownKey)
    }

    fn lock(&self) -> MutexGuard<'_, FetchState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh_enough(&self) -> Option<Arc<Fetched>> {
        self.current.load_full().filter(|fetched| fetched.age(&self.clock) < self.limits.max_stale)
    }

    fn is_known_unknown(&self, kid: &str, now: Monotonic) -> bool {
        self.lock().unknown.get(kid).is_some_and(|until| now < *until)
    }

    fn remember_unknown(&self, kid: &str, now: Monotonic) {
        let mut state = self.lock();
        if state.unknown.len() >= MAX_UNKNOWN {
            state.unknown.retain(|_, until| now < *until);
        }
        if state.unknown.len() < MAX_UNKNOWN {
            state.unknown.insert(kid.into(), now.plus(self.limits.cooldown.saturating_mul(2)));
        }
    }

    /// The fetch under way, or a new one if it is time for one.
    fn fetch(self: &Arc<Self>, now: Monotonic) -> Option<watch::Receiver<bool>> {
        let mut state = self.lock();
        // A sender that went away without a word had its runtime end under it.
        if let Some(flight) = state.flight.as_ref().filter(|flight| flight.has_changed().is_ok()) {
            return Some(flight.clone());
        }
        if now < state.not_before {
            return None;
        }
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        let (sender, flight) = watch::channel(false);
        state.flight = Some(flight.clone());
        let keys = Arc::clone(self);
        // It is a part of the trace of whoever caused it.
        runtime.spawn(Context::carry(async move {
            keys.fetch_and_keep().await;
            sender.send_replace(true);
        }));
        Some(flight)
    }

    async fn fetch_and_keep(&self) {
        let mut fetched = None;
        for (instance, place) in &self.instances {
            let attempt = AssertUnwindSafe(self.fetch_from(instance)).catch_unwind();
            let limited = tokio::time::timeout(self.limits.timeout, attempt).await;
            let result = match limited {
                Err(_) => Err("no answer in time".to_owned()),
                Ok(Err(_)) => Err("the transport panicked".to_owned()),
                Ok(Ok(result)) => result,
            };
            match result {
                Ok(keys) => {
                    self.metrics.jwks_fetched(*place, Status::Success);
                    fetched = Some(keys);
                    break;
                }
                Err(detail) => {
                    self.metrics.jwks_fetched(*place, Status::Failure);
                    tracing::warn!(
                        error_type = "jwks_unavailable",
                        admin_module_url = instance.origin(),
                        "failed to fetch the issuer's keys: {detail}"
                    );
                }
            }
        }
        self.keep(fetched);
    }

    fn keep(&self, fetched: Option<KeySet>) {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        state.flight = None;
        state.not_before = if let Some(keys) = fetched {
            state.failures = 0;
            state.unknown.retain(|kid, _| !keys.contains(kid));
            self.current.store(Some(Arc::new(Fetched { keys: Arc::new(keys), at: Moment::now(&self.clock) })));
            now.plus(self.limits.cooldown)
        } else {
            state.failures = state.failures.saturating_add(1);
            Backoff { cap: self.limits.cooldown, ..Backoff::default() }.next_start(
                state.failures,
                now,
                now,
                Duration::ZERO,
            )
        };
    }

    async fn fetch_from(&self, instance: &AdminInstance) -> Result<KeySet, String> {
        let url = match &self.discovery {
            Some(discovery) => {
                let found = discovery.jwks_uri(instance, &self.transport, &self.clock, self.limits.timeout).await;
                found.map_err(|error| error.to_string())?
            }
            None => instance.url(JWKS_PATH).map_err(|error| error.to_string())?,
        };
        let request = Request::builder()
            .method(Method::GET)
            .uri(url)
            .header(header::ACCEPT, "application/json")
            .body(RequestBody::empty())
            .map_err(|error| error.to_string())?;
        let failed = |kind| {
            if let Some(discovery) = &self.discovery {
                discovery.failed(instance, kind);
            }
        };
        let answer = self.transport.clone().oneshot(request).await;
        let answer = answer.inspect_err(|error| failed(error.kind)).map_err(|error| error.to_string())?;
        if answer.status() != http::StatusCode::OK {
            failed(classify_auth_error(answer.status().as_u16(), None));
            return Err(format!("the issuer answered {}", answer.status().as_u16()));
        }
        let body = read_limited(answer.into_body(), self.limits.max_bytes).await.map_err(|error| error.to_string())?;
        let body = body.ok_or_else(|| format!("the key set is longer than {} bytes", self.limits.max_bytes))?;
        KeySet::parse(&body, &self.algorithms).map_err(|error| error.to_string())
    }
}
