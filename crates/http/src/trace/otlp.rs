//! The export of spans by OTLP over HTTP: a bounded queue, batches, time-outs. A request never waits for it.

use super::protobuf::{export_request, rejected_spans};
use crate::client::{Client, ResponseTimeout};
use crate::metrics::{ExportOutcome, TraceMetrics};
use artstore_metrics::Clock;
use artstore_trace::{Sink, SpanRecord};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The path of traces below an OTLP endpoint.
pub const TRACES_PATH: &str = "/v1/traces";

/// The longest answer that is read.
const ANSWER_MAX: usize = 64 * 1024;

/// How often a batch is sent before it is given up.
const ATTEMPTS: u32 = 3;

/// How long what is queued may take at the end.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

/// Where spans go, and in what portions.
#[derive(Debug, Clone)]
pub struct OtlpSettings {
    /// The receiver's URL, with [`TRACES_PATH`].
    pub url: Uri,
    /// Who sends: `service.name` and what else is known.
    pub resource: Vec<(&'static str, String)>,
    /// Spans that may wait; more are dropped, and counted. Default 2048.
    pub queue: usize,
    /// Most spans of one request. Default 512.
    pub batch: usize,
    /// How long a span may wait for others to go with it. Default 5 s.
    pub interval: Duration,
    /// How long the receiver may keep us waiting. Default 10 s.
    pub timeout: Duration,
    /// How long after a failure that may pass a batch is sent again; after the second, twice that. Default 1 s.
    pub retry_pause: Duration,
}

impl OtlpSettings {
    /// Settings with the defaults for everything that has one.
    #[must_use]
    pub fn new(url: Uri, service_name: impl Into<String>) -> Self {
        let own = |key, text: &str| (key, text.to_owned());
        let resource = vec![
            ("service.name", service_name.into()),
            own("service.version", env!("CARGO_PKG_VERSION")),
            ("service.instance.id", uuid::Uuid::new_v4().to_string()),
            own("telemetry.sdk.name", "artstore"),
            own("telemetry.sdk.language", "rust"),
            own("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
        ];
        let (interval, timeout) = (Duration::from_secs(5), Duration::from_secs(10));
        Self { url, resource, queue: 2048, batch: 512, interval, timeout, retry_pause: Duration::from_secs(1) }
    }
}

/// The two ends of the queue: the one for a [`Tracer`](artstore_trace::Tracer), and the one that sends, to be run. `client` is
/// best one of its own, whose numbers do not mix with the module's, and without a tracer.
#[must_use]
pub fn otlp<C: Clock>(
    settings: OtlpSettings,
    client: Client<C>,
    metrics: TraceMetrics,
) -> (Arc<dyn Sink>, OtlpExporter<C>) {
    let (sender, queue) = mpsc::channel(settings.queue.max(1));
    let sink = Arc::new(Queue { sender, metrics: metrics.clone() });
    (sink, OtlpExporter { settings, client, metrics, queue })
}

struct Queue {
    sender: mpsc::Sender<SpanRecord>,
    metrics: TraceMetrics,
}

impl Sink for Queue {
    fn ended(&self, span: SpanRecord) {
        // Counted as waiting first: the exporter may take it at once.
        self.metrics.queued();
        if self.sender.try_send(span).is_err() {
            self.metrics.dropped();
        }
    }
}

/// Sends spans until it is told to stop, and then what is queued.
pub struct OtlpExporter<C: Clock> {
    settings: OtlpSettings,
    client: Client<C>,
    metrics: TraceMetrics,
    queue: mpsc::Receiver<SpanRecord>,
}

/// Why a batch was not taken.
struct Refusal {
    reason: String,
    /// Whether the receiver may take it later.
    passing: bool,
}

impl<C: Clock> OtlpExporter<C> {
    /// Sends until `shutdown`; then what has waited, for some seconds at most.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let too_late = async {
            shutdown.cancelled().await;
            tokio::time::sleep(FLUSH_WITHIN).await;
        };
        let in_time = tokio::select! {
            biased;
            () = self.work(&shutdown) => true,
            () = too_late => false,
        };
        if !in_time {
            // What was being sent has counted as failed already.
            self.queue.close();
            let left = std::iter::from_fn(|| self.queue.try_recv().ok()).count();
            drop(self.metrics.taken(left));
            tracing::warn!(left, "the module ended before all spans were exported");
        }
    }

    async fn work(&mut self, shutdown: &CancellationToken) {
        let mut failing = false;
        while let Some(batch) = self.next(shutdown).await {
            let sent = self.send(&batch, shutdown).await;
            self.report(&mut failing, sent);
        }
        self.queue.close();
        let mut batch = Vec::new();
        while self.queue.recv_many(&mut batch, self.settings.batch.max(1)).await > 0 {
            let sent = self.send(&batch, shutdown).await;
            self.report(&mut failing, sent);
            batch.clear();
        }
    }

    /// The next batch: full, or as it is when its first span has waited for the interval. `None` once it is time to stop; what
    /// was taken by then is sent first.
    async fn next(&mut self, shutdown: &CancellationToken) -> Option<Vec<SpanRecord>> {
        let (mut batch, most) = (Vec::new(), self.settings.batch.max(1));
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return None,
            taken = self.queue.recv_many(&mut batch, most) => if taken == 0 { return None },
        }
        let filled = async {
            while batch.len() < most {
                let room = most - batch.len();
                if self.queue.recv_many(&mut batch, room).await == 0 {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            _ = tokio::time::timeout(self.settings.interval, filled) => {}
        }
        Some(batch)
    }

    /// Sends a batch, again after a pause where that may help and it is not yet time to stop.
    async fn send(&self, batch: &[SpanRecord], shutdown: &CancellationToken) -> Result<(), String> {
        let spans = self.metrics.taken(batch.len());
        let body = Bytes::from(export_request(&self.settings.resource, batch));
        let mut attempt = 1;
        loop {
            match self.attempt(body.clone()).await {
                Ok(rejected) => {
                    self.metrics.request(ExportOutcome::Success);
                    spans.exported(rejected);
                    return Ok(());
                }
                Err(Refusal { reason, passing }) => {
                    self.metrics.request(ExportOutcome::Failure);
                    if !passing || attempt == ATTEMPTS || shutdown.is_cancelled() {
                        return Err(reason);
                    }
                }
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(self.settings.retry_pause * attempt) => {}
            }
            attempt += 1;
        }
    }

    /// One request; gives how many of its spans the receiver did not take.
    async fn attempt(&self, body: Bytes) -> Result<u64, Refusal> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.settings.url.clone())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .extension(ResponseTimeout(self.settings.timeout))
            .body(crate::body::full(body))
            .map_err(|error| Refusal { reason: error.to_string(), passing: false })?;
        let answered = async {
            let response = self.client.send(request).await.map_err(|error| error.to_string())?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_MAX).collect().await.map_err(|error| error.to_string())?;
            Ok::<_, String>((head.status, body.to_bytes()))
        };
        let timed = tokio::time::timeout(self.settings.timeout, answered).await;
        let (status, answer) = match timed {
            Ok(Ok(answer)) => answer,
            Ok(Err(reason)) => return Err(Refusal { reason, passing: true }),
            Err(_) => return Err(Refusal { reason: "no answer in time".to_owned(), passing: true }),
        };
        if status.is_success() {
            return Ok(rejected_spans(&answer));
        }
        // What the specification of OTLP lets a client send again.
        let passing = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        Err(Refusal { reason: format!("status {}", status.as_u16()), passing })
    }

    /// One line when it begins to fail, and one when it works again.
    fn report(&self, failing: &mut bool, sent: Result<(), String>) {
        let url = &self.settings.url;
        match (std::mem::replace(failing, sent.is_err()), sent) {
            (false, Err(reason)) => tracing::warn!(%url, reason, "spans cannot be exported"),
            (true, Ok(())) => tracing::info!(%url, "spans are exported again"),
            (true, Err(_)) | (false, Ok(())) => {}
        }
    }
}

impl<C: Clock> std::fmt::Debug for OtlpExporter<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OtlpExporter").field("settings", &self.settings).finish_non_exhaustive()
    }
}
