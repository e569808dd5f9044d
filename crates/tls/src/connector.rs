//! Opens TLS connections: one handshake, timed, classified, settled.

use crate::Protocol;
use crate::certificate::CertificateInfo;
use crate::client_stream::{ClientConnectionState, ClientStream};
use crate::error::{FoundBy, TlsError, TlsErrorType};
use crate::identity::{Identity, SetupError, Trust};
use crate::linger;
use crate::live::{ConnectionCut, Entry, Live, Membership};
use crate::metrics::{ClientHandshake, ConnectorMetrics, HandshakeKind, Negotiated};
use crate::policy::Policy;
use crate::time_source::ClockTime;
use crate::verify::{AnswerNote, NotingResolver, ServerJudge, ServerSeen};
use arc_swap::{ArcSwap, ArcSwapOption};
use artstore_metrics::{Clock, Exemplar, SystemClock};
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, CommonState};
use std::sync::{Arc, Mutex, PoisonError};
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

/// Opens TLS connections. Clones share configuration, what of it is exchanged later, and metrics.
///
/// Sessions are never resumed: a resumed session would skip the verification of both certificates. Connections are meant to
/// be pooled instead.
#[derive(Debug, Clone)]
pub struct Connector<C: Clock = SystemClock> {
    pub(crate) shared: Arc<Shared>,
    identity: Arc<ArcSwapOption<CertifiedKey>>,
    handshake_timeout: Duration,
    metrics: ConnectorMetrics,
    pub(crate) clock: C,
}

/// What connectors with the same trust share.
#[derive(Debug)]
pub(crate) struct Shared {
    policy: Policy,
    provider: Arc<CryptoProvider>,
    alpn: Vec<Vec<u8>>,
    pub(crate) current: ArcSwap<Current>,
    pub(crate) live: Live<ServerSeen>,
    /// One change of trust at a time.
    changing: Mutex<()>,
}

/// The trust that is in force.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) trust: Trust,
    config: Arc<ClientConfig>,
    pub(crate) judge: ServerJudge,
    generation: u64,
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
        let judge = ServerJudge::new(&settings.trust, &provider)?;
        let verifier = judge.verifier(&settings.trust, metrics.certificates());
        let config = client_config(&provider, &settings.policy, &settings.alpn, verifier, &clock)?;
        let shared = Shared {
            policy: settings.policy,
            provider,
            alpn: settings.alpn,
            current: ArcSwap::from_pointee(Current { trust: settings.trust, config, judge, generation: 0 }),
            live: Live::default(),
            changing: Mutex::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            identity: Arc::new(ArcSwapOption::new(settings.identity.map(Identity::into_key))),
            handshake_timeout: settings.handshake_timeout,
            metrics,
            clock,
        })
    }

    /// Shows this certificate in handshakes from now on. Open connections stay, so a pool should retire those it keeps.
    pub fn set_identity(&self, identity: Option<Identity>) {
        self.identity.store(identity.map(Identity::into_key));
    }

    /// A connector with another certificate, which shares everything else with this one, the trust included.
    #[must_use]
    pub fn with_identity(&self, identity: Option<Identity>) -> Self {
        Self { identity: Arc::new(ArcSwapOption::new(identity.map(Identity::into_key))), ..self.clone() }
    }

    /// Trusts these authorities and lists from now on. Connections to servers that are not trusted any more are cut: whatever
    /// they read or write fails. Gives how many those were.
    ///
    /// # Errors
    /// If rustls refuses the settings; then nothing has changed.
    pub fn set_trust(&self, trust: Trust) -> Result<usize, SetupError> {
        let shared = &*self.shared;
        let _one_at_a_time = shared.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let judge = ServerJudge::new(&trust, &shared.provider)?;
        let verifier = judge.verifier(&trust, self.metrics.certificates());
        let config = client_config(&shared.provider, &shared.policy, &shared.alpn, verifier, &self.clock)?;
        let live = shared.live.change(|generation| {
            shared.current.store(Arc::new(Current { trust, config, judge: judge.clone(), generation }));
        });
        Ok(live.iter().filter(|entry| self.cut_unless_trusted(entry, &judge)).count())
    }

    /// Whom it trusts now.
    #[must_use]
    pub fn trust(&self) -> Trust {
        self.shared.current.load().trust.clone()
    }

    pub(crate) fn cut_unless_trusted(&self, entry: &Entry<ServerSeen>, judge: &ServerJudge) -> bool {
        let Err(error) = judge.judge(&entry.peer, self.now()) else { return false };
        let cut = ConnectionCut::because(&error);
        let is_first = entry.cut(cut.clone());
        if is_first {
            self.metrics.connection_cut(cut.reason());
            cut.log(&entry.peer.name.to_str(), entry.peer.chain.first());
        }
        is_first
    }

    fn now(&self) -> UnixTime {
        UnixTime::since_unix_epoch(self.clock.wall().as_duration())
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
        let current = self.shared.current.load_full();
        let config = self.config_for(&current.config, &note);
        let handshake = TlsConnector::from(config).connect(name.clone(), tcp).into_fallible();
        let error = match tokio::time::timeout(self.handshake_timeout, handshake).await {
            Ok(Ok(stream)) => {
                span.completed(self.clock.monotonic());
                span.traced(Exemplar::current(&self.clock));
                match self.admitted(name, &stream, current) {
                    Ok(membership) => return self.connected(server, stream, membership, &note, span),
                    Err(error) => error,
                }
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
        span.failed(error.kind(), error.found_by());
        error.log_outgoing(&server);
        Err(error)
    }

    /// The configuration for one connection, whose resolver notes what this server asks for.
    fn config_for(&self, config: &ClientConfig, note: &Arc<AnswerNote>) -> Arc<ClientConfig> {
        let mut config = config.clone();
        let key = self.identity.load_full();
        config.client_auth_cert_resolver = Arc::new(NotingResolver { key, note: Arc::clone(note) });
        Arc::new(config)
    }

    /// Takes a connection in among the live ones; if the trust has changed since its handshake began, its server is judged by
    /// the new one first.
    fn admitted<T>(
        &self,
        name: ServerName<'static>,
        stream: &client::TlsStream<T>,
        mut current: Arc<Current>,
    ) -> Result<Membership<ServerSeen>, TlsError> {
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        let mut seen = ServerSeen { name, chain };
        loop {
            seen = match self.shared.live.admit(seen, current.generation) {
                Ok(membership) => return Ok(membership),
                Err(seen) => seen,
            };
            current = self.shared.current.load_full();
            current.judge.judge(&seen, self.now()).map_err(|error| TlsError::from_verdict(&error))?;
        }
    }

    fn connected<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        server: String,
        stream: client::TlsStream<T>,
        membership: Membership<ServerSeen>,
        note: &AnswerNote,
        span: ClientHandshake,
    ) -> Result<ClientStream<T>, TlsError> {
        let (_, connection) = stream.get_ref();
        let negotiated = match negotiated(connection) {
            Ok(negotiated) => negotiated,
            Err(error) => {
                span.failed(error.kind(), error.found_by());
                return Err(error);
            }
        };
        let leaf = connection.peer_certificates().and_then(<[_]>::first);
        let peer = leaf.and_then(CertificateInfo::from_der);
        if let Some(peer) = &peer {
            self.metrics.peer_seen(&server, peer, self.clock.wall());
        }
        let alpn = connection.alpn_protocol().map(<[u8]>::to_vec);
        let state = ClientConnectionState::new(server, negotiated, alpn, peer, note.get());
        Ok(ClientStream::new(stream, state, span, membership, self.metrics.connection(negotiated.protocol)))
    }
}

/// The configuration for all connections under one trust, with the verifier of that trust.
fn client_config<C: Clock>(
    provider: &Arc<CryptoProvider>,
    policy: &Policy,
    alpn: &[Vec<u8>],
    verifier: Arc<dyn ServerCertVerifier>,
    clock: &C,
) -> Result<Arc<ClientConfig>, SetupError> {
    let builder = ClientConfig::builder_with_details(Arc::clone(provider), Arc::new(ClockTime(clock.clone())))
        .with_protocol_versions(&policy.versions())
        .map_err(|error| SetupError::Configuration(error.to_string()))?;
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = alpn.to_vec();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// What a complete handshake agreed on.
pub(crate) fn negotiated(connection: &CommonState) -> Result<Negotiated, TlsError> {
    let protocol = connection.protocol_version().and_then(Protocol::from_rustls);
    let suite = connection.negotiated_cipher_suite().map(|suite| suite.suite());
    let group = connection.negotiated_key_exchange_group().map(|group| group.name());
    let kind = connection.handshake_kind().map(|kind| match kind {
        rustls::HandshakeKind::Full => HandshakeKind::Full,
        rustls::HandshakeKind::FullWithHelloRetryRequest => HandshakeKind::FullHelloRetry,
        rustls::HandshakeKind::Resumed => HandshakeKind::Resumed,
    });
    match (protocol, suite, kind) {
        (Some(protocol), Some(suite), Some(kind)) => Ok(Negotiated { protocol, suite, kind, group }),
        // rustls knows them all once a handshake is complete.
        (None, _, _) | (_, None, _) | (_, _, None) => {
            let detail = "no version, suite or kind after the handshake";
            Err(TlsError::new(TlsErrorType::Internal, FoundBy::Local, detail))
        }
    }
}
