//! Benchmarks. Of the token service: `counts` (instructions, gated), `times` (paired, reported), `cold` (a first token over TLS).
//! Of TLS: `tls-counts` (instructions, gated), `tls-nginx` (paired, reported).

mod azure;
mod cases;
mod cold;
mod counts;
mod naive;
mod times;
mod tls;

use cases::Case;
use clap::{Parser, Subcommand};
use std::error::Error;
use std::path::PathBuf;

/// What tokens and TLS handshakes cost, beside other ways to have them.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Instructions of one call, counted by callgrind; exits with 1 if one is over its limit.
    Counts,
    /// Durations of one call, all ways in turn within one run, on one thread and on two.
    Times {
        /// How many rounds.
        #[arg(long, default_value_t = 60)]
        rounds: usize,
    },
    /// A first token over real TLS from an Admin Module that `artstore up` runs.
    Cold {
        /// Its `artstore.env`, as exported variables.
        #[command(flatten)]
        house: cold::House,
        /// How many acquisitions, each with a connection of its own.
        #[arg(long, default_value_t = 500)]
        samples: usize,
    },
    /// Calls one way so many times and says nothing; for callgrind.
    Call {
        /// Which way.
        case: Case,
        /// How many times.
        calls: u64,
    },
    /// Instructions of the server's part of a handshake; exits with 1 if the instrumentation is over its limit.
    TlsCounts,
    /// Full TLS 1.3 handshakes of our listener and of nginx, in alternation.
    TlsNginx(tls::nginx::Arguments),
    /// Makes handshakes and says nothing; for callgrind.
    TlsHandshakes {
        /// Which.
        case: tls::Case,
        /// How many.
        count: u32,
    },
    /// Serves handshakes on a port that it prints, until standard input ends; for the comparison with nginx.
    TlsServer(tls::server::Arguments),
}

fn main() -> Result<(), Box<dyn Error>> {
    match Arguments::parse().command {
        Command::Counts => {
            let within = counts::run(&std::env::current_exe()?)?;
            std::process::exit(i32::from(!within));
        }
        Command::Times { rounds } => times::run(rounds)?,
        Command::Cold { house, samples } => cold::run(&house, samples)?,
        Command::Call { case, calls } => {
            let ready = case.prepare()?;
            ready(100);
            counts::measured_calls(&ready, calls);
        }
        Command::TlsCounts => {
            let within = tls::counts::run(&std::env::current_exe()?)?;
            std::process::exit(i32::from(!within));
        }
        Command::TlsNginx(arguments) => tls::nginx::run(&std::env::current_exe()?, &arguments)?,
        Command::TlsHandshakes { case, count } => tls::handshakes(case, count)?,
        Command::TlsServer(arguments) => tls::server::run(&arguments)?,
    }
    Ok(())
}

/// The path of a program on this machine, if it is there.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
