//! What the page shows, as one value: `/status.json` is its JSON, the page its HTML.

use super::alerts::AlertView;
use super::errors::ErrorView;
use super::panels::{Judgement, PanelView, judge};
use crate::dashboard::Thresholds;
use artstore_http::HealthReport;
use artstore_metrics::Sample;
use serde::Serialize;

const DAY: f64 = 86_400.0;
/// At most so many certificates are listed, those that expire first.
const CERTIFICATES: usize = 100;

/// The state of a module at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Report {
    /// The version of this shape; it grows when a field changes its meaning or goes.
    pub(super) format: u32,
    /// The module: `ingester`, `admin`, or an element's name.
    pub(super) module: &'static str,
    /// Its version.
    pub(super) version: &'static str,
    /// The address of this listener.
    pub(super) instance: String,
    /// Now, in seconds since 1970.
    pub(super) now: f64,
    /// For how long it has run, in seconds.
    pub(super) up_seconds: f64,
    /// How often a reading is taken, in seconds.
    pub(super) interval_seconds: u32,
    /// Whether there were more series than are kept.
    pub(super) is_truncated: bool,
    /// Whether it can serve, and each dependency with its reason.
    pub(super) health: HealthReport,
    /// The token.
    pub(super) token: Token,
    /// The alerts: what fires first.
    pub(super) alerts: Vec<AlertView>,
    /// The held certificates, those that expire first.
    pub(super) certificates: Vec<Certificate>,
    /// How many more certificates there are.
    pub(super) more_certificates: usize,
    /// The last errors, the latest first.
    pub(super) errors: Vec<ErrorView>,
    /// The moments of all points, in seconds since 1970, the last of them now.
    pub(super) times: Vec<f64>,
    /// Whether the panels about connections alone are among the panels: `?panels=all` asks for them.
    pub(super) has_all_panels: bool,
    /// The panels of the dashboards.
    pub(super) panels: Vec<PanelView>,
}

/// The module's own token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub(super) enum Token {
    /// This module gets no tokens.
    NotOfThisModule,
    /// None was got yet, or the service is closed.
    None,
    /// There is one, or there was: 0 once it has expired.
    Held {
        /// Seconds until it expires.
        seconds_left: f64,
    },
}

/// A certificate that the module holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Certificate {
    /// The role of its file: `ca`, `client`, `server`.
    pub(super) cert_type: String,
    /// Its subject. It comes from a file: escape it.
    pub(super) subject: String,
    /// Its SHA-256.
    pub(super) fingerprint: String,
    /// Days until it expires, negative once it has.
    pub(super) days_left: f64,
    /// Judged by the thresholds of the dashboard's table.
    pub(super) judgement: Judgement,
}

impl Certificate {
    /// The state in words.
    pub(super) fn state(&self) -> &'static str {
        match self.judgement {
            _ if self.days_left <= 0.0 => "expired",
            Judgement::Bad => "expires within days",
            Judgement::Watch => "expires soon",
            Judgement::Good => "good",
        }
    }
}

/// The token by the samples of its family.
pub(super) fn token(samples: &[Sample], is_exported: bool) -> Token {
    let name = artstore_auth::metrics::TTL.name();
    match samples.iter().find(|sample| sample.name == name) {
        Some(sample) => Token::Held { seconds_left: sample.value },
        None if is_exported => Token::None,
        None => Token::NotOfThisModule,
    }
}

/// The certificates by the samples of their family, and how many are left out.
pub(super) fn certificates(samples: &[Sample], now: f64, thresholds: &Thresholds) -> (Vec<Certificate>, usize) {
    let name = artstore_tls::metrics::CERTIFICATE_NOT_AFTER.name();
    let text = |sample: &Sample, label| sample.label(label).unwrap_or_default().to_owned();
    let certificate = |sample: &Sample| {
        let days_left = (sample.value - now) / DAY;
        Certificate {
            cert_type: text(sample, "cert_type"),
            subject: text(sample, "subject"),
            fingerprint: text(sample, "fingerprint"),
            days_left,
            judgement: judge(thresholds, days_left),
        }
    };
    let mut all: Vec<Certificate> = samples.iter().filter(|sample| sample.name == name).map(certificate).collect();
    all.sort_by(|a, b| a.days_left.total_cmp(&b.days_left));
    let more = all.len().saturating_sub(CERTIFICATES);
    all.truncate(CERTIFICATES);
    (all, more)
}
