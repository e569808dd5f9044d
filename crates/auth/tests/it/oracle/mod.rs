//! Random operations against an oracle: after every one of them all nine families say what the contract says they must.
//!
//! `ARTSTORE_AUTH_SEED` chooses other operations; a failure prints its seed and the last of them. The jitter is the service's
//! own, so that two runs of one seed differ in when refreshes and retries begin. 10^5 operations in all; with
//! `ARTSTORE_AUTH_SOAK=1` ten times as many.

mod model;
mod numbers;
mod party;

use crate::lots::Lots;
use crate::support::{AUDIENCE, ISSUER, SECRET, START, SigningKey, Step, jwks, test_clock};
use artstore_auth::{
    AccessToken, AdminInstance, Algorithm, AuthError, AuthMetrics, AuthService, AuthSettings, ExpectedClaims,
    JwksSource, SecretSource, TokenVerifier, VerifierSettings,
};
use artstore_metrics::{Clock, Format, Registry, TestClock};
use model::{Answer, Model};
use party::{Behaviour, INSTANCES, Party, failures};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Prints how to see a failure again.
struct Seed {
    seed: u64,
    last: Arc<Mutex<VecDeque<String>>>,
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("ARTSTORE_AUTH_SEED={}", self.seed);
            self.last.lock().unwrap().iter().for_each(|operation| println!("  {operation}"));
        }
    }
}

struct World {
    lots: Lots,
    last: Arc<Mutex<VecDeque<String>>>,
    clock: TestClock,
    registry: Registry,
    metrics: AuthMetrics<TestClock>,
    party: Party,
    failures: Vec<Behaviour>,
    service: AuthService<TestClock>,
    verifier: TokenVerifier<TestClock>,
    key: SigningKey,
    model: Model,
    callers: BTreeMap<u64, JoinHandle<()>>,
    answers: Arc<Mutex<BTreeMap<u64, Answer>>>,
    next_caller: u64,
    token: Option<AccessToken>,
    verifications: u64,
    /// Which instances grant lives of seconds.
    short_lives: [bool; 3],
}

impl World {
    fn new(seed: u64, last: Arc<Mutex<VecDeque<String>>>) -> Self {
        let (clock, registry, key) = (test_clock(), Registry::new(), SigningKey::ed25519());
        let instances: Vec<_> = INSTANCES.iter().map(|url| AdminInstance::parse(url).unwrap()).collect();
        let metrics = AuthMetrics::new(&registry, &instances, clock.clone());
        let party = Party::new(clock.clone(), &Step::json(200, &jwks(&[key.jwk("k")])));
        let settings = AuthSettings::new("ingester", SecretSource::inline(SECRET), instances.clone());
        let service = AuthService::new(settings, party.transport(), metrics.clone(), clock.clone()).unwrap();
        let source = JwksSource::Remote { instances, transport: party.transport() };
        let verifier =
            TokenVerifier::new(VerifierSettings::new(ISSUER, AUDIENCE, source), metrics.clone(), clock.clone())
                .unwrap();
        Self {
            lots: Lots(seed),
            last,
            clock,
            registry,
            metrics,
            party,
            failures: failures(),
            service,
            verifier,
            key,
            model: Model::new(3),
            callers: BTreeMap::new(),
            answers: Arc::default(),
            next_caller: 0,
            token: None,
            verifications: 0,
            short_lives: [false; 3],
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.monotonic().since(<_>::default()).as_millis()).unwrap()
    }

    fn note(&self, operation: &str) {
        let mut last = self.last.lock().unwrap();
        if last.len() == 60 {
            last.pop_front();
        }
        last.push_back(format!("{:>10} {operation}", self.now()));
    }

    async fn operation(&mut self) {
        match self.lots.below(100) {
            0..40 => self.wait().await,
            40..68 => self.call(1).await,
            68..73 => {
                let callers = 2 + self.lots.below(19);
                self.call(callers).await;
            }
            73..77 => self.drop_a_caller().await,
            77..81 => self.step_wall(),
            81..85 => self.invalidate(),
            85..88 => self.refresh().await,
            88..96 => self.change_the_issuer(),
            96..98 => self.verify().await,
            98 => self.reject(),
            _ => {
                if self.lots.below(4) == 0 {
                    self.close_and_renew().await;
                }
            }
        }
        self.compare();
    }

    async fn wait(&mut self) {
        let ms = match self.lots.below(40) {
            0 => self.lots.one(&[3_600_000, 7_200_000, 1_790_000, 1_500_000]),
            1..4 => self.lots.one(&[60_000, 119_000, 289_000, 290_000, 300_000]),
            4..12 => self.lots.one(&[8_999, 9_000, 10_000, 30_000, 31_000]),
            12..30 => self.lots.one(&[400, 500, 899, 900, 999, 1_000, 1_001, 2_000, 5_000]),
            _ => 1 + self.lots.below(1_200) as u64,
        };
        // Short lives fill long waits with thousands of refreshes that all say the same.
        let ms = if self.short_lives.contains(&true) { ms.min(9_000) } else { ms };
        self.note(&format!("wait {ms}"));
        tokio::time::sleep(Duration::from_millis(ms)).await;
        self.settle().await;
        self.observe();
    }

    /// Everything that can run without time passing runs.
    async fn settle(&self) {
        for _ in 0..12 {
            tokio::task::yield_now().await;
        }
    }

    fn observe(&mut self) {
        let news = self.party.news();
        self.model.observe(&news, self.now());
    }

    fn spawn(&mut self, forced: bool) -> u64 {
        let lent = self.lots.below(2) == 0;
        let (service, answers, caller) = (self.service.clone(), Arc::clone(&self.answers), self.next_caller);
        self.next_caller += 1;
        let task = tokio::spawn(async move {
            let result = match (forced, lent) {
                (true, _) => service.refresh().await,
                (false, true) => service.with_access_token(AccessToken::clone).await,
                (false, false) => service.access_token().await,
            };
            answers.lock().unwrap().insert(caller, answer(result));
        });
        self.callers.insert(caller, task);
        caller
    }

    async fn call(&mut self, count: usize) {
        self.note(&format!("call {count}"));
        let callers: Vec<u64> = (0..count).map(|_| self.spawn(false)).collect();
        self.settle().await;
        let news = self.party.news();
        self.model.call(&callers, !news.is_empty());
        self.model.observe(&news, self.now());
        // The test keeps a token as a caller would, for a late refusal.
        if self.lots.below(4) == 0 {
            self.keep_token().await;
        }
    }

    /// One more caller, if it surely is answered at once.
    async fn keep_token(&mut self) {
        let caller = self.next_caller;
        self.next_caller += 1;
        if self.model.waiting() > 0 || !matches!(self.service.state().token, artstore_auth::TokenState::Usable(_)) {
            return;
        }
        let token = self.service.access_token().await.unwrap();
        self.settle().await;
        self.answers.lock().unwrap().insert(caller, answer(Ok(token.clone())));
        self.token = Some(token);
        let news = self.party.news();
        self.model.call(&[caller], !news.is_empty());
        self.model.observe(&news, self.now());
    }

    async fn refresh(&mut self) {
        self.note("refresh");
        let caller = self.spawn(true);
        self.settle().await;
        let news = self.party.news();
        self.model.refresh(caller, !news.is_empty());
        self.model.observe(&news, self.now());
    }

    async fn drop_a_caller(&mut self) {
        let waiting: Vec<u64> = self.callers.keys().copied().collect();
        if let Some(caller) = waiting.get(self.lots.below(waiting.len().max(1))) {
            self.note("a caller goes away");
            self.callers.remove(caller).unwrap().abort();
            self.model.gone(*caller);
            self.settle().await;
        }
    }

    fn step_wall(&mut self) {
        let by = match self.lots.below(4) {
            0 => -self.model.wall_offset,
            1 => self.lots.one(&[3_600_000, -3_600_000]),
            2 => self.lots.one(&[1, -1, 9_000, -9_000, 11_000, -11_000]),
            _ => self.lots.one(&[60_000, 600_000, -60_000, 7_200_000]),
        };
        self.note(&format!("the wall clock steps by {by}"));
        self.clock.step_wall_ms(by);
        self.model.step_wall(by);
    }

    fn invalidate(&mut self) {
        // The one that the test kept may be an old one, or one of an earlier service.
        let kept = self.token.as_ref().map_or(0, AccessToken::generation);
        let generation = self.lots.one(&[self.model.generation, kept, kept, self.model.generation + 1]);
        self.note(&format!("invalidate {generation}"));
        self.service.invalidate(generation);
        self.model.invalidate(generation);
    }

    fn reject(&mut self) {
        let Some(token) = &self.token else { return };
        if self.model.is_held(token.generation(), token.authorization().to_str().unwrap()) {
            self.note("a resource server refuses a fresh token");
            assert_eq!(self.service.resource_rejected(token).kind().label(), "resource_rejected");
            self.model.resource_rejected();
        }
    }

    fn change_the_issuer(&mut self) {
        let instance = self.lots.below(3);
        let late = match self.lots.below(6) {
            0..4 => 0,
            4 => self.lots.one(&[1, 101, 251, 501, 1_001, 4_001]),
            _ => self.lots.one(&[9_001, 11_001]),
        };
        let behaviour = if self.lots.below(2) == 0 {
            let lifetime = self.lots.one(&[1, 2, 10, 60, 299, 300, 301, 1_800, 1_800, 3_600, 1_000_000_000]);
            Behaviour::grant(lifetime, late)
        } else {
            let failure = self.lots.below(self.failures.len());
            let mut failure = self.failures[failure].clone();
            if !matches!(failure.expect, party::Expect::Silence { .. }) {
                failure.late = late;
            }
            failure
        };
        self.note(&format!("instance {instance} does {:?} after {} ms", behaviour.expect, behaviour.late));
        self.short_lives[instance] = matches!(behaviour.expect, party::Expect::Grant(..60));
        self.party.behave(instance, behaviour);
    }

    /// A token is checked: failed key-set fetches count among the errors.
    async fn verify(&mut self) {
        let good = Step::json(200, &jwks(&[self.key.jwk("k")]));
        let keys = match self.lots.below(4) {
            0 => Step::Answer(503, vec![], String::new()),
            1 => Step::Torn,
            _ => good,
        };
        let instance = self.lots.below(3);
        self.party.publish(instance, keys);
        let kid = self.lots.one(&["k", "other", "another"]);
        self.note(&format!("verify a token of the key {kid}"));
        let _ = self.verifier.verify(&self.key.good_token(kid, self.clock.wall())).await;
        self.verifications += 1;
        self.settle().await;
        self.observe();
    }

    async fn close_and_renew(&mut self) {
        self.note("close");
        self.service.close();
        self.model.close();
        self.settle().await;
        self.observe();
        self.compare();
        // Whoever comes now is told so, and nothing is asked.
        self.call(2).await;
        self.refresh().await;
        self.compare();
        let (count, claims) = (1 + self.lots.below(3), self.lots.below(2) == 0);
        self.note(&format!("a new service with {count} instances; claims are checked: {claims}"));
        let instances = INSTANCES[..count].iter().map(|url| AdminInstance::parse(url).unwrap()).collect();
        let mut settings = AuthSettings::new("ingester", SecretSource::inline(SECRET), instances);
        settings.expected = claims.then(|| ExpectedClaims {
            issuer: ISSUER.to_owned(),
            audiences: vec!["x".to_owned()],
            algorithms: vec![Algorithm::EdDsa],
            leeway: Duration::from_secs(10),
        });
        self.party.claims(claims);
        let transport = self.party.transport();
        self.service = AuthService::new(settings, transport, self.metrics.clone(), self.clock.clone()).unwrap();
        self.model.renew(count, claims);
        self.token = None;
    }

    fn compare(&mut self) {
        let answers = std::mem::take(&mut *self.answers.lock().unwrap());
        let gone = |caller: &u64| !self.callers.contains_key(caller) && !answers.contains_key(caller);
        self.model.answers.retain(|caller, _| !gone(caller));
        assert_eq!(answers, self.model.answers, "what the callers were told");
        self.model.answers.clear();
        self.callers.retain(|caller, _| !answers.contains_key(caller));
        self.model.numbers.set_jwks_unavailable(self.party.failed_key_fetches());
        let text = self.registry.encode(Format::Text);
        let (ttl, waiters) = (self.model.ttl(), self.model.waiting());
        self.model.numbers.assert_equal(&text, ttl, waiters);
    }
}

fn answer(result: Result<AccessToken, AuthError>) -> Answer {
    match result {
        Ok(token) => {
            let header = token.authorization();
            let text = header.to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned();
            Answer::Token { text, generation: token.generation() }
        }
        Err(error) if error.is_closed() => Answer::Closed,
        Err(error) => Answer::Failed(error.kind().label()),
    }
}

async fn random_operations_agree_with_the_oracle(part: u64) {
    let seed = part + std::env::var("ARTSTORE_AUTH_SEED").map_or(0, |seed| seed.parse().unwrap());
    let operations = if std::env::var_os("ARTSTORE_AUTH_SOAK").is_some() { 250_000 } else { 25_000 };
    let seed = Seed { seed, last: Arc::default() };
    let mut world = World::new(seed.seed, Arc::clone(&seed.last));
    assert_eq!(world.clock.wall().as_secs(), START);
    for _ in 0..operations {
        world.operation().await;
    }
    let Model { acquisitions, ambiguous, .. } = world.model;
    println!("{operations} operations, {acquisitions} acquisitions, {} verifications", world.verifications);
    println!("of {ambiguous} acquisitions the outside cannot tell what started them");
    assert!(acquisitions > operations / 5, "{acquisitions}");
    assert!(ambiguous * 50 < acquisitions, "{ambiguous}");
}

// Four parts of a quarter each, so that they run beside each other.

#[tokio::test(start_paused = true)]
async fn random_operations_agree_with_the_oracle_at_every_step_1() {
    random_operations_agree_with_the_oracle(1).await;
}

#[tokio::test(start_paused = true)]
async fn random_operations_agree_with_the_oracle_at_every_step_2() {
    random_operations_agree_with_the_oracle(2).await;
}

#[tokio::test(start_paused = true)]
async fn random_operations_agree_with_the_oracle_at_every_step_3() {
    random_operations_agree_with_the_oracle(3).await;
}

#[tokio::test(start_paused = true)]
async fn random_operations_agree_with_the_oracle_at_every_step_4() {
    random_operations_agree_with_the_oracle(4).await;
}
