//! Instrumented mutual TLS on rustls: identity, trust, connector, listener, certificate monitor, error taxonomy.
//!
//! One crypto provider, aws-lc-rs, is passed to every configuration; none is installed for the process. Certificates are
//! judged by the injected clock.

mod acceptor;
mod certificate;
mod client_stream;
mod connector;
pub mod dev;
mod error;
mod hello;
mod identity;
mod linger;
mod listener;
pub mod metrics;
mod monitor;
mod names;
mod policy;
mod time_source;
mod verify;

pub use acceptor::{Acceptor, AcceptorSettings, ClientAuth, PendingHandshake, ServerStream};
pub use certificate::{CertType, CertificateInfo, PeerCertificate};
pub use client_stream::{ClientConnectionState, ClientStream};
pub use connector::{Connector, ConnectorSettings};
pub use error::{
    CertificateAnswer, FoundBy, TlsError, TlsErrorType, classify_alert, classify_certificate_error, classify_tls_error,
};
pub use identity::{Identity, IdentityFiles, MAX_PEM_BYTES, SetupError, Trust, TrustFile};
pub use listener::TlsListener;
pub use metrics::{CertificateMetrics, ConnectorMetrics, ListenerMetrics, Negotiated, Verdict};
pub use monitor::{CHECK_INTERVAL, CertificateMonitor, WatchedFile};
pub use names::{Protocol, cipher_suite_name, known_cipher_suites, parse_cipher_suite, protocol_name};
pub use policy::{Policy, PolicyError};
pub use rustls::pki_types::ServerName;
