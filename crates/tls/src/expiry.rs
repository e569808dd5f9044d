//! Judges open connections again when time alone may change what is to be said of their peers: a certificate has expired, a
//! revocation list has become stale.

use crate::acceptor::{Acceptor, ClientAuth};
use crate::certificate::validity;
use crate::connector::Connector;
use crate::identity::Trust;
use artstore_metrics::{Clock, SystemClock};
use rustls::pki_types::CertificateDer;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it is looked whether such a moment has come.
pub const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);

/// What is kept of a connection, so that its peer is judged once after each moment that may matter, and not in between.
#[derive(Debug, Default)]
pub(crate) struct Term {
    /// The first seconds in which the certificates that the peer showed are not valid any more.
    ends: OnceLock<Box<[u64]>>,
    /// The second in which the peer was judged last.
    judged: AtomicU64,
}

impl Term {
    /// Whether a moment has come since this was asked last with the answer yes: one of the chain, or one of `lists`.
    pub(crate) fn is_over(&self, chain: &[CertificateDer<'_>], lists: &[u64], now: u64) -> bool {
        let ends = self.ends.get_or_init(|| {
            chain.iter().filter_map(validity).map(|(_, not_after)| not_after.as_secs().saturating_add(1)).collect()
        });
        let judged = self.judged.load(Ordering::Relaxed);
        let over = ends.iter().chain(lists).any(|&moment| judged < moment && moment <= now);
        if over {
            self.judged.store(now, Ordering::Relaxed);
        }
        over
    }
}

/// The seconds from which on the lists of this trust vouch for nobody.
fn lists(trust: Option<&Trust>) -> Vec<u64> {
    let lists = trust.and_then(Trust::revocation).map(|revocation| revocation.lists()).unwrap_or_default();
    lists.iter().filter_map(|list| list.next_update).map(|moment| moment.as_secs().saturating_add(1)).collect()
}

impl<C: Clock> Acceptor<C> {
    /// Cuts the connections of clients that would be refused now although nobody has changed anything: their certificates have
    /// expired, or revocation lists have become stale. Gives how many those were.
    pub fn cut_expired(&self) -> usize {
        let current = self.shared.current.load();
        let trust = match &current.auth {
            ClientAuth::None => None,
            ClientAuth::Optional(trust) | ClientAuth::Required(trust) => Some(trust),
        };
        let (lists, now) = (lists(trust), self.clock.wall().as_secs());
        let live = self.shared.live.all();
        let over = live.iter().filter(|entry| entry.term.is_over(&entry.peer, &lists, now));
        over.filter(|entry| self.cut_unless_allowed(entry, &current.judge)).count()
    }
}

impl<C: Clock> Connector<C> {
    /// Cuts the connections to servers that would be refused now although nobody has changed anything: their certificates have
    /// expired, or revocation lists have become stale. Gives how many those were.
    pub fn cut_expired(&self) -> usize {
        let current = self.shared.current.load();
        let (lists, now) = (lists(Some(&current.trust)), self.clock.wall().as_secs());
        let live = self.shared.live.all();
        let over = live.iter().filter(|entry| entry.term.is_over(&entry.peer.chain, &lists, now));
        over.filter(|entry| self.cut_unless_trusted(entry, &current.judge)).count()
    }
}

/// Cuts connections when the time of their peers is over, whoever keeps them open.
#[derive(Debug, Clone)]
pub struct ExpiryWatch<C: Clock = SystemClock> {
    acceptor: Acceptor<C>,
    connector: Option<Connector<C>>,
}

impl<C: Clock> ExpiryWatch<C> {
    /// Of the connections of this acceptor, and of this connector and those that share its trust.
    #[must_use]
    pub const fn new(acceptor: Acceptor<C>, connector: Option<Connector<C>>) -> Self {
        Self { acceptor, connector }
    }

    /// Looks every second until cancelled. To be spawned.
    pub async fn run(self, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(tokio::time::sleep(EXPIRY_INTERVAL)).await.is_some() {
            // Off the async threads: a stale list has every peer judged at once. A panic would show in the log; the next round
            // tries again.
            let Self { acceptor, connector } = self.clone();
            let cut = move || acceptor.cut_expired() + connector.map_or(0, |connector| connector.cut_expired());
            tokio::task::spawn_blocking(cut).await.ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::{DevCa, Leaf};
    use artstore_metrics::UnixTime;
    use rustls::pki_types::pem::PemObject as _;

    /// A peer is judged once after each moment; a clock that goes back has nobody judged twice.
    #[test]
    fn each_moment_is_asked_about_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = UnixTime::from_secs;
        let ca = DevCa::create(folder.path(), "CA", at(0), at(10_000)).unwrap();
        let chain = |name: &str, end: u64| {
            let leaf = Leaf::client(name, at(0)).valid(at(0), at(end));
            CertificateDer::from_pem_file(ca.issue(name, &leaf).unwrap().cert).unwrap()
        };
        let chain = [chain("a", 100), chain("b", 200)];
        let term = Term::default();
        let asked: Vec<u64> = [50, 100, 101, 102, 150, 201, 90, 101, 201, 300, 301, 400]
            .into_iter()
            .filter(|&now| term.is_over(&chain, &[301], now))
            .collect();
        assert_eq!(asked, [101, 201, 301]);
        // A look that comes late finds all that has passed at once.
        let term = Term::default();
        assert!(term.is_over(&chain, &[301], 1_000) && !term.is_over(&chain, &[301], 1_001));
        assert!(!Term::default().is_over(&[], &[], u64::MAX));
    }
}
