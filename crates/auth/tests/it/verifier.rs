//! Good tokens of each algorithm, and attacks: each refused for its own reason.

use crate::support::{AUDIENCE, ISSUER, START, SigningKey, b64, claims, jwks, test_clock};
use artstore_auth::{Algorithm, JwksSource, KeySet, Rejection, TokenVerifier, VerifierSettings, VerifyError, bearer};
use artstore_metrics::{Clock, TestClock, UnixTime};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

fn now() -> UnixTime {
    UnixTime::from_secs(START)
}

fn verifier_of(keys: &[Value], algorithms: &[Algorithm]) -> TokenVerifier<TestClock> {
    let keys = Arc::new(KeySet::parse(jwks(keys).to_string().as_bytes(), &Algorithm::ALL).unwrap());
    let source = JwksSource::Local(Arc::new(move || Arc::clone(&keys)));
    let mut settings = VerifierSettings::new(ISSUER, AUDIENCE, source);
    settings.algorithms = algorithms.to_vec();
    TokenVerifier::new(settings, None, test_clock()).unwrap()
}

fn verifier(key: &SigningKey) -> TokenVerifier<TestClock> {
    verifier_of(&[key.jwk("k")], &Algorithm::ALL)
}

fn with(name: &str, value: Value) -> String {
    let mut claims = claims(now());
    claims[name] = value;
    claims.to_string()
}

fn without(name: &str) -> String {
    let mut claims = claims(now());
    claims.as_object_mut().unwrap().remove(name);
    claims.to_string()
}

#[tokio::test(start_paused = true)]
async fn good_tokens_of_each_algorithm_give_their_claims() {
    for key in [SigningKey::rsa(), SigningKey::p256(), SigningKey::ed25519()] {
        let claims = verifier(&key).verify(&key.good_token("k", now())).await.unwrap();
        assert_eq!(
            (claims.sub.as_str(), claims.client_id.as_str(), claims.jti.as_str()),
            ("ingester", "ingester", "1")
        );
        assert!(claims.has_scope("storage:write") && claims.has_scope("storage:read") && !claims.has_scope("storage"));
        assert_eq!((claims.iat.as_secs(), claims.exp.as_secs(), claims.certificate), (START, START + 1800, None));
    }
}

#[tokio::test(start_paused = true)]
async fn variants_that_the_standards_allow_are_accepted() {
    let key = SigningKey::ed25519();
    let verifier = verifier(&key);
    let header = key.header("k").to_string();
    let good = [
        key.token(
            &json!({"typ": "application/at+jwt", "alg": "EdDSA", "kid": "k"}).to_string(),
            &claims(now()).to_string(),
        ),
        key.token(
            &json!({"typ": "AT+JWT", "alg": "EdDSA", "kid": "k", "x": 1}).to_string(),
            &claims(now()).to_string(),
        ),
        key.token(&header, &with("aud", json!(AUDIENCE))),
        key.token(&header, &without("nbf")),
        key.token(&header, &without("scope")),
        key.token(&header, &with("iat", json!(START + 10))),
        key.token(&header, &with("nbf", json!(START + 10))),
        key.token(&header, &with("exp", json!(START + 1))),
        key.token(&header, &with("extra", json!({"a": []}))),
    ];
    for token in good {
        verifier.verify(&token).await.unwrap();
    }
}

/// Attacks on the payload: signed with the right key, so that only the claim can be the reason.
#[tokio::test(start_paused = true)]
async fn every_claim_is_required_and_checked() {
    let key = SigningKey::ed25519();
    let verifier = verifier(&key);
    let mut attacks = vec![
        (with("exp", json!(START)), VerifyError::Expired),
        (with("exp", json!(START - 1)), VerifyError::Expired),
        (with("exp", json!(0)), VerifyError::Expired),
        (with("exp", json!(START as f64 + 0.5)), VerifyError::InvalidClaim("exp")),
        (with("exp", json!(1e300)), VerifyError::InvalidClaim("exp")),
        (with("exp", json!(-1)), VerifyError::InvalidClaim("exp")),
        (with("exp", json!((START + 60).to_string())), VerifyError::InvalidClaim("exp")),
        (with("exp", Value::Null), VerifyError::InvalidClaim("exp")),
        (with("nbf", json!(START + 11)), VerifyError::NotYetValid),
        (with("nbf", json!("0")), VerifyError::InvalidClaim("nbf")),
        (with("nbf", json!(0.5)), VerifyError::InvalidClaim("nbf")),
        (with("iat", json!(START + 11)), VerifyError::NotYetValid),
        (with("iat", json!(u64::MAX)), VerifyError::NotYetValid),
        (with("iat", json!("x")), VerifyError::InvalidClaim("iat")),
        (with("iss", json!("https://admin.example.org/")), VerifyError::Issuer),
        (with("iss", json!("https://ADMIN.example.org")), VerifyError::Issuer),
        (with("iss", json!([ISSUER])), VerifyError::InvalidClaim("iss")),
        (with("aud", json!("artstore-admin")), VerifyError::Audience),
        (with("aud", json!("artstore-elements")), VerifyError::Audience),
        (with("aud", json!([])), VerifyError::Audience),
        (with("aud", json!("")), VerifyError::Audience),
        (with("aud", json!([AUDIENCE, 1])), VerifyError::InvalidClaim("aud")),
        (with("aud", json!({"a": AUDIENCE})), VerifyError::InvalidClaim("aud")),
        (with("sub", json!("")), VerifyError::InvalidClaim("sub")),
        (with("sub", json!(1)), VerifyError::InvalidClaim("sub")),
        (with("client_id", json!({})), VerifyError::InvalidClaim("client_id")),
        (with("jti", json!("")), VerifyError::InvalidClaim("jti")),
        (with("scope", json!(["storage:write"])), VerifyError::InvalidClaim("scope")),
        (with("cnf", json!("x")), VerifyError::InvalidClaim("cnf")),
        (with("cnf", json!({"jkt": "x"})), VerifyError::InvalidClaim("cnf")),
        (with("cnf", json!({"x5t#S256": "AAAA"})), VerifyError::InvalidClaim("cnf")),
        (with("cnf", json!({"x5t#S256": "!"})), VerifyError::InvalidClaim("cnf")),
        (with("cnf", json!({"x5t#S256": b64(&[0; 32]), "jkt": "x"})), VerifyError::InvalidClaim("cnf")),
        ("[]".to_owned(), VerifyError::Malformed("the payload is not a JSON object")),
        (format!("{} {{}}", claims(now())), VerifyError::Malformed("the payload is not a JSON object")),
        (
            claims(now()).to_string().replacen('{', "{\"exp\":1,", 1),
            VerifyError::Malformed("the payload is not a JSON object"),
        ),
        (
            claims(now()).to_string().replacen('{', "{\"iss\":\"https://evil\",", 1),
            VerifyError::Malformed("the payload is not a JSON object"),
        ),
    ];
    for name in ["exp", "iss", "aud", "sub", "client_id", "iat", "jti"] {
        attacks.push((without(name), VerifyError::MissingClaim(name)));
    }
    for (payload, error) in attacks {
        let token = key.token(&key.header("k").to_string(), &payload);
        assert_eq!(verifier.verify(&token).await, Err(error), "{payload}");
    }
}

/// Attacks on the header and the signature.
#[tokio::test(start_paused = true)]
async fn the_header_asks_for_nothing_and_the_key_decides() {
    let key = SigningKey::ed25519();
    let other = SigningKey::ed25519();
    let rsa = SigningKey::rsa();
    let p256 = SigningKey::p256();
    let verifier = verifier_of(&[key.jwk("k"), rsa.jwk("r"), p256.jwk("p")], &Algorithm::ALL);
    let payload = claims(now()).to_string();
    let header = |change: Value| {
        let mut header = key.header("k");
        for (name, value) in change.as_object().unwrap() {
            header[name] = value.clone();
        }
        header.to_string()
    };
    let mut jwk = other.jwk("k");
    jwk["kid"] = json!("k");
    let attacks = [
        (key.token(&header(json!({"alg": "none"})), &payload), VerifyError::Algorithm),
        (key.token(&header(json!({"alg": "NonE"})), &payload), VerifyError::Algorithm),
        (key.token(&header(json!({"alg": ""})), &payload), VerifyError::Algorithm),
        (key.token(&header(json!({"alg": 1})), &payload), VerifyError::Algorithm),
        (key.token(&header(json!({"alg": "HS256"})), &payload), VerifyError::Algorithm),
        (key.token(&header(json!({"alg": "eddsa"})), &payload), VerifyError::Algorithm),
        (key.token("{\"typ\":\"at+jwt\",\"kid\":\"k\"}", &payload), VerifyError::Algorithm),
        // The key is pinned to its algorithm, whatever the header says.
        (key.token(&header(json!({"alg": "RS256"})), &payload), VerifyError::Signature),
        (rsa.token(&header(json!({"alg": "RS256"})), &payload), VerifyError::Signature),
        (rsa.token(&header(json!({"alg": "RS256", "kid": "p"})), &payload), VerifyError::Signature),
        (p256.token(&header(json!({"alg": "ES256", "kid": "r"})), &payload), VerifyError::Signature),
        (key.token(&header(json!({"kid": "p", "alg": "ES256"})), &payload), VerifyError::Signature),
        (other.token(&header(json!({})), &payload), VerifyError::Signature),
        // Keys, certificates and addresses inside the token are not followed.
        (other.token(&header(json!({"jwk": jwk})), &payload), VerifyError::Signature),
        (other.token(&header(json!({"jku": "https://evil/jwks"})), &payload), VerifyError::Signature),
        (other.token(&header(json!({"x5u": "https://evil/x5"})), &payload), VerifyError::Signature),
        (other.token(&header(json!({"x5c": ["AAAA"]})), &payload), VerifyError::Signature),
        (key.token(&header(json!({"crit": ["exp"]})), &payload), VerifyError::Critical),
        (key.token(&header(json!({"crit": []})), &payload), VerifyError::Critical),
        (key.token(&header(json!({"b64": false})), &payload), VerifyError::Critical),
        (key.token(&header(json!({"typ": "JWT"})), &payload), VerifyError::Type),
        (key.token(&header(json!({"typ": "dpop+jwt"})), &payload), VerifyError::Type),
        (key.token(&header(json!({"typ": null})), &payload), VerifyError::Type),
        (key.token("{\"alg\":\"EdDSA\",\"kid\":\"k\"}", &payload), VerifyError::Type),
        (key.token(&header(json!({"kid": "../../k"})), &payload), VerifyError::UnknownKey),
        (key.token(&header(json!({"kid": "k' OR 1=1 --"})), &payload), VerifyError::UnknownKey),
        (key.token(&header(json!({"kid": ["k"]})), &payload), VerifyError::NoKeyId),
        (key.token(&header(json!({"kid": ""})), &payload), VerifyError::NoKeyId),
        (key.token(&header(json!({"kid": "k".repeat(129)})), &payload), VerifyError::NoKeyId),
        (key.token("{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\"}", &payload), VerifyError::NoKeyId),
        (
            key.token("{\"alg\":\"EdDSA\",\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"kid\":\"k\"}", &payload),
            VerifyError::Malformed("the header is not a JSON object"),
        ),
        (key.token("[]", &payload), VerifyError::Malformed("the header is not a JSON object")),
    ];
    for (token, error) in attacks {
        assert_eq!(verifier.verify(&token).await, Err(error), "{token}");
    }
}

/// Attacks on the text itself.
#[tokio::test(start_paused = true)]
async fn only_the_one_canonical_text_of_a_token_is_accepted() {
    let key = SigningKey::ed25519();
    let verifier = verifier(&key);
    let good = key.good_token("k", now());
    let parts: Vec<&str> = good.split('.').collect();
    let not_three = VerifyError::Malformed("the token has not three parts");
    let not_base64 = VerifyError::Malformed("a part is not base64url");
    let signature = key.sign(b"x");
    let attacks = [
        (String::new(), not_three),
        ("a".to_owned(), not_three),
        (format!("{}.{}", parts[0], parts[1]), not_three),
        (format!("{good}."), not_base64),
        (format!(".{good}"), VerifyError::Malformed("the header is not a JSON object")),
        (format!("{good}.{}", parts[2]), not_base64),
        (format!("{good}="), not_base64),
        (format!("{good}?"), not_base64),
        (format!("{good} "), not_base64),
        (format!("{good}\n"), not_base64),
        (good.replacen('.', ".%", 1), not_base64),
        (format!("{}.{}.", parts[0], parts[1]), VerifyError::Signature),
        (format!("{}.{}.{}", parts[0], parts[1], b64(&signature)), VerifyError::Signature),
        (format!("{}.{}.{}", parts[0], b64(b"{}"), parts[2]), VerifyError::Signature),
        (format!("{}.{}.{}", parts[0], parts[1], b64(&[0; 64])), VerifyError::Signature),
        ("..".to_owned(), VerifyError::Malformed("the header is not a JSON object")),
        ("x".repeat(16 * 1024 + 1), VerifyError::Malformed("the token is too long")),
        // The last character's unused bits are set: another text of the same bytes.
        (noncanonical(&good), not_base64),
    ];
    for (token, error) in attacks {
        assert_eq!(verifier.verify(&token).await, Err(error), "{token}");
    }
    verifier.verify(&good).await.unwrap();
}

/// A 64-byte signature ends in a character with four unused bits.
fn noncanonical(token: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (rest, last) = token.split_at(token.len() - 1);
    let place = ALPHABET.iter().position(|c| *c == last.as_bytes()[0]).unwrap();
    format!("{rest}{}", char::from(ALPHABET[place | 1]))
}

#[tokio::test(start_paused = true)]
async fn an_ecdsa_signature_in_der_form_is_no_jws() {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let point = pair.public_key().as_ref();
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": b64(&point[1..33]), "y": b64(&point[33..]), "kid": "k"});
    let header = json!({"typ": "at+jwt", "alg": "ES256", "kid": "k"}).to_string();
    let signed = format!("{}.{}", b64(header.as_bytes()), b64(claims(now()).to_string().as_bytes()));
    let der = pair.sign(&aws_lc_rs::rand::SystemRandom::new(), signed.as_bytes()).unwrap();
    let token = format!("{signed}.{}", b64(der.as_ref()));
    assert_eq!(verifier_of(&[jwk], &Algorithm::ALL).verify(&token).await, Err(VerifyError::Signature));
}

#[tokio::test(start_paused = true)]
async fn an_algorithm_that_is_switched_off_is_refused() {
    let key = SigningKey::ed25519();
    let verifier = verifier_of(&[key.jwk("k")], &[Algorithm::Rs256]);
    assert_eq!(verifier.verify(&key.good_token("k", now())).await, Err(VerifyError::Algorithm));
}

#[tokio::test(start_paused = true)]
async fn a_token_ends_at_the_second_of_its_exp() {
    let key = SigningKey::ed25519();
    let keys = Arc::new(KeySet::parse(jwks(&[key.jwk("k")]).to_string().as_bytes(), &Algorithm::ALL).unwrap());
    let source = JwksSource::Local(Arc::new(move || Arc::clone(&keys)));
    let clock = test_clock();
    let verifier = TokenVerifier::new(VerifierSettings::new(ISSUER, AUDIENCE, source), None, clock.clone()).unwrap();
    let token = key.good_token("k", clock.wall());
    tokio::time::advance(Duration::from_millis(1_799_999)).await;
    verifier.verify(&token).await.unwrap();
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(verifier.verify(&token).await, Err(VerifyError::Expired));
}

fn request(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    headers
}

#[tokio::test(start_paused = true)]
async fn requests_are_let_in_or_refused_as_rfc_6750_says() {
    let key = SigningKey::ed25519();
    let verifier = verifier(&key);
    let good = key.good_token("k", now());
    assert_eq!(verifier.authenticate(&request(&good), "storage:read").await.unwrap().sub, "ingester");
    let refused = |rejection: &Rejection| {
        let challenge = rejection.www_authenticate();
        (rejection.status(), challenge.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default())
    };
    let missing = verifier.authenticate(&HeaderMap::new(), "x").await.unwrap_err();
    assert_eq!(refused(&missing), (StatusCode::UNAUTHORIZED, "Bearer realm=\"artstore\"".to_owned()));
    let invalid = verifier.authenticate(&request("x.y"), "x").await.unwrap_err();
    let challenge =
        "Bearer realm=\"artstore\", error=\"invalid_token\", error_description=\"the token has not three parts\"";
    assert_eq!(refused(&invalid), (StatusCode::UNAUTHORIZED, challenge.to_owned()));
    let forbidden = verifier.authenticate(&request(&good), "files:write").await.unwrap_err();
    let challenge = "Bearer realm=\"artstore\", error=\"insufficient_scope\", scope=\"files:write\"";
    assert_eq!(refused(&forbidden), (StatusCode::FORBIDDEN, challenge.to_owned()));
    assert_eq!(forbidden.to_string(), "the access token lacks the scope files:write");
    let unavailable = Rejection::from(VerifyError::KeysUnavailable);
    assert_eq!(refused(&unavailable), (StatusCode::BAD_GATEWAY, String::new()));
}

#[tokio::test(start_paused = true)]
async fn a_bound_token_needs_its_certificate() {
    let key = SigningKey::ed25519();
    let verifier = verifier(&key);
    let token = key.token(&key.header("k").to_string(), &with("cnf", json!({"x5t#S256": b64(&[7; 32])})));
    let headers = request(&token);
    assert_eq!(verifier.verify(&token).await.unwrap().certificate, Some([7; 32]));
    let refused = Err(Rejection::InvalidToken(VerifyError::Certificate));
    assert_eq!(verifier.authenticate(&headers, "storage:read").await.map(|_| ()), refused);
    let over = async |certificate| verifier.authenticate_over(&headers, "storage:read", certificate).await.map(|_| ());
    assert_eq!(over(Some(&[8; 32])).await, refused);
    assert_eq!(over(Some(&[7; 32])).await, Ok(()));
    // A token that is bound to nothing goes over any connection.
    let unbound = request(&key.good_token("k", now()));
    verifier.authenticate_over(&unbound, "storage:read", Some(&[7; 32])).await.unwrap();
}

#[test]
fn the_bearer_token_is_in_one_authorization_header() {
    let headers = |values: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
        }
        headers
    };
    assert_eq!(bearer(&headers(&["Bearer a.b.c"])), Some("a.b.c"));
    assert_eq!(bearer(&headers(&["bEARER  a.b.c "])), Some("a.b.c"));
    for bad in [&[][..], &["Bearer"], &["Bearer "], &["Basic a"], &["a.b.c"], &["Bearer a", "Bearer b"]] {
        assert_eq!(bearer(&headers(bad)), None, "{bad:?}");
    }
    let mut binary = HeaderMap::new();
    binary.insert(header::AUTHORIZATION, HeaderValue::from_bytes(b"Bearer \xff").unwrap());
    assert_eq!(bearer(&binary), None);
}
