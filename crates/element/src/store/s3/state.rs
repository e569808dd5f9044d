//! What is kept in the bucket of an unfinished upload, beside its parts.

use crate::hash::{RunningHash, hex, unhex};
use crate::store::SessionNotes;
use serde::{Deserialize, Serialize};

/// One JSON object, written anew with every part and every checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UploadState {
    /// What is known of the file.
    pub(super) notes: SessionNotes,
    /// When the upload was last continued, in seconds since the epoch.
    pub(super) touched_at: u64,
    /// The multipart upload, once there is a whole part.
    pub(super) multipart: Option<String>,
    /// The parts that S3 has, in order.
    pub(super) parts: Vec<String>,
    /// The bytes in those parts.
    pub(super) parts_bytes: u64,
    /// The bytes past them that the last checkpoint put away.
    pub(super) tail_bytes: u64,
    /// The state of the hash of all those bytes, in hexadecimal.
    hash: String,
}

impl UploadState {
    pub(super) fn new(notes: SessionNotes) -> Self {
        let touched_at = notes.created_at;
        let mut state = Self {
            notes,
            touched_at,
            multipart: None,
            parts: Vec::new(),
            parts_bytes: 0,
            tail_bytes: 0,
            hash: String::new(),
        };
        state.set_hash(&RunningHash::default());
        state
    }

    /// The durable offset.
    pub(super) const fn offset(&self) -> u64 {
        self.parts_bytes + self.tail_bytes
    }

    pub(super) fn set_hash(&mut self, hash: &RunningHash) {
        self.hash = hex(&hash.state());
    }

    /// The hash of the bytes before the durable offset.
    pub(super) fn hash(&self) -> Option<RunningHash> {
        RunningHash::restore(&unhex(&self.hash)?)
    }
}
