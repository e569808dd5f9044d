//! Why a request is not served: one code decides status, label, outcome and log level.

use artstore_api::file::InvalidAttribute;
use artstore_api::{Code, Problem};
use http::{HeaderName, HeaderValue};

/// A request that is not served. `detail` is for the client; `cause` is for the log alone.
#[derive(Debug, Clone)]
pub struct Failure(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    code: Code,
    detail: String,
    cause: Option<String>,
    header: Option<(HeaderName, HeaderValue)>,
    client_gone: bool,
}

impl Failure {
    /// A failure of this code, with a sentence for the client.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner { code, detail: detail.into(), cause: None, header: None, client_gone: false }))
    }

    /// A field or a header is wrong.
    #[must_use]
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::ValidationError, detail)
    }

    /// The client broke its request off: nobody reads the answer, and the upload counts as cancelled.
    #[must_use]
    pub fn client_gone() -> Self {
        let detail = "the body ended before it was complete";
        let mut failure = Self::new(Code::ValidationError, detail);
        failure.0.client_gone = true;
        failure
    }

    /// The same failure with what the log should say beside it.
    #[must_use]
    pub fn because(mut self, cause: impl std::fmt::Display) -> Self {
        self.0.cause = Some(cause.to_string());
        self
    }

    /// The same failure with a header of its answer.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.header = Some((name, value));
        self
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The sentence for the client.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// What the log should say beside the detail.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// The header of its answer, if it has one.
    #[must_use]
    pub fn header(&self) -> Option<&(HeaderName, HeaderValue)> {
        self.0.header.as_ref()
    }

    /// Whether the client broke off.
    #[must_use]
    pub fn is_client_gone(&self) -> bool {
        self.0.client_gone
    }

    /// Whether we or what stands behind us failed, not the client.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.0.code.status() >= 500
    }

    /// The problem document.
    #[must_use]
    pub fn problem(&self) -> Problem {
        Problem::new(self.0.code, self.0.detail.clone())
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.0.code.as_str(), self.0.detail)?;
        self.0.cause.as_ref().map_or(Ok(()), |cause| write!(f, " ({cause})"))
    }
}

impl std::error::Error for Failure {}

impl From<InvalidAttribute> for Failure {
    fn from(invalid: InvalidAttribute) -> Self {
        Self::invalid(invalid.message)
    }
}
