//! Uploads through the router, against a real folder: the good way, every fault, every restart.

use crate::testing::{Bench, attributes};
use artstore_api::RetentionPolicy::{Permanent, Temporary};
use artstore_api::element::ElementMode;
use artstore_api::file::{FileId, FileRecord};
use artstore_api::upload::UploadSession;
use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::json;
use std::time::Duration;
use tokio::sync::mpsc;

const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// A body that comes piece by piece as the test sends it, and breaks off with an error.
fn scripted() -> (mpsc::UnboundedSender<Result<Bytes, std::io::Error>>, Body) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let pieces = futures_util::stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
    (sender, Body::from_stream(pieces.boxed()))
}

fn broken(bytes: &'static str) -> Body {
    let (sender, body) = scripted();
    sender.send(Ok(Bytes::from_static(bytes.as_bytes()))).unwrap();
    sender.send(Err(std::io::ErrorKind::ConnectionReset.into())).unwrap();
    body
}

#[tokio::test(start_paused = true)]
async fn a_session_becomes_a_file() {
    let bench = Bench::start(|_| {}).await;
    let reply = bench.create(Some(3)).await;
    let session: UploadSession = reply.json();
    let (id, lease) = (session.file_id, session.lease.unwrap());
    assert_eq!(reply.header("location"), format!("/api/v1/uploads/{id}"));
    assert_eq!((session.offset, session.lease_seconds), (0, 60));
    let reply = bench.patch(id, &lease, 0, "ab").await;
    assert_eq!((reply.status.as_u16(), reply.header("upload-offset")), (204, "2"));
    let reply = bench.patch(id, &lease, 2, "c").await;
    assert_eq!((reply.status.as_u16(), reply.header("upload-offset")), (204, "3"));
    assert_eq!(bench.get(id, &[]).await.status, 404);
    let late = json!({ "description": "d", "tags": ["t"], "ttl_days": 2 });
    let request = json!({ "size": 3, "sha256": ABC.to_uppercase(), "late": late });
    let reply = bench.complete(id, &lease, request.clone()).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    let record: FileRecord = reply.json();
    assert_eq!((record.file_id, record.size, record.checksum.as_str()), (id, 3, ABC));
    assert_eq!((record.description.as_deref(), record.tags.as_slice()), (Some("d"), ["t".to_owned()].as_slice()));
    assert_eq!(record.uploaded_at.unix_timestamp(), 1_800_000_000);
    assert_eq!(record.expires_at.unwrap().unix_timestamp(), 1_800_000_000 + 2 * 86_400);
    assert_eq!(bench.get(id, &[]).await.bytes, "abc");
    // The answer was lost: asking again gives it again, with no second file.
    assert_eq!(bench.complete(id, &lease, request).await.json::<FileRecord>(), record);
    let other = bench.complete(id, &lease, json!({ "size": 4 })).await;
    assert_eq!(other.status, 409);
    assert_eq!(bench.sum("element_uploads_total", &[("outcome", "published")]), 1.0);
    assert_eq!(bench.sum("element_uploads_total", &[]), 1.0);
    assert_eq!((bench.sum("element_files", &[]), bench.sum("element_open_uploads", &[])), (1.0, 0.0));
    assert_eq!(bench.sum("element_file_bytes_total", &[("direction", "received")]), 3.0);
    assert_eq!(bench.names("uploads"), Vec::<String>::new());
    assert_eq!(bench.names("objects"), [id.to_string(), format!("{id}.new")]);
}

#[tokio::test(start_paused = true)]
async fn one_request_becomes_a_file_and_may_be_repeated() {
    let bench = Bench::start(|_| {}).await;
    let id = FileId::generate();
    let one_shot = json!({ "attributes": attributes(Temporary), "sha256": ABC });
    let first = bench.put(id, &one_shot, "abc").await;
    assert_eq!(first.status, 201, "{first:?}");
    let again = bench.put(id, &one_shot, "abc").await;
    assert_eq!((again.status.as_u16(), &again.bytes), (200, &first.bytes));
    let other = bench.put(id, &json!({ "attributes": attributes(Temporary) }), "abd").await;
    assert_eq!(other.problem(), (409, "CONFLICT".into(), "the identifier is taken".into()));
    let empty = bench.put(FileId::generate(), &json!({ "attributes": attributes(Temporary) }), "").await;
    assert_eq!((empty.status.as_u16(), empty.json::<FileRecord>().size), (201, 0));
    assert_eq!(bench.sum("element_uploads_total", &[("outcome", "published")]), 2.0);
    assert_eq!(bench.sum("element_uploads_total", &[("outcome", "refused")]), 1.0);
    assert_eq!(bench.sum("element_files", &[]), 2.0);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_digest_leaves_nothing() {
    let bench = Bench::start(|_| {}).await;
    let (id, lease) = bench.session(None).await;
    assert_eq!(bench.patch(id, &lease, 0, "abd").await.status, 204);
    let refused = bench.complete(id, &lease, json!({ "size": 3, "sha256": ABC })).await;
    let (status, code, detail) = refused.problem();
    assert_eq!((status, code.as_str()), (422, "CHECKSUM_MISMATCH"));
    assert!(detail.starts_with("the bytes received have the SHA-256 a52d159f"), "{detail}");
    let one_shot = json!({ "attributes": attributes(Temporary), "sha256": ABC });
    assert_eq!(bench.put(FileId::generate(), &one_shot, "x").await.status, 422);
    bench.assert_empty();
    assert_eq!(bench.sum("element_uploads_total", &[("outcome", "checksum_mismatch")]), 2.0);
    assert_eq!(bench.call("GET", &format!("/api/v1/uploads/{id}"), &[], "").await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn a_broken_upload_keeps_what_came_and_goes_on_anywhere() {
    let bench = Bench::start(|_| {}).await;
    let (id, lease) = bench.session(Some(3)).await;
    assert_eq!(bench.patch(id, &lease, 0, broken("ab")).await.problem().2, "the body broke off");
    assert_eq!(bench.offset(id).await, 2);
    // The lease was released, so that another Ingester can go on at once.
    let taken = bench.call("POST", &format!("/api/v1/uploads/{id}/lease"), &[], "").await;
    assert_eq!(taken.status, 200, "{taken:?}");
    let session: UploadSession = taken.json();
    assert_eq!(session.offset, 2);
    let second = session.lease.unwrap();
    let stale = bench.patch(id, &lease, 2, "c").await;
    assert_eq!(stale.problem().2, "the lease is not yours: take it with POST …/lease");
    let held = bench.call("POST", &format!("/api/v1/uploads/{id}/lease"), &[], "").await;
    assert_eq!(held.problem().2, "the lease is held; it expires in 60 s");
    assert_eq!(bench.patch(id, &second, 2, "c").await.status, 204);
    assert_eq!(bench.complete(id, &second, json!({ "size": 3, "sha256": ABC })).await.status, 201);
}

#[tokio::test(start_paused = true)]
async fn a_session_survives_a_restart_and_a_lost_tail_is_cut_off() {
    let bench = Bench::start(|_| {}).await;
    let (id, lease) = bench.session(Some(3)).await;
    assert_eq!(bench.patch(id, &lease, 0, "ab").await.status, 204);
    // Bytes that were written and not made durable before the process died.
    let part = bench.folder().join("uploads").join(format!("{id}.part"));
    std::fs::write(&part, "abxyz").unwrap();
    let bench = bench.restart().await;
    assert_eq!(bench.sum("element_open_uploads", &[]), 1.0);
    assert_eq!(std::fs::read(&part).unwrap(), b"ab");
    assert_eq!(bench.offset(id).await, 2);
    let session: UploadSession = bench.call("POST", &format!("/api/v1/uploads/{id}/lease"), &[], "").await.json();
    let lease = session.lease.unwrap();
    assert_eq!(bench.patch(id, &lease, 2, "c").await.status, 204);
    assert_eq!(bench.complete(id, &lease, json!({ "size": 3, "sha256": ABC })).await.status, 201);
}

/// The store's own notes decide, whatever the process remembers.
#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_is_damaged_costs_only_what_came_after_the_one_before() {
    let bench = Bench::start(|_| {}).await;
    let (id, lease) = bench.session(None).await;
    assert_eq!(bench.patch(id, &lease, 0, "a").await.status, 204);
    assert_eq!(bench.patch(id, &lease, 1, "b").await.status, 204);
    let session = bench.folder().join("uploads").join(format!("{id}.session"));
    let mut bytes = std::fs::read(&session).unwrap();
    // The second checkpoint lies in the first slot.
    bytes[8..40].fill(0xff);
    std::fs::write(&session, bytes).unwrap();
    assert_eq!(bench.patch(id, &lease, 2, "c").await.problem().2, "the durable offset is 1");
    assert_eq!(bench.offset(id).await, 1);
    assert_eq!(bench.patch(id, &lease, 1, "bc").await.status, 204);
    assert_eq!(bench.complete(id, &lease, json!({ "size": 3, "sha256": ABC })).await.status, 201);
}

/// Large enough for several buffers, a checkpoint under way, and a hand-over between threads.
#[tokio::test(start_paused = true)]
async fn a_large_upload_is_made_durable_on_the_way() {
    let bench = Bench::start(|settings| settings.checkpoint_bytes = 1 << 20).await;
    let (id, lease) = bench.session(None).await;
    let (sender, body) = scripted();
    let piece = Bytes::from((0..=255).cycle().take(100_000).collect::<Vec<u8>>());
    for _ in 0..34 {
        sender.send(Ok(piece.clone())).unwrap();
    }
    let hanging = bench.patch(id, &lease, 0, body);
    let died = async {
        while bench.sum("element_file_bytes_total", &[]) < 3_400_000.0 {
            tokio::task::yield_now().await;
        }
        // What a restart would find now: three checkpoints, each at the first piece that reached it.
        assert_eq!(bench.offset(id).await, 3_300_000);
        drop(sender);
    };
    let (whole, ()) = tokio::join!(hanging, died);
    assert_eq!(whole.header("upload-offset"), "3400000");
    let record: FileRecord = bench.complete(id, &lease, json!({ "size": 3_400_000 })).await.json();
    let bytes: Vec<u8> = piece.iter().copied().cycle().take(100_000).collect::<Vec<_>>().repeat(34);
    let mut hash = crate::hash::RunningHash::default();
    hash.update(&bytes);
    assert_eq!(record.checksum, hash.hex());
    assert!(bench.get(id, &[]).await.bytes == bytes);
}

#[tokio::test(start_paused = true)]
async fn a_newer_request_ends_the_one_that_hangs() {
    let bench = Bench::start(|settings| settings.read_timeout = Duration::from_secs(3_600)).await;
    let (id, lease) = bench.session(Some(3)).await;
    let (sender, body) = scripted();
    sender.send(Ok(Bytes::from_static(b"ab"))).unwrap();
    let hanging = bench.patch(id, &lease, 0, body);
    let newer = async {
        // The first request is at work once its bytes are counted.
        while bench.sum("element_file_bytes_total", &[]) < 2.0 {
            tokio::task::yield_now().await;
        }
        let path = format!("/api/v1/uploads/{id}");
        let reply = bench.call("HEAD", &path, &[("upload-lease", lease.as_str())], "").await;
        assert_eq!(reply.header("upload-offset"), "2");
        bench.patch(id, &lease, 2, "c").await
    };
    let (hanging, newer) = tokio::join!(hanging, newer);
    assert_eq!((hanging.status.as_u16(), newer.status.as_u16()), (400, 204));
    assert_eq!(bench.complete(id, &lease, json!({ "size": 3, "sha256": ABC })).await.status, 201);
    drop(sender);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_body_times_out() {
    let bench = Bench::start(|_| {}).await;
    let (id, lease) = bench.session(None).await;
    let (sender, body) = scripted();
    sender.send(Ok(Bytes::from_static(b"a"))).unwrap();
    assert_eq!(bench.patch(id, &lease, 0, body).await.problem().2, "no byte came for 30 s");
    assert_eq!(bench.offset(id).await, 1);
    drop(sender);
    let (sender, body) = scripted();
    let stalled = bench.put(FileId::generate(), &json!({ "attributes": attributes(Temporary) }), body).await;
    assert_eq!(stalled.status, 400);
    drop(sender);
    let vanished = bench.put(FileId::generate(), &json!({ "attributes": attributes(Temporary) }), broken("x")).await;
    assert_eq!(vanished.status, 400);
    assert_eq!(bench.sum("element_uploads_total", &[("outcome", "broken_off")]), 2.0);
    assert_eq!(
        bench.call("DELETE", &format!("/api/v1/uploads/{id}"), &[("upload-lease", &lease)], "").await.status,
        204
    );
    bench.assert_empty();
    assert_eq!(bench.sum("element_uploads_total", &[("outcome", "abandoned")]), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_client_is_gone_leaves_what_it_should() {
    let bench = Bench::start(|_| {}).await;
    let (id, lease) = bench.session(None).await;
    let (sender, body) = scripted();
    sender.send(Ok(Bytes::from_static(b"abc"))).unwrap();
    {
        let patch = std::pin::pin!(bench.patch(id, &lease, 0, body));
        let received = async {
            while bench.sum("element_file_bytes_total", &[]) < 3.0 {
                tokio::task::yield_now().await;
            }
        };
        // The handler is dropped here, as hyper does it when the connection ends.
        futures_util::future::select(patch, std::pin::pin!(received)).await;
    }
    sender.send(Err(std::io::ErrorKind::ConnectionReset.into())).unwrap();
    let reply = bench.call("HEAD", &format!("/api/v1/uploads/{id}"), &[("upload-lease", lease.as_str())], "").await;
    assert_eq!(reply.header("upload-offset"), "3");
}

#[tokio::test(start_paused = true)]
async fn a_full_element_says_so_before_a_byte_moves() {
    let bench = Bench::start(|settings| settings.capacity_limit = Some(10)).await;
    let capacity = bench.call("GET", "/api/v1/capacity", &[], "").await;
    assert_eq!(capacity.json::<serde_json::Value>(), json!({ "capacity_bytes": 10, "free_bytes": 10 }));
    assert_eq!(bench.create(Some(11)).await.problem(), (507, "STORAGE_FULL".into(), "10 bytes are free".into()));
    let (id, lease) = bench.session(Some(8)).await;
    assert_eq!(bench.create(Some(3)).await.problem().2, "2 bytes are free");
    let full = bench.put(FileId::generate(), &json!({ "attributes": attributes(Temporary) }), "abc").await;
    assert_eq!(full.problem().2, "2 bytes are free");
    assert_eq!(bench.patch(id, &lease, 0, "12345678").await.status, 204);
    assert_eq!(bench.complete(id, &lease, json!({ "size": 8 })).await.status, 201);
    // An upload of unknown size runs out: nothing of it is left.
    let (id, lease) = bench.session(None).await;
    assert_eq!(bench.patch(id, &lease, 0, "12").await.status, 204);
    assert_eq!(
        bench.patch(id, &lease, 2, "3").await.problem(),
        (507, "STORAGE_FULL".into(), "0 bytes are free".into())
    );
    assert_eq!(bench.call("GET", &format!("/api/v1/uploads/{id}"), &[], "").await.status, 404);
    assert_eq!(bench.names("uploads"), Vec::<String>::new());
    assert_eq!(bench.sum("element_free_bytes", &[]), 2.0);
    assert_eq!(bench.sum("element_uploads_total", &[("outcome", "storage_full")]), 4.0);
    let bench = bench.restart().await;
    assert_eq!(bench.sum("element_free_bytes", &[]), 2.0);
}

#[tokio::test(start_paused = true)]
async fn more_bytes_than_allowed_leave_nothing() {
    let bench = Bench::start(|settings| (settings.max_file_bytes, settings.max_one_shot_bytes) = (5, 4)).await;
    assert_eq!(
        bench.create(Some(6)).await.problem(),
        (413, "FILE_TOO_LARGE".into(), "at most 5 bytes are taken".into())
    );
    let (id, lease) = bench.session(Some(2)).await;
    assert_eq!(bench.patch(id, &lease, 0, "abc").await.problem().2, "at most 2 bytes are taken");
    let (id, lease) = bench.session(None).await;
    assert_eq!(bench.patch(id, &lease, 0, broken("abcdef")).await.status, 413);
    let one_shot = json!({ "attributes": attributes(Temporary) });
    assert_eq!(bench.put(FileId::generate(), &one_shot, "abcde").await.status, 413);
    assert_eq!(bench.put(FileId::generate(), &one_shot, broken("abcde")).await.status, 413);
    bench.assert_empty();
    assert_eq!(bench.sum("element_uploads_total", &[("outcome", "too_large")]), 5.0);
    assert_eq!(bench.sum("element_uploads_total", &[]), 5.0);
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_a_request_is_said() {
    let bench = Bench::start(|_| {}).await;
    let create = async |body: serde_json::Value| bench.call("POST", "/api/v1/uploads", &[], body.to_string()).await;
    let wrong = create(json!({ "attributes": attributes(Permanent) })).await;
    assert_eq!(wrong.problem().2, "an element of mode edit does not hold permanent files");
    let mut traversal = attributes(Temporary);
    traversal.original_filename = "../x".into();
    let wrong = create(json!({ "attributes": traversal })).await;
    assert_eq!(wrong.problem().2, "filename: a file name is no path: send its last part alone");
    assert_eq!(create(json!({ "attributes": attributes(Temporary), "sise": 1 })).await.status, 400);
    let (id, lease) = bench.session(Some(3)).await;
    let path = format!("/api/v1/uploads/{id}");
    let patch = async |headers: &[(&str, &str)]| bench.call("PATCH", &path, headers, "a").await.problem();
    let kind = ("content-type", "application/offset+octet-stream");
    assert_eq!(patch(&[]).await.2, "the content type must be application/offset+octet-stream");
    assert_eq!(patch(&[kind]).await.2, "the header upload-lease is missing or not text");
    assert_eq!(patch(&[kind, ("upload-lease", &lease)]).await.2, "the header upload-offset is missing or not text");
    let wrong = patch(&[kind, ("upload-lease", &lease), ("upload-offset", "x")]).await;
    assert_eq!(wrong.2, "upload-offset must be a number");
    assert_eq!(
        bench.patch(id, &lease, 1, "a").await.problem(),
        (409, "CONFLICT".into(), "the durable offset is 0".into())
    );
    assert_eq!(bench.patch(id, &FileId::generate().to_string(), 0, "a").await.status, 409);
    assert_eq!(bench.complete(id, &lease, json!({ "size": 3 })).await.problem().2, "the durable offset is 0");
    assert_eq!(bench.complete(id, &lease, json!({ "size": 0, "sha256": "ab" })).await.status, 400);
    assert_eq!(bench.complete(id, &lease, json!({ "size": 0, "late": { "ttl_days": 0 } })).await.status, 400);
    assert_eq!(bench.patch(FileId::generate(), &lease, 0, "a").await.status, 404);
    assert_eq!(bench.call("GET", "/api/v1/uploads/..%2f..%2fetc", &[], "").await.status, 404);
    let put = format!("/api/v1/files/{id}");
    assert_eq!(bench.call("PUT", &put, &[("upload-attributes", "!")], "a").await.status, 400);
    assert_eq!(bench.put(id, &json!({ "attributes": attributes(Temporary) }), "a").await.status, 409);
    let released = bench.call("DELETE", &format!("{path}/lease"), &[("upload-lease", &lease)], "").await;
    assert_eq!(released.status, 204);
    // All that leaves the session as it was.
    assert_eq!(bench.patch(id, &lease, 0, "abc").await.status, 204);
    assert_eq!(bench.complete(id, &lease, json!({ "size": 3, "sha256": ABC })).await.status, 201);
}

#[tokio::test(start_paused = true)]
async fn only_so_many_uploads_are_open_at_once() {
    let bench = Bench::start(|settings| settings.max_open_uploads = 1).await;
    let (id, lease) = bench.session(None).await;
    assert_eq!(bench.create(None).await.problem().1, "RATE_LIMITED");
    assert_eq!(bench.put(FileId::generate(), &json!({ "attributes": attributes(Temporary) }), "a").await.status, 429);
    assert_eq!(bench.complete(id, &lease, json!({ "size": 0 })).await.status, 201);
    bench.session(None).await;
}

#[tokio::test(start_paused = true)]
async fn sessions_that_nobody_continues_are_swept() {
    let bench = Bench::start(|_| {}).await;
    let (old, lease) = bench.session(None).await;
    assert_eq!(bench.patch(old, &lease, 0, "abc").await.status, 204);
    tokio::time::advance(Duration::from_secs(24 * 3_600)).await;
    let (young, _) = bench.session(None).await;
    bench.element.sweep().await;
    assert_eq!(bench.sum("element_open_uploads", &[]), 2.0);
    tokio::time::advance(Duration::from_secs(1)).await;
    // A restart does not make it young again.
    let bench = bench.restart().await;
    bench.element.sweep().await;
    assert_eq!(bench.sum("element_uploads_total", &[("outcome", "expired")]), 1.0);
    assert_eq!(bench.offset(young).await, 0);
    assert_eq!(bench.names("uploads"), [format!("{young}.part"), format!("{young}.session")]);
}

#[tokio::test(start_paused = true)]
async fn an_element_of_permanent_files_gives_them_no_end() {
    let bench = Bench::start(|settings| settings.mode = ElementMode::Rw).await;
    let record = bench.file(b"abc").await;
    assert_eq!((record.ttl_days, record.expires_at), (None, None));
    let refused = bench.call("DELETE", &format!("/api/v1/files/{}", record.file_id), &[], "").await;
    let detail = "permanent files are never deleted by a client";
    assert_eq!(refused.problem(), (403, "FORBIDDEN".into(), detail.into()));
    tokio::time::advance(Duration::from_secs(400 * 86_400)).await;
    bench.element.sweep().await;
    assert_eq!(bench.get(record.file_id, &[]).await.bytes, "abc");
}

#[tokio::test]
async fn many_uploads_at_once_share_syncs() {
    let bench = std::sync::Arc::new(Bench::start(|_| {}).await);
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let bench = std::sync::Arc::clone(&bench);
            tokio::spawn(async move { bench.file(b"abc").await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let (commits, syncs) = (
        bench.sum("element_directory_sync_batch_commits_sum", &[]),
        bench.sum("element_directory_sync_batch_commits_count", &[]),
    );
    assert_eq!((commits, bench.sum("element_files", &[])), (64.0, 64.0));
    assert!(syncs < commits, "{syncs} syncs for {commits} commits");
}
