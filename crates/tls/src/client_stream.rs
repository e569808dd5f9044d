//! An open client connection: bytes in and out, and the wait for the server's verdict on our certificate.

use crate::Protocol;
use crate::certificate::PeerCertificate;
use crate::error::{CertificateAnswer, FoundBy, TlsError, TlsErrorType};
use crate::linger::LINGER_TIME;
use crate::live::{Membership, Way};
use crate::metrics::{ClientHandshake, Negotiated, Usage};
use crate::names::cipher_suite_name;
use crate::verify::ServerSeen;
use artstore_metrics::GaugeGuard;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncBufRead as _, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::client;

/// What is known of a client connection; it outlives the stream, so that a pool or an error can ask it afterwards.
#[derive(Debug)]
pub struct ClientConnectionState {
    server: String,
    negotiated: Negotiated,
    alpn: Option<Vec<u8>>,
    peer: Option<PeerCertificate>,
    answer: CertificateAnswer,
    outcome: OnceLock<Result<(), TlsError>>,
}

impl ClientConnectionState {
    pub(crate) fn new(
        server: String,
        negotiated: Negotiated,
        alpn: Option<Vec<u8>>,
        peer: Option<PeerCertificate>,
        answer: CertificateAnswer,
    ) -> Self {
        Self { server, negotiated, alpn, peer, answer, outcome: OnceLock::new() }
    }

    /// The server's refusal, if it came after the handshake as TLS 1.3 has it, or how the connection broke before the
    /// server's verdict was known.
    #[must_use]
    pub fn tls_failure(&self) -> Option<TlsError> {
        self.outcome.get().and_then(|outcome| outcome.clone().err())
    }

    /// Whether the server is known to accept us.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        matches!(self.outcome.get(), Some(Ok(())))
    }

    /// The name by which the server was asked for.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
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

    /// The negotiated application protocol.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.alpn.as_deref()
    }

    /// The server's certificate.
    #[must_use]
    pub const fn peer_certificate(&self) -> Option<&PeerCertificate> {
        self.peer.as_ref()
    }

    /// Whether the server asked for our certificate, and whether it got one.
    #[must_use]
    pub const fn certificate_answer(&self) -> CertificateAnswer {
        self.answer
    }
}

/// A failed write on an unsettled connection: the reason may still be on its way in.
#[derive(Debug)]
struct FailedWrite {
    error: io::Error,
    deadline: Pin<Box<Sleep>>,
}

/// An open TLS connection to a server.
///
/// While the server's verdict on us is not known, whatever happens first decides it: a ticket or data is acceptance; an
/// alert, an end or a reset is a failed handshake. A write that fails in that time looks for the alert that explains it.
#[derive(Debug)]
pub struct ClientStream<T = TcpStream> {
    inner: client::TlsStream<T>,
    state: Arc<ClientConnectionState>,
    /// Present until the outcome is known.
    handshake: Option<ClientHandshake>,
    failed_write: Option<FailedWrite>,
    /// A task that waits for data while a failed write reads in its place.
    reader: Option<Waker>,
    /// We said goodbye: an end that follows is our own doing.
    closing: bool,
    /// Something was written before the outcome was known.
    used_early: bool,
    /// Present once the handshake is known to have succeeded.
    usage: Option<Usage>,
    membership: Membership<ServerSeen>,
    _active: GaugeGuard,
}

impl<T> ClientStream<T> {
    /// The connection below.
    #[must_use]
    pub fn get_ref(&self) -> &T {
        self.inner.get_ref().0
    }

    /// What is known of the connection.
    #[must_use]
    pub fn connection(&self) -> Arc<ClientConnectionState> {
        Arc::clone(&self.state)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> ClientStream<T> {
    pub(crate) fn new(
        inner: client::TlsStream<T>,
        state: ClientConnectionState,
        handshake: ClientHandshake,
        membership: Membership<ServerSeen>,
        active: GaugeGuard,
    ) -> Self {
        let mut stream = Self {
            inner,
            state: Arc::new(state),
            handshake: Some(handshake),
            failed_write: None,
            reader: None,
            closing: false,
            used_early: false,
            usage: None,
            membership,
            _active: active,
        };
        if stream.is_settled_by_now() {
            stream.accepted();
        }
        stream
    }

    /// Without a request for our certificate there is nothing left to refuse; a TLS 1.2 handshake includes the verdict; a
    /// TLS 1.3 server sends tickets only to whom it accepts.
    fn is_settled_by_now(&self) -> bool {
        match (self.state.negotiated.protocol, self.state.answer) {
            (Protocol::Tls13, CertificateAnswer::Sent | CertificateAnswer::NoneSent) => {
                self.inner.get_ref().1.tls13_tickets_received() > 0
            }
            (Protocol::Tls13, CertificateAnswer::NotRequested)
            | (Protocol::Tls12 | Protocol::Tls11 | Protocol::Tls10, _) => true,
        }
    }

    /// Application data went one way or the other.
    fn used(&mut self) {
        match &mut self.usage {
            Some(usage) => usage.used(),
            None => self.used_early = true,
        }
    }

    fn accepted(&mut self) {
        if let Some(handshake) = self.handshake.take() {
            let mut usage = handshake.succeeded(self.state.negotiated);
            if self.used_early {
                usage.used();
            }
            self.usage = Some(usage);
            // The first outcome stays.
            self.state.outcome.set(Ok(())).ok();
        }
    }

    /// The connection failed before the verdict: that is a failed handshake. Returns the error to report.
    fn refused(&mut self, error: TlsError, kind: io::ErrorKind) -> io::Error {
        if let Some(handshake) = self.handshake.take() {
            handshake.failed(error.kind(), error.found_by());
            error.log_outgoing(&self.state.server);
            self.state.outcome.set(Err(error.clone())).ok();
        }
        io::Error::new(kind, error)
    }

    /// The connection broke before the verdict; if we were closing it and no alert says otherwise, it stays unsettled.
    fn broken(&mut self, error: io::Error) -> io::Error {
        let (kind, tls) = (error.kind(), TlsError::from_io(&error, self.state.answer));
        match tls.found_by() {
            FoundBy::Transport if self.closing => error,
            FoundBy::Transport | FoundBy::Peer | FoundBy::Local => self.refused(tls, kind),
        }
    }

    /// After a refusal every operation reports it.
    fn earlier_refusal(&self) -> io::Result<()> {
        self.state.tls_failure().map_or(Ok(()), |error| Err(io::Error::new(io::ErrorKind::ConnectionAborted, error)))
    }

    /// The result of a read of `count` bytes, with what it says about the verdict.
    fn judge_read(&mut self, read: io::Result<usize>) -> io::Result<usize> {
        match read {
            Ok(0) if self.closing && !self.is_settled_by_now() => Ok(0),
            Ok(0) if !self.is_settled_by_now() => {
                let error = TlsError::new(TlsErrorType::Closed, FoundBy::Transport, "closed before the first record");
                Err(self.refused(error, io::ErrorKind::UnexpectedEof))
            }
            Ok(count) => {
                self.accepted();
                Ok(count)
            }
            // The error may come with what settles: the ticket, then the end.
            Err(error) if self.is_settled_by_now() => {
                self.accepted();
                Err(error)
            }
            Err(error) => Err(self.broken(error)),
        }
    }

    /// The result of a write. If it failed while the verdict is open, what the peer sent is read first.
    fn judge_write<R>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        match written {
            Poll::Ready(Err(error)) if self.handshake.is_some() => {
                let deadline = Box::pin(tokio::time::sleep(LINGER_TIME));
                self.poll_explain(cx, FailedWrite { error, deadline }).map(Err)
            }
            written => written,
        }
    }

    /// If a write has failed and its reason is still looked for: goes on looking, then fails.
    fn poll_failed_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.failed_write.take() {
            Some(failed) => self.poll_explain(cx, failed).map(Err),
            None => Poll::Ready(self.earlier_refusal()),
        }
    }

    /// Reads until the verdict is known or the time is up, then gives the error to report.
    fn poll_explain(&mut self, cx: &mut Context<'_>, mut failed: FailedWrite) -> Poll<io::Error> {
        let timed_out = failed.deadline.as_mut().poll(cx).is_ready();
        let read = Pin::new(&mut self.inner).poll_fill_buf(cx).map_ok(<[u8]>::len);
        let refusal = match read {
            Poll::Ready(read) => self.judge_read(read).err(),
            Poll::Pending if self.is_settled_by_now() => {
                self.accepted();
                None
            }
            Poll::Pending if timed_out => None,
            Poll::Pending => {
                self.failed_write = Some(failed);
                return Poll::Pending;
            }
        };
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(match refusal {
            Some(refusal) if self.state.tls_failure().is_some() => refusal,
            Some(_) | None if self.handshake.is_none() => failed.error,
            Some(_) | None => self.broken(failed.error),
        })
    }
}

/// The operations, but for the look at whether the connection is cut.
impl<T: AsyncRead + AsyncWrite + Unpin> ClientStream<T> {
    fn poll_receive(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.earlier_refusal()?;
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if self.handshake.is_none() {
            return read;
        }
        match read {
            Poll::Ready(read) => {
                let count = buf.filled().len() - before;
                if count == 0 && buf.remaining() == 0 && read.is_ok() {
                    // Nothing was asked for, so nothing was learnt.
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(self.judge_read(read.map(|()| count)).map(|_| ()))
            }
            Poll::Pending => {
                if self.is_settled_by_now() {
                    self.accepted();
                }
                self.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn poll_send<R>(
        &mut self,
        cx: &mut Context<'_>,
        operation: impl FnOnce(Pin<&mut client::TlsStream<T>>, &mut Context<'_>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        ready!(self.poll_failed_write(cx))?;
        let done = operation(Pin::new(&mut self.inner), cx);
        self.judge_write(cx, done)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_failed_write(cx))?;
        self.closing = true;
        let closed = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.judge_write(cx, closed)
    }

    fn note_written(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(count)) if count > 0) {
            self.used();
        }
        written
    }

    /// One write or flush, unless the connection is cut.
    fn poll_out<R>(
        &mut self,
        cx: &mut Context<'_>,
        operation: impl FnOnce(Pin<&mut client::TlsStream<T>>, &mut Context<'_>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        self.membership.intact()?;
        let polled = self.poll_send(cx, operation);
        self.membership.settle(Way::Out, cx, polled)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for ClientStream<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.membership.intact()?;
        let before = buf.filled().len();
        let polled = this.poll_receive(cx, buf);
        if buf.filled().len() > before {
            this.used();
        }
        this.membership.settle(Way::In, cx, polled)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientStream<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = this.poll_out(cx, |inner, cx| inner.poll_write(cx, buf));
        this.note_written(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = this.poll_out(cx, |inner, cx| inner.poll_write_vectored(cx, bufs));
        this.note_written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_out(cx, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.membership.intact()?;
        let polled = this.poll_close(cx);
        this.membership.settle(Way::Out, cx, polled)
    }
}
