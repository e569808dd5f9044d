//! Both dashboards keep every rule of Grafana's dashboard-linter, with no exclusion; and each rule finds what breaks it.

use crate::dashboard::{FILES, read};
use crate::linter_rules::lint;
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[test]
fn the_dashboards_keep_every_rule() {
    for file in FILES {
        assert_eq!(lint(&read(file)), Vec::new(), "{file}");
    }
}

/// One slip, and the only rule that it breaks. The places are those of the first panel and the variables of a dashboard.
#[test]
fn each_rule_finds_what_breaks_it() {
    const PANEL: &str = "/panels/1";
    const EXPR: &str = "/panels/1/targets/0/expr";
    let slips: [(&str, &str, Value); 26] = [
        ("template-datasource-rule", "/templating/list/0/label", json!("Prometheus")),
        ("template-datasource-rule", "/templating/list/0/type", json!("custom")),
        ("template-job-rule", "/templating/list/1/label", json!("job")),
        ("template-job-rule", "/templating/list/1/allValue", json!(".*")),
        ("template-job-rule", "/templating/list/1/multi", json!(false)),
        ("template-job-rule", "/templating/list/1/datasource/uid", json!("prometheus")),
        ("template-instance-rule", "/templating/list/2/name", json!("target")),
        ("template-instance-rule", "/templating/list/2/type", json!("custom")),
        ("template-label-promql-rule", "/templating/list/1/query", json!("values(up, job)")),
        ("template-label-promql-rule", "/templating/list/1/query", json!("label_values(up{, job)")),
        ("template-on-time-change-reload-rule", "/templating/list/2/refresh", json!(1)),
        ("panel-datasource-rule", "/panels/1/datasource/uid", json!("P1809F7CD0C75ACF3")),
        ("panel-datasource-rule", "/panels/1/targets/0/datasource/uid", json!("")),
        ("panel-title-description-rule", "/panels/1/title", json!("")),
        ("panel-title-description-rule", "/panels/1/description", json!("")),
        ("panel-units-rule", "/panels/1/fieldConfig/defaults/unit", json!("seconds")),
        (
            "panel-units-rule",
            "/panels/1/fieldConfig/overrides",
            json!([{"properties": [{"id": "unit", "value": "days"}]}]),
        ),
        ("panel-no-targets-rule", "/panels/1/targets", json!([])),
        ("target-promql-rule", EXPR, json!("sum by (")),
        ("target-promql-rule", EXPR, json!("")),
        ("target-rate-interval-rule", EXPR, json!(r#"rate(a_total{job=~"$job",instance=~"$instance"}[5m])"#)),
        ("target-rate-interval-rule", EXPR, json!(r#"increase(a_total{job=~"$job",instance=~"$instance"}[1h])"#)),
        ("target-job-rule", EXPR, json!(r#"a{instance=~"$instance"}"#)),
        ("target-instance-rule", EXPR, json!(r#"a{job=~"$job",instance="$instance"}"#)),
        ("target-counter-agg-rule", EXPR, json!(r#"sum(a_total{job=~"$job",instance=~"$instance"})"#)),
        ("uneditable-dashboard-rule", "/editable", json!(true)),
    ];
    for file in FILES {
        assert_eq!(read(file).pointer(PANEL).unwrap()["type"], "timeseries");
        for (rule, place, value) in &slips {
            let mut dashboard = read(file);
            *dashboard.pointer_mut(place).unwrap() = value.clone();
            let found: BTreeSet<&str> = lint(&dashboard).into_iter().map(|(rule, _)| rule).collect();
            assert!(found.contains(rule), "{file}: {place} = {value}: {found:?}");
        }
        // A counter's range that no function of growth takes.
        let mut dashboard = read(file);
        *dashboard.pointer_mut(EXPR).unwrap() =
            json!(r#"max_over_time(a_total{job=~"$job",instance=~"$instance"}[$__rate_interval])"#);
        assert_eq!(lint(&dashboard).len(), 1, "{:?}", lint(&dashboard));
    }
}
