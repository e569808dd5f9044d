//! Why a transfer failed: one classification that decides the words, the advice, whether to try again, and the exit code of a
//! command.

use crate::digest::Digest;
use crate::settings::InvalidUrl;
use crate::token::TokenError;
use crate::wire::{WireError, WireErrorKind};
use artstore_api::problem::{Code, Problem};
use artstore_api::{FileId, file::InvalidAttribute};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a transfer failed. The text says what and where; [`Error::advice`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file here cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Local {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The stream that was to be sent or written to broke.
    #[error("cannot {action}: {source}")]
    Stream {
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A file became longer or shorter while it was sent.
    #[error("{} changed while it was sent: it had {expected} bytes, now {found}", path.display())]
    SourceChanged {
        /// The file.
        path: PathBuf,
        /// Bytes at the start.
        expected: u64,
        /// Bytes found, at least.
        found: u64,
    },
    /// The file exists already.
    #[error("{} exists already", .0.display())]
    TargetExists(PathBuf),
    /// Another process is writing the partial file.
    #[error("{} is being written by another download", .0.display())]
    PartLocked(PathBuf),
    /// An address is not usable.
    #[error(transparent)]
    Url(#[from] InvalidUrl),
    /// An attribute breaks a limit; nothing was sent.
    #[error("{}: {}", .0.field, .0.message)]
    Attribute(InvalidAttribute),
    /// There is no token.
    #[error("no access token: {0}")]
    Token(#[from] TokenError),
    /// No answer came.
    #[error("no answer from {url}: {source}")]
    Wire {
        /// Who was asked.
        url: String,
        /// Why no answer came.
        source: WireError,
    },
    /// The server said no.
    #[error("{url} refused: {refusal}")]
    Refused {
        /// Who said no.
        url: String,
        /// What it said.
        refusal: Box<Refusal>,
    },
    /// The answer makes no sense.
    #[error("{url} answered what no Ingester should: {what}")]
    Unexpected {
        /// Who answered.
        url: String,
        /// What is wrong with it.
        what: String,
    },
    /// The bytes are not those that they should be.
    #[error("the bytes of {what} have SHA-256 {found}, not {expected}")]
    Checksum {
        /// Of what.
        what: String,
        /// What it should be.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// The bytes on this side are not those whose digest was announced; the server refused them.
    #[error("what was read from {what} has SHA-256 {found}, not the announced {announced}")]
    NotAnnounced {
        /// From what.
        what: String,
        /// What was announced.
        announced: Digest,
        /// What it is.
        found: Digest,
    },
    /// The server stored other bytes than were sent.
    #[error("file {file_id} was stored with SHA-256 {stored}, but what was sent has {sent}")]
    StoredDiffers {
        /// The file that was stored.
        file_id: FileId,
        /// What was sent.
        sent: Digest,
        /// What was stored.
        stored: String,
    },
    /// The stream broke after bytes had been taken from it or given to it, and it cannot start again.
    #[error("{source}; {moved} bytes of the stream had moved, so it cannot start again")]
    CannotRestart {
        /// Bytes that had moved.
        moved: u64,
        /// What broke.
        source: Box<Error>,
    },
}

/// What a server said instead of doing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// Its problem document, if it sent one.
    pub problem: Option<Problem>,
    /// The identifier of the request, for whoever reads the server's log.
    pub request_id: Option<String>,
    /// How long it asks to wait.
    pub retry_after: Option<Duration>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.problem {
            Some(problem) => {
                write!(f, "{} ({} {})", one_line(&problem.detail), self.status, problem.code.as_str())?;
            }
            None => write!(f, "HTTP status {}, without a problem document", self.status)?,
        }
        match &self.request_id {
            Some(id) => write!(f, " [request {id}]"),
            None => Ok(()),
        }
    }
}

/// A text of a server without what could disturb a terminal or a line.
fn one_line(text: &str) -> String {
    text.chars().take(500).map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// What kind of failure it is: each has an exit code of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Category {
    /// What was asked for makes no sense: an address, an attribute.
    Usage,
    /// A file or a stream on this side.
    Local,
    /// No way to the server, or none back.
    Network,
    /// One side refused the other's certificate.
    Tls,
    /// No token, or one that was refused.
    Authentication,
    /// There is no such file.
    NotFound,
    /// The server will not take this request, however often it is sent.
    Refused,
    /// The server cannot serve this request now.
    Unavailable,
    /// The bytes are not those that they should be.
    Integrity,
}

impl Category {
    /// The word in machine-readable output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Local => "local",
            Self::Network => "network",
            Self::Tls => "tls",
            Self::Authentication => "authentication",
            Self::NotFound => "not_found",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Integrity => "integrity",
        }
    }
}

impl Error {
    /// What kind of failure it is.
    #[must_use]
    pub fn category(&self) -> Category {
        match self {
            Self::Url(_) | Self::Attribute(_) => Category::Usage,
            Self::Local { .. }
            | Self::Stream { .. }
            | Self::SourceChanged { .. }
            | Self::TargetExists(_)
            | Self::PartLocked(_) => Category::Local,
            Self::Token(error) if error.refused => Category::Authentication,
            Self::Token(error) if error.kind == "tls" => Category::Tls,
            Self::Token(_) => Category::Network,
            Self::Wire { source, .. } => match source.kind {
                WireErrorKind::Tls => Category::Tls,
                WireErrorKind::Invalid => Category::Usage,
                WireErrorKind::Dns | WireErrorKind::Connect | WireErrorKind::Timeout | WireErrorKind::Transport => {
                    Category::Network
                }
            },
            Self::Refused { refusal, .. } => refusal.category(),
            Self::Unexpected { .. } => Category::Unavailable,
            Self::Checksum { .. } | Self::NotAnnounced { .. } | Self::StoredDiffers { .. } => Category::Integrity,
            Self::CannotRestart { source, .. } => source.category(),
        }
    }

    /// The server's stable code, if it sent one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { refusal, .. } => refusal.problem.as_ref().map(|problem| problem.code),
            Self::CannotRestart { source, .. } => source.code(),
            _ => None,
        }
    }

    /// Whether the same work may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Token(error) => error.retryable,
            Self::Wire { source, .. } => source.kind.is_retryable(),
            Self::Refused { refusal, .. } => refusal.is_retryable(),
            Self::Local { .. }
            | Self::Stream { .. }
            | Self::SourceChanged { .. }
            | Self::TargetExists(_)
            | Self::PartLocked(_)
            | Self::Url(_)
            | Self::Attribute(_)
            | Self::Unexpected { .. }
            | Self::Checksum { .. }
            | Self::NotAnnounced { .. }
            | Self::StoredDiffers { .. }
            | Self::CannotRestart { .. } => false,
        }
    }

    /// How long the server asks to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { refusal, .. } => refusal.retry_after,
            _ => None,
        }
    }

    /// Whether the server refused the token as such.
    pub(crate) fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Refused { refusal, .. } if refusal.status == 401)
    }

    /// Whether a request whose last byte was sent may have succeeded all the same: nobody answered, or only somebody on the way.
    pub(crate) fn leaves_outcome_open(&self) -> bool {
        match self {
            Self::Wire { .. } => true,
            Self::Refused { refusal, .. } => matches!(refusal.status, 502 | 504),
            _ => false,
        }
    }

    /// What to do about it, in one sentence.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Url(_) => "correct the address, for instance https://127.0.0.1:8020",
            Self::Attribute(_) => "correct the value and send again; nothing was sent",
            Self::Local { .. } | Self::Stream { .. } => "check the path, its permissions and the free space",
            Self::SourceChanged { .. } => "send it again once nothing writes to it any more",
            Self::TargetExists(_) => "choose another name, or ask to overwrite it",
            Self::PartLocked(_) => "wait for the other download, or choose another name",
            Self::Token(error) if error.kind == "invalid_scope" => "ask only for scopes that the account has",
            Self::Token(error) if error.kind == "tls" => wire_advice(WireErrorKind::Tls),
            Self::Token(error) if error.refused => "check the client id and its secret, and that the account is active",
            Self::Token(_) => "check that the Admin Module runs and that its address is right",
            Self::Wire { source, .. } => wire_advice(source.kind),
            Self::Refused { refusal, .. } => refusal.advice(),
            Self::Unexpected { .. } => {
                "check that the address is that of an Ingester, and that both sides are of one version"
            }
            Self::Checksum { .. } => "try again; if it stays so, tell the operator: the stored bytes are damaged",
            Self::NotAnnounced { .. } => {
                "check the given SHA-256, and that nothing writes to the source; nothing was stored"
            }
            Self::StoredDiffers { .. } => "delete that file and send it again",
            Self::CannotRestart { .. } => "run the whole pipeline again, or use a file, which can go on",
        }
    }
}

const fn wire_advice(kind: WireErrorKind) -> &'static str {
    match kind {
        WireErrorKind::Dns => "check the host name in the address",
        WireErrorKind::Connect => "check that the server runs and that the address and port are right",
        WireErrorKind::Tls => "check the CA certificate, and the client certificate and key if you give them",
        WireErrorKind::Timeout | WireErrorKind::Transport => "check the network and try again",
        WireErrorKind::Invalid => "correct the address",
    }
}

impl Refusal {
    fn category(&self) -> Category {
        match self.status {
            401 | 403 => Category::Authentication,
            404 => Category::NotFound,
            422 => Category::Integrity,
            408 | 429 | 500..=599 => Category::Unavailable,
            _ => Category::Refused,
        }
    }

    const fn is_retryable(&self) -> bool {
        matches!(self.status, 408 | 429 | 502 | 503 | 504)
    }

    fn advice(&self) -> &'static str {
        match (self.problem.as_ref().map(|problem| problem.code), self.status) {
            (Some(Code::StorageFull), _) | (_, 507) => "ask the operator for room, or delete what is no longer needed",
            (Some(Code::AdminUnavailable), _) => "try again later; the operator finds why in the Admin Module's state",
            (Some(Code::NoStorageAvailable), _) => "try again later, or with the other retention policy",
            (_, 400) => "correct the request",
            (_, 401) => "check that the account's tokens are meant for the Ingester",
            (_, 403) => "ask for an account whose scopes allow this",
            (_, 404) => "check the identifier; a temporary file may have expired",
            (_, 413) => "send a smaller file, or ask the operator for a higher limit",
            (_, 422) => "send it again; if it stays so, something on the way changes the bytes",
            (_, 429) => "wait, then try again",
            (_, 500) => "tell the operator, with the request identifier",
            _ => "try again later",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: Option<Code>) -> Error {
        let problem = code.map(|code| Problem::new(code, "7 bytes\nare free"));
        let refusal = Refusal { status, problem, request_id: Some("r-1".to_owned()), retry_after: None };
        Error::Refused { url: "https://i".to_owned(), refusal: Box::new(refusal) }
    }

    #[test]
    fn each_code_has_its_category_and_only_passing_troubles_are_tried_again() {
        use Category::{Authentication, Integrity, NotFound, Refused, Unavailable};
        let expected = [
            (Code::ValidationError, Refused, false),
            (Code::Unauthorized, Authentication, false),
            (Code::Forbidden, Authentication, false),
            (Code::NotFound, NotFound, false),
            (Code::Conflict, Refused, false),
            (Code::FileTooLarge, Refused, false),
            (Code::ChecksumMismatch, Integrity, false),
            (Code::RateLimited, Unavailable, true),
            (Code::Internal, Unavailable, false),
            (Code::AdminUnavailable, Unavailable, true),
            (Code::ElementUploadFailed, Unavailable, true),
            (Code::NoStorageAvailable, Unavailable, true),
            (Code::StorageFull, Unavailable, false),
        ];
        assert_eq!(expected.map(|(code, ..)| code), Code::ALL);
        for (code, category, retryable) in expected {
            let error = refused(code.status(), Some(code));
            assert_eq!((error.category(), error.is_retryable()), (category, retryable), "{code:?}");
            assert_eq!(error.code(), Some(code));
        }
    }

    #[test]
    fn a_refusal_is_one_line_with_status_code_and_request() {
        assert_eq!(
            refused(507, Some(Code::StorageFull)).to_string(),
            "https://i refused: 7 bytes are free (507 STORAGE_FULL) [request r-1]"
        );
        assert_eq!(
            refused(502, None).to_string(),
            "https://i refused: HTTP status 502, without a problem document [request r-1]"
        );
    }

    #[test]
    fn a_token_error_is_the_accounts_the_networks_or_tls_fault() {
        let error = |kind, refused| {
            Error::Token(TokenError { kind, detail: "d".to_owned(), refused, retryable: false }).category()
        };
        assert_eq!(error("invalid_client", true), Category::Authentication);
        assert_eq!(error("tls", false), Category::Tls);
        assert_eq!(error("timeout", false), Category::Network);
    }
}
