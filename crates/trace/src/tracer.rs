//! What begins spans: decides which traces are sampled, and hands what has ended to the sink.

use crate::context::{Context, Flags};
use crate::id::{SpanId, TraceId};
use crate::span::{Kind, Parent, Sink, Span, SpanRecord};
use std::sync::Arc;
use std::time::Duration;

/// Traces are sampled by so many bits of their identifiers.
const RANDOM_BITS: u32 = 56;

/// Begins spans. Clones share the sink.
#[derive(Clone)]
pub struct Tracer(Arc<Shared>);

struct Shared {
    /// Of 2^56 new traces so many are sampled.
    threshold: u64,
    now: Box<dyn Fn() -> Duration + Send + Sync>,
    sink: Option<Arc<dyn Sink>>,
}

impl Tracer {
    /// A tracer that samples this share of the traces that begin here, reads this clock (the time since 1970), and tells of
    /// sampled spans to this sink. Without one, contexts are still made and handed on.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "between 0 and 2^56, and no one asks for a share to the last digit"
    )]
    pub fn new(ratio: f64, now: impl Fn() -> Duration + Send + Sync + 'static, sink: Option<Arc<dyn Sink>>) -> Self {
        let threshold = (ratio.clamp(0.0, 1.0) * (1_u64 << RANDOM_BITS) as f64) as u64;
        Self(Arc::new(Shared { threshold, now: Box::new(now), sink }))
    }

    /// Begins a span as a part of `parent`, which came in by a header; without one, as the root of a new trace.
    pub fn span(&self, parent: Option<&Context>, name: &'static str, kind: Kind) -> Span {
        self.begin(parent, true, name, kind)
    }

    /// Begins a span as a part of what the running task does; if that is of no trace, as the root of a new one.
    pub fn child(&self, name: &'static str, kind: Kind) -> Span {
        self.begin(Context::current().as_ref(), false, name, kind)
    }

    fn begin(&self, parent: Option<&Context>, remote: bool, name: &'static str, kind: Kind) -> Span {
        let (trace_id, flags, state) = if let Some(parent) = parent {
            (parent.trace_id, parent.flags, parent.state.clone())
        } else {
            let trace_id = TraceId::generate();
            (trace_id, Flags::of_root(trace_id.randomness() < self.0.threshold), None)
        };
        let context = Context { trace_id, span_id: SpanId::generate(), flags, state };
        let recording = (context.sampled() && self.0.sink.is_some()).then(|| {
            let start = self.now();
            let parent = parent.map(|parent| Parent { span_id: parent.span_id, remote });
            let (context, attributes) = (context.clone(), Vec::new());
            let name = name.into();
            (self.clone(), SpanRecord { context, parent, name, kind, start, end: start, attributes, failed: false })
        });
        Span::new(context, recording)
    }

    pub(crate) fn now(&self) -> Duration {
        (self.0.now)()
    }

    pub(crate) fn ended(&self, record: SpanRecord) {
        if let Some(sink) = &self.0.sink {
            sink.ended(record);
        }
    }
}

impl std::fmt::Debug for Tracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracer").field("threshold", &self.0.threshold).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::Value;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Default)]
    struct Kept(Mutex<Vec<SpanRecord>>);

    impl Sink for Kept {
        fn ended(&self, span: SpanRecord) {
            self.0.lock().unwrap().push(span);
        }
    }

    fn fixture(ratio: f64) -> (Tracer, Arc<Kept>) {
        let (kept, ticks) = (Arc::new(Kept::default()), AtomicU64::new(100));
        let now = move || Duration::from_secs(ticks.fetch_add(1, Ordering::Relaxed));
        (Tracer::new(ratio, now, Some(Arc::<Kept>::clone(&kept))), kept)
    }

    fn remote(flags: &str) -> Context {
        let text = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        Context::parse([text.as_bytes()], [&b"foo=1"[..]]).unwrap()
    }

    #[test]
    fn a_sampled_span_is_told_once_when_it_ends() {
        let (tracer, kept) = fixture(0.0);
        let parent = remote("01");
        let mut span = tracer.span(Some(&parent), "GET", Kind::Server);
        assert!(span.is_recording() && kept.0.lock().unwrap().is_empty());
        span.rename(|| "GET /files/{id}".into());
        span.set("http.response.status_code", 503_u16);
        span.fail("503".to_owned());
        let context = span.context().clone();
        drop(span);
        let record = SpanRecord {
            context: context.clone(),
            parent: Some(Parent { span_id: parent.span_id(), remote: true }),
            name: "GET /files/{id}".into(),
            kind: Kind::Server,
            start: Duration::from_secs(100),
            end: Duration::from_secs(101),
            attributes: vec![
                ("http.response.status_code", Value::Integer(503)),
                ("error.type", Value::Text("503".into())),
            ],
            failed: true,
        };
        assert_eq!(*kept.0.lock().unwrap(), [record]);
        assert_eq!((context.trace_id(), context.flags()), (parent.trace_id(), parent.flags()));
        assert_eq!(context.state(), Some("foo=1"));
        assert_ne!(context.span_id(), parent.span_id());
    }

    #[test]
    fn a_child_of_an_unsampled_trace_is_not_told_whatever_the_ratio() {
        let (tracer, kept) = fixture(1.0);
        let mut span = tracer.span(Some(&remote("00")), "GET", Kind::Server);
        span.rename(|| unreachable!("nothing is kept"));
        span.set("a", "b");
        span.fail("c");
        assert_eq!((span.is_recording(), span.context().sampled()), (false, false));
        assert_eq!(span.context().trace_id(), remote("00").trace_id());
        drop(span);
        assert!(kept.0.lock().unwrap().is_empty());
    }

    #[test]
    fn a_child_belongs_to_the_running_task_and_without_one_begins_a_trace() {
        let (tracer, kept) = fixture(1.0);
        let root = tracer.child("work", Kind::Internal);
        assert_eq!(root.context().flags().bits(), 3);
        let child = root.context().clone().enter(|| tracer.child("GET", Kind::Client));
        assert_eq!(child.context().trace_id(), root.context().trace_id());
        let parent = Parent { span_id: root.context().span_id(), remote: false };
        drop(child);
        drop(root);
        let kept = kept.0.lock().unwrap();
        assert_eq!(kept.iter().map(|span| span.parent).collect::<Vec<_>>(), [Some(parent), None]);
    }

    /// The share is exact to five standard deviations; the ends are exact.
    #[test]
    fn roots_are_sampled_by_ratio() {
        for (ratio, low, high) in
            [(0.0, 0, 0), (-1.0, 0, 0), (0.1, 850, 1150), (1.0, 10_000, 10_000), (7.0, 10_000, 10_000)]
        {
            let tracer = Tracer::new(ratio, || Duration::ZERO, None);
            let sampled = (0..10_000).filter(|_| tracer.span(None, "a", Kind::Server).context().sampled()).count();
            assert!((low..=high).contains(&sampled), "{ratio}: {sampled}");
        }
    }
}
