//! What an element can be told, with every limit and its default.

use artstore_api::element::ElementMode;
use secrecy::SecretString;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of one Storage Element.
#[derive(Debug, Clone)]
pub struct ElementSettings {
    /// The element's identifier, unique among the elements of an Admin Module.
    pub element_id: String,
    /// `edit` holds temporary files, `rw` permanent ones.
    pub mode: ElementMode,
    /// Where others reach it, `https://host:port`; told to the Admin Module.
    pub url: String,
    /// Where the bytes are kept.
    pub store: StoreSettings,
    /// The most bytes that the element holds, if fewer than its store has room for. Default: as many as the store has.
    pub capacity_limit: Option<u64>,
    /// How long the lease of an upload lives without a request or a byte. Default: 60 s.
    pub lease: Duration,
    /// How long an upload that nobody continues is kept. Default: 24 h.
    pub session_ttl: Duration,
    /// How long the element waits for the next bytes of a body. Default: 30 s.
    pub read_timeout: Duration,
    /// The largest file in bytes. Default: 1 TiB.
    pub max_file_bytes: u64,
    /// The largest body of `PUT /api/v1/files/{id}` in bytes. Default: 16 MiB.
    pub max_one_shot_bytes: u64,
    /// The most uploads that may be open at once. Default: 4,096.
    pub max_open_uploads: usize,
    /// Bytes after which an upload under way is made durable, so that it can be resumed there. Default: 64 MiB.
    pub checkpoint_bytes: u64,
    /// The Admin Modules to report to, tried in turn. Default: none, so nothing is reported.
    pub admin_urls: Vec<String>,
    /// How often the element reports itself, and how long it waits after a failed report at most. Default: 10 s.
    pub heartbeat: Duration,
    /// The most changes in one report. Default: 200; never more than [`MAX_RECORDS`](artstore_api::element::MAX_RECORDS).
    pub outbox_batch: usize,
    /// How long a change may wait for others to be reported with. Default: 200 ms.
    pub outbox_delay: Duration,
    /// How long the element waits for an answer of the Admin Module. Default: 10 s.
    pub report_timeout: Duration,
    /// How often expired files and abandoned uploads are looked for. Default: 60 s.
    pub sweep_interval: Duration,
}

impl ElementSettings {
    /// Settings with every default.
    #[must_use]
    pub fn new(element_id: impl Into<String>, mode: ElementMode, url: impl Into<String>, store: StoreSettings) -> Self {
        Self {
            element_id: element_id.into(),
            mode,
            url: url.into(),
            store,
            capacity_limit: None,
            lease: Duration::from_secs(60),
            session_ttl: Duration::from_secs(24 * 3600),
            read_timeout: Duration::from_secs(30),
            max_file_bytes: 1 << 40,
            max_one_shot_bytes: 16 << 20,
            max_open_uploads: 4_096,
            checkpoint_bytes: 64 << 20,
            admin_urls: Vec::new(),
            heartbeat: Duration::from_secs(10),
            outbox_batch: 200,
            outbox_delay: Duration::from_millis(200),
            report_timeout: Duration::from_secs(10),
            sweep_interval: Duration::from_secs(60),
        }
    }
}

/// Where the bytes are kept.
#[derive(Debug, Clone)]
pub enum StoreSettings {
    /// A folder of a local file system.
    Folder {
        /// The folder; made if it is not there.
        dir: PathBuf,
    },
    /// A bucket of an S3-compatible engine.
    S3(S3Settings),
}

/// A bucket of an S3-compatible engine, and how to write to it.
#[derive(Debug, Clone)]
pub struct S3Settings {
    /// `http://host:port` or `https://host:port`; path-style requests go there.
    pub endpoint: String,
    /// The bucket; it must exist.
    pub bucket: String,
    /// Goes before every key, without slashes at its ends; empty for none. Each element needs one of its own.
    pub prefix: String,
    /// The region that requests are signed for.
    pub region: String,
    /// The access key.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: SecretString,
    /// Bytes of one part, which is also what one upload keeps in memory and what it loses at most when the element
    /// dies. At least [`S3Settings::MIN_PART_BYTES`]; default [`S3Settings::DEFAULT_PART_BYTES`]. A file of known size that would need more
    /// than [`S3Settings::MAX_PARTS`] parts gets larger ones; one of unknown size is refused beyond as many.
    pub part_bytes: usize,
}

impl S3Settings {
    /// The smallest part that S3 takes, but for the last: 5 MiB.
    pub const MIN_PART_BYTES: usize = 5 << 20;
    /// The usual part: 8 MiB.
    pub const DEFAULT_PART_BYTES: usize = 8 << 20;
    /// The most parts of one object.
    pub const MAX_PARTS: u64 = 10_000;
}
