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
    /// The same through our acceptor.
    FullOurs,
    /// What our acceptor tells its metrics, and the clock readings for it.
    FullEvents,
    /// A full TLS 1.3 handshake with a client certificate: tokio-rustls alone.
    MutualBare,
    /// The same through our acceptor.
    MutualOurs,
    /// What it tells its metrics then.
    MutualEvents,
    /// A resumed TLS 1.2 handshake: tokio-rustls alone.
    ResumedBare,
    /// The same through our acceptor.
    ResumedOurs,
    /// What it tells its metrics then.
    ResumedEvents,
}

/// Whose handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Bare,
    Ours,
    Events,
}

impl Case {
    pub fn kind(self) -> Kind {
        match self {
            Self::FullBare | Self::FullOurs | Self::FullEvents => Kind { resumed_12: false, mutual: false },
            Self::MutualBare | Self::MutualOurs | Self::MutualEvents => Kind { resumed_12: false, mutual: true },
            Self::ResumedBare | Self::ResumedOurs | Self::ResumedEvents => Kind { resumed_12: true, mutual: false },
        }
    }

    pub fn side(self) -> Side {
        match self {
            Self::FullBare | Self::MutualBare | Self::ResumedBare => Side::Bare,
            Self::FullOurs | Self::MutualOurs | Self::ResumedOurs => Side::Ours,
            Self::FullEvents | Self::MutualEvents | Self::ResumedEvents => Side::Events,
        }
    }

    /// How many: enough for a stable mean, and few seconds under callgrind.
    fn handshakes(self) -> u32 {
        match self.side() {
            Side::Events => 10_000,
            Side::Bare | Side::Ours if self.kind().resumed_12 => 1000,
            Side::Bare | Side::Ours => 300,
        }
    }
}

/// Prints the table, and says whether the instrumentation is within its limits.
pub fn run(me: &Path) -> Result<bool, Box<dyn Error>> {
    let valgrind = program("valgrind").ok_or("valgrind is not installed")?;
    let each = |case: Case| -> Result<f64, Box<dyn Error>> {
        let name = case.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let count = case.handshakes();
        let arguments = ["tls-handshakes", &name, &count.to_string()];
        let counted =
            instructions(&valgrind, me, &Count { arguments: &arguments, toggle: "*measured_*", calls: count })?;
        Ok(f64::from(counted) / f64::from(count))
    };
    println!("instructions of the server's part of one handshake");
    println!("{:<24}{:>12}{:>12}{:>10}{:>18}", "", "rustls", "ours", "more", "instrumentation");
    let mut within = true;
    let rows = [
        ("TLS 1.3, full", [Case::FullBare, Case::FullOurs, Case::FullEvents], Some(OF_FULL)),
        ("TLS 1.3, full, mutual", [Case::MutualBare, Case::MutualOurs, Case::MutualEvents], Some(OF_FULL)),
        ("TLS 1.2, resumed", [Case::ResumedBare, Case::ResumedOurs, Case::ResumedEvents], Some(OF_RESUMED)),
    ];
    for (what, [bare, ours, events], most) in rows {
        let (bare, ours, events) = (each(bare)?, each(ours)?, each(events)?);
        let share = events / bare;
        let fits = most.is_none_or(|most| share <= most);
        within &= fits;
        println!(
            "{what:<24}{bare:>12.0}{ours:>12.0}{:>9.2}%{events:>10.0} {:.3}%{}",
            (ours / bare - 1.0) * 100.0,
            share * 100.0,
            if fits { "" } else { ": TOO MUCH" }
        );
    }
    Ok(within)
}
