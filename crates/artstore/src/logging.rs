//! Where log lines go: JSON objects for machines or text for people, always on standard error.

use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;
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
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        Format::Json => {
            builder.json().flatten_event(true).with_current_span(true).with_span_list(false).finish().try_init()
        }
        Format::Text => builder.with_ansi(std::io::stderr().is_terminal()).finish().try_init(),
    }
}
