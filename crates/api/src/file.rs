//! What a file is: its identifier, its attributes as a client gives them, and its record once published.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// Longest description, in characters.
pub const MAX_DESCRIPTION_CHARS: usize = 1_000;
/// Longest file name, in bytes.
pub const MAX_FILENAME_BYTES: usize = 255;
/// Most tags of one file.
pub const MAX_TAGS: usize = 50;
/// Longest tag, in characters.
pub const MAX_TAG_CHARS: usize = 100;
/// Longest content type, in bytes.
pub const MAX_CONTENT_TYPE_BYTES: usize = 255;
/// The days that a temporary file lives unless its client says otherwise.
pub const DEFAULT_TTL_DAYS: u16 = 30;
/// The fewest and the most days that a temporary file may live.
pub const TTL_DAYS: std::ops::RangeInclusive<u16> = 1..=365;

/// The identifier of a file: a UUID (RFC 9562), version 7, made by the element that will hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct FileId(pub Uuid);

impl FileId {
    /// A new identifier, unlike any other.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl std::fmt::Display for FileId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl std::str::FromStr for FileId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text).map(Self)
    }
}

/// How long a file is kept; it chooses the element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RetentionPolicy {
    /// Removed at `expires_at`, or when deleted; lives on an element of mode `edit`.
    #[default]
    Temporary,
    /// Never removed by a client; lives on an element of mode `rw`.
    Permanent,
}

impl RetentionPolicy {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Temporary => "temporary",
            Self::Permanent => "permanent",
        }
    }
}

impl std::str::FromStr for RetentionPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "temporary" => Ok(Self::Temporary),
            "permanent" => Ok(Self::Permanent),
            _ => Err("retention_policy must be \"temporary\" or \"permanent\"".to_owned()),
        }
    }
}

/// Whether a file can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileStatus {
    /// It is published, whole, and can be read.
    #[default]
    Active,
}

/// What is known of a file before its first byte is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Attributes {
    /// The name that the client gave; shown and sent back, never used as a path.
    pub original_filename: String,
    /// The media type that the client gave.
    pub content_type: String,
    /// Free text.
    #[serde(default)]
    pub description: Option<String>,
    /// Words to find it by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// How long it is kept.
    pub retention_policy: RetentionPolicy,
    /// Days until a temporary file expires; absent for a permanent one.
    #[serde(default)]
    pub ttl_days: Option<u16>,
    /// The subject of the token with which it was uploaded.
    pub uploaded_by: String,
}

/// A published file: what an upload answers, what the index holds, what the element keeps beside the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileRecord {
    /// The file's identifier.
    pub file_id: FileId,
    /// The name that the client gave.
    pub original_filename: String,
    /// The media type that the client gave.
    pub content_type: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the bytes, in lower-case hexadecimal.
    pub checksum: String,
    /// The subject of the token with which it was uploaded.
    pub uploaded_by: String,
    /// When it was published (RFC 3339, UTC).
    #[serde(with = "time::serde::rfc3339")]
    pub uploaded_at: OffsetDateTime,
    /// Free text, or null.
    pub description: Option<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Whether it can be read.
    pub status: FileStatus,
    /// How long it is kept.
    pub retention_policy: RetentionPolicy,
    /// Days until it expires; null for a permanent file.
    pub ttl_days: Option<u16>,
    /// When it expires (RFC 3339, UTC); null for a permanent file.
    #[serde(with = "time::serde::rfc3339::option")]
    pub expires_at: Option<OffsetDateTime>,
}

/// A record of the index: the file and the element that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexedFile {
    /// The element that holds the file.
    pub element_id: String,
    /// The file.
    pub record: FileRecord,
}

/// Why attributes are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidAttribute {
    /// The field.
    pub field: &'static str,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl Attributes {
    /// Checks every field against the limits of this module. Both Ingester and element call it.
    ///
    /// # Errors
    /// The first field that breaks a limit.
    pub fn check(&self) -> Result<(), InvalidAttribute> {
        let invalid = |field, message: String| Err(InvalidAttribute { field, message });
        if self.original_filename.is_empty() || self.original_filename.len() > MAX_FILENAME_BYTES {
            return invalid("filename", format!("a file name has 1 to {MAX_FILENAME_BYTES} bytes"));
        }
        if self.original_filename.chars().any(char::is_control) {
            return invalid("filename", "a file name has no control characters".to_owned());
        }
        if self.original_filename.contains(['/', '\\']) || matches!(self.original_filename.as_str(), "." | "..") {
            return invalid("filename", "a file name is no path: send its last part alone".to_owned());
        }
        if self.content_type.len() > MAX_CONTENT_TYPE_BYTES
            || !self.content_type.bytes().all(|b| matches!(b, 0x20..=0x7e))
        {
            return invalid(
                "content_type",
                format!("a content type has at most {MAX_CONTENT_TYPE_BYTES} ASCII characters"),
            );
        }
        check_description(self.description.as_deref())?;
        check_tags(&self.tags)?;
        check_ttl(self.retention_policy, self.ttl_days)
    }
}

/// Checks a description: at most [`MAX_DESCRIPTION_CHARS`].
///
/// # Errors
/// What is wrong.
pub fn check_description(description: Option<&str>) -> Result<(), InvalidAttribute> {
    if description.is_some_and(|text| text.chars().count() > MAX_DESCRIPTION_CHARS) {
        let message = format!("a description has at most {MAX_DESCRIPTION_CHARS} characters");
        return Err(InvalidAttribute { field: "description", message });
    }
    Ok(())
}

/// Checks tags: at most [`MAX_TAGS`], each of 1 to [`MAX_TAG_CHARS`] characters.
///
/// # Errors
/// What is wrong.
pub fn check_tags(tags: &[String]) -> Result<(), InvalidAttribute> {
    let fits = |tag: &String| (1..=MAX_TAG_CHARS).contains(&tag.chars().count()) && !tag.chars().any(char::is_control);
    if tags.len() > MAX_TAGS || !tags.iter().all(fits) {
        let message =
            format!("at most {MAX_TAGS} tags, each of 1 to {MAX_TAG_CHARS} characters, none a control character");
        return Err(InvalidAttribute { field: "tags", message });
    }
    Ok(())
}

/// Checks days to live: [`TTL_DAYS`], and none for a permanent file.
///
/// # Errors
/// What is wrong.
pub fn check_ttl(policy: RetentionPolicy, ttl_days: Option<u16>) -> Result<(), InvalidAttribute> {
    let message = match (policy, ttl_days) {
        (RetentionPolicy::Permanent, Some(_)) => "a permanent file does not expire: leave ttl_days out".to_owned(),
        (RetentionPolicy::Temporary, Some(days)) if !TTL_DAYS.contains(&days) => {
            format!("ttl_days must be from {} to {}", TTL_DAYS.start(), TTL_DAYS.end())
        }
        _ => return Ok(()),
    };
    Err(InvalidAttribute { field: "ttl_days", message })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes() -> Attributes {
        Attributes {
            original_filename: "a.txt".to_owned(),
            content_type: "text/plain".to_owned(),
            description: None,
            tags: vec![],
            retention_policy: RetentionPolicy::Temporary,
            ttl_days: Some(30),
            uploaded_by: "someone".to_owned(),
        }
    }

    #[test]
    fn each_limit_is_refused_just_beyond_it() {
        let long = |n| "é".repeat(n);
        let cases: [(&str, Attributes, Attributes); 6] = [
            (
                "filename",
                Attributes { original_filename: "x".repeat(255), ..attributes() },
                Attributes { original_filename: "x".repeat(256), ..attributes() },
            ),
            (
                "filename",
                Attributes { original_filename: "..a".into(), ..attributes() },
                Attributes { original_filename: "..".into(), ..attributes() },
            ),
            (
                "description",
                Attributes { description: Some(long(1000)), ..attributes() },
                Attributes { description: Some(long(1001)), ..attributes() },
            ),
            (
                "tags",
                Attributes { tags: vec![long(100); 50], ..attributes() },
                Attributes { tags: vec![long(1); 51], ..attributes() },
            ),
            (
                "ttl_days",
                Attributes { ttl_days: Some(1), ..attributes() },
                Attributes { ttl_days: Some(0), ..attributes() },
            ),
            (
                "ttl_days",
                Attributes { ttl_days: Some(365), ..attributes() },
                Attributes { ttl_days: Some(366), ..attributes() },
            ),
        ];
        for (field, good, bad) in cases {
            assert_eq!(good.check(), Ok(()), "{field}");
            assert_eq!(bad.check().unwrap_err().field, field);
        }
    }

    #[test]
    fn paths_and_control_characters_are_no_file_names() {
        for name in ["", "../x", "a/b", "a\\b", "a\0b", "a\nb", "."] {
            let refused = Attributes { original_filename: name.to_owned(), ..attributes() }.check().unwrap_err();
            assert_eq!(refused.field, "filename", "{name:?}");
        }
    }

    #[test]
    fn file_id_reads_back() {
        let id = FileId::generate();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.0.get_version_num(), 7);
        assert!("../etc".parse::<FileId>().is_err());
    }

    #[test]
    fn policy_words_are_the_wire_words() {
        for policy in [RetentionPolicy::Temporary, RetentionPolicy::Permanent] {
            assert_eq!(serde_json::to_value(policy).unwrap(), policy.as_str());
            assert_eq!(policy.as_str().parse(), Ok(policy));
        }
        assert!("forever".parse::<RetentionPolicy>().is_err());
    }
}
