//! The list of elements and their heartbeats.

use super::{Fixture, problem};
use artstore_api::scope::{ELEMENTS_READ, ELEMENTS_REPORT};
use http::Method;
use serde_json::{Value, json};
use std::time::Duration;

const PATH: &str = "/api/v1/storage-elements";

fn report(mode: &str, free: u64) -> Option<Value> {
    let capacity = json!({ "capacity_bytes": 1_000, "free_bytes": free });
    Some(json!({ "url": format!("https://{mode}:8010"), "mode": mode, "capacity": capacity }))
}

fn element(id: &str, mode: &str, free: u64, status: &str) -> Value {
    let capacity = json!({ "capacity_bytes": 1_000, "free_bytes": free });
    let url = format!("https://{mode}:8010");
    json!({ "element_id": id, "url": url, "mode": mode, "status": status, "capacity": capacity })
}

#[tokio::test]
async fn elements_are_listed_by_mode_and_by_status_at_the_moment() {
    let fixture = Fixture::new().await;
    let token = fixture.token(&[ELEMENTS_READ, ELEMENTS_REPORT]).await;
    let put = async |id: &str, body| fixture.call(Method::PUT, &format!("{PATH}/{id}"), &token, body).await;
    assert_eq!(put("se-2", report("rw", 700)).await.status, 204);
    fixture.clock.advance(Duration::from_secs(30));
    assert_eq!(put("se-1", report("edit", 500)).await.status, 204);
    assert_eq!(put("se-1", report("edit", 400)).await.status, 204);
    let list = async |query: &str| fixture.get(&format!("{PATH}{query}"), &token).await.json()["elements"].clone();
    let (edit, rw) = (element("se-1", "edit", 400, "online"), element("se-2", "rw", 700, "online"));
    assert_eq!(list("").await, json!([edit, rw]));
    assert_eq!(list("?mode=rw").await, json!([rw]));
    fixture.clock.advance(Duration::from_millis(1));
    let rw = element("se-2", "rw", 700, "offline");
    assert_eq!(list("?status=online").await, json!([edit]));
    assert_eq!(list("?status=offline").await, json!([rw]));
    assert_eq!(list("?status=offline&mode=edit").await, json!([]));
    let gauge = |mode, status| fixture.sum("admin_storage_elements", &[("mode", mode), ("status", status)]);
    assert_eq!((gauge("edit", "online"), gauge("rw", "offline"), gauge("rw", "online")), (1.0, 1.0, 0.0));
    assert_eq!(fixture.sum("admin_element_reports_total", &[("mode", "edit")]), 2.0);
    assert_eq!(fixture.get(&format!("{PATH}?mode=ro"), &token).await.problem().1, "VALIDATION_ERROR");
    assert_eq!(fixture.get(&format!("{PATH}?color=red"), &token).await.problem().1, "VALIDATION_ERROR");
}

#[tokio::test]
async fn elements_survive_a_restart_and_are_forgotten_after_long_silence() {
    let fixture = Fixture::new().await;
    let token = fixture.token(&[ELEMENTS_READ, ELEMENTS_REPORT]).await;
    assert_eq!(fixture.call(Method::PUT, &format!("{PATH}/se-1"), &token, report("edit", 1)).await.status, 204);
    let fixture = fixture.restarted().await;
    assert_eq!(fixture.sum("admin_storage_elements", &[("mode", "edit"), ("status", "online")]), 1.0);
    fixture.clock.advance(Duration::from_hours(24 * 30));
    fixture.admin.sweep().await.unwrap();
    assert_eq!(fixture.sum("admin_storage_elements", &[("mode", "edit"), ("status", "offline")]), 1.0);
    fixture.clock.advance(Duration::from_millis(1));
    fixture.admin.sweep().await.unwrap();
    assert_eq!(fixture.sum("admin_storage_elements", &[]), 0.0);
    let token = fixture.token(&[ELEMENTS_READ]).await;
    assert_eq!(fixture.get(PATH, &token).await.json(), json!({ "elements": [] }));
}

#[tokio::test]
async fn a_report_that_is_none_is_refused() {
    let fixture = Fixture::with(|settings| settings.max_elements = 1).await;
    let token = fixture.token(&[ELEMENTS_READ, ELEMENTS_REPORT]).await;
    let put = async |id: &str, body| fixture.call(Method::PUT, &format!("{PATH}/{id}"), &token, body).await;
    let id = "element_id has 1 to 64 characters of letters, digits, '-', '.' and '_'";
    assert_eq!(put("a%20b", report("rw", 1)).await.problem(), problem(400, "VALIDATION_ERROR", id));
    assert_eq!(put(&"x".repeat(65), report("rw", 1)).await.problem(), problem(400, "VALIDATION_ERROR", id));
    let mut path = report("rw", 1).unwrap();
    path["url"] = json!("https://rw:8010/path");
    let url = "url must be https://host[:port], without a slash at the end";
    assert_eq!(put("se-1", Some(path)).await.problem(), problem(400, "VALIDATION_ERROR", url));
    assert_eq!(put("se-1", report("ro", 1)).await.problem().1, "VALIDATION_ERROR");
    let none = "Content-Type must be application/json";
    assert_eq!(put("se-1", None).await.problem(), problem(400, "VALIDATION_ERROR", none));
    assert_eq!(put("se-1", report("rw", 1)).await.status, 204);
    assert_eq!(put("se-1", report("rw", 2)).await.status, 204);
    let full = problem(409, "CONFLICT", "there are as many elements as there may be");
    assert_eq!(put("se-2", report("rw", 1)).await.problem(), full);
    let reader = fixture.token(&[ELEMENTS_READ]).await;
    let answer = fixture.call(Method::PUT, &format!("{PATH}/se-1"), &reader, report("rw", 3)).await;
    assert_eq!(answer.problem().1, "FORBIDDEN");
    assert_eq!(fixture.get(PATH, &token).await.json()["elements"][0]["capacity"]["free_bytes"], 2);
}
