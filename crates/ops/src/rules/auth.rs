//! Rules about tokens: can they be had, in time, and are they kept.

use super::{Alert, Group, INGESTER_JOB, Record, Severity};
use crate::profile::Profile;
use crate::promql::{buckets, series, share, sum_by};
use artstore_auth::metrics::{REFRESH, REFRESH_DURATION, REQUESTS, SOURCE, TTL};

pub(super) fn group(profile: Profile) -> Group {
    Group {
        name: "artstore-auth",
        records: records(profile),
        alerts: vec![
            service_down(profile),
            high_error_rate(profile),
            admin_latency(profile),
            low_cache_hit_rate(profile),
            token_expiring(profile),
        ],
    }
}

fn records(profile: Profile) -> Vec<Record> {
    let failures =
        |window| share("job", &series(&REQUESTS).with("status", "failure"), &series(&REQUESTS), profile.window(window));
    let slow = |window| {
        let in_time = buckets(&REFRESH_DURATION).with("le", "0.5");
        format!("1 -\n{}", share("job", &in_time, &series(&REFRESH_DURATION), profile.window(window)))
    };
    vec![
        Record { name: "job:auth_token_requests:failure_ratio5m", expr: failures("5m") },
        Record { name: "job:auth_token_requests:failure_ratio1h", expr: failures("1h") },
        Record { name: "job:auth_token_refresh_duration_seconds:slow_ratio5m", expr: slow("5m") },
        Record { name: "job:auth_token_refresh_duration_seconds:slow_ratio1h", expr: slow("1h") },
        Record { name: "job:auth_token_refresh_duration_seconds:slow_ratio6h", expr: slow("6h") },
        Record { name: "job:auth_token_refresh_duration_seconds:slow_ratio3d", expr: slow("3d") },
        Record {
            name: "job:auth_token_source:cache_ratio15m",
            expr: share("job", &series(&SOURCE).with("source", "cache"), &series(&SOURCE), profile.window("15m")),
        },
    ]
}

/// `up` is Prometheus' own; `absent` also finds a target that was taken out of the configuration.
fn service_down(profile: Profile) -> Alert {
    Alert {
        name: "ArtstoreAuthServiceDown",
        severity: Severity::Critical,
        expr: format!("up{{job=\"{INGESTER_JOB}\"}} == 0\nor\nabsent(up{{job=\"{INGESTER_JOB}\"}})"),
        hold: profile.hold("2m"),
        summary: "{{ $labels.job }} {{ $labels.instance }} cannot be scraped",
        description: "The Ingester's operations listener has not answered Prometheus for 2 minutes, or Prometheus knows no such target \
            (value {{ $value }}: 0 = it does not answer, 1 = there is no target).",
    }
}

/// 14.4 times the budget of an objective of 99 %: at that pace two days' budget is gone in an hour. The long window keeps a
/// short fault from waking anybody, the short one lets the alert end soon after the repair.
fn high_error_rate(profile: Profile) -> Alert {
    let failed = sum_by("job", &series(&REQUESTS).with("status", "failure").increase(profile.window("5m")));
    Alert {
        name: "ArtstoreAuthHighErrorRate",
        severity: Severity::Critical,
        expr: format!(
            "job:auth_token_requests:failure_ratio5m > 0.144\nand\njob:auth_token_requests:failure_ratio1h > 0.144\nand\n{failed} >= {}",
            profile.guard(3)
        ),
        hold: profile.hold("1m"),
        summary: "{{ $labels.job }} cannot get tokens",
        description: "{{ $value | humanizePercentage }} of the token acquisitions of {{ $labels.job }} in the last 5 minutes failed, and more \
            than 14.4 % of those in the last hour.",
    }
}

/// One instance refreshes about twice an hour, so the windows are long, the counts are summed over instances, and a middle
/// pair needs no more than five slow exchanges. The objective: 95 % of the exchanges within 500 ms, counted exactly at `le="0.5"`.
fn admin_latency(profile: Profile) -> Alert {
    let all = |window| sum_by("job", &series(&REFRESH_DURATION).increase(profile.window(window)));
    let in_time = sum_by("job", &buckets(&REFRESH_DURATION).with("le", "0.5").increase(profile.window("6h")));
    let slow = |window: &str| format!("job:auth_token_refresh_duration_seconds:slow_ratio{window}");
    let pair = |long, short, threshold: &str, guard: String| {
        format!("(\n  {} > {threshold}\n  and\n  {} > {threshold}\n  and\n  {guard}\n)", slow(long), slow(short))
    };
    let fast = pair("1h", "5m", "0.72", format!("{} >= {}", all("1h"), profile.guard(10)));
    let few = pair("6h", "1h", "0.3", format!("{} - {in_time} >= {}", all("6h"), profile.guard(5)));
    let long = pair("3d", "6h", "0.05", format!("{} >= {}", all("3d"), profile.guard(50)));
    Alert {
        name: "ArtstoreAdminModuleLatencySLO",
        severity: Severity::Warning,
        expr: format!("{fast}\nor\n{few}\nor\n{long}"),
        hold: profile.hold("2m"),
        summary: "The Admin Module answers {{ $labels.job }} too slowly",
        description: "{{ $value | humanizePercentage }} of the token exchanges of {{ $labels.job }} took longer than 500 ms; the objective \
            allows 5 %.",
    }
}

fn low_cache_hit_rate(profile: Profile) -> Alert {
    let callers = sum_by("job", &series(&SOURCE).increase(profile.window("15m")));
    Alert {
        name: "ArtstoreAuthLowCacheHitRate",
        severity: Severity::Warning,
        expr: format!("job:auth_token_source:cache_ratio15m < 0.8\nand\n{callers} >= {}", profile.guard(50)),
        hold: profile.hold("10m"),
        summary: "{{ $labels.job }} asks for tokens too often",
        description: "Only {{ $value | humanizePercentage }} of the callers for a token in {{ $labels.job }} were served from the cache in the \
            last 15 minutes; 80 % is the least that is normal.",
    }
}

/// A background refresh begins 5 minutes before expiry, so that a token under 4 minutes with failures is one that will run out.
fn token_expiring(profile: Profile) -> Alert {
    let failed = series(&REFRESH).with("status", "failure").increase(profile.window("5m"));
    Alert {
        name: "ArtstoreAuthTokenExpiring",
        severity: Severity::Warning,
        expr: format!("{} < {}\nand on (job, instance)\n{failed} > 0", series(&TTL), profile.seconds(240)),
        hold: profile.hold("1m"),
        summary: "The token of {{ $labels.job }} {{ $labels.instance }} runs out",
        description: "The token is good for another {{ $value | humanizeDuration }}, and refreshes fail.",
    }
}
