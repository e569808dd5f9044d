//! Every connection and every request is counted once, also when many race, panic, or are given up.

use super::*;
use crate::client::pool::{HOST_MEMORY, HostKey, Limits, Pool};
use crate::metrics::HttpClientMetrics;
use artstore_metrics::{Format, TestClock, UnixTime};
use futures_util::StreamExt as _;
use std::net::SocketAddr;

/// A mutual-TLS server and a client, each with what its TLS measures.
struct Pair {
    server: TestServer,
    server_tls: Registry,
    client: TestClient,
}

impl Pair {
    async fn start(router: Router, settings: ClientSettings) -> Self {
        let (authority, server_tls) = (Authority::new(), Registry::new());
        let acceptor = authority.acceptor(authority.required(), &server_tls);
        let server = TestServer::start_with(router, ServerSettings::default(), Registry::new(), Some(acceptor)).await;
        let registry = Registry::new();
        let connector = authority.connector(Some(authority.client()), &registry);
        Self { server, server_tls, client: TestClient::with(settings, registry, Some(connector)) }
    }

    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.client.sum(name, labels)
    }

    /// Closes the client; then nothing is open on either side, and each connection was for requests, or counts as unused.
    async fn ends_with_nothing_open(self) -> Registry {
        let Self { server, server_tls, client: TestClient { client, registry } } = self;
        drop(client);
        let zero = |registry: &Registry, name: &str| registry.sum_of(name, &[]) == 0.0;
        for name in ["tls_connections_active", "http_client_connections_open", "http_client_connections_idle"] {
            eventually(name, || zero(&registry, name)).await;
        }
        eventually("the server's TLS", || zero(&server_tls, "tls_server_connections_active")).await;
        eventually("the server's", || zero(&server.registry, "http_server_connections_open")).await;
        eventually("its requests", || zero(&server.registry, "http_server_requests_active")).await;
        let opened = registry.sum_of("http_client_connections_opened_total", &[]);
        let used = registry.sum_of("tls_connection_reuse_total", &[("reused", "false")]);
        let unused = || registry.sum_of("http_client_connections_unused_total", &[]);
        eventually("each was used or not", || used + unused() == opened).await;
        assert_eq!(registry.sum_of("http_client_connections_closed_total", &[]), opened);
        registry
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reuse_is_exact_per_request_when_four_hundred_tasks_race() {
    let pair = Pair::start(hello(), ClientSettings::default()).await;
    let tasks: Vec<_> = (0..400)
        .map(|_| {
            let (client, url) = (pair.client.client.clone(), pair.server.https("/echo"));
            tokio::spawn(async move {
                for _ in 0..10 {
                    let response = client.send(request("POST", &url, body::full("abc"))).await.unwrap();
                    assert_eq!(text(response).await, "abc");
                }
            })
        })
        .collect();
    for task in tasks {
        soon(task).await.unwrap();
    }
    let fresh = pair.sum("tls_connection_reuse_total", &[("reused", "false")]);
    assert_eq!(pair.sum("tls_connection_reuse_total", &[]), 4_000.0);
    assert_eq!(pair.sum("http_client_requests_total", &[("outcome", "2xx")]), 4_000.0);
    // Every connection was opened for a request, and the server saw as many.
    let peer = pair.server.address.to_string();
    assert_eq!(pair.sum("http_client_connections_opened_total", &[("peer", &peer)]), fresh);
    assert_eq!(pair.sum("http_client_connections_unused_total", &[]), 0.0);
    assert_eq!(pair.sum("tls_handshake_total", &[("status", "success")]), fresh);
    assert_eq!(pair.server.sum("http_server_connections_accepted_total", &[]), fresh);
    assert!(fresh <= 256.0, "{fresh} connections, where a host may have 256");
    pair.ends_with_nothing_open().await;
}

/// A handler that panics, a body that does, and clients that give up: at once, inside the handshake, inside the request.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_stays_open_after_panics_and_aborted_tasks() {
    async fn panics() -> &'static str {
        panic!("a defect")
    }
    async fn panics_in_its_body() -> axum::body::Body {
        let pieces = [Some("piece"), None];
        axum::body::Body::from_stream(stream::iter(pieces).map(|piece| Ok::<_, Infallible>(piece.unwrap())))
    }
    let begun = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&begun);
    let hangs = move || async move {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<&str>().await
    };
    let routes =
        hello().route("/panics", get(panics)).route("/body", get(panics_in_its_body)).route("/hangs", get(hangs));
    let pair = Pair::start(routes, ClientSettings::default()).await;
    let mut tasks = Vec::new();
    for number in 0..400 {
        let path = ["/", "/panics", "/body", "/hangs"][number % 4];
        let (client, url) = (pair.client.client.clone(), pair.server.https(path));
        let task = tokio::spawn(async move {
            // What comes of it is not the question here.
            if let Ok(response) = client.send(ask(url)).await {
                let _ = response.into_body().collect().await;
            }
        });
        tasks.push(task);
    }
    // Half of those that hang are given up when some are inside their request, whatever the others are at; then the rest.
    eventually("requests hang", || begun.load(Ordering::SeqCst) >= 10).await;
    tasks.iter().skip(3).step_by(8).for_each(tokio::task::JoinHandle::abort);
    eventually("all the others hang", || begun.load(Ordering::SeqCst) >= 50).await;
    tasks.iter().skip(7).step_by(8).for_each(tokio::task::JoinHandle::abort);
    for task in tasks {
        // Aborted ones say so.
        let _ = soon(task).await;
    }
    assert!(pair.server.sum("http_server_panics_total", &[]) >= 1.0);
    assert_eq!(pair.sum("http_client_requests_waiting", &[]), 0.0);
    let registry = pair.ends_with_nothing_open().await;
    assert!(registry.sum_of("http_client_requests_total", &[("outcome", "cancelled")]) >= 50.0);
}

/// A connection that is made for a request which is given up meanwhile.
#[tokio::test]
async fn a_connection_that_carried_nothing_is_unused() {
    let pair = Pair::start(hello(), ClientSettings::default()).await;
    let opened = || pair.sum("http_client_connections_opened_total", &[]);
    let mut sending = Box::pin(pair.client.client.send(ask(pair.server.https("/"))));
    // It is looked at no more once the connection is there: on this thread, its task has not run yet.
    std::future::poll_fn(|cx| {
        let pending = sending.as_mut().poll(cx).is_pending();
        assert!(pending, "the connection's task has not run");
        if opened() == 1.0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    drop(sending);
    eventually("it counts", || pair.sum("http_client_connections_unused_total", &[]) == 1.0).await;
    assert_eq!(pair.sum("tls_connection_reuse_total", &[]), 0.0);
    assert_eq!(pair.sum("http_client_requests_total", &[("outcome", "cancelled")]), 1.0);
    pair.ends_with_nothing_open().await;
}

#[tokio::test]
async fn each_peer_has_numbers_of_its_own() {
    let (first, second) = (
        TestServer::start(hello(), ServerSettings::default()).await,
        TestServer::start(hello(), ServerSettings::default()).await,
    );
    let client = TestClient::plain(ClientSettings::default());
    for server in [&first, &first, &second] {
        assert_eq!(text(client.client.send(ask(server.url("/"))).await.unwrap()).await, "hello");
    }
    let of = |name, address: SocketAddr| client.sum(name, &[("peer", &address.to_string())]);
    for address in [first.address, second.address] {
        assert_eq!(of("http_client_connections_opened_total", address), 1.0);
        assert_eq!(of("http_client_connections_idle", address), 1.0);
        assert_eq!(of("http_client_connections_open", address), 1.0);
    }
    assert_eq!(client.sum("http_client_connections_open", &[]), 2.0);
    second.shutdown.cancel();
    eventually("its end is its own", || of("http_client_connections_open", second.address) == 0.0).await;
    let by_peer = [("peer", second.address.to_string()), ("reason", "peer".to_owned())];
    let labels: Vec<(&str, &str)> = by_peer.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(client.sum("http_client_connections_closed_total", &labels), 1.0);
    assert_eq!(of("http_client_connections_open", first.address), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_unused_for_long_is_forgotten_with_its_series() {
    let registry = Registry::new();
    let clock = TestClock::starting_at(UnixTime::default());
    let limits = Limits { idle_timeout: Duration::from_secs(60), max_idle: 1, max_open: 1, max_waiting: 1 };
    let now = clock.clone();
    let metrics = HttpClientMetrics::new(&registry).pool().clone();
    let pool = Pool::new(limits, metrics, Arc::new(move || now.monotonic()));
    let key = |host: &str| HostKey { tls: true, host: host.to_owned(), port: 443 };
    let has_series = |peer: &str| registry.encode(Format::Text).contains(&format!("peer=\"{peer}:443\""));
    let used = pool.host(&key("used"));
    let slot = used.checkout(Want::Any, Duration::ZERO).await;
    drop(pool.host(&key("gone")));
    assert!(has_series("used") && has_series("gone"));
    // Time passes by itself where all tasks wait for it.
    tokio::time::sleep(HOST_MEMORY).await;
    assert!(has_series("gone"));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(has_series("used") && !has_series("gone"));
    drop((slot, used));
    tokio::time::sleep(HOST_MEMORY - Duration::from_secs(1)).await;
    assert!(has_series("used"));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(!has_series("used"));
    // Who comes back is counted anew.
    drop(pool.host(&key("gone")));
    assert!(has_series("gone"));
}
