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
