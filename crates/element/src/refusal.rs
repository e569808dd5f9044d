//! Every way in which an element says no, and the one classification that decides code, outcome and log level.

use crate::metrics::UploadOutcome;
use crate::room::NoRoom;
use crate::store::StoreError;
use artstore_api::file::InvalidAttribute;
use artstore_api::{Code, Problem};
use std::time::Duration;

/// Why a request was not done.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// There is no such upload or file.
    NotFound,
    /// Something in the request is wrong.
    Invalid(String),
    /// The offset, the lease or the state is another.
    Conflict(String),
    /// The element does not do this.
    Forbidden(&'static str),
    /// There is no room.
    Full {
        /// What is free.
        free_bytes: u64,
    },
    /// There are more bytes than this.
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The bytes are not those that the digest names.
    Mismatch {
        /// What was received.
        sha256: String,
    },
    /// The body stopped coming.
    Stalled(Duration),
    /// The connection broke, or a newer request took over.
    BrokenOff,
    /// There are as many uploads as may be.
    TooMany,
    /// The store failed.
    Failed(StoreError),
}

impl Refusal {
    /// How an upload ends that is refused for this.
    pub(crate) const fn outcome(&self) -> UploadOutcome {
        match self {
            Self::Full { .. } => UploadOutcome::StorageFull,
            Self::TooLarge { .. } => UploadOutcome::TooLarge,
            Self::Mismatch { .. } => UploadOutcome::ChecksumMismatch,
            Self::Stalled(_) | Self::BrokenOff => UploadOutcome::BrokenOff,
            Self::NotFound | Self::Invalid(_) | Self::Conflict(_) | Self::Forbidden(_) | Self::TooMany => {
                UploadOutcome::Refused
            }
            Self::Failed(_) => UploadOutcome::Failed,
        }
    }

    /// Whether an upload cannot be continued after this and is removed.
    pub(crate) const fn ends_upload(&self) -> bool {
        match self {
            Self::Full { .. } | Self::TooLarge { .. } | Self::Mismatch { .. } => true,
            Self::NotFound
            | Self::Invalid(_)
            | Self::Conflict(_)
            | Self::Forbidden(_)
            | Self::Stalled(_)
            | Self::BrokenOff
            | Self::TooMany
            | Self::Failed(_) => false,
        }
    }

    const fn code(&self) -> Code {
        match self {
            Self::NotFound => Code::NotFound,
            Self::Invalid(_) | Self::Stalled(_) | Self::BrokenOff => Code::ValidationError,
            Self::Conflict(_) => Code::Conflict,
            Self::Forbidden(_) => Code::Forbidden,
            Self::Full { .. } => Code::StorageFull,
            Self::TooLarge { .. } => Code::FileTooLarge,
            Self::Mismatch { .. } => Code::ChecksumMismatch,
            Self::TooMany => Code::RateLimited,
            Self::Failed(_) => Code::Internal,
        }
    }

    /// The document for the client. What failed inside goes to the log alone.
    pub(crate) fn problem(&self) -> Problem {
        let detail = match self {
            Self::NotFound => "there is no such upload or file".to_owned(),
            Self::Invalid(what) | Self::Conflict(what) => what.clone(),
            Self::Forbidden(what) => (*what).to_owned(),
            Self::Full { free_bytes } => format!("{free_bytes} bytes are free"),
            Self::TooLarge { limit } => format!("at most {limit} bytes are taken"),
            Self::Mismatch { sha256 } => format!("the bytes received have the SHA-256 {sha256}"),
            Self::Stalled(wait) => format!("no byte came for {} s", wait.as_secs()),
            Self::BrokenOff => "the body broke off".to_owned(),
            Self::TooMany => "as many uploads are open as may be; try again later".to_owned(),
            Self::Failed(error) => {
                tracing::error!(error = error as &dyn std::error::Error, "the store failed");
                "the store failed; the log says how".to_owned()
            }
        };
        Problem::new(self.code(), detail)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::NotFound,
            StoreError::Taken => Self::Conflict("the identifier is taken".to_owned()),
            StoreError::Full => Self::Full { free_bytes: 0 },
            StoreError::TooLarge { limit } => Self::TooLarge { limit },
            StoreError::Damaged { .. } | StoreError::Io(_) | StoreError::Service(_) => Self::Failed(error),
        }
    }
}

impl From<NoRoom> for Refusal {
    fn from(no_room: NoRoom) -> Self {
        Self::Full { free_bytes: no_room.free_bytes }
    }
}

impl From<InvalidAttribute> for Refusal {
    fn from(invalid: InvalidAttribute) -> Self {
        Self::Invalid(format!("{}: {}", invalid.field, invalid.message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_code_outcome_and_sentence() {
        use UploadOutcome as O;
        let cases = [
            (Refusal::NotFound, 404, O::Refused, "there is no such upload or file"),
            (Refusal::Invalid("x".into()), 400, O::Refused, "x"),
            (Refusal::Conflict("y".into()), 409, O::Refused, "y"),
            (Refusal::Forbidden("z"), 403, O::Refused, "z"),
            (NoRoom { free_bytes: 7 }.into(), 507, O::StorageFull, "7 bytes are free"),
            (StoreError::Full.into(), 507, O::StorageFull, "0 bytes are free"),
            (StoreError::TooLarge { limit: 5 }.into(), 413, O::TooLarge, "at most 5 bytes are taken"),
            (StoreError::Taken.into(), 409, O::Refused, "the identifier is taken"),
            (StoreError::NotFound.into(), 404, O::Refused, "there is no such upload or file"),
            (
                Refusal::Mismatch { sha256: "ab".into() },
                422,
                O::ChecksumMismatch,
                "the bytes received have the SHA-256 ab",
            ),
            (Refusal::Stalled(Duration::from_secs(30)), 400, O::BrokenOff, "no byte came for 30 s"),
            (Refusal::BrokenOff, 400, O::BrokenOff, "the body broke off"),
            (Refusal::TooMany, 429, O::Refused, "as many uploads are open as may be; try again later"),
            (
                StoreError::Io(std::io::Error::other("/secret/path")).into(),
                500,
                O::Failed,
                "the store failed; the log says how",
            ),
            (InvalidAttribute { field: "tags", message: "too many".into() }.into(), 400, O::Refused, "tags: too many"),
        ];
        for (refusal, status, outcome, detail) in cases {
            let problem = refusal.problem();
            assert_eq!((problem.status, problem.detail.as_str(), refusal.outcome()), (status, detail, outcome));
            assert_eq!(refusal.ends_upload(), matches!(status, 507 | 413 | 422), "{status}");
        }
    }
}
