//! The element's HTTP API: tokens, routes, and the reading of requests.

mod files;
mod range;
mod uploads;

use crate::element::Inner;
use crate::refusal::Refusal;
use artstore_api::{Code, FileId, Problem, scope};
use artstore_auth::Rejection;
use artstore_http::problem::not_found;
use artstore_http::{PeerInfo, ProblemResponse};
use artstore_metrics::Clock;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderName, Method};
use http_body_util::{BodyExt as _, Limited};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// The longest JSON of a request. Fifty tags and a description of the longest kind have about 25 KiB.
const MAX_JSON_BYTES: usize = 64 << 10;

/// What a handler answers.
type Answer = Result<Response, ProblemResponse>;

impl From<Refusal> for ProblemResponse {
    fn from(refusal: Refusal) -> Self {
        refusal.problem().into()
    }
}

/// The element's routes. All need a token for elements: reading ones of scope `storage:read`, others of `storage:write`.
pub(crate) fn router<C: Clock>(inner: Arc<Inner<C>>) -> Router {
    Router::new()
        .route("/api/v1/uploads", post(uploads::create))
        .route(
            "/api/v1/uploads/{id}",
            get(uploads::status).head(uploads::offset).patch(uploads::append).delete(uploads::abandon),
        )
        .route("/api/v1/uploads/{id}/complete", post(uploads::complete))
        .route("/api/v1/uploads/{id}/lease", post(uploads::take_lease).delete(uploads::release_lease))
        .route("/api/v1/files", get(files::list))
        .route("/api/v1/files/{id}", get(files::read).head(files::head).put(uploads::one_shot).delete(files::delete))
        .route("/api/v1/files/{id}/record", get(files::record))
        .route("/api/v1/capacity", get(capacity))
        .method_not_allowed_fallback(not_found)
        .route_layer(from_fn_with_state(Arc::clone(&inner), authenticate))
        .fallback(not_found)
        .with_state(inner)
}

async fn capacity<C: Clock>(State(inner): State<Arc<Inner<C>>>) -> Response {
    Json(inner.room.capacity()).into_response()
}

/// Lets through who has a token for this.
async fn authenticate<C: Clock>(State(inner): State<Arc<Inner<C>>>, request: Request, next: Next) -> Response {
    let scope = match *request.method() {
        Method::GET | Method::HEAD => scope::STORAGE_READ,
        _ => scope::STORAGE_WRITE,
    };
    let peer = request.extensions().get::<PeerInfo>();
    let certificate = peer.and_then(|peer| peer.certificate.as_ref()).map(|shown| shown.sha256_fingerprint);
    match inner.verifier.authenticate_over(request.headers(), scope, certificate.as_ref()).await {
        Ok(_) => next.run(request).await,
        Err(rejection) => rejected(&rejection).into_response(),
    }
}

fn rejected(rejection: &Rejection) -> ProblemResponse {
    let code = match rejection {
        Rejection::MissingToken | Rejection::InvalidToken(_) => Code::Unauthorized,
        Rejection::InsufficientScope { .. } => Code::Forbidden,
        Rejection::KeysUnavailable => Code::AdminUnavailable,
    };
    let problem = ProblemResponse::new(code, rejection.to_string());
    match rejection.www_authenticate() {
        Some(challenge) => problem.with_header(WWW_AUTHENTICATE, challenge),
        None => problem,
    }
}

/// The identifier in the path. What is none names nothing.
fn file_id(Path(id): &Path<String>) -> Result<FileId, Refusal> {
    id.parse().map_err(|_| Refusal::NotFound)
}

/// A header's text.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// A header that must be there.
fn required<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, Refusal> {
    header(headers, name).ok_or_else(|| Refusal::Invalid(format!("the header {name} is missing or not text")))
}

/// Reads a body of JSON, bounded in size and time.
async fn json<T: DeserializeOwned, C: Clock>(inner: &Inner<C>, body: Body) -> Result<T, Problem> {
    let invalid = |what: String| Problem::new(Code::ValidationError, what);
    let read = tokio::time::timeout(inner.settings.read_timeout, Limited::new(body, MAX_JSON_BYTES).collect()).await;
    let bytes = match read {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(_)) => return Err(invalid(format!("the body broke off or has more than {MAX_JSON_BYTES} bytes"))),
        Err(_) => return Err(invalid("the body stopped coming".to_owned())),
    };
    serde_json::from_slice(&bytes).map_err(|error| invalid(format!("the body is not what is expected: {error}")))
}

/// A header of ours.
const fn name(name: &'static str) -> HeaderName {
    HeaderName::from_static(name)
}

#[cfg(test)]
mod tests;
