//! How bytes reach a Storage Element: one upload session, or one request for a body that fits one buffer.

use crate::file::{Attributes, FileId};
use serde::{Deserialize, Serialize};

/// The offset of a `PATCH`, and the durable offset in answers.
pub const UPLOAD_OFFSET: &str = "upload-offset";
/// The lease of a session, which every request that changes it must carry.
pub const UPLOAD_LEASE: &str = "upload-lease";
/// Base64url of the JSON of [`OneShot`], with `PUT /api/v1/files/{id}`.
pub const UPLOAD_ATTRIBUTES: &str = "upload-attributes";
/// The content type of a `PATCH`.
pub const OFFSET_OCTET_STREAM: &str = "application/offset+octet-stream";

/// `POST /api/v1/uploads`: opens a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateUpload {
    /// What is known of the file.
    pub attributes: Attributes,
    /// Its size in bytes, if known: an element without room answers 507 before any byte moves.
    #[serde(default)]
    pub size: Option<u64>,
}

/// The answer to [`CreateUpload`] (201), to `GET /api/v1/uploads/{id}` and to `POST /api/v1/uploads/{id}/lease` (200).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadSession {
    /// The identifier that the file will have.
    pub file_id: FileId,
    /// The durable offset in bytes: where the next `PATCH` must begin.
    pub offset: u64,
    /// The lease of whoever may change the session; absent in the answer to a `GET`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    /// How long the lease lives without a request, in seconds.
    pub lease_seconds: u64,
}

/// Attributes that a client may give after the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LateAttributes {
    /// Replaces the description.
    #[serde(default)]
    pub description: Option<String>,
    /// Replaces the tags.
    #[serde(default)]
    pub tags: Option<Vec<String>>,
    /// Replaces the days to live.
    #[serde(default)]
    pub ttl_days: Option<u16>,
}

/// `POST /api/v1/uploads/{id}/complete`: verifies and publishes; the answer (201) is the [`FileRecord`](crate::FileRecord).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompleteUpload {
    /// The size in bytes, which must equal the offset.
    pub size: u64,
    /// SHA-256 in lower-case hexadecimal, if the client gave one; a mismatch is 422 and the session is abandoned.
    #[serde(default)]
    pub sha256: Option<String>,
    /// Attributes that came after the bytes.
    #[serde(default)]
    pub late: LateAttributes,
}

/// What `PUT /api/v1/files/{id}` carries in the header [`UPLOAD_ATTRIBUTES`]; the body is the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneShot {
    /// All attributes.
    pub attributes: Attributes,
    /// SHA-256 in lower-case hexadecimal, if the client gave one.
    #[serde(default)]
    pub sha256: Option<String>,
}
