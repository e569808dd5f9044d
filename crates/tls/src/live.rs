//! The open connections of one acceptor or connector: found again when trust changes, and cut if their peer has lost it.

use crate::certificate::CertificateInfo;
use crate::error::TlsError;
use crate::expiry::Term;
use crate::metrics::CutReason;
use rustls::pki_types::CertificateDer;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

/// Why every operation of a connection fails all at once: its peer has lost our trust meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the connection was cut: its peer is no longer trusted ({reason}): {detail}")]
pub struct ConnectionCut {
    reason: CutReason,
    detail: String,
}

impl ConnectionCut {
    /// From what a verifier says against the peer.
    pub(crate) fn because(error: &rustls::Error) -> Self {
        let error = TlsError::from_verdict(error);
        Self { reason: error.kind().into(), detail: error.detail().to_owned() }
    }

    /// One line about the connection with this peer, which showed this certificate.
    pub(crate) fn log(&self, peer: &str, leaf: Option<&CertificateDer<'_>>) {
        let certificate = leaf.and_then(CertificateInfo::from_der);
        let (subject, fingerprint) =
            certificate.map(|leaf| (leaf.subject.clone(), leaf.fingerprint())).unwrap_or_default();
        let (kind, detail) = (self.reason.label(), self.detail.as_str());
        tracing::info!(peer, subject, fingerprint, error_type = kind, detail, "TLS connection cut");
    }

    /// What there is against the peer.
    #[must_use]
    pub const fn reason(&self) -> CutReason {
        self.reason
    }

    /// The particulars, for logs.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

/// Open connections with what their peers showed. There are as many entries as connections.
#[derive(Debug)]
pub(crate) struct Live<P>(Arc<Mutex<Inner<P>>>);

#[derive(Debug)]
struct Inner<P> {
    /// Which trust is in use: counted up with every change.
    generation: u64,
    next: u64,
    entries: HashMap<u64, Arc<Entry<P>>>,
}

/// One open connection.
#[derive(Debug)]
pub(crate) struct Entry<P> {
    pub(crate) peer: P,
    pub(crate) term: Term,
    line: Line,
}

impl<P> Entry<P> {
    /// Cuts the connection; whether it had not been cut before.
    pub(crate) fn cut(&self, error: ConnectionCut) -> bool {
        self.line.cut(error)
    }
}

impl<P> Default for Live<P> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Inner { generation: 0, next: 0, entries: HashMap::new() })))
    }
}

impl<P> Live<P> {
    /// Takes in a connection whose peer was judged under the trust of this generation.
    ///
    /// # Errors
    /// If another trust is in use by now: then the peer comes back, to be judged anew.
    pub(crate) fn admit(&self, peer: P, generation: u64) -> Result<Membership<P>, P> {
        let mut inner = lock(&self.0);
        if inner.generation != generation {
            return Err(peer);
        }
        let (id, entry) = (inner.next, Arc::new(Entry { peer, term: Term::default(), line: Line::default() }));
        inner.next += 1;
        inner.entries.insert(id, Arc::clone(&entry));
        Ok(Membership { live: Arc::clone(&self.0), id, entry })
    }

    /// All that are open now.
    pub(crate) fn all(&self) -> Vec<Arc<Entry<P>>> {
        lock(&self.0).entries.values().cloned().collect()
    }

    /// Puts another trust into use, and gives the connections that were admitted under those before. `put` gets the new
    /// generation; nobody is admitted meanwhile.
    pub(crate) fn change(&self, put: impl FnOnce(u64)) -> Vec<Arc<Entry<P>>> {
        let mut inner = lock(&self.0);
        inner.generation += 1;
        put(inner.generation);
        inner.entries.values().cloned().collect()
    }
}

fn lock<P>(inner: &Mutex<Inner<P>>) -> MutexGuard<'_, Inner<P>> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection's place among the live ones; it leaves when this is dropped.
#[derive(Debug)]
pub(crate) struct Membership<P> {
    live: Arc<Mutex<Inner<P>>>,
    id: u64,
    entry: Arc<Entry<P>>,
}

impl<P> Membership<P> {
    /// What the peer showed.
    pub(crate) fn peer(&self) -> &P {
        &self.entry.peer
    }

    /// Whether operations may go on.
    ///
    /// # Errors
    /// If the connection is cut.
    pub(crate) fn intact(&self) -> io::Result<()> {
        self.entry.line.intact()
    }

    /// The result of one operation of the connection; one that waits will be woken when the connection is cut.
    pub(crate) fn settle<R>(&self, way: Way, cx: &Context<'_>, polled: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if polled.is_pending() {
            self.entry.line.wait(way, cx.waker());
            // It may have been cut after the first look and before the waker could be found.
            self.intact()?;
        }
        polled
    }
}

impl<P> Drop for Membership<P> {
    fn drop(&mut self) {
        lock(&self.live).entries.remove(&self.id);
    }
}

/// Which half of a connection waits: each may be a task of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    /// Reading.
    In,
    /// Writing, flushing, closing.
    Out,
}

/// Whether a connection is cut, and who wants to know.
#[derive(Debug, Default)]
struct Line {
    cut: OnceLock<ConnectionCut>,
    waiting: Mutex<[Option<Waker>; 2]>,
}

impl Line {
    fn intact(&self) -> io::Result<()> {
        self.cut.get().map_or(Ok(()), |error| Err(io::Error::new(io::ErrorKind::ConnectionAborted, error.clone())))
    }

    fn wait(&self, way: Way, waker: &Waker) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let [reader, writer] = &mut *waiting;
        let place = match way {
            Way::In => reader,
            Way::Out => writer,
        };
        match place {
            Some(known) => known.clone_from(waker),
            None => *place = Some(waker.clone()),
        }
    }

    fn cut(&self, error: ConnectionCut) -> bool {
        let is_first = self.cut.set(error).is_ok();
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.into_iter().flatten().for_each(Waker::wake);
        is_first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_entries_as_connections() {
        let live = Live::default();
        let first = live.admit("first", 0).unwrap();
        let second = live.admit("second", 0).unwrap();
        drop(first);
        let mut generation = 0;
        let found: Vec<_> = live.change(|now| generation = now).iter().map(|entry| entry.peer).collect();
        assert_eq!((found, generation), (vec!["second"], 1));
        assert_eq!(live.admit("late", 0).unwrap_err(), "late");
        let late = live.admit("late", 1).unwrap();
        assert_eq!((second.peer(), late.peer()), (&"second", &"late"));
        drop((second, late));
        assert_eq!(live.change(|_| {}).len(), 0);
    }
}
