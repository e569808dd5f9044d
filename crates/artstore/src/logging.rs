//! Where log lines go: JSON objects for machines or text for people, always on standard error.

use artstore_trace::Context;
use std::fmt;
use std::io::IsTerminal as _;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{self, FormatEvent, FormatFields, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::TryInitError;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// One JSON object a line.
    Json,
    /// Text for people; with colours on a terminal only.
    Text,
}

/// Starts logging of this level and above.
///
/// # Errors
/// If logging has been started before.
pub(crate) fn start(level: &str, format: Format) -> Result<(), TryInitError> {
    use tracing_subscriber::util::SubscriberInitExt as _;
    // The original's words for two levels stay valid.
    let level = match level.to_ascii_lowercase().as_str() {
        "warning" => "warn".to_owned(),
        "critical" => "error".to_owned(),
        other => other.to_owned(),
    };
    let filter = EnvFilter::builder().parse_lossy(format!("{level},hyper=info,rustls=warn,sqlx=warn"));
    match format {
        Format::Json => json(filter, std::io::stderr).try_init(),
        Format::Text => text(filter, std::io::stderr, std::io::stderr().is_terminal()).try_init(),
    }
}

fn json<W>(filter: EnvFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = format::format().json().flatten_event(true).with_current_span(true).with_span_list(false);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    builder.fmt_fields(JsonFields::new()).event_format(Traced { lines, place: json_place }).finish()
}

fn text<W>(filter: EnvFilter, writer: W, colours: bool) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = format::format().with_ansi(colours);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(colours);
    builder.event_format(Traced { lines, place: text_place }).finish()
}

/// Lines of another format, with the trace of the running task in those that are written inside of a request.
struct Traced<F> {
    lines: F,
    /// Puts the trace into a line.
    place: fn(&str, &Context, &mut Writer<'_>) -> fmt::Result,
}

impl<S, N, F> FormatEvent<S, N> for Traced<F>
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Some(trace) = Context::current() else { return self.lines.format_event(ctx, writer, event) };
        let mut line = String::new();
        let inner = Writer::new(&mut line);
        self.lines.format_event(ctx, inner, event)?;
        (self.place)(&line, &trace, &mut writer)
    }
}

/// `trace_id` and `span_id` first in the object, where OpenTelemetry's collectors look for them.
fn json_place(line: &str, trace: &Context, writer: &mut Writer<'_>) -> fmt::Result {
    let rest = line.strip_prefix('{').unwrap_or(line);
    write!(writer, "{{\"trace_id\":\"{}\",\"span_id\":\"{}\",{rest}", trace.trace_id(), trace.span_id())
}

/// The first digits of the trace at the end of the line: enough to see which lines belong together.
fn text_place(line: &str, trace: &Context, writer: &mut Writer<'_>) -> fmt::Result {
    let id = trace.trace_id().to_string();
    writeln!(writer, "{} trace={}", line.trim_end_matches('\n'), &id[..8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// Collects log lines.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn speak() {
        let header = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = Context::parse([&header[..]], []).unwrap();
        tracing::info!("outside");
        context.enter(|| {
            let span = tracing::info_span!("request", request_id = "abc");
            span.in_scope(|| tracing::warn!(code = "X", "inside \"a\" {{"));
        });
    }

    #[test]
    fn a_json_line_inside_of_a_request_begins_with_its_trace() {
        let (lines, filter) = (Lines::default(), EnvFilter::new("info"));
        let writer = lines.clone();
        tracing::subscriber::with_default(json(filter, move || writer.clone()), speak);
        let text = lines.text();
        let [outside, inside] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
        assert!(!outside.contains("trace_id") && outside.contains("\"message\":\"outside\""), "{outside}");
        let start =
            "{\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\",\"span_id\":\"00f067aa0ba902b7\",\"timestamp\":\"";
        assert!(inside.starts_with(start), "{inside}");
        let json: serde_json::Value = serde_json::from_str(inside).unwrap();
        assert_eq!((&json["message"], &json["code"]), (&"inside \"a\" {".into(), &"X".into()));
        assert_eq!((&json["level"], &json["span"]["request_id"]), (&"WARN".into(), &"abc".into()));
    }

    #[test]
    fn a_text_line_inside_of_a_request_ends_with_the_beginning_of_its_trace() {
        let (lines, filter) = (Lines::default(), EnvFilter::new("info"));
        let writer = lines.clone();
        tracing::subscriber::with_default(text(filter, move || writer.clone(), false), speak);
        let text = lines.text();
        let [outside, inside] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
        assert!(outside.ends_with(": outside") && !outside.contains('\u{1b}'), "{outside}");
        assert!(inside.ends_with("inside \"a\" { code=\"X\" trace=4bf92f35"), "{inside}");
    }
}
