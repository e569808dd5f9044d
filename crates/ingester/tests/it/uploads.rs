//! Uploads that are stored, and uploads that their client got wrong.

use crate::wire::{Reply, req};
use crate::world::World;
use artstore_api::file::RetentionPolicy;
use serde_json::json;

const TEXT_HASH: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
/// A part of a form: name, file name, content.
type Part<'a> = (&'a str, Option<&'a str>, &'a [u8]);

const TEXT_BASE64: &str = "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=";

#[tokio::test]
async fn a_small_form_is_stored_with_one_request_and_its_record_answered() {
    let world = World::start().await;
    let form = world.req("POST", "/api/v1/files/upload").form(&[
        ("tags", None, b"[\"a\",\"b\"]"),
        ("file", Some("hello.txt"), b"hello"),
        ("description", None, "späte Worte".as_bytes()),
        ("ttl_days", None, b"7"),
    ]);
    let reply = world.send(form).await;
    assert_eq!(reply.status, 201);
    let record = reply.json();
    let id = record["file_id"].as_str().unwrap();
    assert_eq!(reply.header("location"), format!("/api/v1/files/{id}"));
    let expected = json!({
        "file_id": id, "original_filename": "hello.txt", "content_type": "text/plain", "size": 5, "checksum": TEXT_HASH,
        "uploaded_by": "someone", "uploaded_at": "2027-01-15T08:00:00Z", "description": "späte Worte", "tags": ["a", "b"],
        "status": "active", "retention_policy": "temporary", "ttl_days": 7, "expires_at": null,
    });
    assert_eq!(record, expected);
    assert_eq!(world.edit.log(), ["put"]);
    assert_eq!(world.rw.log(), Vec::<String>::new());
    assert_eq!(world.uploads("temporary", "stored"), 1.0);
    assert_eq!(world.metric("ingester_uploads_total", &[]), 1.0);
    assert_eq!(world.metric("ingester_upload_size_bytes_sum", &[("way", "multipart")]), 5.0);
    assert_eq!(world.metric("ingester_upload_received_bytes_total", &[("way", "multipart")]), 5.0);
    assert_eq!(world.metric("ingester_upload_duration_seconds_count", &[("way", "multipart")]), 1.0);
    assert_eq!(world.metric("ingester_errors_total", &[]), 0.0);
}

#[tokio::test]
async fn a_large_form_goes_by_a_session_and_what_follows_the_file_is_sent_late() {
    let world = World::start().await;
    let content: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    for chunked in [false, true] {
        let form = world.req("POST", "/api/v1/files/upload").form(&[
            ("retention_policy", None, b"permanent"),
            ("file", Some("big.bin"), &content),
            ("description", None, b"late"),
            ("retention_policy_", None, b""),
        ]);
        // A misspelt field after the bytes stores nothing.
        let refused = world.send(form).await;
        assert_eq!(refused.status, 400);
        world.rw.until(|element| element.sessions() == 0 && element.files().is_empty()).await;
        let form = world.req("POST", "/api/v1/files/upload").form(&[
            ("retention_policy", None, b"permanent"),
            ("file", Some("big.bin"), &content),
            ("description", None, b"late"),
        ]);
        let reply = world.send(if chunked { form.chunked() } else { form }).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        let (record, stored) = world.rw.files().remove(0);
        assert_eq!((record.size, record.description.as_deref()), (3_000_000, Some("late")));
        assert_eq!((record.retention_policy, record.ttl_days), (RetentionPolicy::Permanent, None));
        assert!(stored == content);
        let path = format!("/api/v1/files/{}", record.file_id);
        assert_eq!(world.send(world.req("DELETE", &path)).await.problem().1, "FORBIDDEN");
        // Permanent for clients, not for this test.
        let direct = req("DELETE", &path).send(world.rw.address).await;
        assert_eq!(direct.status, 204);
    }
    assert_eq!(world.uploads("permanent", "stored"), 2.0);
    assert_eq!(world.uploads("permanent", "rejected"), 2.0);
    assert_eq!(world.metric("ingester_sessions_abandoned_total", &[("result", "removed")]), 2.0);
}

#[tokio::test]
async fn a_raw_body_is_stored_whatever_its_size_and_framing() {
    let world = World::start().await;
    let limit = 256 << 10;
    for (size, chunked, log) in [
        (0, false, &["put"][..]),
        (0, true, &["put"][..]),
        (1, false, &["put"][..]),
        (limit, false, &["put"][..]),
        (limit, true, &["put"][..]),
        (limit + 1, false, &["create", "append", "complete"][..]),
        (limit + 1, true, &["create", "append", "complete"][..]),
        (5 << 20, true, &["create", "append", "complete"][..]),
    ] {
        let before = world.edit.log().len();
        let request = world.req("PUT", "/api/v1/files?filename=a%20b.bin&ttl_days=1").body(vec![7; size]);
        let reply = world.send(if chunked { request.chunked() } else { request }).await;
        assert_eq!(reply.status, 201, "{size} {chunked} {reply:?}");
        assert_eq!(reply.json()["size"], size);
        assert_eq!(reply.json()["content_type"], "application/octet-stream");
        assert_eq!(world.edit.log()[before..], *log, "{size} {chunked}");
    }
    // What is known of the size is told before a byte moves.
    assert_eq!(world.edit.created_sizes(), [Some(limit as u64 + 1), None, None]);
    assert_eq!(world.metric("ingester_upload_size_bytes_count", &[("way", "raw")]), 8.0);
}

#[tokio::test]
async fn one_upload_asks_for_so_many_tokens_as_it_sends_requests() {
    let world = World::start().await;
    let calls = || world.metric("auth_token_source_total", &[]);
    assert_eq!(world.put("filename=a", "x").await.status, 201);
    assert_eq!(calls(), 2.0, "the list of elements and the PUT");
    assert_eq!(world.put("filename=a", "x").await.status, 201);
    assert_eq!(calls(), 3.0);
    assert_eq!(world.put("filename=a", vec![1; 300_000]).await.status, 201);
    assert_eq!(calls(), 6.0, "POST, PATCH and complete");
    assert_eq!(world.issued.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_right_digest_is_accepted_and_a_wrong_one_stores_nothing() {
    let world = World::start().await;
    let put = |name: &str, value: String, body: Vec<u8>| {
        world.req("PUT", "/api/v1/files?filename=a").header(name, &value).body(body)
    };
    for name in ["Content-Digest", "Repr-Digest"] {
        let reply = world.send(put(name, format!("sha-256=:{TEXT_BASE64}:, sha-512=:AAAA:"), b"hello".to_vec())).await;
        assert_eq!(reply.status, 201);
        assert_eq!(reply.json()["checksum"], TEXT_HASH);
    }
    assert_eq!(world.edit.files().len(), 2);
    let world = World::start().await;
    let put = |name: &str, value: String, body: Vec<u8>| {
        world.req("PUT", "/api/v1/files?filename=a").header(name, &value).body(body)
    };
    let mismatch = (
        422,
        "CHECKSUM_MISMATCH".to_owned(),
        "the sha-256 of the bytes is not the one that the digest field names".to_owned(),
    );
    for body in [b"Hello".to_vec(), vec![0; 400_000]] {
        let reply = world.send(put("Repr-Digest", format!("sha-256=:{TEXT_BASE64}:"), body)).await;
        assert_eq!(reply.problem(), mismatch);
    }
    let reply = world.send(put("Content-Digest", "sha-256=abc".to_owned(), b"hello".to_vec())).await;
    assert_eq!(reply.problem().1, "VALIDATION_ERROR");
    let reply = world.send(put("Content-Digest", "md5=:AAAA:".to_owned(), b"x".to_vec())).await;
    assert_eq!(reply.status, 201);
    assert_eq!(world.uploads("temporary", "rejected"), 2.0);
    assert_eq!(world.uploads("unknown", "rejected"), 1.0);
    assert_eq!(world.metric("ingester_errors_total", &[("code", "CHECKSUM_MISMATCH")]), 2.0);
    assert_eq!(world.edit.sessions(), 0);
}

#[tokio::test]
async fn each_bad_form_has_its_status_code_and_message_and_leaves_nothing() {
    let world = World::start().await;
    let file: Part<'_> = ("file", Some("a.txt"), b"x");
    let known = "known are file, description, tags, retention_policy, ttl_days";
    let tags = "tags must be a JSON array of strings, such as [\"a\", \"b\"]";
    let ttl = "ttl_days must be from 1 to 365";
    let path = "a file name is no path: send its last part alone";
    let unknown = format!("unknown field \"colour\"; {known}");
    let long = vec![b'x'; 1001];
    let cases: Vec<(Vec<Part<'_>>, &str)> = vec![
        (vec![], "the field file is missing"),
        (vec![("description", None, b"x")], "the field file is missing"),
        (vec![("file", None, b"x")], "the field file has no filename"),
        (vec![file, ("retention_policy", None, b"permanent")], "send retention_policy before file"),
        (vec![file, file], "send one file"),
        (vec![("tags", None, b"x"), file], tags),
        (vec![file, ("tags", None, b"{}")], tags),
        (vec![("ttl_days", None, b"0"), file], ttl),
        (vec![("ttl_days", None, b"366"), file], ttl),
        (vec![file, ("ttl_days", None, b"0")], ttl),
        (vec![("retention_policy", None, b"forever"), file], "retention_policy must be \"temporary\" or \"permanent\""),
        (
            vec![("retention_policy", None, b"permanent"), ("ttl_days", None, b"3"), file],
            "a permanent file does not expire: leave ttl_days out",
        ),
        (vec![("description", None, &long), file], "a description has at most 1000 characters"),
        (vec![("colour", None, b"red"), file], &unknown),
        (vec![file, ("colour", None, b"red")], &unknown),
        (vec![("file", Some("../../etc/passwd"), b"x")], path),
        (vec![("file", Some("..\\\\x"), b"x")], path),
        (vec![("file", Some(""), b"x")], "a file name has 1 to 255 bytes"),
        (vec![("file", Some("a\u{7f}b"), b"x")], "the headers of a part of the form cannot be read"),
    ];
    for (parts, message) in &cases {
        let reply = world.send(world.req("POST", "/api/v1/files/upload").form(parts)).await;
        let expected = (400, "VALIDATION_ERROR".to_owned(), (*message).to_owned());
        assert_eq!(reply.problem(), expected, "{parts:?}");
    }
    world.expect_nothing_left().await;
    let rejected = world.metric("ingester_uploads_total", &[("outcome", "rejected")]);
    #[expect(clippy::cast_precision_loss, reason = "a few")]
    let expected = cases.len() as f64;
    assert_eq!((rejected, world.metric("ingester_uploads_total", &[])), (expected, expected));
    assert_eq!(world.metric("ingester_errors_total", &[("code", "VALIDATION_ERROR")]), expected);
}

#[tokio::test]
async fn each_bad_raw_upload_has_its_status_code_and_message_and_leaves_nothing() {
    let world = World::start().await;
    let put = |query: &str| world.req("PUT", &format!("/api/v1/files{query}")).body("x");
    for (request, message) in [
        (put(""), "the query parameter filename is missing"),
        (put("?filename=a%00b"), "a file name has no control characters"),
        (put("?filename=..%2Fa"), "a file name is no path: send its last part alone"),
        (put("?filename=a&ttl_days=366"), "ttl_days must be from 1 to 365"),
        (
            put("?filename=a").header("Content-Encoding", "gzip"),
            "the bytes are stored as they are: send them without Content-Encoding",
        ),
        (
            put("?filename=a").header("Content-Range", "bytes 0-0/1"),
            "a part of a file cannot be put: send the whole body without Content-Range",
        ),
        (
            world.req("POST", "/api/v1/files/upload").header("content-type", "text/plain").body("x"),
            "send multipart/form-data with a boundary",
        ),
        (world.req("POST", "/api/v1/files/upload").body("x"), "send multipart/form-data with a boundary"),
    ] {
        let reply = world.send(request).await;
        assert_eq!(reply.problem(), (400, "VALIDATION_ERROR".to_owned(), message.to_owned()));
    }
    world.expect_nothing_left().await;
}

#[tokio::test]
async fn who_may_not_upload_is_told_why_before_a_byte_is_stored() {
    let world = World::start().await;
    let none = "Bearer realm=\"artstore\"".to_owned();
    let invalid = |reply: &Reply| reply.header("www-authenticate").contains("error=\"invalid_token\"");
    for path in ["POST /api/v1/files/upload", "PUT /api/v1/files?filename=a", "DELETE /api/v1/files/x"] {
        let (method, path) = path.split_once(' ').unwrap();
        let reply = world.send(req(method, path).body("x")).await;
        let expected = (401, "UNAUTHORIZED".to_owned(), "send an access token: Authorization: Bearer …".to_owned());
        assert_eq!((reply.problem(), reply.header("www-authenticate").to_owned()), (expected, none.clone()));
        for claims in [json!({"aud": "artstore-element"}), json!({"exp": 1}), json!({"iss": "https://other"})] {
            let reply = world.send(req(method, path).token(&world.sign(&claims)).body("x")).await;
            assert_eq!((reply.problem().0, reply.problem().1.as_str()), (401, "UNAUTHORIZED"), "{claims}");
            assert!(invalid(&reply), "{reply:?}");
        }
        let alg_none = "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0Iiwia2lkIjoiayJ9.e30.";
        assert!(invalid(&world.send(req(method, path).token(alg_none).body("x")).await));
        let reply = world.send(req(method, path).token(&world.token("files:read")).body("x")).await;
        let expected = (403, "FORBIDDEN".to_owned(), "the access token lacks the scope files:write".to_owned());
        assert_eq!(reply.problem(), expected);
        assert!(reply.header("www-authenticate").contains("insufficient_scope"));
    }
    world.expect_nothing_left().await;
    assert_eq!(world.uploads("unknown", "rejected"), 12.0);
    assert_eq!(world.metric("ingester_errors_total", &[("code", "UNAUTHORIZED")]), 15.0);
    assert_eq!(world.metric("ingester_errors_total", &[("code", "FORBIDDEN")]), 3.0);
}

#[tokio::test]
async fn the_uploader_is_the_client_that_got_the_token() {
    let world = World::start().await;
    let token = world.sign(&json!({"client_id": "the-client", "sub": "the-subject"}));
    let reply = world.send(req("PUT", "/api/v1/files?filename=a").token(&token).body("x")).await;
    assert_eq!(reply.json()["uploaded_by"], "the-client");
}
