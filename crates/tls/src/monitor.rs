//! Watches the certificates that a module holds: verdicts, days left, and log lines that grow louder as the end comes near.

use crate::certificate::{CertType, CertificateInfo};
use crate::identity::{infos, read_certificates};
use crate::metrics::{CertificateMetrics, Verdict};
use artstore_metrics::{Clock, SystemClock, UnixTime};
use std::path::PathBuf;
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
}

/// Reads the files at every check, so that a renewed certificate's series takes the place of the old one's.
#[derive(Debug, Clone)]
pub struct CertificateMonitor<C: Clock = SystemClock> {
    files: Vec<WatchedFile>,
    metrics: CertificateMetrics,
    interval: Duration,
    clock: C,
}

/// How near the end is, as the log levels tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Urgency {
    Expired,
    NotYetValid,
    Critical,
    ActionRequired,
    Fine,
}

impl<C: Clock> CertificateMonitor<C> {
    /// A monitor of these files.
    #[must_use]
    pub const fn new(files: Vec<WatchedFile>, metrics: CertificateMetrics, clock: C) -> Self {
        Self { files, metrics, interval: CHECK_INTERVAL, clock }
    }

    /// The same with this interval in place of an hour.
    #[must_use]
    pub const fn every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Reads all files, counts a verdict for each certificate, sets their series and logs.
    ///
    /// A file that cannot be read is one `invalid` verdict and an ERROR; the series of what it held before stay.
    pub fn check(&self) {
        let now = self.clock.wall();
        for file in &self.files {
            let read = read_certificates(&file.path).and_then(|certificates| infos(&file.path, &certificates));
            match read {
                Ok(certificates) => {
                    for certificate in &certificates {
                        self.judge(file, certificate, now);
                    }
                    self.metrics.holds(&file.path, file.cert_type, certificates);
                }
                Err(error) => {
                    self.metrics.verdict(Verdict::Invalid);
                    tracing::error!(cert_type = %file.cert_type, "certificate file cannot be used: {error}");
                }
            }
        }
    }

    /// Checks now and at every interval until cancelled. To be spawned.
    pub async fn run(self, shutdown: CancellationToken) {
        loop {
            // Off the async threads: a file system may be slow. A panic would show in the log; the next round tries again.
            let monitor = self.clone();
            tokio::task::spawn_blocking(move || monitor.check()).await.ok();
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(self.interval) => {}
            }
        }
    }

    fn judge(&self, file: &WatchedFile, certificate: &CertificateInfo, now: UnixTime) {
        let days = certificate.days_left(now);
        let urgency = urgency(certificate, now);
        self.metrics.verdict(match urgency {
            Urgency::Expired => Verdict::Expired,
            Urgency::NotYetValid => Verdict::Invalid,
            Urgency::Critical | Urgency::ActionRequired | Urgency::Fine => Verdict::Valid,
        });
        let (role, path, subject) = (file.cert_type.label(), file.path.display(), &certificate.subject);
        match urgency {
            Urgency::Expired => {
                tracing::error!(cert_type = role, file = %path, subject, days_left = days, "certificate has expired");
            }
            Urgency::NotYetValid => {
                tracing::error!(cert_type = role, file = %path, subject, days_left = days, "certificate is not valid yet");
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
                tracing::info!(cert_type = role, file = %path, subject, days_left = days, "certificate is valid");
            }
        }
    }
}

fn urgency(certificate: &CertificateInfo, now: UnixTime) -> Urgency {
    let days = certificate.days_left(now);
    if days < 0.0 {
        Urgency::Expired
    } else if now < certificate.not_before {
        Urgency::NotYetValid
    } else if days < 7.0 {
        Urgency::Critical
    } else if days < 30.0 {
        Urgency::ActionRequired
    } else {
        Urgency::Fine
    }
}
