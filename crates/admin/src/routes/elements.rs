//! `/api/v1/storage-elements`: elements report themselves (scope `elements:report`), others find them (`elements:read`).

use super::refused::Refused;
use crate::elements::{ELEMENT_ID_RULE, is_element_id};
use crate::module::Admin;
use crate::settings::is_base_url;
use crate::store::Reported;
use artstore_api::Code;
use artstore_api::element::{ElementList, ElementMode, ElementReport, ElementStatus};
use artstore_api::scope::{ELEMENTS_READ, ELEMENTS_REPORT};
use artstore_metrics::Clock;
use axum::Json;
use axum::extract::{Path, Request, State};
use http::StatusCode;
use http::request::Parts;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    mode: Option<ElementMode>,
    status: Option<ElementStatus>,
}

/// `GET /api/v1/storage-elements?mode=&status=`.
pub(crate) async fn list<C: Clock>(State(admin): State<Admin<C>>, parts: Parts) -> Result<Json<ElementList>, Refused> {
    admin.authorize(&parts, ELEMENTS_READ).await?;
    let filter: Filter = admin.read_query(&parts.uri)?;
    let shared = &*admin.shared;
    let elements = shared.noted(shared.store.elements().await)?;
    let elements = elements
        .into_iter()
        .map(|reported| shared.fleet.element(reported))
        .filter(|element| filter.mode.is_none_or(|mode| mode == element.mode))
        .filter(|element| filter.status.is_none_or(|status| status == element.status))
        .collect();
    Ok(Json(ElementList { elements }))
}

/// `PUT /api/v1/storage-elements/{element_id}`: an element's heartbeat.
pub(crate) async fn report<C: Clock>(
    State(admin): State<Admin<C>>,
    Path(element_id): Path<String>,
    request: Request,
) -> Result<StatusCode, Refused> {
    let (parts, body) = request.into_parts();
    let claims = admin.authorize(&parts, ELEMENTS_REPORT).await?;
    check_element_id(&admin, &element_id)?;
    admin.authorize_element(&claims, &element_id).await?;
    let shared = &*admin.shared;
    let report: ElementReport = admin.read_json(&parts.headers, body, shared.settings.max_body_bytes).await?;
    if !is_base_url(&report.url) {
        return Err(admin.invalid("url must be https://host[:port], without a slash at the end"));
    }
    let reported = Reported { element_id, report, reported_at: shared.now() };
    if !shared.noted(shared.store.put_element(&reported, shared.settings.max_elements).await)? {
        return Err(Refused::new(Code::Conflict, "there are as many elements as there may be"));
    }
    shared.fleet.put(&reported);
    shared.metrics.element_reported(reported.report.mode);
    Ok(StatusCode::NO_CONTENT)
}

/// An identifier is safe in paths and logs.
pub(crate) fn check_element_id<C: Clock>(admin: &Admin<C>, element_id: &str) -> Result<(), Refused> {
    if is_element_id(element_id) { Ok(()) } else { Err(admin.invalid(ELEMENT_ID_RULE)) }
}
