//! Vectors of PromQL, and what operators do with two of them.

use crate::samples::NAME;
use artstore_e2e::scrape::Labels;
use promql_parser::parser::{BinModifier, LabelModifier, VectorMatchCardinality, token};
use std::collections::BTreeMap;

/// Label sets with their values.
pub(crate) type Vector = Vec<(Labels, f64)>;

/// What an expression gives.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Scalar(f64),
    Vector(Vector),
}

impl Value {
    /// A scalar is shown as a vector of one without labels.
    pub(crate) fn into_vector(self) -> Vector {
        match self {
            Self::Scalar(value) => vec![(Labels::new(), value)],
            Self::Vector(vector) => vector,
        }
    }
}

/// The labels without the name.
pub(crate) fn nameless(mut labels: Labels) -> Labels {
    labels.remove(NAME);
    labels
}

/// Groups by the labels that an aggregation keeps.
pub(crate) fn group(vector: Vector, modifier: Option<&LabelModifier>) -> BTreeMap<Labels, Vec<f64>> {
    let mut groups: BTreeMap<Labels, Vec<f64>> = BTreeMap::new();
    for (labels, value) in vector {
        let kept = match modifier {
            None => Labels::new(),
            Some(LabelModifier::Include(by)) => {
                labels.into_iter().filter(|(name, _)| by.labels.contains(name)).collect()
            }
            Some(LabelModifier::Exclude(without)) => {
                nameless(labels).into_iter().filter(|(name, _)| !without.labels.contains(name)).collect()
            }
        };
        groups.entry(kept).or_default().push(value);
    }
    groups
}

/// An arithmetic result, or for a comparison the left value if it holds.
fn apply(op: u16, left: f64, right: f64) -> Option<f64> {
    let keep = |holds: bool| holds.then_some(left);
    match op {
        token::T_ADD => Some(left + right),
        token::T_SUB => Some(left - right),
        token::T_MUL => Some(left * right),
        token::T_DIV => Some(left / right),
        token::T_GTR => keep(left > right),
        token::T_LSS => keep(left < right),
        token::T_GTE => keep(left >= right),
        token::T_LTE => keep(left <= right),
        token::T_EQLC => keep(left == right),
        token::T_NEQ => keep(left != right),
        other => panic!("an operator that is not known here: {other}"),
    }
}

const fn is_arithmetic(op: u16) -> bool {
    matches!(op, token::T_ADD | token::T_SUB | token::T_MUL | token::T_DIV)
}

/// The labels by which two sides meet.
fn key(labels: &Labels, matching: Option<&LabelModifier>) -> Labels {
    let mut key = nameless(labels.clone());
    match matching {
        None => {}
        Some(LabelModifier::Include(on)) => key.retain(|name, _| on.labels.contains(name)),
        Some(LabelModifier::Exclude(ignored)) => key.retain(|name, _| !ignored.labels.contains(name)),
    }
    key
}

/// An operator between any two values.
pub(crate) fn binary(op: u16, modifier: Option<&BinModifier>, left: Value, right: Value) -> Value {
    assert!(!modifier.is_some_and(|modifier| modifier.return_bool), "bool is not known here");
    let each = |vector: Vector, of: &dyn Fn(f64) -> Option<f64>| {
        let map = |(labels, value): (Labels, f64)| {
            Some((if is_arithmetic(op) { nameless(labels) } else { labels }, of(value)?))
        };
        Value::Vector(vector.into_iter().filter_map(map).collect())
    };
    match (left, right) {
        (Value::Scalar(left), Value::Scalar(right)) => Value::Scalar(apply(op, left, right).unwrap()),
        (Value::Vector(left), Value::Scalar(right)) => each(left, &|value| apply(op, value, right)),
        // A comparison keeps the vector's value, whichever side it stands on.
        (Value::Scalar(left), Value::Vector(right)) => each(right, &|value| {
            let result = apply(op, left, value)?;
            Some(if is_arithmetic(op) { result } else { value })
        }),
        (Value::Vector(left), Value::Vector(right)) => Value::Vector(between(op, modifier, left, right)),
    }
}

fn between(op: u16, modifier: Option<&BinModifier>, left: Vector, right: Vector) -> Vector {
    let matching = modifier.and_then(|modifier| modifier.matching.as_ref());
    let mut others: BTreeMap<Labels, Vec<(Labels, f64)>> = BTreeMap::new();
    for (labels, value) in right {
        others.entry(key(&labels, matching)).or_default().push((labels, value));
    }
    let meets = |labels: &Labels| others.contains_key(&key(labels, matching));
    match op {
        token::T_LAND => left.into_iter().filter(|(labels, _)| meets(labels)).collect(),
        token::T_LUNLESS => left.into_iter().filter(|(labels, _)| !meets(labels)).collect(),
        token::T_LOR => {
            let have: Vec<Labels> = left.iter().map(|(labels, _)| key(labels, matching)).collect();
            let more = others.into_iter().filter(|(key, _)| !have.contains(key)).flat_map(|(_, others)| others);
            left.into_iter().chain(more).collect()
        }
        _ => {
            let card = modifier.map(|modifier| &modifier.card);
            assert!(matches!(card, None | Some(VectorMatchCardinality::OneToOne)), "groups are not known here");
            let pair = |(labels, value): (Labels, f64)| {
                let key = key(&labels, matching);
                let met = others.get(&key)?;
                assert_eq!(met.len(), 1, "several series match one: {met:?}");
                let kept = match matching {
                    None if !is_arithmetic(op) => labels,
                    None | Some(_) => key,
                };
                Some((kept, apply(op, value, met[0].1)?))
            };
            left.into_iter().filter_map(pair).collect()
        }
    }
}
