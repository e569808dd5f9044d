//! What Admin and the elements answer differently while a fault is present, in front of their routers.

use super::files::LAST_MOMENTS;
use super::tokens::SeenTokens;
use super::{Fault, Present};
use crate::assemble::Before;
use artstore_api::Code;
use artstore_http::ProblemResponse;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use http::header::{AUTHORIZATION, CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Method};
use http_body_util::{BodyExt as _, Limited};
use std::sync::Arc;
use std::time::Duration;

/// The paths at which tokens are had.
const TOKEN_PATHS: [&str; 2] = ["/oauth2/token", "/api/v1/auth/token"];
/// Where Admin takes records for its index.
const RECORDS_PATH: &str = "/api/v1/files";
/// How the `Authorization` of the Ingester's account begins: `artstore-ingester:` in base 64, which is a whole number of groups.
const INGESTER_BASIC: &str = "Basic YXJ0c3RvcmUtaW5nZXN0ZXI6";
/// How late a slow token is: twice what the objective allows.
const SLOW: Duration = Duration::from_secs(1);
/// When to come back for a token that is not there, in seconds.
const COME_BACK: HeaderValue = HeaderValue::from_static("5");
/// By when an element has taken a changed certificate in use.
const TAKEN_IN_USE: Duration = Duration::from_millis(700);
/// By when one that was taken in use for its last moments has expired: its end is a whole second.
const EXPIRED: Duration = LAST_MOMENTS.saturating_add(Duration::from_secs(1));
/// The longest body that is read before it is refused, so that its connection lives on.
const REFUSED_BODY_BYTES: usize = 1 << 20;

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Nothing unusual.
    Pass,
    /// It is answered 500 at once.
    Fail,
    /// It is answered 429 at once, with a time to come back.
    ComeBack,
    /// It is answered as usual, but late.
    Delay,
    /// It is not answered before the fault ends.
    Hang,
    /// It is answered as usual, and the connection closed.
    Close,
    /// It is answered 401 if its token has been used before and not been refused yet.
    RefuseToken,
}

impl Fault {
    /// What it does to a request to Admin.
    fn at_admin(self, request: &Request) -> Effect {
        let path = request.uri().path();
        let is_token = TOKEN_PATHS.contains(&path);
        let is_records = path == RECORDS_PATH && request.method() == Method::POST;
        match self {
            Self::Admin500 if is_token => Effect::Fail,
            Self::AdminSlow if is_token => Effect::Delay,
            Self::TokenExpiring if is_token && is_ingester(request) => Effect::ComeBack,
            Self::OutboxLagging if is_records => Effect::Fail,
            Self::AdminHung => Effect::Hang,
            Self::Admin500
            | Self::AdminSlow
            | Self::TokenExpiring
            | Self::OutboxLagging
            | Self::None
            | Self::ProcessKilled
            | Self::ElementForeignCa
            | Self::Certificate5Days
            | Self::Certificate20Days
            | Self::CertificateExpired
            | Self::PeerCloses
            | Self::ElementRejectsTokenOnce
            | Self::WrongClock
            | Self::StorageNearlyFull
            | Self::ReloadFailing
            | Self::CrlStale
            | Self::UploadFailures => Effect::Pass,
        }
    }

    /// What it does, so long after its begin, to a request to an element, `first` if it is the one that faults are at.
    fn at_element(self, age: Duration, first: bool, request: &Request) -> Effect {
        let stores = [Method::PUT, Method::POST, Method::PATCH].contains(request.method());
        match self {
            // Without new connections nobody would see the other certificate, and too early they would be good ones.
            Self::ElementForeignCa if first && age >= TAKEN_IN_USE => Effect::Close,
            Self::CertificateExpired if first && age >= EXPIRED => Effect::Close,
            Self::PeerCloses => Effect::Close,
            Self::ElementRejectsTokenOnce => Effect::RefuseToken,
            Self::UploadFailures if stores => Effect::Fail,
            Self::ElementForeignCa
            | Self::CertificateExpired
            | Self::UploadFailures
            | Self::None
            | Self::ProcessKilled
            | Self::Admin500
            | Self::AdminSlow
            | Self::AdminHung
            | Self::Certificate5Days
            | Self::Certificate20Days
            | Self::WrongClock
            | Self::StorageNearlyFull
            | Self::ReloadFailing
            | Self::CrlStale
            | Self::OutboxLagging
            | Self::TokenExpiring => Effect::Pass,
        }
    }
}

/// What stands before a router knows.
#[derive(Clone)]
struct Layer {
    present: Present,
    tokens: Arc<SeenTokens>,
    /// Whether this is the element that faults of one element are at.
    first: bool,
}

impl Layer {
    fn new(present: &Present, first: bool) -> Self {
        Self { present: present.clone(), tokens: Arc::default(), first }
    }

    async fn apply(mut self, effect: Effect, request: Request, next: Next) -> Response {
        match effect {
            Effect::Pass => next.run(request).await,
            Effect::Fail => refuse(request, Code::Internal).await.into_response(),
            Effect::ComeBack => {
                let refusal = refuse(request, Code::RateLimited).await;
                refusal.with_header(RETRY_AFTER, COME_BACK).into_response()
            }
            Effect::Delay => {
                tokio::time::sleep(SLOW).await;
                next.run(request).await
            }
            Effect::Hang => {
                self.present.until_other_than(Fault::AdminHung).await;
                next.run(request).await
            }
            Effect::Close => {
                let mut response = next.run(request).await;
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                response
            }
            Effect::RefuseToken => {
                let token = request.headers().get(AUTHORIZATION);
                if token.is_some_and(|token| self.tokens.refuses(token)) {
                    let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
                    let refusal = refuse(request, Code::Unauthorized).await;
                    return refusal.with_header(WWW_AUTHENTICATE, challenge).into_response();
                }
                next.run(request).await
            }
        }
    }
}

/// What stands before Admin's router.
pub(in crate::up) fn before_admin(present: &Present) -> Before {
    let layer = Layer::new(present, false);
    Before::new(move |router: Router| router.layer(from_fn_with_state(layer, admin)))
}

/// What stands before an element's router; `first` for the one that faults of one element are at.
pub(in crate::up) fn before_element(present: &Present, first: bool) -> Before {
    let layer = Layer::new(present, first);
    Before::new(move |router: Router| router.layer(from_fn_with_state(layer, element)))
}

async fn admin(State(layer): State<Layer>, request: Request, next: Next) -> Response {
    let effect = layer.present.now().at_admin(&request);
    layer.apply(effect, request, next).await
}

async fn element(State(layer): State<Layer>, request: Request, next: Next) -> Response {
    let (fault, age) = layer.present.with_age();
    let effect = fault.at_element(age, layer.first, &request);
    layer.apply(effect, request, next).await
}

fn is_ingester(request: &Request) -> bool {
    let basic = request.headers().get(AUTHORIZATION).and_then(|basic| basic.to_str().ok());
    basic.is_some_and(|basic| basic.starts_with(INGESTER_BASIC))
}

/// Reads the request to its end, since a body that is left unread costs the connection, which is no part of the fault.
async fn refuse(request: Request, code: Code) -> ProblemResponse {
    // What is longer, or breaks off, is left unread.
    let _ = Limited::new(request.into_body(), REFUSED_BODY_BYTES).collect().await;
    ProblemResponse::new(code, "this refusal was asked for with --fault")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn request(method: Method, path: &str, authorization: &str) -> Request {
        Request::builder().method(method).uri(path).header(AUTHORIZATION, authorization).body(Body::empty()).unwrap()
    }

    #[test]
    fn faults_of_tokens_leave_the_rest_of_admin_alone() {
        let token = request(Method::POST, "/oauth2/token", "Basic x");
        let list = request(Method::GET, "/api/v1/storage-elements", "Bearer x");
        let records = request(Method::POST, "/api/v1/files", "Bearer x");
        for (fault, effect) in [(Fault::Admin500, Effect::Fail), (Fault::AdminSlow, Effect::Delay)] {
            assert_eq!(fault.at_admin(&token), effect);
            assert_eq!((fault.at_admin(&list), fault.at_admin(&records)), (Effect::Pass, Effect::Pass));
        }
        let outbox = [&token, &list, &records].map(|request| Fault::OutboxLagging.at_admin(request));
        assert_eq!(outbox, [Effect::Pass, Effect::Pass, Effect::Fail]);
        let read = request(Method::GET, "/api/v1/files", "Bearer x");
        assert_eq!(Fault::OutboxLagging.at_admin(&read), Effect::Pass);
        assert_eq!([&token, &list].map(|request| Fault::AdminHung.at_admin(request)), [Effect::Hang; 2]);
    }

    /// `printf %s 'artstore-ingester:secret' | base64`, and of the first element's account.
    #[test]
    fn the_ingester_alone_is_told_to_come_back() {
        let ingester = request(Method::POST, "/oauth2/token", "Basic YXJ0c3RvcmUtaW5nZXN0ZXI6c2VjcmV0");
        let element = request(Method::POST, "/oauth2/token", "Basic YXJ0c3RvcmUtZWxlbWVudC1lZGl0OnNlY3JldA==");
        assert_eq!(Fault::TokenExpiring.at_admin(&ingester), Effect::ComeBack);
        assert_eq!(Fault::TokenExpiring.at_admin(&element), Effect::Pass);
    }

    #[test]
    fn faults_of_one_element_are_at_the_first() {
        let get = request(Method::GET, "/api/v1/files/1", "Bearer x");
        let early = |fault: Fault| fault.at_element(Duration::from_millis(600), true, &get);
        let late = |fault: Fault, first| fault.at_element(Duration::from_secs(9), first, &get);
        for fault in [Fault::ElementForeignCa, Fault::CertificateExpired] {
            assert_eq!(
                (early(fault), late(fault, true), late(fault, false)),
                (Effect::Pass, Effect::Close, Effect::Pass)
            );
        }
        let put = request(Method::PUT, "/api/v1/files/1", "Bearer x");
        assert_eq!(Fault::UploadFailures.at_element(Duration::ZERO, false, &put), Effect::Fail);
        assert_eq!(late(Fault::UploadFailures, true), Effect::Pass);
        assert_eq!(late(Fault::ElementRejectsTokenOnce, false), Effect::RefuseToken);
    }
}
