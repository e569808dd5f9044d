//! What a plain Prometheus reads: its configuration and the rule file.

use crate::dashboard;
use crate::profile::Profile;
use crate::rules::{Alert, Group, JOBS, Record, groups_in};
use crate::yaml::Yaml;

/// `prometheus.yml`: scrapes the operations listeners at their default ports, reads the rules, sends alerts to Alertmanager.
pub(crate) fn configuration(profile: Profile) -> Yaml {
    let targets: [&[&str]; 3] = [&["127.0.0.1:9020"], &["127.0.0.1:9000"], &["127.0.0.1:9010", "127.0.0.1:9011"]];
    let job = |(name, targets): (&str, &[&str])| {
        Yaml::from([("job_name", name.into()), ("static_configs", static_targets(targets))])
    };
    let interval = profile.interval("15s");
    let managers = [("static_configs", static_targets(&["127.0.0.1:9093"]))];
    Yaml::from([
        ("global", [("scrape_interval", interval.into()), ("evaluation_interval", interval.into())].into()),
        ("rule_files", Yaml::texts(["artstore.rules.yml"])),
        ("alerting", [("alertmanagers", [Yaml::from(managers)].into_iter().collect())].into()),
        ("scrape_configs", JOBS.into_iter().zip(targets).map(job).collect()),
    ])
}

fn static_targets(targets: &[&str]) -> Yaml {
    [Yaml::from([("targets", Yaml::texts(targets.iter().copied()))])].into_iter().collect()
}

/// The rule file; also the `spec` of a PrometheusRule.
pub(crate) fn rules(profile: Profile) -> Yaml {
    Yaml::from([("groups", groups_in(profile).into_iter().map(group).collect())])
}

fn group(group: Group) -> Yaml {
    let rules = group.records.into_iter().map(record).chain(group.alerts.into_iter().map(alert));
    Yaml::from([("name", group.name.into()), ("rules", rules.collect())])
}

fn record(record: Record) -> Yaml {
    Yaml::from([("record", record.name.into()), ("expr", record.expr.into())])
}

fn alert(alert: Alert) -> Yaml {
    let (runbook, uid) = (alert.runbook_url(), dashboard::uid_of(alert.name));
    Yaml::from([
        ("alert", alert.name.into()),
        ("expr", alert.expr.into()),
        ("for", alert.hold.into()),
        ("labels", [("severity", alert.severity.as_str().into())].into()),
        (
            "annotations",
            [
                ("summary", alert.summary.into()),
                ("description", alert.description.into()),
                ("runbook_url", runbook.into()),
                ("dashboard_uid", uid.into()),
            ]
            .into(),
        ),
    ])
}
