//! Selectors against the catalogue: families, labels, closed values, bucket bounds.

use artstore_metrics::{Family, Kind, Values};
use artstore_ops::{JOBS, catalogue, groups};
use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{Expr, VectorSelector, parse};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// The labels that a scrape adds.
const TARGET_LABELS: [&str; 2] = ["job", "instance"];

/// What is known of the series that an expression gives.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shape {
    /// Their labels.
    pub(crate) labels: BTreeSet<String>,
    /// Whether they only grow.
    pub(crate) is_counter: bool,
    /// The families that they were made of.
    pub(crate) families: BTreeSet<String>,
    /// The labels by which they were chosen, with the matcher.
    pub(crate) pinned: BTreeSet<(String, String)>,
}

/// What a query may name.
pub(crate) struct Catalogue {
    families: BTreeMap<&'static str, &'static Family>,
    /// Names and expressions.
    records: BTreeMap<&'static str, String>,
}

impl Catalogue {
    /// The families of all crates, the recording rules, and `up`.
    pub(crate) fn get() -> &'static Self {
        static CATALOGUE: OnceLock<Catalogue> = OnceLock::new();
        CATALOGUE.get_or_init(|| Self {
            families: catalogue().iter().flat_map(|section| section.families).map(|f| (f.name(), *f)).collect(),
            records: groups()
                .into_iter()
                .flat_map(|group| group.records)
                .map(|record| (record.name, record.expr))
                .collect(),
        })
    }

    /// The shape of a selector's series; what is wrong with it goes to `findings`.
    pub(crate) fn shape(&self, selector: &VectorSelector, findings: &mut Vec<String>) -> Shape {
        let name = selector.name.as_deref().unwrap_or_default();
        let mut shape = Shape { families: BTreeSet::from([name.to_owned()]), ..Shape::default() };
        let Some((family, suffix)) = self.family(name) else {
            let family = if name == "up" {
                shape.labels = TARGET_LABELS.iter().map(|label| (*label).to_owned()).collect();
                None
            } else if let Some(expr) = self.records.get(name) {
                let made = crate::lint::shape_of(expr);
                shape.labels = made.labels;
                made.families.first().and_then(|family| self.families.get(family.as_str())).copied()
            } else {
                findings.push(format!("no family {name:?}"));
                return shape;
            };
            let labels: Vec<&str> = shape.labels.iter().map(String::as_str).collect();
            for matcher in &selector.matchers.matchers {
                check_matcher(name, matcher, &labels, family, findings);
                shape.pinned.insert((matcher.name.clone(), matcher.to_string()));
            }
            return shape;
        };
        let mut labels: Vec<&str> = family.label_declarations().iter().map(|label| label.name).collect();
        labels.extend(TARGET_LABELS);
        labels.extend((suffix == "_bucket").then_some("le"));
        for matcher in &selector.matchers.matchers {
            check_matcher(name, matcher, &labels, Some(family), findings);
            shape.pinned.insert((matcher.name.clone(), matcher.to_string()));
        }
        if !selector.matchers.or_matchers.is_empty() {
            findings.push(format!("{name}: alternatives of matchers are not PromQL"));
        }
        shape.labels = labels.into_iter().map(str::to_owned).collect();
        shape.families = BTreeSet::from([family.name().to_owned()]);
        shape.is_counter = family.kind() != Kind::Gauge;
        shape
    }

    /// The family that a series of this name belongs to, and the name's suffix.
    fn family(&self, name: &str) -> Option<(&'static Family, &'static str)> {
        if let Some(family) = self.families.get(name) {
            return (family.kind() != Kind::Histogram).then_some((*family, ""));
        }
        ["_bucket", "_sum", "_count"].into_iter().find_map(|suffix| {
            let family = self.families.get(name.strip_suffix(suffix)?)?;
            (family.kind() == Kind::Histogram).then_some((*family, suffix))
        })
    }
}

/// What is wrong with a series as a test or a scrape writes it: all labels of its family, nothing else, each with one value.
pub(crate) fn series_findings(text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let Ok(Expr::VectorSelector(selector)) = parse(text) else { return vec![format!("{text} is not a series")] };
    let shape = Catalogue::get().shape(&selector, &mut findings);
    // A scrape has the whole bounds too.
    findings.retain(|finding| !finding.ends_with("is not a bound to select by"));
    let given: BTreeSet<String> = selector.matchers.matchers.iter().map(|matcher| matcher.name.clone()).collect();
    if given != shape.labels || selector.matchers.matchers.iter().any(|m| m.op != MatchOp::Equal) {
        findings.push(format!("{text}: a series of this family has the labels {:?}", shape.labels));
    }
    findings
}

fn check_matcher(name: &str, matcher: &Matcher, labels: &[&str], family: Option<&Family>, findings: &mut Vec<String>) {
    let Matcher { op, name: label, value } = matcher;
    if !labels.contains(&label.as_str()) {
        findings.push(format!("{name} has no label {label}"));
        return;
    }
    let values: Vec<&str> = match op {
        MatchOp::Equal | MatchOp::NotEqual => vec![value],
        MatchOp::Re(_) | MatchOp::NotRe(_) => value.split('|').collect(),
    };
    if label == "le" {
        // The text of a whole number differs between libraries ("1" and "1.0"), and so between versions of a module.
        let bound = value.parse::<f64>().ok().filter(|bound| bound.fract() != 0.0 && *op == MatchOp::Equal);
        if !bound.is_some_and(|bound| family.is_some_and(|family| family.buckets().contains(&bound))) {
            findings.push(format!("{name}: {matcher} is not a bound to select by"));
        }
        return;
    }
    let declared = family.and_then(|f| f.label_declarations().iter().find(|declared| declared.name == label));
    let closed = match declared.map(|declared| declared.values) {
        Some(Values::Closed(values)) => values,
        Some(Values::Open(_)) => return,
        None if label == "job" && matches!(op, MatchOp::Equal | MatchOp::NotEqual) => &JOBS,
        None => return,
    };
    for value in values.into_iter().filter(|value| !closed.contains(value)) {
        findings.push(format!("{name}: {label} is never {value:?}"));
    }
}
