//! `artstore config`: the commented default of a module, and the check of a file.

use crate::config::{Key, commented_default, keys, load};
use crate::failure::Failure;
use clap::{Args, ValueEnum};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A module that has a configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModuleName {
    /// The Admin Module.
    Admin,
    /// A Storage Element.
    Element,
    /// The Ingester Module.
    Ingester,
}

impl ModuleName {
    /// The keys of its configuration.
    pub(crate) fn keys(self) -> Vec<Key> {
        match self {
            Self::Admin => keys::admin(),
            Self::Element => keys::element(),
            Self::Ingester => keys::ingester(),
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Element => "element",
            Self::Ingester => "ingester",
        }
    }
}

/// `artstore config MODULE`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  artstore config ingester > ingester.toml\n  artstore config ingester --check ingester.toml"
)]
pub(crate) struct ConfigArgs {
    /// The module.
    module: ModuleName,
    /// Check this file and report all its mistakes, instead of printing the default.
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// A file that cannot be read or has mistakes.
pub(crate) fn run(args: ConfigArgs) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let Some(file) = args.check else {
        let text = commented_default(args.module.as_str(), &args.module.keys());
        return out.write_all(text.as_bytes()).map_err(Failure::output);
    };
    let values = read(args.module, &file, &[])?;
    let problems = crate::commands::serve::problems(args.module, &values);
    if !problems.is_empty() {
        return Err(mistaken(&file, &problems));
    }
    writeln!(out, "{}: no mistakes", file.display()).map_err(Failure::output)
}

/// Reads a module's configuration: file, environment and `--set` flags.
///
/// # Errors
/// All mistakes, a line each.
pub(crate) fn read(module: ModuleName, file: &Path, flags: &[String]) -> Result<crate::config::Values, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))?;
    let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    load(&module.keys(), &text, &environment, flags).map_err(|mistakes| {
        let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        mistaken(file, &lines)
    })
}

fn mistaken(file: &Path, lines: &[String]) -> Failure {
    let count = if lines.len() == 1 { "1 mistake".to_owned() } else { format!("{} mistakes", lines.len()) };
    Failure::usage(format!("{} has {count}\n  {}", file.display(), lines.join("\n  ")))
}
