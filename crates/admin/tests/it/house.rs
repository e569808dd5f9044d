//! The Admin Module on a socket, and clients with connections of their own.

use artstore_admin::{Admin, AdminSettings};
use artstore_http::{Client, ClientSettings, HttpClientMetrics, Server, ServerMetrics, ServerSettings};
use artstore_metrics::{Clock as _, Registry, SystemClock};
use artstore_tls::dev::{DevCa, Leaf};
use artstore_tls::{
    Acceptor, AcceptorSettings, CertificateMetrics, ClientAuth, Connector, ConnectorMetrics, ConnectorSettings,
    Identity, ListenerMetrics,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http_body_util::BodyExt as _;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The Admin Module on a socket, with RS256 as by default.
pub(crate) struct House {
    pub(crate) dir: TempDir,
    ca: DevCa,
    pub(crate) url: String,
    pub(crate) admin: Admin,
    registry: Registry,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<()>,
    background: tokio::task::JoinHandle<()>,
}

impl House {
    /// Starts it with changed settings.
    pub(crate) async fn start(change: impl FnOnce(&mut AdminSettings)) -> Self {
        let (dir, registry, clock) = (tempfile::tempdir().unwrap(), Registry::new(), SystemClock::new());
        let ca = DevCa::open(dir.path().join("tls"), clock.wall()).unwrap();
        let server = ca.issue("server", &Leaf::server("admin", clock.wall())).unwrap().load().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let mut settings = AdminSettings::new(dir.path(), &url);
        change(&mut settings);
        let admin = Admin::open(settings, &registry, clock).await.unwrap();
        let mut acceptor = AcceptorSettings::new(server);
        acceptor.client_auth = ClientAuth::Optional(ca.trust().unwrap());
        let listened = ListenerMetrics::new(&registry, &acceptor.policy);
        let acceptor = Acceptor::new(acceptor, listened, clock).unwrap();
        let metrics = ServerMetrics::new(&registry);
        let server =
            Server::new(listener, admin.router(), ServerSettings::default(), metrics, clock).with_tls(acceptor);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let served = tokio::spawn(async move { _ = server.serve(stopped).await });
        let (background, stopped) = (admin.clone(), stop.clone());
        let background = tokio::spawn(async move { background.run_background(stopped).await });
        Self { dir, ca, url, admin, registry, stop, served, background }
    }

    /// A client with connections of its own.
    pub(crate) fn client(&self) -> Client {
        self.client_with(None)
    }

    /// One that shows a certificate of this name.
    pub(crate) fn client_named(&self, name: &str) -> Client {
        let leaf = Leaf::client(name, SystemClock::new().wall());
        self.client_with(Some(self.ca.issue(name, &leaf).unwrap().load().unwrap()))
    }

    fn client_with(&self, identity: Option<Identity>) -> Client {
        let (registry, clock) = (Registry::new(), SystemClock::new());
        let mut settings = ConnectorSettings::new(self.ca.trust().unwrap());
        settings.identity = identity;
        let certificates = CertificateMetrics::new(&registry, clock);
        let metrics = ConnectorMetrics::new(&registry, &settings.policy, certificates);
        let connector = Connector::new(settings, metrics, clock).unwrap();
        let settings =
            ClientSettings { max_connections_per_host: 32, max_idle_per_host: 32, ..ClientSettings::default() };
        Client::new(settings, Some(connector), HttpClientMetrics::new(&registry), clock)
    }

    /// What the module counted.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.registry.sum_of(name, labels)
    }

    /// Ends it.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.served.await.unwrap();
        self.background.await.unwrap();
        self.admin.close().await;
        drop(self.dir);
    }
}

/// One token request of the account `client`: its status and body.
pub(crate) async fn ask(client: &Client, url: &str, secret: &str) -> (u16, serde_json::Value) {
    let request = http::Request::post(format!("{url}/oauth2/token"))
        .header(AUTHORIZATION, format!("Basic {}", STANDARD.encode(format!("client:{secret}"))))
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(artstore_http::body::full("grant_type=client_credentials"))
        .unwrap();
    let (parts, body) = client.send(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status.as_u16(), serde_json::from_slice(&body).unwrap())
}
