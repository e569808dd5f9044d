//! Instrumented mutual TLS on rustls: identity, trust, connector, listener, certificate monitor, error taxonomy.
//!
//! One crypto provider, aws-lc-rs, is passed to every configuration; none is installed for the process. Certificates are
//! judged by the injected clock.
//!
//! # Example
//!
//! Both ends in one task, with a development authority; the listener requires a certificate of its clients.
//!
//! ```
//! use artstore_metrics::{Clock as _, Registry, SystemClock};
//! use artstore_tls::dev::{DevCa, Leaf};
//! use artstore_tls::{
//!     Acceptor, AcceptorSettings, CertificateMetrics, ClientAuth, Connector, ConnectorMetrics, ConnectorSettings,
//!     ListenerMetrics, ServerName, TlsListener,
//! };
//! use tokio::net::{TcpListener, TcpStream};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (registry, clock) = (Registry::new(), SystemClock::new());
//! let (folder, now) = (tempfile::tempdir()?, clock.wall());
//! let ca = DevCa::open(folder.path(), now)?;
//!
//! let mut settings = AcceptorSettings::new(ca.issue("server", &Leaf::server("server", now))?.load()?);
//! settings.client_auth = ClientAuth::Required(ca.trust()?);
//! let metrics = ListenerMetrics::new(&registry, &settings.policy);
//! let acceptor = Acceptor::new(settings, metrics, clock)?;
//! let mut listener = TlsListener::new(TcpListener::bind("127.0.0.1:0").await?, acceptor);
//!
//! let mut settings = ConnectorSettings::new(ca.trust()?);
//! settings.identity = Some(ca.issue("client", &Leaf::client("client", now))?.load()?);
//! let metrics = ConnectorMetrics::new(&registry, &settings.policy, CertificateMetrics::new(&registry, clock));
//! let connector = Connector::new(settings, metrics, clock)?;
//!
//! let tcp = TcpStream::connect(listener.local_addr()?).await?;
//! let name = ServerName::try_from("localhost")?;
//! let (client, (server, _)) = tokio::join!(connector.connect(name, tcp), listener.accept());
//! assert_eq!(client?.connection().cipher_suite(), "TLS_AES_256_GCM_SHA384");
//! assert_eq!(server.peer_certificate().map(|peer| peer.subject.as_str()), Some("CN=client"));
//! assert_eq!(registry.sum_of("tls_server_handshake_total", &[("status", "success")]), 1.0);
//! # Ok(())
//! # }
//! ```

mod acceptor;
mod allowed;
mod certificate;
mod client_stream;
mod connector;
mod crl;
pub mod dev;
pub mod diagnosis;
mod error;
mod expiry;
#[cfg(fuzzing)]
pub mod fuzzing;
mod hello;
mod identity;
mod inspect;
mod linger;
mod listener;
mod live;
pub mod metrics;
mod monitor;
mod names;
mod policy;
mod problem;
mod reload;
mod server_stream;
mod sessions;
mod time_source;
mod verify;
mod watch;

pub use acceptor::{Acceptor, AcceptorSettings, ClientAuth, PendingHandshake};
pub use allowed::{AllowedClients, AllowedClientsError};
pub use certificate::{CertType, CertificateInfo, PeerCertificate, Profile};
pub use client_stream::{ClientConnectionState, ClientStream};
pub use connector::{Connector, ConnectorSettings};
pub use crl::{CrlFiles, CrlInfo, Revocation};
pub use error::{
    CertificateAnswer, FoundBy, TlsError, TlsErrorType, classify_alert, classify_certificate_error, classify_tls_error,
};
pub use expiry::{EXPIRY_INTERVAL, ExpiryWatch};
pub use identity::{Identity, IdentityFiles, MAX_PEM_BYTES, SetupError, Trust, TrustFile};
pub use inspect::{InspectedCertificates, Inspection, inspect};
pub use listener::TlsListener;
pub use live::ConnectionCut;
pub use metrics::{
    CertificateMetrics, ConnectorMetrics, CutReason, HandshakeKind, ListenerMetrics, Negotiated, ReloadMetrics,
    ReloadReason, Verdict,
};
pub use monitor::{CHECK_INTERVAL, CertificateMonitor, WatchedFile};
pub use names::{
    Protocol, cipher_suite_name, group_name, known_cipher_suites, known_groups, parse_cipher_suite, parse_group,
    protocol_name,
};
pub use policy::{Policy, PolicyError};
pub use problem::{CRITICAL_DAYS, Problem, Urgency, WARN_DAYS, problems};
pub use reload::{Change, Loaded, RELOAD_INTERVAL, ReloadFiles, ReloadTrigger, Reloader, Reloads};
pub use rustls::pki_types::ServerName;
pub use server_stream::ServerStream;

/// The README's code compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
