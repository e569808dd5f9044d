//! The methods of client authentication: what each sends, that an assertion is never sent twice, that a rotated key is found.

use crate::support::{ISSUER, Issuer, Rig, SECRET, Seen, Step, b64, jwks, wall};
use artstore_auth::{
    Algorithm, AssertionAudience, AssertionRules, AuthErrorType, ClientAssertion, ClientAuthentication, KeySet,
    PrivateKeyJwt, SecretSource, TokenEndpoint,
};
use artstore_metrics::{Clock, UnixTime};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The members of a form, each of which is there once.
fn form(seen: &Seen) -> BTreeMap<String, String> {
    let decode = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            match byte {
                b'%' => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
                }
                b'+' => bytes.push(b' '),
                byte => bytes.push(byte),
            }
        }
        String::from_utf8(bytes).unwrap()
    };
    assert_eq!(seen.head.headers["content-type"], "application/x-www-form-urlencoded");
    let text = std::str::from_utf8(&seen.body).unwrap();
    let pairs: Vec<_> = text.split('&').map(|pair| pair.split_once('=').unwrap()).collect();
    let form: BTreeMap<_, _> = pairs.iter().map(|(name, value)| (decode(name), decode(value))).collect();
    assert_eq!(form.len(), pairs.len(), "{text}");
    form
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The PEM of an Ed25519 key of this seed (RFC 8410 section 7), and its public key as the issuer knows it.
pub(crate) fn ed25519(seed: u8) -> (String, KeySet) {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    let seed = [seed; 32];
    let head = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
    let der = STANDARD.encode([&head[..], &seed].concat());
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key().as_ref()), "kid": "any"});
    let keys = KeySet::parse(jwks(&[jwk]).to_string().as_bytes(), &Algorithm::ALL).unwrap();
    (format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n"), keys)
}

fn signed_with(key: SecretSource, issuer: &str) -> PrivateKeyJwt {
    PrivateKeyJwt { key_id: Some("any".to_owned()), ..PrivateKeyJwt::new(key, issuer) }
}

fn judge(assertion: &str, keys: &KeySet, now: u64) -> Result<String, String> {
    let rules = AssertionRules {
        client_id: "ingester",
        audience: ISSUER,
        max_lifetime: Duration::from_secs(60),
        leeway: Duration::ZERO,
    };
    let judged = ClientAssertion::verify(assertion, keys, &rules, UnixTime::from_secs(now));
    judged.map(|assertion| assertion.jti).map_err(|error| error.to_string())
}

#[tokio::test(start_paused = true)]
async fn client_secret_post_sends_the_secret_in_the_form_alone() {
    let rig = Rig::with(Issuer::new([], Step::Grant(1800)), |settings| {
        settings.authentication = ClientAuthentication::SecretPost(SecretSource::inline("p:w/+ &=%é"));
        settings.endpoint = TokenEndpoint::Path("/token".into());
        settings.scope = vec!["a".to_owned(), "b".to_owned()];
        settings.parameters = vec![("resource".to_owned(), "urn:x y".to_owned())];
    });
    rig.service.access_token().await.unwrap();
    let seen = &rig.issuer.seen()[0];
    assert_eq!(seen.head.uri.path(), "/token");
    assert!(!seen.head.headers.contains_key("authorization"));
    let expected = pairs(&[
        ("grant_type", "client_credentials"),
        ("client_id", "ingester"),
        ("client_secret", "p:w/+ &=%é"),
        ("scope", "a b"),
        ("resource", "urn:x y"),
    ]);
    assert_eq!(form(seen), expected);
    assert!(!format!("{:?}", rig.service).contains("p:w"));
}

#[tokio::test(start_paused = true)]
async fn tls_client_auth_sends_the_identifier_and_no_secret() {
    let rig = Rig::with(Issuer::new([], Step::json(401, &json!({"error": "invalid_client"}))), |settings| {
        settings.authentication = ClientAuthentication::TlsClientAuth;
    });
    assert_eq!(rig.service.access_token().await.unwrap_err().kind(), AuthErrorType::InvalidClient);
    // There is nothing to read again, so it is asked once.
    assert_eq!((rig.issuer.requests(), rig.errors()), (1, vec![("invalid_client", 1)]));
    let seen = &rig.issuer.seen()[0];
    assert!(!seen.head.headers.contains_key("authorization"));
    assert_eq!(form(seen), pairs(&[("grant_type", "client_credentials"), ("client_id", "ingester")]));
}

#[tokio::test(start_paused = true)]
async fn every_token_request_has_an_assertion_of_its_own() {
    let (pem, keys) = ed25519(7);
    let steps = [Step::json(503, &json!({})), Step::Fail(AuthErrorType::Transport, true)];
    let rig = Rig::with(Issuer::new(steps, Step::Grant(20)), |settings| {
        settings.instances = crate::support::instances();
        settings.authentication = signed_with(SecretSource::inline(pem), ISSUER).into();
    });
    // Failover within one acquisition, another after the pause, and refreshes.
    let mut now = Vec::new();
    rig.service.access_token().await.unwrap_err();
    now.extend([wall(&rig.clock); 2]);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(40)).await;
        rig.service.refresh().await.unwrap();
    }
    let seen = rig.issuer.seen();
    assert!(seen.len() >= 5, "{}", seen.len());
    let mut identifiers = BTreeSet::new();
    for seen in &seen {
        let mut form = form(seen);
        let assertion = form.remove("client_assertion").unwrap();
        let claims: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1).unwrap()).unwrap()).unwrap();
        let sent = claims["iat"].as_u64().unwrap();
        identifiers.insert(judge(&assertion, &keys, sent).unwrap());
        assert_eq!(claims["exp"], sent + 60);
        let expected = pairs(&[
            ("grant_type", "client_credentials"),
            ("client_id", "ingester"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ]);
        assert_eq!(form, expected);
        assert!(!seen.head.headers.contains_key("authorization"));
    }
    assert_eq!(identifiers.len(), seen.len());
    assert_eq!(rig.errors(), [("transport", 1), ("server_error", 1)]);
    rig.assert_identities();
}

#[tokio::test(start_paused = true)]
async fn the_audience_may_be_the_token_endpoint() {
    let rig = Rig::with(Issuer::new([], Step::Grant(1800)), |settings| {
        let jwt = signed_with(SecretSource::inline(ed25519(7).0), ISSUER);
        settings.authentication = PrivateKeyJwt { audience: AssertionAudience::TokenEndpoint, ..jwt }.into();
    });
    rig.service.access_token().await.unwrap();
    let assertion = form(&rig.issuer.seen()[0])["client_assertion"].clone();
    assert_eq!(
        judge(&assertion, &ed25519(7).1, rig.clock.wall().as_secs()).unwrap_err(),
        "the audience is another one"
    );
    let claims = URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["aud"], "https://admin-1:8000/oauth2/token");
}

#[tokio::test(start_paused = true)]
async fn a_rotated_key_is_read_again_after_invalid_client_and_only_then() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    std::fs::write(&path, ed25519(1).0).unwrap();
    let invalid = Step::json(401, &json!({"error": "invalid_client"}));
    let rig = Rig::with(Issuer::new([Step::Grant(1800), invalid.clone()], Step::Grant(1800)), |settings| {
        settings.authentication = signed_with(SecretSource::File(path.clone()), ISSUER).into();
    });
    rig.service.access_token().await.unwrap();
    std::fs::write(&path, ed25519(2).0).unwrap();
    rig.service.refresh().await.unwrap();
    let signed_by = |index: usize, seed| {
        let seen = &rig.issuer.seen()[index];
        judge(&form(seen)["client_assertion"], &ed25519(seed).1, rig.clock.wall().as_secs()).is_ok()
    };
    assert_eq!(rig.issuer.requests(), 3);
    assert!(signed_by(1, 1) && !signed_by(1, 2) && signed_by(2, 2));
    assert_eq!(rig.errors(), [("invalid_client", 1)]);
    // The same key again is not worth a second request.
    tokio::time::sleep(Duration::from_secs(2)).await;
    rig.issuer.first(invalid);
    rig.service.refresh().await.unwrap_err();
    assert_eq!((rig.issuer.requests(), rig.errors()), (4, vec![("invalid_client", 2)]));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_cannot_sign_is_internal_once_and_nothing_is_sent() {
    let rig = Rig::with(Issuer::new([], Step::Grant(1800)), |settings| {
        settings.authentication = signed_with(SecretSource::inline(SECRET), ISSUER).into();
    });
    let error = rig.service.access_token().await.unwrap_err();
    assert_eq!((error.kind(), rig.issuer.requests()), (AuthErrorType::Internal, 0));
    assert!(error.detail().starts_with("the key file holds no PKCS#8 private key"), "{error}");
    assert_eq!(rig.errors(), [("internal", 1)]);
    assert_eq!(rig.sum("auth_token_refresh_duration_seconds_count", &[]), 0);
    assert!(!format!("{error:?} {:?}", rig.service).contains(SECRET));
    rig.assert_identities();
}
