//! The client's body as it comes in: a stream with a limit on silence, read no faster than it is used.

use crate::failure::Failure;
use artstore_api::Code;
use axum::body::Body;
use bytes::Bytes;
use futures_util::Stream;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// Why a body does not come to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The client sent nothing for so long.
    #[error("the client sent nothing for {0:?}")]
    Stalled(Duration),
    /// The client broke its request off.
    #[error("the client broke off: {0}")]
    Gone(String),
    /// More file bytes than the limit.
    #[error("more than {0} bytes")]
    TooLarge(u64),
    /// The form is not well-formed, or a part of it is too long.
    #[error("{0}")]
    Form(String),
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Stalled(limit) => {
                Self::invalid(format!("no byte of the body arrived for {} seconds", limit.as_secs_f64()))
            }
            SourceError::Gone(cause) => Self::client_gone().because(cause),
            SourceError::TooLarge(limit) => too_large(limit),
            SourceError::Form(detail) => Self::invalid(detail),
        }
    }
}

/// The refusal of a file of more than `limit` bytes.
#[must_use]
pub fn too_large(limit: u64) -> Failure {
    Failure::new(Code::FileTooLarge, format!("a file has at most {limit} bytes here"))
}

/// How much of a refused body is read on, so that its client sees the answer instead of a reset connection.
#[derive(Debug, Clone, Copy)]
pub struct Linger {
    /// Most bytes.
    pub bytes: u64,
    /// Longest time.
    pub timeout: Duration,
}

/// A client's body. Dropped before its end, it is read on a little in the background ([`Linger`]): a connection that is closed
/// with unread bytes is reset, and the client may never see why it was refused.
///
/// Between two pieces it is `Pending` once, so that a reader that takes all that is ready (`multer` does) cannot run ahead of
/// whoever it reads for.
#[derive(Debug)]
pub struct ClientBody {
    body: Option<Body>,
    timeout: Duration,
    silence: Option<Pin<Box<Sleep>>>,
    pace: bool,
    linger: Linger,
    /// The client waits to be told to send (`Expect: 100-continue`), which the first read does.
    waits: bool,
}

impl ClientBody {
    /// The body of a request; `waits` says whether its client sent `Expect: 100-continue`.
    #[must_use]
    pub fn new(body: Body, waits: bool, timeout: Duration, linger: Linger) -> Self {
        Self { body: Some(body), timeout, silence: None, pace: false, linger, waits }
    }

    /// The exact number of bytes, if the client said it.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.body.as_ref().and_then(|body| body.size_hint().exact())
    }

    fn end(&mut self) {
        self.body = None;
        self.silence = None;
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, SourceError>>> {
        let timeout = self.timeout;
        let silence = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + timeout)));
        ready!(silence.as_mut().poll(cx));
        self.silence = None;
        Poll::Ready(Some(Err(SourceError::Stalled(timeout))))
    }
}

impl Stream for ClientBody {
    type Item = Result<Bytes, SourceError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.pace) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.waits = false;
        loop {
            let Some(body) = &mut self.body else { return Poll::Ready(None) };
            match Pin::new(body).poll_frame(cx) {
                Poll::Pending => return self.poll_silence(cx),
                Poll::Ready(None) => {
                    self.end();
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Err(error))) => {
                    self.end();
                    return Poll::Ready(Some(Err(SourceError::Gone(error.to_string()))));
                }
                Poll::Ready(Some(Ok(frame))) => {
                    self.silence = None;
                    // Trailers and empty pieces are passed over.
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        self.pace = true;
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
            }
        }
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !self.waits && !body.is_end_stream()) else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let linger = self.linger;
            runtime.spawn(async move {
                // A time-out is as good an end as any: the answer has been sent by then.
                let _ = tokio::time::timeout(linger.timeout, read_away(body, linger.bytes)).await;
            });
        }
    }
}

async fn read_away(mut body: Body, limit: u64) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, |data| data.len() as u64);
        if read > limit {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt as _, StreamExt as _};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const LINGER: Linger = Linger { bytes: 10, timeout: Duration::from_secs(2) };
    const TIMEOUT: Duration = Duration::from_secs(30);

    fn of_stream(stream: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static) -> ClientBody {
        ClientBody::new(Body::from_stream(stream), false, TIMEOUT, LINGER)
    }

    #[tokio::test]
    async fn pieces_come_one_at_a_time_even_if_all_are_ready() {
        let pieces = [Ok(Bytes::from_static(b"ab")), Ok(Bytes::new()), Ok(Bytes::from_static(b"c"))];
        let mut body = of_stream(futures_util::stream::iter(pieces));
        assert_eq!(body.next().now_or_never(), Some(Some(Ok(Bytes::from_static(b"ab")))));
        assert_eq!(body.next().now_or_never(), None);
        assert_eq!(body.next().await, Some(Ok(Bytes::from_static(b"c"))));
        assert_eq!(body.next().await, None);
        assert_eq!(body.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_an_error_only_while_the_body_is_awaited() {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
        let receiver = futures_util::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|piece| (Ok(piece), receiver))
        });
        let mut body = of_stream(Box::pin(receiver));
        sender.send(Bytes::from_static(b"a")).unwrap();
        assert_eq!(body.next().await, Some(Ok(Bytes::from_static(b"a"))));
        // Nobody asks for an hour: that is not the client's silence.
        tokio::time::advance(Duration::from_secs(3600)).await;
        sender.send(Bytes::from_static(b"b")).unwrap();
        assert_eq!(body.next().await, Some(Ok(Bytes::from_static(b"b"))));
        let asked = Instant::now();
        assert_eq!(body.next().await, Some(Err(SourceError::Stalled(TIMEOUT))));
        assert_eq!(asked.elapsed(), TIMEOUT);
        let failure = Failure::from(SourceError::Stalled(TIMEOUT));
        assert_eq!(
            (failure.code(), failure.detail()),
            (Code::ValidationError, "no byte of the body arrived for 30 seconds")
        );
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_a_client_gone() {
        let broken = futures_util::stream::iter([Ok(Bytes::from_static(b"a")), Err(std::io::Error::other("reset"))]);
        let mut body = of_stream(broken);
        assert_eq!(body.next().await, Some(Ok(Bytes::from_static(b"a"))));
        let error = body.next().await.unwrap().unwrap_err();
        assert!(matches!(&error, SourceError::Gone(cause) if cause.contains("reset")), "{error:?}");
        assert!(Failure::from(error).is_client_gone());
        assert_eq!(body.next().await, None);
    }

    /// An endless stream that counts how often it was asked.
    fn endless(asked: &Arc<AtomicUsize>) -> Body {
        let asked = Arc::clone(asked);
        Body::from_stream(futures_util::stream::repeat_with(move || {
            asked.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>(Bytes::from_static(b"1234"))
        }))
    }

    #[tokio::test]
    async fn a_refused_body_is_read_on_up_to_the_limit() {
        let asked = Arc::new(AtomicUsize::new(0));
        drop(ClientBody::new(endless(&asked), false, TIMEOUT, LINGER));
        while asked.load(Ordering::Relaxed) < 3 {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
        assert_eq!(asked.load(Ordering::Relaxed), 3, "10 bytes are exceeded by the third piece of 4");
    }

    #[tokio::test]
    async fn a_client_that_waits_to_be_told_is_not_told() {
        let asked = Arc::new(AtomicUsize::new(0));
        drop(ClientBody::new(endless(&asked), true, TIMEOUT, LINGER));
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(asked.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn the_size_is_known_if_the_client_said_it() {
        assert_eq!(ClientBody::new(Body::from("abc"), false, TIMEOUT, LINGER).size(), Some(3));
        assert_eq!(of_stream(futures_util::stream::empty()).size(), None);
    }
}
