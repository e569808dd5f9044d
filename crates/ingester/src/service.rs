//! The module as a whole: put together from its dependencies, it gives a router, its health and its background work.

use crate::app::App;
use crate::directory::Directory;
use crate::element::Elements;
use crate::health::IngesterHealth;
use crate::metrics::IngesterMetrics;
use crate::peer::Peers;
use crate::pipeline::UploadPipeline;
use crate::settings::IngesterSettings;
use crate::{docs, files, openapi, upload};
use artstore_api::Code;
use artstore_auth::{AuthService, TokenVerifier};
use artstore_http::{Client, Health};
use artstore_metrics::{Clock, Registry, SystemClock};
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What an Ingester works with.
#[derive(Clone)]
pub struct IngesterDeps<C: Clock = SystemClock> {
    /// The way to elements and to the Admin Module.
    pub client: Client<C>,
    /// Its own token, for elements and the Admin Module alike.
    pub auth: AuthService<C>,
    /// Checks the tokens of its clients.
    pub verifier: TokenVerifier<C>,
}

/// Why an Ingester cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// There is no Admin Module to ask for elements.
    #[error("at least one address of the Admin Module is needed")]
    NoAdmin,
    /// A limit is zero.
    #[error("{0} must be more than zero")]
    ZeroLimit(&'static str),
}

/// The Ingester Module.
pub struct Ingester<C: Clock = SystemClock> {
    app: Arc<App<C>>,
    health: Arc<IngesterHealth<C>>,
    background: TaskTracker,
}

impl<C: Clock> Ingester<C> {
    /// Puts the module together. Nothing is fetched before the first request or [`run_background`](Self::run_background).
    ///
    /// # Errors
    /// If the settings cannot work.
    #[expect(clippy::unused_async, reason = "all modules open alike, and some wait for their stores")]
    pub async fn open(
        settings: IngesterSettings,
        deps: IngesterDeps<C>,
        registry: &Registry,
        clock: C,
    ) -> Result<Self, OpenError> {
        check(&settings)?;
        let metrics = IngesterMetrics::new(registry, clock.clone());
        let settings = Arc::new(settings);
        let background = TaskTracker::new();
        let peers = Peers::new(deps.client, deps.auth.clone(), settings.max_answer_bytes);
        let directory = Directory::new(peers.clone(), settings.clone(), metrics.clone(), clock);
        let elements = Elements::new(peers.clone(), settings.clone());
        let pipeline = UploadPipeline::new(
            directory.clone(),
            elements.clone(),
            metrics.clone(),
            settings.clone(),
            background.clone(),
        );
        let health = Arc::new(IngesterHealth { auth: deps.auth, directory: directory.clone() });
        let app = App {
            uploads: Semaphore::new(settings.max_uploads),
            downloads: Arc::new(Semaphore::new(settings.max_downloads)),
            settings,
            verifier: deps.verifier,
            peers,
            directory,
            elements,
            pipeline,
            metrics,
        };
        Ok(Self { app: Arc::new(app), health, background })
    }

    /// Everything that the main listener serves.
    pub fn router(&self) -> Router {
        let health: Arc<dyn Health> = Arc::<IngesterHealth<C>>::clone(&self.health);
        Router::new()
            .route("/api/v1/files/upload", post(upload::multipart::<C>))
            .route("/api/v1/files", put(upload::raw::<C>))
            .route("/api/v1/files/{file_id}", get(files::record::<C>).delete(files::delete::<C>))
            .route("/api/v1/files/{file_id}/content", get(files::content::<C>).head(files::content::<C>))
            .route("/api/v1/openapi.json", get(openapi::serve))
            .route("/docs", get(docs::serve))
            .fallback(no_resource::<C>)
            .method_not_allowed_fallback(no_method::<C>)
            .with_state(Arc::clone(&self.app))
            .merge(artstore_http::health_router("/api/v1/health", health))
    }

    /// Readiness, with a reason for each dependency.
    #[must_use]
    pub fn health(&self) -> Arc<dyn Health> {
        Arc::<IngesterHealth<C>>::clone(&self.health)
    }

    /// The one path of uploads, for ways of uploading that are not in this crate's router.
    #[must_use]
    pub fn pipeline(&self) -> UploadPipeline<C> {
        self.app.pipeline.clone()
    }

    /// Keeps the list of elements fresh until `shutdown`; then waits, within a limit, for what runs on after its request.
    /// Cancel after the listener has drained, so that nothing begins any more.
    pub async fn run_background(&self, shutdown: CancellationToken) {
        let settings = &self.app.settings;
        let mut pause = settings.element_list_retry;
        loop {
            self.app.directory.renew_unless_tried().await;
            // Until all is well, look more often: elements that start with us report within seconds.
            let well = self.health.ready().status == artstore_http::Status::Ok;
            pause = if well { settings.element_list_ttl } else { (pause * 2).min(settings.element_list_ttl) };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.background.close();
        if tokio::time::timeout(settings.drain_timeout, self.background.wait()).await.is_err() {
            tracing::warn!(left = self.background.len(), "shutting down before all sessions are given up");
        }
    }
}

impl<C: Clock> std::fmt::Debug for Ingester<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ingester").field("settings", &self.app.settings).finish_non_exhaustive()
    }
}

fn check(settings: &IngesterSettings) -> Result<(), OpenError> {
    if settings.admin_urls.is_empty() {
        return Err(OpenError::NoAdmin);
    }
    let limits = [
        (settings.max_file_bytes == 0, "max_file_bytes"),
        (settings.one_shot_bytes == 0, "one_shot_bytes"),
        (settings.max_uploads == 0, "max_uploads"),
        (settings.max_downloads == 0, "max_downloads"),
        (settings.max_candidates == 0, "max_candidates"),
        (settings.max_field_bytes == 0, "max_field_bytes"),
        (settings.max_answer_bytes == 0, "max_answer_bytes"),
        (settings.read_timeout.is_zero(), "read_timeout"),
        (settings.element_stall_timeout.is_zero(), "element_stall_timeout"),
        (settings.request_timeout.is_zero(), "request_timeout"),
        (settings.publish_timeout.is_zero(), "publish_timeout"),
        (settings.element_list_ttl.is_zero(), "element_list_ttl"),
        (settings.element_list_retry.is_zero(), "element_list_retry"),
    ];
    match limits.into_iter().find(|(zero, _)| *zero) {
        Some((_, name)) => Err(OpenError::ZeroLimit(name)),
        None => Ok(()),
    }
}

async fn no_resource<C: Clock>(State(app): State<Arc<App<C>>>) -> Response {
    app.metrics.problem_answered(Code::NotFound);
    artstore_http::problem::not_found().await.into_response()
}

async fn no_method<C: Clock>(State(app): State<Arc<App<C>>>) -> Response {
    app.metrics.problem_answered(Code::ValidationError);
    artstore_http::problem::method_not_allowed().await.into_response()
}
