//! A planted secret and planted tokens appear in no log, no error, no metric and no `Debug`.

use crate::sockets::{answer, ask_over, serve};
use crate::support::{
    AUDIENCE, FIRST, ISSUER, Issuer, Rig, SECRET, SigningKey, Step, claims, grant, instances, jwks, pass, test_clock,
};
use artstore_auth::{
    Algorithm, AuthErrorType, ClientAuthentication, Discovery, DiscoverySettings, JwksSource, KeySet, PrivateKeyJwt,
    Rejection, SecretSource, TokenEndpoint, TokenVerifier, VerifierSettings,
};
use artstore_metrics::{Clock, Format};
use http::HeaderMap;
use serde_json::json;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

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

/// As text, as base64 at its three alignments, as hexadecimal.
const FORMS: [&str; 5] = ["canary", "Y2FuYXJ5", "NhbmFye", "jYW5hcn", "63616e617279"];

fn assert_clean(what: &str) {
    for form in FORMS {
        assert!(!what.contains(form), "{form}: {what}");
    }
}

impl Log {
    /// Everything that this thread logs goes here from now on, down to TRACE.
    fn take() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn no_secret_and_no_token_shows_anywhere() {
    let (log, guard) = Log::take();
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
    let log = log.text();
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

/// The private key and the assertions that it signs are secrets as well.
#[tokio::test(start_paused = true)]
async fn neither_a_private_key_nor_an_assertion_shows_anywhere() {
    let (log, guard) = Log::take();
    let mut secrets = Vec::new();
    let mut shown = String::new();
    let refused = Step::json(401, &json!({"error": "invalid_client"}));
    for (seed, fault) in (1..).zip([Step::Grant(1800), refused, Step::Torn, Step::Hang(true), Step::Panic]) {
        let (pem, _) = crate::methods::ed25519(seed);
        let jwt = PrivateKeyJwt::new(SecretSource::inline(pem.clone()), ISSUER);
        let rig = Rig::with(Issuer::new([], fault), |settings| settings.authentication = jwt.into());
        let result = rig.service.access_token().await;
        let seen = rig.issuer.seen();
        let body = String::from_utf8(seen[0].body.to_vec()).unwrap();
        let assertion = body.split('&').find_map(|pair| pair.strip_prefix("client_assertion=")).unwrap();
        secrets.extend(assertion.split('.').skip(1).map(str::to_owned));
        secrets.extend(pem.lines().filter(|line| !line.starts_with('-')).map(str::to_owned));
        pass(Duration::from_secs(40)).await;
        shown += &format!("{result:?} {:?} {:?} {:?}", rig.service, rig.service.state(), rig.metrics);
        shown += &rig.registry.encode(Format::OpenMetrics);
        rig.assert_identities();
    }
    // What is no key at all is not repeated either.
    for bad in ["canary", "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n"] {
        let jwt = PrivateKeyJwt::new(SecretSource::inline(bad), ISSUER);
        let rig = Rig::with(Issuer::new([], Step::Grant(1800)), |settings| settings.authentication = jwt.into());
        let error = rig.service.access_token().await.unwrap_err();
        assert_eq!(error.kind(), AuthErrorType::Internal);
        shown += &format!("{error} {error:?} {:?}", rig.service);
    }
    drop(guard);
    shown += &log.text();
    assert!(shown.contains("failed to get a token") && secrets.len() == 15);
    assert_clean(&shown);
    for secret in secrets {
        assert!(secret.len() > 20 && !shown.contains(&secret), "{secret}");
    }
}

/// What an issuer says of itself, and the keys that it publishes, are its words: none is repeated.
#[tokio::test(start_paused = true)]
async fn hostile_metadata_and_keys_are_not_repeated() {
    let (log, guard) = Log::take();
    let documents = [
        json!({"issuer": "canary", "token_endpoint": "https://canary/"}),
        json!({"issuer": FIRST, "token_endpoint": "https://canary:canary@evil/token"}),
        json!({"issuer": FIRST, "token_endpoint": "http://evil/canary"}),
        json!({"issuer": FIRST, "token_endpoint": ["canary"], "jwks_uri": {"canary": 1}}),
        json!({"keys": "canary"}),
        json!({"keys": [{"kty": "canary", "kid": "canary"}]}),
    ];
    let mut shown = String::new();
    for document in documents {
        for step in [Step::json(200, &document), Step::json(503, &document)] {
            let discovery = Discovery::new(DiscoverySettings::new(FIRST)).unwrap();
            let rig = Rig::with(Issuer::new([], step), |settings| {
                settings.endpoint = TokenEndpoint::Discovered(discovery.clone());
            });
            let error = rig.service.access_token().await.unwrap_err();
            shown += &format!("{error} {error:?} {discovery:?} {:?}", rig.service);
            let (instances, transport) = (instances(), rig.issuer.transport());
            let source = JwksSource::Remote { instances, transport };
            let settings = VerifierSettings::new(ISSUER, AUDIENCE, source);
            let verifier = TokenVerifier::new(settings, rig.metrics.clone(), rig.clock.clone()).unwrap();
            let token = SigningKey::ed25519().good_token("canary", rig.clock.wall());
            shown += &format!("{:?} {verifier:?}", verifier.verify(&token).await.unwrap_err());
            shown += &rig.registry.encode(Format::OpenMetrics);
        }
    }
    drop(guard);
    shown += &log.text();
    assert!(shown.contains("failed to fetch the issuer's keys"));
    assert_clean(&shown);
}

/// Over a real socket, with all that the client and its libraries log.
#[tokio::test]
async fn nothing_shows_at_trace_level_over_a_real_socket() {
    let (log, guard) = Log::take();
    let answers = [
        answer(&grant("canary-token", 60).to_string()),
        answer("canary"),
        "HTTP/1.1 401 Unauthorized\r\nx-canary: canary\r\ncontent-length: 6\r\n\r\ncanary".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: 60\r\n\r\n{\"access_token\":\"canary".to_owned(),
        "canary".to_owned(),
    ];
    for answer in answers {
        let url = serve(|mut stream| async move { stream.write_all(answer.as_bytes()).await.unwrap() }).await;
        let secret = SecretSource::inline(SECRET);
        let asked = ask_over(&url, |_| None, |settings| settings.authentication = secret.into()).await;
        assert_clean(&asked.registry.encode(Format::Text));
    }
    drop(guard);
    assert!(log.text().contains("failed to get a token"));
    assert_clean(&log.text());
}
