//! Fetching the issuer's keys: when, how often, what if it is away.

use crate::support::{AUDIENCE, FIRST, ISSUER, Issuer, Rig, SECOND, SigningKey, Step, instances, jwks, pass};
use artstore_auth::{
    AdminInstance, Algorithm, AuthErrorType, AuthMetrics, JwksSource, SettingsError, TokenVerifier, VerifierSettings,
    VerifyError,
};
use artstore_metrics::{Clock, Registry, TestClock};
use serde_json::json;
use std::time::Duration;

struct Keys {
    rig: Rig,
    issuer: Issuer,
    verifier: TokenVerifier<TestClock>,
}

impl Keys {
    fn new(issuer: Issuer) -> Self {
        Self::with(issuer, |_| {})
    }

    fn with(issuer: Issuer, change: impl FnOnce(&mut VerifierSettings)) -> Self {
        let rig = Rig::new(issuer.clone());
        let source = JwksSource::Remote { instances: instances(), transport: issuer.transport() };
        let mut settings = VerifierSettings::new(ISSUER, AUDIENCE, source);
        change(&mut settings);
        let verifier = TokenVerifier::new(settings, rig.metrics.clone(), rig.clock.clone()).unwrap();
        Self { rig, issuer, verifier }
    }

    async fn verify(&self, key: &SigningKey, kid: &str) -> Result<(), VerifyError> {
        self.verifier.verify(&key.good_token(kid, self.rig.clock.wall())).await.map(|_| ())
    }

    fn fetches(&self, status: &str) -> u64 {
        self.rig.sum("auth_jwks_fetches_total", &[("status", status)])
    }
}

fn publish(keys: &[serde_json::Value]) -> Step {
    Step::json(200, &jwks(keys))
}

#[tokio::test(start_paused = true)]
async fn a_thousand_first_tokens_make_one_fetch() {
    let key = SigningKey::ed25519();
    let keys = Keys::new(Issuer::new([publish(&[key.jwk("k")]).late(100)], Step::Panic));
    let token = key.good_token("k", keys.rig.clock.wall());
    let callers: Vec<_> = (0..1000)
        .map(|_| {
            let (verifier, token) = (keys.verifier.clone(), token.clone());
            tokio::spawn(async move { verifier.verify(&token).await.unwrap().sub })
        })
        .collect();
    // One that does not wait for its answer.
    let impatient = tokio::time::timeout(Duration::from_millis(50), keys.verifier.verify(&token)).await;
    assert!(impatient.is_err());
    for caller in callers {
        assert_eq!(caller.await.unwrap(), "ingester");
    }
    let seen = keys.issuer.seen();
    assert_eq!((seen.len(), seen[0].head.method.as_str(), seen[0].head.uri.path()), (1, "GET", "/oauth2/jwks"));
    assert_eq!((keys.fetches("success"), keys.fetches("failure")), (1, 0));
    keys.rig.assert_identities();
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_found_after_the_cooldown_and_unknown_ones_make_no_storm() {
    let (old, new) = (SigningKey::ed25519(), SigningKey::p256());
    let keys = Keys::new(Issuer::new([], publish(&[old.jwk("old")])));
    keys.verify(&old, "old").await.unwrap();
    keys.issuer.then(publish(&[old.jwk("old"), new.jwk("new")]));
    // Within the cooldown of 30 s an unknown key fetches nothing.
    pass(Duration::from_secs(29)).await;
    assert_eq!(keys.verify(&new, "other").await, Err(VerifyError::UnknownKey));
    assert_eq!(keys.issuer.requests(), 1);
    pass(Duration::from_secs(1)).await;
    keys.verify(&new, "new").await.unwrap();
    assert_eq!(keys.issuer.requests(), 2);
    // Ten minutes of ever new unknown keys: at most one fetch in 30 s. The same one again: none for a minute.
    for number in 0..1500 {
        assert_eq!(keys.verify(&new, &format!("kid-{number}")).await, Err(VerifyError::UnknownKey));
        pass(Duration::from_millis(100)).await;
    }
    assert_eq!(keys.issuer.requests(), 6);
    let before = keys.issuer.requests();
    pass(Duration::from_secs(60)).await;
    assert_eq!(keys.verify(&new, "again").await, Err(VerifyError::UnknownKey));
    pass(Duration::from_secs(45)).await;
    assert_eq!(keys.verify(&new, "again").await, Err(VerifyError::UnknownKey));
    assert_eq!(keys.issuer.requests(), before + 1);
    assert!(keys.rig.errors().is_empty());
}

#[tokio::test(start_paused = true)]
async fn keys_are_kept_while_the_issuer_is_away_and_each_failed_fetch_counts_once() {
    let key = SigningKey::ed25519();
    let keys = Keys::new(Issuer::new([publish(&[key.jwk("k")])], Step::Fail(AuthErrorType::Connect, false)));
    keys.verify(&key, "k").await.unwrap();
    pass(Duration::from_secs(600)).await;
    // Old enough to be fetched anew, in the background, at both instances.
    keys.verify(&key, "k").await.unwrap();
    pass(Duration::from_millis(10)).await;
    assert_eq!((keys.fetches("success"), keys.fetches("failure")), (1, 2));
    assert_eq!(keys.rig.errors(), [("jwks_unavailable", 2)]);
    for origin in [FIRST, SECOND] {
        let labels = [("error_type", "jwks_unavailable"), ("admin_module_url", origin)];
        assert_eq!(keys.rig.sum("auth_errors_total", &labels), 1);
    }
    // A day later they are no longer trusted.
    pass(Duration::from_secs(23 * 3600)).await;
    keys.verify(&key, "k").await.unwrap();
    pass(Duration::from_secs(3600)).await;
    assert_eq!(keys.verify(&key, "k").await, Err(VerifyError::KeysUnavailable));
    // The exchange families do not move.
    keys.rig.assert_identities();
    assert_eq!(keys.rig.sum("auth_token_requests_total", &[]), 0);
}

#[tokio::test(start_paused = true)]
async fn while_the_issuer_is_away_an_unknown_key_is_not_the_tokens_fault() {
    let (old, new) = (SigningKey::ed25519(), SigningKey::ed25519());
    let keys = Keys::new(Issuer::new([publish(&[old.jwk("old")])], Step::Answer(503, vec![], String::new())));
    keys.verify(&old, "old").await.unwrap();
    pass(Duration::from_secs(30)).await;
    assert_eq!(keys.verify(&new, "new").await, Err(VerifyError::KeysUnavailable));
    // And so it is until the next fetch, while known keys go on being good.
    assert_eq!(keys.verify(&new, "new").await, Err(VerifyError::KeysUnavailable));
    keys.verify(&old, "old").await.unwrap();
    assert_eq!(keys.issuer.requests(), 3);
    keys.issuer.then(publish(&[old.jwk("old"), new.jwk("new")]));
    pass(Duration::from_secs(2)).await;
    keys.verify(&new, "new").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_asked_for_too_early_is_found_as_soon_as_the_cooldown_ends() {
    let (old, new) = (SigningKey::ed25519(), SigningKey::ed25519());
    let keys = Keys::new(Issuer::new([publish(&[old.jwk("old")])], publish(&[new.jwk("new")])));
    keys.verify(&old, "old").await.unwrap();
    pass(Duration::from_secs(1)).await;
    // No fetch has said that there is no such key, so that is not remembered.
    assert_eq!(keys.verify(&new, "new").await, Err(VerifyError::UnknownKey));
    pass(Duration::from_secs(29)).await;
    keys.verify(&new, "new").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_any_keys_the_pauses_between_fetches_grow_to_the_cooldown() {
    let key = SigningKey::ed25519();
    let keys = Keys::new(Issuer::new([], Step::Answer(503, vec![], String::new())));
    for _ in 0..6000 {
        assert_eq!(keys.verify(&key, "k").await, Err(VerifyError::KeysUnavailable));
        pass(Duration::from_millis(100)).await;
    }
    // Ten minutes; two instances each time.
    let fetches = keys.issuer.requests() / 2;
    assert!((20..=80).contains(&fetches), "{fetches}");
    keys.issuer.then(publish(&[key.jwk("k")]));
    pass(Duration::from_secs(31)).await;
    keys.verify(&key, "k").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn hostile_key_sets_are_failures() {
    let key = SigningKey::ed25519();
    let many: Vec<_> = (0..101).map(|number| key.jwk(&number.to_string())).collect();
    let answers = [
        Step::Answer(200, vec![], "<html>".to_owned()),
        Step::json(200, &json!({"keys": 1})),
        publish(&[]),
        publish(&many),
        Step::Answer(200, vec![], " ".repeat(256 * 1024 + 1)),
        Step::Answer(302, vec![("location", "https://evil".to_owned())], String::new()),
        Step::Endless,
        Step::Torn,
        Step::Hang(true),
        Step::Panic,
    ];
    for answer in answers {
        let keys = Keys::new(Issuer::new([], answer));
        assert_eq!(keys.verify(&key, "k").await, Err(VerifyError::KeysUnavailable));
        assert_eq!(keys.rig.errors(), [("jwks_unavailable", 2)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_key_is_refused_after_the_next_fetch() {
    let (old, new) = (SigningKey::ed25519(), SigningKey::ed25519());
    let keys = Keys::new(Issuer::new([publish(&[old.jwk("old")])], publish(&[new.jwk("new")])));
    keys.verify(&old, "old").await.unwrap();
    pass(Duration::from_secs(600)).await;
    keys.verify(&old, "old").await.unwrap();
    pass(Duration::from_secs(1)).await;
    assert_eq!(keys.verify(&old, "old").await, Err(VerifyError::UnknownKey));
    keys.verify(&new, "new").await.unwrap();
    assert_eq!(keys.issuer.requests(), 2);
}

#[test]
fn a_fetch_whose_runtime_ends_is_begun_again_on_the_next_one() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let key = SigningKey::ed25519();
    let first = runtime();
    let keys = first.block_on(async { Keys::new(Issuer::new([Step::Hang(true)], publish(&[key.jwk("k")]))) });
    first.block_on(async {
        let waited = tokio::time::timeout(Duration::from_secs(1), keys.verify(&key, "k")).await;
        assert!(waited.is_err());
    });
    drop(first);
    runtime().block_on(keys.verify(&key, "k")).unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_work_is_refused_at_construction() {
    let rig = Rig::new(Issuer::new([], Step::Panic));
    let transport = rig.issuer.transport();
    let remote = |instances| JwksSource::Remote { instances, transport: transport.clone() };
    let build = |change: &dyn Fn(&mut VerifierSettings), metrics: Option<AuthMetrics<TestClock>>| {
        let mut settings = VerifierSettings::new(ISSUER, AUDIENCE, remote(instances()));
        change(&mut settings);
        TokenVerifier::new(settings, metrics, rig.clock.clone()).map(|_| ()).unwrap_err()
    };
    let metrics = || Some(rig.metrics.clone());
    let elsewhere = vec![AdminInstance::parse("https://elsewhere").unwrap()];
    assert_eq!(build(&|s| s.issuer.clear(), metrics()), SettingsError::NoIssuerOrAudience);
    assert_eq!(build(&|s| s.audience.clear(), metrics()), SettingsError::NoIssuerOrAudience);
    assert_eq!(build(&|s| s.algorithms.clear(), metrics()), SettingsError::NoAlgorithm);
    assert_eq!(build(&|s| s.timeout = Duration::ZERO, metrics()), SettingsError::ZeroLimit);
    assert_eq!(build(&|s| s.cooldown = Duration::ZERO, metrics()), SettingsError::ZeroLimit);
    assert_eq!(build(&|s| s.jwks = remote(vec![]), metrics()), SettingsError::NoInstance);
    assert_eq!(build(&|s| s.jwks = remote(elsewhere.clone()), metrics()), SettingsError::UnknownInstance);
    assert_eq!(build(&|_| (), None), SettingsError::UnknownInstance);
    // Metrics for no instance have no rows for errors and fit no remote source.
    let empty = AuthMetrics::new(&Registry::new(), &[], rig.clock.clone());
    assert_eq!(build(&|_| (), Some(empty)), SettingsError::UnknownInstance);
    let settings = VerifierSettings::new(ISSUER, AUDIENCE, remote(instances()));
    assert_eq!(settings.algorithms, Algorithm::ALL);
    assert!(format!("{settings:?}").contains("Remote"));
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_of_unknown_keys_is_bounded_and_costs_no_more_than_the_cooldown() {
    let key = SigningKey::ed25519();
    let keys = Keys::new(Issuer::new([], publish(&[key.jwk("k")]).late(100)));
    // Two thousand unknown keys wait for one fetch; a thousand and twenty-four of them are remembered.
    let callers: Vec<_> = (0..2_000)
        .map(|number| {
            let (verifier, token) = (keys.verifier.clone(), key.good_token(&number.to_string(), keys.rig.clock.wall()));
            tokio::spawn(async move { verifier.verify(&token).await.map(|_| ()) })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Err(VerifyError::UnknownKey));
    }
    assert_eq!(keys.issuer.requests(), 1);
    pass(Duration::from_secs(31)).await;
    // With the issuer away those that are remembered are known to be unknown; of the others nobody can say so now.
    keys.issuer.then(Step::Answer(503, vec![], String::new()));
    let mut remembered = 0;
    for number in 0..2_000 {
        match keys.verify(&key, &number.to_string()).await {
            Err(VerifyError::UnknownKey) => remembered += 1,
            other => assert_eq!(other, Err(VerifyError::KeysUnavailable)),
        }
    }
    assert_eq!(remembered, 1_024);
    // They shared one fetch, from each instance in turn.
    assert_eq!(keys.issuer.requests(), 3);
    keys.verify(&key, "k").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn keys_grow_old_while_the_machine_is_suspended() {
    let (old, new) = (SigningKey::ed25519(), SigningKey::ed25519());
    let after = |suspended_ms| {
        let keys = Keys::new(Issuer::new([publish(&[old.jwk("old")])], publish(&[new.jwk("new")])));
        (keys, suspended_ms)
    };
    // A minute is nothing; twenty fetch new keys in the background; after two days the old ones are not trusted any more.
    for ((keys, suspended_ms), told, fetches) in [
        (after(60_000), Ok(()), 1),
        (after(1_200_000), Ok(()), 2),
        (after(172_800_000), Err(VerifyError::UnknownKey), 2),
        (after(-172_800_000), Ok(()), 1),
    ] {
        keys.verify(&old, "old").await.unwrap();
        pass(Duration::from_secs(31)).await;
        keys.rig.clock.step_wall_ms(suspended_ms);
        assert_eq!(keys.verify(&old, "old").await, told, "{suspended_ms}");
        pass(Duration::from_millis(10)).await;
        assert_eq!(keys.issuer.requests(), fetches, "{suspended_ms}");
    }
}
