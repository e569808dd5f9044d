//! Parts of a counter, each written by one thread at a time and so without a read-modify-write; a scrape adds them up.

use crate::{Counter, Row};
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How many rows a counter with shards may have: as many as fill one line of the processor's cache.
const MAX_ROWS: usize = 8;

/// The cells of one shard, on cache lines of their own: 128 bytes, since processors fetch lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line([AtomicU64; MAX_ROWS]);

/// The shards of one counter, made by [`Registry::shards`](crate::Registry::shards). Clones share them.
#[derive(Debug)]
pub struct Shards<L: Row> {
    counter: Counter<L>,
    taken: Arc<Mutex<Vec<Taken>>>,
}

/// A shard that was handed out, and how much of it the counter has already.
#[derive(Debug)]
struct Taken {
    line: Arc<Line>,
    folded: [u64; MAX_ROWS],
}

/// One part of a counter, for one thread at a time: it can be sent, but not shared. What it counted stays when it is dropped.
#[derive(Debug)]
pub struct Shard<L: Row> {
    line: Arc<Line>,
    /// Not `Sync`: two writers would lose counts.
    single_writer: PhantomData<Cell<()>>,
    rows: PhantomData<fn(L)>,
}

impl<L: Row> Shards<L> {
    pub(crate) fn new(counter: Counter<L>) -> Self {
        assert!(counter.cells().len() <= MAX_ROWS, "a counter with shards has at most {MAX_ROWS} rows");
        Self { counter, taken: Arc::default() }
    }

    /// A new part of the counter.
    #[must_use]
    pub fn shard(&self) -> Shard<L> {
        let line = Arc::<Line>::default();
        let taken = Taken { line: Arc::clone(&line), folded: [0; MAX_ROWS] };
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).push(taken);
        Shard { line, single_writer: PhantomData, rows: PhantomData }
    }

    /// Adds to the counter what the shards counted since the last time, and forgets those that were dropped.
    pub(crate) fn fold(&self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain_mut(|shard| {
            // Asked before the cells are read: a shard that is dropped meanwhile is read once more the next time.
            let in_use = Arc::get_mut(&mut shard.line).is_none();
            for ((cell, folded), sum) in shard.line.0.iter().zip(&mut shard.folded).zip(self.counter.cells()) {
                let count = cell.load(Ordering::Relaxed);
                sum.fetch_add(count.wrapping_sub(*folded), Ordering::Relaxed);
                *folded = count;
            }
            in_use
        });
    }
}

impl<L: Row> Clone for Shards<L> {
    fn clone(&self) -> Self {
        Self { counter: self.counter.clone(), taken: Arc::clone(&self.taken) }
    }
}

impl<L: Row> Shard<L> {
    /// Adds one.
    #[inline]
    pub fn inc(&self, row: L) {
        let cell = &self.line.0[row.row()];
        // The only writer: nothing can come between the two.
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use crate::{Counter, Family, Format, Label, LabelValue, Registry, label_enum};

    label_enum! {
        enum Fruit as "fruit" { Apple = "apple", Pear = "pear" }
    }
    const EATEN: Family = Family::counter("eaten_total", "Eaten.").labels(&[Fruit::LABEL]);
    const ALL_EATEN: Family = Family::counter("all_eaten_total", "Eaten, together.");
    const DIGITS: Family = Family::counter("digits_total", "Digits.").labels(&[Label::open("digit", "ten")]);

    #[test]
    fn a_scrape_has_what_live_and_ended_threads_counted_each_once() {
        let registry = Registry::new();
        let eaten: Counter<Fruit> = registry.counter(&EATEN);
        let shards = registry.shards(&eaten);
        let mine = shards.shard();
        mine.inc(Fruit::Apple);
        eaten.inc(Fruit::Apple);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let own = shards.shard();
                    (0..1_000).for_each(|_| own.inc(Fruit::Pear));
                });
            }
        });
        for _ in 0..2 {
            assert!(registry.encode(Format::Text).ends_with("{fruit=\"apple\"} 2\neaten_total{fruit=\"pear\"} 4000\n"));
            assert_eq!(shards.taken.lock().unwrap().len(), 1);
        }
        mine.inc(Fruit::Pear);
        drop(mine);
        assert_eq!(registry.sum_of("eaten_total", &[("fruit", "pear")]), 4001.0);
        assert!(shards.taken.lock().unwrap().is_empty());
        assert_eq!(registry.sum_of("eaten_total", &[]), 4003.0);
    }

    /// A family that is computed from the counter says the same as the counter in every scrape, while a thread counts on.
    #[test]
    fn what_is_computed_from_a_sharded_counter_agrees_with_it() {
        let registry = Registry::new();
        let eaten: Counter<Fruit> = registry.counter(&EATEN);
        let (shards, sum) = (registry.shards(&eaten), eaten.clone());
        registry.computed(&ALL_EATEN, move |samples| samples.integer(&[], sum.sum()));
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let own = shards.shard();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    own.inc(Fruit::Apple);
                }
            });
            for _ in 0..2_000 {
                let text = registry.encode(Format::Text);
                let number = |name: &str| {
                    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
                    line.rsplit_once(' ').unwrap().1.to_owned()
                };
                assert_eq!(number("eaten_total{fruit=\"apple\"}"), number("all_eaten_total"));
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }

    #[test]
    #[should_panic(expected = "at most 8 rows")]
    fn a_counter_of_many_rows_has_no_shards() {
        let registry = Registry::new();
        let rows = (0..9).map(|digit| vec![digit.to_string().into()]).collect();
        let digits: Counter<Fruit> = registry.counter_of_rows(&DIGITS, &rows);
        let _ = registry.shards(&digits);
    }
}
