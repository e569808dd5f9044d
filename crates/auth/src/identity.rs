//! Over which identity tokens are fetched: the one in use, and the one that is to follow it as soon as it has a token.

use crate::transport::Transport;

/// A transport, and which identity of the service it speaks as. The first is 0.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) number: u64,
    pub(crate) transport: Transport,
}

/// The identities of one service.
pub(crate) struct Identities {
    /// That of the cached token, and of the next one unless there is a successor.
    current: Identity,
    successor: Option<Identity>,
    /// The last acquisition was one over the successor, and failed.
    successor_failed: bool,
    announced: u64,
}

impl Identities {
    pub(crate) fn new(transport: Transport) -> Self {
        let current = Identity { number: 0, transport };
        Self { current, successor: None, successor_failed: false, announced: 0 }
    }

    /// There is a new one; it replaces a successor that has no token yet.
    pub(crate) fn announce(&mut self, transport: Transport) -> u64 {
        self.announced += 1;
        self.successor = Some(Identity { number: self.announced, transport });
        self.successor_failed = false;
        self.announced
    }

    /// Whether a successor waits for its first token.
    pub(crate) const fn is_changing(&self) -> bool {
        self.successor.is_some()
    }

    /// The one for an acquisition that starts now. A successor that was refused must not cost the service its token: while
    /// that token `is_ending`, the two are asked in turn.
    pub(crate) fn choose(&self, is_ending: bool) -> Identity {
        let successor = self.successor.as_ref().filter(|_| !(is_ending && self.successor_failed));
        successor.unwrap_or(&self.current).clone()
    }

    /// An acquisition brought a token. Token and identity change together.
    pub(crate) fn succeeded(&mut self, identity: Identity) {
        self.successor_failed = false;
        self.successor = self.successor.take().filter(|successor| successor.number != identity.number);
        self.current = identity;
    }

    /// An acquisition failed.
    pub(crate) fn failed(&mut self, identity: &Identity) {
        self.successor_failed = self.successor.as_ref().is_some_and(|successor| successor.number == identity.number);
    }
}
