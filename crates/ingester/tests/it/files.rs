//! Reading and deleting published files.

use crate::doubles::Fault;
use crate::faults::LARGE;
use crate::wire::{Reply, req};
use crate::world::{GIB, World};
use artstore_api::element::ElementMode;
use std::time::Duration;
use tokio::net::TcpListener;

const ABSENT: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

async fn stored(world: &World, bytes: &str) -> (String, String) {
    let reply = world.put("filename=a.txt", bytes).await;
    assert_eq!(reply.status, 201);
    let json = reply.json();
    (json["file_id"].as_str().unwrap().to_owned(), json["checksum"].as_str().unwrap().to_owned())
}

fn not_found(reply: &Reply) {
    assert_eq!(reply.problem(), (404, "NOT_FOUND".to_owned(), "there is no such file".to_owned()));
}

#[tokio::test]
async fn a_file_is_read_at_once_though_the_index_does_not_know_it_yet() {
    let world = World::start().await;
    let (id, checksum) = stored(&world, "0123456789").await;
    let record = world.send(world.req("GET", &format!("/api/v1/files/{id}"))).await;
    assert_eq!((record.status, record.json()["checksum"].as_str().unwrap()), (200, checksum.as_str()));
    let content = world.send(world.req("GET", &format!("/api/v1/files/{id}/content"))).await;
    assert_eq!((content.status, content.body.as_slice()), (200, &b"0123456789"[..]));
}

#[tokio::test]
async fn content_passes_what_concerns_the_client_and_nothing_else() {
    let world = World::start().await;
    let (id, checksum) = stored(&world, "0123456789").await;
    world.admin.index("edit", world.edit.files()[0].0.clone());
    let path = format!("/api/v1/files/{id}/content");
    let whole = world.send(world.req("GET", &path)).await;
    assert_eq!(whole.header("etag"), format!("\"{checksum}\""));
    assert_eq!((whole.header("content-length"), whole.header("accept-ranges")), ("10", "bytes"));
    assert_eq!(whole.header("content-type"), "application/octet-stream");
    assert_eq!(whole.header("x-content-type-options"), "nosniff");
    assert_eq!(whole.header("content-security-policy"), "default-src 'none'; sandbox");
    assert_eq!(whole.header("x-internal"), "");
    let part = world.send(world.req("GET", &path).header("range", "bytes=2-4")).await;
    assert_eq!((part.status, part.body.as_slice()), (206, &b"234"[..]));
    assert_eq!(part.header("content-range"), "bytes 2-4/10");
    let beyond = world.send(world.req("GET", &path).header("range", "bytes=10-11")).await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, "bytes */10"));
    let same = world.send(world.req("GET", &path).header("if-none-match", &format!("\"{checksum}\""))).await;
    assert_eq!((same.status, same.body.len()), (304, 0));
    let head = world.send(world.req("HEAD", &path)).await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, "10", 0));
    assert_eq!(world.metric("ingester_downloads_total", &[("outcome", "sent")]), 4.0);
    assert_eq!(world.metric("ingester_downloads_total", &[("outcome", "rejected")]), 1.0);
    assert_eq!(world.metric("ingester_errors_total", &[("code", "VALIDATION_ERROR")]), 1.0);
    assert_eq!(world.metric("ingester_download_sent_bytes_total", &[]), 13.0);
    assert_eq!(world.metric("ingester_downloads_active", &[]), 0.0);
}

#[tokio::test]
async fn a_file_whose_element_moved_is_read_and_deleted_at_the_new_address() {
    let world = World::with(|settings| settings.element_list_retry = Duration::from_nanos(1)).await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (id, _) = stored(&world, "0123456789").await;
    world.admin.index("edit", world.edit.files()[0].0.clone());
    let path = format!("/api/v1/files/{id}");
    for (method, path, status, asked) in [
        ("GET", format!("{path}/content"), 200, "content"),
        ("GET", path.clone(), 200, "record"),
        ("DELETE", path.clone(), 204, "delete"),
    ] {
        // An upload that broke made the Ingester fetch the list that names the old address; then Admin learns the new one.
        world.admin.add("edit", gone, ElementMode::Edit, GIB);
        world.edit.fail("create", Fault::TornBefore);
        assert_eq!(world.put("filename=b", vec![1; LARGE]).await.status, 502);
        world.admin.add("edit", world.edit.address, ElementMode::Edit, GIB);
        assert_eq!(world.send(world.req(method, &path)).await.status, status, "{method} {path}");
        assert_eq!(world.edit.log().last().unwrap(), asked);
    }
    assert_eq!(world.edit.files(), vec![]);
}

#[tokio::test]
async fn an_empty_file_is_sent_as_one() {
    let world = World::start().await;
    let (id, _) = stored(&world, "").await;
    let content = world.send(world.req("GET", &format!("/api/v1/files/{id}/content"))).await;
    assert_eq!((content.status, content.header("content-length")), (200, "0"));
    assert_eq!(world.metric("ingester_downloads_total", &[("outcome", "sent")]), 1.0);
}

#[tokio::test]
async fn a_download_that_breaks_off_at_its_element_breaks_off_here_and_counts_as_failed() {
    let world = World::start().await;
    let (id, _) = stored(&world, "0123456789").await;
    world.edit.fail("content", Fault::TornAfter);
    let content = world.send(world.req("GET", &format!("/api/v1/files/{id}/content"))).await;
    assert_eq!((content.status, content.header("content-length")), (200, "10"));
    assert!(content.body.len() < 10, "the client can tell");
    assert_eq!(world.metric("ingester_downloads_total", &[("outcome", "failed")]), 1.0);
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let world = World::start().await;
    for id in [ABSENT, "x", "..%2f..%2fetc%2fpasswd", "%00"] {
        not_found(&world.send(world.req("GET", &format!("/api/v1/files/{id}"))).await);
        not_found(&world.send(world.req("GET", &format!("/api/v1/files/{id}/content"))).await);
        not_found(&world.send(world.req("DELETE", &format!("/api/v1/files/{id}"))).await);
    }
    assert_eq!(world.metric("ingester_downloads_total", &[("outcome", "rejected")]), 4.0);
    assert_eq!(world.metric("ingester_errors_total", &[("code", "NOT_FOUND")]), 12.0);
}

#[tokio::test]
async fn a_deleted_file_is_gone_even_while_the_index_still_knows_it() {
    let world = World::start().await;
    let (id, _) = stored(&world, "x").await;
    world.admin.index("edit", world.edit.files()[0].0.clone());
    let path = format!("/api/v1/files/{id}");
    let deleted = world.send(world.req("DELETE", &path)).await;
    assert_eq!((deleted.status, deleted.body.len()), (204, 0));
    not_found(&world.send(world.req("GET", &path)).await);
    not_found(&world.send(world.req("GET", &format!("{path}/content"))).await);
    not_found(&world.send(world.req("DELETE", &path)).await);
}

#[tokio::test]
async fn a_permanent_file_is_never_deleted() {
    let world = World::start().await;
    assert_eq!(world.put("filename=a&retention_policy=permanent", "x").await.status, 201);
    let id = world.rw.files()[0].0.file_id;
    let refused = world.send(world.req("DELETE", &format!("/api/v1/files/{id}"))).await;
    let detail = "a permanent file is never deleted by a client".to_owned();
    assert_eq!(refused.problem(), (403, "FORBIDDEN".to_owned(), detail));
    assert_eq!(world.rw.files().len(), 1);
}

#[tokio::test]
async fn a_file_whose_element_is_away_is_known_but_cannot_be_read() {
    let world = World::with(|settings| settings.element_list_retry = Duration::from_nanos(1)).await;
    let (id, checksum) = stored(&world, "x").await;
    world.admin.index("away", world.edit.files()[0].0.clone());
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    world.admin.add("away", gone, ElementMode::Edit, 1);
    let record = world.send(world.req("GET", &format!("/api/v1/files/{id}"))).await;
    assert_eq!((record.status, record.json()["checksum"].as_str().unwrap()), (200, checksum.as_str()));
    for request in
        [world.req("GET", &format!("/api/v1/files/{id}/content")), world.req("DELETE", &format!("/api/v1/files/{id}"))]
    {
        let refused = world.send(request).await;
        let detail = "the Storage Element of the file cannot be reached; try again later".to_owned();
        assert_eq!(refused.problem(), (502, "ELEMENT_UPLOAD_FAILED".to_owned(), detail));
    }
}

#[tokio::test]
async fn a_file_that_nobody_who_answers_has_is_missing_only_when_all_answer() {
    let path = "/api/v1/files/018f0000-0000-7000-8000-000000000000";
    let world = World::start().await;
    not_found(&world.send(world.req("GET", path)).await);
    let world = World::start().await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    world.admin.add("away", gone, ElementMode::Edit, 1);
    let refused = world.send(world.req("GET", path)).await;
    let detail = "the Storage Element of the file cannot be reached; try again later".to_owned();
    assert_eq!(refused.problem(), (502, "ELEMENT_UPLOAD_FAILED".to_owned(), detail));
}

#[tokio::test]
async fn reading_needs_the_scope_to_read() {
    let world = World::start().await;
    let (id, _) = stored(&world, "x").await;
    for path in [format!("/api/v1/files/{id}"), format!("/api/v1/files/{id}/content")] {
        let refused = world.send(req("GET", &path).token(&world.token("files:write"))).await;
        let detail = "the access token lacks the scope files:read".to_owned();
        assert_eq!(refused.problem(), (403, "FORBIDDEN".to_owned(), detail));
        assert_eq!(world.send(req("GET", &path)).await.status, 401);
    }
}
