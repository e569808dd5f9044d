//! The matrix of faults and alerts: each fault, made by `artstore up` itself, raises its own alert at the webhook and no other, and
//! its repair resolves it.

use crate::stack::{Stack, WATCHDOG};
use artstore_e2e::process::workspace;
use artstore_e2e::{ops_soak, poll};
use artstore_metrics::Monotonic;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

/// How long an alert may take to fire after its fault has begun, and to be resolved after the repair.
const LIMIT: Duration = Duration::from_secs(15);
/// After this it is given up; what came between the two limits is shown in the table, and fails the test.
const PATIENCE: Duration = Duration::from_secs(40);
/// How long things must go well before they count as healthy: the longest window of the fast profile but one.
const HEALTHY_FOR: f64 = 12.0;
/// How often each fault is made when the long runs are asked for.
const SOAK_RUNS: usize = 10;
/// The process kills itself.
const PROCESS_KILLED: &str = "process-killed";

/// How many stacks share the rows, side by side.
const STACKS: usize = 3;

/// A fault, the alerts that it must raise, and those that may come along: what else the same fault does to the same module, told or
/// silenced as chance lets one fire before the other. No others.
#[derive(Debug)]
struct Row {
    fault: &'static str,
    alerts: &'static [&'static str],
    along: &'static [&'static str],
}

/// A fault with one alert, and no other.
const fn one(fault: &'static str, alerts: &'static [&'static str]) -> Row {
    Row { fault, alerts, along: &[] }
}

const ROWS: [Row; 17] = [
    one(PROCESS_KILLED, &["ArtstoreAuthServiceDown"]),
    one("admin-500", &["ArtstoreAuthHighErrorRate"]),
    one("admin-slow", &["ArtstoreAdminModuleLatencySLO"]),
    one("element-foreign-ca", &["ArtstoreTlsHandshakeFailures"]),
    one("certificate-5-days", &["ArtstoreTlsCertificateExpiryCritical"]),
    one("certificate-20-days", &["ArtstoreTlsCertificateExpiringSoon"]),
    one("peer-closes", &["ArtstoreTlsLowConnectionReuse"]),
    one("element-rejects-token-once", &["ArtstoreAuthLowCacheHitRate"]),
    one("certificate-expired", &["ArtstoreTlsCertificateExpiryCritical", "ArtstoreTlsHandshakeFailures"]),
    one("storage-nearly-full", &["ArtstoreStorageNearlyFull"]),
    one("reload-failing", &["ArtstoreTlsReloadFailing"]),
    one("crl-stale", &["ArtstoreTlsCrlStale"]),
    one("outbox-lagging", &["ArtstoreOutboxLagging"]),
    one("upload-failures", &["ArtstoreUploadFailures"]),
    // The Ingester was told when to come back: if its token has run out by then, uploads fail, as the alert foretells, and none
    // comes from the cache.
    Row {
        fault: "token-expiring",
        alerts: &["ArtstoreAuthTokenExpiring"],
        along: &["ArtstoreAuthLowCacheHitRate", "ArtstoreUploadFailures"],
    },
    // These two are the last of their stacks: of an alert that is told, then silenced while it ends, Alertmanager does not tell again when
    // another row raises it soon after.
    // An exchange that runs into its time limit is slow as well as failed; a token runs out, and then nothing comes from the cache,
    // is reported or stored. A connection whose request timed out carries no other.
    Row {
        fault: "admin-hung",
        alerts: &["ArtstoreAuthHighErrorRate"],
        along: &[
            "ArtstoreAdminModuleLatencySLO",
            "ArtstoreAuthLowCacheHitRate",
            "ArtstoreAuthTokenExpiring",
            "ArtstoreOutboxLagging",
            "ArtstoreTlsLowConnectionReuse",
            "ArtstoreUploadFailures",
        ],
    },
    // The tokens of before are refused as well: uploads fail until there is one that is taken, and none comes from the cache.
    Row {
        fault: "wrong-clock",
        alerts: &["ArtstoreAuthHighErrorRate"],
        along: &[
            "ArtstoreAuthLowCacheHitRate",
            "ArtstoreAuthTokenExpiring",
            "ArtstoreOutboxLagging",
            "ArtstoreUploadFailures",
        ],
    },
];

/// What one run of a row showed.
#[derive(Debug)]
struct Outcome {
    row: &'static Row,
    /// Until all expected alerts were at the webhook, and after the repair until all were resolved there.
    fired_after: Option<Duration>,
    resolved_after: Option<Duration>,
    /// Heard by the webhook.
    told: BTreeSet<String>,
    /// Fired in Prometheus; what was not told was silenced by an inhibition.
    fired: BTreeSet<String>,
    /// Expected alerts whose expression gave nothing while the fault lasted.
    empty: Vec<String>,
}

impl Outcome {
    /// What is wrong with it.
    fn findings(&self) -> Vec<String> {
        let Row { fault, alerts, along } = self.row;
        let mut out = Vec::new();
        for (what, after) in [("fired", self.fired_after), ("resolved", self.resolved_after)] {
            if after.is_none_or(|after| after > LIMIT) {
                out.push(format!("{fault}: {what} after {after:?}"));
            }
        }
        let others = |name: &&String| !alerts.contains(&name.as_str()) && !along.contains(&name.as_str());
        out.extend(self.told.iter().filter(others).map(|name| format!("{fault}: told of {name}")));
        out.extend(self.empty.iter().map(|name| format!("{fault}: the expression of {name} is empty")));
        out
    }
}

/// Waits for what may come late: how long it took since then.
fn wait_for(stack: &Stack, since: Monotonic, mut is_so: impl FnMut() -> bool) -> Option<Duration> {
    poll::until("what may come late", PATIENCE * 2, || {
        let after = stack.webhook.now().since(since);
        if is_so() {
            return Some(Some(after));
        }
        (after > PATIENCE).then_some(None)
    })
}

/// Makes the fault, waits for its alerts, repairs, and waits until they are resolved and nothing else is left.
fn run(stack: &mut Stack, row: &'static Row) -> Outcome {
    let (began, time) = (stack.webhook.now(), stack.time());
    stack.begin(row.fault);
    let fired_after = wait_for(stack, began, || {
        let firing = stack.firing_at_webhook(began);
        row.alerts.iter().all(|&name| firing.contains(name))
    });
    let rules = stack.alerting_rules();
    let expected = rules.iter().filter(|rule| row.alerts.contains(&rule.name.as_str()));
    let empty = expected.filter(|rule| stack.prometheus.query(&rule.query).is_empty());
    let empty = empty.map(|rule| rule.name.clone()).collect();

    let repaired = stack.webhook.now();
    if row.fault == PROCESS_KILLED {
        assert_eq!(stack.up.process.wait(LIMIT).signal(), Some(9));
        stack.up.restart_in_place();
    } else {
        stack.repair();
    }
    let resolved_after = wait_for(stack, repaired, || {
        let firing = stack.firing_at_webhook(began);
        !row.alerts.iter().any(|&name| firing.contains(name))
    });
    stack.await_quiet(began, row.along);
    let (told, fired) = (stack.told_since(began), stack.fired_since(time));
    Outcome { row, fired_after, resolved_after, told, fired, empty }
}

/// Every alert's expression gives nothing while all is well, but for the watchdog's, which always does.
fn assert_healthy(stack: &Stack) {
    let since = stack.time();
    poll::until("some time passes with all well", PATIENCE, || (stack.time() - since > HEALTHY_FOR).then_some(()));
    let rules = stack.alerting_rules();
    assert_eq!(rules.len(), 15);
    for rule in &rules {
        assert_eq!(rule.health, "ok", "{}: {}", rule.name, rule.last_error);
        let found = stack.prometheus.query(&rule.query);
        assert_eq!(found.is_empty(), rule.name != WATCHDOG, "{}: {found:?}", rule.name);
    }
    let traffic = stack.prometheus.query("sum(increase(ingester_uploads_total{outcome=\"stored\"}[10s]))");
    assert!(traffic[0].value() > 10.0, "{traffic:?}");
}

/// Some rows on a stack of their own, one run after the other.
fn run_rows(rows: &[&'static Row], times: usize) -> Vec<Outcome> {
    let mut stack = Stack::start();
    assert_healthy(&stack);
    rows.iter().flat_map(|row| std::iter::repeat_n(*row, times)).map(|row| run(&mut stack, row)).collect()
}

/// Faults × alerts: how often each was told, with a `+` and how often it was silenced; and how long it took.
fn table(outcomes: &[Outcome]) -> String {
    let alerts: BTreeSet<&str> = ROWS.iter().flat_map(|row| row.alerts).copied().collect();
    let mut out = String::new();
    for (index, alert) in alerts.iter().enumerate() {
        let _ = writeln!(out, "{:>2} {alert}", index + 1);
    }
    let numbers: String = (1..=alerts.len()).map(|number| format!("{number:>6}")).collect();
    let _ = writeln!(out, "{:<28}{:>5}{numbers}  fires, resolves after (least/median/most)", "fault", "runs");
    for row in &ROWS {
        let runs: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.row.fault == row.fault).collect();
        let _ = write!(out, "{:<28}{:>5}", row.fault, runs.len());
        for &alert in &alerts {
            let told = runs.iter().filter(|run| run.told.contains(alert)).count();
            let silenced = runs.iter().filter(|run| run.fired.contains(alert) && !run.told.contains(alert)).count();
            let cell = match (told, silenced) {
                (0, 0) => ".".to_owned(),
                (told, 0) => told.to_string(),
                (told, silenced) => format!("{told}+{silenced}"),
            };
            let _ = write!(out, "{cell:>6}");
        }
        let fires = spread(runs.iter().map(|run| run.fired_after));
        let _ = writeln!(out, "  {fires}, {}", spread(runs.iter().map(|run| run.resolved_after)));
    }
    out
}

/// Least, median and most, in seconds.
fn spread(times: impl Iterator<Item = Option<Duration>>) -> String {
    let mut times: Vec<f64> = times.map(|time| time.map_or(f64::INFINITY, |time| time.as_secs_f64())).collect();
    times.sort_by(f64::total_cmp);
    match (times.first(), times.get(times.len() / 2), times.last()) {
        (Some(least), Some(median), Some(most)) => format!("{least:.1}/{median:.1}/{most:.1} s"),
        _ => "-".to_owned(),
    }
}

#[test]
fn every_alert_has_a_fault() {
    let expected: BTreeSet<&str> = ROWS.iter().flat_map(|row| row.alerts).copied().collect();
    let rules = std::fs::read_to_string(workspace().join("deploy/prometheus/artstore.rules.yml")).unwrap();
    let alerts = rules.lines().filter_map(|line| line.trim_start().strip_prefix("- alert: "));
    assert_eq!(alerts.filter(|alert| *alert != WATCHDOG).collect::<BTreeSet<_>>(), expected);
}

/// The rows that are exact once each, or all of them ten times in a row with `ARTSTORE_OPS_SOAK=1`.
#[test]
fn each_fault_raises_its_alert_and_no_other_and_its_repair_resolves_it() {
    let times = if ops_soak() { SOAK_RUNS } else { 1 };
    let mut shares: [Vec<&'static Row>; STACKS] = Default::default();
    let rows = ROWS.iter().filter(|row| ops_soak() || row.along.is_empty());
    rows.enumerate().for_each(|(index, row)| shares[index % STACKS].push(row));
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let running: Vec<_> = shares.iter().map(|rows| scope.spawn(move || run_rows(rows, times))).collect();
        running.into_iter().flat_map(|stack| stack.join().unwrap()).collect()
    });
    println!("{}", table(&outcomes));
    let findings: Vec<String> = outcomes.iter().flat_map(Outcome::findings).collect();
    assert!(findings.is_empty(), "{findings:#?}");
}
