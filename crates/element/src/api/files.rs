//! Requests about published files: bytes, records, lists, deletion.

use super::range::Asked;
use super::{Answer, file_id, header};
use crate::element::Inner;
use crate::hash::unhex;
use crate::metrics::{DeleteCause, Direction};
use crate::refusal::Refusal;
use artstore_api::element::{ElementMode, MAX_RECORDS, RecordPage};
use artstore_api::file::{FileId, FileRecord};
use artstore_api::{Code, Problem};
use artstore_http::ProblemResponse;
use artstore_metrics::Clock;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE,
    LAST_MODIFIED, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use std::sync::Arc;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
/// IMF-fixdate (RFC 9110, section 5.6.7).
const HTTP_DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
/// The characters of an extended parameter's value (RFC 8187) that need no percent.
const ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// `GET /api/v1/files/{id}`.
pub(super) async fn read<C: Clock>(
    State(inner): State<Arc<Inner<C>>>,
    path: Path<String>,
    headers: HeaderMap,
) -> Answer {
    let record = live(&inner, file_id(&path)?).await?;
    if header(&headers, IF_NONE_MATCH.as_str()).is_some_and(|tags| matches_tag(tags, &record)) {
        return Ok((StatusCode::NOT_MODIFIED, describe(&record)).into_response());
    }
    // A range is of the file that the client has a part of, or it is none.
    let same = header(&headers, IF_RANGE.as_str()).is_none_or(|tag| tag == etag(&record));
    let range = header(&headers, RANGE.as_str()).filter(|_| same);
    let (status, range) = match Asked::parse(range, record.size) {
        Asked::Whole => (StatusCode::OK, 0..record.size),
        Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Asked::Unsatisfiable => return Ok(unsatisfiable(record.size)),
    };
    let bytes = inner.store.read(record.file_id, range.clone()).await.map_err(Refusal::from)?;
    let metrics = inner.metrics.clone();
    let counted = bytes.inspect_ok(move |piece| metrics.transferred(Direction::Sent, piece.len() as u64));
    let failed = move |error: &std::io::Error| tracing::error!(file_id = %record.file_id, %error, "a file broke off");
    let mut response = Response::new(Body::from_stream(counted.inspect_err(failed).boxed()));
    *response.status_mut() = status;
    *response.headers_mut() = describe(&record);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    if status == StatusCode::PARTIAL_CONTENT {
        let text = format!("bytes {}-{}/{}", range.start, range.end - 1, record.size);
        insert(response.headers_mut(), CONTENT_RANGE, &text);
    }
    Ok(response)
}

/// `HEAD /api/v1/files/{id}`.
pub(super) async fn head<C: Clock>(State(inner): State<Arc<Inner<C>>>, path: Path<String>) -> Answer {
    let record = live(&inner, file_id(&path)?).await?;
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = describe(&record);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(record.size));
    Ok(response)
}

/// `GET /api/v1/files/{id}/record`.
pub(super) async fn record<C: Clock>(State(inner): State<Arc<Inner<C>>>, path: Path<String>) -> Answer {
    Ok(Json(live(&inner, file_id(&path)?).await?).into_response())
}

/// `DELETE /api/v1/files/{id}`.
pub(super) async fn delete<C: Clock>(State(inner): State<Arc<Inner<C>>>, path: Path<String>) -> Answer {
    let file_id = file_id(&path)?;
    match inner.settings.mode {
        ElementMode::Edit => inner.delete(file_id, DeleteCause::Client).await?,
        ElementMode::Rw => {
            return Err(Refusal::Forbidden("permanent files are never deleted by a client").into());
        }
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The query of `GET /api/v1/files`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    after: Option<FileId>,
    limit: Option<usize>,
}

/// `GET /api/v1/files`.
pub(super) async fn list<C: Clock>(
    State(inner): State<Arc<Inner<C>>>,
    page: Result<Query<Page>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let Query(Page { after, limit }) =
        page.map_err(|rejection| ProblemResponse::from(Problem::new(Code::ValidationError, rejection.body_text())))?;
    let limit = limit.unwrap_or(MAX_RECORDS);
    if !(1..=MAX_RECORDS).contains(&limit) {
        return Err(Refusal::Invalid(format!("limit must be from 1 to {MAX_RECORDS}")).into());
    }
    let records = inner.store.list(after, limit).await.map_err(Refusal::from)?;
    let next = records.last().filter(|_| records.len() == limit).map(|last| last.file_id);
    Ok(Json(RecordPage { records, next }).into_response())
}

/// The record of a file that is there and has not expired, whether or not it was swept already.
async fn live<C: Clock>(inner: &Inner<C>, file_id: FileId) -> Result<FileRecord, Refusal> {
    let record = inner.store.record(file_id).await?;
    let now = i64::try_from(inner.clock.wall().as_secs()).unwrap_or(i64::MAX);
    match record.expires_at {
        Some(expires_at) if expires_at.unix_timestamp() <= now => Err(Refusal::NotFound),
        Some(_) | None => Ok(record),
    }
}

fn etag(record: &FileRecord) -> String {
    format!("\"{}\"", record.checksum)
}

/// Whether a list of entity tags has the file's (RFC 9110, section 13.1.2: weakly compared).
fn matches_tag(tags: &str, record: &FileRecord) -> bool {
    let own = etag(record);
    tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == own)
}

/// The headers that say what the file is.
fn describe(record: &FileRecord) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    let fallback = "application/octet-stream";
    let content_type = Some(record.content_type.as_str()).filter(|text| !text.is_empty()).unwrap_or(fallback);
    insert(&mut headers, CONTENT_TYPE, content_type);
    insert(&mut headers, ETAG, &etag(record));
    insert(&mut headers, ACCEPT_RANGES, "bytes");
    insert(&mut headers, CONTENT_DISPOSITION, &disposition(&record.original_filename));
    insert(&mut headers, X_CONTENT_TYPE_OPTIONS, "nosniff");
    if let Some(digest) = unhex(&record.checksum) {
        insert(&mut headers, REPR_DIGEST, &format!("sha-256=:{}:", BASE64_STANDARD.encode(digest)));
    }
    if let Ok(date) = record.uploaded_at.to_offset(time::UtcOffset::UTC).format(HTTP_DATE) {
        insert(&mut headers, LAST_MODIFIED, &date);
    }
    headers
}

/// Always an attachment: what clients uploaded is never shown as a page of ours. RFC 6266: a name in ASCII for all, and the
/// true one for those who understand it.
fn disposition(filename: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%') || c == ' ' { c } else { '_' };
    let ascii: String = filename.chars().map(plain).collect();
    if ascii == filename {
        return format!("attachment; filename=\"{ascii}\"");
    }
    format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{}", utf8_percent_encode(filename, ATTR_CHAR))
}

fn unsatisfiable(size: u64) -> Response {
    let problem = ProblemResponse::new(Code::ValidationError, format!("the file has {size} bytes"));
    let mut response = problem.into_response();
    *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
    insert(response.headers_mut(), CONTENT_RANGE, &format!("bytes */{size}"));
    response
}

/// Sets a header, unless the text cannot be one.
fn insert(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_beyond_ascii_is_given_twice() {
        assert_eq!(disposition("a b.txt"), "attachment; filename=\"a b.txt\"");
        assert_eq!(disposition("a\"é.txt"), "attachment; filename=\"a__.txt\"; filename*=UTF-8''a%22%C3%A9.txt");
        assert_eq!(disposition("100%.txt"), "attachment; filename=\"100_.txt\"; filename*=UTF-8''100%25.txt");
    }
}
