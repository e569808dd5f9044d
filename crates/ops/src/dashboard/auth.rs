//! What the dashboard `artstore-auth` shows. Windows are long where events are rare, and so recorded by rules: one instance refreshes
//! its token about twice an hour.

use super::panel::{Panel, Shape, Thresholds, lines};
use super::{STEP, of};
use crate::promql::{Series, buckets, quantile, quantile_of, ratio, sum_by};
use crate::rules::long::{
    ACQUISITION_1H, EXCHANGE_1H, EXCHANGE_6H, EXCHANGES_1H, HANDSHAKE_15M, Long, REQUESTS_1H, REUSE_15M, SOURCE_15M,
};
use artstore_auth::metrics::{ACQUISITION_DURATION, ERRORS, HIT_RATE, REFRESH, TTL, VALIDATION};
use artstore_tls::metrics::{
    CERTIFICATE_EXPIRY, CERTIFICATE_VALIDATION, CIPHER_SUITE_USAGE, CONNECTIONS_ACTIVE, HANDSHAKES, PROTOCOL_USAGE,
};

/// Titles of rows, and their panels from left to right.
pub(super) fn rows() -> Vec<(&'static str, Vec<Panel>)> {
    vec![
        ("Health", vec![success_ratio(), errors()]),
        ("Cache and lifetime", vec![hit_ratio(), lowest_ttl(), refreshes()]),
        ("Admin Module objective: 95 % within 500 ms", vec![acquisitions(), exchanges()]),
        ("TLS", vec![handshake_durations(), handshake_failures(), protocols()]),
        ("Connections and certificates", vec![connections(), certificates()]),
    ]
}

/// What a recording rule made of the chosen jobs and instances.
fn long(long: &Long) -> Series {
    long.series().chosen()
}

/// The share of those whose label has this value.
fn long_share(of: &Long, label: &str, value: &str) -> String {
    let part = of.series().with(label, value).chosen();
    ratio("job", &part.to_string(), &long(of).to_string())
}

fn success_ratio() -> Panel {
    let ratio = long_share(&REQUESTS_1H, "status", "success");
    Panel {
        unit: "percentunit",
        thresholds: Thresholds::Low(0.95, 0.99),
        alerts: &["ArtstoreAuthHighErrorRate", "ArtstoreAuthServiceDown"],
        ..lines(
            "Acquisition success ratio",
            "Share of the token acquisitions of the last hour that succeeded.",
            vec![(ratio, "{{job}}")],
        )
    }
}

fn errors() -> Panel {
    let rate = sum_by("error_type, admin_module_url", &of(&ERRORS).rate(STEP));
    Panel {
        alerts: &["ArtstoreAuthHighErrorRate"],
        ..lines(
            "Errors by type and instance",
            "Failed token exchanges and key-set fetches a second, by kind and by Admin Module instance.",
            vec![(format!("{rate} > 0"), "{{error_type}} {{admin_module_url}}")],
        )
    }
}

fn hit_ratio() -> Panel {
    let now = long_share(&SOURCE_15M, "source", "cache");
    let since_start = format!("min by (job, instance) ({}) / 100", of(&HIT_RATE));
    Panel {
        unit: "percentunit",
        thresholds: Thresholds::Low(0.8, 0.95),
        alerts: &["ArtstoreAuthLowCacheHitRate"],
        ..lines(
            "Cache hit ratio",
            "Share of the callers for a token who got the cached one: of the last 15 minutes, and since each instance's start.",
            vec![(now, "{{job}}"), (since_start, "{{job}} {{instance}} since start")],
        )
    }
}

fn lowest_ttl() -> Panel {
    let lowest = format!("min by (job, instance) ({})", of(&TTL));
    Panel {
        unit: "s",
        thresholds: Thresholds::Low(60.0, 300.0),
        alerts: &["ArtstoreAuthTokenExpiring"],
        ..lines(
            "Token lifetime left",
            "Seconds until the cached token expires; absent before the first token.",
            vec![(lowest, "{{job}} {{instance}}")],
        )
    }
}

fn refreshes() -> Panel {
    let refreshes = sum_by("status, trigger", &of(&REFRESH).rate(STEP));
    let checks = sum_by("result", &of(&VALIDATION).rate(STEP));
    Panel {
        alerts: &["ArtstoreAuthLowCacheHitRate"],
        ..lines(
            "Refreshes and checks of the token",
            "Acquisitions a second by what started them and how they ended, and checks of the cached token by result.",
            vec![(refreshes, "refresh {{trigger}} {{status}}"), (checks, "check {{result}}")],
        )
    }
}

fn acquisitions() -> Panel {
    let at = |q| quantile_of(q, "", &long(&ACQUISITION_1H).to_string());
    let now = quantile("0.95", "", &buckets(&ACQUISITION_DURATION).chosen(), STEP);
    Panel {
        unit: "s",
        thresholds: Thresholds::High(0.5, 2.5),
        exemplars: true,
        alerts: &["ArtstoreAdminModuleLatencySLO"],
        ..lines(
            "Acquisition duration",
            "Time from the start of an acquisition to token or failure, of the last hour. Fast failures flatter it: read it beside the success \
             ratio. `p95 now`, and the traces drawn as points, are of the moment alone.",
            vec![(at("0.5"), "p50"), (at("0.95"), "p95"), (at("0.99"), "p99"), (now, "p95 now")],
        )
    }
}

fn exchanges() -> Panel {
    let p95 = quantile_of("0.95", "", &long(&EXCHANGE_6H).to_string());
    let fast = EXCHANGE_1H.series().with("le", "0.5").chosen();
    let in_time = ratio("job", &fast.to_string(), &long(&EXCHANGES_1H).to_string());
    Panel {
        unit: "s",
        thresholds: Thresholds::High(0.5, 2.5),
        other_unit: Some(("slow", "percentunit")),
        alerts: &["ArtstoreAdminModuleLatencySLO"],
        ..lines(
            "Exchange p95, and share slower than 500 ms",
            "The Admin Module's answers: p95 of the last six hours, and the share of the last hour that the objective counts as slow, exact at \
             the bucket 0.5.",
            vec![(p95, "p95"), (format!("1 -\n{in_time}"), "slow {{job}}")],
        )
    }
}

fn handshake_durations() -> Panel {
    let p95 = quantile_of("0.95", "protocol, ", &long(&HANDSHAKE_15M).to_string());
    Panel {
        unit: "s",
        thresholds: Thresholds::High(0.1, 0.5),
        alerts: &["ArtstoreTlsLowConnectionReuse"],
        ..lines(
            "Handshake p95",
            "TLS handshakes of outgoing connections alone, without DNS and TCP, of the last 15 minutes.",
            vec![(p95, "{{protocol}}")],
        )
    }
}

fn handshake_failures() -> Panel {
    let failures = sum_by("error_type", &of(&HANDSHAKES).with("status", "failure").rate(STEP));
    let verdicts = sum_by("result", &of(&CERTIFICATE_VALIDATION).with_not("result", "valid").rate(STEP));
    Panel {
        alerts: &["ArtstoreTlsHandshakeFailures", "ArtstoreTlsCrlStale"],
        ..lines(
            "Handshake failures and certificate verdicts",
            "Failed handshakes of outgoing connections by kind, and verdicts on certificates other than valid, a second.",
            vec![(format!("{failures} > 0"), "{{error_type}}"), (format!("{verdicts} > 0"), "certificate {{result}}")],
        )
    }
}

fn protocols() -> Panel {
    let protocols = sum_by("protocol", &of(&PROTOCOL_USAGE).rate(STEP));
    let suites = sum_by("cipher_suite", &of(&CIPHER_SUITE_USAGE).rate(STEP));
    lines(
        "Protocols and cipher suites",
        "Successful handshakes of outgoing connections a second, by what was negotiated.",
        vec![(protocols, "{{protocol}}"), (suites, "{{cipher_suite}}")],
    )
}

fn connections() -> Panel {
    let active = sum_by("protocol", &of(&CONNECTIONS_ACTIVE).to_string());
    let reuse = long_share(&REUSE_15M, "reused", "true");
    Panel {
        unit: "short",
        other_unit: Some(("reuse", "percentunit")),
        alerts: &["ArtstoreTlsLowConnectionReuse"],
        ..lines(
            "Open connections and reuse",
            "Open outgoing TLS connections, and the share of the requests of the last 15 minutes that went over one that had carried one before.",
            vec![(active, "{{protocol}}"), (reuse, "reuse {{job}}")],
        )
    }
}

fn certificates() -> Panel {
    let days = format!("min by (job, instance, cert_type, subject) ({})", of(&CERTIFICATE_EXPIRY));
    Panel {
        unit: "d",
        thresholds: Thresholds::Low(7.0, 30.0),
        shape: Shape::Table,
        alerts: &[
            "ArtstoreTlsCertificateExpiryCritical",
            "ArtstoreTlsCertificateExpiringSoon",
            "ArtstoreTlsReloadFailing",
        ],
        ..lines(
            "Days until certificates expire",
            "Every certificate that a module holds; negative once expired.",
            vec![(days, "{{subject}}")],
        )
    }
}
