//! The pooled client: `http` and mutual-TLS `https` over HTTP/1.1, with exact accounting of every request.

mod body;
mod connect;
mod error;
mod identities;
mod io;
mod pool;

pub use body::ResponseBody;
pub use error::{ClientError, ClientErrorKind};

use crate::body::Body;
use crate::metrics::HttpClientMetrics;
use crate::trace::ClientTrace;
use artstore_metrics::{Clock, SystemClock};
use artstore_tls::{Connector, ConnectorMetrics, ServerName};
use artstore_trace::{Context as TraceContext, Tracer};
use body::{Lease, Progress, WatchedBody};
use error::chain;
use http::header::HOST;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, Uri, Version};
use http_body::Body as _;
use identities::Identities;
use pool::{Connection, Grant, Host, HostKey, Limits, Pool, Want};

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Limits and time-outs of a [`Client`].
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// Name resolution and TCP connect together. Default 5 s. (The TLS handshake has its own limit, in the connector.)
    pub connect_timeout: Duration,
    /// How long the server may keep us waiting: to take more of the request's body, and then for the head of the response.
    /// Waiting for the body's own source does not count. Default 30 s. [`ResponseTimeout`] overrides it for one request.
    pub response_timeout: Duration,
    /// The longest pause inside the body of a response. Default 30 s.
    pub read_timeout: Duration,
    /// How long a request waits when its host is at its limit of connections. Default 10 s.
    pub checkout_timeout: Duration,
    /// How long an idle connection is kept. Default 60 s: less than the server's, so that the server seldom closes first.
    pub idle_timeout: Duration,
    /// Idle connections kept for each host. Default 16.
    pub max_idle_per_host: usize,
    /// Connections to one host, idle ones included. Default 256.
    pub max_connections_per_host: usize,
    /// Requests that may wait for a connection to one host. Default 1024.
    pub max_waiting_per_host: usize,
    /// Bytes of a response's head. Default 64 KiB.
    pub max_header_bytes: usize,
    /// Headers of a response. Default 100.
    pub max_headers: usize,
    /// Bytes that a connection buffers on the way in, and again on the way out, while the other side is slower. Never less
    /// than a head may have. Default 128 KiB.
    pub max_buffer_bytes: usize,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(30),
            read_timeout: Duration::from_secs(30),
            checkout_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            max_idle_per_host: 16,
            max_connections_per_host: 256,
            max_waiting_per_host: 1024,
            max_header_bytes: 64 * 1024,
            max_headers: 100,
            max_buffer_bytes: 128 * 1024,
        }
    }
}

/// Put into a request's extensions, this replaces [`ClientSettings::response_timeout`] for it.
#[derive(Debug, Clone, Copy)]
pub struct ResponseTimeout(pub Duration);

/// A pooled HTTP/1.1 client. Clones share the pool.
pub struct Client<C: Clock = SystemClock> {
    inner: Arc<Inner<C>>,
    tracer: Option<Tracer>,
}

struct Inner<C: Clock> {
    pool: Arc<Pool>,
    connector: Option<Connector<C>>,
    settings: ClientSettings,
    metrics: HttpClientMetrics,
    clock: C,
    identities: Identities<C>,
}

impl<C: Clock> Clone for Client<C> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), tracer: self.tracer.clone() }
    }
}

impl<C: Clock> std::fmt::Debug for Client<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

impl<C: Clock> Client<C> {
    /// A client with an empty pool. Without a connector it speaks plain HTTP only.
    #[must_use]
    pub fn new(
        settings: ClientSettings,
        connector: Option<Connector<C>>,
        metrics: HttpClientMetrics,
        clock: C,
    ) -> Self {
        let limits = Limits {
            idle_timeout: settings.idle_timeout,
            max_idle: settings.max_idle_per_host,
            max_open: settings.max_connections_per_host.max(1),
            max_waiting: settings.max_waiting_per_host,
        };
        let pool_clock = clock.clone();
        let pool = Pool::new(limits, metrics.pool().clone(), Arc::new(move || pool_clock.monotonic()));
        let identities = Identities::default();
        Self { inner: Arc::new(Inner { pool, connector, settings, metrics, clock, identities }), tracer: None }
    }

    /// The same client, whose requests are spans and say so to their receivers: for peers of ours only.
    #[must_use]
    pub fn traced(mut self, tracer: Tracer) -> Self {
        self.tracer = Some(tracer);
        self
    }

    /// The same client for those who are none of us: its requests are no spans and tell nobody of a trace.
    #[must_use]
    pub fn untraced(&self) -> Self {
        Self { tracer: None, ..self.clone() }
    }

    /// Sends a request to its absolute `http` or `https` URI and waits for the head of the response.
    ///
    /// A request is sent a second time, once, on a new connection, only where that is safe: its idle connection proved dead
    /// before any of it was sent; or it is idempotent and without a body, and the connection ended without a byte in answer.
    ///
    /// Dropping the future cancels the request and closes its connection.
    ///
    /// # Errors
    /// If no response came; [`ClientErrorKind`] says why.
    pub async fn send(&self, mut request: Request<Body>) -> Result<Response<ResponseBody>, ClientError> {
        let span = self.inner.metrics.request();
        let start = self.inner.clock.monotonic();
        let trace = self.tracer.as_ref().map(|tracer| ClientTrace::begin(tracer, &mut request));
        let context = trace.as_ref().map(|trace| trace.context().clone());
        // The future is large, and the caller's would be with it.
        let result = Box::pin(TraceContext::scope_if_some(context, self.inner.send(request))).await;
        match &result {
            Ok(response) => {
                let clock = &self.inner.clock;
                let exemplar = trace.as_ref().and_then(|trace| trace.exemplar(clock));
                span.answered(response.status(), clock.monotonic().since(start), exemplar);
                if let Some(trace) = trace {
                    trace.answered(response.status());
                }
            }
            Err(error) => {
                let outcome = error.kind().outcome();
                span.failed(outcome);
                if let Some(trace) = trace {
                    trace.failed(outcome.label());
                }
            }
        }
        result
    }

    /// Closes idle connections now and the others when their requests end: the identity or the trust has changed.
    pub fn retire_connections(&self) {
        self.inner.pool.retire();
    }
}

impl<C: Clock> tower::Service<Request<Body>> for Client<C> {
    type Response = Response<ResponseBody>;
    type Error = ClientError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ClientError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let client = self.clone();
        Box::pin(async move { client.send(request).await })
    }
}

/// A request that got no response, and perhaps the means to try again.
struct Failed {
    error: ClientError,
    again: Option<Request<Body>>,
}

impl<C: Clock> Inner<C> {
    async fn send(&self, mut request: Request<Body>) -> Result<Response<ResponseBody>, ClientError> {
        let target = Target::of(request.uri())?;
        prepare(&mut request, &target)?;
        if target.key.tls && self.connector.is_none() {
            let detail = "https, but this client has no TLS";
            return Err(ClientError::unsent(ClientErrorKind::InvalidRequest, detail));
        }
        let host = self.pool.host(&target.key);
        let connection = self.acquire(&host, &target, Want::Any).await?;
        self.send_on(connection, request, &host, &target).await
    }

    /// Sends on this connection, and if that proves dead and it is safe, once more on another.
    async fn send_on(
        &self,
        connection: Connection,
        request: Request<Body>,
        host: &Arc<Host>,
        target: &Target,
    ) -> Result<Response<ResponseBody>, ClientError> {
        let failed = match self.exchange(connection, request).await {
            Ok(response) => return Ok(response),
            Err(failed) => failed,
        };
        let Some(again) = failed.again else { return Err(failed.error) };
        self.metrics.retried();
        tracing::debug!(error = %failed.error, "an idle connection proved dead; the request is sent on a new one");
        let connection = self.acquire(host, target, Want::New).await?;
        self.exchange(connection, again).await.map_err(|failed| failed.error)
    }

    async fn acquire(&self, host: &Arc<Host>, target: &Target, want: Want) -> Result<Connection, ClientError> {
        match host.checkout(want, self.settings.checkout_timeout).await? {
            Grant::Connection(connection) => Ok(connection),
            Grant::Slot(slot) => {
                let connector = self.connector.as_ref();
                connect::open(&self.pool, slot, target, connector, &self.settings).await
            }
        }
    }

    /// One request on one connection.
    async fn exchange(
        &self,
        mut connection: Connection,
        request: Request<Body>,
    ) -> Result<Response<ResponseBody>, Failed> {
        let limit =
            request.extensions().get().map_or(self.settings.response_timeout, |limit: &ResponseTimeout| limit.0);
        let replay = replay(&request, &connection);
        let (parts, body) = request.into_parts();
        let (body, progress) = WatchedBody::new(body, self.pool.now());
        let sent = SentSpan::new(&connection, self.connector.as_ref().map(Connector::metrics));
        let (_, closing) = connection.task_side();
        let request = Request::from_parts(parts, body);
        let Some(response) = connection.sender().map(|sender| sender.try_send_request(request)) else {
            let error = ClientError::unsent(ClientErrorKind::Transport, "the connection has ended");
            return Err(Failed { error, again: None });
        };
        tokio::pin!(response);
        let answered = tokio::select! {
            biased;
            response = &mut response => response,
            () = closing.ended() => {
                connection.drop_sender();
                response.await
            }
            () = server_silence(&progress, limit) => {
                let detail = format!("the server kept us waiting for {limit:?}");
                let error = ClientError::new(ClientErrorKind::Timeout, sent.written(), detail);
                return Err(Failed { error, again: None });
            }
        };
        match answered {
            Ok(response) => Ok(self.answered(response, connection, progress).await),
            Err(mut failure) => {
                let unsent = failure.take_message();
                Err(self.failed(&failure.into_error(), unsent, replay, &connection, sent))
            }
        }
    }

    async fn answered(
        &self,
        response: Response<hyper::body::Incoming>,
        connection: Connection,
        request: Arc<Progress>,
    ) -> Response<ResponseBody> {
        let early = !request.finished();
        if early && (response.status().is_client_error() || response.status().is_server_error()) {
            request.stop();
        }
        let lease = Lease { connection, request };
        let empty = response.body().is_end_stream();
        let lease = if empty {
            lease.give_back().await;
            None
        } else {
            Some(lease)
        };
        response.map(|body| ResponseBody::new(body, lease, self.settings.read_timeout))
    }

    /// Finds the cause of a failure: hyper's error alone does not have it when TLS refused us late.
    fn failed(
        &self,
        error: &hyper::Error,
        unsent: Option<Request<WatchedBody>>,
        replay: Option<Request<()>>,
        connection: &Connection,
        sent: SentSpan,
    ) -> Failed {
        let reused = sent.reused;
        if let Some(refusal) = connection.io().tls_failure() {
            sent.refused();
            return Failed { error: ClientError::tls(refusal), again: None };
        }
        let kind = if error.is_user() || error.is_body_write_aborted() {
            ClientErrorKind::RequestBody
        } else {
            ClientErrorKind::Transport
        };
        let written = sent.written();
        let unanswered = sent.unanswered();
        let again = match unsent {
            Some(request) if reused => {
                let (parts, body) = request.into_parts();
                body.into_unpolled().map(|body| Request::from_parts(parts, body))
            }
            Some(_) => None,
            None if reused && unanswered && matches!(kind, ClientErrorKind::Transport) => {
                replay.map(|request| request.map(|()| crate::body::empty()))
            }
            None => None,
        };
        Failed { error: ClientError::new(kind, written, chain(error)), again }
    }
}

/// Resolves when the server has kept us waiting for so long.
async fn server_silence(progress: &Progress, limit: Duration) {
    let mut wait = limit;
    loop {
        tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
        match progress.server_silent_for() {
            Some(silent) if silent >= limit => return,
            Some(silent) => wait = limit - silent,
            None => wait = limit,
        }
    }
}

/// The head of a request that may be sent twice although some of it was written: idempotent and without a body.
fn replay(request: &Request<Body>, connection: &Connection) -> Option<Request<()>> {
    let idempotent =
        [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS].contains(request.method());
    if !idempotent || !connection.reused() || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}

/// One request on one connection: says once whether it was sent on a reused connection, if any of it was sent.
struct SentSpan {
    metrics: Option<ConnectorMetrics>,
    reused: bool,
    io: Arc<io::IoState>,
    written_before: u64,
    read_before: u64,
}

impl SentSpan {
    fn new(connection: &Connection, metrics: Option<&ConnectorMetrics>) -> Self {
        let io = Arc::clone(connection.io());
        let (written_before, read_before) = (io.written(), io.read());
        // Plain connections have no place in the TLS families.
        let metrics = metrics.filter(|_| io.is_tls()).cloned();
        Self { metrics, reused: connection.reused(), io, written_before, read_before }
    }

    fn written(&self) -> bool {
        self.io.written() > self.written_before
    }

    fn unanswered(&self) -> bool {
        self.io.read() == self.read_before
    }

    /// The handshake failed in the end: no request was sent over it.
    fn refused(mut self) {
        self.metrics = None;
    }
}

impl Drop for SentSpan {
    fn drop(&mut self) {
        if self.written() {
            self.io.used();
            if let Some(metrics) = &self.metrics {
                metrics.request_sent(self.reused);
            }
        }
    }
}

/// Where a request goes.
struct Target {
    key: HostKey,
    server_name: Option<ServerName<'static>>,
    authority: HeaderValue,
}

impl Target {
    fn of(uri: &Uri) -> Result<Self, ClientError> {
        let invalid = |detail: String| ClientError::unsent(ClientErrorKind::InvalidRequest, detail);
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(other) => return Err(invalid(format!("{other} is neither http nor https"))),
            None => return Err(invalid("the URI is not absolute".to_owned())),
        };
        let authority = uri.authority().ok_or_else(|| invalid("the URI has no host".to_owned()))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let server_name = if tls {
            let name = ServerName::try_from(host.clone());
            Some(name.map_err(|_| invalid(format!("{host} is no name that a certificate can have")))?)
        } else {
            None
        };
        // User information stays out of the Host header.
        let shown = authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, shown)| shown);
        let authority = HeaderValue::from_str(shown).map_err(|error| invalid(error.to_string()))?;
        Ok(Self { key: HostKey { tls, host, port }, server_name, authority })
    }
}

/// Makes the request what HTTP/1.1 wants on the wire: a path, and a `Host`.
fn prepare(request: &mut Request<Body>, target: &Target) -> Result<(), ClientError> {
    let invalid = |detail: String| ClientError::unsent(ClientErrorKind::InvalidRequest, detail);
    if request.method() == Method::CONNECT {
        return Err(invalid("CONNECT is not supported".to_owned()));
    }
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(path);
    *request.uri_mut() = Uri::from_parts(parts).map_err(|error| invalid(error.to_string()))?;
    *request.version_mut() = Version::HTTP_11;
    request.headers_mut().entry(HOST).or_insert_with(|| target.authority.clone());
    Ok(())
}

#[cfg(test)]
mod tests;
