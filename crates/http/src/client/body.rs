//! The two bodies of an exchange: the request's, watched while it is sent, and the response's, which gives the connection back.

use super::error::{ClientError, ClientErrorKind, chain};
use super::pool::{Connection, Now};
use crate::body::{Body, BoxError};
use artstore_metrics::Monotonic;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Sleep;

/// How long a finished exchange may take to make its connection ready for the next: the last flush, mostly.
const SETTLE: Duration = Duration::from_secs(1);

/// How far the request's body has come.
pub(crate) struct Progress {
    now: Now,
    started: AtomicBool,
    finished: AtomicBool,
    waits_for_source: AtomicBool,
    stopped: AtomicBool,
    frames: AtomicU64,
    last: RwLock<Monotonic>,
}

impl Progress {
    fn new(now: Now) -> Arc<Self> {
        let last = RwLock::new(now());
        Arc::new(Self {
            now,
            started: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            waits_for_source: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            frames: AtomicU64::new(0),
            last,
        })
    }

    /// Whether the body was handed over to its end.
    pub(crate) fn finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    /// The server has answered with an error: sending more is of no use.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// How long the server has kept us waiting; `None` while we wait for the source of the body.
    pub(crate) fn server_silent_for(&self) -> Option<Duration> {
        if self.waits_for_source.load(Ordering::Acquire) {
            return None;
        }
        let last = *self.last.read().unwrap_or_else(PoisonError::into_inner);
        Some((self.now)().since(last))
    }

    fn moved(&self) {
        self.waits_for_source.store(false, Ordering::Release);
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = (self.now)();
    }
}

/// A request's body that notes its progress.
pub(crate) struct WatchedBody {
    inner: Body,
    progress: Arc<Progress>,
}

impl WatchedBody {
    pub(crate) fn new(inner: Body, now: Now) -> (Self, Arc<Progress>) {
        let progress = Progress::new(now);
        (Self { inner, progress: Arc::clone(&progress) }, progress)
    }

    /// The body itself, if it was never polled.
    pub(crate) fn into_unpolled(mut self) -> Option<Body> {
        let inner = std::mem::replace(&mut self.inner, crate::body::empty());
        (!self.progress.started.load(Ordering::Acquire)).then_some(inner)
    }
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.progress.stopped.load(Ordering::Acquire) {
            // The connection is closed once the response has been read; nothing needs to wake this task for the body.
            return Poll::Pending;
        }
        self.progress.started.store(true, Ordering::Release);
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(_) => {
                self.progress.frames.fetch_add(1, Ordering::Relaxed);
                self.progress.moved();
            }
            Poll::Pending => self.progress.waits_for_source.store(true, Ordering::Release),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for WatchedBody {
    fn drop(&mut self) {
        // hyper drops the body once it needs no more of it, often without asking for the end.
        self.progress.moved();
        self.progress.finished.store(true, Ordering::Release);
    }
}

/// The body of a response. Read to its end it gives its connection back to the pool; dropped before, it closes it.
pub struct ResponseBody {
    inner: hyper::body::Incoming,
    lease: Option<Lease>,
    ended: bool,
    read_timeout: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

/// The connection that the response comes from.
pub(crate) struct Lease {
    pub(crate) connection: Connection,
    pub(crate) request: Arc<Progress>,
}

impl Lease {
    /// Whether the connection can serve another request once hyper is done with this one.
    fn reusable(&self) -> bool {
        self.request.finished() && !self.connection.broken()
    }

    /// Waits, briefly, until hyper is done with the exchange, and gives the connection back.
    pub(crate) async fn give_back(mut self) {
        if self.reusable() && matches!(tokio::time::timeout(SETTLE, self.connection.ready()).await, Ok(true)) {
            self.connection.release();
        }
    }
}

impl ResponseBody {
    pub(crate) const fn new(inner: hyper::body::Incoming, lease: Option<Lease>, read_timeout: Duration) -> Self {
        Self { inner, lease, ended: false, read_timeout, timer: None }
    }

    /// After the last frame: gives the connection back as soon as it is ready.
    fn poll_give_back(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(mut lease) = self.lease.take_if(|lease| lease.reusable()) else {
            self.lease = None;
            return Poll::Ready(());
        };
        match lease.connection.poll_ready(cx) {
            Poll::Ready(true) => lease.connection.release(),
            Poll::Ready(false) => {}
            Poll::Pending => {
                self.lease = Some(lease);
                let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(SETTLE)));
                ready!(timer.as_mut().poll(cx));
                self.lease = None;
            }
        }
        Poll::Ready(())
    }

    fn fail(&mut self, kind: ClientErrorKind, detail: String) -> ClientError {
        self.lease = None;
        self.ended = true;
        ClientError::new(kind, true, detail)
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = ClientError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ClientError>>> {
        if !self.ended {
            match Pin::new(&mut self.inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.timer = None;
                    return Poll::Ready(Some(Ok(frame)));
                }
                Poll::Ready(Some(Err(error))) => {
                    let error = self.fail(ClientErrorKind::Transport, chain(&error));
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => {
                    self.timer = None;
                    self.ended = true;
                }
                Poll::Pending => {
                    let limit = self.read_timeout;
                    let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
                    ready!(timer.as_mut().poll(cx));
                    let error =
                        self.fail(ClientErrorKind::Timeout, format!("no more of the response within {limit:?}"));
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        ready!(self.poll_give_back(cx));
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.lease.is_none() && (self.ended || self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // Who knows the length stops asking at the last byte: that is the end, too.
        if let Some(lease) = self.lease.take()
            && (self.ended || self.inner.is_end_stream())
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(lease.give_back());
        }
    }
}

impl std::fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseBody").field("ended", &self.ended).finish_non_exhaustive()
    }
}
