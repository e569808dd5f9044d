//! How the token work stands, for the gauges that are functions of time.

use crate::metrics::RefresherState;
use crate::token::Moment;
use artstore_metrics::{Monotonic, UnixTime};
use std::time::Duration;

/// The cached token, as a scrape sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Token {
    /// None yet.
    Nothing,
    /// There was one and it was invalidated.
    Invalidated,
    /// It ends at the earlier of the two.
    Until(Moment),
    /// The service was closed.
    Closed,
}

/// What happened so far, as far as it matters now.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) token: Token,
    /// When the last token came.
    pub(crate) last_token: Option<UnixTime>,
    /// Acquisitions under way: one, unless services share their metrics.
    pub(crate) acquiring: usize,
    /// Failed acquisitions in a row.
    pub(crate) failures: u32,
    /// The end of the pause after the last failure.
    backoff_until: Monotonic,
    /// When a key set was fetched last.
    pub(crate) last_keys: Option<Moment>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            token: Token::Nothing,
            last_token: None,
            acquiring: 0,
            failures: 0,
            backoff_until: Monotonic::default(),
            last_keys: None,
        }
    }
}

impl Progress {
    pub(crate) fn published(&mut self, end: Moment, now: UnixTime) {
        (self.token, self.last_token) = (Token::Until(end), Some(now));
        (self.failures, self.backoff_until) = (0, Monotonic::default());
    }

    pub(crate) fn failed(&mut self, failures: u32, until: Monotonic) {
        (self.failures, self.backoff_until) = (failures, until);
    }

    pub(crate) fn close(&mut self) {
        (self.token, self.backoff_until) = (Token::Closed, Monotonic::default());
    }

    /// What is left of the token's life; `None` if there is no token to speak of.
    pub(crate) fn ttl(&self, now: Moment) -> Option<Duration> {
        match self.token {
            Token::Nothing | Token::Closed => None,
            Token::Invalidated => Some(Duration::ZERO),
            Token::Until(end) => Some(end.left(now)),
        }
    }

    /// What is left of the pause.
    pub(crate) fn backoff(&self, now: Moment) -> Duration {
        self.backoff_until.since(now.monotonic)
    }

    /// Since when the keys are what they are.
    pub(crate) fn keys_age(&self, now: Moment) -> Option<Duration> {
        self.last_keys.map(|at| now.monotonic.since(at.monotonic))
    }

    pub(crate) fn state(&self, now: Moment) -> RefresherState {
        if matches!(self.token, Token::Closed) {
            RefresherState::Closed
        } else if self.acquiring > 0 {
            RefresherState::Acquiring
        } else if !self.backoff(now).is_zero() {
            RefresherState::Backoff
        } else if self.ttl(now).is_some_and(|left| !left.is_zero()) {
            RefresherState::Holding
        } else {
            RefresherState::Idle
        }
    }
}
