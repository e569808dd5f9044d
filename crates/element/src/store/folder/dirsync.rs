//! Group commit: one sync of a directory serves every commit that was waiting for it when it began.

use crate::metrics::ElementMetrics;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

type Waiter = oneshot::Sender<Result<(), io::ErrorKind>>;

/// Syncs directories for many commits at once.
#[derive(Debug, Clone)]
pub(crate) struct DirectorySync {
    /// Those for whom the next sync is. A directory has an entry exactly while a thread is syncing it.
    waiting: Arc<Mutex<HashMap<PathBuf, Vec<Waiter>>>>,
    metrics: ElementMetrics,
}

impl DirectorySync {
    pub(crate) fn new(metrics: ElementMetrics) -> Self {
        Self { waiting: Arc::default(), metrics }
    }

    /// Waits until every entry that is in `directory` now is durable.
    pub(crate) async fn sync(&self, directory: &Path) -> io::Result<()> {
        let (done, wait) = oneshot::channel();
        if self.enqueue(directory, done) {
            let (this, directory) = (self.clone(), directory.to_owned());
            tokio::task::spawn_blocking(move || this.lead(&directory));
        }
        match wait.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(kind)) => Err(kind.into()),
            Err(_) => Err(io::Error::other("the directory was not synced: the process is ending")),
        }
    }

    /// Whether the caller must see to the sync.
    fn enqueue(&self, directory: &Path, done: Waiter) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.get_mut(directory) {
            Some(waiters) => {
                waiters.push(done);
                false
            }
            None => {
                waiting.insert(directory.to_owned(), vec![done]);
                true
            }
        }
    }

    /// Those who wait now; none of them means that the thread is no longer needed.
    fn batch(&self, directory: &Path) -> Vec<Waiter> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = waiting.get_mut(directory).map(std::mem::take).unwrap_or_default();
        if batch.is_empty() {
            waiting.remove(directory);
        }
        batch
    }

    fn lead(&self, directory: &Path) {
        loop {
            let batch = self.batch(directory);
            if batch.is_empty() {
                return;
            }
            let result = sync_directory(directory).map_err(|error| error.kind());
            self.metrics.directory_synced(batch.len());
            for waiter in batch {
                // A waiter that is gone needs no answer.
                let _ = waiter.send(result);
            }
        }
    }
}

/// Makes the entries of a directory durable.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use artstore_metrics::Registry;

    fn syncer() -> (Registry, DirectorySync) {
        let registry = Registry::new();
        let metrics = ElementMetrics::new(&registry, Default::default);
        (registry, DirectorySync::new(metrics))
    }

    #[tokio::test]
    async fn those_who_wait_share_one_sync() {
        let (registry, syncer) = syncer();
        let dir = tempfile::tempdir().unwrap();
        let mut waits = Vec::new();
        for number in 0..5 {
            let (done, wait) = oneshot::channel();
            assert_eq!(syncer.enqueue(dir.path(), done), number == 0);
            waits.push(wait);
        }
        syncer.lead(dir.path());
        for wait in waits {
            assert_eq!(wait.await.unwrap(), Ok(()));
        }
        assert_eq!(registry.sum_of("element_directory_sync_batch_commits_count", &[]), 1.0);
        assert_eq!(registry.sum_of("element_directory_sync_batch_commits_sum", &[]), 5.0);
        assert!(syncer.waiting.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_failed_sync_fails_every_commit_that_waited_for_it() {
        let (_registry, syncer) = syncer();
        let gone = Path::new("/nowhere/at/all");
        let (first, second) = tokio::join!(syncer.sync(gone), syncer.sync(gone));
        assert_eq!(first.unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
