//! Sends one file as one raw `PUT`, tells its SHA-256 beforehand, and starts again when the way broke.

use crate::backoff::Backoff;
use crate::body::{BodyPlan, Changed, Gatekeeper, Moved, Reader, body, reader, watch_stall};
use crate::digest::Digest;
use crate::error::Error;
use crate::session::Session;
use crate::settings::{Event, Progress, no_progress};
use crate::token::Bearer;
use crate::wire::{Body, WireErrorKind};
use artstore_api::{Code, FileRecord, RetentionPolicy};
use bytes::BytesMut;
use http::{Method, Request, Response, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt as _};

const PATH: &str = "/api/v1/files";

/// What is told of a file besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Upload {
    /// The name to store; for a file, its own if absent. A stream needs one.
    pub filename: Option<String>,
    /// The media type; guessed by nobody: `application/octet-stream` if absent.
    pub content_type: Option<String>,
    /// How long it is kept; the server's default is temporary.
    pub retention_policy: RetentionPolicy,
    /// Days until a temporary file expires; the server's default is 30.
    pub ttl_days: Option<u16>,
    /// Free text.
    pub description: Option<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// What is known of its SHA-256.
    pub digest: Known,
}

/// What is known of the SHA-256 before the first byte is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Known {
    /// Read the file once beforehand, so that the server verifies before it publishes. A stream cannot: it is hashed on the way.
    #[default]
    ReadFirst,
    /// This is it.
    Is(Digest),
    /// Nothing: hash on the way and compare with what the server says it stored.
    OnTheWay,
}

/// A finished upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// What the server stored.
    pub record: FileRecord,
    /// Attempts that it took.
    pub attempts: u32,
    /// Whether an earlier attempt broke after its last byte, without a clear answer: the server may hold that one as well.
    pub possible_duplicate: bool,
}

/// Sends files through a [`Session`].
#[derive(Clone)]
pub struct Uploader {
    session: Session,
    progress: Progress,
}

impl std::fmt::Debug for Uploader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uploader").field("session", &self.session).finish_non_exhaustive()
    }
}

/// One way to make the body of an attempt.
enum Source<'a> {
    File(&'a Path),
    Stream(Reader),
}

impl Source<'_> {
    /// Its name, for messages.
    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stream(_) => "the stream".to_owned(),
        }
    }
}

/// All that stays the same from attempt to attempt.
struct Plan {
    target: String,
    content_type: String,
    digest: Option<Digest>,
    size: Option<u64>,
}

impl Uploader {
    /// An uploader that tells nobody of its progress.
    #[must_use]
    pub fn new(session: Session) -> Self {
        Self { session, progress: no_progress() }
    }

    /// Tells `progress` what happens.
    #[must_use]
    pub fn with_progress(self, progress: Progress) -> Self {
        Self { progress, ..self }
    }

    /// Sends a file. A broken connection, and an answer that says "later", start it again from its first byte.
    ///
    /// # Errors
    /// See [`Error`]. Nothing is visible at the server then, except after [`Error::StoredDiffers`].
    pub async fn file(&self, path: &Path, upload: &Upload) -> Result<Uploaded, Error> {
        let size = file_size(path).await?;
        let own_name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let filename = upload.filename.clone().or(own_name).unwrap_or_default();
        check(&filename, upload)?;
        let digest = match upload.digest {
            Known::ReadFirst => Some(self.hash_file(path, size).await?),
            Known::Is(digest) => Some(digest),
            Known::OnTheWay => None,
        };
        let plan = plan(&filename, upload, digest, Some(size));
        self.run(&Source::File(path), &plan).await
    }

    /// Sends what a stream gives. Once a byte was taken from it a failure is final: a stream cannot start again.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn stream(
        &self,
        input: impl AsyncRead + Send + 'static,
        size: Option<u64>,
        upload: &Upload,
    ) -> Result<Uploaded, Error> {
        let filename = upload.filename.clone().unwrap_or_default();
        check(&filename, upload)?;
        let digest = match upload.digest {
            Known::Is(digest) => Some(digest),
            Known::ReadFirst | Known::OnTheWay => None,
        };
        let plan = plan(&filename, upload, digest, size);
        self.run(&Source::Stream(reader(input)), &plan).await
    }

    async fn hash_file(&self, path: &Path, total: u64) -> Result<Digest, Error> {
        let mut file = open(path).await?;
        let (mut hasher, mut done) = (Sha256::new(), 0_u64);
        let mut buffer = BytesMut::new();
        loop {
            buffer.clear();
            buffer.reserve(self.session.limits().chunk_bytes);
            let read = file.read_buf(&mut buffer).await.map_err(local("read", path))?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer);
            done = done.saturating_add(read as u64);
            if done > total {
                break;
            }
            (self.progress)(&Event::Hashing { done, total });
        }
        if done != total {
            return Err(Error::SourceChanged { path: path.to_owned(), expected: total, found: done });
        }
        Ok(Digest::finish(hasher))
    }

    async fn run(&self, source: &Source<'_>, plan: &Plan) -> Result<Uploaded, Error> {
        let mut backoff = Backoff::new(self.session.limits().clone());
        let (mut attempts, mut possible_duplicate, mut renewed) = (0_u32, false, false);
        loop {
            attempts = attempts.saturating_add(1);
            let bearer = match self.session.bearer().await {
                Ok(bearer) => bearer,
                Err(error) => {
                    self.pause(&mut backoff, error).await?;
                    continue;
                }
            };
            let Attempt { result, ended, bytes, restartable } = self.attempt(source, plan, &bearer).await?;
            let error = match result {
                Ok(record) => return Ok(Uploaded { record, attempts, possible_duplicate }),
                Err(error) => error,
            };
            possible_duplicate |= ended && error.leaves_outcome_open();
            let unauthorized = error.is_unauthorized();
            if unauthorized && renewed {
                self.session.rejected(&bearer);
                return Err(error);
            }
            if !unauthorized && !error.is_retryable() {
                return Err(error);
            }
            if !restartable {
                return Err(Error::CannotRestart { moved: bytes, source: Box::new(error) });
            }
            renewed = unauthorized;
            if unauthorized {
                self.session.invalidate(&bearer);
            } else {
                self.pause(&mut backoff, error).await?;
            }
        }
    }

    /// Waits before the next attempt, or gives the error back when it is final.
    async fn pause(&self, backoff: &mut Backoff, error: Error) -> Result<(), Error> {
        if !error.is_retryable() {
            return Err(error);
        }
        let Some(wait) = backoff.pause(error.retry_after()) else { return Err(error) };
        tracing::debug!(%error, ?wait, "upload attempt failed, another follows");
        (self.progress)(&Event::Retrying { attempt: backoff.next_attempt(), wait, reason: error.to_string() });
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// One attempt. The outer error is final: it is this side's.
    async fn attempt(&self, source: &Source<'_>, plan: &Plan, bearer: &Bearer) -> Result<Attempt, Error> {
        let reader = match source {
            Source::File(path) => reader(open(path).await?),
            Source::Stream(shared) => Arc::clone(shared),
        };
        let limits = self.session.limits();
        let body_plan = BodyPlan {
            chunk_bytes: limits.chunk_bytes,
            size: plan.size,
            continue_wait: limits.continue_wait,
            progress: Arc::clone(&self.progress),
        };
        let (content, gate, moved) = body(reader, body_plan);
        let request = self.request(plan, bearer, content, &gate)?;
        let answer = tokio::select! {
            answer = self.session.send_watched(PATH, request) => answer,
            stalled = watch_stall(&moved, limits.stall, limits.answer) => {
                Err(self.session.wire_error(PATH, WireErrorKind::Timeout, stalled))
            }
        };
        // Whatever the answer is, it is the last word: what was not sent stays here. The gate shuts when the answer is read.
        gate.hold();
        let result = match answer {
            Ok(response) => self.judge(plan, response, &moved).await,
            Err(error) => Err(error),
        };
        gate.shut();
        if let (Err(_), Some(failure)) = (&result, moved.take_failure()) {
            return Err(source_error(source, plan.size, failure));
        }
        if let (Err(error), Some(announced), Some(found)) = (&result, plan.digest, moved.digest())
            && announced != found
            && error.code() == Some(Code::ChecksumMismatch)
        {
            return Err(Error::NotAnnounced { what: source.name(), announced, found });
        }
        let restartable = match source {
            Source::File(_) => true,
            // The lock is free once the last attempt's body is gone or has seen the shut gate.
            Source::Stream(shared) => {
                tokio::time::timeout(limits.stall, shared.lock()).await.is_ok() && moved.bytes() == 0
            }
        };
        Ok(Attempt { result, ended: moved.ended(), bytes: moved.bytes(), restartable })
    }

    fn request(&self, plan: &Plan, bearer: &Bearer, content: Body, gate: &Gatekeeper) -> Result<Request<Body>, Error> {
        let mut builder = Request::builder()
            .method(Method::PUT)
            .uri(self.session.url(&plan.target))
            .header(header::AUTHORIZATION, bearer.authorization.clone())
            .header(header::ACCEPT, "application/json, application/problem+json")
            .header(header::CONTENT_TYPE, &plan.content_type)
            .header(header::EXPECT, "100-continue");
        if let Some(size) = plan.size {
            builder = builder.header(header::CONTENT_LENGTH, size);
        }
        if let Some(digest) = &plan.digest {
            builder = builder.header("repr-digest", digest.repr_digest());
        }
        let mut request = self.session.build(PATH, builder, content)?;
        let gate = gate.clone();
        hyper::ext::on_informational(&mut request, move |informational| {
            if informational.status() == StatusCode::CONTINUE {
                gate.open();
            }
        });
        Ok(request)
    }

    /// Reads the answer and compares what was stored with what was sent.
    async fn judge(&self, plan: &Plan, response: Response<Body>, moved: &Moved) -> Result<FileRecord, Error> {
        let url = self.session.url(PATH);
        if response.status() != StatusCode::CREATED {
            return Err(self.session.refusal(url, response).await);
        }
        let record: FileRecord = self.session.document(&url, response).await?;
        let Some(sent) = moved.digest() else {
            return Err(Error::Unexpected { url, what: "201 before the last byte was sent".to_owned() });
        };
        if record.checksum.parse() != Ok(sent) || record.size != moved.bytes() {
            return Err(Error::StoredDiffers { file_id: record.file_id, sent, stored: record.checksum });
        }
        match plan.digest {
            // The server has not verified what it was told to: the file is stored, under a digest of which the record speaks.
            Some(expected) if expected != sent => {
                Err(Error::Checksum { what: format!("file {}", record.file_id), expected, found: sent })
            }
            _ => Ok(record),
        }
    }
}

/// How one attempt ended.
struct Attempt {
    result: Result<FileRecord, Error>,
    /// Whether its last byte was sent.
    ended: bool,
    /// Bytes that it took from the source.
    bytes: u64,
    /// Whether another attempt can begin at the first byte.
    restartable: bool,
}

/// Checks what the server would refuse, before anything is read or sent.
fn check(filename: &str, upload: &Upload) -> Result<(), Error> {
    let attributes = artstore_api::file::Attributes {
        original_filename: filename.to_owned(),
        content_type: content_type(upload).to_owned(),
        description: upload.description.clone(),
        tags: upload.tags.clone(),
        retention_policy: upload.retention_policy,
        ttl_days: upload.ttl_days,
        uploaded_by: String::new(),
    };
    attributes.check().map_err(Error::Attribute)
}

fn content_type(upload: &Upload) -> &str {
    upload.content_type.as_deref().unwrap_or("application/octet-stream")
}

fn plan(filename: &str, upload: &Upload, digest: Option<Digest>, size: Option<u64>) -> Plan {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let mut target =
        format!("{PATH}?filename={}&retention_policy={}", encode(filename), upload.retention_policy.as_str());
    if let Some(days) = upload.ttl_days {
        target.push_str(&format!("&ttl_days={days}"));
    }
    if let Some(description) = &upload.description {
        target.push_str(&format!("&description={}", encode(description)));
    }
    if !upload.tags.is_empty() {
        let tags = serde_json::Value::from(upload.tags.clone()).to_string();
        target.push_str(&format!("&tags={}", encode(&tags)));
    }
    Plan { target, content_type: content_type(upload).to_owned(), digest, size }
}

async fn file_size(path: &Path) -> Result<u64, Error> {
    let metadata = tokio::fs::metadata(path).await.map_err(local("read", path))?;
    if metadata.is_dir() {
        let source = io::Error::new(io::ErrorKind::IsADirectory, "it is a directory");
        return Err(local("send", path)(source));
    }
    if !metadata.is_file() {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file: send it as a stream");
        return Err(local("send", path)(source));
    }
    Ok(metadata.len())
}

async fn open(path: &Path) -> Result<tokio::fs::File, Error> {
    tokio::fs::File::open(path).await.map_err(local("read", path))
}

fn local(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Local { action, path: path.to_owned(), source }
}

/// The failure of the source itself.
fn source_error(source: &Source<'_>, size: Option<u64>, failure: io::Error) -> Error {
    let changed = failure.get_ref().and_then(|inner| inner.downcast_ref::<Changed>()).map(|changed| changed.found);
    match (source, changed) {
        (Source::File(path), Some(found)) => {
            Error::SourceChanged { path: path.to_path_buf(), expected: size.unwrap_or_default(), found }
        }
        (Source::File(path), None) => local("read", path)(failure),
        (Source::Stream(_), _) => Error::Stream { action: "read the stream", source: failure },
    }
}
