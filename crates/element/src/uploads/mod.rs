//! Uploads: sessions that any Ingester can continue, uploads of one request, and how both are published.
//!
//! Whatever changes the store runs in a task of its own, so that a request whose connection breaks leaves no half-done step.

mod publish;
mod session;

pub(crate) use publish::Published;
use session::Session;

use crate::intake::{Intake, Limits};
use crate::metrics::{ElementMetrics, UploadOutcome};
use crate::outbox::Outbox;
use crate::refusal::Refusal;
use crate::room::Room;
use crate::settings::ElementSettings;
use crate::store::{BlobStore, SessionNotes, StoredSession};
use artstore_api::element::ElementMode;
use artstore_api::file::{Attributes, FileId};
use artstore_api::upload::{CreateUpload, UploadSession};
use artstore_metrics::{Clock, UnixTime};
use artstore_trace::Context;
use axum::body::Body;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

/// How long a newer request waits for the one that it takes over from.
const TAKE_OVER_TIMEOUT: Duration = Duration::from_secs(10);

/// All uploads of an element. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Uploads<C: Clock> {
    shared: Arc<Shared<C>>,
}

#[derive(Debug)]
struct Shared<C> {
    store: Arc<dyn BlobStore>,
    room: Arc<Room>,
    outbox: Outbox<C>,
    metrics: ElementMetrics,
    clock: C,
    settings: Arc<ElementSettings>,
    sessions: Mutex<HashMap<FileId, Arc<Session>>>,
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
    claims: Mutex<HashSet<FileId>>,
}

/// The only one that works on an identifier that is no session's.
#[derive(Debug)]
pub(crate) struct Claim<C: Clock> {
    uploads: Uploads<C>,
    file_id: FileId,
}

impl<C: Clock> Drop for Claim<C> {
    fn drop(&mut self) {
        self.uploads.shared.claims().remove(&self.file_id);
    }
}

/// What an element's parts share.
#[derive(Debug, Clone)]
pub(crate) struct Parts<C> {
    pub(crate) store: Arc<dyn BlobStore>,
    pub(crate) room: Arc<Room>,
    pub(crate) outbox: Outbox<C>,
    pub(crate) metrics: ElementMetrics,
    pub(crate) clock: C,
    pub(crate) settings: Arc<ElementSettings>,
}

impl<C: Clock> Uploads<C> {
    /// The uploads that a scan found, and those to come.
    pub(crate) fn new(parts: Parts<C>, stored: Vec<StoredSession>) -> Self {
        let Parts { store, room, outbox, metrics, clock, settings } = parts;
        let slots = Arc::new(Semaphore::new(settings.max_open_uploads.min(Semaphore::MAX_PERMITS)));
        let sessions = stored.into_iter().map(|stored| {
            let reservation = room.restore(stored.notes.size, stored.offset);
            // More uploads than may be open now were begun under another limit: they are kept.
            let slot = Arc::clone(&slots).try_acquire_owned().ok();
            let touched = UnixTime::from_secs(stored.touched_at);
            let session = Session::new(stored.notes, reservation, metrics.upload_began(), slot, touched);
            session.moved_to(stored.offset, touched);
            (stored.file_id, Arc::new(session))
        });
        let sessions = Mutex::new(sessions.collect());
        let tasks = TaskTracker::new();
        let claims = Mutex::default();
        let shared = Shared { store, room, outbox, metrics, clock, settings, sessions, slots, tasks, claims };
        Self { shared: Arc::new(shared) }
    }

    /// Opens a session, or says no before any byte moves.
    pub(crate) async fn create(&self, request: CreateUpload) -> Result<UploadSession, Refusal> {
        let created = self.try_create(request).await;
        if let Err(refusal) = &created {
            self.shared.metrics.upload_refused(refusal.outcome());
        }
        created
    }

    async fn try_create(&self, request: CreateUpload) -> Result<UploadSession, Refusal> {
        let shared = &self.shared;
        let CreateUpload { attributes, size } = request;
        shared.check(&attributes, size)?;
        let slot = Arc::clone(&shared.slots).try_acquire_owned().map_err(|_| Refusal::TooMany)?;
        let reservation = shared.room.reserve(size)?;
        let now = shared.clock.wall();
        let (file_id, notes) = (FileId::generate(), SessionNotes { attributes, size, created_at: now.as_secs() });
        let this = self.clone();
        self.run(async move {
            let shared = &this.shared;
            shared.store.create(file_id, &notes).await?;
            let session = Session::new(notes, reservation, shared.metrics.upload_began(), Some(slot), now);
            let lease = session.take_lease(shared.clock.monotonic(), shared.settings.lease)?;
            shared.sessions().insert(file_id, Arc::new(session));
            Ok(this.answer(file_id, 0, Some(lease)))
        })
        .await
    }

    /// Where a session stands. With its lease, a request that still writes is ended first.
    pub(crate) async fn status(&self, file_id: FileId, lease: Option<&str>) -> Result<UploadSession, Refusal> {
        let session = self.shared.session(file_id)?;
        if let Some(lease) = lease {
            self.renew(&session, lease)?;
            drop(session.take_over(TAKE_OVER_TIMEOUT).await?);
        }
        Ok(self.answer(file_id, session.offset(), None))
    }

    /// Takes a lease that nobody holds.
    pub(crate) async fn take_lease(&self, file_id: FileId) -> Result<UploadSession, Refusal> {
        let session = self.shared.session(file_id)?;
        let lease = session.take_lease(self.shared.clock.monotonic(), self.shared.settings.lease)?;
        drop(session.take_over(TAKE_OVER_TIMEOUT).await?);
        Ok(self.answer(file_id, session.offset(), Some(lease)))
    }

    /// Gives a lease back, so that another can take it at once.
    pub(crate) fn release_lease(&self, file_id: FileId, lease: &str) -> Result<(), Refusal> {
        let session = self.shared.session(file_id)?;
        self.renew(&session, lease)?;
        session.release_lease();
        Ok(())
    }

    /// Appends a body at an offset, and answers the new one.
    pub(crate) async fn append(
        &self,
        file_id: FileId,
        lease: &str,
        offset: u64,
        length: Option<u64>,
        body: Body,
    ) -> Result<u64, Refusal> {
        let session = self.shared.session(file_id)?;
        self.renew(&session, lease)?;
        let this = self.clone();
        self.run(async move {
            let mut held = session.take_over(TAKE_OVER_TIMEOUT).await?;
            if held.offset() != offset {
                return Err(Refusal::Conflict(format!("the durable offset is {}", held.offset())));
            }
            let taken = this.shared.append(file_id, &mut held, length, body).await;
            match taken {
                Ok(()) => Ok(held.offset()),
                Err(refusal) if refusal.ends_upload() => {
                    this.shared.remove(file_id, held, refusal.outcome()).await;
                    Err(refusal)
                }
                Err(refusal) => {
                    held.session().release_lease();
                    Err(refusal)
                }
            }
        })
        .await
    }

    /// Gives a session up.
    pub(crate) async fn abandon(&self, file_id: FileId, lease: &str) -> Result<(), Refusal> {
        let session = self.shared.session(file_id)?;
        self.renew(&session, lease)?;
        let this = self.clone();
        self.run(async move {
            let held = session.take_over(TAKE_OVER_TIMEOUT).await?;
            this.shared.remove(file_id, held, UploadOutcome::Abandoned).await;
            Ok(())
        })
        .await
    }

    /// Keeps others from this identifier, which is no session's, until the claim is dropped.
    pub(crate) fn claim(&self, file_id: FileId) -> Result<Claim<C>, Refusal> {
        if !self.shared.claims().insert(file_id) {
            return Err(Refusal::Conflict("another request is at work on this file".to_owned()));
        }
        Ok(Claim { uploads: self.clone(), file_id })
    }

    /// Removes the sessions that nobody has continued for too long, and answers how many.
    pub(crate) async fn sweep(&self) -> usize {
        let shared = &self.shared;
        let (now, ttl) = (shared.clock.wall(), shared.settings.session_ttl);
        let stale: Vec<_> = {
            let sessions = shared.sessions();
            let stale = sessions.iter().filter(|(_, session)| now.since(session.touched()) > ttl);
            stale.map(|(file_id, session)| (*file_id, Arc::clone(session))).collect()
        };
        let mut removed = 0;
        for (file_id, session) in stale {
            // Who writes is not stale.
            if let Some(held) = session.try_hold() {
                shared.remove(file_id, held, UploadOutcome::Expired).await;
                removed += 1;
            }
        }
        removed
    }

    /// Waits for what is under way, up to a limit.
    pub(crate) async fn settle(&self, limit: Duration) {
        self.shared.tasks.close();
        if tokio::time::timeout(limit, self.shared.tasks.wait()).await.is_err() {
            tracing::warn!("uploads were still under way when the element ended; they can be continued");
        }
    }

    /// Runs to the end what must not stop half-way when the request's connection breaks.
    async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<T, Refusal> {
        let span = Context::carry(tracing::Instrument::in_current_span(work));
        match self.shared.tasks.spawn(span).await {
            Ok(result) => result,
            Err(error) => Err(Refusal::Failed(std::io::Error::other(error).into())),
        }
    }

    fn renew(&self, session: &Session, lease: &str) -> Result<(), Refusal> {
        session.renew_lease(lease, self.shared.clock.monotonic(), self.shared.settings.lease)
    }

    fn answer(&self, file_id: FileId, offset: u64, lease: Option<String>) -> UploadSession {
        UploadSession { file_id, offset, lease, lease_seconds: self.shared.settings.lease.as_secs() }
    }
}

impl<C: Clock> Shared<C> {
    fn sessions(&self) -> std::sync::MutexGuard<'_, HashMap<FileId, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn claims(&self) -> std::sync::MutexGuard<'_, HashSet<FileId>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn session(&self, file_id: FileId) -> Result<Arc<Session>, Refusal> {
        self.sessions().get(&file_id).cloned().ok_or(Refusal::NotFound)
    }

    /// Whether this element takes such a file.
    fn check(&self, attributes: &Attributes, size: Option<u64>) -> Result<(), Refusal> {
        attributes.check()?;
        if ElementMode::of(attributes.retention_policy) != self.settings.mode {
            return Err(Refusal::Invalid(format!(
                "an element of mode {} does not hold {} files",
                self.settings.mode.as_str(),
                attributes.retention_policy.as_str(),
            )));
        }
        match size {
            Some(size) if size > self.settings.max_file_bytes => {
                Err(Refusal::TooLarge { limit: self.settings.max_file_bytes })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Takes a body into a session, and makes durable what came of it even if it breaks off.
    async fn append(
        &self,
        file_id: FileId,
        held: &mut session::Held,
        length: Option<u64>,
        body: Body,
    ) -> Result<(), Refusal> {
        let end = held.session().notes().size.unwrap_or(self.settings.max_file_bytes);
        if length.is_some_and(|length| length > end - held.offset().min(end)) {
            return Err(Refusal::TooLarge { limit: end });
        }
        let mut append = self.store.append(file_id).await?;
        held.session().agree(append.offset(), self.clock.wall())?;
        let (session, reservation, interrupt) = held.parts();
        let limits =
            Limits { end, read_timeout: self.settings.read_timeout, checkpoint_bytes: self.settings.checkpoint_bytes };
        let mut intake =
            Intake { append: &mut *append, reservation, metrics: &self.metrics, clock: &self.clock, interrupt };
        let progress = |durable: Option<u64>| {
            session.extend_lease(self.clock.monotonic(), self.settings.lease);
            if let Some(offset) = durable {
                session.moved_to(offset, self.clock.wall());
            }
        };
        let taken = intake.take(body, limits, progress).await;
        let keep = match &taken {
            Ok(()) => true,
            Err(refusal) => !refusal.ends_upload() && !matches!(refusal, Refusal::Failed(_)),
        };
        let kept = if keep { append.checkpoint(self.clock.wall()).await } else { Ok(()) };
        if keep && kept.is_ok() {
            session.moved_to(append.offset(), self.clock.wall());
        }
        reservation.rewind(session.offset());
        drop(append);
        taken?;
        Ok(kept?)
    }

    /// Removes a session and what it stored.
    async fn remove(&self, file_id: FileId, held: session::Held, outcome: UploadOutcome) {
        if let Err(error) = self.store.abandon(file_id).await {
            tracing::warn!(%file_id, %error, "an abandoned upload could not be removed; the next start sweeps it");
        }
        self.sessions().remove(&file_id);
        held.end(outcome);
    }
}

#[cfg(test)]
mod tests;
