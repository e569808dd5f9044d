//! An upload session on an element, held by one upload: dropped without an end, it is given up in the background.

use crate::element::{ElementError, Elements};
use crate::failure::Failure;
use crate::feed::Feed;
use crate::metrics::{Abandonment, IngesterMetrics, ReceivedBytes};
use crate::settings::IngesterSettings;
use crate::source::SourceError;
use artstore_api::Code;
use artstore_api::file::{FileId, FileRecord};
use artstore_api::upload::CompleteUpload;
use artstore_metrics::Clock;
use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderValue, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::task::TaskTracker;

/// The pauses between attempts to learn what became of a request, or to give a session up.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(50), Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(4)];
/// How often publishing is tried before it is a failure.
const PUBLISH_ATTEMPTS: usize = 3;

/// What a session needs to reach its element, and to be given up.
#[derive(Clone)]
pub(crate) struct SessionContext<C: Clock> {
    pub(crate) elements: Elements<C>,
    pub(crate) metrics: IngesterMetrics<C>,
    pub(crate) settings: Arc<IngesterSettings>,
    /// What runs on after its request has ended.
    pub(crate) background: TaskTracker,
}

/// An open session. It ends by [`complete`](Self::complete), by [`detach`](Self::detach), or is abandoned.
pub struct Session<C: Clock> {
    held: Option<Held<C>>,
}

#[derive(Clone)]
struct Held<C: Clock> {
    context: SessionContext<C>,
    element: String,
    id: FileId,
    lease: HeaderValue,
    offset: u64,
    /// Publishing was asked for, so the file may be there.
    publishing: bool,
}

/// How to find a session again: what an Ingester hands to the next one that continues it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionHandle {
    /// The element's address.
    pub element_url: String,
    /// The identifier that the file will have.
    pub file_id: FileId,
    /// The lease, until it expires.
    pub lease: HeaderValue,
    /// The durable offset.
    pub offset: u64,
}

impl<C: Clock> Session<C> {
    pub(crate) fn new(context: SessionContext<C>, handle: SessionHandle) -> Self {
        let SessionHandle { element_url: element, file_id: id, lease, offset } = handle;
        Self { held: Some(Held { context, element, id, lease, offset, publishing: false }) }
    }

    /// The identifier that the file will have.
    #[must_use]
    pub fn file_id(&self) -> Option<FileId> {
        self.held.as_ref().map(|held| held.id)
    }

    /// The durable offset.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.held.as_ref().map_or(0, |held| held.offset)
    }

    /// Appends `lead` and then `rest`, as fast as the element takes them. `size`: how many bytes that is, if it is known.
    ///
    /// # Errors
    /// The client's body did not come to its end, or the element did not take it. The session stays open.
    pub async fn append<S>(
        &mut self,
        lead: Bytes,
        rest: S,
        size: Option<u64>,
        received: ReceivedBytes,
    ) -> Result<(), Failure>
    where
        S: Stream<Item = Result<Bytes, SourceError>> + Unpin + Send + 'static,
    {
        let Some(held) = &mut self.held else { return Err(ended()) };
        let limit = held.context.settings.max_file_bytes.saturating_sub(held.offset);
        let (feed, state) = Feed::new(lead, rest, size, limit, received);
        let appended = held.context.elements.append(&held.element, held.id, &held.lease, held.offset, feed).await;
        if let Some(error) = state.error() {
            // Whatever the element says of it: this is why.
            return Err(error.into());
        }
        let offset = appended.map_err(|error| {
            // Its attributes were taken, so a 400 now means that the element waited in vain: its time-out was faster than ours.
            if error.is(StatusCode::BAD_REQUEST) && !state.ended() {
                return SourceError::Stalled(held.context.settings.read_timeout).into();
            }
            error.failure()
        })?;
        let expected = held.offset + state.bytes();
        if !state.ended() || offset != expected {
            let cause = format!("the element says {offset} bytes, {expected} were sent, ended: {}", state.ended());
            return Err(
                Failure::new(Code::ElementUploadFailed, "the Storage Element lost some of the bytes").because(cause)
            );
        }
        held.offset = offset;
        Ok(())
    }

    /// Verifies and publishes. If the answer is lost, the element is asked whether it did.
    ///
    /// # Errors
    /// The digest is another, or the element did not publish.
    pub async fn complete(mut self, complete: &CompleteUpload) -> Result<FileRecord, Failure> {
        let Some(held) = &mut self.held else { return Err(ended()) };
        held.publishing = true;
        let (context, element, id) = (held.context.clone(), held.element.clone(), held.id);
        let lease = held.lease.clone();
        let published =
            settled(&context.elements, &element, id, || context.elements.complete(&element, id, &lease, complete))
                .await;
        match published {
            Ok(record) => {
                self.held = None;
                Ok(record)
            }
            Err(error) => {
                if error.is(StatusCode::UNPROCESSABLE_ENTITY) {
                    // The element has given the session up itself.
                    self.held = None;
                    context.metrics.session_abandoned(Abandonment::Removed);
                }
                Err(error.failure())
            }
        }
    }

    /// Leaves the session open for whoever continues it.
    #[must_use]
    pub fn detach(mut self) -> Option<SessionHandle> {
        self.held.take().map(|held| SessionHandle {
            element_url: held.element,
            file_id: held.id,
            lease: held.lease,
            offset: held.offset,
        })
    }

    /// Gives the session up and waits until that is done or hopeless.
    pub async fn abandon(mut self) {
        if let Some(held) = self.held.take() {
            held.give_up().await;
        }
    }
}

impl<C: Clock> Drop for Session<C> {
    fn drop(&mut self) {
        if let Some(held) = self.held.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let tracker = held.context.background.clone();
            tracker.spawn_on(held.give_up(), &runtime);
        }
    }
}

impl<C: Clock> std::fmt::Debug for Session<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("file_id", &self.file_id())
            .field("offset", &self.offset())
            .finish_non_exhaustive()
    }
}

impl<C: Clock> Held<C> {
    /// The element may still be busy with a request that we broke off, so it is asked more than once.
    async fn give_up(self) {
        let attempts = usize::try_from(self.context.settings.abandon_attempts).unwrap_or(usize::MAX);
        for attempt in 0..attempts.max(1) {
            if attempt > 0 {
                tokio::time::sleep(pause(attempt - 1)).await;
            }
            match self.context.elements.abandon(&self.element, self.id, &self.lease).await {
                Ok(true) => {
                    if self.publishing {
                        withdraw(&self.context.elements, &self.element, self.id).await;
                    }
                    self.context.metrics.session_abandoned(Abandonment::Removed);
                    return;
                }
                Ok(false) => {}
                Err(error) => tracing::debug!(%error, file_id = %self.id, "a session cannot be given up yet"),
            }
        }
        tracing::warn!(file_id = %self.id, element = %self.element, "a session is left to the element's sweep");
        self.context.metrics.session_abandoned(Abandonment::LeftToSweep);
    }
}

/// Takes back a file whose upload failed although it may be published: nobody was told of it. An element refuses that for
/// permanent files, which then stay as an upload without an answer does.
async fn withdraw<C: Clock>(elements: &Elements<C>, element: &str, id: FileId) {
    if let Err(error) = elements.delete(element, id).await {
        tracing::debug!(%error, file_id = %id, "a file without an answer cannot be taken back");
    }
}

/// Asks an element to publish. An answer that was lost is looked for: the file is there, or it is asked again.
pub(crate) async fn settled<C, F>(
    elements: &Elements<C>,
    element: &str,
    id: FileId,
    publish: impl Fn() -> F,
) -> Result<FileRecord, ElementError>
where
    C: Clock,
    F: Future<Output = Result<FileRecord, ElementError>>,
{
    let mut failed = match publish().await {
        Ok(record) => return Ok(record),
        Err(error) if error.is_open() => error,
        Err(error) => return Err(error),
    };
    for attempt in 1..PUBLISH_ATTEMPTS {
        tracing::warn!(error = %failed, file_id = %id, "an answer about publishing was lost; looking for the file");
        tokio::time::sleep(pause(attempt)).await;
        match elements.record(element, id).await {
            Ok(Some(record)) => return Ok(record),
            Ok(None) => {}
            Err(error) => {
                failed = error;
                continue;
            }
        }
        failed = match publish().await {
            Ok(record) => return Ok(record),
            Err(error) => error,
        };
    }
    // The last attempt may have published it as well.
    if let Ok(Some(record)) = elements.record(element, id).await {
        return Ok(record);
    }
    withdraw(elements, element, id).await;
    Err(failed)
}

fn pause(attempt: usize) -> Duration {
    PAUSES[attempt.min(PAUSES.len() - 1)]
}

fn ended() -> Failure {
    Failure::new(Code::Internal, "the upload session has ended")
}
