//! The changes that the Admin Module has still to be told, in the order in which they happened.
//!
//! The truth is on the store, in the names of attributes ([`BlobStore::unreported`]); this is the queue in memory, bounded, that
//! saves looking there: what does not fit is counted and looked up when there is room.

use crate::store::{BlobStore, Change, StoreError, Unreported};
use artstore_api::element::RecordChange;
use artstore_metrics::{Clock, Monotonic};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// The most changes kept in memory.
pub(crate) const QUEUE_LIMIT: usize = 65_536;

/// The outbox. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Outbox<C> {
    store: Arc<dyn BlobStore>,
    queue: Arc<Mutex<Queue>>,
    filled: Arc<Notify>,
    clock: C,
    limit: usize,
}

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<(Unreported, Monotonic)>,
    /// How many changes are on the store alone, and since when.
    hidden: u64,
    hidden_since: Option<Monotonic>,
}

/// Changes to be told.
#[derive(Debug)]
pub(crate) struct Batch {
    /// What to send. May be empty: what was to be told is no longer so.
    pub(crate) changes: Vec<RecordChange>,
    /// What to acknowledge.
    taken: Vec<Unreported>,
    /// How many entries of the queue that settles.
    entries: usize,
}

impl<C: Clock> Outbox<C> {
    /// An outbox over a store on which so many changes are not acknowledged.
    pub(crate) fn new(store: Arc<dyn BlobStore>, unreported: u64, limit: usize, clock: C) -> Self {
        let hidden_since = (unreported > 0).then(|| clock.monotonic());
        let queue = Queue { entries: VecDeque::new(), hidden: unreported, hidden_since };
        Self { store, queue: Arc::new(Mutex::new(queue)), filled: Arc::default(), clock, limit }
    }

    /// A change that the store has made durable.
    pub(crate) fn push(&self, change: Unreported) {
        let now = self.clock.monotonic();
        let mut queue = self.queue();
        if queue.entries.len() < self.limit {
            queue.entries.push_back((change, now));
        } else {
            queue.hidden += 1;
            queue.hidden_since.get_or_insert(now);
        }
        drop(queue);
        self.filled.notify_one();
    }

    /// How many changes are not acknowledged.
    pub(crate) fn depth(&self) -> u64 {
        let queue = self.queue();
        queue.entries.len() as u64 + queue.hidden
    }

    /// How long the oldest of them has waited.
    pub(crate) fn oldest_age(&self) -> Duration {
        let now = self.clock.monotonic();
        let queue = self.queue();
        let front = queue.entries.front().map(|(_, since)| *since);
        front.into_iter().chain(queue.hidden_since).min().map_or(Duration::ZERO, |since| now.since(since))
    }

    /// Waits until there is something to tell.
    pub(crate) async fn filled(&self) {
        while self.depth() == 0 {
            self.filled.notified().await;
        }
    }

    /// The next changes, at most `limit`. They stay until [`acknowledged`](Self::acknowledged).
    pub(crate) async fn batch(&self, limit: usize) -> Result<Batch, StoreError> {
        self.refill().await?;
        let taken: Vec<Unreported> = self.queue().entries.iter().take(limit).map(|(change, _)| *change).collect();
        let mut batch = Batch { changes: Vec::new(), entries: taken.len(), taken: Vec::new() };
        for unreported in taken {
            let Unreported { file_id, change } = unreported;
            let told = match change {
                Change::Deleted => Some(RecordChange::Deleted { file_id }),
                Change::Published => match self.store.record(file_id).await {
                    Ok(record) => Some(RecordChange::Published { record: Box::new(record) }),
                    // Deleted since: that change follows.
                    Err(StoreError::NotFound) => None,
                    // It cannot be told, and must not hold up the others; the next start tries again.
                    Err(error @ StoreError::Damaged { .. }) => {
                        tracing::error!(%file_id, %error, "a file cannot be reported");
                        continue;
                    }
                    Err(error) => return Err(error),
                },
            };
            batch.changes.extend(told);
            batch.taken.push(unreported);
        }
        Ok(batch)
    }

    /// The Admin Module knows these changes.
    pub(crate) async fn acknowledged(&self, batch: Batch) -> Result<(), StoreError> {
        self.store.reported(&batch.taken).await?;
        self.queue().entries.drain(..batch.entries);
        Ok(())
    }

    /// The first change is not taken: the others go before it.
    pub(crate) fn postpone(&self) {
        let mut queue = self.queue();
        if let Some((change, since)) = queue.entries.pop_front() {
            tracing::error!(?change, "the Admin Module does not take this change; it is tried again after the others");
            queue.entries.push_back((change, since));
        }
    }

    /// Looks up what is on the store alone, once the queue is empty.
    async fn refill(&self) -> Result<(), StoreError> {
        let since = {
            let mut queue = self.queue();
            if !queue.entries.is_empty() || queue.hidden == 0 {
                return Ok(());
            }
            // What is pushed from now on is in the queue, and perhaps found as well: telling it twice changes nothing.
            queue.hidden = 0;
            queue.hidden_since.take().unwrap_or_else(|| self.clock.monotonic())
        };
        let found = self.store.unreported(self.limit).await;
        let mut queue = self.queue();
        match found {
            Ok(found) => {
                if found.len() == self.limit {
                    queue.hidden += 1;
                    queue.hidden_since = Some(since);
                }
                // Before what was pushed meanwhile, which is newer.
                for change in found.into_iter().rev() {
                    queue.entries.push_front((change, since));
                }
                Ok(())
            }
            Err(error) => {
                queue.hidden += 1;
                queue.hidden_since = Some(since);
                Err(error)
            }
        }
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::ElementMetrics;
    use crate::store::folder::FolderStore;
    use crate::store::tests::notes;
    use artstore_api::file::{FileId, FileRecord};
    use artstore_metrics::{Registry, TestClock, UnixTime};

    async fn publish(store: &Arc<dyn BlobStore>) -> Unreported {
        let file_id = FileId::generate();
        let mut record = serde_json::to_value(notes().attributes).unwrap();
        let more = serde_json::json!({ "file_id": file_id, "size": 0, "status": "active", "checksum": "",
            "uploaded_at": "2026-01-01T00:00:00Z", "expires_at": null });
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let record: FileRecord = serde_json::from_value(record).unwrap();
        store.one_shot(file_id, &notes()).await.unwrap().publish(&record).await.unwrap();
        Unreported { file_id, change: Change::Published }
    }

    fn ids(batch: &Batch) -> Vec<FileId> {
        let id = |change: &RecordChange| match change {
            RecordChange::Published { record } => record.file_id,
            RecordChange::Deleted { file_id } => *file_id,
        };
        batch.changes.iter().map(id).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_fit_is_looked_up_later() {
        let dir = tempfile::tempdir().unwrap();
        let metrics = ElementMetrics::new(&Registry::new(), Default::default);
        let store: Arc<dyn BlobStore> = Arc::new(FolderStore::open(dir.path(), metrics).unwrap());
        let clock = TestClock::starting_at(UnixTime::from_secs(0));
        let old = publish(&store).await;
        let outbox = Outbox::new(Arc::clone(&store), 1, 2, clock);
        tokio::time::advance(Duration::from_secs(5)).await;
        let mut all = vec![old.file_id];
        for _ in 0..4 {
            let change = publish(&store).await;
            all.push(change.file_id);
            outbox.push(change);
        }
        assert_eq!((outbox.depth(), outbox.oldest_age()), (5, Duration::from_secs(5)));
        let mut told = Vec::new();
        while outbox.depth() > 0 {
            let batch = outbox.batch(10).await.unwrap();
            told.extend(ids(&batch));
            outbox.acknowledged(batch).await.unwrap();
        }
        told.sort_unstable();
        assert_eq!(told, all);
        assert_eq!(outbox.oldest_age(), Duration::ZERO);
        assert_eq!(store.unreported(10).await.unwrap(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_acknowledged_is_told_again() {
        let dir = tempfile::tempdir().unwrap();
        let metrics = ElementMetrics::new(&Registry::new(), Default::default);
        let store: Arc<dyn BlobStore> = Arc::new(FolderStore::open(dir.path(), metrics).unwrap());
        let outbox = Outbox::new(Arc::clone(&store), 0, 2, TestClock::starting_at(UnixTime::from_secs(0)));
        let change = publish(&store).await;
        outbox.push(change);
        outbox.filled().await;
        for _ in 0..2 {
            assert_eq!(ids(&outbox.batch(10).await.unwrap()), [change.file_id]);
        }
        assert_eq!(outbox.depth(), 1);
    }
}
