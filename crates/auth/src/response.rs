//! Reading the answer of a token endpoint: the token if everything about it is right, else the kind of error.

use crate::{AuthError, AuthErrorType, classify_auth_error};
use artstore_metrics::UnixTime;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use std::time::Duration;
use time::OffsetDateTime;
use time::macros::format_description;

/// The longest token that fits into a header that common servers accept.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// The longest lifetime that is believed.
const MAX_LIFETIME_SECONDS: u64 = 1_000_000_000;

/// A granted token.
pub(crate) struct Grant {
    /// `Bearer …`, marked as sensitive.
    pub(crate) authorization: HeaderValue,
    pub(crate) lifetime: Duration,
}

impl Grant {
    /// The token itself.
    pub(crate) fn token(&self) -> &str {
        self.authorization.to_str().ok().and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct Success {
    access_token: String,
    token_type: String,
    expires_in: u64,
    #[serde(default)]
    scope: Option<String>,
}

#[derive(Deserialize)]
struct Failure {
    error: String,
}

/// Reads the body of a 2xx answer.
pub(crate) fn read_grant(body: &[u8], asked_scope: &[String]) -> Result<Grant, AuthError> {
    let malformed = |detail: &str| AuthError::new(AuthErrorType::MalformedResponse, detail);
    // serde's own message would quote the answer, and with it perhaps a token.
    // It passes over bad UTF-8 in members that nobody reads, so that is looked for first.
    let text = std::str::from_utf8(body).map_err(|_| malformed("the answer is not UTF-8"))?;
    let answer: Success = serde_json::from_str(text)
        .map_err(|_| malformed("the answer is not JSON with access_token, token_type and a whole expires_in"))?;
    if !answer.token_type.eq_ignore_ascii_case("bearer") {
        return Err(malformed("the token type is not Bearer"));
    }
    if !(1..=MAX_LIFETIME_SECONDS).contains(&answer.expires_in) {
        return Err(malformed("expires_in is not between 1 and 10^9 seconds"));
    }
    let token = answer.access_token;
    if token.is_empty() || token.len() > MAX_TOKEN_BYTES || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(malformed("the access token is empty, too long or holds characters that no header may have"));
    }
    if let Some(granted) = answer.scope {
        let narrower = asked_scope.iter().any(|asked| !granted.split(' ').any(|scope| scope == asked));
        if narrower {
            return Err(AuthError::new(AuthErrorType::InvalidScope, "a narrower scope was granted than asked for"));
        }
    }
    let mut authorization = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| malformed("the access token does not fit into a header"))?;
    authorization.set_sensitive(true);
    Ok(Grant { authorization, lifetime: Duration::from_secs(answer.expires_in) })
}

/// Reads an answer that is no 2xx. Only the OAuth code is taken from its body, and only to classify it.
pub(crate) fn read_refusal(status: StatusCode, headers: &HeaderMap, body: &[u8], now: UnixTime) -> AuthError {
    let code = serde_json::from_slice::<Failure>(body).ok().map(|failure| failure.error);
    let kind = classify_auth_error(status.as_u16(), code.as_deref());
    AuthError::new(kind, format!("the issuer answered {}", status.as_u16())).with_retry_after(retry_after(headers, now))
}

/// `Retry-After`: seconds, or a date.
pub(crate) fn retry_after(headers: &HeaderMap, now: UnixTime) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // So many digits that they do not fit mean very long.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let format =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    let date = time::PrimitiveDateTime::parse(value, format).ok()?.assume_utc();
    let now = i64::try_from(now.as_secs()).ok().and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok())?;
    Duration::try_from(date - now).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use time::macros::datetime;

    fn grant(body: &serde_json::Value) -> Result<Grant, AuthError> {
        read_grant(body.to_string().as_bytes(), &["a".to_owned(), "b".to_owned()])
    }

    #[test]
    fn a_whole_answer_is_a_grant() {
        let body =
            json!({"access_token": "t.o-k_en", "token_type": "bearer", "expires_in": 1800, "scope": "c b a", "x": 1});
        let grant = grant(&body).ok().unwrap();
        assert_eq!((grant.token(), grant.lifetime.as_secs()), ("t.o-k_en", 1800));
        assert!(grant.authorization.is_sensitive());
        assert_eq!(format!("{:?}", grant.authorization), "Sensitive");
    }

    #[test]
    fn lifetimes_outside_1_to_a_billion_are_malformed() {
        for good in [json!(1), json!(10), json!(1_000_000_000)] {
            assert!(grant(&json!({"access_token": "t", "token_type": "Bearer", "expires_in": good})).is_ok(), "{good}");
        }
        let bad = [json!(0), json!(-1), json!("1800"), json!(1_000_000_001), json!(1e300), json!(1.5), json!(null)];
        for bad in bad {
            let error = grant(&json!({"access_token": "t", "token_type": "Bearer", "expires_in": bad})).err().unwrap();
            assert_eq!(error.kind(), AuthErrorType::MalformedResponse, "{bad}");
        }
    }

    #[test]
    fn hostile_answers_are_malformed_and_not_repeated() {
        let bodies = [
            String::new(),
            "{".to_owned(),
            "[]".to_owned(),
            json!({"access_token": null, "token_type": "Bearer", "expires_in": 1}).to_string(),
            json!({"access_token": "", "token_type": "Bearer", "expires_in": 1}).to_string(),
            json!({"access_token": "canary\r\nX: y", "token_type": "Bearer", "expires_in": 1}).to_string(),
            json!({"access_token": "canäry", "token_type": "Bearer", "expires_in": 1}).to_string(),
            json!({"access_token": "c".repeat(MAX_TOKEN_BYTES + 1), "token_type": "Bearer", "expires_in": 1})
                .to_string(),
            json!({"access_token": "canary", "token_type": "mac", "expires_in": 1}).to_string(),
            json!({"access_token": "canary", "expires_in": 1}).to_string(),
            json!({"access_token": "canary", "token_type": "Bearer"}).to_string(),
            json!({"error": "invalid_client", "error_description": "canary"}).to_string(),
            r#"{"access_token":"canary","access_token":"b","token_type":"Bearer","expires_in":1}"#.to_owned(),
        ];
        let not_utf8 =
            b"{\"access_token\":\"canary\",\"token_type\":\"Bearer\",\"expires_in\":1,\"x\":\"\xd0\"}".to_vec();
        for body in bodies.into_iter().map(String::into_bytes).chain([not_utf8]) {
            let error = read_grant(&body, &[]).err().unwrap();
            assert_eq!(error.kind(), AuthErrorType::MalformedResponse, "{}", String::from_utf8_lossy(&body));
            assert!(!error.to_string().contains("can"), "{error}");
        }
    }

    #[test]
    fn a_narrower_scope_is_refused() {
        let answer =
            |scope| grant(&json!({"access_token": "t", "token_type": "Bearer", "expires_in": 1, "scope": scope}));
        assert_eq!(answer("a").err().unwrap().kind(), AuthErrorType::InvalidScope);
        assert_eq!(answer("").err().unwrap().kind(), AuthErrorType::InvalidScope);
        assert_eq!(answer("ab").err().unwrap().kind(), AuthErrorType::InvalidScope);
        assert!(answer("b a").is_ok());
    }

    #[test]
    fn a_refusal_is_classified_by_status_and_code_and_keeps_retry_after() {
        let now = datetime!(2026-11-24 08:00:00 UTC).unix_timestamp();
        let now = UnixTime::from_secs(now.unsigned_abs());
        let read = |status: u16, retry: &str, body: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_str(retry).unwrap());
            read_refusal(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes(), now)
        };
        let error = read(401, "7", r#"{"error":"invalid_client","error_description":"canary"}"#);
        assert_eq!(error.kind(), AuthErrorType::InvalidClient);
        assert_eq!(error.to_string(), "invalid_client: the issuer answered 401");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        assert_eq!(read(503, "Tue, 24 Nov 2026 08:01:30 GMT", "<html>").retry_after(), Some(Duration::from_secs(90)));
        assert_eq!(read(503, "Tue, 24 Nov 2026 07:01:30 GMT", "").retry_after(), None);
        assert_eq!(read(503, "99999999999999999999999", "").retry_after(), Some(Duration::from_secs(u64::MAX)));
        assert_eq!(read(503, "soon", "").retry_after(), None);
        let none = read_refusal(StatusCode::BAD_GATEWAY, &HeaderMap::new(), b"", now);
        assert_eq!((none.kind(), none.retry_after()), (AuthErrorType::ServerError, None));
    }
}
