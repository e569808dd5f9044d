//! The file beside an unfinished upload's bytes: two slots for offset and hash state, then the notes.
//!
//! A checkpoint overwrites the older slot, so that a torn write leaves the newer one whole.

use crate::hash::{RunningHash, STATE_BYTES};
use crate::store::{SessionNotes, StoreError};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

const SLOT_BYTES: usize = 256;
const NOTES_AT: u64 = 2 * SLOT_BYTES as u64;
/// Notes are a few kilobytes; what is longer was not written by us.
const MAX_NOTES_BYTES: u64 = 1 << 20;
const MAGIC: u64 = u64::from_be_bytes(*b"artstor1");
const CHECK_BYTES: usize = 16;
const CHECK_AT: usize = SLOT_BYTES - CHECK_BYTES;

/// One slot: where an upload can be continued.
#[derive(Debug, Clone, Default)]
pub(crate) struct Checkpoint {
    /// Grows with every checkpoint; 0 before the first.
    pub(crate) number: u64,
    /// The durable offset.
    pub(crate) offset: u64,
    /// Seconds since the epoch.
    pub(crate) touched_at: u64,
    /// The hash of the bytes before the offset.
    pub(crate) hash: RunningHash,
}

impl Checkpoint {
    fn encode(&self) -> [u8; SLOT_BYTES] {
        const { assert!(32 + STATE_BYTES <= CHECK_AT) };
        let mut slot = [0; SLOT_BYTES];
        for (field, number) in [MAGIC, self.number, self.offset, self.touched_at].into_iter().enumerate() {
            slot[8 * field..][..8].copy_from_slice(&number.to_le_bytes());
        }
        slot[32..][..STATE_BYTES].copy_from_slice(&self.hash.state());
        let check = check(&slot);
        slot[CHECK_AT..].copy_from_slice(&check);
        slot
    }

    fn decode(slot: &[u8; SLOT_BYTES]) -> Option<Self> {
        let (fields, _) = slot.as_chunks::<8>();
        let field = |index: usize| fields.get(index).copied().map_or(0, u64::from_le_bytes);
        if field(0) != MAGIC || slot[CHECK_AT..] != check(slot) {
            return None;
        }
        let hash = RunningHash::restore(&slot[32..32 + STATE_BYTES])?;
        Some(Self { number: field(1), offset: field(2), touched_at: field(3), hash })
    }
}

fn check(slot: &[u8; SLOT_BYTES]) -> [u8; CHECK_BYTES] {
    let mut hash = RunningHash::default();
    hash.update(&slot[..CHECK_AT]);
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&hash.hex().as_bytes()[..CHECK_BYTES]);
    check
}

/// Writes a new file with these notes and no checkpoint. It is not synced: before the first checkpoint an upload may vanish.
pub(crate) fn create(path: &Path, notes: &SessionNotes) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all_at(&serde_json::to_vec(notes)?, NOTES_AT)
}

/// An open file of notes.
#[derive(Debug)]
pub(crate) struct NotesFile {
    file: File,
    last: Checkpoint,
}

impl NotesFile {
    /// Opens the file and finds the latest whole checkpoint whose bytes are there.
    pub(crate) fn open(path: &Path, part_bytes: u64) -> Result<Self, StoreError> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut last = Checkpoint::default();
        for place in [0, SLOT_BYTES as u64] {
            let mut slot = [0; SLOT_BYTES];
            if file.read_exact_at(&mut slot, place).is_err() {
                continue;
            }
            let found = Checkpoint::decode(&slot).filter(|found| found.offset <= part_bytes);
            last = found.filter(|found| found.number > last.number).unwrap_or(last);
        }
        Ok(Self { file, last })
    }

    /// The latest checkpoint.
    pub(crate) const fn last(&self) -> &Checkpoint {
        &self.last
    }

    /// The notes; `None` if they are not whole.
    pub(crate) fn notes(&self) -> Option<SessionNotes> {
        let length = self.file.metadata().ok()?.len().checked_sub(NOTES_AT).filter(|n| *n <= MAX_NOTES_BYTES)?;
        let mut text = vec![0; usize::try_from(length).ok()?];
        self.file.read_exact_at(&mut text, NOTES_AT).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Notes a checkpoint, durably. The bytes before its offset must be durable already.
    pub(crate) fn checkpoint(&mut self, offset: u64, touched_at: u64, hash: RunningHash) -> io::Result<()> {
        let next = Checkpoint { number: self.last.number + 1, offset, touched_at, hash };
        self.file.write_all_at(&next.encode(), (next.number % 2) * SLOT_BYTES as u64)?;
        self.file.sync_all()?;
        self.last = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::notes;

    fn hash(bytes: &[u8]) -> RunningHash {
        let mut hash = RunningHash::default();
        hash.update(bytes);
        hash
    }

    #[test]
    fn notes_and_the_latest_checkpoint_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        create(&path, &notes()).unwrap();
        let mut file = NotesFile::open(&path, 0).unwrap();
        assert_eq!((file.last().number, file.last().offset), (0, 0));
        for (offset, touched) in [(1, 10), (2, 20), (3, 30)] {
            file.checkpoint(offset, touched, hash(&vec![7; usize::try_from(offset).unwrap()])).unwrap();
        }
        let file = NotesFile::open(&path, 3).unwrap();
        assert_eq!((file.last().number, file.last().offset, file.last().touched_at), (3, 3, 30));
        assert_eq!(file.last().hash.hex(), hash(&[7; 3]).hex());
        assert_eq!(file.notes(), Some(notes()));
    }

    #[test]
    fn a_torn_checkpoint_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        create(&path, &notes()).unwrap();
        let mut file = NotesFile::open(&path, 0).unwrap();
        file.checkpoint(1, 1, hash(b"a")).unwrap();
        file.checkpoint(2, 2, hash(b"ab")).unwrap();
        // Number 2 lies in slot 0.
        file.file.write_all_at(&[0xff; 40], 16).unwrap();
        assert_eq!(NotesFile::open(&path, 9).unwrap().last().offset, 1);
    }

    #[test]
    fn a_checkpoint_past_the_bytes_that_are_there_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        create(&path, &notes()).unwrap();
        let mut file = NotesFile::open(&path, 0).unwrap();
        file.checkpoint(1, 1, hash(b"a")).unwrap();
        file.checkpoint(2, 2, hash(b"ab")).unwrap();
        assert_eq!(NotesFile::open(&path, 1).unwrap().last().offset, 1);
        assert_eq!(NotesFile::open(&path, 0).unwrap().last().offset, 0);
    }

    #[test]
    fn half_written_notes_are_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        create(&path, &notes()).unwrap();
        let length = std::fs::metadata(&path).unwrap().len();
        for cut in [length - 1, NOTES_AT, 5, 0] {
            File::options().write(true).open(&path).unwrap().set_len(cut).unwrap();
            assert_eq!(NotesFile::open(&path, 0).unwrap().notes(), None, "{cut}");
        }
    }
}
