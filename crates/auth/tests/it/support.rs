//! A scripted issuer behind the transport's seam, a rig around the service, and signed tokens.

use artstore_auth::{
    AccessToken, AdminInstance, AuthErrorType, AuthMetrics, AuthService, AuthSettings, RequestBody, ResponseBody,
    SecretSource, Transport, TransportError,
};
use artstore_metrics::{Clock, LabelValue, Registry, TestClock, UnixTime};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// The wall clock's start in every test.
pub(crate) const START: u64 = 1_800_000_000;
pub(crate) const FIRST: &str = "https://admin-1:8000";
pub(crate) const SECOND: &str = "https://admin-2:8000";
/// What must appear nowhere.
pub(crate) const SECRET: &str = "canary-secret";

/// What the issuer does with one request.
#[derive(Clone)]
pub(crate) enum Step {
    /// Answers.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Grants an opaque token of this life.
    Grant(u64),
    /// Answers with this after a while.
    Late(Duration, Box<Step>),
    /// No answer, with this kind of error.
    Fail(AuthErrorType, bool),
    /// Never answers; the request was written or not.
    Hang(bool),
    /// Sends a head and half a body.
    Torn,
    /// Sends a head and then nothing.
    Stalled,
    /// Sends more than anyone wants, without saying how much.
    Endless,
    /// A defect.
    Panic,
}

impl Step {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::Answer(status, vec![], body.to_string())
    }

    pub(crate) fn late(self, ms: u64) -> Self {
        Self::Late(Duration::from_millis(ms), Box::new(self))
    }
}

/// One request as the issuer saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) host: String,
    pub(crate) head: http::request::Parts,
    pub(crate) body: Bytes,
}

/// The scripted issuer. Clones share it.
#[derive(Clone)]
pub(crate) struct Issuer(Arc<Mutex<Script>>);

struct Script {
    steps: VecDeque<Step>,
    then: Step,
    seen: Vec<Seen>,
    granted: u64,
}

impl Issuer {
    /// Does these things in turn, and `then` ever after.
    pub(crate) fn new(steps: impl IntoIterator<Item = Step>, then: Step) -> Self {
        let script = Script { steps: steps.into_iter().collect(), then, seen: Vec::new(), granted: 0 };
        Self(Arc::new(Mutex::new(script)))
    }

    pub(crate) fn then(&self, then: Step) {
        let mut script = self.0.lock().unwrap();
        script.steps.clear();
        script.then = then;
    }

    /// Does this before everything else.
    pub(crate) fn first(&self, step: Step) {
        self.0.lock().unwrap().steps.push_front(step);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.0.lock().unwrap().seen.clone()
    }

    pub(crate) fn requests(&self) -> usize {
        self.0.lock().unwrap().seen.len()
    }

    pub(crate) fn transport(&self) -> Transport {
        let issuer = self.clone();
        Transport::new(tower::service_fn(move |request| issuer.clone().answer(request)))
    }

    async fn answer(self, request: Request<RequestBody>) -> Result<Response<ResponseBody>, TransportError> {
        let (head, body) = request.into_parts();
        let step = {
            let mut script = self.0.lock().unwrap();
            script.steps.pop_front().unwrap_or_else(|| script.then.clone())
        };
        let body = take(&step, body).await;
        let host = head.uri.authority().unwrap().to_string();
        self.0.lock().unwrap().seen.push(Seen { at: Instant::now(), host, head, body });
        perform(step, || {
            let mut script = self.0.lock().unwrap();
            script.granted += 1;
            format!("canary-token-{}", script.granted)
        })
        .await
    }
}

/// The request's body, if the step is one before which a request is written.
pub(crate) async fn take(step: &Step, body: RequestBody) -> Bytes {
    let sends = !matches!(step, Step::Hang(false) | Step::Fail(_, false));
    if sends { body.collect().await.unwrap().to_bytes() } else { Bytes::new() }
}

/// What the step does once the request is there; `token` makes the token of a grant.
pub(crate) async fn perform(
    mut step: Step,
    token: impl FnOnce() -> String,
) -> Result<Response<ResponseBody>, TransportError> {
    while let Step::Late(after, inner) = step {
        tokio::time::sleep(after).await;
        step = *inner;
    }
    match step {
        Step::Answer(status, headers, body) => Ok(response(status, &headers, full(body))),
        Step::Grant(lifetime) => Ok(response(200, &[], full(grant(&token(), lifetime).to_string()))),
        Step::Fail(kind, written) => Err(TransportError::new(kind, written, "scripted")),
        Step::Hang(_) => std::future::pending().await,
        Step::Torn => Ok(response(200, &[], torn())),
        Step::Stalled => Ok(response(200, &[], stalled())),
        Step::Endless => Ok(response(200, &[], endless())),
        Step::Panic => panic!("scripted"),
        Step::Late(..) => unreachable!(),
    }
}

fn response(status: u16, headers: &[(&'static str, String)], body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, value);
    }
    response.body(body).unwrap()
}

fn full(body: String) -> ResponseBody {
    Full::from(body).map_err(|never| match never {}).boxed_unsync()
}

pub(crate) fn stream(
    frames: impl futures_util::Stream<Item = Result<Bytes, artstore_auth::BoxError>> + Send + 'static,
) -> ResponseBody {
    use futures_util::TryStreamExt;
    StreamBody::new(frames.map_ok(http_body::Frame::data)).boxed_unsync()
}

fn torn() -> ResponseBody {
    stream(futures_util::stream::iter([Ok(Bytes::from("{\"access_")), Err("reset".into())]))
}

fn stalled() -> ResponseBody {
    stream(futures_util::stream::pending())
}

fn endless() -> ResponseBody {
    stream(futures_util::stream::repeat_with(|| Ok(Bytes::from(vec![b' '; 1000]))))
}

pub(crate) fn grant(token: &str, lifetime: u64) -> Value {
    json!({"access_token": token, "token_type": "Bearer", "expires_in": lifetime})
}

/// A service with everything around it.
pub(crate) struct Rig {
    pub(crate) issuer: Issuer,
    pub(crate) clock: TestClock,
    pub(crate) registry: Registry,
    pub(crate) metrics: AuthMetrics<TestClock>,
    pub(crate) service: AuthService<TestClock>,
}

impl Rig {
    pub(crate) fn new(issuer: Issuer) -> Self {
        Self::with(issuer, |_| {})
    }

    /// A rig with two instances and changed settings.
    pub(crate) fn with(issuer: Issuer, change: impl FnOnce(&mut AuthSettings)) -> Self {
        let transport = issuer.transport();
        Self { issuer, ..Self::over(transport, change) }
    }

    /// A rig whose issuer is behind this transport.
    pub(crate) fn over(transport: Transport, change: impl FnOnce(&mut AuthSettings)) -> Self {
        let clock = TestClock::starting_at(UnixTime::from_secs(START));
        let registry = Registry::new();
        let instances = instances();
        let metrics = AuthMetrics::new(&registry, &instances, clock.clone());
        let mut settings = AuthSettings::new("ingester", SecretSource::inline(SECRET), instances[..1].to_vec());
        change(&mut settings);
        let service = AuthService::new(settings, transport, metrics.clone(), clock.clone()).unwrap();
        Self { issuer: Issuer::new([], Step::Panic), clock, registry, metrics, service }
    }

    pub(crate) fn sum(&self, sample: &str, labels: &[(&str, &str)]) -> u64 {
        self.registry.sum_of(sample, labels) as u64
    }

    /// The error types that failed exchanges had, with how often, for both instances together.
    pub(crate) fn errors(&self) -> Vec<(&'static str, u64)> {
        let count =
            |kind: &AuthErrorType| (kind.label(), self.sum("auth_errors_total", &[("error_type", kind.label())]));
        AuthErrorType::ALL.iter().map(count).filter(|(_, count)| *count > 0).collect()
    }

    /// The time to live as it is scraped; `None` without a sample.
    pub(crate) fn ttl(&self) -> Option<f64> {
        let text = self.registry.encode(artstore_metrics::Format::Text);
        let line = text.lines().find(|line| line.starts_with("auth_token_ttl_seconds "))?;
        line.split(' ').nth(1).unwrap().parse().ok()
    }

    /// The contract's identities, which hold whenever no acquisition is under way.
    pub(crate) fn assert_identities(&self) {
        let requests = self.sum("auth_token_requests_total", &[]);
        assert_eq!(requests, self.sum("auth_token_refresh_total", &[]));
        assert_eq!(requests, self.sum("auth_token_acquisition_duration_seconds_count", &[]));
        let success = |sample| self.sum(sample, &[("status", "success")]);
        assert_eq!(success("auth_token_requests_total"), success("auth_token_refresh_total"));
        let validation = |result| self.sum("auth_token_validation_total", &[("result", result)]);
        let cache = self.sum("auth_token_source_total", &[("source", "cache")]);
        assert_eq!(cache, validation("valid") + validation("expiring_soon"));
        assert_eq!(self.sum("auth_token_validation_total", &[]), self.sum("auth_token_source_total", &[]));
        assert_eq!(self.sum("auth_token_acquisition_waiters", &[]), 0);
    }
}

pub(crate) fn instances() -> Vec<AdminInstance> {
    [FIRST, SECOND].map(|url| AdminInstance::parse(url).unwrap()).to_vec()
}

/// Which of the granted tokens this is.
pub(crate) fn number(token: &AccessToken) -> u64 {
    let header = token.authorization();
    header.to_str().unwrap().strip_prefix("Bearer canary-token-").unwrap().parse().unwrap()
}

/// Lets time pass in small steps, so that every task runs at its own moment.
pub(crate) async fn pass(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// A signing key of each kind.
pub(crate) enum SigningKey {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl SigningKey {
    pub(crate) fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().unwrap())
    }

    pub(crate) fn p256() -> Self {
        Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "EdDSA",
            Self::P256(_) => "ES256",
            Self::Rsa(_) => "RS256",
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => key.sign(message).as_ref().to_vec(),
            Self::P256(key) => key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
        }
    }

    pub(crate) fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Ed25519(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": b64(key.public_key().as_ref()), "kid": kid, "use": "sig"})
            }
            Self::P256(key) => {
                let point = key.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "x": b64(&point[1..33]), "y": b64(&point[33..]), "kid": kid, "alg": "ES256"})
            }
            Self::Rsa(key) => {
                // RFC 8017 RSAPublicKey: two headers of four bytes, a sign byte, 256 bytes of modulus; 65537 at the end.
                let public = key.public_key().as_ref();
                let (n, e) = (&public[9..265], &public[public.len() - 3..]);
                json!({
                    "kty": "RSA", "n": b64(n),
                    "e": b64(e), "kid": kid, "alg": "RS256", "key_ops": ["verify"]
                })
            }
        }
    }

    pub(crate) fn header(&self, kid: &str) -> Value {
        json!({"typ": "at+jwt", "alg": self.algorithm(), "kid": kid})
    }

    /// A token of these texts, whatever they are, with a right signature.
    pub(crate) fn token(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", b64(header.as_bytes()), b64(payload.as_bytes()));
        format!("{signed}.{}", b64(&self.sign(signed.as_bytes())))
    }

    pub(crate) fn good_token(&self, kid: &str, now: UnixTime) -> String {
        self.token(&self.header(kid).to_string(), &claims(now).to_string())
    }
}

pub(crate) fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) const ISSUER: &str = "https://admin.example.org";
pub(crate) const AUDIENCE: &str = "artstore-element";

/// The claims of a good token at `now`.
pub(crate) fn claims(now: UnixTime) -> Value {
    let now = now.as_secs();
    json!({
        "iss": ISSUER, "aud": [AUDIENCE, "artstore-admin"], "sub": "ingester", "client_id": "ingester", "jti": "1",
        "scope": "storage:write storage:read", "iat": now, "nbf": now, "exp": now + 1800
    })
}

pub(crate) fn jwks(keys: &[Value]) -> Value {
    json!({ "keys": keys })
}

pub(crate) fn test_clock() -> TestClock {
    TestClock::starting_at(UnixTime::from_secs(START))
}

/// The wall time of a clock, in seconds.
pub(crate) fn wall(clock: &TestClock) -> u64 {
    clock.wall().as_secs()
}
