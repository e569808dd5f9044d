//! The token service: one token, cached, fetched by one task at a time, refreshed before it ends.

use crate::acquire::{Acquired, acquire};
use crate::cache::{Cache, Found};
use crate::client_auth::Credential;
use crate::identity::Identity;
use crate::metrics::{TokenCheck, Trigger};
use crate::state::{Failure, Flight, FlightResult, State};
use crate::token::{Held, Moment};
use crate::transport::Transport;
use crate::{
    AccessToken, AuthError, AuthErrorType, AuthMetrics, AuthSettings, AuthState, SettingsError, TokenState,
    TokenVerifier,
};
use artstore_metrics::{Clock, Monotonic, SystemClock};
use artstore_trace::Context as TraceContext;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// How often a caller waits again if the fetch that it waited for went away (its runtime ended), brought too short a life, or
/// brought a token that was refused before this caller ran. At the default floor between fetches that is half a minute.
const MAX_ROUNDS: usize = 30;
/// How often the keeper looks at the wall clock, which may have been set or may have run on while the machine slept.
const KEEPER_LOOKS_EVERY: Duration = Duration::from_secs(60);

/// Gets one access token and keeps it. Clones share it.
///
/// The first caller starts the first fetch; from then on a task refreshes the token before its margin begins. A fetch runs in
/// a task of its own: a caller that goes away neither ends nor repeats it. After a failure everyone is answered by it until the
/// pause ends, and a token that is still usable goes on being handed out.
pub struct AuthService<C: Clock = SystemClock> {
    inner: Arc<Inner<C>>,
}

impl<C: Clock> Clone for AuthService<C> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<C: Clock> std::fmt::Debug for AuthService<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthService").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

pub(crate) struct Inner<C: Clock> {
    pub(crate) settings: AuthSettings,
    /// The place of each instance of the settings among those of the metrics.
    pub(crate) places: Vec<usize>,
    pub(crate) verifier: Option<TokenVerifier<C>>,
    pub(crate) metrics: AuthMetrics<C>,
    pub(crate) clock: C,
    cache: Cache,
    state: Mutex<State>,
    cancel: CancellationToken,
    wake: Arc<Notify>,
}

/// What a caller without a usable token does next.
enum Next {
    Answer(FlightResult),
    Wait(watch::Receiver<Option<FlightResult>>),
}

impl<C: Clock> AuthService<C> {
    /// A service that takes the tokens it receives as [`AuthSettings::expected`] says. Nothing is fetched before the first call.
    ///
    /// # Errors
    /// If the settings cannot work, or the metrics were made for other instances.
    pub fn new(
        settings: AuthSettings,
        transport: Transport,
        metrics: AuthMetrics<C>,
        clock: C,
    ) -> Result<Self, SettingsError> {
        Self::build(settings, transport, None, metrics, clock)
    }

    /// A service that also verifies the signature of every token it receives.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_verifier(
        settings: AuthSettings,
        transport: Transport,
        verifier: TokenVerifier<C>,
        metrics: AuthMetrics<C>,
        clock: C,
    ) -> Result<Self, SettingsError> {
        Self::build(settings, transport, Some(verifier), metrics, clock)
    }

    fn build(
        settings: AuthSettings,
        transport: Transport,
        verifier: Option<TokenVerifier<C>>,
        metrics: AuthMetrics<C>,
        clock: C,
    ) -> Result<Self, SettingsError> {
        settings.check()?;
        let place = |instance| metrics.instance(instance).ok_or(SettingsError::UnknownInstance);
        let count = settings.instances.len();
        let places = settings.instances.iter().map(place).collect::<Result<_, _>>()?;
        let inner = Inner {
            cache: Cache::new(metrics.cache_hits()),
            settings,
            places,
            verifier,
            metrics,
            clock,
            state: Mutex::new(State::new(count, transport)),
            cancel: CancellationToken::new(),
            wake: Arc::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A usable token, from the cache if there is one there.
    ///
    /// # Errors
    /// If the acquisition that this call started or joined failed, or the last one did and its pause is not over.
    pub async fn access_token(&self) -> Result<AccessToken, AuthError> {
        match self.inner.cached(AccessToken::clone) {
            Ok(token) => Ok(token),
            Err(_) => self.wait_for(false).await,
        }
    }

    /// Lends a usable token, for instance to copy [`AccessToken::header`] into a request: as [`access_token`](Self::access_token),
    /// but a call that the cache answers touches no reference count, not even one of this thread's own.
    ///
    /// ```
    /// # use artstore_auth::{AuthError, AuthService};
    /// # async fn example(service: AuthService, request: &mut http::Request<()>) -> Result<u64, AuthError> {
    /// service
    ///     .with_access_token(|token| {
    ///         request.headers_mut().insert(http::header::AUTHORIZATION, token.header().clone());
    ///         // For `invalidate`, should the resource server refuse it.
    ///         token.generation()
    ///     })
    ///     .await
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`access_token`](Self::access_token).
    pub async fn with_access_token<R>(&self, lend: impl FnOnce(&AccessToken) -> R) -> Result<R, AuthError> {
        match self.inner.cached(lend) {
            Ok(result) => Ok(result),
            Err(lend) => self.wait_for(false).await.map(|token| lend(&token)),
        }
    }

    /// Forgets the token of this generation, because a resource server refused it. A newer token is left alone, so that any
    /// number of late refusals cost one fetch.
    pub fn invalidate(&self, generation: u64) {
        let mut state = self.inner.lock();
        let refused = self.inner.cache.load().as_ref().is_some_and(|held| held.token.generation() == generation);
        if refused && !state.closed {
            self.inner.cache.store(None);
            state.absence = Trigger::Manual;
            self.inner.metrics.token_invalidated();
        }
    }

    /// Gets a new token now, unless one is on its way or the last failure's pause is not over. The old one serves meanwhile.
    ///
    /// # Errors
    /// As [`access_token`](Self::access_token).
    pub async fn refresh(&self) -> Result<AccessToken, AuthError> {
        self.wait_for(true).await
    }

    /// Goes over to another identity, that of the client certificate that `transport` shows: gets a token over it, then
    /// publishes both together, so that whoever finds the new token knows by [`AccessToken::identity`] over which connections
    /// it goes. Until then the old token serves, over the old ones.
    ///
    /// A change stays under way until it has a token, also if this call ends before, and until another one replaces it: the
    /// background tries again after every pause. An identity that is refused costs nothing: as long as it has no token, the old
    /// one is renewed when it has to be. What this fetches is counted with the trigger `manual`.
    ///
    /// # Errors
    /// As [`access_token`](Self::access_token). The change is then still under way.
    pub async fn change_identity(&self, transport: Transport) -> Result<AccessToken, AuthError> {
        let number = self.inner.lock().identities.announce(transport);
        self.inner.wake.notify_one();
        for _ in 0..MAX_ROUNDS {
            // The first may be that of a fetch which was under way before.
            let token = self.wait_for(true).await?;
            if token.identity() >= number {
                return Ok(token);
            }
        }
        Err(AuthError::new(AuthErrorType::Internal, "no fetch over the new identity came to an end"))
    }

    /// A resource server refused `token` although it was fetched anew for that: counts it, once, and gives the error for the caller.
    pub fn resource_rejected(&self, token: &AccessToken) -> AuthError {
        let instance = token.instance();
        self.inner.metrics.resource_rejected(self.inner.places[instance]);
        AuthError::new(AuthErrorType::ResourceRejected, "a resource server refuses a fresh token").at(self
            .inner
            .settings
            .instances[instance]
            .origin())
    }

    /// How the service is, for a health check. Counts nothing and fetches nothing.
    #[must_use]
    pub fn state(&self) -> AuthState {
        let now = self.inner.now();
        let state = self.inner.lock();
        let token = match &*self.inner.cache.load() {
            _ if state.closed => TokenState::Closed,
            None => TokenState::Missing,
            Some(held) => match held.check(now) {
                TokenCheck::Valid | TokenCheck::ExpiringSoon => TokenState::Usable(held.usable_for(now)),
                TokenCheck::Expired | TokenCheck::Missing => TokenState::Expired,
            },
        };
        AuthState { token, error: state.failure.as_ref().map(|failure| failure.error.clone()) }
    }

    /// The cached token, usable or not, to be looked at and not to be sent: counts nothing and fetches nothing.
    #[must_use]
    pub fn cached_token(&self) -> Option<AccessToken> {
        self.inner.cache.load().as_ref().map(|held| held.token.clone())
    }

    /// Ends the service: cancels what is under way, forgets the token, answers everyone from now on that it is closed.
    pub fn close(&self) {
        let mut state = self.inner.lock();
        state.closed = true;
        state.failure = None;
        state.secret = None;
        self.inner.cache.store(None);
        self.inner.metrics.token_closed();
        self.inner.cancel.cancel();
    }

    async fn wait_for(&self, forced: bool) -> Result<AccessToken, AuthError> {
        for round in 0..MAX_ROUNDS {
            let mut flight = match self.inner.next(forced && round == 0) {
                Next::Answer(answer) => return answer,
                Next::Wait(flight) => flight,
            };
            let _waiting = self.inner.metrics.waiting();
            let landed = flight.wait_for(Option::is_some).await.ok().and_then(|result| result.clone());
            match landed {
                Some(Ok(token)) if self.inner.is_usable(&token) => return Ok(token),
                Some(Err(error)) => return Err(error),
                // The task went away with its runtime, or the token's short life passed before this caller ran.
                Some(Ok(_)) | None => {}
            }
        }
        Err(AuthError::new(AuthErrorType::Internal, "no fetch came to an end"))
    }
}

impl<C: Clock> Inner<C> {
    fn now(&self) -> Moment {
        Moment::now(&self.clock)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The secret or key as it was read last, or from its source.
    pub(crate) async fn secret(&self) -> Result<Credential, AuthError> {
        let known = self.lock().secret.clone();
        if let Some(secret) = known {
            return Ok(secret);
        }
        let read = self.settings.authentication.read().await;
        let secret = read.map_err(|detail| AuthError::new(AuthErrorType::Internal, detail))?;
        self.lock().secret = Some(secret.clone());
        Ok(secret)
    }

    /// Counts a caller and lends it the token, if the cache has a usable one; otherwise gives the borrower back.
    #[inline]
    fn cached<R, L: FnOnce(&AccessToken) -> R>(self: &Arc<Self>, lend: L) -> Result<R, L> {
        self.cache.repeat(&self.clock, lend).or_else(|lend| self.look(lend))
    }

    #[cold]
    #[inline(never)]
    fn look<R, L: FnOnce(&AccessToken) -> R>(self: &Arc<Self>, lend: L) -> Result<R, L> {
        match self.cache.look(&self.clock, lend) {
            Found::Lent(check, result) => {
                if check == TokenCheck::ExpiringSoon {
                    // The keeper refreshes in time; this is for clocks that jumped.
                    self.refresh_if_due();
                }
                Ok(result)
            }
            Found::Nothing(check, lend) => {
                self.metrics.checked(check);
                Err(lend)
            }
        }
    }

    /// Whether this very token is in the cache and usable.
    fn is_usable(&self, token: &AccessToken) -> bool {
        match &*self.cache.load() {
            Some(held) if held.token.generation() == token.generation() => !held.usable_for(self.now()).is_zero(),
            Some(_) | None => false,
        }
    }

    /// The step of a caller that has no usable token, or wants a new one.
    fn next(self: &Arc<Self>, forced: bool) -> Next {
        let now = self.now();
        let state = self.lock();
        if state.closed {
            return Next::Answer(Err(AuthError::closed()));
        }
        let cached = self.cache.load();
        let usable = cached.as_ref().filter(|held| !held.usable_for(now).is_zero());
        if let (false, Some(held)) = (forced, usable) {
            return Next::Answer(Ok(held.token.clone()));
        }
        if let Some(flight) = &state.flight {
            return Next::Wait(flight.result.clone());
        }
        if let Some(error) = state.failure_at(now.monotonic) {
            return Next::Answer(Err(error.clone()));
        }
        let trigger = match (forced, cached.is_some()) {
            (true, _) => Trigger::Manual,
            (false, true) => Trigger::Expired,
            (false, false) => state.absence,
        };
        match self.take_off(state, trigger) {
            Some(flight) => Next::Wait(flight),
            None => Next::Answer(Err(AuthError::new(AuthErrorType::Internal, "there is no tokio runtime here"))),
        }
    }

    /// Starts the task of one acquisition, and the keeper if it does not run. `None` outside of a runtime.
    fn take_off(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        trigger: Trigger,
    ) -> Option<watch::Receiver<Option<FlightResult>>> {
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        let (sender, result) = watch::channel(None);
        state.flights += 1;
        let id = state.flights;
        state.flight = Some(Flight { id, result: result.clone() });
        let start = state.started.map(|started| started.plus(self.settings.backoff.floor)).unwrap_or_default();
        if state.keeper.as_ref().is_none_or(tokio::task::JoinHandle::is_finished) {
            self.cache.keeper_came();
            let keeper = keep(Keeper(Arc::downgrade(self)), Arc::clone(&self.wake), self.cancel.clone());
            state.keeper = Some(runtime.spawn(keeper));
        }
        // A runtime that shuts down drops the task at once, and the task's end takes the lock.
        drop(state);
        let flying = Flying { inner: Arc::clone(self), id };
        // It is a part of the trace of whoever caused it.
        runtime.spawn(TraceContext::carry(async move { flying.fly(trigger, start, &sender).await }));
        Some(result)
    }

    /// Starts a background refresh if it is time for one, and says when to look again.
    fn refresh_if_due(self: &Arc<Self>) -> Duration {
        let now = self.now();
        let state = self.lock();
        let cached = self.cache.load();
        let Some(held) = &*cached else { return KEEPER_LOOKS_EVERY };
        if state.closed || state.flight.is_some() {
            return KEEPER_LOOKS_EVERY;
        }
        let pause = state.failure.as_ref().map(|failure| failure.until.since(now.monotonic)).unwrap_or_default();
        let due = held.refresh_in(now);
        let wait = if state.identities.is_changing() { pause } else { due.max(pause) };
        if wait.is_zero() {
            let usable = !held.usable_for(now).is_zero();
            let trigger = match (usable, due.is_zero()) {
                (false, _) => Trigger::Expired,
                (true, true) => Trigger::ExpiringSoon,
                // For another identity.
                (true, false) => Trigger::Manual,
            };
            // Always inside of a runtime: callers and the keeper both run in one.
            let _ = self.take_off(state, trigger);
            return KEEPER_LOOKS_EVERY;
        }
        wait.min(KEEPER_LOOKS_EVERY)
    }

    /// Ends the threads' copies of a token that is past its use, and says when to look again.
    fn end_copies_if_due(&self) -> Duration {
        let Some(left) = self.cache.load().as_ref().map(|held| held.usable_for(self.now())) else {
            return KEEPER_LOOKS_EVERY;
        };
        if left.is_zero() {
            self.cache.end_copies();
            return KEEPER_LOOKS_EVERY;
        }
        left
    }

    /// An acquisition starts now, over the identity whose turn it is.
    fn start(&self) -> Identity {
        let now = self.now();
        let mut state = self.lock();
        state.started = Some(now.monotonic);
        let is_ending = self.cache.load().as_ref().is_none_or(|held| held.refresh_in(now).is_zero());
        state.identities.choose(is_ending)
    }

    /// Takes in how an acquisition ended.
    fn land(&self, result: Result<Acquired, AuthError>, identity: Identity) -> FlightResult {
        let mut state = self.lock();
        if state.closed {
            return Err(AuthError::closed());
        }
        match result {
            Ok(acquired) => {
                state.generation += 1;
                let Acquired { grant, instance, sent, claimed } = acquired;
                let token = AccessToken::new(grant.authorization, state.generation, identity.number, instance);
                let held = Held::new(token.clone(), sent, grant.lifetime, claimed);
                self.metrics.token_published(held.expires);
                self.cache.store(Some(held));
                state.identities.succeeded(identity);
                (state.failure, state.failures, state.preferred) = (None, 0, instance);
                Ok(token)
            }
            Err(error) => {
                state.identities.failed(&identity);
                state.failures = state.failures.saturating_add(1);
                let ended = self.clock.monotonic();
                let started = state.started.unwrap_or(ended);
                let asked = state.all_left_alone_for(ended);
                let until = self.settings.backoff.next_start(state.failures, started, ended, asked);
                state.failure = Some(Failure { error: error.clone(), until });
                self.metrics.backing_off(state.failures, until);
                // The next pass begins elsewhere.
                state.preferred = (state.preferred + 1) % self.settings.instances.len();
                Err(error)
            }
        }
    }
}

impl<C: Clock> Drop for Inner<C> {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// The task of one acquisition. However it ends, the service is free for the next one.
struct Flying<C: Clock> {
    inner: Arc<Inner<C>>,
    id: u64,
}

impl<C: Clock> Flying<C> {
    async fn fly(self, trigger: Trigger, start: Monotonic, sender: &watch::Sender<Option<FlightResult>>) {
        let inner = Arc::clone(&self.inner);
        let acquisition = async {
            tokio::time::sleep(start.since(inner.clock.monotonic())).await;
            let identity = inner.start();
            (acquire(&inner, &identity.transport, trigger).await, identity)
        };
        let result = tokio::select! {
            biased;
            () = inner.cancel.cancelled() => Err(AuthError::closed()),
            (result, identity) = acquisition => inner.land(result, identity),
        };
        // The next flight may start before the waiters of this one run.
        drop(self);
        sender.send_replace(Some(result));
        inner.wake.notify_one();
    }
}

impl<C: Clock> Drop for Flying<C> {
    fn drop(&mut self) {
        let mut state = self.inner.lock();
        if state.flight.as_ref().is_some_and(|flight| flight.id == self.id) {
            state.flight = None;
        }
    }
}

/// The task that refreshes the token in the background, as long as the service is there.
struct Keeper<C: Clock>(Weak<Inner<C>>);

impl<C: Clock> Drop for Keeper<C> {
    fn drop(&mut self) {
        if let Some(inner) = self.0.upgrade() {
            inner.cache.keeper_left();
        }
    }
}

async fn keep<C: Clock>(keeper: Keeper<C>, wake: Arc<Notify>, cancel: CancellationToken) {
    loop {
        let Some(inner) = keeper.0.upgrade() else { return };
        let pause = inner.refresh_if_due().min(inner.end_copies_if_due());
        drop(inner);
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            () = wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
