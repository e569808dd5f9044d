//! The client against real servers on loopback: faults first.

use super::*;
use crate::body;
use crate::server::ServerSettings;
use crate::testing::{Authority, TestClient, TestServer, eventually, read_until, soon};
use artstore_metrics::Registry;
use artstore_tls::{ClientAuth, TlsErrorType};
use axum::Router;
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use http_body_util::BodyExt;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, Semaphore};

mod accounting;
mod identities;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn request(method: &str, uri: impl AsRef<str>, body: Body) -> Request<Body> {
    Request::builder().method(method).uri(uri.as_ref()).body(body).unwrap()
}

fn ask(uri: impl AsRef<str>) -> Request<Body> {
    request("GET", uri, body::empty())
}

async fn text(response: Response<ResponseBody>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Bytes without end, and how many were asked for.
fn endless() -> (Body, Arc<AtomicU64>) {
    let given = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&given);
    let chunks = stream::repeat_with(move || {
        count.fetch_add(64 * 1024, Ordering::Relaxed);
        Ok::<_, Infallible>(Bytes::from_static(&[7; 64 * 1024]))
    });
    (body::stream(chunks), given)
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    (listener, url)
}

/// Serves each connection by a script, in a task of its own.
async fn scripted<F>(script: impl Fn(TcpStream, usize) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let (listener, url) = listener().await;
    tokio::spawn(async move {
        for number in 0.. {
            let Ok((stream, _)) = listener.accept().await else { return };
            tokio::spawn(script(stream, number));
        }
    });
    url
}

fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" })).route("/echo", post(|body: Bytes| async { body }))
}

// ---- pool and accounting

#[tokio::test]
async fn requests_in_a_row_share_one_connection() {
    let (authority, tls) = (Authority::new(), Registry::new());
    let acceptor = authority.acceptor(authority.required(), &tls);
    let server = TestServer::start_with(hello(), ServerSettings::default(), Registry::new(), Some(acceptor)).await;
    let registry = Registry::new();
    let connector = authority.connector(Some(authority.client()), &registry);
    let client = TestClient::with(ClientSettings::default(), registry, Some(connector));
    for _ in 0..10 {
        let response = client.client.send(ask(server.https("/"))).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(text(response).await, "hello");
    }
    for _ in 0..10 {
        let post = request("POST", server.https("/echo"), body::full("abc"));
        assert_eq!(text(client.client.send(post).await.unwrap()).await, "abc");
    }
    assert_eq!(client.sum("tls_connection_reuse_total", &[("reused", "false")]), 1.0);
    assert_eq!(client.sum("tls_connection_reuse_total", &[("reused", "true")]), 19.0);
    assert_eq!(client.sum("http_client_connections_opened_total", &[]), 1.0);
    assert_eq!(client.sum("http_client_connections_idle", &[]), 1.0);
    assert_eq!(client.sum("http_client_requests_total", &[("outcome", "2xx")]), 20.0);
    assert_eq!(client.sum("tls_handshake_total", &[("status", "success")]), 1.0);
    assert_eq!(server.sum("http_server_connections_accepted_total", &[]), 1.0);
}

#[tokio::test]
async fn a_host_at_its_limit_makes_requests_wait_their_turn() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let gate = Arc::new(Semaphore::new(0));
    let (in_handler, peak, barrier) = (Arc::clone(&now), Arc::clone(&most), Arc::clone(&gate));
    let handler = move || async move {
        let number = in_handler.fetch_add(1, Ordering::SeqCst) + 1;
        peak.fetch_max(number, Ordering::SeqCst);
        barrier.acquire().await.unwrap().forget();
        in_handler.fetch_sub(1, Ordering::SeqCst);
        "done"
    };
    let server = TestServer::start(Router::new().route("/", get(handler)), ServerSettings::default()).await;
    let settings = ClientSettings { max_connections_per_host: 2, ..ClientSettings::default() };
    let client = TestClient::plain(settings);
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let (client, url) = (client.client.clone(), server.url("/"));
            tokio::spawn(async move { text(client.send(ask(url)).await.unwrap()).await })
        })
        .collect();
    eventually("four wait", || client.sum("http_client_requests_waiting", &[]) == 4.0).await;
    eventually("two are served", || now.load(Ordering::SeqCst) == 2).await;
    gate.add_permits(6);
    for task in tasks {
        assert_eq!(soon(task).await.unwrap(), "done");
    }
    assert_eq!(most.load(Ordering::SeqCst), 2);
    assert_eq!(client.sum("http_client_connections_opened_total", &[]), 2.0);
    assert_eq!(client.sum("http_client_requests_waiting", &[]), 0.0);
}

#[tokio::test]
async fn a_pool_without_a_free_connection_gives_up_in_time_and_when_its_queue_is_full() {
    let url = scripted(|mut stream, _| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        std::future::pending::<()>().await;
    })
    .await;
    let settings = ClientSettings {
        max_connections_per_host: 1,
        max_waiting_per_host: 1,
        checkout_timeout: Duration::from_millis(100),
        ..ClientSettings::default()
    };
    let client = TestClient::plain(settings);
    let (busy, url_of_busy) = (client.client.clone(), url.clone());
    let busy = tokio::spawn(async move { busy.send(ask(url_of_busy)).await.map(|_| ()) });
    eventually("the connection is open", || client.sum("http_client_connections_open", &[]) == 1.0).await;
    let (first, second) = tokio::join!(client.client.send(ask(&url)), client.client.send(ask(&url)));
    for error in [first.unwrap_err(), second.unwrap_err()] {
        assert!(matches!(error.kind(), ClientErrorKind::PoolExhausted), "{error}");
        assert!(!error.request_written());
    }
    assert_eq!(client.sum("http_client_requests_total", &[("outcome", "pool_exhausted")]), 2.0);
    // Giving the request up closes its connection, and the place is free again.
    busy.abort();
    eventually("the place is free", || client.sum("http_client_connections_open", &[]) == 0.0).await;
    assert_eq!(client.sum("http_client_requests_total", &[("outcome", "cancelled")]), 1.0);
    assert_eq!(client.sum("http_client_connections_closed_total", &[("reason", "abandoned")]), 1.0);
}

#[tokio::test]
async fn idle_connections_end_by_time_by_number_and_with_their_client() {
    let server = TestServer::start(hello(), ServerSettings::default()).await;
    let closed =
        |client: &TestClient, reason| client.sum("http_client_connections_closed_total", &[("reason", reason)]);
    let settings =
        ClientSettings { idle_timeout: Duration::from_millis(100), max_idle_per_host: 2, ..ClientSettings::default() };
    let client = TestClient::plain(settings);
    let bodies = futures_util::future::join_all((0..3).map(|_| client.client.send(ask(server.url("/"))))).await;
    for response in bodies {
        assert_eq!(text(response.unwrap()).await, "hello");
    }
    eventually("one is over the number", || closed(&client, "idle_limit") == 1.0).await;
    eventually("two are over the time", || closed(&client, "idle_timeout") == 2.0).await;
    assert_eq!(client.sum("http_client_connections_open", &[]), 0.0);
    assert_eq!(client.sum("http_client_connections_idle", &[]), 0.0);

    let client = TestClient::plain(ClientSettings::default());
    text(client.client.send(ask(server.url("/"))).await.unwrap()).await;
    client.client.retire_connections();
    eventually("it is retired", || closed(&client, "retired") == 1.0).await;
    let in_progress = client.client.send(ask(server.url("/"))).await.unwrap();
    client.client.retire_connections();
    assert_eq!(text(in_progress).await, "hello");
    eventually("so is one that was in use", || closed(&client, "retired") == 2.0).await;

    text(client.client.send(ask(server.url("/"))).await.unwrap()).await;
    let TestClient { client: gone, registry } = client;
    drop(gone);
    let retired = || registry.sum_of("http_client_connections_closed_total", &[("reason", "retired")]);
    eventually("the client's end is theirs", || retired() == 3.0).await;
}

#[tokio::test]
async fn a_body_read_to_its_length_gives_the_connection_back_though_its_end_was_not_asked_for() {
    let server = TestServer::start(hello(), ServerSettings::default()).await;
    let client = TestClient::plain(ClientSettings::default());
    let mut response = client.client.send(ask(server.url("/"))).await.unwrap();
    let frame = response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "hello");
    drop(response);
    eventually("it is idle", || client.sum("http_client_connections_idle", &[]) == 1.0).await;
}

#[tokio::test]
async fn a_response_dropped_before_its_end_closes_the_connection() {
    let ended = Arc::new(Notify::new());
    let notify = Arc::clone(&ended);
    let url = scripted(move |mut stream, _| {
        let notify = Arc::clone(&notify);
        async move {
            read_until(&mut stream, "\r\n\r\n").await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nstart").await.unwrap();
            let mut rest = Vec::new();
            // A reset is an end, too.
            let _ = stream.read_to_end(&mut rest).await;
            assert!(rest.is_empty());
            notify.notify_one();
        }
    })
    .await;
    let client = TestClient::plain(ClientSettings::default());
    let mut response = client.client.send(ask(&url)).await.unwrap();
    assert_eq!(response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "start");
    drop(response);
    soon(ended.notified()).await;
    eventually("it counts", || client.sum("http_client_connections_closed_total", &[("reason", "abandoned")]) == 1.0)
        .await;
    assert_eq!(client.sum("http_client_connections_open", &[]), 0.0);
}

#[tokio::test]
async fn the_client_is_a_tower_service() {
    let server = TestServer::start(hello(), ServerSettings::default()).await;
    let client = TestClient::plain(ClientSettings::default());
    let response = tower::ServiceExt::oneshot(client.client.clone(), ask(server.url("/"))).await.unwrap();
    assert_eq!(text(response).await, "hello");
    assert!(format!("{:?}", client.client).starts_with("Client"));
}

// ---- dead idle connections

/// Answers the first request of each connection, and does with a further one what the test says.
async fn dead_after_first(requests: Arc<AtomicUsize>, wait_for_second: bool) -> String {
    scripted(move |mut stream, _| {
        let requests = Arc::clone(&requests);
        async move {
            read_until(&mut stream, "\r\n\r\n").await;
            requests.fetch_add(1, Ordering::SeqCst);
            stream.write_all(OK).await.unwrap();
            if wait_for_second && !read_until(&mut stream, "\r\n\r\n").await.is_empty() {
                requests.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_connection_that_the_server_closed_while_idle_is_not_used() {
    let requests = Arc::new(AtomicUsize::new(0));
    let url = dead_after_first(Arc::clone(&requests), false).await;
    let client = TestClient::plain(ClientSettings::default());
    for round in 1..=20 {
        let post = request("POST", &url, body::full("not idempotent"));
        assert_eq!(text(client.client.send(post).await.unwrap()).await, "ok");
        assert_eq!(requests.load(Ordering::SeqCst), round);
    }
    assert_eq!(client.sum("http_client_requests_total", &[("outcome", "2xx")]), 20.0);
}

#[tokio::test]
async fn a_get_whose_idle_connection_proves_dead_is_sent_again_exactly_once() {
    let requests = Arc::new(AtomicUsize::new(0));
    let url = dead_after_first(Arc::clone(&requests), true).await;
    let client = TestClient::plain(ClientSettings::default());
    assert_eq!(text(client.client.send(ask(&url)).await.unwrap()).await, "ok");
    // Sent on the idle connection, which ends without an answer; then on a new one.
    assert_eq!(text(client.client.send(ask(&url)).await.unwrap()).await, "ok");
    assert_eq!(requests.load(Ordering::SeqCst), 3);
    assert_eq!(client.sum("http_client_retries_total", &[]), 1.0);
    assert_eq!(client.sum("http_client_connections_opened_total", &[]), 2.0);
    assert_eq!(client.sum("http_client_requests_total", &[("outcome", "2xx")]), 2.0);
}

#[tokio::test]
async fn a_request_that_fails_on_a_new_connection_is_not_sent_again() {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    let url = scripted(move |mut stream, number| {
        let requests = Arc::clone(&count);
        async move {
            read_until(&mut stream, "\r\n\r\n").await;
            requests.fetch_add(1, Ordering::SeqCst);
            if number == 0 {
                stream.write_all(OK).await.unwrap();
                read_until(&mut stream, "\r\n\r\n").await;
                requests.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    let client = TestClient::plain(ClientSettings::default());
    text(client.client.send(ask(&url)).await.unwrap()).await;
    let error = client.client.send(ask(&url)).await.unwrap_err();
    assert!(matches!(error.kind(), ClientErrorKind::Transport), "{error}");
    assert!(error.request_written());
    assert_eq!(requests.load(Ordering::SeqCst), 3);
    assert_eq!(client.sum("http_client_retries_total", &[]), 1.0);
}

#[tokio::test]
async fn a_post_that_was_written_is_never_sent_again() {
    let requests = Arc::new(AtomicUsize::new(0));
    let url = dead_after_first(Arc::clone(&requests), true).await;
    let client = TestClient::plain(ClientSettings::default());
    text(client.client.send(ask(&url)).await.unwrap()).await;
    let error = client.client.send(request("POST", &url, body::empty())).await.unwrap_err();
    assert!(matches!(error.kind(), ClientErrorKind::Transport), "{error}");
    assert!(error.request_written());
    assert_eq!(requests.load(Ordering::SeqCst), 2);
    assert_eq!(client.sum("http_client_retries_total", &[]), 0.0);
}

#[tokio::test]
async fn a_request_that_was_not_begun_is_sent_again_whatever_it_is() {
    let close = Arc::new(Notify::new());
    let (seen, copy) = (Arc::new(std::sync::Mutex::new(Vec::new())), Arc::clone(&close));
    let bodies = Arc::clone(&seen);
    let url = scripted(move |mut stream, number| {
        let (bodies, close) = (Arc::clone(&bodies), Arc::clone(&copy));
        async move {
            let body = read_until(&mut stream, "abc").await;
            bodies.lock().unwrap().push(body.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned());
            stream.write_all(OK).await.unwrap();
            if number == 0 {
                close.notified().await;
            } else {
                std::future::pending::<()>().await;
            }
        }
    })
    .await;
    let client = TestClient::plain(ClientSettings::default());
    let post = || request("POST", &url, body::full("abc"));
    text(client.client.send(post()).await.unwrap()).await;
    // The server closes just when the connection has been taken from the pool for a request.
    let inner = &client.client.inner;
    let mut again = post();
    let target = Target::of(again.uri()).unwrap();
    prepare(&mut again, &target).unwrap();
    let host = inner.pool.host(&target.key);
    let connection = inner.acquire(&host, &target, Want::Any).await.unwrap();
    assert!(connection.reused());
    close.notify_one();
    eventually("its task has noticed", || connection.broken()).await;
    let response = soon(inner.send_on(connection, again, &host, &target)).await.unwrap();
    assert_eq!(text(response).await, "ok");
    assert_eq!(*seen.lock().unwrap(), ["abc", "abc"]);
    assert_eq!(client.sum("http_client_retries_total", &[]), 1.0);
    assert_eq!(client.sum("http_client_connections_opened_total", &[]), 2.0);
}

#[tokio::test]
async fn a_place_that_comes_free_goes_to_the_next_who_still_waits() {
    let gate = Arc::new(Semaphore::new(0));
    let barrier = Arc::clone(&gate);
    let url = scripted(move |mut stream, _| {
        let barrier = Arc::clone(&barrier);
        async move {
            read_until(&mut stream, "\r\n\r\n").await;
            barrier.acquire().await.unwrap().forget();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await.unwrap();
        }
    })
    .await;
    let client = TestClient::plain(ClientSettings { max_connections_per_host: 1, ..ClientSettings::default() });
    let send = || {
        let (client, url) = (client.client.clone(), url.clone());
        tokio::spawn(async move { text(client.send(ask(url)).await.unwrap()).await })
    };
    let waiting = |count| client.sum("http_client_requests_waiting", &[]) == count;
    let first = send();
    eventually("the first is on its way", || client.sum("http_client_connections_open", &[]) == 1.0).await;
    let second = send();
    eventually("the second waits", || waiting(1.0)).await;
    let third = send();
    eventually("the third waits", || waiting(2.0)).await;
    second.abort();
    eventually("the second has gone", || waiting(1.0)).await;
    gate.add_permits(2);
    assert_eq!(soon(first).await.unwrap(), "ok");
    assert_eq!(soon(third).await.unwrap(), "ok");
    eventually("all are closed", || client.sum("http_client_connections_open", &[]) == 0.0).await;
    assert_eq!(client.sum("http_client_connections_opened_total", &[]), 2.0);
    assert_eq!(client.sum("http_client_connections_closed_total", &[("reason", "peer")]), 2.0);
}

// ---- TLS refusals

/// Sends one request to a server that trusts another CA, or none of ours at all.
async fn refused(
    identity_of: Option<&Authority>,
    trusted: &Authority,
    body_of: fn() -> Body,
) -> (ClientError, TestClient) {
    let tls = Registry::new();
    let acceptor = trusted.acceptor(trusted.required(), &tls);
    let server = TestServer::start_with(hello(), ServerSettings::default(), Registry::new(), Some(acceptor)).await;
    let registry = Registry::new();
    let connector = trusted.connector(identity_of.map(Authority::client), &registry);
    let client = TestClient::with(ClientSettings::default(), registry, Some(connector));
    let error = soon(client.client.send(request("POST", server.https("/echo"), body_of()))).await.unwrap_err();
    assert_eq!(server.sum("http_server_requests_total", &[]), 0.0);
    (error, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_refusal_of_our_certificate_is_a_tls_error_with_its_kind() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let bodies: [fn() -> Body; 3] = [body::empty, || body::full(vec![7; 4 * 1024 * 1024]), || endless().0];
    for body_of in bodies {
        for trial in 0..25 {
            for (identity_of, expected) in
                [(Some(&ours), TlsErrorType::CertUntrusted), (None, TlsErrorType::CertMissing)]
            {
                let (error, client) = refused(identity_of, &theirs, body_of).await;
                match error.kind() {
                    ClientErrorKind::Tls(tls) => assert_eq!(tls.kind(), expected, "trial {trial}: {error}"),
                    other => panic!("trial {trial}: {other:?}"),
                }
                assert!(!error.request_written());
                assert_eq!(client.sum("tls_connection_reuse_total", &[]), 0.0);
                assert_eq!(client.sum("http_client_requests_total", &[("outcome", "tls")]), 1.0);
                let failure = [("status", "failure"), ("error_type", expected.label())];
                assert_eq!(client.sum("tls_handshake_total", &failure), 1.0);
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_we_do_not_trust_and_one_that_is_not_tls_are_tls_errors() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let acceptor = theirs.acceptor(ClientAuth::None, &Registry::new());
    let server = TestServer::start_with(hello(), ServerSettings::default(), Registry::new(), Some(acceptor)).await;
    let plain = TestServer::start(hello(), ServerSettings::default()).await;
    let registry = Registry::new();
    let connector = ours.connector(None, &registry);
    let client = TestClient::with(ClientSettings::default(), registry, Some(connector));
    let cases = [(server.https("/"), TlsErrorType::CertUntrusted), (plain.https("/"), TlsErrorType::NotTls)];
    for (url, expected) in cases {
        let error = soon(client.client.send(ask(url))).await.unwrap_err();
        assert!(matches!(error.kind(), ClientErrorKind::Tls(tls) if tls.kind() == expected), "{error}");
        assert!(!error.request_written());
    }
}

// ---- time-outs

#[tokio::test]
async fn connecting_to_a_socket_that_never_answers_times_out() {
    // The kernel answers for a listener until its queue is full; what comes after that gets no answer at all.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(connected) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        queued.push(connected.unwrap());
    }
    let settings = ClientSettings { connect_timeout: Duration::from_millis(100), ..ClientSettings::default() };
    let client = TestClient::plain(settings);
    let error = soon(client.client.send(ask(format!("http://{address}/")))).await.unwrap_err();
    assert!(matches!(error.kind(), ClientErrorKind::Timeout), "{error}");
    assert!(!error.request_written());
    assert_eq!(client.sum("http_client_connections_opened_total", &[]), 0.0);
}

#[tokio::test]
async fn a_handshake_that_never_ends_times_out_as_tls() {
    let (listener, _) = listener().await;
    let registry = Registry::new();
    let connector = Authority::new()
        .connector_with(None, &registry, |settings| settings.handshake_timeout = Duration::from_millis(100));
    let client = TestClient::with(ClientSettings::default(), registry, Some(connector));
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let error = soon(client.client.send(ask(url))).await.unwrap_err();
    assert!(matches!(error.kind(), ClientErrorKind::Tls(tls) if tls.kind() == TlsErrorType::Timeout), "{error}");
}

#[tokio::test]
async fn a_head_that_never_comes_times_out_and_a_slow_source_does_not() {
    let url = scripted(|mut stream, _| async move {
        read_until(&mut stream, "0\r\n\r\n").await;
        std::future::pending::<()>().await;
    })
    .await;
    let settings = ClientSettings { response_timeout: Duration::from_millis(400), ..ClientSettings::default() };
    let client = TestClient::plain(settings.clone());
    let error = soon(client.client.send(ask(&url))).await.unwrap_err();
    assert!(matches!(error.kind(), ClientErrorKind::Timeout), "{error}");
    assert!(error.request_written());
    eventually("the connection is closed", || client.sum("http_client_connections_open", &[]) == 0.0).await;

    // The limit of one request replaces that of the client.
    let patient = TestClient::plain(ClientSettings::default());
    let mut impatient = ask(&url);
    impatient.extensions_mut().insert(ResponseTimeout(Duration::from_millis(50)));
    let error = soon(patient.client.send(impatient)).await.unwrap_err();
    assert!(matches!(error.kind(), ClientErrorKind::Timeout), "{error}");

    // While the source of the body keeps us waiting, the server is not to blame.
    let server = TestServer::start(hello(), ServerSettings::default()).await;
    let slow = stream::once(async {
        tokio::time::sleep(Duration::from_millis(1000)).await;
        Ok::<_, Infallible>(Bytes::from_static(b"late"))
    });
    let response = soon(client.client.send(request("POST", server.url("/echo"), body::stream(slow)))).await.unwrap();
    assert_eq!(text(response).await, "late");
}

#[tokio::test]
async fn a_server_that_takes_no_more_of_the_body_times_out_and_the_source_feels_it() {
    let url = scripted(|stream, _| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let settings = ClientSettings { response_timeout: Duration::from_millis(200), ..ClientSettings::default() };
    let client = TestClient::plain(settings);
    let (body, given) = endless();
    let error = soon(client.client.send(request("PUT", &url, body))).await.unwrap_err();
    assert!(matches!(error.kind(), ClientErrorKind::Timeout), "{error}");
    // What the sockets and one buffer hold, and no more.
    let given = given.load(Ordering::Relaxed);
    assert!(given < 16 * 1024 * 1024, "{given} bytes were taken from the source");
}

#[tokio::test]
async fn a_response_that_stalls_or_breaks_off_fails_its_body() {
    let url = scripted(|mut stream, number| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
        if number == 0 {
            std::future::pending::<()>().await;
        }
    })
    .await;
    let settings = ClientSettings { read_timeout: Duration::from_millis(100), ..ClientSettings::default() };
    let client = TestClient::plain(settings);
    let stalled = soon(client.client.send(ask(&url)).await.unwrap().into_body().collect()).await.unwrap_err();
    assert!(matches!(stalled.kind(), ClientErrorKind::Timeout), "{stalled}");
    let broken = soon(client.client.send(ask(&url)).await.unwrap().into_body().collect()).await.unwrap_err();
    assert!(matches!(broken.kind(), ClientErrorKind::Transport), "{broken}");
    assert!(stalled.request_written() && broken.request_written());
    eventually("both are closed", || client.sum("http_client_connections_open", &[]) == 0.0).await;
}

// ---- early responses

async fn too_large() -> (StatusCode, &'static str) {
    (StatusCode::PAYLOAD_TOO_LARGE, "too large")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_answer_reaches_us_although_we_are_still_sending() {
    let (authority, registry) = (Authority::new(), Registry::new());
    let router = || Router::new().route("/", post(too_large));
    let acceptor = authority.acceptor(ClientAuth::None, &Registry::new());
    let tls = TestServer::start_with(router(), ServerSettings::default(), Registry::new(), Some(acceptor)).await;
    let plain = TestServer::start(router(), ServerSettings::default()).await;
    let connector = authority.connector(None, &registry);
    let client = TestClient::with(ClientSettings::default(), registry, Some(connector));
    for trial in 0..40 {
        for url in [plain.url("/"), tls.https("/")] {
            let (body, given) = endless();
            let response = soon(client.client.send(request("POST", &url, body))).await;
            let response = response.unwrap_or_else(|error| panic!("trial {trial}: {error}"));
            assert_eq!(response.status(), 413);
            assert_eq!(soon(text(response)).await, "too large", "trial {trial}");
            assert!(given.load(Ordering::Relaxed) < 64 * 1024 * 1024);
        }
    }
    // Such a connection is not used again.
    assert_eq!(client.sum("http_client_connections_idle", &[]), 0.0);
    assert_eq!(client.sum("http_client_requests_total", &[("outcome", "4xx")]), 80.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_before_a_reset_is_found_after_the_write_failed() {
    // The server answers and closes with our bytes unread: its kernel sends a reset, and our next write fails.
    let url = scripted(|mut stream, _| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 507 Full\r\ncontent-length: 4\r\nconnection: close\r\n\r\nfull").await.unwrap();
    })
    .await;
    let client = TestClient::plain(ClientSettings::default());
    for trial in 0..100 {
        let response = soon(client.client.send(request("PUT", &url, endless().0))).await;
        let response = response.unwrap_or_else(|error| panic!("trial {trial}: {error}"));
        assert_eq!(response.status(), 507);
    }
}

#[tokio::test]
async fn an_early_refusal_ends_the_sending_although_the_server_would_take_more() {
    let url = scripted(|mut stream, _| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 413 Large\r\ncontent-length: 9\r\n\r\nbeginning").await.unwrap();
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    })
    .await;
    let client = TestClient::plain(ClientSettings::default());
    let (body, given) = endless();
    let response = soon(client.client.send(request("POST", &url, body))).await.unwrap();
    assert_eq!(response.status(), 413);
    let before = given.load(Ordering::Relaxed);
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(given.load(Ordering::Relaxed), before);
    assert_eq!(text(response).await, "beginning");
    eventually("the connection is closed", || client.sum("http_client_connections_open", &[]) == 0.0).await;
}

// ---- other failures

#[tokio::test]
async fn failures_before_a_connection_have_their_own_kinds() {
    let client = TestClient::plain(ClientSettings::default());
    let (closed, url) = listener().await;
    drop(closed);
    let error = soon(client.client.send(ask(url))).await.unwrap_err();
    assert!(matches!(error.kind(), ClientErrorKind::Connect), "{error}");
    let error = soon(client.client.send(ask("http://does-not-exist.invalid/"))).await.unwrap_err();
    assert!(matches!(error.kind(), ClientErrorKind::Dns), "{error}");
    for uri in ["/relative", "ftp://127.0.0.1/", "https://127.0.0.1/", "https://a_b..c/"] {
        let error = soon(client.client.send(ask(uri))).await.unwrap_err();
        assert!(matches!(error.kind(), ClientErrorKind::InvalidRequest), "{uri}: {error}");
        assert!(!error.request_written());
    }
    let connect = request("CONNECT", "http://127.0.0.1:1/", body::empty());
    assert!(matches!(client.client.send(connect).await.unwrap_err().kind(), ClientErrorKind::InvalidRequest));
    for (outcome, count) in [("connect", 1.0), ("dns", 1.0), ("invalid_request", 5.0)] {
        assert_eq!(client.sum("http_client_requests_total", &[("outcome", outcome)]), count, "{outcome}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_a_transport_error() {
    for answer in ["SSH-2.0-OpenSSH_9.2\r\n\r\n", "HTTP/1.1 200 OK\r\nx: y", ""] {
        let url = scripted(move |mut stream, _| async move {
            read_until(&mut stream, "\r\n\r\n").await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let client = TestClient::plain(ClientSettings::default());
        let error = soon(client.client.send(ask(&url))).await.unwrap_err();
        assert!(matches!(error.kind(), ClientErrorKind::Transport), "{answer}: {error}");
    }
    let url = scripted(|mut stream, _| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        let head = format!("HTTP/1.1 200 OK\r\nx-long: {}\r\n\r\n", "a".repeat(200_000));
        let _ = stream.write_all(head.as_bytes()).await;
    })
    .await;
    let client = TestClient::plain(ClientSettings::default());
    let error = soon(client.client.send(ask(&url))).await.unwrap_err();
    assert!(matches!(error.kind(), ClientErrorKind::Transport), "{error}");
}

#[tokio::test]
async fn a_body_that_fails_or_ends_short_is_the_callers_fault() {
    let server = TestServer::start(hello(), ServerSettings::default()).await;
    let client = TestClient::plain(ClientSettings::default());
    let failing = || stream::iter([Ok(Bytes::from_static(b"ab")), Err(std::io::Error::other("the client left"))]);
    let short = || stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"ab"))]);
    for body in [body::stream(failing()), body::sized_stream(9, short())] {
        let error = soon(client.client.send(request("POST", server.url("/echo"), body))).await.unwrap_err();
        assert!(matches!(error.kind(), ClientErrorKind::RequestBody), "{error:?}");
    }
    assert_eq!(client.sum("http_client_requests_total", &[("outcome", "request_body")]), 2.0);
    eventually("both are closed", || client.sum("http_client_connections_open", &[]) == 0.0).await;
}

#[tokio::test]
async fn the_wire_has_a_path_a_host_and_no_user_information() {
    let seen = Arc::new(std::sync::Mutex::new(String::new()));
    let copy = Arc::clone(&seen);
    let url = scripted(move |mut stream, _| {
        let copy = Arc::clone(&copy);
        async move {
            *copy.lock().unwrap() = read_until(&mut stream, "\r\n\r\n").await;
            stream.write_all(OK).await.unwrap();
        }
    })
    .await;
    let client = TestClient::plain(ClientSettings::default());
    let authority = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    text(client.client.send(ask(format!("http://user:word@{authority}?q=1"))).await.unwrap()).await;
    let head = seen.lock().unwrap().clone();
    assert_eq!(head, format!("GET /?q=1 HTTP/1.1\r\nhost: {authority}\r\n\r\n"));
}

#[tokio::test]
async fn a_response_without_a_body_gives_the_connection_back_at_once() {
    let router = Router::new().route("/", get(|| async { StatusCode::NO_CONTENT }));
    let server = TestServer::start(router, ServerSettings::default()).await;
    let client = TestClient::plain(ClientSettings::default());
    for _ in 0..5 {
        // The response is never looked at.
        assert_eq!(client.client.send(ask(server.url("/"))).await.unwrap().status(), 204);
    }
    assert_eq!(client.sum("http_client_connections_opened_total", &[]), 1.0);
    assert_eq!(client.sum("http_client_connections_idle", &[]), 1.0);
}

#[test]
fn errors_say_what_kind_they_are_and_repeat_nothing() {
    let error = ClientError::new(ClientErrorKind::Timeout, true, "the server kept us waiting");
    assert_eq!(error.to_string(), "timeout: the server kept us waiting");
    let nested = std::io::Error::other(std::io::Error::other("cause"));
    assert_eq!(chain(&nested), "cause");
}
