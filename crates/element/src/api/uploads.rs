//! Requests that bring bytes: sessions, and uploads of one request.

use super::{Answer, file_id, header, json, name, required};
use crate::element::Inner;
use crate::refusal::Refusal;
use crate::uploads::Published;
use artstore_api::upload::{
    CompleteUpload, CreateUpload, OFFSET_OCTET_STREAM, OneShot, UPLOAD_ATTRIBUTES, UPLOAD_LEASE, UPLOAD_OFFSET,
};
use artstore_metrics::Clock;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::IntoResponse as _;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, StatusCode};
use http_body::Body as _;
use std::sync::Arc;

const NO_STORE: (http::HeaderName, &str) = (CACHE_CONTROL, "no-store");

/// `POST /api/v1/uploads`.
pub(super) async fn create<C: Clock>(State(inner): State<Arc<Inner<C>>>, body: Body) -> Answer {
    let request: CreateUpload = json(&inner, body).await?;
    let session = inner.uploads.create(request).await?;
    let location = format!("/api/v1/uploads/{}", session.file_id);
    Ok((StatusCode::CREATED, [(LOCATION, location)], [NO_STORE], Json(session)).into_response())
}

/// `GET /api/v1/uploads/{id}`.
pub(super) async fn status<C: Clock>(
    State(inner): State<Arc<Inner<C>>>,
    path: Path<String>,
    headers: HeaderMap,
) -> Answer {
    let session = inner.uploads.status(file_id(&path)?, header(&headers, UPLOAD_LEASE)).await?;
    Ok(([NO_STORE], Json(session)).into_response())
}

/// `HEAD /api/v1/uploads/{id}`.
pub(super) async fn offset<C: Clock>(
    State(inner): State<Arc<Inner<C>>>,
    path: Path<String>,
    headers: HeaderMap,
) -> Answer {
    let session = inner.uploads.status(file_id(&path)?, header(&headers, UPLOAD_LEASE)).await?;
    Ok(([NO_STORE], [(name(UPLOAD_OFFSET), session.offset.to_string())]).into_response())
}

/// `PATCH /api/v1/uploads/{id}`.
pub(super) async fn append<C: Clock>(
    State(inner): State<Arc<Inner<C>>>,
    path: Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let file_id = file_id(&path)?;
    if header(&headers, CONTENT_TYPE.as_str()) != Some(OFFSET_OCTET_STREAM) {
        return Err(Refusal::Invalid(format!("the content type must be {OFFSET_OCTET_STREAM}")).into());
    }
    let lease = required(&headers, UPLOAD_LEASE)?;
    let offset = required(&headers, UPLOAD_OFFSET)?;
    let offset = offset.parse().map_err(|_| Refusal::Invalid(format!("{UPLOAD_OFFSET} must be a number")))?;
    let length = body.size_hint().exact();
    let offset = inner.uploads.append(file_id, lease, offset, length, body).await?;
    Ok((StatusCode::NO_CONTENT, [(name(UPLOAD_OFFSET), offset.to_string())]).into_response())
}

/// `POST /api/v1/uploads/{id}/complete`.
pub(super) async fn complete<C: Clock>(
    State(inner): State<Arc<Inner<C>>>,
    path: Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let file_id = file_id(&path)?;
    let request: CompleteUpload = json(&inner, body).await?;
    let lease = required(&headers, UPLOAD_LEASE)?;
    check_digest(request.sha256.as_deref())?;
    let published = inner.uploads.complete(file_id, lease, request).await?;
    // Repeating a completion whose answer was lost is the same completion.
    let (Published::Now(record) | Published::Before(record)) = published;
    Ok((StatusCode::CREATED, Json(record)).into_response())
}

/// `DELETE /api/v1/uploads/{id}`.
pub(super) async fn abandon<C: Clock>(
    State(inner): State<Arc<Inner<C>>>,
    path: Path<String>,
    headers: HeaderMap,
) -> Answer {
    inner.uploads.abandon(file_id(&path)?, required(&headers, UPLOAD_LEASE)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /api/v1/uploads/{id}/lease`.
pub(super) async fn take_lease<C: Clock>(State(inner): State<Arc<Inner<C>>>, path: Path<String>) -> Answer {
    let session = inner.uploads.take_lease(file_id(&path)?).await?;
    Ok(([NO_STORE], Json(session)).into_response())
}

/// `DELETE /api/v1/uploads/{id}/lease`.
pub(super) async fn release_lease<C: Clock>(
    State(inner): State<Arc<Inner<C>>>,
    path: Path<String>,
    headers: HeaderMap,
) -> Answer {
    inner.uploads.release_lease(file_id(&path)?, required(&headers, UPLOAD_LEASE)?)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `PUT /api/v1/files/{id}`.
pub(super) async fn one_shot<C: Clock>(
    State(inner): State<Arc<Inner<C>>>,
    path: Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let file_id = file_id(&path)?;
    let invalid = |what: String| Refusal::Invalid(format!("{UPLOAD_ATTRIBUTES}: {what}"));
    let encoded = required(&headers, UPLOAD_ATTRIBUTES)?.trim_end_matches('=');
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(encoded).map_err(|error| invalid(error.to_string()))?;
    let request: OneShot = serde_json::from_slice(&decoded).map_err(|error| invalid(error.to_string()))?;
    check_digest(request.sha256.as_deref())?;
    let length = body.size_hint().exact();
    Ok(match inner.uploads.one_shot(file_id, request, length, body).await? {
        Published::Now(record) => (StatusCode::CREATED, Json(record)).into_response(),
        Published::Before(record) => Json(record).into_response(),
    })
}

fn check_digest(sha256: Option<&str>) -> Result<(), Refusal> {
    match sha256 {
        Some(text) if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Err(Refusal::Invalid("sha256 must have 64 hexadecimal digits".to_owned()))
        }
        Some(_) | None => Ok(()),
    }
}
