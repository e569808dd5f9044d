//! Limits on failed authentication at the token endpoint. Only failures count, so nobody can use them against another client.
//!
//! A request is always checked first: whoever has the right credentials is served, whatever others did. A failure is charged
//! to the pair of client and address, and to the address; once one of the two is spent, failures are answered with 429. See
//! `docs/decisions/0006-limits-that-count-only-failures.md`.

use artstore_metrics::{Clock, Monotonic};
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How many entries one hash can lie in.
const WAYS: usize = 8;

/// How many failures are answered as such, and how many are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureLimits {
    /// Failures of one client at one address in a window. Default 10.
    pub per_client: u32,
    /// Failures of one address (of IPv6 one /64) in a window. Default 100.
    pub per_address: u32,
    /// The window, over which a spent limit is restored evenly. Default 60 s.
    pub window: Duration,
    /// Most pairs and addresses that are remembered, 16 bytes each; beyond it the one that failed least is forgotten.
    /// Default 65 536.
    pub entries: u32,
}

impl Default for FailureLimits {
    fn default() -> Self {
        Self { per_client: 10, per_address: 100, window: Duration::from_mins(1), entries: 65_536 }
    }
}

/// Which limit is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// That of one client at one address.
    Client,
    /// That of an address.
    Address,
}

/// A failure too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limited {
    pub(crate) limit: Limit,
    /// When the next failure would be answered as such.
    pub(crate) retry_after: Duration,
}

/// What is remembered of failures. Its memory is fixed at the start.
#[derive(Debug)]
pub(crate) struct FailureLimiter<C> {
    limits: FailureLimits,
    clock: C,
    /// Random for each process: nobody can choose clients or addresses that collide.
    hasher: RandomState,
    table: Mutex<Table>,
}

impl<C: Clock> FailureLimiter<C> {
    pub(crate) fn new(limits: FailureLimits, clock: C) -> Self {
        let table = Mutex::new(Table::new(limits.entries));
        Self { limits, clock, hasher: RandomState::new(), table }
    }

    /// Charges a failure. A failure too many is charged to nobody: neither does it lengthen the wait, nor does a client
    /// that goes on spend its address's limit.
    pub(crate) fn failed(&self, client: Option<&str>, address: IpAddr) -> Result<Charged, Limited> {
        let (window, address) = (nanos(self.limits.window), network(address));
        let pair = client.map(|client| (self.hasher.hash_one((client, address)), self.limits.per_client));
        let buckets = [
            pair.map(|(key, most)| (Limit::Client, Bucket::new(key, window, most))),
            Some((Limit::Address, Bucket::new(self.hasher.hash_one(address), window, self.limits.per_address))),
        ];
        let now = self.now();
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        for (limit, bucket) in buckets.iter().flatten() {
            let wait = bucket.wait(table.paid_until(bucket.key), now);
            if wait > 0 {
                return Err(Limited { limit: *limit, retry_after: Duration::from_nanos(wait) });
            }
        }
        let mut forgotten = 0;
        for (_, bucket) in buckets.iter().flatten() {
            let paid_until = table.paid_until(bucket.key).max(now) + bucket.interval;
            forgotten += u64::from(table.put(bucket.key, paid_until, now));
        }
        Ok(Charged { forgotten })
    }

    /// How many pairs and addresses are remembered.
    pub(crate) fn remembered(&self) -> u64 {
        let now = self.now();
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.slots.iter().filter(|slot| slot.paid_until > now).count() as u64
    }

    fn now(&self) -> u64 {
        nanos(self.clock.monotonic().since(Monotonic::from_origin(Duration::ZERO)))
    }
}

/// A failure within the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Charged {
    /// How many others had to be forgotten for it.
    pub(crate) forgotten: u64,
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Whom an address stands for: of IPv6 a /64 is what one customer gets.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
    }
}

/// One limit as a generic cell rate algorithm: each failure moves the moment until which is paid by an interval; it may lie at
/// most a window ahead.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    key: u64,
    interval: u64,
    window: u64,
}

impl Bucket {
    fn new(key: u64, window: u64, most: u32) -> Self {
        Self { key, interval: (window / u64::from(most.max(1))).max(1), window }
    }

    /// Nanoseconds until a failure fits; 0 if it does.
    fn wait(&self, paid_until: u64, now: u64) -> u64 {
        (paid_until.max(now) + self.interval).saturating_sub(now + self.window)
    }
}

/// A hash with the moment until which it has paid; free once that is over.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    key: u64,
    paid_until: u64,
}

#[derive(Debug)]
struct Table {
    slots: Box<[Slot]>,
}

impl Table {
    fn new(entries: u32) -> Self {
        let sets = (entries as usize).div_ceil(WAYS).max(1);
        Self { slots: vec![Slot::default(); sets * WAYS].into() }
    }

    fn set(&self, key: u64) -> std::ops::Range<usize> {
        let sets = (self.slots.len() / WAYS) as u64;
        let first = usize::try_from(key % sets).unwrap_or(0) * WAYS;
        first..first + WAYS
    }

    fn paid_until(&self, key: u64) -> u64 {
        self.slots[self.set(key)].iter().find(|slot| slot.key == key).map_or(0, |slot| slot.paid_until)
    }

    /// `true` if another one had to be forgotten.
    fn put(&mut self, key: u64, paid_until: u64, now: u64) -> bool {
        let set = self.set(key);
        let set = &mut self.slots[set];
        let at = set.iter().position(|slot| slot.key == key);
        let least = || (0..WAYS).min_by_key(|&at| set[at].paid_until).unwrap_or(0);
        let at = at.unwrap_or_else(least);
        let forgotten = set[at].key != key && set[at].paid_until > now;
        set[at] = Slot { key, paid_until };
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use artstore_metrics::{TestClock, UnixTime};

    const LIMITS: FailureLimits =
        FailureLimits { per_client: 10, per_address: 100, window: Duration::from_mins(1), entries: 1_024 };
    const BAD: &str = "192.0.2.1";

    fn limiter(limits: FailureLimits) -> FailureLimiter<TestClock> {
        FailureLimiter::new(limits, TestClock::starting_at(UnixTime::from_secs(1_800_000_000)))
    }

    fn fails(limiter: &FailureLimiter<TestClock>, client: &str, address: &str) -> Result<(), (Limit, u128)> {
        let client = (!client.is_empty()).then_some(client);
        limiter.failed(client, address.parse().unwrap()).map(drop).map_err(|l| (l.limit, l.retry_after.as_millis()))
    }

    /// How many of so many failures are answered as such.
    fn counted(limiter: &FailureLimiter<TestClock>, client: &str, address: &str, failures: usize) -> usize {
        (0..failures).filter(|_| fails(limiter, client, address).is_ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_has_its_ten_failures_and_then_one_every_six_seconds() {
        let limiter = limiter(LIMITS);
        assert_eq!(counted(&limiter, "a", BAD, 10), 10);
        assert_eq!(fails(&limiter, "a", BAD), Err((Limit::Client, 6_000)));
        tokio::time::advance(Duration::from_millis(5_999)).await;
        assert_eq!(fails(&limiter, "a", BAD), Err((Limit::Client, 1)));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(counted(&limiter, "a", BAD, 1_000), 1);
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(counted(&limiter, "a", BAD, 1_000), 10);
    }

    /// 1,000 bad secrets a second for ten minutes: 10 and one every six seconds are answered, and nobody else notices.
    #[tokio::test(start_paused = true)]
    async fn a_thousand_failures_a_second_spend_nobody_elses_limit() {
        let limiter = limiter(LIMITS);
        let mut answered = 0;
        for _ in 0..600 {
            answered += counted(&limiter, "victim", BAD, 1_000);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(answered, 10 + 99);
        assert_eq!(counted(&limiter, "victim", "192.0.2.2", 1_000), 10, "the victim's own address");
        assert_eq!(counted(&limiter, "neighbour", BAD, 1_000), 10, "another client of the same address");
        assert_eq!(limiter.remembered(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_tries_many_clients_has_its_hundred() {
        let limiter = limiter(LIMITS);
        let answered: usize = (0..1_000).map(|client| counted(&limiter, &format!("c{client}"), BAD, 1)).sum();
        assert_eq!(answered, 100);
        assert_eq!(fails(&limiter, "c1000", BAD), Err((Limit::Address, 600)));
        assert_eq!(fails(&limiter, "", BAD), Err((Limit::Address, 600)), "without a client the address alone counts");
        assert_eq!(counted(&limiter, "c1000", "192.0.2.2", 1), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_customer_of_a_64_is_one_address_and_mapped_addresses_are_what_they_stand_for() {
        let limiter = limiter(LIMITS);
        assert_eq!(counted(&limiter, "a", "2001:db8:0:1::1", 10), 10);
        assert_eq!(counted(&limiter, "a", "2001:db8:0:1:ffff::2", 10), 0);
        assert_eq!(counted(&limiter, "a", "2001:db8:0:2::1", 10), 10);
        assert_eq!(counted(&limiter, "a", "::ffff:192.0.2.1", 10), 10);
        assert_eq!(counted(&limiter, "a", BAD, 10), 0);
        assert_eq!(counted(&limiter, "a", "::ffff:192.0.2.2", 10), 10, "mapped addresses are no /64");
    }

    /// A flood from more addresses than are remembered takes no more memory, and forgets those that failed least.
    #[tokio::test(start_paused = true)]
    async fn a_flood_of_addresses_is_bounded_and_forgets_the_least() {
        let limiter = limiter(FailureLimits { entries: 64, ..LIMITS });
        assert_eq!(counted(&limiter, "a", BAD, 10), 10);
        let mut forgotten = 0;
        for address in 0..10_000_u32 {
            forgotten += limiter.failed(None, IpAddr::V4(address.into())).unwrap().forgotten;
        }
        assert_eq!((limiter.remembered(), limiter.table.lock().unwrap().slots.len()), (64, 64));
        assert_eq!(forgotten, 10_000 + 2 - 64);
        assert_eq!(fails(&limiter, "a", BAD), Err((Limit::Client, 6_000)), "who failed most is remembered");
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(limiter.remembered(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn limits_of_one_and_of_more_than_the_window_has_nanoseconds_work() {
        let narrow = limiter(FailureLimits { per_client: 1, per_address: 1, entries: 1, ..LIMITS });
        assert_eq!(counted(&narrow, "a", BAD, 10), 1);
        assert_eq!(fails(&narrow, "b", BAD), Err((Limit::Address, 60_000)));
        let wide = FailureLimits { per_client: u32::MAX, window: Duration::from_nanos(1), ..LIMITS };
        assert_eq!(counted(&limiter(FailureLimits { per_address: u32::MAX, ..wide }), "a", BAD, 3), 1);
    }
}
