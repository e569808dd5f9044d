//! How handshakes are recorded, in both directions: drop-safe spans, and counts whose sums agree in every scrape.

use super::identities::Identities;
use super::{
    CIPHER_SUITE_USAGE, CONNECTION_REUSE, CONNECTIONS_ACTIVE, CONNECTIONS_CUT, CertificateMetrics, CutReason,
    HANDSHAKE_DURATION, HANDSHAKES, HANDSHAKES_UNSETTLED, PROTOCOL_USAGE, Reused, SERVER_CERTIFICATE_VALIDATION,
    SERVER_CIPHER_SUITE_USAGE, SERVER_CLIENT_HELLO_WAIT, SERVER_CONNECTIONS_ACTIVE, SERVER_CONNECTIONS_CUT,
    SERVER_HANDSHAKE_DURATION, SERVER_HANDSHAKES, SERVER_HANDSHAKES_CANCELLED, SERVER_HANDSHAKES_IN_PROGRESS,
    SERVER_PROTOCOL_USAGE, Verdict,
};
use crate::Protocol;
use crate::allowed::AllowedClients;
use crate::error::TlsErrorType;
use crate::policy::Policy;
use artstore_metrics::{
    Counter, EventLock, Family, Gauge, GaugeGuard, Histogram, Monotonic, Outcome, Registry, Row, Rows,
};
use rustls::CipherSuite;
use std::sync::Arc;
use std::time::Duration;

/// The place of a suite among those that the policy enables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SuiteRow(usize);

impl Row for SuiteRow {
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
    active: Gauge<Protocol>,
}

/// Which family is which in one direction.
struct Direction {
    total: &'static Family,
    duration: &'static Family,
    protocol_usage: &'static Family,
    suite_usage: &'static Family,
    active: &'static Family,
}

const CLIENT: Direction = Direction {
    total: &HANDSHAKES,
    duration: &HANDSHAKE_DURATION,
    protocol_usage: &PROTOCOL_USAGE,
    suite_usage: &CIPHER_SUITE_USAGE,
    active: &CONNECTIONS_ACTIVE,
};

const SERVER: Direction = Direction {
    total: &SERVER_HANDSHAKES,
    duration: &SERVER_HANDSHAKE_DURATION,
    protocol_usage: &SERVER_PROTOCOL_USAGE,
    suite_usage: &SERVER_CIPHER_SUITE_USAGE,
    active: &SERVER_CONNECTIONS_ACTIVE,
};

impl HandshakeCells {
    fn new(registry: &Registry, policy: &Policy, direction: &Direction) -> Self {
        let by_protocol: Rows =
            policy.suites().map(|(protocol, suite)| vec![protocol.label().into(), suite.into()]).collect();
        let by_suite: Rows =
            policy.suites().map(|(protocol, suite)| vec![suite.into(), protocol.label().into()]).collect();
        Self {
            policy: policy.clone(),
            events: registry.event_lock(),
            duration: registry.histogram_of_rows(direction.duration, &by_protocol),
            total: registry.counter(direction.total),
            active: registry.gauge(direction.active),
            protocol_usage: registry.counter(direction.protocol_usage),
            suite_usage: registry.counter_of_rows(direction.suite_usage, &by_suite),
        }
    }

    fn succeeded(&self, negotiated: Negotiated, took: Duration) {
        // What was negotiated is always among the enabled: the same policy made the configuration.
        let row = SuiteRow(self.policy.index_of(negotiated.suite).unwrap_or_default());
        let _event = self.events.event();
        self.duration.observe(row, took);
        self.total.inc(Outcome::Success);
        self.protocol_usage.inc(negotiated.protocol);
        self.suite_usage.inc(row);
    }

    fn failed(&self, kind: TlsErrorType) {
        self.total.inc(Outcome::Failure(kind));
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

    /// A handshake begins. If the span is dropped without an outcome, the connection was given up unsettled.
    #[must_use]
    pub fn handshake(&self, now: Monotonic) -> ClientHandshake {
        ClientHandshake { metrics: self.clone(), started: now, took: Duration::ZERO, done: false }
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
    done: bool,
}

impl ClientHandshake {
    /// The handshake proper is over; the wait for settling does not count.
    pub fn completed(&mut self, now: Monotonic) {
        self.took = now.since(self.started);
    }

    /// The server accepted us.
    pub fn succeeded(mut self, negotiated: Negotiated) {
        self.done = true;
        self.metrics.cells.succeeded(negotiated, self.took);
    }

    /// One side refused the other, or the connection broke.
    pub fn failed(mut self, kind: TlsErrorType) {
        self.done = true;
        self.metrics.cells.failed(kind);
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

    /// Both sides accepted each other.
    pub fn succeeded(mut self, negotiated: Negotiated, now: Monotonic) {
        self.done = true;
        self.metrics.0.cells.succeeded(negotiated, now.since(self.hello));
    }

    /// One side refused the other, or the connection broke.
    pub fn failed(mut self, kind: TlsErrorType) {
        self.done = true;
        self.metrics.0.cells.failed(kind);
    }
}

impl Drop for ServerHandshake {
    fn drop(&mut self) {
        if !self.done {
            self.metrics.0.cancelled.inc(());
        }
    }
}
