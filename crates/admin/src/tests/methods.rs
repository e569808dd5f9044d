//! The ways to authenticate without a secret: assertions and certificates; and tokens bound to a certificate.

use super::{Answer, Fixture, HandClock, ISSUER, START, problem, token_part};
use crate::{Admin, AdminSettings};
use artstore_api::account::{CertificateRule, ChangeAccount};
use artstore_api::scope::{ELEMENTS_READ, ELEMENTS_REPORT, FILES_READ};
use artstore_auth::Algorithm;
use artstore_http::PeerInfo;
use artstore_metrics::{Registry, UnixTime};
use artstore_tls::{PeerCertificate, Profile};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::CONTENT_TYPE;
use http::{Method, Request};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const GRANT: &str = "grant_type=client_credentials";
const ASSERTED: &str = "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn jwk(key: &Ed25519KeyPair) -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(key.public_key()) })
}

pub(crate) fn claims(jti: &str) -> Value {
    json!({ "iss": "client", "sub": "client", "aud": ISSUER, "jti": jti, "iat": START, "exp": START + 60 })
}

pub(crate) fn assertion(key: &Ed25519KeyPair, claims: &Value) -> String {
    let signed = format!("{}.{}", b64(json!({ "alg": "EdDSA" }).to_string()), b64(claims.to_string()));
    format!("{signed}.{}", b64(key.sign(signed.as_bytes())))
}

async fn post(fixture: &Fixture, form: String, peer: Option<PeerInfo>) -> Answer {
    let mut request = Request::post("/oauth2/token")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(form))
        .unwrap();
    if let Some(peer) = peer {
        request.extensions_mut().insert(peer);
    }
    fixture.send(request).await
}

pub(crate) async fn assert_with(fixture: &Fixture, assertion: &str) -> Answer {
    post(fixture, format!("{GRANT}&{ASSERTED}&client_assertion={assertion}"), None).await
}

/// A module with an account `client` that has this key.
async fn with_key(key: &Ed25519KeyPair) -> Fixture {
    let fixture = Fixture::new().await;
    fixture.account("client", &[FILES_READ]).await;
    let change = ChangeAccount { jwks: Some(Some(jwk(key))), ..ChangeAccount::default() };
    fixture.admin.change_account("client", change).await.unwrap();
    fixture
}

fn refusal(answer: &Answer) -> (u16, String, String) {
    let text = |name: &str| answer.json()[name].as_str().unwrap_or_default().to_owned();
    (answer.status, text("error"), text("error_description"))
}

fn invalid_client(description: &str) -> (u16, String, String) {
    (401, "invalid_client".to_owned(), description.to_owned())
}

const NO_MATCH: &str = "the client is unknown, or its credentials are wrong";

#[tokio::test]
async fn an_assertion_gets_a_token_once() {
    let key = Ed25519KeyPair::generate().unwrap();
    let fixture = with_key(&key).await;
    let one = assertion(&key, &claims("1"));
    let answer = assert_with(&fixture, &one).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(token_part(answer.json()["access_token"].as_str().unwrap(), 1)["client_id"], "client");
    let used = invalid_client("the assertion was used before");
    assert_eq!(refusal(&assert_with(&fixture, &one).await), used);
    // Another assertion with the same identifier is a replay too, whatever else it says.
    let mut later = claims("1");
    later["exp"] = json!(START + 90);
    assert_eq!(refusal(&assert_with(&fixture, &assertion(&key, &later)).await), used);
    assert_eq!(assert_with(&fixture, &assertion(&key, &claims("2"))).await.status, 200);
    let fixture = fixture.restarted().await;
    assert_eq!(refusal(&assert_with(&fixture, &one).await), used, "after a restart");
}

#[tokio::test]
async fn of_two_replicas_one_takes_an_assertion() {
    let key = Ed25519KeyPair::generate().unwrap();
    let fixture = with_key(&key).await;
    let settings = AdminSettings::new(fixture.dir.path(), ISSUER);
    let settings = AdminSettings { algorithm: Algorithm::EdDsa, ..settings };
    let registry = Registry::new();
    let admin: Admin<HandClock> = Admin::open(settings, &registry, fixture.clock.clone()).await.unwrap();
    let other = Fixture { dir: tempfile::tempdir().unwrap(), admin, registry, clock: fixture.clock.clone() };
    for round in 0..10 {
        let one = assertion(&key, &claims(&format!("round {round}")));
        let (first, second) = tokio::join!(assert_with(&fixture, &one), assert_with(&other, &one));
        let mut statuses = [first.status, second.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 401]);
    }
}

#[tokio::test]
async fn what_is_remembered_of_assertions_is_bounded_and_swept() {
    let key = Ed25519KeyPair::generate().unwrap();
    let fixture = Fixture::with(|settings| settings.max_assertions = 2).await;
    fixture.account("client", &[FILES_READ]).await;
    let change = ChangeAccount { jwks: Some(Some(jwk(&key))), ..ChangeAccount::default() };
    fixture.admin.change_account("client", change).await.unwrap();
    let status = async |jti: &str| assert_with(&fixture, &assertion(&key, &claims(jti))).await.status;
    assert_eq!([status("1").await, status("2").await, status("3").await, status("1").await], [200, 200, 429, 401]);
    // Remembered until two minutes after its end.
    fixture.clock.advance(Duration::from_secs(179));
    fixture.admin.sweep().await.unwrap();
    assert_eq!(fixture.admin.shared.store.count_assertions().await, 2);
    fixture.clock.advance(Duration::from_secs(1));
    fixture.admin.sweep().await.unwrap();
    assert_eq!(fixture.admin.shared.store.count_assertions().await, 0);
}

#[tokio::test]
async fn wrong_assertions_are_invalid_clients_and_count_as_failures() {
    let (key, foreign) = (Ed25519KeyPair::generate().unwrap(), Ed25519KeyPair::generate().unwrap());
    let fixture = with_key(&key).await;
    fixture.account("keyless", &[FILES_READ]).await;
    let with = |name: &str, value: Value| {
        let mut claims = claims("x");
        claims[name] = value;
        assertion(&key, &claims)
    };
    let mut unsigned = assertion(&key, &claims("x"));
    unsigned = format!("{}.{}.", b64(r#"{"alg":"none"}"#), unsigned.split('.').nth(1).unwrap());
    let long = format!("{}.{}", "x".repeat(8_200), assertion(&key, &claims("x")));
    let cases = [
        (assertion(&foreign, &claims("x")), NO_MATCH),
        (unsigned, NO_MATCH),
        (with("sub", json!("nobody")), NO_MATCH),
        (with("sub", json!("keyless")), NO_MATCH),
        (with("iss", json!("another")), "iss and sub of the assertion must be the client_id"),
        (with("aud", json!(format!("{ISSUER}/oauth2/token"))), "aud of the assertion must be the issuer alone"),
        (with("exp", json!(START)), "exp of the assertion must lie ahead, by 5 minutes at most"),
        (with("exp", json!(START + 311)), "exp of the assertion must lie ahead, by 5 minutes at most"),
        (with("nbf", json!(START + 11)), "iat or nbf of the assertion lies ahead"),
        (with("jti", json!("")), "jti of the assertion must be a text of 256 bytes at most; times are whole seconds"),
        (long, "client_assertion is no JWT with a sub"),
    ];
    for (assertion, description) in &cases {
        // Each from an address of its own: the limits are another test's.
        fixture.clock.advance(Duration::from_millis(1));
        let answer = assert_with(&fixture, assertion).await;
        assert_eq!(refusal(&answer), invalid_client(description), "{assertion:.60}");
        assert!(answer.headers.contains_key("www-authenticate"));
    }
    let kind = format!("{GRANT}&client_assertion_type=saml&client_assertion=a.b.c");
    let expected = invalid_client("client_assertion_type is not the jwt-bearer of RFC 7523");
    assert_eq!(refusal(&post(&fixture, kind, None).await), expected);
    let other = format!("{GRANT}&{ASSERTED}&client_id=other&client_assertion={}", assertion(&key, &claims("y")));
    let expected = (400, "invalid_request".to_owned(), "client_id is not the one in client_assertion".to_owned());
    assert_eq!(refusal(&post(&fixture, other, None).await), expected);
    let none = (400, "invalid_request".to_owned(), "client_assertion is missing".to_owned());
    assert_eq!(refusal(&post(&fixture, format!("{GRANT}&{ASSERTED}"), None).await), none);
    assert_eq!(fixture.admin.shared.store.count_assertions().await, 0);
    assert_eq!(fixture.sum("admin_token_requests_total", &[("outcome", "invalid_client")]), 12.0);
}

#[tokio::test]
async fn keys_are_bounded_public_and_identified() {
    let fixture = Fixture::new().await;
    fixture.account("client", &[FILES_READ]).await;
    let key = jwk(&Ed25519KeyPair::generate().unwrap());
    let set = async |jwks: Value| {
        let change = ChangeAccount { jwks: Some(Some(jwks)), ..ChangeAccount::default() };
        fixture.admin.change_account("client", change).await.map(|account| account.key_ids).map_err(|e| e.to_string())
    };
    let with = |name: &str, value: Value| {
        let mut key = key.clone();
        key[name] = value;
        key
    };
    // RFC 8037 appendix A.3.
    let known = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    let thumbprint = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
    assert_eq!(set(json!({ "keys": [known, with("kid", json!("mine"))] })).await.unwrap(), [thumbprint, "mine"]);
    assert_eq!(set(with("alg", json!("Ed25519"))).await.unwrap().len(), 1, "the name of RFC 9864");
    assert_eq!(set(json!({ "keys": [known, with("kid", json!("mine"))] })).await.unwrap().len(), 2);
    let unfit = "jwks: key 1: must be a public key for RS256 (2048 to 4096 bits), ES256 or EdDSA";
    let large = json!({ "kty": "RSA", "e": "AQAB", "n": "x".repeat(684) });
    let off_curve = json!({ "kty": "EC", "crv": "P-256", "x": b64([1; 32]), "y": b64([1; 32]) });
    for (jwks, error) in [
        (json!({ "keys": vec![known; 9] }), "jwks has 1 to 8 keys"),
        (json!({ "keys": [key, key] }), "jwks: key 2: another one has this kid"),
        (
            with("d", json!("AAAA")),
            "jwks: key 1: must be a public key: it has private members, and whoever saw it can use them",
        ),
        (with("kid", json!("")), "jwks: key 1: kid must have 1 to 128 bytes, none a control character"),
        (with("alg", json!("ES256")), unfit),
        (with("use", json!("enc")), unfit),
        (
            json!({ "kty": "oct", "k": "AAAA" }),
            "jwks: key 1: must be a public key: it has private members, and whoever saw it can use them",
        ),
        (json!({ "kty": "EC", "crv": "P-384", "x": "AA", "y": "AA" }), unfit),
        (off_curve, unfit),
        (large, unfit),
        (json!([]), "jwks: key 1: must be an object"),
    ] {
        assert_eq!(set(jwks).await.unwrap_err(), error);
    }
    let account = fixture.admin.account("client").await.unwrap();
    assert_eq!(account.key_ids, [thumbprint, "mine"], "what is refused changes nothing");
}

fn peer(subject: &str, names: &[&str], fingerprint: u8) -> PeerInfo {
    let certificate = PeerCertificate {
        subject: subject.to_owned(),
        issuer: "CN=an authority".to_owned(),
        serial: "01".to_owned(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        not_before: UnixTime::from_secs(START - 1),
        not_after: UnixTime::from_secs(START + 1),
        sha256_fingerprint: [fingerprint; 32],
        profile: Profile::default(),
    };
    PeerInfo { remote: ([192, 0, 2, 1], 50_000).into(), certificate: Some(Arc::new(certificate)) }
}

#[tokio::test]
async fn a_client_authenticates_by_its_registered_certificate_alone() {
    let fixture = Fixture::with(|settings| settings.failure_limits.per_client = 100).await;
    fixture.account("client", &[FILES_READ]).await;
    let form = || format!("{GRANT}&client_id=client");
    let shown = || peer("CN=client,O=tests", &["client.test", "192.0.2.7"], 0xab);
    assert_eq!(refusal(&post(&fixture, form(), Some(shown())).await), invalid_client(NO_MATCH), "nothing registered");
    let rules = [
        (CertificateRule::Subject("CN=client,O=tests".to_owned()), 200),
        (CertificateRule::Subject("CN=client".to_owned()), 401),
        (CertificateRule::Subject("CN=CLIENT,O=tests".to_owned()), 401),
        (CertificateRule::San("client.test".to_owned()), 200),
        (CertificateRule::San("192.0.2.7".to_owned()), 200),
        (CertificateRule::San("test".to_owned()), 401),
        (CertificateRule::Sha256("AB:".repeat(31) + "AB"), 200),
        (CertificateRule::Sha256("ac".repeat(32)), 401),
    ];
    for (rule, status) in rules {
        let change = ChangeAccount { certificate: Some(Some(rule.clone())), ..ChangeAccount::default() };
        fixture.admin.change_account("client", change).await.unwrap();
        assert_eq!(post(&fixture, form(), Some(shown())).await.status, status, "{rule:?}");
        let without = PeerInfo { certificate: None, ..shown() };
        assert_eq!(post(&fixture, form(), Some(without)).await.status, 401, "{rule:?}");
    }
    // A certificate without a subject calls itself by its first name, which an authority may not have checked as a subject.
    let rule = CertificateRule::Subject("CN=client".to_owned());
    let change = ChangeAccount { certificate: Some(Some(rule)), ..ChangeAccount::default() };
    fixture.admin.change_account("client", change).await.unwrap();
    assert_eq!(post(&fixture, form(), Some(peer("CN=client", &["CN=client"], 1))).await.status, 401);
    assert_eq!(post(&fixture, form(), Some(peer("CN=client", &[], 1))).await.status, 200);
}

#[tokio::test]
async fn an_account_without_secrets_is_left_with_its_other_ways() {
    let key = Ed25519KeyPair::generate().unwrap();
    let fixture = with_key(&key).await;
    let secret = fixture.admin.rotate_secret("client").await.unwrap().client_secret;
    fixture.admin.end_secrets("client").await.unwrap();
    assert_eq!(fixture.admin.account("client").await.unwrap().secrets, 0);
    for wrong in [secret.as_str(), ""] {
        assert_eq!(fixture.token_answer("client", wrong, GRANT).await.status, 401);
    }
    assert_eq!(assert_with(&fixture, &assertion(&key, &claims("1"))).await.status, 200);
    let secret = fixture.admin.rotate_secret("client").await.unwrap().client_secret;
    assert_eq!(fixture.admin.account("client").await.unwrap().secrets, 1);
    assert_eq!(fixture.token_answer("client", &secret, GRANT).await.status, 200);
}

#[tokio::test]
async fn a_bound_token_is_good_over_its_own_certificate_only() {
    let fixture = Fixture::new().await;
    let secret = fixture.account("client", &[ELEMENTS_READ]).await;
    let change = ChangeAccount { certificate_bound_tokens: Some(true), ..ChangeAccount::default() };
    fixture.admin.change_account("client", change).await.unwrap();
    let form = || format!("{GRANT}&client_id=client&client_secret={secret}");
    let refused = post(&fixture, form(), None).await;
    let description = "the account's tokens are bound to a client certificate, and the connection shows none";
    assert_eq!(refusal(&refused), (400, "invalid_request".to_owned(), description.to_owned()));
    let answer = post(&fixture, form(), Some(peer("CN=a", &[], 0xab))).await;
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(token_part(&token, 1)["cnf"], json!({ "x5t#S256": b64([0xab; 32]) }));
    let list = async |peer: Option<PeerInfo>| {
        let mut request = Request::get("/api/v1/storage-elements")
            .header("authorization", format!("Bearer {token}"))
            .body(Body::empty())
            .unwrap();
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        fixture.send(request).await
    };
    assert_eq!(list(Some(peer("CN=a", &[], 0xab))).await.status, 200);
    for other in [Some(peer("CN=a", &[], 0xac)), None] {
        let answer = list(other).await;
        let detail = "the access token is not valid: the token is bound to another client certificate";
        assert_eq!(answer.problem(), problem(401, "UNAUTHORIZED", detail));
        assert!(answer.header("www-authenticate").contains("error=\"invalid_token\""), "{answer:?}");
    }
}

#[tokio::test]
async fn an_account_of_one_element_reports_for_no_other() {
    let fixture = Fixture::new().await;
    let token = fixture.token(&[ELEMENTS_REPORT]).await;
    let report = json!({ "url": "https://e.test", "mode": "rw", "capacity": { "capacity_bytes": 2, "free_bytes": 1 } });
    let put = async |id: &str| {
        let path = format!("/api/v1/storage-elements/{id}");
        fixture.call(Method::PUT, &path, &token, Some(report.clone())).await
    };
    let apply = async |id: &str| {
        let batch = json!({ "element_id": id, "changes": [] });
        fixture.call(Method::POST, "/api/v1/files", &token, Some(batch)).await
    };
    assert_eq!((put("e-2").await.status, apply("e-2").await.status), (204, 204));
    let change = ChangeAccount { element_id: Some(Some("e-1".to_owned())), ..ChangeAccount::default() };
    fixture.admin.change_account("token-for-a-test", change).await.unwrap();
    assert_eq!((put("e-1").await.status, apply("e-1").await.status), (204, 204));
    let expected = problem(403, "FORBIDDEN", "the account may report for its own element only");
    assert_eq!((put("e-2").await.problem(), apply("e-2").await.problem()), (expected.clone(), expected));
}
