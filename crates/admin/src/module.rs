//! The module as a whole: opened, its work in the background, its health.

use crate::elements::Fleet;
use crate::issuer::Issuer;
use crate::keys::{KeyError, KeyRing};
use crate::limiter::FailureLimiter;
use crate::metrics::{AdminMetrics, Reload};
use crate::settings::AdminSettings;
use crate::store::{Store, StoreError, millis};
use artstore_api::scope::AUDIENCE_ADMIN;
use artstore_auth::{JwksSource, SettingsError, TokenVerifier, VerifierSettings};
use artstore_http::health::{Dependency, Health, HealthReport};
use artstore_metrics::{Clock, Registry, SystemClock};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Why the module does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Settings that cannot be.
    #[error("{}", .0.join("; "))]
    Settings(Vec<String>),
    /// The folder of keys.
    #[error("signing keys: {0}")]
    Keys(#[from] KeyError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The verifier of the module's own API.
    #[error("verifier: {0}")]
    Verifier(#[from] SettingsError),
    /// A task of the start did not end.
    #[error("the start was broken off")]
    BrokenOff,
}

/// The Admin Module. Clones share it.
pub struct Admin<C: Clock = SystemClock> {
    pub(crate) shared: Arc<Shared<C>>,
}

impl<C: Clock> Clone for Admin<C> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<C: Clock> std::fmt::Debug for Admin<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

/// What every request and the background work on.
pub(crate) struct Shared<C: Clock> {
    pub(crate) settings: AdminSettings,
    pub(crate) store: Store,
    pub(crate) keys: Arc<KeyRing<C>>,
    pub(crate) issuer: Issuer<C>,
    pub(crate) verifier: TokenVerifier<C>,
    pub(crate) fleet: Arc<Fleet<C>>,
    pub(crate) limiter: Arc<FailureLimiter<C>>,
    pub(crate) metrics: AdminMetrics,
    pub(crate) clock: C,
    /// Why the last operation of the database failed; `None` if it did not.
    store_trouble: Mutex<Option<String>>,
    /// Why the last look into the folder of keys failed; `None` if it did not.
    key_trouble: Mutex<Option<String>>,
}

impl<C: Clock> Shared<C> {
    /// Now, in milliseconds since the epoch.
    pub(crate) fn now(&self) -> i64 {
        millis(self.clock.wall())
    }

    /// Without the database nothing works; with the keys that it has the module goes on.
    fn ready(&self) -> HealthReport {
        let trouble = |of: &Mutex<Option<String>>| of.lock().unwrap_or_else(PoisonError::into_inner).clone();
        HealthReport::of(vec![
            trouble(&self.store_trouble)
                .map_or_else(|| Dependency::ok("database"), |reason| Dependency::fail("database", reason)),
            trouble(&self.key_trouble)
                .map_or_else(|| Dependency::ok("signing_keys"), |reason| Dependency::degraded("signing_keys", reason)),
        ])
    }

    /// Notes how an operation of the database went, for health, metrics and log.
    pub(crate) fn noted<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        let trouble = result.as_ref().err().map(ToString::to_string);
        if let Some(error) = &trouble {
            self.metrics.store_failed();
            tracing::error!(%error, "the database did not do what it was asked");
        }
        *self.store_trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
        result
    }
}

impl<C: Clock> Admin<C> {
    /// Opens keys and database; makes both on first start. Registers the module's families.
    ///
    /// # Errors
    /// What stands in the way, in one line.
    pub async fn open(settings: AdminSettings, registry: &Registry, clock: C) -> Result<Self, OpenError> {
        let problems = settings.problems();
        if !problems.is_empty() {
            return Err(OpenError::Settings(problems));
        }
        let keys = {
            let (dir, algorithm, settle) = (settings.keys_dir.clone(), settings.algorithm, settings.key_settle);
            let clock = clock.clone();
            let open = move || KeyRing::open(&dir, algorithm, settle, clock);
            Arc::new(tokio::task::spawn_blocking(open).await.map_err(|_| OpenError::BrokenOff)??)
        };
        let store = Store::open(&settings).await?;
        let fleet = Arc::new(Fleet::new(settings.element_offline_after, clock.clone()));
        fleet.replace(&store.elements().await?);
        let metrics = AdminMetrics::new(registry);
        metrics.counted(store.count_files().await?);
        let limiter = Arc::new(FailureLimiter::new(settings.failure_limits, clock.clone()));
        AdminMetrics::observe(registry, Arc::clone(&keys), Arc::clone(&fleet), Arc::clone(&limiter));
        let issuer = Issuer::new(settings.issuer.clone(), settings.token_lifetime, Arc::clone(&keys), clock.clone());
        let verifier = {
            let keys = Arc::clone(&keys);
            let source = JwksSource::Local(Arc::new(move || keys.key_set()));
            TokenVerifier::new(VerifierSettings::new(&settings.issuer, AUDIENCE_ADMIN, source), None, clock.clone())?
        };
        let (store_trouble, key_trouble) = (Mutex::default(), Mutex::default());
        let shared = Shared {
            settings,
            store,
            keys,
            issuer,
            verifier,
            fleet,
            limiter,
            metrics,
            clock,
            store_trouble,
            key_trouble,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Whether the module can serve: it answers from how the last operations went.
    #[must_use]
    pub fn health(&self) -> Arc<dyn Health> {
        let shared = Arc::clone(&self.shared);
        Arc::new(move || shared.ready())
    }

    /// Reads the folder of keys again, sweeps the index and counts, each at its interval, until cancelled. Requests that are
    /// still being served go on: every change is durable once it is answered, so nothing is left to flush.
    pub async fn run_background(&self, shutdown: CancellationToken) {
        let settings = &self.shared.settings;
        let [mut keys, mut sweep] = [settings.key_check_interval, settings.sweep_interval].map(interval);
        for timer in [&mut keys, &mut sweep] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                _ = keys.tick() => {
                    self.reload_keys().await;
                    // Noted for the health check.
                    let _ = self.shared.noted(self.shared.store.ping().await);
                }
                _ = sweep.tick() => {
                    // An error is noted where it happened; the next sweep tries again.
                    let _ = self.sweep().await;
                }
            }
        }
    }

    /// Closes the database, once no request is being served any more. Whoever comes later is answered with an error.
    pub async fn close(&self) {
        self.shared.store.close().await;
    }

    /// Reads the folder of keys again.
    pub(crate) async fn reload_keys(&self) {
        let keys = Arc::clone(&self.shared.keys);
        let result = match tokio::task::spawn_blocking(move || keys.reload()).await {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(_) => Err("the check was broken off".to_owned()),
        };
        let mut trouble = self.shared.key_trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(changed) => {
                if changed || trouble.is_some() {
                    tracing::info!(changed, "the signing keys are readable");
                }
                *trouble = None;
                self.shared.metrics.reloaded(if changed { Reload::Changed } else { Reload::Unchanged });
            }
            Err(error) => {
                if trouble.as_ref() != Some(&error) {
                    tracing::error!(%error, "the signing keys stay as they were");
                }
                *trouble = Some(error);
                self.shared.metrics.reloaded(Reload::Failed);
            }
        }
    }

    /// Removes what is over from the database, and counts the rest.
    pub(crate) async fn sweep(&self) -> Result<(), StoreError> {
        let shared = &*self.shared;
        let (settings, wall) = (&shared.settings, shared.clock.wall());
        let expired = millis(wall.minus(settings.expired_retention));
        let told_before = millis(wall.minus(settings.tombstone_retention));
        let swept = shared.noted(shared.store.sweep_files(expired, told_before).await)?;
        shared.metrics.swept(swept);
        let forget_before = millis(wall.minus(settings.forget_elements_after));
        let forgotten = shared.noted(shared.store.forget_elements(forget_before).await)?;
        if forgotten > 0 {
            tracing::warn!(forgotten, "elements that have not reported for long left the list");
        }
        shared.noted(shared.store.sweep_assertions(millis(wall)).await)?;
        shared.fleet.replace(&shared.noted(shared.store.elements().await)?);
        shared.metrics.counted(shared.noted(shared.store.count_files().await)?);
        Ok(())
    }
}
