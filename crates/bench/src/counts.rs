//! Instructions of one call: callgrind counts those of many, from the function that makes them on.

use crate::cases::{Calls, Case};
use crate::program;
use clap::ValueEnum as _;
use std::error::Error;
use std::path::Path;
use std::process::Command;

const CALLS: u32 = 20_000;

/// What a cached call may cost at most.
const MOST: f64 = 80.0;
/// What part of the naive way's and of azure_identity's.
const OF_NAIVE: f64 = 1.0 / 5.0;
const OF_AZURE: f64 = 1.0 / 25.0;

/// Prints the table, and says whether everything is within its limit.
pub fn run(me: &Path) -> Result<bool, Box<dyn Error>> {
    let valgrind = program("valgrind").ok_or("valgrind is not installed")?;
    println!("instructions of one call");
    let mut counted = Vec::new();
    for case in Case::value_variants() {
        let (name, calls) = (name(*case), CALLS.to_string());
        let count = Count { arguments: &["call", &name, &calls], toggle: "*measured_calls*", calls: CALLS };
        let each = f64::from(instructions(&valgrind, me, &count)?) / f64::from(CALLS);
        println!("{each:>10.1}  {name}");
        counted.push((*case, each));
    }
    let of = |case: Case| counted.iter().find(|(counted, _)| *counted == case).map_or(f64::NAN, |(_, each)| *each);
    let limits = [
        ("a lent token", of(Case::Lent), MOST),
        ("of the naive way's", of(Case::Lent) / of(Case::Naive), OF_NAIVE),
        ("of azure_identity's", of(Case::Lent) / of(Case::Azure), OF_AZURE),
    ];
    let mut within = true;
    for (what, value, most) in limits {
        // Not `value > most`: no number at all is not within a limit.
        let fits = value <= most;
        within &= fits;
        println!("{:>10.3}  {what}, at most {most:.3}{}", value, if fits { "" } else { ": TOO MUCH" });
    }
    Ok(within)
}

fn name(case: Case) -> String {
    case.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Makes the calls; callgrind counts from here on, and no longer than this takes.
#[inline(never)]
pub fn measured_calls(ready: &Calls, calls: u64) {
    ready(calls);
}

/// What callgrind is to count.
pub struct Count<'a> {
    /// Of this program.
    pub arguments: &'a [&'a str],
    /// The functions from which on it counts, and no longer than they take.
    pub toggle: &'a str,
    /// How many calls they make, each of more than one instruction.
    pub calls: u32,
}

/// The instructions of all calls.
pub fn instructions(valgrind: &Path, me: &Path, count: &Count<'_>) -> Result<u32, Box<dyn Error>> {
    let output = Command::new(valgrind)
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={}", count.toggle))
        .arg(me)
        .args(count.arguments)
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().find_map(|line| line.split_once("Collected : ")).map(|(_, count)| count.trim());
    match collected.map(str::parse) {
        // Not even one for each call: the function was not found.
        Some(Ok(collected)) if output.status.success() && collected > count.calls => Ok(collected),
        _ => Err(format!("callgrind of {:?} ended with {}: {text}", count.arguments, output.status).into()),
    }
}
