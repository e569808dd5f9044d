//! Every kind of error by the fault that makes it, counted exactly once; and the pass over several instances.

use crate::support::{
    AUDIENCE, FIRST, ISSUER, Issuer, Rig, SECOND, SigningKey, Step, claims, grant, instances, jwks, pass, test_clock,
};
use artstore_auth::{
    Algorithm, AuthErrorType, AuthMetrics, AuthService, AuthSettings, ExpectedClaims, JwksSource, SecretSource,
    TokenVerifier, VerifierSettings,
};
use artstore_metrics::{Clock, LabelValue, Registry};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

fn expected() -> ExpectedClaims {
    ExpectedClaims {
        issuer: ISSUER.to_owned(),
        audiences: vec![AUDIENCE.to_owned(), "artstore-admin".to_owned()],
        algorithms: vec![Algorithm::EdDsa],
        leeway: Duration::from_secs(10),
    }
}

/// One acquisition that fails with this fault: kind, counts and whether an exchange's time was observed.
async fn fails(step: Step, kind: AuthErrorType, observed: u64) {
    let rig = Rig::with(Issuer::new([], step), |settings| {
        settings.scope = vec!["storage:write".to_owned()];
    });
    let error = rig.service.access_token().await.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert_eq!(error.instance(), Some(FIRST));
    assert_eq!(rig.errors(), [(kind.label(), 1)]);
    assert_eq!(rig.sum("auth_errors_total", &[("admin_module_url", FIRST)]), 1);
    assert_eq!(rig.sum("auth_token_requests_total", &[("status", "failure"), ("error_type", kind.label())]), 1);
    assert_eq!(rig.sum("auth_token_requests_total", &[]), 1);
    assert_eq!(rig.sum("auth_token_refresh_total", &[("status", "failure"), ("trigger", "initial")]), 1);
    assert_eq!(rig.sum("auth_token_refresh_duration_seconds_count", &[]), observed, "{error}");
    assert_eq!(rig.issuer.requests(), 1);
    rig.assert_identities();
}

fn code(status: u16, code: &str) -> Step {
    Step::json(status, &json!({"error": code, "error_description": "canary"}))
}

#[tokio::test(start_paused = true)]
async fn each_fault_has_its_kind_and_counts_once() {
    let narrower = {
        let mut body = grant("t", 60);
        body["scope"] = json!("storage:read");
        Step::json(200, &body)
    };
    let cases = [
        (Step::Fail(AuthErrorType::Dns, false), AuthErrorType::Dns, 0),
        (Step::Fail(AuthErrorType::Connect, false), AuthErrorType::Connect, 0),
        (Step::Fail(AuthErrorType::Tls, false), AuthErrorType::Tls, 0),
        (Step::Fail(AuthErrorType::Timeout, false), AuthErrorType::Timeout, 0),
        (Step::Fail(AuthErrorType::Timeout, true), AuthErrorType::Timeout, 1),
        (Step::Hang(false), AuthErrorType::Timeout, 0),
        (Step::Hang(true), AuthErrorType::Timeout, 1),
        (Step::Stalled, AuthErrorType::Timeout, 1),
        (Step::Fail(AuthErrorType::Transport, true), AuthErrorType::Transport, 1),
        (Step::Torn, AuthErrorType::Transport, 1),
        (Step::Answer(429, vec![], String::new()), AuthErrorType::RateLimited, 1),
        (Step::Answer(500, vec![], String::new()), AuthErrorType::ServerError, 1),
        (code(503, "invalid_client"), AuthErrorType::ServerError, 1),
        (code(400, "temporarily_unavailable"), AuthErrorType::ServerError, 1),
        (code(401, "invalid_client"), AuthErrorType::InvalidClient, 1),
        (Step::Answer(401, vec![], "<html>".to_owned()), AuthErrorType::InvalidClient, 1),
        (code(400, "unauthorized_client"), AuthErrorType::UnauthorizedClient, 1),
        (code(400, "invalid_scope"), AuthErrorType::InvalidScope, 1),
        (narrower, AuthErrorType::InvalidScope, 1),
        (code(400, "invalid_request"), AuthErrorType::InvalidRequest, 1),
        (code(400, "unsupported_grant_type"), AuthErrorType::InvalidRequest, 1),
        (
            Step::Answer(302, vec![("location", "https://elsewhere".to_owned())], String::new()),
            AuthErrorType::UnexpectedStatus,
            1,
        ),
        (Step::Answer(404, vec![], String::new()), AuthErrorType::UnexpectedStatus, 1),
        (Step::Endless, AuthErrorType::MalformedResponse, 1),
        (Step::Answer(200, vec![], " ".repeat(65_537)), AuthErrorType::MalformedResponse, 1),
        (Step::Answer(204, vec![], String::new()), AuthErrorType::MalformedResponse, 1),
        (
            Step::json(200, &json!({"access_token": null, "token_type": "Bearer", "expires_in": 60})),
            AuthErrorType::MalformedResponse,
            1,
        ),
        (Step::Panic, AuthErrorType::Internal, 1),
    ];
    for (step, kind, observed) in cases {
        fails(step, kind, observed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_after_too_long_an_answer_is_still_classified_by_its_status() {
    fails(Step::Answer(503, vec![], " ".repeat(65_537)), AuthErrorType::ServerError, 1).await;
}

#[tokio::test(start_paused = true)]
async fn the_received_tokens_own_claims_are_checked() {
    let key = SigningKey::ed25519();
    let now = test_clock().wall();
    let header = key.header("k");
    let token_with = |name: &str, value: serde_json::Value| {
        let mut claims = claims(now);
        claims[name] = value;
        key.token(&header.to_string(), &claims.to_string())
    };
    let secs = now.as_secs();
    let cases = [
        (token_with("iss", json!("https://other")), AuthErrorType::TokenInvalid),
        (token_with("aud", json!(AUDIENCE)), AuthErrorType::TokenInvalid),
        (token_with("iat", json!(secs + 11)), AuthErrorType::ClockSkew),
        (token_with("nbf", json!(secs + 11)), AuthErrorType::ClockSkew),
        (token_with("exp", json!(secs)), AuthErrorType::ClockSkew),
        (token_with("exp", json!(secs + 1)), AuthErrorType::ClockSkew),
        (
            key.token(&json!({"typ": "JWT", "alg": "EdDSA", "kid": "k"}).to_string(), &claims(now).to_string()),
            AuthErrorType::TokenInvalid,
        ),
        (SigningKey::p256().good_token("k", now), AuthErrorType::TokenInvalid),
        ("opaque".to_owned(), AuthErrorType::TokenInvalid),
    ];
    for (token, kind) in cases {
        let rig = Rig::with(Issuer::new([], Step::json(200, &grant(&token, 1800)).late(1)), |settings| {
            settings.expected = Some(expected());
            settings.timeout = Duration::from_secs(60);
        });
        // A token that would end by its own claims within the usable margin is past its use already.
        let error = rig.service.access_token().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(rig.errors(), [(kind.label(), 1)]);
        rig.assert_identities();
    }
}

#[tokio::test(start_paused = true)]
async fn a_received_token_ends_when_its_own_claims_say_so_if_that_is_earlier() {
    let key = SigningKey::ed25519();
    let mut claims = claims(test_clock().wall());
    claims["exp"] = json!(test_clock().wall().as_secs() + 600);
    let token = key.token(&key.header("k").to_string(), &claims.to_string());
    let rig = Rig::with(Issuer::new([Step::json(200, &grant(&token, 1800))], Step::Hang(true)), |settings| {
        settings.expected = Some(expected());
    });
    rig.service.access_token().await.unwrap();
    assert_eq!(rig.ttl(), Some(600.0));
    pass(Duration::from_millis(589_999)).await;
    rig.service.access_token().await.unwrap();
    pass(Duration::from_millis(1)).await;
    assert_eq!(rig.service.access_token().await.unwrap_err().kind(), AuthErrorType::Timeout);
    rig.assert_identities();
}

/// A service that verifies signatures, with keys of the process's own.
fn verifying(issuer: &Issuer, keys: &serde_json::Value) -> (Rig, AuthService<artstore_metrics::TestClock>) {
    let rig = Rig::new(issuer.clone());
    let keys = Arc::new(artstore_auth::KeySet::parse(keys.to_string().as_bytes(), &Algorithm::ALL).unwrap());
    let settings = VerifierSettings::new(ISSUER, AUDIENCE, JwksSource::Local(Arc::new(move || Arc::clone(&keys))));
    let verifier = TokenVerifier::new(settings, None, rig.clock.clone()).unwrap();
    let settings = AuthSettings::new("ingester", SecretSource::inline("s"), instances());
    let service =
        AuthService::with_verifier(settings, issuer.transport(), verifier, rig.metrics.clone(), rig.clock.clone());
    (rig, service.unwrap())
}

#[tokio::test(start_paused = true)]
async fn the_received_tokens_signature_is_checked_if_asked_for() {
    let (ours, other) = (SigningKey::ed25519(), SigningKey::ed25519());
    let now = test_clock().wall();
    let forged = Step::json(200, &grant(&other.good_token("k", now), 1800));
    let unknown = Step::json(200, &grant(&ours.good_token("other", now), 1800));
    let good = Step::json(200, &grant(&ours.good_token("k", now), 1800));
    // Both instances send bad tokens, then the first a good one.
    let issuer = Issuer::new([forged, unknown, good], Step::Panic);
    let (rig, service) = verifying(&issuer, &jwks(&[ours.jwk("k")]));
    let error = service.access_token().await.unwrap_err();
    assert_eq!((error.kind(), error.instance()), (AuthErrorType::JwksUnavailable, Some(SECOND)));
    assert_eq!(rig.errors(), [("token_invalid", 1), ("jwks_unavailable", 1)]);
    pass(Duration::from_secs(2)).await;
    service.access_token().await.unwrap();
    rig.assert_identities();
}

#[tokio::test(start_paused = true)]
async fn a_resource_servers_second_refusal_counts_once_where_the_token_came_from() {
    let down = Step::Fail(AuthErrorType::Connect, false);
    let rig = Rig::with(Issuer::new([down], Step::Grant(1800)), |settings| settings.instances = instances());
    let token = rig.service.access_token().await.unwrap();
    let error = rig.service.resource_rejected(&token);
    assert_eq!((error.kind(), error.instance()), (AuthErrorType::ResourceRejected, Some(SECOND)));
    let labels = [("error_type", "resource_rejected"), ("admin_module_url", SECOND)];
    assert_eq!(rig.sum("auth_errors_total", &labels), 1);
    assert_eq!(rig.errors(), [("connect", 1), ("resource_rejected", 1)]);
    rig.assert_identities();
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_secret_is_an_internal_error_before_any_exchange_and_heals() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let source = SecretSource::File(path.clone());
    let rig = Rig::with(Issuer::new([], Step::Grant(1800)), |settings| settings.authentication = source.into());
    let error = rig.service.access_token().await.unwrap_err();
    assert_eq!(error.to_string(), "internal: the secret file cannot be read: entity not found");
    assert_eq!(rig.issuer.requests(), 0);
    assert_eq!(rig.errors(), [("internal", 1)]);
    assert_eq!(rig.sum("auth_errors_total", &[("admin_module_url", FIRST)]), 1);
    assert_eq!(rig.sum("auth_token_acquisition_duration_seconds_count", &[]), 1);
    assert_eq!(rig.sum("auth_token_refresh_duration_seconds_count", &[]), 0);
    rig.assert_identities();
    std::fs::write(&path, "s").unwrap();
    pass(Duration::from_secs(2)).await;
    rig.service.access_token().await.unwrap();
    rig.assert_identities();
}

#[tokio::test(start_paused = true)]
async fn instances_are_tried_in_turn_and_the_one_that_answered_is_asked_first() {
    let down = Step::Answer(500, vec![], String::new()).late(100);
    let rig = Rig::with(Issuer::new([down], Step::Grant(1800).late(100)), |settings| {
        settings.instances = instances();
    });
    let token = rig.service.access_token().await.unwrap();
    rig.service.invalidate(token.generation());
    rig.service.access_token().await.unwrap();
    let hosts: Vec<String> = rig.issuer.seen().into_iter().map(|seen| seen.host).collect();
    assert_eq!(hosts, ["admin-1:8000", "admin-2:8000", "admin-2:8000"]);
    assert_eq!(rig.sum("auth_errors_total", &[("error_type", "server_error"), ("admin_module_url", FIRST)]), 1);
    assert_eq!(rig.errors(), [("server_error", 1)]);
    assert_eq!(rig.sum("auth_token_requests_total", &[("status", "success")]), 2);
    assert_eq!(rig.sum("auth_token_refresh_duration_seconds_count", &[]), 3);
    let sum = rig.registry.sum_of("auth_token_acquisition_duration_seconds_sum", &[]);
    assert!((sum - 0.3).abs() < 1e-9, "{sum}");
    rig.assert_identities();
}

#[tokio::test(start_paused = true)]
async fn a_verdict_is_not_asked_for_at_the_next_instance() {
    for verdict in ["invalid_client", "unauthorized_client", "invalid_scope", "invalid_request"] {
        let rig = Rig::with(Issuer::new([code(400, verdict)], Step::Grant(1800)), |settings| {
            settings.instances = instances();
        });
        assert_eq!(rig.service.access_token().await.unwrap_err().kind().label(), verdict);
        assert_eq!(rig.issuer.requests(), 1);
        rig.assert_identities();
    }
}

#[tokio::test(start_paused = true)]
async fn an_acquisition_ends_after_thirty_seconds_with_its_last_exchanges_error() {
    let urls = ["http://a", "http://b", "http://c", "http://d", "http://e"];
    let five: Vec<_> = urls.iter().map(|url| artstore_auth::AdminInstance::parse(url).unwrap()).collect();
    let clock = test_clock();
    let registry = Registry::new();
    let metrics = AuthMetrics::new(&registry, &five, clock.clone());
    let issuer = Issuer::new([Step::Fail(AuthErrorType::Dns, false).late(5_000)], Step::Hang(true));
    let settings = AuthSettings::new("c", SecretSource::inline("s"), five);
    let service = AuthService::new(settings, issuer.transport(), metrics, clock).unwrap();
    let started = tokio::time::Instant::now();
    assert_eq!(service.access_token().await.unwrap_err().kind(), AuthErrorType::Timeout);
    assert_eq!(started.elapsed(), Duration::from_secs(30));
    // 5 s + 10 s + 10 s + 5 s: the fifth instance is not reached.
    assert_eq!(issuer.requests(), 4);
    assert_eq!(registry.sum_of("auth_errors_total", &[("error_type", "timeout")]), 3.0);
    assert_eq!(registry.sum_of("auth_errors_total", &[("error_type", "dns")]), 1.0);
    assert_eq!(registry.sum_of("auth_token_requests_total", &[("error_type", "timeout")]), 1.0);
    assert_eq!(registry.sum_of("auth_token_acquisition_duration_seconds_sum", &[]), 30.0);
    assert_eq!(registry.sum_of("auth_token_refresh_duration_seconds_count", &[]), 3.0);
}

#[test]
fn every_kind_of_error_is_reached_by_a_test_of_this_file() {
    // Guards the table above against a new kind that nobody thought of.
    assert_eq!(AuthErrorType::ALL.len(), 18);
}
