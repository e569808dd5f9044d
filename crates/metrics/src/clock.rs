//! The one source of time: a monotonic and a wall clock behind a trait, so that tests own both.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// Wall and monotonic time, passed in as a type parameter: no dynamic call on the hot path.
pub trait Clock: Clone + std::fmt::Debug + Send + Sync + 'static {
    /// Time that never goes backwards, for durations and deadlines.
    fn monotonic(&self) -> Monotonic;

    /// Time of day, for `exp`, `notAfter` and what people read.
    fn wall(&self) -> UnixTime;

    /// Time of day as of the system's last tick, one to ten milliseconds ago unless the machine is short of processors:
    /// cheaper to read, and the same until the next tick.
    fn coarse_wall(&self) -> UnixTime {
        self.wall()
    }
}

/// A moment on the monotonic clock: the time since the clock's origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Monotonic(Duration);

impl Monotonic {
    /// The moment `since_origin` after the clock's origin.
    #[must_use]
    pub const fn from_origin(since_origin: Duration) -> Self {
        Self(since_origin)
    }

    /// How much later this moment is than `earlier`; zero if it is not.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// This moment, later by `duration`; the far end of time if that cannot be expressed.
    #[must_use]
    pub const fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

/// A moment of wall time: the time since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct UnixTime(Duration);

impl UnixTime {
    /// The moment so many whole seconds after the epoch.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// The moment `since_epoch` after the epoch.
    #[must_use]
    pub const fn from_duration(since_epoch: Duration) -> Self {
        Self(since_epoch)
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0.as_secs()
    }

    /// Seconds since the epoch, with their fraction.
    #[must_use]
    pub const fn as_secs_f64(self) -> f64 {
        self.0.as_secs_f64()
    }

    /// The time since the epoch.
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        self.0
    }

    /// How much later this moment is than `earlier`; zero if it is not.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// This moment, later by `duration`; the far end of time if that cannot be expressed.
    #[must_use]
    pub const fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// This moment, earlier by `duration`; the epoch if that lies before it.
    #[must_use]
    pub const fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration))
    }
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    origin: Duration,
}

impl SystemClock {
    /// The machine's clocks; the monotonic one counts from now.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: since_boot() }
    }
}

/// The clock that `Instant` reads, without what it does for other systems: half of the instructions.
fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // It is never negative.
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Monotonic {
        Monotonic(since_boot().saturating_sub(self.origin))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else takes")]
    fn wall(&self) -> UnixTime {
        UnixTime(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default())
    }

    /// The kernel's time of the last tick. Unlike the coarse monotonic clock it has moved on after a suspend.
    #[cfg(target_os = "linux")]
    #[inline]
    fn coarse_wall(&self) -> UnixTime {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        // Before 1970 it is the epoch, as `wall` has it.
        let (secs, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
        UnixTime(Duration::new(secs.unwrap_or_default(), nanos.unwrap_or_default()))
    }
}

/// Time under a test's control: both clocks follow tokio's (paused) time, and the wall clock can be set apart from it.
///
/// Clones share the wall clock's offset. The coarse clock moves in steps of four milliseconds. As on a real machine, the ticks
/// after a step are not those from before it to the nanosecond, even if the clock is set to a time that it had already.
#[derive(Debug, Clone)]
pub struct TestClock {
    origin: tokio::time::Instant,
    start: UnixTime,
    wall_offset_ms: Arc<AtomicI64>,
    steps: Arc<AtomicU64>,
}

impl TestClock {
    /// A clock whose wall time is `start` now and whose monotonic time is zero now.
    #[must_use]
    pub fn starting_at(start: UnixTime) -> Self {
        Self { origin: tokio::time::Instant::now(), start, wall_offset_ms: Arc::default(), steps: Arc::default() }
    }

    /// Steps the wall clock, alone, by this many milliseconds; negative is backwards.
    pub fn step_wall_ms(&self, by: i64) {
        self.wall_offset_ms.fetch_add(by, Ordering::Relaxed);
        self.steps.fetch_add(1, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn monotonic(&self) -> Monotonic {
        Monotonic(self.origin.elapsed())
    }

    fn wall(&self) -> UnixTime {
        let offset = self.wall_offset_ms.load(Ordering::Relaxed);
        let magnitude = Duration::from_millis(offset.unsigned_abs());
        let steady = self.start.plus(self.origin.elapsed());
        if offset < 0 { steady.minus(magnitude) } else { steady.plus(magnitude) }
    }

    fn coarse_wall(&self) -> UnixTime {
        let wall = self.wall();
        let since_tick = wall.as_duration().as_nanos() % 4_000_000;
        let since_tick = u64::try_from(since_tick).unwrap_or_default() + self.steps.load(Ordering::Relaxed);
        wall.minus(Duration::from_nanos(since_tick))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_saturate_at_zero() {
        let (early, late) = (Monotonic::from_origin(Duration::from_secs(1)), Monotonic::default().plus(Duration::MAX));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(UnixTime::from_secs(5).since(UnixTime::from_secs(9)), Duration::ZERO);
        assert_eq!(UnixTime::from_secs(9).since(UnixTime::from_secs(5)), Duration::from_secs(4));
        assert_eq!(UnixTime::from_secs(5).minus(Duration::from_secs(9)), UnixTime::default());
        assert_eq!(UnixTime::from_secs(5).plus(Duration::MAX).as_duration(), Duration::MAX);
        assert_eq!(UnixTime::from_duration(Duration::from_millis(1500)).as_secs_f64(), 1.5);
        assert_eq!(UnixTime::from_duration(Duration::from_millis(1500)).as_secs(), 1);
    }

    #[test]
    fn system_clock_is_past_2026_and_does_not_go_back() {
        let clock = SystemClock::default();
        let first = clock.monotonic();
        assert!(clock.wall() > UnixTime::from_secs(1_767_225_600));
        assert!(clock.monotonic() >= first);
    }

    #[test]
    fn the_coarse_clock_follows_the_wall_clock_and_is_never_early() {
        let clock = SystemClock::new();
        let first = clock.coarse_wall();
        while clock.coarse_wall() == first {
            assert!(clock.coarse_wall() <= clock.wall());
        }
        // A tick is a few milliseconds; a minute would be another clock.
        assert!(clock.wall().since(first) < Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn test_clock_follows_paused_time_and_wall_steps_apart() {
        let clock = TestClock::starting_at(UnixTime::from_secs(1_000));
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(clock.monotonic(), Monotonic::from_origin(Duration::from_secs(7)));
        assert_eq!(clock.wall(), UnixTime::from_secs(1_007));
        clock.clone().step_wall_ms(-2_000);
        assert_eq!(clock.wall(), UnixTime::from_secs(1_005));
        clock.step_wall_ms(5_000);
        assert_eq!(clock.wall(), UnixTime::from_secs(1_010));
        clock.step_wall_ms(-1);
        // The tick of 1009.996 s, three steps of the clock later.
        assert_eq!(clock.coarse_wall(), UnixTime::from_duration(Duration::from_nanos(1_009_995_999_997)));
        assert_eq!(clock.monotonic(), Monotonic::from_origin(Duration::from_secs(7)));
    }
}
