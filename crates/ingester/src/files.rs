//! Published files: their records, their content with ranges, their deletion.

use crate::app::{App, not_found, rate_limited, unreachable_element};
use crate::failure::Failure;
use crate::metrics::DownloadSpan;
use artstore_api::Code;
use artstore_api::file::{FileId, RetentionPolicy};
use artstore_api::scope::{FILES_READ, FILES_WRITE};
use artstore_http::{BoxError, ResponseBody};
use artstore_metrics::Clock;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED,
    RANGE, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::OwnedSemaphorePermit;

/// What of a client's request the element decides upon.
const ASKED: [HeaderName; 6] = [RANGE, IF_RANGE, IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE];
/// What of an element's answer the client sees.
const TOLD: [HeaderName; 9] = [
    CONTENT_TYPE,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    ACCEPT_RANGES,
    ETAG,
    LAST_MODIFIED,
    CONTENT_DISPOSITION,
    crate::digest::REPR_DIGEST,
    crate::digest::CONTENT_DIGEST,
];

/// `GET /api/v1/files/{file_id}`.
pub(crate) async fn record<C: Clock>(
    State(app): State<Arc<App<C>>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let outcome = Box::pin(app.read_record(&parts, &id)).await;
    app.answer(outcome)
}

/// `GET` and `HEAD /api/v1/files/{file_id}/content`.
pub(crate) async fn content<C: Clock>(
    State(app): State<Arc<App<C>>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let span = app.metrics.download_started();
    let outcome = match Box::pin(app.open_content(&parts, &id)).await {
        Ok((answer, place)) => Ok(sent(answer, &parts.method, span, place)),
        Err(failure) => {
            span.failed(failure.code());
            Err(failure)
        }
    };
    app.answer(outcome)
}

/// `DELETE /api/v1/files/{file_id}`.
pub(crate) async fn delete<C: Clock>(
    State(app): State<Arc<App<C>>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let outcome = Box::pin(app.delete_file(&parts, &id)).await;
    app.answer(outcome)
}

impl<C: Clock> App<C> {
    /// The index may lag behind a deletion or an expiry, so the element has the last word, if it can be asked.
    async fn read_record(&self, parts: &Parts, id: &str) -> Result<Response, Failure> {
        self.authenticate(parts, FILES_READ).await?;
        let id = file_id(id)?;
        let located = self.locate(id).await?;
        if located.confirmed {
            return Ok(Json(located.record).into_response());
        }
        match self
            .ask_element(&located, |element: String| async move { self.elements.record(&element, id).await })
            .await
        {
            Ok(Some(record)) => Ok(Json(record).into_response()),
            Ok(None) => Err(not_found()),
            Err(error) => {
                tracing::warn!(%error, file_id = %id, "a record is answered from the index alone");
                Ok(Json(located.record).into_response())
            }
        }
    }

    async fn open_content(
        &self,
        parts: &Parts,
        id: &str,
    ) -> Result<(http::Response<ResponseBody>, OwnedSemaphorePermit), Failure> {
        self.authenticate(parts, FILES_READ).await?;
        let id = file_id(id)?;
        let place = Arc::clone(&self.downloads).try_acquire_owned().map_err(|_| rate_limited("downloads"))?;
        let located = self.locate(id).await?;
        let mut asked = HeaderMap::new();
        for name in ASKED {
            for value in parts.headers.get_all(&name) {
                asked.append(name.clone(), value.clone());
            }
        }
        let ask = |element: String| {
            let (method, asked) = (parts.method.clone(), asked.clone());
            async move { self.elements.content(&element, id, method, asked).await }
        };
        let answer = self.ask_element(&located, ask).await;
        let answer = answer.map_err(|error| unreachable_element().because(error))?;
        if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            self.metrics.problem_answered(Code::ValidationError);
        }
        match answer.status() {
            StatusCode::OK
            | StatusCode::PARTIAL_CONTENT
            | StatusCode::NOT_MODIFIED
            | StatusCode::PRECONDITION_FAILED
            | StatusCode::RANGE_NOT_SATISFIABLE => Ok((answer, place)),
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(not_found()),
            status => Err(unreachable_element().because(format!("the element answered status {}", status.as_u16()))),
        }
    }

    async fn delete_file(&self, parts: &Parts, id: &str) -> Result<Response, Failure> {
        self.authenticate(parts, FILES_WRITE).await?;
        let id = file_id(id)?;
        let located = self.locate(id).await?;
        match located.record.retention_policy {
            RetentionPolicy::Temporary => {}
            RetentionPolicy::Permanent => {
                return Err(Failure::new(Code::Forbidden, "a permanent file is never deleted by a client"));
            }
        }
        let answer =
            self.ask_element(&located, |element: String| async move { self.elements.delete(&element, id).await }).await;
        let answer = answer.map_err(|error| unreachable_element().because(error))?;
        match answer.status {
            status if status.is_success() => Ok(StatusCode::NO_CONTENT.into_response()),
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(not_found()),
            _ => Err(unreachable_element().because(answer.cause())),
        }
    }
}

fn file_id(text: &str) -> Result<FileId, Failure> {
    text.parse().map_err(|_| not_found())
}

/// The element's answer as the client sees it.
fn sent(
    answer: http::Response<ResponseBody>,
    method: &Method,
    span: DownloadSpan,
    place: OwnedSemaphorePermit,
) -> Response {
    let (element, body) = answer.into_parts();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = element.status;
    let headers = response.headers_mut();
    for name in TOLD {
        for value in element.headers.get_all(&name) {
            headers.append(name.clone(), value.clone());
        }
    }
    // What clients uploaded must not act as a page of ours, whatever type they gave it.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if *method == Method::HEAD || element.status == StatusCode::NOT_MODIFIED {
        span.done();
        return response;
    }
    if element.status.is_client_error() {
        span.failed(Code::ValidationError);
        *response.body_mut() = Body::new(body);
        return response;
    }
    let mut sending = Sending { body, span: Some(span), place: Some(place) };
    sending.settle();
    *response.body_mut() = Body::new(sending);
    response
}

/// The content on its way to the client.
struct Sending {
    body: ResponseBody,
    /// Taken when the end is known: dropped before, the download is cancelled.
    span: Option<DownloadSpan>,
    place: Option<OwnedSemaphorePermit>,
}

impl Sending {
    /// Who knows the length does not ask again after the last byte, so that is the end.
    fn settle(&mut self) {
        if http_body::Body::is_end_stream(&self.body) || self.body_left() == Some(0) {
            self.end();
        }
    }

    fn body_left(&self) -> Option<u64> {
        http_body::Body::size_hint(&self.body).exact()
    }

    fn end(&mut self) {
        if let Some(span) = self.span.take() {
            span.done();
        }
        self.place = None;
    }
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => {
                if let (Some(data), Some(span)) = (frame.data_ref(), &self.span) {
                    span.sent(data.len());
                }
                self.settle();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                tracing::error!(%error, "a download broke off at its element");
                if let Some(span) = self.span.take() {
                    span.failed(Code::ElementUploadFailed);
                }
                Poll::Ready(Some(Err(Box::new(error))))
            }
            None => {
                self.end();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.body)
    }
}
