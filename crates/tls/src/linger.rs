//! Closing so that the peer can still read the alert: a close with unread input would be a reset, which destroys it.

use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// How long a closing connection waits for its peer to close, at most.
pub(crate) const LINGER_TIME: Duration = Duration::from_secs(1);

/// How much of what the peer still sends is read and thrown away, at most.
pub(crate) const LINGER_BYTES: usize = 64 * 1024;

/// Ends our side and reads until the peer ends its own, within both limits.
pub(crate) async fn close<T: AsyncRead + AsyncWrite + Unpin>(mut tcp: T) {
    let drain = async {
        // A peer that is gone needs no farewell.
        tcp.shutdown().await.ok();
        let mut buffer = [0; 4096];
        let mut left = LINGER_BYTES;
        while left > 0 {
            match tcp.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(count) => left = left.saturating_sub(count),
            }
        }
    };
    tokio::time::timeout(LINGER_TIME, drain).await.ok();
}
