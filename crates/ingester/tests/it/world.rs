//! One Ingester with its doubles, ready for requests.

use crate::doubles::{AdminDouble, ElementDouble};
use crate::wire::{Reply, Req, req};
use artstore_api::element::ElementMode;
use artstore_auth::{
    AdminInstance, Algorithm, AuthErrorType, AuthMetrics, AuthService, AuthSettings, JwksSource, KeySet, SecretSource,
    TokenVerifier, Transport, TransportError, VerifierSettings,
};
use artstore_http::{Client, ClientSettings, HttpClientMetrics, Server, ServerMetrics, ServerSettings};
use artstore_ingester::{Ingester, IngesterDeps, IngesterSettings};
use artstore_metrics::{Clock as _, Registry, SystemClock};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub(crate) const GIB: u64 = 1 << 30;

/// Everything that a test looks at.
pub(crate) struct World {
    pub(crate) ingester: Arc<Ingester>,
    pub(crate) address: SocketAddr,
    pub(crate) edit: ElementDouble,
    pub(crate) rw: ElementDouble,
    pub(crate) admin: AdminDouble,
    pub(crate) registry: Registry,
    /// Tokens that the Ingester was given.
    pub(crate) issued: Arc<AtomicUsize>,
    /// Whether it gets none.
    pub(crate) no_tokens: Arc<AtomicBool>,
    key: Arc<Ed25519KeyPair>,
    stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut IngesterSettings)) -> Self {
        let (edit, rw, admin) =
            (ElementDouble::start().await, ElementDouble::start().await, AdminDouble::start().await);
        admin.add("edit", edit.address, ElementMode::Edit, GIB);
        admin.add("rw", rw.address, ElementMode::Rw, GIB);
        let mut settings = IngesterSettings::new(vec![format!("http://{}", admin.address)]);
        settings.linger_timeout = std::time::Duration::from_millis(500);
        change(&mut settings);
        let (registry, clock, stop) = (Registry::new(), SystemClock::new(), CancellationToken::new());
        let (issued, no_tokens) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let key = Arc::new(Ed25519KeyPair::generate().unwrap());
        let instance = AdminInstance::parse(&format!("http://{}", admin.address)).unwrap();
        let auth_metrics = AuthMetrics::new(&registry, std::slice::from_ref(&instance), clock);
        let auth = AuthSettings::new("ingester", SecretSource::inline("secret"), vec![instance]);
        let auth = AuthService::new(auth, issuer(&issued, &no_tokens), auth_metrics, clock).unwrap();
        let client = Client::new(ClientSettings::default(), None, HttpClientMetrics::new(&registry), clock);
        let deps = IngesterDeps { client, auth, verifier: verifier(&key, clock) };
        let ingester = Arc::new(Ingester::open(settings, deps, &registry, clock).await.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server =
            Server::new(listener, ingester.router(), ServerSettings::default(), ServerMetrics::new(&registry), clock);
        tokio::spawn(server.serve(stop.clone()));
        Self { ingester, address, edit, rw, admin, registry, issued, no_tokens, key, stop }
    }

    /// A client's token with these scopes.
    pub(crate) fn token(&self, scope: &str) -> String {
        self.sign(&json!({ "scope": scope }))
    }

    /// A client's token whose claims differ so from those of a good one.
    pub(crate) fn sign(&self, change: &Value) -> String {
        let now = SystemClock::new().wall().as_secs();
        let mut claims = json!({
            "iss": "https://admin", "sub": "subject", "client_id": "someone", "aud": "artstore-ingester",
            "scope": "files:write files:read", "iat": now, "exp": now + 600, "jti": "1",
        });
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "k"})), encode(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()).as_ref());
        format!("{signed}.{signature}")
    }

    /// A request that may write and read.
    pub(crate) fn req(&self, method: &str, path: &str) -> Req {
        req(method, path).token(&self.token("files:write files:read"))
    }

    pub(crate) async fn send(&self, request: Req) -> Reply {
        request.send(self.address).await
    }

    /// A raw upload of these bytes.
    pub(crate) async fn put(&self, query: &str, bytes: impl Into<Vec<u8>>) -> Reply {
        self.send(self.req("PUT", &format!("/api/v1/files?{query}")).body(bytes)).await
    }

    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.registry.sum_of(name, labels)
    }

    pub(crate) fn uploads(&self, policy: &str, outcome: &str) -> f64 {
        self.metric("ingester_uploads_total", &[("policy", policy), ("outcome", outcome)])
    }

    /// Nothing of a failed upload is left anywhere.
    pub(crate) async fn expect_nothing_left(&self) {
        for element in [&self.edit, &self.rw] {
            element.until(|element| element.sessions() == 0).await;
            assert_eq!(element.files(), vec![]);
        }
        assert_eq!(self.metric("ingester_uploads_active", &[]), 0.0);
    }
}

fn verifier(key: &Ed25519KeyPair, clock: SystemClock) -> TokenVerifier {
    let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
    let document = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x}]}).to_string();
    let keys = Arc::new(KeySet::parse(document.as_bytes(), &Algorithm::ALL).unwrap());
    let source = JwksSource::Local(Arc::new(move || Arc::clone(&keys)));
    let settings = VerifierSettings::new("https://admin", "artstore-ingester", source);
    TokenVerifier::new(settings, None, clock).unwrap()
}

/// Gives tokens `t1`, `t2`…
fn issuer(issued: &Arc<AtomicUsize>, no_tokens: &Arc<AtomicBool>) -> Transport {
    let (issued, no_tokens) = (Arc::clone(issued), Arc::clone(no_tokens));
    Transport::new(tower::service_fn(move |_request| {
        let (issued, no_tokens) = (Arc::clone(&issued), Arc::clone(&no_tokens));
        async move {
            if no_tokens.load(Ordering::Relaxed) {
                return Err(TransportError::new(AuthErrorType::Connect, false, "refused"));
            }
            let number = issued.fetch_add(1, Ordering::Relaxed) + 1;
            let token = json!({"access_token": format!("t{number}"), "token_type": "Bearer", "expires_in": 1800});
            let body = http_body_util::Full::new(bytes::Bytes::from(token.to_string()));
            let body = body.map_err(|never| match never {}).boxed_unsync();
            let response = http::Response::builder().header("content-type", "application/json").body(body);
            Ok::<_, TransportError>(response.unwrap())
        }
    }))
}
