//! A multipart form read part by part: fields that describe the file, the file as a stream, fields that follow it.

use crate::failure::Failure;
use crate::fields::{FieldName, Fields, NamedFile, unknown};
use crate::source::{ClientBody, SourceError};
use artstore_api::upload::LateAttributes;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use multer::{Field, Multipart};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

/// What a request without a file is told.
pub const FILE_MISSING: &str = "the field file is missing";

/// A form whose fields before the file are read.
#[derive(Debug)]
pub struct Form {
    parts: Parts,
    fields: Fields,
}

/// The form's file: what it is called, and its bytes, which end at the part's end.
#[derive(Debug)]
pub struct FormFile {
    /// What the client calls it.
    pub file: NamedFile,
    /// Its bytes.
    pub bytes: FileBytes,
}

impl Form {
    /// Reads the fields before the file. `limit` bounds each field and each part's headers.
    ///
    /// # Errors
    /// A body that is no form, a bad field, or no file at all.
    pub async fn open(content_type: &str, body: ClientBody, limit: usize) -> Result<(Self, FormFile), Failure> {
        let boundary = multer::parse_boundary(content_type)
            .map_err(|_| Failure::invalid("send multipart/form-data with a boundary"))?;
        let budget = Arc::new(Budget::default());
        let metered = Metered { body, budget: Arc::clone(&budget) };
        let mut parts = Parts { multipart: Multipart::new(metered, boundary), budget, limit };
        let mut fields = Fields::default();
        while let Some((name, part)) = parts.next().await? {
            match FieldName::find(&name) {
                Some(field) => fields.set(field, &parts.text(part).await?)?,
                None if name == "file" => {
                    let file = named(&part)?;
                    parts.budget.unlimited();
                    return Ok((Self { parts, fields }, FormFile { file, bytes: FileBytes(part) }));
                }
                None => return Err(unknown("field", &name, "file")),
            }
        }
        Err(Failure::invalid(FILE_MISSING))
    }

    /// The fields before the file.
    #[must_use]
    pub const fn fields(&self) -> &Fields {
        &self.fields
    }

    /// Reads the fields after the file, to the end of the body. The file's bytes must have been read to their end and dropped.
    ///
    /// # Errors
    /// A bad field, a second file, or a policy that differs from the one acted upon.
    pub async fn finish(mut self) -> Result<LateAttributes, Failure> {
        let mut fields = self.fields.clone();
        while let Some((name, part)) = self.parts.next().await? {
            match FieldName::find(&name) {
                Some(field) => fields.set_late(field, &self.parts.text(part).await?)?,
                None if name == "file" => return Err(Failure::invalid("send one file")),
                None => return Err(unknown("field", &name, "file")),
            }
        }
        Ok(fields.late(&self.fields))
    }
}

/// The bytes of the form's file.
#[derive(Debug)]
pub struct FileBytes(Field<'static>);

impl Stream for FileBytes {
    type Item = Result<Bytes, SourceError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.0).poll_next(cx).map(|piece| piece.map(|piece| piece.map_err(source_error)))
    }
}

#[derive(Debug)]
struct Parts {
    multipart: Multipart<'static>,
    budget: Arc<Budget>,
    limit: usize,
}

impl Parts {
    /// The next part and its name. What is left of the one before is not read into memory, but does count.
    async fn next(&mut self) -> Result<Option<(String, Field<'static>)>, Failure> {
        self.budget.allow(self.limit);
        let Some(part) = self.multipart.next_field().await.map_err(source_error)? else { return Ok(None) };
        match part.name() {
            Some(name) => Ok(Some((name.to_owned(), part))),
            None => Err(Failure::invalid("a part of the form has no name")),
        }
    }

    /// The text of a part.
    async fn text(&self, mut part: Field<'static>) -> Result<String, Failure> {
        self.budget.allow(self.limit);
        let mut text = Vec::new();
        while let Some(piece) = part.next().await {
            text.extend_from_slice(&piece.map_err(source_error)?);
        }
        String::from_utf8(text).map_err(|_| Failure::invalid("a field of the form is not UTF-8"))
    }
}

fn named(part: &Field<'static>) -> Result<NamedFile, Failure> {
    let name = part.file_name().ok_or_else(|| Failure::invalid("the field file has no filename"))?.to_owned();
    let content_type = part.headers().get(http::header::CONTENT_TYPE);
    let content_type = content_type.map(|value| value.to_str().map(str::to_owned));
    let content_type =
        content_type.transpose().map_err(|_| Failure::invalid("a content type has at most 255 ASCII characters"))?;
    Ok(NamedFile { name, content_type })
}

/// The cause of a `multer` error: ours if it came through the body, else what the client should know of its form.
fn source_error(error: multer::Error) -> SourceError {
    match error {
        multer::Error::StreamReadFailed(error) => match error.downcast::<SourceError>() {
            Ok(error) => *error,
            Err(error) => SourceError::Gone(error.to_string()),
        },
        multer::Error::IncompleteFieldData { .. } | multer::Error::IncompleteStream => {
            SourceError::Form("the form ends before its closing boundary".to_owned())
        }
        // What else there is, now or later, is about how a part is written.
        _ => SourceError::Form("the headers of a part of the form cannot be read".to_owned()),
    }
}

/// How many bytes may be read before the parser comes to the end of what it reads: its buffer has no limit of its own.
#[derive(Debug, Default)]
struct Budget(AtomicU64);

impl Budget {
    fn allow(&self, bytes: usize) {
        self.0.store(bytes as u64, Ordering::Relaxed);
    }

    fn unlimited(&self) {
        self.0.store(u64::MAX, Ordering::Relaxed);
    }
}

/// The body, as far as the budget goes.
#[derive(Debug)]
struct Metered {
    body: ClientBody,
    budget: Arc<Budget>,
}

impl Stream for Metered {
    type Item = Result<Bytes, SourceError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let left = self.budget.0.load(Ordering::Relaxed);
        if left == 0 {
            let message = "a field of the form or the headers of a part are too long";
            return Poll::Ready(Some(Err(SourceError::Form(message.to_owned()))));
        }
        let polled = Pin::new(&mut self.body).poll_next(cx);
        if let Poll::Ready(Some(Ok(piece))) = &polled
            && left != u64::MAX
        {
            // A last piece may go over it: a piece is bounded by the server's read buffer.
            self.budget.0.store(left.saturating_sub(piece.len() as u64), Ordering::Relaxed);
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Linger;
    use artstore_api::Code;
    use artstore_api::file::RetentionPolicy;
    use axum::body::Body;
    use std::time::Duration;

    const TYPE: &str = "multipart/form-data; boundary=B";
    const LIMIT: usize = 4096;

    fn body(text: &str, piece: usize) -> ClientBody {
        let pieces: Vec<_> =
            text.as_bytes().chunks(piece).map(|p| Ok::<_, std::io::Error>(Bytes::copy_from_slice(p))).collect();
        let linger = Linger { bytes: 0, timeout: Duration::ZERO };
        ClientBody::new(Body::from_stream(futures_util::stream::iter(pieces)), false, Duration::from_secs(30), linger)
    }

    fn part(name: &str, value: &str) -> String {
        format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    }

    fn file(name: &str, value: &str) -> String {
        format!(
            "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{value}\r\n"
        )
    }

    struct Read {
        fields: Fields,
        file: NamedFile,
        bytes: Vec<u8>,
        late: LateAttributes,
    }

    async fn read(text: &str, piece: usize) -> Result<Read, Failure> {
        let (form, mut file) = Form::open(TYPE, body(text, piece), LIMIT).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = file.bytes.next().await {
            bytes.extend_from_slice(&piece?);
        }
        let (fields, named) = (form.fields().clone(), file.file);
        drop(file.bytes);
        Ok(Read { fields, file: named, bytes, late: form.finish().await? })
    }

    #[tokio::test]
    async fn a_form_is_read_whatever_the_pieces() {
        let content = "line --B is no boundary\r\n--\r\n-\r\n".repeat(3);
        let text = [
            part("retention_policy", "permanent"),
            file("ü \\\"q\\\".txt", &content),
            part("description", "late"),
            part("tags", "[\"a\"]"),
            "--B--\r\n".to_owned(),
        ]
        .concat();
        for piece in [1, 2, 7, 100, 10_000] {
            let read = read(&text, piece).await.unwrap();
            assert_eq!(read.fields.policy(), RetentionPolicy::Permanent);
            assert_eq!(read.file.name, "ü \"q\".txt");
            assert_eq!(read.file.content_type.as_deref(), Some("text/plain; charset=utf-8"));
            assert_eq!(String::from_utf8(read.bytes).unwrap(), content);
            let late =
                LateAttributes { description: Some("late".into()), tags: Some(vec!["a".into()]), ttl_days: None };
            assert_eq!(read.late, late);
        }
    }

    #[tokio::test]
    async fn each_bad_form_is_refused_with_its_message() {
        let end = "--B--\r\n";
        let no_name = "--B\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B--\r\n";
        let bad_header = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\0\"\r\n\r\nx\r\n--B--\r\n";
        let long = "x".repeat(3 * LIMIT);
        let cases: Vec<(String, &str)> = vec![
            (end.to_owned(), "the field file is missing"),
            (part("description", "x") + end, "the field file is missing"),
            (file("a", "x") + &part("retention_policy", "permanent") + end, "send retention_policy before file"),
            (file("a", "x") + &file("b", "y") + end, "send one file"),
            (part("file", "x") + end, "the field file has no filename"),
            (no_name.to_owned(), "a part of the form has no name"),
            (bad_header.to_owned(), "the headers of a part of the form cannot be read"),
            (part("tags", "x") + &file("a", "x") + end, "tags must be a JSON array of strings, such as [\"a\", \"b\"]"),
            (part("ttl_days", "0") + &file("a", "x") + end, "ttl_days must be from 1 to 365"),
            (file("a", "x") + &part("ttl_days", "366") + end, "ttl_days must be from 1 to 365"),
            (
                part("retention", "x") + &file("a", "x") + end,
                "unknown field \"retention\"; known are file, description, tags, retention_policy, ttl_days",
            ),
            (
                file("a", "x") + &part("colour", "x") + end,
                "unknown field \"colour\"; known are file, description, tags, retention_policy, ttl_days",
            ),
            (file("a", "x"), "the form ends before its closing boundary"),
            (file("a", "x").trim_end().to_owned(), "the form ends before its closing boundary"),
            (String::new(), "the form ends before its closing boundary"),
            (long.clone(), "a field of the form or the headers of a part are too long"),
            (part("tags", &long), "a field of the form or the headers of a part are too long"),
            (format!("--B\r\nX: {long}"), "a field of the form or the headers of a part are too long"),
            (file("a", "x") + &part("description", &long), "a field of the form or the headers of a part are too long"),
        ];
        for (text, message) in cases {
            for piece in [5, 1000] {
                let refused = read(&text, piece).await.err().unwrap_or_else(|| panic!("{text} was read"));
                assert_eq!((refused.code(), refused.detail()), (Code::ValidationError, message), "{text}");
            }
        }
    }

    #[tokio::test]
    async fn a_content_type_that_is_no_form_is_refused() {
        for content_type in ["", "text/plain", "multipart/form-data", "multipart/mixed; boundary=B"] {
            let refused = Form::open(content_type, body("", 1), LIMIT).await.err().unwrap();
            assert_eq!(refused.detail(), "send multipart/form-data with a boundary", "{content_type}");
        }
    }

    #[tokio::test]
    async fn a_large_file_does_not_count_against_the_limit_of_fields() {
        let content = "y".repeat(10 * LIMIT);
        let read = read(&(file("a", &content) + "--B--\r\n"), 1000).await.unwrap();
        assert_eq!(read.bytes.len(), content.len());
    }
}
