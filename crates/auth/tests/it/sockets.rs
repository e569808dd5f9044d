//! The transport over real sockets: what the pooled client meets there has the right kind, and is observed or not as it must.

use crate::support::{Issuer, Rig, Step, grant};
use artstore_auth::{
    AdminInstance, AuthErrorType, AuthMetrics, AuthService, AuthSettings, SecretSource, http_transport,
};
use artstore_http::{Client, ClientError, ClientErrorKind, ClientSettings, HttpClientMetrics};
use artstore_metrics::{Clock, Registry, SystemClock};
use artstore_tls::dev::DevCa;
use artstore_tls::{CertificateMetrics, Connector, ConnectorMetrics, ConnectorSettings};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) struct Asked {
    pub(crate) registry: Registry,
    pub(crate) result: Result<String, AuthErrorType>,
}

impl Asked {
    fn observed(&self) -> u64 {
        self.registry.sum_of("auth_token_refresh_duration_seconds_count", &[]) as u64
    }
}

/// One call of a service whose Admin Module is at this URL.
async fn ask(url: &str) -> Asked {
    ask_over(url, |_| None, |_| {}).await
}

/// The same with a connector for TLS and changed settings.
pub(crate) async fn ask_over(
    url: &str,
    connector: impl FnOnce(&Registry) -> Option<Connector>,
    change: impl FnOnce(&mut AuthSettings),
) -> Asked {
    let (registry, clock) = (Registry::new(), SystemClock::new());
    let connector = connector(&registry);
    let instance = AdminInstance::parse(url).unwrap();
    let metrics = AuthMetrics::new(&registry, std::slice::from_ref(&instance), clock);
    let mut settings = AuthSettings::new("ingester", SecretSource::inline("s"), vec![instance]);
    settings.timeout = Duration::from_millis(500);
    change(&mut settings);
    let client = Client::new(ClientSettings::default(), connector, HttpClientMetrics::new(&registry), clock);
    let service = AuthService::new(settings, http_transport(client), metrics, clock).unwrap();
    let result = service.access_token().await;
    let result = result.map(|token| token.authorization().to_str().unwrap().to_owned()).map_err(|error| error.kind());
    if let Err(kind) = &result {
        assert_eq!(registry.sum_of("auth_errors_total", &[("error_type", kind.label())]), 1.0);
        assert_eq!(registry.sum_of("auth_errors_total", &[]), 1.0);
    }
    Asked { registry, result }
}

/// A server that reads one request's head and body and then does this.
pub(crate) async fn serve<F: Future<Output = ()> + Send>(then: impl FnOnce(TcpStream) -> F + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"grant_type=client_credentials") {
            assert!(stream.read_buf(&mut request).await.unwrap() > 0);
        }
        then(stream).await;
    });
    url
}

pub(crate) fn answer(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_token_comes_over_a_socket() {
    let url = serve(|mut stream| async move {
        stream.write_all(answer(&grant("t", 60).to_string()).as_bytes()).await.unwrap();
    })
    .await;
    let asked = ask(&url).await;
    assert_eq!((asked.result.as_deref(), asked.observed()), (Ok("Bearer t"), 1));
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_connect_and_not_observed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let asked = ask(&url).await;
    assert_eq!((asked.result.clone(), asked.observed()), (Err(AuthErrorType::Connect), 0));
}

#[tokio::test]
async fn a_host_that_does_not_resolve_is_dns_and_not_observed() {
    let asked = ask("http://nobody.invalid:80").await;
    assert_eq!((asked.result.clone(), asked.observed()), (Err(AuthErrorType::Dns), 0));
}

#[tokio::test]
async fn an_end_instead_of_an_answer_is_transport() {
    let asked = ask(&serve(|stream| async move { drop(stream) }).await).await;
    assert_eq!((asked.result.clone(), asked.observed()), (Err(AuthErrorType::Transport), 1));
}

#[tokio::test]
async fn a_torn_body_is_transport() {
    let url = serve(|mut stream| async move {
        let whole = answer(&grant("t", 60).to_string());
        stream.write_all(&whole.as_bytes()[..whole.len() - 5]).await.unwrap();
    })
    .await;
    let asked = ask(&url).await;
    assert_eq!((asked.result.clone(), asked.observed()), (Err(AuthErrorType::Transport), 1));
}

#[tokio::test]
async fn a_silent_server_is_timeout_and_observed() {
    let asked = ask(&serve(|stream| async move {
        let _held = stream;
        std::future::pending::<()>().await;
    })
    .await)
    .await;
    assert_eq!((asked.result.clone(), asked.observed()), (Err(AuthErrorType::Timeout), 1));
}

#[tokio::test]
async fn https_without_an_identity_is_internal_and_not_observed() {
    let asked = ask("https://127.0.0.1:9").await;
    assert_eq!((asked.result.clone(), asked.observed()), (Err(AuthErrorType::Internal), 0));
}

/// One call over TLS of a server that answers in plain text.
pub(crate) async fn ask_without_tls() -> Asked {
    let folder = tempfile::tempdir().unwrap();
    let ca = DevCa::open(folder.path(), SystemClock::new().wall()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    });
    let connector = |registry: &Registry| {
        let clock = SystemClock::new();
        let settings = ConnectorSettings::new(ca.trust().unwrap());
        let certificates = CertificateMetrics::new(registry, clock);
        let metrics = ConnectorMetrics::new(registry, &settings.policy, certificates);
        Some(Connector::new(settings, metrics, clock).unwrap())
    };
    ask_over(&url, connector, |_| {}).await
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_tls_and_not_observed() {
    let asked = ask_without_tls().await;
    assert_eq!((asked.result.clone(), asked.observed()), (Err(AuthErrorType::Tls), 0));
    assert_eq!(asked.registry.sum_of("tls_handshake_total", &[("status", "failure")]), 1.0);
}

#[test]
fn every_kind_of_the_clients_errors_has_a_kind_here() {
    let cases = [
        (ClientErrorKind::Dns, AuthErrorType::Dns),
        (ClientErrorKind::Connect, AuthErrorType::Connect),
        (ClientErrorKind::Timeout, AuthErrorType::Timeout),
        (ClientErrorKind::PoolExhausted, AuthErrorType::Timeout),
        (ClientErrorKind::Transport, AuthErrorType::Transport),
        (ClientErrorKind::InvalidRequest, AuthErrorType::Internal),
        (ClientErrorKind::RequestBody, AuthErrorType::Internal),
    ];
    for (kind, expected) in cases {
        let error = artstore_auth::TransportError::from(ClientError::new(kind, true, "x"));
        assert_eq!((error.kind, error.request_written), (expected, true));
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_refusal_of_our_certificate_is_tls_and_not_observed_although_bytes_were_taken() {
    // The step is late, so that the scripted issuer takes the body first, as the pooled client does.
    let rig = Rig::new(Issuer::new([], Step::Fail(AuthErrorType::Tls, false).late(5)));
    assert_eq!(rig.service.access_token().await.unwrap_err().kind(), AuthErrorType::Tls);
    assert_eq!(rig.sum("auth_token_refresh_duration_seconds_count", &[]), 0);
    rig.assert_identities();
}
