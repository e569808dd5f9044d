//! The operations listener of a module: metrics, health and a small status page.

use crate::health::{Health, HealthReport};
use artstore_metrics::{Format, Registry};
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue};
use std::fmt::Write as _;
use std::sync::Arc;

/// What the status page shows beside health: a title, and HTML of the module's own.
#[derive(Clone)]
pub struct StatusPage {
    title: String,
    extra: Arc<dyn Fn() -> String + Send + Sync>,
}

impl StatusPage {
    /// A page with this title and nothing more.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), extra: Arc::new(String::new) }
    }

    /// The same page with more HTML, made anew for each request. It must be self-contained and must escape
    /// ([`escape_html`]) what it did not write itself.
    #[must_use]
    pub fn with_html(mut self, extra: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.extra = Arc::new(extra);
        self
    }
}

impl std::fmt::Debug for StatusPage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StatusPage").field("title", &self.title).finish_non_exhaustive()
    }
}

/// `/metrics`, `/health/live`, `/health/ready` and the status page at `/`.
pub fn operations_router(registry: Registry, health: Arc<dyn Health>, page: StatusPage) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/", get(status))
        .fallback(crate::problem::not_found)
        .with_state(Operations { registry, health: Arc::clone(&health), page: Arc::new(page) })
        .merge(health_router("/health", health))
}

/// `{prefix}/live` and `{prefix}/ready` alone, for listeners that show health beside their own API.
pub fn health_router(prefix: &str, health: Arc<dyn Health>) -> Router {
    Router::new()
        .route(&format!("{prefix}/live"), get(live))
        .route(&format!("{prefix}/ready"), get(ready))
        .with_state(health)
}

#[derive(Clone)]
struct Operations {
    registry: Registry,
    health: Arc<dyn Health>,
    page: Arc<StatusPage>,
}

async fn metrics(State(operations): State<Operations>, headers: HeaderMap) -> Response {
    // Several Accept lines mean the same as one with commas.
    let accept: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = Format::negotiate(Some(&accept.join(",")));
    let text = operations.registry.encode(format);
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

async fn status(State(operations): State<Operations>) -> Response {
    let html = page(&operations.page, &operations.health.ready());
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'");
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    let no_store = HeaderValue::from_static("no-store");
    ([(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, policy), (CACHE_CONTROL, no_store)], html).into_response()
}

fn page(page: &StatusPage, report: &HealthReport) -> String {
    let title = escape_html(&page.title);
    let mut rows = String::new();
    for dependency in &report.dependencies {
        let (name, word) = (escape_html(&dependency.name), dependency.status.as_str());
        let reason = escape_html(&dependency.reason);
        // Writing to a string does not fail.
        let _ = write!(rows, "<tr><td>{name}</td><td class=\"{word}\">{word}</td><td>{reason}</td></tr>");
    }
    let word = report.status.as_str();
    let extra = (page.extra)();
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}: {word}</title><style>{STYLE}</style></head>\
         <body><h1>{title} <span class=\"{word}\">{word}</span></h1>\
         <table><thead><tr><th>Dependency</th><th>Status</th><th>Reason</th></tr></thead><tbody>{rows}</tbody></table>{extra}\
         <p><a href=\"/metrics\">metrics</a> · <a href=\"/health/ready\">readiness</a> · <a href=\"/health/live\">liveness</a></p>\
         </body></html>"
    )
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:50rem;padding:0 1rem;color:#1b1b1b;background:#fff}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd}\
.ok{color:#0a6b2d}.degraded{color:#8a5a00}.fail{color:#b00020}";

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
    use crate::health::{Dependency, Status};
    use artstore_metrics::{Counter, Family};
    use http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    const KNOCKS: Family = Family::counter("knocks_total", "Knocks.");

    fn router(report: HealthReport) -> Router {
        let registry = Registry::new();
        let knocks: Counter = registry.counter(&KNOCKS);
        knocks.inc(());
        let page = StatusPage::new("Ingester <1>").with_html(|| "<p>extra</p>".to_owned());
        operations_router(registry, Arc::new(move || report.clone()), page)
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
            let (parts, text) = ask(router(report.clone()), "GET", "/health/live", &[]).await;
            assert_eq!((parts.status.as_u16(), text.as_str()), (200, "{\"status\":\"ok\"}"));
            let (parts, html) = ask(router(report), "GET", "/", &[]).await;
            assert_eq!(parts.status, 200);
            assert!(html.contains("<h1>Ingester &lt;1&gt; <span") && html.contains("refused &lt;now&gt;"), "{html}");
            assert!(html.contains("<p>extra</p>") && !html.contains("http://") && !html.contains("https://"));
        }
    }

    #[test]
    fn html_is_escaped() {
        assert_eq!(escape_html("<a href='x'>\"&\"</a>"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;&quot;&lt;/a&gt;");
        assert_eq!(format!("{:?}", StatusPage::new("T")), "StatusPage { title: \"T\", .. }");
    }
}
