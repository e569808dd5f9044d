//! The families of the export of spans, and the events that move them.

use artstore_metrics::{Counter, Family, Gauge, LabelValue as _, Registry, label_enum};

label_enum! {
    /// What became of a sampled span that was to be exported.
    pub enum SpanOutcome as "outcome" {
        /// The receiver took it.
        Exported = "exported",
        /// The queue was full, or closed: it was never sent.
        Dropped = "dropped",
        /// The receiver did not take it, or the module ended before it could be sent.
        Failed = "failed",
    }
}

label_enum! {
    /// How a request to the receiver ended.
    pub enum ExportOutcome as "outcome" {
        /// The receiver answered with 2xx.
        Success = "success",
        /// With another status, or not at all.
        Failure = "failure",
    }
}

/// Spans.
pub const TRACE_SPANS: Family =
    Family::counter("trace_spans_total", "Sampled spans by what became of their export; none without one.")
        .labels(&[SpanOutcome::LABEL]);
/// Requests to the receiver.
pub const TRACE_EXPORTS: Family =
    Family::counter("trace_export_requests_total", "Requests that export spans by how they ended, each attempt.")
        .labels(&[ExportOutcome::LABEL]);
/// Spans that wait.
pub const TRACE_QUEUED: Family =
    Family::gauge("trace_spans_queued", "Spans that wait in the queue of the export or are being sent.");

/// What the export of spans measures. Clones share it.
#[derive(Debug, Clone)]
pub struct TraceMetrics {
    spans: Counter<SpanOutcome>,
    requests: Counter<ExportOutcome>,
    queued: Gauge,
}

impl TraceMetrics {
    /// Registers the `trace_*` families.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        Self {
            spans: registry.counter(&TRACE_SPANS),
            requests: registry.counter(&TRACE_EXPORTS),
            queued: registry.gauge(&TRACE_QUEUED),
        }
    }

    /// A span is put into the queue.
    pub(crate) fn queued(&self) {
        self.queued.add((), 1);
    }

    /// It did not fit.
    pub(crate) fn dropped(&self) {
        self.queued.add((), -1);
        self.spans.inc(SpanOutcome::Dropped);
    }

    /// So many were taken out of the queue. If the batch is dropped before they are exported, they failed.
    pub(crate) fn taken(&self, spans: usize) -> Batch {
        Batch { metrics: self.clone(), spans: spans as u64, exported: 0 }
    }

    /// A request to the receiver ended.
    pub(crate) fn request(&self, outcome: ExportOutcome) {
        self.requests.inc(outcome);
    }
}

/// Spans on their way to the receiver.
#[derive(Debug)]
pub(crate) struct Batch {
    metrics: TraceMetrics,
    spans: u64,
    exported: u64,
}

impl Batch {
    /// The receiver took all but so many.
    pub(crate) fn exported(mut self, rejected: u64) {
        self.exported = self.spans.saturating_sub(rejected);
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.metrics.queued.add((), -i64::try_from(self.spans).unwrap_or(i64::MAX));
        self.metrics.spans.add(SpanOutcome::Exported, self.exported);
        self.metrics.spans.add(SpanOutcome::Failed, self.spans - self.exported);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_span_counts_once_by_what_became_of_it() {
        let registry = Registry::new();
        let metrics = TraceMetrics::new(&registry);
        let spans = |outcome| registry.sum_of("trace_spans_total", &[("outcome", outcome)]);
        let queued = || registry.sum_of("trace_spans_queued", &[]);
        (0..10).for_each(|_| metrics.queued());
        metrics.dropped();
        assert_eq!((queued(), spans("dropped")), (9.0, 1.0));
        metrics.taken(4).exported(1);
        assert_eq!((queued(), spans("exported"), spans("failed")), (5.0, 3.0, 1.0));
        metrics.taken(2).exported(u64::MAX);
        drop(metrics.taken(3));
        assert_eq!((queued(), spans("exported"), spans("failed")), (0.0, 3.0, 6.0));
        metrics.request(ExportOutcome::Success);
        metrics.request(ExportOutcome::Failure);
        for outcome in ["success", "failure"] {
            assert_eq!(registry.sum_of("trace_export_requests_total", &[("outcome", outcome)]), 1.0);
        }
    }
}
