//! A look at a registry from inside the process: typed samples of the families that are asked for.

use crate::exposition::{self, Value};
use crate::{Family, Registry};

/// One sample, as a scrape would show it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The family that it belongs to.
    pub family: &'static Family,
    /// Its name: the family's, with `_bucket`, `_sum` or `_count` in a histogram.
    pub name: String,
    /// Its labels in the order in which they are written, a bucket's `le` last.
    pub labels: Vec<(String, String)>,
    /// Its number.
    pub value: f64,
}

impl Sample {
    /// The value of a label, if it has that label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
    }
}

impl Registry {
    /// The samples of the families that `wanted` picks, all of one moment: no event is seen by halves.
    #[must_use]
    pub fn read(&self, wanted: impl Fn(&Family) -> bool) -> Vec<Sample> {
        let mut samples = Vec::new();
        self.visit(wanted, |family, suffix, labels, value| {
            samples.push(Sample {
                family,
                name: format!("{}{suffix}", family.name()),
                labels: exposition::pairs(labels),
                value: Value::as_f64(value),
            });
        });
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Counter, Histogram, Label, Row, Rows, Samples};
    use std::time::Duration;

    const KNOCKS: Family = Family::counter("knocks_total", "Knocks.").labels(&[Label::open("door", "the doors")]);
    const WAITS: Family = Family::histogram("wait_seconds", "Waits.", &[0.5]);
    const DEPTH: Family = Family::gauge("depth", "Depth.");

    #[derive(Clone, Copy)]
    struct Door(usize);

    impl Row for Door {
        fn row(self) -> usize {
            self.0
        }
    }

    #[test]
    fn samples_are_those_of_a_scrape_with_their_labels_as_they_were_given() {
        let registry = Registry::new();
        let hostile = "a \"quoted\", back\\slashed=\nname\u{202e}<script>";
        let rows: Rows = vec![vec!["plain".into()], vec![hostile.into()]];
        let knocks: Counter<Door> = registry.counter_of_rows(&KNOCKS, &rows);
        let waits: Histogram = registry.histogram(&WAITS);
        registry.computed(&DEPTH, |samples: &mut Samples<'_>| samples.float(&[], 2.5));
        knocks.add(Door(1), 7);
        waits.observe((), Duration::from_millis(250));
        waits.observe((), Duration::from_secs(1));

        let samples = registry.read(|family| family.name() != "depth");
        let all: Vec<_> = samples.iter().map(|s| (s.name.as_str(), s.labels.clone(), s.value)).collect();
        let label = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        assert_eq!(
            all,
            [
                ("knocks_total", label("door", "plain"), 0.0),
                ("knocks_total", label("door", hostile), 7.0),
                ("wait_seconds_bucket", label("le", "0.5"), 1.0),
                ("wait_seconds_bucket", label("le", "+Inf"), 2.0),
                ("wait_seconds_sum", vec![], 1.25),
                ("wait_seconds_count", vec![], 2.0),
            ]
        );
        assert_eq!((samples[1].label("door"), samples[1].label("le")), (Some(hostile), None));
        assert_eq!(samples[2].family, &WAITS);
        assert_eq!(registry.read(|family| family.name() == "depth")[0].value, 2.5);
    }
}
