//! `/api/v1/files`: the index. Elements tell what changed (scope `elements:report`), others read (`index:read`).

use super::elements::check_element_id;
use super::refused::Refused;
use super::{PageQuery, page_limit};
use crate::module::Admin;
use crate::store::Source;
use artstore_api::Code;
use artstore_api::element::{IndexPage, MAX_RECORDS, RecordBatch};
use artstore_api::file::{FileId, IndexedFile};
use artstore_api::scope::{ELEMENTS_REPORT, INDEX_READ};
use artstore_metrics::Clock;
use axum::Json;
use axum::extract::{Path, Request, State};
use http::StatusCode;
use http::request::Parts;

/// `POST /api/v1/files`: a batch of changes, durable once it is answered.
pub(crate) async fn apply<C: Clock>(State(admin): State<Admin<C>>, request: Request) -> Result<StatusCode, Refused> {
    let (parts, body) = request.into_parts();
    let claims = admin.authorize(&parts, ELEMENTS_REPORT).await?;
    let shared = &*admin.shared;
    let batch: RecordBatch = admin.read_json(&parts.headers, body, shared.settings.max_batch_body_bytes).await?;
    check_element_id(&admin, &batch.element_id)?;
    admin.authorize_element(&claims, &batch.element_id).await?;
    if batch.changes.len() > MAX_RECORDS {
        return Err(admin.invalid(format!("changes are at most {MAX_RECORDS}")));
    }
    let applied =
        shared.noted(shared.store.apply(&batch.element_id, &batch.changes, Source::Report, shared.now()).await)?;
    shared.metrics.applied(applied);
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /api/v1/files/{file_id}`.
pub(crate) async fn get<C: Clock>(
    State(admin): State<Admin<C>>,
    Path(file_id): Path<String>,
    parts: Parts,
) -> Result<Json<IndexedFile>, Refused> {
    admin.authorize(&parts, INDEX_READ).await?;
    let none = || Refused::new(Code::NotFound, "there is no such file in the index");
    // What is no identifier names no file.
    let file_id: FileId = file_id.parse().map_err(|_| none())?;
    let shared = &*admin.shared;
    shared.noted(shared.store.file(file_id, shared.now()).await)?.map(Json).ok_or_else(none)
}

/// `GET /api/v1/files?after=&limit=`.
pub(crate) async fn list<C: Clock>(State(admin): State<Admin<C>>, parts: Parts) -> Result<Json<IndexPage>, Refused> {
    admin.authorize(&parts, INDEX_READ).await?;
    let query: PageQuery = admin.read_query(&parts.uri)?;
    let limit = page_limit(&admin, query.limit)?;
    let after = query.after.map(|after| after.parse::<FileId>());
    let after = after.transpose().map_err(|_| admin.invalid("after must be a file identifier"))?;
    let shared = &*admin.shared;
    // One more than asked tells whether there is a next page.
    let mut files = shared.noted(shared.store.files(after, limit + 1, shared.now()).await)?;
    let more = files.len() > limit as usize;
    files.truncate(limit as usize);
    let next = files.last().filter(|_| more).map(|last| last.record.file_id);
    Ok(Json(IndexPage { files, next }))
}
