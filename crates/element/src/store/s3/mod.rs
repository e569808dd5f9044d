//! The store in a bucket of an S3-compatible engine, by multipart upload.
//!
//! ```text
//! PREFIX/objects/ID             bytes of a published file: its appearance is the commit
//! PREFIX/attributes/ID          its attributes
//! PREFIX/outbox/ID              "published" or "deleted", until the Admin Module has acknowledged that
//! PREFIX/expiry/SECONDS/ID      when it expires, so that the expired are a listing's beginning
//! PREFIX/uploads/ID/state       an unfinished upload: notes, parts, offset, hash state
//! PREFIX/uploads/ID/tail-OFFSET its bytes past the last whole part
//! ```
//!
//! An upload keeps one part in memory ([`S3Settings::part_bytes`]). At a checkpoint, so at the end of every request, the
//! durable offset is any offset; between two it falls to the last whole part when the element dies.

mod append;
mod connector;
#[cfg(test)]
mod crash;
mod scan;
mod state;

use crate::metrics::ElementMetrics;
use crate::settings::S3Settings;
use crate::store::{
    Append, BlobStore, ByteStream, Change, DiskSpace, Scan, SessionNotes, StoreError, StoreFuture, Unreported,
};
use append::{Kind, S3Append};
use artstore_api::file::{FileId, FileRecord};
use artstore_http::Client;
use artstore_metrics::{Clock, UnixTime};
use bytes::Bytes;
use connector::Connector;
use futures_util::StreamExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::multipart::MultipartStore as _;
use object_store::path::Path;
use object_store::{ClientOptions, GetOptions, GetRange, ObjectStore as _, ObjectStoreExt as _};
use secrecy::ExposeSecret as _;
use state::UploadState;
use std::io;
use std::ops::Range;
use std::sync::Arc;

const PUBLISHED: &[u8] = b"published";
const DELETED: &[u8] = b"deleted";

/// Why a bucket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenS3Error {
    /// A part is too small.
    #[error("parts must have at least {min} bytes, not {0}", min = S3Settings::MIN_PART_BYTES)]
    PartTooSmall(usize),
    /// The settings do not make a client.
    #[error("the settings do not make a client")]
    Settings(#[source] object_store::Error),
}

/// A store in a bucket. Clones share it.
#[derive(Debug, Clone)]
pub struct S3Store {
    s3: Arc<AmazonS3>,
    prefix: Path,
    part_bytes: usize,
    metrics: ElementMetrics,
}

fn service(error: object_store::Error) -> StoreError {
    match error {
        object_store::Error::NotFound { .. } => StoreError::NotFound,
        other => StoreError::Service(Box::new(other)),
    }
}

impl S3Store {
    /// A store in this bucket, reached over this client.
    ///
    /// # Errors
    /// The settings cannot be right. Whether the bucket is there shows in the scan.
    pub fn open<C: Clock>(
        settings: &S3Settings,
        client: Client<C>,
        metrics: ElementMetrics,
    ) -> Result<Self, OpenS3Error> {
        if settings.part_bytes < S3Settings::MIN_PART_BYTES {
            return Err(OpenS3Error::PartTooSmall(settings.part_bytes));
        }
        let builder = AmazonS3Builder::new()
            .with_endpoint(&settings.endpoint)
            .with_bucket_name(&settings.bucket)
            .with_region(&settings.region)
            .with_access_key_id(&settings.access_key_id)
            .with_secret_access_key(settings.secret_access_key.expose_secret())
            .with_virtual_hosted_style_request(false)
            .with_allow_http(true)
            .with_client_options(ClientOptions::new().with_allow_http(true))
            .with_http_connector(Connector(client));
        let s3 = Arc::new(builder.build().map_err(OpenS3Error::Settings)?);
        let prefix = Path::from(settings.prefix.as_str());
        Ok(Self { s3, prefix, part_bytes: settings.part_bytes, metrics })
    }

    fn object(&self, file_id: FileId) -> Path {
        self.prefix.clone().join("objects").join(file_id.to_string())
    }

    fn attributes(&self, file_id: FileId) -> Path {
        self.prefix.clone().join("attributes").join(file_id.to_string())
    }

    fn outbox(&self, file_id: FileId) -> Path {
        self.prefix.clone().join("outbox").join(file_id.to_string())
    }

    fn expiry(&self, record: &FileRecord) -> Option<Path> {
        let seconds = record.expires_at?.unix_timestamp().max(0);
        let directory = self.prefix.clone().join("expiry").join(format!("{seconds:012}"));
        Some(directory.join(record.file_id.to_string()))
    }

    fn upload(&self, file_id: FileId) -> Path {
        self.prefix.clone().join("uploads").join(file_id.to_string())
    }

    fn state(&self, file_id: FileId) -> Path {
        self.upload(file_id).join("state")
    }

    /// The tail that ends at this offset.
    fn tail(&self, file_id: FileId, end: u64) -> Path {
        self.upload(file_id).join(format!("tail-{end}"))
    }

    async fn bytes(&self, path: &Path) -> Result<Bytes, StoreError> {
        self.s3.get(path).await.map_err(service)?.bytes().await.map_err(service)
    }

    async fn exists(&self, path: &Path) -> Result<bool, StoreError> {
        match self.s3.head(path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(service(error)),
        }
    }

    async fn has_size(&self, path: &Path, size: u64) -> bool {
        self.s3.head(path).await.is_ok_and(|found| found.size == size)
    }

    /// Removes; what is not there is removed.
    async fn remove(&self, path: &Path) -> Result<(), StoreError> {
        match self.s3.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(service(error)),
        }
    }

    /// Removes what a later scan removes as well, if it cannot be removed now.
    async fn remove_leftover(&self, path: &Path) {
        if let Err(error) = self.remove(path).await {
            tracing::warn!(%path, %error, "a leftover could not be removed; the next start sweeps it");
        }
    }

    async fn put_state(&self, file_id: FileId, state: &UploadState) -> Result<(), StoreError> {
        let json = serde_json::to_vec(state).map_err(io::Error::other)?;
        self.s3.put(&self.state(file_id), json.into()).await.map_err(service)?;
        Ok(())
    }

    async fn load_state(&self, file_id: FileId) -> Result<UploadState, StoreError> {
        let json = self.bytes(&self.state(file_id)).await?;
        serde_json::from_slice(&json).map_err(|error| StoreError::Damaged { file_id, what: error.to_string() })
    }

    async fn continue_upload(&self, file_id: FileId) -> Result<S3Append, StoreError> {
        let mut state = self.load_state(file_id).await?;
        let tail = match state.tail_bytes {
            0 => Bytes::new(),
            _ => self.bytes(&self.tail(file_id, state.offset())).await?,
        };
        let damaged = |what: &str| StoreError::Damaged { file_id, what: what.to_owned() };
        if tail.len() as u64 != state.tail_bytes {
            return Err(damaged("the tail has another length than noted"));
        }
        state.tail_bytes = 0;
        S3Append::new(self.clone(), file_id, state, &tail, Kind::Session)
            .ok_or_else(|| damaged("the hash state is none"))
    }

    /// What must be there before the object is.
    async fn put_markers(&self, record: &FileRecord) -> Result<(), StoreError> {
        let json = serde_json::to_vec(record).map_err(io::Error::other)?;
        let (attributes, outbox) = (self.attributes(record.file_id), self.outbox(record.file_id));
        let expiry = async {
            match self.expiry(record) {
                Some(expiry) => self.s3.put(&expiry, Bytes::new().into()).await.map(|_| ()),
                None => Ok(()),
            }
        };
        let put = async {
            tokio::try_join!(
                self.s3.put(&attributes, json.into()),
                self.s3.put(&outbox, Bytes::from_static(PUBLISHED).into()),
                expiry,
            )
        };
        put.await.map(|_| ()).map_err(service)
    }

    async fn remove_markers(&self, record: &FileRecord) {
        self.remove_leftover(&self.outbox(record.file_id)).await;
        self.remove_leftover(&self.attributes(record.file_id)).await;
        if let Some(expiry) = self.expiry(record) {
            self.remove_leftover(&expiry).await;
        }
    }

    async fn abort(&self, file_id: FileId, multipart: &String) {
        match self.s3.abort_multipart(&self.object(file_id), multipart).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => tracing::warn!(%file_id, %error, "a multipart upload could not be aborted"),
        }
    }

    /// Removes the state and the tails of an upload.
    async fn remove_upload_notes(&self, file_id: FileId) {
        let mut found = self.s3.list(Some(&self.upload(file_id)));
        while let Some(Ok(object)) = found.next().await {
            self.remove_leftover(&object.location).await;
        }
    }

    async fn remove_upload(&self, file_id: FileId) -> Result<(), StoreError> {
        let state = self.load_state(file_id).await?;
        if let Some(multipart) = &state.multipart {
            self.abort(file_id, multipart).await;
        }
        self.remove_upload_notes(file_id).await;
        Ok(())
    }

    async fn live_record(&self, file_id: FileId) -> Result<FileRecord, StoreError> {
        let object = self.s3.head(&self.object(file_id)).await.map_err(service)?;
        let json = self.bytes(&self.attributes(file_id)).await?;
        let damaged = |what: String| {
            self.metrics.damaged();
            StoreError::Damaged { file_id, what }
        };
        let record: FileRecord = serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))?;
        if record.size != object.size {
            return Err(damaged(format!("{} bytes are there, {} were published", object.size, record.size)));
        }
        Ok(record)
    }

    /// The marker that says "deleted" is the commit: from there on a scan goes on with the deletion.
    async fn delete_object(&self, file_id: FileId) -> Result<u64, StoreError> {
        let object = self.s3.head(&self.object(file_id)).await.map_err(service)?;
        let record = self.live_record(file_id).await.ok();
        self.s3.put(&self.outbox(file_id), Bytes::from_static(DELETED).into()).await.map_err(service)?;
        self.remove(&self.object(file_id)).await?;
        self.remove_leftover(&self.attributes(file_id)).await;
        if let Some(expiry) = record.as_ref().and_then(|record| self.expiry(record)) {
            self.remove_leftover(&expiry).await;
        }
        Ok(object.size)
    }

    async fn acknowledge(&self, changes: &[Unreported]) -> Result<(), StoreError> {
        for Unreported { file_id, change } in changes {
            let marker = self.outbox(*file_id);
            // A file deleted since it was reported has that still to be told.
            let stale = *change == Change::Published
                && matches!(self.bytes(&marker).await, Ok(marker) if marker.as_ref() == DELETED);
            if !stale {
                self.remove(&marker).await?;
            }
        }
        Ok(())
    }

    async fn read_range(&self, file_id: FileId, range: Range<u64>) -> Result<ByteStream, StoreError> {
        let path = self.object(file_id);
        if range.is_empty() {
            return Ok(futures_util::stream::empty().boxed());
        }
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let found = self.s3.get_opts(&path, options).await.map_err(service)?;
        Ok(found.into_stream().map(|piece| piece.map_err(io::Error::other)).boxed())
    }
}

impl BlobStore for S3Store {
    fn scan(&self) -> StoreFuture<'_, Scan> {
        Box::pin(self.scan_all())
    }

    fn create<'a>(&'a self, file_id: FileId, notes: &'a SessionNotes) -> StoreFuture<'a, ()> {
        Box::pin(async move { self.put_state(file_id, &UploadState::new(notes.clone())).await })
    }

    fn append(&self, file_id: FileId) -> StoreFuture<'_, Box<dyn Append>> {
        Box::pin(async move { Ok(Box::new(self.continue_upload(file_id).await?) as Box<dyn Append>) })
    }

    fn one_shot(&self, file_id: FileId, notes: &SessionNotes) -> StoreFuture<'_, Box<dyn Append>> {
        let state = UploadState::new(notes.clone());
        Box::pin(async move {
            let places = [self.object(file_id), self.outbox(file_id), self.state(file_id)];
            let [object, outbox, session] = places.each_ref().map(|place| self.exists(place));
            let (object, outbox, session) = tokio::try_join!(object, outbox, session)?;
            if object || outbox || session {
                return Err(StoreError::Taken);
            }
            let append = S3Append::new(self.clone(), file_id, state, &[], Kind::OneShot);
            append.map(|append| Box::new(append) as Box<dyn Append>).ok_or(StoreError::NotFound)
        })
    }

    fn abandon(&self, file_id: FileId) -> StoreFuture<'_, ()> {
        Box::pin(self.remove_upload(file_id))
    }

    fn record(&self, file_id: FileId) -> StoreFuture<'_, FileRecord> {
        Box::pin(self.live_record(file_id))
    }

    fn read(&self, file_id: FileId, range: Range<u64>) -> StoreFuture<'_, ByteStream> {
        Box::pin(self.read_range(file_id, range))
    }

    fn delete(&self, file_id: FileId) -> StoreFuture<'_, u64> {
        Box::pin(self.delete_object(file_id))
    }

    fn list(&self, after: Option<FileId>, limit: usize) -> StoreFuture<'_, Vec<FileRecord>> {
        Box::pin(self.list_records(after, limit))
    }

    fn unreported(&self, limit: usize) -> StoreFuture<'_, Vec<Unreported>> {
        Box::pin(self.list_unreported(limit))
    }

    fn reported<'a>(&'a self, changes: &'a [Unreported]) -> StoreFuture<'a, ()> {
        Box::pin(self.acknowledge(changes))
    }

    fn expired(&self, now: UnixTime, limit: usize) -> StoreFuture<'_, Vec<FileId>> {
        Box::pin(self.list_expired(now.as_secs(), limit))
    }

    fn disk(&self) -> Option<DiskSpace> {
        None
    }

    fn granularity(&self) -> u64 {
        self.part_bytes as u64
    }
}
