//! `alertmanager.yml`: who hears of which alert, and which alerts say no more than another one does.

use crate::profile::Profile;
use crate::yaml::Yaml;

/// While `cause` fires, the alerts `told` that agree with it in the labels `equal` are not sent.
struct Inhibition {
    cause: &'static str,
    told: &'static [&'static str],
    equal: &'static [&'static str],
}

/// A critical alert silences the warnings that follow from it.
const INHIBITIONS: [Inhibition; 4] = [
    Inhibition {
        cause: "ArtstoreTlsCertificateExpiryCritical",
        told: &["ArtstoreTlsCertificateExpiringSoon"],
        equal: &["job", "instance", "cert_type", "subject"],
    },
    Inhibition {
        cause: "ArtstoreAuthHighErrorRate",
        told: &["ArtstoreAuthTokenExpiring", "ArtstoreAuthLowCacheHitRate", "ArtstoreAdminModuleLatencySLO"],
        equal: &["job"],
    },
    Inhibition {
        cause: "ArtstoreTlsHandshakeFailures",
        told: &["ArtstoreUploadFailures", "ArtstoreTlsLowConnectionReuse"],
        equal: &["job"],
    },
    Inhibition {
        cause: "ArtstoreAuthServiceDown",
        told: &["ArtstoreAuthTokenExpiring", "ArtstoreTlsCertificateExpiringSoon"],
        equal: &["job", "instance"],
    },
];

/// The example: critical alerts by webhook and e-mail, warnings by e-mail, the watchdog to whoever counts its heartbeats.
pub(crate) fn configuration(profile: Profile) -> Yaml {
    Yaml::from([
        (
            "global",
            [("smtp_smarthost", "localhost:25".into()), ("smtp_from", "alertmanager@example.org".into())].into(),
        ),
        ("route", route(profile)),
        ("inhibit_rules", INHIBITIONS.iter().map(inhibition).collect()),
        (
            "receivers",
            [
                receiver("critical", &["http://127.0.0.1:9099/critical"], &["on-call@example.org"]),
                receiver("warning", &[], &["operators@example.org"]),
                receiver("watchdog", &["http://127.0.0.1:9099/watchdog"], &[]),
            ]
            .into_iter()
            .collect(),
        ),
    ])
}

/// Whatever no branch takes is a warning.
fn route(profile: Profile) -> Yaml {
    let branch = |matcher: &str, receiver: &str, wait: &'static str, repeat: &'static str| {
        Yaml::from([
            ("matchers", Yaml::texts([matcher])),
            ("receiver", receiver.into()),
            ("group_wait", profile.interval(wait).into()),
            ("repeat_interval", profile.interval(repeat).into()),
        ])
    };
    Yaml::from([
        ("receiver", "warning".into()),
        ("group_by", Yaml::texts(["alertname", "job"])),
        ("group_wait", profile.interval("30s").into()),
        ("group_interval", profile.interval("5m").into()),
        ("repeat_interval", profile.interval("12h").into()),
        (
            "routes",
            [
                branch("alertname = \"Watchdog\"", "watchdog", "0s", "5m"),
                branch("severity = \"critical\"", "critical", "10s", "1h"),
                branch("severity = \"warning\"", "warning", "30s", "12h"),
            ]
            .into_iter()
            .collect(),
        ),
    ])
}

fn inhibition(inhibition: &Inhibition) -> Yaml {
    let told = format!("alertname =~ \"{}\"", inhibition.told.join("|"));
    Yaml::from([
        ("source_matchers", Yaml::from_iter([Yaml::from(format!("alertname = \"{}\"", inhibition.cause))])),
        ("target_matchers", Yaml::from_iter([Yaml::from(told), "severity = \"warning\"".into()])),
        ("equal", Yaml::texts(inhibition.equal.iter().copied())),
    ])
}

fn receiver(name: &str, urls: &[&str], addresses: &[&str]) -> Yaml {
    let mut entries = vec![("name", name.into())];
    let entry = |key, value: &&str| Yaml::from([(key, Yaml::from(*value)), ("send_resolved", Yaml::Bool(true))]);
    if !urls.is_empty() {
        entries.push(("webhook_configs", urls.iter().map(|url| entry("url", url)).collect()));
    }
    if !addresses.is_empty() {
        entries.push(("email_configs", addresses.iter().map(|address| entry("to", address)).collect()));
    }
    Yaml::Map(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Severity, groups};

    #[test]
    fn a_critical_alert_inhibits_warnings_that_exist() {
        let alerts: Vec<_> = groups().into_iter().flat_map(|group| group.alerts).collect();
        let severity = |name: &str| alerts.iter().find(|alert| alert.name == name).map(|alert| alert.severity);
        for inhibition in &INHIBITIONS {
            assert_eq!(severity(inhibition.cause), Some(Severity::Critical), "{}", inhibition.cause);
            for told in inhibition.told {
                assert_eq!(severity(told), Some(Severity::Warning), "{told}");
            }
        }
    }
}
