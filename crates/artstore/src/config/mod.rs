//! Configuration: tables of keys from which the commented default, the checks and the values all follow.
//!
//! Precedence is flag (`--set key=value`), environment, file, default. An unknown key is a mistake, and all mistakes are
//! reported together, each by its key.

pub(crate) mod keys;
mod parse;

pub(crate) use parse::{Values, is_base_url, load};

use std::fmt::Write as _;

/// One key of a module's configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// Dotted path: `table.key`.
    pub(crate) path: &'static str,
    /// The environment variable that overrides the file, or `""`.
    pub(crate) env: &'static str,
    /// What a value must be.
    pub(crate) kind: Kind,
    /// The default as TOML text, or `""` when there is none.
    pub(crate) default: &'static str,
    /// Whether the module cannot start without it.
    pub(crate) required: bool,
    /// What it is, for people.
    pub(crate) help: &'static str,
}

/// What a value must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any text that is not empty.
    Text,
    /// A secret: text that is never printed.
    Secret,
    /// `true` or `false`.
    Bool,
    /// A whole number within bounds, both included.
    Integer(u64, u64),
    /// Seconds, whole or with a fraction, within bounds, both included.
    Seconds(u64, u64),
    /// A number from 0 to 1.
    Ratio,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of texts; a comma-separated text in the environment.
    List,
    /// `host:port` to listen on.
    Address,
    /// `http://` or `https://` with host and port.
    Url,
}

impl Key {
    pub(crate) const fn new(path: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Self {
        Self { path, env: "", kind, default, required: false, help }
    }

    pub(crate) const fn env(mut self, env: &'static str) -> Self {
        self.env = env;
        self
    }

    pub(crate) const fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

/// The commented default configuration of a module.
pub(crate) fn commented_default(module: &str, keys: &[Key]) -> String {
    let mut out = format!(
        "# Configuration of `artstore {module} --config FILE`.\n\
         # Precedence: --set KEY=VALUE, environment variable, this file, default.\n\
         # Check it with: artstore config {module} --check FILE\n"
    );
    let mut table = "";
    for key in keys {
        let (key_table, name) = key.path.split_once('.').unwrap_or(("", key.path));
        if key_table != table {
            table = key_table;
            // Writing to a String cannot fail.
            let _ = write!(out, "\n[{table}]\n");
        }
        let _ = writeln!(out, "# {}{}", key.help, describe(key));
        let _ = match (key.default, key.required) {
            ("", true) => writeln!(out, "# REQUIRED\n# {name} = {}", example(key.kind)),
            ("", false) => writeln!(out, "# {name} = {}", example(key.kind)),
            (default, _) => writeln!(out, "{name} = {default}"),
        };
    }
    out
}

fn describe(key: &Key) -> String {
    let bounds = match key.kind {
        Kind::Integer(low, high) => format!(" From {low} to {high}."),
        Kind::Seconds(low, high) => format!(" Seconds, from {low} to {high}."),
        Kind::Ratio => " From 0 to 1.".to_owned(),
        Kind::Choice(words) => format!(" One of: {}.", words.join(", ")),
        _ => String::new(),
    };
    let env = if key.env.is_empty() { String::new() } else { format!(" Environment: {}.", key.env) };
    format!("{bounds}{env}")
}

const fn example(kind: Kind) -> &'static str {
    match kind {
        Kind::Text | Kind::Secret | Kind::Choice(_) => "\"…\"",
        Kind::Bool => "false",
        Kind::Integer(..) | Kind::Seconds(..) | Kind::Ratio => "0",
        Kind::List => "[\"…\"]",
        Kind::Address => "\"127.0.0.1:0\"",
        Kind::Url => "\"https://127.0.0.1:8000\"",
    }
}
