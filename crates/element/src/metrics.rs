//! The families of a Storage Element and the typed events that move them.

use artstore_metrics::{Counter, Exemplar, Family, Gauge, GaugeGuard, Histogram, LabelValue, Registry, label_enum};
use std::time::Duration;

label_enum! {
    /// How an upload ended. Each upload ends once.
    pub enum UploadOutcome as "outcome" {
        /// The file was published.
        Published = "published",
        /// The bytes were not those that the client's digest names.
        ChecksumMismatch = "checksum_mismatch",
        /// There was no room, at the start or later.
        StorageFull = "storage_full",
        /// There were more bytes than the limit or than announced.
        TooLarge = "too_large",
        /// The request was refused before a byte moved, for another reason than room.
        Refused = "refused",
        /// The client gave it up.
        Abandoned = "abandoned",
        /// Nobody continued it in time.
        Expired = "expired",
        /// A one-request upload's connection broke, or its body stalled.
        BrokenOff = "broken_off",
        /// The store failed.
        Failed = "failed",
    }
}

label_enum! {
    /// What a sweep removed.
    pub enum Leftover as "kind" {
        /// Bytes that no upload and no file own.
        Part = "part",
        /// An upload's notes without its bytes.
        Session = "session",
        /// Attributes without an object: a commit that did not come about.
        Attributes = "attributes",
        /// An object without attributes: a commit or a delete that did not come about.
        Object = "object",
    }
}

label_enum! {
    /// Why a file was deleted.
    pub enum DeleteCause as "cause" {
        /// A client asked.
        Client = "client",
        /// It expired.
        Expired = "expired",
    }
}

label_enum! {
    /// What is told to the Admin Module.
    pub enum Report as "report" {
        /// The element itself.
        Heartbeat = "heartbeat",
        /// A batch of changes.
        Records = "records",
    }
}

label_enum! {
    /// How a report ended.
    pub enum ReportResult as "result" {
        /// It was acknowledged.
        Acknowledged = "acknowledged",
        /// The Admin Module was not reached or did not answer in time.
        Unreachable = "unreachable",
        /// It answered that what is told is wrong.
        Refused = "refused",
        /// It answered that this element may not tell it.
        Denied = "denied",
        /// No token could be had.
        NoToken = "no_token",
    }
}

label_enum! {
    /// Which way bytes went.
    pub enum Direction as "direction" {
        /// From clients.
        Received = "received",
        /// To clients.
        Sent = "sent",
    }
}

/// Commit times: a folder's lie between a cached 0.5 ms and the tenths of a second of a busy disk; S3's go on to seconds.
const COMMIT_BUCKETS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Commits that shared one sync of a directory.
const BATCH_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Ended uploads.
pub const UPLOADS: Family =
    Family::counter("element_uploads_total", "Uploads that ended, by outcome.").labels(&[UploadOutcome::LABEL]);
/// Uploads under way.
pub const OPEN_UPLOADS: Family =
    Family::gauge("element_open_uploads", "Uploads that have begun and not ended, those of one request included.");
/// Bytes that went in and out.
pub const TRANSFERRED: Family =
    Family::counter("element_file_bytes_total", "Bytes of files received and sent.").labels(&[Direction::LABEL]);
/// How long publishing took.
pub const COMMIT_DURATION: Family = Family::histogram(
    "element_commit_duration_seconds",
    "Time from the last byte's arrival to the durable publication of a file.",
    COMMIT_BUCKETS,
);
/// How well commits share syncs.
pub const SYNC_BATCH: Family = Family::histogram(
    "element_directory_sync_batch_commits",
    "Commits that shared one sync of a directory.",
    BATCH_BUCKETS,
);
/// Published files.
pub const FILES: Family = Family::gauge("element_files", "Published files.");
/// Deleted files.
pub const DELETED: Family =
    Family::counter("element_files_deleted_total", "Files deleted, by cause.").labels(&[DeleteCause::LABEL]);
/// The element's room in all.
pub const CAPACITY: Family = Family::gauge("element_capacity_bytes", "Bytes that the element may hold.");
/// The element's free room.
pub const FREE: Family =
    Family::gauge("element_free_bytes", "Bytes free for new files, less what open uploads have reserved.");
/// Changes not yet acknowledged.
pub const OUTBOX_DEPTH: Family =
    Family::gauge("element_outbox_changes", "Changes that the Admin Module has not acknowledged yet.");
/// How long the oldest of them has waited.
pub const OUTBOX_AGE: Family = Family::gauge(
    "element_outbox_oldest_age_seconds",
    "Age of the oldest change that the Admin Module has not acknowledged; 0 if there is none.",
);
/// Reports to the Admin Module.
pub const REPORTS: Family =
    Family::counter("element_reports_total", "Reports to the Admin Module, by kind and result.")
        .labels(&[Report::LABEL, ReportResult::LABEL]);
/// What sweeps removed.
pub const SWEPT: Family =
    Family::counter("element_leftovers_swept_total", "Leftovers of interrupted work that were removed, by kind.")
        .labels(&[Leftover::LABEL]);
/// Damage found.
pub const DAMAGED: Family = Family::counter(
    "element_damaged_files_total",
    "Published files found with attributes that cannot be read or with another size than theirs.",
);

/// All families of this crate.
pub const FAMILIES: &[&Family] = &[
    &UPLOADS,
    &OPEN_UPLOADS,
    &TRANSFERRED,
    &COMMIT_DURATION,
    &SYNC_BATCH,
    &FILES,
    &DELETED,
    &CAPACITY,
    &FREE,
    &OUTBOX_DEPTH,
    &OUTBOX_AGE,
    &REPORTS,
    &SWEPT,
    &DAMAGED,
];

/// What a Storage Element measures. Clones share it.
#[derive(Debug, Clone)]
pub struct ElementMetrics {
    uploads: Counter<UploadOutcome>,
    open_uploads: Gauge,
    transferred: Counter<Direction>,
    commit_duration: Histogram,
    sync_batch: Histogram,
    files: Gauge,
    deleted: Counter<DeleteCause>,
    reports: Counter<(Report, ReportResult)>,
    swept: Counter<Leftover>,
    damaged: Counter,
}

/// Numbers that are computed when they are scraped.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Standing {
    /// [`CAPACITY`].
    pub capacity_bytes: u64,
    /// [`FREE`].
    pub free_bytes: u64,
    /// [`OUTBOX_DEPTH`].
    pub outbox_changes: u64,
    /// [`OUTBOX_AGE`].
    pub outbox_oldest_age: Duration,
}

impl ElementMetrics {
    /// Registers the families; `standing` is asked at every scrape.
    ///
    /// # Panics
    /// If they are registered already.
    #[must_use]
    pub fn new(registry: &Registry, standing: impl Fn() -> Standing + Clone + Send + Sync + 'static) -> Self {
        let metrics = Self {
            uploads: registry.counter(&UPLOADS),
            open_uploads: registry.gauge(&OPEN_UPLOADS),
            transferred: registry.counter(&TRANSFERRED),
            commit_duration: registry.histogram(&COMMIT_DURATION),
            sync_batch: registry.histogram(&SYNC_BATCH),
            files: registry.gauge(&FILES),
            deleted: registry.counter(&DELETED),
            reports: registry.counter(&REPORTS),
            swept: registry.counter(&SWEPT),
            damaged: registry.counter(&DAMAGED),
        };
        let (capacity, free, depth) = (standing.clone(), standing.clone(), standing.clone());
        registry.computed(&CAPACITY, move |samples| samples.integer(&[], capacity().capacity_bytes));
        registry.computed(&FREE, move |samples| samples.integer(&[], free().free_bytes));
        registry.computed(&OUTBOX_DEPTH, move |samples| samples.integer(&[], depth().outbox_changes));
        registry.computed(&OUTBOX_AGE, move |samples| {
            samples.float(&[], standing().outbox_oldest_age.as_secs_f64());
        });
        metrics
    }

    /// An upload begins. The span counts its end exactly once: with [`UploadSpan::end`], or as broken off when dropped.
    pub fn upload_began(&self) -> UploadSpan {
        UploadSpan {
            uploads: self.uploads.clone(),
            outcome: UploadOutcome::BrokenOff,
            _open: self.open_uploads.hold(()),
        }
    }

    /// An upload was refused before it began.
    pub fn upload_refused(&self, outcome: UploadOutcome) {
        self.uploads.inc(outcome);
    }

    /// Bytes of files went in or out.
    pub fn transferred(&self, direction: Direction, bytes: u64) {
        self.transferred.add(direction, bytes);
    }

    /// A file was published.
    pub fn published(&self, commit: Duration, exemplar: Option<Exemplar>) {
        self.commit_duration.observe_traced((), commit, exemplar);
        self.files.add((), 1);
    }

    /// A directory was synced for so many commits.
    pub fn directory_synced(&self, commits: usize) {
        self.sync_batch.observe_value((), u32::try_from(commits).map_or(f64::MAX, f64::from));
    }

    /// The start-up scan found so many published files.
    pub fn scanned(&self, files: u64) {
        self.files.set((), i64::try_from(files).unwrap_or(i64::MAX));
    }

    /// A file was deleted.
    pub fn deleted(&self, cause: DeleteCause) {
        self.deleted.inc(cause);
        self.files.add((), -1);
    }

    /// A report to the Admin Module ended.
    pub fn reported(&self, report: Report, result: ReportResult) {
        self.reports.inc((report, result));
    }

    /// A leftover was removed.
    pub fn swept(&self, kind: Leftover) {
        self.swept.inc(kind);
    }

    /// A published file was found damaged.
    pub fn damaged(&self) {
        self.damaged.inc(());
    }
}

/// An upload under way.
#[derive(Debug)]
#[must_use = "the upload counts as broken off when the span is dropped"]
pub struct UploadSpan {
    uploads: Counter<UploadOutcome>,
    outcome: UploadOutcome,
    _open: GaugeGuard,
}

impl UploadSpan {
    /// The upload ended like this.
    pub fn end(mut self, outcome: UploadOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for UploadSpan {
    fn drop(&mut self) {
        self.uploads.inc(self.outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use artstore_metrics::Format;

    fn metrics() -> (Registry, ElementMetrics) {
        let registry = Registry::new();
        let standing = Standing {
            capacity_bytes: 10,
            free_bytes: 7,
            outbox_changes: 2,
            outbox_oldest_age: Duration::from_millis(1500),
        };
        let metrics = ElementMetrics::new(&registry, move || standing);
        (registry, metrics)
    }

    #[test]
    fn every_family_is_registered_and_stands_at_zero_or_as_computed() {
        let (registry, _metrics) = metrics();
        assert_eq!(registry.families().len(), FAMILIES.len());
        assert!(FAMILIES.iter().all(|family| registry.families().contains(family)));
        let text = registry.encode(Format::Text);
        for line in [
            "element_uploads_total{outcome=\"broken_off\"} 0",
            "element_reports_total{report=\"records\",result=\"no_token\"} 0",
            "element_capacity_bytes 10",
            "element_free_bytes 7",
            "element_outbox_changes 2",
            "element_outbox_oldest_age_seconds 1.5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn an_upload_counts_once_however_it_ends() {
        let (registry, metrics) = metrics();
        let (first, second) = (metrics.upload_began(), metrics.upload_began());
        assert_eq!(registry.sum_of("element_open_uploads", &[]), 2.0);
        first.end(UploadOutcome::Published);
        drop(second);
        metrics.upload_refused(UploadOutcome::Refused);
        assert_eq!(registry.sum_of("element_open_uploads", &[]), 0.0);
        for outcome in ["published", "broken_off", "refused"] {
            assert_eq!(registry.sum_of("element_uploads_total", &[("outcome", outcome)]), 1.0, "{outcome}");
        }
        assert_eq!(registry.sum_of("element_uploads_total", &[]), 3.0);
    }

    #[test]
    fn each_event_moves_its_own_family() {
        let (registry, metrics) = metrics();
        metrics.scanned(5);
        metrics.published(Duration::from_millis(3), None);
        metrics.deleted(DeleteCause::Expired);
        metrics.deleted(DeleteCause::Client);
        metrics.directory_synced(3);
        metrics.transferred(Direction::Received, 9);
        metrics.reported(Report::Records, ReportResult::Refused);
        metrics.swept(Leftover::Attributes);
        metrics.damaged();
        let sum = |name: &str, labels: &[(&str, &str)]| registry.sum_of(name, labels);
        assert_eq!(sum("element_files", &[]), 4.0);
        assert_eq!(sum("element_commit_duration_seconds_bucket", &[("le", "0.005")]), 1.0);
        assert_eq!(sum("element_files_deleted_total", &[("cause", "expired")]), 1.0);
        assert_eq!(sum("element_directory_sync_batch_commits_sum", &[]), 3.0);
        assert_eq!(sum("element_file_bytes_total", &[("direction", "received")]), 9.0);
        assert_eq!(sum("element_reports_total", &[("report", "records"), ("result", "refused")]), 1.0);
        assert_eq!(sum("element_leftovers_swept_total", &[("kind", "attributes")]), 1.0);
        assert_eq!(sum("element_damaged_files_total", &[]), 1.0);
    }
}
