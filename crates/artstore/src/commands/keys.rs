//! `artstore admin keys`: the folder of signing keys, for rotation without a refused token.

use crate::commands::config::{ModuleName, read};
use crate::commands::serve::{CommonArgs, ServeArgs, admin_settings};
use crate::failure::Failure;
use artstore_admin::{AdminSettings, KeyState, SigningKeyInfo, SigningKeys, generate_key_file};
use artstore_metrics::{Clock as _, SystemClock, UnixTime};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::io::Write as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `artstore admin keys …`
#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Show each key, what it does, and until when.
    List(CommonArgs),
    /// Make a new key. The running module publishes it at once, and signs with it when nobody keeps an older set any more.
    #[command(
        after_help = "A rotation without a refused token:\n  artstore admin keys generate --config admin.toml\n  \
        artstore admin keys list --config admin.toml      # until the old key may go\n  \
        artstore admin keys retire KID --config admin.toml"
    )]
    Generate(CommonArgs),
    /// Remove a key once the last token that it signed has expired.
    Retire {
        /// The key's identifier, as `list` shows it. One of 64 begins with a hyphen.
        #[arg(allow_hyphen_values = true)]
        kid: String,
        /// Remove it also while it signs, if there is another one, or while its tokens are about: they are refused from then on.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        serve: ServeArgs,
    },
}

/// Runs the command. The module itself may run at the same time.
///
/// # Errors
/// A folder that cannot be read or written, or a key that must stay.
pub(crate) fn run(args: &KeysArgs) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::failed(format!("keys: {error}"));
    let now = SystemClock::new().wall();
    match &args.command {
        KeysCommand::List(args) => {
            let keys = SigningKeys::read(&settings(&args.serve)?, now).map_err(|error| failed(&error))?;
            keys.keys.iter().try_for_each(|key| print(key, args.json))
        }
        KeysCommand::Generate(args) => {
            let settings = settings(&args.serve)?;
            let path =
                generate_key_file(&settings.keys_dir, settings.algorithm, now).map_err(|error| failed(&error))?;
            let keys = SigningKeys::read(&settings, now).map_err(|error| failed(&error))?;
            keys.keys.iter().filter(|key| key.path == path).try_for_each(|key| print(key, args.json))
        }
        KeysCommand::Retire { kid, force, serve } => {
            let keys = SigningKeys::read(&settings(serve)?, now).map_err(|error| failed(&error))?;
            keys.retire(kid, *force).map_err(|error| failed(&error))
        }
    }
}

fn settings(args: &ServeArgs) -> Result<AdminSettings, Failure> {
    admin_settings(&read(ModuleName::Admin, &args.config, &args.set)?)
}

fn print(key: &SigningKeyInfo, json: bool) -> Result<(), Failure> {
    let (state, until) = match key.state {
        KeyState::Waiting { signs_from } => ("waiting", Some(("signs_from", signs_from))),
        KeyState::Signing => ("signing", None),
        KeyState::Old { removable_from } => ("old", Some(("removable_from", removable_from))),
    };
    let line = if json {
        let mut object = json!({
            "kid": key.kid, "alg": key.algorithm.as_str(), "file": key.path, "state": state,
            "published_at": rfc3339(key.published_at),
        });
        if let Some((name, moment)) = until {
            object[name] = Value::String(rfc3339(moment));
        }
        object.to_string()
    } else {
        let until = until.map(|(name, moment)| format!("\t{name} {}", rfc3339(moment))).unwrap_or_default();
        format!("{}\t{}\t{state}{until}", key.kid, key.algorithm.as_str())
    };
    writeln!(std::io::stdout().lock(), "{line}").map_err(Failure::output)
}

fn rfc3339(moment: UnixTime) -> String {
    let seconds = i64::try_from(moment.as_secs()).unwrap_or(i64::MAX);
    let moment = OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|moment| moment.format(&Rfc3339).ok());
    moment.unwrap_or_default()
}
