//! Publishing: the digest is compared, the record made, the object committed, the outbox told.

use super::{Shared, TAKE_OVER_TIMEOUT, Uploads};
use crate::intake::{Intake, Limits};
use crate::metrics::UploadOutcome;
use crate::refusal::Refusal;
use crate::store::{Append, Change, SessionNotes, StoreError, Unreported};
use artstore_api::file::{
    Attributes, DEFAULT_TTL_DAYS, FileId, FileRecord, FileStatus, RetentionPolicy, check_description, check_tags,
    check_ttl,
};
use artstore_api::upload::{CompleteUpload, LateAttributes, OneShot};
use artstore_metrics::{Clock, Exemplar, UnixTime};
use axum::body::Body;
use std::sync::Arc;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

/// How a file came to be published.
#[derive(Debug)]
pub(crate) enum Published {
    /// By this request.
    Now(FileRecord),
    /// By an earlier one with the same bytes, whose answer may have been lost.
    Before(FileRecord),
}

impl<C: Clock> Uploads<C> {
    /// Verifies and publishes a session's file.
    pub(crate) async fn complete(
        &self,
        file_id: FileId,
        lease: &str,
        request: CompleteUpload,
    ) -> Result<Published, Refusal> {
        let Ok(session) = self.shared.session(file_id) else {
            return self.shared.published_before(file_id, Some(request.size), request.sha256.as_deref()).await;
        };
        self.renew(&session, lease)?;
        let this = self.clone();
        self.run(async move {
            let shared = &this.shared;
            let held = session.take_over(TAKE_OVER_TIMEOUT).await?;
            if held.offset() != request.size {
                return Err(Refusal::Conflict(format!("the durable offset is {}", held.offset())));
            }
            let mut attributes = session.notes().attributes.clone();
            apply(&mut attributes, request.late)?;
            let published = match shared.store.append(file_id).await {
                Ok(append) => match session.agree(append.offset(), shared.clock.wall()) {
                    Ok(()) => shared.publish(file_id, append, attributes, request.sha256.as_deref()).await,
                    Err(refusal) => Err(refusal),
                },
                Err(error) => Err(error.into()),
            };
            match published {
                Ok(record) => {
                    shared.sessions().remove(&file_id);
                    held.publish();
                    Ok(Published::Now(record))
                }
                Err(refusal) => {
                    if refusal.ends_upload() {
                        shared.remove(file_id, held, refusal.outcome()).await;
                    }
                    Err(refusal)
                }
            }
        })
        .await
    }

    /// Takes and publishes a file in one request.
    pub(crate) async fn one_shot(
        &self,
        file_id: FileId,
        request: OneShot,
        length: Option<u64>,
        body: Body,
    ) -> Result<Published, Refusal> {
        let this = self.clone();
        // In a task: a body that breaks off must end the upload and not the code that clears up after it.
        let taken = self.run(async move { this.take_one_shot(file_id, request, length, body).await }).await;
        if let Err((refusal, counted)) = taken.as_ref().map_err(|refusal| (refusal, refusal.outcome())) {
            tracing::debug!(%file_id, ?refusal, outcome = counted.label(), "an upload of one request was not published");
        }
        taken
    }

    async fn take_one_shot(
        &self,
        file_id: FileId,
        request: OneShot,
        length: Option<u64>,
        body: Body,
    ) -> Result<Published, Refusal> {
        let shared = &self.shared;
        let begin = async {
            shared.check(&request.attributes, length)?;
            let limit = shared.settings.max_one_shot_bytes.min(shared.settings.max_file_bytes);
            if length.is_some_and(|length| length > limit) {
                return Err(Refusal::TooLarge { limit });
            }
            let slot = Arc::clone(&shared.slots).try_acquire_owned().map_err(|_| Refusal::TooMany)?;
            Ok((slot, self.claim(file_id)?, shared.room.reserve(length)?, limit))
        };
        let (_slot, _claim, mut reservation, limit) = begin.await.inspect_err(|refusal: &Refusal| {
            shared.metrics.upload_refused(refusal.outcome());
        })?;
        let OneShot { attributes, sha256 } = request;
        let created_at = shared.clock.wall().as_secs();
        let notes = SessionNotes { attributes, size: length, created_at };
        let mut append = match shared.store.one_shot(file_id, &notes).await {
            Ok(append) => append,
            Err(StoreError::Taken) => {
                drop(reservation);
                let before = shared.same_bytes_before(file_id, body, limit, sha256.as_deref()).await;
                return before.inspect_err(|refusal| shared.metrics.upload_refused(refusal.outcome()));
            }
            Err(error) => {
                let refusal = Refusal::from(error);
                shared.metrics.upload_refused(refusal.outcome());
                return Err(refusal);
            }
        };
        let span = shared.metrics.upload_began();
        let limits = Limits { end: limit, read_timeout: shared.settings.read_timeout, checkpoint_bytes: u64::MAX };
        let interrupt = CancellationToken::new();
        let mut intake = Intake {
            append: &mut *append,
            reservation: &mut reservation,
            metrics: &shared.metrics,
            clock: &shared.clock,
            interrupt: &interrupt,
        };
        let published = match intake.take(body, limits, |_| {}).await {
            Ok(()) => shared.publish(file_id, append, notes.attributes, sha256.as_deref()).await,
            Err(refusal) => Err(refusal),
        };
        match published {
            Ok(record) => {
                reservation.publish();
                span.end(UploadOutcome::Published);
                Ok(Published::Now(record))
            }
            Err(refusal) => {
                span.end(refusal.outcome());
                Err(refusal)
            }
        }
    }
}

impl<C: Clock> Shared<C> {
    /// Compares the digest, makes the record, commits, tells the outbox.
    async fn publish(
        &self,
        file_id: FileId,
        mut append: Box<dyn Append>,
        attributes: Attributes,
        sha256: Option<&str>,
    ) -> Result<FileRecord, Refusal> {
        let began = self.clock.monotonic();
        let size = append.offset();
        let checksum = append.digest().await?;
        if sha256.is_some_and(|wanted| !wanted.eq_ignore_ascii_case(&checksum)) {
            return Err(Refusal::Mismatch { sha256: checksum });
        }
        let record = record(file_id, attributes, size, checksum, self.clock.wall());
        append.publish(&record).await?;
        let took = self.clock.monotonic().since(began);
        self.metrics.published(took, Exemplar::current(&self.clock));
        self.outbox.push(Unreported { file_id, change: Change::Published });
        Ok(record)
    }

    /// The file, if an earlier request published it with this size and digest.
    async fn published_before(
        &self,
        file_id: FileId,
        size: Option<u64>,
        sha256: Option<&str>,
    ) -> Result<Published, Refusal> {
        let record = self.store.record(file_id).await?;
        let same = size.is_none_or(|size| size == record.size)
            && sha256.is_none_or(|sha256| sha256.eq_ignore_ascii_case(&record.checksum));
        if same { Ok(Published::Before(record)) } else { Err(StoreError::Taken.into()) }
    }

    /// A repeated upload of one request: its body is compared, not stored.
    async fn same_bytes_before(
        &self,
        file_id: FileId,
        body: Body,
        limit: u64,
        sha256: Option<&str>,
    ) -> Result<Published, Refusal> {
        let taken = || Refusal::from(StoreError::Taken);
        if self.store.record(file_id).await.is_err() {
            return Err(taken());
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let read = tokio::time::timeout(self.settings.read_timeout, crate::hash::of_body(body, limit)).await;
        let (size, checksum) = read.map_err(|_| Refusal::Stalled(self.settings.read_timeout))?.ok_or_else(taken)?;
        if sha256.is_some_and(|wanted| !wanted.eq_ignore_ascii_case(&checksum)) {
            return Err(Refusal::Mismatch { sha256: checksum });
        }
        self.published_before(file_id, Some(size), Some(&checksum)).await
    }
}

/// Puts the late attributes over the early ones.
fn apply(attributes: &mut Attributes, late: LateAttributes) -> Result<(), Refusal> {
    let LateAttributes { description, tags, ttl_days } = late;
    check_description(description.as_deref())?;
    attributes.description = description.or_else(|| attributes.description.take());
    if let Some(tags) = tags {
        check_tags(&tags)?;
        attributes.tags = tags;
    }
    if ttl_days.is_some() {
        check_ttl(attributes.retention_policy, ttl_days)?;
        attributes.ttl_days = ttl_days;
    }
    Ok(())
}

/// The record of a file that is published now.
fn record(file_id: FileId, attributes: Attributes, size: u64, checksum: String, now: UnixTime) -> FileRecord {
    let Attributes { original_filename, content_type, description, tags, retention_policy, ttl_days, uploaded_by } =
        attributes;
    let ttl_days = match retention_policy {
        RetentionPolicy::Temporary => Some(ttl_days.unwrap_or(DEFAULT_TTL_DAYS)),
        RetentionPolicy::Permanent => None,
    };
    let millis = i128::try_from(now.as_duration().as_millis()).unwrap_or(i128::MAX);
    let uploaded_at = OffsetDateTime::from_unix_timestamp_nanos(millis.saturating_mul(1_000_000))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let expires_at = ttl_days.map(|days| uploaded_at.saturating_add(time::Duration::days(i64::from(days))));
    FileRecord {
        file_id,
        original_filename,
        content_type,
        size,
        checksum,
        uploaded_by,
        uploaded_at,
        description,
        tags,
        status: FileStatus::Active,
        retention_policy,
        ttl_days,
        expires_at,
    }
}
