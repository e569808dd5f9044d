//! Elements and the Admin Module that fail: what the client is told, who is asked next, what is left.

use crate::doubles::{ElementDouble, Fault};
use crate::world::{GIB, World};
use artstore_api::element::{ElementMode, ElementStatus};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpListener;

pub(crate) const LARGE: usize = 400_000;
const BROKE_OFF: &str = "the Storage Element refused or broke off; nothing is stored, try again";
const UNAVAILABLE: &str = "the Admin Module gave no token or no list of elements, and none is cached; try again later";

fn failed(code: &str, status: u16, detail: &str) -> (u16, String, String) {
    (status, code.to_owned(), detail.to_owned())
}

/// A world with a second element for temporary files, which is asked after the first.
async fn with_second() -> (World, ElementDouble) {
    let world = World::start().await;
    let second = ElementDouble::start().await;
    world.admin.add("second", second.address, ElementMode::Edit, GIB / 2);
    (world, second)
}

#[tokio::test]
async fn an_element_that_does_not_take_the_file_is_passed_over_before_a_byte_moves() {
    for (fault, reason) in [
        (Fault::Status(507), "full"),
        (Fault::Status(503), "refused"),
        (Fault::Status(429), "refused"),
        (Fault::Status(403), "refused"),
        (Fault::TornBefore, "unreachable"),
        (Fault::Nonsense, "refused"),
    ] {
        let (world, second) = with_second().await;
        world.edit.fail("create", fault);
        let reply = world.put("filename=a", vec![1; LARGE]).await;
        assert_eq!(reply.status, 201, "{fault:?}");
        assert_eq!(world.edit.log(), ["create"]);
        assert_eq!(second.log(), ["create", "append", "complete"]);
        assert_eq!(world.metric("ingester_element_failovers_total", &[("reason", reason)]), 1.0, "{fault:?}");
    }
    for fault in [Fault::Status(507), Fault::Status(500)] {
        let (world, second) = with_second().await;
        world.edit.fail("put", fault);
        assert_eq!(world.put("filename=a", "x").await.status, 201, "{fault:?}");
        assert_eq!((world.edit.log().len(), second.log()), (1, vec!["put".to_owned()]));
    }
}

#[tokio::test]
async fn an_element_that_is_down_is_passed_over_and_alone_it_is_a_failure() {
    let (world, second) = with_second().await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    world.admin.add("edit", gone, ElementMode::Edit, GIB);
    assert_eq!(world.put("filename=a", "x").await.status, 201);
    assert_eq!(world.put("filename=a", vec![1; LARGE]).await.status, 201);
    assert_eq!(second.files().len(), 2);
    world.admin.add("rw", gone, ElementMode::Rw, GIB);
    let world = World::start().await;
    world.admin.add("edit", gone, ElementMode::Edit, GIB);
    for size in [1, LARGE] {
        let reply = world.put("filename=a", vec![1; size]).await;
        assert_eq!(reply.problem(), failed("ELEMENT_UPLOAD_FAILED", 502, BROKE_OFF));
    }
    assert_eq!(world.uploads("temporary", "failed"), 2.0);
}

#[tokio::test]
async fn an_element_that_moved_is_found_at_its_new_address() {
    let world = World::with(|settings| settings.element_list_retry = Duration::from_nanos(1)).await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    world.admin.add("edit", gone, ElementMode::Edit, GIB);
    assert_eq!(world.put("filename=a", "x").await.status, 502);
    world.admin.add("edit", world.edit.address, ElementMode::Edit, GIB);
    assert_eq!(world.put("filename=a", "x").await.status, 201);
}

#[tokio::test]
async fn full_elements_are_storage_full_and_nothing_moves() {
    let full = failed("STORAGE_FULL", 507, "no Storage Element has room for the file");
    // By the list: no element is asked.
    let world = World::start().await;
    world.admin.add("edit", world.edit.address, ElementMode::Edit, LARGE as u64 - 1);
    let content = vec![1; 4 << 20];
    for request in [
        world.req("PUT", "/api/v1/files?filename=a").body(vec![1; LARGE]),
        world.req("POST", "/api/v1/files/upload").form(&[("file", Some("a"), &content)]),
    ] {
        assert_eq!(world.send(request).await.problem(), full);
    }
    assert_eq!(world.edit.log(), Vec::<String>::new());
    // By the element's own word.
    let world = World::start().await;
    world.edit.fail("create", Fault::Status(507));
    assert_eq!(world.put("filename=a", vec![1; LARGE]).await.problem(), full);
    assert_eq!(world.edit.log(), ["create"]);
    world.edit.fail("append", Fault::Status(507));
    assert_eq!(world.put("filename=a", vec![1; LARGE]).await.problem(), full);
    world.expect_nothing_left().await;
    // Full is not the answer while another could not be asked.
    let (world, second) = with_second().await;
    world.edit.fail("create", Fault::Status(507));
    second.fail("create", Fault::Status(500));
    assert_eq!(world.put("filename=a", vec![1; LARGE]).await.problem().1, "ELEMENT_UPLOAD_FAILED");
}

#[tokio::test]
async fn no_element_for_the_policy_is_said_so_until_one_reports() {
    let world = World::with(|settings| settings.element_list_retry = Duration::from_nanos(1)).await;
    world.admin.add_with_status("rw", world.rw.address, ElementMode::Rw, GIB, ElementStatus::Offline);
    let reply = world.put("filename=a&retention_policy=permanent", "x").await;
    let detail = "no Storage Element for permanent files is online";
    assert_eq!(reply.problem(), failed("NO_STORAGE_AVAILABLE", 503, detail));
    assert_eq!(world.put("filename=a", "x").await.status, 201);
    world.admin.add("rw", world.rw.address, ElementMode::Rw, GIB);
    assert_eq!(world.put("filename=a&retention_policy=permanent", "x").await.status, 201);
}

#[tokio::test]
async fn a_transfer_that_breaks_off_fails_and_leaves_nothing() {
    for fault in [Fault::Status(500), Fault::Status(409), Fault::TornBefore, Fault::Miscount, Fault::Nonsense] {
        let world = World::start().await;
        world.edit.fail("append", fault);
        let problem = world.put("filename=a", vec![1; LARGE]).await.problem();
        assert_eq!((problem.0, problem.1.as_str()), (502, "ELEMENT_UPLOAD_FAILED"), "{fault:?}");
        world.expect_nothing_left().await;
        assert_eq!(world.uploads("temporary", "failed"), 1.0);
    }
}

#[tokio::test]
async fn an_answer_about_publishing_that_is_lost_is_looked_for() {
    // Published, but the answer was lost: the client gets its 201.
    for (operation, size) in [("complete", LARGE), ("put", 10)] {
        let world = World::start().await;
        world.edit.fail(operation, Fault::TornAfter);
        let reply = world.put("filename=a", vec![1; size]).await;
        assert_eq!(reply.status, 201, "{operation}");
        assert_eq!(reply.json()["file_id"], world.edit.files()[0].0.file_id.to_string());
        assert_eq!(world.edit.files().len(), 1);
        // Not published: it is asked again, under the same identifier.
        let world = World::start().await;
        world.edit.fail(operation, Fault::TornBefore);
        assert_eq!(world.put("filename=a", vec![1; size]).await.status, 201, "{operation}");
        assert_eq!(world.edit.files().len(), 1);
        // Never published: a failure, and nothing is left.
        let world = World::start().await;
        world.edit.fail_always(operation, Fault::TornBefore);
        assert_eq!(world.put("filename=a", vec![1; size]).await.problem().1, "ELEMENT_UPLOAD_FAILED");
        world.expect_nothing_left().await;
    }
}

#[tokio::test]
async fn a_published_file_that_cannot_be_confirmed_is_taken_back() {
    let world = World::start().await;
    world.edit.fail_always("put", Fault::TornAfter);
    world.edit.fail_always("record", Fault::Status(500));
    assert_eq!(world.put("filename=a", "x").await.problem().1, "ELEMENT_UPLOAD_FAILED");
    world.edit.until(|element| element.files().is_empty()).await;
    assert!(world.edit.log().contains(&"delete".to_owned()));
}

#[tokio::test]
async fn a_session_that_cannot_be_given_up_at_once_is_tried_again_and_then_left_to_the_sweep() {
    let world = World::with(|settings| settings.abandon_attempts = 2).await;
    world.edit.fail("append", Fault::Status(500));
    world.edit.fail("abandon", Fault::Status(409));
    assert_eq!(world.put("filename=a", vec![1; LARGE]).await.status, 502);
    world.expect_nothing_left().await;
    world.edit.fail("append", Fault::Status(500));
    world.edit.fail_always("abandon", Fault::Status(500));
    assert_eq!(world.put("filename=a", vec![1; LARGE]).await.status, 502);
    let left = async {
        while world.metric("ingester_sessions_abandoned_total", &[("result", "left_to_sweep")]) < 1.0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::wire::PATIENCE, left).await.unwrap();
    assert_eq!(world.metric("ingester_sessions_abandoned_total", &[("result", "removed")]), 1.0);
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_while_the_body_is_still_here() {
    for (operation, size) in [("put", 10), ("create", LARGE), ("complete", LARGE)] {
        let world = World::start().await;
        world.edit.fail(operation, Fault::Status(401));
        assert_eq!(world.put("filename=a", vec![1; size]).await.status, 201, "{operation}");
        let tokens = world.edit.tokens();
        let refused = world.edit.log().iter().position(|logged| logged == operation).unwrap();
        assert_eq!((tokens[refused].as_str(), tokens[refused + 1].as_str()), ("Bearer t1", "Bearer t2"));
        assert_eq!(world.metric("auth_errors_total", &[("error_type", "resource_rejected")]), 0.0);
    }
}

#[tokio::test]
async fn a_token_that_stays_refused_is_a_failure_that_is_counted_once() {
    for (operation, size, count) in [("put", 10, 2), ("create", LARGE, 2), ("append", LARGE, 1)] {
        let world = World::start().await;
        for _ in 0..count {
            world.edit.fail(operation, Fault::Status(401));
        }
        let reply = world.put("filename=a", vec![1; size]).await;
        assert_eq!(reply.problem(), failed("ELEMENT_UPLOAD_FAILED", 502, BROKE_OFF), "{operation}");
        assert_eq!(world.metric("auth_errors_total", &[("error_type", "resource_rejected")]), 1.0, "{operation}");
        world.expect_nothing_left().await;
    }
}

#[tokio::test]
async fn uploads_go_on_while_the_admin_module_is_away_and_a_token_and_a_list_are_held() {
    let world = World::with(|settings| settings.element_list_ttl = Duration::from_nanos(1)).await;
    assert_eq!(world.put("filename=a", "x").await.status, 201);
    world.admin.set_down(true);
    world.no_tokens.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        assert_eq!(world.put("filename=a", "x").await.status, 201);
    }
    let id = world.edit.files()[0].0.file_id;
    let record = world.send(world.req("GET", &format!("/api/v1/files/{id}"))).await;
    assert_eq!((record.status, record.json()["file_id"].as_str()), (200, Some(id.to_string().as_str())));
    let nowhere = world.send(world.req("GET", "/api/v1/files/01890a5d-ac96-774b-bcce-b302099a8057")).await;
    assert_eq!(nowhere.problem().1, "NOT_FOUND");
}

#[tokio::test]
async fn without_a_token_or_a_list_the_admin_module_is_unavailable() {
    let world = World::start().await;
    world.no_tokens.store(true, Ordering::Relaxed);
    for size in [1, LARGE] {
        let reply = world.put("filename=a", vec![1; size]).await;
        assert_eq!(reply.problem(), failed("ADMIN_UNAVAILABLE", 502, UNAVAILABLE));
    }
    let world = World::start().await;
    world.admin.set_down(true);
    let uploads = (0..8).map(|_| world.put("filename=a", "x"));
    for reply in futures_util::future::join_all(uploads).await {
        assert_eq!(reply.problem(), failed("ADMIN_UNAVAILABLE", 502, UNAVAILABLE));
    }
    assert!(world.admin.asked() <= 8);
    // It comes back, and so do uploads: nothing remembers the failure longer than needed.
    world.admin.set_down(false);
    assert_eq!(world.put("filename=a", "x").await.status, 201);
    assert_eq!(world.uploads("temporary", "failed"), 8.0);
    assert_eq!(world.metric("ingester_errors_total", &[("code", "ADMIN_UNAVAILABLE")]), 8.0);
}

#[tokio::test]
async fn many_uploads_at_once_fetch_the_list_once() {
    let world = World::start().await;
    let uploads = (0..16).map(|_| world.put("filename=a", "x"));
    for reply in futures_util::future::join_all(uploads).await {
        assert_eq!(reply.status, 201);
    }
    assert_eq!(world.admin.asked(), 1);
    assert_eq!(world.metric("ingester_elements_online", &[("mode", "edit")]), 1.0);
}
