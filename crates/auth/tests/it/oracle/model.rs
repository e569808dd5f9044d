//! The oracle: what the nine families must say, from the contract's words and from what the issuer saw; nothing of the
//! service's code. Where the service draws lots (jitter, back-off) the model knows the bounds, and what happened must lie within.

use crate::oracle::numbers::{Numbers, Trigger};
use crate::oracle::party::{Entry, Expect};
use crate::support::START;
use std::collections::{BTreeMap, BTreeSet};

/// Milliseconds since the test began.
pub(crate) type Ms = u64;

/// The answer of one caller.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Token { text: String, generation: u64 },
    Failed(&'static str),
    Closed,
}

#[derive(Debug, Clone)]
struct Token {
    text: String,
    generation: u64,
    instance: usize,
    /// When it was asked for, by both clocks.
    sent: Ms,
    sent_wall: Ms,
    lifetime: Ms,
    /// What is left of the lifetime by the token's own end.
    life: Ms,
}

impl Token {
    /// Whether so much time has passed since it was asked for, on whichever clock is there first.
    fn reached(&self, after: Ms, now: Ms, wall: Ms) -> bool {
        now >= self.sent + after || wall >= self.sent_wall + after
    }
    fn usable(&self) -> Ms {
        self.life.saturating_sub((self.lifetime / 10).min(10_000))
    }
    /// min(300 s, lifetime/2) before its end, but not in the first half of its use.
    fn soon(&self) -> Ms {
        self.life.saturating_sub((self.lifetime / 2).min(300_000)).max(self.usable() / 2)
    }
    fn earliest_refresh(&self) -> Ms {
        self.soon() - (self.soon() / 5).min(60_000)
    }
}

#[derive(Debug)]
struct Exchange {
    instance: usize,
    began: Ms,
    began_wall: Ms,
    ends: Ms,
    token: String,
    outcome: Outcome,
    observed: bool,
}

#[derive(Debug, Clone, Copy)]
enum Outcome {
    Grant(u64),
    Failure(&'static str, u64),
}

#[derive(Debug)]
struct Acquisition {
    began: Ms,
    triggers: Vec<Trigger>,
    /// Who will be asked yet, in this order; known once the first one is.
    plan: Vec<usize>,
    exchange: Option<Exchange>,
    /// The instance and moment of the exchange that must come next.
    next: Option<(usize, Ms)>,
    durations: Vec<Ms>,
    errors: Vec<(&'static str, usize)>,
}

/// The last failure: it answers surely until `least`, perhaps until `most`.
#[derive(Debug)]
struct Pause {
    kind: &'static str,
    least: Ms,
    most: Ms,
}

/// An acquisition that callers have asked for and that has not begun.
#[derive(Debug)]
struct Demand {
    trigger: Trigger,
    due: Ms,
}

/// The model of one service, with the numbers of all services that share its metrics.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) numbers: Numbers,
    pub(crate) now: Ms,
    pub(crate) wall_offset: i64,
    pub(crate) claims: bool,
    instances: usize,
    token: Option<Token>,
    /// Whether there ever was one, and whether it was invalidated.
    had_token: bool,
    invalidated: bool,
    pub(crate) generation: u64,
    acquisition: Option<Acquisition>,
    demand: Option<Demand>,
    pause: Option<Pause>,
    failures: u32,
    last_start: Option<Ms>,
    answered_last: Option<usize>,
    /// Until when each instance wants to be left alone.
    left_alone: [Ms; 3],
    /// When the wall clock stepped last.
    stepped: Ms,
    /// What the refresher may have decided before its token was invalidated.
    decided: Vec<Trigger>,
    /// The furthest that the wall clock was since the token came.
    wall_high: Ms,
    pub(crate) closed: bool,
    waiting: BTreeSet<u64>,
    pub(crate) answers: BTreeMap<u64, Answer>,
    pub(crate) acquisitions: u64,
    pub(crate) ambiguous: u64,
}

impl Model {
    pub(crate) fn new(instances: usize) -> Self {
        Self { instances, ..Self::default() }
    }

    /// A new service over the same metrics, with so many instances.
    pub(crate) fn renew(&mut self, instances: usize, claims: bool) {
        assert!(self.closed && self.waiting.is_empty());
        let mut next = Self::new(instances);
        std::mem::swap(&mut next.numbers, &mut self.numbers);
        next.claims = claims;
        (next.now, next.wall_offset, next.stepped) = (self.now, self.wall_offset, self.stepped);
        (next.acquisitions, next.ambiguous) = (self.acquisitions, self.ambiguous);
        *self = next;
    }

    fn wall_at(&self, at: Ms) -> Ms {
        (START * 1000 + at).checked_add_signed(self.wall_offset).unwrap()
    }

    pub(crate) fn step_wall(&mut self, by: i64) {
        self.wall_offset += by;
        self.stepped = self.now;
        self.wall_high = self.wall_high.max(self.wall_at(self.now));
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Seconds to the token's end; `None` where there must be no sample.
    pub(crate) fn ttl(&self) -> Option<f64> {
        if self.closed || !self.had_token {
            return None;
        }
        let Some(token) = self.token.as_ref().filter(|_| !self.invalidated) else { return Some(0.0) };
        let left = (token.sent + token.life).saturating_sub(self.now);
        let left_wall = (token.sent_wall + token.life).saturating_sub(self.wall_at(self.now));
        Some(left.min(left_wall) as f64 / 1000.0)
    }

    fn held(&self) -> Option<&Token> {
        self.token.as_ref().filter(|_| !self.invalidated)
    }

    fn held_answer(&self) -> Answer {
        let token = self.held().unwrap();
        Answer::Token { text: token.text.clone(), generation: token.generation }
    }

    /// These callers ask for the token now. `began` says whether the issuer was asked at this very moment.
    pub(crate) fn call(&mut self, callers: &[u64], began: bool) {
        let (now, wall) = (self.now, self.wall_at(self.now));
        let check = match self.held() {
            None => 3,
            Some(token) if token.reached(token.usable(), now, wall) => 1,
            Some(token) if token.reached(token.soon(), now, wall) => 2,
            Some(_) => 0,
        };
        self.numbers.checked(check, callers.len() as u64);
        if check == 0 || check == 2 {
            let answer = self.held_answer();
            self.answers.extend(callers.iter().map(|caller| (*caller, answer.clone())));
            return;
        }
        let trigger = match (self.held().is_some(), self.had_token) {
            (true, _) => Trigger::Expired,
            (false, true) => Trigger::Manual,
            (false, false) => Trigger::Initial,
        };
        self.want(callers, trigger, began);
    }

    /// This caller wants a new token whatever there is.
    pub(crate) fn refresh(&mut self, caller: u64, began: bool) {
        self.want(&[caller], Trigger::Manual, began);
    }

    fn want(&mut self, callers: &[u64], trigger: Trigger, began: bool) {
        let now = self.now;
        if self.closed {
            self.answers.extend(callers.iter().map(|caller| (*caller, Answer::Closed)));
            return;
        }
        if self.acquisition.is_none() && self.demand.is_none() {
            if let Some(pause) = &mut self.pause {
                // Between the bounds only the service knows; the issuer's log tells which it was.
                if now < pause.least || (now < pause.most && !began) {
                    pause.least = pause.least.max(now + 1);
                    let answer = Answer::Failed(pause.kind);
                    self.answers.extend(callers.iter().map(|caller| (*caller, answer.clone())));
                    return;
                }
            }
            let due = now.max(self.last_start.map_or(0, |start| start + 1000));
            self.demand = Some(Demand { trigger, due });
        }
        self.waiting.extend(callers);
    }

    /// A caller went away without its answer.
    pub(crate) fn gone(&mut self, caller: u64) {
        self.waiting.remove(&caller);
    }

    pub(crate) fn invalidate(&mut self, generation: u64) {
        if self.held().is_some_and(|token| token.generation == generation) {
            // A refresh that waits for the second since the last start to pass goes on.
            if self.last_start.is_some_and(|start| start + 1000 > self.now) {
                self.decided = self.refresher_triggers(self.now, self.wall_high, true);
            }
            self.invalidated = true;
        }
    }

    /// Whether this is the token in the cache.
    pub(crate) fn is_held(&self, generation: u64, header: &str) -> bool {
        self.held().is_some_and(|token| token.generation == generation && header.ends_with(&token.text))
    }

    /// A resource server refuses the token in the cache even so.
    pub(crate) fn resource_rejected(&mut self) {
        let instance = self.held().unwrap().instance;
        self.numbers.error("resource_rejected", instance);
    }

    pub(crate) fn close(&mut self) {
        if self.acquisition.take().is_some() {
            self.numbers.cancelled += 1;
        }
        self.demand = None;
        self.token = None;
        self.closed = true;
        let waiting = std::mem::take(&mut self.waiting);
        self.answers.extend(waiting.into_iter().map(|caller| (caller, Answer::Closed)));
    }

    /// Time went on to `now`, and this is what the issuer was asked meanwhile.
    pub(crate) fn observe(&mut self, news: &[Entry], now: Ms) {
        for entry in news {
            self.run_to(entry.at);
            self.begins(entry);
        }
        self.run_to(now);
        if let Some((instance, at)) = self.acquisition.as_ref().and_then(|acquisition| acquisition.next) {
            panic!("instance {instance} should have been asked at {at}");
        }
        if let Some(demand) = &self.demand {
            assert!(demand.due > now, "nobody began the acquisition that was due at {}", demand.due);
        }
        self.assert_refresher_awake();
    }

    fn run_to(&mut self, at: Ms) {
        while self.acquisition.as_ref().and_then(|a| a.exchange.as_ref()).is_some_and(|exchange| exchange.ends <= at) {
            self.ends();
        }
        self.now = self.now.max(at);
        self.wall_high = self.wall_high.max(self.wall_at(self.now));
    }

    fn begins(&mut self, entry: &Entry) {
        assert!(!self.closed, "a closed service asks: {entry:?}");
        if self.acquisition.is_none() {
            self.acquisition_begins(entry);
        }
        let began_wall = self.wall_at(entry.at);
        let acquisition = self.acquisition.as_mut().unwrap();
        assert_eq!(acquisition.next.take(), Some((entry.instance, entry.at)), "{entry:?}");
        let limit = 10_000.min(acquisition.began + 30_000 - entry.at);
        let (outcome, took, written) = match entry.expect {
            Expect::Grant(lifetime) => (Outcome::Grant(lifetime), entry.late, true),
            Expect::Failure { kind, written, retry_after } => {
                (Outcome::Failure(kind, retry_after), entry.late, written)
            }
            Expect::Silence { written } => (Outcome::Failure("timeout", 0), limit, written),
        };
        let (outcome, took) = if took > limit { (Outcome::Failure("timeout", 0), limit) } else { (outcome, took) };
        acquisition.exchange = Some(Exchange {
            instance: entry.instance,
            began: entry.at,
            began_wall,
            ends: entry.at + took,
            token: entry.token.clone(),
            outcome,
            observed: written,
        });
    }

    /// Why may an acquisition begin, and was it time?
    fn acquisition_begins(&mut self, entry: &Entry) {
        let at = entry.at;
        let floor = self.last_start.map_or(0, |start| start + 1000);
        assert!(at >= floor, "acquisitions begin less than a second apart: {entry:?}");
        if let Some(pause) = self.pause.take() {
            assert!(at >= pause.least, "inside the back-off until {}: {entry:?}", pause.least);
        }
        let mut triggers = Vec::new();
        if let Some(demand) = self.demand.take() {
            assert_eq!(at, demand.due, "{entry:?}");
            triggers.push(demand.trigger);
        }
        // What a caller asked for at this very moment has its own reason; what had to wait may have had an earlier one.
        let waited = at == floor && self.last_start.is_some();
        let decided = std::mem::take(&mut self.decided);
        if waited {
            triggers.extend(decided);
            triggers.extend(self.refresher_triggers(at, self.wall_high, true));
        } else if triggers.is_empty() {
            triggers.extend(self.refresher_triggers(at, self.wall_at(at), false));
        }
        assert!(!triggers.is_empty(), "there is no reason to ask: {entry:?} {:?}", self.token);
        triggers.sort();
        triggers.dedup();
        if let (Some(instance), 0) = (self.answered_last, self.failures) {
            assert_eq!(entry.instance, instance, "the instance that answered last is asked first");
        }
        // Each once, in turn, but not those that asked to be left alone, unless all did.
        let turn = (0..self.instances).map(|step| (entry.instance + step) % self.instances);
        let free: Vec<usize> = turn.clone().filter(|instance| self.left_alone[*instance] <= at).collect();
        let plan = if free.is_empty() { turn.collect() } else { free };
        assert_eq!(plan[0], entry.instance, "left alone until {}", self.left_alone[entry.instance]);
        self.last_start = Some(at);
        self.acquisition = Some(Acquisition {
            began: at,
            triggers,
            plan: plan[1..].to_vec(),
            exchange: None,
            next: Some((entry.instance, at)),
            durations: Vec::new(),
            errors: Vec::new(),
        });
    }

    /// Why the refresher may ask at this moment, or may have decided so a little earlier.
    fn refresher_triggers(&self, at: Ms, wall: Ms, or_earlier: bool) -> Vec<Trigger> {
        let Some(token) = self.held().filter(|token| token.reached(token.earliest_refresh(), at, wall)) else {
            return Vec::new();
        };
        let expired = token.reached(token.usable(), at, wall);
        match (expired, or_earlier) {
            (true, false) => vec![Trigger::Expired],
            // Only a step of the wall clock takes a token past its usable end before the refresher has seen it in its margin.
            (true, true) if self.stepped >= token.sent => vec![Trigger::ExpiringSoon, Trigger::Expired],
            (_, _) => vec![Trigger::ExpiringSoon],
        }
    }

    fn ends(&mut self) {
        let exchange = self.acquisition.as_mut().unwrap().exchange.take().unwrap();
        let now = exchange.ends;
        self.now = self.now.max(now);
        self.wall_high = self.wall_high.max(self.wall_at(now));
        let result = match exchange.outcome {
            Outcome::Failure(kind, retry_after) => Err((kind, retry_after)),
            Outcome::Grant(lifetime) => self.arrives(&exchange, lifetime * 1000).map_err(|kind| (kind, 0)),
        };
        let wish = result.as_ref().map_or_else(|(_, retry_after)| (retry_after * 1000).min(300_000), |_| 0);
        self.left_alone[exchange.instance] = now + wish;
        let acquisition = self.acquisition.as_mut().unwrap();
        if exchange.observed {
            acquisition.durations.push(now - exchange.began);
        }
        let (kind, _) = match result {
            Ok(token) => return self.succeeds(token, now),
            Err(failure) => failure,
        };
        acquisition.errors.push((kind, exchange.instance));
        let verdict = ["invalid_client", "unauthorized_client", "invalid_scope", "invalid_request"].contains(&kind);
        if verdict || acquisition.plan.is_empty() || now >= acquisition.began + 30_000 {
            self.fails(kind, now);
        } else {
            acquisition.next = Some((acquisition.plan.remove(0), now));
        }
    }

    /// The token that an answer brought, or why it is of no use.
    fn arrives(&self, exchange: &Exchange, lifetime: Ms) -> Result<Token, &'static str> {
        let wall = self.wall_at(exchange.ends);
        let mut life = lifetime;
        if self.claims {
            let issued = (START + exchange.began / 1000) * 1000;
            if issued > wall + 10_000 || wall >= issued + lifetime {
                return Err("clock_skew");
            }
            life = life.min((issued + lifetime).saturating_sub(exchange.began_wall));
        }
        let token = Token {
            text: exchange.token.clone(),
            generation: self.generation + 1,
            instance: exchange.instance,
            sent: exchange.began,
            sent_wall: exchange.began_wall,
            lifetime,
            life,
        };
        match (token.reached(token.usable(), exchange.ends, wall), self.claims) {
            (false, _) => Ok(token),
            (true, true) => Err("clock_skew"),
            (true, false) => Err("timeout"),
        }
    }

    fn succeeds(&mut self, token: Token, now: Ms) {
        self.account(now, None);
        self.generation += 1;
        self.answered_last = Some(token.instance);
        self.token = Some(token);
        (self.had_token, self.invalidated) = (true, false);
        (self.failures, self.pause) = (0, None);
        self.wall_high = self.wall_at(now);
        let answer = self.held_answer();
        let waiting = std::mem::take(&mut self.waiting);
        self.answers.extend(waiting.into_iter().map(|caller| (caller, answer.clone())));
    }

    fn fails(&mut self, kind: &'static str, now: Ms) {
        let began = self.acquisition.as_ref().unwrap().began;
        self.account(now, Some(kind));
        self.failures += 1;
        let window = (1000_u64 << (self.failures - 1).min(20)).min(29_000);
        let all_left_alone = self.left_alone[..self.instances].iter().min().unwrap();
        let after = (now + 1000).max(*all_left_alone);
        self.pause = Some(Pause { kind, least: after.max(began + 1000), most: after.max(began + 1000 + window) });
        let waiting = std::mem::take(&mut self.waiting);
        self.answers.extend(waiting.into_iter().map(|caller| (caller, Answer::Failed(kind))));
    }

    /// One acquisition ended: everything about it counts now, and once.
    fn account(&mut self, now: Ms, failure: Option<&'static str>) {
        let acquisition = self.acquisition.take().unwrap();
        self.acquisitions += 1;
        self.ambiguous += u64::from(acquisition.triggers.len() > 1);
        for (kind, instance) in acquisition.errors {
            self.numbers.error(kind, instance);
        }
        for duration in acquisition.durations {
            self.numbers.exchange.observe(duration);
        }
        self.numbers.acquisition.observe(now - acquisition.began);
        self.numbers.acquired(failure, acquisition.triggers);
    }

    /// A token that is there is refreshed before its margin begins, or as soon as the back-off allows.
    fn assert_refresher_awake(&self) {
        let Some(token) = self.held() else { return };
        if self.closed || self.acquisition.is_some() {
            return;
        }
        let due = token.sent + token.soon();
        // The wall clock is looked at every minute.
        let by_wall =
            (token.sent_wall + token.soon()).saturating_sub(START * 1000).checked_add_signed(-self.wall_offset);
        let due_by_wall = by_wall.unwrap_or_default().max(self.stepped + 60_000);
        let floor = self.last_start.map_or(0, |start| start + 1000);
        let latest = due.min(due_by_wall).max(floor).max(self.pause.as_ref().map_or(0, |pause| pause.most));
        assert!(self.now <= latest + 1, "the refresher sleeps: due at {latest}, now {}", self.now);
    }
}
