//! Accepts TLS connections: two phases under one deadline, timed apart, classified, and closed so that alerts arrive.

use crate::Protocol;
use crate::certificate::{CertificateInfo, PeerCertificate};
use crate::connector::negotiated;
use crate::error::{CertificateAnswer, FoundBy, TlsError, TlsErrorType};
use crate::hello::{self, Recorder};
use crate::identity::{Identity, SetupError, Trust};
use crate::linger;
use crate::metrics::{ListenerMetrics, Negotiated, ServerHandshake};
use crate::names::cipher_suite_name;
use crate::policy::Policy;
use crate::time_source::ClockTime;
use crate::verify::client_verifier;
use artstore_metrics::{Clock, GaugeGuard, SystemClock};
use rustls::ServerConfig;
use rustls::server::{StoresServerSessions, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
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
    /// Versions and suites; the same that the metrics were made for.
    pub policy: Policy,
    /// Limit from accepting a connection to the end of its handshake; 10 s by default.
    pub handshake_timeout: Duration,
    /// Application protocols that we speak, best first; none by default.
    pub alpn: Vec<Vec<u8>>,
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
            policy: Policy::default(),
            handshake_timeout: Duration::from_secs(10),
            alpn: Vec::new(),
            plain_text_answer: None,
        }
    }
}

/// Accepts TLS connections. Clones share configuration and metrics.
#[derive(Debug, Clone)]
pub struct Acceptor<C: Clock = SystemClock> {
    config: Arc<ServerConfig>,
    handshake_timeout: Duration,
    plain_text_answer: Option<Arc<[u8]>>,
    metrics: ListenerMetrics,
    clock: C,
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
        let verifier = match &settings.client_auth {
            ClientAuth::None => WebPkiClientVerifier::no_client_auth(),
            ClientAuth::Optional(trust) => client_verifier(trust, false, &provider, &metrics)?,
            ClientAuth::Required(trust) => client_verifier(trust, true, &provider, &metrics)?,
        };
        let resolver = SingleCertAndKey::from(settings.identity.certified_key().as_ref().clone());
        let builder = ServerConfig::builder_with_details(provider, Arc::new(ClockTime(clock.clone())))
            .with_protocol_versions(&settings.policy.versions())
            .map_err(|error| SetupError::Configuration(error.to_string()))?;
        let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = settings.alpn;
        match settings.client_auth {
            ClientAuth::None => {}
            ClientAuth::Optional(_) | ClientAuth::Required(_) => config.session_storage = Arc::new(ForgetfulSessions),
        }
        Ok(Self {
            config: Arc::new(config),
            handshake_timeout: settings.handshake_timeout,
            plain_text_answer: settings.plain_text_answer.map(Into::into),
            metrics,
            clock,
        })
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
        Err(failure.settle(span, peer).await)
    }

    async fn first_records(&self, mut tcp: TcpStream) -> Result<StartHandshake<TcpStream>, Failure> {
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

    fn accepted(&self, stream: server::TlsStream<TcpStream>, span: ServerHandshake) -> Result<ServerStream, TlsError> {
        let (_, connection) = stream.get_ref();
        let negotiated = match negotiated(connection) {
            Ok(negotiated) => negotiated,
            Err(error) => {
                span.failed(error.kind());
                return Err(error);
            }
        };
        let leaf = connection.peer_certificates().and_then(<[_]>::first);
        let peer = leaf.and_then(CertificateInfo::from_der);
        let alpn = connection.alpn_protocol().map(<[u8]>::to_vec);
        let active = self.metrics.connection(negotiated.protocol);
        span.succeeded(negotiated, self.clock.monotonic());
        Ok(ServerStream { inner: stream, negotiated, peer, alpn, _active: active })
    }
}

/// Reads records until the client's hello is complete.
async fn read_hello(tcp: TcpStream) -> Result<StartHandshake<TcpStream>, Failure> {
    let mut acceptor = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), Recorder::new(tcp));
    match (&mut acceptor).await {
        Ok(start) => {
            let (tcp, _) = start.io.into_parts();
            Ok(StartHandshake::from_parts(start.accepted, tcp))
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
    start: StartHandshake<TcpStream>,
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
        let handshake = start.into_stream(Arc::clone(&acceptor.config)).into_fallible();
        let failure = match tokio::time::timeout_at(deadline, handshake).await {
            Ok(Ok(stream)) => return acceptor.accepted(stream, span),
            Ok(Err((error, tcp))) => {
                Failure { error: TlsError::from_io(&error, CertificateAnswer::NotRequested), tcp: Some(tcp) }
            }
            Err(_) => Failure { error: TlsError::timeout("the client's part of the handshake"), tcp: None },
        };
        Err(failure.settle(span, peer).await)
    }
}

impl<C: Clock> std::fmt::Debug for PendingHandshake<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingHandshake").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// A failed handshake, and the connection if it can still carry a farewell.
struct Failure {
    error: TlsError,
    tcp: Option<TcpStream>,
}

impl Failure {
    /// Counts it, logs it, and closes the connection so that the peer can read why.
    async fn settle(self, span: ServerHandshake, peer: Option<SocketAddr>) -> TlsError {
        let Self { error, tcp } = self;
        span.failed(error.kind());
        error.log_incoming(peer);
        if let Some(tcp) = tcp.filter(|_| error.found_by() == FoundBy::Local) {
            linger::close(tcp).await;
        }
        error
    }
}

/// Remembers no session, so that every client's certificate is verified anew: resumption would skip that. It does say that
/// it would, so that TLS 1.3 clients get tickets, by which they learn early that they are accepted.
#[derive(Debug)]
struct ForgetfulSessions;

impl StoresServerSessions for ForgetfulSessions {
    fn put(&self, _key: Vec<u8>, _value: Vec<u8>) -> bool {
        true
    }

    fn get(&self, _key: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn take(&self, _key: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// An open TLS connection from a client.
#[derive(Debug)]
pub struct ServerStream {
    inner: server::TlsStream<TcpStream>,
    negotiated: Negotiated,
    peer: Option<PeerCertificate>,
    alpn: Option<Vec<u8>>,
    _active: GaugeGuard,
}

impl ServerStream {
    /// The client's certificate, verified, if it showed one.
    #[must_use]
    pub const fn peer_certificate(&self) -> Option<&PeerCertificate> {
        self.peer.as_ref()
    }

    /// The negotiated application protocol.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.alpn.as_deref()
    }

    /// The negotiated version.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.negotiated.protocol
    }

    /// IANA's name of the negotiated suite.
    #[must_use]
    pub fn cipher_suite(&self) -> &'static str {
        cipher_suite_name(self.negotiated.suite)
    }

    /// The TCP connection below.
    #[must_use]
    pub fn get_ref(&self) -> &TcpStream {
        self.inner.get_ref().0
    }
}

impl AsyncRead for ServerStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for ServerStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
