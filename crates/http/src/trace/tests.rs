//! Spans of requests over real sockets, and their export to a receiver that misbehaves.

use super::otlp::{OtlpSettings, otlp};
use crate::body;
use crate::client::{Client, ClientSettings};
use crate::metrics::{HttpClientMetrics, ServerMetrics, TraceMetrics};
use crate::server::{Server, ServerSettings};
use crate::testing::TestClient;
use artstore_metrics::{Clock as _, Format, Registry, SystemClock};
use artstore_trace::{Context, Kind, Sink, SpanRecord, Tracer, Value};
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Hands spans to a test as they end.
struct Told(mpsc::UnboundedSender<SpanRecord>);

impl Sink for Told {
    fn ended(&self, span: SpanRecord) {
        let _ = self.0.send(span);
    }
}

fn tracer(ratio: f64) -> (Tracer, mpsc::UnboundedReceiver<SpanRecord>) {
    let (sender, told) = mpsc::unbounded_channel();
    let clock = SystemClock::new();
    (Tracer::new(ratio, move || clock.wall().as_duration(), Some(Arc::new(Told(sender)))), told)
}

/// A server; it ends with the test's runtime.
async fn serve(router: Router, tracer: Option<Tracer>) -> (SocketAddr, Registry) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (registry, clock) = (Registry::new(), SystemClock::new());
    let mut server = Server::new(listener, router, ServerSettings::default(), ServerMetrics::new(&registry), clock);
    if let Some(tracer) = tracer {
        server = server.traced(tracer);
    }
    let address = server.local_addr().unwrap();
    tokio::spawn(server.serve(CancellationToken::new()));
    (address, registry)
}

/// Answers with the trace context that came, and that of the task.
async fn echo(headers: HeaderMap) -> String {
    let header = |name: &str| headers.get(name).map_or("-", |value| value.to_str().unwrap()).to_owned();
    let current = Context::current().map_or_else(|| "-".to_owned(), |context| context.traceparent());
    format!("{}\n{}\n{current}", header("traceparent"), header("tracestate"))
}

fn files() -> Router {
    let broken = || async { StatusCode::BAD_GATEWAY };
    let inner = Router::new().route("/files/{id}", get(echo)).route("/broken/{id}", get(broken));
    Router::new().nest("/api/v1", inner)
}

async fn ask(client: &Client, url: String, headers: &[(&str, &str)]) -> String {
    let mut request = Request::get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = client.send(request.body(body::empty()).unwrap()).await.unwrap();
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

fn attributes(span: &SpanRecord) -> Vec<(&'static str, String)> {
    let text = |value: &Value| match value {
        Value::Text(text) => text.to_string(),
        Value::Integer(number) => number.to_string(),
    };
    span.attributes.iter().map(|(key, value)| (*key, text(value))).collect()
}

#[tokio::test]
async fn a_request_goes_on_with_its_trace_and_its_span_has_the_route_but_not_the_path() {
    let (tracer, mut told) = tracer(0.0);
    let (address, registry) = serve(files(), Some(tracer)).await;
    let client = TestClient::plain(ClientSettings::default()).client;
    let url = format!("http://{address}/api/v1/files/canary?name=canary");
    let answer = ask(&client, url, &[("traceparent", PARENT), ("tracestate", "canary=1"), ("x-a", "canary")]).await;
    let span = told.recv().await.unwrap();
    let current = format!("00-{TRACE}-{}-01", span.context.span_id());
    assert_eq!(answer, format!("{PARENT}\ncanary=1\n{current}"));
    assert_eq!((span.context.trace_id().to_string().as_str(), span.kind), (TRACE, Kind::Server));
    let parent = span.parent.unwrap();
    assert_eq!((parent.span_id.to_string().as_str(), parent.remote), ("00f067aa0ba902b7", true));
    assert_eq!((span.name.as_ref(), span.failed), ("GET /api/v1/files/{id}", false));
    let expected = [
        ("http.request.method", "GET"),
        ("url.scheme", "http"),
        ("network.protocol.version", "1.1"),
        ("network.peer.address", "127.0.0.1"),
        ("http.route", "/api/v1/files/{id}"),
        ("http.response.status_code", "200"),
    ];
    assert_eq!(attributes(&span), expected.map(|(key, value)| (key, value.to_owned())));
    assert!(span.end >= span.start && span.start > Duration::from_secs(1_767_225_600));
    let scrape = registry.encode(Format::OpenMetrics);
    let exemplar = scrape.lines().find(|line| line.contains(" # ")).unwrap();
    assert!(exemplar.starts_with("http_server_request_duration_seconds_bucket{listener=\"main\""), "{exemplar}");
    assert!(exemplar.contains(&format!("# {{trace_id=\"{TRACE}\"}} ")), "{exemplar}");
}

#[tokio::test]
async fn failures_of_the_server_are_errors_and_unknown_paths_and_methods_have_no_name_of_their_own() {
    let (tracer, mut told) = tracer(1.0);
    let (address, _) = serve(files(), Some(tracer)).await;
    let client = TestClient::plain(ClientSettings::default()).client;
    for (method, path, name, failed, error) in [
        ("GET", "/api/v1/broken/1", "GET /api/v1/broken/{id}", true, Some("502")),
        ("GET", "/canary", "GET", false, None),
        ("BREW", "/api/v1/broken/1", "HTTP /api/v1/broken/{id}", false, None),
    ] {
        let request = Request::builder().method(method).uri(format!("http://{address}{path}"));
        client.send(request.body(body::empty()).unwrap()).await.unwrap().into_body().collect().await.unwrap();
        let span = told.recv().await.unwrap();
        assert_eq!((span.name.as_ref(), span.failed, span.parent), (name, failed, None), "{path}");
        let found = attributes(&span).into_iter().find(|(key, _)| *key == "error.type").map(|(_, value)| value);
        assert_eq!(found.as_deref(), error, "{path}");
        assert!(!format!("{span:?}").contains("canary") && !format!("{span:?}").contains("BREW"));
    }
}

#[tokio::test]
async fn a_broken_or_missing_parent_begins_a_trace_which_the_ratio_samples_and_an_unsampled_one_goes_on() {
    let (never, mut told) = tracer(0.0);
    let (address, registry) = serve(files(), Some(never)).await;
    let client = TestClient::plain(ClientSettings::default()).client;
    let url = || format!("http://{address}/api/v1/files/1");
    let current =
        async |headers: &[(&str, &str)]| ask(&client, url(), headers).await.lines().last().unwrap().to_owned();
    let (first, second) = (current(&[]).await, current(&[]).await);
    assert_ne!(first[..35], second[..35], "each request without a parent is a trace of its own");
    let broken = PARENT.to_uppercase();
    for headers in [&[("traceparent", broken.as_str())][..], &[("traceparent", PARENT), ("traceparent", PARENT)]] {
        let current = current(headers).await;
        assert!(!current.contains(TRACE) && current.ends_with("-02"), "{current}");
    }
    let unsampled = format!("{}00", &PARENT[..53]);
    let current = current(&[("traceparent", &unsampled)]).await;
    assert!(current.contains(TRACE) && current.ends_with("-00"), "{current}");
    assert!(told.try_recv().is_err() && !registry.encode(Format::OpenMetrics).contains("trace_id"));
}

#[tokio::test]
async fn a_request_that_we_send_is_a_child_and_tells_its_receiver() {
    let (tracer, mut told) = tracer(0.0);
    let (address, _) = serve(files(), None).await;
    let TestClient { client, registry } = TestClient::plain(ClientSettings::default());
    let (client, untraced) = (client.clone().traced(tracer.clone()), client.traced(tracer).untraced());
    let parent = Context::parse([PARENT.as_bytes()], [&b"foo=1"[..]]).unwrap();
    let url = || format!("http://{address}/api/v1/files/canary");
    let stale = [("traceparent", "stale"), ("tracestate", "stale=1")];
    let answer = parent.clone().scope(ask(&client, url(), &stale)).await;
    let span = told.recv().await.unwrap();
    assert_eq!(answer, format!("00-{TRACE}-{}-01\nfoo=1\n-", span.context.span_id()));
    assert_eq!((span.name.as_ref(), span.kind, span.failed), ("GET", Kind::Client, false));
    assert_eq!(span.parent.map(|parent| (parent.span_id, parent.remote)), Some((parent.span_id(), false)));
    let port = address.port().to_string();
    let expected = [
        ("http.request.method", "GET"),
        ("server.address", "127.0.0.1"),
        ("server.port", &port),
        ("http.response.status_code", "200"),
    ];
    assert_eq!(attributes(&span), expected.map(|(key, value)| (key, value.to_owned())));
    let scrape = registry.encode(Format::OpenMetrics);
    let exemplar = scrape.lines().find(|line| line.contains(" # ")).unwrap();
    assert!(exemplar.starts_with("http_client_request_duration_seconds_bucket{"), "{exemplar}");
    assert!(exemplar.contains(TRACE), "{exemplar}");
    // For others, nothing of it.
    assert_eq!(parent.scope(ask(&untraced, url(), &[])).await, "-\n-\n-");
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn a_request_without_an_answer_is_an_error_by_its_outcome() {
    let (tracer, mut told) = tracer(1.0);
    let client = TestClient::plain(ClientSettings::default()).client.traced(tracer);
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap();
    let request = || Request::get(format!("http://{address}/")).body(body::empty()).unwrap();
    let error = |span: &SpanRecord| {
        assert!(span.failed);
        attributes(span).into_iter().find(|(key, _)| *key == "error.type").unwrap().1
    };
    {
        // Accepted by the kernel, never answered.
        let mut waiting = Box::pin(client.send(request()));
        assert!(futures_util::poll!(&mut waiting).is_pending());
    }
    assert_eq!(error(&told.recv().await.unwrap()), "cancelled");
    drop(gone);
    client.send(request()).await.unwrap_err();
    assert_eq!(error(&told.recv().await.unwrap()), "connect");
    let (address, _) = serve(files(), None).await;
    let request = Request::get(format!("http://{address}/none")).body(body::empty()).unwrap();
    client.send(request).await.unwrap();
    assert_eq!(error(&told.recv().await.unwrap()), "404");
}

type Answer = (StatusCode, &'static [u8]);

/// What a receiver got, and what it says.
#[derive(Clone)]
struct Receiver {
    bodies: mpsc::UnboundedSender<(HeaderMap, Bytes)>,
    answers: Arc<Mutex<Vec<Answer>>>,
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Answer {
    let answer = receiver.answers.lock().unwrap().pop();
    receiver.bodies.send((headers, body)).unwrap();
    let Some(answer) = answer else { return (StatusCode::OK, b"") };
    if answer.0 == StatusCode::REQUEST_TIMEOUT {
        std::future::pending::<()>().await;
    }
    answer
}

struct Export {
    registry: Registry,
    sink: Arc<dyn Sink>,
    bodies: mpsc::UnboundedReceiver<(HeaderMap, Bytes)>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

/// An export to a receiver that gives these answers, the last first, and then 200.
async fn export(answers: &[Answer], change: impl FnOnce(&mut OtlpSettings)) -> Export {
    let (sender, bodies) = mpsc::unbounded_channel();
    let receiver = Receiver { bodies: sender, answers: Arc::new(Mutex::new(answers.to_vec())) };
    let (address, _) = serve(Router::new().route("/v1/traces", post(receive)).with_state(receiver), None).await;
    let mut settings = OtlpSettings::new(format!("http://{address}/v1/traces").parse().unwrap(), "test");
    (settings.interval, settings.retry_pause) = (Duration::from_millis(10), Duration::from_millis(1));
    change(&mut settings);
    let registry = Registry::new();
    let metrics = HttpClientMetrics::new(&Registry::new());
    let client = Client::new(ClientSettings::default(), None, metrics, SystemClock::new());
    let (sink, exporter) = otlp(settings, client, TraceMetrics::new(&registry));
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(exporter.run(shutdown.clone()));
    Export { registry, sink, bodies, shutdown, task }
}

impl Export {
    fn span(&self, name: &'static str) {
        let tracer = Tracer::new(1.0, || Duration::from_secs(1), Some(Arc::clone(&self.sink)));
        drop(tracer.span(None, name, Kind::Internal));
    }

    /// Ends it; gives how many spans were exported, dropped, failed and still wait, and how many requests went well and badly.
    async fn end(self) -> [f64; 6] {
        self.shutdown.cancel();
        self.task.await.unwrap();
        let sum = |name: &str, outcome: &str| self.registry.sum_of(name, &[("outcome", outcome)]);
        let [exported, dropped, failed] = ["exported", "dropped", "failed"].map(|o| sum("trace_spans_total", o));
        let [success, failure] = ["success", "failure"].map(|o| sum("trace_export_requests_total", o));
        [exported, dropped, failed, self.registry.sum_of("trace_spans_queued", &[]), success, failure]
    }
}

fn holds(body: &Bytes, text: &str) -> bool {
    body.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn spans_go_in_batches_and_what_waits_goes_at_the_end() {
    let mut export = export(&[], |settings| settings.batch = 2).await;
    for name in ["first", "second", "third"] {
        export.span(name);
    }
    let (headers, body) = export.bodies.recv().await.unwrap();
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert!(!headers.contains_key("traceparent"), "the export is no part of a trace");
    assert!(holds(&body, "first") && holds(&body, "second") && !holds(&body, "third") && holds(&body, "service.name"));
    let (_, body) = export.bodies.recv().await.unwrap();
    assert!(holds(&body, "third"));
    assert_eq!(export.end().await, [3.0, 0.0, 0.0, 0.0, 2.0, 0.0]);
}

#[tokio::test]
async fn an_ended_module_sends_what_is_queued_and_drops_what_comes_later() {
    let export = export(&[], |settings| settings.interval = Duration::from_secs(3600)).await;
    export.span("a");
    let (sink, registry) = (Arc::clone(&export.sink), export.registry.clone());
    assert_eq!(export.end().await, [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    drop(Tracer::new(1.0, || Duration::ZERO, Some(sink)).span(None, "late", Kind::Internal));
    assert_eq!(registry.sum_of("trace_spans_total", &[("outcome", "dropped")]), 1.0);
    assert_eq!(registry.sum_of("trace_spans_queued", &[]), 0.0);
}

#[tokio::test]
async fn a_full_queue_drops_and_counts() {
    // The receiver never answers: nothing leaves the queue but the first.
    let mut export = export(&[(StatusCode::REQUEST_TIMEOUT, b"")], |settings| {
        (settings.queue, settings.batch, settings.timeout) = (2, 1, Duration::from_millis(300));
    })
    .await;
    export.span("a");
    export.bodies.recv().await.unwrap();
    for name in ["b", "c", "d", "e"] {
        export.span(name);
    }
    assert_eq!(export.registry.sum_of("trace_spans_total", &[("outcome", "dropped")]), 2.0);
    assert_eq!(export.registry.sum_of("trace_spans_queued", &[]), 3.0);
    // It times out, is sent again, and taken like the two others.
    for _ in 0..3 {
        export.bodies.recv().await.unwrap();
    }
    assert_eq!(export.end().await, [3.0, 2.0, 0.0, 0.0, 3.0, 1.0]);
}

#[tokio::test]
async fn what_may_pass_is_sent_three_times_and_what_may_not_once() {
    let unavailable = (StatusCode::SERVICE_UNAVAILABLE, &b""[..]);
    let mut patient = export(&[unavailable, unavailable], |_| {}).await;
    patient.span("a");
    for _ in 0..3 {
        assert!(holds(&patient.bodies.recv().await.unwrap().1, "a"));
    }
    assert_eq!(patient.end().await, [1.0, 0.0, 0.0, 0.0, 1.0, 2.0]);

    let mut given_up = export(&[unavailable; 3], |_| {}).await;
    given_up.span("a");
    for _ in 0..3 {
        given_up.bodies.recv().await.unwrap();
    }
    assert_eq!(given_up.end().await, [0.0, 0.0, 1.0, 0.0, 0.0, 3.0]);

    let mut refused = export(&[(StatusCode::BAD_REQUEST, b"")], |_| {}).await;
    refused.span("a");
    refused.bodies.recv().await.unwrap();
    refused.span("b");
    refused.bodies.recv().await.unwrap();
    assert_eq!(refused.end().await, [1.0, 0.0, 1.0, 0.0, 1.0, 1.0]);
}

#[tokio::test]
async fn spans_that_the_receiver_rejects_count_as_failed() {
    let mut export = export(&[(StatusCode::OK, b"\x0a\x02\x08\x01")], |settings| {
        (settings.batch, settings.interval) = (2, Duration::from_secs(3600));
    })
    .await;
    export.span("a");
    export.span("b");
    export.bodies.recv().await.unwrap();
    assert_eq!(export.end().await, [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
}
