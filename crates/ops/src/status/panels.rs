//! The dashboards' panels, computed from what this process remembers.

use super::query::{Evaluation, Expression};
use super::templates::{duration, percentage, trimmed};
use crate::dashboard::{Panel, Shape, Thresholds, rows};
use crate::rules::runbook_url;
use serde::Serialize;
use std::collections::BTreeSet;

/// So many curves of one query are shown; the rest is counted.
const CURVES: usize = 6;

/// How a value is to be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Judgement {
    /// All is well, or there is nothing to judge.
    Good,
    /// It wants a look.
    Watch,
    /// It is bad.
    Bad,
}

/// One curve.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Curve {
    /// Its name in the legend.
    pub(super) name: String,
    /// Its value now; absent if it has none.
    pub(super) now: Option<f64>,
    /// Its values at the report's moments; absent where it has none.
    pub(super) points: Vec<Option<f64>>,
}

/// Curves of one unit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Chart {
    /// Grafana's name of the unit: `percentunit`, `s`, `ops`, `short`.
    pub(super) unit: &'static str,
    /// The curves, the greatest first.
    pub(super) curves: Vec<Curve>,
    /// How many more there are that are zero or smaller than those.
    pub(super) hidden: usize,
    /// Values from which on it wants a look, or is bad.
    pub(super) thresholds: Vec<f64>,
    /// The worst value now, judged.
    pub(super) judgement: Judgement,
}

/// A link to a runbook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Runbook {
    /// The alert.
    pub(super) alert: &'static str,
    /// Where it is.
    pub(super) url: String,
}

/// A panel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct PanelView {
    /// The row that it stands in.
    pub(super) row: &'static str,
    /// Its title.
    pub(super) title: &'static str,
    /// What it shows.
    pub(super) description: &'static str,
    /// Whether it is a table of what is now: the certificates.
    pub(super) is_table: bool,
    /// Whether this module exports what it shows.
    pub(super) is_exported: bool,
    /// Its charts: one for each unit.
    pub(super) charts: Vec<Chart>,
    /// The alerts about it.
    pub(super) runbooks: Vec<Runbook>,
}

/// A query of a panel.
struct Query {
    expression: Option<Expression>,
    legend: &'static str,
}

/// The panels, their queries read.
pub(super) struct Panels(Vec<(&'static str, Panel, Vec<Query>)>);

impl Panels {
    /// Those of both dashboards.
    pub(super) fn new() -> Self {
        let read = |panel: &Panel| {
            panel.queries.iter().map(|(text, legend)| Query { expression: Expression::read(text), legend }).collect()
        };
        let panels = rows().into_iter().flat_map(|(row, panels)| panels.into_iter().map(move |panel| (row, panel)));
        Self(
            panels
                .map(|(row, panel)| (row, read(&panel), panel))
                .map(|(row, queries, panel)| (row, panel, queries))
                .collect(),
        )
    }

    /// All expressions.
    pub(super) fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.0.iter().flat_map(|(_, _, queries)| queries).filter_map(|query| query.expression.as_ref())
    }

    /// By which days left of a certificate are judged: those of the table of certificates.
    pub(super) fn days_left(&self) -> Thresholds {
        let table = self.0.iter().find(|(_, panel, _)| panel.shape == Shape::Table);
        table.map_or(Thresholds::None, |(_, panel, _)| panel.thresholds)
    }

    /// The titles of panels with a query that cannot be read.
    #[cfg(test)]
    pub(super) fn unreadable(&self) -> Vec<&'static str> {
        let unreadable = |queries: &[Query]| queries.iter().any(|query| query.expression.is_none());
        self.0.iter().filter(|(_, _, queries)| unreadable(queries)).map(|(_, panel, _)| panel.title).collect()
    }

    /// What they show at these moments. Without `with_plumbing`, rows about connections alone are left out.
    pub(super) fn show(&self, at: Evaluation<'_>, exported: &BTreeSet<String>, with_plumbing: bool) -> Vec<PanelView> {
        let view = |(row, panel, queries): &(&'static str, Panel, Vec<Query>)| {
            let mut read = queries.iter().filter_map(|query| query.expression.as_ref());
            let is_exported = read.any(|expression| expression.is_exported(at.records, exported));
            let is_drawn = is_exported && panel.shape == Shape::Lines;
            PanelView {
                row,
                title: panel.title,
                description: panel.description,
                is_table: panel.shape == Shape::Table,
                is_exported,
                charts: if is_drawn { charts(panel, queries, at) } else { Vec::new() },
                runbooks: panel.alerts.iter().map(|alert| Runbook { alert, url: runbook_url(alert) }).collect(),
            }
        };
        self.0.iter().filter(|(_, _, queries)| with_plumbing || !is_plumbing(queries)).map(view).collect()
    }
}

/// Whether all that is read is about the connections of the pool and the listener.
fn is_plumbing(queries: &[Query]) -> bool {
    let mut selectors = queries.iter().filter_map(|query| query.expression.as_ref()).flat_map(Expression::selectors);
    selectors.all(|(selector, _)| selector.name.starts_with("http_") || selector.name.starts_with("tls_server_"))
}

/// One chart for the panel's unit, and one for the other if it has one.
fn charts(panel: &Panel, queries: &[Query], at: Evaluation<'_>) -> Vec<Chart> {
    let (mut main, mut other) = (Vec::new(), Vec::new());
    for query in queries {
        let is_other = panel.other_unit.is_some_and(|(begin, _)| query.legend.starts_with(begin));
        let rows = query.expression.as_ref().map(|expression| at.series(expression)).unwrap_or_default();
        let curves = rows.into_iter().map(|(labels, points)| Curve {
            name: named(query.legend, &labels),
            now: points.last().copied().and_then(some),
            points: points.into_iter().map(some).collect(),
        });
        if is_other { other.extend(curves) } else { main.extend(curves) }
    }
    let mut charts = vec![chart(panel.unit, &panel.thresholds, main)];
    if let Some((_, unit)) = panel.other_unit {
        charts.push(chart(unit, &Thresholds::None, other));
    }
    charts
}

fn chart(unit: &'static str, thresholds: &Thresholds, mut curves: Vec<Curve>) -> Chart {
    let most = |curve: &Curve| curve.points.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
    // Sorting is stable: curves that are alike keep the order of their labels.
    curves.sort_by(|a, b| most(b).total_cmp(&most(a)));
    let all = curves.len();
    if curves.first().is_some_and(|greatest| most(greatest) > 0.0) {
        curves.retain(|curve| most(curve) > 0.0);
    }
    curves.truncate(CURVES);
    let judgement =
        curves.iter().filter_map(|curve| curve.now).map(|now| judge(thresholds, now)).max_by_key(|j| *j as u8);
    let lines = match thresholds {
        Thresholds::None => Vec::new(),
        Thresholds::Low(a, b) | Thresholds::High(a, b) => vec![*a, *b],
    };
    let hidden = all - curves.len();
    Chart { unit, hidden, curves, thresholds: lines, judgement: judgement.unwrap_or(Judgement::Good) }
}

/// A value, judged.
pub(super) fn judge(thresholds: &Thresholds, value: f64) -> Judgement {
    let (bad, watch) = match *thresholds {
        Thresholds::None => (false, false),
        Thresholds::Low(bad, good) => (value < bad, value < good),
        Thresholds::High(doubtful, bad) => (value >= bad, value >= doubtful),
    };
    if bad {
        Judgement::Bad
    } else if watch {
        Judgement::Watch
    } else {
        Judgement::Good
    }
}

fn some(point: f64) -> Option<f64> {
    point.is_finite().then_some(point)
}

/// A legend with its labels filled in, but for those that name the module: there is one here.
fn named(legend: &str, labels: &super::query::Labels) -> String {
    let mut name = legend.replace("{{job}}", "").replace("{{instance}}", "");
    for (label, value) in labels {
        name = name.replace(&format!("{{{{{label}}}}}"), value);
    }
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    if name.is_empty() { "this module".to_owned() } else { name }
}

/// A value with its unit.
pub(super) fn with_unit(unit: &str, value: f64) -> String {
    match unit {
        "percentunit" => percentage(value),
        "s" => duration(value),
        "d" => trimmed(value, 1) + " d",
        "ops" if value != 0.0 && value < 1.0 => trimmed(value, 3) + " /s",
        "ops" => trimmed(value, 1) + " /s",
        "bytes" => bytes(value),
        "Bps" => bytes(value) + "/s",
        _ => trimmed(value, 1),
    }
}

/// A value beside an axis: short.
pub(super) fn on_axis(unit: &str, value: f64) -> String {
    match unit {
        "s" | "ms" | "min" | "h" => format!("{} {unit}", trimmed(value, 1)),
        "percentunit" => trimmed(value * 100.0, 0) + " %",
        _ => with_unit(unit, value),
    }
}

/// Bytes, by 1024.
fn bytes(value: f64) -> String {
    let mut scaled = value;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if scaled.abs() < 1_024.0 {
            return format!("{} {unit}", trimmed(scaled, 1));
        }
        scaled /= 1_024.0;
    }
    trimmed(scaled, 1) + " TiB"
}
