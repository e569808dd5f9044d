//! Who starts a fetch, who waits for it, and what the numbers say about it.

use crate::support::{Issuer, Rig, Step, number, pass};
use artstore_auth::{AuthErrorType, SecretSource, TokenState};
use futures_util::FutureExt;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn ten_thousand_cold_callers_make_one_exchange() {
    let rig = Rig::new(Issuer::new([Step::Grant(1800).late(200)], Step::Panic));
    let callers: Vec<_> = (0..10_000)
        .map(|_| {
            let service = rig.service.clone();
            tokio::spawn(async move { number(&service.access_token().await.unwrap()) })
        })
        .collect();
    pass(Duration::from_millis(100)).await;
    assert_eq!(rig.sum("auth_token_acquisition_waiters", &[]), 10_000);
    for caller in callers {
        assert_eq!(caller.await.unwrap(), 1);
    }
    assert_eq!(rig.issuer.requests(), 1);
    assert_eq!(rig.sum("auth_token_source_total", &[("source", "fresh_request")]), 10_000);
    assert_eq!(rig.sum("auth_token_validation_total", &[("result", "missing")]), 10_000);
    assert_eq!(rig.sum("auth_token_requests_total", &[("status", "success"), ("error_type", "")]), 1);
    assert_eq!(rig.sum("auth_token_refresh_total", &[("status", "success"), ("trigger", "initial")]), 1);
    assert_eq!(rig.sum("auth_token_refresh_duration_seconds_count", &[]), 1);
    assert_eq!(rig.registry.sum_of("auth_token_refresh_duration_seconds_sum", &[]), 0.2);
    assert_eq!(rig.registry.sum_of("auth_token_acquisition_duration_seconds_sum", &[]), 0.2);
    assert_eq!(rig.registry.sum_of("auth_token_cache_hit_rate", &[]), 0.0);
    rig.service.access_token().await.unwrap();
    assert_eq!(rig.sum("auth_token_source_total", &[("source", "cache")]), 1);
    assert_eq!(rig.sum("auth_token_validation_total", &[("result", "valid")]), 1);
    assert_eq!(rig.registry.sum_of("auth_token_cache_hit_rate", &[]), 100.0 / 10_001.0);
    rig.assert_identities();
}

#[tokio::test(start_paused = true)]
async fn waiters_share_a_failure_and_its_pause() {
    let rig = Rig::new(Issuer::new([], Step::Answer(503, vec![], String::new()).late(50)));
    let callers: Vec<_> = (0..1000)
        .map(|_| {
            let service = rig.service.clone();
            tokio::spawn(async move { service.access_token().await.unwrap_err().kind() })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), AuthErrorType::ServerError);
    }
    // Everyone during the pause has the same answer without a request; the floor of the pause is a second.
    for _ in 0..9 {
        pass(Duration::from_millis(100)).await;
        assert_eq!(rig.service.access_token().await.unwrap_err().kind(), AuthErrorType::ServerError);
    }
    assert_eq!(rig.issuer.requests(), 1);
    assert_eq!(rig.errors(), [("server_error", 1)]);
    assert_eq!(rig.service.state().error.unwrap().kind(), AuthErrorType::ServerError);
    assert_eq!(rig.service.state().token, TokenState::Missing);
    rig.issuer.then(Step::Grant(1800));
    pass(Duration::from_secs(2)).await;
    assert_eq!(number(&rig.service.access_token().await.unwrap()), 1);
    assert_eq!(rig.issuer.requests(), 2);
    assert_eq!(rig.sum("auth_token_source_total", &[("source", "fresh_request")]), 1010);
    assert_eq!(rig.sum("auth_token_refresh_total", &[("trigger", "initial")]), 2);
    assert!(rig.service.state().error.is_none());
    rig.assert_identities();
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_waiters_on_503_make_one_acquisition_per_pause() {
    let rig = Rig::new(Issuer::new([], Step::Answer(503, vec![], String::new()).late(50)));
    // For two minutes everyone asks again and again, each at moments of its own.
    let callers: Vec<_> = (0..10_000)
        .map(|caller| {
            let service = rig.service.clone();
            tokio::spawn(async move {
                pass(Duration::from_millis(caller)).await;
                for _ in 0..12 {
                    let error = service.access_token().await.unwrap_err();
                    assert_eq!(error.kind(), AuthErrorType::ServerError);
                    pass(Duration::from_millis(9_000 + caller % 2_000)).await;
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let seen = rig.issuer.seen();
    // Pauses: a second, and jitter from a window that doubles from 1 s to 29 s. With a caller every 0.2 ms none is longer.
    for (failures, pair) in seen.windows(2).enumerate() {
        let gap = pair[1].at - pair[0].at;
        let longest = Duration::from_secs(1 + (1 << failures.min(5)).min(29)) + Duration::from_millis(1_050);
        assert!(gap >= Duration::from_millis(1_050) && gap <= longest, "after failure {failures}: {gap:?}");
    }
    assert!((6..=60).contains(&seen.len()), "{}", seen.len());
    assert_eq!(rig.errors(), [("server_error", seen.len() as u64)]);
    assert_eq!(rig.sum("auth_token_source_total", &[("source", "fresh_request")]), 120_000);
    rig.assert_identities();
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_goes_away_neither_ends_nor_repeats_the_fetch() {
    for gone_after_ms in [0, 1, 50, 99, 100, 101] {
        let rig = Rig::new(Issuer::new([], Step::Grant(1800).late(100)));
        // Polled once, so that its fetch is started, and then dropped after so long.
        let mut leader = Box::pin({
            let service = rig.service.clone();
            async move { service.access_token().await }
        });
        assert!(leader.as_mut().now_or_never().is_none());
        let waiter = tokio::spawn({
            let service = rig.service.clone();
            async move { service.access_token().await }
        });
        let _ = tokio::time::timeout(Duration::from_millis(gone_after_ms), &mut leader).await;
        drop(leader);
        let token = tokio::time::timeout(Duration::from_millis(200), waiter).await.expect("no hung waiter");
        assert_eq!(number(&token.unwrap().unwrap()), 1);
        assert_eq!(rig.issuer.requests(), 1, "after {gone_after_ms} ms");
        rig.assert_identities();
    }
}

#[tokio::test(start_paused = true)]
async fn the_keeper_refreshes_before_the_margin_and_no_caller_waits() {
    let rig = Rig::new(Issuer::new([], Step::Grant(3600)));
    rig.service.access_token().await.unwrap();
    assert_eq!(rig.ttl(), Some(3600.0));
    // Margin 300 s, jitter at most 60 s: the refresh falls between 3240 s and 3300 s.
    pass(Duration::from_secs(3239)).await;
    assert_eq!(rig.issuer.requests(), 1);
    assert_eq!(rig.ttl(), Some(361.0));
    pass(Duration::from_secs(61)).await;
    assert_eq!(rig.issuer.requests(), 2);
    assert_eq!(number(&rig.service.access_token().await.unwrap()), 2);
    assert_eq!(rig.sum("auth_token_refresh_total", &[("status", "success"), ("trigger", "expiring_soon")]), 1);
    assert_eq!(rig.sum("auth_token_validation_total", &[("result", "valid")]), 1);
    // And on and on, without any caller.
    pass(Duration::from_secs(10 * 3600)).await;
    assert!((12..=13).contains(&rig.issuer.requests()), "{}", rig.issuer.requests());
    assert_eq!(rig.sum("auth_token_validation_total", &[]), 2);
    rig.assert_identities();
}

#[tokio::test(start_paused = true)]
async fn a_thousand_refusals_of_one_token_make_one_fetch() {
    let rig = Rig::new(Issuer::new([], Step::Grant(1800).late(10)));
    let first = rig.service.access_token().await.unwrap();
    pass(Duration::from_secs(5)).await;
    let callers: Vec<_> = (0..1000)
        .map(|_| {
            let (service, refused) = (rig.service.clone(), first.generation());
            tokio::spawn(async move {
                service.invalidate(refused);
                number(&service.access_token().await.unwrap())
            })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), 2);
    }
    assert_eq!(rig.issuer.requests(), 2);
    assert_eq!(rig.sum("auth_token_refresh_total", &[("status", "success"), ("trigger", "manual")]), 1);
    // A late refusal of the old token leaves the new one alone.
    rig.service.invalidate(first.generation());
    assert_eq!(number(&rig.service.access_token().await.unwrap()), 2);
    assert_eq!(rig.issuer.requests(), 2);
    rig.assert_identities();
}

#[tokio::test(start_paused = true)]
async fn invalidation_shows_as_a_ttl_of_zero_until_the_next_token() {
    let rig = Rig::new(Issuer::new([], Step::Grant(1800)));
    assert_eq!(rig.ttl(), None);
    let token = rig.service.access_token().await.unwrap();
    assert_eq!(rig.ttl(), Some(1800.0));
    rig.service.invalidate(token.generation());
    assert_eq!((rig.ttl(), rig.service.state().token), (Some(0.0), TokenState::Missing));
    rig.service.access_token().await.unwrap();
    // The second acquisition had to keep a second's distance from the first.
    assert_eq!(rig.ttl(), Some(1800.0));
    assert_eq!(rig.issuer.seen()[1].at - rig.issuer.seen()[0].at, Duration::from_secs(1));
    rig.assert_identities();
}

#[tokio::test(start_paused = true)]
async fn a_forced_refresh_brings_a_new_token_while_the_old_one_serves() {
    let rig = Rig::new(Issuer::new([], Step::Grant(1800).late(100)));
    rig.service.access_token().await.unwrap();
    pass(Duration::from_secs(10)).await;
    let refresh = tokio::spawn({
        let service = rig.service.clone();
        async move { number(&service.refresh().await.unwrap()) }
    });
    pass(Duration::from_millis(50)).await;
    assert_eq!(number(&rig.service.access_token().await.unwrap()), 1);
    assert_eq!(refresh.await.unwrap(), 2);
    assert_eq!(number(&rig.service.access_token().await.unwrap()), 2);
    assert_eq!(rig.sum("auth_token_refresh_total", &[("trigger", "manual")]), 1);
    // refresh() is no access_token(): one fresh request and two cached ones.
    assert_eq!(rig.sum("auth_token_source_total", &[]), 3);
    rig.issuer.then(Step::Answer(503, vec![], String::new()));
    pass(Duration::from_secs(10)).await;
    assert_eq!(rig.service.refresh().await.unwrap_err().kind(), AuthErrorType::ServerError);
    assert_eq!(number(&rig.service.access_token().await.unwrap()), 2);
    rig.assert_identities();
}

#[tokio::test(start_paused = true)]
async fn close_cuts_short_and_moves_no_family_but_the_cancellations() {
    let rig = Rig::new(Issuer::new([Step::Fail(AuthErrorType::Connect, false)], Step::Hang(true)));
    let rig = Rig::with(rig.issuer, |settings| settings.instances = crate::support::instances());
    let waiter = tokio::spawn({
        let service = rig.service.clone();
        async move { service.access_token().await }
    });
    pass(Duration::from_secs(3)).await;
    // One exchange has failed, the second hangs.
    assert_eq!(rig.issuer.requests(), 2);
    rig.service.close();
    assert!(waiter.await.unwrap().unwrap_err().is_closed());
    assert!(rig.service.access_token().await.unwrap_err().is_closed());
    assert!(rig.service.refresh().await.unwrap_err().is_closed());
    rig.service.invalidate(0);
    assert_eq!(rig.service.state().token, TokenState::Closed);
    pass(Duration::from_secs(60)).await;
    assert_eq!(rig.sum("auth_token_acquisition_cancelled_total", &[]), 1);
    assert_eq!(rig.sum("auth_token_requests_total", &[]), 0);
    assert_eq!(rig.sum("auth_token_refresh_duration_seconds_count", &[]), 0);
    assert!(rig.errors().is_empty());
    assert_eq!(rig.sum("auth_token_validation_total", &[("result", "missing")]), 2);
    rig.assert_identities();
}

#[tokio::test(start_paused = true)]
async fn close_removes_the_ttl_and_ends_the_keeper() {
    let rig = Rig::new(Issuer::new([], Step::Grant(1800)));
    rig.service.access_token().await.unwrap();
    assert_eq!(rig.ttl(), Some(1800.0));
    rig.service.close();
    assert_eq!(rig.ttl(), None);
    pass(Duration::from_secs(7200)).await;
    assert_eq!(rig.issuer.requests(), 1);
    assert_eq!(rig.sum("auth_token_acquisition_cancelled_total", &[]), 0);
    rig.assert_identities();
}

#[tokio::test(start_paused = true)]
async fn the_keeper_ends_with_the_last_clone() {
    let rig = Rig::new(Issuer::new([], Step::Grant(600)));
    rig.service.access_token().await.unwrap();
    let Rig { issuer, service, .. } = rig;
    drop(service);
    pass(Duration::from_secs(7200)).await;
    assert_eq!(issuer.requests(), 1);
}

#[test]
fn a_fetch_whose_runtime_ends_is_begun_again_on_the_next_one() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let first = runtime();
    let rig = first.block_on(async { Rig::new(Issuer::new([Step::Hang(true)], Step::Grant(1800))) });
    first.block_on(async {
        assert!(tokio::time::timeout(Duration::from_secs(1), rig.service.access_token()).await.is_err());
    });
    drop(first);
    let second = runtime();
    assert_eq!(number(&second.block_on(rig.service.access_token()).unwrap()), 1);
    assert_eq!(rig.sum("auth_token_acquisition_cancelled_total", &[]), 1);
    assert_eq!(rig.sum("auth_token_requests_total", &[("status", "success")]), 1);
    rig.assert_identities();
}

#[test]
fn a_runtime_that_has_shut_down_is_an_error_and_no_deadlock() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let rig = runtime.block_on(async { Rig::new(Issuer::new([], Step::Grant(1800))) });
    let handle = runtime.handle().clone();
    drop(runtime);
    let _entered = handle.enter();
    let error = rig.service.access_token().now_or_never().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "internal: no fetch came to an end");
    rig.assert_identities();
}

#[test]
fn outside_of_a_runtime_there_is_an_error_and_no_panic() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let rig = runtime.block_on(async { Rig::new(Issuer::new([], Step::Grant(1800))) });
    let error = rig.service.access_token().now_or_never().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "internal: there is no tokio runtime here");
    rig.assert_identities();
}

#[tokio::test(start_paused = true)]
async fn a_rotated_secret_is_read_again_within_the_acquisition() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, "old\n").unwrap();
    let invalid = Step::json(401, &serde_json::json!({"error": "invalid_client"}));
    let source = SecretSource::File(path.clone());
    let rig = Rig::with(Issuer::new([Step::Grant(1800)], invalid.clone()), |settings| {
        settings.authentication = source.into()
    });
    let token = rig.service.access_token().await.unwrap();
    rig.service.invalidate(token.generation());
    pass(Duration::from_secs(5)).await;
    // Refused, and the file says the same: the secret is sent once, not twice.
    assert_eq!(rig.service.access_token().await.unwrap_err().kind(), AuthErrorType::InvalidClient);
    assert_eq!(rig.issuer.requests(), 2);
    // Refused, and the file has another one: used at once.
    pass(Duration::from_secs(5)).await;
    std::fs::write(&path, "new\n").unwrap();
    rig.issuer.then(Step::Grant(1800));
    rig.issuer.first(invalid);
    assert_eq!(number(&rig.service.access_token().await.unwrap()), 2);
    let sent: Vec<String> = rig
        .issuer
        .seen()
        .iter()
        .map(|seen| seen.head.headers[http::header::AUTHORIZATION].to_str().unwrap().to_owned())
        .collect();
    let (old, new) = ("Basic aW5nZXN0ZXI6b2xk", "Basic aW5nZXN0ZXI6bmV3");
    assert_eq!(sent, [old, old, old, new]);
    assert_eq!(rig.errors(), [("invalid_client", 2)]);
    assert_eq!(rig.sum("auth_token_requests_total", &[("status", "failure")]), 1);
    assert_eq!(rig.sum("auth_token_refresh_duration_seconds_count", &[]), 4);
    rig.assert_identities();
}
