//! What W3C Trace Context says of a span, how it is read and written, and the task that it belongs to.

use crate::id::{SpanId, TraceId, from_hex};
use crate::state;
use std::sync::Arc;

/// The length of a `traceparent` of version 00.
const LENGTH: usize = 55;

tokio::task_local! {
    static CURRENT: Context;
}

/// The flags of `traceparent` that have a meaning; the others are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    const SAMPLED: u8 = 1;
    const RANDOM: u8 = 2;

    /// The flags of a trace that begins here, whose identifier is random.
    pub(crate) const fn of_root(sampled: bool) -> Self {
        Self(if sampled { Self::RANDOM | Self::SAMPLED } else { Self::RANDOM })
    }

    /// Whether spans of the trace are kept.
    #[must_use]
    pub const fn sampled(self) -> bool {
        self.0 & Self::SAMPLED != 0
    }

    /// The flags as a byte.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }
}

/// A span as others see it: the trace it belongs to, its own identifier, and whether the trace is sampled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
    pub(crate) flags: Flags,
    pub(crate) state: Option<Arc<str>>,
}

impl Context {
    /// The span that a request's headers name: the values of all `traceparent` and all `tracestate` fields. `None` unless there
    /// is exactly one `traceparent` and it is well-formed; then a new trace is to begin. A broken `tracestate` is left out.
    #[must_use]
    pub fn parse<'a>(
        traceparents: impl IntoIterator<Item = &'a [u8]>,
        tracestates: impl IntoIterator<Item = &'a [u8]>,
    ) -> Option<Self> {
        let mut traceparents = traceparents.into_iter();
        let (first, second) = (traceparents.next()?, traceparents.next());
        let (trace_id, span_id, flags) = traceparent(first).filter(|_| second.is_none())?;
        Some(Self { trace_id, span_id, flags, state: state::parse(tracestates) })
    }

    /// The trace.
    #[must_use]
    pub const fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// The span.
    #[must_use]
    pub const fn span_id(&self) -> SpanId {
        self.span_id
    }

    /// The flags.
    #[must_use]
    pub const fn flags(&self) -> Flags {
        self.flags
    }

    /// Whether spans of the trace are kept.
    #[must_use]
    pub const fn sampled(&self) -> bool {
        self.flags.sampled()
    }

    /// The value of `tracestate`, to hand it on.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// The value of `traceparent` for what this span asks of others.
    #[must_use]
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace_id, self.span_id, self.flags.bits())
    }

    /// The context of the running task.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// The trace of the running task, if it has one that is sampled.
    #[must_use]
    pub fn current_sampled() -> Option<TraceId> {
        CURRENT.try_with(|context| context.sampled().then_some(context.trace_id)).ok().flatten()
    }

    /// Runs a future in this context.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }

    /// Runs a future in this context, or in the one that its task has.
    pub async fn scope_if_some<F: Future>(context: Option<Self>, future: F) -> F::Output {
        match context {
            Some(context) => context.scope(future).await,
            None => future.await,
        }
    }

    /// Calls a function in this context.
    pub fn enter<R>(self, call: impl FnOnce() -> R) -> R {
        CURRENT.sync_scope(self, call)
    }

    /// A future for a task of its own that runs in the context of the task which makes it.
    pub fn carry<F: Future>(future: F) -> impl Future<Output = F::Output> {
        Self::scope_if_some(Self::current(), future)
    }
}

/// Version, trace, parent, flags: `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`. Of a later version, what is
/// understood of it, if it goes on behind the flags with a dash.
fn traceparent(text: &[u8]) -> Option<(TraceId, SpanId, Flags)> {
    let text = text.trim_ascii();
    let (known, rest) = text.split_at_checked(LENGTH)?;
    if [2, 35, 52].iter().any(|dash| known[*dash] != b'-') {
        return None;
    }
    let fits = match from_hex::<1>(&known[..2])? {
        [0xff] => false,
        [0] => rest.is_empty(),
        _ => matches!(rest.first(), None | Some(b'-')),
    };
    let [flags] = from_hex(&known[53..])?;
    let ids = (TraceId::from_hex(&known[3..35])?, SpanId::from_hex(&known[36..52])?);
    fits.then_some((ids.0, ids.1, Flags(flags & (Flags::SAMPLED | Flags::RANDOM))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TRACE: &str = "12345678901234567890123456789012";
    const SPAN: &str = "1234567890123456";

    fn parse(text: &str) -> Option<Context> {
        Context::parse([text.as_bytes()], [])
    }

    /// The examples of the recommendation, section 3.2.2.5.
    #[test]
    fn examples_of_the_recommendation() {
        let sampled = parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        assert_eq!(sampled.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(sampled.span_id().to_string(), "00f067aa0ba902b7");
        assert!(sampled.sampled());
        let not = parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00").unwrap();
        assert_eq!((not.sampled(), not.flags().bits()), (false, 0));
        assert_eq!(not.traceparent(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00");
        let state = b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE";
        let with_state = Context::parse([sampled.traceparent().as_bytes()], [&state[..]]).unwrap();
        assert_eq!(with_state.state(), Some("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"));
    }

    /// The cases of the harness of w3c/trace-context (`test/test.py`), by whether the trace goes on.
    #[test]
    fn the_specifications_harness() {
        let goes_on = |text: &str| parse(text).is_some_and(|context| context.trace_id().to_string() == TRACE);
        let of = |version: &str, end: &str| format!("{version}-{TRACE}-{SPAN}-01{end}");
        for good in [
            of("00", ""),
            of("cc", ""),
            of("cc", "-what-the-future-will-be-like"),
            of("01", "-"),
            of(" 00", ""),
            of("\t00", ""),
            of("00", " "),
            of("\t 00", " \t"),
            format!("00-{TRACE}-{SPAN}-ff"),
        ] {
            assert!(goes_on(&good), "{good:?}");
        }
        for bad in [
            of("00", "."),
            of("00", "-what-the-future-will-be-like"),
            of("cc", ".what-the-future-will-be-like"),
            of("ff", ""),
            of(".0", ""),
            of("0.", ""),
            of("000", ""),
            of("0000", ""),
            of("0", ""),
            of("0A", ""),
            format!("00-00000000000000000000000000000000-{SPAN}-01"),
            format!("00-.2345678901234567890123456789012-{SPAN}-01"),
            format!("00-1234567890123456789012345678901.-{SPAN}-01"),
            format!("00-{TRACE}3-{SPAN}-01"),
            format!("00-1234567890123456789012345678901-{SPAN}-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{TRACE}-.234567890123456-01"),
            format!("00-{TRACE}-123456789012345.-01"),
            format!("00-{TRACE}-{SPAN}7-01"),
            format!("00-{TRACE}-123456789012345-01"),
            format!("00-{TRACE}-{SPAN}-.0"),
            format!("00-{TRACE}-{SPAN}-0."),
            format!("00-{TRACE}-{SPAN}-001"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00_{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}_{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}_01"),
            format!("00-4BF92F3577B34DA6A3CE929D0E0E4736-{SPAN}-01"),
            String::new(),
        ] {
            assert_eq!(parse(&bad), None, "{bad:?}");
        }
    }

    #[test]
    fn one_traceparent_is_needed_and_a_broken_tracestate_is_left_out() {
        let one = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(Context::parse([], [&b"foo=1"[..]]), None);
        assert_eq!(Context::parse([one.as_bytes(), one.as_bytes()], []), None);
        let broken = Context::parse([one.as_bytes()], [&b"foo=1,foo=2"[..]]).unwrap();
        assert_eq!(broken.state(), None);
    }

    #[test]
    fn only_flags_with_a_meaning_are_handed_on() {
        assert_eq!(parse(&format!("00-{TRACE}-{SPAN}-ff")).unwrap().traceparent(), format!("00-{TRACE}-{SPAN}-03"));
        assert_eq!(parse(&format!("00-{TRACE}-{SPAN}-fe")).unwrap().flags().bits(), 2);
    }

    #[tokio::test]
    async fn a_task_has_the_context_that_it_was_given() {
        assert_eq!((Context::current(), Context::current_sampled()), (None, None));
        let context = parse(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
        let seen = async { (Context::current(), tokio::spawn(async { Context::current() }).await.unwrap()) };
        assert_eq!(context.clone().scope(seen).await, (Some(context.clone()), None));
        let carried = context.clone().scope(async {
            let carried = Context::carry(async { Context::current_sampled() });
            tokio::spawn(carried).await.unwrap()
        });
        assert_eq!(carried.await, Some(context.trace_id()));
        assert_eq!(Context::carry(async { Context::current() }).await, None);
        let unsampled = parse(&format!("00-{TRACE}-{SPAN}-00")).unwrap();
        assert_eq!(unsampled.enter(Context::current_sampled), None);
        assert_eq!(context.enter(Context::current_sampled).unwrap().to_string(), TRACE);
    }

    proptest! {
        /// Whatever is taken is written the same way again: nothing of an odd header reaches another module.
        #[test]
        fn what_is_read_is_written_again(text in "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.{0,9})?") {
            if let Some(context) = parse(&text) {
                prop_assert_eq!(&context.traceparent()[2..53], &text[2..53]);
                prop_assert_eq!(parse(&context.traceparent()), Some(context));
            }
        }

        #[test]
        fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Context::parse([&bytes[..]], [&bytes[..]]);
        }
    }
}
