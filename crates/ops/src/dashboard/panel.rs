//! One panel: what it shows, in which unit, from where on it is bad, and which runbooks tell more.

use crate::rules::runbook_url;
use serde_json::{Value, json};

/// How a panel shows its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Lines over time.
    Lines,
    /// A table of what is now.
    Table,
}

/// Where values become bad: the colours of three ranges, and the two values between them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Thresholds {
    /// Nothing to judge.
    None,
    /// Red below the first, green from the second on.
    Low(f64, f64),
    /// Yellow from the first on, red from the second.
    High(f64, f64),
}

/// A panel.
#[derive(Debug, Clone)]
pub(crate) struct Panel {
    pub(crate) title: &'static str,
    pub(crate) description: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) thresholds: Thresholds,
    pub(crate) shape: Shape,
    /// Queries and how their lines are called.
    pub(crate) queries: Vec<(String, &'static str)>,
    /// Lines, by the beginning of their names, that have a unit of their own.
    pub(crate) other_unit: Option<(&'static str, &'static str)>,
    /// Whether the traces that a histogram names are drawn as points.
    pub(crate) exemplars: bool,
    /// The alerts about what it shows.
    pub(crate) alerts: &'static [&'static str],
}

/// The data source that the dashboard's variable names.
pub(super) fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

/// A panel of lines with nothing to judge, in events a second.
pub(super) fn lines(title: &'static str, description: &'static str, queries: Vec<(String, &'static str)>) -> Panel {
    let (unit, thresholds, shape) = ("ops", Thresholds::None, Shape::Lines);
    Panel { title, description, unit, thresholds, shape, queries, other_unit: None, exemplars: false, alerts: &[] }
}

impl Panel {
    /// The panel as Grafana reads it.
    pub(super) fn write(self, id: usize, place: &Value) -> Value {
        let links: Vec<Value> = self.alerts.iter().map(|alert| link(alert)).collect();
        let mut panel = json!({
            "id": id, "title": self.title, "description": self.description, "gridPos": place, "links": links,
            "datasource": datasource(), "targets": self.targets(), "fieldConfig": self.fields(),
        });
        let (kind, options) = match self.shape {
            Shape::Lines => (
                "timeseries",
                json!({
                    "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []},
                    "tooltip": {"mode": "multi", "sort": "desc"},
                }),
            ),
            Shape::Table => {
                panel["transformations"] = json!([{
                    "id": "organize",
                    "options": {"excludeByName": {"Time": true}, "renameByName": {"Value": "days left"}},
                }]);
                (
                    "table",
                    json!({"frameIndex": 0, "showHeader": true, "sortBy": [{"displayName": "days left", "desc": false}]}),
                )
            }
        };
        panel["type"] = json!(kind);
        panel["options"] = options;
        panel
    }

    fn targets(&self) -> Vec<Value> {
        let target = |((expr, legend), letter): (&(String, &str), char)| {
            let mut target =
                json!({"refId": letter.to_string(), "datasource": datasource(), "expr": expr, "legendFormat": legend});
            match self.shape {
                Shape::Lines => {
                    target["range"] = json!(true);
                    // A recorded series has none.
                    if self.exemplars && expr.contains("_bucket{") {
                        target["exemplar"] = json!(true);
                    }
                }
                Shape::Table => {
                    target["instant"] = json!(true);
                    target["format"] = json!("table");
                }
            }
            target
        };
        self.queries.iter().zip('A'..).map(target).collect()
    }

    fn fields(&self) -> Value {
        let steps = |colours: [&str; 3], values: (f64, f64)| {
            json!([
                {"color": colours[0], "value": null},
                {"color": colours[1], "value": values.0},
                {"color": colours[2], "value": values.1},
            ])
        };
        let (steps, judged) = match self.thresholds {
            Thresholds::None => (json!([{"color": "green", "value": null}]), false),
            Thresholds::Low(bad, good) => (steps(["red", "yellow", "green"], (bad, good)), true),
            Thresholds::High(doubtful, bad) => (steps(["green", "yellow", "red"], (doubtful, bad)), true),
        };
        let custom = match self.shape {
            Shape::Lines => json!({
                "lineWidth": 1, "fillOpacity": 10, "showPoints": "never",
                "thresholdsStyle": {"mode": if judged { "line" } else { "off" }},
            }),
            Shape::Table => json!({"align": "auto", "inspect": false, "cellOptions": {"type": "auto"}}),
        };
        let mut defaults =
            json!({"unit": self.unit, "custom": custom, "thresholds": {"mode": "absolute", "steps": steps}});
        if self.unit == "percentunit" {
            defaults["min"] = json!(0);
            defaults["max"] = json!(1);
        }
        json!({"defaults": defaults, "overrides": self.overrides()})
    }

    fn overrides(&self) -> Vec<Value> {
        let with_unit = self.other_unit.map(|(name, unit)| {
            json!({
                "matcher": {"id": "byRegexp", "options": format!("^({name}).*")},
                "properties": [{"id": "unit", "value": unit}, {"id": "custom.axisPlacement", "value": "right"}],
            })
        });
        let coloured = (self.shape == Shape::Table).then(|| {
            json!({
                "matcher": {"id": "byName", "options": "days left"},
                "properties": [{"id": "custom.cellOptions", "value": {"type": "color-background"}}, {"id": "decimals", "value": 1}],
            })
        });
        with_unit.into_iter().chain(coloured).collect()
    }
}

fn link(alert: &str) -> Value {
    json!({
        "title": format!("Runbook: {alert}"), "url": runbook_url(alert), "type": "link", "icon": "doc", "tooltip": "", "tags": [],
        "asDropdown": false, "includeVars": false, "keepTime": false, "targetBlank": true,
    })
}
