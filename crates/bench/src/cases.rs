//! The ways to keep a token, each made ready with one in its cache, as a function that asks for it so many times.

use crate::{azure, naive};
use artstore_auth::{
    AdminInstance, AuthMetrics, AuthService, AuthSettings, RequestBody, ResponseBody, SecretSource, Transport,
    TransportError,
};
use artstore_metrics::{Clock, Monotonic, Registry, SystemClock, UnixTime};
use clap::ValueEnum;
use http_body_util::{BodyExt as _, Full};
use std::error::Error;
use std::future::Future as _;
use std::hint::black_box;
use std::task::Poll;
use std::time::Duration;

/// The answer of an issuer whose tokens live longer than a benchmark.
pub const GRANT: &str = concat!(
    r#"{"token_type":"Bearer","expires_in":86400,"access_token":""#,
    "eyJhbGciOiJSUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJpbmdlc3RlciJ9.c2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0dXJl",
    r#""}"#
);

/// Polls a future once, where it stands, as the task does whose future it is a part of.
macro_rules! polled {
    ($future:expr) => {
        std::pin::pin!($future).poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
    };
}
pub(crate) use polled;

/// Asks for the token so many times.
pub type Calls = Box<dyn Fn(u64) + Send + Sync>;

/// A way to keep a token, or a thing to compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// `AuthService::with_access_token`: the token is lent.
    Lent,
    /// `AuthService::access_token`: the token is cloned.
    Owned,
    /// `AuthService::access_token` when every call sees a new tick and asks both exact clocks.
    Exact,
    /// A tokio `RwLock`, an `Instant`, a clone of the header and three shared counters.
    Naive,
    /// `moka::sync::Cache::get` with a time to live, and no metrics.
    Moka,
    /// `azure_identity::ClientSecretCredential::get_token`, and no metrics.
    Azure,
    /// One `Instant::now`.
    Instant,
}

impl Case {
    /// Fills the cache.
    pub fn prepare(self) -> Result<Calls, Box<dyn Error>> {
        match self {
            Self::Lent => {
                let service = service(SystemClock::new())?;
                Ok(Box::new(move |calls| {
                    served(calls, || {
                        let lent = polled!(service.with_access_token(|token| {
                            black_box(token.header());
                        }));
                        matches!(lent, Poll::Ready(Ok(())))
                    });
                }))
            }
            Self::Owned => owned(SystemClock::new()),
            Self::Exact => owned(AlwaysTicking(SystemClock::new())),
            Self::Naive => {
                let service = naive::TokenService::holding(GRANT);
                Ok(Box::new(move |calls| {
                    served(calls, || matches!(black_box(&polled!(service.access_token())), Poll::Ready(Some(_))));
                }))
            }
            Self::Moka => {
                let cache = moka::sync::Cache::builder().time_to_live(Duration::from_secs(86_400)).build();
                cache.insert("files:write", http::HeaderValue::from_static(GRANT));
                Ok(Box::new(move |calls| served(calls, || black_box(cache.get(black_box("files:write"))).is_some())))
            }
            Self::Azure => azure::calls(),
            Self::Instant => Ok(Box::new(|calls| {
                for _ in 0..calls {
                    #[expect(clippy::disallowed_methods, reason = "it is the measure")]
                    black_box(std::time::Instant::now());
                }
            })),
        }
    }
}

fn owned<C: Clock>(clock: C) -> Result<Calls, Box<dyn Error>> {
    let service = service(clock)?;
    Ok(Box::new(move |calls| {
        served(calls, || matches!(black_box(&polled!(service.access_token())), Poll::Ready(Ok(_))));
    }))
}

/// Calls so many times, and checks that each call was answered: a benchmark of errors would be a fast one.
pub fn served(calls: u64, mut call: impl FnMut() -> bool) {
    let mut served = 0;
    for _ in 0..calls {
        served += u64::from(call());
    }
    assert_eq!(served, calls);
}

/// A service with a token, all metrics on, and a keeper that lives as long as this process.
fn service<C: Clock>(clock: C) -> Result<AuthService<C>, Box<dyn Error>> {
    let transport = Transport::new(tower::service_fn(async |_: http::Request<RequestBody>| {
        let body: ResponseBody = Full::from(GRANT).map_err(|never| match never {}).boxed_unsync();
        Ok::<_, TransportError>(http::Response::new(body))
    }));
    let instances = vec![AdminInstance::parse("https://127.0.0.1:8000")?];
    let metrics = AuthMetrics::new(&Registry::new(), &instances, clock.clone());
    let settings = AuthSettings::new("bench", SecretSource::inline("secret"), instances);
    let service = AuthService::new(settings, transport, metrics, clock)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(service.access_token())?;
    // Not dropped: a runtime that ends takes the keeper with it, and then no answer is repeated.
    Box::leak(Box::new(runtime));
    Ok(service)
}

/// The machine's clocks, whose coarse one is as fine as the others: every look sees a new tick.
#[derive(Debug, Clone)]
struct AlwaysTicking(SystemClock);

impl Clock for AlwaysTicking {
    fn monotonic(&self) -> Monotonic {
        self.0.monotonic()
    }

    fn wall(&self) -> UnixTime {
        self.0.wall()
    }
}
