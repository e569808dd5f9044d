//! The stories that alerts are tested with: what series do minute by minute, and what fires when.

mod auth;
mod latency;
mod shares;
mod storage;
mod tls;

use artstore_metrics::Family;
use std::fmt::Write as _;

/// What a story is about; every alert has at least one of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// It fires, not before its time.
    Fires,
    /// Just below the threshold, or the volume that it asks for: silent.
    JustBelow,
    /// It ends after the repair, and not long before.
    Resolves,
    /// A restart sets the counters to 0 (or does what a restart does to a gauge): no false alert, no lost one.
    CounterReset,
    /// Nothing happens: silent.
    NoTraffic,
    /// The target is gone.
    AbsentTarget,
}

impl Class {
    /// All of them.
    pub(crate) const ALL: [Self; 6] =
        [Self::Fires, Self::JustBelow, Self::Resolves, Self::CounterReset, Self::NoTraffic, Self::AbsentTarget];
}

/// One firing alert as expected.
#[derive(Debug, Clone)]
pub(crate) struct Firing {
    /// Its labels but `alertname` and `severity`.
    pub(crate) labels: Vec<(&'static str, &'static str)>,
    /// Its value as the description shows it.
    pub(crate) value: &'static str,
}

/// A story.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// The alert in question.
    pub(crate) alert: &'static str,
    /// What the story is about.
    pub(crate) class: Class,
    /// Minutes between two samples, and between two evaluations.
    pub(crate) step: u32,
    /// Series and their values, as promtool writes them.
    pub(crate) series: Vec<(String, String)>,
    /// Minutes, and what fires then.
    pub(crate) checks: Vec<(u32, Vec<Firing>)>,
}

/// A story that begins.
pub(crate) fn case(alert: &'static str, class: Class) -> Case {
    Case { alert, class, step: 1, series: Vec::new(), checks: Vec::new() }
}

impl Case {
    /// With a sample and an evaluation every `minutes` only: for stories of days.
    pub(crate) fn every(mut self, minutes: u32) -> Self {
        self.step = minutes;
        self
    }

    /// With a series.
    pub(crate) fn series(mut self, series: impl Into<String>, values: impl Into<String>) -> Self {
        self.series.push((series.into(), values.into()));
        self
    }

    /// Whether it is over within two hours.
    pub(crate) fn is_short(&self) -> bool {
        self.checks.iter().all(|(minute, _)| *minute <= 120)
    }

    /// Nothing fires at any of these minutes.
    pub(crate) fn silent(mut self, minutes: &[u32]) -> Self {
        self.checks.extend(minutes.iter().map(|minute| (*minute, Vec::new())));
        self
    }

    /// Exactly one fires at this minute.
    pub(crate) fn fires(mut self, minute: u32, labels: &[(&'static str, &'static str)], value: &'static str) -> Self {
        self.checks.push((minute, vec![Firing { labels: labels.to_vec(), value }]));
        self
    }
}

/// A scrape target: job and instance.
pub(crate) type Target = (&'static str, &'static str);
/// An Ingester, and a second one.
pub(crate) const A: Target = ("artstore-ingester", "a:9020");
pub(crate) const B: Target = ("artstore-ingester", "b:9020");
/// A Storage Element.
pub(crate) const ELEMENT: Target = ("artstore-element", "e:9010");
/// The labels of an alert about all Ingesters.
pub(crate) const OF_INGESTERS: &[(&str, &str)] = &[("job", "artstore-ingester")];

/// A series of a family, with a suffix for histograms.
pub(crate) fn of(target: Target, family: &Family, suffix: &str, labels: &[(&str, &str)]) -> String {
    named(target, &format!("{}{suffix}", family.name()), labels)
}

/// A series by name.
pub(crate) fn named(target: Target, name: &str, labels: &[(&str, &str)]) -> String {
    let mut out = format!("{name}{{job={:?},instance={:?}", target.0, target.1);
    for (label, value) in labels {
        let _ = write!(out, ",{label}={value:?}");
    }
    out + "}"
}

/// A counter's values: it grows by so much a step, for so many steps, from 0 on.
pub(crate) fn grow(segments: &[(u32, u32)]) -> String {
    let (mut out, mut value) = ("0".to_owned(), 0);
    for (growth, steps) in segments.iter().filter(|(_, steps)| *steps > 0) {
        let _ = write!(out, " {}+{growth}x{}", value + growth, steps - 1);
        value += growth * steps;
    }
    out
}

/// The segments, so many times over.
pub(crate) fn repeat(segments: &[(u32, u32)], times: usize) -> String {
    grow(&segments.repeat(times))
}

/// A gauge's values: each for so many steps.
pub(crate) fn hold(segments: &[(&str, u32)]) -> String {
    segments.iter().map(|(value, steps)| format!("{value}+0x{}", steps - 1)).collect::<Vec<_>>().join(" ")
}

/// How urgent each alert is, from the list that the operators were promised.
pub(crate) fn severity(alert: &str) -> &'static str {
    const CRITICAL: [&str; 4] = [
        "ArtstoreAuthServiceDown",
        "ArtstoreAuthHighErrorRate",
        "ArtstoreTlsCertificateExpiryCritical",
        "ArtstoreTlsHandshakeFailures",
    ];
    match alert {
        "Watchdog" => "none",
        _ if CRITICAL.contains(&alert) => "critical",
        _ => "warning",
    }
}

/// All stories.
pub(crate) fn all() -> Vec<Case> {
    let mut watchdog = case("Watchdog", Class::Fires).fires(0, &[], "").fires(60, &[], "");
    let same = |class| Case { class, ..watchdog.clone() };
    // It knows neither counters nor targets: whatever happens, it fires.
    let mut all: Vec<Case> = Class::ALL[1..].iter().map(|class| same(*class)).collect();
    watchdog.series.push((named(A, "up", &[]), hold(&[("1", 60)])));
    all.push(watchdog);
    all.extend([auth::cases(), latency::cases(), tls::cases(), storage::cases()].into_iter().flatten());
    all
}
