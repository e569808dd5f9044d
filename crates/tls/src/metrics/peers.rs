//! How long the certificates that peers show are still valid: a histogram, and one log line for each that is about to expire.

use crate::certificate::CertificateInfo;
use artstore_metrics::{Histogram, UnixTime};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Below this many days a peer's certificate is worth a warning, unless it never had much longer.
const SOON_DAYS: f64 = 30.0;

/// Below this many days the warning is given once more.
const CRITICAL_DAYS: f64 = 7.0;

/// A certificate with more than this part of its time left is not near its end, however short that time is.
const NEAR_END: f64 = 1.0 / 3.0;

/// For how many certificates it is remembered that they were warned of; beyond that the oldest may be named again.
const REMEMBERED: usize = 1024;

/// What peers' certificates have left, in one direction.
#[derive(Debug)]
pub(crate) struct PeerExpiry {
    remaining: Histogram,
    warned: Mutex<VecDeque<([u8; 32], bool)>>,
}

impl PeerExpiry {
    pub(crate) fn new(remaining: Histogram) -> Self {
        Self { remaining, warned: Mutex::default() }
    }

    /// A peer showed this certificate.
    pub(crate) fn seen(&self, peer: &str, certificate: &CertificateInfo, now: UnixTime) {
        let days = certificate.days_left(now);
        self.remaining.observe((), certificate.not_after.since(now));
        let whole = certificate.days_left(certificate.not_before);
        if days >= SOON_DAYS || days > whole * NEAR_END {
            return;
        }
        if self.is_first_warning((certificate.sha256_fingerprint, days < CRITICAL_DAYS)) {
            let (subject, fingerprint) = (certificate.subject.as_str(), certificate.fingerprint());
            tracing::warn!(peer, subject, fingerprint, days_left = days, "a peer's certificate expires soon");
        }
    }

    fn is_first_warning(&self, warning: ([u8; 32], bool)) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.contains(&warning) {
            return false;
        }
        if warned.len() == REMEMBERED {
            warned.pop_front();
        }
        warned.push_back(warning);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use artstore_metrics::Registry;

    #[test]
    fn only_so_many_warnings_are_remembered() {
        let registry = Registry::new();
        let peers = PeerExpiry::new(registry.histogram(&super::super::PEER_CERTIFICATE_REMAINING));
        let warning = |number: usize| {
            let mut fingerprint = [0; 32];
            fingerprint[..8].copy_from_slice(&number.to_be_bytes());
            (fingerprint, false)
        };
        assert!((0..REMEMBERED).all(|number| peers.is_first_warning(warning(number))));
        assert!((0..REMEMBERED).all(|number| !peers.is_first_warning(warning(number))));
        // One more, and the first is forgotten.
        assert!(peers.is_first_warning(warning(REMEMBERED)));
        assert!(peers.is_first_warning(warning(0)));
        assert!(!peers.is_first_warning(warning(2)));
        assert_eq!(peers.warned.lock().unwrap().len(), REMEMBERED);
        // When it becomes critical it is told once more.
        assert!(peers.is_first_warning((warning(2).0, true)));
    }
}
