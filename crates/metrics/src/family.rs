//! What a family is: name, help, kind, unit, labels with their value sets, buckets. `const`, so that all can be listed.

/// The kind of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows. Its name ends in `_total`.
    Counter,
    /// Goes up and down, or is computed when scraped.
    Gauge,
    /// Cumulative buckets, a sum and a count.
    Histogram,
}

impl Kind {
    /// The word in a `# TYPE` line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Which values a label may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// Exactly these.
    Closed(&'static [&'static str]),
    /// A set known only at construction; the text says what bounds it.
    Open(&'static str),
}

/// One label of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// The label's name.
    pub name: &'static str,
    /// The values that it may have.
    pub values: Values,
}

impl Label {
    /// A label whose values are a closed set.
    #[must_use]
    pub const fn closed(name: &'static str, values: &'static [&'static str]) -> Self {
        Self { name, values: Values::Closed(values) }
    }

    /// A label whose values are known at construction; `bound` says what bounds their number.
    #[must_use]
    pub const fn open(name: &'static str, bound: &'static str) -> Self {
        Self { name, values: Values::Open(bound) }
    }
}

/// The declaration of one metric family.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    unit: &'static str,
    labels: &'static [Label],
    buckets: &'static [f64],
}

impl Family {
    /// A counter. Its name ends in `_total`.
    ///
    /// # Panics
    /// In `const` evaluation, so when compiling, if the name does not end in `_total`.
    #[must_use]
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        assert!(ends_with(name, "_total"), "a counter's name ends in _total");
        Self { name, help, kind: Kind::Counter, unit: unit_of(name), labels: &[], buckets: &[] }
    }

    /// A gauge.
    #[must_use]
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Gauge, unit: unit_of(name), labels: &[], buckets: &[] }
    }

    /// A histogram with these upper bounds, in rising order, without `+Inf`.
    #[must_use]
    pub const fn histogram(name: &'static str, help: &'static str, buckets: &'static [f64]) -> Self {
        Self { name, help, kind: Kind::Histogram, unit: unit_of(name), labels: &[], buckets }
    }

    /// The same family with these labels.
    #[must_use]
    pub const fn labels(mut self, labels: &'static [Label]) -> Self {
        self.labels = labels;
        self
    }

    /// The name as it is in the text format; counters end in `_total`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The sentence of the `# HELP` line.
    #[must_use]
    pub const fn help(&self) -> &'static str {
        self.help
    }

    /// Counter, gauge or histogram.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The base unit that the name ends in (`seconds`, `bytes`, `days`, `ratio`), or `""`.
    #[must_use]
    pub const fn unit(&self) -> &'static str {
        self.unit
    }

    /// The labels in the order in which they are written.
    #[must_use]
    pub const fn label_declarations(&self) -> &'static [Label] {
        self.labels
    }

    /// A histogram's upper bounds, without `+Inf`.
    #[must_use]
    pub const fn buckets(&self) -> &'static [f64] {
        self.buckets
    }

    /// The name of the family in OpenMetrics: a counter's without `_total`.
    #[must_use]
    pub fn openmetrics_name(&self) -> &'static str {
        self.name.strip_suffix("_total").filter(|_| self.kind == Kind::Counter).unwrap_or(self.name)
    }
}

/// The base unit in a name: its last word, before `_total`.
const fn unit_of(name: &'static str) -> &'static str {
    const UNITS: [&str; 4] = ["seconds", "bytes", "days", "ratio"];
    let mut index = 0;
    while index < UNITS.len() {
        let unit = UNITS[index];
        if ends_with(name, unit) || (ends_with(name, "_total") && ends_with_before(name, unit, "_total".len())) {
            return unit;
        }
        index += 1;
    }
    ""
}

const fn ends_with(text: &str, suffix: &str) -> bool {
    ends_with_before(text, suffix, 0)
}

/// Whether `text` without its last `tail` bytes ends in `suffix`.
const fn ends_with_before(text: &str, suffix: &str, tail: usize) -> bool {
    let (text, suffix) = (text.as_bytes(), suffix.as_bytes());
    if text.len() < suffix.len() + tail {
        return false;
    }
    let start = text.len() - tail - suffix.len();
    let mut index = 0;
    while index < suffix.len() {
        if text[start + index] != suffix[index] {
            return false;
        }
        index += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_is_the_base_unit_in_the_name() {
        assert_eq!(Family::histogram("a_duration_seconds", "", &[1.0]).unit(), "seconds");
        assert_eq!(Family::counter("sent_bytes_total", "").unit(), "bytes");
        assert_eq!(Family::gauge("expiry_days", "").unit(), "days");
        assert_eq!(Family::counter("requests_total", "").unit(), "");
        assert_eq!(Family::gauge("x", "").unit(), "");
    }

    #[test]
    fn openmetrics_name_drops_total_of_counters_only() {
        assert_eq!(Family::counter("a_total", "").openmetrics_name(), "a");
        assert_eq!(Family::gauge("b_total", "").openmetrics_name(), "b_total");
        assert_eq!(Family::gauge("c", "").openmetrics_name(), "c");
    }

    #[test]
    fn kinds_are_written_as_the_formats_want_them() {
        assert_eq!([Kind::Counter, Kind::Gauge, Kind::Histogram].map(Kind::as_str), ["counter", "gauge", "histogram"]);
    }

    #[test]
    fn declarations_made_while_running_are_those_of_constants() {
        const LABELS: &[Label] = &[Label::open("url", "the instances")];
        const FAMILY: Family = Family::gauge("x", "Help.").labels(LABELS);
        assert_eq!(Label::open("url", "the instances"), LABELS[0]);
        assert_eq!(Family::gauge("x", "Help.").labels(LABELS), FAMILY);
    }

    #[test]
    fn declaration_reads_back() {
        const LABELS: &[Label] = &[Label::closed("a", &["x"]), Label::open("b", "the files")];
        const FAMILY: Family = Family::histogram("h_seconds", "Help.", &[0.1, 1.0]).labels(LABELS);
        assert_eq!((FAMILY.name(), FAMILY.help(), FAMILY.kind()), ("h_seconds", "Help.", Kind::Histogram));
        assert_eq!((FAMILY.label_declarations(), FAMILY.buckets()), (LABELS, &[0.1, 1.0][..]));
    }
}
