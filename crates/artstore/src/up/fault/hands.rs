//! What is done once when a fault begins, and once when it ends.

use super::{Fault, FaultFiles, Room};
use crate::failure::Failure;
use artstore_api::FileId;
use artstore_client::{Session, Upload, Uploader};
use std::path::Path;
use std::sync::Arc;
use tokio::io::AsyncReadExt as _;

/// The largest file to fill an element with: with more room than that, filling it would be no demonstration.
const MAX_BALLAST: u64 = 1 << 30;

/// Files, and a client of the Ingester.
#[derive(Debug)]
pub(in crate::up) struct Hands {
    files: Arc<FaultFiles>,
    session: Session,
    /// Room of the element for temporary files.
    room: Room,
    /// The file that nearly fills it.
    ballast: Option<FileId>,
}

impl Hands {
    /// Nothing is done yet.
    pub(in crate::up) fn new(files: Arc<FaultFiles>, session: Session, room: Room) -> Self {
        Self { files, session, room, ballast: None }
    }

    /// Does what this fault begins with. A failure is in the log; whatever is done until then stays until the end.
    pub(super) async fn begin(&mut self, fault: Fault) {
        let files = Arc::clone(&self.files);
        // A panic there was logged when it happened.
        let done = tokio::task::spawn_blocking(move || files.break_by(fault).map(|file| file.map(Path::to_owned)));
        match done.await {
            Ok(Ok(Some(file))) => tracing::info!(fault = fault.name(), file = %file.display(), "a file is broken"),
            Ok(Ok(None)) | Err(_) => {}
            Ok(Err(failure)) => tracing::error!(fault = fault.name(), "the fault cannot begin: {failure}"),
        }
        if fault == Fault::StorageNearlyFull
            && let Err(failure) = self.fill().await
        {
            tracing::error!(fault = fault.name(), "the fault cannot begin: {failure}");
        }
    }

    /// Makes good again what this fault has done.
    pub(super) async fn end(&mut self, fault: Fault) {
        let files = Arc::clone(&self.files);
        if let Ok(Err(failure)) = tokio::task::spawn_blocking(move || files.repair(fault)).await {
            tracing::error!(fault = fault.name(), "the fault cannot be repaired: {failure}");
        }
        if let Some(ballast) = self.ballast.take()
            && let Err(error) = self.session.delete(ballast).await
        {
            tracing::error!(fault = fault.name(), %ballast, "the file that fills the element cannot be deleted: {error}");
        }
    }

    /// Uploads one large file.
    async fn fill(&mut self) -> Result<(), Failure> {
        let size = self.room.ballast();
        if size > MAX_BALLAST {
            return Err(Failure::failed(format!(
                "{size} bytes would be needed: give it less room by --element-capacity-bytes"
            )));
        }
        let upload = Upload { filename: Some("ballast.bin".to_owned()), ttl_days: Some(1), ..Upload::default() };
        let bytes = tokio::io::repeat(0).take(size);
        let uploaded = Uploader::new(self.session.clone()).stream(bytes, Some(size), &upload).await;
        self.ballast = Some(uploaded.map_err(|error| Failure::failed(error.to_string()))?.record.file_id);
        Ok(())
    }
}
