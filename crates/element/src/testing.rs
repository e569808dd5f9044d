//! An element in a temporary folder, asked through its router, with tokens of an issuer of its own.

use crate::{Element, ElementDeps, ElementSettings, StoreSettings};
use artstore_api::element::ElementMode;
use artstore_api::file::{Attributes, FileId, FileRecord, RetentionPolicy};
use artstore_api::upload::UploadSession;
use artstore_auth::{Algorithm, AuthService, JwksSource, KeySet, TokenVerifier, VerifierSettings};
use artstore_http::{Client, ClientSettings, HttpClientMetrics};
use artstore_metrics::{Clock, Registry, TestClock, UnixTime};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::body::Body;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tower::ServiceExt as _;

pub(crate) const START: UnixTime = UnixTime::from_secs(1_800_000_000);

/// An element under test.
pub(crate) struct Bench {
    pub(crate) element: Element<TestClock>,
    pub(crate) registry: Registry,
    pub(crate) clock: TestClock,
    pub(crate) auth: Option<AuthService<TestClock>>,
    key: Arc<Ed25519KeyPair>,
    dir: tempfile::TempDir,
    settings: ElementSettings,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
}

impl Reply {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status, code and sentence of a problem.
    pub(crate) fn problem(&self) -> (u16, String, String) {
        let problem: Value = self.json();
        assert_eq!(self.header("content-type"), "application/problem+json");
        let text = |field: &str| problem[field].as_str().unwrap().to_owned();
        (self.status.as_u16(), text("code"), text("detail"))
    }
}

pub(crate) fn attributes(policy: RetentionPolicy) -> Attributes {
    Attributes {
        retention_policy: policy,
        ttl_days: (policy == RetentionPolicy::Temporary).then_some(1),
        ..crate::store::tests::attributes()
    }
}

impl Bench {
    /// An element of mode `edit` with defaults, but for `change`.
    pub(crate) async fn start(change: impl FnOnce(&mut ElementSettings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = StoreSettings::Folder { dir: dir.path().join("store") };
        let mut settings = ElementSettings::new("e1", ElementMode::Edit, "https://e1:8010", store);
        change(&mut settings);
        let key = Arc::new(Ed25519KeyPair::generate().unwrap());
        Self::open(dir, settings, key, TestClock::starting_at(START), None).await
    }

    /// The same folder, opened again, as after a crash.
    pub(crate) async fn restart(self) -> Self {
        self.restart_with(None).await
    }

    /// The same, reporting with tokens of this service.
    pub(crate) async fn restart_with(self, auth: Option<AuthService<TestClock>>) -> Self {
        let Self { element, clock, key, dir, settings, .. } = self;
        drop(element);
        Self::open(dir, settings, key, clock, auth).await
    }

    async fn open(
        dir: tempfile::TempDir,
        settings: ElementSettings,
        key: Arc<Ed25519KeyPair>,
        clock: TestClock,
        auth: Option<AuthService<TestClock>>,
    ) -> Self {
        let registry = Registry::new();
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "k1",
            "x": BASE64.encode(key.public_key().as_ref()) });
        let keys = json!({ "keys": [jwk] }).to_string();
        let keys = Arc::new(KeySet::parse(keys.as_bytes(), &Algorithm::ALL).unwrap());
        let source = JwksSource::Local(Arc::new(move || Arc::clone(&keys)));
        let verifier = VerifierSettings::new("https://admin", "artstore-element", source);
        let verifier = TokenVerifier::new(verifier, None, clock.clone()).unwrap();
        let client = client(&clock);
        let deps = ElementDeps { verifier, client, auth: auth.clone(), s3_client: None };
        let element = Element::open(settings.clone(), deps, &registry, clock.clone()).await.unwrap();
        Self { element, registry, clock, auth, key, dir, settings }
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// The names below a directory of the store, in order.
    pub(crate) fn names(&self, directory: &str) -> Vec<String> {
        fn walk(dir: &Path, names: &mut Vec<String>) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, names);
                } else {
                    names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        let mut names = Vec::new();
        walk(&self.folder().join(directory), &mut names);
        names.sort_unstable();
        names
    }

    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.registry.sum_of(name, labels)
    }

    /// A token with these claims over the usual ones.
    pub(crate) fn token(&self, header: &Value, claims: &Value) -> String {
        let now = self.clock.wall().as_secs();
        let mut all = json!({ "iss": "https://admin", "sub": "svc", "aud": ["artstore-element"], "client_id": "svc",
            "scope": "storage:write storage:read", "iat": now, "nbf": now, "exp": now + 600, "jti": "j" });
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        let mut head = json!({ "typ": "at+jwt", "alg": "EdDSA", "kid": "k1" });
        for (name, value) in header.as_object().unwrap() {
            head[name] = value.clone();
        }
        let signed = format!("{}.{}", BASE64.encode(head.to_string()), BASE64.encode(all.to_string()));
        let signature = BASE64.encode(self.key.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.element.router().oneshot(request).await.unwrap()
    }

    /// A request with these headers and no token but theirs.
    pub(crate) async fn bare(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.send(request.body(body).unwrap()).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Reply { status: parts.status, headers: parts.headers, bytes }
    }

    /// A request with a good token.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Reply {
        let authorization = format!("Bearer {}", self.token(&json!({}), &json!({})));
        let mut all = vec![("authorization", authorization.as_str())];
        all.extend(headers);
        self.bare(method, path, &all, body.into()).await
    }

    pub(crate) async fn create(&self, size: Option<u64>) -> Reply {
        let policy = match self.settings.mode {
            ElementMode::Edit => RetentionPolicy::Temporary,
            ElementMode::Rw => RetentionPolicy::Permanent,
        };
        let body = json!({ "attributes": attributes(policy), "size": size });
        self.call("POST", "/api/v1/uploads", &[], body.to_string()).await
    }

    /// A new session, with its lease.
    pub(crate) async fn session(&self, size: Option<u64>) -> (FileId, String) {
        let reply = self.create(size).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        let session: UploadSession = reply.json();
        (session.file_id, session.lease.unwrap())
    }

    pub(crate) async fn patch(&self, id: FileId, lease: &str, offset: u64, body: impl Into<Body>) -> Reply {
        let offset = offset.to_string();
        let headers = [
            ("content-type", "application/offset+octet-stream"),
            ("upload-lease", lease),
            ("upload-offset", offset.as_str()),
        ];
        self.call("PATCH", &format!("/api/v1/uploads/{id}"), &headers, body).await
    }

    pub(crate) async fn complete(&self, id: FileId, lease: &str, request: Value) -> Reply {
        let path = format!("/api/v1/uploads/{id}/complete");
        self.call("POST", &path, &[("upload-lease", lease)], request.to_string()).await
    }

    /// The durable offset.
    pub(crate) async fn offset(&self, id: FileId) -> u64 {
        let reply = self.call("HEAD", &format!("/api/v1/uploads/{id}"), &[], Body::empty()).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.header("upload-offset").parse().unwrap()
    }

    pub(crate) async fn put(&self, id: FileId, one_shot: &Value, body: impl Into<Body>) -> Reply {
        let encoded = BASE64.encode(one_shot.to_string());
        self.call("PUT", &format!("/api/v1/files/{id}"), &[("upload-attributes", &encoded)], body).await
    }

    /// A published file.
    pub(crate) async fn file(&self, bytes: &'static [u8]) -> FileRecord {
        let policy = match self.settings.mode {
            ElementMode::Edit => RetentionPolicy::Temporary,
            ElementMode::Rw => RetentionPolicy::Permanent,
        };
        let reply = self.put(FileId::generate(), &json!({ "attributes": attributes(policy) }), bytes).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.json()
    }

    pub(crate) async fn get(&self, id: FileId, headers: &[(&str, &str)]) -> Reply {
        self.call("GET", &format!("/api/v1/files/{id}"), headers, Body::empty()).await
    }

    /// Nothing is visible, nothing is stored, nothing is promised.
    pub(crate) fn assert_empty(&self) {
        assert_eq!(self.names("uploads"), Vec::<String>::new());
        assert_eq!(self.names("objects"), Vec::<String>::new());
        assert_eq!(self.sum("element_open_uploads", &[]), 0.0);
        assert_eq!(self.sum("element_files", &[]), 0.0);
    }
}

pub(crate) fn client(clock: &TestClock) -> Client<TestClock> {
    let metrics = HttpClientMetrics::new(&Registry::new());
    Client::new(ClientSettings::default(), None, metrics, clock.clone())
}
