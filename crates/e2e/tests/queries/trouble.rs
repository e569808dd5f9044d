//! The same in a house in trouble: what is silent in a healthy one gives values, and they are the right ones; a ratio that is always 100 %
//! is found out.

use crate::agreement::distance;
use crate::corpus::{Kind, Shipped, shipped};
use crate::live::{Engine, INTERVAL, RATES, agrees_with_the_calculation, await_scrapes, newest};
use crate::samples::Samples;
use crate::workload::Scrapes;
use artstore_e2e::parts::forged;
use artstore_e2e::payload::Payload;
use artstore_e2e::poll;
use artstore_e2e::process::workspace;
use artstore_e2e::prometheus::{Plan, Prometheus};
use artstore_e2e::up::Up;
use std::time::Duration;

/// The longest that a fault may take to show.
const LIMIT: Duration = Duration::from_secs(30);

/// A house whose faults the test chooses.
struct Troubled {
    up: Up,
    token: String,
    small: Payload,
}

impl Troubled {
    fn start() -> Self {
        let up = Up::start_with(&["--fault", "none", "--demo-traffic=0", "--token-lifetime", "6"]);
        // A client's token that outlives all trouble.
        let token = forged(&up, &up.data().join("admin"), "files:write", "artstore-ingester");
        let small = up.payload("small", 1_000, 1);
        Self { up, token, small }
    }

    /// Begins a fault; the one before it ends.
    fn begin(&self, fault: &str) {
        std::fs::write(self.up.data().join("fault"), fault).unwrap();
        let field = format!("\"fault\":{fault:?}");
        poll::until(fault, LIMIT, || {
            let begins = |line: &str| line.contains("fault begins") && line.contains(&field);
            self.up.process.log().lines().any(begins).then_some(())
        });
    }

    /// Uploads a small file; the status.
    fn upload(&self) -> u16 {
        self.up.upload_raw(&self.token, &self.small.path, &[("filename", "a")]).status
    }

    /// Uploads until the Ingester counts at least so many of these.
    fn upload_until(&self, name: &str, labels: &[(&str, &str)], count: f64) {
        poll::until(&format!("{name} {labels:?}"), LIMIT, || {
            let _ = self.upload();
            (self.up.scrape("ARTSTORE_OPS_URL").sum(name, labels) >= count).then_some(())
        });
    }

    /// One after the other, then none.
    fn suffer(&self) {
        assert_eq!(self.upload(), 201);
        self.begin("element-rejects-token-once");
        self.upload_until("auth_token_refresh_total", &[("trigger", "manual")], 6.0);
        self.begin("peer-closes");
        self.upload_until("tls_connection_reuse_total", &[("reused", "false")], 8.0);
        self.begin("element-foreign-ca");
        self.upload_until("tls_handshake_total", &[("status", "failure")], 3.0);
        self.begin("upload-failures");
        self.upload_until("ingester_uploads_total", &[("outcome", "failed")], 4.0);
        self.begin("admin-500");
        self.upload_until("auth_token_source_total", &[("source", "fresh_request")], 40.0);
        // The Ingester asks for tokens again after a pause.
        std::fs::write(self.up.data().join("fault"), "none").unwrap();
        poll::until("an upload that is stored", LIMIT, || (self.upload() == 201).then_some(()));
    }

    /// Begins a fault and waits until Prometheus sees it by this query; permanent files go on coming.
    fn show(&self, prometheus: &Prometheus, fault: &str, query: &str) {
        self.begin(fault);
        let permanent = [("filename", "b"), ("retention_policy", "permanent")];
        poll::until(query, LIMIT, || {
            let _ = self.up.upload_raw(&self.token, &self.small.path, &permanent);
            (!prometheus.query(query).is_empty()).then_some(())
        });
    }
}

/// Faults, and by what each is seen while it lasts.
const MOMENTS: [(&str, &str); 6] = [
    ("outbox-lagging", "element_outbox_changes > 0"),
    ("reload-failing", "tls_reload_pending_failure > 0"),
    ("crl-stale", "tls_crl_next_update_timestamp_seconds - time() < 3600"),
    ("storage-nearly-full", "element_free_bytes / element_capacity_bytes < 0.1"),
    ("certificate-20-days", "tls_certificate_expiry_days < 30"),
    ("certificate-5-days", "tls_certificate_expiry_days < 7"),
];

/// Panels and pages whose queries, by a piece of them, are right to say nothing at all of these moments: that did not happen.
const NEVER: [&str; 14] = [
    "ingester_sessions_abandoned_total",
    "ingester_element_list_fetches_total",
    "http_client_requests_waiting",
    "http_client_retries_total",
    "http_server_panics_total",
    "tls_server_connections_cut_total",
    "error_type=\"timeout\"",
    "error_type=\"revocation_unknown\"",
    "error_type=\"resource_rejected\"",
    "tls_certificate_expiry_days < 1",
    "element_outbox_oldest_age_seconds > 60",
    "admin_store_errors_total",
    "storage_full|broken_off|failed",
    "element_leftovers_swept_total",
];

#[test]
fn queries_about_trouble_give_the_right_values_and_ratios_of_nothing_but_themselves_are_found_out() {
    let house = Troubled::start();
    let rules = std::fs::read_to_string(workspace().join("deploy/prometheus/artstore.rules.yml")).unwrap();
    let prometheus = Prometheus::start(&Plan::of(&house.up, INTERVAL).with_rules(&rules));
    prometheus.await_targets(4);
    await_scrapes(&prometheus, 4);
    let before = Scrapes::of(&house.up);
    house.suffer();
    await_scrapes(&prometheus, 4);
    let after = Scrapes::of(&house.up);
    await_scrapes(&prometheus, 6);
    let queries = shipped("1h");
    let mut engine = Engine { end: newest(&prometheus) - 2.0, prometheus };
    wrong_ratios_are_found_out(&engine, &before, &after);
    let mut silent: Vec<&Shipped> = queries.iter().collect();
    for (fault, sign) in MOMENTS {
        house.show(&engine.prometheus, fault, sign);
        await_scrapes(&engine.prometheus, 4);
        engine.end = newest(&engine.prometheus) - 1.0;
        let samples = Samples::of(&engine.prometheus, engine.end);
        let said_nothing = agrees_with_the_calculation(&engine, &queries, &samples);
        silent.retain(|query| said_nothing.iter().any(|other| std::ptr::eq(*query, *other)));
    }
    silent.retain(|query| {
        matches!(query.kind, Kind::Panel | Kind::Page) && !NEVER.iter().any(|piece| query.text.contains(piece))
    });
    assert!(silent.is_empty(), "{silent:#?}");
}

/// The two ratios of the Python service, with `_total` put in: always 100 %. The sums of the same page give the truth, as near as a
/// window can that is longer than the life of its counters: Prometheus guesses where they began.
fn wrong_ratios_are_found_out(engine: &Engine, before: &Scrapes, after: &Scrapes) {
    for (family, label, value) in
        [("auth_token_source_total", "source", "cache"), ("tls_connection_reuse_total", "reused", "true")]
    {
        let grown = |labels: &[(&str, &str)]| after.grown(before, "", family, labels);
        let truth = grown(&[(label, value)]) / grown(&[]) * 100.0;
        assert!((40.0..96.0).contains(&truth), "{family}: {truth}");
        let queries = shipped("1h");
        let text = |kind, piece: &str| {
            let part = format!("{family}{{{label}=\"{value}\"}}[5m]");
            let is_it = |query: &&Shipped| {
                query.kind == kind
                    && query.place.ends_with("promql.md")
                    && query.text.contains(&part)
                    && query.text.contains(piece)
            };
            queries.iter().find(is_it).unwrap_or_else(|| panic!("{kind:?} {part}")).text.clone()
        };
        let right = engine.value(&text(Kind::Page, "sum(rate("));
        assert!(distance(right, truth) < RATES, "{family}: {right} where the truth is {truth}");
        for (labels, wrong) in engine.ask(&text(Kind::Warning, "rate(")) {
            assert!(wrong.is_nan() || (wrong - 100.0).abs() < 1e-9, "{labels:?}: {wrong}");
            assert!(wrong.is_nan() || distance(wrong, truth) > RATES, "{labels:?}: {wrong} where the truth is {truth}");
        }
    }
}
