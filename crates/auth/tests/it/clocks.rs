//! Lifetimes, outages and clock steps: no token past its usable end, no storm, no caller's error without need.

use crate::support::{Issuer, Rig, Step, grant, number, pass, wall};
use artstore_auth::{AuthErrorType, TokenState};
use futures_util::FutureExt;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// The gaps between requests are at least a second.
fn assert_no_storm(rig: &Rig) {
    let seen = rig.issuer.seen();
    for pair in seen.windows(2) {
        assert!(pair[1].at - pair[0].at >= Duration::from_secs(1), "{:?}", pair[1].at - pair[0].at);
    }
}

#[tokio::test(start_paused = true)]
async fn every_lifetime_gives_usable_tokens_and_at_most_one_exchange_a_second() {
    for (lifetime, run) in [(1, 30), (10, 60), (299, 1000), (300, 1000), (301, 1000), (1800, 5000), (1_000_000_000, 90)]
    {
        let rig = Rig::new(Issuer::new([], Step::Grant(lifetime)));
        let end = Instant::now() + Duration::from_secs(run);
        let usable = Duration::from_secs_f64(lifetime as f64 - f64::min(10.0, lifetime as f64 / 10.0));
        while Instant::now() < end {
            let token = rig.service.access_token().await.unwrap();
            let granted = rig.issuer.seen()[number(&token) as usize - 1].at;
            assert!(Instant::now() - granted < usable, "{lifetime}");
            pass(Duration::from_millis(if run > 100 { 997 } else { 97 })).await;
        }
        assert_no_storm(&rig);
        let most = if lifetime == 1 { run } else { 5 * run / (2 * lifetime) } + 1;
        assert!(rig.issuer.requests() as u64 <= most, "{lifetime}: {}", rig.issuer.requests());
        assert!(rig.errors().is_empty());
        rig.assert_identities();
    }
}

#[tokio::test(start_paused = true)]
async fn impossible_lifetimes_are_failures_and_no_spin() {
    let bad = [json!(0), json!(-5), json!("1800"), json!(1_000_000_001_u64), json!(1e18), json!(u64::MAX), Value::Null];
    for expires_in in bad {
        let mut body = grant("canary-token-1", 1);
        body["expires_in"] = expires_in.clone();
        let rig = Rig::new(Issuer::new([], Step::json(200, &body)));
        for _ in 0..300 {
            let error = rig.service.access_token().await.unwrap_err();
            assert_eq!(error.kind(), AuthErrorType::MalformedResponse, "{expires_in}");
            pass(Duration::from_millis(100)).await;
        }
        assert_no_storm(&rig);
        let count = rig.issuer.requests() as u64;
        assert_eq!(rig.errors(), [("malformed_response", count)]);
        assert_eq!((rig.ttl(), rig.service.state().token), (None, TokenState::Missing));
        rig.assert_identities();
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_token_is_usable_an_absent_admin_is_no_callers_business() {
    let rig = Rig::new(Issuer::new([Step::Grant(1800)], Step::Answer(503, vec![], String::new())));
    let start = Instant::now();
    rig.service.access_token().await.unwrap();
    while start.elapsed() < Duration::from_secs(1790) {
        assert_eq!(number(&rig.service.access_token().await.unwrap()), 1);
        pass(Duration::from_secs(1)).await;
    }
    assert_eq!(start.elapsed(), Duration::from_secs(1790));
    assert_eq!(rig.service.access_token().await.unwrap_err().kind(), AuthErrorType::ServerError);
    assert_eq!(rig.service.state().token, TokenState::Expired);
    assert_eq!(rig.ttl(), Some(10.0));
    assert_eq!(rig.sum("auth_token_validation_total", &[("result", "missing")]), 1);
    assert_eq!(rig.sum("auth_token_validation_total", &[("result", "valid")]), 1500);
    assert_eq!(rig.sum("auth_token_validation_total", &[("result", "expiring_soon")]), 290);
    assert_eq!(rig.sum("auth_token_validation_total", &[("result", "expired")]), 1);
    assert!(rig.sum("auth_token_refresh_total", &[("status", "failure"), ("trigger", "expiring_soon")]) >= 8);
    assert_no_storm(&rig);
    // The keeper does not give up on an expired token.
    pass(Duration::from_secs(60)).await;
    assert_eq!(rig.ttl(), Some(0.0));
    assert!(rig.sum("auth_token_refresh_total", &[("status", "failure"), ("trigger", "expired")]) >= 1);
    rig.issuer.then(Step::Grant(1800));
    pass(Duration::from_secs(31)).await;
    assert_eq!(number(&rig.service.access_token().await.unwrap()), 2);
    assert_eq!(rig.sum("auth_token_source_total", &[("source", "fresh_request")]), 2);
    rig.assert_identities();
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_of_any_kind_there_is_a_token_within_31_seconds() {
    let outages = [
        Step::Fail(AuthErrorType::Dns, false),
        Step::Fail(AuthErrorType::Connect, false),
        Step::Fail(AuthErrorType::Transport, true),
        Step::Torn,
        Step::Answer(503, vec![], String::new()),
        Step::Answer(200, vec![], String::new()),
        Step::Hang(true),
        Step::Stalled,
        Step::Panic,
    ];
    for outage in outages {
        let rig = Rig::new(Issuer::new([Step::Grant(600)], outage));
        rig.service.access_token().await.unwrap();
        // 540 s to 590 s of cached answers, then errors; all in all twenty minutes.
        for _ in 0..600 {
            let _ = rig.service.access_token().await;
            pass(Duration::from_secs(2)).await;
        }
        assert_no_storm(&rig);
        rig.issuer.then(Step::Grant(600));
        let restored = Instant::now();
        while rig.service.access_token().await.is_err() {
            pass(Duration::from_millis(100)).await;
        }
        assert!(restored.elapsed() <= Duration::from_secs(31), "{:?}", restored.elapsed());
        rig.assert_identities();
    }
}

#[tokio::test(start_paused = true)]
async fn wall_clock_steps_and_suspends_hand_out_nothing_past_its_end() {
    for (step_ms, suspended) in [(3_600_000, false), (-3_600_000, false), (7_200_000, true), (-1, false)] {
        let rig = Rig::new(Issuer::new([], Step::Grant(1800)));
        let granted_wall = wall(&rig.clock);
        rig.service.access_token().await.unwrap();
        pass(Duration::from_secs(100)).await;
        rig.clock.step_wall_ms(step_ms);
        let token = rig.service.access_token().await.unwrap();
        if step_ms > 0 {
            // By the wall clock the first token is long past its end.
            assert!(wall(&rig.clock) > granted_wall + 1790);
            assert_eq!(number(&token), 2, "suspended: {suspended}");
            assert_eq!(rig.sum("auth_token_validation_total", &[("result", "expired")]), 1);
            assert_eq!(rig.sum("auth_token_refresh_total", &[("trigger", "expired")]), 1);
        } else {
            assert_eq!(number(&token), 1);
            // The gauge does not believe the wall clock either.
            assert_eq!(rig.ttl(), Some(1700.0));
            rig.issuer.then(Step::Hang(true));
            pass(Duration::from_secs(1690)).await;
            assert_eq!(rig.service.access_token().await.unwrap_err().kind(), AuthErrorType::Timeout);
        }
        rig.assert_identities();
    }
}

#[tokio::test(start_paused = true)]
async fn the_keeper_notices_within_a_minute_that_the_wall_clock_was_set() {
    let rig = Rig::new(Issuer::new([], Step::Grant(1800)));
    rig.service.access_token().await.unwrap();
    pass(Duration::from_secs(30)).await;
    // Into the refresh margin.
    rig.clock.step_wall_ms(1_500_000);
    pass(Duration::from_secs(60)).await;
    assert_eq!(rig.sum("auth_token_refresh_total", &[("trigger", "expiring_soon")]), 1);
    assert_eq!(number(&rig.service.access_token().await.unwrap()), 2);
    rig.assert_identities();
}

#[tokio::test(start_paused = true)]
async fn a_caller_inside_the_margin_is_served_and_starts_the_refresh() {
    let rig = Rig::new(Issuer::new([], Step::Grant(1800).late(100)));
    rig.service.access_token().await.unwrap();
    pass(Duration::from_secs(30)).await;
    rig.clock.step_wall_ms(1_500_000);
    assert_eq!(number(&rig.service.access_token().await.unwrap()), 1);
    assert_eq!(number(&rig.service.access_token().await.unwrap()), 1);
    pass(Duration::from_millis(200)).await;
    assert_eq!(number(&rig.service.access_token().await.unwrap()), 2);
    assert_eq!(rig.sum("auth_token_validation_total", &[("result", "expiring_soon")]), 2);
    assert_eq!(rig.issuer.requests(), 2);
    rig.assert_identities();
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_runs_too_late_gets_no_token_past_its_end() {
    let rig = Rig::new(Issuer::new([], Step::Grant(2)));
    let service = rig.service.clone();
    let mut waiter = Box::pin(async move { service.access_token().await });
    assert!(waiter.as_mut().now_or_never().is_none());
    // The fetch lands now, but this caller is not polled again before its token's usable end at 1.8 s.
    pass(Duration::from_millis(2_500)).await;
    let token = waiter.await.unwrap();
    assert!(number(&token) >= 2, "{token:?}");
    // One caller, one check, however often it had to look.
    assert_eq!(rig.sum("auth_token_validation_total", &[]), 1);
    rig.assert_identities();
}

#[tokio::test(start_paused = true)]
async fn a_waiter_whose_token_was_refused_meanwhile_gets_the_next_one() {
    let rig = Rig::new(Issuer::new([], Step::Grant(1800)));
    let service = rig.service.clone();
    let mut waiter = Box::pin(async move { service.access_token().await });
    assert!(waiter.as_mut().now_or_never().is_none());
    pass(Duration::from_secs(5)).await;
    rig.service.invalidate(1);
    assert_eq!(number(&waiter.await.unwrap()), 2);
    assert_eq!(rig.issuer.requests(), 2);
    rig.assert_identities();
}

#[tokio::test(start_paused = true)]
async fn a_token_that_arrives_dead_is_a_failure_and_not_handed_out() {
    let rig = Rig::new(Issuer::new([], Step::Grant(2).late(1900)));
    let error = rig.service.access_token().await.unwrap_err();
    assert_eq!(error.to_string(), "timeout: the answer took longer than its token lives (https://admin-1:8000)");
    assert_eq!(rig.errors(), [("timeout", 1)]);
    assert_eq!(rig.ttl(), None);
    rig.assert_identities();
}

#[tokio::test(start_paused = true)]
async fn the_issuers_wish_for_a_pause_is_respected_up_to_five_minutes() {
    for (asked, pause) in [("120", 120), ("100000", 300)] {
        let busy = Step::Answer(429, vec![("retry-after", asked.to_owned())], String::new());
        let rig = Rig::new(Issuer::new([busy], Step::Grant(1800)));
        let error = rig.service.access_token().await.unwrap_err();
        assert_eq!(error.kind(), AuthErrorType::RateLimited);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(asked.parse().unwrap())));
        pass(Duration::from_secs(pause - 1)).await;
        assert_eq!(rig.service.access_token().await.unwrap_err().kind(), AuthErrorType::RateLimited);
        pass(Duration::from_secs(1)).await;
        assert_eq!(number(&rig.service.access_token().await.unwrap()), 1);
        assert_eq!(rig.issuer.requests(), 2);
        rig.assert_identities();
    }
}
