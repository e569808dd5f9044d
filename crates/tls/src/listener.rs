//! A listener whose handshakes run side by side, so that a client that says nothing keeps nobody waiting.

use crate::acceptor::Acceptor;
use crate::server_stream::ServerStream;
use artstore_metrics::{Clock, SystemClock};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Handshakes at one time, unless told otherwise.
const MAX_HANDSHAKES: usize = 512;

/// How long no connection is accepted after accepting one failed; the usual cause, no file descriptors left, does not go
/// away at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts TCP connections and hands them out once their TLS handshake is done, in the order in which they are done.
///
/// It knows nothing of HTTP; `examples/axum_listener.rs` makes it a listener of axum in ten lines. Handshakes go on while
/// [`accept`](Self::accept) is awaited or not; new connections are taken only while it is. What is under way when the
/// listener is dropped is given up, and counted as such.
#[derive(Debug)]
pub struct TlsListener<C: Clock = SystemClock> {
    tcp: TcpListener,
    acceptor: Acceptor<C>,
    /// Under way, and done but not handed out yet.
    handshakes: JoinSet<Option<(ServerStream, SocketAddr)>>,
    max_handshakes: usize,
    paused_until: Option<Instant>,
}

impl<C: Clock> TlsListener<C> {
    /// A listener with at most 512 handshakes at one time.
    #[must_use]
    pub fn new(tcp: TcpListener, acceptor: Acceptor<C>) -> Self {
        Self { tcp, acceptor, handshakes: JoinSet::new(), max_handshakes: MAX_HANDSHAKES, paused_until: None }
    }

    /// The same with so many handshakes at one time, at least one; more connections wait in the kernel's queue. Each
    /// handshake ends by the acceptor's time-out, so their turn comes.
    #[must_use]
    pub fn max_handshakes(mut self, handshakes: usize) -> Self {
        self.max_handshakes = handshakes.max(1);
        self
    }

    /// The next client, once its handshake is done. Failed handshakes are counted, logged and not handed out.
    ///
    /// Cancel safe: what is lost of a call is taken up by the next one.
    pub async fn accept(&mut self) -> (ServerStream, SocketAddr) {
        loop {
            let has_room = self.handshakes.len() < self.max_handshakes;
            tokio::select! {
                Some(done) = self.handshakes.join_next() => {
                    // Neither a failed handshake nor one that panicked is of use to anybody.
                    if let Ok(Some(accepted)) = done {
                        return accepted;
                    }
                }
                accepted = next(&self.tcp, self.paused_until), if has_room => self.accepted(accepted),
            }
        }
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// If the system cannot tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    fn accepted(&mut self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        match accepted {
            Ok((tcp, remote)) => {
                self.paused_until = None;
                let acceptor = self.acceptor.clone();
                // The acceptor has logged and counted what went wrong.
                self.handshakes.spawn(async move { Some((acceptor.accept(tcp).await.ok()?, remote)) });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                self.paused_until = Some(Instant::now() + ACCEPT_PAUSE);
            }
        }
    }
}

/// The next TCP connection, not before the pause is over.
async fn next(tcp: &TcpListener, paused_until: Option<Instant>) -> io::Result<(TcpStream, SocketAddr)> {
    if let Some(until) = paused_until {
        tokio::time::sleep_until(until).await;
    }
    tcp.accept().await
}
