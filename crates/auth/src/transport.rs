//! How requests leave this crate: a boxed `tower::Service`, its body, its error, and bounded reading of answers.

use crate::AuthErrorType;
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer.
pub type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;

/// Whatever sends requests with absolute URLs: the pooled client of `artstore-http`, or a test's script.
pub type Transport =
    tower::util::BoxCloneSyncService<http::Request<RequestBody>, http::Response<ResponseBody>, TransportError>;

/// A request's body: one piece of bytes that tells when the connection begins to take it.
///
/// A transport that polls it has written the request's head, so that the time of an exchange starts there and a time-out
/// before it is known to have sent nothing.
pub struct RequestBody {
    data: Option<Bytes>,
    on_first_poll: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl RequestBody {
    pub(crate) fn new(data: Bytes, on_first_poll: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self { data: Some(data).filter(|data| !data.is_empty()), on_first_poll: Some(Box::new(on_first_poll)) }
    }

    pub(crate) fn empty() -> Self {
        Self { data: None, on_first_poll: None }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(tell) = self.on_first_poll.take() {
            tell();
        }
        Poll::Ready(self.data.take().map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}

impl std::fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The data holds the secret in the original's form.
        f.debug_struct("RequestBody").finish_non_exhaustive()
    }
}

/// Why a request got no answer, or an answer's body broke off.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct TransportError {
    /// One of `dns`, `connect`, `tls`, `timeout`, `transport`, `internal`.
    pub kind: AuthErrorType,
    /// Whether anything of the request was written.
    pub request_written: bool,
    /// What went wrong, for the log.
    pub detail: String,
}

impl TransportError {
    /// An error of this kind.
    #[must_use]
    pub fn new(kind: AuthErrorType, request_written: bool, detail: impl Into<String>) -> Self {
        Self { kind, request_written, detail: detail.into() }
    }
}

/// Reads a body to its end, up to `limit` bytes; `Ok(None)` if it has more.
///
/// # Errors
/// If the body breaks off; a [`TransportError`] inside the body's error is passed on as it is.
pub async fn read_limited(mut body: ResponseBody, limit: usize) -> Result<Option<Bytes>, TransportError> {
    let mut read = BytesMut::new();
    if body.size_hint().lower() > limit as u64 {
        return Ok(None);
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| match error.downcast::<TransportError>() {
            Ok(error) => *error,
            Err(_) => TransportError::new(AuthErrorType::Transport, true, "the answer broke off"),
        })?;
        if let Ok(data) = frame.into_data() {
            if data.len() > limit - read.len() {
                return Ok(None);
            }
            read.extend_from_slice(&data);
        }
    }
    Ok(Some(read.freeze()))
}
