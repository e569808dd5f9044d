//! Demo traffic: a client that uploads a small file again and again, and deletes the older ones.

use crate::development::Certificates;
use crate::failure::Failure;
use artstore_api::file::RetentionPolicy;
use artstore_api::{Code, FileId};
use artstore_client::{
    Backoff, BaseUrl, ConnectSettings, Connection, Digest, Known, Limits, SecretSource, Session, Upload, Uploader,
};
use artstore_metrics::{Clock as _, Monotonic, SystemClock};
use secrecy::SecretString;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// What is uploaded.
const CONTENT: [u8; 4096] = [b'a'; 4096];
/// Of so many uploads one is permanent, so that the element for those is seen at work; no client can delete it.
const PERMANENT_EACH: u64 = 60;
/// How many temporary files stay.
const KEPT: usize = 20;
/// How long a deletion may take: it must not hold up the uploads.
const DELETION: Duration = Duration::from_secs(1);
/// How many files at most wait to be deleted; what finds no place expires within a day.
const WAITING: usize = 1_000;
/// At most one line is logged for each kind of failure in this time.
const QUIET: Duration = Duration::from_secs(10);
/// How long what is under way may take when the traffic ends.
const LAST_ONES: Duration = Duration::from_secs(2);

/// Where the traffic goes and as whom.
pub(super) struct Way<'a> {
    pub(super) admin: &'a str,
    pub(super) ingester: &'a str,
    pub(super) certificates: &'a Certificates,
    pub(super) client_id: &'a str,
    pub(super) secret: SecretString,
    pub(super) backoff: Backoff,
}

impl Way<'_> {
    /// A session of the client's account.
    ///
    /// # Errors
    /// A certificate or an address that cannot be used.
    pub(super) fn session(&self) -> Result<Session, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::failed(format!("demo traffic: {error}"));
        let client = &self.certificates.client;
        let settings = ConnectSettings {
            admin: vec![BaseUrl::parse(self.admin).map_err(|error| failed(&error))?],
            ca_cert: Some(self.certificates.ca.clone()),
            identity: Some((client.cert.clone(), client.key.clone())),
            client_id: self.client_id.to_owned(),
            secret: SecretSource::Inline(self.secret.clone()),
            scope: Vec::new(),
        };
        let connection = Connection::open_pausing(settings, self.backoff).map_err(|error| failed(&error))?;
        let base = BaseUrl::parse(self.ingester).map_err(|error| failed(&error))?;
        // What fails is told and followed by the next one.
        let limits = Limits { attempts: 1, ..Limits::default() };
        Ok(connection.session(base, limits))
    }
}

/// The traffic under way.
pub(super) struct Traffic {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Traffic {
    /// Starts it, at so many uploads a second.
    pub(super) fn start(session: Session, rate: f64) -> Self {
        let shutdown = CancellationToken::new();
        let client = Client {
            uploader: Uploader::new(session.clone()),
            session,
            files: VecDeque::new(),
            uploads: QuietLog::new("upload"),
            deletions: QuietLog::new("deletion"),
        };
        let task = tokio::spawn(client.run(rate, shutdown.clone()));
        Self { shutdown, task }
    }

    /// Ends it; what is under way gets a moment.
    pub(super) async fn stop(mut self) {
        self.shutdown.cancel();
        if tokio::time::timeout(LAST_ONES, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

/// One thing after the other: no request of it meets another one of it on the way.
struct Client {
    uploader: Uploader,
    session: Session,
    /// The temporary files that are there, the oldest first.
    files: VecDeque<FileId>,
    uploads: QuietLog,
    deletions: QuietLog,
}

impl Client {
    async fn run(mut self, rate: f64, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut count = 0_u64;
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            count += 1;
            self.upload(count.is_multiple_of(PERMANENT_EACH)).await;
            self.delete_older().await;
        }
    }

    async fn upload(&mut self, permanent: bool) {
        let upload = Upload {
            filename: Some("demo.bin".to_owned()),
            retention_policy: if permanent { RetentionPolicy::Permanent } else { RetentionPolicy::Temporary },
            ttl_days: (!permanent).then_some(1),
            tags: vec!["demo".to_owned()],
            digest: Known::Is(Digest::of(&CONTENT)),
            ..Upload::default()
        };
        match self.uploader.stream(&CONTENT[..], Some(CONTENT.len() as u64), &upload).await {
            Ok(uploaded) if !permanent => self.files.push_back(uploaded.record.file_id),
            Ok(_) => {}
            Err(error) => self.uploads.failed(&error),
        }
    }

    /// Deletes all but the newest, two at most: what was left behind by a fault goes little by little. A file whose element
    /// cannot be asked now has its turn again later.
    async fn delete_older(&mut self) {
        for _ in 0..2 {
            if self.files.len() <= KEPT {
                return;
            }
            let Some(oldest) = self.files.pop_front() else { return };
            let failure = match tokio::time::timeout(DELETION, self.session.delete(oldest)).await {
                Ok(Ok(())) => continue,
                Ok(Err(error)) if error.code() == Some(Code::NotFound) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(late) => late.to_string(),
            };
            self.deletions.failed(&failure);
            self.files.push_back(oldest);
            self.files.truncate(WAITING);
            return;
        }
    }
}

/// Logs failures, but not each of many.
struct QuietLog {
    what: &'static str,
    clock: SystemClock,
    last: Option<Monotonic>,
    untold: u64,
}

impl QuietLog {
    fn new(what: &'static str) -> Self {
        Self { what, clock: SystemClock::new(), last: None, untold: 0 }
    }

    fn failed(&mut self, error: &dyn std::fmt::Display) {
        if self.is_due(self.clock.monotonic()) {
            let (what, untold) = (self.what, std::mem::take(&mut self.untold));
            tracing::warn!(what, failures_before = untold, "demo traffic: {error}");
        }
    }

    /// Whether a failure of this moment is told; if not, it is counted.
    fn is_due(&mut self, now: Monotonic) -> bool {
        let due = self.last.is_none_or(|last| now.since(last) >= QUIET);
        if due {
            self.last = Some(now);
        } else {
            self.untold += 1;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_failures_one_in_ten_seconds_is_told() {
        let mut log = QuietLog::new("upload");
        let at = |ms| Monotonic::from_origin(Duration::from_millis(ms));
        let due = [0, 500, 9_999, 10_000, 10_001, 30_000].map(|ms| log.is_due(at(ms)));
        assert_eq!((due, log.untold), ([true, false, false, true, false, true], 3));
    }
}
