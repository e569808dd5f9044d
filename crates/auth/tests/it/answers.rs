//! What is sent to the issuer, to the byte.

use crate::support::{Issuer, Rig, SECRET, Step, grant};
use artstore_auth::{AdminInstance, ClientAuthentication, SecretSource};
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn the_oauth_form_is_basic_and_a_form_body() {
    let rig = Rig::with(Issuer::new([], Step::Grant(1800)), |settings| {
        settings.scope = vec!["storage:write".to_owned(), "a b".replace(' ', "+")];
        settings.client_id = "in gester:é".to_owned();
        settings.authentication = SecretSource::inline("p:w/+ ~*").into();
    });
    rig.service.access_token().await.unwrap();
    let seen = &rig.issuer.seen()[0];
    assert_eq!(
        (seen.head.method.as_str(), seen.head.uri.to_string().as_str()),
        ("POST", "https://admin-1:8000/oauth2/token")
    );
    let header = |name: &str| seen.head.headers[name].to_str().unwrap().to_owned();
    // in+gester%3A%C3%A9:p%3Aw%2F%2B+%7E*
    assert_eq!(header("authorization"), "Basic aW4rZ2VzdGVyJTNBJUMzJUE5OnAlM0F3JTJGJTJCKyU3RSo=");
    assert!(seen.head.headers["authorization"].is_sensitive());
    assert_eq!(header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!(header("accept"), "application/json");
    assert_eq!(seen.body, "grant_type=client_credentials&scope=storage%3Awrite+a%2Bb");
    assert_eq!(header("content-length"), seen.body.len().to_string());
}

#[tokio::test(start_paused = true)]
async fn without_scopes_none_are_sent_and_a_base_path_is_kept() {
    let rig = Rig::with(Issuer::new([], Step::Grant(1800)), |settings| {
        settings.instances = vec![AdminInstance::parse("https://admin-1:8000/issuer/").unwrap()];
    });
    rig.service.access_token().await.unwrap();
    let seen = &rig.issuer.seen()[0];
    assert_eq!(seen.head.uri.path(), "/issuer/oauth2/token");
    assert_eq!(seen.body, "grant_type=client_credentials");
}

#[tokio::test(start_paused = true)]
async fn the_originals_form_is_json_without_basic() {
    let mut answer = grant("canary-token-1", 1800);
    answer["issued_at"] = json!("2026-11-24T08:00:00Z");
    let rig = Rig::with(Issuer::new([], Step::json(200, &answer)), |settings| {
        settings.authentication = ClientAuthentication::OriginalJson(SecretSource::inline(SECRET));
    });
    let token = rig.service.access_token().await.unwrap();
    assert_eq!(token.authorization(), "Bearer canary-token-1");
    assert!(token.authorization().is_sensitive());
    let seen = &rig.issuer.seen()[0];
    assert_eq!(seen.head.uri.path(), "/api/v1/auth/token");
    assert_eq!(seen.head.headers["content-type"], "application/json");
    assert!(!seen.head.headers.contains_key("authorization"));
    let body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
    assert_eq!(body, json!({"client_id": "ingester", "client_secret": SECRET}));
}
