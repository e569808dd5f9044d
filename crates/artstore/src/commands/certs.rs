//! `artstore certs`: what certificates and revocation lists say and what is wrong with them; a development CA.

mod table;

use crate::failure::Failure;
use artstore_metrics::{Clock as _, SystemClock, UnixTime};
use artstore_tls::{
    CRITICAL_DAYS, CertType, CertificateInfo, CrlInfo, InspectedCertificates, Inspection, Urgency, WARN_DAYS, inspect,
};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

/// `artstore certs …`
#[derive(Debug, Args)]
pub(crate) struct CertsArgs {
    #[command(subcommand)]
    command: CertsCommand,
}

#[derive(Debug, Subcommand)]
enum CertsCommand {
    /// Show every certificate and revocation list of files: days left, subject, issuer, key, names, and what is wrong.
    ///
    /// Exit codes, for cron: 0 all is well; 1 something is critical (expired, not valid yet, less than --critical-days left,
    /// a key that does not match, a wrong purpose, a weak key or signature, a list past its nextUpdate) or a file cannot be
    /// used; 2 wrong usage.
    #[command(
        after_help = "Examples:\n  artstore certs inspect tls.crt --key tls.key\n  artstore certs inspect --as ca ca.pem ca.crl\n  artstore certs inspect --json *.pem"
    )]
    Inspect(InspectArgs),
    /// Make a development CA with a server and a client certificate (90 days) in a folder; what is there already is kept
    /// while it is good for 30 days more.
    MakeDev {
        /// The folder.
        dir: PathBuf,
        /// Further DNS names or addresses of the server certificate; localhost and the loopback addresses always are.
        #[arg(long = "name")]
        names: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct InspectArgs {
    /// PEM files of certificates; PEM or DER files of revocation lists.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The private key that should belong to the first certificate of the first file.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// What the certificates are for; guessed for each file if absent.
    #[arg(long = "as", value_enum, value_name = "ROLE")]
    role: Option<Role>,
    /// Less than so many days left is a warning.
    #[arg(long, value_name = "DAYS", default_value_t = WARN_DAYS)]
    warn_days: f64,
    /// Less than so many days left is critical.
    #[arg(long, value_name = "DAYS", default_value_t = CRITICAL_DAYS)]
    critical_days: f64,
    /// One JSON document instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    Server,
    Client,
    Ca,
}

impl From<Role> for CertType {
    fn from(role: Role) -> Self {
        match role {
            Role::Server => Self::Server,
            Role::Client => Self::Client,
            Role::Ca => Self::Ca,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// A file that cannot be read, or, for `inspect`, something critical.
pub(crate) fn run(args: CertsArgs) -> Result<(), Failure> {
    match args.command {
        CertsCommand::Inspect(args) => show(&args),
        CertsCommand::MakeDev { dir, names } => make_dev(&dir, &names),
    }
}

/// How a certificate or list stands, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Expired,
    NotYetValid,
    Unusable,
    Critical,
    Soon,
    Good,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not yet valid",
            Self::Unusable => "unusable",
            Self::Critical => "critical",
            Self::Soon => "soon",
            Self::Good => "good",
        }
    }

    /// Whether cron should wake somebody.
    const fn is_critical(self) -> bool {
        match self {
            Self::Expired | Self::NotYetValid | Self::Unusable | Self::Critical => true,
            Self::Soon | Self::Good => false,
        }
    }
}

/// The bounds of a run.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    now: UnixTime,
    critical: f64,
    warn: f64,
}

impl Bounds {
    fn certificate(self, certificate: &CertificateInfo, has_problems: bool) -> State {
        match Urgency::within(certificate, self.now, self.critical, self.warn) {
            Urgency::Expired => State::Expired,
            Urgency::NotYetValid => State::NotYetValid,
            Urgency::Critical | Urgency::ActionRequired | Urgency::Fine if has_problems => State::Unusable,
            Urgency::Critical => State::Critical,
            Urgency::ActionRequired => State::Soon,
            Urgency::Fine => State::Good,
        }
    }

    /// Lists are renewed within days: only their end counts.
    fn list(self, list: &CrlInfo) -> State {
        if list.this_update > self.now {
            State::NotYetValid
        } else if list.next_update.is_some_and(|next| next < self.now) {
            State::Expired
        } else {
            State::Good
        }
    }
}

fn show(args: &InspectArgs) -> Result<(), Failure> {
    if !(args.critical_days >= 0.0 && args.critical_days <= args.warn_days) {
        return Err(Failure::usage("--critical-days must lie between 0 and --warn-days"));
    }
    let bounds = Bounds { now: SystemClock::new().wall(), critical: args.critical_days, warn: args.warn_days };
    let mut found: Vec<(&Path, Inspection)> = Vec::new();
    for (place, file) in args.files.iter().enumerate() {
        let key = args.key.as_deref().filter(|_| place == 0);
        let inspection = inspect(file, args.role.map(CertType::from), key);
        found.push((file.as_path(), inspection.map_err(|error| Failure::failed(error.to_string()))?));
    }
    if args.key.is_some() && found.iter().take(1).any(|(_, is)| matches!(is, Inspection::Lists(_))) {
        return Err(Failure::usage("--key belongs to a certificate, and the first file has none"));
    }
    let mut out = std::io::stdout().lock();
    let text = if args.json {
        let files: Value = found.iter().map(|(file, inspection)| document(file, inspection, bounds)).collect();
        format!("{files}\n")
    } else {
        // https://no-color.org: set to anything but nothing.
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        table::render(&found, bounds, out.is_terminal() && !plain)
    };
    out.write_all(text.as_bytes()).map_err(Failure::output)?;
    let states: Vec<State> = found.iter().flat_map(|(_, inspection)| states(inspection, bounds)).collect();
    let critical = states.iter().filter(|state| state.is_critical()).count();
    if critical > 0 {
        return Err(Failure::failed(format!(
            "{critical} of {} certificates and revocation lists are critical",
            states.len()
        )));
    }
    Ok(())
}

fn states(inspection: &Inspection, bounds: Bounds) -> Vec<State> {
    match inspection {
        Inspection::Certificates(found) => {
            found.certificates.iter().map(|(info, problems)| bounds.certificate(info, !problems.is_empty())).collect()
        }
        Inspection::Lists(lists) => lists.iter().map(|list| bounds.list(list)).collect(),
    }
}

/// What was found in a file, for programs.
fn document(file: &Path, inspection: &Inspection, bounds: Bounds) -> Value {
    match inspection {
        Inspection::Certificates(found) => json!({
            "file": file, "kind": "certificates", "role": found.cert_type.label(), "in_order": found.in_order,
            "key_matches": found.key_matches,
            "certificates": found.certificates.iter().map(|(info, problems)| json!({
                "state": bounds.certificate(info, !problems.is_empty()).as_str(),
                "subject": info.subject, "issuer": info.issuer, "serial": info.serial, "names": info.names,
                "days_left": info.days_left(bounds.now), "not_before": info.not_before.as_secs(),
                "not_after": info.not_after.as_secs(), "sha256": info.fingerprint(), "key": info.profile.key,
                "signature": info.profile.signature, "authority": info.profile.authority,
                "problems": problems.iter().map(|problem| json!({
                    "code": problem.code(), "what": problem.what(), "advice": problem.advice(),
                })).collect::<Value>(),
            })).collect::<Value>(),
        }),
        Inspection::Lists(lists) => json!({
            "file": file, "kind": "revocation_lists",
            "lists": lists.iter().map(|list| json!({
                "state": bounds.list(list).as_str(), "issuer": list.issuer, "number": list.number,
                "this_update": list.this_update.as_secs(), "next_update": list.next_update.map(UnixTime::as_secs),
                "age_seconds": bounds.now.since(list.this_update).as_secs(), "revoked": list.revoked,
                "sha256": list.fingerprint(),
            })).collect::<Value>(),
        }),
    }
}

/// What there is to say of a file's certificates together.
fn summary(found: &InspectedCertificates) -> String {
    let mut text = match (found.certificates.len(), found.cert_type) {
        (1, role) => format!("{role}, 1 certificate"),
        (count, role) => format!("{role}, {count} certificates"),
    };
    if found.certificates.len() > 1 && found.cert_type != CertType::Ca {
        text.push_str(if found.in_order {
            ", in order"
        } else {
            ", NOT in order: each should be followed by its issuer's"
        });
    }
    match found.key_matches {
        Some(true) => text.push_str(", the key matches"),
        Some(false) => text.push_str(", the key DOES NOT MATCH"),
        None => {}
    }
    text
}

fn make_dev(dir: &Path, names: &[String]) -> Result<(), Failure> {
    let files = crate::development::certificates(dir, names)?;
    let mut out = std::io::stdout().lock();
    for file in [&files.ca, &files.server.cert, &files.server.key, &files.client.cert, &files.client.key] {
        writeln!(out, "{}", file.display()).map_err(Failure::output)?;
    }
    Ok(())
}
