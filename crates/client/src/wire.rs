//! What carries a request to the Ingester: a small seam over the pooled HTTP client, so that tests can stand in for the network.

use artstore_http::{Client, ClientError, ClientErrorKind};
use artstore_metrics::Clock;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use std::pin::Pin;

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The body of a request or of an answer.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;
/// A boxed future, so that [`Wire`] and [`TokenSource`](crate::TokenSource) can be trait objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Carries one request, with an absolute address, and gives back the answer's head and its body as it comes.
pub trait Wire: Send + Sync + 'static {
    /// Sends the request.
    fn send(&self, request: Request<Body>) -> BoxFuture<'_, Result<Response<Body>, WireError>>;
}

/// Where a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireErrorKind {
    /// The host has no address.
    Dns,
    /// No connection could be opened.
    Connect,
    /// One side refused the other's certificate, or they share no protocol.
    Tls,
    /// A deadline passed.
    Timeout,
    /// The connection broke.
    Transport,
    /// The request cannot be sent at all: a defect or a wrong setting.
    Invalid,
}

impl WireErrorKind {
    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::Connect | Self::Timeout | Self::Transport => true,
            Self::Dns | Self::Tls | Self::Invalid => false,
        }
    }
}

/// Why no answer came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct WireError {
    /// Where it failed.
    pub kind: WireErrorKind,
    /// What happened, for people.
    pub detail: String,
}

impl WireError {
    /// An error of this kind.
    pub fn new(kind: WireErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

impl<C: Clock> Wire for Client<C> {
    fn send(&self, request: Request<Body>) -> BoxFuture<'_, Result<Response<Body>, WireError>> {
        Box::pin(async move {
            let response = Self::send(self, request).await.map_err(|error| wire_error(&error))?;
            Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
        })
    }
}

fn wire_error(error: &ClientError) -> WireError {
    let kind = match error.kind() {
        ClientErrorKind::Dns => WireErrorKind::Dns,
        ClientErrorKind::Connect => WireErrorKind::Connect,
        ClientErrorKind::Tls(_) => WireErrorKind::Tls,
        ClientErrorKind::Timeout | ClientErrorKind::PoolExhausted => WireErrorKind::Timeout,
        ClientErrorKind::Transport | ClientErrorKind::RequestBody => WireErrorKind::Transport,
        ClientErrorKind::InvalidRequest => WireErrorKind::Invalid,
    };
    WireError::new(kind, error.to_string())
}

/// An empty body.
pub(crate) fn empty() -> Body {
    http_body_util::Empty::new().map_err(|never: std::convert::Infallible| match never {}).boxed_unsync()
}

/// An error and its causes in one line, each once.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    // rustls adds the address of a page of its manual.
    match text.split_once(": https://docs.rs/") {
        Some((said, _)) => said.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_time_may_heal_is_tried_again() {
        use WireErrorKind::{Connect, Dns, Invalid, Timeout, Tls, Transport};
        let retryable = [Connect, Timeout, Transport].map(WireErrorKind::is_retryable);
        assert_eq!(retryable, [true; 3]);
        assert_eq!([Dns, Tls, Invalid].map(WireErrorKind::is_retryable), [false; 3]);
    }

    #[test]
    fn a_chain_names_each_cause_once() {
        let inner = std::io::Error::other(WireError::new(WireErrorKind::Transport, "reset by peer"));
        assert_eq!(chain(&inner), "reset by peer");
        let manual = std::io::Error::other("peer closed: https://docs.rs/rustls/latest/unexpected-eof");
        assert_eq!(chain(&manual), "peer closed");
    }
}
