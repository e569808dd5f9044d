//! How elements report themselves and their records to the Admin Module, and how others find them.

use crate::file::{FileId, FileRecord, IndexedFile, RetentionPolicy};
use serde::{Deserialize, Serialize};

/// What an element is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ElementMode {
    /// Holds temporary files.
    Edit,
    /// Holds permanent files.
    Rw,
}

impl ElementMode {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Edit => "edit",
            Self::Rw => "rw",
        }
    }

    /// The mode of the elements that hold files of this policy.
    #[must_use]
    pub const fn of(policy: RetentionPolicy) -> Self {
        match policy {
            RetentionPolicy::Temporary => Self::Edit,
            RetentionPolicy::Permanent => Self::Rw,
        }
    }
}

impl std::str::FromStr for ElementMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "edit" => Ok(Self::Edit),
            "rw" => Ok(Self::Rw),
            _ => Err("mode must be \"edit\" or \"rw\"".to_owned()),
        }
    }
}

/// Whether an element reported itself of late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ElementStatus {
    /// Its last report is recent.
    Online,
    /// Its last report is too old.
    Offline,
}

/// Room on an element, in bytes: `GET /api/v1/capacity` of an element, and a part of its report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// All that the element may hold.
    pub capacity_bytes: u64,
    /// What is free for new files: the store's room less what open uploads have reserved.
    pub free_bytes: u64,
}

/// `PUT /api/v1/storage-elements/{element_id}`: an element's heartbeat (204).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ElementReport {
    /// Where it listens, `https://host:port`.
    pub url: String,
    /// What it is for.
    pub mode: ElementMode,
    /// Its room.
    pub capacity: Capacity,
}

/// One element of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Element {
    /// Its configured identifier, unique.
    pub element_id: String,
    /// Where it listens.
    pub url: String,
    /// What it is for.
    pub mode: ElementMode,
    /// Whether it reported of late.
    pub status: ElementStatus,
    /// Its room at its last report.
    pub capacity: Capacity,
}

/// `GET /api/v1/storage-elements?mode=&status=` of the Admin Module.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ElementList {
    /// The elements, by identifier.
    pub elements: Vec<Element>,
}

/// One change that an element tells the index; telling it twice changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "lowercase")]
pub enum RecordChange {
    /// A file was published.
    Published {
        /// The file.
        record: Box<FileRecord>,
    },
    /// A file was deleted or has expired.
    Deleted {
        /// The file.
        file_id: FileId,
    },
}

/// `POST /api/v1/files` of the Admin Module: changes in the order in which they happened (204).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordBatch {
    /// The element that tells.
    pub element_id: String,
    /// At most [`MAX_RECORDS`].
    pub changes: Vec<RecordChange>,
}

/// Most changes of one batch and most records of one page.
pub const MAX_RECORDS: usize = 500;

/// `GET /api/v1/files?after=&limit=` of an element: its published records in the order of their identifiers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RecordPage {
    /// At most `limit`.
    pub records: Vec<FileRecord>,
    /// What to send as `after` for the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<FileId>,
}

/// `GET /api/v1/files?after=&limit=` of the Admin Module: the index in the order of identifiers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IndexPage {
    /// At most `limit`.
    pub files: Vec<IndexedFile>,
    /// What to send as `after` for the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<FileId>,
}
