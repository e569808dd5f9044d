//! The families of this crate, `http_client_*`, `http_server_*`, `trace_*` and `process_*`, and the events that move them.

mod pool;
mod trace;

pub use pool::{CLIENT_CLOSED, CLIENT_IDLE, CLIENT_OPEN, CLIENT_OPENED, CLIENT_UNUSED, CLIENT_WAITING, PEERS_MAX};
pub(crate) use pool::{ConnectionSpan, ConnectionUse, PeerGuard, PeerMetrics, PoolMetrics};
pub use trace::{ExportOutcome, SpanOutcome, TRACE_EXPORTS, TRACE_QUEUED, TRACE_SPANS, TraceMetrics};

use artstore_metrics::{Counter, Exemplar, Family, Gauge, GaugeGuard, Histogram, LabelValue, Registry, label_enum};
use http::StatusCode;
use std::time::Duration;

label_enum! {
    /// How a request that we sent ended.
    pub enum RequestOutcome as "outcome" {
        /// Answered with 1xx or 2xx.
        Success = "2xx",
        /// Answered with 3xx.
        Redirection = "3xx",
        /// Answered with 4xx.
        ClientError = "4xx",
        /// Answered with 5xx, or a status beyond.
        ServerError = "5xx",
        /// The host did not resolve.
        Dns = "dns",
        /// Refused or unreachable.
        Connect = "connect",
        /// The TLS handshake failed, or the server refused our certificate after it.
        Tls = "tls",
        /// A deadline passed.
        Timeout = "timeout",
        /// Reset, end of stream, or an answer that is not HTTP.
        Transport = "transport",
        /// No connection came free in time.
        PoolExhausted = "pool_exhausted",
        /// The request cannot be sent as it is.
        InvalidRequest = "invalid_request",
        /// The request's own body failed.
        RequestBody = "request_body",
        /// Our side dropped the request before an answer.
        Cancelled = "cancelled",
    }
}

label_enum! {
    /// Why a connection that we opened ended.
    pub enum CloseReason as "reason" {
        /// It lay idle for the idle time-out.
        IdleTimeout = "idle_timeout",
        /// There were more idle ones than may be kept.
        IdleLimit = "idle_limit",
        /// The server closed it.
        Peer = "peer",
        /// The response, or the request, was given up before its end.
        Abandoned = "abandoned",
        /// Reading or writing failed.
        Error = "error",
        /// The client, or this generation of its identity, is gone.
        Retired = "retired",
    }
}

label_enum! {
    /// Which of a module's listeners.
    pub enum Listener as "listener" {
        /// The module's API.
        Main = "main",
        /// Metrics and health.
        Operations = "operations",
    }
}

label_enum! {
    /// How a request that we received ended.
    pub enum ServedOutcome as "outcome" {
        /// Answered with 1xx or 2xx.
        Success = "2xx",
        /// Answered with 3xx.
        Redirection = "3xx",
        /// Answered with 4xx.
        ClientError = "4xx",
        /// Answered with 5xx.
        ServerError = "5xx",
        /// The connection went away before the end of the response.
        Aborted = "aborted",
    }
}

label_enum! {
    /// Why a connection that we accepted ended before it should.
    pub enum ConnectionFault as "fault" {
        /// The TLS handshake failed; `tls_server_handshake_total` says why.
        Handshake = "handshake",
        /// Plain HTTP on the TLS port.
        PlainHttp = "plain_http",
        /// No request in time, or a request head that did not end in time.
        HeaderTimeout = "header_timeout",
        /// The client stopped taking the response.
        WriteTimeout = "write_timeout",
        /// Not HTTP, a head beyond the limits, or a connection that broke inside a request.
        Protocol = "protocol",
        /// Cut off by the drain time-out.
        Drain = "drain",
        /// Closed while its client was still silent, because a new connection needed its place or its descriptor.
        Silent = "silent",
        /// Its address has as many connections, or handshakes, as one may.
        AddressLimit = "address_limit",
        /// No place or no turn for its handshake came free in time.
        Busy = "busy",
        /// `accept` itself failed: no file descriptors left, mostly.
        Accept = "accept",
    }
}

/// Requests that we sent, by how they ended.
pub const CLIENT_REQUESTS: Family =
    Family::counter("http_client_requests_total", "Requests to other modules by how they ended.")
        .labels(&[RequestOutcome::LABEL]);
/// From the call to the head of the response.
pub const CLIENT_REQUEST_DURATION: Family = Family::histogram(
    "http_client_request_duration_seconds",
    "Time from the start of a request to the head of its response, answered requests only.",
    &[0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0],
);
/// Requests sent a second time.
pub const CLIENT_RETRIES: Family =
    Family::counter("http_client_retries_total", "Requests sent again because an idle connection proved dead.");
/// Connections accepted.
pub const SERVER_ACCEPTED: Family =
    Family::counter("http_server_connections_accepted_total", "Connections accepted.").labels(&[Listener::LABEL]);
/// Open connections.
pub const SERVER_OPEN: Family =
    Family::gauge("http_server_connections_open", "Accepted connections that are open.").labels(&[Listener::LABEL]);
/// Connections that ended badly.
pub const SERVER_FAULTS: Family = Family::counter(
    "http_server_connection_faults_total",
    "Accepted connections that ended before they should, by fault.",
)
.labels(&[Listener::LABEL, ConnectionFault::LABEL]);
/// Requests received.
pub const SERVER_REQUESTS: Family =
    Family::counter("http_server_requests_total", "Requests received by how they ended.")
        .labels(&[Listener::LABEL, ServedOutcome::LABEL]);
/// Requests in progress.
pub const SERVER_ACTIVE: Family =
    Family::gauge("http_server_requests_active", "Requests in progress, until the end of the response.")
        .labels(&[Listener::LABEL]);
/// From the request's head to the end of the response.
pub const SERVER_DURATION: Family = Family::histogram(
    "http_server_request_duration_seconds",
    "Time from the head of a request to the end of its response, requests that ended by themselves only.",
    &[0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0],
)
.labels(&[Listener::LABEL]);
/// Handlers that panicked.
pub const SERVER_PANICS: Family =
    Family::counter("http_server_panics_total", "Requests whose handler panicked; each is a defect.");

/// CPU time.
pub const PROCESS_CPU: Family =
    Family::counter("process_cpu_seconds_total", "Processor time used, in user and in kernel mode.");
/// Resident memory.
pub const PROCESS_RESIDENT: Family =
    Family::gauge("process_resident_memory_bytes", "Memory of the process that is in RAM.");
/// Virtual memory.
pub const PROCESS_VIRTUAL: Family = Family::gauge("process_virtual_memory_bytes", "Address space of the process.");
/// Open file descriptors.
pub const PROCESS_OPEN_FDS: Family = Family::gauge("process_open_fds", "Open file descriptors.");
/// The limit of open file descriptors.
pub const PROCESS_MAX_FDS: Family = Family::gauge("process_max_fds", "How many file descriptors may be open.");
/// Threads.
pub const PROCESS_THREADS: Family = Family::gauge("process_threads", "Threads of the process.");
/// When the process started.
pub const PROCESS_START: Family =
    Family::gauge("process_start_time_seconds", "When the process started, in seconds since 1970.");

/// All families of this crate.
pub const FAMILIES: &[&Family] = &[
    &CLIENT_REQUESTS,
    &CLIENT_REQUEST_DURATION,
    &CLIENT_RETRIES,
    &CLIENT_OPEN,
    &CLIENT_IDLE,
    &CLIENT_OPENED,
    &CLIENT_UNUSED,
    &CLIENT_WAITING,
    &CLIENT_CLOSED,
    &SERVER_ACCEPTED,
    &SERVER_OPEN,
    &SERVER_FAULTS,
    &SERVER_REQUESTS,
    &SERVER_ACTIVE,
    &SERVER_DURATION,
    &SERVER_PANICS,
    &TRACE_SPANS,
    &TRACE_EXPORTS,
    &TRACE_QUEUED,
    &PROCESS_CPU,
    &PROCESS_RESIDENT,
    &PROCESS_VIRTUAL,
    &PROCESS_OPEN_FDS,
    &PROCESS_MAX_FDS,
    &PROCESS_THREADS,
    &PROCESS_START,
];

/// What [`Client`](crate::Client)s of one module measure. Clones share it.
#[derive(Debug, Clone)]
pub struct HttpClientMetrics {
    requests: Counter<RequestOutcome>,
    duration: Histogram,
    retries: Counter,
    pool: PoolMetrics,
}

impl HttpClientMetrics {
    /// Registers the `http_client_*` families.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        Self {
            requests: registry.counter(&CLIENT_REQUESTS),
            duration: registry.histogram(&CLIENT_REQUEST_DURATION),
            retries: registry.counter(&CLIENT_RETRIES),
            pool: PoolMetrics::new(registry),
        }
    }

    /// A request begins. It counts once, when it ended or was dropped.
    pub(crate) fn request(&self) -> RequestSpan {
        RequestSpan { metrics: self.clone(), outcome: RequestOutcome::Cancelled }
    }

    /// A request is sent again on another connection.
    pub(crate) fn retried(&self) {
        self.retries.inc(());
    }

    /// The pools' part.
    pub(crate) const fn pool(&self) -> &PoolMetrics {
        &self.pool
    }
}

/// One request that we sent.
#[derive(Debug)]
pub(crate) struct RequestSpan {
    metrics: HttpClientMetrics,
    outcome: RequestOutcome,
}

impl RequestSpan {
    /// The head of a response came, so long after the start.
    pub(crate) fn answered(mut self, status: StatusCode, after: Duration, exemplar: Option<Exemplar>) {
        self.metrics.duration.observe_traced((), after, exemplar);
        self.outcome = match class(status) {
            Class::Success => RequestOutcome::Success,
            Class::Redirection => RequestOutcome::Redirection,
            Class::ClientError => RequestOutcome::ClientError,
            Class::ServerError => RequestOutcome::ServerError,
        };
    }

    /// No response came.
    pub(crate) fn failed(mut self, outcome: RequestOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for RequestSpan {
    fn drop(&mut self) {
        self.metrics.requests.inc(self.outcome);
    }
}

/// What the [`Server`](crate::Server)s of one module measure. Clones share it.
#[derive(Debug, Clone)]
pub struct ServerMetrics {
    accepted: Counter<Listener>,
    open: Gauge<Listener>,
    faults: Counter<(Listener, ConnectionFault)>,
    requests: Counter<(Listener, ServedOutcome)>,
    active: Gauge<Listener>,
    duration: Histogram<Listener>,
    panics: Counter,
}

impl ServerMetrics {
    /// Registers the `http_server_*` families.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        Self {
            accepted: registry.counter(&SERVER_ACCEPTED),
            open: registry.gauge(&SERVER_OPEN),
            faults: registry.counter(&SERVER_FAULTS),
            requests: registry.counter(&SERVER_REQUESTS),
            active: registry.gauge(&SERVER_ACTIVE),
            duration: registry.histogram(&SERVER_DURATION),
            panics: registry.counter(&SERVER_PANICS),
        }
    }

    /// A connection was accepted; it counts as open until the guard is dropped.
    pub(crate) fn connection(&self, listener: Listener) -> GaugeGuard {
        self.accepted.inc(listener);
        self.open.hold(listener)
    }

    /// A connection ended before it should.
    pub(crate) fn fault(&self, listener: Listener, fault: ConnectionFault) {
        self.faults.inc((listener, fault));
    }

    /// A handler panicked.
    pub(crate) fn panicked(&self) {
        self.panics.inc(());
    }

    /// A request's head came. It counts once, when the response ended or was dropped.
    pub(crate) fn request(&self, listener: Listener) -> ServedSpan {
        let active = self.active.hold(listener);
        ServedSpan { metrics: self.clone(), listener, outcome: ServedOutcome::Aborted, _active: active }
    }
}

/// One request that we received.
#[derive(Debug)]
pub(crate) struct ServedSpan {
    metrics: ServerMetrics,
    listener: Listener,
    outcome: ServedOutcome,
    _active: GaugeGuard,
}

impl ServedSpan {
    /// The response was handed over to its end, so long after the request's head.
    pub(crate) fn served(&mut self, status: StatusCode, after: Duration, exemplar: Option<Exemplar>) {
        self.metrics.duration.observe_traced(self.listener, after, exemplar);
        self.outcome = match class(status) {
            Class::Success => ServedOutcome::Success,
            Class::Redirection => ServedOutcome::Redirection,
            Class::ClientError => ServedOutcome::ClientError,
            Class::ServerError => ServedOutcome::ServerError,
        };
    }

    /// How it ended, as it stands.
    pub(crate) const fn outcome(&self) -> ServedOutcome {
        self.outcome
    }
}

impl Drop for ServedSpan {
    fn drop(&mut self) {
        self.metrics.requests.inc((self.listener, self.outcome));
    }
}

enum Class {
    Success,
    Redirection,
    ClientError,
    ServerError,
}

fn class(status: StatusCode) -> Class {
    match status.as_u16() {
        0..=299 => Class::Success,
        300..=399 => Class::Redirection,
        400..=499 => Class::ClientError,
        500.. => Class::ServerError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_sent_counts_once_by_its_outcome() {
        let registry = Registry::new();
        let metrics = HttpClientMetrics::new(&registry);
        for (status, outcome) in [(204, "2xx"), (307, "3xx"), (404, "4xx"), (507, "5xx"), (101, "2xx"), (999, "5xx")] {
            let before = registry.sum_of("http_client_requests_total", &[("outcome", outcome)]);
            metrics.request().answered(StatusCode::from_u16(status).unwrap(), Duration::from_millis(20), None);
            assert_eq!(
                registry.sum_of("http_client_requests_total", &[("outcome", outcome)]),
                before + 1.0,
                "{status}"
            );
        }
        metrics.request().failed(RequestOutcome::Tls);
        drop(metrics.request());
        assert_eq!(registry.sum_of("http_client_requests_total", &[("outcome", "tls")]), 1.0);
        assert_eq!(registry.sum_of("http_client_requests_total", &[("outcome", "cancelled")]), 1.0);
        assert_eq!(registry.sum_of("http_client_requests_total", &[]), 8.0);
        assert_eq!(registry.sum_of("http_client_request_duration_seconds_count", &[]), 6.0);
        metrics.retried();
        assert_eq!(registry.sum_of("http_client_retries_total", &[]), 1.0);
    }

    #[test]
    fn every_request_served_counts_once_by_its_outcome() {
        let registry = Registry::new();
        let metrics = ServerMetrics::new(&registry);
        for (status, outcome) in [
            (201, ServedOutcome::Success),
            (304, ServedOutcome::Redirection),
            (413, ServedOutcome::ClientError),
            (503, ServedOutcome::ServerError),
        ] {
            let mut span = metrics.request(Listener::Main);
            assert_eq!(registry.sum_of("http_server_requests_active", &[("listener", "main")]), 1.0);
            span.served(StatusCode::from_u16(status).unwrap(), Duration::from_millis(1), None);
            assert_eq!(span.outcome(), outcome);
        }
        drop(metrics.request(Listener::Operations));
        for outcome in ["2xx", "3xx", "4xx", "5xx"] {
            assert_eq!(
                registry.sum_of("http_server_requests_total", &[("listener", "main"), ("outcome", outcome)]),
                1.0
            );
        }
        assert_eq!(
            registry.sum_of("http_server_requests_total", &[("listener", "operations"), ("outcome", "aborted")]),
            1.0
        );
        assert_eq!(registry.sum_of("http_server_request_duration_seconds_count", &[]), 4.0);
        assert_eq!(registry.sum_of("http_server_requests_active", &[]), 0.0);
    }

    #[test]
    fn accepted_connections_faults_and_panics_count() {
        let registry = Registry::new();
        let metrics = ServerMetrics::new(&registry);
        let open = metrics.connection(Listener::Operations);
        metrics.fault(Listener::Operations, ConnectionFault::PlainHttp);
        metrics.panicked();
        assert_eq!(registry.sum_of("http_server_connections_open", &[("listener", "operations")]), 1.0);
        drop(open);
        assert_eq!(registry.sum_of("http_server_connections_open", &[]), 0.0);
        assert_eq!(registry.sum_of("http_server_connections_accepted_total", &[("listener", "operations")]), 1.0);
        assert_eq!(registry.sum_of("http_server_connection_faults_total", &[("fault", "plain_http")]), 1.0);
        assert_eq!(registry.sum_of("http_server_panics_total", &[]), 1.0);
    }

    #[test]
    fn the_list_is_what_is_registered() {
        let registry = Registry::new();
        let _ = (HttpClientMetrics::new(&registry), ServerMetrics::new(&registry), TraceMetrics::new(&registry));
        crate::process::register(&registry);
        let names = |families: &[&'static Family]| families.iter().map(|family| family.name()).collect::<Vec<_>>();
        assert_eq!(names(&registry.families()), names(FAMILIES));
        assert!(FAMILIES.iter().all(|family| family.help().ends_with('.')));
    }
}
