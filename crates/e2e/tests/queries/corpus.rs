//! All PromQL that the project ships: dashboards, rules, runbooks, pages. Nothing is left out.

use crate::pages::{pages, queries};
use artstore_e2e::process::workspace;
use serde_json::Value;
use std::fs;

/// Where a query stands, which says what its answer must be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A panel of a dashboard.
    Panel,
    /// What a recording rule records.
    Record,
    /// What an alert waits for.
    Alert,
    /// A page for people.
    Page,
    /// A page that warns of it.
    Warning,
}

/// A query as Prometheus gets it.
#[derive(Debug, Clone)]
pub(crate) struct Shipped {
    pub(crate) kind: Kind,
    /// File, panel, rule.
    pub(crate) place: String,
    pub(crate) text: String,
}

/// All of them; `window` is what Grafana would put in for `$__rate_interval`.
pub(crate) fn shipped(window: &str) -> Vec<Shipped> {
    let mut all = Vec::new();
    let mut add = |kind, place: String, text: &str| all.push(Shipped { kind, place, text: text.to_owned() });
    for file in ["artstore-auth-dashboard.json", "artstore-ingest-dashboard.json"] {
        let text = fs::read_to_string(workspace().join("deploy/grafana").join(file)).unwrap();
        let dashboard: Value = serde_json::from_str(&text).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let query = target["expr"].as_str().unwrap().replace("$__rate_interval", window);
                let query = query.replace("$job", ".+").replace("$instance", ".+");
                add(Kind::Panel, format!("{file}: {}", panel["title"]), &query);
            }
        }
    }
    for group in artstore_ops::groups() {
        for record in &group.records {
            add(Kind::Record, record.name.to_owned(), &record.expr);
        }
        for alert in &group.alerts {
            add(Kind::Alert, alert.name.to_owned(), &alert.expr);
        }
    }
    for path in pages(&workspace()) {
        for query in queries(&fs::read_to_string(&path).unwrap()) {
            let kind = if query.is_wrong { Kind::Warning } else { Kind::Page };
            add(kind, path.display().to_string(), &query.text);
        }
    }
    all
}
