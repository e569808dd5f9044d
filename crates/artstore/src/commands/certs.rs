//! `artstore certs`: what certificates say and how long they live; a development CA.

use crate::failure::Failure;
use artstore_metrics::{Clock as _, SystemClock};
use artstore_tls::{CertificateInfo, TrustFile};
use clap::{Args, Subcommand};
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

/// `artstore certs …`
#[derive(Debug, Args)]
pub(crate) struct CertsArgs {
    #[command(subcommand)]
    command: CertsCommand,
}

#[derive(Debug, Subcommand)]
enum CertsCommand {
    /// Show every certificate of PEM files: subject, days left, issuer, names, fingerprint.
    ///
    /// Exit code 1 when one is expired or has less than 7 days left, so that cron can use it.
    Inspect {
        /// PEM files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// One JSON array instead of a table.
        #[arg(long)]
        json: bool,
    },
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

/// Runs the command.
///
/// # Errors
/// A file that cannot be read, or, for `inspect`, a certificate that is critical.
pub(crate) fn run(args: CertsArgs) -> Result<(), Failure> {
    match args.command {
        CertsCommand::Inspect { files, json } => inspect(files, json),
        CertsCommand::MakeDev { dir, names } => make_dev(&dir, &names),
    }
}

/// How urgent a certificate is; the bounds are those of the alerts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Urgency {
    Expired,
    Critical,
    Soon,
    Good,
}

impl Urgency {
    fn of(days: f64) -> Self {
        match days {
            days if days < 0.0 => Self::Expired,
            days if days < 7.0 => Self::Critical,
            days if days < 30.0 => Self::Soon,
            _ => Self::Good,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Critical => "critical",
            Self::Soon => "soon",
            Self::Good => "good",
        }
    }

    const fn colour(self) -> &'static str {
        match self {
            Self::Expired | Self::Critical => "\x1b[31m",
            Self::Soon => "\x1b[33m",
            Self::Good => "\x1b[32m",
        }
    }
}

fn inspect(files: Vec<PathBuf>, json: bool) -> Result<(), Failure> {
    let now = SystemClock::new().wall();
    let mut found: Vec<(PathBuf, CertificateInfo)> = Vec::new();
    for file in files {
        let trust = TrustFile(file.clone()).load().map_err(|error| Failure::failed(error.to_string()))?;
        found.extend(trust.certificates().iter().map(|certificate| (file.clone(), certificate.clone())));
    }
    let urgency = |certificate: &CertificateInfo| Urgency::of(certificate.days_left(now));
    let mut out = std::io::stdout().lock();
    if json {
        let row = |(file, certificate): &(PathBuf, CertificateInfo)| {
            serde_json::json!({
                "file": file, "subject": certificate.subject, "issuer": certificate.issuer, "serial": certificate.serial,
                "names": certificate.names, "days_left": certificate.days_left(now),
                "not_before": certificate.not_before.as_secs(), "not_after": certificate.not_after.as_secs(),
                "sha256": certificate.fingerprint(), "urgency": urgency(certificate).as_str(),
            })
        };
        writeln!(out, "{}", found.iter().map(row).collect::<serde_json::Value>()).map_err(Failure::output)?;
    } else {
        let colours = out.is_terminal();
        for (file, certificate) in &found {
            let urgency = urgency(certificate);
            let (on, off) = if colours { (urgency.colour(), "\x1b[0m") } else { ("", "") };
            writeln!(
                out,
                "{on}{:8} {:>8.1} days{off}  {}\n         issuer {}\n         names  {}\n         sha256 {}\n         file   {}",
                urgency.as_str(),
                certificate.days_left(now),
                certificate.subject,
                certificate.issuer,
                certificate.names.join(", "),
                certificate.fingerprint(),
                file.display()
            )
            .map_err(Failure::output)?;
        }
    }
    let critical = found.iter().filter(|(_, c)| matches!(urgency(c), Urgency::Expired | Urgency::Critical)).count();
    if critical > 0 {
        return Err(Failure::failed(format!(
            "{critical} of {} certificates expired or have less than 7 days left",
            found.len()
        )));
    }
    Ok(())
}

fn make_dev(dir: &std::path::Path, names: &[String]) -> Result<(), Failure> {
    let files = crate::development::certificates(dir, names)?;
    let mut out = std::io::stdout().lock();
    for file in [&files.ca, &files.server.cert, &files.server.key, &files.client.cert, &files.client.key] {
        writeln!(out, "{}", file.display()).map_err(Failure::output)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urgency_turns_at_zero_seven_and_thirty_days() {
        let words = [-0.1, 0.0, 6.9, 7.0, 29.9, 30.0].map(|days| Urgency::of(days).as_str());
        assert_eq!(words, ["expired", "critical", "critical", "soon", "soon", "good"]);
    }
}
