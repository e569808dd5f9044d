//! The families of the client's connection pool, by peer: a bounded number of peers has series of its own, while it is in use.

use super::CloseReason;
use artstore_metrics::{EventLock, Family, Label, LabelValue as _, Registry};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many peers have series of their own at one time.
pub const PEERS_MAX: usize = 64;

/// The label of all further peers.
const OTHER: &str = "other";

const PEER: Label = Label::open(
    "peer",
    "host:port of the first 64 peers in use, which leave when unused for ten minutes; other for the rest",
);

/// Open connections.
pub const CLIENT_OPEN: Family =
    Family::gauge("http_client_connections_open", "Open connections to a peer, idle ones included.").labels(&[PEER]);
/// Idle connections.
pub const CLIENT_IDLE: Family =
    Family::gauge("http_client_connections_idle", "Open connections to a peer that wait in the pool.").labels(&[PEER]);
/// Connections opened.
pub const CLIENT_OPENED: Family =
    Family::counter("http_client_connections_opened_total", "Connections opened to a peer.").labels(&[PEER]);
/// Connections closed.
pub const CLIENT_CLOSED: Family =
    Family::counter("http_client_connections_closed_total", "Connections to a peer that ended, by reason.")
        .labels(&[PEER, CloseReason::LABEL]);
/// Connections that were of no use.
pub const CLIENT_UNUSED: Family = Family::counter(
    "http_client_connections_unused_total",
    "Connections to a peer that ended before any of a request was sent over them.",
)
.labels(&[PEER]);
/// Requests that wait for a connection.
pub const CLIENT_WAITING: Family = Family::gauge(
    "http_client_requests_waiting",
    "Requests that wait because their peer is at its limit of connections.",
)
.labels(&[PEER]);

/// One number of a peer's.
#[derive(Debug, Clone, Copy)]
enum Cell {
    Open,
    Idle,
    Waiting,
    Opened,
    Unused,
}

#[derive(Debug, Default)]
struct Cells {
    open: AtomicU64,
    idle: AtomicU64,
    waiting: AtomicU64,
    opened: AtomicU64,
    unused: AtomicU64,
    closed: [AtomicU64; CloseReason::ALL.len()],
}

impl Cells {
    const fn of(&self, cell: Cell) -> &AtomicU64 {
        match cell {
            Cell::Open => &self.open,
            Cell::Idle => &self.idle,
            Cell::Waiting => &self.waiting,
            Cell::Opened => &self.opened,
            Cell::Unused => &self.unused,
        }
    }
}

/// What the pools of one module measure. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct PoolMetrics {
    peers: Arc<Peers>,
    events: EventLock,
}

#[derive(Debug, Default)]
struct Peers {
    known: Mutex<BTreeMap<String, Arc<Cells>>>,
    other: Arc<Cells>,
}

impl Peers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Cells>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn each(&self, mut show: impl FnMut(&str, &Cells)) {
        self.lock().iter().for_each(|(peer, cells)| show(peer, cells));
        show(OTHER, &self.other);
    }
}

impl PoolMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let peers = Arc::new(Peers::default());
        for (family, cell) in [
            (&CLIENT_OPEN, Cell::Open),
            (&CLIENT_IDLE, Cell::Idle),
            (&CLIENT_OPENED, Cell::Opened),
            (&CLIENT_UNUSED, Cell::Unused),
            (&CLIENT_WAITING, Cell::Waiting),
        ] {
            let peers = Arc::clone(&peers);
            registry.computed(family, move |samples| {
                peers.each(|peer, cells| samples.integer(&[peer], cells.of(cell).load(Ordering::Relaxed)));
            });
        }
        let closing = Arc::clone(&peers);
        registry.computed(&CLIENT_CLOSED, move |samples| {
            closing.each(|peer, cells| {
                for (reason, count) in CloseReason::ALL.iter().zip(&cells.closed) {
                    samples.integer(&[peer, reason.label()], count.load(Ordering::Relaxed));
                }
            });
        });
        Self { peers, events: registry.event_lock() }
    }

    /// The numbers of this peer, for as long as what this gives, or a clone of it, is kept, and until room is needed.
    pub(crate) fn peer(&self, host: &str, port: u16) -> PeerMetrics {
        let name = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut known = self.peers.lock();
        if !known.contains_key(&name) && known.len() >= PEERS_MAX {
            known.retain(|_, cells| Arc::strong_count(cells) > 1);
        }
        let cells = if known.contains_key(&name) || known.len() < PEERS_MAX {
            Arc::clone(known.entry(name).or_default())
        } else {
            Arc::clone(&self.peers.other)
        };
        PeerMetrics { cells, events: self.events.clone() }
    }

    /// The series of peers that nobody uses any more leave.
    pub(crate) fn forget_unused_peers(&self) {
        self.peers.lock().retain(|_, cells| Arc::strong_count(cells) > 1);
    }
}

/// What is measured of one peer.
#[derive(Debug, Clone)]
pub(crate) struct PeerMetrics {
    cells: Arc<Cells>,
    events: EventLock,
}

impl PeerMetrics {
    /// A connection was opened; it counts as open until the span is dropped.
    pub(crate) fn connection(&self) -> ConnectionSpan {
        let _event = self.events.event();
        self.cells.opened.fetch_add(1, Ordering::Relaxed);
        let open = self.hold(Cell::Open);
        ConnectionSpan { peer: self.clone(), open: Some(open), reason: CloseReason::Error }
    }

    /// Watches whether a connection is of any use; says so when dropped, by the last that could still have used it.
    pub(crate) fn use_of_connection(&self) -> ConnectionUse {
        ConnectionUse { cells: Arc::clone(&self.cells), used: AtomicBool::new(false) }
    }

    /// A connection lies in the pool until the guard is dropped.
    pub(crate) fn idle(&self) -> PeerGuard {
        self.hold(Cell::Idle)
    }

    /// A request waits for a connection until the guard is dropped.
    pub(crate) fn waiting(&self) -> PeerGuard {
        self.hold(Cell::Waiting)
    }

    fn hold(&self, cell: Cell) -> PeerGuard {
        self.cells.of(cell).fetch_add(1, Ordering::Relaxed);
        PeerGuard { cells: Arc::clone(&self.cells), cell }
    }
}

/// One unit of a peer's gauge, given back when dropped.
#[derive(Debug)]
pub(crate) struct PeerGuard {
    cells: Arc<Cells>,
    cell: Cell,
}

impl Drop for PeerGuard {
    fn drop(&mut self) {
        self.cells.of(self.cell).fetch_sub(1, Ordering::Relaxed);
    }
}

/// One connection that we opened.
#[derive(Debug)]
pub(crate) struct ConnectionSpan {
    peer: PeerMetrics,
    open: Option<PeerGuard>,
    reason: CloseReason,
}

impl ConnectionSpan {
    /// The connection ended for this reason.
    pub(crate) fn closed(mut self, reason: CloseReason) {
        self.reason = reason;
    }
}

impl Drop for ConnectionSpan {
    fn drop(&mut self) {
        let _event = self.peer.events.event();
        drop(self.open.take());
        self.peer.cells.closed[self.reason.index()].fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether any of a request was sent over a connection.
#[derive(Debug)]
pub(crate) struct ConnectionUse {
    cells: Arc<Cells>,
    used: AtomicBool,
}

impl ConnectionUse {
    /// It was.
    pub(crate) fn used(&self) {
        self.used.store(true, Ordering::Release);
    }
}

impl Drop for ConnectionUse {
    fn drop(&mut self) {
        if !*self.used.get_mut() {
            self.cells.unused.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::HttpClientMetrics;

    fn pool(registry: &Registry) -> PoolMetrics {
        HttpClientMetrics::new(registry).pool().clone()
    }

    #[test]
    fn connections_are_open_until_their_span_ends() {
        let registry = Registry::new();
        let metrics = pool(&registry);
        let peer = metrics.peer("a", 1);
        let (first, second, third) = (peer.connection(), peer.connection(), metrics.peer("::1", 1).connection());
        let (idle, waiting) = (peer.idle(), peer.waiting());
        let of = |name: &str, labels: &[(&str, &str)]| registry.sum_of(name, labels);
        assert_eq!(of("http_client_connections_open", &[("peer", "a:1")]), 2.0);
        assert_eq!(of("http_client_connections_open", &[("peer", "[::1]:1")]), 1.0);
        assert_eq!(of("http_client_connections_idle", &[("peer", "a:1")]), 1.0);
        assert_eq!(of("http_client_requests_waiting", &[("peer", "a:1")]), 1.0);
        first.closed(CloseReason::Peer);
        drop((second, third, idle, waiting));
        let (used, unused) = (peer.use_of_connection(), peer.use_of_connection());
        used.used();
        drop((used, unused));
        assert_eq!(of("http_client_connections_closed_total", &[("peer", "a:1"), ("reason", "peer")]), 1.0);
        assert_eq!(of("http_client_connections_closed_total", &[("peer", "a:1"), ("reason", "error")]), 1.0);
        assert_eq!(of("http_client_connections_closed_total", &[]), 3.0);
        assert_eq!(of("http_client_connections_unused_total", &[("peer", "a:1")]), 1.0);
        assert_eq!(of("http_client_connections_opened_total", &[]), 3.0);
        for gauge in ["http_client_connections_open", "http_client_connections_idle", "http_client_requests_waiting"] {
            assert_eq!(of(gauge, &[]), 0.0, "{gauge}");
        }
    }

    #[test]
    fn the_sixty_fifth_peer_in_use_is_other_and_an_unused_one_makes_room() {
        let registry = Registry::new();
        let metrics = pool(&registry);
        let mut held: Vec<_> =
            (0..64).map(|port| (metrics.peer("a", port), metrics.peer("a", port).connection())).collect();
        let beyond = metrics.peer("b", 1).connection();
        let open = |peer: &str| registry.sum_of("http_client_connections_open", &[("peer", peer)]);
        assert_eq!((open("a:0"), open("b:1"), open("other")), (1.0, 0.0, 1.0));
        held.remove(0);
        let next = metrics.peer("b", 2).connection();
        assert_eq!((open("b:2"), open("other")), (1.0, 1.0));
        let text = registry.encode(artstore_metrics::Format::Text);
        assert!(!text.contains("peer=\"a:0\"") && text.contains("http_client_connections_open{peer=\"a:1\"} 1\n"));
        // One that is known keeps its numbers, however full it is.
        let again = metrics.peer("a", 1).connection();
        assert_eq!(open("a:1"), 2.0);
        drop((held, beyond, next, again));
        metrics.forget_unused_peers();
        assert!(!registry.encode(artstore_metrics::Format::Text).contains("peer=\"a:"));
        assert_eq!(registry.sum_of("http_client_connections_opened_total", &[("peer", "other")]), 1.0);
    }

    /// Before there is a peer, the sum over peers is a zero, not an absence.
    #[test]
    fn the_rest_is_there_from_the_first_scrape() {
        let registry = Registry::new();
        let _metrics = pool(&registry);
        let text = registry.encode(artstore_metrics::Format::Text);
        for series in [
            "http_client_connections_open{peer=\"other\"} 0\n",
            "http_client_connections_unused_total{peer=\"other\"} 0\n",
            "http_client_connections_closed_total{peer=\"other\",reason=\"idle_timeout\"} 0\n",
        ] {
            assert!(text.contains(series), "{series}");
        }
    }
}
