//! The families of one module and their storage; what a scrape reads.

use crate::cells::RowTexts;
use crate::exposition::{self, Format, Sample, Samples, Value};
use crate::{Counter, Family, Gauge, Histogram, Kind, LabelSet, Row, Rows, Shards, Values};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard};

type Hook = Arc<dyn Fn() + Send + Sync>;
type Collector = Arc<dyn Fn(&mut Samples<'_>) + Send + Sync>;

/// The registry of one module. Clones share it.
#[derive(Clone, Default)]
pub struct Registry {
    entries: Arc<Mutex<Vec<Entry>>>,
    hooks: Arc<Mutex<Vec<Hook>>>,
    events: EventLock,
}

/// Keeps scrapes out while one event updates several families, so that identities between them hold in every scrape.
/// Events do not keep each other out.
#[derive(Debug, Clone, Default)]
pub struct EventLock(Arc<RwLock<()>>);

impl EventLock {
    /// Until the guard is dropped no scrape reads; keep it for a few updates, never across an await.
    #[must_use = "the event ends when the guard is dropped"]
    pub fn event(&self) -> impl Drop + '_ {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone)]
struct Entry {
    family: &'static Family,
    collect: Collector,
}

impl Registry {
    /// A registry without families.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A counter over a closed label set.
    ///
    /// # Panics
    /// At construction, if the family is of another kind, its labels are not those of `L`, or its name is taken.
    #[must_use]
    pub fn counter<L: LabelSet>(&self, family: &'static Family) -> Counter<L> {
        self.counter_of_rows(family, &closed_rows::<L>(family))
    }

    /// A counter over rows that are known only now. `L` gives the index into `rows`.
    ///
    /// # Panics
    /// At construction, as [`counter`](Self::counter).
    #[must_use]
    pub fn counter_of_rows<L: Row>(&self, family: &'static Family, rows: &Rows) -> Counter<L> {
        let counter = Counter::new(Self::row_texts(family, Kind::Counter, rows));
        let collected = counter.clone();
        self.register(family, move |samples| collected.collect(samples));
        counter
    }

    /// A gauge over a closed label set.
    ///
    /// # Panics
    /// At construction, as [`counter`](Self::counter).
    #[must_use]
    pub fn gauge<L: LabelSet>(&self, family: &'static Family) -> Gauge<L> {
        self.gauge_of_rows(family, &closed_rows::<L>(family))
    }

    /// A gauge over rows that are known only now. `L` gives the index into `rows`.
    ///
    /// # Panics
    /// At construction, as [`counter`](Self::counter).
    #[must_use]
    pub fn gauge_of_rows<L: Row>(&self, family: &'static Family, rows: &Rows) -> Gauge<L> {
        let gauge = Gauge::new(Self::row_texts(family, Kind::Gauge, rows));
        let collected = gauge.clone();
        self.register(family, move |samples| collected.collect(samples));
        gauge
    }

    /// A histogram over a closed label set.
    ///
    /// # Panics
    /// At construction, as [`counter`](Self::counter).
    #[must_use]
    pub fn histogram<L: LabelSet>(&self, family: &'static Family) -> Histogram<L> {
        self.histogram_of_rows(family, &closed_rows::<L>(family))
    }

    /// A histogram over rows that are known only now. `L` gives the index into `rows`.
    ///
    /// # Panics
    /// At construction, as [`counter`](Self::counter).
    #[must_use]
    pub fn histogram_of_rows<L: Row>(&self, family: &'static Family, rows: &Rows) -> Histogram<L> {
        let histogram = Histogram::new(family, Self::row_texts(family, Kind::Histogram, rows));
        let collected = histogram.clone();
        self.register(family, move |samples| collected.collect(samples));
        histogram
    }

    /// A family whose samples are computed when it is scraped: a function of time, or of other numbers.
    ///
    /// `collect` must not call this registry.
    ///
    /// # Panics
    /// At construction, if the name is taken or the family is a histogram.
    pub fn computed(&self, family: &'static Family, collect: impl Fn(&mut Samples<'_>) + Send + Sync + 'static) {
        assert!(family.kind() != Kind::Histogram, "{}: a histogram cannot be computed", family.name());
        self.register(family, collect);
    }

    /// Parts of `counter` for threads of their own, folded into it before every scrape.
    #[must_use]
    pub fn shards<L: Row>(&self, counter: &Counter<L>) -> Shards<L> {
        let shards = Shards::new(counter.clone());
        let folded = shards.clone();
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(move || folded.fold()));
        shards
    }

    /// The declarations of all families, in the order of their registration.
    #[must_use]
    pub fn families(&self) -> Vec<&'static Family> {
        self.entries().iter().map(|entry| entry.family).collect()
    }

    /// The lock for events that update several families whose sums must agree in every scrape.
    #[must_use]
    pub fn event_lock(&self) -> EventLock {
        self.events.clone()
    }

    /// Everything as it stands, as text in this format; no event is seen by halves.
    #[must_use]
    pub fn encode(&self, format: Format) -> String {
        let mut out = String::with_capacity(64 * 1024);
        let _no_event = self.begin();
        for entry in self.entries() {
            exposition::write_header(&mut out, entry.family, format);
            let write = &mut |sample: Sample<'_>| exposition::write_sample(&mut out, entry.family, sample, format);
            (entry.collect)(&mut Samples::new(entry.family, write));
        }
        if format == Format::OpenMetrics {
            out.push_str("# EOF\n");
        }
        out
    }

    /// The sum of the samples of this name (`x_total`, `x_bucket`, `x_count`…) that have all of these labels; 0 if there is none.
    #[must_use]
    pub fn sum_of(&self, sample: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: Vec<String> = labels.iter().map(|(name, value)| exposition::pair(name, value)).collect();
        let mut sum = 0.0;
        let _no_event = self.begin();
        for entry in self.entries() {
            let Some(wanted_suffix) = sample.strip_prefix(entry.family.name()) else { continue };
            let mut add = |Sample { suffix, labels, value, .. }: Sample<'_>| {
                let labels = format!(",{labels},");
                if suffix == wanted_suffix && wanted.iter().all(|pair| labels.contains(&format!(",{pair},"))) {
                    sum += value.as_f64();
                }
            };
            (entry.collect)(&mut Samples::new(entry.family, &mut add));
        }
        sum
    }

    /// Shows `show` every sample of the families that are wanted: family, suffix of the name, labels as text, number.
    pub(crate) fn visit(
        &self,
        wanted: impl Fn(&Family) -> bool,
        mut show: impl FnMut(&'static Family, &str, &str, Value),
    ) {
        let _no_event = self.begin();
        for entry in self.entries().into_iter().filter(|entry| wanted(entry.family)) {
            let mut one = |Sample { suffix, labels, value, .. }: Sample<'_>| show(entry.family, suffix, labels, value);
            (entry.collect)(&mut Samples::new(entry.family, &mut one));
        }
    }

    /// Keeps events out until the guard is dropped, and takes in what was counted apart: from here on nothing that two
    /// families are made of changes.
    fn begin(&self) -> RwLockWriteGuard<'_, ()> {
        let guard = self.events.0.write().unwrap_or_else(PoisonError::into_inner);
        let hooks = self.hooks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        hooks.iter().for_each(|hook| hook());
        guard
    }

    fn register(&self, family: &'static Family, collect: impl Fn(&mut Samples<'_>) + Send + Sync + 'static) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = entries.iter().any(|entry| entry.family.name() == family.name());
        assert!(!taken, "{}: registered twice", family.name());
        entries.push(Entry { family, collect: Arc::new(collect) });
    }

    /// A copy of the list: collectors run without the lock.
    fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Checks the rows against the declaration and writes their label texts.
    fn row_texts(family: &'static Family, kind: Kind, rows: &Rows) -> RowTexts {
        assert!(family.kind() == kind, "{}: declared as a {}", family.name(), family.kind().as_str());
        rows.iter()
            .map(|row| {
                check_row(family, row.iter().map(AsRef::as_ref));
                exposition::labels_text(family, row.iter().map(AsRef::as_ref)).into_boxed_str()
            })
            .collect()
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.families().iter().map(|family| family.name())).finish()
    }
}

fn closed_rows<L: LabelSet>(family: &Family) -> Rows {
    let declared: Vec<&str> = family.label_declarations().iter().map(|label| label.name).collect();
    assert!(declared == L::names(), "{}: declared labels {declared:?}, recorded {:?}", family.name(), L::names());
    L::rows()
}

/// A row has one value for each declared label, and each is in the label's closed set if it has one.
pub(crate) fn check_row<'a>(family: &Family, values: impl ExactSizeIterator<Item = &'a str>) {
    let labels = family.label_declarations();
    assert!(values.len() == labels.len(), "{}: a row has {} values", family.name(), values.len());
    for (label, value) in labels.iter().zip(values) {
        let known = match label.values {
            Values::Closed(values) => values.contains(&value),
            Values::Open(_) => true,
        };
        assert!(known, "{}: {value:?} is not a value of {}", family.name(), label.name);
    }
}
