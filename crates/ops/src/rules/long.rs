//! Rates over long windows, recorded for the dashboards: a panel's own window is as long as the distance between its points, too short
//! for events that come twice an hour.

use super::{Group, Record};
use crate::profile::Profile;
use crate::promql::{Series, buckets, recorded, series, sum_by};
use artstore_auth::metrics::{ACQUISITION_DURATION, REFRESH_DURATION, REQUESTS, SOURCE};
use artstore_tls::metrics::{CONNECTION_REUSE, HANDSHAKE_DURATION};

/// A recorded rate of each instance's series, by some of their labels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Long {
    name: &'static str,
    of: fn() -> Series,
    /// The labels that it keeps besides job and instance.
    labels: &'static [&'static str],
    window: &'static str,
}

/// Acquisitions of the last hour by status.
pub(crate) const REQUESTS_1H: Long = Long {
    name: "instance_status:auth_token_requests:rate1h",
    of: || series(&REQUESTS),
    labels: &["status"],
    window: "1h",
};

/// Callers of the last 15 minutes by source.
pub(crate) const SOURCE_15M: Long = Long {
    name: "instance_source:auth_token_source:rate15m",
    of: || series(&SOURCE),
    labels: &["source"],
    window: "15m",
};

/// Durations of the last hour's acquisitions.
pub(crate) const ACQUISITION_1H: Long = Long {
    name: "instance_le:auth_token_acquisition_duration_seconds_bucket:rate1h",
    of: || buckets(&ACQUISITION_DURATION),
    labels: &["le"],
    window: "1h",
};

/// Durations of the last hour's exchanges.
pub(crate) const EXCHANGE_1H: Long = Long {
    name: "instance_le:auth_token_refresh_duration_seconds_bucket:rate1h",
    of: || buckets(&REFRESH_DURATION),
    labels: &["le"],
    window: "1h",
};

/// Exchanges of the last hour.
pub(crate) const EXCHANGES_1H: Long = Long {
    name: "instance:auth_token_refresh_duration_seconds_count:rate1h",
    of: || series(&REFRESH_DURATION),
    labels: &[],
    window: "1h",
};

/// Durations of the last six hours' exchanges.
pub(crate) const EXCHANGE_6H: Long = Long {
    name: "instance_le:auth_token_refresh_duration_seconds_bucket:rate6h",
    of: || buckets(&REFRESH_DURATION),
    labels: &["le"],
    window: "6h",
};

/// Durations of the last 15 minutes' handshakes by protocol.
pub(crate) const HANDSHAKE_15M: Long = Long {
    name: "instance_protocol_le:tls_handshake_duration_seconds_bucket:rate15m",
    of: || buckets(&HANDSHAKE_DURATION),
    labels: &["protocol", "le"],
    window: "15m",
};

/// Requests of the last 15 minutes by whether their connection had carried one.
pub(crate) const REUSE_15M: Long = Long {
    name: "instance_reused:tls_connection_reuse:rate15m",
    of: || series(&CONNECTION_REUSE),
    labels: &["reused"],
    window: "15m",
};

const ALL: [Long; 8] =
    [REQUESTS_1H, SOURCE_15M, ACQUISITION_1H, EXCHANGE_1H, EXCHANGES_1H, EXCHANGE_6H, HANDSHAKE_15M, REUSE_15M];

impl Long {
    /// Its series.
    pub(crate) fn series(&self) -> Series {
        recorded(self.name)
    }

    fn record(&self, profile: Profile) -> Record {
        let labels: Vec<&str> = ["job", "instance"].iter().chain(self.labels).copied().collect();
        Record { name: self.name, expr: sum_by(&labels.join(", "), &(self.of)().rate(profile.window(self.window))) }
    }
}

pub(super) fn group(profile: Profile) -> Group {
    let records = ALL.iter().map(|long| long.record(profile)).collect();
    Group { name: "artstore-dashboards", records, alerts: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Level and labels, family without `_total`, operation with the window.
    #[test]
    fn each_is_named_by_what_it_keeps_and_what_it_is() {
        for long in ALL {
            let level = ["instance"].iter().chain(long.labels).copied().collect::<Vec<_>>().join("_");
            let family = (long.of)().to_string();
            let family = family.trim_end_matches("_total");
            assert_eq!(long.name, format!("{level}:{family}:rate{}", long.window));
        }
    }

    #[test]
    fn a_record_keeps_job_and_instance_so_that_a_dashboard_can_choose() {
        let record = REQUESTS_1H.record(Profile::Production);
        assert_eq!(record.name, "instance_status:auth_token_requests:rate1h");
        assert_eq!(record.expr, "sum by (job, instance, status) (rate(auth_token_requests_total[1h]))");
    }
}
