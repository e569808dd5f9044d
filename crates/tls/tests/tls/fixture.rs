//! Certificates, a clock that steps, a client and a server with registries of their own.

use artstore_metrics::{Clock, Format, Monotonic, Registry, SystemClock, UnixTime};
use artstore_tls::dev::{DevCa, Leaf};
use artstore_tls::{
    Acceptor, AcceptorSettings, CertificateMetrics, ClientAuth, ClientStream, Connector, ConnectorMetrics,
    ConnectorSettings, Identity, ListenerMetrics, Policy, Protocol, ServerName, ServerStream, TlsError,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;
use tracing_subscriber::fmt::MakeWriter;

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// Every look at the monotonic clock is 30 ms after the one before.
#[derive(Debug, Clone)]
pub(crate) struct StepClock {
    steps: Arc<AtomicU32>,
}

impl Clock for StepClock {
    fn monotonic(&self) -> Monotonic {
        Monotonic::from_origin(Duration::from_millis(30) * self.steps.fetch_add(1, Ordering::Relaxed))
    }

    fn wall(&self) -> UnixTime {
        SystemClock::new().wall()
    }
}

pub(crate) fn clock() -> StepClock {
    StepClock { steps: Arc::default() }
}

pub(crate) fn now() -> UnixTime {
    SystemClock::new().wall()
}

/// An authority, another one that nobody trusts, and what they issue.
pub(crate) struct World {
    dir: TempDir,
    pub(crate) ca: DevCa,
    pub(crate) stranger: DevCa,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let ca = DevCa::create(dir.path().join("ca"), "Test CA", now().minus(DAY), now().plus(DAY * 400)).unwrap();
        let stranger =
            DevCa::create(dir.path().join("stranger"), "Strange CA", now().minus(DAY), now().plus(DAY * 400)).unwrap();
        Self { dir, ca, stranger }
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub(crate) fn server(&self) -> Identity {
        self.ca.issue("server", &Leaf::server("server", now())).unwrap().load().unwrap()
    }

    pub(crate) fn client(&self) -> Identity {
        self.ca.issue("client", &Leaf::client("client", now())).unwrap().load().unwrap()
    }

    pub(crate) fn settings(&self) -> ConnectorSettings {
        ConnectorSettings::new(self.ca.trust().unwrap())
    }

    pub(crate) fn mutual(&self) -> ConnectorSettings {
        ConnectorSettings { identity: Some(self.client()), ..self.settings() }
    }

    pub(crate) fn requiring(&self) -> AcceptorSettings {
        AcceptorSettings {
            client_auth: ClientAuth::Required(self.ca.trust().unwrap()),
            ..AcceptorSettings::new(self.server())
        }
    }
}

pub(crate) fn tls12() -> Policy {
    let names = ["ECDHE-ECDSA-AES128-GCM-SHA256".to_owned()];
    Policy::new(Protocol::Tls12, Some(&names)).unwrap()
}

pub(crate) fn both_versions() -> Policy {
    Policy::new(Protocol::Tls12, None).unwrap()
}

pub(crate) struct Client {
    pub(crate) registry: Registry,
    pub(crate) connector: Connector<StepClock>,
}

pub(crate) fn client(settings: ConnectorSettings) -> Client {
    let registry = Registry::new();
    let certificates = CertificateMetrics::new(&registry, clock());
    let metrics = ConnectorMetrics::new(&registry, &settings.policy, certificates);
    Client { connector: Connector::new(settings, metrics, clock()).unwrap(), registry }
}

pub(crate) struct Server {
    pub(crate) registry: Registry,
    pub(crate) acceptor: Acceptor<StepClock>,
}

pub(crate) fn server(settings: AcceptorSettings) -> Server {
    server_in(settings, Registry::new())
}

/// A server that records in this registry.
pub(crate) fn server_in(settings: AcceptorSettings, registry: Registry) -> Server {
    let metrics = ListenerMetrics::new(&registry, &settings.policy);
    Server { acceptor: Acceptor::new(settings, metrics, clock()).unwrap(), registry }
}

/// Bytes asked for in each direction: the kernel's own choice grows to many MiB where memory is plenty.
const SOCKET_BUFFER: u32 = 64 << 10;

/// A connection on loopback that holds far less than a body of 4 MiB in its buffers.
pub(crate) async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listening = TcpSocket::new_v4().unwrap();
    listening.set_recv_buffer_size(SOCKET_BUFFER).unwrap();
    listening.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let listener = listening.listen(1).unwrap();
    let connecting = TcpSocket::new_v4().unwrap();
    connecting.set_send_buffer_size(SOCKET_BUFFER).unwrap();
    let near = connecting.connect(listener.local_addr().unwrap()).await.unwrap();
    (near, listener.accept().await.unwrap().0)
}

pub(crate) fn name(name: &str) -> ServerName<'static> {
    ServerName::try_from(name.to_owned()).unwrap()
}

/// Both ends of one handshake on loopback.
pub(crate) async fn meet(
    client: &Client,
    server: &Server,
) -> (Result<ClientStream, TlsError>, Result<ServerStream, TlsError>) {
    let (near, far) = tcp_pair().await;
    tokio::join!(client.connector.connect(name("localhost"), near), server.acceptor.accept(far))
}

/// What follows from the outcome of a handshake or from what became of the connection, and has tests of its own.
const DERIVED: [&str; 5] = [
    "handshake_failures_found_by_total",
    "handshake_kind_total",
    "handshake_key_exchange_total",
    "connections_unused_total",
    "peer_certificate_remaining_seconds_count",
];

/// Every sample that is not 0, without the sums and buckets of histograms, and without what is derived from the others.
pub(crate) fn moved(registry: &Registry) -> BTreeMap<String, String> {
    let text = registry.encode(Format::Text);
    let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    samples
        .filter(|(name, value)| *value != "0" && !name.contains("_sum") && !name.contains("_bucket"))
        .filter(|(name, _)| !DERIVED.iter().any(|derived| name.contains(derived)))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

pub(crate) fn samples<const N: usize>(expected: [(&str, &str); N]) -> BTreeMap<String, String> {
    expected.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The sums that are equal at every scrape.
pub(crate) fn assert_sums_agree(registry: &Registry, prefix: &str) {
    let success = registry.sum_of(&format!("{prefix}handshake_total"), &[("status", "success")]);
    assert_eq!(registry.sum_of(&format!("{prefix}handshake_duration_seconds_count"), &[]), success);
    assert_eq!(registry.sum_of(&format!("{prefix}protocol_usage_total"), &[]), success);
    assert_eq!(registry.sum_of(&format!("{prefix}cipher_suite_usage_total"), &[]), success);
    assert_eq!(registry.sum_of(&format!("{prefix}handshake_kind_total"), &[]), success);
    assert_eq!(registry.sum_of(&format!("{prefix}handshake_key_exchange_total"), &[]), success);
    let failure = registry.sum_of(&format!("{prefix}handshake_total"), &[("status", "failure")]);
    assert_eq!(registry.sum_of(&format!("{prefix}handshake_failures_found_by_total"), &[]), failure);
}

/// A server without our wrapper, that requires a certificate and gives this many tickets.
pub(crate) fn raw_server(world: &World, tickets: usize) -> TlsAcceptor {
    let files = world.ca.issue("quiet", &Leaf::server("quiet", now())).unwrap();
    let chain = vec![CertificateDer::from_pem_file(&files.cert).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(world.ca.ca_file()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    config.send_tls13_tickets = tickets;
    TlsAcceptor::from(Arc::new(config))
}

/// Log lines, level first.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    pub(crate) fn take(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        String::from_utf8(bytes).unwrap().lines().map(|line| line.trim().to_owned()).collect()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Takes what this thread logs, down to DEBUG, until the guard is dropped.
pub(crate) fn capture() -> (Lines, tracing::subscriber::DefaultGuard) {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(lines.clone())
        .with_ansi(false)
        .without_time()
        .finish();
    (lines, tracing::subscriber::set_default(subscriber))
}

pub(crate) fn logged(action: impl FnOnce()) -> Vec<String> {
    let (lines, _guard) = capture();
    action();
    lines.take()
}
