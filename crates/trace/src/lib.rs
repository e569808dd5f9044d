//! Traces: which request of which caller a piece of work belongs to, across modules.
//!
//! - [`Context`] is what W3C Trace Context says of a span: parsed strictly from `traceparent` and `tracestate`, written the
//!   same way, and carried by the task that works ([`Context::scope`], [`Context::current`]).
//! - [`Tracer`] begins [`Span`]s: a root is sampled by ratio, a child as its parent is. The end of a sampled span is told to a
//!   [`Sink`], which must not wait.
//!
//! Nothing here opens a socket or reads a clock: the tracer is given one. Without a trace, asking for it costs a look at a
//! variable of the thread.
//!
//! ```
//! use artstore_trace::{Context, Kind, Tracer};
//! use std::time::Duration;
//!
//! let tracer = Tracer::new(1.0, || Duration::ZERO, None);
//! let parent = Context::parse([b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".as_slice()], []).unwrap();
//! let span = tracer.span(Some(&parent), "GET /", Kind::Server);
//! assert_eq!(span.context().trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
//! span.context().clone().enter(|| assert!(Context::current().is_some()));
//! ```

mod context;
mod id;
mod span;
mod state;
mod tracer;

pub use context::{Context, Flags};
pub use id::{SpanId, TraceId};
pub use span::{Kind, Parent, Sink, Span, SpanRecord, Value};
pub use tracer::Tracer;
