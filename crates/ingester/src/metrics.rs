//! The `ingester_*` families and the typed events that record them; nothing else in this crate touches a number.

use crate::failure::Failure;
use artstore_api::file::RetentionPolicy;
use artstore_api::{Code, element::ElementMode};
use artstore_metrics::{
    Clock, Counter, Exemplar, Family, Gauge, GaugeGuard, Histogram, LabelSet, LabelValue as _, Monotonic, Registry,
    Row, Rows, SystemClock, label_enum,
};
use artstore_trace::Context;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

label_enum! {
    /// The retention policy of an upload, as far as it was known when the upload ended.
    pub enum Policy as "policy" {
        /// Kept until it expires.
        Temporary = "temporary",
        /// Kept.
        Permanent = "permanent",
        /// The upload ended before its policy was read; never of one that was stored.
        Unknown = "unknown",
    }
}

label_enum! {
    /// How an upload ended.
    pub enum UploadOutcome as "outcome" {
        /// It was published.
        Stored = "stored",
        /// The client was refused: a problem of status 4xx.
        Rejected = "rejected",
        /// We, the Admin Module or an element failed: a problem of status 5xx.
        Failed = "failed",
        /// The client went away before the end.
        Cancelled = "cancelled",
    }
}

label_enum! {
    /// How a download ended.
    pub enum DownloadOutcome as "outcome" {
        /// It was sent to the last byte, or there was none to send.
        Sent = "sent",
        /// The client was refused: a problem of status 4xx.
        Rejected = "rejected",
        /// We, the Admin Module or an element failed: a problem of status 5xx, or an answer broken off.
        Failed = "failed",
        /// The client went away before the end.
        Cancelled = "cancelled",
    }
}

label_enum! {
    /// How an upload came in.
    pub enum Way as "way" {
        /// `POST /api/v1/files/upload`.
        Multipart = "multipart",
        /// `PUT /api/v1/files`.
        Raw = "raw",
        /// `/api/v1/uploads`, the resumable way.
        Tus = "tus",
    }
}

label_enum! {
    /// Why an upload went to the next candidate.
    pub enum FailoverReason as "reason" {
        /// No room.
        Full = "full",
        /// It could not be reached, or broke off before a byte of the file was sent.
        Unreachable = "unreachable",
        /// It answered that it does not take the upload.
        Refused = "refused",
    }
}

label_enum! {
    /// What became of a session that was given up.
    pub enum Abandonment as "result" {
        /// The element took it away.
        Removed = "removed",
        /// The element did not answer; its sweep will take it away.
        LeftToSweep = "left_to_sweep",
    }
}

label_enum! {
    /// How a fetch of the list of elements ended.
    pub enum Fetch as "status" {
        /// A new list is held.
        Success = "success",
        /// The old one, if there is one, stays.
        Failure = "failure",
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

label_enum! {
    /// The code of a problem.
    pub enum ErrorCode as "code" {
        /// 400.
        ValidationError = "VALIDATION_ERROR",
        /// 401.
        Unauthorized = "UNAUTHORIZED",
        /// 403.
        Forbidden = "FORBIDDEN",
        /// 404.
        NotFound = "NOT_FOUND",
        /// 409.
        Conflict = "CONFLICT",
        /// 413.
        FileTooLarge = "FILE_TOO_LARGE",
        /// 422.
        ChecksumMismatch = "CHECKSUM_MISMATCH",
        /// 429.
        RateLimited = "RATE_LIMITED",
        /// 500.
        Internal = "INTERNAL",
        /// 502.
        AdminUnavailable = "ADMIN_UNAVAILABLE",
        /// 502.
        ElementUploadFailed = "ELEMENT_UPLOAD_FAILED",
        /// 503.
        NoStorageAvailable = "NO_STORAGE_AVAILABLE",
        /// 507.
        StorageFull = "STORAGE_FULL",
    }
}

/// Uploads by policy and outcome.
pub const UPLOADS_TOTAL: Family =
    Family::counter("ingester_uploads_total", "Uploads by retention policy and by how they ended.")
        .labels(&[Policy::LABEL, UploadOutcome::LABEL]);
/// How long published uploads took.
pub const UPLOAD_DURATION_SECONDS: Family = Family::histogram(
    "ingester_upload_duration_seconds",
    "Time from the head of an upload's request to its publication, of published uploads, by the way they came in.",
    &[0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0],
)
.labels(&[Way::LABEL]);
/// How large published uploads were.
pub const UPLOAD_SIZE_BYTES: Family = Family::histogram(
    "ingester_upload_size_bytes",
    "Size of published files, by the way they came in.",
    // 4 KiB, 64 KiB, the one-shot limit of 256 KiB, then by sixteens to 1 TiB.
    &[
        4096.0,
        65536.0,
        262_144.0,
        1_048_576.0,
        16_777_216.0,
        268_435_456.0,
        4_294_967_296.0,
        68_719_476_736.0,
        1_099_511_627_776.0,
    ],
)
.labels(&[Way::LABEL]);
/// Uploads under way.
pub const UPLOADS_ACTIVE: Family = Family::gauge("ingester_uploads_active", "Uploads under way.").labels(&[Way::LABEL]);
/// File bytes that came in.
pub const UPLOAD_RECEIVED_BYTES_TOTAL: Family = Family::counter(
    "ingester_upload_received_bytes_total",
    "File bytes taken from clients, of all uploads, however they ended.",
)
.labels(&[Way::LABEL]);
/// Problems answered.
pub const ERRORS_TOTAL: Family = Family::counter(
    "ingester_errors_total",
    "Problem documents answered, and requests given up because their client had gone, by code.",
)
.labels(&[ErrorCode::LABEL]);
/// Downloads by outcome.
pub const DOWNLOADS_TOTAL: Family =
    Family::counter("ingester_downloads_total", "Requests for a file's content by how they ended.")
        .labels(&[DownloadOutcome::LABEL]);
/// Downloads under way.
pub const DOWNLOADS_ACTIVE: Family = Family::gauge("ingester_downloads_active", "Downloads under way.");
/// File bytes that went out.
pub const DOWNLOAD_SENT_BYTES_TOTAL: Family = Family::counter(
    "ingester_download_sent_bytes_total",
    "File bytes handed to clients, of all downloads, however they ended.",
);
/// Candidates passed over.
pub const FAILOVERS_TOTAL: Family = Family::counter(
    "ingester_element_failovers_total",
    "Elements that did not take an upload before a byte of it moved, by reason; the next candidate was tried if there was one.",
)
.labels(&[FailoverReason::LABEL]);
/// Sessions given up.
pub const ABANDONED_TOTAL: Family = Family::counter(
    "ingester_sessions_abandoned_total",
    "Upload sessions on elements that were given up, by what became of them.",
)
.labels(&[Abandonment::LABEL]);
/// Fetches of the list of elements.
pub const LIST_FETCHES_TOTAL: Family = Family::counter(
    "ingester_element_list_fetches_total",
    "Fetches of the list of elements from the Admin Module by how they ended.",
)
.labels(&[Fetch::LABEL]);
/// Elements online.
pub const ELEMENTS_ONLINE: Family =
    Family::gauge("ingester_elements_online", "Elements that are online in the list last fetched, by mode.")
        .labels(&[Mode::LABEL]);

/// All families of this crate.
pub const FAMILIES: &[&Family] = &[
    &UPLOADS_TOTAL,
    &UPLOAD_DURATION_SECONDS,
    &UPLOAD_SIZE_BYTES,
    &UPLOADS_ACTIVE,
    &UPLOAD_RECEIVED_BYTES_TOTAL,
    &ERRORS_TOTAL,
    &DOWNLOADS_TOTAL,
    &DOWNLOADS_ACTIVE,
    &DOWNLOAD_SENT_BYTES_TOTAL,
    &FAILOVERS_TOTAL,
    &ABANDONED_TOTAL,
    &LIST_FETCHES_TOTAL,
    &ELEMENTS_ONLINE,
];

impl From<RetentionPolicy> for Policy {
    fn from(policy: RetentionPolicy) -> Self {
        match policy {
            RetentionPolicy::Temporary => Self::Temporary,
            RetentionPolicy::Permanent => Self::Permanent,
        }
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

impl From<Code> for ErrorCode {
    fn from(code: Code) -> Self {
        match code {
            Code::ValidationError => Self::ValidationError,
            Code::Unauthorized => Self::Unauthorized,
            Code::Forbidden => Self::Forbidden,
            Code::NotFound => Self::NotFound,
            Code::Conflict => Self::Conflict,
            Code::FileTooLarge => Self::FileTooLarge,
            Code::ChecksumMismatch => Self::ChecksumMismatch,
            Code::RateLimited => Self::RateLimited,
            Code::Internal => Self::Internal,
            Code::AdminUnavailable => Self::AdminUnavailable,
            Code::ElementUploadFailed => Self::ElementUploadFailed,
            Code::NoStorageAvailable => Self::NoStorageAvailable,
            Code::StorageFull => Self::StorageFull,
        }
    }
}

impl From<Code> for UploadOutcome {
    fn from(code: Code) -> Self {
        if code.status() < 500 { Self::Rejected } else { Self::Failed }
    }
}

impl From<Code> for DownloadOutcome {
    fn from(code: Code) -> Self {
        if code.status() < 500 { Self::Rejected } else { Self::Failed }
    }
}

/// The end of an upload: every pair of policy and outcome but that of a stored file of an unknown policy, which cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct UploadEnd {
    policy: Policy,
    outcome: UploadOutcome,
}

impl Row for UploadEnd {
    fn row(self) -> usize {
        let pair = (self.policy, self.outcome).row();
        // The impossible pair would stand right before the other outcomes of the unknown policy.
        if self.policy == Policy::Unknown { pair.saturating_sub(1) } else { pair }
    }
}

impl LabelSet for UploadEnd {
    fn names() -> Vec<&'static str> {
        <(Policy, UploadOutcome)>::names()
    }

    fn rows() -> Rows {
        let impossible = [Cow::from(Policy::Unknown.label()), Cow::from(UploadOutcome::Stored.label())];
        <(Policy, UploadOutcome)>::rows().into_iter().filter(|row| row[..] != impossible).collect()
    }
}

/// The storage of all families of one Ingester. Clones share it.
#[derive(Debug, Clone)]
pub struct IngesterMetrics<C: Clock = SystemClock> {
    shared: Arc<Shared>,
    clock: C,
}

#[derive(Debug)]
struct Shared {
    uploads: Counter<UploadEnd>,
    upload_duration: Histogram<Way>,
    upload_size: Histogram<Way>,
    uploads_active: Gauge<Way>,
    upload_bytes: Counter<Way>,
    errors: Counter<ErrorCode>,
    downloads: Counter<DownloadOutcome>,
    downloads_active: Gauge,
    download_bytes: Counter,
    failovers: Counter<FailoverReason>,
    abandoned: Counter<Abandonment>,
    list_fetches: Counter<Fetch>,
    elements_online: Gauge<Mode>,
}

impl<C: Clock> IngesterMetrics<C> {
    /// Registers all families.
    #[must_use]
    pub fn new(registry: &Registry, clock: C) -> Self {
        let shared = Shared {
            uploads: registry.counter(&UPLOADS_TOTAL),
            upload_duration: registry.histogram(&UPLOAD_DURATION_SECONDS),
            upload_size: registry.histogram(&UPLOAD_SIZE_BYTES),
            uploads_active: registry.gauge(&UPLOADS_ACTIVE),
            upload_bytes: registry.counter(&UPLOAD_RECEIVED_BYTES_TOTAL),
            errors: registry.counter(&ERRORS_TOTAL),
            downloads: registry.counter(&DOWNLOADS_TOTAL),
            downloads_active: registry.gauge(&DOWNLOADS_ACTIVE),
            download_bytes: registry.counter(&DOWNLOAD_SENT_BYTES_TOTAL),
            failovers: registry.counter(&FAILOVERS_TOTAL),
            abandoned: registry.counter(&ABANDONED_TOTAL),
            list_fetches: registry.counter(&LIST_FETCHES_TOTAL),
            elements_online: registry.gauge(&ELEMENTS_ONLINE),
        };
        Self { shared: Arc::new(shared), clock }
    }

    /// An upload began.
    pub fn upload_started(&self, way: Way) -> UploadSpan<C> {
        UploadSpan {
            active: self.shared.uploads_active.hold(way),
            metrics: self.clone(),
            way,
            policy: Policy::Unknown,
            started: self.clock.monotonic(),
            trace: Context::current(),
            end: End::Dropped,
        }
    }

    /// A download began.
    pub fn download_started(&self) -> DownloadSpan {
        DownloadSpan {
            active: self.shared.downloads_active.hold(()),
            shared: Arc::clone(&self.shared),
            outcome: DownloadOutcome::Cancelled,
        }
    }

    /// A problem was answered, or would have been had its client not gone.
    pub fn problem_answered(&self, code: Code) {
        self.shared.errors.inc(code.into());
    }

    /// A candidate did not take an upload.
    pub fn candidate_passed_over(&self, reason: FailoverReason) {
        self.shared.failovers.inc(reason);
    }

    /// A session was given up.
    pub fn session_abandoned(&self, result: Abandonment) {
        self.shared.abandoned.inc(result);
    }

    /// A fetch of the list of elements failed.
    pub fn list_fetch_failed(&self) {
        self.shared.list_fetches.inc(Fetch::Failure);
    }

    /// A list of elements was fetched; so many of each mode are online.
    pub fn list_fetched(&self, online: impl Fn(ElementMode) -> usize) {
        self.shared.list_fetches.inc(Fetch::Success);
        for mode in [ElementMode::Edit, ElementMode::Rw] {
            let count = i64::try_from(online(mode)).unwrap_or(i64::MAX);
            self.shared.elements_online.set(mode.into(), count);
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum End {
    Stored { size: u64 },
    Failed(UploadOutcome),
    Dropped,
}

/// One upload: counts exactly one end, also when its task is dropped because the client went away (`cancelled`).
#[derive(Debug)]
#[must_use = "an upload whose span is dropped at once counts as cancelled"]
pub struct UploadSpan<C: Clock = SystemClock> {
    metrics: IngesterMetrics<C>,
    way: Way,
    policy: Policy,
    started: Monotonic,
    trace: Option<Context>,
    end: End,
    #[expect(dead_code, reason = "held for the gauge")]
    active: GaugeGuard,
}

impl<C: Clock> UploadSpan<C> {
    /// The policy is known now.
    pub fn policy(&mut self, policy: RetentionPolicy) {
        self.policy = policy.into();
    }

    /// A handle that counts file bytes as they come in; it may outlive the span.
    #[must_use]
    pub fn received(&self) -> ReceivedBytes {
        ReceivedBytes { shared: Arc::clone(&self.metrics.shared), way: self.way }
    }

    /// The time since the upload began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.metrics.clock.monotonic().since(self.started)
    }

    /// It was published, with this policy.
    pub fn stored(mut self, policy: RetentionPolicy, size: u64) {
        self.policy = policy.into();
        self.end = End::Stored { size };
    }

    /// It was refused or failed, by the code of its problem.
    pub fn failed(mut self, code: Code) {
        self.end = End::Failed(code.into());
    }

    /// It failed, or its client went away (`cancelled`).
    pub fn ended_by(self, failure: &Failure) {
        // Dropped as it is, a span counts as cancelled.
        if !failure.is_client_gone() {
            self.failed(failure.code());
        }
    }
}

impl<C: Clock> Drop for UploadSpan<C> {
    fn drop(&mut self) {
        let shared = &self.metrics.shared;
        let outcome = match self.end {
            End::Stored { size } => {
                #[expect(clippy::cast_precision_loss, reason = "a histogram's sum is a float")]
                shared.upload_size.observe_value(self.way, size as f64);
                let exemplar = self.trace.as_ref().and_then(|trace| Exemplar::of(trace, &self.metrics.clock));
                shared.upload_duration.observe_traced(self.way, self.elapsed(), exemplar);
                UploadOutcome::Stored
            }
            End::Failed(outcome) => outcome,
            End::Dropped => UploadOutcome::Cancelled,
        };
        shared.uploads.inc(UploadEnd { policy: self.policy, outcome });
    }
}

/// Counts file bytes as they come in.
#[derive(Debug, Clone)]
pub struct ReceivedBytes {
    shared: Arc<Shared>,
    way: Way,
}

impl ReceivedBytes {
    /// So many more.
    pub fn add(&self, bytes: usize) {
        self.shared.upload_bytes.add(self.way, bytes as u64);
    }
}

/// One download: counts exactly one end, also when its body is dropped because the client went away (`cancelled`).
#[derive(Debug)]
#[must_use = "a download whose span is dropped at once counts as cancelled"]
pub struct DownloadSpan {
    shared: Arc<Shared>,
    outcome: DownloadOutcome,
    #[expect(dead_code, reason = "held for the gauge")]
    active: GaugeGuard,
}

impl DownloadSpan {
    /// So many more bytes were handed to the client.
    pub fn sent(&self, bytes: usize) {
        self.shared.download_bytes.add((), bytes as u64);
    }

    /// The last byte was handed to the client, or there was none to send.
    pub fn done(mut self) {
        self.outcome = DownloadOutcome::Sent;
    }

    /// It was refused or failed, by the code of its problem.
    pub fn failed(mut self, code: Code) {
        self.outcome = code.into();
    }
}

impl Drop for DownloadSpan {
    fn drop(&mut self) {
        self.shared.downloads.inc(self.outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use artstore_metrics::{Format, TestClock, UnixTime};

    fn fixture() -> (Registry, IngesterMetrics<TestClock>) {
        let registry = Registry::new();
        let metrics = IngesterMetrics::new(&registry, TestClock::starting_at(UnixTime::from_secs(1_800_000_000)));
        (registry, metrics)
    }

    #[tokio::test]
    async fn all_families_are_listed_and_every_valid_series_starts_at_zero() {
        let (registry, _metrics) = fixture();
        let names = |families: &[&Family]| families.iter().map(|family| family.name()).collect::<Vec<_>>();
        assert_eq!(names(&registry.families()), names(FAMILIES));
        let text = registry.encode(Format::Text);
        let series: Vec<&str> = text.lines().filter(|line| line.starts_with("ingester_uploads_total{")).collect();
        assert_eq!(
            series,
            [
                "ingester_uploads_total{policy=\"temporary\",outcome=\"stored\"} 0",
                "ingester_uploads_total{policy=\"temporary\",outcome=\"rejected\"} 0",
                "ingester_uploads_total{policy=\"temporary\",outcome=\"failed\"} 0",
                "ingester_uploads_total{policy=\"temporary\",outcome=\"cancelled\"} 0",
                "ingester_uploads_total{policy=\"permanent\",outcome=\"stored\"} 0",
                "ingester_uploads_total{policy=\"permanent\",outcome=\"rejected\"} 0",
                "ingester_uploads_total{policy=\"permanent\",outcome=\"failed\"} 0",
                "ingester_uploads_total{policy=\"permanent\",outcome=\"cancelled\"} 0",
                "ingester_uploads_total{policy=\"unknown\",outcome=\"rejected\"} 0",
                "ingester_uploads_total{policy=\"unknown\",outcome=\"failed\"} 0",
                "ingester_uploads_total{policy=\"unknown\",outcome=\"cancelled\"} 0",
            ]
        );
        assert!(
            text.lines()
                .filter(|line| !line.starts_with('#'))
                .all(|line| line.ends_with(" 0") || line.ends_with(" 0.0"))
        );
    }

    #[test]
    fn rows_of_upload_ends_are_in_the_order_of_their_index() {
        for (place, row) in UploadEnd::rows().iter().enumerate() {
            let end = Policy::ALL
                .iter()
                .flat_map(|policy| {
                    UploadOutcome::ALL.iter().map(|outcome| UploadEnd { policy: *policy, outcome: *outcome })
                })
                .find(|end| row[..] == [end.policy.label(), end.outcome.label()])
                .unwrap();
            assert_eq!(end.row(), place);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_moves_one_end_and_only_a_stored_one_the_histograms() {
        let (registry, metrics) = fixture();
        let sum = |name: &str, labels: &[(&str, &str)]| registry.sum_of(name, labels);
        let stored = metrics.upload_started(Way::Raw);
        let mut rejected = metrics.upload_started(Way::Multipart);
        let mut dropped = metrics.upload_started(Way::Multipart);
        let failed = metrics.upload_started(Way::Raw);
        assert_eq!(sum("ingester_uploads_active", &[("way", "raw")]), 2.0);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(stored.elapsed(), Duration::from_secs(2));
        let received = stored.received();
        stored.stored(RetentionPolicy::Permanent, 5000);
        received.add(5000);
        rejected.policy(RetentionPolicy::Temporary);
        rejected.failed(Code::ChecksumMismatch);
        dropped.policy(RetentionPolicy::Permanent);
        dropped.ended_by(&Failure::client_gone());
        failed.ended_by(&Failure::new(Code::StorageFull, ""));
        assert_eq!(sum("ingester_uploads_active", &[]), 0.0);
        for (policy, outcome) in
            [("permanent", "stored"), ("temporary", "rejected"), ("permanent", "cancelled"), ("unknown", "failed")]
        {
            let labels = [("policy", policy), ("outcome", outcome)];
            assert_eq!(sum("ingester_uploads_total", &labels), 1.0, "{labels:?}");
        }
        assert_eq!(sum("ingester_uploads_total", &[]), 4.0);
        assert_eq!(sum("ingester_upload_duration_seconds_sum", &[("way", "raw")]), 2.0);
        assert_eq!(sum("ingester_upload_duration_seconds_count", &[]), 1.0);
        assert_eq!(sum("ingester_upload_size_bytes_sum", &[("way", "raw")]), 5000.0);
        assert_eq!(sum("ingester_upload_size_bytes_count", &[]), 1.0);
        assert_eq!(sum("ingester_upload_received_bytes_total", &[("way", "raw")]), 5000.0);
    }

    #[tokio::test]
    async fn a_download_moves_one_end() {
        let (registry, metrics) = fixture();
        let sum = |name: &str, labels: &[(&str, &str)]| registry.sum_of(name, labels);
        let span = metrics.download_started();
        span.sent(7);
        assert_eq!(sum("ingester_downloads_active", &[]), 1.0);
        span.done();
        metrics.download_started().failed(Code::NotFound);
        metrics.download_started().failed(Code::ElementUploadFailed);
        drop(metrics.download_started());
        for outcome in ["sent", "rejected", "failed", "cancelled"] {
            assert_eq!(sum("ingester_downloads_total", &[("outcome", outcome)]), 1.0, "{outcome}");
        }
        assert_eq!(sum("ingester_download_sent_bytes_total", &[]), 7.0);
        assert_eq!(sum("ingester_downloads_active", &[]), 0.0);
    }

    #[tokio::test]
    async fn other_events_move_their_one_series() {
        let (registry, metrics) = fixture();
        let sum = |name: &str, labels: &[(&str, &str)]| registry.sum_of(name, labels);
        for code in Code::ALL {
            metrics.problem_answered(code);
            assert_eq!(sum("ingester_errors_total", &[("code", code.as_str())]), 1.0);
        }
        metrics.candidate_passed_over(FailoverReason::Full);
        assert_eq!(sum("ingester_element_failovers_total", &[("reason", "full")]), 1.0);
        metrics.session_abandoned(Abandonment::LeftToSweep);
        assert_eq!(sum("ingester_sessions_abandoned_total", &[("result", "left_to_sweep")]), 1.0);
        metrics.list_fetch_failed();
        metrics.list_fetched(|mode| if mode == ElementMode::Edit { 3 } else { 1 });
        assert_eq!(sum("ingester_element_list_fetches_total", &[("status", "failure")]), 1.0);
        assert_eq!(sum("ingester_element_list_fetches_total", &[("status", "success")]), 1.0);
        assert_eq!(sum("ingester_elements_online", &[("mode", "edit")]), 3.0);
        assert_eq!(sum("ingester_elements_online", &[("mode", "rw")]), 1.0);
    }
}
