//! Every one of the 18 kinds of error by a real fault, on a real socket where it has one, counted exactly once.

use crate::sockets::{answer, ask_over, ask_without_tls, serve};
use crate::support::{AUDIENCE, ISSUER, SigningKey, claims, grant};
use artstore_auth::{
    AdminInstance, Algorithm, AuthErrorType, AuthMetrics, AuthService, AuthSettings, ExpectedClaims, JwksSource,
    SecretSource, TokenVerifier, Transport, VerifierSettings, VerifyError, http_transport,
};
use artstore_http::{Client, ClientSettings, HttpClientMetrics};
use artstore_metrics::{Clock, LabelValue, Registry, SystemClock};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server that answers every request so, each on a connection of its own.
async fn always(answer: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"grant_type=client_credentials") && !request.ends_with(b"\r\n\r\n") {
                if stream.read_buf(&mut request).await.unwrap() == 0 {
                    break;
                }
            }
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    url
}

fn status(line: &str, body: &str) -> String {
    format!("HTTP/1.1 {line}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// The registry after one call of a service whose issuer answers so.
async fn answered(answer: String) -> Registry {
    expecting(answer, None).await
}

async fn expecting(answer: String, expected: Option<ExpectedClaims>) -> Registry {
    let url = always(answer).await;
    ask_over(&url, |_| None, |settings| settings.expected = expected).await.registry
}

fn code(status_line: &str, code: &str) -> String {
    status(status_line, &json!({ "error": code }).to_string())
}

/// A granted token with this claim.
async fn granted_with(name: &str, value: Value) -> Registry {
    let key = SigningKey::ed25519();
    let mut claims = claims(SystemClock::new().wall());
    claims[name] = value;
    let token = key.token(&key.header("k").to_string(), &claims.to_string());
    let expected = ExpectedClaims {
        issuer: ISSUER.to_owned(),
        audiences: vec![AUDIENCE.to_owned()],
        algorithms: vec![Algorithm::EdDsa],
        leeway: Duration::from_secs(10),
    };
    expecting(answer(&grant(&token, 1800).to_string()), Some(expected)).await
}

fn client(registry: &Registry, url: &str) -> (Transport, AdminInstance, AuthMetrics<SystemClock>) {
    let (clock, instance) = (SystemClock::new(), AdminInstance::parse(url).unwrap());
    let metrics = AuthMetrics::new(registry, std::slice::from_ref(&instance), clock);
    let client = Client::new(ClientSettings::default(), None, HttpClientMetrics::new(registry), clock);
    (http_transport(client), instance, metrics)
}

/// A token comes in, and the issuer's keys are not to be had.
async fn without_keys() -> Registry {
    let registry = Registry::new();
    let (transport, instance, metrics) = client(&registry, &always(status("503 Service Unavailable", "")).await);
    let source = JwksSource::Remote { instances: vec![instance], transport };
    let clock = SystemClock::new();
    let verifier = TokenVerifier::new(VerifierSettings::new(ISSUER, AUDIENCE, source), metrics, clock).unwrap();
    let token = SigningKey::ed25519().good_token("k", clock.wall());
    assert_eq!(verifier.verify(&token).await, Err(VerifyError::KeysUnavailable));
    registry
}

/// The status that a resource server gives to this token.
async fn resource(url: &str, authorization: &str) -> u16 {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// A resource server that refuses a token and the one that was fetched because of that.
async fn refused() -> Registry {
    let registry = Registry::new();
    let granted = status("200 OK", &grant("t", 1800).to_string());
    let (transport, instance, metrics) = client(&registry, &always(granted).await);
    let mut settings = AuthSettings::new("ingester", SecretSource::inline("s"), vec![instance]);
    settings.backoff.floor = Duration::from_millis(1);
    let service = AuthService::new(settings, transport, metrics, SystemClock::new()).unwrap();
    let server = always(status("401 Unauthorized", "")).await;
    let first = service.access_token().await.unwrap();
    assert_eq!(resource(&server, first.authorization().to_str().unwrap()).await, 401);
    service.invalidate(first.generation());
    let second = service.access_token().await.unwrap();
    assert_eq!(resource(&server, second.authorization().to_str().unwrap()).await, 401);
    assert_eq!((first.generation(), second.generation()), (1, 2));
    assert_eq!(service.resource_rejected(&second).kind(), AuthErrorType::ResourceRejected);
    registry
}

/// What the metrics hold after the fault that makes this kind.
async fn fault(kind: AuthErrorType) -> Registry {
    let asked = async |url: &str| ask_over(url, |_| None, |_| {}).await.registry;
    match kind {
        AuthErrorType::Dns => asked("http://nobody.invalid:80").await,
        AuthErrorType::Connect => {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            drop(listener);
            asked(&url).await
        }
        AuthErrorType::Tls => ask_without_tls().await.registry,
        AuthErrorType::Timeout => {
            let silent = |stream| async move {
                let _held: TcpStream = stream;
                std::future::pending::<()>().await;
            };
            asked(&serve(silent).await).await
        }
        AuthErrorType::Transport => asked(&serve(|stream| async move { drop(stream) }).await).await,
        AuthErrorType::RateLimited => answered(status("429 Too Many Requests", "")).await,
        AuthErrorType::ServerError => answered(code("503 Service Unavailable", "invalid_client")).await,
        AuthErrorType::InvalidClient => answered(code("401 Unauthorized", "invalid_client")).await,
        AuthErrorType::UnauthorizedClient => answered(code("400 Bad Request", "unauthorized_client")).await,
        AuthErrorType::InvalidScope => answered(code("400 Bad Request", "invalid_scope")).await,
        AuthErrorType::InvalidRequest => answered(code("400 Bad Request", "unsupported_grant_type")).await,
        AuthErrorType::UnexpectedStatus => answered(status("404 Not Found", "<html>")).await,
        AuthErrorType::MalformedResponse => answered(answer("<html>")).await,
        AuthErrorType::TokenInvalid => granted_with("iss", json!("https://other")).await,
        AuthErrorType::ClockSkew => granted_with("exp", json!(SystemClock::new().wall().as_secs())).await,
        AuthErrorType::JwksUnavailable => without_keys().await,
        AuthErrorType::ResourceRejected => refused().await,
        // No socket: the secret is not there.
        AuthErrorType::Internal => {
            let secret = SecretSource::File("/nonexistent/secret".into());
            ask_over("http://127.0.0.1:9", |_| None, |settings| settings.authentication = secret.into()).await.registry
        }
    }
}

#[tokio::test]
async fn every_kind_of_error_is_made_by_a_real_fault_and_counted_exactly_once() {
    for kind in AuthErrorType::ALL {
        let registry = fault(*kind).await;
        let count = |labels: &[(&str, &str)]| registry.sum_of("auth_errors_total", labels);
        assert_eq!((count(&[("error_type", kind.label())]), count(&[])), (1.0, 1.0), "{}", kind.label());
    }
    assert_eq!(AuthErrorType::ALL.len(), 18);
}
