//! Callers under a scheduler of the test's own: polled in any order, dropped at any await point, while the exchange goes on
//! one await point at a time. A failure prints its seed; `ARTSTORE_AUTH_SEED` chooses others.

use crate::lots::Lots;
use crate::support::{Rig, Step, grant, perform, stream};
use artstore_auth::{AuthErrorType, AuthSettings, BoxError, RequestBody, ResponseBody, Transport, TransportError};
use bytes::Bytes;
use http_body_util::BodyExt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tokio::sync::Semaphore;

/// An issuer that goes from one await point to the next only when it is let.
#[derive(Clone)]
struct Gated {
    gate: Arc<Semaphore>,
    begun: Arc<AtomicUsize>,
    running: Arc<AtomicUsize>,
    outcome: Arc<Mutex<Outcome>>,
}

#[derive(Clone, Copy)]
enum Outcome {
    Grant,
    Busy,
    Torn,
}

/// How often an exchange waits for the gate: twice before its answer begins, twice within.
const POINTS: usize = 4;

impl Gated {
    fn new(outcome: Outcome) -> Self {
        let (begun, running) = (Arc::default(), Arc::default());
        Self { gate: Arc::new(Semaphore::new(0)), begun, running, outcome: Arc::new(Mutex::new(outcome)) }
    }

    async fn pass(&self) {
        self.gate.acquire().await.unwrap().forget();
    }

    fn transport(&self) -> Transport {
        let gated = self.clone();
        Transport::new(tower::service_fn(move |request| gated.clone().answer(request)))
    }

    async fn answer(self, request: http::Request<RequestBody>) -> Result<http::Response<ResponseBody>, TransportError> {
        assert_eq!(self.running.fetch_add(1, Ordering::SeqCst), 0, "two exchanges at once");
        let _running = Running(Arc::clone(&self.running));
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let outcome = *self.outcome.lock().unwrap();
        self.pass().await;
        request.into_body().collect().await.unwrap();
        self.pass().await;
        let text = grant(&format!("canary-token-{number}"), 3600).to_string();
        let (first, second) = text.split_at(10);
        let (first, second) = (Bytes::from(first.to_owned()), Bytes::from(second.to_owned()));
        let frames = match outcome {
            Outcome::Busy => return perform(Step::Answer(503, vec![], String::new()), String::new).await,
            Outcome::Grant => [Ok(first), Ok(second)],
            Outcome::Torn => [Ok(first), Err(BoxError::from("torn"))],
        };
        let frames = futures_util::stream::unfold((self, frames.into_iter()), |(gated, mut frames)| async move {
            gated.pass().await;
            frames.next().map(|frame| (frame, (gated, frames)))
        });
        Ok(http::Response::new(stream(frames)))
    }
}

struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn rig(gated: &Gated) -> Rig {
    Rig::over(gated.transport(), |settings: &mut AuthSettings| settings.timeout = Duration::from_secs(20))
}

type Told = Result<u64, AuthErrorType>;

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A caller that the test polls itself.
struct Caller {
    future: Option<Pin<Box<dyn Future<Output = Told>>>>,
    woken: Arc<Woken>,
    told: Option<Told>,
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Own,
    Lent,
    Forced,
}

impl Caller {
    fn new(rig: &Rig, way: Way) -> Self {
        let service = rig.service.clone();
        let future: Pin<Box<dyn Future<Output = Told>>> = Box::pin(async move {
            let result = match way {
                Way::Own => service.access_token().await.map(|token| token.generation()),
                Way::Lent => service.with_access_token(|token| token.generation()).await,
                Way::Forced => service.refresh().await.map(|token| token.generation()),
            };
            result.map_err(|error| error.kind())
        });
        Self { future: Some(future), woken: Arc::new(Woken(true.into())), told: None }
    }

    fn poll(&mut self) {
        let Some(future) = &mut self.future else { return };
        self.woken.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&self.woken));
        if let Poll::Ready(told) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            (self.told, self.future) = (Some(told), None);
        }
    }

    fn poll_if_woken(&mut self) {
        if self.woken.0.load(Ordering::SeqCst) {
            self.poll();
        }
    }
}

/// The service's own tasks run until they wait for the gate or for time.
async fn tasks_run() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_dropped_at_any_await_point_leaves_no_waiter_hanging_and_no_second_fetch() {
    let outcomes = [(Outcome::Grant, Ok(1)), (Outcome::Busy, Err(AuthErrorType::ServerError))];
    let outcomes = outcomes.into_iter().chain([(Outcome::Torn, Err(AuthErrorType::Transport))]);
    for (outcome, told) in outcomes {
        for way in [Way::Own, Way::Lent, Way::Forced] {
            for dropped_after in 0..=POINTS + 3 {
                let gated = Gated::new(outcome);
                let rig = rig(&gated);
                let mut leader = Some(Caller::new(&rig, way));
                let mut waiters = [Way::Own, Way::Lent, Way::Forced].map(|way| Caller::new(&rig, way));
                for step in 0..POINTS + 8 {
                    if step == dropped_after {
                        leader = None;
                    }
                    leader.iter_mut().for_each(Caller::poll);
                    tasks_run().await;
                    // The waiters come one step after another, and then are polled only when they are woken.
                    waiters.iter_mut().take(step).for_each(Caller::poll_if_woken);
                    gated.gate.add_permits(usize::from(step > 0));
                    tasks_run().await;
                }
                for waiter in &waiters {
                    assert_eq!(waiter.told, Some(told), "{way:?} dropped after {dropped_after} polls");
                }
                assert_eq!(gated.begun.load(Ordering::SeqCst), 1, "{way:?} dropped after {dropped_after} polls");
                assert_eq!(rig.sum("auth_token_acquisition_cancelled_total", &[]), 0);
                rig.assert_identities();
            }
        }
    }
}

/// One random schedule: whoever is not dropped is told something, nobody makes a second exchange.
async fn schedule(seed: u64) {
    let mut lots = Lots(seed);
    let gated = Gated::new(lots.one(&[Outcome::Grant, Outcome::Busy, Outcome::Torn]));
    let rig = rig(&gated);
    let mut callers: Vec<Caller> = Vec::new();
    for _ in 0..60 {
        match lots.below(12) {
            0..3 => callers.push(Caller::new(&rig, lots.one(&[Way::Own, Way::Own, Way::Lent, Way::Forced]))),
            3..6 if !callers.is_empty() => {
                let caller = lots.below(callers.len());
                callers[caller].poll_if_woken();
            }
            // Without having been woken: futures must bear that.
            6 if !callers.is_empty() => {
                let caller = lots.below(callers.len());
                callers[caller].poll();
            }
            7 if !callers.is_empty() => {
                let caller = lots.below(callers.len());
                callers.swap_remove(caller);
            }
            8 => tokio::task::yield_now().await,
            9 => gated.gate.add_permits(1),
            10 => rig.service.invalidate(lots.below(3) as u64),
            11 => tokio::time::sleep(Duration::from_millis(lots.one(&[1, 10, 1_000]))).await,
            _ => {}
        }
    }
    // Now everything may go on, and only who is woken is polled.
    *gated.outcome.lock().unwrap() = Outcome::Grant;
    gated.gate.add_permits(10_000);
    for _ in 0..200 {
        tasks_run().await;
        callers.iter_mut().for_each(Caller::poll_if_woken);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let hanging = callers.iter().filter(|caller| caller.told.is_none()).count();
    assert_eq!(hanging, 0, "of {}", callers.len());
    assert_eq!(rig.sum("auth_token_requests_total", &[]), gated.begun.load(Ordering::SeqCst) as u64);
    rig.assert_identities();
    // Asked once more, the service serves.
    assert!(rig.service.access_token().await.is_ok());
}

struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("ARTSTORE_AUTH_SEED={}", self.0);
        }
    }
}

#[test]
fn no_schedule_leaves_a_caller_hanging_or_makes_two_exchanges_at_once() {
    let first = std::env::var("ARTSTORE_AUTH_SEED").map_or(0, |seed| seed.parse().unwrap());
    for seed in first..first + 1_500 {
        let _seed = Seed(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(schedule(seed));
    }
}

/// The contract's identities within one scrape.
fn assert_whole(scrape: &str) {
    let sum = |start: &str, label: &str| -> f64 {
        let lines = scrape.lines().filter(|line| line.starts_with(start) && line.contains(label));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
    };
    let requests = sum("auth_token_requests_total{", "");
    assert_eq!(requests, sum("auth_token_refresh_total{", ""));
    assert_eq!(requests, sum("auth_token_acquisition_duration_seconds_count", ""));
    let [valid, soon] = ["\"valid\"", "\"expiring_soon\""].map(|result| sum("auth_token_validation_total{", result));
    assert_eq!(sum("auth_token_source_total{", "\"cache\""), valid + soon);
    assert_eq!(sum("auth_token_source_total{", ""), sum("auth_token_validation_total{", ""));
}

/// The same on real threads, where no seed decides.
#[test]
fn real_threads_share_fetches_and_none_hangs() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    runtime.block_on(async {
        let gated = Gated::new(Outcome::Grant);
        gated.gate.add_permits(1_000_000);
        let rig = Arc::new(Rig::over(gated.transport(), |settings| settings.backoff.floor = Duration::from_millis(1)));
        let callers: Vec<_> = (0..16_u64)
            .map(|caller| {
                let rig = Arc::clone(&rig);
                tokio::spawn(async move {
                    let mut lots = Lots(caller);
                    for _ in 0..400 {
                        let asked = rig.service.access_token();
                        let token = tokio::time::timeout(Duration::from_secs(20), asked).await.expect("hangs").unwrap();
                        match lots.below(40) {
                            0 => rig.service.invalidate(token.generation()),
                            1 => _ = rig.service.refresh().await,
                            2 => drop(tokio::time::timeout(Duration::ZERO, rig.service.refresh()).await),
                            _ => tokio::task::yield_now().await,
                        }
                    }
                })
            })
            .collect();
        // Meanwhile every scrape sees whole events only.
        for _ in 0..100 {
            let scrape = rig.registry.encode(artstore_metrics::Format::Text);
            assert_whole(&scrape);
            tokio::task::yield_now().await;
        }
        for caller in callers {
            caller.await.unwrap();
        }
        rig.service.refresh().await.unwrap();
        assert_eq!(rig.sum("auth_token_validation_total", &[]), 16 * 400);
        assert_eq!(rig.sum("auth_token_requests_total", &[]), gated.begun.load(Ordering::SeqCst) as u64);
        rig.assert_identities();
    });
}
