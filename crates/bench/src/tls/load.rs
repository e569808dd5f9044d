//! The client of the comparison: full handshakes, one after the other on each of a few threads.

use super::material::{Files, Kind, server_name, suite};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, NamedGroup};
use std::error::Error;
use std::io::{Error as IoError, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Threads, so that the server has always a handshake to work on.
const THREADS: usize = 6;

/// A client for one kind of handshake.
pub struct Load {
    config: Arc<ClientConfig>,
    kind: Kind,
}

/// Handshakes, and how long they took together.
pub struct Made {
    pub handshakes: u32,
    pub seconds: f64,
}

impl Load {
    pub fn new(files: &Files, kind: Kind) -> Result<Self, Box<dyn Error>> {
        Ok(Self { config: files.client(kind)?, kind })
    }

    /// As many handshakes as this time allows.
    pub fn run(&self, port: u16, time: Duration) -> Result<Made, Box<dyn Error>> {
        #[expect(clippy::disallowed_methods, reason = "it times the handshakes")]
        let start = Instant::now();
        let until = start + time;
        let one = || -> Result<u32, String> {
            let mut made = 0;
            while start.elapsed() < until - start {
                self.handshake(port).map_err(|error| error.to_string())?;
                made += 1;
            }
            Ok(made)
        };
        let counts: Vec<Result<u32, String>> = std::thread::scope(|scope| {
            let threads = [(); THREADS].map(|()| scope.spawn(one));
            threads.into_iter().map(|thread| thread.join().unwrap_or(Err("a thread panicked".to_owned()))).collect()
        });
        let seconds = start.elapsed().as_secs_f64();
        Ok(Made { handshakes: counts.into_iter().sum::<Result<_, _>>()?, seconds })
    }

    /// One handshake, until the server's ticket tells that it has accepted us as well.
    fn handshake(&self, port: u16) -> Result<(), Box<dyn Error>> {
        let mut tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        let mut tls = ClientConnection::new(Arc::clone(&self.config), server_name()?)?;
        while tls.tls13_tickets_received() == 0 {
            while tls.wants_write() {
                tls.write_tls(&mut tcp)?;
            }
            tcp.flush()?;
            if tls.read_tls(&mut tcp)? == 0 {
                return Err(IoError::from(ErrorKind::UnexpectedEof).into());
            }
            tls.process_new_packets()?;
        }
        let agreed = (
            tls.handshake_kind(),
            tls.negotiated_cipher_suite().map(|suite| suite.suite()),
            tls.negotiated_key_exchange_group().map(|group| group.name()),
        );
        let expected = (Some(HandshakeKind::Full), Some(suite(self.kind).suite()), Some(NamedGroup::X25519));
        if agreed != expected {
            return Err(format!("another handshake than the one that is compared: {agreed:?}").into());
        }
        // The end of the connection, and what is left of it, is for the server to read.
        tls.send_close_notify();
        tls.write_tls(&mut tcp)?;
        tcp.shutdown(std::net::Shutdown::Write)?;
        tcp.read_to_end(&mut Vec::new()).ok();
        Ok(())
    }
}
