//! Client assertions: the good ones of each algorithm, and attacks, each refused for its own reason.

use crate::support::{START, SigningKey, b64, jwks};
use artstore_auth::{Algorithm, AssertionRules, ClientAssertion, KeySet, VerifyError};
use artstore_metrics::UnixTime;
use serde_json::{Value, json};
use std::time::Duration;

const CLIENT: &str = "client-1";
const AUDIENCE: &str = "https://admin.test:8000";

fn claims() -> Value {
    json!({ "iss": CLIENT, "sub": CLIENT, "aud": AUDIENCE, "jti": "1", "iat": START, "nbf": START, "exp": START + 60 })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn header(key: &SigningKey) -> Value {
    json!({ "alg": key.header("k")["alg"], "kid": "k" })
}

fn verify(keys: &[Value], assertion: &str) -> Result<ClientAssertion, VerifyError> {
    let keys = KeySet::parse(jwks(keys).to_string().as_bytes(), &Algorithm::ALL).unwrap();
    let rules = AssertionRules {
        client_id: CLIENT,
        audience: AUDIENCE,
        max_lifetime: Duration::from_mins(5),
        leeway: Duration::from_secs(10),
    };
    ClientAssertion::verify(assertion, &keys, &rules, UnixTime::from_secs(START))
}

#[test]
fn assertions_of_each_algorithm_are_accepted_with_and_without_kid() {
    let all = [SigningKey::rsa(), SigningKey::p256(), SigningKey::ed25519()];
    let keys: Vec<Value> = all.iter().enumerate().map(|(at, key)| key.jwk(&format!("k{at}"))).collect();
    for (at, key) in all.iter().enumerate() {
        let alg = &header(key)["alg"];
        for header in [
            json!({ "alg": alg }),
            json!({ "alg": alg, "kid": format!("k{at}"), "typ": "JWT" }),
            json!({ "alg": alg, "typ": "client-authentication+jwt" }),
        ] {
            let assertion = key.token(&header.to_string(), &claims().to_string());
            let expected = ClientAssertion { jti: "1".to_owned(), exp: UnixTime::from_secs(START + 60) };
            assert_eq!(verify(&keys, &assertion), Ok(expected), "{header}");
            assert_eq!(ClientAssertion::unverified_client_id(&assertion).as_deref(), Some(CLIENT));
        }
    }
}

/// RFC 9864 names the algorithm of an Ed25519 key so; some clients do.
#[test]
fn ed25519_is_another_name_of_its_algorithm() {
    let (key, other) = (SigningKey::ed25519(), SigningKey::p256());
    for header in [json!({ "alg": "Ed25519" }), json!({ "alg": "Ed25519", "kid": "k" })] {
        assert!(verify(&[key.jwk("k")], &key.token(&header.to_string(), &claims().to_string())).is_ok(), "{header}");
        let confused = other.token(&header.to_string(), &claims().to_string());
        assert_eq!(verify(&[other.jwk("k")], &confused), Err(VerifyError::Signature), "{header}");
    }
}

#[test]
fn claims_at_their_bounds_are_accepted() {
    let key = SigningKey::ed25519();
    for claims in [
        with("aud", json!([AUDIENCE])),
        with("exp", json!(START + 310)),
        with("exp", json!(START + 1)),
        with("iat", json!(START + 10)),
        with("nbf", json!(START + 10)),
        without("iat"),
        without("nbf"),
        with("jti", json!("j".repeat(256))),
    ] {
        let assertion = key.token(&header(&key).to_string(), &claims.to_string());
        assert!(verify(&[key.jwk("k")], &assertion).is_ok(), "{claims}");
    }
}

/// Signed with the right key, so that only the claim can be the reason.
#[test]
fn every_wrong_claim_is_refused_for_its_own_reason() {
    let key = SigningKey::ed25519();
    let cases = [
        (with("iss", json!("another")), VerifyError::Issuer),
        (without("iss"), VerifyError::MissingClaim("iss")),
        (with("sub", json!("another")), VerifyError::InvalidClaim("sub")),
        (without("sub"), VerifyError::MissingClaim("sub")),
        (without("aud"), VerifyError::MissingClaim("aud")),
        (with("aud", json!("https://admin.test:8000/oauth2/token")), VerifyError::Audience),
        (with("aud", json!([AUDIENCE, "https://another.test"])), VerifyError::Audience),
        (with("aud", json!([])), VerifyError::Audience),
        (with("aud", json!(1)), VerifyError::Audience),
        (without("exp"), VerifyError::MissingClaim("exp")),
        (with("exp", json!(START)), VerifyError::Expired),
        (with("exp", json!(START + 311)), VerifyError::InvalidClaim("exp")),
        (with("exp", json!(u64::MAX)), VerifyError::InvalidClaim("exp")),
        (with("exp", json!(1_800_000_060.5)), VerifyError::InvalidClaim("exp")),
        (with("exp", json!("1800000060")), VerifyError::InvalidClaim("exp")),
        (with("iat", json!(START + 11)), VerifyError::NotYetValid),
        (with("nbf", json!(START + 11)), VerifyError::NotYetValid),
        (with("iat", json!("now")), VerifyError::InvalidClaim("iat")),
        (without("jti"), VerifyError::MissingClaim("jti")),
        (with("jti", json!("")), VerifyError::InvalidClaim("jti")),
        (with("jti", json!(1)), VerifyError::InvalidClaim("jti")),
        (with("jti", json!("j".repeat(257))), VerifyError::InvalidClaim("jti")),
    ];
    for (claims, error) in cases {
        let assertion = key.token(&header(&key).to_string(), &claims.to_string());
        assert_eq!(verify(&[key.jwk("k")], &assertion), Err(error), "{claims}");
    }
}

#[test]
fn every_wrong_header_and_key_is_refused() {
    let (key, foreign, rsa) = (SigningKey::ed25519(), SigningKey::ed25519(), SigningKey::rsa());
    let claims = claims().to_string();
    let alg = |alg: &str| json!({ "alg": alg, "kid": "k" }).to_string();
    let unsigned = format!("{}.{}.", b64(alg("none").as_bytes()), b64(claims.as_bytes()));
    let with_header = |header: Value| key.token(&header.to_string(), &claims);
    let cases = [
        (unsigned, VerifyError::Algorithm),
        (key.token(&alg("HS256"), &claims), VerifyError::Algorithm),
        (key.token(&alg("ES256"), &claims), VerifyError::Signature),
        (rsa.token(&alg("RS256"), &claims), VerifyError::Signature),
        (foreign.token(&alg("EdDSA"), &claims), VerifyError::Signature),
        (foreign.token(&json!({ "alg": "EdDSA" }).to_string(), &claims), VerifyError::Signature),
        (with_header(json!({ "alg": "EdDSA", "kid": "other" })), VerifyError::UnknownKey),
        (with_header(json!({ "alg": "EdDSA", "kid": 1 })), VerifyError::NoKeyId),
        (with_header(json!({ "alg": "EdDSA", "kid": "k", "typ": "application/application/jwt" })), VerifyError::Type),
        (with_header(json!({ "alg": "EdDSA", "kid": "k", "typ": "at+jwt" })), VerifyError::Type),
        (with_header(json!({ "alg": "EdDSA", "kid": "k", "typ": 1 })), VerifyError::Type),
        (with_header(json!({ "alg": "EdDSA", "kid": "k", "crit": [] })), VerifyError::Critical),
        (with_header(json!({ "kid": "k" })), VerifyError::Algorithm),
        ("x".repeat(8 * 1024 + 1), VerifyError::Malformed("the assertion is too long")),
        ("a.b".to_owned(), VerifyError::Malformed("the token has not three parts")),
    ];
    for (assertion, error) in cases {
        assert_eq!(verify(&[key.jwk("k")], &assertion), Err(error), "{assertion:.80}");
    }
    assert_eq!(ClientAssertion::unverified_client_id("a.b.c"), None);
    assert_eq!(ClientAssertion::unverified_client_id(&"x".repeat(8 * 1024 + 1)), None);
}
