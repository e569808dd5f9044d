//! The two forms of the token endpoint.

use super::body::{self, BodyError};
use crate::authenticate::Peer;
use crate::issuer::{Grant, IssuedToken};
use crate::metrics::{TokenForm, TokenOutcome};
use crate::module::{Admin, Shared};
use crate::token_request::{Presented, TokenError, TokenRequest, has_media_type};
use artstore_api::Code;
use artstore_api::account::JsonTokenRequest;
use artstore_http::problem::ProblemResponse;
use artstore_metrics::Clock;
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use secrecy::ExposeSecret as _;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `POST /oauth2/token`: client credentials (RFC 6749 section 4.4).
pub(crate) async fn oauth<C: Clock>(State(admin): State<Admin<C>>, request: Request) -> Response {
    let shared = &*admin.shared;
    let (parts, body) = request.into_parts();
    let body = body::read(body, shared.settings.max_token_body_bytes, shared.settings.body_timeout).await;
    let span = shared.metrics.token_request(TokenForm::OAuth, shared.clock.clone());
    let peer = Peer::of(&parts.extensions);
    let read = body.map_err(TokenError::from);
    let issued = match read.and_then(|body| TokenRequest::read(&parts.headers, &body, peer.certificate().is_some())) {
        Ok(request) => shared.issue(&request.client, &request.scopes, &peer).await,
        Err(error @ TokenError::InvalidClient(reason)) => Err(shared.refuse(None, false, &peer, reason, error)),
        Err(error) => Err(error),
    };
    span.end(outcome(&issued));
    let response = match issued {
        Ok(issued) => Json(json!({
            "access_token": issued.token.expose_secret(),
            "token_type": "Bearer",
            "expires_in": issued.expires_in,
            "scope": issued.scope,
        }))
        .into_response(),
        Err(error) => oauth_error(error),
    };
    not_stored(response)
}

/// `POST /api/v1/auth/token`: the original's form, with all that the account may do.
pub(crate) async fn json<C: Clock>(State(admin): State<Admin<C>>, request: Request) -> Response {
    let shared = &*admin.shared;
    let (parts, body) = request.into_parts();
    let body = body::read(body, shared.settings.max_token_body_bytes, shared.settings.body_timeout).await;
    let span = shared.metrics.token_request(TokenForm::Json, shared.clock.clone());
    let read = body.map_err(TokenError::from).and_then(|body| {
        if !has_media_type(&parts.headers, "application/json") {
            return Err(TokenError::InvalidRequest("Content-Type must be application/json"));
        }
        // The reason is not told: serde would quote what the client sent.
        let request: JsonTokenRequest = serde_json::from_slice(&body)
            .map_err(|_| TokenError::InvalidRequest("the body must be an object with client_id and client_secret"))?;
        Ok(Presented::Secret { client_id: request.client_id, secret: request.client_secret.into() })
    });
    let issued = match read {
        Ok(client) => shared.issue(&client, &[], &Peer::of(&parts.extensions)).await,
        Err(error) => Err(error),
    };
    span.end(outcome(&issued));
    let response = match issued.and_then(|issued| Ok((rfc3339(issued.issued_at)?, issued))) {
        Ok((issued_at, issued)) => Json(json!({
            "access_token": issued.token.expose_secret(),
            "token_type": "Bearer",
            "expires_in": issued.expires_in,
            "issued_at": issued_at,
        }))
        .into_response(),
        Err(error) => json_error(error),
    };
    not_stored(response)
}

impl<C: Clock> Shared<C> {
    /// Authenticates the client and issues what it asks for, or all that it may have if it asks for nothing.
    async fn issue(&self, client: &Presented, asked: &[String], peer: &Peer) -> Result<IssuedToken, TokenError> {
        let account = self.authenticate(client, peer).await?;
        if !account.active {
            tracing::warn!(client_id = %account.client_id, "token refused: the account is suspended");
            return Err(TokenError::Suspended);
        }
        if !asked.iter().all(|scope| account.scopes.contains(scope)) {
            tracing::warn!(client_id = %account.client_id, "token refused: a scope that the account does not have");
            return Err(TokenError::InvalidScope);
        }
        let scopes = if asked.is_empty() { account.scopes.as_slice() } else { asked };
        let certificate = match (account.certificate_bound_tokens, peer.certificate()) {
            (false, _) => None,
            (true, Some(certificate)) => Some(&certificate.sha256_fingerprint),
            (true, None) => {
                tracing::warn!(client_id = %account.client_id, "token refused: no certificate to bind it to");
                return Err(TokenError::InvalidRequest(
                    "the account's tokens are bound to a client certificate, and the connection shows none",
                ));
            }
        };
        let grant = Grant { client_id: &account.client_id, scopes, audiences: &account.audiences, certificate };
        self.issuer.issue(grant).map_err(|error| {
            tracing::error!(%error, "no token could be made");
            TokenError::Unavailable
        })
    }
}

impl From<BodyError> for TokenError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::TooLarge,
            BodyError::Stalled => Self::TooSlow,
            BodyError::Broken => Self::InvalidRequest("the body broke off"),
        }
    }
}

fn outcome(issued: &Result<IssuedToken, TokenError>) -> TokenOutcome {
    match issued {
        Ok(_) => TokenOutcome::Issued,
        Err(error) => match error {
            TokenError::InvalidRequest(_) | TokenError::TooLarge | TokenError::TooSlow => TokenOutcome::InvalidRequest,
            TokenError::InvalidClient(_) => TokenOutcome::InvalidClient,
            TokenError::Suspended => TokenOutcome::UnauthorizedClient,
            TokenError::UnsupportedGrantType => TokenOutcome::UnsupportedGrantType,
            TokenError::InvalidScope => TokenOutcome::InvalidScope,
            TokenError::Limited { .. } => TokenOutcome::RateLimited,
            TokenError::Unavailable => TokenOutcome::Internal,
        },
    }
}

/// An error as RFC 6749 section 5.2 wants it.
fn oauth_error(error: TokenError) -> Response {
    let (status, code, description) = error.parts();
    let retry_after = retry_after(error);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(json!({ "error": code, "error_description": description }))).into_response();
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Basic realm=\"artstore\", charset=\"UTF-8\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds);
    }
    response
}

/// The same error as a problem document.
fn json_error(error: TokenError) -> Response {
    let (_, _, detail) = error.parts();
    let code = match error {
        TokenError::InvalidRequest(_)
        | TokenError::TooSlow
        | TokenError::UnsupportedGrantType
        | TokenError::InvalidScope => Code::ValidationError,
        TokenError::TooLarge => Code::FileTooLarge,
        TokenError::InvalidClient(_) => Code::Unauthorized,
        TokenError::Suspended => Code::Forbidden,
        TokenError::Limited { .. } => Code::RateLimited,
        TokenError::Unavailable => Code::Internal,
    };
    let response = ProblemResponse::new(code, detail);
    match retry_after(error) {
        Some(seconds) => response.with_header(RETRY_AFTER, seconds).into_response(),
        None => response.into_response(),
    }
}

fn retry_after(error: TokenError) -> Option<HeaderValue> {
    match error {
        TokenError::Limited { retry_after } => Some(retry_after.into()),
        _ => None,
    }
}

/// No cache keeps a token (section 5.1).
fn not_stored(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

fn rfc3339(seconds: u64) -> Result<String, TokenError> {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .ok_or(TokenError::Unavailable)
}
