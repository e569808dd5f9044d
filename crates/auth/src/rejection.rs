//! From a request's headers to the claims of its bearer, or to the answer that RFC 6750 wants.

use crate::{Claims, TokenVerifier, VerifyError};
use artstore_metrics::Clock;
use http::{HeaderMap, HeaderValue, StatusCode, header};

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// There is no bearer token.
    #[error("a bearer token is required")]
    MissingToken,
    /// The token is not valid here.
    #[error("the access token is not valid: {0}")]
    InvalidToken(VerifyError),
    /// The token does not allow this.
    #[error("the access token lacks the scope {scope}")]
    InsufficientScope {
        /// What it would have to allow.
        scope: String,
    },
    /// The token could not be checked because the issuer's keys are not there.
    #[error("the issuer's keys cannot be fetched, so that no token can be checked")]
    KeysUnavailable,
}

impl Rejection {
    /// The status of the answer: 401, 403, or 502 when the issuer is the reason.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::MissingToken | Self::InvalidToken(_) => StatusCode::UNAUTHORIZED,
            Self::InsufficientScope { .. } => StatusCode::FORBIDDEN,
            Self::KeysUnavailable => StatusCode::BAD_GATEWAY,
        }
    }

    /// The `WWW-Authenticate` header of the answer, if it has one.
    #[must_use]
    pub fn www_authenticate(&self) -> Option<HeaderValue> {
        self.challenge("artstore")
    }

    /// The same for a realm of this name, which has neither quotes nor backslashes.
    #[must_use]
    pub fn challenge(&self, realm: &str) -> Option<HeaderValue> {
        let challenge = match self {
            Self::MissingToken => format!("Bearer realm=\"{realm}\""),
            Self::InvalidToken(error) => {
                format!("Bearer realm=\"{realm}\", error=\"invalid_token\", error_description=\"{error}\"")
            }
            Self::InsufficientScope { scope } => {
                format!("Bearer realm=\"{realm}\", error=\"insufficient_scope\", scope=\"{scope}\"")
            }
            Self::KeysUnavailable => return None,
        };
        HeaderValue::try_from(challenge).ok()
    }
}

impl From<VerifyError> for Rejection {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::KeysUnavailable => Self::KeysUnavailable,
            other => Self::InvalidToken(other),
        }
    }
}

/// The token of the one `Authorization: Bearer` header; the scheme's case does not matter.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

impl<C: Clock> TokenVerifier<C> {
    /// The claims of a request's bearer, if its token allows `scope`. A token that is bound to a client certificate is refused.
    ///
    /// # Errors
    /// With what to answer.
    pub async fn authenticate(&self, headers: &HeaderMap, scope: &str) -> Result<Claims, Rejection> {
        self.authenticate_over(headers, scope, None).await
    }

    /// As [`authenticate`](Self::authenticate), over a connection on which the client showed the certificate with this SHA-256
    /// fingerprint: a token that is bound to a certificate must be bound to this one (RFC 8705).
    ///
    /// # Errors
    /// With what to answer.
    pub async fn authenticate_over(
        &self,
        headers: &HeaderMap,
        scope: &str,
        certificate: Option<&[u8; 32]>,
    ) -> Result<Claims, Rejection> {
        let token = bearer(headers).ok_or(Rejection::MissingToken)?;
        let claims = self.verify(token).await?;
        if claims.certificate.is_some() && claims.certificate.as_ref() != certificate {
            return Err(VerifyError::Certificate.into());
        }
        if claims.has_scope(scope) { Ok(claims) } else { Err(Rejection::InsufficientScope { scope: scope.to_owned() }) }
    }
}
