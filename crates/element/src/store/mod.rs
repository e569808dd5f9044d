//! What a store of bytes is: the one trait that [`FolderStore`](folder::FolderStore) and [`S3Store`](s3::S3Store) implement.

#[cfg(test)]
mod conformance;
pub mod folder;
pub mod s3;
#[cfg(test)]
mod weed;

use artstore_api::file::{Attributes, FileId, FileRecord};
use artstore_metrics::UnixTime;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// What a store's methods answer.
pub type StoreFuture<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// The bytes of a file, in pieces.
pub type ByteStream = BoxStream<'static, std::io::Result<Bytes>>;

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such upload or file.
    #[error("there is no such upload or file")]
    NotFound,
    /// There is one already.
    #[error("the identifier is taken")]
    Taken,
    /// The store has no room.
    #[error("the store is full")]
    Full,
    /// The store cannot hold a file as large as this.
    #[error("the store takes at most {limit} bytes in one file")]
    TooLarge {
        /// The largest that it can.
        limit: u64,
    },
    /// What is stored cannot be right.
    #[error("{file_id} is damaged: {what}")]
    Damaged {
        /// The file.
        file_id: FileId,
        /// What is wrong.
        what: String,
    },
    /// The file system failed.
    #[error("the file system failed")]
    Io(#[source] std::io::Error),
    /// The storage service failed.
    #[error("the storage service failed")]
    Service(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::Full,
            std::io::ErrorKind::NotFound => Self::NotFound,
            _ => Self::Io(error),
        }
    }
}

/// What a store keeps of an upload besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionNotes {
    /// What is known of the file.
    pub attributes: Attributes,
    /// Its size, if announced.
    pub size: Option<u64>,
    /// When the upload began, in seconds since the epoch.
    pub created_at: u64,
}

/// An upload that a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSession {
    /// The identifier that the file will have.
    pub file_id: FileId,
    /// What is kept of it.
    pub notes: SessionNotes,
    /// The durable offset.
    pub offset: u64,
    /// When it was last continued, in seconds since the epoch.
    pub touched_at: u64,
}

/// A change that the Admin Module has not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Unreported {
    /// The file.
    pub file_id: FileId,
    /// What happened to it.
    pub change: Change,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// It was published.
    Published,
    /// It was deleted.
    Deleted,
}

/// What a scan found.
#[derive(Debug, Default)]
pub struct Scan {
    /// Uploads that can be continued.
    pub sessions: Vec<StoredSession>,
    /// How many files are published.
    pub files: u64,
    /// Bytes of published files and of uploads.
    pub bytes: u64,
    /// How many changes are not acknowledged; [`BlobStore::unreported`] lists them.
    pub unreported: u64,
}

/// What the disk under a store says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Its size in bytes.
    pub total: u64,
    /// Bytes that can still be written.
    pub available: u64,
}

/// A store of uploads and published files.
///
/// A file is published by one atomic step: before it the file is not there, after it the file is there, whole, with its
/// attributes, and listed by [`unreported`](Self::unreported) until [`reported`](Self::reported) says that the Admin
/// Module knows. Calls for one identifier must not overlap, but for reads: the element sees to it. Futures
/// that change something must be run to their end.
pub trait BlobStore: std::fmt::Debug + Send + Sync + 'static {
    /// Removes leftovers and says what is there. Called once, before anything else.
    fn scan(&self) -> StoreFuture<'_, Scan>;

    /// Begins an upload that can be continued.
    fn create<'a>(&'a self, file_id: FileId, notes: &'a SessionNotes) -> StoreFuture<'a, ()>;

    /// Continues an upload at its durable offset; bytes beyond it are cut off.
    fn append(&self, file_id: FileId) -> StoreFuture<'_, Box<dyn Append>>;

    /// Begins an upload that cannot be continued: dropped unpublished, it leaves nothing.
    fn one_shot(&self, file_id: FileId, notes: &SessionNotes) -> StoreFuture<'_, Box<dyn Append>>;

    /// Removes an upload.
    fn abandon(&self, file_id: FileId) -> StoreFuture<'_, ()>;

    /// The record of a published file.
    fn record(&self, file_id: FileId) -> StoreFuture<'_, FileRecord>;

    /// A range of a published file, which must lie within it.
    fn read(&self, file_id: FileId, range: Range<u64>) -> StoreFuture<'_, ByteStream>;

    /// Deletes a published file, durably, and answers its size.
    fn delete(&self, file_id: FileId) -> StoreFuture<'_, u64>;

    /// The records of at most `limit` published files whose identifiers come after `after`, in the order of identifiers.
    fn list(&self, after: Option<FileId>, limit: usize) -> StoreFuture<'_, Vec<FileRecord>>;

    /// At most `limit` changes that are not acknowledged, oldest identifiers first.
    fn unreported(&self, limit: usize) -> StoreFuture<'_, Vec<Unreported>>;

    /// These changes are acknowledged: they are not listed again.
    fn reported<'a>(&'a self, changes: &'a [Unreported]) -> StoreFuture<'a, ()>;

    /// At most `limit` published files that have expired by `now`.
    fn expired(&self, now: UnixTime, limit: usize) -> StoreFuture<'_, Vec<FileId>>;

    /// What the disk says, if there is one to ask.
    fn disk(&self) -> Option<DiskSpace>;

    /// The multiple to which the durable offset falls when the element dies: every byte past it since the last
    /// checkpoint is lost. 1 where checkpoints may be anywhere.
    fn granularity(&self) -> u64;
}

/// An upload that is being written. It buffers a bounded number of bytes.
pub trait Append: Send + Sync + 'static {
    /// Bytes taken so far.
    fn offset(&self) -> u64;

    /// Takes more bytes; waits while the buffer is full.
    fn write(&mut self, bytes: Bytes) -> StoreFuture<'_, ()>;

    /// Makes all bytes taken so far durable, so that [`BlobStore::append`] goes on from here, whatever happens. `now` is noted as
    /// the time at which the upload was last continued. Does nothing for an upload of one request.
    fn checkpoint(&mut self, now: UnixTime) -> StoreFuture<'_, ()>;

    /// SHA-256 of all bytes taken so far, in lower-case hexadecimal.
    fn digest(&mut self) -> StoreFuture<'_, String>;

    /// Publishes the file with this record, durably.
    fn publish(self: Box<Self>, record: &FileRecord) -> StoreFuture<'_, ()>;
}

/// Runs what may block where it may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(StoreError::Io(std::io::Error::other(error))),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use artstore_api::RetentionPolicy;

    /// Attributes of a temporary file.
    pub(crate) fn attributes() -> Attributes {
        Attributes {
            original_filename: "a.txt".to_owned(),
            content_type: "text/plain".to_owned(),
            description: None,
            tags: vec!["x".to_owned()],
            retention_policy: RetentionPolicy::Temporary,
            ttl_days: Some(30),
            uploaded_by: "someone".to_owned(),
        }
    }

    pub(crate) fn notes() -> SessionNotes {
        SessionNotes { attributes: attributes(), size: Some(6), created_at: 1_000 }
    }

    /// A store that only knows its disk.
    #[derive(Debug)]
    pub(crate) struct DiskOnly(pub(crate) Option<DiskSpace>);

    impl BlobStore for DiskOnly {
        fn scan(&self) -> StoreFuture<'_, Scan> {
            unreachable!()
        }
        fn create<'a>(&'a self, _: FileId, _: &'a SessionNotes) -> StoreFuture<'a, ()> {
            unreachable!()
        }
        fn append(&self, _: FileId) -> StoreFuture<'_, Box<dyn Append>> {
            unreachable!()
        }
        fn one_shot(&self, _: FileId, _: &SessionNotes) -> StoreFuture<'_, Box<dyn Append>> {
            unreachable!()
        }
        fn abandon(&self, _: FileId) -> StoreFuture<'_, ()> {
            unreachable!()
        }
        fn record(&self, _: FileId) -> StoreFuture<'_, FileRecord> {
            unreachable!()
        }
        fn read(&self, _: FileId, _: Range<u64>) -> StoreFuture<'_, ByteStream> {
            unreachable!()
        }
        fn delete(&self, _: FileId) -> StoreFuture<'_, u64> {
            unreachable!()
        }
        fn list(&self, _: Option<FileId>, _: usize) -> StoreFuture<'_, Vec<FileRecord>> {
            unreachable!()
        }
        fn unreported(&self, _: usize) -> StoreFuture<'_, Vec<Unreported>> {
            unreachable!()
        }
        fn reported<'a>(&'a self, _: &'a [Unreported]) -> StoreFuture<'a, ()> {
            unreachable!()
        }
        fn expired(&self, _: UnixTime, _: usize) -> StoreFuture<'_, Vec<FileId>> {
            unreachable!()
        }
        fn disk(&self) -> Option<DiskSpace> {
            self.0
        }
        fn granularity(&self) -> u64 {
            unreachable!()
        }
    }
}
