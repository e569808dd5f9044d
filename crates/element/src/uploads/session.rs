//! One session: its notes, lease and durable offset, and the exclusive hold of the request that writes.

use crate::lease::{Held as HeldLease, Lease};
use crate::metrics::{UploadOutcome, UploadSpan};
use crate::refusal::Refusal;
use crate::room::Reservation;
use crate::store::SessionNotes;
use artstore_metrics::{Monotonic, UnixTime};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    notes: SessionNotes,
    state: Mutex<State>,
    /// What only the request that writes touches.
    writing: Arc<AsyncMutex<Writing>>,
}

#[derive(Debug)]
struct State {
    lease: Lease,
    /// The durable offset.
    offset: u64,
    touched: UnixTime,
    /// Ends the request that writes now.
    interrupt: CancellationToken,
}

#[derive(Debug)]
struct Writing {
    reservation: Reservation,
    /// Until the session ends.
    span: Option<UploadSpan>,
    slot: Option<OwnedSemaphorePermit>,
}

impl Session {
    pub(super) fn new(
        notes: SessionNotes,
        reservation: Reservation,
        span: UploadSpan,
        slot: Option<OwnedSemaphorePermit>,
        touched: UnixTime,
    ) -> Self {
        let interrupt = CancellationToken::new();
        let state = Mutex::new(State { lease: Lease::default(), offset: 0, touched, interrupt });
        let writing = Arc::new(AsyncMutex::new(Writing { reservation, span: Some(span), slot }));
        Self { notes, state, writing }
    }

    pub(super) const fn notes(&self) -> &SessionNotes {
        &self.notes
    }

    /// The durable offset.
    pub(super) fn offset(&self) -> u64 {
        self.state().offset
    }

    /// When the session was last continued.
    pub(super) fn touched(&self) -> UnixTime {
        self.state().touched
    }

    /// Everything up to here is durable.
    pub(super) fn moved_to(&self, offset: u64, now: UnixTime) {
        let mut state = self.state();
        (state.offset, state.touched) = (offset, now);
    }

    /// The store's durable offset is the true one: a checkpoint may have failed after it was written.
    pub(super) fn agree(&self, offset: u64, now: UnixTime) -> Result<(), Refusal> {
        if offset == self.offset() {
            return Ok(());
        }
        self.moved_to(offset, now);
        Err(Refusal::Conflict(format!("the durable offset is {offset}")))
    }

    pub(super) fn take_lease(&self, now: Monotonic, duration: Duration) -> Result<String, Refusal> {
        self.state().lease.take(now, duration).map_err(|HeldLease { remaining }| {
            Refusal::Conflict(format!("the lease is held; it expires in {} s", remaining.as_secs_f64().ceil()))
        })
    }

    pub(super) fn renew_lease(&self, lease: &str, now: Monotonic, duration: Duration) -> Result<(), Refusal> {
        if self.state().lease.renew(lease, now, duration) {
            return Ok(());
        }
        Err(Refusal::Conflict("the lease is not yours: take it with POST …/lease".to_owned()))
    }

    pub(super) fn extend_lease(&self, now: Monotonic, duration: Duration) {
        self.state().lease.extend(now, duration);
    }

    pub(super) fn release_lease(&self) {
        self.state().lease.release();
    }

    /// Ends the request that writes, and waits until it has made durable what it received.
    pub(super) async fn take_over(self: &Arc<Self>, limit: Duration) -> Result<Held, Refusal> {
        let busy = || Refusal::Conflict("an earlier request is still at work on this upload".to_owned());
        self.state().interrupt.cancel();
        let writing = Arc::clone(&self.writing).lock_owned();
        let writing = tokio::time::timeout(limit, writing).await.map_err(|_| busy())?;
        self.hold(writing).ok_or(Refusal::NotFound)
    }

    /// Holds the session if nobody does.
    pub(super) fn try_hold(self: &Arc<Self>) -> Option<Held> {
        let writing = Arc::clone(&self.writing).try_lock_owned().ok()?;
        self.hold(writing)
    }

    fn hold(self: &Arc<Self>, writing: OwnedMutexGuard<Writing>) -> Option<Held> {
        let interrupt = CancellationToken::new();
        self.state().interrupt = interrupt.clone();
        writing.span.is_some().then(|| Held { session: Arc::clone(self), writing, interrupt })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The exclusive hold of a session; given back when dropped.
#[derive(Debug)]
pub(super) struct Held {
    session: Arc<Session>,
    writing: OwnedMutexGuard<Writing>,
    interrupt: CancellationToken,
}

impl Held {
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    pub(super) fn offset(&self) -> u64 {
        self.session.offset()
    }

    /// What an intake needs.
    pub(super) fn parts(&mut self) -> (&Session, &mut Reservation, &CancellationToken) {
        (&self.session, &mut self.writing.reservation, &self.interrupt)
    }

    /// The session has ended: its room is free again.
    pub(super) fn end(mut self, outcome: UploadOutcome) {
        self.writing.reservation.give_back();
        self.finish(outcome);
    }

    /// The session's file was published: its room stays taken.
    pub(super) fn publish(mut self) {
        self.writing.reservation.publish();
        self.finish(UploadOutcome::Published);
    }

    fn finish(&mut self, outcome: UploadOutcome) {
        if let Some(span) = self.writing.span.take() {
            span.end(outcome);
        }
        self.writing.slot = None;
    }
}
