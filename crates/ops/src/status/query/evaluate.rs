//! Evaluates an expression at many moments at once, over what is remembered.

use super::parse::{Aggregation, Expression, Growth, Labels, Operator, Selector};
use super::quantile::quantile;
use crate::status::history::{Column, Memory};
use std::collections::BTreeMap;

/// What an expression is worth at each moment; NaN where a series has no sample.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    /// The same for all labels.
    Number(Vec<f64>),
    /// One row for each series.
    Series(Vec<(Labels, Vec<f64>)>),
}

/// Where expressions are evaluated: what is remembered, the recording rules, and the moments in seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(in crate::status) struct Evaluation<'a> {
    /// What is remembered.
    pub(in crate::status) memory: &'a Memory,
    /// Recording rules by the name of what they record.
    pub(in crate::status) records: &'a BTreeMap<&'static str, Expression>,
    /// The moments.
    pub(in crate::status) times: &'a [f64],
    /// By how much the wall clock is ahead of these moments, which stand on the monotonic clock.
    pub(in crate::status) wall_ahead: f64,
}

impl Evaluation<'_> {
    /// The expression's series; those that have no sample at any of the moments are left out.
    pub(in crate::status) fn series(&self, expression: &Expression) -> Vec<(Labels, Vec<f64>)> {
        match self.value(expression) {
            Value::Number(points) => vec![(Labels::new(), points)],
            Value::Series(mut rows) => {
                rows.retain(|(_, points)| points.iter().any(|point| !point.is_nan()));
                rows
            }
        }
    }

    fn value(&self, expression: &Expression) -> Value {
        match expression {
            Expression::Number(number) => Value::Number(vec![*number; self.times.len()]),
            Expression::Time => Value::Number(self.times.iter().map(|time| time + self.wall_ahead).collect()),
            Expression::Latest(selector) => match self.records.get(selector.name.as_str()) {
                Some(rule) => {
                    let mut rows = self.rows(rule);
                    rows.retain(|(labels, _)| selector.takes(labels));
                    Value::Series(rows)
                }
                None => self.read(selector, 0.0, Column::latest),
            },
            Expression::Growth(growth, selector, window) => self.read(selector, *window, |column, times, now| {
                let (increase, seconds) = column.growth(times, now, *window)?;
                Some(match growth {
                    Growth::Increase => increase,
                    Growth::Rate => increase / seconds,
                })
            }),
            Expression::Quantile(q, inner) => Value::Series(quantiles(*q, self.rows(inner), self.times.len())),
            Expression::Aggregate(how, by, inner) => Value::Series(self.aggregate(*how, by, inner)),
            Expression::Binary(operator, sides, on) => {
                binary(*operator, self.value(&sides.0), self.value(&sides.1), on.as_deref())
            }
        }
    }

    fn rows(&self, expression: &Expression) -> Vec<(Labels, Vec<f64>)> {
        match self.value(expression) {
            Value::Number(points) => vec![(Labels::new(), points)],
            Value::Series(rows) => rows,
        }
    }

    fn read(
        &self,
        selector: &Selector,
        window: f64,
        at: impl Fn(&Column, &crate::status::history::Times, f64) -> Option<f64>,
    ) -> Value {
        let history = self.memory.for_window(window);
        let columns = history.columns(&selector.name).filter(|column| selector.takes(column.labels()));
        let rows = columns.map(|column| {
            let points = self.times.iter().map(|now| at(column, history.times(), *now).unwrap_or(f64::NAN));
            (column.labels().clone(), points.collect())
        });
        Value::Series(rows.collect())
    }

    fn aggregate(&self, how: Aggregation, by: &[String], inner: &Expression) -> Vec<(Labels, Vec<f64>)> {
        let mut groups: BTreeMap<Labels, Vec<f64>> = BTreeMap::new();
        for (labels, points) in self.rows(inner) {
            let group = groups.entry(only(&labels, by)).or_insert_with(|| vec![f64::NAN; points.len()]);
            for (sum, point) in group.iter_mut().zip(points) {
                // `min` and `max` of a number and NaN are the number.
                *sum = match how {
                    Aggregation::Min => sum.min(point),
                    Aggregation::Max => sum.max(point),
                    Aggregation::Sum if sum.is_nan() => point,
                    Aggregation::Sum if point.is_nan() => *sum,
                    Aggregation::Sum => *sum + point,
                };
            }
        }
        groups.into_iter().collect()
    }
}

/// These labels of a series.
fn only(labels: &Labels, names: &[String]) -> Labels {
    names.iter().filter_map(|name| Some((name.clone(), labels.get(name)?.clone()))).collect()
}

/// `histogram_quantile`: series that differ in `le` alone become one.
fn quantiles(q: f64, rows: Vec<(Labels, Vec<f64>)>, moments: usize) -> Vec<(Labels, Vec<f64>)> {
    let mut histograms: BTreeMap<Labels, Vec<(f64, Vec<f64>)>> = BTreeMap::new();
    for (mut labels, points) in rows {
        let bound = labels.remove("le").and_then(|le| if le == "+Inf" { Some(f64::INFINITY) } else { le.parse().ok() });
        if let Some(bound) = bound {
            histograms.entry(labels).or_default().push((bound, points));
        }
    }
    let of = |buckets: Vec<(f64, Vec<f64>)>| {
        (0..moments).map(|i| quantile(q, buckets.iter().map(|(le, points)| (*le, points[i])).collect())).collect()
    };
    histograms.into_iter().map(|(labels, buckets)| (labels, of(buckets))).collect()
}

fn binary(operator: Operator, left: Value, right: Value, on: Option<&[String]>) -> Value {
    let pointwise =
        |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| apply(operator, *a, *b)).collect() };
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => Value::Number(pointwise(&a, &b)),
        (Value::Series(rows), Value::Number(b)) => {
            Value::Series(rows.into_iter().map(|(labels, a)| (labels, pointwise(&a, &b))).collect())
        }
        (Value::Number(a), Value::Series(rows)) => {
            Value::Series(rows.into_iter().map(|(labels, b)| (labels, pointwise(&a, &b))).collect())
        }
        (Value::Series(left), Value::Series(right)) => Value::Series(match operator {
            Operator::Or => union(left, right),
            _ => joined(left, &right, on, pointwise),
        }),
    }
}

/// Each series of the left with the one of the right that has the same labels, or the same of those named by `on`.
fn joined(
    left: Vec<(Labels, Vec<f64>)>,
    right: &[(Labels, Vec<f64>)],
    on: Option<&[String]>,
    pointwise: impl Fn(&[f64], &[f64]) -> Vec<f64>,
) -> Vec<(Labels, Vec<f64>)> {
    let key = |labels: &Labels| on.map_or_else(|| labels.clone(), |names| only(labels, names));
    let mut partners: BTreeMap<Labels, Vec<f64>> = BTreeMap::new();
    for (labels, points) in right {
        // `and on` asks whether any of several has a sample.
        let partner = partners.entry(key(labels)).or_insert_with(|| vec![f64::NAN; points.len()]);
        for (one, point) in partner.iter_mut().zip(points).filter(|(one, _)| one.is_nan()) {
            *one = *point;
        }
    }
    left.into_iter()
        .filter_map(|(labels, points)| {
            let partner = partners.get(&key(&labels))?;
            let points = pointwise(&points, partner);
            Some((labels, points))
        })
        .collect()
}

/// The left, and of the right what the left has no sample of.
fn union(left: Vec<(Labels, Vec<f64>)>, right: Vec<(Labels, Vec<f64>)>) -> Vec<(Labels, Vec<f64>)> {
    let mut rows: BTreeMap<Labels, Vec<f64>> = left.into_iter().collect();
    for (labels, points) in right {
        let row = rows.entry(labels).or_insert_with(|| vec![f64::NAN; points.len()]);
        for (one, point) in row.iter_mut().zip(points).filter(|(one, _)| one.is_nan()) {
            *one = point;
        }
    }
    rows.into_iter().collect()
}

/// A comparison keeps its left side or nothing.
fn apply(operator: Operator, a: f64, b: f64) -> f64 {
    let keep = |holds: bool| if holds { a } else { f64::NAN };
    match operator {
        Operator::And => keep(!b.is_nan()),
        Operator::Or => {
            if a.is_nan() {
                b
            } else {
                a
            }
        }
        #[expect(clippy::float_cmp, reason = "as PromQL compares")]
        Operator::Equal => keep(a == b),
        Operator::Less => keep(a < b),
        Operator::LessOrEqual => keep(a <= b),
        Operator::Greater => keep(a > b),
        Operator::GreaterOrEqual => keep(a >= b),
        Operator::Plus => a + b,
        Operator::Minus => a - b,
        Operator::Times => a * b,
        Operator::Divide => a / b,
    }
}
