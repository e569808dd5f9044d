//! Discovery (RFC 8414): what is fetched and when, what a failure does to an exchange, what hostile metadata cannot do.

use crate::support::{
    AUDIENCE, FIRST, ISSUER, Issuer, Rig, SECOND, SigningKey, Step, grant, instances, jwks, pass, test_clock,
};
use artstore_auth::{
    AuthErrorType, AuthMetrics, AuthService, AuthSettings, Discovery, DiscoverySettings, JwksSource, SecretSource,
    TokenEndpoint, TokenVerifier, VerifierSettings, VerifyError,
};
use artstore_metrics::{Clock as _, Registry};
use serde_json::json;
use std::time::Duration;

const PATH: &str = "/.well-known/oauth-authorization-server";

fn metadata(issuer: &str) -> Step {
    Step::json(
        200,
        &json!({"issuer": issuer, "token_endpoint": format!("{issuer}/t"), "jwks_uri": format!("{issuer}/k")}),
    )
}

fn rig(issuer: Issuer, change: impl FnOnce(&mut DiscoverySettings)) -> Rig {
    let mut settings = DiscoverySettings::new(FIRST);
    change(&mut settings);
    let discovery = Discovery::new(settings).unwrap();
    Rig::with(issuer, |settings| settings.endpoint = TokenEndpoint::Discovered(discovery))
}

fn asked(rig: &Rig) -> Vec<String> {
    rig.issuer.seen().iter().map(|seen| format!("{} {}", seen.head.method, seen.head.uri)).collect()
}

fn observed(rig: &Rig) -> u64 {
    rig.sum("auth_token_refresh_duration_seconds_count", &[])
}

#[tokio::test(start_paused = true)]
async fn the_token_is_asked_for_where_the_metadata_say_and_they_are_kept() {
    let rig = rig(Issuer::new([metadata(FIRST)], Step::Grant(1800)), |_| {});
    for _ in 0..3 {
        rig.service.refresh().await.unwrap();
        pass(Duration::from_secs(2)).await;
    }
    let token = format!("POST {FIRST}/t");
    assert_eq!(asked(&rig), [format!("GET {FIRST}{PATH}"), token.clone(), token.clone(), token]);
    assert!(!rig.issuer.seen()[0].head.headers.contains_key("authorization"));
    assert_eq!((observed(&rig), rig.errors()), (3, vec![]));
}

#[tokio::test(start_paused = true)]
async fn each_instance_is_asked_for_its_own_and_stands_in_for_the_other() {
    let steps = [metadata(FIRST), Step::json(503, &json!({})), metadata(FIRST)];
    let discovery = Discovery::new(DiscoverySettings::new(FIRST)).unwrap();
    let rig = Rig::with(Issuer::new(steps, Step::Grant(1800)), |settings| {
        settings.instances = instances();
        settings.endpoint = TokenEndpoint::Discovered(discovery);
    });
    rig.service.access_token().await.unwrap();
    let expected = [
        format!("GET {FIRST}{PATH}"),
        format!("POST {FIRST}/t"),
        format!("GET {SECOND}{PATH}"),
        format!("POST {SECOND}/t"),
    ];
    assert_eq!(asked(&rig), expected);
    assert_eq!((observed(&rig), rig.errors()), (2, vec![("server_error", 1)]));
}

#[tokio::test(start_paused = true)]
async fn every_failure_is_one_failed_exchange_without_a_duration() {
    let too_long = format!("{{\"issuer\": \"{FIRST}\", \"x\": \"{}\"}}", "x".repeat(64 * 1024));
    let faults = [
        (Step::Fail(AuthErrorType::Dns, false), "dns"),
        (Step::Fail(AuthErrorType::Connect, false), "connect"),
        (Step::Fail(AuthErrorType::Tls, false), "tls"),
        (Step::Fail(AuthErrorType::Transport, true), "transport"),
        (Step::Hang(true), "timeout"),
        (Step::Stalled, "timeout"),
        (Step::Torn, "transport"),
        (Step::Endless, "malformed_response"),
        (Step::Panic, "internal"),
        (Step::json(401, &json!({"error": "invalid_client"})), "unexpected_status"),
        (Step::json(404, &json!({})), "unexpected_status"),
        (Step::json(301, &json!({})), "unexpected_status"),
        (Step::json(204, &json!({})), "malformed_response"),
        (Step::json(429, &json!({})), "rate_limited"),
        (Step::json(500, &json!({})), "server_error"),
        (Step::Answer(200, vec![], too_long), "malformed_response"),
        (metadata("https://admin-1:8000/"), "malformed_response"),
        (Step::json(200, &json!({"issuer": FIRST})), "malformed_response"),
        (Step::json(200, &json!({"issuer": FIRST, "token_endpoint": "http://admin-1/t"})), "malformed_response"),
        (Step::json(200, &grant("canary-token-1", 60)), "malformed_response"),
    ];
    for (fault, kind) in faults {
        let rig = rig(Issuer::new([fault], metadata(FIRST)), |_| {});
        let error = rig.service.access_token().await.unwrap_err();
        assert_eq!((error.kind().label(), error.instance()), (kind, Some(FIRST)), "{error}");
        assert_eq!((rig.errors(), observed(&rig), rig.issuer.requests()), (vec![(kind, 1)], 0, 1), "{error}");
        assert_eq!(rig.sum("auth_token_requests_total", &[("error_type", kind)]), 1);
        rig.assert_identities();
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_issuer_takes_no_more_than_the_exchanges_limit() {
    let rig = rig(Issuer::new([metadata(FIRST).late(6_000)], Step::Hang(true)), |_| {});
    let began = tokio::time::Instant::now();
    assert_eq!(rig.service.access_token().await.unwrap_err().kind(), AuthErrorType::Timeout);
    // Ten seconds for both requests together.
    assert_eq!(began.elapsed().as_secs(), 10);
    assert_eq!((observed(&rig), rig.errors()), (1, vec![("timeout", 1)]));
}

#[tokio::test(start_paused = true)]
async fn old_metadata_serve_while_new_ones_cannot_be_had() {
    let rig = rig(Issuer::new([metadata(FIRST)], Step::Grant(1_000_000)), |_| {});
    rig.service.refresh().await.unwrap();
    pass(Duration::from_secs(3600)).await;
    let refresh_with = async |step: Step| {
        rig.issuer.first(step);
        let before = rig.issuer.requests();
        rig.service.refresh().await.unwrap();
        rig.issuer.requests() - before
    };
    // Due: asked, refused, and the token comes all the same. Then the cooldown, then once more.
    assert_eq!(refresh_with(Step::json(500, &json!({}))).await, 2);
    pass(Duration::from_secs(10)).await;
    assert_eq!(refresh_with(Step::Grant(1_000_000)).await, 1);
    pass(Duration::from_secs(21)).await;
    assert_eq!(refresh_with(metadata(FIRST)).await, 2);
    assert_eq!((observed(&rig), rig.errors()), (4, vec![]));
    // A silent fetch leaves time for the token.
    pass(Duration::from_secs(3600)).await;
    let began = tokio::time::Instant::now();
    assert_eq!(refresh_with(Step::Hang(true)).await, 2);
    assert_eq!((began.elapsed().as_secs(), observed(&rig), rig.errors()), (5, 5, vec![]));
    // After a day without success nothing serves any more.
    pass(Duration::from_secs(24 * 3600)).await;
    rig.issuer.first(Step::json(500, &json!({})));
    assert_eq!(rig.service.refresh().await.unwrap_err().kind(), AuthErrorType::ServerError);
    assert_eq!((observed(&rig), rig.errors()), (5, vec![("server_error", 1)]));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_moved_is_looked_up_again_but_not_at_once() {
    let moved = Step::json(404, &json!({}));
    let rig = rig(Issuer::new([metadata(FIRST), moved.clone(), moved], metadata(FIRST)), |_| {});
    rig.service.access_token().await.unwrap_err();
    pass(Duration::from_secs(5)).await;
    rig.service.access_token().await.unwrap_err();
    assert_eq!(rig.issuer.requests(), 3);
    pass(Duration::from_secs(30)).await;
    let _ = rig.service.access_token().await;
    assert_eq!(asked(&rig)[3], format!("GET {FIRST}{PATH}"));
}

#[tokio::test(start_paused = true)]
async fn neither_a_verdict_nor_an_ailing_issuer_is_a_reason_to_look_again() {
    let faults = [
        Step::json(400, &json!({"error": "invalid_scope"})),
        Step::json(401, &json!({"error": "invalid_client"})),
        Step::json(503, &json!({})),
        Step::json(429, &json!({})),
        Step::Hang(true),
        Step::Torn,
    ];
    for fault in faults {
        let rig = rig(Issuer::new([metadata(FIRST)], fault), |_| {});
        for _ in 0..3 {
            rig.service.access_token().await.unwrap_err();
            pass(Duration::from_secs(60)).await;
        }
        let asked = asked(&rig);
        assert_eq!((asked.iter().filter(|line| line.starts_with("GET")).count(), asked.len()), (1, 4), "{asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_that_moved_are_looked_up_again() {
    let (key, clock) = (SigningKey::ed25519(), test_clock());
    let gone = Step::json(404, &json!({}));
    let issuer = Issuer::new([metadata(FIRST), gone, metadata(FIRST)], Step::json(200, &jwks(&[key.jwk("k")])));
    let source = JwksSource::Discovered {
        discovery: Discovery::new(DiscoverySettings::new(FIRST)).unwrap(),
        instances: instances()[..1].to_vec(),
        transport: issuer.transport(),
    };
    let metrics = AuthMetrics::new(&Registry::new(), &instances(), clock.clone());
    let verifier = TokenVerifier::new(VerifierSettings::new(ISSUER, AUDIENCE, source), metrics, clock.clone()).unwrap();
    let token = key.good_token("k", clock.wall());
    assert_eq!(verifier.verify(&token).await.unwrap_err(), VerifyError::KeysUnavailable);
    pass(Duration::from_secs(30)).await;
    verifier.verify(&token).await.unwrap();
    assert_eq!(issuer.requests(), 4);
}

#[tokio::test(start_paused = true)]
async fn service_and_verifier_share_what_was_found() {
    let key = SigningKey::ed25519();
    let clock = test_clock();
    let token = key.good_token("k", clock.wall());
    let steps = [metadata(FIRST), Step::json(200, &grant(&token, 1800)), Step::json(200, &jwks(&[key.jwk("k")]))];
    let issuer = Issuer::new(steps, Step::json(500, &json!({})));
    let discovery = Discovery::new(DiscoverySettings::new(FIRST)).unwrap();
    let metrics = AuthMetrics::new(&Registry::new(), &instances(), clock.clone());
    let source =
        JwksSource::Discovered { discovery: discovery.clone(), instances: instances(), transport: issuer.transport() };
    assert!(format!("{source:?}").starts_with("Discovered { discovery: Discovery"), "{source:?}");
    let verifier =
        TokenVerifier::new(VerifierSettings::new(ISSUER, AUDIENCE, source), metrics.clone(), clock.clone()).unwrap();
    let mut settings = AuthSettings::new("ingester", SecretSource::inline("s"), instances());
    settings.endpoint = TokenEndpoint::Discovered(discovery);
    let service = AuthService::with_verifier(settings, issuer.transport(), verifier, metrics, clock).unwrap();
    assert_eq!(service.access_token().await.unwrap().authorization(), &format!("Bearer {token}"));
    let asked: Vec<_> = issuer.seen().iter().map(|seen| seen.head.uri.to_string()).collect();
    assert_eq!(asked, [format!("{FIRST}{PATH}"), format!("{FIRST}/t"), format!("{FIRST}/k")]);
}

#[tokio::test(start_paused = true)]
async fn metadata_without_keys_are_one_failed_key_set_fetch_of_each_instance() {
    let registry = Registry::new();
    let clock = test_clock();
    let issuer = Issuer::new([], Step::json(200, &json!({"issuer": FIRST, "token_endpoint": format!("{FIRST}/t")})));
    let source = JwksSource::Discovered {
        discovery: Discovery::new(DiscoverySettings::new(FIRST)).unwrap(),
        instances: instances(),
        transport: issuer.transport(),
    };
    let metrics = AuthMetrics::new(&registry, &instances(), clock.clone());
    let verifier = TokenVerifier::new(VerifierSettings::new(ISSUER, AUDIENCE, source), metrics, clock.clone()).unwrap();
    let token = SigningKey::ed25519().good_token("k", clock.wall());
    assert_eq!(verifier.verify(&token).await.unwrap_err(), VerifyError::KeysUnavailable);
    for url in [FIRST, SECOND] {
        let labels = [("error_type", "jwks_unavailable"), ("admin_module_url", url)];
        assert_eq!(registry.sum_of("auth_errors_total", &labels), 1.0);
    }
    assert_eq!((registry.sum_of("auth_errors_total", &[]), issuer.requests()), (2.0, 2));
}
