//! The one path of every upload: choose an element, stream with back-pressure, publish; whatever fails leaves nothing.

use crate::digest::{Sha256, hex};
use crate::directory::{Directory, List};
use crate::element::{ElementError, Elements};
use crate::failure::Failure;
use crate::fields::merged;
use crate::metrics::{FailoverReason, IngesterMetrics, ReceivedBytes, UploadSpan};
use crate::session::{Session, SessionContext, SessionHandle, settled};
use crate::settings::IngesterSettings;
use crate::source::{SourceError, too_large};
use artstore_api::Code;
use artstore_api::element::{Element, ElementMode};
use artstore_api::file::{Attributes, FileId, FileRecord, RetentionPolicy};
use artstore_api::upload::{CompleteUpload, CreateUpload, LateAttributes};
use artstore_metrics::Clock;
use artstore_trace::Context as TraceContext;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use http::HeaderValue;
use std::sync::Arc;
use tokio_util::task::TaskTracker;

/// What is known of a file before its bytes are read.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its attributes, checked.
    pub attributes: Attributes,
    /// Its size.
    pub size: KnownSize,
    /// The SHA-256 that the client says it has.
    pub sha256: Option<Sha256>,
}

/// What is known of a file's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KnownSize {
    /// The size, if the client said it.
    pub exact: Option<u64>,
    /// What it will be at least: a form of so many bytes holds a file of not much less.
    pub at_least: u64,
}

impl KnownSize {
    /// A size that the client said.
    #[must_use]
    pub const fn exactly(size: u64) -> Self {
        Self { exact: Some(size), at_least: size }
    }
}

/// The path itself. Clones share everything.
#[derive(Clone)]
pub struct UploadPipeline<C: Clock> {
    directory: Directory<C>,
    context: SessionContext<C>,
}

/// A file that is about to be published.
enum Ready<C: Clock> {
    OneShot { attributes: Box<Attributes>, sha256: Option<Sha256>, bytes: Bytes },
    Session { session: Box<Session<C>>, complete: Box<CompleteUpload> },
}

impl<C: Clock> UploadPipeline<C> {
    pub(crate) fn new(
        directory: Directory<C>,
        elements: Elements<C>,
        metrics: IngesterMetrics<C>,
        settings: Arc<IngesterSettings>,
        background: TaskTracker,
    ) -> Self {
        Self { directory, context: SessionContext { elements, metrics, settings, background } }
    }

    /// Stores one file and counts its end. `late` is run once the body has come to its end: it gives what the client says
    /// after the bytes. Dropped before publishing begins (the client went away), nothing is left and the upload counts as
    /// cancelled; from then on it is brought to its end, so that what is counted is what happened.
    ///
    /// # Errors
    /// Why the file is not stored.
    pub async fn store<S, L>(
        &self,
        mut span: UploadSpan<C>,
        plan: Plan,
        body: S,
        late: L,
    ) -> Result<FileRecord, Failure>
    where
        S: Stream<Item = Result<Bytes, SourceError>> + Unpin + Send + 'static,
        L: Future<Output = Result<LateAttributes, Failure>> + Send,
    {
        let policy = plan.attributes.retention_policy;
        span.policy(policy);
        let ready = match self.transfer(span.received(), plan, body, late).await {
            Ok(ready) => ready,
            Err(failure) => {
                span.ended_by(&failure);
                return Err(failure);
            }
        };
        let pipeline = self.clone();
        let publishing = self.context.background.spawn(TraceContext::carry(async move {
            let published = pipeline.publish(ready).await;
            match &published {
                Ok(record) => span.stored(policy, record.size),
                Err(failure) => span.ended_by(failure),
            }
            published
        }));
        publishing.await.unwrap_or_else(|error| {
            Err(Failure::new(Code::Internal, "publishing the file came to no end").because(error))
        })
    }

    /// Opens a session on the element that suits best; the next candidate is tried when one does not take it.
    ///
    /// # Errors
    /// No element takes it, or none is known.
    pub async fn open(&self, attributes: &Attributes, size: KnownSize) -> Result<Session<C>, Failure> {
        let create = CreateUpload { attributes: attributes.clone(), size: size.exact };
        let (element, session) = self
            .on_candidate(attributes.retention_policy, size.at_least, |element| {
                let (elements, create) = (self.context.elements.clone(), &create);
                async move { elements.create(&element.url, create).await }
            })
            .await?;
        let lease = session.lease.and_then(|lease| HeaderValue::from_str(&lease).ok()).ok_or_else(|| {
            Failure::new(Code::ElementUploadFailed, "the Storage Element gave a lease that cannot be sent")
        })?;
        let handle =
            SessionHandle { element_url: element.url, file_id: session.file_id, lease, offset: session.offset };
        Ok(Session::new(self.context.clone(), handle))
    }

    /// Takes over a session of which an earlier request kept the handle.
    #[must_use]
    pub fn resume(&self, handle: SessionHandle) -> Session<C> {
        Session::new(self.context.clone(), handle)
    }

    /// Brings the bytes to where they can be published.
    async fn transfer<S, L>(
        &self,
        received: ReceivedBytes,
        plan: Plan,
        mut body: S,
        late: L,
    ) -> Result<Ready<C>, Failure>
    where
        S: Stream<Item = Result<Bytes, SourceError>> + Unpin + Send + 'static,
        L: Future<Output = Result<LateAttributes, Failure>> + Send,
    {
        let settings = &self.context.settings;
        if plan.size.at_least > settings.max_file_bytes {
            return Err(too_large(settings.max_file_bytes));
        }
        let mut lead = Bytes::new();
        if plan.size.at_least <= settings.one_shot_bytes as u64 {
            self.expect_room(&plan).await?;
            let (gathered, ended) = self.gather(&mut body, &received).await?;
            if ended {
                drop(body);
                let late = late.await?;
                let attributes = Box::new(merged(plan.attributes, &late));
                return Ok(Ready::OneShot { attributes, sha256: plan.sha256, bytes: gathered });
            }
            lead = gathered;
        }
        let known = KnownSize { at_least: plan.size.at_least.max(lead.len() as u64), ..plan.size };
        let mut session = self.open(&plan.attributes, known).await?;
        session.append(lead, body, plan.size.exact, received).await?;
        let late = late.await?;
        let complete = CompleteUpload { size: session.offset(), sha256: plan.sha256.as_ref().map(hex), late };
        Ok(Ready::Session { session: Box::new(session), complete: Box::new(complete) })
    }

    /// Reads a body into memory: to its end, or as far as fits the one-shot buffer and one piece more.
    async fn gather<S>(&self, body: &mut S, received: &ReceivedBytes) -> Result<(Bytes, bool), Failure>
    where
        S: Stream<Item = Result<Bytes, SourceError>> + Unpin,
    {
        let settings = &self.context.settings;
        let mut gathered = BytesMut::new();
        while let Some(piece) = body.next().await {
            let piece = piece?;
            received.add(piece.len());
            gathered.extend_from_slice(&piece);
            if gathered.len() as u64 > settings.max_file_bytes {
                return Err(too_large(settings.max_file_bytes));
            }
            if gathered.len() > settings.one_shot_bytes {
                return Ok((gathered.freeze(), false));
            }
        }
        Ok((gathered.freeze(), true))
    }

    async fn publish(&self, ready: Ready<C>) -> Result<FileRecord, Failure> {
        match ready {
            Ready::Session { session, complete } => session.complete(&complete).await,
            Ready::OneShot { attributes, sha256, bytes } => {
                let (policy, size) = (attributes.retention_policy, bytes.len() as u64);
                let (_, record) = self
                    .on_candidate(policy, size, |element| {
                        let (attributes, bytes) = (&*attributes, bytes.clone());
                        async move { self.put(&element, attributes, sha256.as_ref(), bytes).await }
                    })
                    .await?;
                Ok(record)
            }
        }
    }

    /// One request to one element. Whether it was done is settled before another element is asked.
    async fn put(
        &self,
        element: &Element,
        attributes: &Attributes,
        sha256: Option<&Sha256>,
        bytes: Bytes,
    ) -> Result<FileRecord, ElementError> {
        let (elements, id) = (&self.context.elements, FileId::generate());
        let put = || elements.put(&element.url, id, attributes, sha256, bytes.clone());
        settled(elements, &element.url, id, put).await
    }

    /// Refuses before a byte is read when it is known that no element takes the file.
    async fn expect_room(&self, plan: &Plan) -> Result<(), Failure> {
        self.candidates(plan.attributes.retention_policy, plan.size.at_least).await.map(drop)
    }

    /// Asks one candidate after the other until one takes the file.
    async fn on_candidate<T, F>(
        &self,
        policy: RetentionPolicy,
        size: u64,
        ask: impl Fn(Element) -> F,
    ) -> Result<(Element, T), Failure>
    where
        F: Future<Output = Result<T, ElementError>>,
    {
        let (list, candidates) = self.candidates(policy, size).await?;
        let first = match self.first_taker(candidates.clone(), &ask).await {
            Err(refused) if refused.unreachable => refused,
            other => return other.map_err(|refused| refused.failure),
        };
        // They may have moved since the list was fetched.
        let Some(newer) = self.directory.newer_than(&list).await else { return Err(first.failure) };
        let known: Vec<&str> = candidates.iter().map(|element| element.url.as_str()).collect();
        let mut moved = with_room(&newer, policy, size);
        moved.retain(|element| !known.contains(&element.url.as_str()));
        if moved.is_empty() {
            return Err(first.failure);
        }
        self.first_taker(moved, &ask).await.map_err(|refused| refused.failure)
    }

    async fn first_taker<T, F>(
        &self,
        candidates: Vec<Element>,
        ask: impl Fn(Element) -> F,
    ) -> Result<(Element, T), Refused>
    where
        F: Future<Output = Result<T, ElementError>>,
    {
        let mut last = None;
        let mut unreachable = true;
        for element in candidates.into_iter().take(self.context.settings.max_candidates) {
            let error = match ask(element.clone()).await {
                Ok(taken) => return Ok((element, taken)),
                Err(error) => error,
            };
            let Some(reason) = error.failover() else {
                return Err(Refused { failure: error.failure(), unreachable: false });
            };
            tracing::warn!(%error, element = %element.element_id, "an element does not take an upload");
            self.context.metrics.candidate_passed_over(reason);
            unreachable &= reason == FailoverReason::Unreachable;
            // "Full" is the answer only if all are: another may take the file once it is back.
            let keep = last.as_ref().is_some_and(|kept: &Failure| kept.code() != Code::StorageFull);
            if !keep {
                last = Some(error.failure());
            }
        }
        let failure = last.unwrap_or_else(|| Failure::new(Code::Internal, "no candidate was asked"));
        Err(Refused { failure, unreachable })
    }

    /// The elements to ask, in order. A list in which there is none is renewed first.
    async fn candidates(&self, policy: RetentionPolicy, size: u64) -> Result<(Arc<List>, Vec<Element>), Failure> {
        let mut list = self.directory.list().await?;
        let mut candidates = with_room(&list, policy, size);
        if candidates.is_empty()
            && let Some(newer) = self.directory.newer_than(&list).await
        {
            list = newer;
            candidates = with_room(&list, policy, size);
        }
        if !candidates.is_empty() {
            return Ok((list, candidates));
        }
        if list.online(ElementMode::of(policy)).is_empty() {
            let detail = format!("no Storage Element for {} files is online", policy.as_str());
            return Err(Failure::new(Code::NoStorageAvailable, detail));
        }
        Err(Failure::new(Code::StorageFull, "no Storage Element has room for the file"))
    }
}

/// Why no candidate took a file.
struct Refused {
    failure: Failure,
    /// None of them could be reached.
    unreachable: bool,
}

fn with_room(list: &List, policy: RetentionPolicy, size: u64) -> Vec<Element> {
    let mut candidates = list.online(ElementMode::of(policy));
    candidates.retain(|element| element.capacity.free_bytes >= size);
    candidates
}
