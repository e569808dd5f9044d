//! Parts of PromQL expressions, made from families, so that a family that is renamed or removed breaks the build.

use artstore_metrics::{Family, Kind};
use std::fmt;

/// A selector of one family's series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Series {
    name: String,
    matchers: Vec<String>,
}

/// The series of a counter or a gauge. Of a histogram, those that count its observations.
pub(crate) fn series(family: &Family) -> Series {
    let suffix = match family.kind() {
        Kind::Counter | Kind::Gauge => "",
        Kind::Histogram => "_count",
    };
    Series { name: format!("{}{suffix}", family.name()), matchers: Vec::new() }
}

/// The buckets of a histogram.
pub(crate) fn buckets(family: &Family) -> Series {
    Series { name: format!("{}_bucket", family.name()), matchers: Vec::new() }
}

/// The series that a recording rule makes.
pub(crate) fn recorded(name: &str) -> Series {
    Series { name: name.to_owned(), matchers: Vec::new() }
}

impl Series {
    /// Those whose label has this value.
    pub(crate) fn with(mut self, label: &str, value: &str) -> Self {
        self.matchers.push(format!("{label}=\"{value}\""));
        self
    }

    /// Those whose label has one of these values.
    pub(crate) fn among(mut self, label: &str, values: &[&str]) -> Self {
        self.matchers.push(format!("{label}=~\"{}\"", values.join("|")));
        self
    }

    /// Those whose label has another value than this.
    pub(crate) fn with_not(mut self, label: &str, value: &str) -> Self {
        self.matchers.push(format!("{label}!=\"{value}\""));
        self
    }

    /// Those of the jobs and instances that a dashboard's variables choose.
    pub(crate) fn chosen(mut self) -> Self {
        self.matchers.extend(["job", "instance"].map(|label| format!("{label}=~\"${label}\"")));
        self
    }

    /// Their growth a second.
    pub(crate) fn rate(&self, window: &str) -> String {
        format!("rate({self}[{window}])")
    }

    /// Their growth over the window.
    pub(crate) fn increase(&self, window: &str) -> String {
        format!("increase({self}[{window}])")
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.matchers.is_empty() { Ok(()) } else { write!(f, "{{{}}}", self.matchers.join(",")) }
    }
}

/// The sum that keeps these labels.
pub(crate) fn sum_by(labels: &str, inner: &str) -> String {
    format!("sum by ({labels}) ({inner})")
}

/// The share that `part` has in `whole`: both summed to the same labels *before* the division, since PromQL divides each
/// series by the one with its own labels.
pub(crate) fn share(labels: &str, part: &Series, whole: &Series, window: &str) -> String {
    ratio(labels, &part.rate(window), &whole.rate(window))
}

/// The same of what is a rate, or a size, already.
pub(crate) fn ratio(labels: &str, part: &str, whole: &str) -> String {
    format!("{}\n/\n{}", sum_by(labels, part), sum_by(labels, whole))
}

/// A quantile over the window, of all series together or by `labels` (each followed by a comma).
pub(crate) fn quantile(q: &str, labels: &str, buckets: &Series, window: &str) -> String {
    quantile_of(q, labels, &buckets.rate(window))
}

/// The same of buckets that are rates already.
pub(crate) fn quantile_of(q: &str, labels: &str, buckets: &str) -> String {
    format!("histogram_quantile({q}, {})", sum_by(&format!("{labels}le"), buckets))
}

#[cfg(test)]
mod tests {
    use super::*;

    const H: Family = Family::histogram("wait_seconds", "Waits.", &[0.5]);
    const C: Family = Family::counter("knocks_total", "Knocks.");

    #[test]
    fn selectors_are_written_with_the_suffix_of_their_kind() {
        assert_eq!(series(&H).to_string(), "wait_seconds_count");
        assert_eq!(series(&C).with("a", "x").among("b", &["y", "z"]).to_string(), r#"knocks_total{a="x",b=~"y|z"}"#);
        assert_eq!(
            series(&C).with_not("a", "x").chosen().to_string(),
            r#"knocks_total{a!="x",job=~"$job",instance=~"$instance"}"#
        );
        let p95 = quantile("0.95", "job, ", &buckets(&H), "1h");
        assert_eq!(p95, "histogram_quantile(0.95, sum by (job, le) (rate(wait_seconds_bucket[1h])))");
        let slow = share("job", &buckets(&H).with("le", "0.5"), &series(&H), "1h");
        let wanted =
            "sum by (job) (rate(wait_seconds_bucket{le=\"0.5\"}[1h]))\n/\nsum by (job) (rate(wait_seconds_count[1h]))";
        assert_eq!(slow, wanted);
    }
}
