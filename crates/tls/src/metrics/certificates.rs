//! What is recorded of certificates: verdicts, and the ends of those held, computed when scraped.

use super::{CERTIFICATE_EXPIRY, CERTIFICATE_NOT_AFTER, CERTIFICATE_NOT_BEFORE, CERTIFICATE_VALIDATION, Verdict};
use crate::certificate::{CertType, CertificateInfo, days_between};
use artstore_metrics::{Clock, Counter, Registry, UnixTime};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What each file holds, by file and role.
type Held = BTreeMap<(PathBuf, CertType), Vec<CertificateInfo>>;

/// The certificates that the module holds, and all verdicts on its side of the connections that it opens. Clones share it.
#[derive(Debug, Clone)]
pub struct CertificateMetrics {
    verdicts: Counter<Verdict>,
    held: Arc<Mutex<Held>>,
}

impl CertificateMetrics {
    /// Registers the families of certificates.
    #[must_use]
    pub fn new<C: Clock>(registry: &Registry, clock: C) -> Self {
        let metrics = Self { verdicts: registry.counter(&CERTIFICATE_VALIDATION), held: Arc::default() };
        let held = metrics.clone();
        registry.computed(&CERTIFICATE_EXPIRY, move |samples| {
            let now = clock.wall();
            for ((cert_type, subject), earliest) in held.earliest() {
                samples.float(&[cert_type.label(), &subject], days_between(now, earliest));
            }
        });
        let held = metrics.clone();
        registry.computed(&CERTIFICATE_NOT_AFTER, move |samples| {
            for ((cert_type, fingerprint), info) in held.each() {
                samples.integer(&[cert_type.label(), &info.subject, &fingerprint], info.not_after.as_secs());
            }
        });
        let held = metrics.clone();
        registry.computed(&CERTIFICATE_NOT_BEFORE, move |samples| {
            for ((cert_type, fingerprint), info) in held.each() {
                samples.integer(&[cert_type.label(), &info.subject, &fingerprint], info.not_before.as_secs());
            }
        });
        metrics
    }

    /// A verdict was reached.
    pub fn verdict(&self, verdict: Verdict) {
        self.verdicts.inc(verdict);
    }

    /// A file of this role holds these certificates now, in place of those it held before.
    pub fn holds(&self, file: &Path, cert_type: CertType, certificates: Vec<CertificateInfo>) {
        self.lock().insert((file.to_owned(), cert_type), certificates);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first end among those of each role and subject.
    fn earliest(&self) -> BTreeMap<(CertType, String), UnixTime> {
        let mut earliest: BTreeMap<(CertType, String), UnixTime> = BTreeMap::new();
        for ((cert_type, _), info) in self.each() {
            let entry = earliest.entry((cert_type, info.subject)).or_insert(info.not_after);
            *entry = info.not_after.min(*entry);
        }
        earliest
    }

    /// Each certificate once per role, however many files hold it.
    fn each(&self) -> BTreeMap<(CertType, String), CertificateInfo> {
        let held = self.lock();
        let all = held.iter().flat_map(|((_, cert_type), infos)| infos.iter().map(|info| (*cert_type, info)));
        all.map(|(cert_type, info)| ((cert_type, info.fingerprint()), info.clone())).collect()
    }
}
