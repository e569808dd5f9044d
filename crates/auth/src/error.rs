//! What a caller who gets no token is told: kind, instance, and when it makes sense to ask again.

use crate::AuthErrorType;
use std::sync::Arc;
use std::time::Duration;

/// Why there is no token. It holds no secret and nothing that a peer sent, so it may be logged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {detail}{}", self.place())]
pub struct AuthError {
    kind: AuthErrorType,
    detail: Arc<str>,
    instance: Option<Arc<str>>,
    retry_after: Option<Duration>,
    closed: bool,
}

impl AuthError {
    pub(crate) fn new(kind: AuthErrorType, detail: impl Into<Arc<str>>) -> Self {
        Self { kind, detail: detail.into(), instance: None, retry_after: None, closed: false }
    }

    pub(crate) fn closed() -> Self {
        Self { closed: true, ..Self::new(AuthErrorType::Internal, "the token service is closed") }
    }

    pub(crate) fn at(mut self, instance: &str) -> Self {
        self.instance = Some(instance.into());
        self
    }

    pub(crate) fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }

    /// The kind, which is also the label `error_type`.
    #[must_use]
    pub const fn kind(&self) -> AuthErrorType {
        self.kind
    }

    /// What went wrong, in words of ours.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The instance that failed, as `scheme://host:port`.
    #[must_use]
    pub fn instance(&self) -> Option<&str> {
        self.instance.as_deref()
    }

    /// How long the issuer asked us to wait (`Retry-After`), counted from its answer.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether the service was closed: nothing failed, and nothing will succeed.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    fn place(&self) -> String {
        self.instance.as_ref().map(|instance| format!(" ({instance})")).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_kind_detail_and_place() {
        let error = AuthError::new(AuthErrorType::RateLimited, "the issuer answered 429")
            .at("https://admin:443")
            .with_retry_after(Some(Duration::from_secs(7)));
        assert_eq!(error.to_string(), "rate_limited: the issuer answered 429 (https://admin:443)");
        assert_eq!((error.kind(), error.retry_after()), (AuthErrorType::RateLimited, Some(Duration::from_secs(7))));
        assert_eq!((error.detail(), error.instance()), ("the issuer answered 429", Some("https://admin:443")));
        assert!(!error.is_closed());
        assert_eq!(AuthError::closed().to_string(), "internal: the token service is closed");
        assert!(AuthError::closed().is_closed());
    }
}
