//! The TLS families and how they are recorded: typed events and drop-safe spans.

mod certificates;

pub use certificates::CertificateMetrics;

use crate::Protocol;
use crate::certificate::CertType;
use crate::error::TlsErrorType;
use crate::policy::Policy;
use artstore_metrics::{
    Counter, EventLock, Family, Gauge, GaugeGuard, Histogram, Label, LabelValue as _, Monotonic, Outcome, Registry,
    Row, Rows, label_enum,
};
use rustls::CipherSuite;
use std::sync::Arc;
use std::time::Duration;

label_enum! {
    /// A verdict on a certificate.
    pub enum Verdict as "result" {
        /// Nothing against it.
        Valid = "valid",
        /// Past its notAfter.
        Expired = "expired",
        /// Not yet valid, for another name or purpose, of unknown revocation status, broken.
        Invalid = "invalid",
        /// Of an unknown issuer.
        Untrusted = "untrusted",
        /// On a revocation list.
        Revoked = "revoked",
    }
}

label_enum! {
    /// Whether a request went over a connection that had carried one before.
    pub enum Reused as "reused" {
        /// It had.
        True = "true",
        /// It had not.
        False = "false",
    }
}

const CIPHER_SUITE: Label =
    Label::open("cipher_suite", "the enabled suites by IANA name, each with its own protocol version only");
const SUBJECT: Label = Label::open("subject", "the certificates loaded; RFC 4514 strings");
const FINGERPRINT: Label = Label::open("fingerprint", "the certificates loaded; SHA-256 in hexadecimal");
const BUCKETS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0];
const OUTCOME: &[Label] = &[Outcome::<TlsErrorType>::STATUS, TlsErrorType::OR_EMPTY];
const PROTOCOL: &[Label] = &[Protocol::LABEL];
const BY_SUITE: &[Label] = &[CIPHER_SUITE, Protocol::LABEL];
const BY_PROTOCOL_AND_SUITE: &[Label] = &[Protocol::LABEL, CIPHER_SUITE];

/// Duration of successful client handshakes.
pub const HANDSHAKE_DURATION: Family = Family::histogram(
    "tls_handshake_duration_seconds",
    "Time that successful TLS handshakes of outgoing connections took, without DNS, TCP connect and the wait for settling.",
    BUCKETS,
)
.labels(BY_PROTOCOL_AND_SUITE);

/// Client handshakes by outcome.
pub const HANDSHAKES: Family =
    Family::counter("tls_handshake_total", "TLS handshakes of outgoing connections by outcome.").labels(OUTCOME);

/// Open client connections.
pub const CONNECTIONS_ACTIVE: Family = Family::gauge(
    "tls_connections_active",
    "Open outgoing TLS connections, idle pooled ones included, by negotiated version.",
)
.labels(PROTOCOL);

/// Requests by reuse of their connection.
pub const CONNECTION_REUSE: Family = Family::counter(
    "tls_connection_reuse_total",
    "Requests sent over outgoing TLS connections by whether their connection had carried one before.",
)
.labels(&[Reused::LABEL]);

/// Days until certificates expire.
pub const CERTIFICATE_EXPIRY: Family = Family::gauge(
    "tls_certificate_expiry_days",
    "Days until the earliest notAfter of the held certificates with this role and subject, negative once expired.",
)
.labels(&[CertType::LABEL, SUBJECT]);

/// When certificates expire.
pub const CERTIFICATE_NOT_AFTER: Family = Family::gauge(
    "tls_certificate_not_after_timestamp_seconds",
    "The notAfter of each held certificate in seconds since 1970-01-01.",
)
.labels(&[CertType::LABEL, SUBJECT, FINGERPRINT]);

/// Verdicts on certificates.
pub const CERTIFICATE_VALIDATION: Family = Family::counter(
    "tls_certificate_validation_total",
    "Verdicts on certificates of servers in outgoing handshakes and of held certificates by the certificate monitor.",
)
.labels(&[Verdict::LABEL]);

/// Successful client handshakes by version.
pub const PROTOCOL_USAGE: Family = Family::counter(
    "tls_protocol_usage_total",
    "Successful TLS handshakes of outgoing connections by negotiated version.",
)
.labels(PROTOCOL);

/// Successful client handshakes by suite.
pub const CIPHER_SUITE_USAGE: Family = Family::counter(
    "tls_cipher_suite_usage_total",
    "Successful TLS handshakes of outgoing connections by negotiated cipher suite.",
)
.labels(BY_SUITE);

/// Client handshakes that we gave up before they settled.
pub const HANDSHAKES_UNSETTLED: Family = Family::counter(
    "tls_handshake_unsettled_total",
    "Outgoing TLS connections that we closed before it was known whether the server accepts them.",
);

/// Server handshakes by outcome.
pub const SERVER_HANDSHAKES: Family =
    Family::counter("tls_server_handshake_total", "TLS handshakes of accepted connections by outcome.").labels(OUTCOME);

/// Duration of successful server handshakes.
pub const SERVER_HANDSHAKE_DURATION: Family = Family::histogram(
    "tls_server_handshake_duration_seconds",
    "Time from a client's hello to the end of the TLS handshake, for successful handshakes of accepted connections.",
    BUCKETS,
)
.labels(BY_PROTOCOL_AND_SUITE);

/// How long clients take to say hello.
pub const SERVER_CLIENT_HELLO_WAIT: Family = Family::histogram(
    "tls_server_client_hello_wait_seconds",
    "Time from accepting a connection to a client's complete TLS hello.",
    BUCKETS,
);

/// Server handshakes under way.
pub const SERVER_HANDSHAKES_IN_PROGRESS: Family =
    Family::gauge("tls_server_handshakes_in_progress", "Accepted connections whose TLS handshake is under way.");

/// Server handshakes that we gave up.
pub const SERVER_HANDSHAKES_CANCELLED: Family = Family::counter(
    "tls_server_handshake_cancelled_total",
    "TLS handshakes of accepted connections that we gave up ourselves, as when shutting down.",
);

/// Open server connections.
pub const SERVER_CONNECTIONS_ACTIVE: Family =
    Family::gauge("tls_server_connections_active", "Open accepted TLS connections by negotiated version.")
        .labels(PROTOCOL);

/// Successful server handshakes by version.
pub const SERVER_PROTOCOL_USAGE: Family = Family::counter(
    "tls_server_protocol_usage_total",
    "Successful TLS handshakes of accepted connections by negotiated version.",
)
.labels(PROTOCOL);

/// Successful server handshakes by suite.
pub const SERVER_CIPHER_SUITE_USAGE: Family = Family::counter(
    "tls_server_cipher_suite_usage_total",
    "Successful TLS handshakes of accepted connections by negotiated cipher suite.",
)
.labels(BY_SUITE);

/// Verdicts on clients' certificates.
pub const SERVER_CERTIFICATE_VALIDATION: Family = Family::counter(
    "tls_server_certificate_validation_total",
    "Verdicts on certificates of clients in handshakes of accepted connections.",
)
.labels(&[Verdict::LABEL]);

/// All families of this crate.
pub const FAMILIES: &[&Family] = &[
    &HANDSHAKE_DURATION,
    &HANDSHAKES,
    &CONNECTIONS_ACTIVE,
    &CONNECTION_REUSE,
    &CERTIFICATE_EXPIRY,
    &CERTIFICATE_VALIDATION,
    &PROTOCOL_USAGE,
    &CIPHER_SUITE_USAGE,
    &HANDSHAKES_UNSETTLED,
    &CERTIFICATE_NOT_AFTER,
    &SERVER_HANDSHAKES,
    &SERVER_HANDSHAKE_DURATION,
    &SERVER_CLIENT_HELLO_WAIT,
    &SERVER_HANDSHAKES_IN_PROGRESS,
    &SERVER_HANDSHAKES_CANCELLED,
    &SERVER_CONNECTIONS_ACTIVE,
    &SERVER_PROTOCOL_USAGE,
    &SERVER_CIPHER_SUITE_USAGE,
    &SERVER_CERTIFICATE_VALIDATION,
];

impl From<TlsErrorType> for Verdict {
    /// The verdict that a verifier's error amounts to.
    fn from(kind: TlsErrorType) -> Self {
        match kind {
            TlsErrorType::CertExpired => Self::Expired,
            TlsErrorType::CertUntrusted => Self::Untrusted,
            TlsErrorType::CertRevoked => Self::Revoked,
            TlsErrorType::CertNotYetValid
            | TlsErrorType::CertNameMismatch
            | TlsErrorType::CertWrongPurpose
            | TlsErrorType::CertMissing
            | TlsErrorType::CertInvalid
            | TlsErrorType::RevocationUnknown
            | TlsErrorType::ProtocolVersion
            | TlsErrorType::CipherMismatch
            | TlsErrorType::AlpnMismatch
            | TlsErrorType::NotTls
            | TlsErrorType::ProtocolError
            | TlsErrorType::PeerAlert
            | TlsErrorType::Timeout
            | TlsErrorType::Closed
            | TlsErrorType::Internal => Self::Invalid,
        }
    }
}

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
            certificates,
        }
    }

    /// A request was written. `reused` says whether its connection had carried one before.
    pub fn request_sent(&self, reused: bool) {
        self.reuse.inc(if reused { Reused::True } else { Reused::False });
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

/// What listeners record: the families of the connections that others open to us. Clones share it.
#[derive(Debug, Clone)]
pub struct ListenerMetrics {
    cells: Arc<HandshakeCells>,
    hello_wait: Histogram,
    in_progress: Gauge,
    cancelled: Counter,
    verdicts: Counter<Verdict>,
}

impl ListenerMetrics {
    /// Registers the families, with the series of the suites that the policy enables.
    #[must_use]
    pub fn new(registry: &Registry, policy: &Policy) -> Self {
        Self {
            cells: Arc::new(HandshakeCells::new(registry, policy, &SERVER)),
            hello_wait: registry.histogram(&SERVER_CLIENT_HELLO_WAIT),
            in_progress: registry.gauge(&SERVER_HANDSHAKES_IN_PROGRESS),
            cancelled: registry.counter(&SERVER_HANDSHAKES_CANCELLED),
            verdicts: registry.counter(&SERVER_CERTIFICATE_VALIDATION),
        }
    }

    /// The policy that these were made for.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.cells.policy
    }

    /// A client's certificate was verified.
    pub fn verdict(&self, verdict: Verdict) {
        self.verdicts.inc(verdict);
    }

    /// A connection was accepted and its handshake begins. If the span is dropped without an outcome, it was given up.
    #[must_use]
    pub fn handshake(&self, now: Monotonic) -> ServerHandshake {
        ServerHandshake {
            metrics: self.clone(),
            _in_progress: self.in_progress.hold(()),
            accepted: now,
            hello: now,
            done: false,
        }
    }

    /// A connection is open until the guard is dropped.
    #[must_use]
    pub fn connection(&self, protocol: Protocol) -> GaugeGuard {
        self.cells.active.hold(protocol)
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
        self.metrics.hello_wait.observe((), now.since(self.accepted));
        self.hello = now;
    }

    /// The handshake goes on only now: the wait for its turn does not count.
    pub fn begun(&mut self, now: Monotonic) {
        self.hello = now;
    }

    /// Both sides accepted each other.
    pub fn succeeded(mut self, negotiated: Negotiated, now: Monotonic) {
        self.done = true;
        self.metrics.cells.succeeded(negotiated, now.since(self.hello));
    }

    /// One side refused the other, or the connection broke.
    pub fn failed(mut self, kind: TlsErrorType) {
        self.done = true;
        self.metrics.cells.failed(kind);
    }
}

impl Drop for ServerHandshake {
    fn drop(&mut self) {
        if !self.done {
            self.metrics.cancelled.inc(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_certificates_have_their_own_verdict_and_others_are_invalid() {
        for kind in TlsErrorType::ALL {
            let wanted = match kind.label() {
                "cert_expired" => Verdict::Expired,
                "cert_untrusted" => Verdict::Untrusted,
                "cert_revoked" => Verdict::Revoked,
                _ => Verdict::Invalid,
            };
            assert_eq!(Verdict::from(*kind), wanted, "{kind}");
        }
    }
}
