//! Opening a connection: name, socket, TLS, HTTP; and the task that drives it.

use super::body::WatchedBody;
use super::error::{ClientError, ClientErrorKind, chain};
use super::io::{ClientIo, Stream};
use super::pool::{Closing, Connection, HostKey, Pool, Slot};
use super::{ClientSettings, Target};
use crate::metrics::{CloseReason, ConnectionSpan};
use artstore_metrics::Clock;
use artstore_tls::Connector;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// The least that one address of several gets of the connect time-out.
const SHARE_MIN: Duration = Duration::from_millis(250);

/// How long a connection may take to end once nobody uses it: the TLS goodbye, mostly.
const GOODBYE: Duration = Duration::from_secs(1);

/// Opens a connection in this slot.
pub(super) async fn open<C: Clock>(
    pool: &Pool,
    slot: Slot,
    target: &Target,
    connector: Option<&Connector<C>>,
    settings: &ClientSettings,
) -> Result<Connection, ClientError> {
    let limit = settings.connect_timeout;
    // Before the handshake: one that was under way when the identity changed has shown the old one.
    let generation = pool.generation();
    let tcp = tokio::time::timeout(limit, tcp(&target.key, limit))
        .await
        .map_err(|_| ClientError::unsent(ClientErrorKind::Timeout, format!("not connected within {limit:?}")))??;
    let stream = match (&target.server_name, connector) {
        (None, _) => Stream::Plain(tcp),
        (Some(name), Some(connector)) => {
            Stream::Tls(Box::new(connector.connect(name.clone(), tcp).await.map_err(ClientError::tls)?))
        }
        (Some(_), None) => {
            let detail = "https, but this client has no TLS";
            return Err(ClientError::unsent(ClientErrorKind::InvalidRequest, detail));
        }
    };
    let span = slot.host().peer().connection();
    let io = ClientIo::new(stream, slot.host().peer().use_of_connection());
    let state = io.state();
    let (sender, driver) = http1::Builder::new()
        .max_header_size(settings.max_header_bytes)
        .max_headers(settings.max_headers)
        .max_buf_size(crate::body::buffer_bytes(settings.max_buffer_bytes, settings.max_header_bytes))
        .handshake(TokioIo::new(io))
        .await
        .map_err(|error| ClientError::unsent(ClientErrorKind::Transport, chain(&error)))?;
    let connection = Connection::new(pool, slot.host(), sender, state, generation);
    let (id, closing) = connection.task_side();
    tokio::spawn(drive(driver, Driven { id, closing, slot, span }));
    Ok(connection)
}

async fn tcp(key: &HostKey, limit: Duration) -> Result<TcpStream, ClientError> {
    let addresses: Vec<SocketAddr> = match tokio::net::lookup_host((key.host.as_str(), key.port)).await {
        Ok(addresses) => addresses.collect(),
        Err(error) => return Err(ClientError::unsent(ClientErrorKind::Dns, format!("{}: {error}", key.host))),
    };
    let mut failure = ClientError::unsent(ClientErrorKind::Dns, format!("{}: no address", key.host));
    let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    for address in addresses {
        // One silent address must not use up the time of the others.
        let share = if count == 1 { limit } else { (limit / count).max(SHARE_MIN) };
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Requests are written whole: waiting to fill a segment only delays their end. A failure costs no more.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => failure = ClientError::unsent(ClientErrorKind::Connect, format!("{address}: {error}")),
            Err(_) => {
                failure =
                    ClientError::unsent(ClientErrorKind::Timeout, format!("{address}: no answer within {share:?}"));
            }
        }
    }
    Err(failure)
}

/// What the connection's task owns beside the connection; the slot is free only when the socket is closed.
struct Driven {
    id: u64,
    closing: Arc<Closing>,
    slot: Slot,
    span: ConnectionSpan,
}

async fn drive(driver: http1::Connection<TokioIo<ClientIo>, WatchedBody>, driven: Driven) {
    let Driven { id, closing, slot, span } = driven;
    let ended = {
        tokio::pin!(driver);
        tokio::select! {
            biased;
            () = closing.aborted() => Ok(()),
            ended = &mut driver => ended,
            () = closing.retired() => tokio::time::timeout(GOODBYE, &mut driver).await.unwrap_or(Ok(())),
        }
    };
    // The socket is closed now.
    closing.end();
    let reason = closing.reason().unwrap_or(if ended.is_ok() { CloseReason::Peer } else { CloseReason::Error });
    if let Err(error) = ended {
        tracing::debug!(error = chain(&error), "a connection ended");
    }
    span.closed(reason);
    slot.host().forget(id);
    drop(slot);
}
