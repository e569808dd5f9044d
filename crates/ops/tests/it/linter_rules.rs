//! The rules of Grafana's dashboard-linter for a dashboard of one Prometheus data source, each by its own name there and as its
//! documentation says; where that and its program differ, the stricter of both.

use promql_parser::label::MatchOp;
use promql_parser::parser::{Expr, VectorSelector, parse};
use serde_json::Value;
use std::time::Duration;

/// What `$__rate_interval` becomes before parsing: a window that nobody writes.
const RATE_INTERVAL: Duration = Duration::from_secs(11_277_964);

/// Panels whose queries and texts the rules ask for: those that show values.
const VALUE_PANELS: [&str; 6] = ["stat", "singlestat", "graph", "table", "timeseries", "gauge"];

/// Grafana's own names of units, of those that the linter lists, as far as a service like this could use them.
const UNITS: [&str; 26] = [
    "none",
    "string",
    "short",
    "percent",
    "percentunit",
    "bytes",
    "decbytes",
    "bits",
    "pps",
    "binBps",
    "Bps",
    "bps",
    "hertz",
    "ns",
    "ms",
    "s",
    "m",
    "h",
    "d",
    "dtdurations",
    "cps",
    "ops",
    "reqps",
    "rps",
    "wps",
    "bool",
];

/// A finding: the rule's name, and what is wrong where.
pub(crate) type Finding = (&'static str, String);

/// Everything that a dashboard's linter would say.
pub(crate) fn lint(dashboard: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    templates(dashboard, &mut findings);
    for panel in panels(dashboard) {
        of_panel(dashboard, panel, &mut findings);
        for target in panel["targets"].as_array().into_iter().flatten() {
            let title = panel["title"].as_str().unwrap_or_default();
            let expr = target["expr"].as_str().unwrap_or_default();
            of_target(expr, &mut |rule, what| findings.push((rule, format!("{title}: {what}: {expr}"))));
        }
    }
    if dashboard["editable"] != false {
        findings.push(("uneditable-dashboard-rule", "is editable".to_owned()));
    }
    findings
}

/// All panels, those inside of rows too.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let mut all: Vec<&Value> = dashboard["panels"].as_array().into_iter().flatten().collect();
    let nested = all.iter().flat_map(|panel| panel["panels"].as_array().into_iter().flatten()).collect::<Vec<_>>();
    all.extend(nested);
    all
}

fn variables(dashboard: &Value) -> impl Iterator<Item = &Value> {
    dashboard["templating"]["list"].as_array().into_iter().flatten()
}

fn templates(dashboard: &Value, findings: &mut Vec<Finding>) {
    let mut say = |rule, what: String| findings.push((rule, what));
    let sources: Vec<&Value> = variables(dashboard).filter(|variable| variable["type"] == "datasource").collect();
    match sources[..] {
        [source] => {
            if ![("datasource", "Data source"), ("prometheus_datasource", "Prometheus data source")].iter().any(
                |(name, label)| source["name"] == *name && source["label"] == *label && source["query"] == "prometheus",
            ) {
                say("template-datasource-rule", format!("{source} is not named and labelled as is usual"));
            }
        }
        _ => say("template-datasource-rule", format!("{} variables for data sources", sources.len())),
    }
    for (rule, name, label) in [("template-job-rule", "job", "Job"), ("template-instance-rule", "instance", "Instance")]
    {
        let variable = variables(dashboard).find(|variable| variable["name"] == name).unwrap_or(&Value::Null);
        let wanted = variable["type"] == "query"
            && variable["label"] == label
            && ["$datasource", "${datasource}"].iter().any(|uid| variable["datasource"]["uid"] == *uid)
            && variable["multi"] == true
            && variable["allValue"] == ".+";
        if !wanted {
            say(rule, format!("{name}: {variable}"));
        }
    }
    for variable in variables(dashboard).filter(|variable| variable["type"] == "query") {
        let query = variable["query"].as_str().unwrap_or_default();
        let inside = query.strip_suffix(')').and_then(|query| {
            let (function, inside) = query.split_once('(')?;
            ["label_names", "label_values", "metrics", "query_result"].contains(&function).then_some(inside)
        });
        // Of label_values() the last argument is a label.
        let is_sound = inside.is_some_and(|inside| {
            let selector = inside.rsplit_once(", ").map_or(inside, |(selector, _)| selector);
            parse(&expand(selector)).is_ok()
        });
        if !is_sound {
            say("template-label-promql-rule", query.to_owned());
        }
        if variable["refresh"] != 2 {
            say("template-on-time-change-reload-rule", format!("{}: {}", variable["name"], variable["refresh"]));
        }
    }
}

fn of_panel(dashboard: &Value, panel: &Value, findings: &mut Vec<Finding>) {
    if !panel["type"].as_str().is_some_and(|kind| VALUE_PANELS.contains(&kind)) {
        return;
    }
    let title = panel["title"].as_str().unwrap_or_default();
    let mut say = |rule, what: String| findings.push((rule, format!("{title}: {what}")));
    let sources: Vec<String> = variables(dashboard)
        .filter(|variable| variable["type"] == "datasource")
        .filter_map(|variable| variable["name"].as_str())
        .flat_map(|name| [format!("${name}"), format!("${{{name}}}")])
        .collect();
    let all = panel["targets"].as_array().into_iter().flatten().chain([panel]);
    for uid in all.map(|of| of["datasource"]["uid"].as_str().unwrap_or_default()) {
        if !sources.iter().any(|source| source == uid) {
            say("panel-datasource-rule", format!("data source {uid:?}"));
        }
    }
    if title.is_empty() || panel["description"].as_str().is_none_or(str::is_empty) {
        say("panel-title-description-rule", panel["description"].to_string());
    }
    let field = &panel["fieldConfig"];
    let overridden = field["overrides"].as_array().into_iter().flatten();
    let overridden = overridden.flat_map(|of| of["properties"].as_array().into_iter().flatten());
    let units = overridden.filter(|property| property["id"] == "unit").map(|property| &property["value"]);
    for unit in units.chain([&field["defaults"]["unit"]]) {
        if !unit.as_str().is_some_and(|unit| UNITS.contains(&unit)) {
            say("panel-units-rule", unit.to_string());
        }
    }
    if panel["targets"].as_array().is_none_or(Vec::is_empty) {
        say("panel-no-targets-rule", String::new());
    }
}

/// A query with the variables put in, so that it parses.
fn expand(query: &str) -> String {
    query.replace("$__rate_interval", &format!("{}s", RATE_INTERVAL.as_secs()))
}

fn of_target(query: &str, say: &mut impl FnMut(&'static str, &str)) {
    match parse(&expand(query)) {
        Ok(expr) => walk(&expr, None, say),
        Err(error) => say("target-promql-rule", &error),
    }
}

/// `function` is what stands directly around a node.
fn walk(expr: &Expr, function: Option<&str>, say: &mut impl FnMut(&'static str, &str)) {
    match expr {
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
        Expr::Paren(paren) => walk(&paren.expr, None, say),
        Expr::Unary(unary) => walk(&unary.expr, None, say),
        Expr::Subquery(subquery) => {
            // The linter's program overlooks these windows.
            say("target-rate-interval-rule", "a window that is not $__rate_interval");
            walk(&subquery.expr, None, say);
        }
        Expr::Aggregate(aggregate) => walk(&aggregate.expr, None, say),
        Expr::Binary(binary) => {
            walk(&binary.lhs, None, say);
            walk(&binary.rhs, None, say);
        }
        Expr::Call(call) => call.args.args.iter().for_each(|argument| walk(argument, Some(call.func.name), say)),
        Expr::VectorSelector(selector) => {
            if selector.name.as_deref().is_some_and(|name| name.ends_with("_total")) {
                say("target-counter-agg-rule", "a counter without rate, irate or increase");
            }
            of_selector(selector, say);
        }
        Expr::MatrixSelector(matrix) => {
            let grows = function.is_some_and(|function| ["rate", "irate", "increase"].contains(&function));
            if matrix.vs.name.as_deref().is_some_and(|name| name.ends_with("_total")) && !grows {
                say("target-counter-agg-rule", "a counter without rate, irate or increase");
            }
            if matrix.range != RATE_INTERVAL {
                say("target-rate-interval-rule", "a window that is not $__rate_interval");
            }
            of_selector(&matrix.vs, say);
        }
    }
}

fn of_selector(selector: &VectorSelector, say: &mut impl FnMut(&'static str, &str)) {
    for (rule, label) in [("target-job-rule", "job"), ("target-instance-rule", "instance")] {
        let wanted = format!("${label}");
        let is_chosen =
            selector.matchers.matchers.iter().any(|matcher| {
                matcher.name == label && matcher.value == wanted && matches!(matcher.op, MatchOp::Re(_))
            });
        if !is_chosen {
            say(rule, &format!("{selector} without {label}=~\"{wanted}\""));
        }
    }
}
