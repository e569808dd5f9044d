//! The patient's own files: do they load and belong together, and what would a peer think of the certificate.

use super::patient::{Patient, TlsFiles};
use super::report::{Finding, Report};
use crate::exit::Exit;
use artstore_metrics::{Clock as _, SystemClock, UnixTime};
use artstore_tls::diagnosis::{OwnUse, described, examine_own};
use artstore_tls::{CertType, CrlFiles, Identity, SetupError, TlsErrorType, Trust, WARN_DAYS, problems};

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
    report.told("files", &target, Finding::ok(format!("authorities that are trusted: {count}{note}")))?;
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
            let soon = if days < WARN_DAYS { "; renew it" } else { "" };
            let weak = weaknesses(identity, purpose);
            Finding::ok(format!("good as a {role}, for {days:.1} more days{soon}{weak}: {shown}")).about(leaf)
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

/// What a stricter peer may find in our chain, as the certificate monitor reports it.
fn weaknesses(identity: &Identity, purpose: OwnUse) -> String {
    let cert_type = match purpose {
        OwnUse::Client => CertType::Client,
        OwnUse::Server => CertType::Server,
    };
    let chain = identity.certificates().iter().enumerate();
    let found = chain.flat_map(|(index, certificate)| problems(certificate, cert_type, index == 0));
    found.map(|problem| format!("; but {}: {}", problem.what(), problem.advice())).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use artstore_tls::dev::{DevCa, DevCrl, Leaf, Purpose};
    use artstore_tls::{IdentityFiles, Policy, TrustFile};
    use serde_json::Value;
    use std::path::PathBuf;
    use std::time::Duration;
    use tempfile::TempDir;

    const DAY: Duration = Duration::from_secs(86_400);

    struct Scene {
        dir: TempDir,
        ca: DevCa,
        now: UnixTime,
    }

    impl Scene {
        fn new() -> Self {
            let (dir, now) = (tempfile::tempdir().unwrap(), SystemClock::new().wall());
            let ca = DevCa::create(dir.path(), "Test CA", now.minus(DAY), now.plus(DAY * 400)).unwrap();
            Self { dir, ca, now }
        }

        fn leaf(&self, purpose: Purpose) -> Leaf {
            Leaf::server("module", self.now).purpose(purpose)
        }

        fn issue(&self, leaf: &Leaf) -> IdentityFiles {
            self.ca.issue("module", leaf).unwrap()
        }

        fn list(&self, crl: &DevCrl) -> Vec<PathBuf> {
            let path = self.dir.path().join("list.crl");
            self.ca.write_crl(&path, crl).unwrap();
            vec![path]
        }

        fn files(&self, identity: IdentityFiles, lists: Vec<PathBuf>) -> TlsFiles {
            TlsFiles {
                identity: Some(identity),
                uses: vec![OwnUse::Server, OwnUse::Client],
                trust: TrustFile(self.ca.ca_file().to_owned()),
                lists,
                policy: Policy::default(),
                handshake_timeout: DAY,
                danger_accept_any_server: false,
            }
        }
    }

    /// Step, result and class of each step, and whether connections can be tried.
    fn examined(files: TlsFiles) -> (Vec<String>, bool) {
        let mut report = Report::new("element", DAY, true);
        let patient = Patient::of_files(files);
        let held = examine(&patient, &mut report).unwrap();
        let text = |step: &Value, key: &str| step[key].as_str().unwrap_or("-").to_owned();
        let steps = report.steps_for_tests();
        let steps =
            steps.iter().map(|s| format!("{} {} {}", text(s, "step"), text(s, "result"), text(s, "error_type")));
        (steps.collect(), held.is_some())
    }

    fn steps<const N: usize>(steps: [&str; N]) -> Vec<String> {
        steps.map(str::to_owned).to_vec()
    }

    #[test]
    fn good_files_are_good_in_both_uses() {
        let scene = Scene::new();
        let identity = scene.issue(&scene.leaf(Purpose::Both));
        let lists = scene.list(&DevCrl::empty(scene.now));
        let wanted = ["files ok -", "list ok -", "certificate ok -", "certificate ok -"];
        assert_eq!(examined(scene.files(identity, lists)), (steps(wanted), true));
    }

    #[test]
    fn what_a_peer_would_refuse_is_told_before() {
        let scene = Scene::new();
        let both = || scene.leaf(Purpose::Both);
        let old = both().valid(scene.now.minus(DAY * 2), scene.now.minus(DAY));
        let early = both().valid(scene.now.plus(DAY), scene.now.plus(DAY * 2));
        for (leaf, as_server, as_client) in [
            (old, "failed cert_expired", "failed cert_expired"),
            (early, "failed cert_not_yet_valid", "failed cert_not_yet_valid"),
            (scene.leaf(Purpose::Server), "ok -", "failed cert_wrong_purpose"),
            (scene.leaf(Purpose::Client), "failed cert_wrong_purpose", "ok -"),
            (both().names(&[]), "failed cert_name_mismatch", "ok -"),
        ] {
            let wanted =
                steps(["files ok -", &format!("certificate {as_server}"), &format!("certificate {as_client}")]);
            assert_eq!(examined(scene.files(scene.issue(&leaf), Vec::new())), (wanted, true), "{leaf:?}");
        }
    }

    #[test]
    fn lists_are_judged_and_asked() {
        let scene = Scene::new();
        let identity = scene.issue(&scene.leaf(Purpose::Both));
        let revoked = identity.load().unwrap().certificates()[0].clone();
        let lists = scene.list(&DevCrl::empty(scene.now).revoking(&revoked));
        let bad = "certificate failed cert_revoked";
        let found = examined(scene.files(identity.clone(), lists));
        assert_eq!(found, (steps(["files ok -", "list ok -", bad, bad]), true));

        let stale = DevCrl::empty(scene.now).valid(scene.now.minus(DAY * 2), scene.now.minus(DAY));
        let unknown = "certificate failed revocation_unknown";
        let found = examined(scene.files(identity, scene.list(&stale)));
        assert_eq!(found, (steps(["files ok -", "list failed revocation_unknown", unknown, unknown]), true));
    }

    #[test]
    fn an_authority_of_others_is_no_failure() {
        let (scene, other) = (Scene::new(), Scene::new());
        let files = scene.files(other.issue(&other.leaf(Purpose::Both)), Vec::new());
        // Of another name: of two authorities with one name, the wrong one is a bad signature and not an unknown issuer.
        DevCa::create(scene.dir.path(), "Another CA", scene.now.minus(DAY), scene.now.plus(DAY * 400)).unwrap();
        assert_eq!(examined(files), (steps(["files ok -", "certificate ok -", "certificate ok -"]), true));
    }

    #[test]
    fn files_that_do_not_load_end_it() {
        let scene = Scene::new();
        let mut identity = scene.issue(&scene.leaf(Purpose::Both));
        identity.key = scene.dir.path().join("ca.key");
        assert_eq!(examined(scene.files(identity, Vec::new())), (steps(["files ok -", "files failed -"]), false));
        let identity = scene.issue(&scene.leaf(Purpose::Both));
        let files = scene.files(identity, vec![scene.dir.path().join("nowhere.crl")]);
        assert!(!examined(files).1);
    }
}
