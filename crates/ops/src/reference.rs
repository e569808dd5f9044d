//! The catalogue for people (a table, a Markdown page) and for programs (JSON).

use crate::catalogue;
use artstore_metrics::{Family, Kind, Values};
use std::fmt::Write as _;

/// `docs/metrics.md`.
#[must_use]
pub fn as_markdown() -> String {
    let mut out = "# Metrics\n\n\
        Made by `artstore metrics --format markdown` from the declarations in the code; do not edit.\n\n\
        Every module serves its families at `/metrics` of its operations listener. Every combination of label values stands at 0 \
        from the first scrape. Counters are named here as in the text format; OpenMetrics names the family without `_total`.\n"
        .to_owned();
    for section in catalogue() {
        // Writing to a String cannot fail.
        let _ = write!(out, "\n## {}\n\nDeclared by `{}`.\n", section.title, section.package);
        for family in section.families {
            let _ = write!(out, "\n### `{}`\n\n{} {}", family.name(), kind_and_unit(family), family.help());
            out.push('\n');
            if !family.buckets().is_empty() {
                let _ =
                    write!(out, "\nBuckets: {}.\n", joined(family.buckets().iter().map(|bound| format!("{bound:?}"))));
            }
            if !family.label_declarations().is_empty() {
                out.push_str("\n| label | values |\n|---|---|\n");
            }
            for label in family.label_declarations() {
                let values = match label.values {
                    Values::Closed(values) => joined(values.iter().map(|value| format!("`{value:?}`"))),
                    Values::Open(bound) => format!("known at start: {bound}"),
                };
                let _ = writeln!(out, "| `{}` | {} |", label.name, values.replace('|', "\\|"));
            }
        }
    }
    out
}

/// One line a family, for a terminal.
#[must_use]
pub fn as_table() -> String {
    let families = || catalogue().into_iter().flat_map(|section| section.families.iter());
    let width = families().map(|family| family.name().len()).max().unwrap_or_default();
    let mut out = String::new();
    for section in catalogue() {
        let _ = writeln!(out, "{} ({})", section.title, section.package);
        for family in section.families {
            let labels = joined(family.label_declarations().iter().map(|label| label.name.to_owned()));
            let labels = if labels.is_empty() { String::new() } else { format!(" {{{labels}}}") };
            let _ =
                writeln!(out, "  {:width$}  {:9}  {}{labels}", family.name(), family.kind().as_str(), family.help());
        }
    }
    out
}

/// The catalogue as JSON: an array of families with name, type, unit, help, package, labels and buckets.
#[must_use]
pub fn as_json() -> serde_json::Value {
    let label = |label: &artstore_metrics::Label| match label.values {
        Values::Closed(values) => serde_json::json!({"name": label.name, "values": values}),
        Values::Open(bound) => serde_json::json!({"name": label.name, "bound": bound}),
    };
    let family = |package: &str, family: &Family| {
        serde_json::json!({
            "name": family.name(), "type": family.kind().as_str(), "unit": family.unit(), "help": family.help(),
            "package": package, "buckets": family.buckets(),
            "labels": family.label_declarations().iter().map(label).collect::<Vec<_>>(),
        })
    };
    let all = catalogue();
    all.iter().flat_map(|section| section.families.iter().map(|f| family(section.package, f))).collect()
}

fn kind_and_unit(family: &Family) -> String {
    let kind = match family.kind() {
        Kind::Counter => "Counter",
        Kind::Gauge => "Gauge",
        Kind::Histogram => "Histogram",
    };
    if family.unit().is_empty() { format!("*{kind}.*") } else { format!("*{kind}, {}.*", family.unit()) }
}

fn joined(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The committed page is what the declarations say.
    #[test]
    fn committed_reference_is_current() {
        let committed = include_str!("../../../docs/metrics.md");
        assert!(
            committed == as_markdown(),
            "docs/metrics.md is stale: run `artstore metrics --format markdown > docs/metrics.md`"
        );
    }

    #[test]
    fn table_and_json_have_a_line_for_every_family() {
        let count: usize = catalogue().iter().map(|section| section.families.len()).sum();
        assert_eq!(as_table().lines().count(), count + catalogue().len());
        assert_eq!(as_json().as_array().unwrap().len(), count);
        let wanted = serde_json::json!({"name": "reused", "values": ["true", "false"]});
        let json = as_json();
        let reuse = json.as_array().unwrap().iter().find(|f| f["name"] == "tls_connection_reuse_total").unwrap();
        assert_eq!(reuse["labels"][0], wanted);
    }
}
