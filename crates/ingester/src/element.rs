//! What an Ingester asks of a Storage Element, request by request, and how refusals read.

use crate::digest::{Sha256, hex};
use crate::failure::Failure;
use crate::feed::Feed;
use crate::metrics::FailoverReason;
use crate::peer::{Answer, Ask, PeerError, Peers};
use crate::settings::IngesterSettings;
use crate::source::SourceError;
use artstore_api::file::{Attributes, FileId, FileRecord};
use artstore_api::upload::{
    CompleteUpload, CreateUpload, OFFSET_OCTET_STREAM, OneShot, UPLOAD_ATTRIBUTES, UPLOAD_LEASE, UPLOAD_OFFSET,
    UploadSession,
};
use artstore_api::{Code, Problem};
use artstore_http::ResponseBody;
use artstore_metrics::Clock;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::Stream;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use std::sync::Arc;

/// Why an element did not do what it was asked.
#[derive(Debug, Clone)]
pub(crate) enum ElementError {
    /// No usable answer.
    Peer(PeerError),
    /// It said no.
    Refused(Box<Refusal>),
}

/// An element's no.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) problem: Option<Problem>,
    pub(crate) cause: String,
}

impl From<PeerError> for ElementError {
    fn from(error: PeerError) -> Self {
        Self::Peer(error)
    }
}

impl From<Answer> for ElementError {
    fn from(answer: Answer) -> Self {
        let refusal = Refusal { status: answer.status, problem: answer.problem(), cause: answer.cause() };
        Self::Refused(Box::new(refusal))
    }
}

impl std::fmt::Display for ElementError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Peer(error) => error.fmt(f),
            Self::Refused(refusal) => f.write_str(&refusal.cause),
        }
    }
}

impl ElementError {
    /// Whether it said no with this status.
    pub(crate) fn is(&self, status: StatusCode) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.status == status)
    }

    /// Whether it may have done what it was asked without our knowing.
    pub(crate) const fn is_open(&self) -> bool {
        matches!(self, Self::Peer(PeerError::Unreachable { written: true, .. } | PeerError::Malformed(_)))
    }

    /// Whether nothing of what it was asked reached it.
    pub(crate) const fn is_unheard(&self) -> bool {
        matches!(self, Self::Peer(PeerError::Unreachable { written: false, .. }))
    }

    /// What the client is told.
    pub(crate) fn failure(&self) -> Failure {
        let (code, detail) = match self {
            Self::Peer(PeerError::NoToken(cause)) => return crate::directory::unavailable(cause),
            Self::Peer(PeerError::Unreachable { .. } | PeerError::TokenRefused | PeerError::Malformed(_)) => {
                (Code::ElementUploadFailed, None)
            }
            Self::Refused(refusal) => refusal.code(),
        };
        let detail = detail.unwrap_or_else(|| ordinary_detail(code).to_owned());
        Failure::new(code, detail).because(self)
    }

    /// Why the next candidate should be tried; none if it would say the same.
    pub(crate) fn failover(&self) -> Option<FailoverReason> {
        match self {
            Self::Peer(PeerError::NoToken(_)) => None,
            Self::Peer(PeerError::Unreachable { .. }) => Some(FailoverReason::Unreachable),
            Self::Peer(PeerError::TokenRefused | PeerError::Malformed(_)) => Some(FailoverReason::Refused),
            Self::Refused(refusal) => match refusal.code().0 {
                Code::StorageFull => Some(FailoverReason::Full),
                Code::ElementUploadFailed => Some(FailoverReason::Refused),
                _ => None,
            },
        }
    }
}

impl Refusal {
    /// What of an element's no concerns the client; the rest is between us and the element.
    fn code(&self) -> (Code, Option<String>) {
        let detail = self.problem.as_ref().map(|problem| problem.detail.clone());
        match self.status {
            StatusCode::BAD_REQUEST if self.problem.as_ref().is_some_and(|p| p.code == Code::ValidationError) => {
                (Code::ValidationError, detail)
            }
            StatusCode::PAYLOAD_TOO_LARGE => (Code::FileTooLarge, detail),
            StatusCode::UNPROCESSABLE_ENTITY => (Code::ChecksumMismatch, None),
            StatusCode::INSUFFICIENT_STORAGE => (Code::StorageFull, None),
            _ => (Code::ElementUploadFailed, None),
        }
    }
}

fn ordinary_detail(code: Code) -> &'static str {
    match code {
        Code::ChecksumMismatch => "the sha-256 of the bytes is not the one that the digest field names",
        Code::StorageFull => "no Storage Element has room for the file",
        Code::ElementUploadFailed => "the Storage Element refused or broke off; nothing is stored, try again",
        other => other.title(),
    }
}

/// The requests to elements. Clones share the connections.
#[derive(Clone)]
pub(crate) struct Elements<C: Clock> {
    peers: Peers<C>,
    settings: Arc<IngesterSettings>,
}

impl<C: Clock> Elements<C> {
    pub(crate) const fn new(peers: Peers<C>, settings: Arc<IngesterSettings>) -> Self {
        Self { peers, settings }
    }

    /// Opens a session.
    pub(crate) async fn create(&self, element: &str, create: &CreateUpload) -> Result<UploadSession, ElementError> {
        let ask = self.ask(Method::POST, element, "/api/v1/uploads").json(create)?;
        let answer = expect(self.peers.ask(&ask).await?, StatusCode::CREATED)?;
        let session: UploadSession = answer.json()?;
        if session.lease.is_none() || session.offset != 0 {
            return Err(PeerError::Malformed("a new session without a lease, or not at its start".to_owned()).into());
        }
        Ok(session)
    }

    /// Appends a body at `offset`; gives the new durable offset.
    pub(crate) async fn append<S>(
        &self,
        element: &str,
        id: FileId,
        lease: &HeaderValue,
        offset: u64,
        feed: Feed<S>,
    ) -> Result<u64, ElementError>
    where
        S: Stream<Item = Result<Bytes, SourceError>> + Unpin + Send + 'static,
    {
        let mut ask = self.ask(Method::PATCH, element, &format!("/api/v1/uploads/{id}"));
        ask.headers.insert(CONTENT_TYPE, HeaderValue::from_static(OFFSET_OCTET_STREAM));
        ask.headers.insert(UPLOAD_OFFSET, HeaderValue::from(offset));
        ask.headers.insert(UPLOAD_LEASE, lease.clone());
        ask.timeout = self.settings.element_stall_timeout;
        let answer = self.peers.stream(&ask, artstore_http::body::boxed(feed)).await?;
        if !answer.status.is_success() {
            return Err(answer.into());
        }
        let offset = answer.headers.get(UPLOAD_OFFSET).and_then(|offset| offset.to_str().ok()?.parse().ok());
        Ok(offset.ok_or_else(|| PeerError::Malformed("a PATCH was answered without an offset".to_owned()))?)
    }

    /// Verifies and publishes a session.
    pub(crate) async fn complete(
        &self,
        element: &str,
        id: FileId,
        lease: &HeaderValue,
        complete: &CompleteUpload,
    ) -> Result<FileRecord, ElementError> {
        let mut ask = self.ask(Method::POST, element, &format!("/api/v1/uploads/{id}/complete")).json(complete)?;
        ask.headers.insert(UPLOAD_LEASE, lease.clone());
        ask.timeout = self.settings.publish_timeout;
        let answer = self.peers.ask(&ask).await?;
        if !answer.status.is_success() {
            return Err(answer.into());
        }
        Ok(answer.json()?)
    }

    /// Stores a file whose bytes are all here, with one request.
    pub(crate) async fn put(
        &self,
        element: &str,
        id: FileId,
        attributes: &Attributes,
        sha256: Option<&Sha256>,
        bytes: Bytes,
    ) -> Result<FileRecord, ElementError> {
        let one_shot = OneShot { attributes: attributes.clone(), sha256: sha256.map(hex) };
        let json = serde_json::to_vec(&one_shot).map_err(|error| PeerError::Malformed(error.to_string()))?;
        let mut ask = self
            .ask(Method::PUT, element, &format!("/api/v1/files/{id}"))
            .header(UPLOAD_ATTRIBUTES, &URL_SAFE_NO_PAD.encode(json))?;
        ask.headers.insert(CONTENT_TYPE, HeaderValue::from_static(crate::fields::DEFAULT_CONTENT_TYPE));
        ask.body = bytes;
        ask.timeout = self.settings.publish_timeout;
        let answer = self.peers.ask(&ask).await?;
        if !answer.status.is_success() {
            return Err(answer.into());
        }
        Ok(answer.json()?)
    }

    /// Gives a session up; true if the element has none of this name any more.
    pub(crate) async fn abandon(&self, element: &str, id: FileId, lease: &HeaderValue) -> Result<bool, ElementError> {
        let mut ask = self.ask(Method::DELETE, element, &format!("/api/v1/uploads/{id}"));
        ask.headers.insert(UPLOAD_LEASE, lease.clone());
        let status = self.peers.ask(&ask).await?.status;
        Ok(status.is_success() || matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE))
    }

    /// The record of a published file, if the element has it.
    pub(crate) async fn record(&self, element: &str, id: FileId) -> Result<Option<FileRecord>, ElementError> {
        let answer = self.peers.ask(&self.ask(Method::GET, element, &format!("/api/v1/files/{id}/record"))).await?;
        match answer.status {
            StatusCode::OK => Ok(Some(answer.json()?)),
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
            _ => Err(answer.into()),
        }
    }

    /// Deletes a published file; the answer as it is.
    pub(crate) async fn delete(&self, element: &str, id: FileId) -> Result<Answer, ElementError> {
        Ok(self.peers.ask(&self.ask(Method::DELETE, element, &format!("/api/v1/files/{id}"))).await?)
    }

    /// The content of a published file: the answer with its body still to be read.
    pub(crate) async fn content(
        &self,
        element: &str,
        id: FileId,
        method: Method,
        headers: HeaderMap,
    ) -> Result<Response<ResponseBody>, ElementError> {
        let mut ask = self.ask(method, element, &format!("/api/v1/files/{id}"));
        ask.headers = headers;
        Ok(self.peers.fetch(&ask).await?)
    }

    fn ask(&self, method: Method, element: &str, path: &str) -> Ask {
        Ask::new(method, url(element, path), self.settings.request_timeout)
    }
}

fn expect(answer: Answer, status: StatusCode) -> Result<Answer, ElementError> {
    if answer.status == status { Ok(answer) } else { Err(answer.into()) }
}

fn url(base: &str, path: &str) -> String {
    format!("{}{path}", base.trim_end_matches('/'))
}
