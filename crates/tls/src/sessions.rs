//! Sessions that clients may resume: bounded in number and age, and never beyond what their certificates allow.

use crate::certificate::validity;
use crate::verify::ClientJudge;
use artstore_metrics::{Clock, UnixTime};
use rustls::pki_types::CertificateDer;
use rustls::server::StoresServerSessions;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many sessions are kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) count: usize,
    pub(crate) lifetime: Duration,
}

/// When a session may be resumed. A resumed handshake does not judge the client's certificate, so outside of this time there is
/// none: the client goes through a full handshake, and is told what is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    from: UnixTime,
    /// The first moment after it.
    until: UnixTime,
}

impl Window {
    /// At any time.
    const ALWAYS: Self = Self { from: UnixTime::from_secs(0), until: UnixTime::from_secs(u64::MAX) };

    /// While all of these certificates are valid and the judge's lists count. Nothing for certificates that cannot be read.
    fn of(chain: &[CertificateDer<'_>], judge: &ClientJudge) -> Option<Self> {
        let mut window = Self::ALWAYS;
        if let (false, Some(until)) = (chain.is_empty(), judge.lists_count_until()) {
            window.until = until;
        }
        for certificate in chain {
            let (not_before, not_after) = validity(certificate)?;
            window.from = window.from.max(not_before);
            window.until = window.until.min(not_after.plus(Duration::from_secs(1)));
        }
        Some(window)
    }

    /// The part of it that begins now and is no longer than this.
    fn begun(self, now: UnixTime, lifetime: Duration) -> Self {
        Self { from: self.from.max(now), until: self.until.min(now.plus(lifetime)) }
    }

    fn contains(&self, now: UnixTime) -> bool {
        (self.from..self.until).contains(&now)
    }
}

/// The sessions of all clients under one trust.
#[derive(Debug)]
pub(crate) struct Sessions<C> {
    limits: Limits,
    clock: C,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_key: HashMap<Vec<u8>, Session>,
    /// The keys in the order in which they came; those of sessions that are used up are among them.
    order: VecDeque<Vec<u8>>,
}

#[derive(Debug, Clone)]
struct Session {
    value: Vec<u8>,
    window: Window,
}

impl<C: Clock> Sessions<C> {
    pub(crate) fn new(limits: Limits, clock: C) -> Self {
        Self { limits, clock, kept: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, key: Vec<u8>, value: Vec<u8>, window: Window) {
        let session = Session { value, window: window.begun(self.clock.wall(), self.limits.lifetime) };
        let mut kept = self.lock();
        kept.order.push_back(key.clone());
        kept.by_key.insert(key, session);
        while kept.order.len() > self.limits.count {
            if let Some(oldest) = kept.order.pop_front() {
                kept.by_key.remove(&oldest);
            }
        }
    }

    fn find(&self, key: &[u8]) -> Option<Session> {
        self.lock().by_key.get(key).filter(|session| self.is_usable(session)).cloned()
    }

    fn remove(&self, key: &[u8]) -> Option<Session> {
        let session = self.lock().by_key.remove(key);
        session.filter(|session| self.is_usable(session))
    }

    fn is_usable(&self, session: &Session) -> bool {
        session.window.contains(self.clock.wall())
    }
}

/// For handshakes without client certificates: there is nothing to judge.
impl<C: Clock> StoresServerSessions for Sessions<C> {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.keep(key, value, Window::ALWAYS);
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.find(key).map(|session| session.value)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.remove(key).map(|session| session.value)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// The sessions as one handshake with client certificates sees them: what it puts in can be resumed only once the handshake
/// is complete and its client's certificate known.
#[derive(Debug)]
pub(crate) struct Visit<C> {
    sessions: Arc<Sessions<C>>,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    /// What was put in.
    new: Vec<(Vec<u8>, Vec<u8>)>,
    /// When the session that was asked for last may be resumed.
    asked: Option<Window>,
}

impl<C: Clock> Visit<C> {
    pub(crate) fn new(sessions: Arc<Sessions<C>>) -> Self {
        Self { sessions, notes: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked(&self, session: Session) -> Vec<u8> {
        self.lock().asked = Some(session.window);
        session.value
    }

    /// The handshake is complete: its client showed this chain, and this judge found nothing against it. If it resumed a
    /// session, the new ones last no longer than that one: the client has to prove itself once in a lifetime.
    pub(crate) fn completed(&self, is_resumed: bool, chain: &[CertificateDer<'_>], judge: &ClientJudge) {
        let Notes { new, asked } = std::mem::take(&mut *self.lock());
        if new.is_empty() {
            return;
        }
        let window = if is_resumed { asked } else { Window::of(chain, judge) };
        if let Some(window) = window {
            new.into_iter().for_each(|(key, value)| self.sessions.keep(key, value, window));
        }
    }
}

impl<C: Clock> StoresServerSessions for Visit<C> {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.lock().new.push((key, value));
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.sessions.find(key).map(|session| self.asked(session))
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.sessions.remove(key).map(|session| self.asked(session))
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::{DevCa, Leaf};
    use crate::identity::read_certificates;
    use artstore_metrics::TestClock;
    use rustls::server::WebPkiClientVerifier;

    fn sessions(count: usize, clock: &TestClock) -> Sessions<TestClock> {
        Sessions::new(Limits { count, lifetime: Duration::from_secs(60) }, clock.clone())
    }

    fn clock() -> TestClock {
        TestClock::starting_at(UnixTime::from_secs(1000))
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let sessions = sessions(2, &clock());
        for key in 1..=3 {
            assert!(sessions.put(vec![key], vec![key + 100]));
        }
        assert_eq!([1, 2, 3].map(|key| sessions.get(&[key])), [None, Some(vec![102]), Some(vec![103])]);
        let kept = sessions.lock();
        assert_eq!((kept.by_key.len(), kept.order.len()), (2, 2));
    }

    /// Keys of used sessions take no more room than the limit allows.
    #[test]
    fn used_sessions_leave_nothing_behind() {
        let sessions = sessions(2, &clock());
        for key in 0..100 {
            sessions.put(vec![key], vec![key]);
            assert_eq!(sessions.take(&[key]), Some(vec![key]));
            assert_eq!(sessions.take(&[key]), None);
        }
        let kept = sessions.lock();
        assert_eq!((kept.by_key.len(), kept.order.len()), (0, 2));
    }

    /// A clock that is set back does not make them younger.
    #[tokio::test(start_paused = true)]
    async fn sessions_end_with_their_lifetime() {
        let clock = clock();
        let sessions = sessions(2, &clock);
        sessions.put(vec![1], vec![2]);
        tokio::time::advance(Duration::from_millis(59_999)).await;
        assert_eq!(sessions.get(&[1]), Some(vec![2]));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(sessions.get(&[1]), None);
        clock.step_wall_ms(-60_001);
        assert_eq!((sessions.get(&[1]), sessions.take(&[1])), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_are_bound_to_their_window() {
        let window = |from, until| Window { from: UnixTime::from_secs(from), until: UnixTime::from_secs(until) };
        for (window, usable) in
            [(window(0, 1000), false), (window(0, 1001), true), (window(1000, 1001), true), (window(1001, 2000), false)]
        {
            let sessions = sessions(2, &clock());
            sessions.keep(vec![1], vec![2], window);
            assert_eq!(sessions.get(&[1]).is_some(), usable, "{window:?}");
        }
    }

    /// A certificate is valid at its notAfter, a list does not count at its nextUpdate.
    #[test]
    fn the_window_is_what_all_of_a_chain_and_the_lists_allow() {
        let dir = tempfile::TempDir::new().unwrap();
        let at = UnixTime::from_secs;
        let ca = DevCa::create(dir.path(), "CA", at(100), at(5000)).unwrap();
        let middle = ca.intermediate("middle", "Middle", at(300), at(3000)).unwrap();
        let files = middle.issue("leaf", &Leaf::client("leaf", at(0)).valid(at(200), at(4000))).unwrap();
        let chain = read_certificates(&files.cert).unwrap();
        let window = |from, until| Some(Window { from: at(from), until: at(until) });
        assert_eq!(Window::of(&chain, &ClientJudge::NotAsked), window(300, 3001));
        assert_eq!(Window::of(&chain[..1], &ClientJudge::NotAsked), window(200, 4001));
        let verifier = WebPkiClientVerifier::no_client_auth();
        let judge = ClientJudge::Asked { verifier, allowed: None, next_update: Some(at(2500)) };
        assert_eq!(Window::of(&chain, &judge), window(300, 2500));
        // Who showed none has nothing that could be revoked.
        assert_eq!(Window::of(&[], &judge), Some(Window::ALWAYS));
    }

    /// What a handshake that fails has put in is never found.
    #[test]
    fn sessions_wait_for_the_end_of_their_handshake() {
        let sessions = Arc::new(sessions(2, &clock()));
        let visit = Visit::new(Arc::clone(&sessions));
        assert!(visit.can_cache() && visit.put(vec![1], vec![2]));
        assert_eq!((visit.get(&[1]), sessions.get(&[1])), (None, None));
        visit.completed(false, &[CertificateDer::from(vec![0])], &ClientJudge::NotAsked);
        assert_eq!(sessions.get(&[1]), None);
        visit.put(vec![3], vec![4]);
        visit.completed(false, &[], &ClientJudge::NotAsked);
        assert_eq!(sessions.get(&[3]), Some(vec![4]));
    }

    /// Whoever resumes again and again has to prove itself nevertheless.
    #[tokio::test(start_paused = true)]
    async fn a_resumed_session_is_not_prolonged() {
        let sessions = Arc::new(sessions(8, &clock()));
        sessions.keep(vec![1], vec![0], Window::ALWAYS);
        tokio::time::advance(Duration::from_secs(40)).await;
        for (taken, new) in [(1, 2), (2, 3)] {
            let visit = Visit::new(Arc::clone(&sessions));
            assert_eq!(visit.take(&[taken]), Some(vec![0]));
            visit.put(vec![new], vec![0]);
            visit.completed(true, &[], &ClientJudge::NotAsked);
        }
        tokio::time::advance(Duration::from_secs(19)).await;
        assert_eq!(sessions.get(&[3]), Some(vec![0]));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(sessions.get(&[3]), None);
    }
}
