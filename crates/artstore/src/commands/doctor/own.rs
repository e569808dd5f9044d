//! The patient's own files: do they load and belong together, and what would a peer think of the certificate.

use super::patient::{Patient, TlsFiles};
use super::report::{Finding, Report};
use crate::exit::Exit;
use artstore_metrics::{Clock as _, SystemClock, UnixTime};
use artstore_tls::diagnosis::{OwnUse, described, examine_own};
use artstore_tls::{CrlFiles, Identity, SetupError, TlsErrorType, Trust};

/// What could be loaded.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) identity: Option<Identity>,
    pub(super) trust: Trust,
}

/// Examines all files; what is usable, if everything that connections need is.
pub(super) fn examine(patient: &Patient, report: &mut Report) -> Result<Option<Held>, Exit> {
    let Some(files) = &patient.tls else {
        report.told("files", patient.name, Finding::skipped("TLS is not configured"))?;
        return Ok(None);
    };
    let trust = trust(files, report)?;
    let identity = match &files.identity {
        None => {
            report.told("certificate", patient.name, Finding::skipped("no certificate of our own is configured"))?;
            Some(None)
        }
        Some(identity) => {
            let target = identity.cert.display().to_string();
            match identity.load() {
                Ok(identity) => {
                    certificate(files, &target, &identity, trust.as_ref(), report)?;
                    Some(Some(identity))
                }
                Err(error) => {
                    report.told("files", &target, unusable(&error))?;
                    None
                }
            }
        }
    };
    Ok(match (trust, identity) {
        (Some(trust), Some(identity)) => Some(Held { identity, trust }),
        (None, _) | (_, None) => None,
    })
}

fn unusable(error: &SetupError) -> Finding {
    Finding::failed(error.to_string(), "correct the file, or the key of the configuration that names it", "files")
}

/// The trust bundle with the revocation lists.
fn trust(files: &TlsFiles, report: &mut Report) -> Result<Option<Trust>, Exit> {
    let target = files.trust.0.display().to_string();
    let trust = match files.trust.load() {
        Ok(trust) => trust,
        Err(error) => {
            report.told("files", &target, unusable(&error))?;
            return Ok(None);
        }
    };
    let now = SystemClock::new().wall();
    let expired: Vec<&str> = trust
        .certificates()
        .iter()
        .filter(|authority| authority.not_after < now)
        .map(|authority| authority.subject.as_str())
        .collect();
    let count = trust.certificates().len();
    let note = if expired.is_empty() {
        String::new()
    } else {
        format!("; expired, so that OpenSSL peers refuse their certificates: {}", expired.join("; "))
    };
    report.told("files", &target, Finding::ok(format!("trusts {count} authorities{note}")))?;
    if files.lists.is_empty() {
        return Ok(Some(trust));
    }
    let names: Vec<String> = files.lists.iter().map(|list| list.display().to_string()).collect();
    match CrlFiles(files.lists.clone()).load() {
        Ok(lists) => {
            for list in lists.lists() {
                report.told("list", &list.file.display().to_string(), judged_list(list, now))?;
            }
            Ok(Some(trust.with_revocation(lists)))
        }
        Err(error) => {
            report.told("list", &names.join(", "), unusable(&error))?;
            Ok(None)
        }
    }
}

fn judged_list(list: &artstore_tls::CrlInfo, now: UnixTime) -> Finding {
    let what = format!("list of {} with {} revoked", list.issuer, list.revoked);
    match list.next_update {
        Some(until) if until < now => {
            let hours = now.since(until).as_secs() / 3600;
            let detail = format!("{what}: stale for {hours} hours, so its issuer's certificates are refused");
            Finding::failed(detail, "fetch the current list", "revocation_unknown").of_type("revocation_unknown")
        }
        Some(until) => Finding::ok(format!("{what}, good for {} more hours", until.since(now).as_secs() / 3600)),
        None => Finding::ok(format!("{what}, without an end")),
    }
}

/// Our certificate in each of its uses.
fn certificate(
    files: &TlsFiles,
    target: &str,
    identity: &Identity,
    trust: Option<&Trust>,
    report: &mut Report,
) -> Result<(), Exit> {
    let now = SystemClock::new().wall();
    for purpose in &files.uses {
        report.told("certificate", target, judged(identity, trust, *purpose, now))?;
    }
    Ok(())
}

fn judged(identity: &Identity, trust: Option<&Trust>, purpose: OwnUse, now: UnixTime) -> Finding {
    let leaf = identity.certificates().first();
    let shown = leaf.map_or_else(|| "an empty chain".to_owned(), described);
    let role = match purpose {
        OwnUse::Client => "client",
        OwnUse::Server => "server",
    };
    let Some(trust) = trust else {
        return Finding::skipped("there is no trust bundle to judge it by").about(leaf);
    };
    let verdict = match examine_own(identity, trust, purpose, now) {
        Ok(verdict) => verdict,
        Err(error) => return unusable(&error),
    };
    let days = leaf.map_or(0.0, |leaf| leaf.days_left(now));
    match verdict {
        None => {
            let soon = if days < 30.0 { "; renew it" } else { "" };
            Finding::ok(format!("good as a {role}, for {days:.1} more days{soon}: {shown}")).about(leaf)
        }
        Some(TlsErrorType::CertUntrusted) => {
            let detail =
                format!("our own bundle does not vouch for it; peers need another one, with its issuer: {shown}");
            Finding::ok(detail).about(leaf)
        }
        Some(kind) => {
            let (what, advice) = complaint(kind);
            let detail = format!("our certificate {what}; a peer refuses us as a {role}: {shown}");
            Finding::failed(detail, advice, kind.label()).of_type(kind.label()).about(leaf)
        }
    }
}

/// What is wrong with a certificate of ours, and what to do.
const fn complaint(kind: TlsErrorType) -> (&'static str, &'static str) {
    match kind {
        TlsErrorType::CertExpired => ("or one of its issuers has expired", "renew it; or set this machine's clock"),
        TlsErrorType::CertNotYetValid => {
            ("or one of its issuers is not valid yet", "set this machine's clock, or have it issued anew")
        }
        TlsErrorType::CertRevoked => ("is on a revocation list", "get a new one, and find out why it was revoked"),
        TlsErrorType::CertWrongPurpose => {
            ("may not be used so (extended key usage)", "get one with the usages serverAuth and clientAuth")
        }
        TlsErrorType::CertNameMismatch => (
            "has no name or address that a server could be called by",
            "get one with the names by which others call this server",
        ),
        TlsErrorType::RevocationUnknown => (
            "cannot be judged: no current revocation list covers it",
            "fetch the current revocation lists of all authorities",
        ),
        TlsErrorType::CertUntrusted
        | TlsErrorType::CertMissing
        | TlsErrorType::CertInvalid
        | TlsErrorType::ProtocolVersion
        | TlsErrorType::CipherMismatch
        | TlsErrorType::AlpnMismatch
        | TlsErrorType::NotTls
        | TlsErrorType::ProtocolError
        | TlsErrorType::PeerAlert
        | TlsErrorType::Timeout
        | TlsErrorType::Closed
        | TlsErrorType::Internal => ("is broken", "have it issued anew"),
    }
}
