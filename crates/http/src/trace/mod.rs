//! Traces of requests: a span for each that is served or sent, by the stable names of OpenTelemetry's conventions for HTTP.
//!
//! Attributes never hold a path, a query or a header: a route stands for the path that matched it. So `url.path` and
//! `url.full`, which the conventions want, are left out.

mod otlp;
mod protobuf;
#[cfg(test)]
mod tests;

pub use otlp::{OtlpExporter, OtlpSettings, TRACES_PATH, otlp};

use artstore_metrics::{Clock, Exemplar};
use artstore_trace::{Context, Kind, Span, Tracer};
use axum::extract::MatchedPath;
use axum::extract::Request as AxumRequest;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The span that the sender of these headers was in.
fn extract(headers: &HeaderMap) -> Option<Context> {
    let values = |name| headers.get_all(name).iter().map(HeaderValue::as_bytes);
    Context::parse(values(TRACEPARENT), values(TRACESTATE))
}

/// Tells the receiver of these headers which span they come from, and nothing of an earlier one.
fn inject(headers: &mut HeaderMap, context: &Context) {
    let value = |text: &str| HeaderValue::from_str(text).ok();
    headers.remove(TRACESTATE);
    if let Some(traceparent) = value(&context.traceparent()) {
        headers.insert(TRACEPARENT, traceparent);
    }
    if let Some(state) = context.state().and_then(value) {
        headers.insert(TRACESTATE, state);
    }
}

/// The method as the conventions name it: a client's own inventions are one.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => "_OTHER",
    }
}

/// What a span of this method is called as long as nothing more is known.
fn short_name(method: &'static str) -> &'static str {
    if method == "_OTHER" { "HTTP" } else { method }
}

/// Which route a request took: written by the router, read when the request has ended.
#[derive(Debug, Clone, Default)]
struct RouteNote(Arc<OnceLock<String>>);

/// Notes the route that matched; a layer around each route.
pub(crate) fn note_route(request: AxumRequest) -> AxumRequest {
    let extensions = request.extensions();
    if let (Some(note), Some(path)) = (extensions.get::<RouteNote>(), extensions.get::<MatchedPath>()) {
        // The outermost router says it first, and whole.
        let _ = note.0.set(path.as_str().to_owned());
    }
    request
}

/// The span of a request that is served.
#[derive(Debug)]
pub(crate) struct ServerTrace {
    span: Span,
    method: &'static str,
    route: RouteNote,
}

impl ServerTrace {
    /// A request has come; it carries the note of its route from here on.
    pub(crate) fn begin<B>(tracer: &Tracer, request: &mut Request<B>, tls: bool, peer: IpAddr) -> Self {
        let method = method_name(request.method());
        let mut span = tracer.span(extract(request.headers()).as_ref(), short_name(method), Kind::Server);
        let route = RouteNote::default();
        if span.is_recording() {
            span.set("http.request.method", method);
            span.set("url.scheme", if tls { "https" } else { "http" });
            span.set("network.protocol.version", if request.version() == http::Version::HTTP_2 { "2" } else { "1.1" });
            span.set("network.peer.address", peer.to_string());
            request.extensions_mut().insert(route.clone());
        }
        Self { span, method, route }
    }

    /// The span as others see it.
    pub(crate) const fn context(&self) -> &Context {
        self.span.context()
    }

    /// The request has ended: with this status, if there was a response, and whole, if it is not `aborted`.
    pub(crate) fn end(mut self, status: Option<StatusCode>, aborted: bool) {
        if let Some(route) = self.route.0.get() {
            let method = short_name(self.method);
            self.span.rename(|| Cow::Owned(format!("{method} {route}")));
            self.span.set("http.route", route.clone());
        }
        if let Some(status) = status {
            self.span.set("http.response.status_code", status.as_u16());
        }
        if aborted {
            self.span.fail("aborted");
        } else if let Some(status) = status.filter(|status| status.as_u16() >= 500) {
            self.span.fail(status.as_u16().to_string());
        }
    }
}

/// The span of a request that is sent. Dropped without an end, the request was cancelled.
#[derive(Debug)]
pub(crate) struct ClientTrace {
    span: Span,
    ended: bool,
}

impl ClientTrace {
    /// A request is sent, and tells its receiver so.
    pub(crate) fn begin<B>(tracer: &Tracer, request: &mut Request<B>) -> Self {
        let method = method_name(request.method());
        let mut span = tracer.child(short_name(method), Kind::Client);
        if span.is_recording() {
            span.set("http.request.method", method);
            if let Some((host, port)) = server_of(request.uri()) {
                span.set("server.address", host);
                span.set("server.port", port);
            }
        }
        inject(request.headers_mut(), span.context());
        Self { span, ended: false }
    }

    /// The span as others see it.
    pub(crate) const fn context(&self) -> &Context {
        self.span.context()
    }

    /// The exemplar of what is observed of the request now.
    pub(crate) fn exemplar<C: Clock>(&self, clock: &C) -> Option<Exemplar> {
        Exemplar::of(self.span.context(), clock)
    }

    /// The head of a response came.
    pub(crate) fn answered(mut self, status: StatusCode) {
        self.ended = true;
        self.span.set("http.response.status_code", status.as_u16());
        if status.as_u16() >= 400 {
            self.span.fail(status.as_u16().to_string());
        }
    }

    /// No response came.
    pub(crate) fn failed(mut self, error_type: &'static str) {
        self.ended = true;
        self.span.fail(error_type);
    }
}

impl Drop for ClientTrace {
    fn drop(&mut self) {
        if !self.ended {
            self.span.fail("cancelled");
        }
    }
}

fn server_of(uri: &Uri) -> Option<(String, u16)> {
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    Some((uri.host()?.to_owned(), uri.port_u16().unwrap_or(default)))
}
