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
        let each = f64::from(instructions(&valgrind, me, *case)?) / f64::from(CALLS);
        println!("{:>10.1}  {}", each, name(*case));
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

/// The instructions of all calls.
fn instructions(valgrind: &Path, me: &Path, case: Case) -> Result<u32, Box<dyn Error>> {
    let output = Command::new(valgrind)
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(["--collect-atstart=no", "--toggle-collect=*measured_calls*"])
        .arg(me)
        .args(["call", &name(case), &CALLS.to_string()])
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().find_map(|line| line.split_once("Collected : ")).map(|(_, count)| count.trim());
    match collected.map(str::parse) {
        // Not even one for each call: the function was not found.
        Some(Ok(count)) if output.status.success() && count > CALLS => Ok(count),
        _ => Err(format!("callgrind of {} ended with {}: {text}", name(case), output.status).into()),
    }
}
