//! Uploads over real sockets against servers that fail.

use crate::support::{Server, Step, Tokens, bytes, limits, listen, problem, record, record_reply, reply, session};
use artstore_api::{Code, RetentionPolicy};
use artstore_client::{Category, Digest, Error, Event, Known, Limits, Upload, Uploader};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn file(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    std::fs::write(&path, content).unwrap();
    (folder, path)
}

fn uploader(server: &Server) -> Uploader {
    Uploader::new(session(&server.url, Tokens::default(), limits()))
}

#[tokio::test]
async fn the_request_says_all_that_is_known() {
    let content = bytes(300_000);
    let stored = record("a&b ü.txt", &content);
    let server = Server::start([Step::Answer(record_reply(201, &stored))]).await;
    let (_folder, path) = file(&content);
    let upload = Upload {
        filename: Some("a&b ü.txt".to_owned()),
        content_type: Some("text/plain".to_owned()),
        ttl_days: Some(7),
        description: Some("50 % off".to_owned()),
        tags: vec!["a,b".to_owned(), "\"c\"".to_owned()],
        ..Upload::default()
    };
    let uploaded = uploader(&server).file(&path, &upload).await.unwrap();
    assert_eq!((uploaded.record, uploaded.attempts, uploaded.possible_duplicate), (stored, 1, false));
    let [request] = &server.seen()[..] else { panic!("one request") };
    assert_eq!(
        request.line,
        "PUT /api/v1/files?filename=a%26b%20%C3%BC%2Etxt&retention_policy=temporary&ttl_days=7\
         &description=50%20%25%20off&tags=%5B%22a%2Cb%22%2C%22%5C%22c%5C%22%22%5D HTTP/1.1"
    );
    assert_eq!(request.body, content);
    let expected = [
        ("authorization", "Bearer token-0".to_owned()),
        ("content-type", "text/plain".to_owned()),
        ("content-length", "300000".to_owned()),
        ("expect", "100-continue".to_owned()),
        ("repr-digest", Digest::of(&content).repr_digest()),
    ];
    for (name, value) in expected {
        assert_eq!(request.header(name), Some(value.as_str()), "{name}");
    }
}

#[tokio::test]
async fn an_empty_file_is_a_file() {
    let stored = record("a.txt", b"");
    let server = Server::start([Step::Answer(record_reply(201, &stored))]).await;
    let (_folder, path) = file(b"");
    assert_eq!(uploader(&server).file(&path, &Upload::default()).await.unwrap().record, stored);
    assert_eq!(server.seen()[0].header("content-length"), Some("0"));
}

#[tokio::test]
async fn a_reset_in_the_middle_starts_again_from_the_first_byte() {
    // More than the kernel takes for a connection, so that the reset cannot come after the last byte.
    let content = bytes(32 << 20);
    let stored = record("a.txt", &content);
    let server = Server::start([Step::ResetAfter(100_000), Step::Answer(record_reply(201, &stored))]).await;
    let (_folder, path) = file(&content);
    let (progress, events) = listen();
    let uploaded = uploader(&server).with_progress(progress).file(&path, &Upload::default()).await.unwrap();
    assert_eq!((uploaded.record, uploaded.attempts, uploaded.possible_duplicate), (stored, 2, false));
    assert_eq!(server.seen()[1].body, content);
    let events = events.lock().unwrap();
    assert!(matches!(events.first(), Some(Event::Hashing { .. })));
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Retrying { attempt: 2, .. })).count(), 1);
    assert_eq!(events.last(), Some(&Event::Moving { done: 32 << 20, total: Some(32 << 20) }));
}

#[tokio::test]
async fn later_is_tried_again_and_no_byte_moves_before() {
    let content = bytes(100_000);
    let stored = record("a.txt", &content);
    let busy = || problem(Code::NoStorageAvailable, "no element is online").with("retry-after", "0");
    let server =
        Server::start([Step::Early(busy()), Step::Early(busy()), Step::Answer(record_reply(201, &stored))]).await;
    let (_folder, path) = file(&content);
    let (progress, events) = listen();
    let uploaded = uploader(&server).with_progress(progress).file(&path, &Upload::default()).await.unwrap();
    assert_eq!(uploaded.attempts, 3);
    let moved_before = events.lock().unwrap().iter().position(|event| matches!(event, Event::Moving { .. }));
    let last_retry = events.lock().unwrap().iter().rposition(|event| matches!(event, Event::Retrying { .. }));
    assert!(moved_before > last_retry, "bytes moved before the server asked for them");
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn a_refusal_is_final_and_says_what_the_server_said() {
    let server = Server::start([Step::Answer(problem(Code::ChecksumMismatch, "the digest is another"))]).await;
    let (_folder, path) = file(b"abc");
    let error = uploader(&server).file(&path, &Upload::default()).await.unwrap_err();
    assert_eq!((error.code(), error.category()), (Some(Code::ChecksumMismatch), Category::Integrity));
    let url = format!("{}/api/v1/files", server.url);
    assert_eq!(
        error.to_string(),
        format!("{url} refused: the digest is another (422 CHECKSUM_MISMATCH) [request r-7]")
    );
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_digest_that_was_wrong_from_the_start_is_told_apart() {
    let server = Server::start([Step::Answer(problem(Code::ChecksumMismatch, "the digest is another"))]).await;
    let (_folder, path) = file(b"abc");
    let (announced, found) = (Digest::of(b"abd"), Digest::of(b"abc"));
    let upload = Upload { digest: Known::Is(announced), ..Upload::default() };
    let error = uploader(&server).file(&path, &upload).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("what was read from {} has SHA-256 {found}, not the announced {announced}", path.display())
    );
    assert_eq!(error.category(), Category::Integrity);
    assert_eq!(server.seen()[0].header("repr-digest"), Some(announced.repr_digest().as_str()));
}

#[tokio::test]
async fn a_refusal_in_the_middle_of_a_large_body_is_heard() {
    let full = || problem(Code::StorageFull, "7 bytes are free");
    let server = Server::start([Step::After(70_000, full())]).await;
    let (_folder, path) = file(&bytes(32 << 20));
    let error = uploader(&server).file(&path, &Upload::default()).await.unwrap_err();
    assert_eq!((error.code(), error.category()), (Some(Code::StorageFull), Category::Unavailable));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn an_answer_that_is_no_problem_document_still_has_its_status() {
    let server = Server::start([Step::Answer(reply(400, "<html>"))]).await;
    let (_folder, path) = file(b"abc");
    let error = uploader(&server).file(&path, &Upload::default()).await.unwrap_err();
    let url = format!("{}/api/v1/files", server.url);
    assert_eq!(error.to_string(), format!("{url} refused: HTTP status 400, without a problem document"));
    assert_eq!(error.category(), Category::Refused);
}

#[tokio::test]
async fn one_401_costs_a_new_token() {
    let stored = record("a.txt", b"abc");
    let unauthorized = problem(Code::Unauthorized, "expired");
    let server = Server::start([Step::Early(unauthorized), Step::Answer(record_reply(201, &stored))]).await;
    let (_folder, path) = file(b"abc");
    let tokens = Tokens::default();
    let uploader = Uploader::new(session(&server.url, tokens.clone(), limits()));
    assert_eq!(uploader.file(&path, &Upload::default()).await.unwrap().record, stored);
    assert_eq!(server.seen()[1].header("authorization"), Some("Bearer token-1"));
    assert_eq!(tokens.rejected.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_second_401_is_final() {
    let unauthorized = || problem(Code::Unauthorized, "wrong audience");
    let server = Server::start([Step::Early(unauthorized()), Step::Early(unauthorized())]).await;
    let (_folder, path) = file(b"abc");
    let tokens = Tokens::default();
    let uploader = Uploader::new(session(&server.url, tokens.clone(), limits()));
    let error = uploader.file(&path, &Upload::default()).await.unwrap_err();
    assert_eq!(error.category(), Category::Authentication);
    assert_eq!((server.seen().len(), tokens.rejected.load(Ordering::SeqCst)), (2, 1));
}

#[tokio::test]
async fn a_lost_answer_is_told_as_a_possible_duplicate() {
    let stored = record("a.txt", b"abc");
    let server = Server::start([Step::Silence, Step::Answer(record_reply(201, &stored))]).await;
    let (_folder, path) = file(b"abc");
    let uploaded = uploader(&server).file(&path, &Upload::default()).await.unwrap();
    assert_eq!((uploaded.attempts, uploaded.possible_duplicate), (2, true));
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn an_unclear_answer_after_the_last_byte_is_told_as_well() {
    let stored = record("a.txt", b"abc");
    let unclear = problem(Code::ElementUploadFailed, "the element broke off").with("retry-after", "0");
    let server = Server::start([Step::Answer(unclear), Step::Answer(record_reply(201, &stored))]).await;
    let (_folder, path) = file(b"abc");
    let uploaded = uploader(&server).file(&path, &Upload::default()).await.unwrap();
    assert_eq!((uploaded.attempts, uploaded.possible_duplicate), (2, true));
}

#[tokio::test]
async fn what_was_stored_is_compared_with_what_was_sent() {
    let stored = record("a.txt", b"abd");
    let server = Server::start([Step::Answer(record_reply(201, &stored))]).await;
    let (_folder, path) = file(b"abc");
    let upload = Upload { digest: Known::OnTheWay, ..Upload::default() };
    let error = uploader(&server).file(&path, &upload).await.unwrap_err();
    assert!(matches!(&error, Error::StoredDiffers { file_id, .. } if *file_id == stored.file_id), "{error}");
    assert_eq!(error.category(), Category::Integrity);
    assert_eq!(server.seen()[0].header("repr-digest"), None);
}

#[tokio::test]
async fn nobody_there_is_given_up_after_the_attempts() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (_folder, path) = file(b"abc");
    let (progress, events) = listen();
    let uploader = Uploader::new(session(&url, Tokens::default(), limits())).with_progress(progress);
    let error = uploader.file(&path, &Upload::default()).await.unwrap_err();
    assert_eq!(error.category(), Category::Network);
    assert!(error.to_string().starts_with(&format!("no answer from {url}/api/v1/files: ")), "{error}");
    let retries = events.lock().unwrap().iter().filter(|event| matches!(event, Event::Retrying { .. })).count();
    assert_eq!(retries, 2);
}

#[tokio::test]
async fn a_server_that_takes_nothing_is_a_stall() {
    let server = Server::start([Step::Deaf]).await;
    let (_folder, path) = file(&bytes(32 << 20));
    let impatient = Limits { attempts: 1, stall: Duration::from_millis(100), ..limits() };
    let uploader = Uploader::new(session(&server.url, Tokens::default(), impatient));
    let error = uploader.file(&path, &Upload::default()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("no answer from {}/api/v1/files: nothing moved for 100 ms", server.url));
}

#[tokio::test]
async fn what_the_server_would_refuse_is_not_sent() {
    let server = Server::start([]).await;
    let (folder, path) = file(b"abc");
    let cases = [
        ("filename", Upload { filename: Some("../a".to_owned()), ..Upload::default() }),
        ("tags", Upload { tags: vec![String::new()], ..Upload::default() }),
        ("ttl_days", Upload { ttl_days: Some(366), ..Upload::default() }),
        ("ttl_days", Upload { ttl_days: Some(3), retention_policy: RetentionPolicy::Permanent, ..Upload::default() }),
        ("description", Upload { description: Some("x".repeat(1001)), ..Upload::default() }),
    ];
    for (field, upload) in cases {
        let error = uploader(&server).file(&path, &upload).await.unwrap_err();
        assert!(matches!(&error, Error::Attribute(attribute) if attribute.field == field), "{error}");
    }
    let error = uploader(&server).file(folder.path(), &Upload::default()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot send {}: it is a directory", folder.path().display()));
    let missing = folder.path().join("missing");
    let error = uploader(&server).file(&missing, &Upload::default()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read {}: No such file or directory (os error 2)", missing.display()));
    assert_eq!(server.seen().len(), 0);
}

fn named() -> Upload {
    Upload { filename: Some("stream".to_owned()), ..Upload::default() }
}

#[tokio::test]
async fn a_stream_is_sent_in_chunks_and_compared_afterwards() {
    let content = bytes(600_000);
    let stored = record("stream", &content);
    let server = Server::start([Step::Answer(record_reply(201, &stored))]).await;
    let uploaded = uploader(&server).stream(std::io::Cursor::new(content.clone()), None, &named()).await.unwrap();
    assert_eq!(uploaded.record, stored);
    let seen = server.seen();
    assert_eq!(seen[0].body, content);
    assert_eq!(seen[0].header("transfer-encoding"), Some("chunked"));
}

#[tokio::test]
async fn a_stream_of_which_nothing_was_taken_starts_again() {
    let content = bytes(600_000);
    let stored = record("stream", &content);
    let busy = problem(Code::ElementUploadFailed, "the element is away");
    let server = Server::start([Step::Early(busy), Step::Answer(record_reply(201, &stored))]).await;
    let uploaded = uploader(&server).stream(std::io::Cursor::new(content.clone()), None, &named()).await.unwrap();
    assert_eq!(uploaded.attempts, 2);
    assert_eq!(server.seen()[1].body, content);
}

#[tokio::test]
async fn a_stream_that_broke_in_the_middle_cannot_start_again() {
    let server = Server::start([Step::ResetAfter(300_000)]).await;
    let stream = std::io::Cursor::new(bytes(16 << 20));
    let error = uploader(&server).stream(stream, None, &named()).await.unwrap_err();
    let Error::CannotRestart { moved, .. } = &error else { panic!("{error}") };
    assert!(*moved >= 300_000, "{moved}");
    assert_eq!(error.category(), Category::Network);
}
