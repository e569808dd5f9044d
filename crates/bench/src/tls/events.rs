//! The instrumentation of one handshake alone: what our acceptor tells its metrics, with the clock readings for it.

use super::material::{Kind, suite};
use artstore_metrics::{Clock as _, Registry, SystemClock};
use artstore_tls::{CertificateInfo, HandshakeKind, ListenerMetrics, Negotiated, Policy, Protocol, Verdict};
use std::hint::black_box;

/// The metrics of a listener that never listens.
pub struct Events {
    metrics: ListenerMetrics,
    clock: SystemClock,
    negotiated: Negotiated,
    /// The client's certificate, if it has to show one.
    client: Option<CertificateInfo>,
}

impl Events {
    pub fn new(policy: &Policy, kind: Kind, client: CertificateInfo) -> Self {
        let protocol = if kind.resumed_12 { Protocol::Tls12 } else { Protocol::Tls13 };
        Self {
            metrics: ListenerMetrics::new(&Registry::new(), policy),
            clock: SystemClock::new(),
            negotiated: Negotiated {
                protocol,
                suite: suite(kind).suite(),
                kind: if kind.resumed_12 { HandshakeKind::Resumed } else { HandshakeKind::Full },
                group: (!kind.resumed_12).then_some(rustls::NamedGroup::X25519),
            },
            client: kind.mutual.then_some(client),
        }
    }

    /// In the order of `Acceptor::accept`, and the end of the connection.
    #[inline(never)]
    pub fn one_handshake(&self) {
        let mut span = self.metrics.handshake(self.clock.monotonic());
        span.hello_received(self.clock.monotonic());
        if self.client.is_some() {
            self.metrics.verdict(Verdict::Valid);
        }
        let negotiated = black_box(self.negotiated);
        let active = self.metrics.connection(negotiated.protocol);
        let mut usage = span.succeeded(negotiated, self.clock.monotonic());
        if let Some(client) = &self.client {
            self.metrics.peer_seen("client", client, self.clock.wall());
        }
        usage.used();
        drop(black_box((active, usage)));
    }
}
