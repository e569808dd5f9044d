//! The layer, in an axum server on a real socket.

use crate::support::{AUDIENCE, ISSUER, Issuer, SigningKey, Step, claims, instances, jwks};
use artstore_auth::{
    Algorithm, AuthMetrics, Claims, ClientCertificate, JwksSource, KeySet, RequireToken, TokenVerifier,
    VerifierSettings,
};
use artstore_metrics::{Clock, Registry, SystemClock};
use axum::{Extension, Router, routing::get};
use serde_json::json;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn verifier(source: JwksSource) -> TokenVerifier {
    let clock = SystemClock::new();
    let metrics = AuthMetrics::new(&Registry::new(), &instances(), clock);
    TokenVerifier::new(VerifierSettings::new(ISSUER, AUDIENCE, source), metrics, clock).unwrap()
}

fn local(key: &SigningKey) -> TokenVerifier {
    let keys = Arc::new(KeySet::parse(jwks(&[key.jwk("k")]).to_string().as_bytes(), &Algorithm::ALL).unwrap());
    verifier(JwksSource::Local(Arc::new(move || Arc::clone(&keys))))
}

/// Serves `/who`, whose answer is the subject, on connections with this certificate. Gives the address.
async fn serve(verifier: TokenVerifier, certificate: Option<[u8; 32]>) -> String {
    let who = get(|Extension(claims): Extension<Claims>| async move { claims.sub });
    let mut app = Router::new().route("/who", who).layer(RequireToken::new(verifier, "storage:write").realm("a test"));
    if let Some(certificate) = certificate {
        app = app.layer(Extension(ClientCertificate(certificate)));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// Status, challenge and body of the answer to a request with this header line.
async fn ask(address: &str, authorization: &str) -> (u16, Option<String>, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /who HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{authorization}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let challenge = head.lines().find_map(|line| line.strip_prefix("www-authenticate: ")).map(str::to_owned);
    (head[9..12].parse().unwrap(), challenge, body.to_owned())
}

fn line(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

#[tokio::test]
async fn a_good_token_passes_with_its_claims_and_others_are_told_why_not() {
    let key = SigningKey::ed25519();
    let now = SystemClock::new().wall();
    let address = serve(local(&key), None).await;
    assert_eq!(ask(&address, &line(&key.good_token("k", now))).await, (200, None, "ingester".to_owned()));

    let realm = "Bearer realm=\"a test\"";
    let refused = |status, challenge: String| (status, Some(challenge), String::new());
    assert_eq!(ask(&address, "").await, refused(401, realm.to_owned()));
    assert_eq!(ask(&address, "authorization: Basic eDp5\r\n").await, refused(401, realm.to_owned()));
    let invalid = |why| refused(401, format!("{realm}, error=\"invalid_token\", error_description=\"{why}\""));
    let stranger = SigningKey::ed25519().good_token("k", now);
    assert_eq!(ask(&address, &line(&stranger)).await, invalid("the signature is not valid"));
    let mut narrow = claims(now);
    narrow["scope"] = json!("storage:read");
    let narrow = key.token(&key.header("k").to_string(), &narrow.to_string());
    let scope = format!("{realm}, error=\"insufficient_scope\", scope=\"storage:write\"");
    assert_eq!(ask(&address, &line(&narrow)).await, refused(403, scope));
}

#[tokio::test]
async fn a_bound_token_passes_only_with_its_certificate() {
    let key = SigningKey::ed25519();
    let mut bound = claims(SystemClock::new().wall());
    bound["cnf"] = json!({"x5t#S256": crate::support::b64(&[7; 32])});
    let token = line(&key.token(&key.header("k").to_string(), &bound.to_string()));
    assert_eq!(ask(&serve(local(&key), Some([7; 32])).await, &token).await.0, 200);
    for certificate in [None, Some([8; 32])] {
        let (status, challenge, _) = ask(&serve(local(&key), certificate).await, &token).await;
        assert_eq!(status, 401);
        assert!(challenge.unwrap().contains("the token is bound to another client certificate"));
    }
}

#[tokio::test]
async fn without_the_issuers_keys_no_token_is_called_bad() {
    let issuer = Issuer::new([], Step::json(503, &json!({})));
    let source = JwksSource::Remote { instances: instances(), transport: issuer.transport() };
    let address = serve(verifier(source), None).await;
    let token = SigningKey::ed25519().good_token("k", SystemClock::new().wall());
    assert_eq!(ask(&address, &line(&token)).await, (503, None, String::new()));
    assert_eq!(issuer.requests(), 2);
}
