//! The families of the Admin Module, and the typed events that move them.

use crate::elements::Fleet;
use crate::keys::KeyRing;
use crate::limiter::FailureLimiter;
use crate::store::{Applied, Swept};
use artstore_api::element::{ElementMode, ElementStatus};
use artstore_auth::Algorithm;
use artstore_metrics::{
    Clock, Counter, Exemplar, Family, Gauge, Histogram, Label, LabelValue as _, Monotonic, Registry, label_enum,
};
use std::sync::Arc;

label_enum! {
    /// Which of the two forms of the token endpoint was asked.
    pub enum TokenForm as "form" {
        /// `POST /oauth2/token`.
        OAuth = "oauth",
        /// `POST /api/v1/auth/token`, the original's.
        Json = "json",
    }
}

label_enum! {
    /// How a token request ended.
    pub enum TokenOutcome as "outcome" {
        /// With a token.
        Issued = "issued",
        /// A parameter is missing, repeated or not readable.
        InvalidRequest = "invalid_request",
        /// Unknown client, wrong secret, or no credentials.
        InvalidClient = "invalid_client",
        /// The account is suspended.
        UnauthorizedClient = "unauthorized_client",
        /// Another grant than client credentials.
        UnsupportedGrantType = "unsupported_grant_type",
        /// A scope that the account does not have.
        InvalidScope = "invalid_scope",
        /// A failed authentication beyond the limits, answered with 429.
        RateLimited = "rate_limited",
        /// The database or the signature failed.
        Internal = "internal",
    }
}

label_enum! {
    /// Which limit of failed authentications was spent.
    pub enum FailureLimit as "limit" {
        /// That of one client at one address.
        Client = "client",
        /// That of an address.
        Address = "address",
    }
}

label_enum! {
    /// What an element is for.
    pub enum Mode as "mode" {
        /// Temporary files.
        Edit = "edit",
        /// Permanent files.
        Rw = "rw",
    }
}

impl From<ElementMode> for Mode {
    fn from(mode: ElementMode) -> Self {
        match mode {
            ElementMode::Edit => Self::Edit,
            ElementMode::Rw => Self::Rw,
        }
    }
}

label_enum! {
    /// Whether an element reported itself of late.
    pub enum Status as "status" {
        /// It did.
        Online = "online",
        /// It did not.
        Offline = "offline",
    }
}

impl From<ElementStatus> for Status {
    fn from(status: ElementStatus) -> Self {
        match status {
            ElementStatus::Online => Self::Online,
            ElementStatus::Offline => Self::Offline,
        }
    }
}

label_enum! {
    /// What a change did to the index.
    pub enum Change as "change" {
        /// A file came in.
        Published = "published",
        /// A file got another record, or was found on another element.
        Replaced = "replaced",
        /// A file was deleted.
        Deleted = "deleted",
        /// It was known already, came after a deletion, or deletes what is not in the index.
        Unchanged = "unchanged",
        /// A file's time was over, and no deletion of it was told.
        Expired = "expired",
        /// A rebuild did not find it on its element.
        Lost = "lost",
    }
}

label_enum! {
    /// How a look into the folder of keys ended.
    pub enum Reload as "result" {
        /// The keys are the same.
        Unchanged = "unchanged",
        /// There are other keys now.
        Changed = "changed",
        /// A file could not be used; the keys stayed as they were.
        Failed = "failed",
    }
}

label_enum! {
    /// Why a request of the module's own API was refused before it did anything.
    pub enum Refusal as "reason" {
        /// No token, or one that is not valid here.
        Unauthorized = "unauthorized",
        /// The token lacks the scope.
        Forbidden = "forbidden",
        /// The token could not be checked.
        Unchecked = "unchecked",
        /// The body is too long, stalled, or not what it should be.
        Invalid = "invalid",
    }
}

const ALGORITHM: Label = Label::closed("algorithm", &["RS256", "ES256", "EdDSA"]);

/// `admin_token_requests_total`.
pub const TOKEN_REQUESTS: Family =
    Family::counter("admin_token_requests_total", "Token requests by the form of the endpoint and by outcome.")
        .labels(&[TokenForm::LABEL, TokenOutcome::LABEL]);

/// `admin_token_requests_cancelled_total`.
pub const TOKEN_REQUESTS_CANCELLED: Family = Family::counter(
    "admin_token_requests_cancelled_total",
    "Token requests whose client left before the answer, or that were cut off at shutdown.",
)
.labels(&[TokenForm::LABEL]);

/// `admin_token_failures_limited_total`.
pub const FAILURES_LIMITED: Family = Family::counter(
    "admin_token_failures_limited_total",
    "Failed authentications at the token endpoint that were answered with 429, by the limit that was spent.",
)
.labels(&[FailureLimit::LABEL]);

/// `admin_token_failures_remembered`.
pub const FAILURES_REMEMBERED: Family = Family::gauge(
    "admin_token_failures_remembered",
    "Pairs of client and address, and addresses, whose failed authentications still count, computed when scraped.",
);

/// `admin_token_failures_forgotten_total`.
pub const FAILURES_FORGOTTEN: Family = Family::counter(
    "admin_token_failures_forgotten_total",
    "Pairs and addresses that were forgotten early because others failed: many addresses attack at once.",
);

/// `admin_token_issue_duration_seconds`.
pub const TOKEN_ISSUE_DURATION: Family = Family::histogram(
    "admin_token_issue_duration_seconds",
    "Time from a whole token request to its token, for requests that got one.",
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5],
);

/// `admin_signing_keys`.
pub const SIGNING_KEYS: Family =
    Family::gauge("admin_signing_keys", "Published signing keys by algorithm.").labels(&[ALGORITHM]);

/// `admin_signing_key_reload_total`.
pub const SIGNING_KEY_RELOADS: Family =
    Family::counter("admin_signing_key_reload_total", "Looks into the folder of signing keys by result.")
        .labels(&[Reload::LABEL]);

/// `admin_storage_elements`.
pub const STORAGE_ELEMENTS: Family = Family::gauge(
    "admin_storage_elements",
    "Known Storage Elements by mode and by whether their last report is recent, computed when scraped.",
)
.labels(&[Mode::LABEL, Status::LABEL]);

/// `admin_element_reports_total`.
pub const ELEMENT_REPORTS: Family =
    Family::counter("admin_element_reports_total", "Reports that Storage Elements made of themselves, by mode.")
        .labels(&[Mode::LABEL]);

/// `admin_index_changes_total`.
pub const INDEX_CHANGES: Family =
    Family::counter("admin_index_changes_total", "Changes of the index of files by what they did.")
        .labels(&[Change::LABEL]);

/// `admin_index_files`.
pub const INDEX_FILES: Family = Family::gauge(
    "admin_index_files",
    "Files in the index; an expired one counts until its deletion is told or it is swept.",
);

/// `admin_api_refusals_total`.
pub const API_REFUSALS: Family =
    Family::counter("admin_api_refusals_total", "Requests of the module's own API that were refused, by reason.")
        .labels(&[Refusal::LABEL]);

/// `admin_store_errors_total`.
pub const STORE_ERRORS: Family =
    Family::counter("admin_store_errors_total", "Operations that the database did not do.");

/// All families of this crate.
pub const FAMILIES: &[&Family] = &[
    &TOKEN_REQUESTS,
    &TOKEN_REQUESTS_CANCELLED,
    &TOKEN_ISSUE_DURATION,
    &FAILURES_LIMITED,
    &FAILURES_REMEMBERED,
    &FAILURES_FORGOTTEN,
    &SIGNING_KEYS,
    &SIGNING_KEY_RELOADS,
    &STORAGE_ELEMENTS,
    &ELEMENT_REPORTS,
    &INDEX_CHANGES,
    &INDEX_FILES,
    &API_REFUSALS,
    &STORE_ERRORS,
];

/// The storage of the module's families. Clones share it.
#[derive(Debug, Clone)]
pub struct AdminMetrics {
    token_requests: Counter<(TokenForm, TokenOutcome)>,
    token_requests_cancelled: Counter<TokenForm>,
    token_issue_duration: Histogram,
    failures_limited: Counter<FailureLimit>,
    failures_forgotten: Counter,
    reloads: Counter<Reload>,
    element_reports: Counter<Mode>,
    index_changes: Counter<Change>,
    index_files: Gauge,
    refusals: Counter<Refusal>,
    store_errors: Counter,
}

impl AdminMetrics {
    /// Registers the families.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        Self {
            token_requests: registry.counter(&TOKEN_REQUESTS),
            token_requests_cancelled: registry.counter(&TOKEN_REQUESTS_CANCELLED),
            token_issue_duration: registry.histogram(&TOKEN_ISSUE_DURATION),
            failures_limited: registry.counter(&FAILURES_LIMITED),
            failures_forgotten: registry.counter(&FAILURES_FORGOTTEN),
            reloads: registry.counter(&SIGNING_KEY_RELOADS),
            element_reports: registry.counter(&ELEMENT_REPORTS),
            index_changes: registry.counter(&INDEX_CHANGES),
            index_files: registry.gauge(&INDEX_FILES),
            refusals: registry.counter(&API_REFUSALS),
            store_errors: registry.counter(&STORE_ERRORS),
        }
    }

    /// Registers what is computed from the keys, the elements' reports and the limits when scraped.
    pub(crate) fn observe<C: Clock>(
        registry: &Registry,
        keys: Arc<KeyRing<C>>,
        fleet: Arc<Fleet<C>>,
        limiter: Arc<FailureLimiter<C>>,
    ) {
        registry.computed(&FAILURES_REMEMBERED, move |samples| samples.integer(&[], limiter.remembered()));
        registry.computed(&SIGNING_KEYS, move |samples| {
            for algorithm in Algorithm::ALL {
                samples.integer(&[algorithm.as_str()], u64::try_from(keys.count(algorithm)).unwrap_or(u64::MAX));
            }
        });
        registry.computed(&STORAGE_ELEMENTS, move |samples| {
            for ((mode, status), count) in fleet.count() {
                samples.integer(&[mode.label(), status.label()], count);
            }
        });
    }

    /// A span over one token request; dropped without an outcome it counts as cancelled.
    pub(crate) fn token_request<C: Clock>(&self, form: TokenForm, clock: C) -> TokenSpan<C> {
        TokenSpan { metrics: self.clone(), form, started: clock.monotonic(), clock, outcome: None }
    }

    /// A failed authentication was answered with 429.
    pub(crate) fn limited(&self, limit: FailureLimit) {
        self.failures_limited.inc(limit);
    }

    /// For a failure so many others had to be forgotten.
    pub(crate) fn failures_forgotten(&self, count: u64) {
        self.failures_forgotten.add((), count);
    }

    /// The folder of keys was read.
    pub(crate) fn reloaded(&self, result: Reload) {
        self.reloads.inc(result);
    }

    /// An element reported itself.
    pub(crate) fn element_reported(&self, mode: ElementMode) {
        self.element_reports.inc(mode.into());
    }

    /// A batch was applied.
    pub(crate) fn applied(&self, applied: Applied) {
        self.index_changes.add(Change::Published, applied.published);
        self.index_changes.add(Change::Replaced, applied.replaced);
        self.index_changes.add(Change::Deleted, applied.deleted);
        self.index_changes.add(Change::Unchanged, applied.unchanged);
        self.index_files.add((), signed(applied.published) - signed(applied.deleted));
    }

    /// A sweep ran.
    pub(crate) fn swept(&self, swept: Swept) {
        self.index_changes.add(Change::Expired, swept.expired);
    }

    /// A rebuild found files gone.
    pub(crate) fn lost(&self, files: u64) {
        self.index_changes.add(Change::Lost, files);
        self.index_files.add((), -signed(files));
    }

    /// The index was counted: what other replicas changed is in it too.
    pub(crate) fn counted(&self, files: u64) {
        self.index_files.set((), signed(files));
    }

    /// A request of the API was refused.
    pub(crate) fn refused(&self, refusal: Refusal) {
        self.refusals.inc(refusal);
    }

    /// The database did not do what it was asked.
    pub(crate) fn store_failed(&self) {
        self.store_errors.inc(());
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// One token request under way.
#[derive(Debug)]
pub(crate) struct TokenSpan<C: Clock> {
    metrics: AdminMetrics,
    form: TokenForm,
    started: Monotonic,
    clock: C,
    outcome: Option<TokenOutcome>,
}

impl<C: Clock> TokenSpan<C> {
    /// The request ended so.
    pub(crate) fn end(mut self, outcome: TokenOutcome) {
        self.outcome = Some(outcome);
    }
}

impl<C: Clock> Drop for TokenSpan<C> {
    fn drop(&mut self) {
        let Some(outcome) = self.outcome else { return self.metrics.token_requests_cancelled.inc(self.form) };
        if outcome == TokenOutcome::Issued {
            let took = self.clock.monotonic().since(self.started);
            self.metrics.token_issue_duration.observe_traced((), took, Exemplar::current(&self.clock));
        }
        self.metrics.token_requests.inc((self.form, outcome));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limiter::FailureLimits;
    use artstore_metrics::{Format, TestClock, UnixTime};
    use std::time::Duration;

    fn clock() -> TestClock {
        TestClock::starting_at(UnixTime::from_secs(1_800_000_000))
    }

    #[test]
    fn names_follow_the_conventions() {
        for family in FAMILIES {
            assert!(family.name().starts_with("admin_"), "{}", family.name());
            assert!(family.help().ends_with('.'), "{}", family.name());
        }
        assert!(TOKEN_ISSUE_DURATION.buckets().contains(&0.5));
    }

    #[tokio::test(start_paused = true)]
    async fn every_family_is_at_zero_from_the_first_scrape() {
        let (registry, clock, dir) = (Registry::new(), clock(), tempfile::tempdir().unwrap());
        let _metrics = AdminMetrics::new(&registry);
        let keys = KeyRing::open(dir.path(), Algorithm::EdDsa, Duration::ZERO, clock.clone()).unwrap();
        let fleet = Arc::new(Fleet::new(Duration::from_secs(30), clock));
        let limiter = Arc::new(FailureLimiter::new(FailureLimits::default(), self::clock()));
        limiter.failed(Some("a"), std::net::Ipv4Addr::LOCALHOST.into()).unwrap();
        AdminMetrics::observe(&registry, Arc::new(keys), fleet, limiter);
        let mut names: Vec<&str> = registry.families().iter().map(|family| family.name()).collect();
        let mut declared: Vec<&str> = FAMILIES.iter().map(|family| family.name()).collect();
        names.sort_unstable();
        declared.sort_unstable();
        assert_eq!(names, declared);
        let text = registry.encode(Format::Text);
        let series = text.lines().filter(|line| !line.starts_with('#')).count();
        // 16 + 2 + (11 bounds, +Inf, sum, count) + 2 + 1 + 1 + 3 + 3 + 4 + 2 + 6 + 1 + 4 + 1
        assert_eq!(series, 60, "{text}");
        assert!(text.contains("\nadmin_token_failures_remembered 2\n"));
        assert!(text.contains("\nadmin_signing_keys{algorithm=\"EdDSA\"} 1\n"));
        assert!(text.contains("\nadmin_storage_elements{mode=\"rw\",status=\"offline\"} 0\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn each_event_moves_its_own_series() {
        let (registry, clock) = (Registry::new(), clock());
        let metrics = AdminMetrics::new(&registry);
        let span = metrics.token_request(TokenForm::OAuth, clock.clone());
        tokio::time::advance(Duration::from_millis(300)).await;
        span.end(TokenOutcome::Issued);
        metrics.token_request(TokenForm::Json, clock.clone()).end(TokenOutcome::InvalidClient);
        drop(metrics.token_request(TokenForm::Json, clock));
        metrics.limited(FailureLimit::Address);
        metrics.failures_forgotten(3);
        metrics.reloaded(Reload::Failed);
        metrics.element_reported(ElementMode::Rw);
        metrics.element_reported(ElementMode::Edit);
        metrics.applied(Applied { published: 3, replaced: 6, deleted: 2, unchanged: 1 });
        metrics.swept(Swept { expired: 4, tombstones: 9 });
        metrics.lost(5);
        assert_eq!(registry.sum_of("admin_index_files", &[]), -4.0);
        metrics.counted(7);
        metrics.refused(Refusal::Forbidden);
        metrics.store_failed();
        let sum = |name: &str, labels: &[(&str, &str)]| registry.sum_of(name, labels);
        assert_eq!(sum("admin_token_requests_total", &[("form", "oauth"), ("outcome", "issued")]), 1.0);
        assert_eq!(sum("admin_token_requests_total", &[("form", "json"), ("outcome", "invalid_client")]), 1.0);
        assert_eq!(sum("admin_token_requests_total", &[]), 2.0);
        assert_eq!(sum("admin_token_requests_cancelled_total", &[("form", "json")]), 1.0);
        assert_eq!(sum("admin_token_requests_cancelled_total", &[]), 1.0);
        assert_eq!(sum("admin_token_failures_limited_total", &[("limit", "address")]), 1.0);
        assert_eq!(sum("admin_token_failures_limited_total", &[("limit", "client")]), 0.0);
        assert_eq!(sum("admin_token_failures_forgotten_total", &[]), 3.0);
        assert_eq!(sum("admin_token_issue_duration_seconds_sum", &[]), 0.3);
        assert_eq!(sum("admin_token_issue_duration_seconds_bucket", &[("le", "0.25")]), 0.0);
        assert_eq!(sum("admin_token_issue_duration_seconds_bucket", &[("le", "0.5")]), 1.0);
        assert_eq!(sum("admin_signing_key_reload_total", &[("result", "failed")]), 1.0);
        assert_eq!(sum("admin_element_reports_total", &[("mode", "rw")]), 1.0);
        assert_eq!(sum("admin_element_reports_total", &[("mode", "edit")]), 1.0);
        for (change, count) in [
            ("published", 3.0),
            ("replaced", 6.0),
            ("deleted", 2.0),
            ("unchanged", 1.0),
            ("expired", 4.0),
            ("lost", 5.0),
        ] {
            assert_eq!(sum("admin_index_changes_total", &[("change", change)]), count, "{change}");
        }
        assert_eq!(sum("admin_index_files", &[]), 7.0);
        assert_eq!(sum("admin_api_refusals_total", &[("reason", "forbidden")]), 1.0);
        assert_eq!(sum("admin_store_errors_total", &[]), 1.0);
    }

    #[test]
    fn statuses_are_their_own_words() {
        assert_eq!(Status::from(ElementStatus::Online).label(), "online");
        assert_eq!(Status::from(ElementStatus::Offline).label(), "offline");
    }
}
