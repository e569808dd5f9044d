//! The documents that `artstore ops export DIR` writes.

use crate::as_markdown;

/// File names and contents.
#[must_use]
pub fn documents() -> Vec<(&'static str, String)> {
    vec![("metrics.md", as_markdown()), ("prometheus.yml", scrape_configuration())]
}

/// A scrape configuration for the operations listeners at their default ports.
fn scrape_configuration() -> String {
    let jobs = [
        ("artstore-ingester", "127.0.0.1:9020"),
        ("artstore-admin", "127.0.0.1:9000"),
        ("artstore-element", "127.0.0.1:9010\", \"127.0.0.1:9011"),
    ];
    let job = |(name, targets): (&str, &str)| {
        format!("  - job_name: {name}\n    static_configs:\n      - targets: [\"{targets}\"]\n")
    };
    let jobs: String = jobs.into_iter().map(job).collect();
    format!(
        "# Scrapes the operations listeners of `artstore up`. Made by `artstore ops export`; do not edit.\n\
         global:\n  scrape_interval: 15s\nscrape_configs:\n{jobs}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_scrape_configuration_is_current() {
        assert!(
            include_str!("../../../docs/prometheus.yml") == scrape_configuration(),
            "run `artstore ops export docs`"
        );
    }
}
