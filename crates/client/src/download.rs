//! Fetches one file, goes on where a broken connection stopped, and keeps it only if size and SHA-256 are those of its record.

use crate::backoff::Backoff;
use crate::digest::Digest;
use crate::error::Error;
use crate::name::safe_file_name;
use crate::part::PartFile;
use crate::range::ContentRange;
use crate::session::Session;
use crate::settings::{Event, Progress, no_progress};
use crate::wire::{Body, WireErrorKind};
use artstore_api::{FileId, FileRecord};
use http::{HeaderValue, Response, StatusCode, header};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

/// Where a download goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Into this folder, under the server's name if that is harmless, else under the file's identifier.
    Folder(PathBuf),
    /// To exactly this path.
    File(PathBuf),
}

/// What to do when the target exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overwrite {
    /// Leave it and fail.
    #[default]
    Refuse,
    /// Replace it, in one step, once the download is whole.
    Replace,
}

/// How to download.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DownloadOptions {
    /// What to do when the target exists.
    pub overwrite: Overwrite,
}

/// A finished download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloaded {
    /// What the server says of the file.
    pub record: FileRecord,
    /// Where it is; `None` when it went to a stream.
    pub path: Option<PathBuf>,
    /// Bytes that an earlier run had fetched already.
    pub resumed_from: u64,
    /// Requests for content that it took.
    pub attempts: u32,
}

/// Fetches files through a [`Session`].
#[derive(Clone)]
pub struct Downloader {
    session: Session,
    progress: Progress,
}

impl std::fmt::Debug for Downloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Downloader").field("session", &self.session).finish_non_exhaustive()
    }
}

/// Where the bytes go while they come.
enum Sink<'a> {
    Part(PartFile),
    Stream { writer: &'a mut (dyn AsyncWrite + Unpin + Send), written: u64, hasher: Sha256 },
}

/// How an answer for content continues the sink.
enum Answer {
    /// Its body begins where the sink ends.
    Continues(Response<Body>),
    /// Its body is the whole file: the sink must be emptied first.
    Whole(Response<Body>),
    /// The part that the sink holds is no part of the file of now.
    Stale,
}

impl Downloader {
    /// A downloader that tells nobody of its progress.
    #[must_use]
    pub fn new(session: Session) -> Self {
        Self { session, progress: no_progress() }
    }

    /// Tells `progress` what happens.
    #[must_use]
    pub fn with_progress(self, progress: Progress) -> Self {
        Self { progress, ..self }
    }

    /// Fetches a file to disk, by way of `NAME.part`, which a failure leaves for the next run unless its bytes are wrong.
    ///
    /// # Errors
    /// See [`Error`]; the target is then as it was before.
    pub async fn file(&self, id: FileId, target: &Target, options: DownloadOptions) -> Result<Downloaded, Error> {
        let record = self.session.record(id).await?;
        let path = match target {
            Target::File(path) => path.clone(),
            Target::Folder(folder) => folder.join(safe_file_name(&record.original_filename, id)),
        };
        let replace = options.overwrite == Overwrite::Replace;
        if !replace && tokio::fs::symlink_metadata(&path).await.is_ok() {
            return Err(Error::TargetExists(path));
        }
        let expected = self.expected(&record)?;
        let part = PartFile::open(part_path(&path, id), record.size).await?;
        let resumed_from = part.length();
        let mut sink = Sink::Part(part);
        let mut attempts = self.fetch(&record, &mut sink).await?;
        // The bytes of an earlier run may be those of another file: once more from the first byte before that is an error.
        if resumed_from > 0 && sink.digest() != expected {
            sink.restart().await?;
            attempts = attempts.saturating_add(self.fetch(&record, &mut sink).await?);
        }
        let Sink::Part(part) = sink else { return Err(self.unexpected(id, "a stream in place of a file")) };
        let found = part.digest();
        if found != expected {
            part.discard().await?;
            return Err(Error::Checksum { what: format!("file {id}"), expected, found });
        }
        part.publish(&path, replace).await?;
        Ok(Downloaded { record, path: Some(path), resumed_from, attempts })
    }

    /// Fetches a file to a stream. Bytes reach the stream before they are verified: an error means that they must not be used.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn stream(&self, id: FileId, writer: &mut (dyn AsyncWrite + Unpin + Send)) -> Result<Downloaded, Error> {
        let record = self.session.record(id).await?;
        let expected = self.expected(&record)?;
        let mut sink = Sink::Stream { writer, written: 0, hasher: Sha256::new() };
        let attempts = self.fetch(&record, &mut sink).await?;
        let found = sink.digest();
        if found != expected {
            return Err(Error::Checksum { what: format!("file {id}"), expected, found });
        }
        Ok(Downloaded { record, path: None, resumed_from: 0, attempts })
    }

    fn expected(&self, record: &FileRecord) -> Result<Digest, Error> {
        record.checksum.parse().map_err(|_| self.unexpected(record.file_id, "a record without a SHA-256"))
    }

    /// Fills the sink up to the record's size; how many requests it took.
    async fn fetch(&self, record: &FileRecord, sink: &mut Sink<'_>) -> Result<u32, Error> {
        let mut backoff = Backoff::new(self.session.limits().clone());
        let (mut attempts, mut etag) = (0_u32, None);
        while sink.length() < record.size {
            attempts = attempts.saturating_add(1);
            let before = sink.length();
            let Err(error) = self.attempt(record, sink, &mut etag).await else { continue };
            sink.flush().await?;
            if sink.length() > before {
                backoff.progress();
            }
            if !error.is_retryable() {
                return Err(error);
            }
            let Some(wait) = backoff.pause(error.retry_after()) else { return Err(error) };
            tracing::debug!(%error, ?wait, "download attempt failed, another follows");
            let attempt = attempts.saturating_add(1);
            (self.progress)(&Event::Retrying { attempt, wait, reason: error.to_string() });
            tokio::time::sleep(wait).await;
        }
        sink.flush().await?;
        Ok(attempts)
    }

    /// One request for what is missing.
    async fn attempt(
        &self,
        record: &FileRecord,
        sink: &mut Sink<'_>,
        etag: &mut Option<HeaderValue>,
    ) -> Result<(), Error> {
        let id = record.file_id;
        let path = format!("/api/v1/files/{id}/content");
        let from = sink.length();
        let response = self
            .session
            .get(&path, |builder| {
                let builder = builder.header(header::ACCEPT_ENCODING, "identity");
                match (from, &etag) {
                    (0, _) => builder,
                    (_, None) => builder.header(header::RANGE, format!("bytes={from}-")),
                    (_, Some(etag)) => {
                        builder.header(header::RANGE, format!("bytes={from}-")).header(header::IF_RANGE, etag)
                    }
                }
            })
            .await?;
        let body = match self.judge(record, from, etag, response).await? {
            Answer::Continues(response) => response.into_body(),
            Answer::Whole(response) => {
                sink.restart().await?;
                response.into_body()
            }
            Answer::Stale => {
                *etag = None;
                sink.restart().await?;
                return Err(self.session.wire_error(
                    &path,
                    WireErrorKind::Transport,
                    "the file has another part now".to_owned(),
                ));
            }
        };
        self.pour(&path, record, body, sink).await
    }

    /// What an answer means for a sink that holds `from` bytes.
    async fn judge(
        &self,
        record: &FileRecord,
        from: u64,
        etag: &mut Option<HeaderValue>,
        response: Response<Body>,
    ) -> Result<Answer, Error> {
        let id = record.file_id;
        // Only a strong tag promises equal bytes.
        let tag = response.headers().get(header::ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/")).cloned();
        match response.status() {
            StatusCode::OK => {
                let length = number(response.headers().get(header::CONTENT_LENGTH));
                if length.is_some_and(|length| length != record.size) {
                    return Err(self.unexpected(id, "content of another size than its record says"));
                }
                *etag = tag;
                Ok(if from == 0 { Answer::Continues(response) } else { Answer::Whole(response) })
            }
            StatusCode::PARTIAL_CONTENT if from > 0 => {
                if etag.is_some() && tag.is_some() && *etag != tag {
                    return Ok(Answer::Stale);
                }
                let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
                let range = range.and_then(ContentRange::parse);
                let fits = range.is_some_and(|range| {
                    range.first == from && range.last < record.size && range.total.is_none_or(|all| all == record.size)
                });
                if !fits {
                    return Err(self.unexpected(id, "another part of the file than was asked for"));
                }
                *etag = tag.or_else(|| etag.take());
                Ok(Answer::Continues(response))
            }
            StatusCode::RANGE_NOT_SATISFIABLE if from > 0 => Ok(Answer::Stale),
            _ => Err(self.session.refusal(self.session.url(&format!("/api/v1/files/{id}/content")), response).await),
        }
    }

    /// Moves a body into the sink.
    async fn pour(&self, path: &str, record: &FileRecord, mut body: Body, sink: &mut Sink<'_>) -> Result<(), Error> {
        while let Some(piece) = self.session.next_piece(path, &mut body).await? {
            if sink.length().saturating_add(piece.len() as u64) > record.size {
                sink.restart().await?;
                return Err(self.unexpected(record.file_id, "more bytes than its record says"));
            }
            sink.append(&piece).await?;
            (self.progress)(&Event::Moving { done: sink.length(), total: Some(record.size) });
        }
        if sink.length() < record.size {
            let detail = format!("the content ended at byte {} of {}", sink.length(), record.size);
            return Err(self.session.wire_error(path, WireErrorKind::Transport, detail));
        }
        Ok(())
    }

    fn unexpected(&self, id: FileId, what: &str) -> Error {
        let url = self.session.url(&format!("/api/v1/files/{id}"));
        Error::Unexpected { url, what: what.to_owned() }
    }
}

impl Sink<'_> {
    fn length(&self) -> u64 {
        match self {
            Self::Part(part) => part.length(),
            Self::Stream { written, .. } => *written,
        }
    }

    fn digest(&self) -> Digest {
        match self {
            Self::Part(part) => part.digest(),
            Self::Stream { hasher, .. } => Digest::finish(hasher.clone()),
        }
    }

    async fn append(&mut self, piece: &[u8]) -> Result<(), Error> {
        match self {
            Self::Part(part) => part.append(piece).await,
            Self::Stream { writer, written, hasher } => {
                writer.write_all(piece).await.map_err(|source| Error::Stream { action: "write the stream", source })?;
                hasher.update(piece);
                *written = written.saturating_add(piece.len() as u64);
                Ok(())
            }
        }
    }

    async fn restart(&mut self) -> Result<(), Error> {
        match self {
            Self::Part(part) => part.restart().await,
            Self::Stream { written: 0, .. } => Ok(()),
            Self::Stream { written, .. } => {
                let source = std::io::Error::other(format!("the file changed after {written} bytes were written"));
                Err(Error::Stream { action: "go on with the stream", source })
            }
        }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        match self {
            Self::Part(part) => part.flush().await,
            Self::Stream { writer, .. } => {
                writer.flush().await.map_err(|source| Error::Stream { action: "write the stream", source })
            }
        }
    }
}

fn number(value: Option<&HeaderValue>) -> Option<u64> {
    value?.to_str().ok()?.parse().ok()
}

/// `NAME.part` beside the target; under the identifier when the name would become too long.
fn part_path(target: &Path, id: FileId) -> PathBuf {
    let name = target.file_name().map(|name| name.to_os_string()).unwrap_or_default();
    if name.len() + ".part".len() > artstore_api::file::MAX_FILENAME_BYTES {
        return target.with_file_name(format!("{id}.part"));
    }
    let mut part = name;
    part.push(".part");
    target.with_file_name(part)
}
