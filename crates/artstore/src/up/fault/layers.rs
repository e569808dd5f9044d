//! What Admin and the elements answer differently while a fault is present, in front of their routers.

use super::{Fault, Present};
use crate::assemble::Before;
use artstore_api::Code;
use artstore_http::ProblemResponse;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use http::header::CONNECTION;
use http::{HeaderValue, Method};
use http_body_util::{BodyExt as _, Limited};
use std::time::Duration;

/// The paths at which tokens are had.
const TOKEN_PATHS: [&str; 2] = ["/oauth2/token", "/api/v1/auth/token"];
/// How late a slow token is: twice what the objective allows.
const SLOW: Duration = Duration::from_secs(1);
/// The longest body that is read before it is refused, so that its connection lives on.
const REFUSED_BODY_BYTES: usize = 1 << 20;

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Nothing unusual.
    Pass,
    /// It is answered 500 at once.
    Fail,
    /// It is answered as usual, but late.
    Delay,
    /// It is answered as usual, and the connection closed.
    Close,
}

impl Fault {
    /// What it does to a request to Admin.
    fn at_admin(self, _method: &Method, path: &str) -> Effect {
        let is_token = TOKEN_PATHS.contains(&path);
        match self {
            Self::Admin500 if is_token => Effect::Fail,
            Self::AdminSlow if is_token => Effect::Delay,
            Self::Admin500 | Self::AdminSlow | Self::None | Self::ProcessKilled | Self::PeerCloses => Effect::Pass,
        }
    }

    /// What it does to a request to an element.
    const fn at_element(self) -> Effect {
        match self {
            Self::PeerCloses => Effect::Close,
            Self::None | Self::ProcessKilled | Self::Admin500 | Self::AdminSlow => Effect::Pass,
        }
    }
}

/// What stands before Admin's router.
pub(in crate::up) fn before_admin(present: &Present) -> Before {
    let present = present.clone();
    Before::new(move |router: Router| router.layer(from_fn_with_state(present, admin)))
}

/// What stands before an element's router.
pub(in crate::up) fn before_element(present: &Present) -> Before {
    let present = present.clone();
    Before::new(move |router: Router| router.layer(from_fn_with_state(present, element)))
}

async fn admin(State(present): State<Present>, request: Request, next: Next) -> Response {
    let effect = present.now().at_admin(request.method(), request.uri().path());
    apply(effect, request, next).await
}

async fn element(State(present): State<Present>, request: Request, next: Next) -> Response {
    apply(present.now().at_element(), request, next).await
}

async fn apply(effect: Effect, request: Request, next: Next) -> Response {
    match effect {
        Effect::Pass => next.run(request).await,
        Effect::Fail => {
            read_to_its_end(request).await;
            ProblemResponse::new(Code::Internal, "this failure was asked for with --fault").into_response()
        }
        Effect::Delay => {
            tokio::time::sleep(SLOW).await;
            next.run(request).await
        }
        Effect::Close => {
            let mut response = next.run(request).await;
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            response
        }
    }
}

/// A refused body that is left unread costs its connection, which is no part of the fault.
async fn read_to_its_end(request: Request) {
    // What is longer, or breaks off, is left unread.
    let _ = Limited::new(request.into_body(), REFUSED_BODY_BYTES).collect().await;
}
