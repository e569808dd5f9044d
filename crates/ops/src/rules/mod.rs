//! Recording and alerting rules: what they are, and all of them in groups.

mod auth;
pub(crate) mod long;
mod storage;
mod tls;
mod watchdog;

use crate::profile::Profile;

/// The jobs under which the modules are scraped.
pub const JOBS: [&str; 3] = [INGESTER_JOB, "artstore-admin", "artstore-element"];
pub(crate) const INGESTER_JOB: &str = "artstore-ingester";

/// How urgent an alert is; decides its route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Someone is woken.
    Critical,
    /// Someone looks in working hours.
    Warning,
    /// Nobody acts: it proves that alerts arrive.
    None,
}

impl Severity {
    /// The label's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::None => "none",
        }
    }
}

/// A recording rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The name of the series that it makes: `level:family:operation`.
    pub name: &'static str,
    /// What it computes.
    pub expr: String,
}

/// An alerting rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Its name; its runbook is `docs/runbooks/NAME.md`.
    pub name: &'static str,
    /// How urgent it is.
    pub severity: Severity,
    /// Fires when this has series.
    pub expr: String,
    /// For how long it must have had them, as a Prometheus duration.
    pub hold: &'static str,
    /// One line, a template.
    pub summary: &'static str,
    /// What is the matter, with the value, a template.
    pub description: &'static str,
}

impl Alert {
    /// Where its runbook is to be read.
    #[must_use]
    pub fn runbook_url(&self) -> String {
        runbook_url(self.name)
    }
}

/// Where the runbook of an alert is to be read.
pub(crate) fn runbook_url(alert: &str) -> String {
    format!("{}/blob/main/docs/runbooks/{alert}.md", env!("CARGO_PKG_REPOSITORY"))
}

/// Rules that are evaluated one after the other: alerts see the records before them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: &'static str,
    /// The recording rules, which come first.
    pub records: Vec<Record>,
    /// The alerting rules.
    pub alerts: Vec<Alert>,
}

/// All rules, with true durations.
#[must_use]
pub fn groups() -> Vec<Group> {
    groups_in(Profile::Production)
}

/// All rules, with the durations of a profile.
#[must_use]
pub fn groups_in(profile: Profile) -> Vec<Group> {
    vec![
        auth::group(profile),
        tls::group(profile),
        storage::group(profile),
        watchdog::group(profile),
        long::group(profile),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_alert_has_a_name_of_its_own_a_value_in_its_description_and_a_runbook() {
        let mut names = BTreeSet::new();
        for alert in groups().iter().flat_map(|group| &group.alerts) {
            assert!(names.insert(alert.name), "{}", alert.name);
            assert!(alert.severity == Severity::None || alert.description.contains("$value"), "{}", alert.name);
            // The value changes with every evaluation: in a summary it would make a new notification each time.
            assert!(!alert.summary.contains("$value"), "{}", alert.name);
            assert!(alert.runbook_url().ends_with(&format!("/docs/runbooks/{}.md", alert.name)));
        }
    }

    /// Exactly those that operators were promised.
    #[test]
    fn there_are_fifteen_alerts() {
        let wanted = BTreeSet::from([
            "ArtstoreAuthServiceDown",
            "ArtstoreAuthHighErrorRate",
            "ArtstoreTlsCertificateExpiryCritical",
            "ArtstoreTlsHandshakeFailures",
            "ArtstoreAdminModuleLatencySLO",
            "ArtstoreAuthLowCacheHitRate",
            "ArtstoreTlsCertificateExpiringSoon",
            "ArtstoreTlsLowConnectionReuse",
            "ArtstoreAuthTokenExpiring",
            "ArtstoreUploadFailures",
            "ArtstoreStorageNearlyFull",
            "ArtstoreTlsReloadFailing",
            "ArtstoreTlsCrlStale",
            "ArtstoreOutboxLagging",
            "Watchdog",
        ]);
        assert_eq!(
            groups().iter().flat_map(|group| &group.alerts).map(|alert| alert.name).collect::<BTreeSet<_>>(),
            wanted
        );
    }

    #[test]
    fn records_are_named_by_level_family_and_operation() {
        for record in groups().iter().flat_map(|group| &group.records) {
            let parts: Vec<&str> = record.name.split(':').collect();
            assert!(parts.len() == 3 && record.expr.contains(parts[1]), "{}", record.name);
            let kept = if parts[0] == "job" { "by (job)" } else { "by (job, instance" };
            assert!(record.expr.contains(kept), "{}", record.name);
        }
    }
}
