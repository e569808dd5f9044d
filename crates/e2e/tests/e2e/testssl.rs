//! testssl.sh, as Debian has it, against real listeners: nothing that it finds is worse than LOW, save what is excused here.

use artstore_e2e::parts::{Part, Parts};
use artstore_e2e::process::{Running, workspace};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The longest that one examination may take; on an idle machine it is a minute.
const LIMIT: Duration = Duration::from_mins(9);

/// What may be found nevertheless, and why.
const EXCUSED: [(&str, &str); 3] = [
    (
        "cert_revocation",
        "a certificate of a private authority names no OCSP responder and no list: revocation is by the lists that the \
         operator hands to the modules",
    ),
    ("engine_problem", "about the openssl command that looks, not about the listener"),
    (
        "sessionresumption_ticket",
        "\"check failed\": its client, without input, may end before the ticket that TLS 1.3 sends after the handshake; resumption \
         is tested with s_client that waits, in artstore-tls",
    ),
];

/// Not looked at: simulations of browsers, which take long and find nothing but what they negotiate.
const CHECKS: [&str; 7] = ["-p", "-s", "-f", "-P", "-S", "-h", "-U"];

#[test]
fn testssl_finds_nothing_above_low() {
    let help = Command::new("testssl").arg("--version").output();
    assert!(help.is_ok(), "the command testssl is missing: scripts/install.sh installs Debian's package testssl.sh");
    let mut parts = Parts::start(&[(Part::Admin, "tls.protocol_version = \"TLSv1.2\"")]);
    // The Ingester has the default, TLS 1.3 alone; the Admin Module both. Side by side, since each mostly waits.
    let examined = [("tls13", "ARTSTORE_INGESTER_URL"), ("tls12", "ARTSTORE_ADMIN_URL")];
    let running = examined.map(|(name, url)| (name, examine(&parts, name, parts.var(url))));
    for (name, (mut examination, report)) in running {
        examination.wait(LIMIT);
        let findings = findings(&report, &examination.log());
        let bad: Vec<String> = findings.iter().filter(|finding| !is_fine(finding)).map(show).collect();
        assert!(bad.is_empty(), "{name}: {}:\n{}", report.display(), bad.join("\n"));
        // It has looked indeed, and saw the policy.
        let offers: BTreeMap<&str, bool> = ["TLS1", "TLS1_1", "TLS1_2", "TLS1_3"]
            .into_iter()
            .map(|id| (id, !value(&findings, id).contains("not offered")))
            .collect();
        let both = name == "tls12";
        assert_eq!(offers, BTreeMap::from([("TLS1", false), ("TLS1_1", false), ("TLS1_2", both), ("TLS1_3", true)]));
        for id in ["heartbleed", "CCS", "ticketbleed", "ROBOT", "secure_renego", "CRIME_TLS", "LUCKY13"] {
            assert!(!value(&findings, id).is_empty(), "{name}: {id} was not looked at");
        }
    }
    parts.process(Part::Ingester).assert_alive();
    parts.process(Part::Admin).assert_alive();
}

/// Starts an examination without name resolution and without calls to anybody else; its report is kept with those of CI.
fn examine(parts: &Parts, name: &str, url: &str) -> (Running, PathBuf) {
    let reports = workspace().join("target/ci");
    std::fs::create_dir_all(&reports).unwrap();
    let (report, log) = (reports.join(format!("testssl-{name}.json")), reports.join(format!("testssl-{name}.log")));
    // It would rather not overwrite.
    for file in [&report, &log] {
        if file.exists() {
            std::fs::remove_file(file).unwrap();
        }
    }
    let mut command = Command::new("testssl");
    command.args(["--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--ip", "127.0.0.1"]);
    command.args(["--connect-timeout", "20", "--openssl-timeout", "20", "--openssl", "/usr/bin/openssl"]);
    command.args(CHECKS).arg("--add-ca").arg(parts.ca()).arg("--jsonfile").arg(&report);
    command.arg(url.replace("127.0.0.1", "localhost")).current_dir(parts.scratch());
    (Running::start(&mut command, &log), report)
}

fn findings(report: &Path, log: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(report).unwrap_or_else(|error| panic!("no report: {error}; it said:\n{log}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}; it said:\n{log}", report.display()))
}

fn is_fine(finding: &&Value) -> bool {
    let excused = EXCUSED.iter().any(|(id, _)| finding["id"] == *id);
    excused || ["OK", "INFO", "LOW"].iter().any(|severity| finding["severity"] == *severity)
}

fn value<'a>(findings: &'a [Value], id: &str) -> &'a str {
    let found = findings.iter().find(|finding| finding["id"] == id);
    found.and_then(|finding| finding["finding"].as_str()).unwrap_or_default()
}

fn show(finding: &Value) -> String {
    format!("{} {}: {}", finding["severity"], finding["id"], finding["finding"])
}
