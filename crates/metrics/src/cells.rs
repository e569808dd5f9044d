//! Storage of counters, gauges and histograms: one atomic per series, found by index.

use crate::exemplar::{Exemplar, Exemplars};
use crate::exposition::{Samples, Value};
use crate::{Family, Row};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// The label texts of a family's series, written once: `a="x",b="y"`, in row order.
pub(crate) type RowTexts = Arc<[Box<str>]>;

/// A counter family: one number per row, which only grows.
pub struct Counter<L: Row = ()> {
    cells: Arc<[AtomicU64]>,
    texts: RowTexts,
    rows: PhantomData<fn(L)>,
}

impl<L: Row> Counter<L> {
    pub(crate) fn new(texts: RowTexts) -> Self {
        Self { cells: texts.iter().map(|_| AtomicU64::new(0)).collect(), texts, rows: PhantomData }
    }

    /// Adds one.
    pub fn inc(&self, row: L) {
        self.add(row, 1);
    }

    /// Adds `count`.
    pub fn add(&self, row: L, count: u64) {
        self.cells[row.row()].fetch_add(count, Ordering::Relaxed);
    }

    /// The number as it stands.
    #[must_use]
    pub fn value(&self, row: L) -> u64 {
        self.cells[row.row()].load(Ordering::Relaxed)
    }

    /// The sum over all rows.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.cells.iter().map(|cell| cell.load(Ordering::Relaxed)).sum()
    }

    /// The cells, in the order of the rows.
    pub(crate) fn cells(&self) -> &[AtomicU64] {
        &self.cells
    }

    pub(crate) fn collect(&self, samples: &mut Samples<'_>) {
        for (text, cell) in self.texts.iter().zip(self.cells.iter()) {
            samples.rendered("", text, Value::Integer(i128::from(cell.load(Ordering::Relaxed))));
        }
    }
}

impl<L: Row> Clone for Counter<L> {
    fn clone(&self) -> Self {
        Self { cells: Arc::clone(&self.cells), texts: Arc::clone(&self.texts), rows: PhantomData }
    }
}

impl<L: Row> std::fmt::Debug for Counter<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.cells.iter()).finish()
    }
}

/// A gauge family: one number per row, up and down.
pub struct Gauge<L: Row = ()> {
    cells: Arc<[AtomicI64]>,
    texts: RowTexts,
    rows: PhantomData<fn(L)>,
}

impl<L: Row> Gauge<L> {
    pub(crate) fn new(texts: RowTexts) -> Self {
        Self { cells: texts.iter().map(|_| AtomicI64::new(0)).collect(), texts, rows: PhantomData }
    }

    /// Sets the number.
    pub fn set(&self, row: L, value: i64) {
        self.cells[row.row()].store(value, Ordering::Relaxed);
    }

    /// Adds `by`, which may be negative.
    pub fn add(&self, row: L, by: i64) {
        self.cells[row.row()].fetch_add(by, Ordering::Relaxed);
    }

    /// The number as it stands.
    #[must_use]
    pub fn value(&self, row: L) -> i64 {
        self.cells[row.row()].load(Ordering::Relaxed)
    }

    /// Adds one until the guard is dropped, however that comes about.
    #[must_use = "the gauge falls again when the guard is dropped"]
    pub fn hold(&self, row: L) -> GaugeGuard {
        self.add(row, 1);
        GaugeGuard { cells: Arc::clone(&self.cells), row: row.row() }
    }

    pub(crate) fn collect(&self, samples: &mut Samples<'_>) {
        for (text, cell) in self.texts.iter().zip(self.cells.iter()) {
            samples.rendered("", text, Value::Integer(i128::from(cell.load(Ordering::Relaxed))));
        }
    }
}

impl<L: Row> Clone for Gauge<L> {
    fn clone(&self) -> Self {
        Self { cells: Arc::clone(&self.cells), texts: Arc::clone(&self.texts), rows: PhantomData }
    }
}

impl<L: Row> std::fmt::Debug for Gauge<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.cells.iter()).finish()
    }
}

/// One unit of a [`Gauge`], given back when dropped.
#[derive(Debug)]
pub struct GaugeGuard {
    cells: Arc<[AtomicI64]>,
    row: usize,
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.cells[self.row].fetch_sub(1, Ordering::Relaxed);
    }
}

/// A histogram family: buckets, sum and count per row. The count is the sum of the buckets, so the two never disagree.
pub struct Histogram<L: Row = ()> {
    cells: Arc<[HistogramCell]>,
    bounds: &'static [f64],
    bound_texts: Arc<[Box<str>]>,
    texts: RowTexts,
    rows: PhantomData<fn(L)>,
}

struct HistogramCell {
    /// One per bound and a last one for what is above all of them; not cumulative.
    buckets: Box<[AtomicU64]>,
    /// The bits of an `f64`.
    sum: AtomicU64,
    exemplars: Exemplars,
}

impl<L: Row> Histogram<L> {
    pub(crate) fn new(family: &'static Family, texts: RowTexts) -> Self {
        let bounds = family.buckets();
        let bound_texts = bounds.iter().map(|bound| format!("{bound:?}").into()).chain(["+Inf".into()]).collect();
        let cell = |_| HistogramCell {
            buckets: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0_f64.to_bits()),
            exemplars: Exemplars::default(),
        };
        Self { cells: texts.iter().map(cell).collect(), bounds, bound_texts, texts, rows: PhantomData }
    }

    /// Observes a duration, in seconds.
    pub fn observe(&self, row: L, duration: Duration) {
        self.observe_value(row, duration.as_secs_f64());
    }

    /// Observes a duration, in seconds, and keeps the trace that it belongs to as its bucket's exemplar.
    pub fn observe_traced(&self, row: L, duration: Duration, exemplar: Option<Exemplar>) {
        let value = duration.as_secs_f64();
        self.observe_value(row, value);
        if let Some(exemplar) = exemplar {
            self.cells[row.row()].exemplars.keep(exemplar, value, self.bucket(value), self.bounds.len() + 1);
        }
    }

    /// The bucket of a number.
    fn bucket(&self, value: f64) -> usize {
        self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len())
    }

    /// Observes a number in the family's unit.
    pub fn observe_value(&self, row: L, value: f64) {
        let cell = &self.cells[row.row()];
        cell.buckets[self.bucket(value)].fetch_add(1, Ordering::Relaxed);
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // The closure always answers Some, so the update always succeeds.
        let _ = cell.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// How many observations there were in this row.
    #[must_use]
    pub fn count(&self, row: L) -> u64 {
        self.cells[row.row()].buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// The sum of the observations in this row.
    #[must_use]
    pub fn sum(&self, row: L) -> f64 {
        f64::from_bits(self.cells[row.row()].sum.load(Ordering::Relaxed))
    }

    pub(crate) fn collect(&self, samples: &mut Samples<'_>) {
        let mut labels = String::new();
        for (text, cell) in self.texts.iter().zip(self.cells.iter()) {
            let mut count = 0;
            for (place, (bucket, bound)) in cell.buckets.iter().zip(self.bound_texts.iter()).enumerate() {
                count += bucket.load(Ordering::Relaxed);
                labels.clear();
                labels.push_str(text);
                labels.push_str(if text.is_empty() { "le=\"" } else { ",le=\"" });
                labels.push_str(bound);
                labels.push('"');
                samples.bucket(&labels, count, cell.exemplars.get(place));
            }
            samples.rendered("_sum", text, Value::Float(f64::from_bits(cell.sum.load(Ordering::Relaxed))));
            samples.rendered("_count", text, Value::Integer(i128::from(count)));
        }
    }
}

impl<L: Row> Clone for Histogram<L> {
    fn clone(&self) -> Self {
        Self {
            cells: Arc::clone(&self.cells),
            bounds: self.bounds,
            bound_texts: Arc::clone(&self.bound_texts),
            texts: Arc::clone(&self.texts),
            rows: PhantomData,
        }
    }
}

impl<L: Row> std::fmt::Debug for Histogram<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Histogram").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}
