//! The documents that `artstore ops export DIR` writes; `deploy/` holds what it wrote last.

use crate::profile::Profile;
use crate::yaml::Yaml;
use crate::{alertmanager, dashboard, kubernetes, prometheus};

/// Paths below the folder, and contents, with true durations.
#[must_use]
pub fn documents() -> Vec<(&'static str, String)> {
    documents_in(Profile::Production)
}

/// The same with the durations of a profile.
#[must_use]
pub fn documents_in(profile: Profile) -> Vec<(&'static str, String)> {
    vec![
        ("alertmanager/alertmanager.yml", yaml(&[alertmanager::configuration(profile)])),
        ("grafana/artstore-auth-dashboard.json", format!("{:#}\n", dashboard::auth())),
        ("grafana/artstore-ingest-dashboard.json", format!("{:#}\n", dashboard::ingest())),
        ("kubernetes/podmonitor.yaml", yaml(&kubernetes::pod_monitors(profile))),
        ("kubernetes/prometheusrule.yaml", yaml(&[kubernetes::prometheus_rule(profile)])),
        ("kubernetes/servicemonitor.yaml", yaml(&kubernetes::service_monitors(profile))),
        ("prometheus/artstore.rules.yml", yaml(&[prometheus::rules(profile)])),
        ("prometheus/prometheus.yml", yaml(&[prometheus::configuration(profile)])),
    ]
}

fn yaml(documents: &[Yaml]) -> String {
    let documents: Vec<String> = documents.iter().map(Yaml::write).collect();
    format!("# Made by `artstore ops export`; do not edit.\n{}", documents.join("---\n"))
}
