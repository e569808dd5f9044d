//! Rules about files: uploads, room, and records that Admin does not get.

use super::{Alert, Group, Severity};
use crate::profile::Profile;
use crate::promql::{series, share, sum_by};
use artstore_element::metrics::{CAPACITY, FREE, OUTBOX_AGE};
use artstore_ingester::metrics::UPLOADS_TOTAL;

pub(super) fn group(profile: Profile) -> Group {
    Group {
        name: "artstore-storage",
        records: Vec::new(),
        alerts: vec![upload_failures(profile), nearly_full(profile), outbox_lagging(profile)],
    }
}

/// Uploads that a client got wrong or gave up count on neither side.
fn upload_failures(profile: Profile) -> Alert {
    let failed = series(&UPLOADS_TOTAL).with("outcome", "failed");
    let ended = series(&UPLOADS_TOTAL).among("outcome", &["stored", "failed"]);
    Alert {
        name: "ArtstoreUploadFailures",
        severity: Severity::Warning,
        expr: format!(
            "{} > 0.05\nand\n{} >= {}",
            share("job", &failed, &ended, profile.window("5m")),
            sum_by("job", &failed.increase(profile.window("5m"))),
            profile.guard(3)
        ),
        hold: profile.hold("2m"),
        summary: "Uploads through {{ $labels.job }} fail",
        description: "{{ $value | humanizePercentage }} of the uploads of the last 5 minutes failed on our side.",
    }
}

fn nearly_full(profile: Profile) -> Alert {
    Alert {
        name: "ArtstoreStorageNearlyFull",
        severity: Severity::Warning,
        expr: format!("{} / {} < 0.1", series(&FREE), series(&CAPACITY)),
        hold: profile.hold("5m"),
        summary: "Storage Element {{ $labels.instance }} is nearly full",
        description: "{{ $value | humanizePercentage }} of its capacity is free.",
    }
}

/// A healthy element reports within seconds.
fn outbox_lagging(profile: Profile) -> Alert {
    Alert {
        name: "ArtstoreOutboxLagging",
        severity: Severity::Warning,
        expr: format!("{} > {}", series(&OUTBOX_AGE), profile.seconds(300)),
        hold: profile.hold("5m"),
        summary: "Storage Element {{ $labels.instance }} cannot tell the Admin Module of its files",
        description: "The oldest change that the Admin Module has not acknowledged is {{ $value | humanizeDuration }} old; its index lacks what \
            came since.",
    }
}
