//! The fields that describe a file, from a form or from a query: read once, bounded, checked, merged with their defaults.

use crate::failure::Failure;
use artstore_api::file::{Attributes, DEFAULT_TTL_DAYS, RetentionPolicy, check_description, check_tags, check_ttl};
use artstore_api::upload::LateAttributes;

/// What an upload says when its policy comes after its file and is not the one already acted upon.
pub const POLICY_AFTER_FILE: &str = "send retention_policy before file";
/// The media type of a file whose client names none.
pub const DEFAULT_CONTENT_TYPE: &str = "application/octet-stream";

/// The name of a field that describes a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldName {
    /// Free text.
    Description,
    /// A JSON array of words.
    Tags,
    /// `temporary` or `permanent`.
    RetentionPolicy,
    /// Days until a temporary file expires.
    TtlDays,
}

impl FieldName {
    /// All names, as a message lists them.
    pub const ALL: [Self; 4] = [Self::Description, Self::Tags, Self::RetentionPolicy, Self::TtlDays];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Description => "description",
            Self::Tags => "tags",
            Self::RetentionPolicy => "retention_policy",
            Self::TtlDays => "ttl_days",
        }
    }

    /// The field of this name, if there is one.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.as_str() == name)
    }
}

/// Fields as they come in; each may come once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    description: Option<String>,
    tags: Option<Vec<String>>,
    retention_policy: Option<RetentionPolicy>,
    ttl_days: Option<u16>,
}

impl Fields {
    /// Takes one field.
    ///
    /// # Errors
    /// A value that cannot be read or breaks a limit, or a field that came before.
    pub fn set(&mut self, name: FieldName, value: &str) -> Result<(), Failure> {
        let twice = match name {
            FieldName::Description => self.description.replace(read_description(value)?).is_some(),
            FieldName::Tags => self.tags.replace(read_tags(value)?).is_some(),
            FieldName::RetentionPolicy => {
                let policy = value.parse().map_err(Failure::invalid)?;
                self.retention_policy.replace(policy).is_some()
            }
            FieldName::TtlDays => self.ttl_days.replace(read_ttl(value)?).is_some(),
        };
        if twice {
            return Err(Failure::invalid(format!("send {} once", name.as_str())));
        }
        Ok(())
    }

    /// The policy as it stands: the default unless one was sent.
    #[must_use]
    pub fn policy(&self) -> RetentionPolicy {
        self.retention_policy.unwrap_or_default()
    }

    /// The attributes of a file of which these fields are known before its bytes.
    ///
    /// # Errors
    /// The first attribute that breaks a limit.
    pub fn attributes(&self, file: NamedFile, uploaded_by: &str) -> Result<Attributes, Failure> {
        let policy = self.policy();
        let default_ttl = match policy {
            RetentionPolicy::Temporary => Some(DEFAULT_TTL_DAYS),
            RetentionPolicy::Permanent => None,
        };
        let attributes = Attributes {
            original_filename: file.name,
            content_type: file.content_type.unwrap_or_else(|| DEFAULT_CONTENT_TYPE.to_owned()),
            description: self.description.clone().filter(|text| !text.is_empty()),
            tags: self.tags.clone().unwrap_or_default(),
            retention_policy: policy,
            ttl_days: self.ttl_days.or(default_ttl),
            uploaded_by: uploaded_by.to_owned(),
        };
        attributes.check()?;
        Ok(attributes)
    }

    /// Takes one field that comes after the file, whose policy is already acted upon.
    ///
    /// # Errors
    /// As [`set`](Self::set); and a policy other than the one acted upon, or days to live of a permanent file.
    pub fn set_late(&mut self, name: FieldName, value: &str) -> Result<(), Failure> {
        let acted_upon = self.policy();
        self.set(name, value)?;
        if self.policy() != acted_upon {
            return Err(Failure::invalid(POLICY_AFTER_FILE));
        }
        Ok(check_ttl(acted_upon, self.ttl_days)?)
    }

    /// The attributes that came after the file, given those `before` it.
    #[must_use]
    pub fn late(&self, before: &Self) -> LateAttributes {
        LateAttributes {
            description: self
                .description
                .clone()
                .filter(|_| before.description.is_none())
                .filter(|text| !text.is_empty()),
            tags: self.tags.clone().filter(|_| before.tags.is_none()),
            ttl_days: self.ttl_days.filter(|_| before.ttl_days.is_none()),
        }
    }
}

/// What a client calls the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// The file name.
    pub name: String,
    /// The media type, if the client named one.
    pub content_type: Option<String>,
}

/// `attributes` with what came after the bytes.
#[must_use]
pub fn merged(mut attributes: Attributes, late: &LateAttributes) -> Attributes {
    if let Some(description) = &late.description {
        attributes.description = Some(description.clone());
    }
    if let Some(tags) = &late.tags {
        attributes.tags.clone_from(tags);
    }
    attributes.ttl_days = late.ttl_days.or(attributes.ttl_days);
    attributes
}

/// The fields and the file name of a query string; every parameter is known and comes once.
///
/// # Errors
/// An unknown or repeated parameter, a value that is not UTF-8 or breaks a limit, or no `filename`.
pub fn from_query(query: &str) -> Result<(String, Fields), Failure> {
    let (mut filename, mut fields) = (None, Fields::default());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decoded(name)?, decoded(value)?);
        if name == "filename" {
            if filename.replace(value).is_some() {
                return Err(Failure::invalid("send filename once"));
            }
        } else if let Some(field) = FieldName::find(&name) {
            fields.set(field, &value)?;
        } else {
            return Err(unknown("query parameter", &name, "filename"));
        }
    }
    let filename = filename.ok_or_else(|| Failure::invalid("the query parameter filename is missing"))?;
    Ok((filename, fields))
}

/// The refusal of a name that is not known: a misspelt `retention_policy` must not store a file under another policy.
#[must_use]
pub fn unknown(kind: &str, name: &str, first: &str) -> Failure {
    let shown: String = name.chars().take(40).flat_map(char::escape_default).collect();
    let known: Vec<&str> = std::iter::once(first).chain(FieldName::ALL.map(FieldName::as_str)).collect();
    Failure::invalid(format!("unknown {kind} \"{shown}\"; known are {}", known.join(", ")))
}

fn decoded(text: &str) -> Result<String, Failure> {
    let spaced = text.replace('+', " ");
    let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8();
    decoded.map(std::borrow::Cow::into_owned).map_err(|_| Failure::invalid("the query is not percent-encoded UTF-8"))
}

fn read_description(value: &str) -> Result<String, Failure> {
    check_description(Some(value))?;
    Ok(value.to_owned())
}

fn read_tags(value: &str) -> Result<Vec<String>, Failure> {
    let tags: Vec<String> = serde_json::from_str(value)
        .map_err(|_| Failure::invalid("tags must be a JSON array of strings, such as [\"a\", \"b\"]"))?;
    check_tags(&tags)?;
    Ok(tags)
}

fn read_ttl(value: &str) -> Result<u16, Failure> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let days = value.parse().ok().filter(|_| digits);
    // Not a number, or too large for one: 0 is out of range as well, and gets the message that names the range.
    let days = days.unwrap_or(0);
    check_ttl(RetentionPolicy::Temporary, Some(days))?;
    Ok(days)
}

#[cfg(test)]
mod tests {
    use super::*;
    use artstore_api::Code;

    const TTL: &str = "ttl_days must be from 1 to 365";
    const TAGS: &str = "tags must be a JSON array of strings, such as [\"a\", \"b\"]";
    const TAG_LIMITS: &str = "at most 50 tags, each of 1 to 100 characters, none a control character";

    fn file(name: &str) -> NamedFile {
        NamedFile { name: name.to_owned(), content_type: None }
    }

    #[test]
    fn a_query_with_all_parameters_is_read() {
        let query =
            "filename=a%20b+c.txt&description=%C3%BC&tags=%5B%22x%22%5D&retention_policy=temporary&ttl_days=365";
        let (name, fields) = from_query(query).unwrap();
        let attributes = fields.attributes(file(&name), "me").unwrap();
        let expected = Attributes {
            original_filename: "a b c.txt".to_owned(),
            content_type: "application/octet-stream".to_owned(),
            description: Some("ü".to_owned()),
            tags: vec!["x".to_owned()],
            retention_policy: RetentionPolicy::Temporary,
            ttl_days: Some(365),
            uploaded_by: "me".to_owned(),
        };
        assert_eq!(attributes, expected);
    }

    #[test]
    fn defaults_follow_the_policy() {
        let attributes = |query| {
            let (name, fields) = from_query(query).unwrap();
            let attributes = fields.attributes(file(&name), "me").unwrap();
            (attributes.retention_policy, attributes.ttl_days, attributes.description)
        };
        assert_eq!(attributes("filename=a"), (RetentionPolicy::Temporary, Some(30), None));
        assert_eq!(
            attributes("filename=a&retention_policy=permanent&description="),
            (RetentionPolicy::Permanent, None, None)
        );
    }

    #[test]
    fn each_bad_parameter_is_refused_with_its_message() {
        let long = format!("filename=a&description={}", "x".repeat(1001));
        for (query, message) in [
            ("", "the query parameter filename is missing"),
            ("filename=a&filename=b", "send filename once"),
            ("filename=a&ttl_days=1&ttl_days=1", "send ttl_days once"),
            ("filename=a&tags=[]&tags=[]", "send tags once"),
            ("filename=a&description=&description=", "send description once"),
            ("filename=a&ttl_days=0", TTL),
            ("filename=a&ttl_days=366", TTL),
            ("filename=a&ttl_days=-1", TTL),
            ("filename=a&ttl_days=%2B1", TTL),
            ("filename=a&ttl_days=", TTL),
            ("filename=a&ttl_days=99999999999", TTL),
            ("filename=a&ttl_days=1.5", TTL),
            ("filename=a&tags=x,y", TAGS),
            ("filename=a&tags={}", TAGS),
            ("filename=a&tags=[1]", TAGS),
            ("filename=a&tags=", TAGS),
            ("filename=a&tags=[%22%22]", TAG_LIMITS),
            ("filename=a&retention_policy=forever", "retention_policy must be \"temporary\" or \"permanent\""),
            (&long, "a description has at most 1000 characters"),
            ("filename=%ff", "the query is not percent-encoded UTF-8"),
            (
                "filename=a&retention=permanent",
                "unknown query parameter \"retention\"; known are filename, description, tags, retention_policy, ttl_days",
            ),
        ] {
            let refused = from_query(query).unwrap_err();
            assert_eq!((refused.code(), refused.detail()), (Code::ValidationError, message), "{query}");
        }
    }

    #[test]
    fn names_that_are_paths_or_hold_control_characters_are_refused() {
        let path = "a file name is no path: send its last part alone";
        for (name, message) in [
            ("../a", path),
            ("a/b", path),
            ("..", path),
            ("a\\b", path),
            ("a\0", "a file name has no control characters"),
            ("a\n", "a file name has no control characters"),
            ("", "a file name has 1 to 255 bytes"),
        ] {
            let refused = Fields::default().attributes(file(name), "me").unwrap_err();
            assert_eq!((refused.code(), refused.detail()), (Code::ValidationError, message), "{name:?}");
        }
    }

    #[test]
    fn days_to_live_of_a_permanent_file_are_refused_whichever_comes_first() {
        let message = "a permanent file does not expire: leave ttl_days out";
        let (_, fields) = from_query("filename=a&ttl_days=3&retention_policy=permanent").unwrap();
        assert_eq!(fields.attributes(file("a"), "me").unwrap_err().detail(), message);
        let mut fields = Fields::default();
        fields.set(FieldName::RetentionPolicy, "permanent").unwrap();
        assert_eq!(fields.set_late(FieldName::TtlDays, "3").unwrap_err().detail(), message);
    }

    #[test]
    fn a_policy_after_the_file_must_be_the_one_acted_upon() {
        let late = |early: Option<&str>, late: &str| {
            let mut fields = Fields::default();
            if let Some(early) = early {
                fields.set(FieldName::RetentionPolicy, early).unwrap();
            }
            fields.set_late(FieldName::RetentionPolicy, late).map_err(|refused| refused.detail().to_owned())
        };
        assert_eq!(late(None, "temporary"), Ok(()));
        assert_eq!(late(None, "permanent"), Err("send retention_policy before file".to_owned()));
        assert_eq!(late(Some("permanent"), "permanent"), Err("send retention_policy once".to_owned()));
        assert_eq!(late(None, "forever"), Err("retention_policy must be \"temporary\" or \"permanent\"".to_owned()));
    }

    #[test]
    fn late_attributes_are_those_that_came_after_the_file() {
        let mut fields = Fields::default();
        fields.set(FieldName::Tags, "[\"early\"]").unwrap();
        let before = fields.clone();
        fields.set_late(FieldName::Description, "late").unwrap();
        fields.set_late(FieldName::TtlDays, "7").unwrap();
        let late = fields.late(&before);
        assert_eq!(late, LateAttributes { description: Some("late".to_owned()), tags: None, ttl_days: Some(7) });
        let attributes = merged(before.attributes(file("a"), "me").unwrap(), &late);
        assert_eq!(attributes, fields.attributes(file("a"), "me").unwrap());
    }

    #[test]
    fn an_unknown_name_is_shown_short_and_escaped() {
        let refused = unknown("field", &format!("\n{}", "x".repeat(100)), "file");
        let expected = format!(
            "unknown field \"\\n{}\"; known are file, description, tags, retention_policy, ttl_days",
            "x".repeat(39)
        );
        assert_eq!(refused.detail(), expected);
    }
}
