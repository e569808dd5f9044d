//! The alert that always fires: whoever misses it knows that no alert arrives.

use super::{Alert, Group, Severity};

pub(super) fn group() -> Group {
    let watchdog = Alert {
        name: "Watchdog",
        severity: Severity::None,
        expr: "vector(1)".to_owned(),
        hold: "0s",
        summary: "Alerts arrive",
        description: "Always firing. If it stops, Prometheus, Alertmanager or the way to you is broken.",
    };
    Group { name: "artstore-watchdog", records: Vec::new(), alerts: vec![watchdog] }
}
