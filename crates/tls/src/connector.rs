//! Opens TLS connections: one handshake, timed, classified, settled.

use crate::Protocol;
use crate::certificate::CertificateInfo;
use crate::client_stream::{ClientConnectionState, ClientStream};
use crate::error::{FoundBy, TlsError, TlsErrorType};
use crate::identity::{Identity, SetupError, Trust};
use crate::linger;
use crate::metrics::{ClientHandshake, ConnectorMetrics, Negotiated};
use crate::policy::Policy;
use crate::time_source::ClockTime;
use crate::verify::{AnswerNote, NotingResolver, server_verifier};
use artstore_metrics::{Clock, SystemClock};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, CommonState};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client};

/// How a module opens TLS connections.
#[derive(Debug, Clone)]
pub struct ConnectorSettings {
    /// Our certificate, for servers that ask for one.
    pub identity: Option<Identity>,
    /// Whom we trust to vouch for servers.
    pub trust: Trust,
    /// Versions and suites; the same that the metrics were made for.
    pub policy: Policy,
    /// Limit of one handshake; 10 s by default.
    pub handshake_timeout: Duration,
    /// Application protocols to offer, best first; none by default.
    pub alpn: Vec<Vec<u8>>,
}

impl ConnectorSettings {
    /// The defaults for this trust: no certificate of our own, TLS 1.3, 10 s, no application protocol.
    #[must_use]
    pub fn new(trust: Trust) -> Self {
        Self {
            identity: None,
            trust,
            policy: Policy::default(),
            handshake_timeout: Duration::from_secs(10),
            alpn: Vec::new(),
        }
    }
}

/// Opens TLS connections. Clones share configuration and metrics.
///
/// Sessions are never resumed: a resumed session would skip the verification of both certificates. Connections are meant to
/// be pooled instead.
#[derive(Debug, Clone)]
pub struct Connector<C: Clock = SystemClock> {
    config: Arc<ClientConfig>,
    identity: Option<Identity>,
    handshake_timeout: Duration,
    metrics: ConnectorMetrics,
    clock: C,
}

impl<C: Clock> Connector<C> {
    /// A connector.
    ///
    /// # Errors
    /// If the metrics were made for another policy, or rustls refuses the settings.
    pub fn new(settings: ConnectorSettings, metrics: ConnectorMetrics, clock: C) -> Result<Self, SetupError> {
        if settings.policy != *metrics.policy() {
            return Err(SetupError::PolicyMismatch);
        }
        let provider = settings.policy.provider();
        let verifier = server_verifier(&settings.trust, &provider, metrics.certificates())?;
        let builder = ClientConfig::builder_with_details(provider, Arc::new(ClockTime(clock.clone())))
            .with_protocol_versions(&settings.policy.versions())
            .map_err(|error| SetupError::Configuration(error.to_string()))?;
        let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        config.alpn_protocols = settings.alpn;
        config.resumption = Resumption::disabled();
        Ok(Self {
            config: Arc::new(config),
            identity: settings.identity,
            handshake_timeout: settings.handshake_timeout,
            metrics,
            clock,
        })
    }

    /// What this connector records.
    #[must_use]
    pub const fn metrics(&self) -> &ConnectorMetrics {
        &self.metrics
    }

    /// Makes a TLS connection to `name` out of a connection, which is a TCP one outside of tests.
    ///
    /// In TLS 1.3 this ends before the server has judged our certificate. A refusal shows in the first read, or in a
    /// failing write, and in [`ClientConnectionState::tls_failure`].
    ///
    /// # Errors
    /// If either side refuses the other, the peer does not speak TLS, the connection breaks or the time is up.
    pub async fn connect<T>(&self, name: ServerName<'static>, tcp: T) -> Result<ClientStream<T>, TlsError>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let note = Arc::new(AnswerNote::default());
        let server = name.to_str().into_owned();
        let mut span = self.metrics.handshake(self.clock.monotonic());
        let handshake = TlsConnector::from(self.config_for(&note)).connect(name, tcp).into_fallible();
        let error = match tokio::time::timeout(self.handshake_timeout, handshake).await {
            Ok(Ok(stream)) => {
                span.completed(self.clock.monotonic());
                return self.connected(server, stream, &note, span);
            }
            Ok(Err((error, tcp))) => {
                let error = TlsError::from_io(&error, note.get());
                if error.found_by() == FoundBy::Local {
                    // The server is to learn why: in the background, for it does not concern our caller.
                    tokio::spawn(linger::close(tcp));
                }
                error
            }
            Err(_) => TlsError::timeout("the server's part of the handshake"),
        };
        span.failed(error.kind());
        error.log_outgoing(&server);
        Err(error)
    }

    /// The configuration for one connection, whose resolver notes what this server asks for.
    fn config_for(&self, note: &Arc<AnswerNote>) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.config);
        let key = self.identity.as_ref().map(Identity::certified_key);
        config.client_auth_cert_resolver = Arc::new(NotingResolver { key, note: Arc::clone(note) });
        Arc::new(config)
    }

    fn connected<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        server: String,
        stream: client::TlsStream<T>,
        note: &AnswerNote,
        span: ClientHandshake,
    ) -> Result<ClientStream<T>, TlsError> {
        let (_, connection) = stream.get_ref();
        let negotiated = match negotiated(connection) {
            Ok(negotiated) => negotiated,
            Err(error) => {
                span.failed(error.kind());
                return Err(error);
            }
        };
        let leaf = connection.peer_certificates().and_then(<[_]>::first);
        let state = ClientConnectionState::new(
            server,
            negotiated,
            connection.alpn_protocol().map(<[u8]>::to_vec),
            leaf.and_then(CertificateInfo::from_der),
            note.get(),
        );
        Ok(ClientStream::new(stream, state, span, self.metrics.connection(negotiated.protocol)))
    }
}

/// What a complete handshake agreed on.
pub(crate) fn negotiated(connection: &CommonState) -> Result<Negotiated, TlsError> {
    let protocol = connection.protocol_version().and_then(Protocol::from_rustls);
    let suite = connection.negotiated_cipher_suite().map(|suite| suite.suite());
    match (protocol, suite) {
        (Some(protocol), Some(suite)) => Ok(Negotiated { protocol, suite }),
        // rustls knows both once a handshake is complete.
        (None, _) | (_, None) => {
            Err(TlsError::new(TlsErrorType::Internal, FoundBy::Local, "no version or suite after the handshake"))
        }
    }
}
