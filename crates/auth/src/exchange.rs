//! One exchange: one token request to one instance, its answer read within limits of time and size.

use crate::client_auth::{Credential, assertion};
use crate::discovery::Endpoint;
use crate::response::{Grant, read_grant, read_refusal};
use crate::token::Moment;
use crate::transport::{RequestBody, Transport, read_limited};
use crate::{
    AdminInstance, AuthError, AuthErrorType, AuthSettings, ClientAuthentication, TokenEndpoint, TransportError,
};
use artstore_metrics::{Clock, Monotonic, UnixTime};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use secrecy::{ExposeSecret as _, SecretString};
use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tower::ServiceExt;

/// How an exchange went.
pub(crate) struct Exchanged {
    pub(crate) result: Result<Grant, AuthError>,
    /// From request written to response read; `None` if no request was written.
    pub(crate) duration: Option<Duration>,
    /// When it began: the token's life is counted from here, which is never too long.
    pub(crate) sent: Moment,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    /// `None` if it was too long.
    body: Option<Bytes>,
}

/// Asks one instance for a token.
pub(crate) async fn exchange<C: Clock>(
    settings: &AuthSettings,
    instance: &AdminInstance,
    credential: &Credential,
    transport: &Transport,
    clock: &C,
    limit: Duration,
) -> Exchanged {
    let began = clock.monotonic();
    let endpoint = match locate(settings, instance, transport, clock, limit).await {
        Ok(endpoint) => endpoint,
        Err(error) => return Exchanged { result: Err(error), duration: None, sent: Moment::now(clock) },
    };
    // The metadata's fetch is part of the exchange.
    let limit = limit.saturating_sub(clock.monotonic().since(began));
    let sent = Moment::now(clock);
    let written: Arc<OnceLock<Monotonic>> = Arc::default();
    let on_first_poll = {
        let (written, clock) = (Arc::clone(&written), clock.clone());
        move || _ = written.set(clock.monotonic())
    };
    let request = match request(settings, endpoint, credential, sent.wall, on_first_poll) {
        Ok(request) => request,
        Err(detail) => {
            let result = Err(AuthError::new(AuthErrorType::Internal, detail));
            return Exchanged { result, duration: None, sent };
        }
    };
    let answer = answer(transport.clone(), request, settings.max_response_bytes);
    // A transport that panics is a defect; it must not end the service's only task.
    let outcome = tokio::time::timeout(limit, AssertUnwindSafe(answer).catch_unwind()).await;
    let mut was_written = written.get().is_some();
    let result = match outcome {
        Err(_) => Err(AuthError::new(AuthErrorType::Timeout, format!("no answer within {limit:?}"))),
        Ok(Err(_)) => Err(AuthError::new(AuthErrorType::Internal, "the transport panicked")),
        Ok(Ok(Err(error))) => {
            // The transport knows better: a late refusal of our certificate comes after the first bytes and before any request.
            was_written = error.request_written;
            Err(AuthError::new(error.kind, error.detail))
        }
        Ok(Ok(Ok(answer))) => {
            was_written = true;
            read_answer(settings, &answer, clock.wall())
        }
    };
    let from = written.get().copied().unwrap_or(sent.monotonic);
    if let (TokenEndpoint::Discovered(discovery), Err(error)) = (&settings.endpoint, &result) {
        discovery.failed(instance, error.kind());
    }
    let duration = was_written.then(|| clock.monotonic().since(from));
    Exchanged { result, duration, sent }
}

/// Where the token endpoint is.
async fn locate<C: Clock>(
    settings: &AuthSettings,
    instance: &AdminInstance,
    transport: &Transport,
    clock: &C,
    limit: Duration,
) -> Result<Endpoint, AuthError> {
    let path = match &settings.endpoint {
        TokenEndpoint::Standard => settings.authentication.standard_path(),
        TokenEndpoint::Path(path) => path,
        TokenEndpoint::Discovered(discovery) => {
            return discovery.token_endpoint(instance, transport, clock, limit).await;
        }
    };
    let url = instance.url(path).map_err(|error| AuthError::new(AuthErrorType::Internal, error.to_string()))?;
    Ok(Endpoint::from(url))
}

async fn answer(transport: Transport, request: Request<RequestBody>, limit: usize) -> Result<Answer, TransportError> {
    let (head, body) = transport.oneshot(request).await?.into_parts();
    let body = read_limited(body, limit).await?;
    Ok(Answer { status: head.status, headers: head.headers, body })
}

fn read_answer(settings: &AuthSettings, answer: &Answer, now: UnixTime) -> Result<Grant, AuthError> {
    if answer.status.is_success() {
        let Some(body) = &answer.body else {
            let detail = format!("the answer is longer than {} bytes", settings.max_response_bytes);
            return Err(AuthError::new(AuthErrorType::MalformedResponse, detail));
        };
        return read_grant(body, &settings.scope);
    }
    let body = answer.body.as_deref().unwrap_or_default();
    Err(read_refusal(answer.status, &answer.headers, body, now))
}

fn request(
    settings: &AuthSettings,
    endpoint: Endpoint,
    credential: &Credential,
    now: UnixTime,
    on_first_poll: impl FnOnce() + Send + Sync + 'static,
) -> Result<Request<RequestBody>, String> {
    let Endpoint { url, published } = endpoint;
    let mut form = Form::new();
    let mut authorization = None;
    let client_id = settings.client_id.as_str();
    match (&settings.authentication, credential) {
        (ClientAuthentication::SecretBasic(_), Credential::Secret(secret)) => {
            authorization = Some(basic(client_id, secret)?);
        }
        (ClientAuthentication::SecretPost(_), Credential::Secret(secret)) => {
            form.add("client_id", client_id);
            form.add("client_secret", secret.expose_secret());
        }
        (ClientAuthentication::PrivateKeyJwt(jwt), Credential::Key(key)) => {
            form.add("client_id", client_id);
            form.add("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
            form.add("client_assertion", &assertion(jwt, key, client_id, &published, now)?);
        }
        (ClientAuthentication::TlsClientAuth, Credential::Certificate) => form.add("client_id", client_id),
        (ClientAuthentication::OriginalJson(_), Credential::Secret(secret)) => {
            let body = serde_json::json!({"client_id": client_id, "client_secret": secret.expose_secret()});
            return finish(url, "application/json", None, body.to_string(), on_first_poll);
        }
        (
            ClientAuthentication::SecretBasic(_)
            | ClientAuthentication::SecretPost(_)
            | ClientAuthentication::PrivateKeyJwt(_)
            | ClientAuthentication::TlsClientAuth
            | ClientAuthentication::OriginalJson(_),
            _,
        ) => return Err("the credential is of another method".to_owned()),
    }
    if !settings.scope.is_empty() {
        form.add("scope", &settings.scope.join(" "));
    }
    for (name, value) in &settings.parameters {
        form.add(name, value);
    }
    finish(url, "application/x-www-form-urlencoded", authorization, form.0, on_first_poll)
}

fn finish(
    url: Uri,
    content_type: &'static str,
    authorization: Option<HeaderValue>,
    body: String,
    on_first_poll: impl FnOnce() + Send + Sync + 'static,
) -> Result<Request<RequestBody>, String> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(url)
        .header(header::ACCEPT, "application/json")
        .header(header::CACHE_CONTROL, "no-store")
        .header(header::CONTENT_TYPE, content_type)
        .header(header::CONTENT_LENGTH, body.len());
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    request.body(RequestBody::new(body.into(), on_first_poll)).map_err(|error| error.to_string())
}

/// The body of a token request.
struct Form(String);

impl Form {
    fn new() -> Self {
        Self("grant_type=client_credentials".to_owned())
    }

    fn add(&mut self, name: &str, value: &str) {
        self.0.push('&');
        form_encode(name, &mut self.0);
        self.0.push('=');
        form_encode(value, &mut self.0);
    }
}

/// RFC 6749, 2.3.1: identifier and secret are form-encoded before they are joined.
fn basic(client_id: &str, secret: &SecretString) -> Result<HeaderValue, String> {
    let mut pair = String::new();
    form_encode(client_id, &mut pair);
    pair.push(':');
    form_encode(secret.expose_secret(), &mut pair);
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)))
        .map_err(|_| "the credentials do not fit into a header".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// `application/x-www-form-urlencoded`.
fn form_encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            // Writing to a String cannot fail.
            _ => _ = write!(out, "%{byte:02X}"),
        }
    }
}
