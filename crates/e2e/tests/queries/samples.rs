//! The raw samples that a Prometheus has scraped, and selections of them by its rules.

use artstore_e2e::prometheus::{Point, Prometheus, Series};
use artstore_e2e::scrape::Labels;
use promql_parser::parser::VectorSelector;
use std::collections::BTreeMap;

/// The label that holds a series' name.
pub(crate) const NAME: &str = "__name__";

/// How far back an instant looks for a sample, in seconds.
const LOOKBACK: f64 = 300.0;

/// Samples by name.
pub(crate) struct Samples {
    by_name: BTreeMap<String, Vec<Series>>,
    /// Recorded series are computed, not read: names and expressions.
    pub(crate) records: BTreeMap<&'static str, String>,
}

impl Samples {
    /// All that a Prometheus has of the last hour before `time`.
    pub(crate) fn of(prometheus: &Prometheus, time: f64) -> Self {
        let mut by_name: BTreeMap<String, Vec<Series>> = BTreeMap::new();
        for series in prometheus.query_at("{__name__=~\".+\"}[1h]", time).unwrap() {
            by_name.entry(series.label(NAME).to_owned()).or_default().push(series);
        }
        let records = artstore_ops::groups().into_iter().flat_map(|group| group.records);
        Self { by_name, records: records.map(|record| (record.name, record.expr)).collect() }
    }

    /// All series that were scraped, none that a rule made.
    pub(crate) fn scraped(&self) -> impl Iterator<Item = &Series> {
        let is_scraped = |name: &str| !name.contains(':') && !name.starts_with("ALERTS");
        self.by_name.iter().filter(move |(name, _)| is_scraped(name)).flat_map(|(_, series)| series)
    }

    /// All series.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Series> {
        self.by_name.values().flatten()
    }

    /// The series that a selector finds.
    fn select<'a>(&'a self, selector: &'a VectorSelector) -> impl Iterator<Item = &'a Series> {
        let fits = |series: &&Series| {
            selector.matchers.matchers.iter().all(|matcher| matcher.is_match(series.label(&matcher.name)))
        };
        self.by_name.get(selector.name.as_deref().unwrap()).into_iter().flatten().filter(fits)
    }

    /// The newest sample of each, unless the series has ended: its target has been scraped since, and it was not there.
    pub(crate) fn instant(&self, selector: &VectorSelector, time: f64) -> Vec<(Labels, f64)> {
        assert!(selector.offset.is_none() && selector.at.is_none());
        let newest = |series: &Series| {
            let point = newest_of(series, time)?;
            let has_ended = self.scraped_last(series, time).is_some_and(|scraped| scraped > point.time);
            (time - point.time < LOOKBACK && !has_ended).then(|| (series.labels.clone(), point.value))
        };
        self.select(selector).filter_map(newest).collect()
    }

    /// When the target of a series was last scraped before `time`.
    fn scraped_last(&self, series: &Series, time: f64) -> Option<f64> {
        let is_of_target =
            |up: &&Series| ["job", "instance"].iter().all(|label| up.label(label) == series.label(label));
        Some(newest_of(self.by_name.get("up")?.iter().find(is_of_target)?, time)?.time)
    }

    /// The samples of each within the window that ends at `time`, both ends included.
    pub(crate) fn window(&self, selector: &VectorSelector, time: f64, length: f64) -> Vec<(Labels, Vec<Point>)> {
        let within = |point: &&Point| point.time >= time - length && point.time <= time;
        let of = |series: &Series| (series.labels.clone(), series.points.iter().filter(within).copied().collect());
        self.select(selector).map(of).filter(|(_, points): &(_, Vec<Point>)| !points.is_empty()).collect()
    }

    /// When a rule was last evaluated before `time`; it gives nothing if it has recorded nothing.
    pub(crate) fn recorded_at(&self, name: &str, time: f64) -> Option<f64> {
        let times = self.by_name.get(name)?.iter().flat_map(|series| &series.points).map(|point| point.time);
        times.filter(|at| *at <= time).max_by(f64::total_cmp)
    }
}

/// The newest sample of a series that is no later than `time`.
fn newest_of(series: &Series, time: f64) -> Option<Point> {
    series.points.iter().rfind(|point| point.time <= time).copied()
}
