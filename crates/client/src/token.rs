//! Who asks: the token of each request, behind a small trait that `AuthService` fulfils.

use crate::wire::BoxFuture;
use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};

/// The token of one request.
#[derive(Clone)]
pub struct Bearer {
    /// The `Authorization` header, marked sensitive.
    pub authorization: HeaderValue,
    /// Which token it is, for [`TokenSource::invalidate`].
    pub generation: u64,
}

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bearer").field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// Gives tokens, and takes back those that a server refused.
pub trait TokenSource: Send + Sync + 'static {
    /// A token that is usable now.
    fn token(&self) -> BoxFuture<'_, Result<Bearer, TokenError>>;

    /// The server refused the token of this generation: the next one must be new.
    fn invalidate(&self, generation: u64);

    /// The server refused a new token as well.
    fn rejected(&self, generation: u64);
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct TokenError {
    /// The stable word of the metric label `error_type`, for instance `invalid_client`.
    pub kind: &'static str,
    /// What happened, for people.
    pub detail: String,
    /// Whether the account or its secret is at fault, not the way to the Admin Module.
    pub refused: bool,
    /// Whether a later attempt may succeed.
    pub retryable: bool,
}

/// One token, given beforehand: for callers that got theirs elsewhere.
pub struct FixedToken(SecretString);

impl FixedToken {
    /// This token for every request.
    #[must_use]
    pub const fn new(token: SecretString) -> Self {
        Self(token)
    }
}

impl std::fmt::Debug for FixedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FixedToken")
    }
}

impl TokenSource for FixedToken {
    fn token(&self) -> BoxFuture<'_, Result<Bearer, TokenError>> {
        let header = HeaderValue::try_from(format!("Bearer {}", self.0.expose_secret()));
        let bearer = header
            .map(|mut authorization| {
                authorization.set_sensitive(true);
                Bearer { authorization, generation: 0 }
            })
            .map_err(|_| TokenError {
                kind: "internal",
                detail: "the given token holds characters that no header may carry".to_owned(),
                refused: true,
                retryable: false,
            });
        Box::pin(std::future::ready(bearer))
    }

    fn invalidate(&self, _generation: u64) {}

    fn rejected(&self, _generation: u64) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fixed_token_is_sensitive_and_never_shown() {
        let source = FixedToken::new("canary-token".to_owned().into());
        let bearer = source.token().await.unwrap();
        assert_eq!(bearer.authorization, "Bearer canary-token");
        assert!(bearer.authorization.is_sensitive());
        assert_eq!(format!("{source:?} {bearer:?}"), "FixedToken Bearer { generation: 0, .. }");
    }

    #[tokio::test]
    async fn a_token_with_a_line_break_is_refused() {
        let refused = FixedToken::new("a\r\nX: y".to_owned().into()).token().await.unwrap_err();
        assert_eq!(refused.detail, "the given token holds characters that no header may carry");
    }
}
