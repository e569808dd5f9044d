//! How a request of the module's own API is refused: as a problem document.

use super::body::BodyError;
use crate::accounts::AccountError;
use crate::store::StoreError;
use artstore_api::Code;
use artstore_auth::Rejection;
use artstore_http::problem::ProblemResponse;
use axum::response::{IntoResponse, Response};
use http::header::WWW_AUTHENTICATE;

/// The answer instead of the one that was asked for.
#[derive(Debug)]
pub(crate) struct Refused(Box<ProblemResponse>);

impl Refused {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(ProblemResponse::new(code, detail)))
    }

    /// A field or a header is wrong.
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::ValidationError, detail)
    }

    /// The body was not read.
    pub(crate) fn body(error: BodyError, limit: usize) -> Self {
        match error {
            BodyError::TooLarge => Self::new(Code::FileTooLarge, format!("the body has more than {limit} bytes")),
            BodyError::Stalled => Self::invalid("the body took too long to arrive"),
            BodyError::Broken => Self::invalid("the body broke off"),
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        let code = match &rejection {
            Rejection::MissingToken | Rejection::InvalidToken(_) => Code::Unauthorized,
            Rejection::InsufficientScope { .. } => Code::Forbidden,
            Rejection::KeysUnavailable => Code::AdminUnavailable,
        };
        let response = ProblemResponse::new(code, rejection.to_string());
        Self(Box::new(match rejection.www_authenticate() {
            Some(challenge) => response.with_header(WWW_AUTHENTICATE, challenge),
            None => response,
        }))
    }
}

impl From<StoreError> for Refused {
    /// What went wrong is in the log; it is not the client's.
    fn from(_: StoreError) -> Self {
        Self::new(Code::Internal, "the database did not do what it was asked; try again later")
    }
}

impl From<AccountError> for Refused {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Invalid(text) => Self::invalid(text),
            AccountError::NotFound => Self::new(Code::NotFound, "there is no such account"),
            AccountError::Full => Self::new(Code::Conflict, error.to_string()),
            AccountError::Randomness(_) => Self::new(Code::Internal, error.to_string()),
            AccountError::Store(error) => error.into(),
        }
    }
}
