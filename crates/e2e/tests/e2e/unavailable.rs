//! An element that is full or down, and an Admin Module that is down.

use artstore_e2e::parts::{Part, Parts};
use artstore_e2e::payload::files_below;
use artstore_e2e::poll;
use artstore_e2e::up::stored;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_full_element_is_507_before_a_byte_moves() {
    let parts = Parts::start(&[(Part::Rw, "element.capacity_bytes = 3000000")]);
    let token = parts.token();
    let large = parts.payload("large", 4_000_000, 1);
    let permanent = [("filename", "a"), ("retention_policy", "permanent")];
    let curl = parts.put(&token, &permanent).with(["-T".as_ref(), large.path.as_os_str()]);
    let answer = curl.clone().header("Expect", "100-continue").run();
    assert_eq!((answer.status, answer.sent), (507, 0), "{answer}");
    assert_eq!(answer.json()["code"], "STORAGE_FULL");
    // Without a length the element notices when it is full.
    let chunked = curl.header("Transfer-Encoding", "chunked").run();
    assert_eq!((chunked.status, &chunked.json()["code"]), (507, &"STORAGE_FULL".into()), "{chunked}");
    let _ = stored(&parts.upload_raw(&token, &large.path, &[("filename", "temporary files have room")]), &large);
    let fits = parts.payload("fits", 2_000_000, 2);
    let _ = stored(&parts.upload_raw(&token, &fits.path, &permanent), &fits);
    let more =
        parts.put(&token, &permanent).with(["-T".as_ref(), fits.path.as_os_str()]).header("Expect", "100-continue");
    let answer = more.run();
    assert_eq!((answer.status, answer.sent), (507, 0), "what is stored counts: {answer}");
    let objects = files_below(&parts.data(Part::Rw).join("objects"));
    assert_eq!(objects.iter().filter(|path| path.extension().is_none()).count(), 1, "{objects:?}");
    assert_eq!(files_below(&parts.data(Part::Rw).join("uploads")).len(), 0);
}

#[test]
fn an_element_that_is_down_is_502_and_serves_again_once_it_is_back() {
    let mut parts = Parts::start(&[]);
    let (token, small) = (parts.token(), parts.payload("small", 1_000, 1));
    let large = parts.payload("large", 1 << 20, 2);
    let id = stored(&parts.upload_raw(&token, &small.path, &[("filename", "a")]), &small).file_id.to_string();
    in_index(&parts, &id);
    parts.process(Part::Edit).kill();
    for payload in [&small, &large] {
        let answer = parts.upload_raw(&token, &payload.path, &[("filename", "a")]);
        assert_eq!((answer.status, &answer.json()["code"]), (502, &"ELEMENT_UPLOAD_FAILED".into()), "{answer}");
    }
    let permanent = [("filename", "a"), ("retention_policy", "permanent")];
    let _ = stored(&parts.upload_raw(&token, &small.path, &permanent), &small);
    let record = parts.record(&token, &id);
    assert_eq!(record.status, 200, "the index still knows it: {record}");
    let content = parts.ingester(&format!("/api/v1/files/{id}/content")).bearer(&token).run();
    assert!([502, 503].contains(&content.status), "{content}");
    parts.restart(Part::Edit);
    poll::until("uploads are taken again", SOON, || {
        let answer = parts.upload_raw(&token, &small.path, &[("filename", "a")]);
        (answer.status == 201).then_some(())
    });
    assert_eq!(parts.content_sha256(&token, &id), small.sha256);
}

#[test]
fn while_admin_is_down_uploads_go_on_with_a_cached_token_and_the_index_catches_up() {
    let mut parts = Parts::start(&[]);
    let (token, small) = (parts.token(), parts.payload("small", 1_000, 1));
    let large = parts.payload("large", 1 << 20, 2);
    let _ = stored(&parts.upload_raw(&token, &small.path, &[("filename", "warm")]), &small);
    parts.process(Part::Admin).kill();
    let mut ids = Vec::new();
    for payload in [&small, &large] {
        let record = stored(&parts.upload_raw(&token, &payload.path, &[("filename", "meanwhile")]), payload);
        let id = record.file_id.to_string();
        let read = parts.record(&token, &id).expect(200).json();
        assert_eq!(read["original_filename"], "meanwhile", "asked from the elements");
        assert_eq!(parts.content_sha256(&token, &id), payload.sha256);
        ids.push(id);
    }
    let waiting = parts.scrape("ARTSTORE_ELEMENT_EDIT_OPS_URL").sum("element_outbox_changes", &[]);
    assert!(waiting >= 2.0, "{waiting} changes wait");
    parts.restart(Part::Admin);
    for id in ids {
        in_index(&parts, &id);
    }
    poll::until("the outbox is empty", SOON, || {
        let waiting = parts.scrape("ARTSTORE_ELEMENT_EDIT_OPS_URL").sum("element_outbox_changes", &[]);
        (waiting == 0.0).then_some(())
    });
}

#[test]
fn without_admin_and_without_a_cached_token_an_upload_is_502_and_goes_through_once_admin_is_back() {
    let mut parts = Parts::start(&[]);
    let (token, small) = (parts.token(), parts.payload("small", 1_000, 1));
    assert_eq!(parts.process(Part::Ingester).terminate().code(), Some(0));
    parts.process(Part::Admin).kill();
    parts.restart_alone(Part::Ingester);
    let answer = parts.upload_raw(&token, &small.path, &[("filename", "a")]);
    assert_eq!((answer.status, &answer.json()["code"]), (502, &"ADMIN_UNAVAILABLE".into()), "{answer}");
    let scrape = parts.scrape("ARTSTORE_OPS_URL");
    let refused = scrape.sum("auth_errors_total", &[("error_type", "connect")]);
    assert!(refused >= 1.0, "the metric says why: {refused}");
    parts.restart(Part::Admin);
    poll::until("uploads are taken", Duration::from_secs(60), || {
        (parts.upload_raw(&token, &small.path, &[("filename", "a")]).status == 201).then_some(())
    });
}

/// Waits until the Admin Module knows the file.
fn in_index(parts: &Parts, id: &str) {
    let reader = parts.forge("index:read", "artstore-admin");
    poll::until("the index catches up", SOON, || {
        (parts.admin(&format!("/api/v1/files/{id}")).bearer(&reader).run().status == 200).then_some(())
    });
}
