//! A planted secret and planted tokens appear in no log, no error, no metric and no `Debug`.

use crate::support::{AUDIENCE, ISSUER, Issuer, Rig, SECRET, SigningKey, Step, claims, grant, jwks, pass, test_clock};
use artstore_auth::{
    Algorithm, AuthErrorType, ClientAuthentication, JwksSource, KeySet, Rejection, SecretSource, TokenVerifier,
    VerifierSettings,
};
use artstore_metrics::{Clock, Format};
use http::HeaderMap;
use serde_json::json;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

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

fn assert_clean(what: &str) {
    assert!(!what.contains("canary"), "{what}");
}

#[tokio::test(start_paused = true)]
async fn no_secret_and_no_token_shows_anywhere() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let hostile = json!({
        "error": "canary-code", "error_description": format!("canary {SECRET}"), "access_token": "canary-token",
        "token_type": "canary", "expires_in": "canary"
    });
    let faults = [
        Step::Grant(1800),
        Step::json(200, &hostile),
        Step::json(400, &hostile),
        Step::json(200, &grant("canary token", 60)),
        Step::Answer(401, vec![("www-authenticate", format!("Basic realm=\"{SECRET}\""))], SECRET.to_owned()),
        Step::Torn,
        Step::Hang(true),
        Step::Fail(AuthErrorType::Tls, false),
    ];
    let forms =
        [ClientAuthentication::SecretBasic, ClientAuthentication::SecretPost, ClientAuthentication::OriginalJson];
    for form in forms {
        for fault in faults.clone() {
            let rig = Rig::with(Issuer::new([], fault), |settings| {
                settings.authentication = form(SecretSource::inline(SECRET))
            });
            match rig.service.access_token().await {
                Ok(token) => {
                    assert_clean(&format!("{token:?} {:?}", token.authorization()));
                    assert_clean(&rig.service.resource_rejected(&token).to_string());
                }
                Err(error) => assert_clean(&format!("{error} {error:?}")),
            }
            pass(Duration::from_secs(40)).await;
            assert_clean(&format!("{:?} {:?} {:?}", rig.service, rig.service.state(), rig.metrics));
            assert_clean(&rig.registry.encode(Format::OpenMetrics));
            rig.assert_identities();
        }
    }
    drop(guard);
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("failed to get a token"), "{log}");
    assert_clean(&log);
}

#[tokio::test]
async fn a_refused_token_is_not_repeated() {
    let key = SigningKey::ed25519();
    let keys = Arc::new(KeySet::parse(jwks(&[key.jwk("k")]).to_string().as_bytes(), &Algorithm::ALL).unwrap());
    let clock = test_clock();
    let settings = VerifierSettings::new(ISSUER, AUDIENCE, JwksSource::Local(Arc::new(move || Arc::clone(&keys))));
    let verifier = TokenVerifier::new(settings, None, clock.clone()).unwrap();
    let mut claims = claims(clock.wall());
    claims["iss"] = json!("canary");
    let tokens = [
        key.token(&json!({"typ": "canary", "alg": "EdDSA", "kid": "k"}).to_string(), "canary"),
        key.token(&json!({"typ": "at+jwt", "alg": "canary", "kid": "canary"}).to_string(), "canary"),
        key.token(&json!({"typ": "at+jwt", "alg": "EdDSA", "kid": "canary"}).to_string(), "canary"),
        key.token(&key.header("k").to_string(), "canary"),
        key.token(&key.header("k").to_string(), &claims.to_string()),
        "canary".to_owned(),
    ];
    for token in tokens {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        let rejection = verifier.authenticate(&headers, "storage:write").await.unwrap_err();
        assert!(matches!(rejection, Rejection::InvalidToken(_)), "{rejection:?}");
        assert_clean(&format!("{rejection} {rejection:?} {:?} {verifier:?}", rejection.www_authenticate()));
        assert!(!format!("{rejection} {rejection:?}").contains(&token));
    }
}
