//! What a peer's first bytes tell that rustls does not: the versions it offers, and whether they are TLS at all.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much of a hello is kept: versions lie in its first records.
const KEPT_BYTES: usize = 4096;

/// Passes bytes through and keeps the first ones that were read.
#[derive(Debug)]
pub(crate) struct Recorder<T> {
    inner: T,
    read: Vec<u8>,
}

impl<T> Recorder<T> {
    pub(crate) const fn new(inner: T) -> Self {
        Self { inner, read: Vec::new() }
    }

    /// The stream below, and the bytes that were read from it first.
    pub(crate) fn into_parts(self) -> (T, Vec<u8>) {
        (self.inner, self.read)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Recorder<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let result = Pin::new(&mut this.inner).poll_read(cx, buf);
        let new = buf.filled().get(before..).unwrap_or_default();
        let room = KEPT_BYTES - this.read.len();
        this.read.extend_from_slice(&new[..new.len().min(room)]);
        result
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Recorder<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

/// Whether a connection that begins with this byte may be TLS: a handshake record or an alert.
pub(crate) const fn may_be_tls(first: u8) -> bool {
    matches!(first, 20..=24)
}

/// Whether these are the first bytes of a hello that offers nothing newer than TLS 1.1.
pub(crate) fn offers_only_old_versions(bytes: &[u8]) -> bool {
    highest_version(bytes).is_some_and(|version| version < 0x0303)
}

/// The highest version that a client's hello offers: that of the extension for it, else the field of old.
fn highest_version(bytes: &[u8]) -> Option<u16> {
    let mut record = Reader(bytes);
    if record.take(1)? != [22] {
        return None;
    }
    record.take(4)?;
    if record.take(1)? != [1] {
        return None;
    }
    record.take(3)?;
    let legacy = record.number()?;
    Some(supported_versions(record).into_iter().max().unwrap_or(legacy))
}

/// The versions in the hello's extension, from after the version field on; none if it has no such extension.
fn supported_versions(mut hello: Reader<'_>) -> Vec<u16> {
    let mut find = || {
        hello.take(32)?;
        hello.vector8()?;
        hello.vector16()?;
        hello.vector8()?;
        let mut extensions = Reader(hello.vector16()?);
        loop {
            let number = extensions.number()?;
            let content = extensions.vector16()?;
            if number == 43 {
                return Reader(content).vector8();
            }
        }
    };
    let versions = find().unwrap_or_default();
    let numbers = versions.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    // Reserved values that clients strew in to keep servers tolerant (RFC 8701) are no versions.
    numbers.filter(|version| version & 0x0f0f != 0x0a0a).collect()
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn vector8(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(*self.take(1)?.first()?);
        self.take(length)
    }

    fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.number()?);
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hello of this version field, with these extensions.
    fn hello(legacy: [u8; 2], extensions: &[(u16, &[u8])]) -> Vec<u8> {
        let mut tail = Vec::new();
        for (number, content) in extensions {
            tail.extend(number.to_be_bytes());
            tail.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
            tail.extend(*content);
        }
        let mut body = legacy.to_vec();
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        if !extensions.is_empty() {
            body.extend(u16::try_from(tail.len()).unwrap().to_be_bytes());
            body.extend(tail);
        }
        let length = u8::try_from(body.len()).unwrap();
        let mut bytes = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
        bytes.extend(body);
        bytes
    }

    #[test]
    fn old_hellos_are_told_from_new_ones() {
        for (old, bytes) in [
            (true, hello([3, 1], &[])),
            (true, hello([3, 2], &[])),
            (false, hello([3, 3], &[])),
            (true, hello([3, 1], &[(0, b"name")])),
            (false, hello([3, 3], &[(0, b"name"), (43, &[4, 3, 4, 3, 3])])),
            (true, hello([3, 3], &[(43, &[4, 3, 2, 3, 1])])),
            // A reserved value strewn in is no version.
            (true, hello([3, 3], &[(43, &[4, 0x7a, 0x7a, 3, 1])])),
            (false, b"GET / HTTP/1.1\r\n".to_vec()),
            (false, vec![22, 3, 1, 0, 4, 2, 0, 0, 0, 3, 1]),
            (false, vec![22, 3, 1]),
            (false, Vec::new()),
        ] {
            assert_eq!(offers_only_old_versions(&bytes), old, "{bytes:?}");
        }
    }

    /// However a hello is cut short, it is read without fault, and as far as it goes.
    #[test]
    fn cut_hellos_are_no_danger() {
        let whole = hello([3, 1], &[(0, b"name"), (43, &[2, 3, 4])]);
        for length in 0..whole.len() {
            assert_eq!(offers_only_old_versions(&whole[..length]), length >= 11, "{length}");
        }
        assert!(!offers_only_old_versions(&whole));
    }

    #[test]
    fn first_bytes() {
        assert!([20, 21, 22, 23, 24].into_iter().all(may_be_tls));
        assert!(!b"GPHOC \x80\x00".iter().copied().any(may_be_tls));
    }

    #[tokio::test]
    async fn the_recorder_passes_all_and_keeps_the_beginning() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let mut near = Recorder::new(near);
        let sent = vec![5; KEPT_BYTES + 100];
        far.write_all(&sent).await.unwrap();
        let mut heard = vec![0; sent.len()];
        near.read_exact(&mut heard).await.unwrap();
        near.write_all(b"answer").await.unwrap();
        near.flush().await.unwrap();
        near.shutdown().await.unwrap();
        let mut answer = Vec::new();
        far.read_to_end(&mut answer).await.unwrap();
        assert_eq!((heard, answer), (sent.clone(), b"answer".to_vec()));
        assert_eq!(near.into_parts().1, sent[..KEPT_BYTES]);
    }
}
