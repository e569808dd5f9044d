//! The path of a file: plain curl and the artstore commands, through one process and through four.

use artstore_e2e::big;
use artstore_e2e::parts::Parts;
use artstore_e2e::payload::{Payload, sha256_of};
use artstore_e2e::poll;
use artstore_e2e::process::artstore;
use artstore_e2e::up::{House, Up, VARIABLES, stored};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

/// Bytes of the large file: 1 GiB when asked for.
fn large() -> u64 {
    if big() { 1 << 30 } else { 64 << 20 }
}

#[test]
fn the_first_upload_is_stored_within_30_s_of_the_first_start() {
    let (up, took) = poll::timed(|| {
        let up = Up::start();
        let small = up.payload("small", 4_096, 1);
        let answer = up.upload_raw(&up.token(), &small.path, &[("filename", "small")]);
        let _ = stored(&answer, &small);
        up
    });
    println!("start to first upload: {} ms", took.as_millis());
    assert!(took < Duration::from_secs(30), "{took:?}");
    let file = up.data().join("artstore.env");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    for variable in VARIABLES {
        assert!(!up.var(variable).is_empty(), "{variable}");
    }
}

#[test]
fn a_large_file_makes_the_whole_path_through_one_process() {
    let up = Up::start();
    walk(&up, up.scratch());
}

#[test]
fn a_large_file_makes_the_whole_path_through_four_processes() {
    let parts = Parts::start(&[]);
    walk(&parts, parts.scratch());
}

/// Up by form, raw and command; down by curl, in part, and by command; then deleted.
fn walk(house: &House, scratch: &Path) {
    let payload = Payload::write(&scratch.join("large.bin"), large(), 2);
    let token = house.token();
    let form = form(house, &token, &payload);
    let raw = raw(house, &token, &payload);
    let by_command = by_command(house, &payload, scratch);
    ranges(house, &token, &form, &payload);
    let deleted = house.ingester(&format!("/api/v1/files/{form}")).bearer(&token).with(["-X", "DELETE"]).run();
    assert_eq!(deleted.status, 204, "{deleted}");
    assert_eq!(house.record(&token, &form).expect(404).json()["code"], "NOT_FOUND");
    let kept = house.ingester(&format!("/api/v1/files/{raw}")).bearer(&token).with(["-X", "DELETE"]).run();
    assert_eq!(kept.expect(403).json()["code"], "FORBIDDEN", "a permanent file is never deleted by a client");
    assert_eq!(house.record(&token, &by_command).expect(200).json()["original_filename"], "large.bin");
}

fn form(house: &House, token: &str, payload: &Payload) -> String {
    let file = format!("file=@{};type=application/x-test", payload.path.display());
    let parts = ["description=a form", "ttl_days=7", &file, "tags=[\"a\",\"b c\"]"];
    let record = stored(&house.upload_form(token, &parts), payload);
    let id = record.file_id.to_string();
    let again = house.record(token, &id).expect(200).json();
    let expected = serde_json::json!({
        "file_id": id, "original_filename": "large.bin", "content_type": "application/x-test", "size": payload.size,
        "checksum": payload.sha256, "uploaded_by": house.var("ARTSTORE_CLIENT_ID"), "uploaded_at": again["uploaded_at"],
        "description": "a form", "tags": ["a", "b c"], "status": "active", "retention_policy": "temporary", "ttl_days": 7,
        "expires_at": again["expires_at"],
    });
    assert_eq!(again, expected);
    assert_eq!(serde_json::to_value(&record).unwrap(), again, "the answer is the record");
    assert_eq!((record.expires_at.unwrap() - record.uploaded_at).whole_days(), 7);
    download(house, token, &id, payload);
    id
}

fn raw(house: &House, token: &str, payload: &Payload) -> String {
    let query = [("filename", "raw é.bin"), ("retention_policy", "permanent")];
    let curl = house.put(token, &query).header("Repr-Digest", &payload.digest_field());
    let record = stored(&curl.with(["-T".as_ref(), payload.path.as_os_str()]).run(), payload);
    assert_eq!(record.original_filename, "raw é.bin");
    assert_eq!((record.ttl_days, record.expires_at), (None, None));
    let id = record.file_id.to_string();
    download(house, token, &id, payload);
    id
}

fn download(house: &House, token: &str, id: &str, payload: &Payload) {
    let target = payload.path.with_extension("down");
    let curl = house.ingester(&format!("/api/v1/files/{id}/content")).bearer(token).into_file(&target);
    let answer = curl.run().expect(200);
    assert_eq!(answer.header("content-length"), Some(payload.size.to_string().as_str()));
    assert_eq!(sha256_of(&target), payload.sha256);
}

fn ranges(house: &House, token: &str, id: &str, payload: &Payload) {
    let whole = std::fs::read(&payload.path).unwrap();
    let curl = || house.ingester(&format!("/api/v1/files/{id}/content")).bearer(token);
    let size = whole.len();
    for (range, from, to) in [("0-0", 0, 1), ("1048575-1048576", 1_048_575, 1_048_577), ("-5", size - 5, size)] {
        let answer = curl().header("Range", &format!("bytes={range}")).run().expect(206);
        assert_eq!(answer.body, whole[from..to], "{range}");
        let expected = format!("bytes {from}-{}/{size}", to - 1);
        assert_eq!(answer.header("content-range"), Some(expected.as_str()));
    }
    let beyond = curl().header("Range", &format!("bytes={size}-")).run();
    assert_eq!(beyond.status, 416, "{beyond}");
}

/// `artstore upload` and `download`, with `artstore.env` in the environment.
fn by_command(house: &House, payload: &Payload, scratch: &Path) -> String {
    let sent = artstore().envs(&house.env).arg("upload").arg("--json").arg(&payload.path).output().unwrap();
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    let record: serde_json::Value = serde_json::from_slice(&sent.stdout).unwrap();
    assert_eq!(record["checksum"], payload.sha256);
    let id = record["file_id"].as_str().unwrap().to_owned();
    let target = scratch.join("by-command.bin");
    let fetched = artstore().envs(&house.env).args(["download", &id, "-o"]).arg(&target).output().unwrap();
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    assert_eq!(sha256_of(&target), payload.sha256);
    let unknown =
        artstore().envs(&house.env).args(["download", "0198c5a2-7d3e-7a41-9a3b-0c54f0a1b2c3"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(7), "{}", String::from_utf8_lossy(&unknown.stderr));
    id
}
