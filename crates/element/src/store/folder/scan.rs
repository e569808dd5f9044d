//! Walking the folder: the sweep and scan at start, and the lists of files, of unreported changes and of what has expired.

use super::FolderStore;
use super::layout::{Entry, Layout};
use super::notes::NotesFile;
use crate::metrics::Leftover;
use crate::store::{Change, Scan, StoreError, StoredSession, Unreported};
use artstore_api::file::{FileId, FileRecord};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::PoisonError;

/// The entries of one object directory, by identifier.
type Directory = BTreeMap<FileId, Vec<Entry>>;

impl FolderStore {
    /// Removes leftovers and says what is there.
    pub(super) fn scan_all(&self) -> Result<Scan, StoreError> {
        let mut scan = Scan::default();
        for prefix in self.prefixes()? {
            for (file_id, entries) in self.directory(&prefix)? {
                self.scan_file(file_id, &entries, &mut scan)?;
            }
            // Not known yet: the first look for expired files finds out.
            self.shared.expiry.lock().unwrap_or_else(PoisonError::into_inner).insert(prefix, 0);
        }
        self.scan_uploads(&mut scan)?;
        Ok(scan)
    }

    fn scan_file(&self, file_id: FileId, entries: &[Entry], scan: &mut Scan) -> io::Result<()> {
        let has = |entry| entries.contains(&entry);
        let live = has(Entry::New) || has(Entry::Known);
        if has(Entry::Gone) {
            scan.unreported += 1;
        }
        match (has(Entry::Object), live && !has(Entry::Gone)) {
            (true, true) => {
                scan.files += 1;
                scan.bytes += std::fs::metadata(self.layout.entry(file_id, Entry::Object))?.len();
                scan.unreported += u64::from(has(Entry::New));
            }
            (true, false) => self.sweep(&self.layout.entry(file_id, Entry::Object), Leftover::Object)?,
            (false, _) => {
                for entry in Entry::LIVE.into_iter().filter(|entry| has(*entry)) {
                    self.sweep(&self.layout.entry(file_id, entry), Leftover::Attributes)?;
                }
            }
        }
        Ok(())
    }

    fn scan_uploads(&self, scan: &mut Scan) -> io::Result<()> {
        for name in names(&self.layout.uploads())? {
            let Some((id, kind)) = name.split_once('.') else { continue };
            let Ok(file_id) = id.parse::<FileId>() else { continue };
            let (part, session) = (self.layout.part(file_id), self.layout.session(file_id));
            match kind {
                "part" if !session.exists() => self.sweep(&part, Leftover::Part)?,
                "session" => match self.stored_session(file_id) {
                    Some(found) => {
                        scan.bytes += found.offset;
                        scan.sessions.push(found);
                    }
                    None => {
                        if part.exists() {
                            self.sweep(&part, Leftover::Part)?;
                        }
                        self.sweep(&session, Leftover::Session)?;
                    }
                },
                _ => {}
            }
        }
        Ok(())
    }

    /// An upload that can be continued, with bytes past its durable offset cut off.
    fn stored_session(&self, file_id: FileId) -> Option<StoredSession> {
        if self.taken(file_id) {
            return None;
        }
        let part = std::fs::OpenOptions::new().write(true).open(self.layout.part(file_id)).ok()?;
        let file = NotesFile::open(&self.layout.session(file_id), part.metadata().ok()?.len()).ok()?;
        let (notes, last) = (file.notes()?, file.last());
        part.set_len(last.offset).ok()?;
        let touched_at = last.touched_at.max(notes.created_at);
        Some(StoredSession { file_id, notes, offset: last.offset, touched_at })
    }

    fn sweep(&self, path: &Path, kind: Leftover) -> io::Result<()> {
        match std::fs::remove_file(path) {
            // Swept already, with another entry of the same upload.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed?,
        }
        self.metrics.swept(kind);
        tracing::warn!(path = %path.display(), kind = kind.label(), "swept a leftover of interrupted work");
        Ok(())
    }

    /// The object directories, in order.
    fn prefixes(&self) -> io::Result<Vec<String>> {
        let mut prefixes = names(&self.layout.objects())?;
        prefixes.sort_unstable();
        Ok(prefixes)
    }

    fn directory(&self, prefix: &str) -> io::Result<Directory> {
        let mut directory = Directory::new();
        for name in names(&self.layout.objects().join(prefix))? {
            match Entry::parse(&name) {
                Some((file_id, entry)) => directory.entry(file_id).or_default().push(entry),
                None => tracing::warn!(prefix, name, "an object directory holds what is not ours; it is left alone"),
            }
        }
        Ok(directory)
    }

    pub(super) fn list_records(&self, after: Option<FileId>, limit: usize) -> Result<Vec<FileRecord>, StoreError> {
        let first = after.map(Layout::prefix).unwrap_or_default();
        let mut records = Vec::new();
        for prefix in self.prefixes()?.into_iter().filter(|prefix| *prefix >= first) {
            let ids = self.directory(&prefix)?.into_keys().filter(|id| after.is_none_or(|after| *id > after));
            for file_id in ids {
                if records.len() == limit {
                    return Ok(records);
                }
                match self.live_record(file_id) {
                    Ok(record) => records.push(record),
                    Err(StoreError::NotFound) => {}
                    // One damaged file must not hide the others from a rebuild of the index.
                    Err(error) => tracing::error!(%file_id, %error, "left out of the list"),
                }
            }
        }
        Ok(records)
    }

    pub(super) fn list_unreported(&self, limit: usize) -> Result<Vec<Unreported>, StoreError> {
        let mut unreported = Vec::new();
        for prefix in self.prefixes()? {
            for (file_id, entries) in self.directory(&prefix)? {
                let has = |entry| entries.contains(&entry);
                let change = match (has(Entry::Gone), has(Entry::Object) && has(Entry::New)) {
                    (true, _) => Change::Deleted,
                    (false, true) => Change::Published,
                    (false, false) => continue,
                };
                unreported.push(Unreported { file_id, change });
                if unreported.len() == limit {
                    return Ok(unreported);
                }
            }
        }
        Ok(unreported)
    }

    pub(super) fn list_expired(&self, now: u64, limit: usize) -> Result<Vec<FileId>, StoreError> {
        let due: Vec<String> = {
            let expiry = self.shared.expiry.lock().unwrap_or_else(PoisonError::into_inner);
            expiry.iter().filter(|(_, earliest)| **earliest <= now).map(|(prefix, _)| prefix.clone()).collect()
        };
        let mut expired = Vec::new();
        for prefix in due {
            // Taken out first, so that a file published meanwhile notes itself and is not forgotten.
            self.shared.expiry.lock().unwrap_or_else(PoisonError::into_inner).remove(&prefix);
            let before = expired.len();
            let mut earliest = self.expired_in(&prefix, now, limit, &mut expired)?;
            if expired.len() > before {
                // They are still there: look again next time.
                earliest = Some(0);
            }
            if let Some(earliest) = earliest {
                let mut expiry = self.shared.expiry.lock().unwrap_or_else(PoisonError::into_inner);
                let noted = expiry.entry(prefix).or_insert(earliest);
                *noted = earliest.min(*noted);
            }
            if expired.len() == limit {
                break;
            }
        }
        Ok(expired)
    }

    /// Adds a directory's expired files, and says when the next of the others expires.
    fn expired_in(&self, prefix: &str, now: u64, limit: usize, expired: &mut Vec<FileId>) -> io::Result<Option<u64>> {
        let mut earliest = None;
        for (file_id, entries) in self.directory(prefix)? {
            if !entries.contains(&Entry::Object) || expired.len() == limit {
                continue;
            }
            let record = self.live_record(file_id).ok();
            let Some(expires_at) = record.and_then(|record| record.expires_at) else { continue };
            match u64::try_from(expires_at.unix_timestamp()).unwrap_or(0) {
                at if at <= now => expired.push(file_id),
                at => earliest = Some(earliest.map_or(at, |known: u64| known.min(at))),
            }
        }
        Ok(earliest)
    }
}

/// The names in a directory that are text.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}
