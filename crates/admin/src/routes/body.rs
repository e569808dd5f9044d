//! Request bodies: read whole, within a limit of bytes and of time.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use std::time::Duration;

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// It has more bytes than the limit.
    TooLarge,
    /// It took too long.
    Stalled,
    /// The client went away.
    Broken,
}

/// Reads a body to its end: at most `limit` bytes, within `timeout`. A length that is declared to be beyond the limit is
/// refused before anything is read.
pub(crate) async fn read(body: Body, limit: usize, timeout: Duration) -> Result<Bytes, BodyError> {
    tokio::time::timeout(timeout, read_limited(body, limit)).await.map_err(|_| BodyError::Stalled)?
}

async fn read_limited(mut body: Body, limit: usize) -> Result<Bytes, BodyError> {
    if body.size_hint().lower() > limit as u64 {
        return Err(BodyError::TooLarge);
    }
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() {
            if data.len() > limit - read.len() {
                return Err(BodyError::TooLarge);
            }
            read.extend_from_slice(&data);
        }
    }
    Ok(read.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream::{self, StreamExt as _};

    const LIMIT: usize = 5;
    const TIMEOUT: Duration = Duration::from_secs(30);

    fn chunks(chunks: &[Result<&'static str, ()>]) -> Body {
        let chunks: Vec<_> = chunks.iter().map(|chunk| chunk.map_err(|()| std::io::Error::other("gone"))).collect();
        Body::from_stream(stream::iter(chunks))
    }

    #[tokio::test]
    async fn a_body_is_read_to_the_limit_and_not_beyond() {
        assert_eq!(read(Body::empty(), LIMIT, TIMEOUT).await.unwrap(), "");
        assert_eq!(read(Body::from("12345"), LIMIT, TIMEOUT).await.unwrap(), "12345");
        assert_eq!(read(chunks(&[Ok("123"), Ok("45")]), LIMIT, TIMEOUT).await.unwrap(), "12345");
        assert_eq!(read(Body::from("123456"), LIMIT, TIMEOUT).await, Err(BodyError::TooLarge));
        assert_eq!(read(chunks(&[Ok("123"), Ok("456")]), LIMIT, TIMEOUT).await, Err(BodyError::TooLarge));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_told_apart() {
        assert_eq!(read(chunks(&[Ok("1"), Err(())]), LIMIT, TIMEOUT).await, Err(BodyError::Broken));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_is_given_up() {
        let stalled = stream::iter([Ok::<_, std::io::Error>("1")]).chain(stream::pending());
        assert_eq!(read(Body::from_stream(stalled), LIMIT, TIMEOUT).await, Err(BodyError::Stalled));
    }
}
