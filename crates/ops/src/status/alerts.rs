//! The alert rules judged from inside, by their own text: which fire, which are about to, and which only Prometheus can judge.

use super::query::{Evaluation, Expression, Labels, hold};
use super::templates::fill;
use crate::rules::{Alert, Group, Severity};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What cannot be judged from inside, and why.
const OUTSIDE: [(&str, &str); 2] = [
    ("ArtstoreAuthServiceDown", "Only Prometheus sees that this process does not answer."),
    ("Watchdog", "It fires always, to show that alerts arrive; only their receiver sees that they do."),
];

/// At most so many series of one alert are listed.
const LISTED: usize = 20;

/// How an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// It has held for as long as the rule demands.
    Firing,
    /// It holds, not yet for long enough.
    Pending,
    /// It does not hold.
    Inactive,
    /// Only Prometheus can judge it.
    JudgedOutside,
    /// This module does not export what it is about.
    NotOfThisModule,
}

impl State {
    /// The state in words.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Pending => "pending",
            Self::Inactive => "quiet",
            Self::JudgedOutside => "judged by Prometheus",
            Self::NotOfThisModule => "not of this module",
        }
    }
}

/// One series for which an alert holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Finding {
    /// Since when, in seconds since 1970.
    pub(super) since: f64,
    /// The rule's summary.
    pub(super) summary: String,
    /// The rule's description.
    pub(super) description: String,
}

/// An alert as it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct AlertView {
    /// Its name.
    pub(super) name: &'static str,
    /// How urgent it is.
    pub(super) severity: &'static str,
    /// How it stands.
    pub(super) state: State,
    /// How long it must hold before it fires, in seconds.
    pub(super) hold_seconds: f64,
    /// Why it is not judged here, or what it waits for; empty otherwise.
    pub(super) note: String,
    /// For what it holds, the worst first that began first.
    pub(super) findings: Vec<Finding>,
    /// Where to read on.
    pub(super) runbook: String,
}

struct Rule {
    alert: Alert,
    /// None if it is judged outside.
    expression: Option<Expression>,
    hold: f64,
}

/// All alert rules, and since when which of them hold.
pub(super) struct Alerts {
    rules: Vec<Rule>,
    records: BTreeMap<&'static str, Expression>,
    since: BTreeMap<(&'static str, Labels), f64>,
}

impl Alerts {
    /// The alerts of these groups.
    pub(super) fn new(groups: Vec<Group>) -> Self {
        let records = groups.iter().flat_map(|group| &group.records);
        let records = records.filter_map(|record| Some((record.name, Expression::read(&record.expr)?))).collect();
        let rule = |alert: Alert| {
            let outside = OUTSIDE.iter().any(|(name, _)| *name == alert.name);
            let expression = if outside { None } else { Expression::read(&alert.expr) };
            Rule { expression, hold: hold(alert.hold).unwrap_or_default(), alert }
        };
        let rules = groups.into_iter().flat_map(|group| group.alerts).map(rule).collect();
        Self { rules, records, since: BTreeMap::new() }
    }

    /// The recording rules.
    pub(super) const fn records(&self) -> &BTreeMap<&'static str, Expression> {
        &self.records
    }

    /// All expressions, those of recording rules too.
    pub(super) fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.rules.iter().filter_map(|rule| rule.expression.as_ref()).chain(self.records.values())
    }

    /// Judges all rules at one moment. `exported` are the names of the samples that the module has or may have.
    pub(super) fn judge(&mut self, at: Evaluation<'_>, now: f64, exported: &BTreeSet<String>) -> Vec<AlertView> {
        let mut still = BTreeMap::new();
        let views = self.rules.iter().map(|rule| {
            let reads = rule.expression.as_ref();
            let missing = reads.is_some_and(|expression| !expression.is_exported(&self.records, exported));
            let (Some(expression), false) = (reads, missing) else { return rule.unjudged() };
            let mut findings = Vec::new();
            for (labels, points) in at.series(expression) {
                let Some(value) = points.last().copied().filter(|value| !value.is_nan()) else { continue };
                let (summary, description) =
                    (fill(rule.alert.summary, &labels, value), fill(rule.alert.description, &labels, value));
                let key = (rule.alert.name, labels);
                let since = self.since.get(&key).copied().unwrap_or(now);
                still.insert(key, since);
                findings.push(Finding { since, summary, description });
            }
            rule.judged(findings, now)
        });
        let mut views: Vec<AlertView> = views.collect();
        self.since = still;
        views.sort_by_key(|view| (view.state as u8, view.severity != Severity::Critical.as_str()));
        views
    }
}

impl Rule {
    fn unjudged(&self) -> AlertView {
        let outside = OUTSIDE.iter().find(|(name, _)| *name == self.alert.name);
        let (state, note) = match outside {
            Some((_, why)) => (State::JudgedOutside, *why),
            None => (State::NotOfThisModule, "This module does not export what it is about."),
        };
        self.view(state, note.to_owned(), Vec::new())
    }

    fn judged(&self, mut findings: Vec<Finding>, now: f64) -> AlertView {
        findings.sort_by(|a, b| a.since.total_cmp(&b.since));
        let more = findings.len().saturating_sub(LISTED);
        findings.truncate(LISTED);
        let held = findings.first().map(|first| now - first.since);
        let (state, mut note) = match held {
            None => (State::Inactive, String::new()),
            Some(held) if held >= self.hold => (State::Firing, String::new()),
            Some(_) => (State::Pending, format!("It fires once it has held for {}.", self.alert.hold)),
        };
        if more > 0 {
            note = format!("{note} And {more} more.").trim_start().to_owned();
        }
        self.view(state, note, findings)
    }

    fn view(&self, state: State, note: String, findings: Vec<Finding>) -> AlertView {
        AlertView {
            name: self.alert.name,
            severity: self.alert.severity.as_str(),
            state,
            hold_seconds: self.hold,
            note,
            findings,
            runbook: self.alert.runbook_url(),
        }
    }
}
