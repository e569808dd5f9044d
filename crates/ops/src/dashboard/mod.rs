//! The dashboard `artstore-auth` for Grafana: five rows of panels over the families of authentication and TLS.

mod panel;
mod rows;

use crate::promql::series;
use crate::rules::DASHBOARD_UID;
use artstore_auth::metrics::REQUESTS;
use serde_json::{Value, json};

/// The width of Grafana's grid, and the height of a panel.
const WIDTH: usize = 24;
const HEIGHT: usize = 8;

/// `grafana/artstore-auth-dashboard.json`.
pub(crate) fn dashboard() -> Value {
    json!({
        "uid": DASHBOARD_UID,
        "title": "ArtStore: authentication and TLS",
        "description": "Made by `artstore ops export` from the families that the modules export; do not edit.",
        "tags": ["artstore"],
        "schemaVersion": 39,
        "editable": false,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": variables()},
        "panels": panels(),
    })
}

/// Data source, job and instance. The two latter are offered from a family that every module with tokens exports.
fn variables() -> Value {
    let target = |name: &str, query: String| {
        json!({
            "name": name, "label": name, "type": "query", "datasource": panel::datasource(), "query": query, "refresh": 2,
            "sort": 1, "multi": true, "includeAll": true, "allValue": ".*",
            "current": {"text": ["All"], "value": ["$__all"]},
        })
    };
    let family = series(&REQUESTS);
    json!([
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        target("job", format!("label_values({family}, job)")),
        target("instance", format!("label_values({family}{{job=~\"$job\"}}, instance)")),
    ])
}

/// Rows, each with its panels beside one another.
fn panels() -> Vec<Value> {
    let (mut out, mut y, mut id) = (Vec::new(), 0, 0);
    for (title, panels) in rows::rows() {
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
