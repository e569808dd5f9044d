//! The stream below an HTTP connection of the client: plain or TLS, with byte counts, and with writes that may fail without
//! hiding what the server said before it closed.

use crate::metrics::ConnectionUse;
use artstore_tls::{ClientConnectionState, ClientStream, TlsError};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// How long reading goes on after writing failed: long enough for an answer that is on its way.
const AFTER_WRITE_ERROR: Duration = Duration::from_secs(2);

/// What the request side may know about the stream that the connection's task owns.
#[derive(Debug)]
pub(crate) struct IoState {
    written: AtomicU64,
    read: AtomicU64,
    write_failed: AtomicBool,
    tls: Option<Arc<ClientConnectionState>>,
    connection: ConnectionUse,
}

impl IoState {
    /// HTTP bytes written so far.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// A request was sent over the connection, or as much of one as could be.
    pub(crate) fn used(&self) {
        self.connection.used();
    }

    /// HTTP bytes read so far.
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Acquire)
    }

    /// Whether writing failed: no further request can go this way.
    pub(crate) fn write_failed(&self) -> bool {
        self.write_failed.load(Ordering::Acquire)
    }

    /// Whether the stream is encrypted.
    pub(crate) const fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The server's late refusal of the handshake, if there was one.
    pub(crate) fn tls_failure(&self) -> Option<TlsError> {
        self.tls.as_ref().and_then(|state| state.tls_failure())
    }
}

/// Plain or TLS.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<ClientStream>),
}

/// The stream as hyper sees it.
///
/// A server that answers before it has read the whole request and then closes makes our next write fail. hyper would give the
/// caller that broken pipe. Here a failed write is kept back: the connection goes on reading, so the answer (or the TLS
/// alert) that came first is what the caller gets; only if nothing more can be read does the failure surface.
pub(crate) struct ClientIo {
    stream: Stream,
    state: Arc<IoState>,
    failure: Option<(io::Error, Pin<Box<Sleep>>)>,
}

impl ClientIo {
    pub(crate) fn new(stream: Stream, connection: ConnectionUse) -> Self {
        let tls = match &stream {
            Stream::Plain(_) => None,
            Stream::Tls(stream) => Some(stream.connection()),
        };
        let state = IoState {
            written: AtomicU64::new(0),
            read: AtomicU64::new(0),
            write_failed: AtomicBool::new(false),
            tls,
            connection,
        };
        Self { stream, state: Arc::new(state), failure: None }
    }

    pub(crate) fn state(&self) -> Arc<IoState> {
        Arc::clone(&self.state)
    }

    fn poll_failure(&mut self, cx: &mut Context<'_>) -> Option<Poll<io::Error>> {
        let (error, patience) = self.failure.as_mut()?;
        Some(patience.as_mut().poll(cx).map(|()| io::Error::new(error.kind(), error.to_string())))
    }

    /// Runs a write, unless one failed before; keeps a failure back.
    fn write_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(&mut Stream, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.failure.is_none() {
            match ready!(write(&mut self.stream, cx)) {
                Ok(value) => return Poll::Ready(Ok(value)),
                Err(error) => {
                    self.state.write_failed.store(true, Ordering::Release);
                    self.failure = Some((error, Box::pin(tokio::time::sleep(AFTER_WRITE_ERROR))));
                }
            }
        }
        self.poll_failure(cx).map_or(Poll::Pending, |failure| failure.map(Err))
    }

    fn count_written(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = &polled {
            self.state.written.fetch_add(*count as u64, Ordering::AcqRel);
        }
        polled
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
        };
        let count = buffer.filled().len().saturating_sub(before);
        self.state.read.fetch_add(count as u64, Ordering::AcqRel);
        polled
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = self.write_with(cx, |stream, cx| match stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        });
        self.count_written(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = self.write_with(cx, |stream, cx| match stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, slices),
        });
        self.count_written(polled)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write_with(cx, |stream, cx| match stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        })
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.failure.is_some() {
            return Poll::Ready(Ok(()));
        }
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
