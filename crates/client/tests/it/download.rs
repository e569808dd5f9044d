//! Downloads over real sockets from servers that fail.

use crate::support::{
    Reply, Server, Step, Tokens, bytes, limits, listen, problem, record, record_reply, reply, session,
};
use artstore_api::file::FileRecord;
use artstore_api::{Code, FileId};
use artstore_client::{
    Category, Digest, DownloadOptions, Downloaded, Downloader, Error, Event, Limits, Overwrite, Target,
};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn downloader(server: &Server) -> Downloader {
    Downloader::new(session(&server.url, Tokens::default(), limits()))
}

async fn fetch(server: &Server, id: FileId, folder: &Path) -> Result<Downloaded, Error> {
    downloader(server).file(id, &Target::Folder(folder.to_owned()), DownloadOptions::default()).await
}

fn known(record: &FileRecord) -> Step {
    Step::Answer(record_reply(200, record))
}

fn whole(content: &[u8], tag: &str) -> Reply {
    reply(200, content).with("etag", tag)
}

fn rest(content: &[u8], from: usize, tag: &str) -> Reply {
    let range = format!("bytes {from}-{}/{}", content.len() - 1, content.len());
    reply(206, &content[from..]).with("etag", tag).with("content-range", range)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_torn_download_goes_on_by_range() {
    let content = bytes(1 << 20);
    let record = record("a.bin", &content);
    let server = Server::start([
        known(&record),
        Step::Torn(whole(&content, "\"e1\""), 300_000),
        Step::Torn(rest(&content, 300_000, "\"e1\""), 400_000),
        Step::Answer(rest(&content, 700_000, "\"e1\"")),
    ])
    .await;
    let folder = tempfile::tempdir().unwrap();
    let (progress, events) = listen();
    let downloader = downloader(&server).with_progress(progress);
    let target = Target::Folder(folder.path().to_owned());
    let downloaded = downloader.file(record.file_id, &target, DownloadOptions::default()).await.unwrap();
    let path = folder.path().join("a.bin");
    assert_eq!(
        downloaded,
        Downloaded { record: record.clone(), path: Some(path.clone()), resumed_from: 0, attempts: 3 }
    );
    assert_eq!(std::fs::read(path).unwrap(), content);
    assert_eq!(names(folder.path()), ["a.bin"]);
    let seen = server.seen();
    assert_eq!(seen[0].line, format!("GET /api/v1/files/{} HTTP/1.1", record.file_id));
    let asked: Vec<_> = seen[1..].iter().map(|seen| (seen.header("range"), seen.header("if-range"))).collect();
    assert_eq!(asked, [(None, None), (Some("bytes=300000-"), Some("\"e1\"")), (Some("bytes=700000-"), Some("\"e1\""))]);
    let events = events.lock().unwrap();
    assert_eq!(events.last(), Some(&Event::Moving { done: 1 << 20, total: Some(1 << 20) }));
}

#[tokio::test]
async fn a_stalled_download_goes_on_as_well() {
    let content = bytes(100_000);
    let record = record("a.bin", &content);
    let server = Server::start([
        known(&record),
        Step::Stalled(whole(&content, "\"e1\""), 30_000),
        Step::Answer(rest(&content, 30_000, "\"e1\"")),
    ])
    .await;
    let folder = tempfile::tempdir().unwrap();
    let impatient = Limits { stall: Duration::from_millis(100), ..limits() };
    let downloader = Downloader::new(session(&server.url, Tokens::default(), impatient));
    let target = Target::File(folder.path().join("b"));
    downloader.file(record.file_id, &target, DownloadOptions::default()).await.unwrap();
    assert_eq!(std::fs::read(folder.path().join("b")).unwrap(), content);
}

#[tokio::test]
async fn a_later_run_goes_on_with_what_an_earlier_one_left() {
    let content = bytes(100_000);
    let record = record("a.bin", &content);
    let server = Server::start([known(&record), Step::Answer(rest(&content, 60_000, "\"e1\""))]).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.bin.part"), &content[..60_000]).unwrap();
    let downloaded = fetch(&server, record.file_id, folder.path()).await.unwrap();
    assert_eq!((downloaded.resumed_from, downloaded.attempts), (60_000, 1));
    assert_eq!(std::fs::read(folder.path().join("a.bin")).unwrap(), content);
    assert_eq!(server.seen()[1].header("range"), Some("bytes=60000-"));
}

#[tokio::test]
async fn a_whole_part_needs_no_more_bytes() {
    let content = bytes(1_000);
    let record = record("a.bin", &content);
    let server = Server::start([known(&record)]).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.bin.part"), &content).unwrap();
    assert_eq!(fetch(&server, record.file_id, folder.path()).await.unwrap().attempts, 0);
    assert_eq!(std::fs::read(folder.path().join("a.bin")).unwrap(), content);
    server.seen();
}

#[tokio::test]
async fn an_empty_file_needs_no_bytes() {
    let record = record("empty", b"");
    let server = Server::start([known(&record)]).await;
    let folder = tempfile::tempdir().unwrap();
    fetch(&server, record.file_id, folder.path()).await.unwrap();
    assert_eq!(std::fs::read(folder.path().join("empty")).unwrap(), b"");
}

#[tokio::test]
async fn the_part_of_another_file_is_fetched_again_whole() {
    let content = bytes(1_000);
    let record = record("a.bin", &content);
    let server = Server::start([
        known(&record),
        Step::Answer(rest(&content, 400, "\"e1\"")),
        Step::Answer(whole(&content, "\"e1\"")),
    ])
    .await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.bin.part"), [0; 400]).unwrap();
    assert_eq!(fetch(&server, record.file_id, folder.path()).await.unwrap().attempts, 2);
    assert_eq!(std::fs::read(folder.path().join("a.bin")).unwrap(), content);
    assert_eq!(server.seen()[2].header("range"), None);
}

#[tokio::test]
async fn a_changed_tag_starts_again() {
    let content = bytes(1_000);
    let record = record("a.bin", &content);
    // First a server that heeds If-Range, then one that does not.
    let heeds = [Step::Answer(whole(&content, "\"e2\""))];
    let ignores = [Step::Answer(rest(&content, 400, "\"e2\"")), Step::Answer(whole(&content, "\"e2\""))];
    for (steps, requests) in [(heeds.into_iter().collect::<Vec<_>>(), 2), (ignores.into_iter().collect(), 3)] {
        let torn = Step::Torn(whole(&[0; 1_000], "\"e1\""), 400);
        let server = Server::start([known(&record), torn].into_iter().chain(steps)).await;
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(fetch(&server, record.file_id, folder.path()).await.unwrap().attempts, requests);
        assert_eq!(std::fs::read(folder.path().join("a.bin")).unwrap(), content);
        assert_eq!(server.seen()[2].header("if-range"), Some("\"e1\""));
    }
}

#[tokio::test]
async fn wrong_bytes_leave_nothing() {
    let content = bytes(1_000);
    let record = record("a.bin", &content);
    let wrong = vec![7; 1_000];
    let server = Server::start([known(&record), Step::Answer(whole(&wrong, "\"e1\""))]).await;
    let folder = tempfile::tempdir().unwrap();
    let error = fetch(&server, record.file_id, folder.path()).await.unwrap_err();
    let (expected, found) = (Digest::of(&content), Digest::of(&wrong));
    assert_eq!(error.to_string(), format!("the bytes of file {} have SHA-256 {found}, not {expected}", record.file_id));
    assert_eq!(error.category(), Category::Integrity);
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_name_that_is_a_path_stays_in_the_folder() {
    for name in ["../../evil", "/tmp/evil", "a\0b", ".."] {
        let record = record(name, b"abc");
        let server = Server::start([known(&record), Step::Answer(whole(b"abc", "\"e1\""))]).await;
        let outside = tempfile::tempdir().unwrap();
        let folder = outside.path().join("a/b");
        std::fs::create_dir_all(&folder).unwrap();
        fetch(&server, record.file_id, &folder).await.unwrap();
        assert_eq!(names(&folder), [record.file_id.to_string()]);
        assert_eq!(names(outside.path()), ["a"]);
    }
}

#[tokio::test]
async fn an_existing_file_is_left_alone_unless_asked() {
    let record = record("a.bin", b"new");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.bin");
    std::fs::write(&path, "old").unwrap();
    let server = Server::start([known(&record)]).await;
    let error = fetch(&server, record.file_id, folder.path()).await.unwrap_err();
    assert!(matches!(&error, Error::TargetExists(existing) if *existing == path), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    server.seen();

    let server = Server::start([known(&record), Step::Answer(whole(b"new", "\"e1\""))]).await;
    let options = DownloadOptions { overwrite: Overwrite::Replace };
    downloader(&server).file(record.file_id, &Target::File(path.clone()), options).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
    assert_eq!(names(folder.path()), ["a.bin"]);
}

#[tokio::test]
async fn content_that_contradicts_the_record_is_refused() {
    let content = bytes(1_000);
    let record = record("a.bin", &content);
    let longer = whole(&bytes(1_001), "\"e1\"");
    let elsewhere = reply(206, &content[500..]).with("content-range", "bytes 500-999/1000");
    let other_size = reply(206, &content[400..]).with("content-range", "bytes 400-999/2000");
    for (part, answer, what) in [
        (0, longer, "content of another size than its record says"),
        (400, elsewhere, "another part of the file than was asked for"),
        (400, other_size, "another part of the file than was asked for"),
    ] {
        let server = Server::start([known(&record), Step::Answer(answer)]).await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.bin.part"), &content[..part]).unwrap();
        let error = fetch(&server, record.file_id, folder.path()).await.unwrap_err();
        assert!(matches!(&error, Error::Unexpected { what: said, .. } if said == what), "{error}");
        assert!(!folder.path().join("a.bin").exists());
    }
}

#[tokio::test]
async fn a_missing_file_and_a_foreign_record_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let id = FileId::generate();
    let server = Server::start([Step::Answer(problem(Code::NotFound, "there is no such file"))]).await;
    let error = fetch(&server, id, folder.path()).await.unwrap_err();
    assert_eq!((error.category(), error.code()), (Category::NotFound, Some(Code::NotFound)));

    let other = record("a", b"");
    let server = Server::start([known(&other)]).await;
    let error = fetch(&server, id, folder.path()).await.unwrap_err();
    assert!(matches!(&error, Error::Unexpected { what, .. } if *what == format!("a record of file {}", other.file_id)));
}

#[tokio::test]
async fn a_401_in_the_middle_costs_a_new_token() {
    let content = bytes(1_000);
    let record = record("a.bin", &content);
    let server = Server::start([
        known(&record),
        Step::Torn(whole(&content, "\"e1\""), 400),
        Step::Answer(problem(Code::Unauthorized, "expired")),
        Step::Answer(rest(&content, 400, "\"e1\"")),
    ])
    .await;
    let folder = tempfile::tempdir().unwrap();
    let tokens = Tokens::default();
    let downloader = Downloader::new(session(&server.url, tokens.clone(), limits()));
    let target = Target::Folder(folder.path().to_owned());
    downloader.file(record.file_id, &target, DownloadOptions::default()).await.unwrap();
    assert_eq!(server.seen()[3].header("authorization"), Some("Bearer token-1"));
    assert_eq!(tokens.rejected.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_stream_goes_on_by_range_but_not_with_another_file() {
    let content = bytes(100_000);
    let record = record("a.bin", &content);
    let torn = || Step::Torn(whole(&content, "\"e1\""), 30_000);
    let server = Server::start([known(&record), torn(), Step::Answer(rest(&content, 30_000, "\"e1\""))]).await;
    let mut out = std::io::Cursor::new(Vec::new());
    let downloaded = downloader(&server).stream(record.file_id, &mut out).await.unwrap();
    assert_eq!((downloaded.path, downloaded.attempts), (None, 2));
    assert_eq!(out.into_inner(), content);

    let server = Server::start([known(&record), torn(), Step::Early(whole(&content, "\"e2\""))]).await;
    let mut out = std::io::Cursor::new(Vec::new());
    let error = downloader(&server).stream(record.file_id, &mut out).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot go on with the stream: the file changed after 30000 bytes were written");
}

#[tokio::test]
async fn giving_up_keeps_the_part_for_the_next_run() {
    let content = bytes(1_000);
    let record = record("a.bin", &content);
    let torn = |from: usize| Step::Torn(rest(&content, from, "\"e1\""), 0);
    let server =
        Server::start([known(&record), Step::Torn(whole(&content, "\"e1\""), 400), torn(400), torn(400)]).await;
    let folder = tempfile::tempdir().unwrap();
    let error = fetch(&server, record.file_id, folder.path()).await.unwrap_err();
    assert_eq!(error.category(), Category::Network);
    assert_eq!(std::fs::read(folder.path().join("a.bin.part")).unwrap(), &content[..400]);
    assert_eq!(server.seen().len(), 4);
}
