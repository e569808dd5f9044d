//! Problem documents (RFC 9457) as HTTP responses, and the identifier of the request that they name.

use artstore_api::problem::PROBLEM_JSON;
use artstore_api::{Code, Problem};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// The header that carries a request's identifier, in requests and in responses.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest identifier that is taken over from a client.
const REQUEST_ID_MAX: usize = 128;

/// The identifier of a request: the client's, if it sent one that is safe to log, else a new one. It is an extension of
/// every request that a [`Server`](crate::Server) hands to its router, and of the log span around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// The identifier that these headers bring, or a new one.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let safe = |id: &&str| {
            !id.is_empty()
                && id.len() <= REQUEST_ID_MAX
                && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        };
        let sent = headers.get(X_REQUEST_ID).and_then(|value| value.to_str().ok()).filter(safe);
        Self(sent.map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned))
    }

    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The identifier as a header's value, to pass it on.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A [`Problem`] as the response of a handler; `?` makes one of a `Problem`.
#[derive(Debug, Clone)]
pub struct ProblemResponse {
    problem: Problem,
    headers: HeaderMap,
}

impl ProblemResponse {
    /// A problem of this code, with a sentence for the client.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Problem::new(code, detail).into()
    }

    /// The same with a further header: `WWW-Authenticate`, `Retry-After`…
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// The document.
    #[must_use]
    pub const fn problem(&self) -> &Problem {
        &self.problem
    }
}

impl From<Problem> for ProblemResponse {
    fn from(problem: Problem) -> Self {
        Self { problem, headers: HeaderMap::new() }
    }
}

impl IntoResponse for ProblemResponse {
    fn into_response(self) -> Response {
        let mut response = Response::new(axum::body::Body::empty());
        *response.status_mut() = StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.headers_mut() = self.headers;
        render(&mut response, self.problem);
        response
    }
}

/// A handler for [`Router::fallback`](axum::Router::fallback): there is no such resource.
pub async fn not_found() -> ProblemResponse {
    ProblemResponse::new(Code::NotFound, "there is no such resource")
}

/// The fallback of a router for a method that a resource does not know. The code says that the request is wrong, the status
/// how: 405 has no code of its own.
pub async fn method_not_allowed() -> ProblemResponse {
    let mut problem = Problem::new(Code::ValidationError, "this resource does not know this method");
    problem.status = StatusCode::METHOD_NOT_ALLOWED.as_u16();
    problem.into()
}

/// Writes the request's identifier into the problem document that this response is, if it is one.
pub(crate) fn identify(response: &mut Response, id: &RequestId) {
    response.headers_mut().insert(X_REQUEST_ID, id.header());
    if let Some(mut problem) = response.extensions_mut().remove::<Problem>() {
        problem.request_id = Some(id.as_str().to_owned());
        render(response, problem);
    }
}

/// The problem's code, if this response is one.
pub(crate) fn code_of(response: &Response) -> Option<Code> {
    response.extensions().get::<Problem>().map(|problem| problem.code)
}

/// Makes the document the response's body; the document stays with the response, so that [`identify`] can complete it.
fn render(response: &mut Response, problem: Problem) {
    let json = serde_json::to_vec(&problem).unwrap_or_default();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    response.headers_mut().remove(CONTENT_LENGTH);
    response.extensions_mut().insert(problem);
    *response.body_mut() = json.into();
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn json(response: Response) -> serde_json::Value {
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    #[tokio::test]
    async fn a_problem_is_a_response_with_its_status_type_and_headers() {
        let problem = ProblemResponse::new(Code::Unauthorized, "send a token")
            .with_header(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        assert_eq!(problem.problem().code, Code::Unauthorized);
        let response = problem.into_response();
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        assert_eq!(code_of(&response), Some(Code::Unauthorized));
        assert_eq!(json(response).await["detail"], "send a token");
    }

    #[tokio::test]
    async fn identify_completes_a_problem_and_leaves_other_responses_alone() {
        let id = RequestId("abc".into());
        let mut problem = not_found().await.into_response();
        identify(&mut problem, &id);
        assert_eq!(problem.headers()[X_REQUEST_ID], "abc");
        assert_eq!(json(problem).await["request_id"], "abc");
        let mut other = "hello".into_response();
        identify(&mut other, &id);
        assert_eq!(other.headers()[X_REQUEST_ID], "abc");
        assert_eq!(other.into_body().collect().await.unwrap().to_bytes(), "hello");
    }

    #[test]
    fn only_a_safe_identifier_is_taken_over() {
        let of = |text: &'static str| {
            let headers = HeaderMap::from_iter([(X_REQUEST_ID, HeaderValue::from_bytes(text.as_bytes()).unwrap())]);
            RequestId::of(&headers).to_string()
        };
        assert_eq!(of("a-Z_0.9"), "a-Z_0.9");
        for unsafe_id in ["", "a b", "a\"b", "ä", "{}"] {
            assert_eq!(of(unsafe_id).len(), 36, "{unsafe_id:?}");
        }
        let long = HeaderMap::from_iter([(X_REQUEST_ID, HeaderValue::from_str(&"a".repeat(129)).unwrap())]);
        assert_eq!(RequestId::of(&long).as_str().len(), 36);
        assert_ne!(RequestId::of(&HeaderMap::new()), RequestId::of(&HeaderMap::new()));
    }
}
