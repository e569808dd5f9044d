//! A receiver of spans that decodes them with OpenTelemetry's own classes (from Python's registry), in a process of its own.

use crate::poll;
use crate::process::Running;
use crate::process::workspace;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// The longest that a start, and the way of a span, may take.
const LIMIT: Duration = Duration::from_secs(30);

/// A span as it was received.
#[derive(Debug, Clone, Deserialize)]
pub struct Received {
    /// Who sent it.
    pub resource: BTreeMap<String, Value>,
    /// What made it.
    pub scope: String,
    /// In digits.
    pub trace_id: String,
    /// In digits.
    pub span_id: String,
    /// In digits; empty for a root.
    pub parent_span_id: String,
    /// The value of `tracestate`.
    pub trace_state: String,
    /// What it is called.
    pub name: String,
    /// `SPAN_KIND_SERVER` and so on.
    pub kind: String,
    /// When it began, in nanoseconds.
    pub start: u64,
    /// When it ended, in nanoseconds.
    pub end: u64,
    /// What more is known.
    pub attributes: BTreeMap<String, Value>,
    /// `STATUS_CODE_UNSET` or `STATUS_CODE_ERROR`.
    pub status: String,
    /// W3C's flags and OTLP's.
    pub flags: u32,
}

impl Received {
    /// The module that sent it.
    #[must_use]
    pub fn service(&self) -> &str {
        self.resource["service.name"].as_str().unwrap_or_default()
    }
}

/// A running receiver; it is killed when dropped.
#[derive(Debug)]
pub struct Receiver {
    process: Running,
    port: u16,
    // Removed after the process has ended.
    _folder: TempDir,
}

impl Receiver {
    /// Starts it and waits until it listens.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let python = std::env::var("ARTSTORE_PYTHON")
            .unwrap_or_else(|_| workspace().join(".venv/bin/python").to_string_lossy().into_owned());
        let mut command = Command::new(python);
        command.arg(workspace().join("crates/e2e/tests/otlp_receiver.py"));
        let mut process = Running::start(&mut command, &folder.path().join("spans.jsonl"));
        let port = poll::until("the receiver of spans listens", LIMIT, || {
            process.assert_alive();
            process.log().lines().next().and_then(|line| line.parse().ok())
        });
        Self { process, port, _folder: folder }
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// All that came, as it was printed.
    #[must_use]
    pub fn text(&self) -> String {
        self.process.log()
    }

    /// All spans that came.
    ///
    /// # Panics
    /// When one cannot be read: the receiver printed an error.
    #[must_use]
    pub fn spans(&self) -> Vec<Received> {
        let log = self.process.log();
        let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let read = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {log}"));
        whole.lines().skip(1).map(read).collect()
    }

    /// The spans of a trace, once there are `count`.
    ///
    /// # Panics
    /// When there are fewer for too long, or more.
    #[must_use]
    pub fn await_trace(&self, trace_id: &str, count: usize) -> Vec<Received> {
        let spans = poll::until("the spans of the trace", LIMIT, || {
            let spans: Vec<_> = self.spans().into_iter().filter(|span| span.trace_id == trace_id).collect();
            (spans.len() >= count).then_some(spans)
        });
        assert_eq!(spans.len(), count, "{spans:#?}");
        spans
    }
}
