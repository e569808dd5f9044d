//! What the tests of this crate share: a development CA, servers on real sockets, clients with their registries.

use crate::client::{Client, ClientSettings};
use crate::metrics::{HttpClientMetrics, ServerMetrics};
use crate::server::{Drained, PLAIN_HTTP_ANSWER, Server, ServerSettings};
use artstore_metrics::{Clock, Registry, SystemClock};
use artstore_tls::dev::{DevCa, Leaf};
use artstore_tls::{
    Acceptor, AcceptorSettings, CertificateMetrics, ClientAuth, Connector, ConnectorMetrics, ConnectorSettings,
    Identity, ListenerMetrics, Policy,
};
use axum::Router;
use std::net::SocketAddr;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a test waits for what must happen.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Waits for what must happen, without a fixed sleep.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(SOON, wait).await.is_ok(), "not in time: {what}");
}

/// A future that must end soon.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("must end soon")
}

/// Reads until the bytes end so, or the stream ends.
pub(crate) async fn read_until(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        match soon(stream.read_u8()).await {
            Ok(byte) => text.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(text).unwrap()
}

/// A development CA in a folder of its own.
pub(crate) struct Authority {
    ca: DevCa,
    _dir: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemClock::new().wall();
        let day = Duration::from_secs(86_400);
        // A name of its own: of two CAs with one name, the wrong one is a bad signature and not an unknown issuer.
        let name = format!("CA of {}", dir.path().display());
        Self { ca: DevCa::create(dir.path(), &name, now.minus(day), now.plus(day * 100)).unwrap(), _dir: dir }
    }

    fn server(&self) -> Identity {
        self.ca.issue("server", &Leaf::server("server", SystemClock::new().wall())).unwrap().load().unwrap()
    }

    pub(crate) fn client(&self) -> Identity {
        self.ca.issue("client", &Leaf::client("client", SystemClock::new().wall())).unwrap().load().unwrap()
    }

    pub(crate) fn required(&self) -> ClientAuth {
        ClientAuth::Required(self.ca.trust().unwrap())
    }

    pub(crate) fn acceptor(&self, client_auth: ClientAuth, registry: &Registry) -> Acceptor {
        self.acceptor_with(client_auth, registry, |_| {})
    }

    pub(crate) fn acceptor_with(
        &self,
        client_auth: ClientAuth,
        registry: &Registry,
        change: impl FnOnce(&mut AcceptorSettings),
    ) -> Acceptor {
        let mut settings = AcceptorSettings::new(self.server());
        settings.client_auth = client_auth;
        settings.plain_text_answer = Some(PLAIN_HTTP_ANSWER.to_vec());
        change(&mut settings);
        let metrics = ListenerMetrics::new(registry, &settings.policy);
        Acceptor::new(settings, metrics, SystemClock::new()).unwrap()
    }

    pub(crate) fn connector(&self, identity: Option<Identity>, registry: &Registry) -> Connector {
        self.connector_with(identity, registry, |_| {})
    }

    pub(crate) fn connector_with(
        &self,
        identity: Option<Identity>,
        registry: &Registry,
        change: impl FnOnce(&mut ConnectorSettings),
    ) -> Connector {
        let mut settings = ConnectorSettings::new(self.ca.trust().unwrap());
        settings.identity = identity;
        change(&mut settings);
        let clock = SystemClock::new();
        let metrics = ConnectorMetrics::new(registry, &Policy::default(), CertificateMetrics::new(registry, clock));
        Connector::new(settings, metrics, clock).unwrap()
    }
}

/// A client and what it measures.
pub(crate) struct TestClient {
    pub(crate) client: Client,
    pub(crate) registry: Registry,
}

impl TestClient {
    pub(crate) fn plain(settings: ClientSettings) -> Self {
        Self::with(settings, Registry::new(), None)
    }

    pub(crate) fn with(settings: ClientSettings, registry: Registry, connector: Option<Connector>) -> Self {
        let client = Client::new(settings, connector, HttpClientMetrics::new(&registry), SystemClock::new());
        Self { client, registry }
    }

    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.registry.sum_of(name, labels)
    }
}

/// A running server and what it measures.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) registry: Registry,
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinHandle<Drained>,
}

impl TestServer {
    pub(crate) async fn start(router: Router, settings: ServerSettings) -> Self {
        Self::start_with(router, settings, Registry::new(), None).await
    }

    pub(crate) async fn start_with(
        router: Router,
        settings: ServerSettings,
        registry: Registry,
        acceptor: Option<Acceptor>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let metrics = ServerMetrics::new(&registry);
        let mut server = Server::new(listener, router, settings, metrics, SystemClock::new());
        if let Some(acceptor) = acceptor {
            server = server.with_tls(acceptor);
        }
        let (address, shutdown) = (server.local_addr().unwrap(), CancellationToken::new());
        let task = tokio::spawn(server.serve(shutdown.clone()));
        Self { address, registry, shutdown, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn https(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.registry.sum_of(name, labels)
    }
}
