//! The index of files: batches told once or more often, deletions, pages, expiry.

use super::{Fixture, START, problem};
use artstore_api::FileId;
use artstore_api::element::{RecordBatch, RecordChange};
use artstore_api::file::{FileRecord, FileStatus, RetentionPolicy};
use artstore_api::scope::{ELEMENTS_REPORT, INDEX_READ};
use http::Method;
use serde_json::{Value, json};
use std::time::Duration;
use time::OffsetDateTime;
use uuid::Uuid;

const PATH: &str = "/api/v1/files";

pub(crate) fn id(number: u128) -> FileId {
    FileId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + number))
}

pub(crate) fn record(number: u128) -> FileRecord {
    FileRecord {
        file_id: id(number),
        original_filename: format!("{number}.txt"),
        content_type: "text/plain".to_owned(),
        size: u64::MAX,
        checksum: "0".repeat(64),
        uploaded_by: "someone".to_owned(),
        uploaded_at: OffsetDateTime::from_unix_timestamp(START as i64).unwrap(),
        description: Some("\"quoted\" – ünï".to_owned()),
        tags: vec!["a".to_owned()],
        status: FileStatus::Active,
        retention_policy: RetentionPolicy::Permanent,
        ttl_days: None,
        expires_at: None,
    }
}

/// A file that expires so many seconds after the start.
pub(crate) fn expiring(number: u128, after: i64) -> FileRecord {
    let expires_at = OffsetDateTime::from_unix_timestamp(START as i64 + after).unwrap();
    FileRecord { retention_policy: RetentionPolicy::Temporary, expires_at: Some(expires_at), ..record(number) }
}

pub(crate) fn published(record: FileRecord) -> RecordChange {
    RecordChange::Published { record: Box::new(record) }
}

fn deleted(number: u128) -> RecordChange {
    RecordChange::Deleted { file_id: id(number) }
}

async fn tell(fixture: &Fixture, token: &str, element_id: &str, changes: Vec<RecordChange>) -> super::Answer {
    let batch = serde_json::to_value(RecordBatch { element_id: element_id.to_owned(), changes }).unwrap();
    fixture.call(Method::POST, PATH, token, Some(batch)).await
}

async fn get(fixture: &Fixture, token: &str, number: u128) -> Value {
    let answer = fixture.get(&format!("{PATH}/{}", id(number)), token).await;
    if answer.status == 404 {
        assert_eq!(answer.problem(), problem(404, "NOT_FOUND", "there is no such file in the index"));
        return Value::Null;
    }
    assert_eq!(answer.status, 200);
    answer.json()
}

fn indexed(element_id: &str, record: &FileRecord) -> Value {
    json!({ "element_id": element_id, "record": record })
}

/// How many rows there are, tombstones too.
async fn rows(fixture: &Fixture) -> u64 {
    fixture.admin.shared.store.count_rows().await
}

fn changes(fixture: &Fixture) -> [f64; 4] {
    ["published", "deleted", "unchanged", "expired"]
        .map(|change| fixture.sum("admin_index_changes_total", &[("change", change)]))
}

#[tokio::test]
async fn a_batch_told_twice_changes_nothing_more() {
    let fixture = Fixture::new().await;
    let token = fixture.token(&[ELEMENTS_REPORT, INDEX_READ]).await;
    let batch = || vec![published(record(1)), published(record(2)), deleted(2), published(expiring(3, 60))];
    assert_eq!(tell(&fixture, &token, "se-1", batch()).await.status, 204);
    assert_eq!(changes(&fixture), [3.0, 1.0, 0.0, 0.0]);
    assert_eq!(fixture.sum("admin_index_files", &[]), 2.0);
    assert_eq!(tell(&fixture, &token, "se-1", batch()).await.status, 204);
    assert_eq!(changes(&fixture), [3.0, 1.0, 4.0, 0.0]);
    assert_eq!(get(&fixture, &token, 1).await, indexed("se-1", &record(1)));
    assert_eq!(get(&fixture, &token, 2).await, Value::Null);
    assert_eq!(get(&fixture, &token, 3).await, indexed("se-1", &expiring(3, 60)));
    let fixture = fixture.restarted().await;
    assert_eq!(get(&fixture, &token, 1).await, indexed("se-1", &record(1)));
    assert_eq!(fixture.sum("admin_index_files", &[]), 2.0);
}

#[tokio::test]
async fn a_deletion_wins_over_an_older_record_told_later() {
    let fixture = Fixture::new().await;
    let token = fixture.token(&[ELEMENTS_REPORT, INDEX_READ]).await;
    assert_eq!(tell(&fixture, &token, "se-1", vec![deleted(1)]).await.status, 204);
    assert_eq!(tell(&fixture, &token, "se-1", vec![published(record(1))]).await.status, 204);
    assert_eq!(get(&fixture, &token, 1).await, Value::Null);
    fixture.clock.advance(Duration::from_hours(24 * 366));
    fixture.admin.sweep().await.unwrap();
    let token = fixture.token(&[ELEMENTS_REPORT, INDEX_READ]).await;
    assert_eq!(tell(&fixture, &token, "se-1", vec![published(record(1))]).await.status, 204);
    assert_eq!(get(&fixture, &token, 1).await, Value::Null, "remembered to the last moment");
    fixture.clock.advance(Duration::from_millis(1));
    fixture.admin.sweep().await.unwrap();
    assert_eq!(tell(&fixture, &token, "se-1", vec![published(record(1))]).await.status, 204);
    assert_eq!(get(&fixture, &token, 1).await, indexed("se-1", &record(1)));
}

#[tokio::test]
async fn another_element_neither_takes_nor_deletes_a_file() {
    let fixture = Fixture::new().await;
    let token = fixture.token(&[ELEMENTS_REPORT, INDEX_READ]).await;
    assert_eq!(tell(&fixture, &token, "se-1", vec![published(record(1))]).await.status, 204);
    assert_eq!(tell(&fixture, &token, "se-2", vec![published(record(1)), deleted(1)]).await.status, 204);
    assert_eq!(get(&fixture, &token, 1).await, indexed("se-1", &record(1)));
    let renamed = FileRecord { original_filename: "new".to_owned(), ..record(1) };
    assert_eq!(tell(&fixture, &token, "se-1", vec![published(renamed.clone())]).await.status, 204);
    assert_eq!(get(&fixture, &token, 1).await, indexed("se-1", &renamed));
    assert_eq!(changes(&fixture), [1.0, 0.0, 2.0, 0.0]);
    assert_eq!(fixture.sum("admin_index_changes_total", &[("change", "replaced")]), 1.0);
}

#[tokio::test]
async fn a_file_is_gone_at_its_moment_and_swept_afterwards() {
    let fixture = Fixture::new().await;
    let token = fixture.token(&[ELEMENTS_REPORT, INDEX_READ]).await;
    let batch = vec![published(expiring(1, 60)), published(expiring(2, 61)), published(record(3))];
    assert_eq!(tell(&fixture, &token, "se-1", batch).await.status, 204);
    fixture.clock.advance(Duration::from_millis(59_999));
    assert_eq!(get(&fixture, &token, 1).await, indexed("se-1", &expiring(1, 60)));
    fixture.clock.advance(Duration::from_millis(1));
    assert_eq!(get(&fixture, &token, 1).await, Value::Null);
    let page = fixture.get(PATH, &token).await.json();
    assert_eq!(page, json!({ "files": [indexed("se-1", &expiring(2, 61)), indexed("se-1", &record(3))] }));
    assert_eq!(fixture.sum("admin_index_files", &[]), 3.0);
    fixture.clock.advance(Duration::from_hours(24) - Duration::from_millis(1));
    fixture.admin.sweep().await.unwrap();
    assert_eq!((changes(&fixture), rows(&fixture).await), ([3.0, 0.0, 0.0, 0.0], 3));
    fixture.clock.advance(Duration::from_millis(1));
    fixture.admin.sweep().await.unwrap();
    assert_eq!((changes(&fixture), rows(&fixture).await), ([3.0, 0.0, 0.0, 1.0], 2));
    assert_eq!(fixture.sum("admin_index_files", &[]), 2.0);
}

#[tokio::test]
async fn the_deletion_of_an_expired_file_is_forgotten_with_it() {
    let fixture = Fixture::new().await;
    let token = fixture.token(&[ELEMENTS_REPORT, INDEX_READ]).await;
    let file = || vec![published(expiring(1, 60))];
    assert_eq!(tell(&fixture, &token, "se-1", file()).await.status, 204);
    fixture.clock.advance(Duration::from_secs(70));
    assert_eq!(tell(&fixture, &token, "se-1", vec![deleted(1)]).await.status, 204);
    fixture.admin.sweep().await.unwrap();
    assert_eq!(rows(&fixture).await, 1);
    fixture.clock.advance(Duration::from_hours(24));
    fixture.admin.sweep().await.unwrap();
    assert_eq!((changes(&fixture), rows(&fixture).await), ([1.0, 1.0, 0.0, 0.0], 0));
    let token = fixture.token(&[ELEMENTS_REPORT, INDEX_READ]).await;
    assert_eq!(tell(&fixture, &token, "se-1", file()).await.status, 204);
    assert_eq!(get(&fixture, &token, 1).await, Value::Null, "a late record has expired");
}

#[tokio::test]
async fn pages_follow_one_another_to_the_end() {
    let fixture = Fixture::new().await;
    let token = fixture.token(&[ELEMENTS_REPORT, INDEX_READ]).await;
    let batch = [4, 2, 5, 1, 3].map(|number| published(record(number))).to_vec();
    assert_eq!(tell(&fixture, &token, "se-1", batch).await.status, 204);
    let page = async |query: String| {
        let page = fixture.get(&format!("{PATH}{query}"), &token).await.json();
        let names = page["files"].as_array().unwrap().iter().map(|file| file["record"]["original_filename"].clone());
        (names.collect::<Vec<_>>(), page.get("next").cloned())
    };
    assert_eq!(page("?limit=2".to_owned()).await, (vec![json!("1.txt"), json!("2.txt")], Some(json!(id(2)))));
    let second = page(format!("?limit=2&after={}", id(2))).await;
    assert_eq!(second, (vec![json!("3.txt"), json!("4.txt")], Some(json!(id(4)))));
    assert_eq!(page(format!("?limit=2&after={}", id(4))).await, (vec![json!("5.txt")], None));
    assert_eq!(page(format!("?after={}", id(5))).await, (vec![], None));
    assert_eq!(page("?limit=5".to_owned()).await.1, None);
    let after = problem(400, "VALIDATION_ERROR", "after must be a file identifier");
    assert_eq!(fixture.get(&format!("{PATH}?after=x"), &token).await.problem(), after);
}

#[tokio::test]
async fn a_batch_that_is_none_changes_nothing() {
    let fixture = Fixture::with(|settings| settings.max_batch_body_bytes = 200_000).await;
    let token = fixture.token(&[ELEMENTS_REPORT, INDEX_READ]).await;
    let many = (0..501).map(deleted).collect();
    let too_many = problem(400, "VALIDATION_ERROR", "changes are at most 500");
    assert_eq!(tell(&fixture, &token, "se-1", many).await.problem(), too_many);
    let long = (0..500).map(|number| published(record(number))).collect();
    let too_long = problem(413, "FILE_TOO_LARGE", "the body has more than 200000 bytes");
    assert_eq!(tell(&fixture, &token, "se-1", long).await.problem(), too_long);
    let no_id = tell(&fixture, &token, "", vec![published(record(1))]).await;
    assert_eq!(no_id.problem().1, "VALIDATION_ERROR");
    let unknown = json!({ "element_id": "se-1", "changes": [{ "change": "renamed" }] });
    let answer = fixture.call(Method::POST, PATH, &token, Some(unknown)).await.problem();
    assert!(answer.2.starts_with("body: unknown variant `renamed`"), "{answer:?}");
    let reader = fixture.token(&[INDEX_READ]).await;
    assert_eq!(tell(&fixture, &reader, "se-1", vec![published(record(1))]).await.problem().1, "FORBIDDEN");
    assert_eq!(fixture.get(&format!("{PATH}/no-identifier"), &reader).await.problem().0, 404);
    assert_eq!(fixture.get(PATH, &token).await.json(), json!({ "files": [] }));
    assert_eq!(tell(&fixture, &token, "se-1", (0..500).map(deleted).collect()).await.status, 204);
    assert_eq!(changes(&fixture), [0.0, 0.0, 500.0, 0.0]);
}

#[tokio::test]
async fn batches_from_many_elements_at_once_all_arrive() {
    let fixture = Fixture::new().await;
    let token = fixture.token(&[ELEMENTS_REPORT, INDEX_READ]).await;
    let batches = (0..20_u128).map(|element| {
        let batch = (0..10).map(|number| published(record(element * 10 + number))).collect();
        let (fixture, token) = (&fixture, &token);
        async move { tell(fixture, token, &format!("se-{element}"), batch).await.status }
    });
    assert_eq!(futures_util::future::join_all(batches).await, [204; 20]);
    assert_eq!(fixture.admin.shared.store.count_files().await.unwrap(), 200);
}
