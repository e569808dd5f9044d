//! How much an element holds at most while faults are armed: little enough to be nearly filled in a moment, whatever it holds already.

use std::path::Path;

/// What an element holds at most, if it holds little already.
const LEAST: u64 = 64 << 20;
/// How full an element is that is nearly full, in percent.
const NEARLY_FULL: u64 = 93;

/// The room of one element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::up) struct Room {
    /// The most bytes that it holds.
    pub(in crate::up) capacity: u64,
    /// What it holds already.
    stored: u64,
}

impl Room {
    /// Of the element with this folder: what it was `told`, or else half empty at least.
    pub(in crate::up) fn of(folder: &Path, told: Option<u64>) -> Self {
        let stored = bytes_below(folder);
        Self { capacity: told.unwrap_or(LEAST.max(stored.saturating_mul(2))), stored }
    }

    /// Of an element that has its turn only when another one, with [`Room::of`], fails: the emptiest is asked first.
    pub(in crate::up) fn spare(folder: &Path, told: Option<u64>) -> Self {
        let stored = bytes_below(folder);
        Self { capacity: told.map_or(stored.saturating_add(LEAST / 2), |told| told / 2), stored }
    }

    /// How large a file is that nearly fills it.
    pub(super) const fn ballast(self) -> u64 {
        (self.capacity / 100 * NEARLY_FULL).saturating_sub(self.stored)
    }
}

/// What the files below a folder hold; what cannot be read counts as nothing.
fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn an_element_is_half_empty_at_least_whatever_it_holds_already() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("element");
        let room = |stored: u64| {
            std::fs::create_dir_all(path.join("objects/a")).unwrap();
            std::fs::File::create(path.join("objects/a/b")).unwrap().set_len(stored).unwrap();
            Room::of(&path, None)
        };
        assert_eq!(Room::of(&path, None), Room { capacity: 64 * MIB, stored: 0 }, "before the first start");
        assert_eq!(room(MIB), Room { capacity: 64 * MIB, stored: MIB });
        assert_eq!(room(100 * MIB), Room { capacity: 200 * MIB, stored: 100 * MIB });
        assert_eq!(Room::of(&path, Some(7)).capacity, 7, "as told");
        assert_eq!(Room::spare(&path, Some(8)).capacity, 4);
        let free = |room: Room| room.capacity - room.stored;
        for stored in [0, 10 * MIB, 40 * MIB, 100 * MIB] {
            let _ = room(stored);
            assert_eq!(free(Room::spare(&path, None)), 32 * MIB);
            assert!(free(Room::of(&path, None)) >= 32 * MIB);
        }
    }

    #[test]
    fn the_ballast_leaves_less_than_a_tenth_free() {
        for stored in [0, 5 * MIB, 100 * MIB] {
            let room = Room { capacity: 200 * MIB, stored };
            let free = room.capacity - stored - room.ballast();
            assert!(free > room.capacity / 20 && free < room.capacity / 10, "{free}");
        }
        assert_eq!(Room { capacity: 1_000, stored: 999 }.ballast(), 0);
    }
}
