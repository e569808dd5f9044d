//! What the fuzz targets reach beyond the public interface. Only there when `cfg(fuzzing)` is set, and in unit tests, so that it keeps
//! up with what it calls.

use crate::discovery::Document;
use crate::response::{read_grant, read_refusal};
use crate::{AdminInstance, Algorithm, AuthError, AuthErrorType, KeySet};
use artstore_metrics::UnixTime;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};

/// Reads the body of a 2xx answer: the header with the token, and its life in seconds.
///
/// # Errors
/// If it is no grant.
pub fn grant(body: &[u8], scope: &[String]) -> Result<(HeaderValue, u64), AuthError> {
    read_grant(body, scope).map(|grant| (grant.authorization, grant.lifetime.as_secs()))
}

/// Reads an answer that is no 2xx.
#[must_use]
pub fn refusal(status: u16, retry_after: &[u8], body: &[u8]) -> AuthError {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(retry_after) {
        headers.insert(header::RETRY_AFTER, value);
    }
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    read_refusal(status, &headers, body, UnixTime::default())
}

/// The token endpoint and the key set's address of an issuer's metadata, as an instance at `instance` tells them.
///
/// # Errors
/// If they are not that issuer's, or `instance` is no URL.
pub fn metadata(body: &[u8], issuer: &str, instance: &str) -> Result<[Option<Uri>; 2], AuthError> {
    let instance = AdminInstance::parse(instance);
    let instance = instance.map_err(|error| AuthError::new(AuthErrorType::Internal, error.to_string()))?;
    Document::read(body, issuer, &instance).map(Document::into_urls)
}

/// Whether the key `kid` of the set is pinned to `algorithm` and made this signature.
#[must_use]
pub fn verify(keys: &KeySet, kid: &str, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
    keys.verify(kid, algorithm, message, signature)
}
