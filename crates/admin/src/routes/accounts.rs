//! `/api/v1/service-accounts` (scope `accounts:admin`).

use super::refused::Refused;
use super::{PageQuery, page_limit};
use crate::module::Admin;
use artstore_api::account::{Account, ChangeAccount, CreateAccount, NewSecret};
use artstore_api::scope::ACCOUNTS_ADMIN;
use artstore_metrics::Clock;
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue};
use http::request::Parts;
use serde::{Deserialize, Serialize};

/// `GET /api/v1/service-accounts?after=&limit=`: accounts in the order of their identifiers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AccountPage {
    /// At most `limit`.
    pub accounts: Vec<Account>,
    /// What to send as `after` for the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// `POST /api/v1/service-accounts`.
pub(crate) async fn create<C: Clock>(State(admin): State<Admin<C>>, request: Request) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    let claims = admin.authorize(&parts, ACCOUNTS_ADMIN).await?;
    let wanted: CreateAccount = admin.read_json(&parts.headers, body, admin.shared.settings.max_body_bytes).await?;
    let new = admin.shared.create_account(wanted).await?;
    tracing::info!(client_id = %new.client_id, by = %claims.sub, "account created");
    Ok(secret_response(StatusCode::CREATED, new))
}

/// `GET /api/v1/service-accounts`.
pub(crate) async fn list<C: Clock>(State(admin): State<Admin<C>>, parts: Parts) -> Result<Json<AccountPage>, Refused> {
    admin.authorize(&parts, ACCOUNTS_ADMIN).await?;
    let query: PageQuery = admin.read_query(&parts.uri)?;
    let limit = page_limit(&admin, query.limit)?;
    // One more than asked tells whether there is a next page.
    let mut accounts = admin.shared.list_accounts(&query.after.unwrap_or_default(), limit + 1).await?;
    let more = accounts.len() > limit as usize;
    accounts.truncate(limit as usize);
    let next = accounts.last().filter(|_| more).map(|last| last.client_id.clone());
    Ok(Json(AccountPage { accounts, next }))
}

/// `GET /api/v1/service-accounts/{client_id}`.
pub(crate) async fn get<C: Clock>(
    State(admin): State<Admin<C>>,
    Path(client_id): Path<String>,
    parts: Parts,
) -> Result<Json<Account>, Refused> {
    admin.authorize(&parts, ACCOUNTS_ADMIN).await?;
    Ok(Json(admin.shared.account(&client_id).await?))
}

/// `PATCH /api/v1/service-accounts/{client_id}`: keys, certificate, binding and element.
pub(crate) async fn change<C: Clock>(
    State(admin): State<Admin<C>>,
    Path(client_id): Path<String>,
    request: Request,
) -> Result<Json<Account>, Refused> {
    let (parts, body) = request.into_parts();
    let claims = admin.authorize(&parts, ACCOUNTS_ADMIN).await?;
    let change: ChangeAccount = admin.read_json(&parts.headers, body, admin.shared.settings.max_body_bytes).await?;
    let account = admin.shared.change_account(&client_id, change).await?;
    tracing::info!(%client_id, by = %claims.sub, "account changed");
    Ok(Json(account))
}

/// `DELETE /api/v1/service-accounts/{client_id}`.
pub(crate) async fn remove<C: Clock>(
    State(admin): State<Admin<C>>,
    Path(client_id): Path<String>,
    parts: Parts,
) -> Result<StatusCode, Refused> {
    let claims = admin.authorize(&parts, ACCOUNTS_ADMIN).await?;
    admin.shared.delete_account(&client_id).await?;
    tracing::info!(%client_id, by = %claims.sub, "account deleted");
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /api/v1/service-accounts/{client_id}/secrets`: for an account that authenticates in another way.
pub(crate) async fn end_secrets<C: Clock>(
    State(admin): State<Admin<C>>,
    Path(client_id): Path<String>,
    parts: Parts,
) -> Result<StatusCode, Refused> {
    let claims = admin.authorize(&parts, ACCOUNTS_ADMIN).await?;
    admin.shared.end_secrets(&client_id).await?;
    tracing::info!(%client_id, by = %claims.sub, "account's secrets ended");
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/v1/service-accounts/{client_id}/rotate-secret`.
pub(crate) async fn rotate<C: Clock>(
    State(admin): State<Admin<C>>,
    Path(client_id): Path<String>,
    parts: Parts,
) -> Result<Response, Refused> {
    let claims = admin.authorize(&parts, ACCOUNTS_ADMIN).await?;
    let new = admin.shared.rotate_secret(&client_id).await?;
    tracing::info!(%client_id, by = %claims.sub, "account has a new secret");
    Ok(secret_response(StatusCode::OK, new))
}

/// `DELETE /api/v1/service-accounts/{client_id}/previous-secret`.
pub(crate) async fn end_previous<C: Clock>(
    State(admin): State<Admin<C>>,
    Path(client_id): Path<String>,
    parts: Parts,
) -> Result<StatusCode, Refused> {
    let claims = admin.authorize(&parts, ACCOUNTS_ADMIN).await?;
    admin.shared.end_previous_secret(&client_id).await?;
    tracing::info!(%client_id, by = %claims.sub, "account's previous secret ended");
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/v1/service-accounts/{client_id}/suspend`.
pub(crate) async fn suspend<C: Clock>(
    State(admin): State<Admin<C>>,
    Path(client_id): Path<String>,
    parts: Parts,
) -> Result<StatusCode, Refused> {
    set_active(&admin, &client_id, &parts, false).await
}

/// `POST /api/v1/service-accounts/{client_id}/activate`.
pub(crate) async fn activate<C: Clock>(
    State(admin): State<Admin<C>>,
    Path(client_id): Path<String>,
    parts: Parts,
) -> Result<StatusCode, Refused> {
    set_active(&admin, &client_id, &parts, true).await
}

async fn set_active<C: Clock>(
    admin: &Admin<C>,
    client_id: &str,
    parts: &Parts,
    active: bool,
) -> Result<StatusCode, Refused> {
    let claims = admin.authorize(parts, ACCOUNTS_ADMIN).await?;
    admin.shared.set_active(client_id, active).await?;
    tracing::info!(%client_id, active, by = %claims.sub, "account suspended or activated");
    Ok(StatusCode::NO_CONTENT)
}

/// No cache keeps a secret.
fn secret_response(status: StatusCode, new: NewSecret) -> Response {
    (status, [(CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(new)).into_response()
}
