//! Telling the Admin Module: a heartbeat, and the outbox in batches. Everything is told until it is acknowledged.

use crate::metrics::{ElementMetrics, Report, ReportResult};
use crate::outbox::Outbox;
use crate::room::Room;
use crate::settings::ElementSettings;
use artstore_api::element::{ElementReport, MAX_RECORDS, RecordBatch};
use artstore_auth::{AccessToken, AuthService};
use artstore_http::{Client, ClientError, Dependency, ResponseTimeout};
use artstore_metrics::Clock;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The pause after the first failed report; doubled up to the heartbeat.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// How long the last reports may take when the element ends.
const LAST_REPORTS_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer to a report that is read to its end.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Tells the Admin Module.
#[derive(Debug)]
pub(crate) struct Reporter<C: Clock> {
    pub(crate) client: Client<C>,
    pub(crate) auth: AuthService<C>,
    pub(crate) settings: Arc<ElementSettings>,
    pub(crate) outbox: Outbox<C>,
    pub(crate) room: Arc<Room>,
    pub(crate) metrics: ElementMetrics,
    pub(crate) standing: ReportStanding,
    /// Which of the Admin Modules answered last.
    pub(crate) current: AtomicUsize,
}

/// How the last report ended, for the health check. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReportStanding(Arc<Mutex<Option<ReportResult>>>);

impl ReportStanding {
    fn note(&self, result: ReportResult) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    }

    /// What the health check says.
    pub(crate) fn dependency(&self) -> Dependency {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(ReportResult::Acknowledged) => Dependency::ok("admin"),
            None => Dependency::degraded("admin", "nothing was reported yet"),
            Some(ReportResult::Unreachable) => {
                Dependency::degraded("admin", "the Admin Module cannot be reached; records catch up later")
            }
            Some(ReportResult::Refused) => Dependency::degraded("admin", "the Admin Module refuses reports"),
            Some(ReportResult::Denied) => {
                Dependency::degraded("admin", "the Admin Module takes no report of this account")
            }
            Some(ReportResult::NoToken) => Dependency::degraded("admin", "no token for reports can be had"),
        }
    }
}

impl<C: Clock> Reporter<C> {
    /// Reports until cancelled, then tries once more to tell what is left.
    pub(crate) async fn run(&self, shutdown: &CancellationToken) {
        tokio::join!(self.heartbeats(shutdown), self.records(shutdown));
        let rest = async {
            while self.outbox.depth() > 0 && self.tell(self.settings.outbox_batch).await == ReportResult::Acknowledged {
            }
        };
        if tokio::time::timeout(LAST_REPORTS_TIMEOUT, rest).await.is_err() || self.outbox.depth() > 0 {
            tracing::info!(changes = self.outbox.depth(), "changes are told after the next start");
        }
    }

    async fn heartbeats(&self, shutdown: &CancellationToken) {
        while !shutdown.is_cancelled() {
            self.heartbeat().await;
            pause(self.settings.heartbeat, shutdown).await;
        }
    }

    /// Reports the element itself.
    pub(crate) async fn heartbeat(&self) -> ReportResult {
        let report =
            ElementReport { url: self.settings.url.clone(), mode: self.settings.mode, capacity: self.room.capacity() };
        let path = format!("/api/v1/storage-elements/{}", self.settings.element_id);
        let result = match serde_json::to_vec(&report) {
            Ok(json) => self.send(Method::PUT, &path, json).await,
            Err(error) => {
                tracing::error!(%error, "a heartbeat could not be written");
                ReportResult::Refused
            }
        };
        self.metrics.reported(Report::Heartbeat, result);
        result
    }

    async fn records(&self, shutdown: &CancellationToken) {
        let (mut wait, mut limit) = (FIRST_PAUSE, self.settings.outbox_batch);
        while !shutdown.is_cancelled() {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.outbox.filled() => {}
            }
            if self.outbox.depth() < limit as u64 {
                // Others may come, to be told with it.
                pause(self.settings.outbox_delay, shutdown).await;
            }
            let result = self.tell(limit).await;
            match result {
                ReportResult::Acknowledged => {
                    (wait, limit) = (FIRST_PAUSE, self.settings.outbox_batch);
                    continue;
                }
                // One change that the Admin Module does not take must not hold up the others: find it, and put it last.
                ReportResult::Refused if limit > 1 => {
                    limit = (limit / 2).min(usize::try_from(self.outbox.depth()).unwrap_or(limit)).max(1);
                    continue;
                }
                ReportResult::Refused => self.outbox.postpone(),
                ReportResult::Unreachable | ReportResult::NoToken | ReportResult::Denied => {}
            }
            pause(wait, shutdown).await;
            wait = (wait * 2).min(self.settings.heartbeat.max(FIRST_PAUSE));
        }
    }

    /// Tells at most `limit` changes.
    pub(crate) async fn tell(&self, limit: usize) -> ReportResult {
        let batch = match self.outbox.batch(limit.clamp(1, MAX_RECORDS)).await {
            Ok(batch) => batch,
            Err(error) => {
                tracing::error!(%error, "the store could not say what is to be reported");
                return ReportResult::Unreachable;
            }
        };
        if !batch.changes.is_empty() {
            let report = RecordBatch { element_id: self.settings.element_id.clone(), changes: batch.changes.clone() };
            let result = match serde_json::to_vec(&report) {
                Ok(json) => self.send(Method::POST, "/api/v1/files", json).await,
                Err(_) => ReportResult::Refused,
            };
            self.metrics.reported(Report::Records, result);
            if result != ReportResult::Acknowledged {
                return result;
            }
        }
        if let Err(error) = self.outbox.acknowledged(batch).await {
            // They are told again.
            tracing::error!(%error, "the store could not note what was acknowledged");
            return ReportResult::Unreachable;
        }
        ReportResult::Acknowledged
    }

    /// Sends to the Admin Modules in turn, beginning with the one that answered last.
    async fn send(&self, method: Method, path: &str, json: Vec<u8>) -> ReportResult {
        let urls = &self.settings.admin_urls;
        let first = self.current.load(Ordering::Relaxed);
        let mut result = ReportResult::Unreachable;
        for turn in 0..urls.len() {
            let index = (first + turn) % urls.len();
            let url = format!("{}{path}", urls.get(index).map_or("", |url| url.trim_end_matches('/')));
            result = self.send_to(&method, &url, &json).await;
            match result {
                ReportResult::Acknowledged | ReportResult::Refused | ReportResult::Denied => {
                    self.current.store(index, Ordering::Relaxed);
                    break;
                }
                ReportResult::NoToken => break,
                ReportResult::Unreachable => {}
            }
        }
        self.standing.note(result);
        result
    }

    async fn send_to(&self, method: &Method, url: &str, json: &[u8]) -> ReportResult {
        for _ in 0..2 {
            let token = match self.auth.access_token().await {
                Ok(token) => token,
                Err(error) => {
                    tracing::warn!(%error, "no token for a report");
                    return ReportResult::NoToken;
                }
            };
            let Some(status) = self.attempt(method, url, json, &token).await else {
                return ReportResult::Unreachable;
            };
            if status.is_success() {
                return ReportResult::Acknowledged;
            }
            tracing::warn!(url, status = status.as_u16(), "the Admin Module refused a report");
            match status {
                // Once more with a new token.
                StatusCode::UNAUTHORIZED => self.auth.invalidate(token.generation()),
                StatusCode::BAD_REQUEST
                | StatusCode::CONFLICT
                | StatusCode::PAYLOAD_TOO_LARGE
                | StatusCode::UNPROCESSABLE_ENTITY => return ReportResult::Refused,
                StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => return ReportResult::Denied,
                _ => return ReportResult::Unreachable,
            }
        }
        ReportResult::Denied
    }

    /// One request; its status, if there was an answer in time.
    async fn attempt(&self, method: &Method, url: &str, json: &[u8], token: &AccessToken) -> Option<StatusCode> {
        let limit = self.settings.report_timeout;
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, token.authorization())
            .extension(ResponseTimeout(limit))
            .body(artstore_http::body::full(json.to_vec()));
        let request = request.inspect_err(|error| tracing::error!(%error, url, "not a URL for reports")).ok()?;
        // A token that is bound to a certificate goes over connections that show it.
        let client = self.client.for_identity(token.identity());
        let answered = async {
            let response = client.send(request).await?;
            let status = response.status();
            // What it says besides is of no interest, but left unread it would cost the connection.
            let _ = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
            Ok::<_, ClientError>(status)
        };
        match tokio::time::timeout(limit * 2, answered).await {
            Ok(Ok(status)) => Some(status),
            Ok(Err(error)) => {
                tracing::warn!(url, %error, "a report did not reach the Admin Module");
                None
            }
            Err(_) => {
                tracing::warn!(url, "a report took too long");
                None
            }
        }
    }
}

/// Waits, unless the element ends.
pub(crate) async fn pause(duration: Duration, shutdown: &CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = tokio::time::sleep(duration) => {}
    }
}
