//! The HTTP interface: which path is whose.

mod accounts;
mod body;
mod elements;
mod files;
mod guard;
mod metadata;
mod refused;
mod token;

pub use accounts::AccountPage;

use crate::module::Admin;
use artstore_api::element::MAX_RECORDS;
use artstore_http::problem::{method_not_allowed, not_found};
use artstore_metrics::Clock;
use axum::Router;
use axum::routing::{delete, get, post, put};
use refused::Refused;
use serde::Deserialize;

/// How many entries a page has unless the client says otherwise.
const DEFAULT_PAGE: u32 = 100;

impl<C: Clock> Admin<C> {
    /// The module's routes.
    pub fn router(&self) -> Router {
        let account = Router::new()
            .route("/", get(accounts::get::<C>).patch(accounts::change::<C>).delete(accounts::remove::<C>))
            .route("/rotate-secret", post(accounts::rotate::<C>))
            .route("/secrets", delete(accounts::end_secrets::<C>))
            .route("/previous-secret", delete(accounts::end_previous::<C>))
            .route("/suspend", post(accounts::suspend::<C>))
            .route("/activate", post(accounts::activate::<C>));
        Router::new()
            .route("/oauth2/token", post(token::oauth::<C>))
            .route("/oauth2/jwks", get(metadata::jwks::<C>))
            .route("/.well-known/oauth-authorization-server", get(metadata::authorization_server::<C>))
            .route("/api/v1/auth/token", post(token::json::<C>))
            .route("/api/v1/service-accounts", get(accounts::list::<C>).post(accounts::create::<C>))
            .nest("/api/v1/service-accounts/{client_id}", account)
            .route("/api/v1/storage-elements", get(elements::list::<C>))
            .route("/api/v1/storage-elements/{element_id}", put(elements::report::<C>))
            .route("/api/v1/files", get(files::list::<C>).post(files::apply::<C>))
            .route("/api/v1/files/{file_id}", get(files::get::<C>))
            .method_not_allowed_fallback(method_not_allowed)
            .fallback(not_found)
            .with_state(self.clone())
    }
}

/// Where a page begins and how long it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    after: Option<String>,
    limit: Option<u32>,
}

fn page_limit<C: Clock>(admin: &Admin<C>, limit: Option<u32>) -> Result<u32, Refused> {
    let limit = limit.unwrap_or(DEFAULT_PAGE);
    if (1..=MAX_RECORDS as u32).contains(&limit) {
        return Ok(limit);
    }
    Err(admin.invalid(format!("limit must be from 1 to {MAX_RECORDS}")))
}
