//! The server loop on real sockets: silent, slow and vanishing clients, limits, draining, and what surrounds a request.

use super::*;
use crate::body::{self, Body};
use crate::client::ClientSettings;
use crate::problem::{ProblemResponse, RequestId};
use crate::testing::{Authority, TestClient, TestServer, eventually, read_until, soon};
use artstore_api::{Code, Problem};
use artstore_metrics::Registry;
use artstore_tls::{ClientAuth, ClientStream, ServerName};
use axum::Extension;
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::Request;
use http_body_util::BodyExt;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

mod limits;

fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

fn faults(server: &TestServer, fault: &str) -> f64 {
    server.sum("http_server_connection_faults_total", &[("listener", "main"), ("fault", fault)])
}

async fn connect(server: &TestServer) -> TcpStream {
    soon(TcpStream::connect(server.address)).await.unwrap()
}

/// Whether the other side ends the connection, and what it says before.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end, too.
    let _ = soon(stream.read_to_end(&mut bytes)).await;
    String::from_utf8(bytes).unwrap()
}

// ---- silent and slow clients

#[tokio::test]
async fn silent_clients_block_nobody() {
    let (authority, tls) = (Authority::new(), Registry::new());
    let acceptor = authority.acceptor(ClientAuth::None, &tls);
    let server = TestServer::start_with(hello(), ServerSettings::default(), Registry::new(), Some(acceptor)).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(connect(&server).await);
    }
    eventually("all are accepted", || server.sum("http_server_connections_open", &[]) == 20.0).await;
    let registry = Registry::new();
    let connector = authority.connector(None, &registry);
    let client = TestClient::with(ClientSettings::default(), registry, Some(connector));
    let request = Request::get(server.https("/")).body(body::empty()).unwrap();
    assert_eq!(soon(client.client.send(request)).await.unwrap().status(), 200);
    assert_eq!(server.sum("http_server_connections_open", &[]), 21.0);
}

#[tokio::test]
async fn a_request_head_that_does_not_end_in_time_ends_the_connection() {
    let settings = ServerSettings { header_read_timeout: Duration::from_millis(100), ..ServerSettings::default() };
    let server = TestServer::start(hello(), settings).await;
    for begin in ["", "GET / HTTP/1.1\r\nhost: a\r\nx-slow: "] {
        let mut stream = connect(&server).await;
        stream.write_all(begin.as_bytes()).await.unwrap();
        assert_eq!(rest(&mut stream).await, "");
    }
    eventually("both count", || faults(&server, "header_timeout") == 2.0).await;
    assert_eq!(server.sum("http_server_requests_total", &[]), 0.0);
}

#[tokio::test]
async fn a_handshake_that_does_not_end_in_time_ends_the_connection() {
    let (authority, tls) = (Authority::new(), Registry::new());
    let acceptor = authority.acceptor_with(ClientAuth::None, &tls, |settings| {
        settings.handshake_timeout = Duration::from_millis(100);
    });
    let server = TestServer::start_with(hello(), ServerSettings::default(), Registry::new(), Some(acceptor)).await;
    let mut stream = connect(&server).await;
    rest(&mut stream).await;
    eventually("it counts", || faults(&server, "handshake") == 1.0).await;
    assert_eq!(tls.sum_of("tls_server_handshake_total", &[("error_type", "timeout")]), 1.0);
}

#[tokio::test]
async fn an_idle_connection_ends_without_being_a_fault() {
    let settings = ServerSettings { idle_timeout: Duration::from_millis(400), ..ServerSettings::default() };
    let server = TestServer::start(hello(), settings).await;
    let mut stream = connect(&server).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert!(rest(&mut stream).await.ends_with("\r\n\r\nhello"));
    drop(stream);
    eventually("it is closed", || server.sum("http_server_connections_open", &[]) == 0.0).await;
    assert_eq!(server.sum("http_server_connection_faults_total", &[]), 0.0);
}

#[tokio::test]
async fn a_client_that_takes_no_more_of_the_response_is_cut_off() {
    let endless = || async {
        let chunks = futures_util::stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(&[7; 64 * 1024])));
        axum::body::Body::from_stream(chunks)
    };
    let settings = ServerSettings { write_timeout: Duration::from_millis(200), ..ServerSettings::default() };
    let server = TestServer::start(Router::new().route("/", get(endless)), settings).await;
    let mut stream = connect(&server).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    eventually("it counts", || faults(&server, "write_timeout") == 1.0).await;
    assert_eq!(server.sum("http_server_requests_total", &[("outcome", "aborted")]), 1.0);
    assert_eq!(server.sum("http_server_requests_active", &[]), 0.0);
}

#[tokio::test]
async fn a_client_that_vanishes_inside_a_request_aborts_it() {
    let begun = Arc::new(Notify::new());
    let notify = Arc::clone(&begun);
    let handler = move |body: axum::body::Body| async move {
        notify.notify_one();
        body.collect().await.map(|_| "all").map_err(|_| http::StatusCode::BAD_REQUEST)
    };
    let server = TestServer::start(Router::new().route("/", post(handler)), ServerSettings::default()).await;
    let mut stream = connect(&server).await;
    stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nsome").await.unwrap();
    soon(begun.notified()).await;
    drop(stream);
    eventually("it is over", || server.sum("http_server_requests_active", &[]) == 0.0).await;
    assert_eq!(server.sum("http_server_requests_total", &[("outcome", "2xx")]), 0.0);
    assert_eq!(server.sum("http_server_requests_total", &[]), 1.0);
    eventually("the connection, too", || server.sum("http_server_connections_open", &[]) == 0.0).await;
}

// ---- limits

#[tokio::test]
async fn connections_over_the_limit_wait_until_one_ends() {
    let settings = ServerSettings { max_connections: 1, ..ServerSettings::default() };
    let server = TestServer::start(hello(), settings).await;
    let mut first = connect(&server).await;
    first.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    read_until(&mut first, "hello").await;
    let mut second = connect(&server).await;
    second.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(100), second.read_u8()).await;
    assert!(early.is_err(), "answered beside the first");
    assert_eq!(server.sum("http_server_connections_accepted_total", &[]), 1.0);
    drop(first);
    assert!(read_until(&mut second, "hello").await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(server.sum("http_server_connections_accepted_total", &[]), 2.0);
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_refused() {
    let server = TestServer::start(hello(), ServerSettings::default()).await;
    let mut stream = connect(&server).await;
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx-long: {}\r\n\r\n", "a".repeat(33 * 1024));
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 431 "));
    drop(stream);
    eventually("it counts", || faults(&server, "protocol") == 1.0).await;
}

#[tokio::test]
async fn an_early_refusal_reaches_a_client_that_goes_on_sending() {
    let handler = || async { ProblemResponse::new(Code::FileTooLarge, "at most 1 MiB") };
    let server = TestServer::start(Router::new().route("/", post(handler)), ServerSettings::default()).await;
    for trial in 0..30 {
        let mut stream = connect(&server).await;
        stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000\r\n\r\n").await.unwrap();
        // A client that does not look before it has sent for a while, and that would give up if it could not send.
        for _ in 0..64 {
            soon(stream.write_all(&[7; 64 * 1024])).await.unwrap_or_else(|error| panic!("trial {trial}: {error}"));
        }
        let answer = read_until(&mut stream, "}").await;
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("FILE_TOO_LARGE"), "trial {trial}: {answer:?}");
    }
}

// ---- draining

#[tokio::test]
async fn shutdown_finishes_the_running_request_and_refuses_new_ones() {
    let (begun, gate) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (notify, wait) = (Arc::clone(&begun), Arc::clone(&gate));
    let slow = move || async move {
        notify.notify_one();
        wait.notified().await;
        "finished"
    };
    let server = TestServer::start(hello().route("/slow", get(slow)), ServerSettings::default()).await;
    let mut idle = connect(&server).await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    read_until(&mut idle, "hello").await;
    let mut silent = connect(&server).await;
    let mut busy = connect(&server).await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    soon(begun.notified()).await;
    eventually("three are open", || server.sum("http_server_connections_open", &[]) == 3.0).await;

    server.shutdown.cancel();
    assert_eq!(rest(&mut idle).await, "");
    assert_eq!(rest(&mut silent).await, "");
    eventually("the port is closed", || std::net::TcpStream::connect(server.address).is_err()).await;
    gate.notify_one();
    let answer = rest(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("finished"), "{answer:?}");
    assert!(answer.contains("connection: close\r\n"), "{answer:?}");
    drop((idle, silent, busy));
    let drained = soon(server.task).await.unwrap();
    assert_eq!(drained, Drained { open: 3, cut_off: 0 });
}

#[tokio::test]
async fn what_does_not_end_within_the_drain_timeout_is_cut_off() {
    let begun = Arc::new(Notify::new());
    let notify = Arc::clone(&begun);
    let stuck = move || async move {
        notify.notify_one();
        std::future::pending::<&str>().await
    };
    let settings = ServerSettings { drain_timeout: Duration::from_millis(100), ..ServerSettings::default() };
    let server = TestServer::start(Router::new().route("/", get(stuck)), settings).await;
    let mut busy = connect(&server).await;
    busy.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    soon(begun.notified()).await;
    server.shutdown.cancel();
    assert_eq!(rest(&mut busy).await, "");
    assert_eq!(faults(&server, "drain"), 1.0);
    assert_eq!(server.sum("http_server_requests_active", &[]), 0.0);
    assert_eq!(soon(server.task).await.unwrap(), Drained { open: 1, cut_off: 1 });
}

#[tokio::test]
async fn shutdown_does_not_wait_for_handshakes() {
    let acceptor = Authority::new().acceptor(ClientAuth::None, &Registry::new());
    let server = TestServer::start_with(hello(), ServerSettings::default(), Registry::new(), Some(acceptor)).await;
    let mut silent = connect(&server).await;
    eventually("it is accepted", || server.sum("http_server_connections_open", &[]) == 1.0).await;
    server.shutdown.cancel();
    assert_eq!(rest(&mut silent).await, "");
    assert_eq!(soon(server.task).await.unwrap(), Drained { open: 1, cut_off: 0 });
}

// ---- TLS

#[tokio::test]
async fn plain_http_on_the_tls_port_is_told_so() {
    let acceptor = Authority::new().acceptor(ClientAuth::None, &Registry::new());
    let server = TestServer::start_with(hello(), ServerSettings::default(), Registry::new(), Some(acceptor)).await;
    let mut stream = connect(&server).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let answer = rest(&mut stream).await;
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
    assert!(head.contains(&format!("content-length: {}\r\n", text.len())), "{head}: {}", text.len());
    assert_eq!(text, "This port speaks TLS: use an https:// URL instead.\r\n");
    drop(stream);
    eventually("it counts", || faults(&server, "plain_http") == 1.0).await;
    // A client gets it as a response, too.
    let client = TestClient::plain(ClientSettings::default());
    let request = Request::get(server.url("/")).body(body::empty()).unwrap();
    assert_eq!(soon(client.client.send(request)).await.unwrap().status(), 400);
}

#[tokio::test]
async fn handlers_learn_who_asks() {
    let whoami = |Extension(peer): Extension<PeerInfo>| async move {
        let subject = peer.certificate.map(|certificate| certificate.subject.clone());
        format!("{} {subject:?}", peer.remote.ip())
    };
    let (authority, router) = (Authority::new(), Router::new().route("/", get(whoami)));
    let acceptor = authority.acceptor(authority.required(), &Registry::new());
    let tls = TestServer::start_with(router.clone(), ServerSettings::default(), Registry::new(), Some(acceptor)).await;
    let plain = TestServer::start(router, ServerSettings::default()).await;
    let registry = Registry::new();
    let connector = authority.connector(Some(authority.client()), &registry);
    let client = TestClient::with(ClientSettings::default(), registry, Some(connector));
    for (url, expected) in [(tls.https("/"), "127.0.0.1 Some(\"CN=client\")"), (plain.url("/"), "127.0.0.1 None")] {
        let response = client.client.send(Request::get(url).body(body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), expected);
    }
}

async fn http2(server: &TestServer, authority: &Authority) -> hyper::client::conn::http2::SendRequest<Body> {
    let connector = authority.connector_with(None, &Registry::new(), |settings| settings.alpn = vec![b"h2".to_vec()]);
    let name = ServerName::try_from("localhost").unwrap();
    let stream: ClientStream = connector.connect(name, connect(server).await).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn http2_is_served_drained_and_limited() {
    let (begun, gate) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (notify, wait, now, peak) = (Arc::clone(&begun), Arc::clone(&gate), Arc::clone(&running), Arc::clone(&most));
    let slow = move || async move {
        peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        notify.notify_one();
        wait.notified().await;
        now.fetch_sub(1, Ordering::SeqCst);
        "finished"
    };
    let authority = Authority::new();
    let acceptor = authority.acceptor_with(ClientAuth::None, &Registry::new(), |settings| {
        settings.alpn = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    });
    let settings = ServerSettings { max_http2_streams: 1, ..ServerSettings::default() };
    let router = hello().route("/slow", get(slow));
    let server = TestServer::start_with(router, settings, Registry::new(), Some(acceptor)).await;
    let mut sender = http2(&server, &authority).await;
    let ask = |path: &str| Request::get(server.https(path)).body(body::empty()).unwrap();
    let response = soon(sender.send_request(ask("/"))).await.unwrap();
    assert_eq!((response.version(), response.status().as_u16()), (http::Version::HTTP_2, 200));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    assert_eq!(server.sum("http_server_requests_total", &[("outcome", "2xx")]), 1.0);

    let first = tokio::spawn(sender.send_request(ask("/slow")));
    soon(begun.notified()).await;
    let second = tokio::spawn(sender.send_request(ask("/slow")));
    gate.notify_one();
    let first = soon(first).await.unwrap().unwrap();
    assert_eq!(first.into_body().collect().await.unwrap().to_bytes(), "finished");
    soon(begun.notified()).await;
    server.shutdown.cancel();
    eventually("the port is closed", || std::net::TcpStream::connect(server.address).is_err()).await;
    gate.notify_one();
    let second = soon(second).await.unwrap().unwrap();
    assert_eq!(second.into_body().collect().await.unwrap().to_bytes(), "finished");
    assert_eq!(most.load(Ordering::SeqCst), 1);
    assert_eq!(soon(server.task).await.unwrap(), Drained { open: 1, cut_off: 0 });
}

#[tokio::test]
async fn an_idle_http2_connection_ends() {
    let authority = Authority::new();
    let acceptor =
        authority.acceptor_with(ClientAuth::None, &Registry::new(), |settings| settings.alpn = vec![b"h2".to_vec()]);
    let settings = ServerSettings { idle_timeout: Duration::from_millis(100), ..ServerSettings::default() };
    let server = TestServer::start_with(hello(), settings, Registry::new(), Some(acceptor)).await;
    let mut sender = http2(&server, &authority).await;
    let request = Request::get(server.https("/")).body(body::empty()).unwrap();
    soon(sender.send_request(request)).await.unwrap().into_body().collect().await.unwrap();
    eventually("it is closed", || server.sum("http_server_connections_open", &[]) == 0.0).await;
    assert_eq!(server.sum("http_server_connection_faults_total", &[]), 0.0);
}

// ---- what surrounds a request

#[tokio::test]
async fn a_request_keeps_its_identifier_through_handler_problem_and_answer() {
    let handler = |Extension(id): Extension<RequestId>| async move { id.to_string() };
    let refuse = || async { Err::<(), _>(ProblemResponse::from(Problem::new(Code::StorageFull, "7 bytes are free"))) };
    let router =
        Router::new().route("/", get(handler)).route("/refuse", get(refuse)).fallback(crate::problem::not_found);
    let server = TestServer::start(router, ServerSettings::default()).await;
    let client = TestClient::plain(ClientSettings::default());
    for (path, status) in [("/", 200), ("/refuse", 507), ("/nowhere", 404)] {
        let request = Request::get(server.url(path)).header("x-request-id", "abc-1").body(body::empty()).unwrap();
        let response = client.client.send(request).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["x-request-id"]),
            (status, &"abc-1".parse().unwrap())
        );
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        if status == 200 {
            assert_eq!(body, "abc-1");
        } else {
            let problem: Problem = serde_json::from_slice(&body).unwrap();
            assert_eq!((problem.status, problem.request_id.as_deref()), (status, Some("abc-1")));
        }
    }
    let request = Request::get(server.url("/")).body(body::empty()).unwrap();
    let response = client.client.send(request).await.unwrap();
    let id = response.headers()["x-request-id"].clone();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), id.as_bytes());
    assert_eq!(server.sum("http_server_requests_total", &[("outcome", "2xx")]), 2.0);
    assert_eq!(server.sum("http_server_requests_total", &[("outcome", "4xx")]), 1.0);
    assert_eq!(server.sum("http_server_requests_total", &[("outcome", "5xx")]), 1.0);
    assert_eq!(server.sum("http_server_request_duration_seconds_count", &[("listener", "main")]), 4.0);
}

#[tokio::test]
async fn a_handler_that_panics_is_an_internal_error_and_the_server_goes_on() {
    async fn defect() -> &'static str {
        panic!("a defect")
    }
    let server = TestServer::start(hello().route("/defect", get(defect)), ServerSettings::default()).await;
    let client = TestClient::plain(ClientSettings::default());
    let request = |path| Request::get(server.url(path)).body(body::empty()).unwrap();
    let response = client.client.send(request("/defect")).await.unwrap();
    assert_eq!(response.status(), 500);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let problem: Problem = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem.code, Code::Internal);
    assert!(!problem.detail.contains("defect") && problem.request_id.is_some());
    assert_eq!(server.sum("http_server_panics_total", &[]), 1.0);
    assert_eq!(client.client.send(request("/")).await.unwrap().status(), 200);
}

#[tokio::test]
async fn streamed_head_and_bodiless_responses_count_as_served() {
    let sized = || async {
        let chunks = futures_util::stream::iter(["he", "llo"])
            .map(|chunk| Ok::<_, Infallible>(Bytes::from_static(chunk.as_bytes())));
        ([("content-length", "5")], axum::body::Body::from_stream(chunks))
    };
    let router = Router::new().route("/", get(sized)).route("/none", get(|| async { http::StatusCode::NO_CONTENT }));
    let server = TestServer::start(router, ServerSettings::default()).await;
    let client = TestClient::plain(ClientSettings::default());
    for (method, path, expected) in [("GET", "/", "hello"), ("HEAD", "/", ""), ("GET", "/none", "")] {
        let request = Request::builder().method(method).uri(server.url(path)).body(body::empty()).unwrap();
        let response = client.client.send(request).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), expected);
    }
    eventually("all are over", || server.sum("http_server_requests_active", &[]) == 0.0).await;
    assert_eq!(server.sum("http_server_requests_total", &[("outcome", "2xx")]), 3.0);
    assert_eq!(server.sum("http_server_requests_total", &[]), 3.0);
}
