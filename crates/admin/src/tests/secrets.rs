//! No secret is anywhere but in the answer that tells it.

use super::Fixture;
use super::methods::{assert_with, assertion, claims, jwk};
use artstore_api::account::ChangeAccount;
use artstore_api::scope::{ACCOUNTS_ADMIN, FILES_READ};
use artstore_metrics::Format;
use aws_lc_rs::signature::Ed25519KeyPair;
use http::Method;
use serde_json::json;
use std::io::Write;
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn secrets_are_in_no_log_file_metric_or_debug() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let fixture = Fixture::new().await;
    let canary = "canary-5f0e7a9c31d24b86-of-the-account";
    let new = fixture
        .admin
        .bootstrap_account("x", "client", &[FILES_READ], &["artstore-ingester"], Some(canary.to_owned().into()))
        .await
        .unwrap();
    assert!(!format!("{new:?}").contains(canary));
    let admin_token = fixture.token(&[ACCOUNTS_ADMIN]).await;
    let answer = fixture.token_answer("client", canary, "grant_type=client_credentials").await;
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let wrong = "canary-of-a-wrong-secret";
    fixture.token_answer("client", wrong, "grant_type=client_credentials").await;
    fixture.token_answer(wrong, wrong, "grant_type=client_credentials").await;
    let body = json!({ "client_id": "client", "client_secret": [wrong] });
    let refused = fixture.call(Method::POST, "/api/v1/auth/token", "", Some(body)).await;
    let key = Ed25519KeyPair::generate().unwrap();
    let change = ChangeAccount { jwks: Some(Some(jwk(&key))), ..ChangeAccount::default() };
    fixture.admin.change_account("client", change).await.unwrap();
    let assertion = assertion(&key, &claims("canary-of-an-assertion"));
    for status in [200, 401] {
        assert_eq!(assert_with(&fixture, &assertion).await.status, status);
    }
    let rotated = fixture.call(Method::POST, "/api/v1/service-accounts/client/rotate-secret", &admin_token, None).await;
    let rotated = rotated.json()["client_secret"].as_str().unwrap().to_owned();
    fixture.get("/api/v1/files", &token).await;
    fixture.admin.close().await;
    fixture.token_answer("client", canary, "grant_type=client_credentials").await;
    let mut places = vec![
        ("log", String::from_utf8(log.0.lock().unwrap().clone()).unwrap()),
        ("metrics", fixture.registry.encode(Format::Text)),
        ("debug", format!("{:?}{:?}{:?}", fixture.admin, fixture.admin.shared.issuer, fixture.admin.shared.keys)),
        ("refusal", refused.body),
    ];
    for name in ["admin.db", "admin.db-wal"] {
        if let Ok(bytes) = std::fs::read(fixture.dir.path().join(name)) {
            places.push((name, String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    assert!(places[0].1.contains("account has a new secret"), "the log is being read");
    assert!(places[0].1.contains("token refused: wrong secret client_id=client"));
    assert!(places[0].1.contains("token refused: unknown client"));
    assert!(places.iter().any(|(name, _)| *name == "admin.db"));
    for (place, text) in places {
        for secret in [canary, wrong, &rotated, &token, &admin_token, &assertion, "canary-of-an-assertion"] {
            assert!(!text.contains(secret), "{place}");
        }
    }
}
