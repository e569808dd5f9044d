//! What the cache answers: each thread's copy of the token, what it counts, and when it must not be used any more.

use crate::support::{Issuer, Rig, START, Step, instances, number, pass};
use artstore_auth::{AuthError, AuthMetrics, AuthService, AuthSettings, SecretSource, TokenState};
use artstore_metrics::{Clock, Format, Monotonic, Registry, UnixTime};
use futures_util::FutureExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// A machine whose wall clock stands still: no tick ever ends a copy.
#[derive(Debug, Clone, Default)]
struct StoppedWall(Arc<AtomicU64>);

impl StoppedWall {
    fn pass(&self, secs: u64) {
        self.0.fetch_add(secs, Ordering::Relaxed);
    }
}

impl Clock for StoppedWall {
    fn monotonic(&self) -> Monotonic {
        Monotonic::from_origin(Duration::from_secs(self.0.load(Ordering::Relaxed)))
    }

    fn wall(&self) -> UnixTime {
        UnixTime::from_secs(START)
    }
}

fn stopped(issuer: &Issuer) -> (StoppedWall, Registry, AuthService<StoppedWall>) {
    let (clock, registry) = (StoppedWall::default(), Registry::new());
    let metrics = AuthMetrics::new(&registry, &instances(), clock.clone());
    let settings = AuthSettings::new("ingester", SecretSource::inline("s"), instances());
    let service = AuthService::new(settings, issuer.transport(), metrics, clock.clone()).unwrap();
    (clock, registry, service)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// The answer without waiting: of the cache, or that there is no runtime to fetch on.
fn ask(service: &AuthService<StoppedWall>) -> Result<u64, AuthError> {
    service.access_token().now_or_never().unwrap().map(|token| number(&token))
}

#[test]
fn a_copy_ends_with_the_runtime_of_the_keeper() {
    let (clock, registry, service) = stopped(&Issuer::new([], Step::Grant(1800)));
    let runtime = runtime();
    assert_eq!(number(&runtime.block_on(service.access_token()).unwrap()), 1);
    // Two answers, the second of which is a repetition.
    assert_eq!((ask(&service).unwrap(), ask(&service).unwrap()), (1, 1));
    drop(runtime);
    assert_eq!(ask(&service).unwrap(), 1);
    clock.pass(1_789);
    assert_eq!(ask(&service).unwrap(), 1);
    clock.pass(1);
    assert_eq!(ask(&service).unwrap_err().to_string(), "internal: there is no tokio runtime here");
    let found = |result| registry.sum_of("auth_token_validation_total", &[("result", result)]);
    assert_eq!((found("missing"), found("valid"), found("expiring_soon"), found("expired")), (1.0, 3.0, 1.0, 1.0));
}

#[test]
fn the_keeper_ends_copies_at_the_monotonic_end_though_the_wall_clock_stands() {
    let (clock, _, service) = stopped(&Issuer::new([Step::Grant(1800)], Step::Hang(true)));
    runtime().block_on(async {
        service.access_token().await.unwrap();
        for _ in 0..1_790 {
            assert_eq!(ask(&service).unwrap(), 1);
            clock.pass(1);
            pass(Duration::from_secs(1)).await;
        }
        assert_eq!(service.state().token, TokenState::Expired);
        assert!(service.access_token().now_or_never().is_none_or(|answer| answer.is_err()));
    });
}

#[test]
fn an_invalidation_ends_the_copies_of_all_threads_at_once() {
    let (_clock, _, service) = stopped(&Issuer::new([], Step::Grant(1800)));
    let runtime = runtime();
    let token = runtime.block_on(service.access_token()).unwrap();
    let (asked, answers) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let other = service.clone();
        scope.spawn(move || {
            asked.send(ask(&other).and(ask(&other)).is_ok()).unwrap();
            wait.recv().unwrap();
            asked.send(ask(&other).is_ok()).unwrap();
        });
        assert!(answers.recv().unwrap() && ask(&service).is_ok());
        service.invalidate(token.generation());
        go_on.send(()).unwrap();
        assert!(!answers.recv().unwrap() && ask(&service).is_err());
    });
}

#[tokio::test(start_paused = true)]
async fn a_suspend_or_a_clock_set_back_right_after_a_call_is_seen_by_the_next_one() {
    // Suspended for two hours: neither the monotonic clock nor the tasks have moved.
    let rig = Rig::new(Issuer::new([], Step::Grant(1800)));
    rig.service.access_token().await.unwrap();
    assert_eq!(number(&rig.service.access_token().await.unwrap()), 1);
    rig.clock.step_wall_ms(7_200_000);
    assert_eq!(number(&rig.service.access_token().await.unwrap()), 2);
    rig.assert_identities();
    // Set back by exactly what passes then, and no task, the keeper included, runs in between.
    let rig = Rig::new(Issuer::new([], Step::Grant(1800)));
    rig.service.access_token().await.unwrap();
    assert_eq!(number(&rig.service.access_token().await.unwrap()), 1);
    let mut passing = Box::pin(tokio::time::advance(Duration::from_secs(1790)));
    let _ = passing.as_mut().now_or_never();
    rig.clock.step_wall_ms(-1_790_000);
    assert_eq!(number(&rig.service.access_token().await.unwrap()), 2);
    assert_eq!(rig.sum("auth_token_validation_total", &[("result", "expired")]), 1);
    rig.assert_identities();
}

/// The end falls between two ticks of four milliseconds.
#[tokio::test(start_paused = true)]
async fn no_answer_is_repeated_past_the_end_within_one_tick() {
    let rig = Rig::new(Issuer::new([Step::Grant(1800)], Step::Hang(true)));
    pass(Duration::from_millis(2)).await;
    rig.service.access_token().await.unwrap();
    pass(Duration::from_millis(1_789_998)).await;
    for _ in 0..2 {
        assert_eq!(number(&rig.service.access_token().await.unwrap()), 1);
    }
    pass(Duration::from_millis(2)).await;
    assert!(rig.service.access_token().now_or_never().is_none_or(|answer| answer.is_err()));
    assert_eq!(rig.sum("auth_token_validation_total", &[("result", "expired")]), 1);
}

#[tokio::test(start_paused = true)]
async fn the_borrower_of_a_token_may_ask_and_refuse() {
    let rig = Rig::new(Issuer::new([], Step::Grant(1800)));
    assert_eq!(rig.service.with_access_token(|token| token.header().is_sensitive()).await, Ok(true));
    for _ in 0..2 {
        let service = &rig.service;
        let inner = |token: &artstore_auth::AccessToken| {
            let again = service.access_token().now_or_never().unwrap().unwrap();
            (number(token), number(&again), token.header() == again.header())
        };
        assert_eq!(service.with_access_token(inner).await, Ok((1, 1, true)));
    }
    let refused = rig.service.with_access_token(|token| {
        rig.service.invalidate(token.generation());
        (token.generation(), rig.service.access_token().now_or_never().is_none())
    });
    assert_eq!(refused.await, Ok((1, true)));
    assert_eq!(rig.sum("auth_token_validation_total", &[("result", "valid")]), 5);
    assert_eq!(rig.sum("auth_token_validation_total", &[("result", "missing")]), 2);
    pass(Duration::from_secs(5)).await;
    let generation = rig.service.with_access_token(artstore_auth::AccessToken::generation).await;
    assert_eq!(generation, Ok(2));
    rig.assert_identities();
}

#[test]
fn every_thread_has_a_copy_in_memory_of_its_own_and_loses_no_count_with_it() {
    let (_clock, registry, service) = stopped(&Issuer::new([], Step::Grant(1800)));
    let runtime = runtime();
    runtime.block_on(service.access_token()).unwrap();
    let address = |service: &AuthService<StoppedWall>| {
        let lent = service.with_access_token(|token| token.header().as_bytes().as_ptr() as usize);
        lent.now_or_never().unwrap().unwrap()
    };
    let here = address(&service);
    assert_eq!(address(&service), here);
    for _ in 0..3 {
        let there =
            std::thread::scope(|scope| scope.spawn(|| (0..100).map(|_| address(&service)).max()).join().unwrap());
        assert_ne!(there, Some(here));
        assert_eq!(registry.sum_of("auth_token_source_total", &[("source", "cache")]) as u64 % 100, 2);
    }
    assert_eq!(registry.sum_of("auth_token_source_total", &[("source", "cache")]), 302.0);
    drop(service);
    assert_eq!(registry.sum_of("auth_token_source_total", &[("source", "cache")]), 302.0);
}

/// The sums of derived families are those of their source in every scrape, while callers go on.
#[test]
fn no_scrape_sees_half_of_a_cached_call() {
    let (_clock, registry, service) = stopped(&Issuer::new([], Step::Grant(1800)));
    let runtime = runtime();
    runtime.block_on(service.access_token()).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    ask(&service).unwrap();
                }
            });
        }
        for _ in 0..500 {
            let text = registry.encode(Format::Text);
            let number = |series: &str| {
                let line = text.lines().find(|line| line.starts_with(series)).unwrap();
                line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
            };
            let hits = number("auth_token_source_total{source=\"cache\"}");
            assert_eq!(hits, number("auth_token_validation_total{result=\"valid\"}"));
            assert_eq!(number("auth_token_cache_hit_rate"), hits / (hits + 1.0) * 100.0);
        }
        stop.store(true, Ordering::Relaxed);
    });
}
