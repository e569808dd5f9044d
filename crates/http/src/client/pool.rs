//! Connections by host: idle ones, a limit, and requests that wait their turn.

use super::body::WatchedBody;
use super::error::{ClientError, ClientErrorKind};
use super::io::IoState;
use crate::metrics::{CloseReason, PeerGuard, PeerMetrics, PoolMetrics};
use artstore_metrics::Monotonic;
use hyper::client::conn::http1::SendRequest;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// The injected monotonic clock, without its type: response bodies outlive what knows it.
pub(crate) type Now = Arc<dyn Fn() -> Monotonic + Send + Sync>;

/// A host that had no connection for so long is forgotten, and its series with it.
pub(crate) const HOST_MEMORY: Duration = Duration::from_mins(10);

/// With so many hosts, those without a connection are forgotten at once.
const HOSTS_MAX: usize = 256;

/// Limits of a pool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) idle_timeout: Duration,
    pub(crate) max_idle: usize,
    pub(crate) max_open: usize,
    pub(crate) max_waiting: usize,
}

/// Where a connection leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct HostKey {
    pub(crate) tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// All connections of a client.
pub(crate) struct Pool {
    hosts: Mutex<HashMap<HostKey, Arc<Host>>>,
    limits: Limits,
    metrics: PoolMetrics,
    now: Now,
    next_id: AtomicU64,
    /// Connections of an earlier generation are not used again.
    generation: AtomicU64,
}

impl Pool {
    pub(crate) fn new(limits: Limits, metrics: PoolMetrics, now: Now) -> Arc<Self> {
        Arc::new(Self {
            hosts: Mutex::default(),
            limits,
            metrics,
            now,
            next_id: AtomicU64::new(0),
            generation: AtomicU64::new(0),
        })
    }

    pub(crate) fn now(&self) -> Now {
        Arc::clone(&self.now)
    }

    pub(crate) fn host(self: &Arc<Self>, key: &HostKey) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.get(key) {
            return Arc::clone(host);
        }
        if hosts.len() >= HOSTS_MAX {
            hosts.retain(|_, host| Arc::strong_count(host) > 1 || !host.is_empty());
        }
        let peer = self.metrics.peer(&key.host, key.port);
        let host = Arc::new(Host { pool: Arc::downgrade(self), peer, state: Mutex::default() });
        host.lock().last_used = (self.now)();
        hosts.insert(key.clone(), Arc::clone(&host));
        tokio::spawn(sweeper(Arc::downgrade(&host), key.clone(), self.limits.idle_timeout));
        host
    }

    /// Forgets a host that has not been used for long; says whether it did.
    fn forget(&self, key: &HostKey, host: Arc<Host>) -> bool {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let unused = (self.now)().since(host.lock().last_used);
        // The map's and ours: nobody is about to use it.
        if Arc::strong_count(&host) > 2 || !host.is_empty() || unused < HOST_MEMORY {
            return false;
        }
        hosts.remove(key);
        drop((hosts, host));
        self.metrics.forget_unused_peers();
        true
    }

    /// Closes idle connections, and the others when their exchange ends.
    pub(crate) fn retire(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.sweep();
    }

    /// Closes connections that were idle for too long or belong to an earlier generation; says how many idle ones are left.
    fn sweep(&self) -> usize {
        let hosts: Vec<_> = self.hosts.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        hosts.iter().map(|host| host.sweep(self)).sum()
    }

    /// The generation of connections whose handshake begins now.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Why this idle connection cannot be used, if it cannot.
    fn unfit(&self, idle: &Idle) -> Option<CloseReason> {
        if idle.connection.generation != self.generation() {
            Some(CloseReason::Retired)
        } else if (self.now)().since(idle.since) >= self.limits.idle_timeout {
            Some(CloseReason::IdleTimeout)
        } else if !idle.connection.sender.as_ref().is_some_and(SendRequest::is_ready) {
            Some(CloseReason::Peer)
        } else {
            None
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // The task of an idle connection keeps its host, and the host the connection: this unties them.
        let hosts = std::mem::take(self.hosts.get_mut().unwrap_or_else(PoisonError::into_inner));
        for host in hosts.into_values() {
            let idle = std::mem::take(&mut host.lock().idle);
            idle.into_iter().for_each(|idle| idle.connection.retire(CloseReason::Retired));
        }
    }
}

/// The connections to one host.
pub(crate) struct Host {
    pool: Weak<Pool>,
    peer: PeerMetrics,
    state: Mutex<HostState>,
}

#[derive(Default)]
struct HostState {
    idle: Vec<Idle>,
    /// Connections that are open or being opened.
    open: usize,
    waiting: VecDeque<oneshot::Sender<Grant>>,
    last_used: Monotonic,
}

struct Idle {
    connection: Connection,
    since: Monotonic,
    _gauge: PeerGuard,
}

/// What a request gets from the pool.
pub(crate) enum Grant {
    /// An idle connection.
    Connection(Connection),
    /// The right to open one.
    Slot(Slot),
}

/// Which grants a request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// An idle connection if there is one.
    Any,
    /// A new connection: an idle one has just proved dead.
    New,
}

impl Host {
    fn lock(&self) -> MutexGuard<'_, HostState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is measured of it.
    pub(crate) const fn peer(&self) -> &PeerMetrics {
        &self.peer
    }

    fn is_empty(&self) -> bool {
        let state = self.lock();
        state.open == 0 && state.idle.is_empty() && state.waiting.is_empty()
    }

    /// The idle connection that was used last, or the right to open one, at once or when one comes free.
    pub(crate) async fn checkout(self: &Arc<Self>, want: Want, patience: Duration) -> Result<Grant, ClientError> {
        let exhausted = |detail: String| ClientError::unsent(ClientErrorKind::PoolExhausted, detail);
        let Some(pool) = self.pool.upgrade() else { return Err(exhausted("the client is gone".to_owned())) };
        let receiver = match self.try_checkout(&pool, want) {
            Ok(grant) => return Ok(grant),
            Err(Some(receiver)) => receiver,
            Err(None) => return Err(exhausted(format!("{} requests wait already", pool.limits.max_waiting))),
        };
        let _waiting = self.peer.waiting();
        match tokio::time::timeout(patience, receiver).await {
            Ok(Ok(grant)) => Ok(grant),
            Ok(Err(_)) | Err(_) => {
                Err(exhausted(format!("all {} connections stayed busy for {patience:?}", pool.limits.max_open)))
            }
        }
    }

    /// A grant, or a place in the queue, or `None` if the queue is full.
    fn try_checkout(self: &Arc<Self>, pool: &Pool, want: Want) -> Result<Grant, Option<oneshot::Receiver<Grant>>> {
        let mut unfit = Vec::new();
        let mut state = self.lock();
        state.last_used = (pool.now)();
        let mut found = None;
        // A new connection may need the place of an idle one.
        while want == Want::Any || state.open >= pool.limits.max_open {
            let Some(idle) = state.idle.pop() else { break };
            match pool.unfit(&idle) {
                None => {
                    found = Some(idle.connection);
                    break;
                }
                Some(reason) => unfit.push((idle, reason)),
            }
        }
        let result = if let Some(connection) = found {
            Ok(Grant::Connection(connection))
        } else if state.open < pool.limits.max_open {
            state.open += 1;
            Ok(Grant::Slot(Slot { host: Arc::clone(self) }))
        } else if state.waiting.len() < pool.limits.max_waiting {
            let (sender, receiver) = oneshot::channel();
            // Those who gave up leave their place.
            state.waiting.retain(|waiting| !waiting.is_closed());
            state.waiting.push_back(sender);
            Err(Some(receiver))
        } else {
            Err(None)
        };
        drop(state);
        for (idle, reason) in unfit {
            idle.connection.retire(reason);
        }
        result
    }

    /// Takes a connection back: for the request that waits longest, or to the idle ones.
    fn release(self: &Arc<Self>, pool: &Arc<Pool>, mut connection: Connection) {
        if connection.generation != pool.generation() {
            return connection.retire(CloseReason::Retired);
        }
        let mut state = self.lock();
        while let Some(waiting) = state.waiting.pop_front() {
            match waiting.send(Grant::Connection(connection)) {
                Ok(()) => return,
                Err(Grant::Connection(returned)) => connection = returned,
                Err(Grant::Slot(_)) => return,
            }
        }
        let evicted = if state.idle.len() >= pool.limits.max_idle.max(1) { Some(state.idle.remove(0)) } else { None };
        state.idle.push(Idle { connection, since: (pool.now)(), _gauge: self.peer.idle() });
        state.last_used = (pool.now)();
        drop(state);
        if let Some(idle) = evicted {
            idle.connection.retire(CloseReason::IdleLimit);
        }
    }

    fn sweep(&self, pool: &Pool) -> usize {
        let mut state = self.lock();
        let mut unfit = Vec::new();
        for idle in std::mem::take(&mut state.idle) {
            match pool.unfit(&idle) {
                None => state.idle.push(idle),
                Some(reason) => unfit.push((idle, reason)),
            }
        }
        let left = state.idle.len();
        drop(state);
        for (idle, reason) in unfit {
            idle.connection.retire(reason);
        }
        left
    }

    /// Forgets an idle connection that has ended.
    pub(crate) fn forget(&self, id: u64) {
        let mut state = self.lock();
        let place = state.idle.iter().position(|idle| idle.connection.id == id);
        let ended = place.map(|place| state.idle.remove(place));
        drop(state);
        drop(ended);
    }
}

/// Closes a host's idle connections when their time has come; ends when the host is forgotten.
async fn sweeper(host: Weak<Host>, key: HostKey, idle_timeout: Duration) {
    let period = (idle_timeout / 4).max(Duration::from_millis(10));
    loop {
        tokio::time::sleep(period).await;
        let Some(host) = host.upgrade() else { return };
        let Some(pool) = host.pool.upgrade() else { return };
        if host.sweep(&pool) == 0 && pool.forget(&key, host) {
            return;
        }
    }
}

/// The right to have one connection to a host; given back when dropped.
pub(crate) struct Slot {
    host: Arc<Host>,
}

impl Slot {
    pub(crate) fn host(&self) -> &Arc<Host> {
        &self.host
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        loop {
            let waiting = {
                let mut state = self.host.lock();
                let Some(waiting) = state.waiting.pop_front() else {
                    state.open = state.open.saturating_sub(1);
                    if let Some(pool) = self.host.pool.upgrade() {
                        // What its end was can still be read for a while.
                        state.last_used = (pool.now)();
                    }
                    return;
                };
                waiting
            };
            if waiting.is_closed() {
                continue;
            }
            // If the receiver goes away right now, the slot in the grant is dropped and finds the next one.
            drop(waiting.send(Grant::Slot(Self { host: Arc::clone(&self.host) })));
            return;
        }
    }
}

/// The request side of an open connection. Dropped without [`release`](Self::release) it closes the connection at once.
pub(crate) struct Connection {
    id: u64,
    /// Gone once the connection's task has ended while a request was under way.
    sender: Option<SendRequest<WatchedBody>>,
    io: Arc<IoState>,
    host: Weak<Host>,
    shared: Arc<Closing>,
    generation: u64,
    requests: u64,
    /// Whether dropping it leaves the end to hyper, which says goodbye to the server.
    gentle: bool,
}

/// What the two sides of a connection agree on for its end.
#[derive(Debug, Default)]
pub(crate) struct Closing {
    abort: CancellationToken,
    retired: CancellationToken,
    ended: CancellationToken,
    reason: OnceLock<CloseReason>,
}

impl Closing {
    /// Resolves when the connection is to be closed at once.
    pub(crate) async fn aborted(&self) {
        self.abort.cancelled().await;
    }

    /// Resolves when nobody will use the connection again, so that it should end by itself.
    pub(crate) async fn retired(&self) {
        self.retired.cancelled().await;
    }

    /// The connection's task has ended: its socket is closed.
    pub(crate) fn end(&self) {
        self.ended.cancel();
    }

    /// Resolves when the connection's task has ended.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Why our side closed it, if it was our side.
    pub(crate) fn reason(&self) -> Option<CloseReason> {
        self.reason.get().copied()
    }
}

impl Connection {
    pub(crate) fn new(
        pool: &Pool,
        host: &Arc<Host>,
        sender: SendRequest<WatchedBody>,
        io: Arc<IoState>,
        generation: u64,
    ) -> Self {
        Self {
            id: pool.next_id.fetch_add(1, Ordering::Relaxed),
            sender: Some(sender),
            io,
            host: Arc::downgrade(host),
            shared: Arc::default(),
            generation,
            requests: 0,
            gentle: false,
        }
    }

    /// What the connection's task needs: its identity and the agreement about its end.
    pub(crate) fn task_side(&self) -> (u64, Arc<Closing>) {
        (self.id, Arc::clone(&self.shared))
    }

    pub(crate) fn io(&self) -> &Arc<IoState> {
        &self.io
    }

    /// Whether the connection has carried a request before.
    pub(crate) const fn reused(&self) -> bool {
        self.requests > 0
    }

    /// The way to send, for one request more; `None` if the connection is known to have ended.
    pub(crate) const fn sender(&mut self) -> Option<&mut SendRequest<WatchedBody>> {
        self.requests += 1;
        self.sender.as_mut()
    }

    /// Lets go of the way to send. A request that came into hyper's queue just as the connection's task ended stays there
    /// until then, unanswered.
    pub(crate) fn drop_sender(&mut self) {
        self.sender = None;
    }

    fn closed(&self) -> bool {
        self.sender.as_ref().is_none_or(SendRequest::is_closed)
    }

    pub(crate) fn broken(&self) -> bool {
        self.io.write_failed() || self.closed()
    }

    /// `true` once the connection takes another request; `false` if it never will.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.sender.as_mut().map_or(Poll::Ready(false), |sender| sender.poll_ready(cx).map(|ready| ready.is_ok()))
    }

    pub(crate) async fn ready(&mut self) -> bool {
        match &mut self.sender {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        }
    }

    /// Gives the connection back to its pool.
    pub(crate) fn release(self) {
        if let Some(host) = self.host.upgrade()
            && let Some(pool) = host.pool.upgrade()
        {
            host.release(&pool, self);
        } else {
            self.retire(CloseReason::Retired);
        }
    }

    /// Closes an idle connection, gently.
    fn retire(mut self, reason: CloseReason) {
        // The first reason stands.
        let _ = self.shared.reason.set(reason);
        self.gentle = true;
        self.shared.retired.cancel();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.gentle {
            if !self.closed() {
                let _ = self.shared.reason.set(CloseReason::Abandoned);
            }
            self.shared.abort.cancel();
        }
    }
}
