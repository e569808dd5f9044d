//! `artstore admin accounts`: accounts straight in the module's database, among them the first, which nobody can make over HTTP.

use crate::commands::config::{ModuleName, read};
use crate::commands::serve::{CommonArgs, admin_settings};
use crate::failure::Failure;
use artstore_admin::{Admin, OpenError};
use artstore_api::account::{Account, CertificateRule, ChangeAccount, NewSecret};
use artstore_api::scope;
use artstore_metrics::{Registry, SystemClock};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The longest file of keys that is read.
const MAX_KEYS_BYTES: usize = 64 * 1024;
/// How many accounts are read at once.
const PAGE: u32 = 500;

/// `artstore admin accounts …`
#[derive(Debug, Args)]
pub(crate) struct AccountsArgs {
    #[command(subcommand)]
    command: AccountsCommand,
}

#[derive(Debug, Subcommand)]
enum AccountsCommand {
    /// Create an account, or give an existing one a second secret, and print it: the only time that it is shown.
    #[command(
        after_help = "Examples:\n  artstore admin accounts create --config admin.toml --client-id ingester-1 --role ingester\n  \
        artstore admin accounts create --config admin.toml --client-id backup --role client --json\n  \
        artstore admin accounts create --config admin.toml --client-id element-7 --role element --element-id element-7 \
        --bound-tokens\n  \
        artstore admin accounts create --config admin.toml --client-id reports --scope index:read --audience artstore-admin"
    )]
    Create(CreateArgs),
    /// List all accounts.
    List(CommonArgs),
    /// Show one account.
    Show(OneArgs),
    /// Give an account a new secret and print it; the one that it had stays valid until the rotation is ended.
    #[command(
        after_help = "A rotation without an interruption:\n  artstore admin accounts rotate ID --config admin.toml\n  \
        … give the new secret to the client …\n  artstore admin accounts rotate ID --end --config admin.toml"
    )]
    Rotate(RotateArgs),
    /// Let an account have no more tokens; those that it has stay valid until they expire.
    Suspend(OneArgs),
    /// Let a suspended account have tokens again.
    Resume(OneArgs),
    /// Delete an account.
    Delete(OneArgs),
    /// Register, show or remove the ways in which an account authenticates without a secret.
    Keys(KeysArgs),
}

#[derive(Debug, Args)]
struct OneArgs {
    /// The client identifier.
    client_id: String,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Args)]
struct RotateArgs {
    #[command(flatten)]
    one: OneArgs,
    /// End the secret before the present one instead of making a new one.
    #[arg(long, conflicts_with = "end_all")]
    end: bool,
    /// End all secrets of an account that authenticates by key or certificate.
    #[arg(long)]
    end_all: bool,
}

#[derive(Debug, Args)]
struct KeysArgs {
    #[command(flatten)]
    one: OneArgs,
    #[command(flatten)]
    methods: Methods,
    /// Remove the public keys.
    #[arg(long, conflicts_with = "jwks")]
    remove_jwks: bool,
    /// Remove the certificate.
    #[arg(long, conflicts_with_all = ["certificate_subject", "certificate_san", "certificate_sha256"])]
    remove_certificate: bool,
}

/// Other ways to authenticate than a secret.
#[derive(Debug, Args)]
struct Methods {
    /// A JWK or a JWK Set: the public keys of the account's assertions (private_key_jwt).
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// The subject of the client certificate, as `artstore certs inspect` shows it (tls_client_auth).
    #[arg(long, value_name = "DN", group = "certificate")]
    certificate_subject: Option<String>,
    /// A DNS name, address, URI or mail address of the client certificate.
    #[arg(long, value_name = "NAME", group = "certificate")]
    certificate_san: Option<String>,
    /// The SHA-256 of the client certificate.
    #[arg(long, value_name = "HEX", group = "certificate")]
    certificate_sha256: Option<String>,
    /// Whether tokens are bound to the client certificate (RFC 8705).
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    bound_tokens: Option<bool>,
    /// The one Storage Element for which the account may report.
    #[arg(long, value_name = "ID")]
    element_id: Option<String>,
}

impl Methods {
    fn change(self) -> Result<ChangeAccount, Failure> {
        let subject = self.certificate_subject.map(CertificateRule::Subject);
        let san = self.certificate_san.map(CertificateRule::San);
        let rule = subject.or(san).or(self.certificate_sha256.map(CertificateRule::Sha256));
        Ok(ChangeAccount {
            jwks: self.jwks.as_deref().map(read_keys).transpose()?.map(Some),
            certificate: rule.map(Some),
            certificate_bound_tokens: self.bound_tokens,
            element_id: self.element_id.map(Some),
        })
    }
}

/// The keys of a file. What it holds is not repeated in errors: it may be a private key.
fn read_keys(path: &Path) -> Result<Value, Failure> {
    let wrong = |what: &dyn std::fmt::Display| Failure::usage(format!("{}: {what}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| wrong(&error))?;
    if bytes.len() > MAX_KEYS_BYTES {
        return Err(wrong(&"more than 64 KiB"));
    }
    serde_json::from_slice(&bytes).map_err(|_| wrong(&"no JSON"))
}

#[derive(Debug, Args)]
struct CreateArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// The client identifier.
    #[arg(long)]
    client_id: String,
    /// A name for people; the identifier if absent.
    #[arg(long)]
    name: Option<String>,
    /// What the account is for; decides its scopes and audiences.
    #[arg(long, value_enum, required_unless_present = "scope", conflicts_with_all = ["scope", "audience"])]
    role: Option<Role>,
    /// Instead of a role: what its tokens allow; several times for several.
    #[arg(long, requires = "audience")]
    scope: Vec<String>,
    /// Instead of a role: where its tokens are valid; several times for several.
    #[arg(long, requires = "scope")]
    audience: Vec<String>,
    #[command(flatten)]
    methods: Methods,
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
/// A database that cannot be opened, an account that is not there, or a field that is not what it may be.
pub(crate) async fn run(args: AccountsArgs) -> Result<(), Failure> {
    match args.command {
        AccountsCommand::Create(args) => create(args).await,
        AccountsCommand::List(args) => list(&args).await,
        AccountsCommand::Show(args) => {
            let account = open(&args.common).await?.account(&args.client_id).await;
            show(&account.map_err(|error| failed(&args.client_id, &error))?, args.common.json)
        }
        AccountsCommand::Rotate(args) => rotate(&args).await,
        AccountsCommand::Suspend(args) => set_active(&args, false).await,
        AccountsCommand::Resume(args) => set_active(&args, true).await,
        AccountsCommand::Delete(args) => {
            let deleted = open(&args.common).await?.delete_account(&args.client_id).await;
            deleted.map_err(|error| failed(&args.client_id, &error))
        }
        AccountsCommand::Keys(args) => keys(args).await,
    }
}

fn failed(client_id: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::failed(format!("account {client_id}: {error}"))
}

async fn open(args: &CommonArgs) -> Result<Admin, Failure> {
    let values = read(ModuleName::Admin, &args.serve.config, &args.serve.set)?;
    let opened = Admin::open(admin_settings(&values)?, &Registry::new(), SystemClock::new()).await;
    opened.map_err(|error: OpenError| Failure::failed(format!("accounts: {error}")))
}

async fn create(args: CreateArgs) -> Result<(), Failure> {
    let change = args.methods.change()?;
    Admin::<SystemClock>::check_change(&change).map_err(|error| failed(&args.client_id, &error))?;
    let admin = open(&args.common).await?;
    let name = args.name.as_deref().unwrap_or(&args.client_id);
    let (scopes, audiences) = match args.role {
        Some(role) => (role.scopes().to_vec(), role.audiences().to_vec()),
        None => (args.scope.iter().map(String::as_str).collect(), args.audience.iter().map(String::as_str).collect()),
    };
    let made = admin.bootstrap_account(name, &args.client_id, &scopes, &audiences, None).await;
    let secret = made.map_err(|error| failed(&args.client_id, &error))?;
    admin.change_account(&args.client_id, change).await.map_err(|error| failed(&args.client_id, &error))?;
    print_secret(&secret, args.common.json)
}

async fn list(args: &CommonArgs) -> Result<(), Failure> {
    let admin = open(args).await?;
    let mut after = String::new();
    loop {
        let page = admin.accounts(&after, PAGE).await.map_err(|error| Failure::failed(format!("accounts: {error}")))?;
        let Some(last) = page.last() else { return Ok(()) };
        after.clone_from(&last.client_id);
        for account in &page {
            let line = if args.json {
                json!(account).to_string()
            } else {
                let state = if account.active { "active" } else { "suspended" };
                format!("{}\t{state}\t{}\t{}", account.client_id, account.scopes.join(" "), account.name)
            };
            print(&line)?;
        }
    }
}

async fn rotate(args: &RotateArgs) -> Result<(), Failure> {
    let (admin, id) = (open(&args.one.common).await?, &args.one.client_id);
    let wrong = |error: artstore_admin::AccountError| failed(id, &error);
    if args.end {
        return admin.end_previous_secret(id).await.map_err(wrong);
    }
    if args.end_all {
        return admin.end_secrets(id).await.map_err(wrong);
    }
    print_secret(&admin.rotate_secret(id).await.map_err(wrong)?, args.one.common.json)
}

async fn set_active(args: &OneArgs, active: bool) -> Result<(), Failure> {
    let changed = open(&args.common).await?.set_active(&args.client_id, active).await;
    changed.map_err(|error| failed(&args.client_id, &error))
}

async fn keys(args: KeysArgs) -> Result<(), Failure> {
    let mut change = args.methods.change()?;
    if args.remove_jwks {
        change.jwks = Some(None);
    }
    if args.remove_certificate {
        change.certificate = Some(None);
    }
    let id = &args.one.client_id;
    let changed = open(&args.one.common).await?.change_account(id, change).await;
    show(&changed.map_err(|error| failed(id, &error))?, args.one.common.json)
}

fn show(account: &Account, json: bool) -> Result<(), Failure> {
    if json {
        return print(&json!(account).to_string());
    }
    let Value::Object(fields) = json!(account) else { return Ok(()) };
    for (name, value) in fields {
        let words = |list: &[Value]| list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ");
        let text = match &value {
            Value::String(text) => text.clone(),
            Value::Array(list) => words(list),
            other => other.to_string(),
        };
        print(&format!("{name}: {text}"))?;
    }
    Ok(())
}

fn print_secret(secret: &NewSecret, json: bool) -> Result<(), Failure> {
    print(&if json {
        json!({ "client_id": secret.client_id, "client_secret": secret.client_secret }).to_string()
    } else {
        format!("ARTSTORE_CLIENT_ID={}\nARTSTORE_CLIENT_SECRET={}", secret.client_id, secret.client_secret)
    })
}

fn print(line: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout().lock(), "{line}").map_err(Failure::output)
}
