//! An open connection from a client: bytes in and out, until it is cut.

use crate::Protocol;
use crate::certificate::PeerCertificate;
use crate::live::{Membership, Way};
use crate::metrics::{Negotiated, Usage};
use crate::names::cipher_suite_name;
use artstore_metrics::GaugeGuard;
use rustls::pki_types::CertificateDer;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server;

/// The certificates that a client showed, leaf first; empty if it showed none.
pub(crate) type ClientChain = Vec<CertificateDer<'static>>;

/// An open TLS connection from a client.
#[derive(Debug)]
pub struct ServerStream {
    inner: server::TlsStream<TcpStream>,
    negotiated: Negotiated,
    peer: Option<PeerCertificate>,
    alpn: Option<Vec<u8>>,
    membership: Membership<ClientChain>,
    usage: Usage,
    _active: GaugeGuard,
}

impl ServerStream {
    /// A connection whose handshake is complete; `active` counts it as long as it is open.
    pub(crate) fn new(
        inner: server::TlsStream<TcpStream>,
        negotiated: Negotiated,
        peer: Option<PeerCertificate>,
        membership: Membership<ClientChain>,
        usage: Usage,
        active: GaugeGuard,
    ) -> Self {
        let (_, connection) = inner.get_ref();
        let alpn = connection.alpn_protocol().map(<[u8]>::to_vec);
        Self { inner, negotiated, peer, alpn, membership, usage, _active: active }
    }

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

impl ServerStream {
    /// Does one operation, unless the connection is cut.
    fn poll<R>(
        &mut self,
        way: Way,
        cx: &mut Context<'_>,
        operation: impl FnOnce(Pin<&mut server::TlsStream<TcpStream>>, &mut Context<'_>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        self.membership.intact()?;
        let polled = operation(Pin::new(&mut self.inner), cx);
        self.membership.settle(way, cx, polled)
    }

    fn note_written(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(count)) if count > 0) {
            self.usage.used();
        }
        written
    }
}

impl AsyncRead for ServerStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = this.poll(Way::In, cx, |inner, cx| inner.poll_read(cx, buf));
        if buf.filled().len() > before {
            this.usage.used();
        }
        read
    }
}

impl AsyncWrite for ServerStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = this.poll(Way::Out, cx, |inner, cx| inner.poll_write(cx, buf));
        this.note_written(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = this.poll(Way::Out, cx, |inner, cx| inner.poll_write_vectored(cx, bufs));
        this.note_written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll(Way::Out, cx, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll(Way::Out, cx, AsyncWrite::poll_shutdown)
    }
}
