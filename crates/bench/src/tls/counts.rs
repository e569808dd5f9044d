//! Instructions of the server's part of a handshake: ours, rustls' without us, and our instrumentation alone.

use super::material::Kind;
use crate::counts::{Count, instructions};
use crate::program;
use clap::ValueEnum;
use std::error::Error;
use std::path::Path;

/// How much of a full TLS 1.3 handshake the instrumentation may be, and of a resumed TLS 1.2 one.
const OF_FULL: f64 = 0.001;
const OF_RESUMED: f64 = 0.005;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// A full TLS 1.3 handshake: tokio-rustls alone.
    FullBare,
    /// The same, the client's hello awaited apart.
    FullPhases,
    /// The same through our acceptor.
    FullOurs,
    /// What our acceptor tells its metrics, and the clock readings for it.
    FullEvents,
    /// A full TLS 1.3 handshake with a client certificate: tokio-rustls alone.
    MutualBare,
    /// The same, the client's hello awaited apart.
    MutualPhases,
    /// The same through our acceptor.
    MutualOurs,
    /// What it tells its metrics then.
    MutualEvents,
    /// A resumed TLS 1.2 handshake: tokio-rustls alone.
    ResumedBare,
    /// The same, the client's hello awaited apart.
    ResumedPhases,
    /// The same through our acceptor.
    ResumedOurs,
    /// What it tells its metrics then.
    ResumedEvents,
}

/// Whose handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Bare,
    Phases,
    Ours,
    Events,
}

impl Case {
    pub fn kind(self) -> Kind {
        match self {
            Self::FullBare | Self::FullPhases | Self::FullOurs | Self::FullEvents => {
                Kind { resumed_12: false, mutual: false }
            }
            Self::MutualBare | Self::MutualPhases | Self::MutualOurs | Self::MutualEvents => {
                Kind { resumed_12: false, mutual: true }
            }
            Self::ResumedBare | Self::ResumedPhases | Self::ResumedOurs | Self::ResumedEvents => {
                Kind { resumed_12: true, mutual: false }
            }
        }
    }

    pub fn side(self) -> Side {
        match self {
            Self::FullBare | Self::MutualBare | Self::ResumedBare => Side::Bare,
            Self::FullPhases | Self::MutualPhases | Self::ResumedPhases => Side::Phases,
            Self::FullOurs | Self::MutualOurs | Self::ResumedOurs => Side::Ours,
            Self::FullEvents | Self::MutualEvents | Self::ResumedEvents => Side::Events,
        }
    }

    /// How many: enough for a stable mean, and few seconds under callgrind.
    fn handshakes(self) -> u32 {
        match self.side() {
            Side::Events => 10_000,
            Side::Bare | Side::Phases | Side::Ours if self.kind().resumed_12 => 1000,
            Side::Bare | Side::Phases | Side::Ours => 300,
        }
    }
}

/// Prints the table, and says whether the instrumentation is within its limits.
pub fn run(me: &Path) -> Result<bool, Box<dyn Error>> {
    let valgrind = program("valgrind").ok_or("valgrind is not installed")?;
    println!("instructions of the server's part of one handshake; in brackets how much more than rustls alone");
    println!("{:<24}{:>12}{:>22}{:>22}{:>24}", "", "rustls", "in two phases", "ours", "instrumentation");
    let mut within = true;
    let rows = [
        ("TLS 1.3, full", [Case::FullBare, Case::FullPhases, Case::FullOurs, Case::FullEvents], OF_FULL),
        (
            "TLS 1.3, full, mutual",
            [Case::MutualBare, Case::MutualPhases, Case::MutualOurs, Case::MutualEvents],
            OF_FULL,
        ),
        (
            "TLS 1.2, resumed",
            [Case::ResumedBare, Case::ResumedPhases, Case::ResumedOurs, Case::ResumedEvents],
            OF_RESUMED,
        ),
    ];
    for (what, cases, most) in rows {
        let mut counted = [0.0; 4];
        for (counted, case) in counted.iter_mut().zip(cases) {
            *counted = each(&valgrind, me, case)?;
        }
        let [bare, phases, ours, events] = counted;
        // Not `share > most`: no number at all is not within a limit.
        let fits = events / bare <= most;
        within &= fits;
        let more = |count: f64| format!("{count:.0} ({:+.2} %)", (count / bare - 1.0) * 100.0);
        println!(
            "{what:<24}{bare:>12.0}{:>22}{:>22}{:>24}{}",
            more(phases),
            more(ours),
            format!("{events:.0} ({:.3} %)", events / bare * 100.0),
            if fits { String::new() } else { format!(" TOO MUCH, at most {:.1} %", most * 100.0) }
        );
    }
    Ok(within)
}

/// The instructions of one handshake.
fn each(valgrind: &Path, me: &Path, case: Case) -> Result<f64, Box<dyn Error>> {
    let name = case.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let calls = case.handshakes();
    let arguments = ["tls-handshakes", &name, &calls.to_string()];
    let counted = instructions(valgrind, me, &Count { arguments: &arguments, toggle: "*measured_*", calls })?;
    Ok(f64::from(counted) / f64::from(calls))
}
