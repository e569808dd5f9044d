//! Reports against an Admin Module of the test's own, on a real socket.

use crate::ElementSettings;
use crate::metrics::ReportResult;
use crate::testing::Bench;
use artstore_api::element::{ElementReport, RecordBatch, RecordChange};
use artstore_api::file::FileId;
use artstore_auth::{AdminInstance, AuthMetrics, AuthService, AuthSettings, SecretSource, Transport};
use artstore_http::Status;
use artstore_metrics::{Registry, TestClock};
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::{IntoResponse as _, Response as Answer};
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::json;
use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// One request that came in.
#[derive(Debug, Clone)]
struct Told {
    what: String,
    authorization: String,
    body: Bytes,
    /// The client's end of the connection.
    from: SocketAddr,
}

/// An Admin Module that answers as the test says, and 204 after that.
#[derive(Debug, Clone)]
struct Admin {
    url: String,
    answers: Arc<Mutex<VecDeque<StatusCode>>>,
    /// Batches with this file are refused.
    refused: Arc<Mutex<Option<FileId>>>,
    told: Arc<watch::Sender<Vec<Told>>>,
}

impl Admin {
    async fn start(answers: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers = answers.iter().map(|status| StatusCode::from_u16(*status).unwrap()).collect();
        let (answers, told) = (Arc::new(Mutex::new(answers)), Arc::new(watch::Sender::new(vec![])));
        let admin = Self { url, answers, refused: Arc::default(), told };
        let handler = admin.clone();
        let router = Router::new().fallback(move |headers: HeaderMap, request: Request| handler.take(headers, request));
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        admin
    }

    async fn take(self, headers: HeaderMap, request: Request) -> Answer {
        let from = request.extensions().get::<ConnectInfo<SocketAddr>>().unwrap().0;
        let what = format!("{} {}", request.method(), request.uri().path());
        let authorization = headers["authorization"].to_str().unwrap().to_owned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let refused = self.refused.lock().unwrap().map(|id| id.to_string());
        if refused.is_some_and(|id| String::from_utf8_lossy(&body).contains(&id)) {
            return StatusCode::BAD_REQUEST.into_response();
        }
        self.told.send_modify(|told| told.push(Told { what, authorization, body, from }));
        match self.answers.lock().unwrap().pop_front() {
            Some(refusal) => (refusal, "a reason, of some length").into_response(),
            None => StatusCode::NO_CONTENT.into_response(),
        }
    }

    fn told(&self) -> Vec<Told> {
        self.told.borrow().clone()
    }

    /// The changes told so far, in order.
    fn changes(&self) -> Vec<RecordChange> {
        let batches = self.told().into_iter().filter(|told| told.what == "POST /api/v1/files");
        batches.flat_map(|told| serde_json::from_slice::<RecordBatch>(&told.body).unwrap().changes).collect()
    }

    async fn wait_for(&self, done: impl Fn(&Self) -> bool) {
        let mut told = self.told.subscribe();
        while !done(self) {
            tokio::time::timeout(Duration::from_secs(10), told.changed()).await.expect("nothing was told").unwrap();
        }
    }
}

/// A service whose every acquisition gives a new token: `t1`, `t2`…
fn auth(clock: &TestClock) -> AuthService<TestClock> {
    let number = Arc::new(AtomicU64::new(0));
    let transport = tower::service_fn(move |_| {
        let token = format!("t{}", number.fetch_add(1, Ordering::Relaxed) + 1);
        let body = json!({ "access_token": token, "token_type": "Bearer", "expires_in": 1800 }).to_string();
        let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
        let response = Response::builder().header("content-type", "application/json").body(body).unwrap();
        std::future::ready(Ok(response))
    });
    let instance = AdminInstance::parse("https://admin:8000").unwrap();
    let metrics = AuthMetrics::new(&Registry::new(), std::slice::from_ref(&instance), clock.clone());
    let settings = AuthSettings::new("e1", SecretSource::inline("secret"), vec![instance]);
    AuthService::new(settings, Transport::new(transport), metrics, clock.clone()).unwrap()
}

/// An element with two unreported changes that then reports to these Admin Modules.
async fn reporting(urls: Vec<String>, change: impl FnOnce(&mut ElementSettings)) -> (Bench, FileId, FileId) {
    let bench = Bench::start(|settings| {
        settings.admin_urls = urls;
        settings.outbox_delay = Duration::from_millis(1);
        settings.heartbeat = Duration::from_millis(20);
        change(settings);
    })
    .await;
    let (kept, gone) = (bench.file(b"abc").await.file_id, bench.file(b"d").await.file_id);
    assert_eq!(bench.call("DELETE", &format!("/api/v1/files/{gone}"), &[], Body::empty()).await.status, 204);
    let auth = auth(&bench.clock);
    (bench.restart_with(Some(auth)).await, kept, gone)
}

fn published(change: &RecordChange, id: FileId) -> bool {
    matches!(change, RecordChange::Published { record } if record.file_id == id)
}

#[tokio::test]
async fn what_happened_before_a_restart_is_told_after_it() {
    let admin = Admin::start(&[]).await;
    let (bench, kept, gone) = reporting(vec![format!("{}/", admin.url)], |_| {}).await;
    assert_eq!(bench.sum("element_outbox_changes", &[]), 2.0);
    assert_eq!(bench.element.health().ready().status, Status::Degraded);
    let shutdown = CancellationToken::new();
    let background = tokio::spawn({
        let (element, shutdown) = (bench.element.clone(), shutdown.clone());
        async move { element.run_background(shutdown).await }
    });
    admin.wait_for(|admin| admin.changes().len() >= 2 && admin.told().len() >= 3).await;
    let late = bench.file(b"late").await.file_id;
    admin.wait_for(|admin| admin.changes().len() >= 3).await;
    shutdown.cancel();
    background.await.unwrap();
    let changes = admin.changes();
    assert!(published(&changes[0], kept) && published(&changes[2], late), "{changes:?}");
    assert_eq!(changes[1], RecordChange::Deleted { file_id: gone });
    let heartbeat = admin.told().into_iter().find(|told| told.what.starts_with("PUT")).unwrap();
    assert_eq!(
        (heartbeat.what.as_str(), heartbeat.authorization.as_str()),
        ("PUT /api/v1/storage-elements/e1", "Bearer t1")
    );
    let report: ElementReport = serde_json::from_slice(&heartbeat.body).unwrap();
    assert_eq!((report.url.as_str(), report.mode.as_str()), ("https://e1:8010", "edit"));
    assert!(report.capacity.free_bytes > 0);
    assert_eq!(bench.sum("element_outbox_changes", &[]), 0.0);
    assert_eq!(bench.sum("element_outbox_oldest_age_seconds", &[]), 0.0);
    assert_eq!(bench.element.health().ready().status, Status::Ok);
    let names = [format!("{kept}"), format!("{kept}.json"), format!("{late}"), format!("{late}.json")];
    assert_eq!(bench.names("objects"), names);
    let bench = bench.restart_with(None).await;
    assert_eq!(bench.sum("element_outbox_changes", &[]), 0.0);
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once() {
    let admin = Admin::start(&[401]).await;
    let (bench, ..) = reporting(vec![admin.url.clone()], |_| {}).await;
    let reporter = bench.element.reporter().unwrap();
    assert_eq!(reporter.heartbeat().await, ReportResult::Acknowledged);
    let tokens: Vec<_> = admin.told().into_iter().map(|told| told.authorization).collect();
    assert_eq!(tokens, ["Bearer t1", "Bearer t2"]);
    *admin.answers.lock().unwrap() = [StatusCode::UNAUTHORIZED, StatusCode::UNAUTHORIZED].into();
    assert_eq!(reporter.heartbeat().await, ReportResult::Denied);
    assert_eq!(admin.told().len(), 4);
    *admin.answers.lock().unwrap() = [StatusCode::FORBIDDEN].into();
    assert_eq!(reporter.heartbeat().await, ReportResult::Denied);
    assert_eq!(bench.element.health().ready().status, Status::Degraded);
    assert_eq!(bench.sum("element_reports_total", &[("report", "heartbeat"), ("result", "acknowledged")]), 1.0);
    assert_eq!(bench.sum("element_reports_total", &[("report", "heartbeat"), ("result", "denied")]), 2.0);
}

/// Left unread, the reason of a refusal would cost the connection, and each report of a bad time a handshake.
#[tokio::test]
async fn a_refusal_is_read_to_its_end_so_that_its_connection_serves_again() {
    let admin = Admin::start(&[500, 403, 401, 500]).await;
    let (bench, ..) = reporting(vec![admin.url.clone()], |_| {}).await;
    let reporter = bench.element.reporter().unwrap();
    for expected in
        [ReportResult::Unreachable, ReportResult::Denied, ReportResult::Unreachable, ReportResult::Acknowledged]
    {
        assert_eq!(reporter.heartbeat().await, expected);
    }
    let told = admin.told();
    assert_eq!(told.len(), 5);
    assert_eq!(told.iter().map(|told| told.from).collect::<BTreeSet<_>>().len(), 1, "{told:?}");
}

#[tokio::test]
async fn another_admin_module_is_asked_when_one_is_away() {
    let admin = Admin::start(&[503]).await;
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (bench, ..) = reporting(vec![format!("http://{dead}"), admin.url.clone()], |_| {}).await;
    let reporter = bench.element.reporter().unwrap();
    assert_eq!(reporter.heartbeat().await, ReportResult::Unreachable);
    assert_eq!(
        bench.element.health().ready().dependencies[1].reason,
        "the Admin Module cannot be reached; records catch up later"
    );
    assert_eq!(reporter.tell(10).await, ReportResult::Acknowledged);
    assert_eq!((admin.changes().len(), bench.sum("element_outbox_changes", &[])), (2, 0.0));
}

#[tokio::test]
async fn without_a_token_nothing_is_lost() {
    let (bench, ..) = reporting(vec!["http://127.0.0.1:1".to_owned()], |_| {}).await;
    bench.auth.as_ref().unwrap().close();
    let reporter = bench.element.reporter().unwrap();
    assert_eq!(reporter.tell(10).await, ReportResult::NoToken);
    assert_eq!(bench.sum("element_outbox_changes", &[]), 2.0);
    assert_eq!(bench.element.health().ready().status, Status::Degraded);
}

/// The Admin Module refuses every batch with the first file: the other changes are told all the same.
#[tokio::test]
async fn one_change_that_is_not_taken_does_not_hold_up_the_others() {
    let admin = Admin::start(&[]).await;
    let (bench, kept, gone) = reporting(vec![admin.url.clone()], |_| {}).await;
    *admin.refused.lock().unwrap() = Some(kept);
    let shutdown = CancellationToken::new();
    let (element, cancel) = (bench.element.clone(), shutdown.clone());
    let background = tokio::spawn(async move { element.run_background(cancel).await });
    admin.wait_for(|admin| admin.changes().contains(&RecordChange::Deleted { file_id: gone })).await;
    *admin.refused.lock().unwrap() = None;
    admin.wait_for(|admin| admin.changes().iter().any(|change| published(change, kept))).await;
    shutdown.cancel();
    background.await.unwrap();
    assert_eq!(bench.sum("element_outbox_changes", &[]), 0.0);
    assert!(bench.sum("element_reports_total", &[("report", "records"), ("result", "refused")]) >= 2.0);
}

#[tokio::test]
async fn a_file_deleted_before_it_was_told_is_told_as_deleted_only() {
    let admin = Admin::start(&[]).await;
    let (bench, ..) = reporting(vec![admin.url.clone()], |_| {}).await;
    let reporter = bench.element.reporter().unwrap();
    assert_eq!(reporter.tell(10).await, ReportResult::Acknowledged);
    let id = bench.file(b"x").await.file_id;
    assert_eq!(bench.call("DELETE", &format!("/api/v1/files/{id}"), &[], Body::empty()).await.status, 204);
    assert_eq!(bench.sum("element_outbox_changes", &[]), 2.0);
    assert_eq!(reporter.tell(10).await, ReportResult::Acknowledged);
    assert_eq!(admin.changes()[2..], [RecordChange::Deleted { file_id: id }]);
    assert_eq!(bench.sum("element_outbox_changes", &[]), 0.0);
    assert!(!bench.names("objects").iter().any(|name| name.starts_with(&id.to_string())));
}
