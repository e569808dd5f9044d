//! The body of an outgoing request, and the ways to make one.

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Any error, as bodies carry it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an outgoing request.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A body without bytes.
#[must_use]
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that is these bytes.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body whose bytes come from a stream. It is polled only while the connection takes more, so the stream feels
/// back-pressure; without a `Content-Length` header it is sent chunked.
#[must_use]
pub fn stream<S, E>(stream: S) -> Body
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Into<BoxError> + 'static,
{
    StreamBody::new(stream.map(|chunk| chunk.map(Frame::data).map_err(Into::into))).boxed_unsync()
}

/// As [`stream`], with a length that is known: it becomes the `Content-Length`. A stream that ends short of it fails the request.
#[must_use]
pub fn sized_stream<S, E>(length: u64, stream: S) -> Body
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Into<BoxError> + 'static,
{
    Sized { inner: self::stream(stream), left: length }.boxed_unsync()
}

/// Any other body, with its error boxed.
#[must_use]
pub fn boxed<B>(body: B) -> Body
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError> + 'static,
{
    body.map_err(Into::into).boxed_unsync()
}

/// hyper takes no smaller buffer.
const BUFFER_MIN: usize = 8 * 1024;

/// The buffer of a connection: as configured, but never too small for a head.
pub(crate) fn buffer_bytes(configured: usize, head: usize) -> usize {
    configured.max(head).max(BUFFER_MIN)
}

/// A body with an exact size hint.
struct Sized {
    inner: Body,
    left: u64,
}

impl HttpBody for Sized {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.left = self.left.saturating_sub(data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream::iter;

    fn chunks() -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
        iter([Ok(Bytes::from_static(b"ab")), Ok(Bytes::from_static(b"cde"))])
    }

    #[tokio::test]
    async fn every_constructor_gives_its_bytes_and_its_size() {
        assert_eq!(empty().collect().await.unwrap().to_bytes(), "");
        assert_eq!(full("abc").size_hint().exact(), Some(3));
        assert_eq!(full("abc").collect().await.unwrap().to_bytes(), "abc");
        assert_eq!(stream(chunks()).size_hint().exact(), None);
        assert_eq!(stream(chunks()).collect().await.unwrap().to_bytes(), "abcde");
        assert_eq!(boxed(Full::new(Bytes::from("x"))).collect().await.unwrap().to_bytes(), "x");
    }

    #[tokio::test]
    async fn a_sized_stream_counts_down_to_its_end() {
        let mut body = sized_stream(5, chunks());
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(5), false));
        body.frame().await.unwrap().unwrap();
        assert_eq!(body.size_hint().exact(), Some(3));
        body.frame().await.unwrap().unwrap();
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(0), true));
    }

    #[test]
    fn a_buffer_holds_at_least_a_head() {
        assert_eq!([buffer_bytes(0, 1), buffer_bytes(1, 65_536), buffer_bytes(131_072, 1)], [8_192, 65_536, 131_072]);
    }

    #[tokio::test]
    async fn a_stream_that_fails_fails_the_body() {
        let failing = iter([Err::<Bytes, _>(std::io::Error::other("the disk is gone"))]);
        let error = stream(failing).collect().await.unwrap_err();
        assert_eq!(error.to_string(), "the disk is gone");
    }
}
