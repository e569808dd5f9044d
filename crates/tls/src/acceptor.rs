//! Accepts TLS connections: two phases under one deadline, timed apart, classified, and closed so that alerts arrive.

use crate::allowed::AllowedClients;
use crate::certificate::CertificateInfo;
use crate::connector::negotiated;
use crate::error::{CertificateAnswer, FoundBy, TlsError, TlsErrorType};
use crate::hello::{self, Recorder};
use crate::identity::{Identity, SetupError, Trust};
use crate::linger;
use crate::live::{ConnectionCut, Entry, Live, Membership};
use crate::metrics::{ListenerMetrics, ServerHandshake};
use crate::policy::Policy;
use crate::server_stream::{ClientChain, ServerStream};
use crate::sessions::{Limits, Sessions, Visit};
use crate::time_source::ClockTime;
use crate::verify::{ClientJudge, REFUSED_IDENTITY};
use arc_swap::ArcSwap;
use artstore_metrics::{Clock, SystemClock};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::UnixTime;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::StartHandshake;
use tokio_rustls::{LazyConfigAcceptor, server};

/// Whether clients are asked for a certificate.
#[derive(Debug, Clone)]
pub enum ClientAuth {
    /// They are not.
    None,
    /// They are, and may do without; one that is shown must be good.
    Optional(Trust),
    /// They must show a good one.
    Required(Trust),
}

/// How a module accepts TLS connections.
#[derive(Debug, Clone)]
pub struct AcceptorSettings {
    /// Our certificate.
    pub identity: Identity,
    /// Whether clients are asked for theirs; they are not by default.
    pub client_auth: ClientAuth,
    /// Which of the clients with a good certificate are let in; all of them by default. Who may do without a certificate, and
    /// does, is not asked.
    pub allowed_clients: Option<AllowedClients>,
    /// Versions and suites; the same that the metrics were made for.
    pub policy: Policy,
    /// Limit from accepting a connection to the end of its handshake; 10 s by default.
    pub handshake_timeout: Duration,
    /// Application protocols that we speak, best first; none by default.
    pub alpn: Vec<Vec<u8>>,
    /// How many sessions are kept for clients to resume; 4096 by default, none are resumed with 0.
    pub session_limit: usize,
    /// For how long a session may be resumed at most; an hour by default. It ends before that with the client's certificate, or
    /// when the revocation lists count no more.
    pub session_lifetime: Duration,
    /// What a peer that does not speak TLS is told before the connection is closed, such as a complete HTTP response;
    /// nothing by default, then it is sent a TLS alert.
    pub plain_text_answer: Option<Vec<u8>>,
}

impl AcceptorSettings {
    /// The defaults for this certificate: no client certificates, TLS 1.3, 10 s, no application protocol.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            client_auth: ClientAuth::None,
            allowed_clients: None,
            policy: Policy::default(),
            handshake_timeout: Duration::from_secs(10),
            alpn: Vec::new(),
            session_limit: 4096,
            session_lifetime: Duration::from_secs(3600),
            plain_text_answer: None,
        }
    }
}

/// Accepts TLS connections. Clones share configuration, what of it is exchanged later, and metrics.
#[derive(Debug, Clone)]
pub struct Acceptor<C: Clock = SystemClock> {
    pub(crate) shared: Arc<Shared<C>>,
    handshake_timeout: Duration,
    plain_text_answer: Option<Arc<[u8]>>,
    metrics: ListenerMetrics,
    pub(crate) clock: C,
}

/// What the clones of an acceptor share.
#[derive(Debug)]
pub(crate) struct Shared<C> {
    constant: Constant,
    pub(crate) current: ArcSwap<Current<C>>,
    pub(crate) live: Live<ClientChain>,
    /// One change of trust at a time.
    changing: Mutex<()>,
}

/// What no change of trust changes.
#[derive(Debug)]
struct Constant {
    provider: Arc<CryptoProvider>,
    policy: Policy,
    alpn: Vec<Vec<u8>>,
    identity: Arc<SwappingResolver>,
    sessions: Limits,
}

impl Constant {
    /// These demands on clients, with sessions of their own.
    fn current<C: Clock>(
        &self,
        (auth, allowed): (ClientAuth, Option<AllowedClients>),
        judge: ClientJudge,
        metrics: &ListenerMetrics,
        clock: &C,
    ) -> Result<Current<C>, SetupError> {
        let builder =
            ServerConfig::builder_with_details(Arc::clone(&self.provider), Arc::new(ClockTime(clock.clone())))
                .with_protocol_versions(&self.policy.versions())
                .map_err(|error| SetupError::Configuration(error.to_string()))?;
        let identity: Arc<dyn ResolvesServerCert> = Arc::clone(&self.identity) as _;
        let mut config = builder.with_client_cert_verifier(judge.verifier(metrics)).with_cert_resolver(identity);
        config.alpn_protocols.clone_from(&self.alpn);
        // The policy has its suites best first.
        config.ignore_client_order = true;
        let sessions = Arc::new(Sessions::new(self.sessions, clock.clone()));
        config.session_storage = Arc::clone(&sessions) as _;
        Ok(Current { auth, allowed, config: Arc::new(config), sessions, judge, generation: 0 })
    }
}

/// The demands on clients that are in force.
#[derive(Debug)]
pub(crate) struct Current<C> {
    pub(crate) auth: ClientAuth,
    allowed: Option<AllowedClients>,
    config: Arc<ServerConfig>,
    sessions: Arc<Sessions<C>>,
    pub(crate) judge: ClientJudge,
    generation: u64,
}

impl<C: Clock> Current<C> {
    /// The configuration for one handshake. If clients are asked for certificates, its sessions wait for its end.
    fn for_one(&self) -> (Arc<ServerConfig>, Option<Arc<Visit<C>>>) {
        match self.judge {
            ClientJudge::NotAsked => (Arc::clone(&self.config), None),
            ClientJudge::Asked { .. } => {
                let visit = Arc::new(Visit::new(Arc::clone(&self.sessions)));
                let mut config = ServerConfig::clone(&self.config);
                config.session_storage = Arc::clone(&visit) as _;
                (Arc::new(config), Some(visit))
            }
        }
    }
}

/// Our certificate, which may be exchanged.
#[derive(Debug)]
struct SwappingResolver(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for SwappingResolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl<C: Clock> Acceptor<C> {
    /// An acceptor.
    ///
    /// # Errors
    /// If the metrics were made for another policy, clients would be verified against nothing, or rustls refuses the settings.
    pub fn new(settings: AcceptorSettings, metrics: ListenerMetrics, clock: C) -> Result<Self, SetupError> {
        if settings.policy != *metrics.policy() {
            return Err(SetupError::PolicyMismatch);
        }
        let provider = settings.policy.provider();
        let allowed = settings.allowed_clients;
        let judge = ClientJudge::new(&settings.client_auth, allowed.as_ref(), &provider)?;
        let constant = Constant {
            provider,
            policy: settings.policy,
            alpn: settings.alpn,
            identity: Arc::new(SwappingResolver(ArcSwap::new(settings.identity.into_key()))),
            sessions: Limits { count: settings.session_limit, lifetime: settings.session_lifetime },
        };
        let current = constant.current((settings.client_auth, allowed), judge, &metrics, &clock)?;
        metrics.allow(current.allowed.as_ref());
        let shared = Shared {
            current: ArcSwap::from_pointee(current),
            constant,
            live: Live::default(),
            changing: Mutex::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            handshake_timeout: settings.handshake_timeout,
            plain_text_answer: settings.plain_text_answer.map(Into::into),
            metrics,
            clock,
        })
    }

    /// Shows this certificate in handshakes from now on. Connections and sessions stay.
    pub fn set_identity(&self, identity: Identity) {
        self.shared.constant.identity.0.store(identity.into_key());
    }

    /// Makes these demands on clients from now on. No session that began under the old ones is resumed, and connections of
    /// clients that do not meet the new ones are cut: whatever they read or write fails. Gives how many those were.
    ///
    /// # Errors
    /// If clients would be verified against nothing, or rustls refuses the settings; then nothing has changed.
    pub fn set_client_auth(&self, auth: ClientAuth) -> Result<usize, SetupError> {
        let _one_at_a_time = self.shared.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let allowed = self.shared.current.load().allowed.clone();
        self.change(auth, allowed)
    }

    /// Lets in only these of the clients with a good certificate from now on, or all of them. What that means for sessions and
    /// connections is as for [`set_client_auth`](Self::set_client_auth).
    ///
    /// # Errors
    /// If clients are not asked for a certificate, or rustls refuses the settings; then nothing has changed.
    pub fn set_allowed_clients(&self, allowed: Option<AllowedClients>) -> Result<usize, SetupError> {
        let _one_at_a_time = self.shared.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let auth = self.client_auth();
        self.change(auth, allowed)
    }

    /// Puts these demands into force, while nobody else does that.
    fn change(&self, auth: ClientAuth, allowed: Option<AllowedClients>) -> Result<usize, SetupError> {
        let constant = &self.shared.constant;
        let judge = ClientJudge::new(&auth, allowed.as_ref(), &constant.provider)?;
        let current = constant.current((auth, allowed), judge.clone(), &self.metrics, &self.clock)?;
        self.metrics.allow(current.allowed.as_ref());
        let live = self.shared.live.change(|generation| {
            self.shared.current.store(Arc::new(Current { generation, ..current }));
        });
        Ok(live.iter().filter(|entry| self.cut_unless_allowed(entry, &judge)).count())
    }

    /// What it demands of clients now.
    #[must_use]
    pub fn client_auth(&self) -> ClientAuth {
        self.shared.current.load().auth.clone()
    }

    pub(crate) fn cut_unless_allowed(&self, entry: &Entry<ClientChain>, judge: &ClientJudge) -> bool {
        let Err(error) = judge.judge(&entry.peer, self.now()) else { return false };
        let cut = ConnectionCut::because(&error);
        let is_first = entry.cut(cut.clone());
        if is_first {
            self.metrics.connection_cut(cut.reason());
            cut.log("client", entry.peer.first());
        }
        is_first
    }

    /// What this acceptor records.
    #[must_use]
    pub const fn metrics(&self) -> &ListenerMetrics {
        &self.metrics
    }

    /// Makes a TLS connection out of an accepted TCP connection: [`hello`](Self::hello), then
    /// [`finish`](PendingHandshake::finish). To be called at once, in a task of its own: the time from this call to the
    /// client's hello is measured.
    ///
    /// On failure the peer is sent an alert, and is given up to a second to read it before this returns.
    ///
    /// # Errors
    /// If either side refuses the other, the peer does not speak TLS, the connection breaks or the time is up.
    pub async fn accept(&self, tcp: TcpStream) -> Result<ServerStream, TlsError> {
        self.hello(tcp).await?.finish().await
    }

    /// The first phase of [`accept`](Self::accept), which costs no computation and, until the first byte, hardly any memory:
    /// waits until the client's hello is complete. Whoever limits handshakes takes a turn only after it, so that a silent
    /// client holds none.
    ///
    /// # Errors
    /// As `accept`. If this is dropped before its end, or what it gives is, the handshake counts as cancelled.
    pub async fn hello(&self, tcp: TcpStream) -> Result<PendingHandshake<C>, TlsError> {
        let peer = tcp.peer_addr().ok();
        let mut span = self.metrics.handshake(self.clock.monotonic());
        let deadline = tokio::time::sleep(self.handshake_timeout).deadline();
        let failure = match tokio::time::timeout_at(deadline, self.first_records(tcp)).await {
            Ok(Ok(start)) => {
                span.hello_received(self.clock.monotonic());
                return Ok(PendingHandshake { acceptor: self.clone(), start, span, peer, deadline });
            }
            Ok(Err(failure)) => failure,
            Err(_) => Failure { error: TlsError::timeout("the client's hello"), tcp: None },
        };
        Err(Box::pin(failure.settle(span, peer)).await)
    }

    async fn first_records(&self, mut tcp: TcpStream) -> Result<Box<StartHandshake<TcpStream>>, Failure> {
        if let Some(answer) = &self.plain_text_answer {
            let mut first = [0];
            let peeked = tcp.peek(&mut first).await;
            if matches!(peeked, Ok(1)) && !hello::may_be_tls(first[0]) {
                // A peer that does not want to hear it is no concern of ours.
                tcp.write_all(answer).await.ok();
                let error = TlsError::new(TlsErrorType::NotTls, FoundBy::Local, "the peer sent plain text");
                return Err(Failure { error, tcp: Some(tcp) });
            }
        } else {
            // If this fails, reading says why.
            tcp.readable().await.ok();
        }
        // What is made for a client that has begun to speak is not there for one that never does.
        Box::pin(read_hello(tcp)).await
    }

    /// Takes a connection in among the live ones; if the demands have changed since its handshake began, its client is judged
    /// by the new ones first.
    fn admitted(
        &self,
        stream: server::TlsStream<TcpStream>,
        mut current: Arc<Current<C>>,
        visit: Option<&Visit<C>>,
    ) -> Result<Admitted, Failure> {
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let mut chain: ClientChain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        loop {
            chain = match self.shared.live.admit(chain, current.generation) {
                Ok(membership) => {
                    if let Some(visit) = visit {
                        let is_resumed = stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
                        visit.completed(is_resumed, membership.peer(), &current.judge);
                    }
                    return Ok((stream, membership));
                }
                Err(chain) => chain,
            };
            current = self.shared.current.load_full();
            if let Err(error) = current.judge.judge(&chain, self.now()) {
                let error = TlsError::from_verdict(&error);
                return Err(Failure { error, tcp: Some(stream.into_inner().0) });
            }
        }
    }

    fn now(&self) -> UnixTime {
        UnixTime::since_unix_epoch(self.clock.wall().as_duration())
    }

    fn accepted(
        &self,
        stream: server::TlsStream<TcpStream>,
        membership: Membership<ClientChain>,
        span: ServerHandshake,
    ) -> Result<ServerStream, TlsError> {
        let (_, connection) = stream.get_ref();
        let negotiated = match negotiated(connection) {
            Ok(negotiated) => negotiated,
            Err(error) => {
                span.failed(error.kind(), error.found_by());
                return Err(error);
            }
        };
        let active = self.metrics.connection(negotiated.protocol);
        let usage = span.succeeded(negotiated, self.clock.monotonic());
        let peer = membership.peer().first().and_then(CertificateInfo::from_der);
        if let Some(peer) = &peer {
            self.metrics.peer_seen("client", peer, self.clock.wall());
        }
        if let (Some(allowed), Some(leaf)) = (&self.shared.current.load().allowed, membership.peer().first()) {
            allowed.rule_for(leaf).into_iter().for_each(|rule| self.metrics.identity_allowed(rule));
        }
        Ok(ServerStream::new(stream, negotiated, peer, membership, usage, active))
    }
}

/// Reads records until the client's hello is complete.
async fn read_hello(tcp: TcpStream) -> Result<Box<StartHandshake<TcpStream>>, Failure> {
    let mut acceptor = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), Recorder::new(tcp));
    match (&mut acceptor).await {
        Ok(start) => {
            let (tcp, _) = start.io.into_parts();
            Ok(Box::new(StartHandshake::from_parts(start.accepted, tcp)))
        }
        Err(error) => {
            let error = TlsError::from_io(&error, CertificateAnswer::NotRequested);
            let (tcp, read) = acceptor.take_io().map(Recorder::into_parts).unzip();
            let too_old = read.is_some_and(|read| hello::offers_only_old_versions(&read));
            let error = match error.kind() {
                TlsErrorType::CipherMismatch | TlsErrorType::ProtocolError if too_old => {
                    TlsError::new(TlsErrorType::ProtocolVersion, FoundBy::Local, error.detail())
                }
                _ => error,
            };
            Err(Failure { error, tcp })
        }
    }
}

/// A connection whose client has said its hello, and whose handshake has not gone on yet. Dropped, it counts as cancelled.
pub struct PendingHandshake<C: Clock = SystemClock> {
    acceptor: Acceptor<C>,
    start: Box<StartHandshake<TcpStream>>,
    span: ServerHandshake,
    peer: Option<SocketAddr>,
    deadline: Instant,
}

impl<C: Clock> PendingHandshake<C> {
    /// When the handshake must be over.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The connection had to wait for its turn: that time is no part of the handshake's duration.
    pub fn turn_came(&mut self) {
        self.span.begun(self.acceptor.clock.monotonic());
    }

    /// The second phase of [`Acceptor::accept`].
    ///
    /// # Errors
    /// As `accept`.
    pub async fn finish(self) -> Result<ServerStream, TlsError> {
        let Self { acceptor, start, span, peer, deadline } = self;
        let current = acceptor.shared.current.load_full();
        let (config, visit) = current.for_one();
        let handshake = explained(start.into_stream(config));
        let admitted = match tokio::time::timeout_at(deadline, handshake).await {
            Ok(Ok(stream)) => acceptor.admitted(stream, current, visit.as_deref()),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(Failure { error: TlsError::timeout("the client's part of the handshake"), tcp: None }),
        };
        let failure = match admitted {
            Ok((stream, membership)) => return acceptor.accepted(stream, membership, span),
            Err(failure) => failure,
        };
        Err(failure.settle(span, peer).await)
    }
}

impl<C: Clock> std::fmt::Debug for PendingHandshake<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingHandshake").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// The handshake, with an error that says whom the list of allowed clients does not name.
async fn explained(handshake: tokio_rustls::Accept<TcpStream>) -> Result<server::TlsStream<TcpStream>, Failure> {
    let handshake = async {
        handshake.into_fallible().await.map_err(|(error, tcp)| {
            let error = match REFUSED_IDENTITY.with(RefCell::take) {
                Some(identity) => {
                    let detail = format!("not among the allowed clients: {identity}");
                    TlsError::new(TlsErrorType::CertInvalid, FoundBy::Local, detail)
                }
                None => TlsError::from_io(&error, CertificateAnswer::NotRequested),
            };
            Failure { error, tcp: Some(tcp) }
        })
    };
    REFUSED_IDENTITY.scope(RefCell::default(), handshake).await
}

/// A complete handshake, and its place among the live connections.
type Admitted = (server::TlsStream<TcpStream>, Membership<ClientChain>);

/// A failed handshake, and the connection if it can still carry a farewell.
struct Failure {
    error: TlsError,
    tcp: Option<TcpStream>,
}

impl Failure {
    /// Counts it, logs it, and closes the connection so that the peer can read why.
    async fn settle(self, span: ServerHandshake, peer: Option<SocketAddr>) -> TlsError {
        let Self { error, tcp } = self;
        span.failed(error.kind(), error.found_by());
        error.log_incoming(peer);
        if let Some(tcp) = tcp.filter(|_| error.found_by() == FoundBy::Local) {
            linger::close(tcp).await;
        }
        error
    }
}
