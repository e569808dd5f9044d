//! `artstore doctor`: walks the way to every configured peer, step by step, and says which side fails, which certificate, and
//! what to do.

mod own;
mod patient;
mod peers;
mod report;
mod services;

use super::config::ModuleName;
use super::connection::ConnectionArgs;
use super::output::complain;
use crate::exit::Exit;
use clap::Args;
use patient::Patient;
use report::Report;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  . artstore-data/artstore.env && artstore doctor
  artstore doctor --config /etc/artstore/ingester.toml ingester
  artstore doctor --json --config element.toml element | jq '.steps[] | select(.result == \"failed\")'

Exit codes:
   0  all is well
   1  a step fails: each says what to do, and the section of docs/runbooks/tls.md
   2  the command line or the configuration is wrong; nothing was tried";

/// Find out why a module or a client cannot reach the others
///
/// Without a module: as a client, by the connection flags or the ARTSTORE_* variables. With one: as that module would, by its
/// configuration. Steps: own files and certificates, then for each peer name, connection, TLS, token and elements. In TLS 1.3
/// a server refuses a client's certificate only after the handshake; the doctor waits for that.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DoctorArgs {
    /// The module whose place to take
    #[arg(requires = "config")]
    module: Option<ModuleName>,

    /// Its configuration file
    #[arg(long, value_name = "FILE", requires = "module")]
    config: Option<PathBuf>,

    /// Override a key of the file and of the environment; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "module")]
    set: Vec<String>,

    /// Print one JSON document instead of lines for people
    #[arg(long)]
    json: bool,

    /// The longest that one step may take
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    step_timeout: u64,

    /// As a client: Storage Elements to reach as well
    #[arg(long, env = "ARTSTORE_ELEMENT_EDIT_URL", value_name = "URL")]
    element_edit_url: Option<String>,

    /// As `--element-edit-url`
    #[arg(long, env = "ARTSTORE_ELEMENT_RW_URL", value_name = "URL")]
    element_rw_url: Option<String>,

    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Examines and reports.
pub(crate) async fn run(args: &DoctorArgs) -> Exit {
    let limit = Duration::from_secs(args.step_timeout);
    let patient = match patient(args) {
        Ok(patient) => patient,
        Err(message) => {
            complain(&message);
            return Exit::Usage;
        }
    };
    let mut report = Report::new(patient.name, limit, args.json);
    // The future is large, and ours would be with it.
    let walked = Box::pin(walk(&patient, &mut report)).await;
    match walked.and_then(|()| report.finish()) {
        Ok(()) if report.failed() == 0 => Exit::Success,
        Ok(()) => Exit::Failure,
        Err(exit) => exit,
    }
}

fn patient(args: &DoctorArgs) -> Result<Patient, String> {
    match (args.module, &args.config) {
        (Some(module), Some(file)) => Patient::module(module, file, &args.set).map_err(|failure| failure.to_string()),
        (None, _) | (_, None) => {
            let urls = [&args.element_edit_url, &args.element_rw_url];
            let elements = urls.into_iter().flatten().filter(|url| !url.is_empty()).cloned().collect();
            Patient::client(&args.connection, elements)
        }
    }
}

/// All steps, in the order in which one needs the other. Only an output that cannot be written ends it early.
async fn walk(patient: &Patient, report: &mut Report) -> Result<(), Exit> {
    let held = own::examine(patient, report)?;
    let way = peers::Way::new(patient, held, report)?;
    for url in &patient.admins {
        let reached = way.walk(url, report).await?;
        services::admin(patient, url, reached, &way, report).await?;
    }
    for url in &patient.elements {
        way.walk(url, report).await?;
    }
    for url in &patient.ingesters {
        let reached = way.walk(url, report).await?;
        services::ingester(url, reached, &way, report).await?;
    }
    Ok(())
}
