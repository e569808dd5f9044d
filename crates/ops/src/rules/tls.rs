//! Rules about TLS: handshakes, connections, certificates.

use super::{Alert, Group, Record, Severity};
use crate::profile::Profile;
use crate::promql::{series, share, sum_by};
use artstore_tls::metrics::{
    CERTIFICATE_EXPIRY, CONNECTION_REUSE, CRL_NEXT_UPDATE, HANDSHAKES, RELOAD_PENDING_FAILURE,
};

pub(super) fn group(profile: Profile) -> Group {
    Group {
        name: "artstore-tls",
        records: vec![
            Record {
                name: "job:tls_handshake:failure_ratio5m",
                expr: share(
                    "job",
                    &series(&HANDSHAKES).with("status", "failure"),
                    &series(&HANDSHAKES),
                    profile.window("5m"),
                ),
            },
            Record {
                name: "job:tls_connection_reuse:ratio15m",
                expr: share(
                    "job",
                    &series(&CONNECTION_REUSE).with("reused", "true"),
                    &series(&CONNECTION_REUSE),
                    profile.window("15m"),
                ),
            },
        ],
        alerts: vec![
            expiry_critical(profile),
            expiring_soon(profile),
            handshake_failures(profile),
            low_reuse(profile),
            reload_failing(profile),
            crl_stale(profile),
        ],
    }
}

/// Under 7 days, and below zero once expired. The value is computed when scraped, so nothing but renewal ends this.
fn expiry_critical(profile: Profile) -> Alert {
    Alert {
        name: "ArtstoreTlsCertificateExpiryCritical",
        severity: Severity::Critical,
        expr: format!("{} < 7", series(&CERTIFICATE_EXPIRY)),
        hold: profile.hold("5m"),
        summary: "The {{ $labels.cert_type }} certificate {{ $labels.subject }} of {{ $labels.job }} {{ $labels.instance }} expires within a week",
        description: "{{ $value | printf \"%.1f\" }} days are left until notAfter; below 0 it has expired, and peers refuse it.",
    }
}

fn expiring_soon(profile: Profile) -> Alert {
    Alert {
        name: "ArtstoreTlsCertificateExpiringSoon",
        severity: Severity::Warning,
        expr: format!("{0} < 30\nand\n{0} >= 7", series(&CERTIFICATE_EXPIRY)),
        hold: profile.hold("15m"),
        summary: "The {{ $labels.cert_type }} certificate {{ $labels.subject }} of {{ $labels.job }} {{ $labels.instance }} expires within 30 days",
        description: "{{ $value | printf \"%.1f\" }} days are left until notAfter.",
    }
}

/// Connections that a module opens only: what strangers do to its listener is counted apart.
fn handshake_failures(profile: Profile) -> Alert {
    let failed = sum_by("job", &series(&HANDSHAKES).with("status", "failure").increase(profile.window("5m")));
    Alert {
        name: "ArtstoreTlsHandshakeFailures",
        severity: Severity::Critical,
        expr: format!("job:tls_handshake:failure_ratio5m > 0.2\nand\n{failed} >= {}", profile.guard(3)),
        hold: profile.hold("2m"),
        summary: "TLS handshakes of {{ $labels.job }} with its peers fail",
        description: "{{ $value | humanizePercentage }} of the TLS handshakes that {{ $labels.job }} began in the last 5 minutes failed.",
    }
}

fn low_reuse(profile: Profile) -> Alert {
    let requests = sum_by("job", &series(&CONNECTION_REUSE).increase(profile.window("15m")));
    Alert {
        name: "ArtstoreTlsLowConnectionReuse",
        severity: Severity::Warning,
        expr: format!("job:tls_connection_reuse:ratio15m < 0.7\nand\n{requests} >= {}", profile.guard(50)),
        hold: profile.hold("10m"),
        summary: "{{ $labels.job }} opens a connection for too many requests",
        description: "Only {{ $value | humanizePercentage }} of the requests that {{ $labels.job }} sent in the last 15 minutes went over a \
            connection that had carried one before; 70 % is the least that is normal.",
    }
}

/// Two files of a pair are replaced one after the other: that takes seconds, not minutes.
fn reload_failing(profile: Profile) -> Alert {
    Alert {
        name: "ArtstoreTlsReloadFailing",
        severity: Severity::Warning,
        expr: format!("{} > 0", series(&RELOAD_PENDING_FAILURE)),
        hold: profile.hold("2m"),
        summary: "{{ $labels.job }} {{ $labels.instance }} cannot use its certificate files as they are now",
        description: "Changed certificates, keys, trust or revocation lists cannot be used (value {{ $value }}); those from before serve on \
            until they expire.",
    }
}

/// An hour before nextUpdate, after which every certificate of that issuer is refused.
fn crl_stale(profile: Profile) -> Alert {
    Alert {
        name: "ArtstoreTlsCrlStale",
        severity: Severity::Warning,
        expr: format!("{} - time() < 3600", series(&CRL_NEXT_UPDATE)),
        hold: profile.hold("5m"),
        summary: "The revocation list of {{ $labels.issuer }} at {{ $labels.job }} {{ $labels.instance }} is not renewed",
        description: "Its nextUpdate is in {{ $value | humanizeDuration }}, or was if that is negative; from then on the issuer's \
            certificates are refused.",
    }
}
