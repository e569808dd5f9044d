//! The store in a folder of a local file system: append, group commit, sweep. `layout.rs` says where everything lies.

mod append;
#[cfg(test)]
mod crash;
mod dirsync;
mod layout;
mod notes;
mod scan;

use crate::metrics::ElementMetrics;
use crate::store::{
    Append, BlobStore, ByteStream, Change, DiskSpace, Scan, SessionNotes, StoreError, StoreFuture, Unreported, blocking,
};
use append::{FolderAppend, HALF_BUFFER_BYTES, RemoveOnDrop};
use artstore_api::file::{FileId, FileRecord};
use artstore_metrics::UnixTime;
use bytes::Bytes;
use dirsync::{DirectorySync, sync_directory};
use futures_util::StreamExt as _;
use layout::{Entry, Layout};
use notes::NotesFile;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

const FORMAT: &[u8] = b"artstore element folder 1\n";

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenFolderError {
    /// Another process has it.
    #[error("{0} is in use by another process")]
    Locked(String),
    /// It holds something else.
    #[error("{0} is not empty and not the folder of a Storage Element")]
    Foreign(String),
    /// The file system failed.
    #[error("{0} cannot be used")]
    Io(String, #[source] io::Error),
}

/// A store in a folder. Clones share it.
#[derive(Debug, Clone)]
pub struct FolderStore {
    layout: Layout,
    sync: DirectorySync,
    metrics: ElementMetrics,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Object directories that are known to be there, durably.
    directories: Mutex<BTreeSet<String>>,
    /// For each object directory a time, in seconds, before which none of its files expires. One entry for 17 minutes of
    /// uploads, so their number is bounded by the age of the store and not by the number of files.
    expiry: Mutex<BTreeMap<String, u64>>,
    /// Locked as long as the store is used.
    _lock: File,
}

impl FolderStore {
    /// Opens the folder, making it if it is not there, and locks it.
    ///
    /// # Errors
    /// The folder is another's, is in use, or cannot be used.
    pub fn open(dir: &Path, metrics: ElementMetrics) -> Result<Self, OpenFolderError> {
        let name = || dir.display().to_string();
        let failed = |error| OpenFolderError::Io(name(), error);
        let layout = Layout::new(dir);
        std::fs::create_dir_all(dir).map_err(failed)?;
        if !layout.lock().exists() && std::fs::read_dir(dir).map_err(failed)?.next().is_some() {
            return Err(OpenFolderError::Foreign(name()));
        }
        let lock = OpenOptions::new().create(true).append(true).open(layout.lock()).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(OpenFolderError::Locked(name())),
            Err(std::fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
        match std::fs::read(layout.format()) {
            Ok(format) if format == FORMAT => {}
            Ok(_) => return Err(OpenFolderError::Foreign(name())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::initialise(&layout).map_err(failed)?,
            Err(error) => return Err(failed(error)),
        }
        let shared = Shared { directories: Mutex::default(), expiry: Mutex::default(), _lock: lock };
        let sync = DirectorySync::new(metrics.clone());
        Ok(Self { layout, sync, metrics, shared: Arc::new(shared) })
    }

    /// The format is written last: a folder that has it is whole.
    fn initialise(layout: &Layout) -> io::Result<()> {
        std::fs::create_dir_all(layout.uploads())?;
        std::fs::create_dir_all(layout.objects())?;
        let temporary = layout.root().join("format.tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(FORMAT)?;
        file.sync_all()?;
        std::fs::rename(temporary, layout.format())?;
        sync_directory(layout.root())
    }

    /// Makes the directory that holds a file, durably, unless it is there.
    fn make_directory(&self, file_id: FileId) -> io::Result<()> {
        let prefix = Layout::prefix(file_id);
        // Held while the directory is made, so that nobody commits into one that is not durable.
        let mut known = self.shared.directories.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(&prefix) {
            std::fs::create_dir_all(self.layout.directory(file_id))?;
            sync_directory(&self.layout.objects())?;
            known.insert(prefix);
        }
        Ok(())
    }

    /// Whether the identifier is that of a file, or was.
    fn taken(&self, file_id: FileId) -> bool {
        [Entry::Object, Entry::Gone].into_iter().any(|entry| self.layout.entry(file_id, entry).exists())
    }

    fn note_expiry(&self, record: &FileRecord) {
        let Some(expires_at) = record.expires_at else { return };
        let expires_at = u64::try_from(expires_at.unix_timestamp()).unwrap_or(0);
        let mut expiry = self.shared.expiry.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = expiry.entry(Layout::prefix(record.file_id)).or_insert(expires_at);
        *earliest = expires_at.min(*earliest);
    }

    fn create_part(&self, file_id: FileId) -> Result<File, StoreError> {
        if self.taken(file_id) {
            return Err(StoreError::Taken);
        }
        let part = OpenOptions::new().write(true).create_new(true).open(self.layout.part(file_id));
        part.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => StoreError::Taken,
            _ => error.into(),
        })
    }

    fn create_session(&self, file_id: FileId, notes: &SessionNotes) -> Result<(), StoreError> {
        let part = self.create_part(file_id)?;
        let guard = RemoveOnDrop::new(self.layout.part(file_id));
        notes::create(&self.layout.session(file_id), notes)?;
        drop(part);
        guard.keep();
        Ok(())
    }

    fn open_session(self, file_id: FileId) -> Result<FolderAppend, StoreError> {
        let mut part = OpenOptions::new().write(true).open(self.layout.part(file_id))?;
        let notes = NotesFile::open(&self.layout.session(file_id), part.metadata()?.len())?;
        part.set_len(notes.last().offset)?;
        part.seek(SeekFrom::End(0))?;
        Ok(FolderAppend::session(self, file_id, part, notes))
    }

    fn remove_upload(&self, file_id: FileId) -> Result<(), StoreError> {
        let part = std::fs::remove_file(self.layout.part(file_id));
        let session = std::fs::remove_file(self.layout.session(file_id));
        Ok(part.and(session)?)
    }

    fn live_record(&self, file_id: FileId) -> Result<FileRecord, StoreError> {
        let size = std::fs::metadata(self.layout.entry(file_id, Entry::Object))?.len();
        // The acknowledgement renames the attributes: who misses both names looks once more.
        let names = Entry::LIVE.into_iter().chain(Entry::LIVE).map(|entry| self.layout.entry(file_id, entry));
        let text = names
            .map(std::fs::read)
            .find(|read| !matches!(read, Err(error) if error.kind() == io::ErrorKind::NotFound))
            .ok_or(StoreError::NotFound)??;
        let damaged = |what: String| {
            self.metrics.damaged();
            StoreError::Damaged { file_id, what }
        };
        let record: FileRecord = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if record.size != size {
            return Err(damaged(format!("{size} bytes are there, {} were published", record.size)));
        }
        Ok(record)
    }

    /// Deletes: the attributes' new name is the commit.
    fn delete_object(&self, file_id: FileId) -> Result<u64, StoreError> {
        let object = self.layout.entry(file_id, Entry::Object);
        let size = std::fs::metadata(&object)?.len();
        let gone = self.layout.entry(file_id, Entry::Gone);
        let renamed = Entry::LIVE
            .into_iter()
            .chain(Entry::LIVE)
            .map(|entry| std::fs::rename(self.layout.entry(file_id, entry), &gone))
            .find(|renamed| !matches!(renamed, Err(error) if error.kind() == io::ErrorKind::NotFound));
        renamed.ok_or(StoreError::NotFound)??;
        std::fs::remove_file(object)?;
        Ok(size)
    }

    fn acknowledge(&self, changes: &[Unreported]) -> io::Result<()> {
        for Unreported { file_id, change } in changes {
            let done = match change {
                Change::Published => {
                    std::fs::rename(self.layout.entry(*file_id, Entry::New), self.layout.entry(*file_id, Entry::Known))
                }
                Change::Deleted => std::fs::remove_file(self.layout.entry(*file_id, Entry::Gone)),
            };
            match done {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                // Not there: acknowledged before, or deleted since.
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

/// Reads a range in pieces, one ahead.
fn read_pieces(file: File, range: Range<u64>) -> ByteStream {
    let file = Arc::new(file);
    let piece = HALF_BUFFER_BYTES as u64;
    let pieces = (0..(range.end - range.start).div_ceil(piece)).map(move |number| {
        let start = range.start + number * piece;
        start..range.end.min(start + piece)
    });
    let read = move |piece: Range<u64>| {
        let file = Arc::clone(&file);
        async move {
            let read = tokio::task::spawn_blocking(move || read_piece(&file, piece)).await;
            read.map_err(io::Error::other).flatten()
        }
    };
    futures_util::stream::iter(pieces).map(read).buffered(2).boxed()
}

fn read_piece(file: &File, piece: Range<u64>) -> io::Result<Bytes> {
    let length = usize::try_from(piece.end - piece.start).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let at = piece.start + bytes.len() as u64;
        if rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), at)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    bytes.truncate(length);
    Ok(bytes.into())
}

impl BlobStore for FolderStore {
    fn scan(&self) -> StoreFuture<'_, Scan> {
        let this = self.clone();
        Box::pin(blocking(move || this.scan_all()))
    }

    fn create<'a>(&'a self, file_id: FileId, notes: &'a SessionNotes) -> StoreFuture<'a, ()> {
        let (this, notes) = (self.clone(), notes.clone());
        Box::pin(blocking(move || this.create_session(file_id, &notes)))
    }

    fn append(&self, file_id: FileId) -> StoreFuture<'_, Box<dyn Append>> {
        let this = self.clone();
        Box::pin(blocking(move || Ok(Box::new(this.open_session(file_id)?) as Box<dyn Append>)))
    }

    fn one_shot(&self, file_id: FileId, _: &SessionNotes) -> StoreFuture<'_, Box<dyn Append>> {
        let this = self.clone();
        Box::pin(blocking(move || {
            let part = this.create_part(file_id)?;
            let leftover = RemoveOnDrop::new(this.layout.part(file_id));
            Ok(Box::new(FolderAppend::one_shot(this, file_id, part, leftover)) as Box<dyn Append>)
        }))
    }

    fn abandon(&self, file_id: FileId) -> StoreFuture<'_, ()> {
        let this = self.clone();
        Box::pin(blocking(move || this.remove_upload(file_id)))
    }

    fn record(&self, file_id: FileId) -> StoreFuture<'_, FileRecord> {
        let this = self.clone();
        Box::pin(blocking(move || this.live_record(file_id)))
    }

    fn read(&self, file_id: FileId, range: Range<u64>) -> StoreFuture<'_, ByteStream> {
        let path = self.layout.entry(file_id, Entry::Object);
        Box::pin(async move {
            let file = blocking(move || Ok(File::open(path)?)).await?;
            Ok(read_pieces(file, range))
        })
    }

    fn delete(&self, file_id: FileId) -> StoreFuture<'_, u64> {
        let this = self.clone();
        Box::pin(async move {
            let (store, directory) = (this.clone(), this.layout.directory(file_id));
            let size = blocking(move || store.delete_object(file_id)).await?;
            this.sync.sync(&directory).await?;
            Ok(size)
        })
    }

    fn list(&self, after: Option<FileId>, limit: usize) -> StoreFuture<'_, Vec<FileRecord>> {
        let this = self.clone();
        Box::pin(blocking(move || this.list_records(after, limit)))
    }

    fn unreported(&self, limit: usize) -> StoreFuture<'_, Vec<Unreported>> {
        let this = self.clone();
        Box::pin(blocking(move || this.list_unreported(limit)))
    }

    fn reported<'a>(&'a self, changes: &'a [Unreported]) -> StoreFuture<'a, ()> {
        let (this, changes) = (self.clone(), changes.to_vec());
        Box::pin(blocking(move || Ok(this.acknowledge(&changes)?)))
    }

    fn expired(&self, now: UnixTime, limit: usize) -> StoreFuture<'_, Vec<FileId>> {
        let this = self.clone();
        Box::pin(blocking(move || this.list_expired(now.as_secs(), limit)))
    }

    fn disk(&self) -> Option<DiskSpace> {
        let space = rustix::fs::statvfs(self.layout.root()).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(space.f_frsize);
        Some(DiskSpace { total: bytes(space.f_blocks), available: bytes(space.f_bavail) })
    }

    fn granularity(&self) -> u64 {
        1
    }
}
