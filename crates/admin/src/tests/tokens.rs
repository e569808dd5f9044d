//! The two forms of the token endpoint, the keys and the metadata.

use super::{Answer, Fixture, ISSUER, START, problem, token_part};
use artstore_api::scope::{self, FILES_READ, FILES_WRITE};
use artstore_auth::Algorithm;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures_util::FutureExt as _;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Value, json};
use std::time::Duration;

const GRANT: &str = "grant_type=client_credentials";

/// Checks the raw bytes of a token against one published key, by nothing of this crate.
fn verifies(token: &str, key: &Value) -> bool {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let bytes = |text: &Value| URL_SAFE_NO_PAD.decode(text.as_str().unwrap()).unwrap();
    let (message, signature) = (message.as_bytes(), URL_SAFE_NO_PAD.decode(signature).unwrap());
    match key["kty"].as_str().unwrap() {
        "RSA" => RsaPublicKeyComponents { n: bytes(&key["n"]), e: bytes(&key["e"]) }
            .verify(&RSA_PKCS1_2048_8192_SHA256, message, &signature)
            .is_ok(),
        "EC" => {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, [vec![4], bytes(&key["x"]), bytes(&key["y"])].concat())
                .verify(message, &signature)
                .is_ok()
        }
        "OKP" => UnparsedPublicKey::new(&ED25519, bytes(&key["x"])).verify(message, &signature).is_ok(),
        other => panic!("{other}"),
    }
}

async fn raw(fixture: &Fixture, headers: &[(&str, String)], body: impl Into<Body>) -> Answer {
    let mut request = Request::post("/oauth2/token");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    fixture.send(request.body(body.into()).unwrap()).await
}

fn form() -> (&'static str, String) {
    (CONTENT_TYPE.as_str(), "application/x-www-form-urlencoded".to_owned())
}

fn basic(credentials: &str) -> (&'static str, String) {
    (AUTHORIZATION.as_str(), format!("Basic {}", STANDARD.encode(credentials)))
}

#[tokio::test]
async fn each_algorithm_issues_tokens_that_the_published_key_verifies() {
    for algorithm in Algorithm::ALL {
        let fixture = Fixture::with(|settings| settings.algorithm = algorithm).await;
        let secret = fixture.account("client", &[FILES_READ, FILES_WRITE]).await;
        let answer = fixture.token_answer("client", &secret, GRANT).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let token = answer.json()["access_token"].as_str().unwrap().to_owned();
        let jwks = fixture.get("/oauth2/jwks", "").await;
        assert_eq!(jwks.header("content-type"), "application/jwk-set+json");
        assert_eq!(jwks.header("cache-control"), "public, max-age=300");
        let [key] = jwks.json()["keys"].as_array().unwrap().clone().try_into().unwrap();
        assert!(verifies(&token, &key), "{algorithm:?}");
        let tampered = token.replacen('.', ".A", 1);
        assert!(!verifies(&tampered, &key), "{algorithm:?}");
        assert_eq!((&key["alg"], &key["use"]), (&json!(algorithm.as_str()), &json!("sig")));
        let header = json!({ "alg": algorithm.as_str(), "typ": "at+jwt", "kid": key["kid"] });
        assert_eq!(token_part(&token, 0), header);
        let claims = token_part(&token, 1);
        let expected = json!({
            "iss": ISSUER, "sub": "client", "client_id": "client", "aud": ["artstore-ingester", "artstore-admin"],
            "scope": "files:read files:write", "iat": START, "nbf": START, "exp": START + 1_800, "jti": claims["jti"]
        });
        assert_eq!(claims, expected);
    }
}

#[tokio::test]
async fn an_answer_is_exact_and_kept_by_no_cache() {
    let fixture = Fixture::new().await;
    let secret = fixture.account("client", &[FILES_READ, FILES_WRITE]).await;
    let answer = fixture.token_answer("client", &secret, GRANT).await;
    let token = answer.json()["access_token"].clone();
    let expected = json!({
        "access_token": token, "token_type": "Bearer", "expires_in": 1_800, "scope": "files:read files:write" });
    assert_eq!((answer.status, answer.json()), (200, expected));
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
    let body = format!("{GRANT}&client_id=client&client_secret={secret}&scope=files%3Awrite");
    let narrower = raw(&fixture, &[form()], body).await;
    assert_eq!((narrower.status, &narrower.json()["scope"]), (200, &json!("files:write")));
    let token = narrower.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(token_part(&token, 1)["scope"], "files:write");
    assert_eq!(fixture.sum("admin_token_requests_total", &[("form", "oauth"), ("outcome", "issued")]), 2.0);
    assert_eq!(fixture.sum("admin_token_issue_duration_seconds_count", &[]), 2.0);
    assert_eq!(fixture.sum("admin_token_requests_total", &[]), 2.0);
}

#[tokio::test]
async fn every_error_has_its_status_and_body() {
    let fixture = Fixture::with(|settings| settings.max_token_body_bytes = 400).await;
    let secret = fixture.account("client", &[FILES_READ]).await;
    let good = format!("client:{secret}");
    let (twice, long) = (format!("{GRANT}&client_id=client&client_secret={secret}"), "x".repeat(401));
    let no_match = "the client is unknown, or its credentials are wrong";
    let scope = "the account does not have every scope that was asked for";
    let cases = [
        (basic(&good), "a=b", 400, "invalid_request", "grant_type is missing"),
        (basic(&good), twice.as_str(), 400, "invalid_request", "the client authenticates in more than one way"),
        (basic(&good), long.as_str(), 413, "invalid_request", "the request is too long"),
        (
            basic(&good),
            "grant_type=password",
            400,
            "unsupported_grant_type",
            "the only grant_type is client_credentials",
        ),
        (basic(&good), "grant_type=client_credentials&scope=files%3Awrite", 400, "invalid_scope", scope),
        (basic(&good), "grant_type=client_credentials&scope=files:read+x", 400, "invalid_scope", scope),
        (basic("client:wrong"), GRANT, 401, "invalid_client", no_match),
        (basic(&format!("client:{secret}x")), GRANT, 401, "invalid_client", no_match),
        (basic("nobody:wrong"), GRANT, 401, "invalid_client", no_match),
        (basic("client:"), GRANT, 401, "invalid_client", no_match),
        (
            ("x-nothing", String::new()),
            GRANT,
            401,
            "invalid_client",
            "the client must authenticate: HTTP Basic, client_secret, client_assertion or a certificate",
        ),
        (
            ("authorization", "Bearer abc".to_owned()),
            GRANT,
            401,
            "invalid_client",
            "Authorization is not Basic with client_id and secret, each form-encoded",
        ),
    ];
    for (header, body, status, error, description) in cases {
        let answer = raw(&fixture, &[form(), header], body.to_owned()).await;
        let expected = json!({ "error": error, "error_description": description });
        assert_eq!((answer.status, answer.json()), (status, expected), "{body}");
        assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
        assert_eq!(answer.header("content-type"), "application/json");
        let challenge = if status == 401 { "Basic realm=\"artstore\", charset=\"UTF-8\"" } else { "" };
        assert_eq!(answer.header("www-authenticate"), challenge, "{body}");
    }
    let not_a_form = raw(&fixture, &[("content-type", "application/json".to_owned()), basic(&good)], GRANT).await;
    let description = "Content-Type must be application/x-www-form-urlencoded";
    assert_eq!(not_a_form.json(), json!({ "error": "invalid_request", "error_description": description }));
    assert_eq!(not_a_form.status, 400);
    for (outcome, count) in [
        ("issued", 0.0),
        ("invalid_request", 4.0),
        ("unsupported_grant_type", 1.0),
        ("invalid_scope", 2.0),
        ("invalid_client", 6.0),
    ] {
        assert_eq!(fixture.sum("admin_token_requests_total", &[("outcome", outcome)]), count, "{outcome}");
    }
    assert_eq!(fixture.sum("admin_token_issue_duration_seconds_count", &[]), 0.0);
}

#[tokio::test]
async fn an_unknown_client_and_a_wrong_secret_get_the_same_answer() {
    let fixture = Fixture::new().await;
    let secret = fixture.account("client", &[FILES_READ]).await;
    let unknown = fixture.token_answer("nobody", &secret, GRANT).await;
    assert_eq!(fixture.token_answer("client", "wrong", GRANT).await, unknown);
}

#[tokio::test]
async fn the_original_form_answers_with_the_moment_of_issue() {
    let fixture = Fixture::new().await;
    let secret = fixture.account("client", &[FILES_READ]).await;
    let body = |secret: &str| Some(json!({ "client_id": "client", "client_secret": secret, "more": 1 }));
    let answer = fixture.call(http::Method::POST, "/api/v1/auth/token", "", body(&secret)).await;
    let token = answer.json()["access_token"].clone();
    let expected = json!({
        "access_token": token, "token_type": "Bearer", "expires_in": 1_800, "issued_at": "2027-01-15T08:00:00Z" });
    assert_eq!((answer.status, answer.json()), (200, expected));
    assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
    assert_eq!(token_part(token.as_str().unwrap(), 1)["scope"], "files:read");
    let wrong = fixture.call(http::Method::POST, "/api/v1/auth/token", "", body("wrong")).await;
    assert_eq!(wrong.problem(), problem(401, "UNAUTHORIZED", "the client is unknown, or its credentials are wrong"));
    let canary = "canary-8d1f";
    let number = fixture.call(http::Method::POST, "/api/v1/auth/token", "", Some(json!({ "client_id": canary }))).await;
    let detail = "the body must be an object with client_id and client_secret";
    assert_eq!(number.problem(), problem(400, "VALIDATION_ERROR", detail));
    let text = Request::post("/api/v1/auth/token").body(Body::from("{}")).unwrap();
    let detail = "Content-Type must be application/json";
    assert_eq!(fixture.send(text).await.problem(), problem(400, "VALIDATION_ERROR", detail));
    let long = fixture.call(http::Method::POST, "/api/v1/auth/token", "", body(&"x".repeat(20_000))).await;
    assert_eq!(long.problem(), problem(413, "FILE_TOO_LARGE", "the request is too long"));
    for (outcome, count) in [("issued", 1.0), ("invalid_client", 1.0), ("invalid_request", 3.0)] {
        let labels = [("form", "json"), ("outcome", outcome)];
        assert_eq!(fixture.sum("admin_token_requests_total", &labels), count, "{outcome}");
    }
}

#[tokio::test]
async fn a_suspended_account_is_told_so_only_if_its_secret_is_right() {
    let fixture = Fixture::new().await;
    let secret = fixture.account("client", &[FILES_READ]).await;
    fixture.admin.shared.set_active("client", false).await.unwrap();
    let answer = fixture.token_answer("client", &secret, GRANT).await;
    let expected = json!({ "error": "unauthorized_client", "error_description": "the account is suspended" });
    assert_eq!((answer.status, answer.json()), (400, expected));
    assert_eq!(fixture.token_answer("client", "wrong", GRANT).await.status, 401);
    let body = Some(json!({ "client_id": "client", "client_secret": secret }));
    let answer = fixture.call(http::Method::POST, "/api/v1/auth/token", "", body).await;
    assert_eq!(answer.problem(), problem(403, "FORBIDDEN", "the account is suspended"));
    assert_eq!(fixture.sum("admin_token_requests_total", &[("outcome", "unauthorized_client")]), 2.0);
}

#[tokio::test]
async fn the_metadata_says_what_there_is() {
    let fixture = Fixture::new().await;
    let answer = fixture.get("/.well-known/oauth-authorization-server", "").await;
    let expected = json!({
        "issuer": ISSUER,
        "token_endpoint": "https://admin.test:8000/oauth2/token",
        "jwks_uri": "https://admin.test:8000/oauth2/jwks",
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": [],
        "scopes_supported": scope::ALL,
        "token_endpoint_auth_methods_supported":
            ["client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS256", "ES256", "EdDSA", "Ed25519"],
        "tls_client_certificate_bound_access_tokens": true,
    });
    assert_eq!((answer.status, answer.json()), (200, expected));
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "public, max-age=300");
}

#[tokio::test]
async fn the_module_checks_the_bearer_of_its_own_api() {
    let fixture = Fixture::new().await;
    let path = "/api/v1/storage-elements";
    let status_and_code = |answer: &Answer| {
        let (status, code, _) = answer.problem();
        (status, code, answer.header("www-authenticate").to_owned())
    };
    let answer = fixture.get(path, "").await;
    let expected = (401, "UNAUTHORIZED".to_owned(), "Bearer realm=\"artstore\"".to_owned());
    assert_eq!(status_and_code(&answer), expected);
    let token = fixture.token(&[scope::ELEMENTS_READ]).await;
    assert_eq!(fixture.get(path, &token).await.status, 200);
    let answer = fixture.get("/api/v1/files", &token).await;
    let challenge = "Bearer realm=\"artstore\", error=\"insufficient_scope\", scope=\"index:read\"";
    assert_eq!(status_and_code(&answer), (403, "FORBIDDEN".to_owned(), challenge.to_owned()));
    let [_, claims, _] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let none = format!("{}.{claims}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"at+jwt"}"#));
    for bad in [none.as_str(), "a.b.c", "x", &format!("{}A", &token[..token.len() - 4])] {
        assert_eq!(fixture.get(path, bad).await.problem().0, 401, "{bad}");
    }
    let elsewhere = fixture
        .admin
        .bootstrap_account("x", "elsewhere", &[scope::ELEMENTS_READ], &[scope::AUDIENCE_INGESTER], None)
        .await
        .unwrap();
    let answer = fixture.token_answer("elsewhere", &elsewhere.client_secret, GRANT).await;
    let other = answer.json()["access_token"].as_str().unwrap().to_owned();
    let answer = fixture.get(path, &other).await;
    assert_eq!(answer.problem().2, "the access token is not valid: the audience is another one");
    fixture.clock.advance(Duration::from_secs(1_800));
    let answer = fixture.get(path, &token).await;
    assert_eq!(answer.problem().2, "the access token is not valid: the token has expired");
    assert_eq!(fixture.sum("admin_api_refusals_total", &[("reason", "unauthorized")]), 7.0);
    assert_eq!(fixture.sum("admin_api_refusals_total", &[("reason", "forbidden")]), 1.0);
}

#[tokio::test]
async fn tokens_outlive_a_restart() {
    let fixture = Fixture::new().await;
    let secret = fixture.account("client", &[FILES_READ]).await;
    let token = fixture.token(&[scope::ELEMENTS_READ]).await;
    let jwks = fixture.get("/oauth2/jwks", "").await.body;
    let fixture = fixture.restarted().await;
    assert_eq!(fixture.get("/oauth2/jwks", "").await.body, jwks);
    assert_eq!(fixture.get("/api/v1/storage-elements", &token).await.status, 200);
    assert_eq!(fixture.token_answer("client", &secret, GRANT).await.status, 200);
}

/// A client that leaves in the middle counts apart.
#[tokio::test]
async fn a_request_that_is_cut_off_counts_as_cancelled() {
    let fixture = Fixture::with(|settings| settings.max_connections = 1).await;
    let _held = fixture.admin.shared.store.hold_connection().await;
    let request = Request::post("/oauth2/token")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(format!("{GRANT}&client_id=a&client_secret=b")))
        .unwrap();
    // One poll brings it to the database, whose only connection is taken.
    assert!(fixture.send(request).now_or_never().is_none());
    assert_eq!(fixture.sum("admin_token_requests_cancelled_total", &[("form", "oauth")]), 1.0);
    assert_eq!(fixture.sum("admin_token_requests_total", &[]), 0.0);
}
