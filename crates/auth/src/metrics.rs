//! The families of the token work: declarations, the typed events that move them, and the span of one acquisition.

use crate::{AdminInstance, AuthErrorType};
use artstore_metrics::{
    Clock, Counter, EventLock, Family, Gauge, GaugeGuard, Histogram, Label, LabelValue, Monotonic, Outcome, Registry,
    Row, Rows, Shards, SystemClock, UnixTime, label_enum,
};
use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
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

/// When the cached token ends, for the gauge.
#[derive(Debug, Clone, Copy)]
enum Published {
    /// None yet, or closed: no sample.
    Nothing,
    /// There was one and it was invalidated.
    Invalidated,
    /// The earlier of the two ends counts.
    Until { wall: UnixTime, monotonic: Monotonic },
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
    published: Arc<Mutex<Published>>,
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
            published: Arc::new(Mutex::new(Published::Nothing)),
            cancelled: registry.counter(&CANCELLED),
            waiters: registry.gauge(&WAITERS),
            jwks_fetches: registry.counter(&JWKS_FETCHES),
            instances: origins.into(),
        };
        metrics.register_computed(registry);
        metrics
    }

    fn register_computed(&self, registry: &Registry) {
        let (published, clock) = (Arc::clone(&self.published), self.clock.clone());
        registry.computed(&TTL, move |samples| {
            let published = *published.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(left) = time_left(published, &clock) {
                samples.float(&[], left.as_secs_f64());
            }
        });
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
    pub(crate) fn acquisition(&self, trigger: Trigger) -> AcquisitionSpan<C> {
        let started = self.clock.monotonic();
        AcquisitionSpan { metrics: self.clone(), trigger, started, exchanges: Vec::new(), finished: false }
    }

    /// A token was put into the cache.
    pub(crate) fn token_published(&self, wall: UnixTime, monotonic: Monotonic) {
        self.publish(Published::Until { wall, monotonic });
    }

    /// The cached token was invalidated.
    pub(crate) fn token_invalidated(&self) {
        self.publish(Published::Invalidated);
    }

    /// The service was closed.
    pub(crate) fn token_closed(&self) {
        self.publish(Published::Nothing);
    }

    /// A resource server still says 401 after a forced refresh.
    pub(crate) fn resource_rejected(&self, instance: usize) {
        self.error(AuthErrorType::ResourceRejected, instance);
    }

    /// A key-set fetch ended.
    pub(crate) fn jwks_fetched(&self, instance: usize, status: Status) {
        self.jwks_fetches.inc(status);
        match status {
            Status::Success => {}
            Status::Failure => self.error(AuthErrorType::JwksUnavailable, instance),
        }
    }

    fn error(&self, kind: AuthErrorType, instance: usize) {
        self.errors.inc(ErrorRow { kind, instance, instances: self.instances.len() });
    }

    fn publish(&self, published: Published) {
        *self.published.lock().unwrap_or_else(PoisonError::into_inner) = published;
    }
}

fn time_left<C: Clock>(published: Published, clock: &C) -> Option<Duration> {
    match published {
        Published::Nothing => None,
        Published::Invalidated => Some(Duration::ZERO),
        Published::Until { wall, monotonic } => Some(wall.since(clock.wall()).min(monotonic.since(clock.monotonic()))),
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

/// One acquisition. Its numbers are moved together when it finishes; if it is dropped before, only the cancellation counts.
#[derive(Debug)]
pub(crate) struct AcquisitionSpan<C: Clock> {
    metrics: AuthMetrics<C>,
    trigger: Trigger,
    started: Monotonic,
    exchanges: Vec<ExchangeRecord>,
    finished: bool,
}

#[derive(Debug)]
struct ExchangeRecord {
    instance: usize,
    duration: Option<Duration>,
    error: Option<AuthErrorType>,
}

impl<C: Clock> AcquisitionSpan<C> {
    /// An exchange ended: how long it took if a request was written, and why it failed if it did.
    pub(crate) fn exchange(&mut self, instance: usize, duration: Option<Duration>, error: Option<AuthErrorType>) {
        self.exchanges.push(ExchangeRecord { instance, duration, error });
    }

    /// The acquisition ended, with the error type of its last exchange if it failed.
    pub(crate) fn finish(mut self, outcome: Result<(), AuthErrorType>) {
        self.finished = true;
        let _event = self.metrics.events.event();
        for exchange in &self.exchanges {
            if let Some(duration) = exchange.duration {
                self.metrics.refresh_duration.observe((), duration);
            }
            if let Some(kind) = exchange.error {
                self.metrics.error(kind, exchange.instance);
            }
        }
        let (status, outcome) = match outcome {
            Ok(()) => (Status::Success, Outcome::Success),
            Err(kind) => (Status::Failure, Outcome::Failure(kind)),
        };
        self.metrics.acquisition_duration.observe((), self.metrics.clock.monotonic().since(self.started));
        self.metrics.refresh.inc((status, self.trigger));
        self.metrics.requests.inc(outcome);
    }
}

impl<C: Clock> Drop for AcquisitionSpan<C> {
    fn drop(&mut self) {
        if !self.finished {
            self.metrics.cancelled.inc(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use artstore_metrics::{Format, TestClock, Values};

    /// Name, kind, labels with their values, and buckets, as the contract has them.
    #[test]
    fn the_nine_families_are_those_of_the_contract() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../contract/metrics.toml");
        let contract: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
        let sets = contract["set"].as_table().unwrap();
        let texts = |value: &toml::Value| -> Vec<String> {
            value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        let families = contract["family"].as_array().unwrap();
        let ours = families.iter().filter(|family| family["name"].as_str().unwrap().starts_with("auth_"));
        assert_eq!(ours.clone().count(), 9);
        for (theirs, family) in ours.zip(FAMILIES) {
            assert_eq!(theirs["name"].as_str().unwrap(), family.name());
            assert_eq!(theirs["type"].as_str().unwrap(), family.kind().as_str());
            let labels = theirs.get("labels").and_then(toml::Value::as_table).cloned().unwrap_or_default();
            assert_eq!(labels.len(), family.label_declarations().len(), "{}", family.name());
            for label in family.label_declarations() {
                match label.values {
                    Values::Open(_) => assert_eq!(labels[label.name]["open"].as_bool(), Some(true)),
                    Values::Closed(values) => {
                        let expand = |text: String| match text.strip_prefix('@') {
                            Some(set) => texts(&sets[set]),
                            None => vec![text],
                        };
                        let theirs: Vec<String> =
                            texts(&labels[label.name]["values"]).into_iter().flat_map(expand).collect();
                        assert_eq!(theirs, values, "{} {}", family.name(), label.name);
                    }
                }
            }
            let buckets = theirs.get("buckets").and_then(toml::Value::as_array).cloned().unwrap_or_default();
            let buckets: Vec<f64> = buckets.iter().map(|bound| bound.as_float().unwrap()).collect();
            assert_eq!(buckets, family.buckets());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn everything_is_there_at_0_on_the_first_scrape_and_a_ttl_is_not() {
        let registry = Registry::new();
        let instances = ["https://b", "https://a/x", "https://b/y"].map(|url| AdminInstance::parse(url).unwrap());
        let metrics = AuthMetrics::new(&registry, &instances, TestClock::starting_at(UnixTime::from_secs(1)));
        assert_eq!(
            registry.families(),
            [
                &VALIDATION,
                &REQUESTS,
                &REFRESH,
                &ERRORS,
                &ACQUISITION_DURATION,
                &REFRESH_DURATION,
                &CANCELLED,
                &WAITERS,
                &JWKS_FETCHES,
                &TTL,
                &SOURCE,
                &HIT_RATE,
            ]
        );
        assert_eq!(registry.families().len(), FAMILIES.len());
        let text = registry.encode(Format::Text);
        let count = |start: &str| text.lines().filter(|line| line.starts_with(start) && line.ends_with(" 0")).count();
        assert_eq!(count("auth_token_requests_total{"), 19);
        assert_eq!(count("auth_token_source_total{"), 2);
        assert_eq!(count("auth_token_refresh_total{"), 8);
        assert_eq!(count("auth_token_validation_total{"), 4);
        // Two instances share an origin, and so a series.
        assert_eq!(count("auth_errors_total{"), 36);
        assert_eq!(count("auth_token_acquisition_duration_seconds_bucket{"), 9);
        assert_eq!(count("auth_token_refresh_duration_seconds_bucket{"), 8);
        assert!(text.contains("# TYPE auth_token_ttl_seconds gauge\n# HELP"), "{text}");
        assert!(text.contains("\nauth_token_cache_hit_rate NaN\n"));
        assert_eq!(metrics.instance(&instances[2]), Some(0));
        assert_eq!(metrics.instance(&AdminInstance::parse("https://c").unwrap()), None);
    }

    #[test]
    fn hit_rate_is_a_percentage() {
        assert!(cache_hit_rate(0, 0).is_nan());
        assert_eq!((cache_hit_rate(0, 4), cache_hit_rate(1, 4), cache_hit_rate(4, 4)), (0.0, 25.0, 100.0));
    }
}
