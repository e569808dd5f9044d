//! Files that belong together, such as a certificate and its key: what of them is in use, and what becomes of a change on disk.

use super::{GRACE, RETRY, SETTLE};
use crate::certificate::CertificateInfo;
use crate::crl::{CrlFiles, CrlInfo, Revocation};
use crate::identity::{Identity, IdentityFiles, SetupError, Trust, TrustFile};
use crate::metrics::ReloadReason;
use crate::watch::{Content, FileWatch};
use artstore_metrics::{Monotonic, UnixTime};
use std::path::{Path, PathBuf};

/// What files hold.
#[derive(Debug, Clone)]
pub(super) enum Material {
    Identity(Identity),
    Trust(Trust),
    Lists(Revocation),
}

/// Which files, and what is to be found in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    Identity(IdentityFiles),
    Trust(TrustFile),
    Lists(CrlFiles),
}

impl Source {
    fn paths(&self) -> Vec<PathBuf> {
        match self {
            Self::Identity(files) => vec![files.cert.clone(), files.key.clone()],
            Self::Trust(file) => vec![file.0.clone()],
            Self::Lists(files) => files.0.clone(),
        }
    }

    fn load(&self) -> Result<Material, SetupError> {
        Ok(match self {
            Self::Identity(files) => Material::Identity(files.load()?),
            Self::Trust(file) => Material::Trust(file.load()?),
            Self::Lists(files) => Material::Lists(files.load()?),
        })
    }

    /// What these bytes, one after the other those of [`paths`](Self::paths), hold.
    fn parse(&self, bytes: &[Vec<u8>]) -> Result<Material, SetupError> {
        let of = |index: usize| bytes.get(index).map_or(&[][..], Vec::as_slice);
        Ok(match self {
            Self::Identity(files) => Material::Identity(files.parse(of(0), of(1))?),
            Self::Trust(file) => Material::Trust(file.parse(of(0))?),
            Self::Lists(files) => {
                let paths = files.0.iter().map(PathBuf::as_path);
                Material::Lists(Revocation::from_files(paths.zip(bytes.iter().map(Vec::as_slice)))?)
            }
        })
    }
}

/// Why a change on disk is not taken in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rejection {
    pub(super) reason: ReloadReason,
    pub(super) detail: String,
}

impl Rejection {
    pub(super) fn new(reason: ReloadReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }

    fn of_content(path: &Path, content: &Content) -> Option<Self> {
        let (reason, what) = match content {
            Content::Bytes(_) => return None,
            Content::Empty => (ReloadReason::Empty, "the file is empty"),
            Content::Missing => (ReloadReason::Missing, "the file is not there"),
            Content::TooLarge => (ReloadReason::TooLarge, "the file is larger than 16 MiB"),
            Content::Unreadable(error) => (ReloadReason::Unreadable, error.as_str()),
        };
        Some(Self::new(reason, format!("{}: {what}", path.display())))
    }
}

impl From<SetupError> for Rejection {
    fn from(error: SetupError) -> Self {
        let reason = match &error {
            SetupError::Unreadable { .. } => ReloadReason::Unreadable,
            SetupError::NoPem { .. } => ReloadReason::NotPem,
            SetupError::Broken { .. } => ReloadReason::Broken,
            SetupError::KeyMismatch { .. } => ReloadReason::KeyMismatch,
            SetupError::PolicyMismatch | SetupError::Configuration(_) => ReloadReason::Refused,
        };
        Self::new(reason, error.to_string())
    }
}

/// What a look found.
#[derive(Debug)]
pub(super) enum Looked {
    /// What is in use; `again` if it was not at the last looks.
    InUse { again: bool },
    /// A change that may not be complete yet.
    Unsettled,
    /// A change that can be used.
    Ready(Material),
    /// A change that cannot be used, seen for the first time.
    Rejected(Rejection),
    /// The same change still cannot be used.
    StillRejected,
}

/// A change on disk.
#[derive(Debug)]
struct Candidate {
    contents: Vec<Content>,
    since: Monotonic,
    tried: Monotonic,
    reported: bool,
}

/// Files that belong together.
#[derive(Debug)]
pub(super) struct Part {
    source: Source,
    files: Vec<FileWatch>,
    in_use: Vec<Content>,
    current: Material,
    candidate: Option<Candidate>,
    /// Since when the files have not been those in use.
    differs_since: Option<Monotonic>,
}

impl Part {
    /// Loads the files.
    pub(super) fn load(source: Source, now: Monotonic) -> Result<Self, SetupError> {
        // Before they are loaded: a change in between is then seen at the first look.
        let mut files: Vec<FileWatch> = source.paths().iter().map(|path| FileWatch::new(path, now)).collect();
        let in_use = files.iter_mut().map(|file| file.look(now).clone()).collect();
        let current = source.load()?;
        Ok(Self { source, files, in_use, current, candidate: None, differs_since: None })
    }

    pub(super) const fn source(&self) -> &Source {
        &self.source
    }

    pub(super) const fn current(&self) -> &Material {
        &self.current
    }

    /// The files, for people.
    pub(super) fn names(&self) -> String {
        self.files.iter().map(|file| file.path().display().to_string()).collect::<Vec<_>>().join(", ")
    }

    /// Whether there has been, for longer than a change takes, something else on disk than what is in use.
    pub(super) fn is_overdue(&self, now: Monotonic) -> bool {
        self.differs_since.is_some_and(|since| now.since(since) >= GRACE)
    }

    /// Looks at the files; `forced` reads them whatever their stamps say.
    pub(super) fn look(&mut self, now: Monotonic, wall: UnixTime, forced: bool) -> Looked {
        let contents: Vec<Content> = self
            .files
            .iter_mut()
            .map(|file| if forced { file.reread(now).0.clone() } else { file.look(now).clone() })
            .collect();
        if contents == self.in_use {
            self.differs_since = None;
            return Looked::InUse { again: self.candidate.take().is_some_and(|candidate| candidate.reported) };
        }
        self.differs_since.get_or_insert(now);
        let mut candidate = match self.candidate.take() {
            Some(candidate) if candidate.contents == contents => candidate,
            _ => Candidate { contents, since: now, tried: now, reported: false },
        };
        let looked = self.consider(&mut candidate, now, wall);
        self.candidate = Some(candidate);
        looked
    }

    /// The change that was [`Ready`](Looked::Ready) is in use now.
    pub(super) fn adopt(&mut self, material: Material) {
        if let Some(candidate) = self.candidate.take() {
            self.in_use = candidate.contents;
        }
        self.current = material;
        self.differs_since = None;
    }

    /// The change that was [`Ready`](Looked::Ready) was refused; says whether that is new.
    pub(super) fn refuse(&mut self) -> bool {
        self.candidate.as_mut().is_some_and(|candidate| !std::mem::replace(&mut candidate.reported, true))
    }

    fn consider(&mut self, candidate: &mut Candidate, now: Monotonic, wall: UnixTime) -> Looked {
        let age = now.since(candidate.since);
        if age < SETTLE {
            return Looked::Unsettled;
        }
        if candidate.reported && now.since(candidate.tried) < RETRY {
            return Looked::StillRejected;
        }
        candidate.tried = now;
        let mut bytes = Vec::with_capacity(self.files.len());
        for (file, seen) in self.files.iter_mut().zip(&candidate.contents) {
            let (content, read) = file.reread(now);
            if content != seen {
                return Looked::Unsettled;
            }
            bytes.push(read);
        }
        match self.judge(candidate, &bytes, wall) {
            Ok(material) => Looked::Ready(material),
            Err(_) if candidate.reported => Looked::StillRejected,
            Err(_) if age < GRACE => Looked::Unsettled,
            Err(rejection) => {
                candidate.reported = true;
                Looked::Rejected(rejection)
            }
        }
    }

    fn judge(&self, candidate: &Candidate, bytes: &[Vec<u8>], wall: UnixTime) -> Result<Material, Rejection> {
        let files = self.files.iter().zip(&candidate.contents);
        if let Some(rejection) = files.filter_map(|(file, is)| Rejection::of_content(file.path(), is)).next() {
            return Err(rejection);
        }
        let material = self.source.parse(bytes)?;
        match (&material, &self.current) {
            (Material::Identity(new), Material::Identity(old)) => {
                in_time(new.certificates().first(), old.certificates().first(), wall)?;
            }
            (Material::Lists(new), Material::Lists(old)) => newer(new.lists(), old.lists(), wall)?,
            // Roots are trusted for their keys: their own dates do not count.
            _ => {}
        }
        Ok(material)
    }
}

/// A certificate that cannot be used now does not take the place of one that can.
fn in_time(new: Option<&CertificateInfo>, old: Option<&CertificateInfo>, wall: UnixTime) -> Result<(), Rejection> {
    let usable = |info: &CertificateInfo| info.not_before <= wall && wall <= info.not_after;
    let (Some(new), Some(old)) = (new, old) else { return Ok(()) };
    if usable(new) || !usable(old) {
        return Ok(());
    }
    let days = new.days_left(wall);
    if new.not_after < wall {
        return Err(Rejection::new(
            ReloadReason::Expired,
            format!("the certificate {} expired {:.1} days ago, that in use is still valid", new.subject, -days),
        ));
    }
    Err(Rejection::new(
        ReloadReason::NotYetValid,
        format!("the certificate {} is not valid yet, that in use is", new.subject),
    ))
}

/// Lists only go forward: an older one may not know what has been revoked since.
fn newer(new: &[CrlInfo], old: &[CrlInfo], wall: UnixTime) -> Result<(), Rejection> {
    for list in new {
        if newest(new, &list.issuer) < newest(old, &list.issuer) {
            let detail = format!("the revocation list of {} is older than the one in use", list.issuer);
            return Err(Rejection::new(ReloadReason::OlderList, detail));
        }
        let stale = |list: &CrlInfo| list.next_update.is_some_and(|next| next < wall);
        let old_serves = old.iter().any(|known| known.issuer == list.issuer && !stale(known));
        if stale(list) && old_serves {
            let detail = format!("the revocation list of {} is past its nextUpdate, that in use is not", list.issuer);
            return Err(Rejection::new(ReloadReason::Expired, detail));
        }
    }
    Ok(())
}

/// The age of an issuer's newest list: it may have several, each for a part of its certificates.
fn newest<'a>(lists: &'a [CrlInfo], issuer: &str) -> Option<(usize, &'a str, UnixTime)> {
    lists.iter().filter(|list| list.issuer == issuer).map(age).max()
}

/// The order of a list among those of its issuer: by number, which is decimal without leading zeros, then by date.
fn age(list: &CrlInfo) -> (usize, &str, UnixTime) {
    let number = list.number.as_deref().unwrap_or_default();
    (number.len(), number, list.this_update)
}
