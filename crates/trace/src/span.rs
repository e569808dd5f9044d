//! One piece of work of a trace: begun by a tracer, told to its sink when it ends, however that comes about.

use crate::context::Context;
use crate::id::SpanId;
use crate::tracer::Tracer;
use std::borrow::Cow;
use std::time::Duration;

/// Which side of a request a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Neither.
    Internal,
    /// It answers.
    Server,
    /// It asks.
    Client,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(Cow<'static, str>),
    /// A whole number.
    Integer(i64),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Integer(number.into())
    }
}

/// The span that another one is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// Its identifier.
    pub span_id: SpanId,
    /// Whether it came in by a header.
    pub remote: bool,
}

/// A sampled span as it is when it has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanRecord {
    /// The trace, the span and the flags.
    pub context: Context,
    /// What it is a part of; none for the root of a trace.
    pub parent: Option<Parent>,
    /// What it is called: a method and a route, never a path.
    pub name: Cow<'static, str>,
    /// Which side of a request it is.
    pub kind: Kind,
    /// When it began, since 1970.
    pub start: Duration,
    /// When it ended, since 1970.
    pub end: Duration,
    /// What more is known, by the names of OpenTelemetry's semantic conventions.
    pub attributes: Vec<(&'static str, Value)>,
    /// Whether it failed.
    pub failed: bool,
}

/// Takes spans that have ended.
pub trait Sink: Send + Sync {
    /// A sampled span has ended. It must be taken or dropped at once: a request waits for it.
    fn ended(&self, span: SpanRecord);
}

/// A span that has not ended. What is told to it is kept only if the trace is sampled and there is a sink.
#[must_use = "a span ends when it is dropped"]
pub struct Span {
    context: Context,
    recording: Option<Box<Recording>>,
}

struct Recording {
    tracer: Tracer,
    record: SpanRecord,
}

impl Span {
    pub(crate) fn new(context: Context, recording: Option<(Tracer, SpanRecord)>) -> Self {
        let recording = recording.map(|(tracer, record)| Box::new(Recording { tracer, record }));
        Self { context, recording }
    }

    /// The span as others see it.
    #[must_use]
    pub const fn context(&self) -> &Context {
        &self.context
    }

    /// Whether what is told to it is kept.
    #[must_use]
    pub const fn is_recording(&self) -> bool {
        self.recording.is_some()
    }

    /// It is called this, now that more is known.
    pub fn rename(&mut self, name: impl FnOnce() -> Cow<'static, str>) {
        if let Some(recording) = &mut self.recording {
            recording.record.name = name();
        }
    }

    /// An attribute, which it has no value of yet.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(recording) = &mut self.recording {
            recording.record.attributes.push((key, value.into()));
        }
    }

    /// It failed, in this way of a closed set.
    pub fn fail(&mut self, error_type: impl Into<Value>) {
        if let Some(recording) = &mut self.recording {
            recording.record.failed = true;
            recording.record.attributes.push(("error.type", error_type.into()));
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(recording) = self.recording.take() {
            let Recording { tracer, mut record } = *recording;
            record.end = tracer.now();
            tracer.ended(record);
        }
    }
}

impl std::fmt::Debug for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Span").field("context", &self.context).finish_non_exhaustive()
    }
}
