//! The alert that always fires: whoever misses it knows that no alert arrives.

use super::{Alert, Group, Severity};
use crate::profile::Profile;

pub(super) fn group(profile: Profile) -> Group {
    let watchdog = Alert {
        name: "Watchdog",
        severity: Severity::None,
        expr: "vector(1)".to_owned(),
        hold: profile.hold("0s"),
        summary: "Alerts arrive",
        description: "Always firing. If it stops, Prometheus, Alertmanager or the way to you is broken.",
    };
    Group { name: "artstore-watchdog", records: Vec::new(), alerts: vec![watchdog] }
}
