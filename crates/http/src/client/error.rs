//! Why a request got no response.

use crate::metrics::RequestOutcome;
use artstore_tls::TlsError;

/// What kind of failure it was. The same classification decides the metric's label.
#[derive(Debug, Clone)]
pub enum ClientErrorKind {
    /// The host does not resolve.
    Dns,
    /// Refused, or unreachable.
    Connect,
    /// The TLS handshake failed, or the server refused our certificate after it (TLS 1.3 tells the client late).
    Tls(TlsError),
    /// A deadline passed: for connecting, for the head of the response, or for more of its body.
    Timeout,
    /// The connection was reset or ended, or what came is not HTTP.
    Transport,
    /// The host is at its limit of connections and none came free in time.
    PoolExhausted,
    /// The request cannot be sent: no absolute URI, another scheme, `https` without an identity to do it with.
    InvalidRequest,
    /// The request's own body gave an error, or fewer bytes than its length said: the fault is on the caller's side.
    RequestBody,
}

impl ClientErrorKind {
    /// The metric's label.
    #[must_use]
    pub const fn outcome(&self) -> RequestOutcome {
        match self {
            Self::Dns => RequestOutcome::Dns,
            Self::Connect => RequestOutcome::Connect,
            Self::Tls(_) => RequestOutcome::Tls,
            Self::Timeout => RequestOutcome::Timeout,
            Self::Transport => RequestOutcome::Transport,
            Self::PoolExhausted => RequestOutcome::PoolExhausted,
            Self::InvalidRequest => RequestOutcome::InvalidRequest,
            Self::RequestBody => RequestOutcome::RequestBody,
        }
    }
}

/// A request that got no response, or a response whose body broke off.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}: {detail}", kind.outcome())]
pub struct ClientError {
    kind: ClientErrorKind,
    request_written: bool,
    detail: String,
}

impl ClientError {
    /// An error of this kind. `request_written`: whether the server may have seen some of the request.
    #[must_use]
    pub fn new(kind: ClientErrorKind, request_written: bool, detail: impl Into<String>) -> Self {
        Self { kind, request_written, detail: detail.into() }
    }

    /// An error before anything was written.
    pub(crate) fn unsent(kind: ClientErrorKind, detail: impl Into<String>) -> Self {
        Self::new(kind, false, detail)
    }

    /// The server refused us in the handshake, however late we were told: no HTTP server saw the request.
    pub(crate) fn tls(error: TlsError) -> Self {
        let detail = error.to_string();
        Self::unsent(ClientErrorKind::Tls(error), detail)
    }

    /// What kind of failure it was.
    #[must_use]
    pub const fn kind(&self) -> &ClientErrorKind {
        &self.kind
    }

    /// Whether the server may have seen some of the request. Always `false` for `Dns`, `Connect`, `Tls`, `PoolExhausted` and
    /// `InvalidRequest`.
    #[must_use]
    pub const fn request_written(&self) -> bool {
        self.request_written
    }
}

/// An error and all of its causes, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some errors repeat their cause in their own text.
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
