//! The limits and addresses of an Ingester, as plain values with documented defaults.

use std::time::Duration;

/// What an Ingester is told when it starts. Every limit has a default; only the Admin Module's addresses must be given.
#[derive(Debug, Clone)]
pub struct IngesterSettings {
    /// Base addresses of the Admin Module, `https://host:port`, tried in turn.
    pub admin_urls: Vec<String>,
    /// Most bytes of one file. Default: 1 TiB.
    pub max_file_bytes: u64,
    /// A body of at most this many bytes is sent to its element in one request. Default: 256 KiB.
    pub one_shot_bytes: usize,
    /// Most uploads under way at once; one more is answered 429. Default: 512.
    pub max_uploads: usize,
    /// Most downloads under way at once; one more is answered 429. Default: 1024.
    pub max_downloads: usize,
    /// How long a client may send nothing while its body is awaited. Default: 30 s.
    pub read_timeout: Duration,
    /// How long an element may take no byte of a body that is offered to it, or not answer once it has all. Default: 60 s.
    pub element_stall_timeout: Duration,
    /// How long an element or the Admin Module may take to answer a request without a body to stream. Default: 15 s.
    pub request_timeout: Duration,
    /// How long an element may take to make a file durable and publish it, once it has all bytes. Default: 60 s.
    pub publish_timeout: Duration,
    /// How old the list of elements may be before it is fetched again. Default: 30 s.
    pub element_list_ttl: Duration,
    /// How old a list may be that is still used while the Admin Module is away. Default: 24 h.
    pub element_list_stale: Duration,
    /// How long no fetch of the list is tried after one that failed, while a usable list is held. Default: 2 s.
    pub element_list_retry: Duration,
    /// Most elements that are asked to take one upload, or asked for one file. Default: 16.
    pub max_candidates: usize,
    /// Most bytes of one multipart field that is not the file, and of one part's headers. Default: 64 KiB.
    pub max_field_bytes: usize,
    /// Most bytes of an answer of an element or of the Admin Module that is read into memory. Default: 4 MiB.
    pub max_answer_bytes: usize,
    /// Most bytes of a refused body that are read and thrown away so that its client sees the answer. Default: 1 MiB.
    pub linger_bytes: u64,
    /// How long a refused body is read on. Default: 2 s.
    pub linger_timeout: Duration,
    /// How long what runs on after its request (publishing, giving sessions up) is waited for at shutdown. Default: 15 s.
    pub drain_timeout: Duration,
    /// How often abandoning a session is tried before it is left to the element's sweep. Default: 4.
    pub abandon_attempts: u32,
}

impl IngesterSettings {
    /// The defaults, with these addresses of the Admin Module.
    #[must_use]
    pub fn new(admin_urls: Vec<String>) -> Self {
        Self {
            admin_urls,
            max_file_bytes: 1 << 40,
            one_shot_bytes: 256 << 10,
            max_uploads: 512,
            max_downloads: 1024,
            read_timeout: Duration::from_secs(30),
            element_stall_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(15),
            publish_timeout: Duration::from_secs(60),
            element_list_ttl: Duration::from_secs(30),
            element_list_stale: Duration::from_secs(24 * 60 * 60),
            element_list_retry: Duration::from_secs(2),
            max_candidates: 16,
            max_field_bytes: 64 << 10,
            max_answer_bytes: 4 << 20,
            linger_bytes: 1 << 20,
            linger_timeout: Duration::from_secs(2),
            drain_timeout: Duration::from_secs(15),
            abandon_attempts: 4,
        }
    }
}
