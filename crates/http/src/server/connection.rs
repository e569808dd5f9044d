//! One accepted connection, from its handshake to its end.

use super::admission::{Displaced, Visitor};
use super::io::{ServerIo, Stream};
use super::observe::{Activity, Observed};
use super::{Context, Entry, PeerInfo};
use crate::metrics::ConnectionFault;
use artstore_metrics::Clock;
use artstore_tls::{Acceptor, PendingHandshake, TlsError, TlsErrorType};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

/// The largest flow-control window (RFC 9113, section 6.9.1).
const HTTP2_WINDOW_MAX: u32 = (1 << 31) - 1;

/// Two clocks may differ by less than this; without it a wait could spin.
const TICK: Duration = Duration::from_millis(1);

/// A request's window, in buffers: over HTTP/2 the kernel's own buffer does not help to fill a long path.
const HTTP2_WINDOW_BUFFERS: u32 = 4;

/// How many requests of one connection can send at full speed at one time.
const HTTP2_STREAMS_AT_SPEED: u32 = 4;

/// Serves the connection to its end. Without an acceptor it comes with its place among the open ones.
pub(super) async fn run<C: Clock>(tcp: TcpStream, remote: SocketAddr, entry: Entry<C>, context: Arc<Context<C>>) {
    // Responses are written whole: waiting to fill a segment only delays their end. A failure costs no more.
    let _ = tcp.set_nodelay(true);
    let (stream, place, visitor) = match entry {
        Entry::Plain(place, visitor) => (Stream::Plain(tcp), place, visitor),
        Entry::Tls(acceptor, mut visitor, displaced) => {
            let accepted = tokio::select! {
                biased;
                // A connection that has no request yet is not waited for.
                () = context.shutdown.cancelled() => return,
                accepted = handshake(&acceptor, tcp, (&mut visitor, displaced), &context) => accepted,
            };
            match accepted {
                Ok((stream, place)) => {
                    visitor.opened();
                    (stream, place, visitor)
                }
                Err(fault) => return context.metrics.fault(context.settings.listener, fault),
            }
        }
    };
    // What is made for a connection that is open is not there for one that is silent.
    Box::pin(serve(stream, remote, &context)).await;
    drop((place, visitor));
}

async fn serve<C: Clock>(stream: Stream, remote: SocketAddr, context: &Arc<Context<C>>) {
    let listener = context.settings.listener;
    let (certificate, http2) = match &stream {
        Stream::Plain(_) => (None, false),
        Stream::Tls(stream) => (stream.peer_certificate().cloned().map(Arc::new), stream.alpn() == Some(b"h2")),
    };
    let tls = matches!(stream, Stream::Tls(_));
    let io = ServerIo::new(stream, context.settings.write_timeout);
    let notes = io.notes();
    let activity = Activity::new(&context.clock);
    let observed = Observed::new(context, PeerInfo { remote, certificate }, tls, Arc::clone(&activity));
    let ended = if http2 {
        serve_http2(io, observed, &activity, context).await
    } else {
        serve_http1(io, observed, &activity, context).await
    };
    let fault = match ended {
        Ended::Well => return,
        Ended::Late => ConnectionFault::HeaderTimeout,
        Ended::CutOff => ConnectionFault::Drain,
        Ended::Badly if notes.write_timed_out() => ConnectionFault::WriteTimeout,
        Ended::Badly => ConnectionFault::Protocol,
    };
    tracing::debug!(%remote, listener = listener.label(), fault = fault.label(), "a connection ended before it should");
    context.metrics.fault(listener, fault);
}

/// The TLS handshake: it begins when the client has spoken and there is a place and a turn, so that a silent client holds
/// neither.
async fn handshake<C: Clock>(
    acceptor: &Acceptor<C>,
    tcp: TcpStream,
    (visitor, displaced): (&mut Visitor, Displaced),
    context: &Arc<Context<C>>,
) -> Result<(Stream, OwnedSemaphorePermit), ConnectionFault> {
    let pending = tokio::select! {
        biased;
        // First, so that a hello that is here counts, and one that is displaced at once is cancelled like the others.
        hello = acceptor.hello(tcp) => hello,
        fault = displaced.fault() => return Err(fault),
    };
    let pending = pending.map_err(|error| failed(&error))?;
    let displaced = visitor.spoke();
    tokio::select! {
        biased;
        accepted = Box::pin(spoken(pending, visitor, context)) => accepted,
        fault = displaced.fault() => Err(fault),
    }
}

async fn spoken<C: Clock>(
    mut pending: PendingHandshake<C>,
    visitor: &mut Visitor,
    context: &Arc<Context<C>>,
) -> Result<(Stream, OwnedSemaphorePermit), ConnectionFault> {
    let now = Arc::clone(&context.places).try_acquire_owned().ok().zip(context.handshakes.try_acquire().ok());
    let (place, turn) = if let Some(now) = now {
        now
    } else {
        let wait = async {
            // The semaphores are never closed.
            let place = Arc::clone(&context.places).acquire_owned().await.ok()?;
            Some((place, context.handshakes.acquire().await.ok()?))
        };
        let came = tokio::time::timeout_at(pending.deadline(), wait).await;
        pending.turn_came();
        came.ok().flatten().ok_or(ConnectionFault::Busy)?
    };
    visitor.begins();
    let stream = pending.finish().await.map_err(|error| failed(&error))?;
    drop(turn);
    Ok((Stream::Tls(Box::new(stream)), place))
}

fn failed(error: &TlsError) -> ConnectionFault {
    tracing::debug!(%error, "a handshake failed");
    if error.kind() == TlsErrorType::NotTls { ConnectionFault::PlainHttp } else { ConnectionFault::Handshake }
}

/// How a connection ended.
enum Ended {
    Well,
    /// No head of a request in time.
    Late,
    CutOff,
    Badly,
}

async fn serve_http1<C: Clock>(
    io: ServerIo,
    observed: Observed<C>,
    activity: &Activity,
    context: &Context<C>,
) -> Ended {
    let settings = &context.settings;
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // hyper starts this timer when a request ends, so it is the idle time-out as well.
        .header_read_timeout(settings.idle_timeout)
        .max_header_size(settings.max_header_bytes)
        .max_headers(settings.max_headers)
        .max_buf_size(crate::body::buffer_bytes(settings.max_buffer_bytes, settings.max_header_bytes))
        .serve_connection(TokioIo::new(io), service_fn(move |request| observed.clone().answer(request)));
    let mut connection = std::pin::pin!(connection);
    supervise(connection.as_mut(), |connection| connection.graceful_shutdown(), activity, context).await
}

async fn serve_http2<C: Clock>(
    io: ServerIo,
    observed: Observed<C>,
    activity: &Activity,
    context: &Context<C>,
) -> Ended {
    let settings = &context.settings;
    let buffer = crate::body::buffer_bytes(settings.max_buffer_bytes, settings.max_header_bytes);
    let window = u32::try_from(buffer).unwrap_or(HTTP2_WINDOW_MAX);
    let window = window.saturating_mul(HTTP2_WINDOW_BUFFERS).min(HTTP2_WINDOW_MAX);
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.max_http2_streams)
        .max_header_list_size(u32::try_from(settings.max_header_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(window)
        .initial_connection_window_size(window.saturating_mul(HTTP2_STREAMS_AT_SPEED).min(HTTP2_WINDOW_MAX))
        .max_send_buf_size(buffer)
        .keep_alive_interval(settings.header_read_timeout)
        .serve_connection(TokioIo::new(io), service_fn(move |request| observed.clone().answer(request)));
    let mut connection = std::pin::pin!(connection);
    supervise(connection.as_mut(), |connection| connection.graceful_shutdown(), activity, context).await
}

/// Runs a connection under its time-outs, and asks it to end when the server does or when it was idle for long.
async fn supervise<F, C: Clock>(
    mut connection: Pin<&mut F>,
    end_gracefully: impl Fn(Pin<&mut F>),
    activity: &Activity,
    context: &Context<C>,
) -> Ended
where
    F: Future<Output = hyper::Result<()>>,
{
    let mut ending = false;
    let settings = &context.settings;
    let mut wait = settings.header_read_timeout.min(settings.idle_timeout);
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                return match ended {
                    Ok(()) => Ended::Well,
                    Err(error) => classify(&error, activity),
                };
            }
            () = context.cut_off.cancelled() => return Ended::CutOff,
            () = context.shutdown.cancelled(), if !ending => {
                if !activity.any_request() {
                    // Nothing was asked yet: hyper would wait for the rest of a head that has begun.
                    return Ended::Well;
                }
                ending = true;
                end_gracefully(connection.as_mut());
            }
            () = tokio::time::sleep(wait), if !ending => {
                let limit = if activity.any_request() { settings.idle_timeout } else { settings.header_read_timeout };
                match activity.idle_for(context.clock.monotonic()) {
                    Some(idle) if idle < limit => wait = (limit - idle).max(TICK),
                    Some(_) if !activity.any_request() => return Ended::Late,
                    Some(_) => {
                        ending = true;
                        end_gracefully(connection.as_mut());
                    }
                    None => wait = limit,
                }
            }
        }
    }
}

fn classify(error: &hyper::Error, activity: &Activity) -> Ended {
    if error.is_timeout() {
        // Between two requests it is how an idle connection ends.
        return if activity.any_request() { Ended::Well } else { Ended::Late };
    }
    // A client that goes away without a request, or between two, has done nothing wrong.
    if activity.in_progress() == 0 && !error.is_parse() { Ended::Well } else { Ended::Badly }
}
