//! What the operations listener serves of the status.

use super::html;
use super::{Extent, Report, Status};
use artstore_metrics::Clock;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};

const STYLE: &str = include_str!("assets/status.css");
const SCRIPT: &str = include_str!("assets/status.js");
const ICON: &str = include_str!("assets/status.svg");

/// Nothing but what this listener serves, and nothing inside of the page.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

pub(super) fn router<C: Clock>(status: Status<C>) -> Router {
    Router::new()
        .route("/", get(page::<C>))
        .route("/status.json", get(json::<C>))
        .route("/status.css", get(|| async { answer("text/css; charset=utf-8", STYLE) }))
        .route("/status.js", get(|| async { answer("text/javascript; charset=utf-8", SCRIPT) }))
        .route("/status.svg", get(|| async { answer("image/svg+xml", ICON) }))
        .with_state(status)
}

async fn page<C: Clock>(State(status): State<Status<C>>, RawQuery(query): RawQuery) -> Response {
    made(status, query.as_deref(), "text/html; charset=utf-8", html::page).await
}

async fn json<C: Clock>(State(status): State<Status<C>>, RawQuery(query): RawQuery) -> Response {
    made(status, query.as_deref(), "application/json", |report| serde_json::to_string(report).unwrap_or_default()).await
}

/// Drawing takes milliseconds of computing, so it is done beside the threads that serve uploads.
async fn made<C: Clock>(
    status: Status<C>,
    query: Option<&str>,
    kind: &'static str,
    make: fn(&Report) -> String,
) -> Response {
    let extent = if query == Some("panels=all") { Extent::All } else { Extent::Page };
    match tokio::task::spawn_blocking(move || make(&status.report_of(extent))).await {
        Ok(body) => answer(kind, body),
        Err(_) => http::StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn answer(kind: &'static str, body: impl IntoResponse) -> Response {
    let headers = [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    (headers, body).into_response()
}
