//! What a process remembers of its own numbers: the last hour every five seconds, and what longer windows need every five minutes.
//!
//! Bounded: at most 512 series of 720 readings (2.9 MB) and 64 series of 864 (0.4 MB); an Ingester has some 200 and 10.

use super::query::Labels;
use artstore_metrics::Sample;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How often a reading is taken, in seconds.
pub(super) const INTERVAL: u32 = 5;
const HOUR: f64 = 3_600.0;
const FINE: Shape = Shape { interval: INTERVAL as f64, readings: 720, series: 512 };
/// Three days, as long as the longest window of a rule.
const COARSE: Shape = Shape { interval: 300.0, readings: 864, series: 64 };

/// How much a history holds.
#[derive(Debug, Clone, Copy)]
struct Shape {
    interval: f64,
    readings: usize,
    series: usize,
}

/// The moments of readings, in seconds since 1970, in rising order.
#[derive(Debug, Clone, Default)]
pub(super) struct Times(VecDeque<f64>);

impl Times {
    /// The last reading at or before a moment.
    fn at(&self, moment: f64) -> Option<usize> {
        self.0.partition_point(|time| *time <= moment).checked_sub(1)
    }

    /// The moments.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = f64> + '_ {
        self.0.iter().copied()
    }
}

/// The readings of one series, one for each of the history's moments, NaN where there was none.
#[derive(Debug, Clone)]
pub(super) struct Column {
    labels: Labels,
    readings: VecDeque<f64>,
    last_seen: f64,
}

impl Column {
    /// Its labels.
    pub(super) const fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The reading of a moment.
    pub(super) fn latest(&self, times: &Times, moment: f64) -> Option<f64> {
        self.readings.get(times.at(moment)?).copied()
    }

    /// By how much a counter grew in the window before a moment, and in how many seconds: fewer than the window's while the
    /// process is younger.
    pub(super) fn growth(&self, times: &Times, moment: f64, window: f64) -> Option<(f64, f64)> {
        let end = times.at(moment)?;
        let begin = times.at(moment - window).unwrap_or_default();
        let begin = (begin..end).find(|index| self.readings.get(*index).is_some_and(|reading| !reading.is_nan()))?;
        let (first, last) = (self.readings.get(begin)?, self.readings.get(end)?);
        let seconds = times.0.get(end)? - times.0.get(begin)?;
        Some((last - first, seconds))
    }
}

/// Readings of many series at common moments.
#[derive(Debug)]
pub(super) struct History {
    shape: Shape,
    wanted: BTreeSet<String>,
    times: Times,
    columns: BTreeMap<String, BTreeMap<Labels, Column>>,
    series: usize,
    /// Whether the last reading is one between the regular ones, which the next replaces.
    is_provisional: bool,
    is_truncated: bool,
}

impl History {
    fn new(shape: Shape, wanted: BTreeSet<String>) -> Self {
        let (times, columns) = (Times::default(), BTreeMap::new());
        Self { shape, wanted, times, columns, series: 0, is_provisional: false, is_truncated: false }
    }

    /// The moments of the readings.
    pub(super) const fn times(&self) -> &Times {
        &self.times
    }

    /// The series of this name.
    pub(super) fn columns(&self, name: &str) -> impl Iterator<Item = &Column> {
        self.columns.get(name).into_iter().flat_map(BTreeMap::values)
    }

    fn push(&mut self, now: f64, samples: &[(&Sample, Labels)]) {
        if self.is_provisional {
            self.times.0.pop_back();
            self.each(|column| _ = column.readings.pop_back());
        }
        let last_regular = self.times.0.back().copied();
        self.is_provisional = last_regular.is_some_and(|last| now - last < self.shape.interval - 0.5);
        if self.times.0.len() == self.shape.readings {
            self.times.0.pop_front();
            self.each(|column| _ = column.readings.pop_front());
        }
        self.times.0.push_back(now);
        for (sample, labels) in samples {
            self.put(now, sample, labels);
        }
        let (length, span) = (self.times.0.len(), self.shape.interval * self.shape.readings as f64);
        self.each(|column| column.readings.resize(length, f64::NAN));
        // A series that has gone, as that of a replaced certificate, is forgotten with its last reading.
        for columns in self.columns.values_mut() {
            columns.retain(|_, column| now - column.last_seen <= span);
        }
        self.series = self.columns.values().map(BTreeMap::len).sum();
    }

    fn put(&mut self, now: f64, sample: &Sample, labels: &Labels) {
        if !self.wanted.contains(&sample.name) {
            return;
        }
        let (is_full, before) = (self.series >= self.shape.series, self.times.0.len() - 1);
        let columns = self.columns.entry(sample.name.clone()).or_default();
        if !columns.contains_key(labels) {
            if is_full {
                self.is_truncated = true;
                return;
            }
            let readings = VecDeque::from(vec![f64::NAN; before]);
            columns.insert(labels.clone(), Column { labels: labels.clone(), readings, last_seen: now });
            self.series += 1;
        }
        if let Some(column) = columns.get_mut(labels) {
            column.readings.push_back(sample.value);
            column.last_seen = now;
        }
    }

    fn each(&mut self, mut change: impl FnMut(&mut Column)) {
        self.columns.values_mut().flat_map(BTreeMap::values_mut).for_each(&mut change);
    }
}

/// The two histories of a module.
#[derive(Debug)]
pub(super) struct Memory {
    fine: History,
    coarse: History,
    /// Labels that Prometheus adds to every series of a target.
    target: Labels,
}

impl Memory {
    /// Remembers the samples of these names, by the longest window in which they are looked at, in seconds.
    pub(super) fn new(wanted: &BTreeMap<String, f64>, target: Labels) -> Self {
        let coarse = wanted.iter().filter(|(_, window)| **window > HOUR).map(|(name, _)| name.clone()).collect();
        let fine = wanted.keys().cloned().collect();
        Self { fine: History::new(FINE, fine), coarse: History::new(COARSE, coarse), target }
    }

    /// Takes a reading. One that comes earlier than it is due stays only until the next.
    pub(super) fn push(&mut self, now: f64, samples: &[Sample]) {
        let labelled: Vec<(&Sample, Labels)> = samples
            .iter()
            .map(|sample| {
                (sample, self.target.iter().chain(sample.labels.iter().map(|(n, v)| (n, v))).map(owned).collect())
            })
            .collect();
        self.fine.push(now, &labelled);
        self.coarse.push(now, &labelled);
    }

    /// The history that reaches back so many seconds.
    pub(super) const fn for_window(&self, window: f64) -> &History {
        if window > HOUR { &self.coarse } else { &self.fine }
    }

    /// Whether there were more series than are kept.
    pub(super) const fn is_truncated(&self) -> bool {
        self.fine.is_truncated || self.coarse.is_truncated
    }

    /// At most so many moments of the last hour, the last reading among them, evenly spaced.
    pub(super) fn moments(&self, most: usize) -> Vec<f64> {
        let times: Vec<f64> = self.fine.times.iter().collect();
        let step = times.len().div_ceil(most).max(1);
        let mut moments: Vec<f64> = times.iter().rev().step_by(step).copied().collect();
        moments.reverse();
        moments
    }
}

fn owned((name, value): (&String, &String)) -> (String, String) {
    (name.clone(), value.clone())
}
