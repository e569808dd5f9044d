//! One Storage Element: its parts put together, its router, health and background work.

use crate::api;
use crate::metrics::{DeleteCause, ElementMetrics, Standing};
use crate::outbox::{Outbox, QUEUE_LIMIT};
use crate::refusal::Refusal;
use crate::report::{ReportStanding, Reporter, pause};
use crate::room::Room;
use crate::settings::{ElementSettings, StoreSettings};
use crate::store::folder::{FolderStore, OpenFolderError};
use crate::store::s3::{OpenS3Error, S3Store};
use crate::store::{BlobStore, Change, StoreError, Unreported};
use crate::uploads::{Parts, Uploads};
use artstore_api::FileId;
use artstore_api::element::ElementMode;
use artstore_auth::{AuthService, TokenVerifier};
use artstore_http::{Client, Dependency, Health, HealthReport};
use artstore_metrics::{Clock, Registry, SystemClock};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The most expired files that one look removes before it looks again.
const EXPIRED_BATCH: usize = 1_000;
/// How long uploads under way may take to make durable what they have when the element ends.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a Storage Element needs of others.
#[derive(Debug, Clone)]
pub struct ElementDeps<C: Clock = SystemClock> {
    /// Checks the tokens of Ingesters: audience `artstore-element`.
    pub verifier: TokenVerifier<C>,
    /// Reaches the Admin Modules.
    pub client: Client<C>,
    /// Gets the tokens for reports: scope `elements:report`. Without it, or without
    /// [`admin_urls`](ElementSettings::admin_urls), nothing is reported.
    pub auth: Option<AuthService<C>>,
    /// Reaches the S3 endpoint; `client` if there is none.
    pub s3_client: Option<Client<C>>,
}

/// Why an element does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be used.
    #[error("the folder store cannot be opened")]
    Folder(#[from] OpenFolderError),
    /// The bucket cannot be used.
    #[error("the S3 store cannot be opened")]
    S3(#[from] OpenS3Error),
    /// The store could not be scanned.
    #[error("the store could not be scanned")]
    Scan(#[from] StoreError),
}

/// A Storage Element. Clones share it.
#[derive(Debug)]
pub struct Element<C: Clock = SystemClock> {
    inner: Arc<Inner<C>>,
    reporter: Option<Arc<Reporter<C>>>,
}

impl<C: Clock> Clone for Element<C> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), reporter: self.reporter.clone() }
    }
}

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct Inner<C: Clock> {
    pub(crate) settings: Arc<ElementSettings>,
    pub(crate) store: Arc<dyn BlobStore>,
    pub(crate) room: Arc<Room>,
    pub(crate) uploads: Uploads<C>,
    pub(crate) outbox: Outbox<C>,
    pub(crate) metrics: ElementMetrics,
    pub(crate) verifier: TokenVerifier<C>,
    pub(crate) clock: C,
    reports: Option<ReportStanding>,
    _measured: Arc<Measured<C>>,
}

/// What a scrape asks.
#[derive(Debug)]
struct Measured<C> {
    room: Arc<Room>,
    outbox: Outbox<C>,
}

impl<C: Clock> Element<C> {
    /// Opens the store, sweeps what interrupted work left there, finds the uploads that can be continued and the changes that
    /// the Admin Module does not know, and registers the element's families.
    ///
    /// # Errors
    /// The store cannot be used.
    pub async fn open(
        settings: ElementSettings,
        deps: ElementDeps<C>,
        registry: &Registry,
        clock: C,
    ) -> Result<Self, OpenError> {
        let settings = Arc::new(settings);
        // Weak: a registry that outlives the element must not keep its folder locked.
        let measured: Arc<OnceLock<Weak<Measured<C>>>> = Arc::default();
        let metrics = ElementMetrics::new(registry, {
            let measured = Arc::clone(&measured);
            move || measured.get().and_then(Weak::upgrade).map_or_else(Standing::default, |parts| parts.standing())
        });
        let store: Arc<dyn BlobStore> = match &settings.store {
            StoreSettings::Folder { dir } => Arc::new(FolderStore::open(dir, metrics.clone())?),
            StoreSettings::S3(s3) => {
                let client = deps.s3_client.clone().unwrap_or_else(|| deps.client.clone());
                Arc::new(S3Store::open(s3, client, metrics.clone())?)
            }
        };
        let scan = store.scan().await?;
        metrics.scanned(scan.files);
        let in_uploads: u64 = scan.sessions.iter().map(|session| session.offset).sum();
        let published = scan.bytes.saturating_sub(in_uploads);
        let room = Arc::new(Room::new(Arc::clone(&store), settings.capacity_limit, published));
        let outbox = Outbox::new(Arc::clone(&store), scan.unreported, QUEUE_LIMIT, clock.clone());
        let parts = Arc::new(Measured { room: Arc::clone(&room), outbox: outbox.clone() });
        // Nothing has set it before.
        let _ = measured.set(Arc::downgrade(&parts));
        tracing::info!(
            element_id = settings.element_id,
            files = scan.files,
            uploads = scan.sessions.len(),
            unreported = scan.unreported,
            "the store is open"
        );
        let uploads = Uploads::new(
            Parts {
                store: Arc::clone(&store),
                room: Arc::clone(&room),
                outbox: outbox.clone(),
                metrics: metrics.clone(),
                clock: clock.clone(),
                settings: Arc::clone(&settings),
            },
            scan.sessions,
        );
        let auth = deps.auth.filter(|_| !settings.admin_urls.is_empty());
        let reporter = auth.map(|auth| {
            Arc::new(Reporter {
                client: deps.client,
                auth,
                settings: Arc::clone(&settings),
                outbox: outbox.clone(),
                room: Arc::clone(&room),
                metrics: metrics.clone(),
                standing: ReportStanding::default(),
                current: AtomicUsize::new(0),
            })
        });
        let reports = reporter.as_ref().map(|reporter| reporter.standing.clone());
        let verifier = deps.verifier;
        let inner =
            Inner { settings, store, room, uploads, outbox, metrics, verifier, clock, reports, _measured: parts };
        Ok(Self { inner: Arc::new(inner), reporter })
    }

    /// The element's API. It answers no request without a token; the listener must ask for a client certificate.
    pub fn router(&self) -> axum::Router {
        api::router(Arc::clone(&self.inner))
    }

    /// Whether the element can serve: its store, and whether it can report.
    #[must_use]
    pub fn health(&self) -> Arc<dyn Health> {
        let inner = Arc::clone(&self.inner);
        Arc::new(move || inner.health())
    }

    /// Reports, and removes expired files and abandoned uploads, until cancelled; then waits for uploads under way and tells the
    /// Admin Module what is left, both for a limited time.
    pub async fn run_background(&self, shutdown: CancellationToken) {
        let reports = async {
            if let Some(reporter) = &self.reporter {
                reporter.run(&shutdown).await;
            }
        };
        let sweeps = async {
            while !shutdown.is_cancelled() {
                self.sweep().await;
                pause(self.inner.settings.sweep_interval, &shutdown).await;
            }
            self.inner.uploads.settle(SETTLE_TIMEOUT).await;
        };
        tokio::join!(reports, sweeps);
    }

    #[cfg(test)]
    pub(crate) fn reporter(&self) -> Option<&Reporter<C>> {
        self.reporter.as_deref()
    }

    /// Removes what has expired by now: files of an element of mode `edit`, and uploads that nobody continues.
    pub async fn sweep(&self) {
        let abandoned = self.inner.uploads.sweep().await;
        let expired = match self.inner.settings.mode {
            ElementMode::Edit => self.inner.sweep_files().await,
            ElementMode::Rw => 0,
        };
        if abandoned + expired > 0 {
            tracing::info!(abandoned, expired, "swept uploads and files");
        }
    }
}

impl<C: Clock> Inner<C> {
    /// Deletes a file, durably, and tells the outbox.
    pub(crate) async fn delete(self: &Arc<Self>, file_id: FileId, cause: DeleteCause) -> Result<(), Refusal> {
        let (this, claim) = (Arc::clone(self), self.uploads.claim(file_id)?);
        // In a task, so that a client that goes away leaves no half-done step.
        let deleted = tokio::spawn(async move {
            let _claim = claim;
            let size = this.store.delete(file_id).await?;
            this.room.deleted(size);
            this.metrics.deleted(cause);
            this.outbox.push(Unreported { file_id, change: Change::Deleted });
            Ok::<(), StoreError>(())
        });
        match deleted.await {
            Ok(deleted) => Ok(deleted?),
            Err(error) => Err(Refusal::Failed(std::io::Error::other(error).into())),
        }
    }

    async fn sweep_files(self: &Arc<Self>) -> usize {
        let mut removed = 0;
        loop {
            let expired = match self.store.expired(self.clock.wall(), EXPIRED_BATCH).await {
                Ok(expired) => expired,
                Err(error) => {
                    tracing::error!(%error, "the store could not say which files have expired");
                    return removed;
                }
            };
            let before = removed;
            for file_id in &expired {
                match self.delete(*file_id, DeleteCause::Expired).await {
                    Ok(()) => removed += 1,
                    Err(refusal) => tracing::error!(%file_id, ?refusal, "an expired file could not be removed"),
                }
            }
            // The next sweep tries again what could not be removed now.
            if expired.len() < EXPIRED_BATCH || removed == before {
                return removed;
            }
        }
    }

    fn health(&self) -> HealthReport {
        let store = match self.room.capacity().free_bytes {
            0 => Dependency::degraded("store", "no byte is free"),
            _ => Dependency::ok("store"),
        };
        let reports = self.reports.iter().map(ReportStanding::dependency);
        HealthReport::of(std::iter::once(store).chain(reports).collect())
    }
}

impl<C: Clock> Measured<C> {
    fn standing(&self) -> Standing {
        let capacity = self.room.capacity();
        Standing {
            capacity_bytes: capacity.capacity_bytes,
            free_bytes: capacity.free_bytes,
            outbox_changes: self.outbox.depth(),
            outbox_oldest_age: self.outbox.oldest_age(),
        }
    }
}
