//! axum over mutual TLS, every handshake measured: a listener for `axum::serve` whose certificates can be renewed while it
//! runs, and handlers that know the client.
//!
//! ```sh
//! cargo run -p artstore-tls --example axum_listener -- certificates 127.0.0.1:8443
//! ```
//!
//! The folder gets a development authority with a certificate for the server and one for `hyper_client`, the other example.

#![expect(clippy::print_stdout, reason = "an example")]

use artstore_metrics::{Clock as _, Format, Registry, SystemClock};
use artstore_tls::dev::{DevCa, Leaf};
use artstore_tls::{
    Acceptor, AcceptorSettings, CertificateMetrics, Change, ClientAuth, IdentityFiles, ListenerMetrics, ReloadFiles,
    ReloadMetrics, Reloader, ServerStream, TlsListener, TrustFile,
};
use axum::Router;
use axum::extract::ConnectInfo;
use axum::extract::connect_info::Connected;
use axum::routing::get;
use axum::serve::IncomingStream;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, address] = arguments.as_slice() else {
        return Err("usage: axum_listener FOLDER ADDRESS".into());
    };
    let now = SystemClock::new().wall();
    let ca = DevCa::open(folder, now)?;
    let server = ca.keep("server", &Leaf::server("example server", now), now)?;
    let client = ca.keep("client", &Leaf::client("example client", now), now)?;
    let tcp = TcpListener::bind(address).await?;
    println!("in another terminal:");
    println!(
        "cargo run -p artstore-tls --example hyper_client -- https://{} {} {} {}",
        tcp.local_addr()?,
        ca.ca_file().display(),
        client.cert.display(),
        client.key.display()
    );
    let registry = Registry::new();
    let listener = listener(tcp, server, TrustFile(ca.ca_file().to_owned()), &registry)?;
    axum::serve(listener, app(registry).into_make_service_with_connect_info::<Client>()).await?;
    Ok(())
}

/// A listener for `axum::serve`, whose clients must show a certificate that this trust vouches for. When the files change, so
/// does what it shows and whom it trusts.
pub(crate) fn listener(
    tcp: TcpListener,
    server: IdentityFiles,
    trust: TrustFile,
    registry: &Registry,
) -> Result<AxumListener, Box<dyn Error>> {
    let clock = SystemClock::new();
    let files = ReloadFiles { server: Some(server), trust: Some(trust), ..ReloadFiles::default() };
    let (reloads, held) = (ReloadMetrics::new(registry, clock), CertificateMetrics::new(registry, clock));
    let (reloader, loaded) = Reloader::load(&files, reloads, held, clock)?;

    let mut settings = AcceptorSettings::new(loaded.server.ok_or("no certificate")?);
    settings.client_auth = ClientAuth::Required(loaded.trust.ok_or("no trust")?);
    settings.alpn = vec![b"http/1.1".to_vec()];
    let metrics = ListenerMetrics::new(registry, &settings.policy);
    let acceptor = Acceptor::new(settings, metrics, clock)?;

    let reloading = acceptor.clone();
    let take = move |change| match change {
        Change::ServerIdentity(identity) => {
            reloading.set_identity(identity);
            Ok(0)
        }
        Change::Trust(trust) => reloading.set_client_auth(ClientAuth::Required(trust)),
        // We do not connect to anybody.
        Change::ClientIdentity(_) => Ok(0),
    };
    let shutdown = CancellationToken::new();
    tokio::spawn(reloader.run(take, shutdown.clone()));
    Ok(AxumListener { tls: TlsListener::new(tcp, acceptor), _reloading: shutdown.drop_guard() })
}

/// Our listener as axum wants it.
pub(crate) struct AxumListener {
    tls: TlsListener,
    /// The files are watched for as long as there is a listener.
    _reloading: DropGuard,
}

impl axum::serve::Listener for AxumListener {
    type Io = ServerStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (ServerStream, SocketAddr) {
        self.tls.accept().await
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.tls.local_addr()
    }
}

/// Who is at the other end of a connection: the subject of the certificate.
#[derive(Clone)]
pub(crate) struct Client(Option<Arc<str>>);

impl Connected<IncomingStream<'_, AxumListener>> for Client {
    fn connect_info(stream: IncomingStream<'_, AxumListener>) -> Self {
        Self(stream.io().peer_certificate().map(|certificate| certificate.subject.as_str().into()))
    }
}

/// What is served: a greeting, and all families.
pub(crate) fn app(registry: Registry) -> Router {
    let metrics = move || {
        let text = registry.encode(Format::Text);
        async { text }
    };
    Router::new().route("/", get(greet)).route("/metrics", get(metrics))
}

async fn greet(ConnectInfo(Client(subject)): ConnectInfo<Client>) -> String {
    format!("hello, {}\n", subject.as_deref().unwrap_or("stranger"))
}
