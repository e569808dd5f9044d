//! What every store does, whatever it is made of: one suite, run against a folder and against a real S3 engine.

use super::folder::FolderStore;
use super::s3::S3Store;
use super::tests::attributes;
use super::{Append, BlobStore, Change, Scan, SessionNotes, StoreError, Unreported};
use crate::hash::RunningHash;
use crate::metrics::ElementMetrics;
use crate::settings::S3Settings;
use artstore_api::file::{FileId, FileRecord, FileStatus};
use artstore_http::Client;
use artstore_metrics::{Registry, UnixTime};
use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use std::ops::Range;
use std::sync::Arc;
use time::OffsetDateTime;

/// A store under test, and how to open it again as after a crash.
pub(super) enum Bench {
    /// A folder.
    Folder(tempfile::TempDir),
    /// A prefix of a bucket.
    S3(Box<S3Settings>, Client),
}

impl Bench {
    async fn open(&self) -> (Arc<dyn BlobStore>, Scan) {
        let metrics = ElementMetrics::new(&Registry::new(), Default::default);
        let store: Arc<dyn BlobStore> = match self {
            Self::Folder(dir) => Arc::new(FolderStore::open(dir.path(), metrics).unwrap()),
            Self::S3(settings, client) => Arc::new(S3Store::open(settings, client.clone(), metrics).unwrap()),
        };
        let scan = store.scan().await.unwrap();
        (store, scan)
    }
}

const NOW: UnixTime = UnixTime::from_secs(2_000);

pub(super) fn notes(size: Option<u64>) -> SessionNotes {
    SessionNotes { attributes: attributes(), size, created_at: 1_000 }
}

/// Bytes that differ from place to place, so that a piece in the wrong place shows.
pub(super) fn pattern(length: usize) -> Bytes {
    (0..length).map(|at| u8::try_from((at * 31 + at / 251) % 256).unwrap()).collect()
}

fn sha256(bytes: &[u8]) -> String {
    let mut hash = RunningHash::default();
    hash.update(bytes);
    hash.hex()
}

fn record(file_id: FileId, bytes: &[u8], expires_at: i64) -> FileRecord {
    let attributes = attributes();
    FileRecord {
        file_id,
        original_filename: attributes.original_filename,
        content_type: attributes.content_type,
        size: bytes.len() as u64,
        checksum: sha256(bytes),
        uploaded_by: attributes.uploaded_by,
        uploaded_at: OffsetDateTime::from_unix_timestamp(2_000).unwrap(),
        description: None,
        tags: attributes.tags,
        status: FileStatus::Active,
        retention_policy: attributes.retention_policy,
        ttl_days: attributes.ttl_days,
        expires_at: Some(OffsetDateTime::from_unix_timestamp(expires_at).unwrap()),
    }
}

async fn write(append: &mut Box<dyn Append>, bytes: &Bytes) {
    for piece in bytes.chunks(100_003) {
        append.write(bytes.slice_ref(piece)).await.unwrap();
    }
}

pub(super) async fn publish(store: &Arc<dyn BlobStore>, bytes: &Bytes, expires_at: i64) -> FileRecord {
    let file_id = FileId::generate();
    let mut append = store.one_shot(file_id, &notes(None)).await.unwrap();
    write(&mut append, bytes).await;
    let record = record(file_id, bytes, expires_at);
    append.publish(&record).await.unwrap();
    record
}

async fn read(store: &Arc<dyn BlobStore>, file_id: FileId, range: Range<u64>) -> Bytes {
    let pieces: BytesMut = store.read(file_id, range).await.unwrap().try_collect().await.unwrap();
    pieces.freeze()
}

pub(super) fn published(file_id: FileId) -> Unreported {
    Unreported { file_id, change: Change::Published }
}

pub(super) fn deleted(file_id: FileId) -> Unreported {
    Unreported { file_id, change: Change::Deleted }
}

/// Runs the whole suite; every case gets a store of its own.
pub(super) async fn run(new: impl Fn() -> Bench) {
    let begin = |name: &str| {
        println!("case: {name}");
        new()
    };
    a_session_is_published_and_read(begin("a session is published and read")).await;
    an_empty_file_is_a_file(begin("an empty file is a file")).await;
    an_upload_goes_on_at_its_checkpoint(begin("an upload goes on at its checkpoint")).await;
    an_upload_goes_on_across_parts(begin("an upload goes on across parts")).await;
    an_untouched_session_is_found_again(begin("an untouched session is found again")).await;
    a_dropped_one_shot_leaves_nothing(begin("a dropped one-shot leaves nothing")).await;
    an_abandoned_upload_is_gone(begin("an abandoned upload is gone")).await;
    an_identifier_is_used_once(begin("an identifier is used once")).await;
    a_change_is_listed_until_it_is_reported(begin("a change is listed until it is reported")).await;
    files_are_listed_in_order_by_pages(begin("files are listed in order by pages")).await;
    expired_files_are_found(begin("expired files are found")).await;
    what_is_not_there_is_not_found(begin("what is not there is not found")).await;
}

async fn a_session_is_published_and_read(bench: Bench) {
    let (store, scan) = bench.open().await;
    assert_eq!((scan.files, scan.bytes, scan.unreported, scan.sessions.len()), (0, 0, 0, 0));
    let (file_id, bytes) = (FileId::generate(), pattern(700_001));
    store.create(file_id, &notes(Some(700_001))).await.unwrap();
    let mut append = store.append(file_id).await.unwrap();
    assert_eq!(append.offset(), 0);
    write(&mut append, &bytes).await;
    assert_eq!(append.offset(), 700_001);
    append.checkpoint(NOW).await.unwrap();
    assert!(matches!(store.record(file_id).await, Err(StoreError::NotFound)), "visible before it is published");
    assert_eq!(store.list(None, 10).await.unwrap(), []);
    drop(append);
    let mut append = store.append(file_id).await.unwrap();
    assert_eq!(append.digest().await.unwrap(), sha256(&bytes));
    let record = record(file_id, &bytes, 9_000);
    append.publish(&record).await.unwrap();
    assert_eq!(store.record(file_id).await.unwrap(), record);
    for range in [0..700_001, 0..1, 262_143..262_145, 500_000..700_001, 7..7] {
        let expected = bytes.slice(usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap());
        assert!(read(&store, file_id, range.clone()).await == expected, "{range:?}");
    }
    assert!(matches!(store.append(file_id).await, Err(StoreError::NotFound)));
    drop(store);
    let (store, scan) = bench.open().await;
    assert_eq!((scan.files, scan.bytes, scan.unreported, scan.sessions.len()), (1, 700_001, 1, 0));
    assert!(read(&store, file_id, 0..700_001).await == bytes);
}

async fn an_empty_file_is_a_file(bench: Bench) {
    let (store, _) = bench.open().await;
    let record = publish(&store, &Bytes::new(), 9_000).await;
    assert_eq!(record.checksum, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(store.record(record.file_id).await.unwrap(), record);
    assert_eq!(read(&store, record.file_id, 0..0).await, Bytes::new());
}

async fn an_upload_goes_on_at_its_checkpoint(bench: Bench) {
    let (store, _) = bench.open().await;
    let (file_id, bytes) = (FileId::generate(), pattern(600_000));
    store.create(file_id, &notes(None)).await.unwrap();
    let mut append = store.append(file_id).await.unwrap();
    write(&mut append, &bytes.slice(..1_000)).await;
    append.checkpoint(UnixTime::from_secs(3_000)).await.unwrap();
    write(&mut append, &bytes.slice(1_000..300_001)).await;
    append.checkpoint(UnixTime::from_secs(4_000)).await.unwrap();
    // Lost: other bytes come in their place.
    write(&mut append, &pattern(299_000)).await;
    let _ = append.digest().await.unwrap();
    drop(append);
    // As when the request failed and the element lives.
    let mut append = store.append(file_id).await.unwrap();
    assert_eq!(append.offset(), 300_001);
    write(&mut append, &bytes.slice(300_001..300_002)).await;
    assert_eq!(append.digest().await.unwrap(), sha256(&bytes[..300_002]));
    append.checkpoint(UnixTime::from_secs(4_500)).await.unwrap();
    // Lost once more, and the element dies.
    write(&mut append, &pattern(299_000)).await;
    let _ = append.digest().await.unwrap();
    drop((append, store));
    let (store, scan) = bench.open().await;
    let session = &scan.sessions[0];
    assert_eq!((session.file_id, session.offset, session.touched_at), (file_id, 300_002, 4_500));
    assert_eq!((&session.notes, scan.bytes, scan.sessions.len()), (&notes(None), 300_002, 1));
    let mut append = store.append(file_id).await.unwrap();
    assert_eq!(append.offset(), 300_002);
    write(&mut append, &bytes.slice(300_002..)).await;
    assert_eq!(append.digest().await.unwrap(), sha256(&bytes));
    append.publish(&record(file_id, &bytes, 9_000)).await.unwrap();
    assert!(read(&store, file_id, 0..600_000).await == bytes);
}

async fn an_upload_goes_on_across_parts(bench: Bench) {
    let (store, _) = bench.open().await;
    let (file_id, length) = (FileId::generate(), 11 << 20);
    let bytes = pattern(length);
    store.create(file_id, &notes(Some(length as u64))).await.unwrap();
    let mut append = store.append(file_id).await.unwrap();
    write(&mut append, &bytes.slice(..6 << 20)).await;
    append.checkpoint(NOW).await.unwrap();
    write(&mut append, &bytes.slice(6 << 20..7 << 20)).await;
    drop((append, store));
    let (store, scan) = bench.open().await;
    let offset = scan.sessions[0].offset;
    assert_eq!(offset, 6 << 20);
    let mut append = store.append(file_id).await.unwrap();
    write(&mut append, &bytes.slice(usize::try_from(offset).unwrap()..)).await;
    assert_eq!(append.digest().await.unwrap(), sha256(&bytes));
    append.publish(&record(file_id, &bytes, 9_000)).await.unwrap();
    assert!(read(&store, file_id, 0..length as u64).await == bytes);
    let across = store.granularity().max(2) - 2;
    let expected = bytes.slice(usize::try_from(across).unwrap()..usize::try_from(across + 4).unwrap());
    assert_eq!(read(&store, file_id, across..across + 4).await, expected);
}

async fn an_untouched_session_is_found_again(bench: Bench) {
    let (store, _) = bench.open().await;
    let file_id = FileId::generate();
    store.create(file_id, &notes(Some(5))).await.unwrap();
    drop(store);
    let (store, scan) = bench.open().await;
    assert_eq!((scan.sessions[0].offset, scan.sessions[0].touched_at), (0, 1_000));
    assert_eq!(store.append(file_id).await.unwrap().offset(), 0);
}

async fn a_dropped_one_shot_leaves_nothing(bench: Bench) {
    let (store, _) = bench.open().await;
    let file_id = FileId::generate();
    let mut append = store.one_shot(file_id, &notes(None)).await.unwrap();
    write(&mut append, &pattern(300_000)).await;
    append.checkpoint(NOW).await.unwrap();
    drop((append, store));
    let (store, scan) = bench.open().await;
    assert_eq!((scan.files, scan.bytes, scan.sessions.len()), (0, 0, 0));
    assert!(matches!(store.record(file_id).await, Err(StoreError::NotFound)));
    // And the identifier is free.
    assert_eq!(store.one_shot(file_id, &notes(None)).await.unwrap().offset(), 0);
}

async fn an_abandoned_upload_is_gone(bench: Bench) {
    let (store, _) = bench.open().await;
    let file_id = FileId::generate();
    store.create(file_id, &notes(None)).await.unwrap();
    let mut append = store.append(file_id).await.unwrap();
    write(&mut append, &pattern(6 << 20)).await;
    append.checkpoint(NOW).await.unwrap();
    drop(append);
    store.abandon(file_id).await.unwrap();
    assert!(matches!(store.append(file_id).await, Err(StoreError::NotFound)));
    assert!(matches!(store.abandon(file_id).await, Err(StoreError::NotFound)));
    drop(store);
    let (_, scan) = bench.open().await;
    assert_eq!((scan.files, scan.bytes, scan.sessions.len()), (0, 0, 0));
}

async fn an_identifier_is_used_once(bench: Bench) {
    let (store, _) = bench.open().await;
    let file_id = publish(&store, &pattern(10), 9_000).await.file_id;
    assert!(matches!(store.one_shot(file_id, &notes(None)).await, Err(StoreError::Taken)));
    store.delete(file_id).await.unwrap();
    assert!(matches!(store.one_shot(file_id, &notes(None)).await, Err(StoreError::Taken)));
    let open = FileId::generate();
    store.create(open, &notes(None)).await.unwrap();
    assert!(matches!(store.one_shot(open, &notes(None)).await, Err(StoreError::Taken)));
}

async fn a_change_is_listed_until_it_is_reported(bench: Bench) {
    let (store, _) = bench.open().await;
    let first = publish(&store, &pattern(1), 9_000).await.file_id;
    let second = publish(&store, &pattern(2), 9_000).await.file_id;
    assert_eq!(store.unreported(10).await.unwrap(), [published(first), published(second)]);
    assert_eq!(store.unreported(1).await.unwrap(), [published(first)]);
    store.reported(&[published(first)]).await.unwrap();
    assert_eq!(store.unreported(10).await.unwrap(), [published(second)]);
    assert_eq!(store.delete(first).await.unwrap(), 1);
    // Deleted before anybody heard of it: a late acknowledgement of the publication does not cover the deletion.
    assert_eq!(store.delete(second).await.unwrap(), 2);
    store.reported(&[published(second)]).await.unwrap();
    for gone in [first, second] {
        assert!(matches!(store.record(gone).await, Err(StoreError::NotFound)));
        assert!(matches!(store.read(gone, 0..1).await.err(), Some(StoreError::NotFound)));
        assert!(matches!(store.delete(gone).await, Err(StoreError::NotFound)));
    }
    drop(store);
    let (store, scan) = bench.open().await;
    assert_eq!((scan.files, scan.bytes, scan.unreported), (0, 0, 2));
    assert_eq!(store.unreported(10).await.unwrap(), [deleted(first), deleted(second)]);
    store.reported(&[deleted(first), deleted(second)]).await.unwrap();
    store.reported(&[deleted(first)]).await.unwrap();
    assert_eq!(store.unreported(10).await.unwrap(), []);
}

async fn files_are_listed_in_order_by_pages(bench: Bench) {
    let (store, _) = bench.open().await;
    let mut records = Vec::new();
    for length in 0..5 {
        records.push(publish(&store, &pattern(length), 9_000).await);
    }
    assert_eq!(store.list(None, 10).await.unwrap(), records);
    assert_eq!(store.list(None, 2).await.unwrap(), records[..2]);
    assert_eq!(store.list(Some(records[1].file_id), 2).await.unwrap(), records[2..4]);
    assert_eq!(store.list(Some(records[4].file_id), 2).await.unwrap(), []);
}

async fn expired_files_are_found(bench: Bench) {
    let (store, _) = bench.open().await;
    let early = publish(&store, &pattern(3), 5_000).await.file_id;
    let late = publish(&store, &pattern(4), 6_000).await.file_id;
    let at = UnixTime::from_secs;
    assert_eq!(store.expired(at(4_999), 10).await.unwrap(), []);
    assert_eq!(store.expired(at(5_000), 10).await.unwrap(), [early]);
    // Still there, so found again.
    assert_eq!(store.expired(at(5_000), 10).await.unwrap(), [early]);
    store.delete(early).await.unwrap();
    assert_eq!(store.expired(at(5_999), 10).await.unwrap(), []);
    drop(store);
    let (store, _) = bench.open().await;
    assert_eq!(store.expired(at(5_999), 10).await.unwrap(), []);
    let more = publish(&store, &pattern(5), 5_500).await.file_id;
    assert_eq!(store.expired(at(5_999), 10).await.unwrap(), [more]);
    let mut both = store.expired(at(7_000), 10).await.unwrap();
    both.sort_unstable();
    assert_eq!(both, [late, more]);
    assert_eq!(store.expired(at(7_000), 1).await.unwrap().len(), 1);
}

async fn what_is_not_there_is_not_found(bench: Bench) {
    let (store, _) = bench.open().await;
    let file_id = FileId::generate();
    assert!(matches!(store.record(file_id).await, Err(StoreError::NotFound)));
    assert!(matches!(store.append(file_id).await, Err(StoreError::NotFound)));
    assert!(matches!(store.abandon(file_id).await, Err(StoreError::NotFound)));
    assert!(matches!(store.delete(file_id).await, Err(StoreError::NotFound)));
    assert!(matches!(store.read(file_id, 0..1).await.err(), Some(StoreError::NotFound)));
}

#[tokio::test]
async fn a_folder_conforms() {
    run(|| Bench::Folder(tempfile::tempdir().unwrap())).await;
}

/// Against the real engine. Multipart uploads, listings and lost tails are its own, not a mock's.
#[tokio::test]
async fn a_bucket_conforms() {
    let Some(weed) = super::weed::Weed::start().await else { return };
    let new = || {
        let prefix = format!("case-{}", FileId::generate());
        Bench::S3(Box::new(S3Settings { prefix, ..weed.settings.clone() }), weed.client.clone())
    };
    run(new).await;
}
