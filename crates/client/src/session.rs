//! One address, one wire, one token source: sends a request with a token, once more with a new one after a 401, and reads the
//! documents that come back, within their limits.

use crate::error::{Error, Refusal};
use crate::settings::{BaseUrl, Limits};
use crate::token::{Bearer, TokenSource};
use crate::wire::{Body, Wire, WireError, WireErrorKind, chain, empty};
use artstore_api::problem::Problem;
use artstore_api::{FileId, FileRecord};
use bytes::{Bytes, BytesMut};
use http::request::Builder;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use std::sync::Arc;
use std::time::Duration;

/// A way to one Ingester, shared by uploads and downloads.
#[derive(Clone)]
pub struct Session {
    base: BaseUrl,
    wire: Arc<dyn Wire>,
    tokens: Arc<dyn TokenSource>,
    limits: Limits,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("base", &self.base).field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Session {
    /// A session with the Ingester at `base`.
    pub fn new(base: BaseUrl, wire: impl Wire, tokens: impl TokenSource, limits: Limits) -> Self {
        Self { base, wire: Arc::new(wire), tokens: Arc::new(tokens), limits }
    }

    /// Where the Ingester is.
    #[must_use]
    pub const fn base(&self) -> &BaseUrl {
        &self.base
    }

    /// The limits.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The record of a file.
    ///
    /// # Errors
    /// See [`Error`]; a file that is not there is [`Error::Refused`] with `NOT_FOUND`.
    pub async fn record(&self, id: FileId) -> Result<FileRecord, Error> {
        let path = format!("/api/v1/files/{id}");
        let response = self.get(&path, |builder| builder.header(header::ACCEPT, "application/json")).await?;
        let url = self.url(&path);
        if response.status() != StatusCode::OK {
            return Err(self.refusal(url, response).await);
        }
        let record: FileRecord = self.document(&url, response).await?;
        if record.file_id != id {
            return Err(Error::Unexpected { url, what: format!("a record of file {}", record.file_id) });
        }
        Ok(record)
    }

    /// Deletes a temporary file.
    ///
    /// # Errors
    /// See [`Error`]; a file that is not there is [`Error::Refused`] with `NOT_FOUND`.
    pub async fn delete(&self, id: FileId) -> Result<(), Error> {
        let path = format!("/api/v1/files/{id}");
        let response = self.ask(Method::DELETE, &path, |builder| builder).await?;
        if response.status() != StatusCode::NO_CONTENT {
            return Err(self.refusal(self.url(&path), response).await);
        }
        Ok(())
    }

    /// The absolute address of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base.as_str())
    }

    /// A token for the next request.
    pub(crate) async fn bearer(&self) -> Result<Bearer, Error> {
        Ok(self.tokens.token().await?)
    }

    /// The server refused this token: the next one must be new.
    pub(crate) fn invalidate(&self, bearer: &Bearer) {
        self.tokens.invalidate(bearer.generation);
    }

    /// The server refused a new token as well.
    pub(crate) fn rejected(&self, bearer: &Bearer) {
        self.tokens.rejected(bearer.generation);
    }

    /// A `GET`, as [`ask`](Self::ask).
    pub(crate) async fn get(
        &self,
        path: &str,
        headers: impl Fn(Builder) -> Builder + Send,
    ) -> Result<Response<Body>, Error> {
        self.ask(Method::GET, path, headers).await
    }

    /// A request without a body, repeated once with a new token after a 401. Any answer but that second 401 is handed back as
    /// it is.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: impl Fn(Builder) -> Builder + Send,
    ) -> Result<Response<Body>, Error> {
        let mut renewed = false;
        loop {
            let bearer = self.bearer().await?;
            let builder = Request::builder()
                .method(method.clone())
                .uri(self.url(path))
                .header(header::AUTHORIZATION, bearer.authorization.clone());
            let request = self.build(path, headers(builder), empty())?;
            let response = self.send(path, request).await?;
            if response.status() != StatusCode::UNAUTHORIZED {
                return Ok(response);
            }
            if renewed {
                self.rejected(&bearer);
                return Err(self.refusal(self.url(path), response).await);
            }
            self.invalidate(&bearer);
            renewed = true;
        }
    }

    /// Finishes a request.
    pub(crate) fn build(&self, path: &str, builder: Builder, body: Body) -> Result<Request<Body>, Error> {
        // The session's own limits are the ones that decide.
        let patience = artstore_http::ResponseTimeout(self.limits.stall.max(self.limits.answer).saturating_mul(2));
        let request = builder.extension(patience).body(body);
        request.map_err(|error| self.wire_error(path, WireErrorKind::Invalid, error.to_string()))
    }

    /// Sends a request and waits for the answer's head, at most as long as an answer may take.
    async fn send(&self, path: &str, request: Request<Body>) -> Result<Response<Body>, Error> {
        let answer = tokio::time::timeout(self.limits.answer, self.wire.send(request)).await;
        match answer {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(source)) => Err(Error::Wire { url: self.url(path), source }),
            Err(_) => {
                let detail = format!("no answer within {}", seconds(self.limits.answer));
                Err(self.wire_error(path, WireErrorKind::Timeout, detail))
            }
        }
    }

    /// Sends a request without a limit of time: the caller watches it.
    pub(crate) async fn send_watched(&self, path: &str, request: Request<Body>) -> Result<Response<Body>, Error> {
        self.wire.send(request).await.map_err(|source| Error::Wire { url: self.url(path), source })
    }

    /// An error of the wire on the way to `path`.
    pub(crate) fn wire_error(&self, path: &str, kind: WireErrorKind, detail: String) -> Error {
        Error::Wire { url: self.url(path), source: WireError::new(kind, detail) }
    }

    /// The next piece of a body; a stalled or broken one is an error of the wire. Trailers are skipped.
    pub(crate) async fn next_piece(&self, path: &str, body: &mut Body) -> Result<Option<Bytes>, Error> {
        loop {
            let frame = tokio::time::timeout(self.limits.stall, body.frame()).await;
            match frame {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => return Ok(Some(data)),
                    Err(_trailers) => {}
                },
                Ok(Some(Err(error))) => {
                    return Err(self.wire_error(path, WireErrorKind::Transport, chain(error.as_ref())));
                }
                Err(_) => {
                    let detail = format!("nothing came for {}", seconds(self.limits.stall));
                    return Err(self.wire_error(path, WireErrorKind::Timeout, detail));
                }
            }
        }
    }

    /// Reads a JSON document.
    pub(crate) async fn document<T: serde::de::DeserializeOwned>(
        &self,
        url: &str,
        response: Response<Body>,
    ) -> Result<T, Error> {
        let bytes = self.read_document(url, response.into_body()).await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::Unexpected { url: url.to_owned(), what: format!("no valid document: {error}") })
    }

    async fn read_document(&self, url: &str, mut body: Body) -> Result<BytesMut, Error> {
        let mut bytes = BytesMut::new();
        let path = url.strip_prefix(self.base.as_str()).unwrap_or_default();
        while let Some(piece) = self.next_piece(path, &mut body).await? {
            if bytes.len().saturating_add(piece.len()) > self.limits.document_bytes {
                let what = format!("a document of more than {} bytes", self.limits.document_bytes);
                return Err(Error::Unexpected { url: url.to_owned(), what });
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// Turns an answer that is no success into an error. A broken or foreign body still leaves the status.
    pub(crate) async fn refusal(&self, url: String, response: Response<Body>) -> Error {
        let (parts, body) = response.into_parts();
        let status = parts.status.as_u16();
        let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let retry_after =
            text(header::RETRY_AFTER.as_str()).and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let request_id = text("x-request-id").filter(|id| id.len() <= 128);
        let problem: Option<Problem> = match self.read_document(&url, body).await {
            Ok(bytes) => serde_json::from_slice(&bytes).ok(),
            Err(_) => None,
        };
        let request_id = problem.as_ref().and_then(|problem| problem.request_id.clone()).or(request_id);
        Error::Refused { url, refusal: Box::new(Refusal { status, problem, request_id, retry_after }) }
    }
}

/// A duration for people: whole seconds, or milliseconds below one.
pub(crate) fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{} s", duration.as_secs())
    }
}
