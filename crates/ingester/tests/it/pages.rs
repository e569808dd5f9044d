//! What is served without a token: the description, the page for people, health; and what is not there.

use crate::wire::req;
use crate::world::World;
use std::sync::atomic::Ordering;

#[tokio::test]
async fn the_description_and_the_page_need_no_token() {
    let world = World::start().await;
    let description = world.send(req("GET", "/api/v1/openapi.json")).await;
    assert_eq!((description.status, description.header("content-type")), (200, "application/json"));
    let json = description.json();
    assert_eq!(json["openapi"], "3.1.0");
    // Every operation that is described is there: it answers anything but 404 and 405 to its own method.
    for (path, item) in json["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let reply = world.send(req(&method.to_uppercase(), &path.replace("{file_id}", "x"))).await;
            assert!(!matches!(reply.status, 404 | 405), "{method} {path}: {}", reply.status);
        }
    }
    let page = world.send(req("GET", "/docs")).await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").starts_with("default-src 'none'; style-src 'unsafe-inline'"));
    assert!(page.body.starts_with(b"<!doctype html>"));
}

#[tokio::test]
async fn what_is_not_there_and_what_cannot_be_done_are_problems() {
    let world = World::start().await;
    let nowhere = world.send(req("GET", "/api/v2/files")).await;
    assert_eq!(nowhere.problem(), (404, "NOT_FOUND".to_owned(), "there is no such resource".to_owned()));
    let method = world.send(req("PATCH", "/api/v1/files")).await;
    let detail = "this resource does not know this method".to_owned();
    assert_eq!(method.problem(), (405, "VALIDATION_ERROR".to_owned(), detail));
    assert_eq!(method.header("allow"), "PUT");
    assert_eq!(world.metric("ingester_errors_total", &[]), 2.0);
}

#[tokio::test]
async fn readiness_tells_each_dependency_with_its_reason() {
    let world = World::with(|settings| settings.element_list_retry = std::time::Duration::from_nanos(1)).await;
    let live = world.send(req("GET", "/api/v1/health/live")).await;
    assert_eq!(live.status, 200);
    let dependency = |json: &serde_json::Value, name: &str| {
        let all = json["dependencies"].as_array().unwrap().clone();
        let found = all.into_iter().find(|dependency| dependency["name"] == name).unwrap();
        (found["status"].as_str().unwrap().to_owned(), found["reason"].as_str().unwrap_or_default().to_owned())
    };
    let ready = world.send(req("GET", "/api/v1/health/ready")).await;
    assert_eq!((ready.status, ready.json()["status"].as_str()), (503, Some("fail")));
    assert_eq!(dependency(&ready.json(), "elements"), ("fail".to_owned(), "no list of elements is known".to_owned()));
    assert_eq!(dependency(&ready.json(), "token"), ("degraded".to_owned(), "none fetched yet".to_owned()));

    assert_eq!(world.put("filename=a", "x").await.status, 201);
    let ready = world.send(req("GET", "/api/v1/health/ready")).await;
    assert_eq!((ready.status, ready.json()["status"].as_str()), (200, Some("ok")), "{:?}", ready.json());

    world.admin.set_down(true);
    world.no_tokens.store(true, Ordering::Relaxed);
    let stop = tokio_util::sync::CancellationToken::new();
    stop.cancel();
    world.ingester.run_background(stop).await;
    let ready = world.send(req("GET", "/api/v1/health/ready")).await;
    assert_eq!((ready.status, ready.json()["status"].as_str()), (200, Some("degraded")));
    let (status, reason) = dependency(&ready.json(), "admin");
    assert_eq!(status, "degraded");
    assert!(reason.starts_with("status 503; the list of elements is "), "{reason}");
}
