//! The operations listener of a module: metrics and health.

use crate::health::Health;
use artstore_metrics::{Format, Registry};
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::HeaderMap;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, VARY};
use std::sync::Arc;

/// `/metrics`, `/health/live` and `/health/ready`; a module merges its status page with it.
pub fn operations_router(registry: Registry, health: Arc<dyn Health>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .fallback(crate::problem::not_found)
        .with_state(registry)
        .merge(health_router("/health", health))
}

/// `{prefix}/live` and `{prefix}/ready` alone, for listeners that show health beside their own API.
pub fn health_router(prefix: &str, health: Arc<dyn Health>) -> Router {
    Router::new()
        .route(&format!("{prefix}/live"), get(live))
        .route(&format!("{prefix}/ready"), get(ready))
        .with_state(health)
}

async fn metrics(State(registry): State<Registry>, headers: HeaderMap) -> Response {
    // Several Accept lines mean the same as one with commas.
    let accept: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = Format::negotiate(Some(&accept.join(",")));
    let text = registry.encode(format);
    ([(CONTENT_TYPE, format.content_type()), (VARY, "Accept"), (CACHE_CONTROL, "no-store")], text).into_response()
}

async fn live() -> Response {
    json(http::StatusCode::OK, "{\"status\":\"ok\"}".to_owned())
}

async fn ready(State(health): State<Arc<dyn Health>>) -> Response {
    let report = health.ready();
    json(report.status.http(), serde_json::to_string(&report).unwrap_or_default())
}

fn json(status: http::StatusCode, body: String) -> Response {
    (status, [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response()
}

/// Text as HTML shows it.
#[must_use]
pub fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{Dependency, HealthReport, Status};
    use artstore_metrics::{Counter, Family};
    use http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    const KNOCKS: Family = Family::counter("knocks_total", "Knocks.");

    fn router(report: HealthReport) -> Router {
        let registry = Registry::new();
        let knocks: Counter = registry.counter(&KNOCKS);
        knocks.inc(());
        operations_router(registry, Arc::new(move || report.clone()))
    }

    async fn ask(router: Router, method: &str, path: &str, accept: &[&str]) -> (http::response::Parts, String) {
        let mut request = Request::builder().method(method).uri(path);
        for accept in accept {
            request = request.header(ACCEPT, *accept);
        }
        let response = router.oneshot(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts, String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_accept_header_chooses_the_format() {
        const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
        const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        for (accept, expected) in [
            (&[][..], TEXT),
            (&["*/*"][..], TEXT),
            (&["text/plain"][..], TEXT),
            (&["text/html"][..], TEXT),
            (&["application/openmetrics-text; version=1.0.0; charset=utf-8"][..], OPENMETRICS),
            (
                &[
                    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;q=0.5",
                ],
                OPENMETRICS,
            ),
            (&["text/plain;q=0.9, application/openmetrics-text;q=0.1"][..], TEXT),
            (&["text/plain;q=0.1", "application/openmetrics-text"][..], OPENMETRICS),
        ] {
            let (parts, text) = ask(router(HealthReport::of(vec![])), "GET", "/metrics", accept).await;
            assert_eq!(
                (parts.status.as_u16(), parts.headers[CONTENT_TYPE].to_str().unwrap()),
                (200, expected),
                "{accept:?}"
            );
            assert!(text.contains("\nknocks_total 1\n"), "{text}");
            assert_eq!(text.ends_with("# EOF\n"), expected == OPENMETRICS);
        }
    }

    #[tokio::test]
    async fn head_answers_like_get_without_a_body_and_post_is_refused() {
        let (parts, text) = ask(router(HealthReport::of(vec![])), "HEAD", "/metrics", &[]).await;
        assert_eq!((parts.status.as_u16(), text.as_str()), (200, ""));
        assert_eq!(parts.headers[CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
        let (parts, _) = ask(router(HealthReport::of(vec![])), "POST", "/metrics", &[]).await;
        assert_eq!(parts.status, 405);
        let (parts, _) = ask(router(HealthReport::of(vec![])), "GET", "/metrics/", &[]).await;
        assert_eq!(parts.status, 404);
    }

    #[tokio::test]
    async fn readiness_says_why_and_liveness_does_not_depend_on_it() {
        for (status, code) in [(Status::Ok, 200), (Status::Degraded, 200), (Status::Fail, 503)] {
            let report = HealthReport {
                status,
                dependencies: vec![Dependency::ok("store"), Dependency::fail("admin", "refused <now>")],
            };
            let (parts, text) = ask(router(report.clone()), "GET", "/health/ready", &[]).await;
            assert_eq!(parts.status, code);
            let expected = serde_json::json!({"status": status.as_str(), "dependencies": [
                {"name": "store", "status": "ok"}, {"name": "admin", "status": "fail", "reason": "refused <now>"}]});
            assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), expected);
            let (parts, text) = ask(router(report), "GET", "/health/live", &[]).await;
            assert_eq!((parts.status.as_u16(), text.as_str()), (200, "{\"status\":\"ok\"}"));
        }
    }

    #[test]
    fn html_is_escaped() {
        assert_eq!(escape_html("<a href='x'>\"&\"</a>"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;&quot;&lt;/a&gt;");
    }
}
