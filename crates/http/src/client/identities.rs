//! Changing the certificate that a client shows: at once, or by a generation of connections of its own for tokens that are
//! bound to it.

use super::Client;
use artstore_metrics::Clock;
use artstore_tls::{Connector, Identity};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The generations after the first, by number.
struct State<C: Clock> {
    announced: u64,
    clients: BTreeMap<u64, Client<C>>,
}

/// The identities of one client.
pub(super) struct Identities<C: Clock>(Mutex<State<C>>);

impl<C: Clock> Default for Identities<C> {
    fn default() -> Self {
        Self(Mutex::new(State { announced: 0, clients: BTreeMap::new() }))
    }
}

impl<C: Clock> Identities<C> {
    fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Clock> Client<C> {
    /// Shows this certificate from now on: idle connections are closed now, the others when their requests end. Not for tokens
    /// that are bound to the certificate, since they and it must change together: [`add_identity`](Self::add_identity).
    pub fn set_identity(&self, identity: Option<Identity>) {
        if let Some(connector) = &self.inner.connector {
            connector.set_identity(identity);
        }
        self.retire_connections();
    }

    /// Adds an identity whose connections are its own, for [`for_identity`](Self::for_identity), and gives it with its number:
    /// 1 for the first, one more for each, as `artstore_auth` numbers them. Limits hold for each identity; metrics are shared.
    #[must_use]
    pub fn add_identity(&self, identity: Option<Identity>) -> (u64, Self) {
        let connector = self.inner.connector.as_ref().map(|connector| connector.with_identity(identity));
        let (settings, metrics) = (self.inner.settings.clone(), self.inner.metrics.clone());
        let mut client = Self::new(settings, connector, metrics, self.inner.clock.clone());
        client.tracer.clone_from(&self.tracer);
        let mut state = self.inner.identities.lock();
        state.announced += 1;
        let number = state.announced;
        state.clients.insert(number, client.clone());
        (number, client)
    }

    /// The client with the connections of this identity; this one if it has none of its own.
    #[must_use]
    pub fn for_identity(&self, number: u64) -> Self {
        let state = self.inner.identities.lock();
        state.clients.get(&number).unwrap_or(self).clone()
    }

    /// Forgets the identities before this one: no token is bound to them any more. Their connections close when the requests
    /// on them end, and this client itself shows the identity from now on.
    pub fn retire_identities_before(&self, number: u64, identity: Option<Identity>) {
        // Dropped outside of the lock: the connections are closed by it.
        let earlier = {
            let mut state = self.inner.identities.lock();
            let kept = state.clients.split_off(&number);
            std::mem::replace(&mut state.clients, kept)
        };
        drop(earlier);
        self.set_identity(identity);
    }

    /// What opens this client's TLS connections.
    #[must_use]
    pub fn connector(&self) -> Option<&Connector<C>> {
        self.inner.connector.as_ref()
    }
}
