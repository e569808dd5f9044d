//! Requests about published files, and who may ask.

use crate::testing::{Bench, START, attributes};
use artstore_api::RetentionPolicy::Temporary;
use artstore_api::element::RecordPage;
use artstore_api::file::{FileId, FileRecord};
use artstore_metrics::Clock as _;
use axum::body::Body;
use serde_json::json;
use std::time::Duration;

const ABC_BASE64: &str = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";

#[tokio::test(start_paused = true)]
async fn a_file_is_read_whole_in_part_and_not_beyond() {
    let bench = Bench::start(|_| {}).await;
    let record = bench.file(b"abc").await;
    let id = record.file_id;
    let whole = bench.get(id, &[]).await;
    assert_eq!((whole.status.as_u16(), whole.bytes.as_ref()), (200, b"abc".as_slice()));
    let etag = format!("\"{}\"", record.checksum);
    for (name, value) in [
        ("etag", etag.as_str()),
        ("content-length", "3"),
        ("content-type", "text/plain"),
        ("accept-ranges", "bytes"),
        ("content-disposition", "attachment; filename=\"a.txt\""),
        ("repr-digest", &format!("sha-256=:{ABC_BASE64}:")),
        ("last-modified", "Fri, 15 Jan 2027 08:00:00 GMT"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(whole.header(name), value, "{name}");
    }
    let part = bench.get(id, &[("range", "bytes=1-5")]).await;
    assert_eq!((part.status.as_u16(), part.bytes.as_ref()), (206, b"bc".as_slice()));
    assert_eq!((part.header("content-range"), part.header("content-length")), ("bytes 1-2/3", "2"));
    let beyond = bench.get(id, &[("range", "bytes=3-")]).await;
    assert_eq!((beyond.status.as_u16(), beyond.header("content-range")), (416, "bytes */3"));
    let head = bench.call("HEAD", &format!("/api/v1/files/{id}"), &[("range", "bytes=1-1")], Body::empty()).await;
    assert_eq!((head.status.as_u16(), head.header("content-length"), head.bytes.len()), (200, "3", 0));
    assert_eq!(bench.get(id, &[("range", "bytes=1-1"), ("if-range", &etag)]).await.status, 206);
    assert_eq!(bench.get(id, &[("range", "bytes=1-1"), ("if-range", "\"other\"")]).await.status, 200);
    let unchanged = bench.get(id, &[("if-none-match", &format!("\"x\", W/{etag}"))]).await;
    assert_eq!((unchanged.status.as_u16(), unchanged.bytes.len()), (304, 0));
    assert_eq!(bench.sum("element_file_bytes_total", &[("direction", "sent")]), 3.0 + 2.0 + 1.0 + 3.0);
}

#[tokio::test(start_paused = true)]
async fn a_file_is_there_until_it_is_deleted_or_expires() {
    let bench = Bench::start(|_| {}).await;
    let (first, second) = (bench.file(b"a").await.file_id, bench.file(b"bc").await.file_id);
    let record: FileRecord = bench.call("GET", &format!("/api/v1/files/{first}/record"), &[], "").await.json();
    assert_eq!((record.file_id, record.ttl_days), (first, Some(1)));
    assert_eq!(bench.call("DELETE", &format!("/api/v1/files/{first}"), &[], "").await.status, 204);
    assert_eq!(bench.call("DELETE", &format!("/api/v1/files/{first}"), &[], "").await.status, 404);
    assert_eq!(bench.get(first, &[]).await.status, 404);
    tokio::time::advance(Duration::from_secs(86_399)).await;
    bench.element.sweep().await;
    assert_eq!(bench.get(second, &[]).await.status, 200);
    tokio::time::advance(Duration::from_secs(1)).await;
    // Expired is gone, even before the sweep.
    assert_eq!(bench.clock.wall(), START.plus(Duration::from_secs(86_400)));
    assert_eq!(bench.get(second, &[]).await.status, 404);
    assert_eq!(bench.sum("element_files", &[]), 1.0);
    bench.element.sweep().await;
    assert_eq!(bench.sum("element_files", &[]), 0.0);
    for cause in ["client", "expired"] {
        assert_eq!(bench.sum("element_files_deleted_total", &[("cause", cause)]), 1.0, "{cause}");
    }
    assert_eq!(bench.names("objects"), [format!("{first}.gone"), format!("{second}.gone")]);
    assert_eq!(bench.sum("element_outbox_changes", &[]), 4.0);
}

#[tokio::test(start_paused = true)]
async fn records_come_by_pages() {
    let bench = Bench::start(|_| {}).await;
    let mut ids = Vec::new();
    for bytes in [b"a".as_slice(), b"b", b"c"] {
        ids.push(bench.file(bytes).await.file_id);
    }
    let page = async |query: &str| {
        let page: RecordPage = bench.call("GET", &format!("/api/v1/files{query}"), &[], "").await.json();
        (page.records.iter().map(|record| record.file_id).collect::<Vec<_>>(), page.next)
    };
    assert_eq!(page("").await, (ids.clone(), None));
    assert_eq!(page("?limit=2").await, (ids[..2].to_vec(), Some(ids[1])));
    assert_eq!(page(&format!("?limit=2&after={}", ids[1])).await, (vec![ids[2]], None));
    for query in ["?limit=0", "?limit=501", "?limit=x", "?after=x", "?page=1"] {
        let refused = bench.call("GET", &format!("/api/v1/files{query}"), &[], "").await;
        assert_eq!(refused.problem().1, "VALIDATION_ERROR", "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_gets_in_without_the_right_token() {
    let bench = Bench::start(|_| {}).await;
    let id = bench.file(b"abc").await.file_id;
    let file = format!("/api/v1/files/{id}");
    let none = bench.bare("GET", &file, &[], Body::empty()).await;
    assert_eq!(
        (none.problem().1.as_str(), none.header("www-authenticate")),
        ("UNAUTHORIZED", "Bearer realm=\"artstore\"")
    );
    let ask = async |method: &str, header: serde_json::Value, claims: serde_json::Value| {
        let bearer = format!("Bearer {}", bench.token(&header, &claims));
        bench.bare(method, &file, &[("authorization", bearer.as_str())], Body::empty()).await.status.as_u16()
    };
    let now = START.as_secs();
    assert_eq!(ask("GET", json!({}), json!({ "scope": "storage:read" })).await, 200);
    assert_eq!(ask("GET", json!({}), json!({ "scope": "storage:write" })).await, 403);
    assert_eq!(ask("DELETE", json!({}), json!({ "scope": "storage:read" })).await, 403);
    assert_eq!(ask("GET", json!({}), json!({ "aud": ["artstore-ingester"] })).await, 401);
    assert_eq!(ask("GET", json!({}), json!({ "iss": "https://other" })).await, 401);
    assert_eq!(ask("GET", json!({}), json!({ "exp": now })).await, 401);
    assert_eq!(ask("GET", json!({ "alg": "none" }), json!({})).await, 401);
    assert_eq!(ask("GET", json!({ "kid": "k2" }), json!({})).await, 401);
    assert_eq!(bench.get(id, &[]).await.status, 200);
    // Before a byte of the body is looked at.
    let upload = bench.bare("POST", "/api/v1/uploads", &[], Body::from("x")).await;
    assert_eq!(upload.status, 401);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_resource_is_not_found() {
    let bench = Bench::start(|_| {}).await;
    assert_eq!(bench.bare("GET", "/", &[], Body::empty()).await.problem().1, "NOT_FOUND");
    assert_eq!(bench.call("GET", "/api/v1/files/../../etc/passwd", &[], "").await.status, 404);
    assert_eq!(bench.call("GET", "/api/v1/files/not-an-id", &[], "").await.status, 404);
    assert_eq!(bench.get(FileId::generate(), &[]).await.status, 404);
    assert_eq!(bench.call("POST", "/api/v1/capacity", &[], "").await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn a_long_json_is_refused() {
    let bench = Bench::start(|_| {}).await;
    let long = json!({ "attributes": attributes(Temporary), "x": "x".repeat(65_536) }).to_string();
    let refused = bench.call("POST", "/api/v1/uploads", &[], long).await;
    assert_eq!(refused.problem().2, "the body broke off or has more than 65536 bytes");
}
