//! Bounded waiting for what another process does: the only place in which a test sleeps.

use artstore_metrics::{Clock, SystemClock};
use std::time::Duration;

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(10);

/// Asks `probe` until it answers, for at most `limit`.
///
/// # Panics
/// When the limit is reached; the message says what was waited for.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let clock = SystemClock::new();
    let began = clock.monotonic();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(clock.monotonic().since(began) < limit, "{what}: not within {limit:?}");
        std::thread::sleep(INTERVAL);
    }
}

/// Asks `probe` until it gives the same answer for all of `quiet`, for at most `limit`: the answer.
///
/// # Panics
/// When the limit is reached.
pub fn until_steady<T: PartialEq>(what: &str, quiet: Duration, limit: Duration, mut probe: impl FnMut() -> T) -> T {
    let clock = SystemClock::new();
    let (mut last, mut since) = (probe(), clock.monotonic());
    until(what, limit, || {
        let now = probe();
        if now != last {
            (last, since) = (now, clock.monotonic());
            return None;
        }
        (clock.monotonic().since(since) >= quiet).then_some(now)
    })
}

/// Lets `duration` pass: for the moment of a kill or of a stop, which is random on purpose.
pub fn random_moment(duration: Duration) {
    std::thread::sleep(duration);
}

/// Measures how long `work` takes.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let clock = SystemClock::new();
    let began = clock.monotonic();
    let result = work();
    (result, clock.monotonic().since(began))
}
