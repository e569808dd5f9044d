//! The stories told to promtool, at true durations.

use crate::cases::{Case, Class, Firing, all, severity};
use crate::lint_selector::series_findings;
use artstore_ops::{Alert, Group, groups};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Runs a command that the tests need, with what it said.
pub(crate) fn run(program: &str, arguments: &[&str], folder: &Path) -> (bool, String) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed: run `scripts/test --install` ({error})"));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

/// Rules as promtool reads them: JSON is YAML.
pub(crate) fn rules_json(groups: &[Group]) -> Value {
    let alert = |alert: &Alert| {
        json!({
            "alert": alert.name, "expr": alert.expr, "for": alert.hold, "labels": {"severity": alert.severity.as_str()},
            "annotations": {"summary": alert.summary, "description": alert.description},
        })
    };
    let group = |group: &Group| {
        let records = group.records.iter().map(|record| json!({"record": record.name, "expr": record.expr}));
        json!({"name": group.name, "rules": records.chain(group.alerts.iter().map(alert)).collect::<Vec<_>>()})
    };
    json!({"groups": groups.iter().map(group).collect::<Vec<_>>()})
}

/// Tells the stories, and says whether all came true. `annotations` are those that the rules carry besides their texts.
pub(crate) fn tell(
    folder: &Path,
    rules: &str,
    cases: &[&Case],
    annotations: fn(&Alert) -> Vec<(&'static str, String)>,
) -> (bool, String) {
    fs::write(folder.join("rules.yml"), rules).unwrap();
    let mut arguments = vec!["test".to_owned(), "rules".to_owned()];
    let steps: BTreeSet<u32> = cases.iter().map(|case| case.step).collect();
    for step in steps {
        let tests: Vec<Value> =
            cases.iter().filter(|case| case.step == step).map(|case| test_json(case, annotations)).collect();
        let file = format!("test{step}.json");
        let document = json!({"rule_files": ["rules.yml"], "evaluation_interval": format!("{step}m"), "tests": tests});
        fs::write(folder.join(&file), document.to_string()).unwrap();
        arguments.push(file);
    }
    run("promtool", &arguments.iter().map(String::as_str).collect::<Vec<_>>(), folder)
}

fn test_json(case: &Case, annotations: fn(&Alert) -> Vec<(&'static str, String)>) -> Value {
    let all = groups();
    let alert = all.iter().flat_map(|group| &group.alerts).find(|alert| alert.name == case.alert).unwrap();
    let firing = |firing: &Firing| {
        let mut labels: serde_json::Map<String, Value> =
            firing.labels.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        labels.insert("severity".to_owned(), json!(severity(case.alert)));
        let mut texts = serde_json::Map::new();
        texts.insert("summary".to_owned(), json!(rendered(alert.summary, firing)));
        texts.insert("description".to_owned(), json!(rendered(alert.description, firing)));
        texts.extend(annotations(alert).into_iter().map(|(name, text)| (name.to_owned(), json!(text))));
        json!({"exp_labels": labels, "exp_annotations": texts})
    };
    let check = |(minute, firings): &(u32, Vec<Firing>)| {
        json!({
            "eval_time": format!("{minute}m"), "alertname": case.alert,
            "exp_alerts": firings.iter().map(firing).collect::<Vec<_>>(),
        })
    };
    let series = case.series.iter().map(|(series, values)| json!({"series": series, "values": values}));
    json!({
        "interval": format!("{}m", case.step), "input_series": series.collect::<Vec<_>>(),
        "alert_rule_test": case.checks.iter().map(check).collect::<Vec<_>>(),
    })
}

/// The template with the labels put in, and the value as the story expects it to be shown.
fn rendered(template: &str, firing: &Firing) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, tail)) = rest.split_once("{{ ") {
        let (field, after) = tail.split_once(" }}").unwrap();
        out.push_str(before);
        out.push_str(match field.strip_prefix("$labels.") {
            Some(label) => firing.labels.iter().find(|(name, _)| *name == label).map_or("", |(_, value)| *value),
            None => firing.value,
        });
        rest = after;
    }
    out + rest
}

/// What the exported rules carry besides their texts.
fn links(alert: &Alert) -> Vec<(&'static str, String)> {
    let runbook = format!("https://github.com/artstore/ingester/blob/main/docs/runbooks/{}.md", alert.name);
    let about_files =
        ["ArtstoreUploadFailures", "ArtstoreStorageNearlyFull", "ArtstoreOutboxLagging"].contains(&alert.name);
    let dashboard = if about_files { "artstore-ingest" } else { "artstore-auth" };
    vec![("runbook_url", runbook), ("dashboard_uid", dashboard.to_owned())]
}

#[test]
fn every_alert_has_a_story_of_every_class_and_every_series_in_them_exists() {
    let cases = all();
    for alert in groups().iter().flat_map(|group| &group.alerts) {
        let told: BTreeSet<Class> =
            cases.iter().filter(|case| case.alert == alert.name).map(|case| case.class).collect();
        assert_eq!(told, BTreeSet::from(Class::ALL), "{}", alert.name);
        assert_eq!(alert.severity.as_str(), severity(alert.name), "{}", alert.name);
    }
    for (series, _) in cases.iter().flat_map(|case| &case.series) {
        assert_eq!(series_findings(series), Vec::<String>::new());
    }
}

/// The committed rule file itself, with all stories of the alerts that `is_told` picks.
fn tell_committed(is_told: fn(&str) -> bool) {
    let folder = tempfile::tempdir().unwrap();
    let committed = crate::committed::root().join("deploy/prometheus/artstore.rules.yml");
    let rules = fs::read_to_string(committed).unwrap();
    let mut cases = all();
    cases.retain(|case| is_told(case.alert));
    cases.sort_by_key(|case| case.alert);
    assert!(!cases.is_empty());
    for cases in cases.chunk_by(|a, b| a.alert == b.alert) {
        let (came_true, said) = tell(folder.path(), &rules, &cases.iter().collect::<Vec<_>>(), links);
        assert!(came_true, "{}: {said}", cases[0].alert);
    }
}

#[test]
fn promtool_accepts_rules_and_configuration() {
    let folder = crate::committed::root().join("deploy/prometheus");
    for arguments in [["check", "rules", "artstore.rules.yml"], ["check", "config", "prometheus.yml"]] {
        let (valid, said) = run("promtool", &arguments, &folder);
        assert!(valid, "{said}");
    }
}

#[test]
fn stories_about_tokens_come_true() {
    tell_committed(|alert| alert.starts_with("ArtstoreAuth"));
}

#[test]
fn stories_about_latency_come_true() {
    tell_committed(|alert| alert.starts_with("ArtstoreAdmin"));
}

#[test]
fn stories_about_tls_come_true() {
    tell_committed(|alert| alert.starts_with("ArtstoreTls"));
}

#[test]
fn all_other_stories_come_true() {
    tell_committed(|alert| {
        !["ArtstoreAuth", "ArtstoreAdmin", "ArtstoreTls"].iter().any(|start| alert.starts_with(start))
    });
}
