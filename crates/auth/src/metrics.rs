//! The families of the token work: declarations, the typed events that move them, and the span of one acquisition.

use crate::progress::{Progress, Token};
use crate::token::Moment;
use crate::{AdminInstance, AuthErrorType};
use artstore_metrics::{
    Clock, Counter, EventLock, Exemplar, Family, Gauge, GaugeGuard, Histogram, Label, LabelValue, Monotonic, Outcome,
    Registry, Row, Rows, Shards, SystemClock, UnixTime, label_enum,
};
use artstore_trace::{Context, Kind, Tracer};
use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

label_enum! {
    /// How an acquisition or a key-set fetch ended.
    pub enum Status as "status" {
        /// With a token, or keys.
        Success = "success",
        /// Without.
        Failure = "failure",
    }
}

label_enum! {
    /// Where a caller's answer came from.
    pub enum Source as "source" {
        /// From the cache.
        Cache = "cache",
        /// From a fetch that it waited for, or from a failure still in back-off.
        FreshRequest = "fresh_request",
    }
}

label_enum! {
    /// What started an acquisition.
    pub enum Trigger as "trigger" {
        /// There was no token.
        Initial = "initial",
        /// The token was past its usable end.
        Expired = "expired",
        /// The token was inside its refresh margin.
        ExpiringSoon = "expiring_soon",
        /// `invalidate()` or `refresh()`.
        Manual = "manual",
    }
}

label_enum! {
    /// What keeps the token fresh, right now.
    pub enum RefresherState as "state" {
        /// Nothing to do: no usable token, and nobody has asked for one since.
        Idle = "idle",
        /// The token is there; its refresh is due later.
        Holding = "holding",
        /// An acquisition is under way.
        Acquiring = "acquiring",
        /// The last acquisition failed and its pause is not over, whether or not there is a usable token.
        Backoff = "backoff",
        /// The service was closed.
        Closed = "closed",
    }
}

label_enum! {
    /// What a caller found in the cache.
    pub enum TokenCheck as "result" {
        /// A token outside its refresh margin.
        Valid = "valid",
        /// A token past its usable end.
        Expired = "expired",
        /// A token inside its refresh margin, still usable.
        ExpiringSoon = "expiring_soon",
        /// No token.
        Missing = "missing",
    }
}

const ADMIN_MODULE_URL: Label = Label::open("admin_module_url", "the configured Admin Module instances");

/// Acquisitions by outcome.
pub const REQUESTS: Family =
    Family::counter("auth_token_requests_total", "Token acquisitions by how they ended; cache hits do not count here.")
        .labels(&[Outcome::<AuthErrorType>::STATUS, AuthErrorType::OR_EMPTY]);
/// Callers by where their answer came from.
pub const SOURCE: Family =
    Family::counter("auth_token_source_total", "Callers that asked for a token, by where their answer came from.")
        .labels(&[Source::LABEL]);
/// Acquisitions by what started them.
pub const REFRESH: Family =
    Family::counter("auth_token_refresh_total", "Token acquisitions by how they ended and what started them.")
        .labels(&[Status::LABEL, Trigger::LABEL]);
/// Checks of the cached token.
pub const VALIDATION: Family =
    Family::counter("auth_token_validation_total", "Checks of the cached token, one for each caller, by their result.")
        .labels(&[TokenCheck::LABEL]);
/// Failed exchanges and key-set fetches.
pub const ERRORS: Family = Family::counter(
    "auth_errors_total",
    "Failed token exchanges and key-set fetches by kind and Admin Module instance.",
)
.labels(&[AuthErrorType::LABEL, ADMIN_MODULE_URL]);
/// Duration of acquisitions.
pub const ACQUISITION_DURATION: Family = Family::histogram(
    "auth_token_acquisition_duration_seconds",
    "Time of one token acquisition from its start to token or failure, all its exchanges included.",
    &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0],
);
/// Duration of exchanges.
pub const REFRESH_DURATION: Family = Family::histogram(
    "auth_token_refresh_duration_seconds",
    "Time of one token exchange from request written to response read, time-outs included.",
    &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
);
/// Remaining life of the cached token.
pub const TTL: Family = Family::gauge(
    "auth_token_ttl_seconds",
    "Seconds until the cached token expires; 0 once expired or invalidated, absent before the first token and after close.",
);
/// Share of callers served from the cache.
pub const HIT_RATE: Family = Family::gauge(
    "auth_token_cache_hit_rate",
    "Percentage of callers served from the cache since start; NaN before the first caller.",
);
/// Acquisitions cut short.
pub const CANCELLED: Family = Family::counter(
    "auth_token_acquisition_cancelled_total",
    "Token acquisitions that close or shutdown cut short; they count in no other family.",
);
/// Callers that wait.
pub const WAITERS: Family =
    Family::gauge("auth_token_acquisition_waiters", "Callers that wait for a token acquisition right now.");
/// What the refresher does.
pub const REFRESHER_STATE: Family = Family::gauge(
    "auth_token_refresher_state",
    "1 for what the refresher of the token does right now, 0 for the rest.",
)
.labels(&[RefresherState::LABEL]);
/// The last token.
pub const REFRESHER_LAST_SUCCESS: Family = Family::gauge(
    "auth_token_refresher_last_success_timestamp_seconds",
    "Unix time at which the last token came; absent before the first.",
);
/// The pause after failures.
pub const REFRESHER_BACKOFF: Family = Family::gauge(
    "auth_token_refresher_backoff_seconds",
    "Seconds until the pause after a failed token acquisition is over; 0 if there is none.",
);
/// Failures since the last token.
pub const REFRESHER_FAILURES: Family = Family::gauge(
    "auth_token_refresher_failures",
    "Token acquisitions that failed in a row since the last token, or since start.",
);
/// The last key set.
pub const JWKS_LAST_SUCCESS: Family = Family::gauge(
    "auth_jwks_last_success_timestamp_seconds",
    "Unix time of the last successful fetch of an issuer's key set; absent before the first.",
);
/// The age of the keys.
pub const JWKS_AGE: Family = Family::gauge(
    "auth_jwks_age_seconds",
    "Seconds since the last successful fetch of an issuer's key set; absent before the first.",
);
/// Key-set fetches.
pub const JWKS_FETCHES: Family = Family::counter(
    "auth_jwks_fetches_total",
    "Fetches of an issuer's key set, one for each request, by how they ended.",
)
.labels(&[Status::LABEL]);

/// All families of this crate: first the nine of the contract, in its order.
pub const FAMILIES: &[&Family] = &[
    &REQUESTS,
    &SOURCE,
    &REFRESH,
    &VALIDATION,
    &ERRORS,
    &ACQUISITION_DURATION,
    &REFRESH_DURATION,
    &TTL,
    &HIT_RATE,
    &CANCELLED,
    &WAITERS,
    &JWKS_FETCHES,
    &JWKS_LAST_SUCCESS,
    &JWKS_AGE,
    &REFRESHER_STATE,
    &REFRESHER_LAST_SUCCESS,
    &REFRESHER_BACKOFF,
    &REFRESHER_FAILURES,
];

/// Percentage (0 to 100) of `total` callers that `hits` is; NaN if there was no caller.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a percentage needs no more than 53 bits")]
pub fn cache_hit_rate(hits: u64, total: u64) -> f64 {
    if total == 0 { f64::NAN } else { hits as f64 / total as f64 * 100.0 }
}

/// Row of [`ERRORS`]: kind by instance.
#[derive(Clone, Copy)]
struct ErrorRow {
    kind: AuthErrorType,
    instance: usize,
    instances: usize,
}

impl Row for ErrorRow {
    fn row(self) -> usize {
        self.kind.index() * self.instances + self.instance
    }
}

/// The metrics of one module's token work. Clones share them.
#[derive(Debug, Clone)]
pub struct AuthMetrics<C: Clock = SystemClock> {
    clock: C,
    events: EventLock,
    instances: Arc<[Box<str>]>,
    requests: Counter<Outcome<AuthErrorType>>,
    refresh: Counter<(Status, Trigger)>,
    validation: Counter<TokenCheck>,
    hits: Shards<TokenCheck>,
    errors: Counter<ErrorRow>,
    acquisition_duration: Histogram,
    refresh_duration: Histogram,
    progress: Arc<Mutex<Progress>>,
    cancelled: Counter,
    waiters: Gauge,
    jwks_fetches: Counter<Status>,
}

impl<C: Clock> AuthMetrics<C> {
    /// Registers all families; `instances` are those that may fail.
    ///
    /// # Panics
    /// At construction, if the registry has the families already.
    #[must_use]
    pub fn new(registry: &Registry, instances: &[AdminInstance], clock: C) -> Self {
        let mut origins: Vec<Box<str>> = Vec::new();
        for instance in instances {
            if !origins.iter().any(|origin| **origin == *instance.origin()) {
                origins.push(instance.origin().into());
            }
        }
        let validation = registry.counter(&VALIDATION);
        let metrics = Self {
            clock,
            events: registry.event_lock(),
            requests: registry.counter(&REQUESTS),
            refresh: registry.counter(&REFRESH),
            hits: registry.shards(&validation),
            validation,
            errors: registry.counter_of_rows(&ERRORS, &error_rows(&origins)),
            acquisition_duration: registry.histogram(&ACQUISITION_DURATION),
            refresh_duration: registry.histogram(&REFRESH_DURATION),
            progress: Arc::default(),
            cancelled: registry.counter(&CANCELLED),
            waiters: registry.gauge(&WAITERS),
            jwks_fetches: registry.counter(&JWKS_FETCHES),
            instances: origins.into(),
        };
        metrics.register_computed(registry);
        metrics
    }

    fn register_computed(&self, registry: &Registry) {
        self.register_progress(registry);
        // What a caller found says where its answer came from, so one counter tells both.
        let validation = self.validation.clone();
        registry.computed(&SOURCE, move |samples| {
            for source in Source::ALL {
                samples.integer(&[source.label()], callers(&validation, *source));
            }
        });
        let validation = self.validation.clone();
        registry.computed(&HIT_RATE, move |samples| {
            let hits = callers(&validation, Source::Cache);
            samples.float(&[], cache_hit_rate(hits, hits + callers(&validation, Source::FreshRequest)));
        });
    }

    /// The families that are functions of time.
    fn register_progress(&self, registry: &Registry) {
        let gauge = |family, value: fn(&Progress, Moment) -> Option<f64>| {
            let (progress, clock) = (Arc::clone(&self.progress), self.clock.clone());
            registry.computed(family, move |samples| {
                let now = Moment::now(&clock);
                if let Some(value) = value(&progress.lock().unwrap_or_else(PoisonError::into_inner), now) {
                    samples.float(&[], value);
                }
            });
        };
        gauge(&TTL, |progress, now| progress.ttl(now).map(|left| left.as_secs_f64()));
        gauge(&REFRESHER_LAST_SUCCESS, |progress, _| progress.last_token.map(UnixTime::as_secs_f64));
        gauge(&REFRESHER_BACKOFF, |progress, now| Some(progress.backoff(now).as_secs_f64()));
        gauge(&REFRESHER_FAILURES, |progress, _| Some(f64::from(progress.failures)));
        gauge(&JWKS_LAST_SUCCESS, |progress, _| progress.last_keys.map(|at| at.wall.as_secs_f64()));
        gauge(&JWKS_AGE, |progress, now| progress.keys_age(now).map(|age| age.as_secs_f64()));
        let (progress, clock) = (Arc::clone(&self.progress), self.clock.clone());
        registry.computed(&REFRESHER_STATE, move |samples| {
            let present = progress.lock().unwrap_or_else(PoisonError::into_inner).state(Moment::now(&clock));
            for state in RefresherState::ALL {
                samples.integer(&[state.label()], u64::from(*state == present));
            }
        });
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of an instance among those of the metrics.
    pub(crate) fn instance(&self, instance: &AdminInstance) -> Option<usize> {
        self.instances.iter().position(|origin| **origin == *instance.origin())
    }

    /// A caller that the cache does not answer looked at the cached token.
    pub(crate) fn checked(&self, check: TokenCheck) {
        let _event = self.events.event();
        self.validation.inc(check);
    }

    /// For the cache, which counts what it answers, one shard for each thread.
    pub(crate) fn cache_hits(&self) -> Shards<TokenCheck> {
        self.hits.clone()
    }

    /// A caller waits until the guard is dropped.
    pub(crate) fn waiting(&self) -> GaugeGuard {
        self.waiters.hold(())
    }

    /// An acquisition begins.
    pub(crate) fn acquisition(&self, trigger: Trigger, tracer: Option<&Tracer>) -> AcquisitionSpan<C> {
        let started = self.clock.monotonic();
        self.progress().acquiring += 1;
        let outcome = tracing::field::Empty;
        let trace = tracing::info_span!("token_acquisition", trigger = trigger.label(), outcome);
        let exported = tracer.map(|tracer| {
            let mut span = tracer.child("token_acquisition", Kind::Internal);
            span.set("artstore.token.trigger", trigger.label());
            span
        });
        let (metrics, exchanges) = (self.clone(), Vec::new());
        AcquisitionSpan { metrics, trigger, started, exchanges, finished: false, trace, exported }
    }

    /// A token was put into the cache; it ends at the earlier of the two.
    pub(crate) fn token_published(&self, end: Moment) {
        self.progress().published(end, self.clock.wall());
    }

    /// An acquisition failed, so many in a row; callers are answered by that until then.
    pub(crate) fn backing_off(&self, failures: u32, until: Monotonic) {
        self.progress().failed(failures, until);
    }

    /// The cached token was invalidated.
    pub(crate) fn token_invalidated(&self) {
        self.progress().token = Token::Invalidated;
    }

    /// The service was closed.
    pub(crate) fn token_closed(&self) {
        self.progress().close();
    }

    /// A resource server still says 401 after a forced refresh.
    pub(crate) fn resource_rejected(&self, instance: usize) {
        self.error(AuthErrorType::ResourceRejected, instance);
    }

    /// A key-set fetch ended.
    pub(crate) fn jwks_fetched(&self, instance: usize, status: Status) {
        self.jwks_fetches.inc(status);
        match status {
            Status::Success => self.progress().last_keys = Some(Moment::now(&self.clock)),
            Status::Failure => self.error(AuthErrorType::JwksUnavailable, instance),
        }
    }

    fn error(&self, kind: AuthErrorType, instance: usize) {
        self.errors.inc(ErrorRow { kind, instance, instances: self.instances.len() });
    }
}

/// How many callers had their answer from there.
fn callers(validation: &Counter<TokenCheck>, source: Source) -> u64 {
    let from = |check: &&TokenCheck| match check {
        TokenCheck::Valid | TokenCheck::ExpiringSoon => source == Source::Cache,
        TokenCheck::Expired | TokenCheck::Missing => source == Source::FreshRequest,
    };
    TokenCheck::ALL.iter().filter(from).map(|check| validation.value(*check)).sum()
}

fn error_rows(origins: &[Box<str>]) -> Rows {
    let row = |kind: AuthErrorType, origin: &str| vec![Cow::from(kind.label()), Cow::from(origin.to_owned())];
    AuthErrorType::ALL.iter().flat_map(|kind| origins.iter().map(move |origin| row(*kind, origin))).collect()
}

/// How something ended, as a span of tracing has it: `success`, or the label `error_type`.
pub(crate) const fn outcome(error: Option<AuthErrorType>) -> &'static str {
    match error {
        None => Status::Success.label(),
        Some(kind) => kind.label(),
    }
}

/// One acquisition. Its numbers are moved together when it finishes; if it is dropped before, only the cancellation counts.
#[derive(Debug)]
pub(crate) struct AcquisitionSpan<C: Clock> {
    metrics: AuthMetrics<C>,
    trigger: Trigger,
    started: Monotonic,
    exchanges: Vec<ExchangeRecord>,
    finished: bool,
    trace: tracing::Span,
    /// The same for other systems.
    exported: Option<artstore_trace::Span>,
}

#[derive(Debug)]
struct ExchangeRecord {
    instance: usize,
    duration: Option<Duration>,
    error: Option<AuthErrorType>,
}

impl<C: Clock> AcquisitionSpan<C> {
    /// The span of tracing in which the work is done; it gets its outcome here, together with the numbers.
    pub(crate) fn trace(&self) -> tracing::Span {
        self.trace.clone()
    }

    /// The trace in which the work is done.
    pub(crate) fn context(&self) -> Option<Context> {
        self.exported.as_ref().map(|span| span.context().clone()).or_else(Context::current)
    }

    /// An exchange ended: how long it took if a request was written, and why it failed if it did.
    pub(crate) fn exchange(&mut self, instance: usize, duration: Option<Duration>, error: Option<AuthErrorType>) {
        self.exchanges.push(ExchangeRecord { instance, duration, error });
    }

    /// The acquisition ended, with the error type of its last exchange if it failed.
    pub(crate) fn finish(mut self, error: Option<AuthErrorType>) {
        self.finished = true;
        self.trace.record("outcome", outcome(error));
        if let (Some(span), Some(kind)) = (&mut self.exported, error) {
            span.fail(kind.label());
        }
        let exemplar = self.context().and_then(|context| Exemplar::of(&context, &self.metrics.clock));
        let _event = self.metrics.events.event();
        for exchange in &self.exchanges {
            if let Some(duration) = exchange.duration {
                self.metrics.refresh_duration.observe_traced((), duration, exemplar);
            }
            if let Some(kind) = exchange.error {
                self.metrics.error(kind, exchange.instance);
            }
        }
        let (status, outcome) = match error {
            None => (Status::Success, Outcome::Success),
            Some(kind) => (Status::Failure, Outcome::Failure(kind)),
        };
        let took = self.metrics.clock.monotonic().since(self.started);
        self.metrics.acquisition_duration.observe_traced((), took, exemplar);
        self.metrics.refresh.inc((status, self.trigger));
        self.metrics.requests.inc(outcome);
    }
}

impl<C: Clock> Drop for AcquisitionSpan<C> {
    fn drop(&mut self) {
        self.metrics.progress().acquiring -= 1;
        if !self.finished {
            self.metrics.cancelled.inc(());
            self.trace.record("outcome", "cancelled");
            if let Some(span) = &mut self.exported {
                span.fail("cancelled");
            }
        }
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
