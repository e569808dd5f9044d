//! Every state in which a process that dies can leave the folder, made by hand, and what a start makes of it.

use super::FolderStore;
use super::layout::{Entry, Layout};
use super::{OpenFolderError, notes};
use crate::metrics::ElementMetrics;
use crate::store::tests::notes as some_notes;
use crate::store::{BlobStore as _, Change, Scan, SessionNotes, StoreError, Unreported};
use artstore_api::file::{FileId, FileRecord};
use artstore_metrics::Registry;
use std::fs;
use std::path::Path;

const BYTES: &[u8] = b"abc";

struct Folder {
    dir: tempfile::TempDir,
    layout: Layout,
    id: FileId,
}

/// What a start found, and what it swept.
struct Found {
    store: FolderStore,
    scan: Scan,
    registry: Registry,
}

impl Found {
    fn swept(&self, kind: &str) -> f64 {
        self.registry.sum_of("element_leftovers_swept_total", &[("kind", kind)])
    }
}

impl Folder {
    /// An empty store, as a first start leaves it.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()));
        Self { layout: Layout::new(dir.path()), dir, id: FileId::generate() }
    }

    async fn start(&self) -> Found {
        let (registry, store) = open(self.dir.path());
        let scan = store.scan().await.unwrap();
        Found { store, scan, registry }
    }

    fn session(&self) {
        fs::write(self.layout.part(self.id), BYTES).unwrap();
        notes::create(&self.layout.session(self.id), &some_notes()).unwrap();
    }

    fn entry(&self, entry: Entry, bytes: &[u8]) {
        fs::create_dir_all(self.layout.directory(self.id)).unwrap();
        fs::write(self.layout.entry(self.id, entry), bytes).unwrap();
    }

    fn record(&self) -> Vec<u8> {
        let mut record = serde_json::to_value(&some_notes().attributes).unwrap();
        let more = serde_json::json!({
            "file_id": self.id, "size": 3, "status": "active", "checksum": "00",
            "uploaded_at": "2026-01-01T00:00:00Z", "expires_at": "2026-02-01T00:00:00Z"
        });
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::to_vec(&record).unwrap()
    }

    /// Nothing is left but the folder itself.
    fn assert_empty(&self) {
        let mut left: Vec<_> = fs::read_dir(self.layout.uploads()).unwrap().collect();
        for directory in fs::read_dir(self.layout.objects()).unwrap() {
            left.extend(fs::read_dir(directory.unwrap().path()).unwrap());
        }
        assert!(left.is_empty(), "{left:?}");
    }
}

fn open(dir: &Path) -> (Registry, FolderStore) {
    let registry = Registry::new();
    let metrics = ElementMetrics::new(&registry, Default::default);
    let store = FolderStore::open(dir, metrics).unwrap();
    (registry, store)
}

fn unreported(file_id: FileId, change: Change) -> Vec<Unreported> {
    vec![Unreported { file_id, change }]
}

/// Dead while a session was created: bytes without notes, or notes that are not whole.
#[tokio::test]
async fn a_half_created_session_is_swept() {
    let folder = Folder::new();
    fs::write(folder.layout.part(folder.id), BYTES).unwrap();
    let found = folder.start().await;
    assert_eq!((found.scan.sessions.len(), found.scan.bytes, found.swept("part")), (0, 0, 1.0));
    folder.assert_empty();
    drop(found);
    folder.session();
    let session = folder.layout.session(folder.id);
    let length = fs::metadata(&session).unwrap().len();
    fs::File::options().write(true).open(&session).unwrap().set_len(length - 1).unwrap();
    let found = folder.start().await;
    assert_eq!((found.scan.sessions.len(), found.swept("session"), found.swept("part")), (0, 1.0, 1.0));
    folder.assert_empty();
}

/// Dead before the first checkpoint: the session is there, and begins anew.
#[tokio::test]
async fn a_session_without_checkpoint_begins_anew() {
    let folder = Folder::new();
    folder.session();
    let found = folder.start().await;
    assert_eq!((found.scan.sessions[0].offset, found.scan.bytes), (0, 0));
    assert_eq!(fs::metadata(folder.layout.part(folder.id)).unwrap().len(), 0);
}

/// Dead after the attributes were written, before the object was renamed: the session can still be completed.
#[tokio::test]
async fn attributes_without_object_are_swept_and_the_session_stays() {
    let folder = Folder::new();
    folder.session();
    for half in [folder.record(), folder.record()[..20].to_vec(), Vec::new()] {
        folder.entry(Entry::New, &half);
        let found = folder.start().await;
        assert_eq!((found.scan.files, found.scan.unreported, found.scan.sessions.len()), (0, 0, 1));
        assert_eq!(found.swept("attributes"), 1.0);
        assert!(matches!(found.store.record(folder.id).await, Err(StoreError::NotFound)));
        assert!(!folder.layout.entry(folder.id, Entry::New).exists());
    }
}

/// Dead after the rename, before the answer: the file is published, whole, and told to the Admin Module.
#[tokio::test]
async fn a_renamed_object_is_published_and_reported() {
    let folder = Folder::new();
    folder.entry(Entry::New, &folder.record());
    folder.entry(Entry::Object, BYTES);
    // The session's notes were not removed any more.
    notes::create(&folder.layout.session(folder.id), &some_notes()).unwrap();
    let found = folder.start().await;
    assert_eq!((found.scan.files, found.scan.bytes, found.scan.unreported, found.scan.sessions.len()), (1, 3, 1, 0));
    assert_eq!(found.swept("session"), 1.0);
    assert_eq!(found.store.unreported(9).await.unwrap(), unreported(folder.id, Change::Published));
    let record: FileRecord = found.store.record(folder.id).await.unwrap();
    assert_eq!((record.file_id, record.size), (folder.id, 3));
}

/// Dead between the directory entries of one commit, on a file system that does not keep their order.
#[tokio::test]
async fn an_object_without_attributes_is_swept() {
    let folder = Folder::new();
    folder.entry(Entry::Object, BYTES);
    let found = folder.start().await;
    assert_eq!((found.scan.files, found.scan.unreported, found.swept("object")), (0, 0, 1.0));
    folder.assert_empty();
}

/// Dead after a deletion was committed, before the object was removed: the deletion is finished and told.
#[tokio::test]
async fn a_begun_deletion_is_finished_and_reported() {
    let folder = Folder::new();
    folder.entry(Entry::Gone, &folder.record());
    folder.entry(Entry::Object, BYTES);
    let found = folder.start().await;
    assert_eq!((found.scan.files, found.scan.unreported, found.swept("object")), (0, 1, 1.0));
    assert_eq!(found.store.unreported(9).await.unwrap(), unreported(folder.id, Change::Deleted));
    assert!(matches!(found.store.record(folder.id).await, Err(StoreError::NotFound)));
    found.store.reported(&unreported(folder.id, Change::Deleted)).await.unwrap();
    folder.assert_empty();
}

/// A start that dies is a start like any other.
#[tokio::test]
async fn a_second_start_finds_what_the_first_did() {
    let folder = Folder::new();
    folder.entry(Entry::Known, &folder.record());
    folder.entry(Entry::Object, BYTES);
    for _ in 0..2 {
        let found = folder.start().await;
        assert_eq!((found.scan.files, found.scan.bytes, found.scan.unreported), (1, 3, 0));
    }
}

/// Damage is no leftover: it is kept, counted and said.
#[tokio::test]
async fn damaged_files_are_kept_and_not_served() {
    let folder = Folder::new();
    folder.entry(Entry::Known, b"{");
    folder.entry(Entry::Object, BYTES);
    let found = folder.start().await;
    assert!(matches!(found.store.record(folder.id).await, Err(StoreError::Damaged { .. })));
    folder.entry(Entry::Known, &folder.record());
    folder.entry(Entry::Object, b"ab");
    let Err(StoreError::Damaged { what, .. }) = found.store.record(folder.id).await else { panic!("not damaged") };
    assert_eq!(what, "2 bytes are there, 3 were published");
    assert_eq!(found.registry.sum_of("element_damaged_files_total", &[]), 2.0);
    assert_eq!(found.store.list(None, 9).await.unwrap(), []);
    assert!(folder.layout.entry(folder.id, Entry::Object).exists());
}

#[tokio::test]
async fn what_is_not_ours_is_left_alone() {
    let folder = Folder::new();
    fs::write(folder.layout.uploads().join("README"), "x").unwrap();
    folder.entry(Entry::Known, &folder.record());
    folder.entry(Entry::Object, BYTES);
    fs::write(folder.layout.directory(folder.id).join("x.tmp"), "x").unwrap();
    assert_eq!(folder.start().await.scan.files, 1);
    assert!(folder.layout.uploads().join("README").exists());
    assert!(folder.layout.directory(folder.id).join("x.tmp").exists());
}

#[tokio::test]
async fn a_folder_is_used_by_one_process_and_for_one_purpose() {
    let metrics = || ElementMetrics::new(&Registry::new(), Default::default);
    let folder = Folder::new();
    let found = folder.start().await;
    assert!(matches!(FolderStore::open(folder.dir.path(), metrics()), Err(OpenFolderError::Locked(_))));
    drop(found);
    fs::write(folder.layout.format(), "another").unwrap();
    assert!(matches!(FolderStore::open(folder.dir.path(), metrics()), Err(OpenFolderError::Foreign(_))));
    let foreign = tempfile::tempdir().unwrap();
    fs::write(foreign.path().join("letter.txt"), "dear").unwrap();
    let refused = FolderStore::open(foreign.path(), metrics()).unwrap_err();
    assert!(refused.to_string().ends_with("is not empty and not the folder of a Storage Element"), "{refused}");
    let file = foreign.path().join("letter.txt");
    assert!(matches!(FolderStore::open(&file, metrics()), Err(OpenFolderError::Io(..))));
}

/// A disk that is full while the attributes are written leaves the identifier free.
#[tokio::test]
async fn a_failed_publication_takes_nothing() {
    let folder = Folder::new();
    let found = folder.start().await;
    let notes: SessionNotes = some_notes();
    let append = found.store.one_shot(folder.id, &notes).await.unwrap();
    let record: FileRecord = serde_json::from_slice(&folder.record()).unwrap();
    // The bytes vanish under it, as when somebody cleans up by hand.
    fs::remove_file(folder.layout.part(folder.id)).unwrap();
    append.publish(&record).await.unwrap_err();
    folder.assert_empty();
    assert!(found.store.one_shot(folder.id, &notes).await.is_ok());
}
