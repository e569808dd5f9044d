//! Keys and secrets change while tokens are asked for and checked: nothing valid is refused.

use super::{Fixture, HandClock, ISSUER};
use crate::{Admin, AdminSettings, KeyState, SigningKeys, generate_key_file};
use artstore_api::scope::{AUDIENCE_INGESTER, FILES_READ};
use artstore_auth::{Algorithm, JwksSource, KeySet, TokenVerifier, VerifierSettings};
use artstore_metrics::{Clock as _, Registry};
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http_body_util::BodyExt as _;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower::ServiceExt as _;

/// As often as the folder of keys is read.
const STEP: Duration = Duration::from_secs(30);
const STEPS: usize = 400;
/// Token requests at the same moment.
const REQUESTS: usize = 8;
/// As long as a token lives.
const HELD: usize = 60;

async fn token(admin: Admin<HandClock>, credentials: String) -> Result<String, u16> {
    let request = Request::post("/oauth2/token")
        .header(AUTHORIZATION, format!("Basic {}", STANDARD.encode(credentials)))
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from("grant_type=client_credentials"));
    let (parts, body) = admin.router().oneshot(request.unwrap()).await.unwrap().into_parts();
    if parts.status != 200 {
        return Err(parts.status.as_u16());
    }
    let answer: serde_json::Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
    Ok(answer["access_token"].as_str().unwrap().to_owned())
}

/// A verifier of the simplest kind: it keeps the published keys for as long as it may and never asks before.
struct Simple {
    keys: Arc<Mutex<Arc<KeySet>>>,
    verifier: TokenVerifier<HandClock>,
    age: Duration,
}

impl Simple {
    fn new(admin: &Admin<HandClock>, clock: &HandClock) -> Self {
        let keys = Arc::new(Mutex::new(Self::fetch(admin)));
        let shared = Arc::clone(&keys);
        let source = JwksSource::Local(Arc::new(move || Arc::clone(&shared.lock().unwrap())));
        let settings = VerifierSettings::new(ISSUER, AUDIENCE_INGESTER, source);
        Self { keys, verifier: TokenVerifier::new(settings, None, clock.clone()).unwrap(), age: Duration::ZERO }
    }

    fn fetch(admin: &Admin<HandClock>) -> Arc<KeySet> {
        Arc::new(KeySet::parse(&admin.shared.keys.jwks(), &Algorithm::ALL).unwrap())
    }

    /// Time goes on.
    fn step(&mut self, admin: &Admin<HandClock>) {
        self.age += STEP;
        if self.age >= Duration::from_mins(5) {
            (*self.keys.lock().unwrap(), self.age) = (Self::fetch(admin), Duration::ZERO);
        }
    }
}

/// What happened in three hours and twenty minutes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    tokens: usize,
    verifications: usize,
    refusals: Vec<String>,
    /// Different keys that signed.
    signed: usize,
    retired: usize,
    secrets: usize,
}

/// Two replicas, whose looks into the folder of keys lie half an interval apart and which take the requests in turn; a new key
/// every 50 minutes, removed as soon as it may go; a new secret every two and a half minutes, which the client uses a minute later.
async fn rotate(steps: usize, settle: Option<Duration>) -> Sum {
    let change = |settings: &mut AdminSettings| {
        // Only a test of the test makes it shorter than it may be.
        settings.key_settle = settle.unwrap_or(settings.key_settle);
        settings.jwks_max_age = if settle.is_some() { Duration::ZERO } else { settings.jwks_max_age };
        settings.key_check_interval = if settle.is_some() { Duration::from_millis(1) } else { STEP };
    };
    let fixture = Fixture::with(change).await;
    let mut settings = AdminSettings { algorithm: Algorithm::EdDsa, ..AdminSettings::new(fixture.dir.path(), ISSUER) };
    change(&mut settings);
    let second = Admin::open(settings.clone(), &Registry::new(), fixture.clock.clone()).await.unwrap();
    let replicas = [fixture.admin.clone(), second];
    let (mut used, mut next) = (fixture.account("client", &[FILES_READ]).await, None);
    let mut verifiers = [Simple::new(&replicas[0], &fixture.clock), Simple::new(&replicas[1], &fixture.clock)];
    let (mut held, mut sum, mut signed) = (VecDeque::new(), Sum::default(), BTreeSet::new());
    for step in 0..steps {
        fixture.clock.advance(STEP / 2);
        replicas[0].reload_keys().await;
        fixture.clock.advance(STEP / 2);
        replicas[1].reload_keys().await;
        if step % 100 == 50 {
            generate_key_file(&settings.keys_dir, Algorithm::EdDsa, fixture.clock.wall()).unwrap();
        }
        let keys = SigningKeys::read(&settings, fixture.clock.wall()).unwrap();
        for key in keys.keys.iter().filter(|key| matches!(key.state, KeyState::Old { .. })) {
            sum.retired += usize::from(keys.retire(&key.kid, false).is_ok());
        }
        signed
            .extend(replicas.iter().map(|replica| replica.shared.keys.signing_key().unwrap().thumbprint().to_owned()));
        let ask = |at: usize| tokio::spawn(token(replicas[at % 2].clone(), format!("client:{used}")));
        let requests = join_all((0..REQUESTS).map(ask));
        let rotation = async {
            if step % 5 != 0 {
                return None;
            }
            Some(replicas[step % 2].rotate_secret("client").await.unwrap().client_secret)
        };
        let (answers, rotated) = tokio::join!(requests, rotation);
        sum.secrets += usize::from(rotated.is_some());
        next = rotated.or(next);
        if step % 5 == 2 {
            used = next.take().unwrap_or(used);
        }
        for answer in answers {
            sum.tokens += 1;
            match answer.unwrap() {
                Ok(token) => held.push_back((step, token)),
                Err(status) => sum.refusals.push(format!("step {step}: token request: {status}")),
            }
        }
        // The newest tokens all, of the older ones one for each step.
        held.retain(|(made, _)| step - made < HELD);
        let mut seen = BTreeSet::new();
        held.retain(|(made, _)| *made == step || seen.insert(*made));
        for verifier in &verifiers {
            for (made, token) in &held {
                sum.verifications += 1;
                if let Err(error) = verifier.verifier.verify(token).await {
                    sum.refusals.push(format!("step {step}: token of step {made}: {error}"));
                }
            }
        }
        verifiers.iter_mut().zip(&replicas).for_each(|(verifier, replica)| verifier.step(replica));
    }
    sum.signed = signed.len();
    sum
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_secrets_rotate_and_nothing_valid_is_refused() {
    let sum = rotate(STEPS, None).await;
    // Each step 8 new tokens and one of each of the 59 steps before it, or of as many as there were, by two verifiers.
    let verifications = 2 * (STEPS * REQUESTS + (0..STEPS).map(|step| step.min(HELD - 1)).sum::<usize>());
    let expected = Sum {
        tokens: STEPS * REQUESTS,
        verifications,
        refusals: Vec::new(),
        signed: 5,
        retired: 3,
        secrets: STEPS / 5,
    };
    assert_eq!(sum, expected);
}

/// The test of the test: were a key to sign at once, these verifiers would notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_signs_at_once_would_be_refused() {
    let sum = rotate(100, Some(Duration::from_millis(1))).await;
    assert_eq!(sum.tokens, 100 * REQUESTS);
    assert!(sum.refusals.iter().any(|refusal| refusal.ends_with("the key is not one of the issuer's")), "{sum:?}");
}
