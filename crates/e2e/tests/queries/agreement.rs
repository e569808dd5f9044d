//! Whether two answers to one query agree.

use crate::samples::NAME;
use artstore_e2e::prometheus::Series;
use artstore_e2e::scrape::Labels;
use std::collections::BTreeMap;

/// An answer by labels, without names.
pub(crate) type Answer = BTreeMap<Labels, f64>;

/// Of a list of label sets with values.
pub(crate) fn answer(vector: impl IntoIterator<Item = (Labels, f64)>) -> Answer {
    let mut answer = Answer::new();
    for (mut labels, value) in vector {
        labels.remove(NAME);
        assert!(answer.insert(labels.clone(), value).is_none(), "two series with the labels {labels:?}");
    }
    answer
}

/// Of what Prometheus gives.
pub(crate) fn given(series: Vec<Series>) -> Answer {
    answer(series.into_iter().map(|series| (series.labels.clone(), series.value())))
}

/// How far apart two values are, relative to the second; nothing and nothing are not apart.
pub(crate) fn distance(value: f64, truth: f64) -> f64 {
    if value == truth || (value.is_nan() && truth.is_nan()) {
        return 0.0;
    }
    let apart = (value - truth).abs() / truth.abs();
    if apart.is_nan() { f64::INFINITY } else { apart }
}

/// The greatest distance between two answers; infinite if one has series that the other has not.
pub(crate) fn apart(answer: &Answer, truth: &Answer) -> f64 {
    if !answer.keys().eq(truth.keys()) {
        return f64::INFINITY;
    }
    answer.iter().map(|(labels, value)| distance(*value, truth[labels])).fold(0.0, f64::max)
}

/// The same without what is not a number: an engine may leave such series out.
pub(crate) fn numbers(mut answer: Answer) -> Answer {
    answer.retain(|_, value| !value.is_nan());
    answer
}
