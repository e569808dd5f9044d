//! Outages of ten minutes of every kind, and a thousand services that were started together.

use crate::support::{FIRST, Issuer, Rig, SECRET, Step, instances, number, pass, test_clock};
use artstore_auth::{
    AuthErrorType, AuthMetrics, AuthService, AuthSettings, RequestBody, SecretSource, TokenState, Transport,
};
use artstore_metrics::Registry;
use std::time::Duration;
use tokio::time::Instant;
use tower::ServiceExt;

/// No DNS, refused, reset, torn body, 503, empty 200, hung in three ways, and a defect.
fn kinds() -> [Step; 10] {
    [
        Step::Fail(AuthErrorType::Dns, false),
        Step::Fail(AuthErrorType::Connect, false),
        Step::Fail(AuthErrorType::Transport, true),
        Step::Torn,
        Step::Answer(503, vec![], String::new()),
        Step::Answer(200, vec![], String::new()),
        Step::Hang(false),
        Step::Hang(true),
        Step::Stalled,
        Step::Panic,
    ]
}

fn usable(rig: &Rig) -> bool {
    matches!(rig.service.state().token, TokenState::Usable(_))
}

/// The time from now until there is a usable token that the issuer granted after the outage.
async fn recovery(rig: &Rig, granted_before: u64) -> Duration {
    let restored = Instant::now();
    while !usable(rig) || rig.sum("auth_token_requests_total", &[("status", "success")]) == granted_before {
        assert!(restored.elapsed() <= Duration::from_secs(31), "not recovered");
        pass(Duration::from_millis(50)).await;
    }
    restored.elapsed()
}

#[tokio::test(start_paused = true)]
async fn the_refresher_alone_recovers_from_ten_minutes_of_any_outage_within_31_seconds() {
    let mut longest = Duration::ZERO;
    for kind in kinds() {
        for count in [1, 2] {
            // The outage begins at three ages of a token that is refreshed every four to five minutes.
            for begins in [300, 570, 700] {
                let issuer = Issuer::new([Step::Grant(600)], Step::Hang(true));
                let rig = Rig::with(issuer, |settings| settings.instances = instances()[..count].to_vec());
                assert_eq!(number(&rig.service.access_token().await.unwrap()), 1);
                rig.issuer.then(Step::Grant(600));
                pass(Duration::from_secs(begins)).await;
                let granted = rig.sum("auth_token_requests_total", &[("status", "success")]);
                rig.issuer.then(kind.clone());
                pass(Duration::from_secs(600)).await;
                assert!(!usable(&rig), "the last token's usable end is past");
                assert_eq!(rig.sum("auth_token_requests_total", &[("status", "success")]), granted);
                rig.issuer.then(Step::Grant(600));
                longest = longest.max(recovery(&rig, granted).await);
                // No caller was there but the first one and one that is served.
                rig.service.access_token().await.unwrap();
                assert_eq!(rig.sum("auth_token_source_total", &[("source", "fresh_request")]), 1);
                pass(Duration::from_secs(31)).await;
                rig.assert_identities();
            }
        }
    }
    println!("the longest recovery took {longest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cold_start_into_an_outage_is_served_within_31_seconds_of_its_end() {
    for kind in kinds() {
        let rig = Rig::with(Issuer::new([], kind), |settings| settings.instances = instances());
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(600) {
            rig.service.access_token().await.unwrap_err();
            pass(Duration::from_millis(500)).await;
        }
        rig.issuer.then(Step::Grant(600));
        let restored = Instant::now();
        while rig.service.access_token().await.is_err() {
            assert!(restored.elapsed() <= Duration::from_secs(31), "not recovered");
            pass(Duration::from_millis(50)).await;
        }
        rig.assert_identities();
    }
}

#[tokio::test(start_paused = true)]
async fn while_admin_is_down_for_the_last_five_minutes_no_caller_sees_it() {
    for kind in kinds() {
        let rig = Rig::new(Issuer::new([Step::Grant(1800)], kind));
        rig.service.access_token().await.unwrap();
        // The refresh falls into the last 360 s; from then on everything fails.
        pass(Duration::from_secs(1_430)).await;
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(360) {
            assert_eq!(number(&rig.service.access_token().await.unwrap()), 1);
            pass(Duration::from_millis(250)).await;
        }
        assert!(rig.sum("auth_token_requests_total", &[("status", "failure")]) >= 5);
        // Ten seconds before its end it is given to nobody.
        assert!(rig.service.access_token().await.is_err());
        assert_eq!(rig.ttl().map(|seconds| seconds <= 10.0), Some(true));
        pass(Duration::from_secs(31)).await;
        rig.assert_identities();
    }
}

/// Two instances with behaviours of their own: one that is busy, one that is down.
struct Two {
    issuers: [Issuer; 2],
    rig: Rig,
}

impl Two {
    fn new(first: Step, second: Step) -> Self {
        let issuers = [Issuer::new([], first), Issuer::new([], second)];
        let transports = issuers.clone().map(|issuer| issuer.transport());
        let transport = Transport::new(tower::service_fn(move |request: http::Request<RequestBody>| {
            let [first, second] = transports.clone();
            let asked = if FIRST.ends_with(request.uri().authority().unwrap().as_str()) { first } else { second };
            asked.oneshot(request)
        }));
        Self { rig: Rig::over(transport, |settings| settings.instances = instances()), issuers }
    }
}

fn busy(seconds: &str) -> Step {
    Step::Answer(429, vec![("retry-after", seconds.to_owned())], String::new())
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_asks_for_a_pause_gets_it_although_the_other_one_is_down() {
    for swapped in [false, true] {
        let down = Step::Fail(AuthErrorType::Connect, false);
        let two = if swapped { Two::new(down, busy("120")) } else { Two::new(busy("120"), down) };
        let (busy, down) = (&two.issuers[usize::from(swapped)], &two.issuers[usize::from(!swapped)]);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(119) {
            two.rig.service.access_token().await.unwrap_err();
            pass(Duration::from_millis(500)).await;
        }
        assert_eq!(busy.requests(), 1, "swapped: {swapped}");
        assert!(down.requests() >= 5, "{}", down.requests());
        // The one that was down is back: its recovery does not wait for the other one's wish.
        down.then(Step::Grant(600));
        busy.then(Step::Panic);
        let restored = Instant::now();
        while two.rig.service.access_token().await.is_err() {
            assert!(restored.elapsed() <= Duration::from_secs(31), "not recovered");
            pass(Duration::from_millis(50)).await;
        }
        two.rig.assert_identities();
    }
}

#[tokio::test(start_paused = true)]
async fn if_all_instances_ask_for_pauses_the_shortest_one_is_kept() {
    let two = Two::new(busy("200"), busy("90"));
    two.rig.service.access_token().await.unwrap_err();
    pass(Duration::from_secs(89)).await;
    two.rig.service.access_token().await.unwrap_err();
    assert_eq!([two.issuers[0].requests(), two.issuers[1].requests()], [1, 1]);
    two.issuers[1].then(Step::Grant(600));
    pass(Duration::from_secs(1)).await;
    two.rig.service.access_token().await.unwrap();
    assert_eq!([two.issuers[0].requests(), two.issuers[1].requests()], [1, 2]);
    two.rig.assert_identities();
}

#[tokio::test(start_paused = true)]
async fn a_thousand_services_started_together_refresh_at_most_fifty_a_second_and_five_minutes_early() {
    let (issuer, clock) = (Issuer::new([], Step::Grant(3_600)), test_clock());
    let services: Vec<_> = (0..1_000)
        .map(|_| {
            let metrics = AuthMetrics::new(&Registry::new(), &instances(), clock.clone());
            let settings = AuthSettings::new("ingester", SecretSource::inline(SECRET), instances());
            AuthService::new(settings, issuer.transport(), metrics, clock.clone()).unwrap()
        })
        .collect();
    let began = Instant::now();
    for service in &services {
        service.access_token().await.unwrap();
    }
    // Three rounds of refreshes: what the first scatters the next ones keep apart.
    pass(Duration::from_secs(3 * 3_300)).await;
    let mut times: Vec<Duration> = issuer.seen().iter().map(|seen| seen.at - began).collect();
    times.sort();
    let (first, refreshes) = times.split_at(1_000);
    assert!(first.iter().all(Duration::is_zero) && refreshes.len() >= 3_000, "{}", refreshes.len());
    let peak = refreshes.iter().enumerate().map(|(place, at)| {
        refreshes[place..].iter().take_while(|other| **other - *at < Duration::from_secs(1)).count()
    });
    let peak = peak.max().unwrap();
    println!("{} refreshes, at most {peak} in any second", refreshes.len());
    assert!(peak <= 50, "{peak}");
    // The first refreshes of all: at least five minutes before the end of the token that they replace, which is 3600 s.
    let (earliest, latest) = (refreshes[0], refreshes[999]);
    assert!(earliest >= Duration::from_secs(3_240) && latest <= Duration::from_secs(3_300), "{earliest:?} {latest:?}");
    for service in &services {
        let TokenState::Usable(left) = service.state().token else { panic!("not usable") };
        assert!(left >= Duration::from_secs(290), "{left:?}");
    }
}
