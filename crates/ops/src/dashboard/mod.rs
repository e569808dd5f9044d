//! The dashboards for Grafana: `artstore-auth` for authentication and TLS, `artstore-ingest` for files, pool and listener.

mod auth;
mod ingest;
mod panel;
mod pool;

use crate::BUILD_INFO;
use crate::promql::{Series, series};
use artstore_metrics::Family;
pub(crate) use panel::{Panel, Shape, Thresholds};
use serde_json::{Value, json};

/// The width of Grafana's grid, and the height of a panel.
const WIDTH: usize = 24;
const HEIGHT: usize = 8;

/// As long as the distance between two points at least, so that no event falls between them.
const STEP: &str = "$__rate_interval";

/// A dashboard: how it is called, and its rows from top to bottom.
struct Dashboard {
    uid: &'static str,
    title: &'static str,
    rows: fn() -> Vec<(&'static str, Vec<Panel>)>,
}

const AUTH: Dashboard = Dashboard { uid: "artstore-auth", title: "ArtStore: authentication and TLS", rows: auth::rows };
const INGEST: Dashboard =
    Dashboard { uid: "artstore-ingest", title: "ArtStore: files, connection pool and listener", rows: ingest::rows };

/// `grafana/artstore-auth-dashboard.json`.
pub(crate) fn auth() -> Value {
    AUTH.write()
}

/// `grafana/artstore-ingest-dashboard.json`.
pub(crate) fn ingest() -> Value {
    INGEST.write()
}

/// The rows of both, the first dashboard's before the second's: titles, and panels from left to right.
pub(crate) fn rows() -> Vec<(&'static str, Vec<Panel>)> {
    [AUTH, INGEST].iter().flat_map(|dashboard| (dashboard.rows)()).collect()
}

/// The dashboard that shows what an alert is about: the first with a panel that leads to its runbook.
pub(crate) fn uid_of(alert: &str) -> &'static str {
    let shows = |dashboard: &&Dashboard| {
        (dashboard.rows)().iter().flat_map(|(_, panels)| panels).any(|panel| panel.alerts.contains(&alert))
    };
    [AUTH, INGEST].iter().find(shows).map_or(AUTH.uid, |dashboard| dashboard.uid)
}

/// The family's series of the chosen jobs and instances.
fn of(family: &Family) -> Series {
    series(family).chosen()
}

impl Dashboard {
    fn write(&self) -> Value {
        json!({
            "uid": self.uid,
            "title": self.title,
            "description": "Made by `artstore ops export` from the families that the modules export; do not edit.",
            "tags": ["artstore"],
            "links": [{
                "title": "ArtStore", "type": "dashboards", "tags": ["artstore"], "icon": "external link", "tooltip": "", "url": "",
                "asDropdown": false, "includeVars": true, "keepTime": true, "targetBlank": false,
            }],
            "schemaVersion": 39,
            "editable": false,
            "graphTooltip": 1,
            "timezone": "browser",
            "refresh": "30s",
            "time": {"from": "now-6h", "to": "now"},
            "templating": {"list": variables()},
            "panels": self.panels(),
        })
    }

    /// Rows, each with its panels beside one another.
    fn panels(&self) -> Vec<Value> {
        let (mut out, mut y, mut id) = (Vec::new(), 0, 0);
        for (title, panels) in (self.rows)() {
            id += 1;
            out.push(json!({
                "id": id, "type": "row", "title": title, "collapsed": false, "panels": [],
                "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
            }));
            y += 1;
            let width = WIDTH / panels.len();
            for (column, panel) in panels.into_iter().enumerate() {
                id += 1;
                out.push(panel.write(id, &json!({"x": column * width, "y": y, "w": width, "h": HEIGHT})));
            }
            y += HEIGHT;
        }
        out
    }
}

/// Data source, job and instance. The two latter are offered from a family that every module exports.
fn variables() -> Value {
    let target = |name: &str, label: &str, query: String| {
        json!({
            "name": name, "label": label, "type": "query", "datasource": panel::datasource(), "query": query, "refresh": 2,
            "sort": 1, "multi": true, "includeAll": true, "allValue": ".+",
            "current": {"text": ["All"], "value": ["$__all"]},
        })
    };
    let family = series(&BUILD_INFO);
    json!([
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        target("job", "Job", format!("label_values({family}, job)")),
        target("instance", "Instance", format!("label_values({family}{{job=~\"$job\"}}, instance)")),
    ])
}

#[cfg(test)]
mod tests {
    use super::uid_of;

    #[test]
    fn an_alert_names_the_dashboard_that_shows_what_it_is_about() {
        assert_eq!(uid_of("ArtstoreAuthHighErrorRate"), "artstore-auth");
        assert_eq!(uid_of("ArtstoreUploadFailures"), "artstore-ingest");
        assert_eq!(uid_of("Watchdog"), "artstore-auth");
    }
}
