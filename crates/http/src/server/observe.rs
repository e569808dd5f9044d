//! What surrounds every request: its identifier, the log span and the access log, metrics, and a handler that panics.

use super::{Context, PeerInfo};
use crate::metrics::{Listener, ServedOutcome, ServedSpan};
use crate::problem::{self, ProblemResponse, RequestId};
use crate::trace::ServerTrace;
use artstore_api::Code;
use artstore_metrics::{Clock, Exemplar, Monotonic};
use artstore_trace::Context as TraceContext;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{CONTENT_LENGTH, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Method, Request, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{self, Poll};
use std::time::Duration;
use tower::ServiceExt;
use tracing::Instrument;

/// What happens on one connection.
#[derive(Debug)]
pub(super) struct Activity {
    any: AtomicBool,
    in_progress: AtomicUsize,
    last_end: RwLock<Monotonic>,
}

impl Activity {
    pub(super) fn new<C: Clock>(clock: &C) -> Arc<Self> {
        let last_end = RwLock::new(clock.monotonic());
        Arc::new(Self { any: AtomicBool::new(false), in_progress: AtomicUsize::new(0), last_end })
    }

    /// Whether there was a request at all.
    pub(super) fn any_request(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// How many requests there are now.
    pub(super) fn in_progress(&self) -> usize {
        self.in_progress.load(Ordering::Acquire)
    }

    /// For how long there has been no request; `None` if there is one.
    pub(super) fn idle_for(&self, now: Monotonic) -> Option<Duration> {
        let last_end = *self.last_end.read().unwrap_or_else(PoisonError::into_inner);
        (self.in_progress() == 0).then(|| now.since(last_end))
    }

    fn started(&self) {
        self.any.store(true, Ordering::Release);
        self.in_progress.fetch_add(1, Ordering::AcqRel);
    }

    fn ended(&self, now: Monotonic) {
        *self.last_end.write().unwrap_or_else(PoisonError::into_inner) = now;
        self.in_progress.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The service of one connection: the router, and what surrounds it.
pub(super) struct Observed<C: Clock> {
    context: Arc<Context<C>>,
    peer: PeerInfo,
    tls: bool,
    activity: Arc<Activity>,
}

impl<C: Clock> Clone for Observed<C> {
    fn clone(&self) -> Self {
        let (context, activity) = (Arc::clone(&self.context), Arc::clone(&self.activity));
        Self { context, peer: self.peer.clone(), tls: self.tls, activity }
    }
}

impl<C: Clock> Observed<C> {
    pub(super) fn new(context: &Arc<Context<C>>, peer: PeerInfo, tls: bool, activity: Arc<Activity>) -> Self {
        Self { context: Arc::clone(context), peer, tls, activity }
    }

    /// Answers one request.
    pub(super) async fn answer(
        self,
        mut request: Request<hyper::body::Incoming>,
    ) -> Result<Response<ObservedBody<C>>, Infallible> {
        let id = RequestId::of(request.headers());
        let mut access = self.access(&mut request, id.clone());
        let context = access.trace.as_ref().map(|trace| trace.context().clone());
        let span = tracing::info_span!(
            "request",
            request_id = id.as_str(),
            method = %access.method,
            path = access.path,
            listener = access.listener.label()
        );
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(id.clone());
        request.extensions_mut().insert(self.peer);
        let handled = self.context.router.clone().oneshot(request);
        let handled = AssertUnwindSafe(handled).catch_unwind().instrument(span.clone());
        let handled = TraceContext::scope_if_some(context, handled).await;
        let mut response = match handled {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(_) => {
                self.context.metrics.panicked();
                span.in_scope(|| tracing::error!("the handler of a request panicked"));
                ProblemResponse::new(Code::Internal, "an internal error; the log has it under this request id")
                    .into_response()
            }
        };
        access.responds(&response);
        problem::identify(&mut response, &id);
        // No browser is to make anything else of an answer than what it says it is.
        response.headers_mut().entry(X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
        let response = response.map(|inner| ObservedBody { inner, access: Some(access) });
        Ok(response)
    }

    fn access(&self, request: &mut Request<hyper::body::Incoming>, id: RequestId) -> Access<C> {
        let listener = self.context.settings.listener;
        self.activity.started();
        let trace = self
            .context
            .tracer
            .as_ref()
            .map(|tracer| ServerTrace::begin(tracer, request, self.tls, self.peer.remote.ip()));
        Access {
            trace,
            id,
            listener,
            method: request.method().clone(),
            // Not the query: it may hold names that people gave to their files.
            path: request.uri().path().to_owned(),
            remote: self.peer.remote.to_string(),
            start: self.context.clock.monotonic(),
            clock: self.context.clock.clone(),
            status: None,
            expected: None,
            code: None,
            bytes: 0,
            served: self.context.metrics.request(listener),
            activity: Arc::clone(&self.activity),
        }
    }
}

/// One line of the access log, written when the request has ended, however it did.
struct Access<C: Clock> {
    /// Ends with it.
    trace: Option<ServerTrace>,
    id: RequestId,
    listener: Listener,
    method: Method,
    path: String,
    remote: String,
    start: Monotonic,
    clock: C,
    /// `None` until there is a response.
    status: Option<StatusCode>,
    /// How many bytes the response has, if that is known.
    expected: Option<u64>,
    code: Option<Code>,
    bytes: u64,
    served: ServedSpan,
    activity: Arc<Activity>,
}

impl<C: Clock> Access<C> {
    /// The head of the response is known.
    fn responds(&mut self, response: &Response) {
        let status = response.status();
        let length = response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let bodiless =
            self.method == Method::HEAD || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
        self.status = Some(status);
        self.expected = if bodiless { Some(0) } else { length };
        self.code = problem::code_of(response);
    }

    /// The response was handed over to its end.
    fn complete(&mut self) {
        if let Some(status) = self.status {
            let exemplar = self.trace.as_ref().and_then(|trace| Exemplar::of(trace.context(), &self.clock));
            self.served.served(status, self.clock.monotonic().since(self.start), exemplar);
        }
    }
}

impl<C: Clock> Drop for Access<C> {
    fn drop(&mut self) {
        let now = self.clock.monotonic();
        self.activity.ended(now);
        let outcome = self.served.outcome();
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: "artstore::access",
                    request_id = self.id.as_str(),
                    listener = self.listener.label(),
                    remote = self.remote,
                    method = %self.method,
                    path = self.path,
                    status = self.status.map(|status| status.as_u16()),
                    outcome = outcome.label(),
                    code = self.code.map(Code::as_str),
                    bytes = self.bytes,
                    duration_ms = u64::try_from(now.since(self.start).as_millis()).unwrap_or(u64::MAX),
                    "request"
                )
            };
        }
        let log = || match (self.listener, outcome) {
            (_, ServedOutcome::ServerError) => line!(warn),
            // Scrapes and health checks would drown the rest.
            (Listener::Operations, _) => line!(debug),
            (
                Listener::Main,
                ServedOutcome::Success
                | ServedOutcome::Redirection
                | ServedOutcome::ClientError
                | ServedOutcome::Aborted,
            ) => line!(info),
        };
        match self.trace.as_ref().map(|trace| trace.context().clone()) {
            Some(context) => context.enter(log),
            None => log(),
        }
        if let Some(trace) = self.trace.take() {
            trace.end(self.status, outcome == ServedOutcome::Aborted);
        }
    }
}

/// A response's body that knows when it has ended.
pub(super) struct ObservedBody<C: Clock> {
    inner: Body,
    access: Option<Access<C>>,
}

// Nothing in it is ever pinned: the inner body is `Unpin` and so needs no projection.
impl<C: Clock> Unpin for ObservedBody<C> {}

impl<C: Clock> ObservedBody<C> {
    fn complete(&mut self) {
        if let Some(mut access) = self.access.take() {
            access.complete();
        }
    }
}

impl<C: Clock> HttpBody for ObservedBody<C> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(None) => self.complete(),
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(data), Some(access)) = (frame.data_ref(), &mut self.access) {
                    access.bytes += data.len() as u64;
                }
            }
            // What is left of the span says `aborted`.
            Poll::Ready(Some(Err(_))) => self.access = None,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<C: Clock> Drop for ObservedBody<C> {
    fn drop(&mut self) {
        // Who knows the length stops asking at the last byte.
        let all = self.access.as_ref().is_some_and(|access| access.expected == Some(access.bytes));
        if all || self.inner.is_end_stream() {
            self.complete();
        }
    }
}
