//! A module of the tests' own, whose numbers they set; and what the parts do together.

use super::*;
use alerts::{AlertView, State};
use artstore_auth::metrics as auth;
use artstore_element::metrics as element;
use artstore_http::{Dependency, HealthReport};
use artstore_metrics::TestClock;
use artstore_tls::metrics as tls;
use axum::body::Body;
use http_body_util::BodyExt as _;
use report::Token;
use std::collections::BTreeMap;
use tower::ServiceExt as _;

/// 2027-01-15 08:00:00 UTC.
const START: u64 = 1_800_000_000;
const DAY: f64 = 86_400.0;

/// Numbers of one family, by label values; what was not set is not exported.
#[derive(Clone, Default)]
struct Numbers(Arc<Mutex<BTreeMap<Vec<String>, f64>>>);

impl Numbers {
    fn of(registry: &Registry, family: &'static Family) -> Self {
        let numbers = Self::default();
        let shown = numbers.clone();
        registry.computed(family, move |samples| {
            for (labels, number) in shown.0.lock().unwrap().iter() {
                samples.float(&labels.iter().map(String::as_str).collect::<Vec<_>>(), *number);
            }
        });
        numbers
    }

    fn set(&self, labels: &[&str], number: f64) {
        self.0.lock().unwrap().insert(labels.iter().map(|label| (*label).to_owned()).collect(), number);
    }

    fn remove(&self, labels: &[&str]) {
        self.0.lock().unwrap().remove(&labels.iter().map(|label| (*label).to_owned()).collect::<Vec<_>>());
    }
}

/// A module with a token, an outgoing TLS side and, as no real one, room for files.
struct Module {
    clock: TestClock,
    requests: Numbers,
    errors: Numbers,
    ttl: Numbers,
    refreshes: Numbers,
    expiry: Numbers,
    not_after: Numbers,
    handshakes: Numbers,
    free: Numbers,
    next_update: Numbers,
    exchanges: artstore_metrics::Histogram,
    status: Status<TestClock>,
}

impl Module {
    fn new() -> Self {
        Self::with_health(|| HealthReport::of(vec![Dependency::ok("token")]))
    }

    fn with_health(health: impl Fn() -> HealthReport + Send + Sync + 'static) -> Self {
        let (registry, clock) = (Registry::new(), TestClock::starting_at(UnixTime::from_secs(START)));
        let of = |family| Numbers::of(&registry, family);
        let capacity = of(&element::CAPACITY);
        capacity.set(&[], 1_000.0);
        let exchanges = registry.histogram(&auth::REFRESH_DURATION);
        let [requests, errors, ttl, refreshes, expiry, not_after, handshakes, free, next_update] = [
            &auth::REQUESTS,
            &auth::ERRORS,
            &auth::TTL,
            &auth::REFRESH,
            &tls::CERTIFICATE_EXPIRY,
            &tls::CERTIFICATE_NOT_AFTER,
            &tls::HANDSHAKES,
            &element::FREE,
            &tls::CRL_NEXT_UPDATE,
        ]
        .map(of);
        requests.set(&["success", ""], 0.0);
        requests.set(&["failure", "timeout"], 0.0);
        free.set(&[], 500.0);
        let status = Status::new(registry, Arc::new(health), clock.clone(), "ingester", "127.0.0.1:9020");
        Self {
            clock,
            requests,
            errors,
            ttl,
            refreshes,
            expiry,
            not_after,
            handshakes,
            free,
            next_update,
            exchanges,
            status,
        }
    }

    /// So much later, with a reading every five seconds.
    async fn wait(&self, seconds: u64) {
        for _ in 0..seconds / 5 {
            tokio::time::advance(Duration::from_secs(5)).await;
            self.status.sample();
        }
    }

    fn report(&self) -> Report {
        self.status.report_of(Extent::Page)
    }

    fn alert(&self, name: &str) -> AlertView {
        self.report().alerts.into_iter().find(|alert| alert.name == name).unwrap()
    }
}

/// The texts that Prometheus and Grafana get are the texts that are judged and drawn here.
#[test]
fn every_rule_and_every_panel_is_understood_but_for_what_only_prometheus_can_judge() {
    let panels = Panels::new();
    assert_eq!(panels.unreadable(), Vec::<&str>::new());
    assert!(panels.expressions().count() >= 12);
    for group in groups() {
        for record in &group.records {
            assert!(query::Expression::read(&record.expr).is_some(), "{}: {}", record.name, record.expr);
        }
        for alert in &group.alerts {
            let outside = ["ArtstoreAuthServiceDown", "Watchdog"].contains(&alert.name);
            assert_eq!(query::Expression::read(&alert.expr).is_none(), outside, "{}: {}", alert.name, alert.expr);
            assert!(query::hold(alert.hold).is_some(), "{}: {}", alert.name, alert.hold);
            let labels =
                Labels::from(["job", "instance", "subject", "cert_type", "issuer"].map(|l| (l.into(), "x".into())));
            for text in [alert.summary, alert.description] {
                let filled = templates::fill(text, &labels, 0.5);
                assert!(!filled.contains("{{") && !filled.contains("$"), "{}: {filled}", alert.name);
            }
        }
    }
}

/// The boundaries are those of the rules: 7 and 30 days; 5 and 15 minutes of `for`.
#[tokio::test(start_paused = true)]
async fn a_certificate_is_pending_at_once_fires_after_its_time_and_is_quiet_when_replaced() {
    let module = Module::new();
    module.expiry.set(&["server", "CN=a"], 6.99);
    let view = module.alert("ArtstoreTlsCertificateExpiryCritical");
    assert_eq!((view.state, view.severity, view.hold_seconds), (State::Pending, "critical", 300.0));
    let expected = "The server certificate CN=a of artstore-ingester 127.0.0.1:9020 expires within a week";
    assert_eq!(view.findings[0].summary, expected);
    assert_eq!(
        view.findings[0].description,
        "7.0 days are left until notAfter; below 0 it has expired, and peers refuse it."
    );
    assert_eq!(view.findings[0].since, START as f64);
    assert_eq!(module.alert("ArtstoreTlsCertificateExpiringSoon").state, State::Inactive);

    module.wait(295).await;
    assert_eq!(module.alert("ArtstoreTlsCertificateExpiryCritical").state, State::Pending);
    module.wait(5).await;
    assert_eq!(module.alert("ArtstoreTlsCertificateExpiryCritical").state, State::Firing);

    module.expiry.set(&["server", "CN=a"], 7.0);
    assert_eq!(module.alert("ArtstoreTlsCertificateExpiryCritical").state, State::Inactive);
    assert_eq!(module.alert("ArtstoreTlsCertificateExpiringSoon").state, State::Pending);
    module.expiry.set(&["server", "CN=a"], 30.0);
    assert_eq!(module.alert("ArtstoreTlsCertificateExpiringSoon").state, State::Inactive);
    module.expiry.set(&["server", "CN=a"], -0.5);
    let view = module.alert("ArtstoreTlsCertificateExpiryCritical");
    assert_eq!((view.state, view.findings[0].since), (State::Pending, START as f64 + 300.0));
    module.expiry.remove(&["server", "CN=a"]);
    assert_eq!(module.alert("ArtstoreTlsCertificateExpiryCritical").state, State::Inactive);
}

/// 14.4 % in both windows, and three failures at least.
#[tokio::test(start_paused = true)]
async fn the_error_rate_is_judged_over_both_windows_with_its_guard() {
    let module = Module::new();
    module.wait(600).await;
    module.requests.set(&["failure", "timeout"], 2.0);
    module.wait(5).await;
    assert_eq!(module.alert("ArtstoreAuthHighErrorRate").state, State::Inactive, "two failures are too few");
    module.requests.set(&["failure", "timeout"], 3.0);
    assert_eq!(module.alert("ArtstoreAuthHighErrorRate").state, State::Pending);
    module.requests.set(&["success", ""], 18.0);
    assert_eq!(module.alert("ArtstoreAuthHighErrorRate").state, State::Inactive, "3 of 21 is 14.29 %");
    module.requests.set(&["success", ""], 17.0);
    let view = module.alert("ArtstoreAuthHighErrorRate");
    assert_eq!(view.state, State::Pending, "3 of 20 is 15 %");
    assert!(view.findings[0].description.starts_with("15 % of the token acquisitions"), "{view:?}");
    // The short window lets it end five minutes after the last failure.
    module.wait(300).await;
    module.requests.set(&["success", ""], 18.0);
    assert_eq!(module.alert("ArtstoreAuthHighErrorRate").state, State::Inactive);
}

#[tokio::test(start_paused = true)]
async fn an_expiring_token_is_an_alert_only_while_refreshes_fail() {
    let module = Module::new();
    for trigger in ["initial", "expiring_soon"] {
        module.refreshes.set(&["failure", trigger], 0.0);
    }
    module.ttl.set(&[], 239.0);
    module.wait(10).await;
    assert_eq!(module.alert("ArtstoreAuthTokenExpiring").state, State::Inactive);
    module.refreshes.set(&["failure", "expiring_soon"], 1.0);
    let view = module.alert("ArtstoreAuthTokenExpiring");
    assert_eq!(view.state, State::Pending);
    assert_eq!(view.findings[0].description, "The token is good for another 3 min 59 s, and refreshes fail.");
    module.ttl.set(&[], 240.0);
    assert_eq!(module.alert("ArtstoreAuthTokenExpiring").state, State::Inactive);
}

/// Two of the rules look back days: six hours and one; three days and six hours.
#[tokio::test(start_paused = true)]
async fn slow_exchanges_of_many_hours_are_remembered_longer_than_the_panels_hour() {
    let module = Module::new();
    module.wait(300).await;
    // Every half hour an exchange of 1 s: 5 slow ones in 6 h, and still one in the last.
    for _ in 0..5 {
        module.exchanges.observe((), Duration::from_secs(1));
        module.wait(1_800).await;
    }
    let view = module.alert("ArtstoreAdminModuleLatencySLO");
    assert_eq!(view.state, State::Firing, "{view:?}");
    assert!(view.findings[0].description.starts_with("100 % of the token exchanges"), "{view:?}");
    module.wait(3_900).await;
    assert_eq!(module.alert("ArtstoreAdminModuleLatencySLO").state, State::Inactive, "none in the last hour");
}

#[tokio::test(start_paused = true)]
async fn quotients_of_gauges_and_moments_are_judged() {
    let module = Module::new();
    let state = |name| module.alert(name).state;
    module.free.set(&[], 100.0);
    assert_eq!(state("ArtstoreStorageNearlyFull"), State::Inactive, "a tenth is enough");
    module.free.set(&[], 99.0);
    assert_eq!(state("ArtstoreStorageNearlyFull"), State::Pending);
    // The wall clock counts for what expires, also after a step.
    module.next_update.set(&["CN=ca"], START as f64 + 3_600.0);
    assert_eq!(state("ArtstoreTlsCrlStale"), State::Inactive);
    module.clock.step_wall_ms(1_000);
    assert_eq!(state("ArtstoreTlsCrlStale"), State::Pending);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_judged_is_said() {
    let module = Module::new();
    let (down, watchdog) = (module.alert("ArtstoreAuthServiceDown"), module.alert("Watchdog"));
    assert_eq!((down.state, watchdog.state), (State::JudgedOutside, State::JudgedOutside));
    assert_eq!(down.note, "Only Prometheus sees that this process does not answer.");
    let lagging = module.alert("ArtstoreOutboxLagging");
    assert_eq!(
        (lagging.state, lagging.note.as_str()),
        (State::NotOfThisModule, "This module does not export what it is about.")
    );
    assert_eq!(module.report().alerts.len(), 15);
}

#[tokio::test(start_paused = true)]
async fn the_token_counts_down_and_is_absent_before_the_first() {
    let module = Module::new();
    assert_eq!(module.report().token, Token::None);
    module.ttl.set(&[], 12.5);
    assert_eq!(module.report().token, Token::Held { seconds_left: 12.5 });
    assert!(html::page(&module.report()).contains("<span id=\"token-left\" data-seconds=\"12.5\">12 s</span>"));
    let alone = Status::new(Registry::new(), Arc::new(|| HealthReport::of(vec![])), module.clock, "admin", "");
    let report = alone.report_of(Extent::All);
    assert_eq!(report.token, Token::NotOfThisModule);
    let page = html::page(&report);
    for said in [
        "not used here",
        "This module holds no certificates.",
        "This module depends on nothing.",
        "Not counted by this module: ",
    ] {
        assert!(page.contains(said), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn certificates_are_listed_by_what_is_left_of_them() {
    let module = Module::new();
    for (subject, days) in [("CN=far", 90.0), ("CN=gone", -1.0), ("CN=month", 29.9), ("CN=week", 6.9)] {
        module.not_after.set(&["server", subject, "ab"], START as f64 + days * DAY);
    }
    let report = module.report();
    let states: Vec<_> = report.certificates.iter().map(|one| (one.subject.as_str(), one.state())).collect();
    let expected =
        [("CN=gone", "expired"), ("CN=week", "expires within days"), ("CN=month", "expires soon"), ("CN=far", "good")];
    assert_eq!(states, expected);
    for number in 0..200 {
        module.not_after.set(&["ca", &format!("CN={number}"), "cd"], START as f64 + DAY);
    }
    let report = module.report();
    assert_eq!((report.certificates.len(), report.more_certificates), (100, 104));
    assert!(html::page(&report).contains("<p>And 104 more, which expire later.</p>"));
}

/// A failed exchange and its failed handshake, then the same again: two kinds, counted, the latest first.
#[tokio::test(start_paused = true)]
async fn errors_are_listed_by_kind_with_their_meaning_and_place() {
    let module = Module::new();
    let admin = "https://admin.example:8000";
    module.errors.set(&["timeout", admin], 0.0);
    module.handshakes.set(&["failure", "cert_expired"], 1.0);
    module.handshakes.set(&["success", ""], 5.0);
    module.wait(5).await;
    module.errors.set(&["timeout", admin], 2.0);
    module.wait(5).await;
    module.errors.set(&["timeout", admin], 3.0);
    let report = module.report();
    let listed: Vec<_> =
        report.errors.iter().map(|e| (e.family, e.kind.as_str(), e.place.as_str(), e.count, e.first, e.last)).collect();
    let start = START as f64;
    assert_eq!(
        listed,
        [
            ("auth_errors_total", "timeout", admin, 3, start + 10.0, start + 10.0),
            ("tls_handshake_total", "cert_expired", "", 1, start + 5.0, start + 5.0),
        ]
    );
    let meanings: Vec<_> = report.errors.iter().map(|error| error.meaning.as_str()).collect();
    assert_eq!(
        meanings,
        [
            "No token or no keys came from the Admin Module: it did not answer in time.",
            "A connection that this module opened failed: the certificate has expired."
        ]
    );
    assert!(report.errors[1].runbook.ends_with("/docs/runbooks/tls.md#cert_expired"), "{}", report.errors[1].runbook);
    assert!(report.errors[0].runbook.ends_with("/docs/runbooks/ArtstoreAuthHighErrorRate.md"));
}

#[tokio::test(start_paused = true)]
async fn hostile_names_are_shown_as_text_everywhere() {
    let hostile = "CN=</bdi><script>alert(1)</script>\" onload='x'\u{202e}&";
    let module = Module::with_health(move || HealthReport::of(vec![Dependency::fail(hostile, hostile)]));
    module.expiry.set(&["server", hostile], 1.0);
    module.not_after.set(&["server", hostile, "ab"], START as f64 + DAY);
    module.errors.set(&["dns", hostile], 0.0);
    module.wait(30).await;
    module.errors.set(&["dns", hostile], 1.0);
    module.wait(30).await;
    let page = html::page(&module.report());
    let escaped = "CN=&lt;/bdi&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot; onload=&#39;x&#39;\u{202e}&amp;";
    assert!(!page.contains("<script>"), "the only script is a file");
    assert_eq!(page.matches("<script").count(), 1);
    assert!(!page.contains("onload='") && !page.contains("\" onload"));
    // Dependency and reason, finding, next certificate, table of certificates, error, legend; the label of a drawing.
    assert!(page.matches(escaped).count() >= 7, "{}", page.matches(escaped).count());
    let isolated = page.matches("\u{202e}").count()
        - page.split("aria-label=\"").skip(1).filter(|l| l.split('"').next().unwrap().contains('\u{202e}')).count();
    assert_eq!(
        page.matches("\u{202e}&amp;</bdi>").count() + page.matches("\u{202e}&amp; of ").count(),
        isolated,
        "{page}"
    );
}

async fn ask(module: &Module, path: &str) -> (http::response::Parts, String) {
    let request = http::Request::get(path).body(Body::empty()).unwrap();
    let (parts, body) = module.status.router().oneshot(request).await.unwrap().into_parts();
    (parts, String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn everything_comes_from_the_listener_itself_under_a_strict_policy() {
    let module = Module::new();
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/?panels=all", "text/html; charset=utf-8"),
        ("/status.json", "application/json"),
        ("/status.css", "text/css; charset=utf-8"),
        ("/status.js", "text/javascript; charset=utf-8"),
        ("/status.svg", "image/svg+xml"),
    ] {
        let (parts, body) = ask(&module, path).await;
        let header = |name: &str| parts.headers[name].to_str().unwrap();
        assert_eq!((parts.status.as_u16(), header("content-type")), (200, kind), "{path}");
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; style-src 'self'; script-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        assert_eq!((header("cache-control"), header("x-content-type-options")), ("no-store", "nosniff"), "{path}");
        for loaded in ["src=\"", "url(", "@import", "<link rel=\"stylesheet\" href=\""] {
            for rest in body.split(loaded).skip(1) {
                assert!(rest.starts_with("status."), "{path} loads {}", &rest[..rest.len().min(40)]);
            }
        }
        assert!(!body.contains("style=\"") && !body.contains("<style"), "{path}");
    }
    let (parts, _) = ask(&module, "/other").await;
    assert_eq!(parts.status, 404);
}

/// What `docs/status.md` describes: no field is missing, none more.
#[tokio::test(start_paused = true)]
async fn the_json_has_the_documented_shape() {
    let module = Module::new();
    module.ttl.set(&[], 60.0);
    module.expiry.set(&["ca", "CN=x"], 1.0);
    module.not_after.set(&["ca", "CN=x", "ab"], START as f64);
    module.errors.set(&["dns", "https://a:1"], 1.0);
    let (_, body) = ask(&module, "/status.json").await;
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    let page = include_str!("../../../../docs/status.md");
    for (heading, value) in [
        ("### The report", &json),
        ("### A token", &json["token"]),
        ("### An alert", &json["alerts"][0]),
        ("### A finding", &json["alerts"][0]["findings"][0]),
        ("### A certificate", &json["certificates"][0]),
        ("### An error", &json["errors"][0]),
        ("### A panel", &json["panels"][0]),
        ("### A chart", &json["panels"][0]["charts"][0]),
        ("### A curve", &json["panels"][3]["charts"][0]["curves"][0]),
    ] {
        let part = page.split(heading).nth(1).unwrap_or_else(|| panic!("no {heading}")).split("\n#").next().unwrap();
        let documented = part.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let mut documented: Vec<&str> = documented.collect();
        documented.sort_unstable();
        assert_eq!(keys(value), documented.join(" "), "{heading}");
    }
    assert_eq!(json["format"], 1);
}

/// Four modules in one process keep what they keep: no endless growth, whatever happens.
#[tokio::test(start_paused = true)]
async fn memory_and_answers_are_bounded() {
    let module = Module::new();
    for number in 0..600 {
        module.errors.set(&["dns", &format!("https://admin-{number}.example:8000")], f64::from(number));
        module.not_after.set(&["ca", &format!("CN={number}"), &format!("{number:064}")], START as f64);
    }
    module.wait(3_650).await;
    let report = module.status.report_of(Extent::All);
    assert!(report.is_truncated && report.errors.len() == 20 && report.times.len() <= 180, "{}", report.times.len());
    assert!(report.times.last().unwrap() - report.times[0] <= 3_600.0);
    let (json, page) = (serde_json::to_string(&report).unwrap(), html::page(&report));
    assert!(json.len() < 400_000 && page.len() < 400_000, "{} {}", json.len(), page.len());
}
