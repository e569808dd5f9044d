//! The server loop: accept, hand each connection to a task of its own, and drain on shutdown.

mod admission;
mod connection;
mod io;
mod observe;

use crate::metrics::{ConnectionFault, Listener, ServerMetrics};
use admission::{Displaced, Door, Limits, Visitor};
use artstore_metrics::{Clock, SystemClock};
use artstore_tls::{Acceptor, PeerCertificate};
use artstore_trace::Tracer;
use axum::Router;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::util::MapRequestLayer;

/// The whole HTTP answer for a client that speaks plain HTTP to a TLS port; for
/// `artstore_tls::AcceptorSettings::plain_text_answer`.
pub const PLAIN_HTTP_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
content-length: 52\r\nconnection: close\r\n\r\nThis port speaks TLS: use an https:// URL instead.\r\n";

/// Connections that the kernel may keep until they are accepted (it keeps no more than `net.core.somaxconn`). Beyond it a
/// client's first packet is lost, and it waits for a second before it sends another.
const BACKLOG: i32 = 4096;

/// How long `accept` pauses after it failed; the usual cause, no file descriptors left, does not go away at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The same when silent connections were closed for their descriptors: their tasks only have to notice.
const SHED_PAUSE: Duration = Duration::from_millis(5);

/// How long connections that are cut off may take to be gone.
const CUT_OFF: Duration = Duration::from_secs(1);

/// Limits and time-outs of a [`Server`].
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Which of the module's listeners this is, for metrics and logs. Default `main`.
    pub listener: Listener,
    /// Connections whose TLS handshake has begun; without TLS, all of them. More wait: those that have said their hello, for
    /// no longer than a handshake may take; without TLS, in the kernel's queue. Default 1024.
    pub max_connections: usize,
    /// TLS handshakes at one time, from the client's hello on; more wait their turn. Each is bounded by the acceptor's
    /// time-out. Default 512.
    pub max_handshakes: usize,
    /// Connections over TLS whose client has not said its hello yet, or waits for its turn: these come on top of
    /// `max_connections`. When there are as many, the one that has been silent for longest is closed for a new one, so that
    /// silent clients keep nobody out. Default 1024.
    pub max_silent: usize,
    /// TLS handshakes of one address (of IPv6, a /64), silent clients included. When there are more, those of them that are
    /// older than a second are closed for the next, the oldest first; and where room is short for others, its connections are
    /// the first to go. 0 is no limit: for a server behind a balancer, where all clients have its address. Default 256.
    pub max_handshakes_per_address: usize,
    /// Connections of one address (of IPv6, a /64); more are closed at once. 0, the default, is no limit.
    pub max_connections_per_address: usize,
    /// From the end of the handshake to the end of the first request's head. Default 30 s.
    pub header_read_timeout: Duration,
    /// How long a connection without a request is kept, which is also the limit of every later request's head. Default 75 s:
    /// more than our clients', so that they close first.
    pub idle_timeout: Duration,
    /// The longest time that a client may refuse to take more of a response. Default 60 s.
    pub write_timeout: Duration,
    /// Bytes of a request's head. Default 32 KiB.
    pub max_header_bytes: usize,
    /// Headers of a request. Default 100.
    pub max_headers: usize,
    /// Bytes that a connection buffers on the way in, and again on the way out, while the other side is slower; over HTTP/2
    /// each request has four times as much, to fill long paths. Never less than a head may have. Default 128 KiB.
    pub max_buffer_bytes: usize,
    /// Requests at one time on one HTTP/2 connection. Default 100.
    pub max_http2_streams: u32,
    /// How long requests in progress may go on after shutdown began. Default 30 s.
    pub drain_timeout: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            listener: Listener::Main,
            max_connections: 1024,
            max_handshakes: 512,
            max_silent: 1024,
            max_handshakes_per_address: 256,
            max_connections_per_address: 0,
            header_read_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(60),
            max_header_bytes: 32 * 1024,
            max_headers: 100,
            max_buffer_bytes: 128 * 1024,
            max_http2_streams: 100,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// Who sent a request: an extension of every request that a [`Server`] hands to its router.
#[derive(Debug, Clone)]
pub struct PeerInfo {
    /// The other end of the connection.
    pub remote: SocketAddr,
    /// The client's certificate, if it showed one; verified.
    pub certificate: Option<Arc<PeerCertificate>>,
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were open when shutdown began.
    pub open: usize,
    /// Those of them that did not end within the drain time-out and were cut off.
    pub cut_off: usize,
}

/// One listener with its router.
pub struct Server<C: Clock = SystemClock> {
    listener: TcpListener,
    acceptor: Option<Acceptor<C>>,
    context: Context<C>,
}

/// What every connection of a server shares.
struct Context<C: Clock> {
    router: Router,
    settings: ServerSettings,
    metrics: ServerMetrics,
    clock: C,
    tracer: Option<Tracer>,
    door: Arc<Door>,
    places: Arc<Semaphore>,
    handshakes: Semaphore,
    /// No new request, end those in progress.
    shutdown: CancellationToken,
    /// End at once.
    cut_off: CancellationToken,
}

impl<C: Clock> Server<C> {
    /// A server that speaks plain HTTP; [`with_tls`](Self::with_tls) makes it speak TLS.
    #[must_use]
    pub fn new(
        listener: TcpListener,
        router: Router,
        settings: ServerSettings,
        metrics: ServerMetrics,
        clock: C,
    ) -> Self {
        let door = Door::new(Limits {
            not_begun: settings.max_silent,
            handshakes_per_address: settings.max_handshakes_per_address,
            connections_per_address: settings.max_connections_per_address,
        });
        let places = Arc::new(Semaphore::new(settings.max_connections.max(1)));
        let handshakes = Semaphore::new(settings.max_handshakes.max(1));
        let (shutdown, cut_off) = (CancellationToken::new(), CancellationToken::new());
        let tracer = None;
        let context = Context { router, settings, metrics, clock, tracer, door, places, handshakes, shutdown, cut_off };
        Self { listener, acceptor: None, context }
    }

    /// The same server, on TLS.
    #[must_use]
    pub fn with_tls(mut self, acceptor: Acceptor<C>) -> Self {
        self.acceptor = Some(acceptor);
        self
    }

    /// The same server, whose requests are spans: parts of the trace that they come in with, or roots of new ones.
    #[must_use]
    pub fn traced(mut self, tracer: Tracer) -> Self {
        let router = std::mem::take(&mut self.context.router);
        self.context.router = router.layer(MapRequestLayer::new(crate::trace::note_route));
        self.context.tracer = Some(tracer);
        self
    }

    /// The address that is listened on.
    ///
    /// # Errors
    /// If the operating system does not say.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown`; then refuses new connections, lets requests in progress end, and cuts off what is left when
    /// the drain time-out is over.
    pub async fn serve(self, shutdown: CancellationToken) -> Drained {
        let Self { listener, acceptor, context } = self;
        if let Err(error) = rustix::net::listen(&listener, BACKLOG) {
            tracing::debug!(%error, "the listener's queue is as long as it was");
        }
        let context = Arc::new(Context { shutdown, ..context });
        let tasks = TaskTracker::new();
        accept(&listener, acceptor.as_ref(), &context, &tasks).await;
        // From here on new connections are refused.
        drop(listener);
        tasks.close();
        let open = tasks.len();
        let drained = tokio::time::timeout(context.settings.drain_timeout, tasks.wait()).await.is_ok();
        let cut_off = if drained { 0 } else { tasks.len() };
        if cut_off > 0 {
            context.cut_off.cancel();
            // They only have to notice.
            let _ = tokio::time::timeout(CUT_OFF, tasks.wait()).await;
        }
        tracing::info!(listener = context.settings.listener.label(), open, cut_off, "listener drained");
        Drained { open, cut_off }
    }
}

impl<C: Clock> std::fmt::Debug for Server<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("listener", &self.listener).finish_non_exhaustive()
    }
}

/// How a connection begins.
enum Entry<C: Clock> {
    /// By a handshake, in which it gets its place, unless it has to make room for another.
    Tls(Acceptor<C>, Visitor, Displaced),
    /// At once, with its place.
    Plain(OwnedSemaphorePermit, Visitor),
}

/// Accepts until shutdown. Nothing here waits for a client.
async fn accept<C: Clock>(
    listener: &TcpListener,
    acceptor: Option<&Acceptor<C>>,
    context: &Arc<Context<C>>,
    tasks: &TaskTracker,
) {
    let next = async || -> std::io::Result<(TcpStream, SocketAddr)> { listener.accept().await };
    let room = async || {
        if acceptor.is_some() {
            context.door.room().await;
            return None;
        }
        // The semaphore is never closed.
        Arc::clone(&context.places).acquire_owned().await.ok()
    };
    loop {
        let place = tokio::select! {
            biased;
            () = context.shutdown.cancelled() => return,
            place = room() => place,
        };
        let accepted = tokio::select! {
            biased;
            () = context.shutdown.cancelled() => return,
            accepted = next() => accepted,
        };
        match accepted {
            Ok((tcp, remote)) => receive(tcp, remote, (acceptor, place), context, tasks),
            Err(error) if is_the_peers(&error) => {}
            Err(error) => {
                context.metrics.fault(context.settings.listener, ConnectionFault::Accept);
                let closed = context.door.shed();
                tracing::error!(
                    %error,
                    listener = context.settings.listener.label(),
                    closed,
                    "cannot accept connections; silent ones are closed"
                );
                tokio::time::sleep(if closed > 0 { SHED_PAUSE } else { ACCEPT_PAUSE }).await;
            }
        }
    }
}

/// Gives the connection a task of its own, or closes it if its address has too many.
fn receive<C: Clock>(
    tcp: TcpStream,
    remote: SocketAddr,
    (acceptor, place): (Option<&Acceptor<C>>, Option<OwnedSemaphorePermit>),
    context: &Arc<Context<C>>,
    tasks: &TaskTracker,
) {
    let (listener, metrics) = (context.settings.listener, &context.metrics);
    let open = metrics.connection(listener);
    let entry = match (acceptor, place) {
        (Some(acceptor), _) => {
            let admitted = context.door.admit(remote.ip());
            admitted.map(|(visitor, displaced)| Entry::Tls(acceptor.clone(), visitor, displaced))
        }
        (None, Some(place)) => context.door.admit_plain(remote.ip()).map(|visitor| Entry::Plain(place, visitor)),
        (None, None) => Err(ConnectionFault::Busy),
    };
    match entry {
        Ok(entry) => {
            let context = Arc::clone(context);
            tasks.spawn(async move {
                connection::run(tcp, remote, entry, context).await;
                drop(open);
            });
        }
        Err(fault) => {
            tracing::debug!(%remote, listener = listener.label(), fault = fault.label(), "a connection was not taken");
            metrics.fault(listener, fault);
        }
    }
}

/// Whether `accept` failed because that one client has gone again.
fn is_the_peers(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests;
