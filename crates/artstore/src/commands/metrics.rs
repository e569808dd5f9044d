//! `artstore metrics` and `artstore ops`: the catalogue of families, and the documents made from it.

use crate::failure::Failure;
use artstore_ops::Profile;
use clap::{Args, Subcommand, ValueEnum};
use std::io::Write as _;
use std::path::PathBuf;

/// `artstore metrics`
#[derive(Debug, Args)]
pub(crate) struct MetricsArgs {
    /// How to print the catalogue.
    #[arg(long, value_enum, default_value = "table")]
    format: CatalogueFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CatalogueFormat {
    /// One line a family, for a terminal.
    Table,
    /// The page docs/metrics.md.
    Markdown,
    /// An array of families with labels and buckets.
    Json,
}

/// `artstore ops …`
#[derive(Debug, Args)]
pub(crate) struct OpsArgs {
    #[command(subcommand)]
    command: OpsCommand,
}

#[derive(Debug, Subcommand)]
enum OpsCommand {
    /// Write dashboard, alert rules and the configuration of Prometheus, Alertmanager and Kubernetes' operator into a folder.
    Export {
        /// The folder; made if absent.
        dir: PathBuf,
        /// True durations, or seconds instead of minutes and days, to see an alert come and go.
        #[arg(long, value_enum, default_value = "production")]
        profile: ProfileName,
    },
}

/// A profile's name on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProfileName {
    /// What operators run.
    Production,
    /// For trying alerts out: differs in durations and least numbers of events only.
    Fast,
}

impl From<ProfileName> for Profile {
    fn from(name: ProfileName) -> Self {
        match name {
            ProfileName::Production => Self::Production,
            ProfileName::Fast => Self::Fast,
        }
    }
}

/// Prints the catalogue.
///
/// # Errors
/// Standard output that cannot be written.
pub(crate) fn run(args: &MetricsArgs) -> Result<(), Failure> {
    let text = match args.format {
        CatalogueFormat::Table => artstore_ops::as_table(),
        CatalogueFormat::Markdown => artstore_ops::as_markdown(),
        CatalogueFormat::Json => format!("{:#}\n", artstore_ops::as_json()),
    };
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(Failure::output)
}

/// Writes the documents.
///
/// # Errors
/// A folder or file that cannot be written.
pub(crate) fn run_ops(args: OpsArgs) -> Result<(), Failure> {
    let OpsCommand::Export { dir, profile } = args.command;
    let write = || {
        artstore_ops::documents_in(profile.into()).iter().try_for_each(|(name, text)| {
            let path = dir.join(name);
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::write(path, text)
        })
    };
    write().map_err(|error| Failure::failed(format!("cannot write into {}: {error}", dir.display())))
}
