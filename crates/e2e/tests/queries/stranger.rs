//! A client that sends whatever it is told to, over TLS or not, and keeps its connection as long as it may.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The longest wait for an answer.
const LIMIT: Duration = Duration::from_secs(10);
/// The longest answer that is read.
const MOST: usize = 4 << 20;

/// Whom it visits, and as whom.
pub(crate) struct Visit<'a> {
    /// A URL: `https://` means TLS.
    pub(crate) address: &'a str,
    pub(crate) ca: &'a Path,
    /// The name that it asks for.
    pub(crate) name: &'a str,
    /// Its certificate and key.
    pub(crate) identity: Option<(&'a Path, &'a Path)>,
    pub(crate) alpn: &'a [&'a str],
}

/// A connection that can be read and written.
trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

/// The client.
pub(crate) struct Stranger {
    address: String,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    wire: Option<Box<dyn Wire>>,
}

impl Stranger {
    pub(crate) fn new(visit: &Visit<'_>) -> Self {
        let (scheme, address) = visit.address.split_once("://").unwrap();
        let tls =
            (scheme == "https").then(|| (configuration(visit), ServerName::try_from(visit.name.to_owned()).unwrap()));
        Self { address: address.to_owned(), tls, wire: None }
    }

    /// Sends a request; the status of its answer, if there is one. A connection that breaks is opened anew for the next.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Option<u16> {
        let mut wire = self.wire.take().or_else(|| self.connect())?;
        wire.write_all(request).and_then(|()| wire.flush()).ok()?;
        let (status, stays_open) = read_answer(&mut *wire)?;
        self.wire = stays_open.then_some(wire);
        Some(status)
    }

    fn connect(&self) -> Option<Box<dyn Wire>> {
        let tcp = TcpStream::connect(&self.address).unwrap();
        tcp.set_read_timeout(Some(LIMIT)).unwrap();
        tcp.set_nodelay(true).unwrap();
        let Some((config, name)) = &self.tls else { return Some(Box::new(tcp)) };
        let connection = ClientConnection::new(Arc::clone(config), name.clone()).unwrap();
        Some(Box::new(StreamOwned::new(connection, tcp)))
    }
}

fn configuration(visit: &Visit<'_>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(visit.ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let trusting = versions.with_root_certificates(roots);
    let mut config = match visit.identity {
        None => trusting.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
            trusting.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
        }
    };
    config.alpn_protocols = visit.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// The status, and whether the connection can be used again.
fn read_answer(wire: &mut dyn Wire) -> Option<(u16, bool)> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        let count = wire.read(&mut chunk).ok().filter(|count| *count > 0 && bytes.len() < MOST)?;
        bytes.extend_from_slice(&chunk[..count]);
    };
    let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
    let status = text.split(' ').nth(1)?.parse().ok()?;
    let length: Option<usize> = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let missing = length.map(|length| (head + 4 + length).saturating_sub(bytes.len()));
    let is_whole = missing.is_some_and(|missing| missing < MOST && wire.read_exact(&mut vec![0; missing]).is_ok());
    Some((status, is_whole && !text.contains("connection: close")))
}
