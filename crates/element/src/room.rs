//! Room: what is stored, what open uploads were promised, and what is free.

use crate::store::{BlobStore, DiskSpace};
use artstore_api::element::Capacity;
use std::sync::{Arc, Mutex, PoisonError};

/// What a store without a disk to ask and without a limit is said to hold: 1 PiB.
pub(crate) const UNKNOWN_CAPACITY_BYTES: u64 = 1 << 50;

/// There is not enough room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoom {
    /// What is free.
    pub(crate) free_bytes: u64,
}

/// The room of an element.
#[derive(Debug)]
pub(crate) struct Room {
    store: Arc<dyn BlobStore>,
    limit: Option<u64>,
    used: Mutex<Used>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Used {
    /// Bytes of published files and of uploads.
    stored: u64,
    /// Bytes that open uploads of known size have yet to bring.
    promised: u64,
}

impl Room {
    pub(crate) fn new(store: Arc<dyn BlobStore>, limit: Option<u64>, published_bytes: u64) -> Self {
        Self { store, limit, used: Mutex::new(Used { stored: published_bytes, promised: 0 }) }
    }

    /// The room as it stands.
    pub(crate) fn capacity(&self) -> Capacity {
        let used = *self.used();
        let disk = self.store.disk();
        let all = disk.map_or(UNKNOWN_CAPACITY_BYTES, |disk| disk.total);
        let capacity_bytes = self.limit.map_or(all, |limit| limit.min(all));
        Capacity { capacity_bytes, free_bytes: self.free(used, disk) }
    }

    fn free(&self, used: Used, disk: Option<DiskSpace>) -> u64 {
        let by_disk = disk.map(|disk| disk.available.saturating_sub(used.promised));
        let limit = self.limit.or(disk.is_none().then_some(UNKNOWN_CAPACITY_BYTES));
        let by_limit = limit.map(|limit| limit.saturating_sub(used.stored).saturating_sub(used.promised));
        by_disk.into_iter().chain(by_limit).min().unwrap_or(0)
    }

    /// Sets bytes aside for an upload of this size; of 0 bytes if it is not known.
    pub(crate) fn reserve(self: &Arc<Self>, size: Option<u64>) -> Result<Reservation, NoRoom> {
        let promised = size.unwrap_or(0);
        self.promise(promised)?;
        Ok(Reservation { room: Arc::clone(self), promised, stored: 0, size })
    }

    /// The reservation of an upload found at start: what is stored is not checked against what is free.
    pub(crate) fn restore(self: &Arc<Self>, size: Option<u64>, stored: u64) -> Reservation {
        let promised = size.unwrap_or(0).saturating_sub(stored);
        let mut used = self.used();
        used.promised += promised;
        used.stored += stored;
        Reservation { room: Arc::clone(self), promised, stored, size }
    }

    /// A published file of this size is no more.
    pub(crate) fn deleted(&self, size: u64) {
        let mut used = self.used();
        used.stored = used.stored.saturating_sub(size);
    }

    fn promise(&self, bytes: u64) -> Result<(), NoRoom> {
        let disk = self.store.disk();
        let mut used = self.used();
        let free_bytes = self.free(*used, disk);
        if bytes > free_bytes {
            return Err(NoRoom { free_bytes });
        }
        used.promised += bytes;
        Ok(())
    }

    fn used(&self) -> std::sync::MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room of one upload; given back when dropped, unless the file was published.
#[derive(Debug)]
pub(crate) struct Reservation {
    room: Arc<Room>,
    size: Option<u64>,
    promised: u64,
    stored: u64,
}

impl Reservation {
    /// So many more bytes come: those promised first, others only if they are free.
    pub(crate) fn take(&mut self, bytes: u64) -> Result<(), NoRoom> {
        let beyond = bytes.saturating_sub(self.promised);
        if beyond > 0 {
            self.room.promise(beyond)?;
            self.promised += beyond;
        }
        let mut used = self.room.used();
        used.promised -= bytes;
        used.stored += bytes;
        self.promised -= bytes;
        self.stored += bytes;
        Ok(())
    }

    /// Bytes past this offset are no longer stored, and are promised again if the size is known.
    pub(crate) fn rewind(&mut self, offset: u64) {
        let promised = self.size.unwrap_or(0).saturating_sub(offset);
        let mut used = self.room.used();
        used.stored = used.stored - self.stored + offset;
        used.promised = used.promised - self.promised + promised;
        (self.stored, self.promised) = (offset, promised);
    }

    /// The file was published: its bytes stay.
    pub(crate) fn publish(&mut self) {
        let mut used = self.room.used();
        used.promised -= self.promised;
        (self.stored, self.promised) = (0, 0);
    }

    /// The upload has ended without a file: nothing of it is stored or promised.
    pub(crate) fn give_back(&mut self) {
        let mut used = self.room.used();
        used.stored = used.stored.saturating_sub(self.stored);
        used.promised = used.promised.saturating_sub(self.promised);
        (self.stored, self.promised) = (0, 0);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::DiskOnly;

    fn room(limit: Option<u64>, disk: Option<(u64, u64)>) -> Arc<Room> {
        let disk = disk.map(|(total, available)| DiskSpace { total, available });
        Arc::new(Room::new(Arc::new(DiskOnly(disk)), limit, 10))
    }

    fn free(room: &Room) -> u64 {
        room.capacity().free_bytes
    }

    #[test]
    fn the_smaller_of_limit_and_disk_counts() {
        assert_eq!(room(Some(100), None).capacity(), Capacity { capacity_bytes: 100, free_bytes: 90 });
        assert_eq!(room(Some(100), Some((50, 20))).capacity(), Capacity { capacity_bytes: 50, free_bytes: 20 });
        assert_eq!(room(None, Some((500, 120))).capacity(), Capacity { capacity_bytes: 500, free_bytes: 120 });
        let unknown = room(None, None).capacity();
        assert_eq!(unknown, Capacity { capacity_bytes: 1 << 50, free_bytes: (1 << 50) - 10 });
        assert_eq!(free(&room(Some(5), None)), 0);
    }

    #[test]
    fn a_promise_is_kept_back_until_the_upload_ends() {
        let room = room(Some(100), None);
        let first = room.reserve(Some(60)).unwrap();
        assert_eq!(free(&room), 30);
        assert_eq!(room.reserve(Some(31)).unwrap_err(), NoRoom { free_bytes: 30 });
        drop(first);
        let mut second = room.reserve(Some(90)).unwrap();
        second.take(40).unwrap();
        assert_eq!(free(&room), 0);
        second.rewind(10);
        second.take(80).unwrap();
        second.publish();
        assert_eq!(free(&room), 0);
        room.deleted(90);
        assert_eq!(free(&room), 90);
    }

    #[test]
    fn an_upload_of_unknown_size_takes_as_it_goes_and_runs_out() {
        let room = room(Some(100), Some((1_000, 1_000)));
        let mut upload = room.reserve(None).unwrap();
        upload.take(90).unwrap();
        assert_eq!(upload.take(1).unwrap_err(), NoRoom { free_bytes: 0 });
        upload.rewind(50);
        assert_eq!(free(&room), 40);
        drop(upload);
        assert_eq!(free(&room), 90);
    }

    #[test]
    fn a_restored_upload_holds_what_it_has_and_what_it_was_promised() {
        let room = room(Some(100), None);
        let upload = room.restore(Some(50), 20);
        assert_eq!(free(&room), 40);
        drop(upload);
        assert_eq!(free(&room), 90);
    }
}
