//! Writing one upload to S3: one part in memory, sent when it is full.

use super::state::UploadState;
use super::{S3Store, service};
use crate::hash::RunningHash;
use crate::settings::S3Settings;
use crate::store::{Append, SessionNotes, StoreError, StoreFuture};
use artstore_api::file::{FileId, FileRecord};
use artstore_metrics::UnixTime;
use bytes::{Bytes, BytesMut};
use object_store::multipart::{MultipartStore as _, PartId};
use object_store::{ObjectStoreExt as _, PutPayload};

/// One upload into a bucket.
#[derive(Debug)]
pub(super) struct S3Append {
    store: S3Store,
    file_id: FileId,
    state: UploadState,
    hash: RunningHash,
    /// The part that is being filled.
    part: BytesMut,
    part_bytes: usize,
    kind: Kind,
}

/// Whether the upload can be continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It can: its state is in the bucket.
    Session,
    /// It cannot.
    OneShot,
}

impl S3Append {
    pub(super) fn new(store: S3Store, file_id: FileId, state: UploadState, tail: &[u8], kind: Kind) -> Option<Self> {
        let hash = state.hash()?;
        let part_bytes = part_bytes(store.part_bytes, state.notes.size);
        Some(Self { store, file_id, hash, part: BytesMut::from(tail), part_bytes, state, kind })
    }

    /// The notes, when the upload was last continued, and how far it is.
    pub(super) fn standing(&self) -> (SessionNotes, u64, u64) {
        (self.state.notes.clone(), self.state.touched_at, self.offset())
    }

    async fn take(&mut self, mut bytes: Bytes) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            let room = self.part_bytes - self.part.len();
            let piece = bytes.split_to(room.min(bytes.len()));
            self.hash.update(&piece);
            self.part.extend_from_slice(&piece);
            if self.part.len() == self.part_bytes {
                self.send_part().await?;
            }
        }
        Ok(())
    }

    /// Sends the part in memory, and notes it, so that the upload can be continued behind it.
    async fn send_part(&mut self) -> Result<(), StoreError> {
        if self.state.parts.len() as u64 == S3Settings::MAX_PARTS {
            return Err(StoreError::TooLarge { limit: S3Settings::MAX_PARTS * self.part_bytes as u64 });
        }
        let path = self.store.object(self.file_id);
        let multipart = match &self.state.multipart {
            Some(multipart) => multipart.clone(),
            None => self.store.s3.create_multipart(&path).await.map_err(service)?,
        };
        self.state.multipart = Some(multipart.clone());
        // Split off, not copied: the buffer is the store's again once the part is sent.
        let part = self.part.split().freeze();
        let length = part.len() as u64;
        let number = self.state.parts.len();
        let sent = self.store.s3.put_part(&path, &multipart, number, PutPayload::from_bytes(part)).await;
        self.state.parts.push(sent.map_err(service)?.content_id);
        self.state.parts_bytes += length;
        self.state.tail_bytes = 0;
        self.state.set_hash(&self.hash);
        match self.kind {
            Kind::Session => self.store.put_state(self.file_id, &self.state).await,
            Kind::OneShot => Ok(()),
        }
    }

    /// Puts the bytes past the last part away, so that the durable offset is any offset.
    async fn make_durable(&mut self, now: UnixTime) -> Result<(), StoreError> {
        if self.kind == Kind::OneShot {
            return Ok(());
        }
        if !self.part.is_empty() {
            // Under a name of its own: the state that goes with the tail before stays true until the new one is there.
            let tail = self.part.split().freeze();
            let path = self.store.tail(self.file_id, self.state.parts_bytes + tail.len() as u64);
            let put = self.store.s3.put(&path, tail.clone().into()).await;
            self.part = tail.try_into_mut().unwrap_or_else(|shared| BytesMut::from(shared.as_ref()));
            put.map_err(service)?;
        }
        self.state.tail_bytes = self.part.len() as u64;
        self.state.touched_at = now.as_secs();
        self.state.set_hash(&self.hash);
        self.store.put_state(self.file_id, &self.state).await
    }

    /// Attributes and markers first; the object, which appears whole, is the commit.
    async fn commit(mut self, record: &FileRecord) -> Result<(), StoreError> {
        let (store, file_id) = (self.store.clone(), self.file_id);
        if store.exists(&store.object(file_id)).await? {
            return Err(StoreError::Taken);
        }
        store.put_markers(record).await?;
        let path = store.object(file_id);
        let committed = match self.state.multipart.take() {
            None => store.s3.put(&path, self.part.split().freeze().into()).await.map(|_| ()),
            Some(multipart) => self.complete(&multipart).await,
        };
        if let Err(error) = committed {
            // The answer may have been lost on the way: what counts is whether the object is there.
            if !store.has_size(&path, record.size).await {
                store.remove_markers(record).await;
                return Err(service(error));
            }
        }
        store.remove_upload_notes(file_id).await;
        Ok(())
    }

    async fn complete(&mut self, multipart: &String) -> object_store::Result<()> {
        let path = self.store.object(self.file_id);
        if !self.part.is_empty() {
            let (number, part) = (self.state.parts.len(), self.part.split().freeze());
            let sent = self.store.s3.put_part(&path, multipart, number, part.into()).await?;
            self.state.parts.push(sent.content_id);
        }
        let parts = self.state.parts.drain(..).map(|content_id| PartId { content_id }).collect();
        self.store.s3.complete_multipart(&path, multipart, parts).await.map(|_| ())
    }
}

impl Drop for S3Append {
    fn drop(&mut self) {
        // An upload of one request that was not published: its parts must go. Where there is no runtime left, the bucket's own
        // rule for unfinished multipart uploads sees to them.
        let (Kind::OneShot, Some(multipart)) = (self.kind, self.state.multipart.take()) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (store, file_id) = (self.store.clone(), self.file_id);
        runtime.spawn(async move { store.abort(file_id, &multipart).await });
    }
}

/// The size of a part: the usual one, or as much as a file of this size needs to have no more parts than S3 takes.
fn part_bytes(usual: usize, size: Option<u64>) -> usize {
    const MIB: u64 = 1 << 20;
    let needed = size.unwrap_or(0).div_ceil(S3Settings::MAX_PARTS).next_multiple_of(MIB);
    usize::try_from(needed).unwrap_or(usize::MAX).max(usual)
}

impl Append for S3Append {
    fn offset(&self) -> u64 {
        self.state.parts_bytes + self.part.len() as u64
    }

    fn write(&mut self, bytes: Bytes) -> StoreFuture<'_, ()> {
        Box::pin(self.take(bytes))
    }

    fn checkpoint(&mut self, now: UnixTime) -> StoreFuture<'_, ()> {
        Box::pin(self.make_durable(now))
    }

    fn digest(&mut self) -> StoreFuture<'_, String> {
        Box::pin(async move { Ok(self.hash.hex()) })
    }

    fn publish(self: Box<Self>, record: &FileRecord) -> StoreFuture<'_, ()> {
        Box::pin(self.commit(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_with_the_file_so_that_ten_thousand_are_enough() {
        let usual = S3Settings::DEFAULT_PART_BYTES;
        assert_eq!(part_bytes(usual, None), 8 << 20);
        assert_eq!(part_bytes(usual, Some(10_000 * (8 << 20))), 8 << 20);
        assert_eq!(part_bytes(usual, Some(10_000 * (8 << 20) + 1)), 9 << 20);
        assert_eq!(part_bytes(usual, Some(1 << 40)), 105 << 20);
    }
}
