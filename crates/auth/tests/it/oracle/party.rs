//! The issuer of the random-operation test: three instances, each with its own behaviour, and a log of what each was asked.

use crate::support::{ISSUER, Step, b64, perform, take};
use artstore_auth::{AuthErrorType, RequestBody, ResponseBody, Transport, TransportError};
use artstore_metrics::{Clock, TestClock};
use http::{Request, Response};
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The instances, in the order of the settings.
pub(crate) const INSTANCES: [&str; 3] = ["https://admin-1:8000", "https://admin-2:8000", "https://admin-3:8000"];

/// What an exchange with this behaviour comes to, by the words of the contract.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Expect {
    /// A token of so many seconds.
    Grant(u64),
    /// A failure of this kind, with the issuer's wish for a pause in seconds.
    Failure { kind: &'static str, written: bool, retry_after: u64 },
    /// No answer until the exchange's limit.
    Silence { written: bool },
}

/// What an instance does with every request until it is told otherwise.
#[derive(Clone)]
pub(crate) struct Behaviour {
    pub(crate) step: Step,
    pub(crate) expect: Expect,
    /// Milliseconds until it does it.
    pub(crate) late: u64,
}

impl Behaviour {
    pub(crate) fn grant(lifetime: u64, late: u64) -> Self {
        Self { step: Step::Grant(lifetime), expect: Expect::Grant(lifetime), late }
    }
}

/// One token request as the issuer saw it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Milliseconds since the test began.
    pub(crate) at: u64,
    pub(crate) instance: usize,
    pub(crate) expect: Expect,
    pub(crate) late: u64,
    /// The token that the instance would grant: a text of its own for each request.
    pub(crate) token: String,
}

/// The issuer. Clones share it.
#[derive(Clone)]
pub(crate) struct Party(Arc<Mutex<Inner>>);

struct Inner {
    clock: TestClock,
    behaviours: [Behaviour; 3],
    /// What each instance answers when it is asked for its keys.
    keys: [Step; 3],
    log: Vec<Entry>,
    failed_key_fetches: [u64; 3],
    requests: u64,
    /// Whether tokens are JWTs, with times by the issuer's own clock.
    pub(crate) claims: bool,
}

impl Party {
    pub(crate) fn new(clock: TestClock, keys: &Step) -> Self {
        let behaviours = std::array::from_fn(|_| Behaviour::grant(1800, 0));
        let keys = std::array::from_fn(|_| keys.clone());
        let (log, failed_key_fetches) = (Vec::new(), [0; 3]);
        Self(Arc::new(Mutex::new(Inner {
            clock,
            behaviours,
            keys,
            log,
            failed_key_fetches,
            requests: 0,
            claims: false,
        })))
    }

    pub(crate) fn behave(&self, instance: usize, behaviour: Behaviour) {
        self.0.lock().unwrap().behaviours[instance] = behaviour;
    }

    pub(crate) fn publish(&self, instance: usize, keys: Step) {
        self.0.lock().unwrap().keys[instance] = keys;
    }

    pub(crate) fn claims(&self, claims: bool) {
        self.0.lock().unwrap().claims = claims;
    }

    /// What came since this was asked last.
    pub(crate) fn news(&self) -> Vec<Entry> {
        std::mem::take(&mut self.0.lock().unwrap().log)
    }

    pub(crate) fn failed_key_fetches(&self) -> [u64; 3] {
        self.0.lock().unwrap().failed_key_fetches
    }

    pub(crate) fn transport(&self) -> Transport {
        let party = self.clone();
        Transport::new(tower::service_fn(move |request| party.clone().answer(request)))
    }

    async fn answer(self, request: Request<RequestBody>) -> Result<Response<ResponseBody>, TransportError> {
        let (head, body) = request.into_parts();
        let host = head.uri.authority().unwrap().as_str();
        let instance = INSTANCES.iter().position(|url| url.ends_with(host)).unwrap();
        if head.uri.path() == "/oauth2/jwks" {
            let step = self.0.lock().unwrap().keys[instance].clone();
            if !matches!(step, Step::Answer(200, ..)) {
                self.0.lock().unwrap().failed_key_fetches[instance] += 1;
            }
            return perform(step, String::new).await;
        }
        let (mut step, token, late) = self.record(instance);
        take(&step, body).await;
        if late > 0 {
            step = Step::Late(Duration::from_millis(late), Box::new(step));
        }
        perform(step, || token).await
    }

    fn record(&self, instance: usize) -> (Step, String, u64) {
        let mut inner = self.0.lock().unwrap();
        inner.requests += 1;
        let at = u64::try_from(inner.clock.monotonic().since(<_>::default()).as_millis()).unwrap();
        let Behaviour { step, expect, late } = inner.behaviours[instance].clone();
        let mut token = format!("canary-token-{}", inner.requests);
        if let (true, Expect::Grant(lifetime)) = (inner.claims, expect) {
            // The issuer's own clock is right: it is ours that steps.
            let now = crate::support::START + at / 1000;
            let payload = json!({
                "iss": ISSUER, "aud": "x", "sub": "s", "client_id": "c", "jti": token, "iat": now, "exp": now + lifetime
            });
            let header = json!({"typ": "at+jwt", "alg": "EdDSA", "kid": "k"});
            token = format!("{}.{}.AAAA", b64(header.to_string().as_bytes()), b64(payload.to_string().as_bytes()));
        }
        inner.log.push(Entry { at, instance, expect, late, token: token.clone() });
        (step, token, late)
    }
}

/// Every way in which an exchange fails, with the kind that the contract gives it.
pub(crate) fn failures() -> Vec<Behaviour> {
    let mut failures = Vec::new();
    let mut add = |step: Step, kind: AuthErrorType, written: bool, retry_after: u64| {
        failures.push(Behaviour {
            step,
            expect: Expect::Failure { kind: kind.label(), written, retry_after },
            late: 0,
        });
    };
    use AuthErrorType as Kind;
    let code = |status: u16, code: &str| Step::json(status, &json!({ "error": code }));
    let busy =
        |status: u16, seconds: &str| Step::Answer(status, vec![("retry-after", seconds.to_owned())], String::new());
    let bare = |status: u16| Step::Answer(status, vec![], String::new());
    let lives = |lifetime: serde_json::Value| {
        Step::json(200, &json!({"access_token": "t", "token_type": "Bearer", "expires_in": lifetime}))
    };
    add(Step::Fail(Kind::Dns, false), Kind::Dns, false, 0);
    add(Step::Fail(Kind::Connect, false), Kind::Connect, false, 0);
    add(Step::Fail(Kind::Tls, false), Kind::Tls, false, 0);
    add(Step::Fail(Kind::Timeout, false), Kind::Timeout, false, 0);
    add(Step::Fail(Kind::Transport, true), Kind::Transport, true, 0);
    add(Step::Torn, Kind::Transport, true, 0);
    add(bare(429), Kind::RateLimited, true, 0);
    add(busy(429, "7"), Kind::RateLimited, true, 7);
    add(busy(503, "100000"), Kind::ServerError, true, 300);
    add(bare(503), Kind::ServerError, true, 0);
    add(code(500, "invalid_client"), Kind::ServerError, true, 0);
    add(code(400, "temporarily_unavailable"), Kind::ServerError, true, 0);
    add(code(401, "invalid_client"), Kind::InvalidClient, true, 0);
    add(bare(401), Kind::InvalidClient, true, 0);
    add(code(400, "unauthorized_client"), Kind::UnauthorizedClient, true, 0);
    add(code(400, "invalid_scope"), Kind::InvalidScope, true, 0);
    add(code(400, "unsupported_grant_type"), Kind::InvalidRequest, true, 0);
    add(bare(404), Kind::UnexpectedStatus, true, 0);
    add(bare(302), Kind::UnexpectedStatus, true, 0);
    add(bare(200), Kind::MalformedResponse, true, 0);
    add(Step::Endless, Kind::MalformedResponse, true, 0);
    add(lives(json!(0)), Kind::MalformedResponse, true, 0);
    add(lives(json!(-1)), Kind::MalformedResponse, true, 0);
    add(lives(json!("1800")), Kind::MalformedResponse, true, 0);
    add(lives(json!(1e18)), Kind::MalformedResponse, true, 0);
    add(Step::Panic, Kind::Internal, true, 0);
    let silence = |step, written| Behaviour { step, expect: Expect::Silence { written }, late: 0 };
    failures.extend([silence(Step::Hang(true), true), silence(Step::Hang(false), false), silence(Step::Stalled, true)]);
    failures
}
