//! Writing one upload: bytes are gathered in one half of a buffer while a blocking thread writes and hashes the other.

use super::FolderStore;
use super::layout::Entry;
use super::notes::NotesFile;
use crate::hash::RunningHash;
use crate::store::{Append, StoreError, StoreFuture, blocking};
use artstore_api::file::{FileId, FileRecord};
use artstore_metrics::UnixTime;
use bytes::{Bytes, BytesMut};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use tokio::task::JoinHandle;

/// Half of an upload's buffer: large enough that a hand-over to a thread costs little beside hashing it.
pub(super) const HALF_BUFFER_BYTES: usize = 256 << 10;

/// What a blocking thread works on.
#[derive(Debug)]
struct Writer {
    part: File,
    hash: RunningHash,
    notes: Option<NotesFile>,
    /// An empty buffer, to change against a full one.
    spare: BytesMut,
}

impl Writer {
    fn write(mut self: Box<Self>, mut full: BytesMut) -> Result<Box<Self>, StoreError> {
        self.part.write_all(&full)?;
        self.hash.update(&full);
        full.clear();
        self.spare = full;
        Ok(self)
    }
}

/// Where the writer is.
#[derive(Debug)]
enum Place {
    Here(Box<Writer>),
    Busy(JoinHandle<Result<Box<Writer>, StoreError>>),
    /// A write failed; nothing more can be done.
    Lost,
}

/// One upload into a folder.
#[derive(Debug)]
pub(super) struct FolderAppend {
    store: FolderStore,
    file_id: FileId,
    filling: BytesMut,
    place: Place,
    offset: u64,
    /// Removes the bytes of an upload of one request unless it is published.
    leftover: Option<RemoveOnDrop>,
    /// Whether the entries in `uploads/` are durable.
    entries_durable: bool,
}

/// A file that is removed when this is dropped.
#[derive(Debug)]
pub(super) struct RemoveOnDrop(Option<PathBuf>);

impl RemoveOnDrop {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self(Some(path))
    }

    /// Leaves the file where it is.
    pub(super) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // What cannot be removed now is swept at the next start.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl FolderAppend {
    /// Of an upload of one request.
    pub(super) fn one_shot(store: FolderStore, file_id: FileId, part: File, leftover: RemoveOnDrop) -> Self {
        let writer = Writer { part, hash: RunningHash::default(), notes: None, spare: BytesMut::new() };
        Self::new(store, file_id, writer, 0, Some(leftover))
    }

    /// Of an upload that can be continued: `part` stands at the last checkpoint of `notes`.
    pub(super) fn session(store: FolderStore, file_id: FileId, part: File, notes: NotesFile) -> Self {
        let last = notes.last().clone();
        let writer = Writer { part, hash: last.hash, notes: Some(notes), spare: BytesMut::new() };
        let mut this = Self::new(store, file_id, writer, last.offset, None);
        this.entries_durable = last.number > 0;
        this
    }

    fn new(store: FolderStore, file_id: FileId, writer: Writer, offset: u64, leftover: Option<RemoveOnDrop>) -> Self {
        let (filling, place) = (BytesMut::new(), Place::Here(Box::new(writer)));
        Self { store, file_id, filling, place, offset, leftover, entries_durable: false }
    }

    /// Takes the writer, when it is done with what it is doing.
    async fn writer(&mut self) -> Result<Box<Writer>, StoreError> {
        match std::mem::replace(&mut self.place, Place::Lost) {
            Place::Here(writer) => Ok(writer),
            Place::Busy(busy) => match busy.await {
                Ok(done) => done,
                Err(error) => Err(StoreError::Io(io::Error::other(error))),
            },
            Place::Lost => Err(StoreError::Io(io::Error::other("an earlier write failed"))),
        }
    }

    /// Hands the filled half to a thread, once it is done with the other.
    async fn hand_over(&mut self) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let spare = std::mem::take(&mut writer.spare);
        let full = std::mem::replace(&mut self.filling, spare);
        self.place = Place::Busy(tokio::task::spawn_blocking(move || writer.write(full)));
        Ok(())
    }

    /// The writer, when all bytes are written and hashed.
    async fn settled(&mut self) -> Result<Box<Writer>, StoreError> {
        if !self.filling.is_empty() {
            self.hand_over().await?;
        }
        self.writer().await
    }

    async fn take(&mut self, mut bytes: Bytes) -> Result<(), StoreError> {
        self.offset += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = HALF_BUFFER_BYTES - self.filling.len();
            self.filling.extend_from_slice(&bytes.split_to(room.min(bytes.len())));
            if self.filling.len() == HALF_BUFFER_BYTES {
                self.hand_over().await?;
            }
        }
        Ok(())
    }

    async fn make_durable(&mut self, now: UnixTime) -> Result<(), StoreError> {
        let (mut writer, offset) = (self.settled().await?, self.offset);
        let written = blocking(move || {
            if let Some(notes) = &mut writer.notes {
                writer.part.sync_data()?;
                notes.checkpoint(offset, now.as_secs(), writer.hash.clone())?;
            }
            Ok(writer)
        });
        self.place = Place::Here(written.await?);
        if !self.entries_durable && self.leftover.is_none() {
            self.store.sync.sync(&self.store.layout.uploads()).await?;
            self.entries_durable = true;
        }
        Ok(())
    }

    async fn commit(mut self, record: &FileRecord) -> Result<(), StoreError> {
        let writer = self.settled().await?;
        let (store, file_id, size) = (self.store.clone(), self.file_id, record.size);
        let attributes = serde_json::to_vec(record).map_err(io::Error::other)?;
        let rename = move || {
            writer.part.sync_all()?;
            let there = writer.part.metadata()?.len();
            if there != size {
                let what = format!("{there} bytes were written, {size} were taken");
                return Err(StoreError::Damaged { file_id, what });
            }
            store.rename_into_place(file_id, &attributes)
        };
        blocking(rename).await?;
        if let Some(renamed) = self.leftover.take() {
            renamed.keep();
        }
        let directory = self.store.layout.directory(file_id);
        if let Err(error) = self.store.sync.sync(&directory).await {
            self.store.clone().retract(file_id).await;
            return Err(error.into());
        }
        self.store.note_expiry(record);
        let session = self.store.layout.session(file_id);
        // A session without bytes is swept at the next start.
        let _ = blocking(move || Ok(std::fs::remove_file(session)?)).await;
        Ok(())
    }
}

impl FolderStore {
    /// Publishes: attributes first, then the object, whose name is the commit.
    fn rename_into_place(&self, file_id: FileId, attributes: &[u8]) -> Result<(), StoreError> {
        self.make_directory(file_id)?;
        let (object, new) = (self.layout.entry(file_id, Entry::Object), self.layout.entry(file_id, Entry::New));
        if self.taken(file_id) {
            return Err(StoreError::Taken);
        }
        let mut file = File::create(&new)?;
        let guard = RemoveOnDrop::new(new);
        file.write_all(attributes)?;
        file.sync_all()?;
        std::fs::rename(self.layout.part(file_id), object)?;
        guard.keep();
        Ok(())
    }

    /// Takes back what was renamed into place but could not be made durable.
    async fn retract(self, file_id: FileId) {
        let remove = move || {
            std::fs::remove_file(self.layout.entry(file_id, Entry::Object))?;
            Ok(std::fs::remove_file(self.layout.entry(file_id, Entry::New))?)
        };
        if let Err(error) = blocking(remove).await {
            tracing::error!(%file_id, %error, "a file that could not be made durable could not be taken back either");
        }
    }
}

impl Append for FolderAppend {
    fn offset(&self) -> u64 {
        self.offset
    }

    fn write(&mut self, bytes: Bytes) -> StoreFuture<'_, ()> {
        Box::pin(self.take(bytes))
    }

    fn checkpoint(&mut self, now: UnixTime) -> StoreFuture<'_, ()> {
        Box::pin(self.make_durable(now))
    }

    fn digest(&mut self) -> StoreFuture<'_, String> {
        Box::pin(async move {
            let writer = self.settled().await?;
            let hex = writer.hash.hex();
            self.place = Place::Here(writer);
            Ok(hex)
        })
    }

    fn publish(self: Box<Self>, record: &FileRecord) -> StoreFuture<'_, ()> {
        Box::pin(self.commit(record))
    }
}
