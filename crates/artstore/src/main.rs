//! The artstore command: runs modules, and talks to them.

mod assemble;
mod authentication;
mod commands;
mod config;
mod development;
mod exit;
mod failure;
mod file_limit;
mod logging;
mod modules;
mod rotation;
mod signals;
mod traces;
mod up;

use clap::{Args, Parser, Subcommand};
use commands::config::ModuleName;
use commands::serve::ServeArgs;
use exit::Exit;
use failure::Failure;
use std::io::Write as _;
use std::process::ExitCode;

/// Files come in over TLS and are streamed over mutual TLS to storage, with every step of authentication and encryption measured.
///
/// `artstore up` starts everything in one process and says what to type next.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_help = exit::EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start everything in one process, under a development CA, with nothing to configure.
    Up(Box<up::UpArgs>),
    /// Run the Admin Module; manage its accounts and keys; rebuild its index.
    Admin(Box<AdminArgs>),
    /// Run one Storage Element.
    Element(ServeArgs),
    /// Run one Ingester.
    Ingester(ServeArgs),
    /// Print a module's commented default configuration, or check a file.
    Config(commands::config::ConfigArgs),
    /// Upload files.
    Upload(Box<commands::upload::UploadArgs>),
    /// Download a file.
    Download(Box<commands::download::DownloadArgs>),
    /// Print an access token.
    Token(Box<commands::token::TokenArgs>),
    /// Find out why a module or a client cannot reach the others: who refuses whom, and what to do.
    Doctor(Box<commands::doctor::DoctorArgs>),
    /// Look at certificates; make development ones.
    Certs(commands::certs::CertsArgs),
    /// Print the catalogue of metric families.
    Metrics(commands::metrics::MetricsArgs),
    /// Write documents for operators.
    Ops(commands::metrics::OpsArgs),
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct AdminArgs {
    #[command(subcommand)]
    command: Option<AdminCommand>,
    #[command(flatten)]
    serve: Option<ServeArgs>,
}

#[derive(Debug, Subcommand)]
enum AdminCommand {
    /// Make the index of files anew from the elements, which hold the truth.
    Rebuild(commands::rebuild::RebuildArgs),
    /// Create, list, rotate, suspend and delete service accounts in the Admin Module's own database.
    #[command(alias = "account")]
    Accounts(Box<commands::accounts::AccountsArgs>),
    /// List, make and retire signing keys.
    Keys(commands::keys::KeysArgs),
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(Err(Failure::failed(format!("cannot start: {error}")))).into(),
    };
    let exit = runtime.block_on(run(command));
    // Blocking work that hangs, such as a read of standard input, must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    exit.into()
}

async fn run(command: Command) -> Exit {
    match command {
        Command::Up(args) => report(up::run(*args).await),
        Command::Admin(args) => run_admin(*args).await,
        Command::Element(args) => report(commands::serve::run(ModuleName::Element, &args).await),
        Command::Ingester(args) => report(commands::serve::run(ModuleName::Ingester, &args).await),
        Command::Config(args) => report(commands::config::run(args)),
        Command::Upload(args) => commands::upload::run(&args).await,
        Command::Download(args) => commands::download::run(&args).await,
        Command::Token(args) => commands::token::run(&args).await,
        Command::Doctor(args) => commands::doctor::run(&args).await,
        Command::Certs(args) => report(commands::certs::run(args)),
        Command::Metrics(args) => report(commands::metrics::run(&args)),
        Command::Ops(args) => report(commands::metrics::run_ops(args)),
    }
}

async fn run_admin(args: AdminArgs) -> Exit {
    report(match args.command {
        Some(AdminCommand::Rebuild(args)) => commands::rebuild::run(&args).await,
        Some(AdminCommand::Accounts(args)) => commands::accounts::run(*args).await,
        Some(AdminCommand::Keys(args)) => commands::keys::run(&args),
        None => match args.serve {
            Some(args) => commands::serve::run(ModuleName::Admin, &args).await,
            None => Err(Failure::usage("admin: --config FILE is required")),
        },
    })
}

/// One clear line on standard error, and the exit code.
fn report(result: Result<(), Failure>) -> Exit {
    let Err(failure) = result else { return Exit::Success };
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "error: {failure}");
    failure.exit()
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::Parser as _;
    use std::path::Path;

    /// A runbook is read at night: each of its commands must be one that this program takes.
    #[test]
    fn every_command_of_the_runbooks_is_one_of_ours() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/runbooks");
        let mut commands = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let page = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
            for line in blocks.flat_map(str::lines).filter(|line| line.starts_with("artstore ")) {
                Cli::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{line}: {error}"));
                commands += 1;
            }
        }
        assert!(commands >= 15, "{commands}");
    }
}
