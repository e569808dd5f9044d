//! `artstore up --fault`: each fault shows where its alert looks and nowhere else, and its repair ends it.

use artstore_e2e::poll;
use artstore_e2e::process::artstore;
use artstore_e2e::scrape::Scrape;
use artstore_e2e::up::Up;
use artstore_metrics::{Clock, SystemClock};
use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

/// How long a fault may take to show, and its repair to be seen.
const SOON: Duration = Duration::from_secs(15);
/// How long tokens live: half of it passes before one is exchanged.
const LIFETIME: &str = "6";

/// What an alert looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sign {
    TokensFail,
    TokensLate,
    CacheMissed,
    HandshakesFail,
    ConnectionsNotReused,
    CertificateUnderAWeek,
    CertificateUnderAMonth,
    FilesNotReloaded,
    ListShort,
    UploadsFail,
    NearlyFull,
    OutboxOld,
}
use Sign::{
    CacheMissed, CertificateUnderAMonth, CertificateUnderAWeek, ConnectionsNotReused, FilesNotReloaded, HandshakesFail,
    ListShort, NearlyFull, OutboxOld, TokensFail, TokensLate, UploadsFail,
};

/// Each fault, what it must show, and what may come with it. Tokens live for seconds here, so that uploads may run out of them.
const FAULTS: [(&str, &[Sign], &[Sign]); 16] = [
    ("admin-500", &[TokensFail], &[]),
    ("admin-slow", &[TokensLate], &[]),
    ("peer-closes", &[ConnectionsNotReused], &[]),
    ("element-rejects-token-once", &[CacheMissed], &[]),
    ("element-foreign-ca", &[HandshakesFail], &[]),
    ("certificate-5-days", &[CertificateUnderAWeek], &[]),
    ("certificate-20-days", &[CertificateUnderAMonth], &[]),
    ("certificate-expired", &[CertificateUnderAWeek, HandshakesFail], &[]),
    ("storage-nearly-full", &[NearlyFull], &[]),
    ("reload-failing", &[FilesNotReloaded], &[]),
    ("crl-stale", &[ListShort], &[]),
    ("outbox-lagging", &[OutboxOld], &[]),
    ("upload-failures", &[UploadsFail], &[]),
    ("token-expiring", &[TokensFail], &[UploadsFail, CacheMissed]),
    ("admin-hung", &[TokensFail, TokensLate], &[UploadsFail, CacheMissed, OutboxOld]),
    ("wrong-clock", &[TokensFail, UploadsFail], &[CacheMissed, OutboxOld]),
];

/// What was scraped at one moment.
struct Moment {
    ingester: Scrape,
    element: Scrape,
}

impl Moment {
    fn of(up: &Up) -> Self {
        Self { ingester: up.scrape("ARTSTORE_OPS_URL"), element: up.scrape("ARTSTORE_ELEMENT_EDIT_OPS_URL") }
    }

    fn stored(&self) -> f64 {
        self.ingester.sum("ingester_uploads_total", &[("outcome", "stored")])
    }

    /// Exchanges of tokens that took longer than the objective.
    fn late(&self) -> f64 {
        let all = self.ingester.sum("auth_token_refresh_duration_seconds_count", &[]);
        all - self.ingester.sum("auth_token_refresh_duration_seconds_bucket", &[("le", "0.5")])
    }

    /// The signs of counters that have moved since `before`, and of gauges as they are.
    fn signs_since(&self, before: &Self) -> BTreeSet<Sign> {
        let grown =
            |name: &str, labels: &[(&str, &str)]| self.ingester.sum(name, labels) - before.ingester.sum(name, labels);
        // Of ten or more.
        let share = |part: f64, all: f64| if all >= 10.0 { part / all } else { 0.0 };
        let gauge = |name: &str| self.element.sum(name, &[]);
        let (tokens, connections) = ("auth_token_source_total", "tls_connection_reuse_total");
        let days = self.days_left();
        let list = self.ingester.samples("tls_crl_next_update_timestamp_seconds").map(|sample| sample.value);
        let now = SystemClock::new().wall().as_secs_f64();
        let signs = [
            (TokensFail, grown("auth_token_requests_total", &[("status", "failure")]) > 0.0),
            (TokensLate, self.late() > before.late()),
            (CacheMissed, share(grown(tokens, &[("source", "fresh_request")]), grown(tokens, &[])) > 0.2),
            (HandshakesFail, grown("tls_handshake_total", &[("status", "failure")]) >= 3.0),
            (ConnectionsNotReused, share(grown(connections, &[("reused", "false")]), grown(connections, &[])) > 0.3),
            (CertificateUnderAWeek, days < 7.0),
            (CertificateUnderAMonth, (7.0..30.0).contains(&days)),
            (FilesNotReloaded, self.ingester.sum("tls_reload_pending_failure", &[]) > 0.0),
            (ListShort, list.fold(f64::INFINITY, f64::min) - now < 3600.0),
            (UploadsFail, grown("ingester_uploads_total", &[("outcome", "failed")]) > 0.0),
            (NearlyFull, gauge("element_free_bytes") / gauge("element_capacity_bytes") < 0.1),
            (OutboxOld, gauge("element_outbox_oldest_age_seconds") > 2.0),
        ];
        signs.into_iter().filter(|(_, shown)| *shown).map(|(sign, _)| sign).collect()
    }

    /// Of the certificate that ends first.
    fn days_left(&self) -> f64 {
        let of = |scrape: &Scrape| {
            let days = scrape.samples("tls_certificate_expiry_days").map(|sample| sample.value);
            days.fold(f64::INFINITY, f64::min)
        };
        of(&self.ingester).min(of(&self.element))
    }
}

/// Waits until uploads have gone on without any sign for a while: healthy, or healthy again.
fn await_health(up: &Up, what: &str) {
    let mut since = Moment::of(up);
    poll::until(what, SOON, || {
        let now = Moment::of(up);
        let signs = now.signs_since(&since);
        if !signs.is_empty() {
            since = now;
            return None;
        }
        (now.stored() - since.stored() >= 8.0).then_some(())
    });
}

#[test]
fn each_fault_shows_where_its_alert_looks_and_nowhere_else_until_its_repair() {
    let up = Up::start_with(&["--fault", "none", "--demo-traffic=15", "--token-lifetime", LIFETIME]);
    let file = up.data().join("fault");
    await_health(&up, "health before the first fault");
    for (fault, must, may) in FAULTS {
        let before = Moment::of(&up);
        let (must, may) = (BTreeSet::from_iter(must.iter().copied()), BTreeSet::from_iter(may.iter().copied()));
        let allowed = &must | &may;
        let beside = up.data().join("fault.new");
        std::fs::write(&beside, fault).unwrap();
        std::fs::rename(&beside, &file).unwrap();
        let ((), shown) = poll::timed(|| {
            poll::until(fault, SOON, || {
                let signs = Moment::of(&up).signs_since(&before);
                assert!(signs.is_subset(&allowed), "{fault} shows as {signs:?}, which should be {must:?}");
                signs.is_superset(&must).then_some(())
            });
        });
        std::fs::remove_file(&file).unwrap();
        let ((), repaired) = poll::timed(|| await_health(&up, &format!("health after {fault}")));
        println!("{fault:>26}: shown after {shown:?}, healthy {repaired:?} after its repair");
    }
    let log = up.process.log();
    let told = |what: &str, fault: &str| log.matches(&format!("\"{what}\",\"fault\":\"{fault}\"")).count();
    for (fault, ..) in FAULTS {
        assert_eq!((told("fault begins", fault), told("fault ends", fault)), (1, 1), "{fault}");
    }
}

#[test]
fn a_process_that_is_told_to_dies_by_sigkill_once_it_was_healthy() {
    let mut up = Up::start_with(&["--fault", "process-killed"]);
    assert_eq!(up.process.wait(SOON).signal(), Some(9));
    assert!(up.process.log().contains("\"fault begins\",\"fault\":\"process-killed\""), "{}", up.process.log());
}

/// The file is there for those who asked for faults.
#[test]
fn without_the_option_the_file_breaks_nothing() {
    let up = Up::start_with(&["--demo-traffic=20"]);
    std::fs::write(up.data().join("fault"), "upload-failures").unwrap();
    let before = Moment::of(&up);
    poll::until("uploads", SOON, || (Moment::of(&up).stored() - before.stored() >= 20.0).then_some(()));
    assert_eq!(Moment::of(&up).ingester.sum("ingester_uploads_total", &[("outcome", "failed")]), 0.0);
    // The traffic cleans up behind itself: twenty stay, and one or two are on their way.
    let held = || up.scrape("ARTSTORE_ELEMENT_EDIT_OPS_URL").sum("element_files", &[]);
    poll::until("forty more", SOON, || (Moment::of(&up).stored() >= 60.0).then_some(()));
    assert!(held() <= 24.0, "{}", held());
}

#[test]
fn an_unknown_fault_is_wrong_usage_with_the_names() {
    let output = artstore().args(["up", "--fault", "admin-501"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    for (fault, ..) in FAULTS {
        assert!(said.contains(fault), "{fault}: {said}");
    }
    for fault in ["none", "process-killed"] {
        assert!(said.contains(fault), "{fault}: {said}");
    }
}
