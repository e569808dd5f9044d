//! Bare TLS connections, without HTTP: silent sockets in any number, and how long a good client's handshake takes.

use crate::poll::timed;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The longest wait for a handshake.
const LIMIT: Duration = Duration::from_secs(20);

/// A client that makes full handshakes, one after the other.
#[derive(Debug)]
pub struct Handshaker {
    config: Arc<ClientConfig>,
}

impl Handshaker {
    /// Trusts this authority.
    ///
    /// # Panics
    /// When its certificate cannot be read.
    #[must_use]
    pub fn new(ca: &Path) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = versions.with_root_certificates(roots).with_no_client_auth();
        config.resumption = Resumption::disabled();
        Self { config: Arc::new(config) }
    }

    /// From the start of the TCP connection to the end of the TLS handshake; then the connection is closed.
    ///
    /// # Panics
    /// When the server does not do its part.
    pub fn handshake(&self, address: SocketAddr) -> Duration {
        let name = ServerName::try_from("localhost").unwrap();
        let mut connection = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        let (mut tcp, took) = timed(|| {
            let mut tcp = TcpStream::connect_timeout(&address, LIMIT).unwrap();
            tcp.set_nodelay(true).unwrap();
            tcp.set_read_timeout(Some(LIMIT)).unwrap();
            while connection.is_handshaking() {
                connection.complete_io(&mut tcp).unwrap_or_else(|error| panic!("no handshake: {error}"));
            }
            tcp
        });
        connection.send_close_notify();
        while connection.wants_write() {
            connection.write_tls(&mut tcp).unwrap();
        }
        took
    }

    /// The 99th percentiles of so many handshakes with each of these, made in turn, so that whatever else keeps the machine
    /// busy strikes all of them alike.
    pub fn p99<const N: usize>(&self, addresses: [SocketAddr; N], count: usize) -> [Duration; N] {
        let mut all = [(); N].map(|()| Vec::with_capacity(count));
        for _ in 0..count {
            for (took, address) in all.iter_mut().zip(addresses) {
                took.push(self.handshake(address));
            }
        }
        all.map(|mut took| {
            took.sort_unstable();
            took[(count * 99).div_ceil(100) - 1]
        })
    }
}

/// Opens connections on which nothing will be said.
///
/// # Panics
/// When one cannot be opened.
#[must_use]
pub fn silent(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect_timeout(&address, LIMIT).unwrap()).collect()
}

/// How many of these the server has not closed.
///
/// # Panics
/// When the server has said something.
#[must_use]
pub fn still_open(sockets: &[TcpStream]) -> usize {
    let is_open = |socket: &&TcpStream| {
        socket.set_nonblocking(true).unwrap();
        match socket.peek(&mut [0]) {
            Ok(0) => false,
            Ok(_) => panic!("the server said something to a silent client"),
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    };
    sockets.iter().filter(is_open).count()
}

/// Lets this process open so many files.
///
/// # Panics
/// When it may not: the message says what to change.
pub fn allow_files(count: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < count) {
        let enough = maximum.is_none_or(|maximum| maximum >= count);
        assert!(enough, "this test needs {count} open files, and the hard limit is {maximum:?}: raise it (ulimit -Hn)");
        setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum }).unwrap();
    }
}
