//! Durations of one call. All ways run in turn, round after round, so that what disturbs the machine disturbs them all.

use crate::cases::{Calls, Case};
use clap::ValueEnum as _;
use std::error::Error;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Calls of one batch: a few milliseconds.
const BATCH: u64 = 100_000;

/// What the rounds said about one way, in nanoseconds for each call.
struct Row {
    case: Case,
    calls: Calls,
    one: Vec<f64>,
    two: Vec<f64>,
}

/// Prints the table: medians, and the medians of each round's ratio.
pub fn run(rounds: usize) -> Result<(), Box<dyn Error>> {
    let mut rows = Vec::new();
    for case in Case::value_variants() {
        rows.push(Row { case: *case, calls: case.prepare()?, one: Vec::new(), two: Vec::new() });
    }
    for _ in 0..rounds {
        for row in &mut rows {
            row.one.push(on_threads::<1>(&row.calls));
            row.two.push(on_threads::<2>(&row.calls));
        }
    }
    let instant = rows.iter().find(|row| row.case == Case::Instant).map(|row| row.one.clone()).unwrap_or_default();
    println!("nanoseconds of one call: least and median on one thread, on two; ratios round by round, medians");
    println!(
        "{:<10}{:>8}{:>8}{:>10}{:>8}{:>14}{:>14}",
        "", "1 least", "median", "2 least", "median", "of an Instant", "2 to 1"
    );
    for row in &rows {
        println!(
            "{:<10}{:>8.1}{:>8.1}{:>10.1}{:>8.1}{:>14.2}{:>14.2}",
            row.case.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default(),
            least(&row.one),
            median(&row.one),
            least(&row.two),
            median(&row.two),
            median(&ratios(&row.one, &instant)),
            median(&ratios(&row.two, &row.one)),
        );
    }
    Ok(())
}

/// Nanoseconds of one call when so many threads call at the same time.
fn on_threads<const THREADS: usize>(calls: &Calls) -> f64 {
    let barrier = Barrier::new(THREADS);
    let took: Duration = std::thread::scope(|scope| {
        let timed = || {
            // The thread's slot and the processor's caches.
            calls(BATCH / 10);
            barrier.wait();
            #[expect(clippy::disallowed_methods, reason = "it times the calls")]
            let start = Instant::now();
            calls(BATCH);
            start.elapsed()
        };
        let threads = [(); THREADS].map(|()| scope.spawn(timed));
        threads.into_iter().filter_map(|thread| thread.join().ok()).max().unwrap_or_default()
    });
    took.as_secs_f64() * 1e9 / 1e5
}

fn ratios(these: &[f64], those: &[f64]) -> Vec<f64> {
    these.iter().zip(those).map(|(this, that)| this / that).collect()
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
