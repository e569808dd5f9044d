//! hyper-util's pooled client over mutual TLS, every handshake measured: a connector for it, and errors that say what TLS said.
//!
//! ```sh
//! cargo run -p artstore-tls --example hyper_client -- https://127.0.0.1:8443 ca.pem client.pem client.key
//! ```
//!
//! `axum_listener`, the other example, is a server for it and makes these files.

#![expect(clippy::print_stdout, reason = "an example")]

use artstore_metrics::{Format, Registry, SystemClock};
use artstore_tls::{
    CertificateMetrics, ClientStream, Connector, ConnectorMetrics, ConnectorSettings, Identity, IdentityFiles,
    ServerName, SetupError, TlsError, Trust, TrustFile,
};
use http::Uri;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::net::TcpStream;

type BoxError = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, ca, cert, key] = arguments.as_slice() else {
        return Err("usage: hyper_client URL CA_FILE CERTIFICATE_FILE KEY_FILE".into());
    };
    let identity = IdentityFiles { cert: cert.into(), key: key.into() }.load()?;
    let registry = Registry::new();
    let client = HttpsClient::new(identity, TrustFile(ca.into()).load()?, &registry)?;
    for _ in 0..2 {
        match client.get(url.parse()?).await {
            Ok(text) => println!("{text}"),
            Err(error) => match tls_error(error.as_ref()) {
                Some(tls) => println!("TLS failed: {}: {tls}", tls.kind()),
                None => println!("failed: {error}"),
            },
        }
    }
    println!("{}", registry.encode(Format::Text));
    Ok(())
}

/// A pooled client. Clones share its connections.
#[derive(Clone)]
pub(crate) struct HttpsClient {
    client: Client<HttpsConnector, Empty<Bytes>>,
    metrics: ConnectorMetrics,
}

impl HttpsClient {
    /// A client that shows this certificate and trusts these authorities.
    pub(crate) fn new(identity: Identity, trust: Trust, registry: &Registry) -> Result<Self, SetupError> {
        let clock = SystemClock::new();
        let mut settings = ConnectorSettings::new(trust);
        settings.identity = Some(identity);
        settings.alpn = vec![b"http/1.1".to_vec()];
        let metrics = ConnectorMetrics::new(registry, &settings.policy, CertificateMetrics::new(registry, clock));
        let connector = HttpsConnector(Connector::new(settings, metrics.clone(), clock)?);
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector), metrics })
    }

    /// The body of the answer.
    pub(crate) async fn get(&self, url: Uri) -> Result<String, BoxError> {
        let answer = self.client.get(url).await?;
        if let Some(Carried(before)) = answer.extensions().get() {
            self.metrics.request_sent(before.swap(true, Ordering::Relaxed));
        }
        let body = answer.into_body().collect().await?.to_bytes();
        Ok(String::from_utf8_lossy(&body).into_owned())
    }
}

/// What TLS had to say about a failed request. In TLS 1.3 a server refuses our certificate only after the handshake, so the
/// reason may lie in the connection or in the request that went over it.
pub(crate) fn tls_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e TlsError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref() {
            return Some(tls);
        }
        // An I/O error's own `source` passes over the error that it is made of.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// Opens connections for hyper-util's client.
#[derive(Clone)]
pub(crate) struct HttpsConnector(Connector);

impl tower::Service<Uri> for HttpsConnector {
    type Response = HttpsStream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpsStream, BoxError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let connector = self.0.clone();
        Box::pin(async move {
            if url.scheme_str() != Some("https") {
                return Err("not an https URL".into());
            }
            let host = url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let tcp = TcpStream::connect((host.as_str(), url.port_u16().unwrap_or(443))).await?;
            tcp.set_nodelay(true)?;
            let stream = connector.connect(ServerName::try_from(host)?, tcp).await?;
            Ok(HttpsStream { io: TokioIo::new(stream), carried: Carried::default() })
        })
    }
}

/// Whether a connection has carried a request: the pool copies it into the extensions of each of its answers.
#[derive(Clone, Default)]
struct Carried(Arc<AtomicBool>);

/// A connection as hyper-util's client wants it.
pub(crate) struct HttpsStream {
    io: TokioIo<ClientStream>,
    carried: Carried,
}

impl Connection for HttpsStream {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.carried.clone())
    }
}

impl Read for HttpsStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl Write for HttpsStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
