//! The two text formats: Prometheus 0.0.4 and OpenMetrics 1.0, straight from the declarations.

use crate::Family;
use crate::exemplar::Observed;
use crate::registry::check_row;
use std::fmt::Write as _;

/// A text format of a scrape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The format for an `Accept` header: OpenMetrics when it is asked for by name and not preferred less than `text/plain`,
    /// else the text format, so that `text/plain`, `*/*` and no header at all give what every tool can read.
    #[must_use]
    pub fn negotiate(accept: Option<&str>) -> Self {
        let (mut openmetrics, mut text) = (0.0, 0.0);
        for range in accept.unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
            let parameter =
                |name| parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"'));
            let quality = parameter("q").and_then(|q| q.parse().ok()).unwrap_or(1.0);
            match media.as_str() {
                "application/openmetrics-text" if matches!(parameter("version"), None | Some("1.0.0")) => {
                    openmetrics = f64::max(openmetrics, quality);
                }
                "text/plain" => text = f64::max(text, quality),
                _ => {}
            }
        }
        if openmetrics > 0.0 && openmetrics >= text { Self::OpenMetrics } else { Self::Text }
    }

    /// The `Content-Type` of a scrape in this format.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A sample's number. Counts stay integers, so that none loses its last digits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value {
    Integer(i128),
    Float(f64),
}

impl Value {
    #[expect(clippy::cast_precision_loss, reason = "a reader of sums wants a float")]
    pub(crate) fn as_f64(self) -> f64 {
        match self {
            Self::Integer(value) => value as f64,
            Self::Float(value) => value,
        }
    }
}

/// One sample as it is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample<'a> {
    pub(crate) suffix: &'a str,
    pub(crate) labels: &'a str,
    pub(crate) value: Value,
    pub(crate) exemplar: Option<Observed>,
}

/// Where a collector puts the samples of its family.
pub struct Samples<'a> {
    family: &'static Family,
    write: &'a mut dyn FnMut(Sample<'_>),
}

impl<'a> Samples<'a> {
    pub(crate) fn new(family: &'static Family, write: &'a mut dyn FnMut(Sample<'_>)) -> Self {
        Self { family, write }
    }

    /// One sample: the label values in the order of their declaration, and the number.
    ///
    /// # Panics
    /// If the values do not fit the declaration.
    pub fn float(&mut self, values: &[&str], number: f64) {
        check_row(self.family, values.iter().copied());
        self.rendered("", &labels_text(self.family, values.iter().copied()), Value::Float(number));
    }

    /// One sample whose number is whole.
    ///
    /// # Panics
    /// If the values do not fit the declaration.
    pub fn integer(&mut self, values: &[&str], number: u64) {
        check_row(self.family, values.iter().copied());
        self.rendered("", &labels_text(self.family, values.iter().copied()), Value::Integer(i128::from(number)));
    }

    pub(crate) fn rendered(&mut self, suffix: &str, labels: &str, value: Value) {
        (self.write)(Sample { suffix, labels, value, exemplar: None });
    }

    /// A bucket of a histogram.
    pub(crate) fn bucket(&mut self, labels: &str, count: u64, exemplar: Option<Observed>) {
        (self.write)(Sample { suffix: "_bucket", labels, value: Value::Integer(i128::from(count)), exemplar });
    }
}

impl std::fmt::Debug for Samples<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Samples").field("family", &self.family.name()).finish_non_exhaustive()
    }
}

/// `# HELP`, `# TYPE` and, in OpenMetrics, `# UNIT`.
pub(crate) fn write_header(out: &mut String, family: &Family, format: Format) {
    let (name, unit) = match format {
        Format::Text => (family.name(), ""),
        Format::OpenMetrics => (family.openmetrics_name(), family.unit()),
    };
    let mut help = family.help().replace('\\', "\\\\").replace('\n', "\\n");
    if format == Format::OpenMetrics {
        help = help.replace('"', "\\\"");
    }
    // Writing to a String cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {}", family.kind().as_str());
    if !unit.is_empty() {
        let _ = writeln!(out, "# UNIT {name} {unit}");
    }
}

/// One sample line. A counter's name has `_total` in both formats; an exemplar has a place in OpenMetrics only.
pub(crate) fn write_sample(out: &mut String, family: &Family, sample: Sample<'_>, format: Format) {
    let Sample { suffix, labels, value, exemplar } = sample;
    out.push_str(family.name());
    out.push_str(suffix);
    if !labels.is_empty() {
        out.push('{');
        out.push_str(labels);
        out.push('}');
    }
    out.push(' ');
    match value {
        // Writing to a String cannot fail.
        Value::Integer(number) => _ = write!(out, "{number}"),
        Value::Float(number) => write_float(out, number),
    }
    if let (Some(Observed { trace_id, value, at }), Format::OpenMetrics) = (exemplar, format) {
        // 40 of the 128 characters that its names and values may have.
        let _ = write!(out, " # {{trace_id=\"{trace_id}\"}} ");
        write_float(out, value);
        let at = at.as_duration();
        let _ = write!(out, " {}.{:03}", at.as_secs(), at.subsec_millis());
    }
    out.push('\n');
}

fn write_float(out: &mut String, number: f64) {
    if number.is_nan() {
        out.push_str("NaN");
    } else if number.is_infinite() {
        out.push_str(if number > 0.0 { "+Inf" } else { "-Inf" });
    } else {
        // `{:?}` writes 1.0, 0.25 and 1e21: the shortest text that reads back as the same number.
        let _ = write!(out, "{number:?}");
    }
}

/// `a="x",b="y"`.
pub(crate) fn labels_text<'a>(family: &Family, values: impl Iterator<Item = &'a str>) -> String {
    let pairs: Vec<String> =
        family.label_declarations().iter().zip(values).map(|(label, value)| pair(label.name, value)).collect();
    pairs.join(",")
}

/// `name="value"`, escaped as both formats want it.
pub(crate) fn pair(name: &str, value: &str) -> String {
    format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// The labels in a text that [`labels_text`] wrote.
pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = text;
    while let Some((name, quoted)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        let mut end = quoted.len();
        while let Some((index, character)) = characters.next() {
            match character {
                '"' => {
                    end = index + 1;
                    break;
                }
                '\\' => value.extend(characters.next().map(|(_, next)| if next == 'n' { '\n' } else { next })),
                plain => value.push(plain),
            }
        }
        pairs.push((name.trim_start_matches(',').to_owned(), value));
        rest = &quoted[end..];
    }
    pairs
}
