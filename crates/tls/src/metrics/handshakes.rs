//! How handshakes are recorded, in both directions: drop-safe spans, and counts whose sums agree in every scrape.

use super::identities::Identities;
use super::peers::PeerExpiry;
use super::{
    CIPHER_SUITE_USAGE, CONNECTION_REUSE, CONNECTIONS_ACTIVE, CONNECTIONS_CUT, CONNECTIONS_UNUSED, CertificateMetrics,
    CutReason, HANDSHAKE_DURATION, HANDSHAKE_FAILURES_FOUND_BY, HANDSHAKE_KEY_EXCHANGE, HANDSHAKE_KIND, HANDSHAKES,
    HANDSHAKES_UNSETTLED, HandshakeKind, PEER_CERTIFICATE_REMAINING, PROTOCOL_USAGE, Reused,
    SERVER_CERTIFICATE_VALIDATION, SERVER_CIPHER_SUITE_USAGE, SERVER_CLIENT_HELLO_WAIT, SERVER_CONNECTIONS_ACTIVE,
    SERVER_CONNECTIONS_CUT, SERVER_CONNECTIONS_UNUSED, SERVER_HANDSHAKE_DURATION, SERVER_HANDSHAKE_FAILURES_FOUND_BY,
    SERVER_HANDSHAKE_KEY_EXCHANGE, SERVER_HANDSHAKE_KIND, SERVER_HANDSHAKES, SERVER_HANDSHAKES_CANCELLED,
    SERVER_HANDSHAKES_IN_PROGRESS, SERVER_PEER_CERTIFICATE_REMAINING, SERVER_PROTOCOL_USAGE, Verdict,
};
use crate::Protocol;
use crate::allowed::AllowedClients;
use crate::certificate::CertificateInfo;
use crate::error::{FoundBy, TlsErrorType};
use crate::policy::Policy;
use artstore_metrics::{
    Counter, EventLock, Exemplar, Family, Gauge, GaugeGuard, Histogram, Monotonic, Outcome, Registry, Row, Rows,
    UnixTime,
};
use rustls::{CipherSuite, NamedGroup};
use std::sync::Arc;
use std::time::Duration;

/// The label of a handshake without key exchange.
const NO_GROUP: &str = "none";

/// The place of a suite among those that the policy enables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SuiteRow(usize);

impl Row for SuiteRow {
    fn row(self) -> usize {
        self.0
    }
}

/// The place of a key-exchange group among those that the policy enables; behind them, that of none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GroupRow(usize);

impl Row for GroupRow {
    fn row(self) -> usize {
        self.0
    }
}

/// What a handshake agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiated {
    /// The version.
    pub protocol: Protocol,
    /// The suite.
    pub suite: CipherSuite,
    /// How much of a handshake there was.
    pub kind: HandshakeKind,
    /// The key-exchange group; none in resumed handshakes of TLS 1.2.
    pub group: Option<NamedGroup>,
}

/// The families that both directions have, recorded together so that their sums agree.
#[derive(Debug)]
struct HandshakeCells {
    policy: Policy,
    events: EventLock,
    total: Counter<Outcome<TlsErrorType>>,
    duration: Histogram<SuiteRow>,
    protocol_usage: Counter<Protocol>,
    suite_usage: Counter<SuiteRow>,
    kind: Counter<HandshakeKind>,
    group: Counter<GroupRow>,
    found_by: Counter<FoundBy>,
    active: Gauge<Protocol>,
    unused: Counter,
    peers: PeerExpiry,
}

/// Which family is which in one direction.
struct Direction {
    total: &'static Family,
    duration: &'static Family,
    protocol_usage: &'static Family,
    suite_usage: &'static Family,
    kind: &'static Family,
    group: &'static Family,
    found_by: &'static Family,
    active: &'static Family,
    unused: &'static Family,
    remaining: &'static Family,
}

const CLIENT: Direction = Direction {
    total: &HANDSHAKES,
    duration: &HANDSHAKE_DURATION,
    protocol_usage: &PROTOCOL_USAGE,
    suite_usage: &CIPHER_SUITE_USAGE,
    kind: &HANDSHAKE_KIND,
    group: &HANDSHAKE_KEY_EXCHANGE,
    found_by: &HANDSHAKE_FAILURES_FOUND_BY,
    active: &CONNECTIONS_ACTIVE,
    unused: &CONNECTIONS_UNUSED,
    remaining: &PEER_CERTIFICATE_REMAINING,
};

const SERVER: Direction = Direction {
    total: &SERVER_HANDSHAKES,
    duration: &SERVER_HANDSHAKE_DURATION,
    protocol_usage: &SERVER_PROTOCOL_USAGE,
    suite_usage: &SERVER_CIPHER_SUITE_USAGE,
    kind: &SERVER_HANDSHAKE_KIND,
    group: &SERVER_HANDSHAKE_KEY_EXCHANGE,
    found_by: &SERVER_HANDSHAKE_FAILURES_FOUND_BY,
    active: &SERVER_CONNECTIONS_ACTIVE,
    unused: &SERVER_CONNECTIONS_UNUSED,
    remaining: &SERVER_PEER_CERTIFICATE_REMAINING,
};

impl HandshakeCells {
    fn new(registry: &Registry, policy: &Policy, direction: &Direction) -> Self {
        let by_protocol: Rows =
            policy.suites().map(|(protocol, suite)| vec![protocol.label().into(), suite.into()]).collect();
        let by_suite: Rows =
            policy.suites().map(|(protocol, suite)| vec![suite.into(), protocol.label().into()]).collect();
        let by_group: Rows = policy.groups().chain([NO_GROUP]).map(|group| vec![group.into()]).collect();
        Self {
            policy: policy.clone(),
            events: registry.event_lock(),
            duration: registry.histogram_of_rows(direction.duration, &by_protocol),
            total: registry.counter(direction.total),
            active: registry.gauge(direction.active),
            protocol_usage: registry.counter(direction.protocol_usage),
            suite_usage: registry.counter_of_rows(direction.suite_usage, &by_suite),
            kind: registry.counter(direction.kind),
            group: registry.counter_of_rows(direction.group, &by_group),
            found_by: registry.counter(direction.found_by),
            unused: registry.counter(direction.unused),
            peers: PeerExpiry::new(registry.histogram(direction.remaining)),
        }
    }

    fn succeeded(&self, negotiated: Negotiated, took: Duration, exemplar: Option<Exemplar>) {
        // What was negotiated is always among the enabled: the same policy made the configuration.
        let row = SuiteRow(self.policy.index_of(negotiated.suite).unwrap_or_default());
        let group = negotiated.group.and_then(|group| self.policy.index_of_group(group));
        let group = GroupRow(group.unwrap_or_else(|| self.policy.groups().count()));
        let _event = self.events.event();
        self.duration.observe_traced(row, took, exemplar);
        self.total.inc(Outcome::Success);
        self.protocol_usage.inc(negotiated.protocol);
        self.suite_usage.inc(row);
        self.kind.inc(negotiated.kind);
        self.group.inc(group);
    }

    fn failed(&self, kind: TlsErrorType, found_by: FoundBy) {
        let _event = self.events.event();
        self.total.inc(Outcome::Failure(kind));
        self.found_by.inc(found_by);
    }

    fn usage(&self) -> Usage {
        Usage { used: false, unused: self.unused.clone() }
    }
}

/// Whether a connection carries anything. If none of its bytes was told until this is dropped, it counts as unused.
#[derive(Debug)]
pub struct Usage {
    used: bool,
    unused: Counter,
}

impl Usage {
    /// Application data went one way or the other.
    pub const fn used(&mut self) {
        self.used = true;
    }
}

impl Drop for Usage {
    fn drop(&mut self) {
        if !self.used {
            self.unused.inc(());
        }
    }
}

/// What connectors record: the families of the connections that the module opens. Clones share it.
#[derive(Debug, Clone)]
pub struct ConnectorMetrics {
    cells: Arc<HandshakeCells>,
    reuse: Counter<Reused>,
    unsettled: Counter,
    cut: Counter<CutReason>,
    certificates: CertificateMetrics,
}

impl ConnectorMetrics {
    /// Registers the families, with the series of the suites that the policy enables.
    #[must_use]
    pub fn new(registry: &Registry, policy: &Policy, certificates: CertificateMetrics) -> Self {
        Self {
            cells: Arc::new(HandshakeCells::new(registry, policy, &CLIENT)),
            reuse: registry.counter(&CONNECTION_REUSE),
            unsettled: registry.counter(&HANDSHAKES_UNSETTLED),
            cut: registry.counter(&CONNECTIONS_CUT),
            certificates,
        }
    }

    /// A request was written. `reused` says whether its connection had carried one before.
    pub fn request_sent(&self, reused: bool) {
        self.reuse.inc(if reused { Reused::True } else { Reused::False });
    }

    /// An open connection was cut.
    pub fn connection_cut(&self, reason: CutReason) {
        self.cut.inc(reason);
    }

    /// The policy that these were made for.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.cells.policy
    }

    /// The certificates' part.
    #[must_use]
    pub const fn certificates(&self) -> &CertificateMetrics {
        &self.certificates
    }

    /// This server showed this certificate in a handshake that is complete.
    pub fn peer_seen(&self, server: &str, certificate: &CertificateInfo, now: UnixTime) {
        self.cells.peers.seen(server, certificate, now);
    }

    /// A handshake begins. If the span is dropped without an outcome, the connection was given up unsettled.
    #[must_use]
    pub fn handshake(&self, now: Monotonic) -> ClientHandshake {
        ClientHandshake { metrics: self.clone(), started: now, took: Duration::ZERO, exemplar: None, done: false }
    }

    /// A connection is open until the guard is dropped.
    #[must_use]
    pub fn connection(&self, protocol: Protocol) -> GaugeGuard {
        self.cells.active.hold(protocol)
    }
}

/// A client handshake from its start until it is settled.
#[derive(Debug)]
pub struct ClientHandshake {
    metrics: ConnectorMetrics,
    started: Monotonic,
    took: Duration,
    exemplar: Option<Exemplar>,
    done: bool,
}

impl ClientHandshake {
    /// It belongs to this trace.
    pub const fn traced(&mut self, exemplar: Option<Exemplar>) {
        self.exemplar = exemplar;
    }

    /// The handshake proper is over; the wait for settling does not count.
    pub fn completed(&mut self, now: Monotonic) {
        self.took = now.since(self.started);
    }

    /// The server accepted us. What comes of the connection is to be told to the guard.
    pub fn succeeded(mut self, negotiated: Negotiated) -> Usage {
        self.done = true;
        self.metrics.cells.succeeded(negotiated, self.took, self.exemplar);
        self.metrics.cells.usage()
    }

    /// One side refused the other, or the connection broke.
    pub fn failed(mut self, kind: TlsErrorType, found_by: FoundBy) {
        self.done = true;
        self.metrics.cells.failed(kind, found_by);
    }
}

impl Drop for ClientHandshake {
    fn drop(&mut self) {
        if !self.done {
            self.metrics.unsettled.inc(());
        }
    }
}

/// What listeners record: the families of the connections that others open to us. Clones share it, and cost one count each:
/// every handshake has one.
#[derive(Debug, Clone)]
pub struct ListenerMetrics(Arc<ListenerCells>);

#[derive(Debug)]
struct ListenerCells {
    cells: HandshakeCells,
    hello_wait: Histogram,
    in_progress: Gauge,
    cancelled: Counter,
    verdicts: Counter<Verdict>,
    cut: Counter<CutReason>,
    identities: Identities,
}

impl ListenerMetrics {
    /// Registers the families, with the series of the suites that the policy enables.
    #[must_use]
    pub fn new(registry: &Registry, policy: &Policy) -> Self {
        Self(Arc::new(ListenerCells {
            cells: HandshakeCells::new(registry, policy, &SERVER),
            hello_wait: registry.histogram(&SERVER_CLIENT_HELLO_WAIT),
            in_progress: registry.gauge(&SERVER_HANDSHAKES_IN_PROGRESS),
            cancelled: registry.counter(&SERVER_HANDSHAKES_CANCELLED),
            verdicts: registry.counter(&SERVER_CERTIFICATE_VALIDATION),
            cut: registry.counter(&SERVER_CONNECTIONS_CUT),
            identities: Identities::new(registry),
        }))
    }

    /// An open connection was cut.
    pub fn connection_cut(&self, reason: CutReason) {
        self.0.cut.inc(reason);
    }

    /// The policy that these were made for.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.0.cells.policy
    }

    /// A client's certificate was verified.
    pub fn verdict(&self, verdict: Verdict) {
        self.0.verdicts.inc(verdict);
    }

    /// These clients are allowed from now on, or everybody.
    pub(crate) fn allow(&self, allowed: Option<&AllowedClients>) {
        self.0.identities.are(allowed.into_iter().flat_map(AllowedClients::rules));
    }

    /// A client was let in by this rule.
    pub(crate) fn identity_allowed(&self, rule: &str) {
        self.0.identities.allowed(rule);
    }

    /// A client with a good certificate was refused, for it is not allowed.
    pub(crate) fn identity_refused(&self) {
        self.0.identities.refused();
    }

    /// A client showed this certificate in a handshake that is complete.
    pub fn peer_seen(&self, client: &str, certificate: &CertificateInfo, now: UnixTime) {
        self.0.cells.peers.seen(client, certificate, now);
    }

    /// A connection was accepted and its handshake begins. If the span is dropped without an outcome, it was given up.
    #[must_use]
    pub fn handshake(&self, now: Monotonic) -> ServerHandshake {
        ServerHandshake {
            metrics: self.clone(),
            _in_progress: self.0.in_progress.hold(()),
            accepted: now,
            hello: now,
            done: false,
        }
    }

    /// A connection is open until the guard is dropped.
    #[must_use]
    pub fn connection(&self, protocol: Protocol) -> GaugeGuard {
        self.0.cells.active.hold(protocol)
    }
}

/// A server handshake from accepting the connection to its outcome.
#[derive(Debug)]
pub struct ServerHandshake {
    metrics: ListenerMetrics,
    _in_progress: GaugeGuard,
    accepted: Monotonic,
    hello: Monotonic,
    done: bool,
}

impl ServerHandshake {
    /// The client's hello is complete.
    pub fn hello_received(&mut self, now: Monotonic) {
        self.metrics.0.hello_wait.observe((), now.since(self.accepted));
        self.hello = now;
    }

    /// The handshake goes on only now: the wait for its turn does not count.
    pub fn begun(&mut self, now: Monotonic) {
        self.hello = now;
    }

    /// Both sides accepted each other. What comes of the connection is to be told to the guard.
    pub fn succeeded(mut self, negotiated: Negotiated, now: Monotonic) -> Usage {
        self.done = true;
        // No request has come yet, and so no trace.
        self.metrics.0.cells.succeeded(negotiated, now.since(self.hello), None);
        self.metrics.0.cells.usage()
    }

    /// One side refused the other, or the connection broke.
    pub fn failed(mut self, kind: TlsErrorType, found_by: FoundBy) {
        self.done = true;
        self.metrics.0.cells.failed(kind, found_by);
    }
}

impl Drop for ServerHandshake {
    fn drop(&mut self) {
        if !self.done {
            self.metrics.0.cancelled.inc(());
        }
    }
}
