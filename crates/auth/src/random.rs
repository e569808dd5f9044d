//! Jitter: a random share of a duration.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use std::time::Duration;

/// A duration between zero and `limit`, each equally likely. Without a working random source it is `limit`: late, never too eager.
pub(crate) fn up_to(limit: Duration) -> Duration {
    let mut bytes = [0_u8; 4];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => limit.mul_f64(f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX)),
        Err(_) => limit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_its_limit_and_varies() {
        let limit = Duration::from_secs(60);
        let drawn: Vec<Duration> = (0..200).map(|_| up_to(limit)).collect();
        assert!(drawn.iter().all(|duration| *duration <= limit));
        assert!(drawn.iter().any(|duration| *duration < Duration::from_secs(30)));
        assert!(drawn.iter().any(|duration| *duration > Duration::from_secs(30)));
        assert_eq!(up_to(Duration::ZERO), Duration::ZERO);
    }
}
