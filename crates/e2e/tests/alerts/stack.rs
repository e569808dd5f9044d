//! Everything that an alert passes on its way: `artstore up` with faults armed, the exported fast profile in a real Prometheus and
//! a real Alertmanager, and the webhook.

use artstore_e2e::alertmanager::{Alertmanager, with_webhooks};
use artstore_e2e::poll;
use artstore_e2e::process::artstore;
use artstore_e2e::prometheus::{LoadedRule, Prometheus, address};
use artstore_e2e::scrape::Labels;
use artstore_e2e::up::Up;
use artstore_e2e::webhook::{Told, Webhook};
use artstore_metrics::Monotonic;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The alert that always fires.
pub(crate) const WATCHDOG: &str = "Watchdog";
/// How long tokens live, as the fast profile wants it.
const TOKEN_LIFETIME: &str = "10";
/// The longest that things may take to become quiet.
const QUIET_WITHIN: Duration = Duration::from_secs(60);

/// The operations listeners: the address at which the shipped configuration looks for each, and the variable that says where it
/// is here.
const TARGETS: [(&str, &str); 4] = [
    ("127.0.0.1:9020", "ARTSTORE_OPS_URL"),
    ("127.0.0.1:9000", "ARTSTORE_ADMIN_OPS_URL"),
    ("127.0.0.1:9010", "ARTSTORE_ELEMENT_EDIT_OPS_URL"),
    ("127.0.0.1:9011", "ARTSTORE_ELEMENT_RW_OPS_URL"),
];

/// All of it.
pub(crate) struct Stack {
    /// The modules.
    pub(crate) up: Up,
    /// With the rules as exported.
    pub(crate) prometheus: Prometheus,
    /// With routes and inhibitions as exported.
    _manager: Alertmanager,
    /// What hears the alerts.
    pub(crate) webhook: Webhook,
}

impl Stack {
    /// Starts everything and waits until all targets are scraped.
    pub(crate) fn start() -> Self {
        let up = Up::start_with(&["--fault", "none", "--token-lifetime", TOKEN_LIFETIME, "--log-level", "info"]);
        let exported = up.scratch().join("deploy");
        let mut command = artstore();
        command.args(["ops", "export", "--profile", "fast"]).arg(&exported);
        assert!(command.status().unwrap().success());
        let read = |path: &str| fs::read_to_string(exported.join(path)).unwrap();
        let webhook = Webhook::start();
        let manager = Alertmanager::start(&with_webhooks(&read("alertmanager/alertmanager.yml"), &webhook.url()));
        let mut configuration = read("prometheus/prometheus.yml").replace("127.0.0.1:9093", manager.address());
        for (shipped, variable) in TARGETS {
            configuration = configuration.replace(shipped, &address(up.var(variable)));
        }
        let prometheus = Prometheus::start_with(&configuration, &read("prometheus/artstore.rules.yml"));
        prometheus.await_targets(TARGETS.len());
        Self { up, prometheus, _manager: manager, webhook }
    }

    /// Breaks something.
    pub(crate) fn begin(&self, fault: &str) {
        let (file, new) = (self.up.data().join("fault"), self.up.data().join("fault.new"));
        fs::write(&new, fault).unwrap();
        fs::rename(&new, &file).unwrap();
    }

    /// Repairs it.
    pub(crate) fn repair(&self) {
        remove(&self.up.data().join("fault"));
    }

    /// The alerting rules as Prometheus has them.
    pub(crate) fn alerting_rules(&self) -> Vec<LoadedRule> {
        self.prometheus.rules().into_iter().filter(|rule| rule.kind == "alerting").collect()
    }

    /// Names of the alerts that are pending or firing in Prometheus, but for the watchdog.
    pub(crate) fn active(&self) -> BTreeSet<String> {
        let names = self.prometheus.alerts().into_iter().map(|alert| alert.labels["alertname"].clone());
        names.filter(|name| name != WATCHDOG).collect()
    }

    /// Waits until nothing is active in Prometheus and all that the webhook heard of is resolved, but for those of `untold`: an alert
    /// that was told and then silenced ends without a word if it ends while it is silent. That is Alertmanager's way.
    pub(crate) fn await_quiet(&self, since: Monotonic, untold: &[&str]) {
        poll::until("no alert is active", QUIET_WITHIN, || {
            let told_to_last = self.firing_at_webhook(since).iter().any(|name| !untold.contains(&name.as_str()));
            (self.active().is_empty() && !told_to_last).then_some(())
        });
    }

    /// Every alert that the webhook heard of since then, as it heard of it last.
    pub(crate) fn at_webhook(&self, since: Monotonic) -> BTreeMap<Labels, Told> {
        let heard = self.webhook.heard_since(since).into_iter().flat_map(|notification| notification.alerts);
        heard.filter(|told| told.name() != WATCHDOG).map(|told| (told.labels.clone(), told)).collect()
    }

    /// Names of those that fire, for all that the webhook knows.
    pub(crate) fn firing_at_webhook(&self, since: Monotonic) -> BTreeSet<String> {
        let last = self.at_webhook(since);
        last.into_values().filter(Told::is_firing).map(|told| told.name().to_owned()).collect()
    }

    /// Names of all that the webhook was told to fire since then, but for the watchdog.
    pub(crate) fn told_since(&self, since: Monotonic) -> BTreeSet<String> {
        let heard = self.webhook.heard_since(since).into_iter().flat_map(|notification| notification.alerts);
        let firing = heard.filter(|told| told.is_firing() && told.name() != WATCHDOG);
        firing.map(|told| told.name().to_owned()).collect()
    }

    /// Names of all that fired in Prometheus from `start` on (seconds since 1970), but for the watchdog.
    pub(crate) fn fired_since(&self, start: f64) -> BTreeSet<String> {
        let now = self.time();
        let found = self.prometheus.range("ALERTS{alertstate=\"firing\"}", start, now, 0.5).unwrap();
        let names = found.iter().map(|series| series.label("alertname").to_owned());
        names.filter(|name| name != WATCHDOG).collect()
    }

    /// Prometheus' time, in seconds since 1970.
    pub(crate) fn time(&self) -> f64 {
        self.prometheus.query("time()")[0].value()
    }
}

fn remove(file: &Path) {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{}: {error}", file.display()),
        Ok(()) | Err(_) => {}
    }
}
