//! axum over mutual TLS, every handshake measured: a listener for `axum::serve`, and handlers that know the client.
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
    Acceptor, AcceptorSettings, ClientAuth, Identity, ListenerMetrics, ServerStream, SetupError, TlsListener, Trust,
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

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, address] = arguments.as_slice() else {
        return Err("usage: axum_listener FOLDER ADDRESS".into());
    };
    let now = SystemClock::new().wall();
    let ca = DevCa::open(folder, now)?;
    let identity = ca.keep("server", &Leaf::server("example server", now), now)?.load()?;
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
    let listener = listener(tcp, identity, ca.trust()?, &registry)?;
    axum::serve(listener, app(registry).into_make_service_with_connect_info::<Client>()).await?;
    Ok(())
}

/// A listener for `axum::serve`, whose clients must show a certificate that this trust vouches for.
pub(crate) fn listener(
    tcp: TcpListener,
    identity: Identity,
    trust: Trust,
    registry: &Registry,
) -> Result<AxumListener, SetupError> {
    let mut settings = AcceptorSettings::new(identity);
    settings.client_auth = ClientAuth::Required(trust);
    settings.alpn = vec![b"http/1.1".to_vec()];
    let metrics = ListenerMetrics::new(registry, &settings.policy);
    let acceptor = Acceptor::new(settings, metrics, SystemClock::new())?;
    Ok(AxumListener(TlsListener::new(tcp, acceptor)))
}

/// Our listener as axum wants it.
pub(crate) struct AxumListener(TlsListener);

impl axum::serve::Listener for AxumListener {
    type Io = ServerStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (ServerStream, SocketAddr) {
        self.0.accept().await
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
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
