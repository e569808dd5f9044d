//! How often and after which pause a failed attempt is repeated: bounded, doubling, jittered, and never longer than asked.

use crate::settings::Limits;
use std::time::Duration;

/// Counts failures in a row and says how long to wait.
#[derive(Debug)]
pub(crate) struct Backoff {
    limits: Limits,
    failures: u32,
}

impl Backoff {
    pub(crate) const fn new(limits: Limits) -> Self {
        Self { limits, failures: 0 }
    }

    /// Something moved: the failures before it no longer count.
    pub(crate) const fn progress(&mut self) {
        self.failures = 0;
    }

    /// The number of the attempt that a pause would lead to.
    pub(crate) const fn next_attempt(&self) -> u32 {
        self.failures.saturating_add(1)
    }

    /// Counts a failure; the pause before the next attempt, or `None` when it is time to give up.
    pub(crate) fn pause(&mut self, retry_after: Option<Duration>) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.limits.attempts || retry_after.is_some_and(|asked| asked > self.limits.retry_after_max)
        {
            return None;
        }
        let doubled = self.limits.backoff_first.saturating_mul(1 << (self.failures - 1).min(16));
        let full = doubled.min(self.limits.backoff_max);
        // Between half and all of the pause, so that many clients do not come back at the same moment.
        let jittered = full / 2 + full.mul_f64(random_share() / 2.0);
        Some(retry_after.map_or(jittered, |asked| asked.max(jittered)))
    }
}

/// A number from 0 to just below 1, of no cryptographic use.
fn random_share() -> f64 {
    let [byte, ..] = uuid::Uuid::new_v4().into_bytes();
    f64::from(byte) / 256.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            attempts: 5,
            backoff_first: Duration::from_secs(1),
            backoff_max: Duration::from_secs(4),
            ..Limits::default()
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_end() {
        let mut backoff = Backoff::new(limits());
        for full in [1, 2, 4, 4].map(Duration::from_secs) {
            let pause = backoff.pause(None).unwrap();
            assert!(pause >= full / 2 && pause <= full, "{pause:?} of {full:?}");
        }
        assert_eq!(backoff.pause(None), None);
    }

    #[test]
    fn progress_starts_the_count_again() {
        let mut backoff = Backoff::new(Limits { attempts: 2, ..limits() });
        for _ in 0..9 {
            assert!(backoff.pause(None).is_some());
            backoff.progress();
        }
        assert!(backoff.pause(None).is_some());
        assert_eq!(backoff.next_attempt(), 2);
        assert_eq!(backoff.pause(None), None);
    }

    #[test]
    fn the_server_may_ask_for_more_but_not_for_too_much() {
        let asked = Duration::from_secs(30);
        assert_eq!(Backoff::new(limits()).pause(Some(asked)), Some(asked));
        assert_eq!(Backoff::new(limits()).pause(Some(Duration::from_secs(61))), None);
    }
}
