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
