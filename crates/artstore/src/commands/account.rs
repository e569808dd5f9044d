//! `artstore admin account`: the first accounts, which nobody can make over HTTP, straight in the module's database.

use crate::commands::config::{ModuleName, read};
use crate::commands::serve::{ServeArgs, admin_settings};
use crate::failure::Failure;
use artstore_admin::Admin;
use artstore_api::scope;
use artstore_metrics::{Registry, SystemClock};
use clap::{Args, Subcommand, ValueEnum};
use std::io::Write as _;

/// `artstore admin account …`
#[derive(Debug, Args)]
pub(crate) struct AccountArgs {
    #[command(subcommand)]
    command: AccountCommand,
}

#[derive(Debug, Subcommand)]
enum AccountCommand {
    /// Create an account, or give an existing one a second secret, and print it: the only time that it is shown.
    #[command(
        after_help = "Examples:\n  artstore admin account create --config admin.toml --client-id ingester-1 --role ingester\n  \
        artstore admin account create --config admin.toml --client-id backup --role client --json"
    )]
    Create(CreateArgs),
}

#[derive(Debug, Args)]
struct CreateArgs {
    #[command(flatten)]
    serve: ServeArgs,
    /// The client identifier.
    #[arg(long)]
    client_id: String,
    /// A name for people; the identifier if absent.
    #[arg(long)]
    name: Option<String>,
    /// What the account is for; decides its scopes and audiences.
    #[arg(long, value_enum)]
    role: Role,
    /// One JSON object instead of shell variables.
    #[arg(long)]
    json: bool,
}

/// What an account is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Uploads, reads and deletes files.
    Client,
    /// Reads files only.
    Reader,
    /// An Ingester's own account.
    Ingester,
    /// A Storage Element's own account.
    Element,
    /// Manages accounts.
    Operator,
}

impl Role {
    const fn scopes(self) -> &'static [&'static str] {
        match self {
            Self::Client => &[scope::FILES_READ, scope::FILES_WRITE],
            Self::Reader => &[scope::FILES_READ],
            Self::Ingester => &crate::assemble::INGESTER_SCOPES,
            Self::Element => &crate::assemble::ELEMENT_SCOPES,
            Self::Operator => &[scope::ACCOUNTS_ADMIN],
        }
    }

    const fn audiences(self) -> &'static [&'static str] {
        match self {
            Self::Client | Self::Reader => &[scope::AUDIENCE_INGESTER],
            Self::Ingester => &crate::assemble::INGESTER_AUDIENCES,
            Self::Element => &crate::assemble::ELEMENT_AUDIENCES,
            Self::Operator => &[scope::AUDIENCE_ADMIN],
        }
    }
}

/// Runs the command. The module itself may run at the same time.
///
/// # Errors
/// A database that cannot be opened, or an identifier that is none.
pub(crate) async fn run(args: AccountArgs) -> Result<(), Failure> {
    let AccountCommand::Create(args) = args.command;
    let values = read(ModuleName::Admin, &args.serve.config, &args.serve.set)?;
    let failed = |error: &dyn std::fmt::Display| Failure::failed(format!("account {}: {error}", args.client_id));
    let admin =
        Admin::open(admin_settings(&values)?, &Registry::new(), SystemClock::new()).await.map_err(|e| failed(&e))?;
    let name = args.name.as_deref().unwrap_or(&args.client_id);
    let secret = admin
        .bootstrap_account(name, &args.client_id, args.role.scopes(), args.role.audiences(), None)
        .await
        .map_err(|error| failed(&error))?;
    let text = if args.json {
        serde_json::json!({"client_id": secret.client_id, "client_secret": secret.client_secret}).to_string()
    } else {
        format!("ARTSTORE_CLIENT_ID={}\nARTSTORE_CLIENT_SECRET={}", secret.client_id, secret.client_secret)
    };
    writeln!(std::io::stdout().lock(), "{text}").map_err(Failure::output)
}
