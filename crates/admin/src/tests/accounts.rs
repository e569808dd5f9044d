//! Accounts over HTTP, and their two secrets.

use super::{Fixture, problem};
use crate::AccountError;
use artstore_api::scope::{self, ACCOUNTS_ADMIN, FILES_READ};
use http::Method;
use secrecy::SecretString;
use serde_json::{Value, json};

const PATH: &str = "/api/v1/service-accounts";
const GRANT: &str = "grant_type=client_credentials";

fn wanted() -> Value {
    json!({ "name": "Backup", "scopes": ["files:read"], "audiences": ["artstore-ingester"] })
}

#[tokio::test]
async fn an_account_is_made_listed_and_gets_tokens() {
    let fixture = Fixture::new().await;
    let token = fixture.token(&[ACCOUNTS_ADMIN]).await;
    let made = fixture.call(Method::POST, PATH, &token, Some(wanted())).await;
    assert_eq!((made.status, made.header("cache-control")), (201, "no-store"));
    let text = |name: &str| made.json()[name].as_str().unwrap().to_owned();
    let (client_id, secret) = (text("client_id"), text("client_secret"));
    assert!(client_id.starts_with("sa-") && client_id.len() == 35, "{client_id}");
    assert_eq!(secret.len(), 43);
    let account = json!({
        "client_id": client_id, "name": "Backup", "scopes": ["files:read"], "audiences": ["artstore-ingester"],
        "active": true, "created_at": "2027-01-15T08:00:00Z", "secrets": 1, "key_ids": [],
        "certificate_bound_tokens": false
    });
    let one = fixture.get(&format!("{PATH}/{client_id}"), &token).await;
    assert_eq!((one.status, one.json()), (200, account.clone()));
    let first = fixture.get(&format!("{PATH}?limit=1"), &token).await.json();
    assert_eq!(first, json!({ "accounts": [account], "next": client_id }));
    let last = fixture.get(&format!("{PATH}?limit=1&after={client_id}"), &token).await.json();
    assert_eq!((last["accounts"][0]["client_id"].as_str(), last.get("next")), (Some("token-for-a-test"), None));
    assert_eq!(fixture.token_answer(&client_id, &secret, GRANT).await.status, 200);
}

#[tokio::test]
async fn two_secrets_live_and_a_third_ends_the_first() {
    let fixture = Fixture::new().await;
    let token = fixture.token(&[ACCOUNTS_ADMIN]).await;
    let first = fixture.account("client", &[FILES_READ]).await;
    let rotate = || fixture.call(Method::POST, "/api/v1/service-accounts/client/rotate-secret", &token, None);
    let secret_of = |answer: super::Answer| {
        assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"));
        assert_eq!(answer.json()["client_id"], "client");
        answer.json()["client_secret"].as_str().unwrap().to_owned()
    };
    let status = async |secret: &str| fixture.token_answer("client", secret, GRANT).await.status;
    let second = secret_of(rotate().await);
    assert_eq!((status(&first).await, status(&second).await), (200, 200));
    let third = secret_of(rotate().await);
    assert_eq!((status(&first).await, status(&second).await, status(&third).await), (401, 200, 200));
    let path = format!("{PATH}/client/previous-secret");
    assert_eq!(fixture.call(Method::DELETE, &path, &token, None).await.status, 204);
    assert_eq!((status(&second).await, status(&third).await), (401, 200));
}

#[tokio::test]
async fn an_account_is_suspended_and_activated_again() {
    let fixture = Fixture::new().await;
    let token = fixture.token(&[ACCOUNTS_ADMIN]).await;
    let secret = fixture.account("client", &[FILES_READ]).await;
    let change = async |what: &str| {
        let path = format!("{PATH}/client/{what}");
        fixture.call(Method::POST, &path, &token, None).await.status
    };
    assert_eq!(change("suspend").await, 204);
    assert_eq!(fixture.token_answer("client", &secret, GRANT).await.status, 400);
    assert_eq!(fixture.get(&format!("{PATH}/client"), &token).await.json()["active"], false);
    assert_eq!(change("activate").await, 204);
    assert_eq!(fixture.token_answer("client", &secret, GRANT).await.status, 200);
}

#[tokio::test]
async fn a_deleted_account_gets_no_more_tokens() {
    let fixture = Fixture::new().await;
    let token = fixture.token(&[ACCOUNTS_ADMIN]).await;
    let secret = fixture.account("client", &[FILES_READ]).await;
    assert_eq!(fixture.call(Method::DELETE, &format!("{PATH}/client"), &token, None).await.status, 204);
    assert_eq!(fixture.token_answer("client", &secret, GRANT).await.status, 401);
    assert_eq!(fixture.get(&format!("{PATH}/client"), &token).await.status, 404);
}

#[tokio::test]
async fn what_is_absent_of_a_change_stays_and_what_is_null_goes() {
    let fixture = Fixture::new().await;
    let token = fixture.token(&[ACCOUNTS_ADMIN]).await;
    fixture.account("client", &[FILES_READ]).await;
    let change = async |body: Value| fixture.call(Method::PATCH, &format!("{PATH}/client"), &token, Some(body)).await;
    let certificate = json!({ "subject": "CN=a" });
    let first = change(json!({ "certificate": certificate, "element_id": "e-1" })).await;
    let seen = |answer: &super::Answer| (answer.json()["certificate"].clone(), answer.json()["element_id"].clone());
    assert_eq!((first.status, seen(&first)), (200, (certificate, json!("e-1"))));
    let second = change(json!({ "certificate": null, "certificate_bound_tokens": true })).await;
    assert_eq!(
        (seen(&second), &second.json()["certificate_bound_tokens"]),
        ((Value::Null, json!("e-1")), &json!(true))
    );
    // Changes of different fields at the same moment both last.
    for round in 0..10 {
        let (bound, element) = (round % 2 == 0, format!("e-{round}"));
        let changes = (change(json!({ "certificate_bound_tokens": bound })), change(json!({ "element_id": element })));
        let (one, other) = tokio::join!(changes.0, changes.1);
        assert_eq!((one.status, other.status), (200, 200));
        let account = fixture.admin.account("client").await.unwrap();
        assert_eq!((account.certificate_bound_tokens, account.element_id), (bound, Some(element)));
    }
    let nobody = fixture.call(Method::PATCH, &format!("{PATH}/nobody"), &token, Some(json!({}))).await;
    assert_eq!(nobody.problem(), problem(404, "NOT_FOUND", "there is no such account"));
    assert_eq!(fixture.call(Method::PATCH, &format!("{PATH}/client"), "", Some(json!({}))).await.status, 401);
    for (body, detail) in [
        (json!({ "element_id": "a/b" }), "element_id has 1 to 64 characters of letters, digits, '-', '.' and '_'"),
        (json!({ "certificate": { "sha256": "ab" } }), "certificate.sha256 must have 64 hexadecimal digits"),
        (json!({ "certificate": { "subject": "a" } }), "certificate.subject must be an RFC 4514 name such as CN=a,O=b"),
        (json!({ "certificate": { "san": "" } }), "certificate.san must be a name of the certificate"),
        (json!({ "jwks": { "keys": [] } }), "jwks has 1 to 8 keys"),
        (json!({ "jwks": { "keys": {} } }), "jwks.keys must be an array"),
    ] {
        assert_eq!(change(body).await.problem(), problem(400, "VALIDATION_ERROR", detail));
    }
}

#[tokio::test]
async fn an_account_that_is_not_there_is_not_found() {
    let fixture = Fixture::new().await;
    let token = fixture.token(&[ACCOUNTS_ADMIN]).await;
    let expected = problem(404, "NOT_FOUND", "there is no such account");
    for (method, path) in [
        (Method::GET, ""),
        (Method::POST, "/rotate-secret"),
        (Method::DELETE, "/previous-secret"),
        (Method::POST, "/suspend"),
        (Method::POST, "/activate"),
        (Method::DELETE, ""),
        (Method::DELETE, "/secrets"),
    ] {
        let path = format!("{PATH}/nobody{path}");
        assert_eq!(fixture.call(method.clone(), &path, &token, None).await.problem(), expected, "{path}");
        assert_eq!(fixture.call(method, &path, "", None).await.problem().0, 401, "{path}");
    }
}

#[tokio::test]
async fn every_wrong_field_is_named() {
    let fixture = Fixture::with(|settings| settings.max_body_bytes = 500).await;
    let token = fixture.token(&[ACCOUNTS_ADMIN]).await;
    let with = |name: &str, value: Value| {
        let mut wanted = wanted();
        wanted[name] = value;
        wanted
    };
    let scopes = format!("scopes are one or more, each once, of {}", scope::ALL.join(", "));
    let audiences = format!("audiences are one or more, each once, of {}", scope::AUDIENCES.join(", "));
    let name = "name has 1 to 100 characters, none a control character";
    let cases = [
        (with("name", json!("")), name),
        (with("name", json!("é".repeat(101))), name),
        (with("name", json!("a\nb")), name),
        (with("scopes", json!([])), scopes.as_str()),
        (with("scopes", json!(["files:eat"])), &scopes),
        (with("scopes", json!(["files:read", "files:read"])), &scopes),
        (with("audiences", json!([])), &audiences),
        (with("audiences", json!(["elsewhere"])), &audiences),
    ];
    for (body, detail) in cases {
        let answer = fixture.call(Method::POST, PATH, &token, Some(body)).await;
        assert_eq!(answer.problem(), problem(400, "VALIDATION_ERROR", detail));
    }
    let more = fixture.call(Method::POST, PATH, &token, Some(with("more", json!(1)))).await.problem();
    assert!(more.2.starts_with("body: unknown field `more`"), "{more:?}");
    let long = fixture.call(Method::POST, PATH, &token, Some(with("name", json!("x".repeat(500))))).await;
    assert_eq!(long.problem(), problem(413, "FILE_TOO_LARGE", "the body has more than 500 bytes"));
    let limit = problem(400, "VALIDATION_ERROR", "limit must be from 1 to 500");
    assert_eq!(fixture.get(&format!("{PATH}?limit=0"), &token).await.problem(), limit);
    assert_eq!(fixture.get(&format!("{PATH}?limit=501"), &token).await.problem(), limit);
    assert_eq!(fixture.get(&format!("{PATH}?what=1"), &token).await.problem().1, "VALIDATION_ERROR");
    assert_eq!(fixture.get(PATH, &token).await.json()["accounts"].as_array().unwrap().len(), 1);
    assert_eq!(fixture.sum("admin_api_refusals_total", &[("reason", "invalid")]), 5.0);
}

#[tokio::test]
async fn accounts_are_only_as_many_as_may_be() {
    let fixture = Fixture::with(|settings| settings.max_accounts = 2).await;
    let token = fixture.token(&[ACCOUNTS_ADMIN]).await;
    assert_eq!(fixture.call(Method::POST, PATH, &token, Some(wanted())).await.status, 201);
    let full = fixture.call(Method::POST, PATH, &token, Some(wanted())).await;
    assert_eq!(full.problem(), problem(409, "CONFLICT", "there are as many accounts as there may be"));
}

#[tokio::test]
async fn bootstrap_keeps_a_given_secret_and_refuses_a_weak_one() {
    let fixture = Fixture::new().await;
    let given = "0123456789abcdef0123456789abcdef";
    let bootstrap = async |id: &str, secret: &str| {
        let secret: SecretString = secret.to_owned().into();
        let (scopes, audiences) = ([FILES_READ], [scope::AUDIENCE_INGESTER]);
        fixture.admin.bootstrap_account("Up", id, &scopes, &audiences, Some(secret)).await
    };
    for _ in 0..2 {
        assert_eq!(bootstrap("up", given).await.unwrap().client_secret, given);
        assert_eq!(fixture.token_answer("up", given, GRANT).await.status, 200);
    }
    let stored = fixture.admin.shared.store.account("up").await.unwrap().unwrap();
    assert_eq!(stored.previous_secret_sha256, None, "the same secret again is no rotation");
    for (id, secret) in [("up", "short"), ("a b", given), ("", given)] {
        assert!(matches!(bootstrap(id, secret).await, Err(AccountError::Invalid(_))), "{id} {secret}");
    }
    let other = "fedcba9876543210fedcba9876543210";
    bootstrap("up", other).await.unwrap();
    assert_eq!(fixture.token_answer("up", given, GRANT).await.status, 200);
    assert_eq!(fixture.token_answer("up", other, GRANT).await.status, 200);
}
