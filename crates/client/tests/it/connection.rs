//! A connection from certificate files and an account, against an Admin Module and an Ingester that only pretend, over TLS.

use crate::support::{limits, record};
use artstore_api::{Code, Problem};
use artstore_client::{
    BaseUrl, Category, ConnectError, ConnectSettings, Connection, DownloadOptions, Downloader, Error, SecretSource,
    Target, Upload, Uploader,
};
use artstore_http::{Server, ServerMetrics, ServerSettings};
use artstore_metrics::{Clock as _, Registry, SystemClock, UnixTime};
use artstore_tls::dev::{DevCa, Leaf};
use artstore_tls::{Acceptor, AcceptorSettings, ClientAuth, ListenerMetrics, Policy};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use secrecy::ExposeSecret as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What the pretended modules count.
#[derive(Debug, Default)]
struct Counts {
    tokens: AtomicU64,
    refused: AtomicU64,
}

/// Both modules on one listener.
struct House {
    url: BaseUrl,
    ca: DevCa,
    folder: tempfile::TempDir,
    counts: Arc<Counts>,
    _stop: tokio_util::sync::DropGuard,
}

const CONTENT: &[u8] = b"the picture";

/// The n-th token: a JWT without a signature worth the name.
fn token(number: u64) -> String {
    let claims = serde_json::json!({ "exp": 4_000_000_000_u64, "scope": "files:read files:write", "jti": number });
    format!("h.{}.s", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

async fn give_token(State(counts): State<Arc<Counts>>, headers: HeaderMap) -> Response {
    let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("me:canary"));
    if headers.get(header::AUTHORIZATION).is_none_or(|value| value.as_bytes() != basic.as_bytes()) {
        return (StatusCode::UNAUTHORIZED, Json(serde_json::json!({ "error": "invalid_client" }))).into_response();
    }
    let number = counts.tokens.fetch_add(1, Ordering::SeqCst);
    let answer = serde_json::json!({ "access_token": token(number), "token_type": "Bearer", "expires_in": 1800 });
    ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response()
}

/// The first token is refused, as if the keys had changed.
async fn take_file(State(counts): State<Arc<Counts>>, headers: HeaderMap, body: Bytes) -> Response {
    let refused = format!("Bearer {}", token(0));
    if headers.get(header::AUTHORIZATION).is_none_or(|value| value.as_bytes() == refused.as_bytes()) {
        counts.refused.fetch_add(1, Ordering::SeqCst);
        let problem = Problem::new(Code::Unauthorized, "the key of this token is unknown");
        return (StatusCode::UNAUTHORIZED, Json(problem)).into_response();
    }
    (StatusCode::CREATED, Json(record("a.txt", &body))).into_response()
}

async fn house(client_auth: fn(&DevCa) -> ClientAuth) -> House {
    let folder = tempfile::tempdir().unwrap();
    let clock = SystemClock::new();
    let ca = DevCa::open(folder.path(), clock.wall()).unwrap();
    let identity = ca.issue("server", &Leaf::server("localhost", clock.wall())).unwrap().load().unwrap();
    let mut settings = AcceptorSettings::new(identity);
    settings.client_auth = client_auth(&ca);
    let registry = Registry::new();
    let acceptor = Acceptor::new(settings, ListenerMetrics::new(&registry, &Policy::default()), clock).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = BaseUrl::parse(&format!("https://{}", listener.local_addr().unwrap())).unwrap();
    let counts = Arc::<Counts>::default();
    let record = record("a.txt", CONTENT);
    let router = Router::new()
        .route("/oauth2/token", post(give_token))
        .route("/api/v1/files", put(take_file))
        .route(
            "/api/v1/files/{id}",
            get(move |axum::extract::Path(id): axum::extract::Path<artstore_api::FileId>| async move {
                Json(artstore_api::FileRecord { file_id: id, ..record })
            }),
        )
        .route("/api/v1/files/{id}/content", get(|| async { CONTENT }))
        .with_state(Arc::clone(&counts));
    let metrics = ServerMetrics::new(&registry);
    let server = Server::new(listener, router, ServerSettings::default(), metrics, clock).with_tls(acceptor);
    let shutdown = CancellationToken::new();
    tokio::spawn(server.serve(shutdown.clone()));
    House { url, ca, folder, counts, _stop: shutdown.drop_guard() }
}

impl House {
    fn settings(&self) -> ConnectSettings {
        ConnectSettings {
            admin: vec![self.url.clone()],
            ca_cert: Some(self.ca.ca_file().to_owned()),
            identity: None,
            client_id: "me".to_owned(),
            secret: SecretSource::inline("canary"),
            scope: vec![],
        }
    }

    fn file(&self) -> PathBuf {
        let path = self.folder.path().join("a.txt");
        std::fs::write(&path, CONTENT).unwrap();
        path
    }

    async fn upload(&self, settings: ConnectSettings) -> Result<artstore_client::Uploaded, Error> {
        let connection = Connection::open(settings).unwrap();
        let limits = artstore_client::Limits { attempts: 1, ..limits() };
        let session = connection.session(self.url.clone(), limits);
        Uploader::new(session).file(&self.file(), &Upload::default()).await
    }
}

const fn nobody(_: &DevCa) -> ClientAuth {
    ClientAuth::None
}

fn everybody(ca: &DevCa) -> ClientAuth {
    ClientAuth::Required(ca.trust().unwrap())
}

#[tokio::test]
async fn a_refused_token_is_replaced_and_the_file_arrives() {
    let house = house(nobody).await;
    let uploaded = house.upload(house.settings()).await.unwrap();
    assert_eq!((uploaded.attempts, uploaded.record.size), (2, CONTENT.len() as u64));
    let counts = (house.counts.tokens.load(Ordering::SeqCst), house.counts.refused.load(Ordering::SeqCst));
    assert_eq!(counts, (2, 1));
}

#[tokio::test]
async fn a_file_comes_back_over_tls() {
    let house = house(nobody).await;
    let connection = Connection::open(house.settings()).unwrap();
    let downloader = Downloader::new(connection.session(house.url.clone(), limits()));
    let target = Target::File(house.folder.path().join("b.txt"));
    downloader.file(artstore_api::FileId::generate(), &target, DownloadOptions::default()).await.unwrap();
    assert_eq!(std::fs::read(house.folder.path().join("b.txt")).unwrap(), CONTENT);
}

#[tokio::test]
async fn a_token_says_its_scope_and_its_end() {
    let house = house(nobody).await;
    let connection = Connection::open(house.settings()).unwrap();
    let text = connection.access_token().await.unwrap();
    assert_eq!(text.token.expose_secret(), token(0));
    assert_eq!(text.scope.as_deref(), Some("files:read files:write"));
    assert_eq!(text.expires_at, Some(UnixTime::from_secs(4_000_000_000)));
    assert!(text.expires_in.unwrap() > Duration::from_secs(1_000_000_000));
    assert!(!format!("{text:?}{connection:?}").contains(&token(0)));
}

#[tokio::test]
async fn a_wrong_secret_is_the_accounts_fault() {
    let house = house(nobody).await;
    let settings = ConnectSettings { secret: SecretSource::inline("wrong"), ..house.settings() };
    let error = house.upload(settings).await.unwrap_err();
    let admin = &house.url;
    assert_eq!(error.to_string(), format!("no access token: invalid_client from {admin}: the issuer answered 401"));
    assert_eq!(error.category(), Category::Authentication);
}

#[tokio::test]
async fn an_unknown_authority_is_a_tls_failure() {
    let house = house(nobody).await;
    let other = tempfile::tempdir().unwrap();
    let stranger = DevCa::open(other.path(), SystemClock::new().wall()).unwrap();
    let settings = ConnectSettings { ca_cert: Some(stranger.ca_file().to_owned()), ..house.settings() };
    assert_eq!(house.upload(settings).await.unwrap_err().category(), Category::Tls);
}

#[tokio::test]
async fn a_missing_client_certificate_is_a_tls_failure_and_a_good_one_is_shown() {
    let house = house(everybody).await;
    assert_eq!(house.upload(house.settings()).await.unwrap_err().category(), Category::Tls);
    let files = house.ca.issue("client", &Leaf::client("client", SystemClock::new().wall())).unwrap();
    let settings = ConnectSettings { identity: Some((files.cert, files.key)), ..house.settings() };
    assert_eq!(house.upload(settings).await.unwrap().record.size, CONTENT.len() as u64);
}

#[tokio::test]
async fn what_cannot_work_is_said_before_anything_is_sent() {
    let house = house(nobody).await;
    let refused = |settings: ConnectSettings| Connection::open(settings).unwrap_err();
    let missing = PathBuf::from("/nowhere/ca.pem");
    let error = refused(ConnectSettings { ca_cert: Some(missing), ..house.settings() });
    assert!(matches!(error, ConnectError::Tls(_)));
    assert_eq!(error.to_string(), "/nowhere/ca.pem: No such file or directory (os error 2)");
    let error = refused(ConnectSettings { ca_cert: None, ..house.settings() });
    assert_eq!(
        error.to_string(),
        "https needs the certificates of the authorities to trust: set ARTSTORE_CA_CERT or give --ca-cert"
    );
    let error = refused(ConnectSettings { scope: vec!["a b".to_owned()], ..house.settings() });
    assert!(matches!(error, ConnectError::Settings(_)));
    assert_eq!(house.counts.tokens.load(Ordering::SeqCst), 0);
}
