//! Listing the bucket: the sweep and scan at start, and the lists of files, of unreported changes and of what has expired.

use super::{DELETED, S3Store, service};
use crate::metrics::Leftover;
use crate::store::{Change, Scan, StoreError, StoredSession, Unreported};
use artstore_api::file::{FileId, FileRecord};
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore as _};
use std::collections::BTreeSet;

impl S3Store {
    /// Removes leftovers and says what is there.
    ///
    /// Objects are listed and compared with attributes in step, both in the order of identifiers, so that memory does not
    /// grow with their number.
    pub(super) async fn scan_all(&self) -> Result<Scan, StoreError> {
        let mut scan = Scan::default();
        self.finish_deletions().await?;
        let mut attributes = self.s3.list(Some(&self.prefix.clone().join("attributes")));
        let mut objects = self.s3.list(Some(&self.prefix.clone().join("objects")));
        let mut object = objects.try_next().await.map_err(service)?;
        while let Some(attribute) = attributes.try_next().await.map_err(service)? {
            let Some(file_id) = id_of(&attribute) else { continue };
            while let Some(orphan) = object.as_ref().filter(|object| id_of(object).is_none_or(|id| id < file_id)) {
                self.sweep(&orphan.location, Leftover::Object).await?;
                object = objects.try_next().await.map_err(service)?;
            }
            match object.as_ref().filter(|object| id_of(object) == Some(file_id)) {
                Some(found) => {
                    scan.files += 1;
                    scan.bytes += found.size;
                    object = objects.try_next().await.map_err(service)?;
                }
                None => {
                    self.remove_leftover(&self.outbox(file_id)).await;
                    self.sweep(&attribute.location, Leftover::Attributes).await?;
                }
            }
        }
        while let Some(orphan) = object {
            self.sweep(&orphan.location, Leftover::Object).await?;
            object = objects.try_next().await.map_err(service)?;
        }
        let mut outbox = self.s3.list(Some(&self.prefix.clone().join("outbox")));
        while outbox.try_next().await.map_err(service)?.is_some() {
            scan.unreported += 1;
        }
        self.scan_uploads(&mut scan).await?;
        Ok(scan)
    }

    /// Goes on with deletions that were begun, and removes markers of commits that did not come about.
    async fn finish_deletions(&self) -> Result<(), StoreError> {
        let mut outbox = self.s3.list(Some(&self.prefix.clone().join("outbox")));
        while let Some(marker) = outbox.try_next().await.map_err(service)? {
            let Some(file_id) = id_of(&marker) else { continue };
            let object = self.object(file_id);
            let there = self.exists(&object).await?;
            match (self.bytes(&marker.location).await?.as_ref() == DELETED, there) {
                (true, true) => self.sweep(&object, Leftover::Object).await?,
                (false, false) => self.remove(&marker.location).await?,
                (true, false) | (false, true) => continue,
            }
            self.remove(&self.attributes(file_id)).await?;
        }
        Ok(())
    }

    async fn scan_uploads(&self, scan: &mut Scan) -> Result<(), StoreError> {
        let mut found = BTreeSet::new();
        let mut uploads = self.s3.list(Some(&self.prefix.clone().join("uploads")));
        while let Some(object) = uploads.try_next().await.map_err(service)? {
            let mut parts: Vec<_> = object.location.parts().collect();
            parts.pop();
            found.extend(parts.pop().and_then(|id| id.as_ref().parse::<FileId>().ok()));
        }
        for file_id in found {
            let published = self.exists(&self.object(file_id)).await?;
            match self.continue_upload(file_id).await {
                Ok(append) if !published => {
                    let (notes, touched_at, offset) = append.standing();
                    scan.bytes += offset;
                    scan.sessions.push(StoredSession { file_id, notes, offset, touched_at });
                }
                Ok(_) => {
                    self.remove_upload_notes(file_id).await;
                    self.metrics.swept(Leftover::Session);
                }
                Err(StoreError::NotFound | StoreError::Damaged { .. }) => {
                    self.remove_upload_notes(file_id).await;
                    self.metrics.swept(Leftover::Part);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn sweep(&self, path: &Path, kind: Leftover) -> Result<(), StoreError> {
        self.remove(path).await?;
        self.metrics.swept(kind);
        tracing::warn!(%path, kind = kind.label(), "swept a leftover of interrupted work");
        Ok(())
    }

    pub(super) async fn list_records(
        &self,
        after: Option<FileId>,
        limit: usize,
    ) -> Result<Vec<FileRecord>, StoreError> {
        let directory = self.prefix.clone().join("objects");
        let mut objects = match after {
            Some(after) => self.s3.list_with_offset(Some(&directory), &self.object(after)),
            None => self.s3.list(Some(&directory)),
        };
        let mut records = Vec::new();
        while records.len() < limit {
            let Some(object) = objects.try_next().await.map_err(service)? else { break };
            let Some(file_id) = id_of(&object) else { continue };
            match self.live_record(file_id).await {
                Ok(record) => records.push(record),
                Err(StoreError::NotFound) => {}
                // One damaged file must not hide the others from a rebuild of the index.
                Err(error @ StoreError::Damaged { .. }) => tracing::error!(%file_id, %error, "left out of the list"),
                Err(error) => return Err(error),
            }
        }
        Ok(records)
    }

    pub(super) async fn list_unreported(&self, limit: usize) -> Result<Vec<Unreported>, StoreError> {
        let mut markers = self.s3.list(Some(&self.prefix.clone().join("outbox")));
        let mut unreported = Vec::new();
        while unreported.len() < limit {
            let Some(marker) = markers.try_next().await.map_err(service)? else { break };
            let Some(file_id) = id_of(&marker) else { continue };
            let deleted = match self.bytes(&marker.location).await {
                Ok(text) => text.as_ref() == DELETED,
                Err(StoreError::NotFound) => continue,
                Err(error) => return Err(error),
            };
            let change = if deleted { Change::Deleted } else { Change::Published };
            unreported.push(Unreported { file_id, change });
        }
        Ok(unreported)
    }

    pub(super) async fn list_expired(&self, now: u64, limit: usize) -> Result<Vec<FileId>, StoreError> {
        let mut markers = self.s3.list(Some(&self.prefix.clone().join("expiry")));
        let mut expired = Vec::new();
        while expired.len() < limit {
            let Some(marker) = markers.next().await.transpose().map_err(service)? else { break };
            let mut parts: Vec<_> = marker.location.parts().collect();
            let file_id = parts.pop().and_then(|id| id.as_ref().parse::<FileId>().ok());
            let seconds = parts.pop().and_then(|seconds| seconds.as_ref().parse::<u64>().ok());
            let (Some(file_id), Some(seconds)) = (file_id, seconds) else { continue };
            if seconds > now {
                break;
            }
            if self.exists(&self.object(file_id)).await? {
                expired.push(file_id);
            } else {
                self.remove_leftover(&marker.location).await;
            }
        }
        Ok(expired)
    }
}

fn id_of(object: &ObjectMeta) -> Option<FileId> {
    object.location.filename()?.parse().ok()
}
