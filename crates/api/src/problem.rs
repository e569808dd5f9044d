//! How every module says no: RFC 9457 problem documents with a stable code.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The media type of a problem document.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// The stable code of an error; the status follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// 400: a field or a header is wrong.
    ValidationError,
    /// 401: no token, or one that is not valid here.
    Unauthorized,
    /// 403: the token does not allow this.
    Forbidden,
    /// 404: there is no such thing.
    NotFound,
    /// 409: the offset, the lease or the state is another.
    Conflict,
    /// 413: more bytes than the limit.
    FileTooLarge,
    /// 422: the bytes are not those that the digest names.
    ChecksumMismatch,
    /// 429: too many requests.
    RateLimited,
    /// 500: a defect.
    Internal,
    /// 502: the Admin Module gave no token or no list, and none is cached.
    AdminUnavailable,
    /// 502: the Storage Element refused or broke off.
    ElementUploadFailed,
    /// 503: no element takes files of this policy.
    NoStorageAvailable,
    /// 507: the element is full.
    StorageFull,
}

impl Code {
    /// All codes.
    pub const ALL: [Self; 13] = [
        Self::ValidationError,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::FileTooLarge,
        Self::ChecksumMismatch,
        Self::RateLimited,
        Self::Internal,
        Self::AdminUnavailable,
        Self::ElementUploadFailed,
        Self::NoStorageAvailable,
        Self::StorageFull,
    ];

    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::ValidationError => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::FileTooLarge => 413,
            Self::ChecksumMismatch => 422,
            Self::RateLimited => 429,
            Self::Internal => 500,
            Self::AdminUnavailable | Self::ElementUploadFailed => 502,
            Self::NoStorageAvailable => 503,
            Self::StorageFull => 507,
        }
    }

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ValidationError => "VALIDATION_ERROR",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Forbidden => "FORBIDDEN",
            Self::NotFound => "NOT_FOUND",
            Self::Conflict => "CONFLICT",
            Self::FileTooLarge => "FILE_TOO_LARGE",
            Self::ChecksumMismatch => "CHECKSUM_MISMATCH",
            Self::RateLimited => "RATE_LIMITED",
            Self::Internal => "INTERNAL",
            Self::AdminUnavailable => "ADMIN_UNAVAILABLE",
            Self::ElementUploadFailed => "ELEMENT_UPLOAD_FAILED",
            Self::NoStorageAvailable => "NO_STORAGE_AVAILABLE",
            Self::StorageFull => "STORAGE_FULL",
        }
    }

    /// The title: the same for every problem of this code.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::ValidationError => "The request is not valid",
            Self::Unauthorized => "A valid access token is required",
            Self::Forbidden => "The access token does not allow this",
            Self::NotFound => "Not found",
            Self::Conflict => "The state is another",
            Self::FileTooLarge => "The file is too large",
            Self::ChecksumMismatch => "The bytes do not match the digest",
            Self::RateLimited => "Too many requests",
            Self::Internal => "Internal error",
            Self::AdminUnavailable => "The Admin Module cannot be reached",
            Self::ElementUploadFailed => "The Storage Element did not take the file",
            Self::NoStorageAvailable => "No Storage Element takes files of this policy",
            Self::StorageFull => "The Storage Element is full",
        }
    }
}

/// A problem document (RFC 9457). `detail` is for the client: it never holds a secret, a path of ours or a peer's address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `about:blank`: the code says what kind it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code's title.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request and what to do.
    pub detail: String,
    /// The stable code.
    pub code: Code,
    /// The identifier of the request, as in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Problem {
    /// A problem of this code, with a sentence for the client.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            code,
            request_id: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_on_the_wire_as_they_say() {
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }

    #[test]
    fn a_problem_names_its_type_status_and_code() {
        let json = serde_json::to_value(Problem::new(Code::StorageFull, "7 bytes are free")).unwrap();
        let expected = serde_json::json!({
            "type": "about:blank", "title": "The Storage Element is full", "status": 507,
            "detail": "7 bytes are free", "code": "STORAGE_FULL"
        });
        assert_eq!(json, expected);
    }
}
