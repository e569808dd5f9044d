//! The index restored from elements that are not what it says.

use super::files::{expiring, id, published, record};
use super::{Fixture, HandClock, token_part};
use crate::rebuild::Pages;
use crate::store::{Reported, Source};
use crate::{RebuiltElement, store};
use artstore_api::element::{Capacity, ElementMode, ElementReport, RecordChange, RecordPage};
use artstore_api::{FileId, FileRecord};
use artstore_http::{Client, ClientSettings, HttpClientMetrics, Server, ServerMetrics, ServerSettings};
use artstore_metrics::{Clock as _, Registry};
use axum::Router;
use axum::extract::RawQuery;
use axum::routing::get;
use http::HeaderMap;
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::HashMap;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Elements by their address, two records to a page.
struct Elements(HashMap<&'static str, Vec<FileRecord>>);

impl Pages for Elements {
    async fn page(&self, url: &str, token: &SecretString, after: Option<FileId>) -> Result<RecordPage, String> {
        let claims = token_part(token.expose_secret(), 1);
        assert_eq!((&claims["aud"], &claims["scope"]), (&"artstore-element".into(), &"storage:read".into()));
        let records = self.0.get(url).ok_or("cannot connect")?;
        let mut records: Vec<_> =
            records.iter().filter(|record| after.is_none_or(|after| record.file_id > after)).cloned().collect();
        let more = records.len() > 2;
        records.truncate(2);
        let next = records.last().filter(|_| more).map(|record| record.file_id);
        Ok(RecordPage { records, next })
    }
}

async fn fixture(elements: &[&str]) -> Fixture {
    let fixture = Fixture::new().await;
    for element_id in elements {
        let capacity = Capacity { capacity_bytes: 1, free_bytes: 1 };
        let report = ElementReport { url: format!("https://{element_id}"), mode: ElementMode::Rw, capacity };
        let reported_at = store::millis(fixture.clock.wall());
        let reported = Reported { element_id: (*element_id).to_owned(), report, reported_at };
        assert!(fixture.admin.shared.store.put_element(&reported, 10).await.unwrap());
    }
    fixture
}

async fn tell(fixture: &Fixture, element_id: &str, changes: &[RecordChange]) {
    let shared = &fixture.admin.shared;
    let applied = shared.store.apply(element_id, changes, Source::Report, shared.now()).await.unwrap();
    shared.metrics.applied(applied);
}

async fn index(fixture: &Fixture) -> Vec<(String, FileId)> {
    let files = fixture.admin.shared.store.files(None, 100, fixture.admin.shared.now()).await.unwrap();
    files.into_iter().map(|file| (file.element_id, file.record.file_id)).collect()
}

fn entry(element_id: &str, files: u64, restored: u64, lost: u64, error: Option<&str>) -> RebuiltElement {
    let (element_id, error) = (element_id.to_owned(), error.map(str::to_owned));
    RebuiltElement { element_id, files, restored, lost, error }
}

#[tokio::test]
async fn the_index_becomes_what_the_elements_have() {
    let fixture = fixture(&["a", "b", "c"]).await;
    // 1 is known; 2 was deleted while its element was being read; 3 is not known; 4 has another name; 5 moved from a to b;
    // 6 and 9 are on no element any more; 7 is on c, which is away.
    let renamed = FileRecord { original_filename: "old".to_owned(), ..record(4) };
    let on_a = [record(1), record(2), renamed, record(5), record(6), record(9)].map(published);
    tell(&fixture, "a", &on_a).await;
    tell(&fixture, "a", &[RecordChange::Deleted { file_id: id(2) }]).await;
    tell(&fixture, "c", &[published(record(7))]).await;
    fixture.clock.advance(Duration::from_millis(1));
    let a = vec![record(1), record(2), record(3), record(4), expiring(8, 60)];
    let elements = Elements(HashMap::from([("https://a", a), ("https://b", vec![record(5)])]));
    let rebuilt = fixture.admin.rebuild_from(&elements).await.unwrap();
    // 5 leaves a and comes back with b.
    let expected = [entry("a", 5, 3, 3, None), entry("b", 1, 1, 0, None), entry("c", 0, 0, 0, Some("cannot connect"))];
    assert_eq!(rebuilt, expected);
    let on = |element: &str, number| (element.to_owned(), id(number));
    let expected = [on("a", 1), on("a", 3), on("a", 4), on("b", 5), on("c", 7), on("a", 8)];
    assert_eq!(index(&fixture).await, expected);
    let shared = &fixture.admin.shared;
    assert_eq!(shared.store.file(id(4), shared.now()).await.unwrap().unwrap().record, record(4));
    assert_eq!(fixture.sum("admin_index_changes_total", &[("change", "lost")]), 3.0);
    assert_eq!(fixture.sum("admin_index_files", &[]), 6.0);
    let again = fixture.admin.rebuild_from(&elements).await.unwrap();
    let expected = [entry("a", 5, 0, 0, None), entry("b", 1, 0, 0, None), entry("c", 0, 0, 0, Some("cannot connect"))];
    assert_eq!(again, expected);
}

#[tokio::test]
async fn a_file_told_while_the_pages_are_read_stays() {
    let fixture = fixture(&["a"]).await;
    // Told in the same millisecond in which the rebuild starts, so not before it.
    tell(&fixture, "a", &[published(record(1))]).await;
    let rebuilt = fixture.admin.rebuild_from(&Elements(HashMap::from([("https://a", vec![])]))).await.unwrap();
    assert_eq!(rebuilt, [entry("a", 0, 0, 0, None)]);
    assert_eq!(index(&fixture).await.len(), 1);
}

#[tokio::test]
async fn a_copy_on_two_elements_is_found_on_one() {
    let fixture = fixture(&["a", "b"]).await;
    tell(&fixture, "a", &[published(record(1))]).await;
    fixture.clock.advance(Duration::from_millis(1));
    let elements = Elements(HashMap::from([("https://a", vec![]), ("https://b", vec![record(1)])]));
    fixture.admin.rebuild_from(&elements).await.unwrap();
    assert_eq!(index(&fixture).await, [("b".to_owned(), id(1))]);
}

#[tokio::test]
async fn pages_that_do_not_advance_end_the_reading() {
    struct Stuck;
    impl Pages for Stuck {
        async fn page(&self, _: &str, _: &SecretString, _: Option<FileId>) -> Result<RecordPage, String> {
            Ok(RecordPage { records: vec![], next: Some(id(1)) })
        }
    }
    let fixture = fixture(&["a"]).await;
    let rebuilt = fixture.admin.rebuild_from(&Stuck).await.unwrap();
    assert_eq!(rebuilt, [entry("a", 0, 0, 0, Some("the element's pages do not advance"))]);
}

/// The real client against a listener that answers as elements do, and as they should not.
#[tokio::test]
async fn pages_are_read_over_http() {
    let one = |number| serde_json::to_string(&RecordPage { records: vec![record(number)], next: None }).unwrap();
    let first = serde_json::to_string(&RecordPage { records: vec![record(1)], next: Some(id(1)) }).unwrap();
    let (second, after) = (one(2), format!("limit=500&after={}", id(1)));
    let pages = move |RawQuery(query): RawQuery, headers: HeaderMap| async move {
        assert!(headers["authorization"].to_str().unwrap().starts_with("Bearer ey"));
        if query.as_deref() == Some("limit=500") {
            first
        } else {
            assert_eq!(query.unwrap(), after);
            second
        }
    };
    let router = Router::new()
        .route("/good/api/v1/files", get(pages))
        .route("/bad/api/v1/files", get(async || "no page"))
        .route("/long/api/v1/files", get(async || " ".repeat(33 * 1024 * 1024)));
    let registry = Registry::new();
    let clock = HandClock::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let metrics = ServerMetrics::new(&registry);
    let server = Server::new(listener, router, ServerSettings::default(), metrics, clock.clone());
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(server.serve(shutdown.clone()));
    let client = Client::new(ClientSettings::default(), None, HttpClientMetrics::new(&registry), clock);
    let fixture = fixture(&[]).await;
    let shared = &fixture.admin.shared;
    for path in ["/good", "/bad", "/long", "/none"] {
        let capacity = Capacity { capacity_bytes: 1, free_bytes: 1 };
        let report = ElementReport { url: format!("{url}{path}"), mode: ElementMode::Rw, capacity };
        let reported = Reported { element_id: path.to_owned(), report, reported_at: shared.now() };
        assert!(shared.store.put_element(&reported, 10).await.unwrap());
    }
    let rebuilt = fixture.admin.rebuild(&client).await.unwrap();
    let unreadable = "the element's page is not readable: expected ident at line 1 column 2";
    let expected = [
        entry("/bad", 0, 0, 0, Some(unreadable)),
        entry("/good", 2, 2, 0, None),
        entry("/long", 0, 0, 0, Some("length limit exceeded")),
        entry("/none", 0, 0, 0, Some("the element answered 404 Not Found")),
    ];
    assert_eq!(rebuilt, expected);
    assert_eq!(index(&fixture).await.len(), 2);
    shutdown.cancel();
    serving.await.unwrap();
}
