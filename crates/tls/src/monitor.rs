//! Watches the certificates that a module holds: verdicts, days left, and log lines that grow louder as the end comes near.

use crate::certificate::{CertType, CertificateInfo};
use crate::identity::{IdentityFiles, SetupError, infos, read_certificates};
use crate::metrics::{CertificateMetrics, Verdict};
use crate::problem::{Problem, Urgency, problems};
use crate::reload::Reloads;
use artstore_metrics::{Clock, SystemClock, UnixTime};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the files are checked, unless told otherwise.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(3600);

/// A PEM file with certificates, and what they are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedFile {
    /// The file.
    pub path: PathBuf,
    /// What its certificates are for.
    pub cert_type: CertType,
    /// The file of the first certificate's private key, to see whether they belong together.
    pub key: Option<PathBuf>,
}

impl WatchedFile {
    /// A trust bundle.
    #[must_use]
    pub const fn bundle(path: PathBuf) -> Self {
        Self { path, cert_type: CertType::Ca, key: None }
    }

    /// A certificate with its intermediates, and its key.
    #[must_use]
    pub fn identity(files: &IdentityFiles, cert_type: CertType) -> Self {
        Self { path: files.cert.clone(), cert_type, key: Some(files.key.clone()) }
    }
}

/// Reads the files at every check, so that a renewed certificate's series takes the place of the old one's.
#[derive(Debug, Clone)]
pub struct CertificateMonitor<C: Clock = SystemClock> {
    files: Vec<WatchedFile>,
    metrics: CertificateMetrics,
    interval: Duration,
    /// Told of changes by who also shows what is held.
    reloads: Option<Reloads>,
    /// Fine certificates that have been logged: role and fingerprint.
    told: Arc<Mutex<BTreeSet<(CertType, String)>>>,
    clock: C,
}

impl<C: Clock> CertificateMonitor<C> {
    /// A monitor of these files.
    #[must_use]
    pub fn new(files: Vec<WatchedFile>, metrics: CertificateMetrics, clock: C) -> Self {
        Self { files, metrics, interval: CHECK_INTERVAL, reloads: None, told: Arc::default(), clock }
    }

    /// The same with this interval in place of an hour.
    #[must_use]
    pub const fn every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// The same beside a [`Reloader`](crate::Reloader) of the same files: it also checks when that has taken files in use, and
    /// leaves the series to it, which are then of what is in use, whatever lies on disk.
    #[must_use]
    pub fn beside(mut self, reloads: Reloads) -> Self {
        self.reloads = Some(reloads);
        self
    }

    /// Reads all files, counts a verdict for each certificate, sets their series and logs: an ERROR for what is expired or
    /// cannot serve its purpose, a WARN from 30 days before the end on, an INFO for what is fine and was not logged before.
    ///
    /// A file that cannot be read is one `invalid` verdict and an ERROR; the series of what it held before stay.
    pub fn check(&self) {
        let now = self.clock.wall();
        let mut fine = BTreeSet::new();
        for file in &self.files {
            let read = read_certificates(&file.path).and_then(|certificates| infos(&file.path, &certificates));
            match read {
                Ok(certificates) => {
                    let mismatch = key_mismatch(file);
                    for (place, certificate) in certificates.iter().enumerate() {
                        let mut problems = problems(certificate, file.cert_type, place == 0);
                        problems.extend((mismatch && place == 0).then_some(Problem::KeyMismatch));
                        if self.judge(file, certificate, &problems, now) {
                            fine.insert((file.cert_type, certificate.fingerprint()));
                        }
                    }
                    if self.reloads.is_none() {
                        self.metrics.holds(&file.path, file.cert_type, certificates);
                    }
                }
                Err(error) => {
                    self.metrics.verdict(Verdict::Invalid);
                    tracing::error!(cert_type = %file.cert_type, "certificate file cannot be used: {error}");
                }
            }
        }
        // What has left or turned bad is news when it comes back.
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = fine;
    }

    /// Checks now, after every reload and at every interval until cancelled. To be spawned.
    pub async fn run(self, shutdown: CancellationToken) {
        loop {
            // Off the async threads: a file system may be slow. A panic would show in the log; the next round tries again.
            let monitor = self.clone();
            tokio::task::spawn_blocking(move || monitor.check()).await.ok();
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = changed(self.reloads.as_ref()) => {}
                () = tokio::time::sleep(self.interval) => {}
            }
        }
    }

    /// One verdict and at most one line; whether all is well.
    fn judge(&self, file: &WatchedFile, certificate: &CertificateInfo, problems: &[Problem], now: UnixTime) -> bool {
        let urgency = Urgency::of(certificate, now);
        self.metrics.verdict(match urgency {
            Urgency::Expired => Verdict::Expired,
            Urgency::NotYetValid => Verdict::Invalid,
            Urgency::Critical | Urgency::ActionRequired | Urgency::Fine if !problems.is_empty() => Verdict::Invalid,
            Urgency::Critical | Urgency::ActionRequired | Urgency::Fine => Verdict::Valid,
        });
        let days = certificate.days_left(now);
        let (role, path, subject) = (file.cert_type.label(), file.path.display(), &certificate.subject);
        match urgency {
            Urgency::Expired => {
                tracing::error!(cert_type = role, file = %path, subject, days_left = days, "certificate has expired");
            }
            Urgency::NotYetValid => {
                tracing::error!(cert_type = role, file = %path, subject, days_left = days, "certificate is not valid yet");
            }
            Urgency::Critical | Urgency::ActionRequired | Urgency::Fine if !problems.is_empty() => {
                let problems = problems.iter().map(|problem| format!("{}: {}", problem.what(), problem.advice()));
                let problems = problems.collect::<Vec<_>>().join("; ");
                tracing::error!(
                    cert_type = role,
                    file = %path,
                    subject,
                    days_left = days,
                    "certificate cannot be used: {problems}"
                );
            }
            Urgency::Critical => tracing::warn!(
                cert_type = role,
                file = %path,
                subject,
                days_left = days,
                "CRITICAL: certificate expires in less than 7 days"
            ),
            Urgency::ActionRequired => tracing::warn!(
                cert_type = role,
                file = %path,
                subject,
                days_left = days,
                "certificate expires in less than 30 days: action required"
            ),
            Urgency::Fine => {
                let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                if !told.contains(&(file.cert_type, certificate.fingerprint())) {
                    tracing::info!(cert_type = role, file = %path, subject, days_left = days, "certificate is valid");
                }
                return true;
            }
        }
        false
    }
}

/// Whether the key beside the certificate is another one's. A key that cannot be read is no answer.
fn key_mismatch(file: &WatchedFile) -> bool {
    let files = file.key.clone().map(|key| IdentityFiles { cert: file.path.clone(), key });
    files.is_some_and(|files| matches!(files.load(), Err(SetupError::KeyMismatch { .. })))
}

async fn changed(reloads: Option<&Reloads>) {
    match reloads {
        Some(reloads) => reloads.changed().await,
        None => std::future::pending().await,
    }
}
