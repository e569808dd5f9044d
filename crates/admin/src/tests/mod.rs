//! Tests through the router, on a real database in a folder of its own.

mod accounts;
mod elements;
mod files;
mod limits;
mod methods;
mod rebuild;
mod rotation;
mod secrets;
mod tokens;

use crate::{Admin, AdminSettings};
use artstore_api::scope;
use artstore_auth::Algorithm;
use artstore_metrics::{Clock, Monotonic, Registry, UnixTime};
use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tower::ServiceExt as _;

pub(crate) const ISSUER: &str = "https://admin.test:8000";
pub(crate) const START: u64 = 1_800_000_000;

/// Time that only a test moves. (Tokio's paused time would run ahead while the database's threads work.)
#[derive(Debug, Clone)]
pub(crate) struct HandClock(Arc<AtomicU64>);

impl HandClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(START * 1_000)))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

impl Clock for HandClock {
    fn monotonic(&self) -> Monotonic {
        Monotonic::from_origin(self.now())
    }

    fn wall(&self) -> UnixTime {
        UnixTime::from_duration(self.now())
    }
}

/// A module in a folder of its own.
pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) admin: Admin<HandClock>,
    pub(crate) registry: Registry,
    pub(crate) clock: HandClock,
}

/// An answer read whole.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status, code and detail of a problem document.
    pub(crate) fn problem(&self) -> (u16, String, String) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let json = self.json();
        assert_eq!(json["status"], self.status, "{self:?}");
        let text = |name: &str| json[name].as_str().unwrap().to_owned();
        (self.status, text("code"), text("detail"))
    }
}

pub(crate) fn problem(status: u16, code: &str, detail: &str) -> (u16, String, String) {
    (status, code.to_owned(), detail.to_owned())
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl Fn(&mut AdminSettings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = HandClock::new();
        let (admin, registry) = Self::open(&dir, &clock, change).await;
        Self { dir, admin, registry, clock }
    }

    async fn open(
        dir: &TempDir,
        clock: &HandClock,
        change: impl Fn(&mut AdminSettings),
    ) -> (Admin<HandClock>, Registry) {
        // The fastest algorithm, except where a test is about algorithms.
        let mut settings = AdminSettings { algorithm: Algorithm::EdDsa, ..AdminSettings::new(dir.path(), ISSUER) };
        change(&mut settings);
        let registry = Registry::new();
        (Admin::open(settings, &registry, clock.clone()).await.unwrap(), registry)
    }

    /// The same folder under a new process.
    pub(crate) async fn restarted(self) -> Self {
        self.admin.close().await;
        let (admin, registry) = Self::open(&self.dir, &self.clock, |_| {}).await;
        Self { admin, registry, ..self }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response: Response = self.admin.router().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.call(Method::GET, path, token, None).await
    }

    pub(crate) async fn call(&self, method: Method, path: &str, token: &str, body: Option<Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(request.body(body).unwrap()).await
    }

    /// A client-credentials request with HTTP Basic.
    pub(crate) async fn token_answer(&self, client_id: &str, secret: &str, form: &str) -> Answer {
        let request = Request::post("/oauth2/token")
            .header(AUTHORIZATION, format!("Basic {}", STANDARD.encode(format!("{client_id}:{secret}"))))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(form.to_owned()));
        self.send(request.unwrap()).await
    }

    /// The secret of an account for the Ingester's and the Admin Module's API with these scopes.
    pub(crate) async fn account(&self, client_id: &str, scopes: &[&str]) -> String {
        let audiences = [scope::AUDIENCE_INGESTER, scope::AUDIENCE_ADMIN];
        let new = self.admin.bootstrap_account("An account", client_id, scopes, &audiences, None).await.unwrap();
        assert_eq!(new.client_id, client_id);
        new.client_secret
    }

    /// A token with these scopes.
    pub(crate) async fn token(&self, scopes: &[&str]) -> String {
        let secret = self.account("token-for-a-test", scopes).await;
        let answer = self.token_answer("token-for-a-test", &secret, "grant_type=client_credentials").await;
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.registry.sum_of(name, labels)
    }
}

/// The JSON of one part of a token.
pub(crate) fn token_part(token: &str, index: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(index).unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn settings_that_cannot_be_stop_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let settings = AdminSettings { max_connections: 0, ..AdminSettings::new(dir.path(), "admin") };
    let error = Admin::open(settings, &Registry::new(), HandClock::new()).await.unwrap_err();
    let expected = "issuer must be https://host[:port], without a slash at the end; max_connections must not be zero";
    assert_eq!(error.to_string(), expected);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_database_that_is_none_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("admin.db"), vec![7; 8192]).unwrap();
    let settings = AdminSettings::new(dir.path(), ISSUER);
    let settings = AdminSettings { algorithm: Algorithm::EdDsa, ..settings };
    let error = Admin::open(settings, &Registry::new(), HandClock::new()).await.unwrap_err();
    assert!(error.to_string().starts_with("database: "), "{error}");
    assert!(error.to_string().contains("file is not a database"), "{error}");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problem_documents() {
    let fixture = Fixture::new().await;
    let answer = fixture.get("/nothing", "").await;
    assert_eq!(answer.problem(), problem(404, "NOT_FOUND", "there is no such resource"));
    for (path, allowed) in [("/oauth2/token", "POST"), ("/api/v1/service-accounts/a/suspend", "POST")] {
        let answer = fixture.get(path, "").await;
        assert_eq!(answer.problem(), problem(405, "VALIDATION_ERROR", "this resource does not know this method"));
        assert_eq!(answer.header("allow"), allowed);
    }
}

#[tokio::test]
async fn health_names_the_database_that_is_away() {
    let fixture = Fixture::new().await;
    let ready = || serde_json::to_value(fixture.admin.health().ready()).unwrap();
    let well = json!({ "status": "ok", "dependencies": [
        { "name": "database", "status": "ok" }, { "name": "signing_keys", "status": "ok" } ] });
    assert_eq!(ready(), well);
    fixture.admin.close().await;
    let answer = fixture.token_answer("a", "b", "grant_type=client_credentials").await;
    let expected =
        json!({ "error": "temporarily_unavailable", "error_description": "no token can be made at the moment" });
    assert_eq!((answer.status, answer.json()), (503, expected));
    assert_eq!(ready()["status"], "fail");
    assert_eq!(ready()["dependencies"][0]["name"], "database");
    assert_eq!(fixture.sum("admin_store_errors_total", &[]), 1.0);
    assert_eq!(fixture.sum("admin_token_requests_total", &[("outcome", "internal")]), 1.0);
}

#[tokio::test]
async fn health_names_a_broken_key_and_forgets_it_once_mended() {
    let fixture = Fixture::new().await;
    let ready = || serde_json::to_value(fixture.admin.health().ready()).unwrap();
    let broken = fixture.dir.path().join("keys/9.pem");
    std::fs::write(&broken, "half").unwrap();
    fixture.admin.reload_keys().await;
    fixture.admin.reload_keys().await;
    let expected = json!({ "name": "signing_keys", "status": "degraded",
        "reason": format!("{}: no PEM of a PKCS#8 private key", broken.display()) });
    assert_eq!((&ready()["status"], &ready()["dependencies"][1]), (&json!("degraded"), &expected));
    std::fs::remove_file(broken).unwrap();
    fixture.admin.reload_keys().await;
    assert_eq!(ready()["status"], "ok");
    crate::generate_key_file(&fixture.dir.path().join("keys"), Algorithm::Es256, fixture.clock.wall()).unwrap();
    fixture.admin.reload_keys().await;
    for (result, count) in [("failed", 2.0), ("unchanged", 1.0), ("changed", 1.0)] {
        assert_eq!(fixture.sum("admin_signing_key_reload_total", &[("result", result)]), count, "{result}");
    }
    assert_eq!(fixture.sum("admin_signing_keys", &[("algorithm", "ES256")]), 1.0);
}

#[tokio::test]
async fn the_background_ends_when_told_while_requests_go_on() {
    let fixture = Fixture::with(|settings| settings.key_check_interval = Duration::from_millis(1)).await;
    let shutdown = tokio_util::sync::CancellationToken::new();
    let (admin, cancelled) = (fixture.admin.clone(), shutdown.clone());
    let background = tokio::spawn(async move { admin.run_background(cancelled).await });
    while fixture.sum("admin_signing_key_reload_total", &[]) < 2.0 {
        tokio::task::yield_now().await;
    }
    shutdown.cancel();
    background.await.unwrap();
    assert!(fixture.admin.shared.store.ping().await.is_ok());
    fixture.admin.close().await;
    assert!(fixture.admin.shared.store.ping().await.is_err());
}
