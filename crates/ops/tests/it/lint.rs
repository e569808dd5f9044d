//! A lint of PromQL against the catalogue: what it names exists, and what it divides, matches and sums can mean what it says.

use crate::lint_selector::{Catalogue, Shape};
use promql_parser::parser::{
    AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, VectorMatchCardinality, parse, token,
};
use std::collections::BTreeSet;

/// Functions that count growth, and so want a counter.
const OF_COUNTERS: [&str; 4] = ["rate", "irate", "increase", "resets"];
/// Functions of a range of a gauge.
const OF_GAUGES: [&str; 8] = [
    "min_over_time",
    "max_over_time",
    "avg_over_time",
    "last_over_time",
    "delta",
    "deriv",
    "changes",
    "predict_linear",
];
/// Functions that keep the labels of their only vector.
const KEEP_LABELS: [&str; 7] = ["abs", "ceil", "clamp_max", "clamp_min", "round", "sort", "sort_desc"];

/// Everything that is wrong with a query; nothing if it is sound.
pub(crate) fn findings(query: &str) -> Vec<String> {
    let mut lint = Lint { catalogue: Catalogue::get(), findings: Vec::new() };
    match parse(query) {
        Ok(expr) => _ = lint.walk(&expr),
        Err(error) => lint.say(format!("does not parse: {error}")),
    }
    lint.findings
}

struct Lint {
    catalogue: &'static Catalogue,
    findings: Vec<String>,
}

impl Lint {
    fn say(&mut self, finding: impl Into<String>) {
        self.findings.push(finding.into());
    }

    /// The shape of what the expression gives; scalars have none.
    fn walk(&mut self, expr: &Expr) -> Option<Shape> {
        match expr {
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) => None,
            Expr::Paren(paren) => self.walk(&paren.expr),
            Expr::Unary(unary) => self.walk(&unary.expr),
            Expr::VectorSelector(selector) => {
                let shape = self.catalogue.shape(selector, &mut self.findings);
                if shape.is_counter {
                    self.say(format!("{selector} is a counter: take its rate or increase"));
                }
                Some(shape)
            }
            Expr::MatrixSelector(matrix) => {
                self.say(format!("{matrix} stands outside of a function that this lint knows"));
                None
            }
            Expr::Subquery(subquery) => self.walk(&subquery.expr),
            Expr::Call(call) => self.call(call),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            Expr::Binary(binary) => self.binary(binary),
            Expr::Extension(_) => None,
        }
    }

    fn call(&mut self, call: &Call) -> Option<Shape> {
        let name = call.func.name;
        let arguments = &call.args.args;
        if OF_COUNTERS.contains(&name) || OF_GAUGES.contains(&name) {
            let counters = OF_COUNTERS.contains(&name);
            let range =
                arguments.iter().map(|a| &**a).find(|a| matches!(a, Expr::MatrixSelector(_) | Expr::Subquery(_)));
            let shape = match range {
                Some(Expr::MatrixSelector(matrix)) => self.catalogue.shape(&matrix.vs, &mut self.findings),
                Some(argument @ Expr::Subquery(_)) => self.walk(argument)?,
                _ => return None,
            };
            if shape.is_counter != counters {
                self.say(format!("{name} of a {}", if shape.is_counter { "counter" } else { "gauge" }));
            }
            return Some(Shape { is_counter: false, ..shape });
        }
        match name {
            "time" => None,
            "vector" => Some(Shape::default()),
            "scalar" => {
                arguments.iter().for_each(|argument| _ = self.walk(argument));
                None
            }
            "absent" => {
                let shape = self.walk(arguments.first()?)?;
                Some(Shape { labels: shape.pinned.iter().map(|(label, _)| label.clone()).collect(), ..shape })
            }
            "histogram_quantile" => {
                let mut shape = self.walk(arguments.get(1)?)?;
                if !shape.labels.remove("le") {
                    self.say("histogram_quantile of something without the label le");
                }
                Some(shape)
            }
            _ if KEEP_LABELS.contains(&name) => self.walk(arguments.first()?),
            _ => {
                self.say(format!("this lint does not know {name}"));
                None
            }
        }
    }

    fn aggregate(&mut self, aggregate: &AggregateExpr) -> Option<Shape> {
        let shape = self.walk(&aggregate.expr)?;
        let named: BTreeSet<String> =
            aggregate.modifier.iter().flat_map(|modifier| modifier.labels().labels.iter().cloned()).collect();
        for label in named.difference(&shape.labels) {
            self.say(format!("{} has no label {label}", aggregate.expr));
        }
        let keeps_series = ["topk", "bottomk"].contains(&aggregate.op.to_string().as_str());
        let labels = match &aggregate.modifier {
            _ if keeps_series => shape.labels,
            Some(LabelModifier::Include(_)) => named,
            Some(LabelModifier::Exclude(_)) => shape.labels.difference(&named).cloned().collect(),
            None => BTreeSet::new(),
        };
        Some(Shape { labels, ..shape })
    }

    fn binary(&mut self, binary: &BinaryExpr) -> Option<Shape> {
        let (left, right) = match (self.walk(&binary.lhs), self.walk(&binary.rhs)) {
            (Some(left), Some(right)) => (left, right),
            (Some(shape), None) | (None, Some(shape)) => return Some(shape),
            (None, None) => return None,
        };
        let is = |id| binary.op.id() == id;
        if is(token::T_LOR) {
            return Some(Shape { labels: left.labels.union(&right.labels).cloned().collect(), ..left });
        }
        let matched = [&left, &right].map(|side| self.matched(binary, &side.labels));
        if matched[0] != matched[1] {
            self.say(format!("{binary}: matches {:?} with {:?}, so nothing with nothing", matched[0], matched[1]));
        }
        if is(token::T_LAND) || is(token::T_LUNLESS) {
            return Some(left);
        }
        let groups = matches!(
            binary.modifier.as_ref().map(|modifier| &modifier.card),
            Some(VectorMatchCardinality::ManyToOne(_) | VectorMatchCardinality::OneToMany(_))
        );
        if !groups && (left.labels != matched[0] || right.labels != matched[1]) {
            self.say(format!("{binary}: several series match one"));
        }
        // Of one family, with a label that tells its series apart on both sides but is chosen on only one of them: every
        // series that is left meets itself, and the quotient is 1 whatever the truth is.
        let same = left.families.intersection(&right.families).next().is_some();
        for (label, matcher) in left.pinned.symmetric_difference(&right.pinned) {
            if same && matched[0].contains(label) {
                self.say(format!("{binary}: each series meets itself ({matcher}); sum both sides first"));
            }
        }
        Some(left)
    }

    /// The labels in which the two sides of an operator must agree, as far as this side has them.
    fn matched(&mut self, binary: &BinaryExpr, labels: &BTreeSet<String>) -> BTreeSet<String> {
        match binary.modifier.as_ref().and_then(|modifier| modifier.matching.as_ref()) {
            None => labels.clone(),
            Some(LabelModifier::Exclude(ignored)) => {
                labels.iter().filter(|label| !ignored.labels.contains(label)).cloned().collect()
            }
            Some(LabelModifier::Include(on)) => {
                for label in on.labels.iter().filter(|label| !labels.contains(*label)) {
                    self.say(format!("{binary}: one side has no label {label}"));
                }
                on.labels.iter().filter(|label| labels.contains(*label)).cloned().collect()
            }
        }
    }
}

/// The labels of the series that a sound query gives.
pub(crate) fn labels_of(query: &str) -> BTreeSet<String> {
    shape_of(query).labels
}

/// What is known of the series that a sound query gives.
pub(crate) fn shape_of(query: &str) -> Shape {
    let mut lint = Lint { catalogue: Catalogue::get(), findings: Vec::new() };
    parse(query).ok().and_then(|expr| lint.walk(&expr)).unwrap_or_default()
}
