//! A TLS 1.3 server refuses our certificate after our handshake: counted as a failed handshake in every trial, whatever we
//! send meanwhile. With `ARTSTORE_TLS_SOAK=1` there are 1,000 trials of each kind in place of 100.
#![expect(clippy::unwrap_used, reason = "tests")]

use artstore_http::{
    Body, Client, ClientErrorKind, ClientSettings, HttpClientMetrics, Server, ServerMetrics, ServerSettings, body,
};
use artstore_metrics::{Clock as _, Registry, SystemClock, UnixTime};
use artstore_tls::dev::{DevCa, Leaf, Purpose};
use artstore_tls::{
    Acceptor, AcceptorSettings, CertificateMetrics, ClientAuth, Connector, ConnectorMetrics, ConnectorSettings,
    FoundBy, Identity, ListenerMetrics, Policy,
};
use axum::Router;
use axum::routing::any;
use bytes::Bytes;
use http::{Method, Request};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tokio_util::sync::CancellationToken;

const DAY: Duration = Duration::from_secs(86_400);
const BODY_BYTES: usize = 4 << 20;

fn now() -> UnixTime {
    SystemClock::new().wall()
}

fn trials() -> usize {
    if std::env::var_os("ARTSTORE_TLS_SOAK").is_some() { 1_000 } else { 100 }
}

/// An authority, one that nobody trusts, and a server on loopback that requires a certificate of the first.
struct Scene {
    _dir: TempDir,
    ca: DevCa,
    stranger: DevCa,
    address: SocketAddr,
    server: Registry,
    shutdown: CancellationToken,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority =
            |name: &str| DevCa::create(dir.path().join(name), name, now().minus(DAY), now().plus(DAY * 100)).unwrap();
        let (ca, stranger) = (authority("Test CA"), authority("Strange CA"));
        let (server, shutdown) = (Registry::new(), CancellationToken::new());
        let mut settings = AcceptorSettings::new(identity(&ca, "server", &Leaf::server("server", now())));
        settings.client_auth = ClientAuth::Required(ca.trust().unwrap());
        let metrics = ListenerMetrics::new(&server, &settings.policy);
        let acceptor = Acceptor::new(settings, metrics, SystemClock::new()).unwrap();
        // The buffers' size is fixed, so that a body of 4 MiB does not vanish into them.
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 << 10).unwrap();
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let listener = socket.listen(64).unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", any(|| async { "hello" }));
        let metrics = ServerMetrics::new(&server);
        let serving = Server::new(listener, router, ServerSettings::default(), metrics, SystemClock::new());
        tokio::spawn(serving.with_tls(acceptor).serve(shutdown.clone()));
        Self { _dir: dir, ca, stranger, address, server, shutdown }
    }

    /// The certificates that the server refuses, and what its alert is counted as.
    fn refused(&self) -> Vec<(Option<Identity>, &'static str)> {
        let leaf = || Leaf::client("client", now());
        vec![
            (None, "cert_missing"),
            (Some(identity(&self.stranger, "client", &leaf())), "cert_untrusted"),
            (Some(identity(&self.ca, "old", &leaf().valid(now().minus(DAY * 2), now().minus(DAY)))), "cert_expired"),
            // One alert stands for both.
            (Some(identity(&self.ca, "early", &leaf().valid(now().plus(DAY), now().plus(DAY * 2)))), "cert_expired"),
            (Some(identity(&self.ca, "purpose", &leaf().purpose(Purpose::Server))), "cert_wrong_purpose"),
        ]
    }

    fn client(&self, identity: Option<Identity>) -> (Client, Registry) {
        let (registry, clock) = (Registry::new(), SystemClock::new());
        let settings = ConnectorSettings { identity, ..ConnectorSettings::new(self.ca.trust().unwrap()) };
        let metrics = ConnectorMetrics::new(&registry, &Policy::default(), CertificateMetrics::new(&registry, clock));
        let connector = Connector::new(settings, metrics, clock).unwrap();
        let metrics = HttpClientMetrics::new(&registry);
        (Client::new(ClientSettings::default(), Some(connector), metrics, clock), registry)
    }

    fn request(&self, method: Method, body: Body) -> Request<Body> {
        Request::builder().method(method).uri(format!("https://{}/", self.address)).body(body).unwrap()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn identity(ca: &DevCa, name: &str, leaf: &Leaf) -> Identity {
    ca.issue(name, leaf).unwrap().load().unwrap()
}

/// The same number of trials with each bad certificate; every one is one failure of its kind and nothing else.
async fn every_trial_is_one_failure(method: Method, body: impl Fn() -> Body) {
    let scene = Scene::new();
    let refused = scene.refused();
    let each = trials() / refused.len();
    for (identity, kind) in refused {
        let (client, registry) = scene.client(identity);
        for trial in 1..=each {
            let error = client.send(scene.request(method.clone(), body())).await.unwrap_err();
            assert!(
                matches!(error.kind(), ClientErrorKind::Tls(tls) if tls.kind().label() == kind && tls.found_by() == FoundBy::Peer),
                "trial {trial} of {kind}: {error}"
            );
            assert!(!error.request_written(), "trial {trial} of {kind}");
            let failures = registry.sum_of("tls_handshake_total", &[("status", "failure"), ("error_type", kind)]);
            assert_eq!(failures, trial as f64, "{kind}");
        }
        let sum = |family: &str, labels: &[(&str, &str)]| registry.sum_of(family, labels);
        assert_eq!(sum("tls_handshake_total", &[]), each as f64, "{kind}");
        assert_eq!(sum("tls_handshake_duration_seconds_count", &[]), 0.0);
        assert_eq!(sum("tls_protocol_usage_total", &[]), 0.0);
        assert_eq!(sum("tls_cipher_suite_usage_total", &[]), 0.0);
        assert_eq!(sum("tls_handshake_unsettled_total", &[]), 0.0);
        assert_eq!(sum("tls_connection_reuse_total", &[]), 0.0);
    }
    // The same server takes whom it should, with the same request.
    let (client, registry) = scene.client(Some(identity(&scene.ca, "good", &Leaf::client("client", now()))));
    assert_eq!(client.send(scene.request(method, body())).await.unwrap().status(), 200);
    assert_eq!(registry.sum_of("tls_handshake_total", &[("status", "success")]), 1.0);
    let server = |status| scene.server.sum_of("tls_server_handshake_total", &[("status", status)]);
    assert_eq!((server("failure"), server("success")), (trials() as f64, 1.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_body() {
    every_trial_is_one_failure(Method::GET, body::empty).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_body_of_4_mib() {
    let bytes = Bytes::from(vec![7; BODY_BYTES]);
    every_trial_is_one_failure(Method::POST, move || body::full(bytes.clone())).await;
}
