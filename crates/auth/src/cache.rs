//! Where the token lies: one place for all, and each thread's own copy for as long as one tick of the clock.

use crate::AccessToken;
use crate::metrics::TokenCheck;
use crate::token::{Held, Moment};
use arc_swap::{ArcSwapOption, Guard};
use artstore_metrics::{Clock, Shard, Shards, UnixTime};
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use thread_local::ThreadLocal;

/// An answer is not repeated if another one is due within so long: a machine short of processors may miss ticks.
const ALWAYS_EXACT_WITHIN: Duration = Duration::from_secs(2);
/// The epoch of a copy that must not be used again. Real ones start above.
const NO_EPOCH: u64 = 0;

/// The cached token.
///
/// Both exact clocks decide whether it is usable. A thread that asked them may repeat the answer until the coarse wall clock
/// moves on, which it does hundreds of times a second, or the epoch does (`docs/decisions/0007-cached-tokens.md`).
pub(crate) struct Cache {
    /// Moves on with every change of the token. Read by every caller, so it shares its cache line with nothing that changes.
    epoch: Line<AtomicU64>,
    held: ArcSwapOption<Held>,
    slots: ThreadLocal<Line<Slot>>,
    hits: Shards<TokenCheck>,
    /// How many keepers run: without one, nothing would end a copy if the wall clock stood still.
    keepers: AtomicUsize,
}

/// Alone on its cache lines: 128 bytes, since processors fetch them in pairs.
#[repr(align(128))]
struct Line<T>(T);

/// What belongs to one thread. It outlives the thread; the next one with its number takes it over.
struct Slot {
    last: RefCell<Answer>,
    hits: Shard<TokenCheck>,
}

/// What the exact clocks said last.
struct Answer {
    epoch: u64,
    tick: UnixTime,
    check: TokenCheck,
    /// A copy of this thread's own, so that cloning it touches no memory of other threads.
    token: Option<AccessToken>,
}

/// What a caller found, when the exact clocks were asked.
pub(crate) enum Found<R, L> {
    /// A usable token; it was lent.
    Lent(TokenCheck, R),
    /// None, and here is the borrower back.
    Nothing(TokenCheck, L),
}

impl Cache {
    pub(crate) fn new(hits: Shards<TokenCheck>) -> Self {
        Self {
            epoch: Line(AtomicU64::new(NO_EPOCH + 1)),
            held: ArcSwapOption::empty(),
            slots: ThreadLocal::new(),
            hits,
            keepers: AtomicUsize::new(0),
        }
    }

    /// The token, usable or not.
    pub(crate) fn load(&self) -> Guard<Option<Arc<Held>>> {
        self.held.load()
    }

    /// Replaces the token.
    pub(crate) fn store(&self, held: Option<Held>) {
        self.held.store(held.map(Arc::new));
        self.end_copies();
    }

    /// From here on every thread asks the exact clocks before it uses its copy again.
    pub(crate) fn end_copies(&self) {
        self.epoch.0.fetch_add(1, Ordering::Release);
    }

    /// There is a keeper, which will end the copies when the token ends.
    pub(crate) fn keeper_came(&self) {
        self.keepers.fetch_add(1, Ordering::Relaxed);
    }

    /// A keeper is gone, with its runtime or by the service's end.
    pub(crate) fn keeper_left(&self) {
        self.keepers.fetch_sub(1, Ordering::Relaxed);
        self.end_copies();
    }

    /// Lends this thread's copy, and counts that, if the answer may be repeated.
    #[inline]
    pub(crate) fn repeat<C: Clock, R, L: FnOnce(&AccessToken) -> R>(&self, clock: &C, lend: L) -> Result<R, L> {
        let Some(Line(slot)) = self.slots.get() else { return Err(lend) };
        let Ok(last) = slot.last.try_borrow() else { return Err(lend) };
        if last.epoch != self.epoch.0.load(Ordering::Acquire) || last.tick != clock.coarse_wall() {
            return Err(lend);
        }
        let Some(token) = &last.token else { return Err(lend) };
        slot.hits.inc(last.check);
        Ok(lend(token))
    }

    /// Asks the exact clocks, lends the token if it is usable, and counts that; counting anything else is left to the caller.
    #[cold]
    #[inline(never)]
    pub(crate) fn look<C: Clock, R, L: FnOnce(&AccessToken) -> R>(&self, clock: &C, lend: L) -> Found<R, L> {
        let Line(slot) = self.slots.get_or(|| Line(Slot::new(self.hits.shard())));
        // Epoch and tick before the rest: if this thread is held up here, the answer is not repeated later.
        let (epoch, tick) = (self.epoch.0.load(Ordering::Acquire), clock.coarse_wall());
        let now = Moment::now(clock);
        let held = self.held.load();
        let Some(found) = &*held else {
            drop(held);
            slot.forget();
            return Found::Nothing(TokenCheck::Missing, lend);
        };
        let check = found.check(now);
        match check {
            TokenCheck::Valid | TokenCheck::ExpiringSoon => {}
            TokenCheck::Expired | TokenCheck::Missing => {
                slot.forget();
                return Found::Nothing(check, lend);
            }
        }
        slot.hits.inc(check);
        let kept = self.keepers.load(Ordering::Relaxed) > 0;
        let repeatable = kept && found.unchanged_for(check, now) > ALWAYS_EXACT_WITHIN;
        let token = slot.remember(&found.token, if repeatable { epoch } else { NO_EPOCH }, tick, check);
        drop(held);
        Found::Lent(check, lend(&token))
    }
}

impl Slot {
    fn new(hits: Shard<TokenCheck>) -> Self {
        let nothing = Answer { epoch: NO_EPOCH, tick: UnixTime::default(), check: TokenCheck::Missing, token: None };
        Self { last: RefCell::new(nothing), hits }
    }

    fn forget(&self) {
        if let Ok(mut last) = self.last.try_borrow_mut() {
            (last.epoch, last.token) = (NO_EPOCH, None);
        }
    }

    /// Keeps the answer and gives the copy to lend. If one is being lent right now, whose borrower asks again, it stays as it is.
    fn remember(&self, token: &AccessToken, epoch: u64, tick: UnixTime, check: TokenCheck) -> AccessToken {
        let Ok(mut last) = self.last.try_borrow_mut() else { return token.clone() };
        let own = last.token.take().filter(|own| own.generation() == token.generation());
        let own = own.unwrap_or_else(|| token.detached());
        *last = Answer { epoch, tick, check, token: Some(own.clone()) };
        own
    }
}
