//! What an operator sees besides the nine families: what the refresher does, since when, and how old the keys are.

use crate::support::{AUDIENCE, ISSUER, Issuer, Rig, START, SigningKey, Step, instances, jwks, pass};
use artstore_auth::{AuthErrorType, JwksSource, TokenVerifier, VerifierSettings};
use artstore_metrics::Clock as _;
use std::time::Duration;

/// The state that is at 1.
fn state(rig: &Rig) -> Vec<&'static str> {
    let states = ["idle", "holding", "acquiring", "backoff", "closed"];
    states.into_iter().filter(|state| rig.sum("auth_token_refresher_state", &[("state", state)]) == 1).collect()
}

/// Failures in a row, seconds of back-off, and the time of the last success since the test's start.
fn numbers(rig: &Rig) -> (u64, f64, Option<f64>) {
    let text = rig.registry.encode(artstore_metrics::Format::Text);
    let sample = |name: &str| {
        let line = text.lines().find(|line| line.split(' ').next() == Some(name))?;
        line.rsplit_once(' ').unwrap().1.parse::<f64>().ok()
    };
    let last = sample("auth_token_refresher_last_success_timestamp_seconds");
    let backoff = sample("auth_token_refresher_backoff_seconds").unwrap();
    (sample("auth_token_refresher_failures").unwrap() as u64, backoff, last.map(|last| last - START as f64))
}

#[tokio::test(start_paused = true)]
async fn the_refresher_shows_what_it_does() {
    let busy = Step::Answer(429, vec![("retry-after", "100".to_owned())], String::new());
    let rig = Rig::new(Issuer::new([busy.late(2000)], Step::Grant(1800).late(500)));
    assert_eq!((state(&rig), numbers(&rig)), (vec!["idle"], (0, 0.0, None)));
    let first = tokio::spawn({
        let service = rig.service.clone();
        async move { service.access_token().await }
    });
    pass(Duration::from_secs(1)).await;
    assert_eq!((state(&rig), numbers(&rig)), (vec!["acquiring"], (0, 0.0, None)));
    assert_eq!(first.await.unwrap().unwrap_err().kind(), AuthErrorType::RateLimited);
    assert_eq!((state(&rig), numbers(&rig)), (vec!["backoff"], (1, 100.0, None)));
    pass(Duration::from_secs(60)).await;
    assert_eq!((state(&rig), numbers(&rig)), (vec!["backoff"], (1, 40.0, None)));
    pass(Duration::from_secs(40)).await;
    assert_eq!((state(&rig), numbers(&rig)), (vec!["idle"], (1, 0.0, None)));
    // At 102 s, and it takes half a second.
    let token = rig.service.access_token().await.unwrap();
    assert_eq!((state(&rig), numbers(&rig)), (vec!["holding"], (0, 0.0, Some(102.5))));
    rig.service.invalidate(token.generation());
    assert_eq!((state(&rig), numbers(&rig)), (vec!["idle"], (0, 0.0, Some(102.5))));
    // With a usable token and a failed refresh the trouble is what shows.
    rig.service.access_token().await.unwrap();
    rig.issuer.then(Step::Answer(429, vec![("retry-after", "100".to_owned())], String::new()));
    pass(Duration::from_secs(5)).await;
    rig.service.refresh().await.unwrap_err();
    assert_eq!((state(&rig), rig.service.access_token().await.is_ok()), (vec!["backoff"], true));
    rig.service.close();
    assert_eq!((state(&rig), numbers(&rig).1), (vec!["closed"], 0.0));
    rig.assert_identities();
}

#[tokio::test(start_paused = true)]
async fn a_token_that_ended_is_not_held() {
    let rig = Rig::new(Issuer::new([Step::Grant(10)], Step::Hang(true)));
    rig.service.access_token().await.unwrap();
    assert_eq!(state(&rig), ["holding"]);
    pass(Duration::from_secs(9)).await;
    assert_eq!(state(&rig), ["acquiring"]);
}

#[tokio::test(start_paused = true)]
async fn the_keys_show_their_age_from_the_last_fetch_that_succeeded() {
    let key = SigningKey::ed25519();
    let rig = Rig::new(Issuer::new([], Step::json(200, &jwks(&[key.jwk("k")]))));
    let source = JwksSource::Remote { instances: instances(), transport: rig.issuer.transport() };
    let settings = VerifierSettings::new(ISSUER, AUDIENCE, source);
    let verifier = TokenVerifier::new(settings, rig.metrics.clone(), rig.clock.clone()).unwrap();
    let text = rig.registry.encode(artstore_metrics::Format::Text);
    assert!(
        !text.contains("\nauth_jwks_age_seconds ") && !text.contains("\nauth_jwks_last_success_timestamp_seconds ")
    );
    let gauges = || {
        let value = |name| rig.registry.sum_of(name, &[]);
        (value("auth_jwks_age_seconds"), value("auth_jwks_last_success_timestamp_seconds") - START as f64)
    };
    pass(Duration::from_secs(7)).await;
    verifier.verify(&key.good_token("k", rig.clock.wall())).await.unwrap();
    assert_eq!(gauges(), (0.0, 7.0));
    // A failed fetch, of a key that is not known, makes the keys no younger; nor does the wall clock.
    rig.issuer.then(Step::Fail(AuthErrorType::Connect, false));
    pass(Duration::from_secs(60)).await;
    rig.clock.step_wall_ms(-3_000);
    verifier.verify(&key.good_token("other", rig.clock.wall())).await.unwrap_err();
    assert!(rig.sum("auth_jwks_fetches_total", &[("status", "failure")]) > 0);
    assert_eq!(gauges(), (60.0, 7.0));
}
