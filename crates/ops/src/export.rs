//! The documents that `artstore ops export DIR` writes; `deploy/` holds what it wrote last.

use crate::yaml::Yaml;
use crate::{alertmanager, dashboard, kubernetes, prometheus};

/// Paths below the folder, and contents.
#[must_use]
pub fn documents() -> Vec<(&'static str, String)> {
    vec![
        ("alertmanager/alertmanager.yml", yaml(&[alertmanager::configuration()])),
        ("grafana/artstore-auth-dashboard.json", format!("{:#}\n", dashboard::auth())),
        ("grafana/artstore-ingest-dashboard.json", format!("{:#}\n", dashboard::ingest())),
        ("kubernetes/prometheusrule.yaml", yaml(&[kubernetes::prometheus_rule()])),
        ("kubernetes/servicemonitor.yaml", yaml(&kubernetes::service_monitors())),
        ("prometheus/artstore.rules.yml", yaml(&[prometheus::rules()])),
        ("prometheus/prometheus.yml", yaml(&[prometheus::configuration()])),
    ]
}

fn yaml(documents: &[Yaml]) -> String {
    let documents: Vec<String> = documents.iter().map(Yaml::write).collect();
    format!("# Made by `artstore ops export`; do not edit.\n{}", documents.join("---\n"))
}
