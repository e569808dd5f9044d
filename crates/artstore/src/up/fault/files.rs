//! Certificates and lists on disk as they are with a fault, and how they are made good again. The modules' own reloading takes
//! both in use.

use super::Fault;
use crate::development::{MODULE, certificates, module_leaf};
use crate::failure::Failure;
use artstore_metrics::{Clock as _, SystemClock, UnixTime};
use artstore_tls::IdentityFiles;
use artstore_tls::dev::{DevCa, DevCaError, DevCrl, Leaf};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
/// How long a certificate that is to expire in use is good: time enough to be taken in use.
pub(super) const LAST_MOMENTS: Duration = Duration::from_secs(2);
/// What is left of a list that is not renewed: under an hour is an alert, and after the end nobody would be let in.
const STALE_LIST: Duration = Duration::from_secs(1800);
/// The server certificate of the element at which faults are, under a name of its own so that nothing else shows it.
const ELEMENT: &str = "element-edit";

/// The folder of the development CA, with what exists only while faults are armed.
#[derive(Debug)]
pub(in crate::up) struct FaultFiles {
    dir: PathBuf,
    /// The certificate that the modules show when they connect.
    module: PathBuf,
    /// The number of the latest list: that of the next must be higher.
    list: AtomicU64,
    /// The server certificate of the element for temporary files.
    pub(in crate::up) element: IdentityFiles,
    /// The revocation list of the development CA.
    pub(in crate::up) crl: PathBuf,
}

impl FaultFiles {
    /// Everything as it is without a fault.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub(in crate::up) fn healthy(dir: PathBuf) -> Result<Self, Failure> {
        let pair = |name| IdentityFiles { cert: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) };
        let (module, element, crl) = (pair(MODULE).cert, pair(ELEMENT), dir.join("ca.crl"));
        let files = Self { dir, module, list: AtomicU64::new(0), element, crl };
        files.renew_certificates()?;
        files.renew_list()?;
        Ok(files)
    }

    /// Does to files what this fault does, and gives the file; most do nothing.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(super) fn break_by(&self, fault: Fault) -> Result<Option<&Path>, Failure> {
        let now = SystemClock::new().wall();
        let done = match fault {
            Fault::Certificate5Days => self.shorten_module(now, 5),
            Fault::Certificate20Days => self.shorten_module(now, 20),
            Fault::CertificateExpired => {
                let leaf = Leaf { not_after: now.plus(LAST_MOMENTS), ..element_leaf(now) };
                self.ca(now).and_then(|ca| ca.issue(ELEMENT, &leaf)).map(drop)
            }
            Fault::ElementForeignCa => self.show_foreign(now),
            Fault::ReloadFailing => half(&self.module),
            Fault::CrlStale => self.write_list(now, STALE_LIST),
            Fault::None
            | Fault::ProcessKilled
            | Fault::Admin500
            | Fault::AdminSlow
            | Fault::AdminHung
            | Fault::PeerCloses
            | Fault::ElementRejectsTokenOnce
            | Fault::WrongClock
            | Fault::StorageNearlyFull
            | Fault::OutboxLagging
            | Fault::UploadFailures
            | Fault::TokenExpiring => Ok(()),
        };
        done.map(|()| self.broken_by(fault)).map_err(|error| self.failed(&error))
    }

    /// Makes good what this fault has done, as the start does: what is short, foreign or damaged is issued anew.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(super) fn repair(&self, fault: Fault) -> Result<(), Failure> {
        match self.broken_by(fault) {
            None => Ok(()),
            Some(file) if file == self.crl => self.renew_list(),
            Some(_) => self.renew_certificates(),
        }
    }

    /// The file that this fault breaks.
    fn broken_by(&self, fault: Fault) -> Option<&Path> {
        match fault {
            Fault::Certificate5Days | Fault::Certificate20Days | Fault::ReloadFailing => Some(&self.module),
            Fault::CertificateExpired | Fault::ElementForeignCa => Some(&self.element.cert),
            Fault::CrlStale => Some(&self.crl),
            Fault::None
            | Fault::ProcessKilled
            | Fault::Admin500
            | Fault::AdminSlow
            | Fault::AdminHung
            | Fault::PeerCloses
            | Fault::ElementRejectsTokenOnce
            | Fault::WrongClock
            | Fault::StorageNearlyFull
            | Fault::OutboxLagging
            | Fault::UploadFailures
            | Fault::TokenExpiring => None,
        }
    }

    fn renew_certificates(&self) -> Result<(), Failure> {
        certificates(&self.dir, &[])?;
        let now = SystemClock::new().wall();
        let element = self.ca(now).and_then(|ca| ca.keep(ELEMENT, &element_leaf(now), now));
        element.map(drop).map_err(|error| self.failed(&error))
    }

    fn renew_list(&self) -> Result<(), Failure> {
        self.write_list(SystemClock::new().wall(), DAY * 30).map_err(|error| self.failed(&error))
    }

    fn ca(&self, now: UnixTime) -> Result<DevCa, DevCaError> {
        DevCa::open(&self.dir, now)
    }

    fn shorten_module(&self, now: UnixTime, days: u32) -> Result<(), DevCaError> {
        let leaf = module_leaf(now);
        let leaf = Leaf { not_after: now.plus(DAY * days), ..leaf };
        self.ca(now)?.issue(MODULE, &leaf).map(drop)
    }

    /// What somebody else's authority has issued lies where the element's own certificate belongs.
    fn show_foreign(&self, now: UnixTime) -> Result<(), DevCaError> {
        let foreign =
            DevCa::create(self.dir.join("foreign"), "Somebody else's CA", now.minus(DAY), now.plus(DAY * 365))?;
        let issued = foreign.issue(ELEMENT, &element_leaf(now))?;
        for (from, to) in [(&issued.key, &self.element.key), (&issued.cert, &self.element.cert)] {
            std::fs::rename(from, to).map_err(|source| DevCaError::Write { path: to.clone(), source })?;
        }
        Ok(())
    }

    fn write_list(&self, now: UnixTime, good_for: Duration) -> Result<(), DevCaError> {
        let number = now.as_secs().max(self.list.load(Ordering::Relaxed) + 1);
        self.list.store(number, Ordering::Relaxed);
        let list = DevCrl::empty(now);
        let begins = list.this_update;
        self.ca(now)?.write_crl(&self.crl, &list.valid(begins, now.plus(good_for)).number(number))
    }

    fn failed(&self, error: &DevCaError) -> Failure {
        Failure::failed(format!("development certificates in {}: {error}", self.dir.display()))
    }
}

fn element_leaf(now: UnixTime) -> Leaf {
    Leaf::server("ArtStore development element-edit", now)
}

/// Half of a file, written in place, as a full disk or a broken copy leaves it.
fn half(path: &Path) -> Result<(), DevCaError> {
    let failed = |source| DevCaError::Write { path: path.to_owned(), source };
    let whole = std::fs::read(path).map_err(failed)?;
    let half = whole.get(..whole.len() / 2).unwrap_or_default();
    std::fs::write(path, half).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use artstore_tls::TrustFile;

    fn days_left(files: &IdentityFiles) -> f64 {
        files.load().unwrap().certificates()[0].days_left(SystemClock::new().wall())
    }

    /// Each fault does what its name says, and the repair is whole.
    #[test]
    fn files_are_broken_as_the_fault_says_and_made_good_again() {
        let folder = tempfile::tempdir().unwrap();
        let files = FaultFiles::healthy(folder.path().join("tls")).unwrap();
        let dir = files.dir.clone();
        let module = IdentityFiles { cert: dir.join("module.pem"), key: dir.join("module.key") };
        let ca = TrustFile(dir.join("ca.pem")).load().unwrap().certificates()[0].subject.clone();
        let issuer = || files.element.load().unwrap().certificates()[0].issuer.clone();
        let healthy = || {
            assert!((days_left(&module) - 90.0).abs() < 0.1 && (days_left(&files.element) - 90.0).abs() < 0.1);
            assert_eq!(issuer(), ca);
        };
        healthy();
        for (fault, days) in [(Fault::Certificate5Days, 5.0), (Fault::Certificate20Days, 20.0)] {
            assert_eq!(files.break_by(fault).unwrap(), Some(&*module.cert));
            assert!((days_left(&module) - days).abs() < 0.1, "{fault:?}");
            files.repair(fault).unwrap();
            healthy();
        }
        assert_eq!(files.break_by(Fault::CertificateExpired).unwrap(), Some(&*files.element.cert));
        assert!(days_left(&files.element) < 4.0 / 86_400.0);
        files.repair(Fault::CertificateExpired).unwrap();
        healthy();
        assert_eq!(files.break_by(Fault::ElementForeignCa).unwrap(), Some(&*files.element.cert));
        assert_eq!(issuer(), "CN=Somebody else's CA");
        files.repair(Fault::ElementForeignCa).unwrap();
        healthy();
        assert_eq!(files.break_by(Fault::ReloadFailing).unwrap(), Some(&*module.cert));
        assert!(module.load().is_err());
        files.repair(Fault::ReloadFailing).unwrap();
        healthy();
    }

    #[test]
    fn a_fault_that_is_not_in_files_leaves_them_alone() {
        let folder = tempfile::tempdir().unwrap();
        let files = FaultFiles::healthy(folder.path().join("tls")).unwrap();
        let all = || {
            let names = std::fs::read_dir(&files.dir).unwrap().map(|entry| entry.unwrap().path());
            names.map(|path| (std::fs::read(&path).unwrap(), path)).collect::<std::collections::BTreeSet<_>>()
        };
        let before = all();
        assert_eq!(files.break_by(Fault::PeerCloses).unwrap(), None);
        files.repair(Fault::PeerCloses).unwrap();
        assert_eq!(all(), before);
    }
}
