//! A second opinion: an interpreter of the PromQL that the project uses, over raw samples. Whatever it does not know fails the test.

use crate::functions::{increase, predict, quantile};
use crate::samples::{NAME, Samples};
use crate::vectors::{Value, Vector, binary, group, nameless};
use artstore_e2e::prometheus::Point;
use artstore_e2e::scrape::Labels;
use promql_parser::parser::{AggregateExpr, Call, Expr, parse, token};
use std::collections::BTreeMap;

/// What a query gives at a time.
pub(crate) fn evaluate(query: &str, samples: &Samples, time: f64) -> Vector {
    Evaluator { samples, time }.value(&parse(query).unwrap()).into_vector()
}

struct Evaluator<'a> {
    samples: &'a Samples,
    time: f64,
}

impl Evaluator<'_> {
    fn value(&self, expr: &Expr) -> Value {
        match expr {
            Expr::NumberLiteral(number) => Value::Scalar(number.val),
            Expr::Paren(paren) => self.value(&paren.expr),
            Expr::Unary(unary) => binary(token::T_MUL, None, Value::Scalar(-1.0), self.value(&unary.expr)),
            Expr::Binary(both) => {
                binary(both.op.id(), both.modifier.as_ref(), self.value(&both.lhs), self.value(&both.rhs))
            }
            Expr::Aggregate(aggregate) => Value::Vector(self.aggregate(aggregate)),
            Expr::Call(call) => self.call(call),
            Expr::VectorSelector(selector) => {
                let name = selector.name.as_deref().unwrap();
                let Some(expr) = self.samples.records.get(name) else {
                    return Value::Vector(self.samples.instant(selector, self.time));
                };
                // What a rule recorded is computed from raw samples as well, for the moment at which the rule was evaluated.
                let Some(at) = self.samples.recorded_at(name, self.time) else { return Value::Vector(Vec::new()) };
                let mut vector = evaluate(expr, self.samples, at);
                let fits = |labels: &Labels| {
                    let of = |name: &str| labels.get(name).map_or("", String::as_str);
                    selector.matchers.matchers.iter().all(|matcher| matcher.is_match(of(&matcher.name)))
                };
                vector.iter_mut().for_each(|(labels, _)| _ = labels.insert(NAME.to_owned(), name.to_owned()));
                vector.retain(|(labels, _)| fits(labels));
                Value::Vector(vector)
            }
            Expr::MatrixSelector(_) | Expr::Subquery(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {
                panic!("not known here: {expr}")
            }
        }
    }

    fn vector(&self, expr: &Expr) -> Vector {
        match self.value(expr) {
            Value::Vector(vector) => vector,
            Value::Scalar(_) => panic!("a scalar: {expr}"),
        }
    }

    fn scalar(&self, expr: &Expr) -> f64 {
        match self.value(expr) {
            Value::Scalar(scalar) => scalar,
            Value::Vector(_) => panic!("a vector: {expr}"),
        }
    }

    fn aggregate(&self, aggregate: &AggregateExpr) -> Vector {
        let groups = group(self.vector(&aggregate.expr), aggregate.modifier.as_ref());
        let fold = |values: Vec<f64>| match aggregate.op.id() {
            token::T_SUM => values.iter().sum(),
            token::T_MIN => values.into_iter().fold(f64::NAN, f64::min),
            token::T_MAX => values.into_iter().fold(f64::NAN, f64::max),
            token::T_COUNT => values.len() as f64,
            _ => panic!("not known here: {aggregate}"),
        };
        groups.into_iter().map(|(labels, values)| (labels, fold(values))).collect()
    }

    /// Of each series that the range finds, if it has enough samples.
    fn over(&self, range: &Expr, of: impl Fn(&[Point], f64) -> Option<f64>) -> Value {
        let Expr::MatrixSelector(matrix) = range else { panic!("no range: {range}") };
        let length = matrix.range.as_secs_f64();
        let windows = self.samples.window(&matrix.vs, self.time, length);
        let each = windows.into_iter().filter_map(|(labels, points)| Some((nameless(labels), of(&points, length)?)));
        Value::Vector(each.collect())
    }

    fn call(&self, call: &Call) -> Value {
        let arguments: Vec<&Expr> = call.args.args.iter().map(|argument| &**argument).collect();
        match (call.func.name, &arguments[..]) {
            ("time", []) => Value::Scalar(self.time),
            ("vector", [scalar]) => Value::Vector(vec![(Labels::new(), self.scalar(scalar))]),
            ("increase", [range]) => self.over(range, |points, length| increase(points, self.time, length)),
            ("rate", [range]) => self.over(range, |points, length| Some(increase(points, self.time, length)? / length)),
            ("predict_linear", [range, ahead]) => {
                let ahead = self.scalar(ahead);
                self.over(range, |points, _| predict(points, self.time, ahead))
            }
            // Order is no part of what is compared.
            ("sort" | "sort_desc", [vector]) => self.value(vector),
            ("absent", [vector]) => {
                assert!(self.vector(vector).len() < 2 || matches!(vector, Expr::VectorSelector(_)));
                let Expr::VectorSelector(selector) = vector else { panic!("absent of no selector: {vector}") };
                let named = selector.matchers.matchers.iter().map(|m| (m.name.clone(), m.value.clone()));
                let absent = self.vector(vector).is_empty();
                Value::Vector(absent.then(|| (named.collect(), 1.0)).into_iter().collect())
            }
            ("histogram_quantile", [q, buckets]) => {
                let q = self.scalar(q);
                let mut histograms: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
                for (mut labels, value) in self.vector(buckets) {
                    let le = labels.remove("le").unwrap().parse().unwrap();
                    histograms.entry(nameless(labels)).or_default().push((le, value));
                }
                let each = histograms.into_iter().map(|(labels, mut buckets)| (labels, quantile(q, &mut buckets)));
                Value::Vector(each.collect())
            }
            _ => panic!("not known here: {call}"),
        }
    }
}
