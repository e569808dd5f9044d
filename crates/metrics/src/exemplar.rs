//! Exemplars: for each bucket of a histogram the last sampled trace that was observed in it.

use crate::{Clock, UnixTime};
use artstore_trace::{Context, TraceId};
use std::sync::{Mutex, OnceLock, PoisonError, TryLockError};

/// The trace that an observation belongs to, and when it was made. Only a sampled trace has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exemplar {
    trace_id: TraceId,
    at: UnixTime,
}

impl Exemplar {
    /// Of an observation made now for this span, if its trace is sampled.
    #[must_use]
    pub fn of<C: Clock>(context: &Context, clock: &C) -> Option<Self> {
        context.sampled().then(|| Self { trace_id: context.trace_id(), at: clock.wall() })
    }

    /// Of an observation made now by the running task, if it belongs to a sampled trace.
    #[must_use]
    pub fn current<C: Clock>(clock: &C) -> Option<Self> {
        Context::current_sampled().map(|trace_id| Self { trace_id, at: clock.wall() })
    }
}

/// An exemplar with its observation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Observed {
    pub(crate) trace_id: TraceId,
    pub(crate) value: f64,
    pub(crate) at: UnixTime,
}

/// One place for each bucket, made when the first exemplar comes.
#[derive(Debug, Default)]
pub(crate) struct Exemplars(OnceLock<Box<[Mutex<Option<Observed>>]>>);

impl Exemplars {
    /// Keeps it in place of the bucket's last one; if another thread is at it, that one's stays.
    pub(crate) fn keep(&self, exemplar: Exemplar, value: f64, bucket: usize, buckets: usize) {
        let Exemplar { trace_id, at } = exemplar;
        let places = self.0.get_or_init(|| (0..buckets).map(|_| Mutex::default()).collect());
        match places[bucket].try_lock() {
            Ok(mut place) => *place = Some(Observed { trace_id, value, at }),
            Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => {}
        }
    }

    /// The bucket's last one.
    pub(crate) fn get(&self, bucket: usize) -> Option<Observed> {
        *self.0.get()?[bucket].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
