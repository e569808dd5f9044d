//! Demo traffic: a client that uploads a small file again and again, and deletes the older ones.

use crate::development::Certificates;
use crate::failure::Failure;
use artstore_api::file::RetentionPolicy;
use artstore_api::{Code, FileId};
use artstore_client::{
    Backoff, BaseUrl, ConnectSettings, Connection, Digest, Error, Known, Limits, SecretSource, Session, Upload,
    Uploader,
};
use artstore_metrics::{Clock as _, Monotonic, SystemClock};
use secrecy::SecretString;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// What is uploaded.
const CONTENT: [u8; 4096] = [b'a'; 4096];
/// Of so many uploads one is permanent, so that the element for those is seen at work; no client can delete it.
const PERMANENT_EACH: u64 = 60;
/// How many temporary files stay.
const KEPT: usize = 20;
/// How many files at most wait to be deleted; what finds no place expires within a day.
const WAITING: usize = 1_000;
/// At most one line is logged for each kind of failure in this time.
const QUIET: Duration = Duration::from_secs(10);
/// How long an upload and a deletion under way may take when the traffic ends.
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
    tasks: [JoinHandle<()>; 2],
}

impl Traffic {
    /// Starts it, at so many uploads a second.
    pub(super) fn start(session: Session, rate: f64) -> Self {
        let shutdown = CancellationToken::new();
        let (stored, older) = mpsc::channel(WAITING);
        let uploads = upload(Uploader::new(session.clone()), rate, stored, shutdown.clone());
        let tasks = [tokio::spawn(uploads), tokio::spawn(delete(session, older, shutdown.clone()))];
        Self { shutdown, tasks }
    }

    /// Ends it; what is under way gets a moment.
    pub(super) async fn stop(self) {
        self.shutdown.cancel();
        for mut task in self.tasks {
            if tokio::time::timeout(LAST_ONES, &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

async fn upload(uploader: Uploader, rate: f64, stored: mpsc::Sender<FileId>, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut log, mut count) = (QuietLog::new("upload"), 0_u64);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        count += 1;
        let permanent = count.is_multiple_of(PERMANENT_EACH);
        let upload = Upload {
            filename: Some("demo.bin".to_owned()),
            retention_policy: if permanent { RetentionPolicy::Permanent } else { RetentionPolicy::Temporary },
            ttl_days: (!permanent).then_some(1),
            tags: vec!["demo".to_owned()],
            digest: Known::Is(Digest::of(&CONTENT)),
            ..Upload::default()
        };
        match uploader.stream(&CONTENT[..], Some(CONTENT.len() as u64), &upload).await {
            // If there is no place it expires.
            Ok(uploaded) if !permanent => drop(stored.try_send(uploaded.record.file_id)),
            Ok(_) => {}
            Err(error) => log.failed(&error),
        }
    }
}

/// Deletes all but the newest. A file whose element cannot be asked now has its turn again later.
async fn delete(session: Session, mut stored: mpsc::Receiver<FileId>, shutdown: CancellationToken) {
    let (mut log, mut files) = (QuietLog::new("deletion"), VecDeque::new());
    while let Some(Some(file)) = shutdown.run_until_cancelled(stored.recv()).await {
        files.push_back(file);
        while files.len() > KEPT
            && let Some(oldest) = files.pop_front()
        {
            match session.delete(oldest).await {
                Ok(()) => {}
                Err(error) if error.code() == Some(Code::NotFound) => {}
                Err(error) => {
                    log.failed(&error);
                    files.push_back(oldest);
                    files.truncate(WAITING);
                    break;
                }
            }
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

    fn failed(&mut self, error: &Error) {
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
