//! Requests to elements and to the Admin Module, with our token: bounded in time and size, one retry after a refused token.

use artstore_api::Problem;
use artstore_auth::{AccessToken, AuthService};
use artstore_http::{Body, Client, ClientError, ResponseBody, ResponseTimeout};
use artstore_metrics::Clock;
use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Why a request to a peer has no answer that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PeerError {
    /// There is no token to send.
    #[error("no token: {0}")]
    NoToken(String),
    /// No answer, or one that broke off.
    #[error("{cause}")]
    Unreachable {
        /// Whether the peer may have seen some of the request.
        written: bool,
        /// What went wrong.
        cause: String,
    },
    /// The peer refused our token, and the new one, too.
    #[error("the peer refuses our token")]
    TokenRefused,
    /// The answer is not what it should be.
    #[error("{0}")]
    Malformed(String),
}

impl From<ClientError> for PeerError {
    fn from(error: ClientError) -> Self {
        Self::Unreachable { written: error.request_written(), cause: error.to_string() }
    }
}

/// A request that can be sent again.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) url: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) timeout: Duration,
}

impl Ask {
    pub(crate) fn new(method: Method, url: String, timeout: Duration) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: Bytes::new(), timeout }
    }

    /// The same request with a JSON body.
    pub(crate) fn json(mut self, body: &impl Serialize) -> Result<Self, PeerError> {
        self.body = serde_json::to_vec(body).map_err(|error| PeerError::Malformed(error.to_string()))?.into();
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(self)
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Result<Self, PeerError> {
        let value =
            HeaderValue::from_str(value).map_err(|_| PeerError::Malformed(format!("{name} is no header value")))?;
        self.headers.insert(name, value);
        Ok(self)
    }
}

/// An answer read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, PeerError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            PeerError::Malformed(format!("an answer of status {} is not as agreed: {error}", self.status))
        })
    }

    /// The problem document that it is, if it is one.
    pub(crate) fn problem(&self) -> Option<Problem> {
        serde_json::from_slice(&self.body).ok()
    }

    /// What the log should say of an answer that refuses.
    pub(crate) fn cause(&self) -> String {
        match self.problem() {
            Some(problem) => format!("status {}, {}: {}", self.status.as_u16(), problem.code.as_str(), problem.detail),
            None => format!("status {}", self.status.as_u16()),
        }
    }
}

/// The way to all peers. Clones share the connections and the token.
#[derive(Clone)]
pub(crate) struct Peers<C: Clock> {
    client: Client<C>,
    auth: AuthService<C>,
    max_answer: usize,
}

impl<C: Clock> Peers<C> {
    pub(crate) const fn new(client: Client<C>, auth: AuthService<C>, max_answer: usize) -> Self {
        Self { client, auth, max_answer }
    }

    /// Sends a request and reads its answer to the end.
    pub(crate) async fn ask(&self, ask: &Ask) -> Result<Answer, PeerError> {
        let timed = tokio::time::timeout(ask.timeout, async {
            let response = self.fetch(ask).await?;
            self.read(response).await
        });
        timed.await.unwrap_or_else(|_| {
            Err(PeerError::Unreachable { written: true, cause: format!("no answer within {:?}", ask.timeout) })
        })
    }

    /// Sends a request and gives its answer with the body still to be read. A refused token is renewed once.
    pub(crate) async fn fetch(&self, ask: &Ask) -> Result<Response<ResponseBody>, PeerError> {
        let (response, token) = self.send(ask).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        self.auth.invalidate(token.generation());
        // Read to its end, the refusal gives its connection back.
        let _ = self.read(response).await;
        let (response, token) = self.send(ask).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            self.auth.resource_rejected(&token);
            return Err(PeerError::TokenRefused);
        }
        Ok(response)
    }

    /// Sends a request whose body is gone once it is sent: no retry, whatever the answer. The timeout of `ask` bounds how long
    /// the peer may take no byte of the body, and not answer once it has all.
    pub(crate) async fn stream(&self, ask: &Ask, body: Body) -> Result<Answer, PeerError> {
        let token = self.token().await?;
        let response = self.client_for(&token).send(request(ask, &token, body)?).await?;
        let answer = self.read(response).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            self.auth.resource_rejected(&token);
            return Err(PeerError::TokenRefused);
        }
        Ok(answer)
    }

    async fn send(&self, ask: &Ask) -> Result<(Response<ResponseBody>, AccessToken), PeerError> {
        let token = self.token().await?;
        let body = artstore_http::body::full(ask.body.clone());
        let request = request(ask, &token, body)?;
        Ok((self.client_for(&token).send(request).await?, token))
    }

    /// A token that is bound to a certificate goes over connections that show it.
    fn client_for(&self, token: &AccessToken) -> Client<C> {
        self.client.for_identity(token.identity())
    }

    async fn token(&self) -> Result<AccessToken, PeerError> {
        self.auth.access_token().await.map_err(|error| PeerError::NoToken(error.to_string()))
    }

    async fn read(&self, response: Response<ResponseBody>) -> Result<Answer, PeerError> {
        let (parts, mut body) = response.into_parts();
        let mut read = BytesMut::new();
        let too_large = || PeerError::Malformed(format!("an answer has more than {} bytes", self.max_answer));
        if body.size_hint().lower() > self.max_answer as u64 {
            return Err(too_large());
        }
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| PeerError::Unreachable { written: true, cause: error.to_string() })?;
            if let Ok(data) = frame.into_data() {
                if data.len() > self.max_answer - read.len() {
                    return Err(too_large());
                }
                read.extend_from_slice(&data);
            }
        }
        Ok(Answer { status: parts.status, headers: parts.headers, body: read.freeze() })
    }
}

fn request(ask: &Ask, token: &AccessToken, body: Body) -> Result<Request<Body>, PeerError> {
    let mut request = Request::builder()
        .method(ask.method.clone())
        .uri(&ask.url)
        .extension(ResponseTimeout(ask.timeout))
        .body(body)
        .map_err(|error| PeerError::Malformed(format!("no address: {error}")))?;
    *request.headers_mut() = ask.headers.clone();
    request.headers_mut().insert(AUTHORIZATION, token.authorization());
    Ok(request)
}
