//! The access log. A test binary of its own: what tracing caches about call sites is process-wide.

use artstore_http::{
    Client, ClientSettings, HttpClientMetrics, ProblemResponse, Server, ServerMetrics, ServerSettings, body,
};
use artstore_metrics::{Registry, SystemClock};
use axum::Router;
use axum::routing::get;
use http::Request;
use http_body_util::BodyExt;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Collects log lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().map_err(|_| std::io::Error::other("poisoned"))?.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn each_request_has_one_line_without_its_query() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::INFO)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let refuse = || async { ProblemResponse::new(artstore_api::Code::Forbidden, "no") };
    let router = Router::new().route("/", get(|| async { "hello" })).route("/refuse", get(refuse));
    let (registry, clock, shutdown) = (Registry::new(), SystemClock::new(), CancellationToken::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::new(listener, router, ServerSettings::default(), ServerMetrics::new(&registry), clock);
    let address = server.local_addr().unwrap();
    let server = tokio::spawn(server.serve(shutdown.clone()));
    let client = Client::new(ClientSettings::default(), None, HttpClientMetrics::new(&registry), clock);
    for path in ["/?filename=secret-name", "/refuse"] {
        let url = format!("http://{address}{path}");
        let request = Request::get(url).header("x-request-id", "abc").body(body::empty()).unwrap();
        client.send(request).await.unwrap().into_body().collect().await.unwrap();
    }
    shutdown.cancel();
    drop(client);
    server.await.unwrap();

    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(!text.contains("secret-name"), "{text}");
    let access: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| line["target"] == "artstore::access")
        .map(|line| line["fields"].clone())
        .collect();
    assert_eq!(access.len(), 2, "{text}");
    let expected = [("/", 200, "2xx", serde_json::Value::Null), ("/refuse", 403, "4xx", "FORBIDDEN".into())];
    for (line, (path, status, outcome, code)) in access.iter().zip(expected) {
        assert_eq!((&line["path"], &line["status"], &line["outcome"]), (&path.into(), &status.into(), &outcome.into()));
        assert_eq!((&line["request_id"], &line["method"]), (&"abc".into(), &"GET".into()));
        assert_eq!(line["code"], code);
        assert!(line["duration_ms"].is_u64() && line["remote"].is_string(), "{line}");
    }
    assert_eq!(access[0]["bytes"], 5);
}
