//! The doctor through the binary, with each module's configuration and as a client: all is well, and then one thing is not.

use artstore_e2e::certificates::{Authority, Identity};
use artstore_e2e::parts::{Part, Parts};
use artstore_e2e::process::artstore;
use serde_json::Value;
use std::process::Output;

/// The doctor with the configuration of a module, and changes to it.
fn examine(parts: &Parts, module: &str, file: &str, set: &[String]) -> (i32, Value) {
    let mut command = artstore();
    command.current_dir(parts.scratch()).args(["doctor", "--json", "--config", file, module]);
    document(&command.args(set.iter().map(|change| format!("--set={change}"))).output().unwrap())
}

/// The doctor as a client.
fn examine_client(parts: &Parts, changes: &[(&str, &str)]) -> (i32, Value) {
    let mut command = artstore();
    command.args(["doctor", "--json"]).envs(&parts.house.env).envs(changes.iter().copied());
    document(&command.output().unwrap())
}

fn document(output: &Output) -> (i32, Value) {
    let document = serde_json::from_slice(&output.stdout);
    let document = document.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), document)
}

/// What is said of the steps with this name, first to last.
fn told<'a>(document: &'a Value, step: &str, what: &str) -> Vec<&'a str> {
    let steps = document["steps"].as_array().unwrap().iter().filter(|one| one["step"] == step);
    steps.map(|step| step[what].as_str().unwrap_or("")).collect()
}

fn path(path: &std::path::Path) -> &str {
    path.to_str().unwrap()
}

fn shows(identity: &Identity) -> [String; 2] {
    [format!("tls.cert_file={}", path(&identity.certificate)), format!("tls.key_file={}", path(&identity.key))]
}

#[test]
fn the_doctor_finds_all_well_and_then_names_the_culprit() {
    let mut parts = Parts::start(&[]);
    let stranger = Authority::new(&parts.scratch().join("stranger"), "a stranger");
    let foreign = stranger.identity("foreign");

    // All is well for each module and for a client; the Ingester's doctor reaches both elements with its token.
    let (code, found) = examine(&parts, "ingester", "ingester.toml", &[]);
    assert_eq!((code, &found["ok"]), (0, &Value::Bool(true)), "{found}");
    assert_eq!(told(&found, "element", "result"), ["ok", "ok"]);
    assert_eq!(told(&found, "token", "detail"), ["an-ingester got a token"]);
    for (module, file) in [("element", "edit.toml"), ("element", "rw.toml"), ("admin", "admin.toml")] {
        let (code, found) = examine(&parts, module, file, &[]);
        assert_eq!(code, 0, "{file}: {found}");
    }
    let (code, found) = examine_client(&parts, &[]);
    assert_eq!(code, 0, "{found}");
    assert_eq!(told(&found, "ingester", "result"), ["ok"]);
    assert_eq!(told(&found, "tls", "result"), ["ok"; 4]);

    // A certificate of a stranger: the server refuses it after our handshake, and nothing further is tried.
    let (code, found) = examine(&parts, "ingester", "ingester.toml", &shows(&foreign));
    assert_eq!(code, 1, "{found}");
    assert_eq!(told(&found, "tls", "culprit"), ["our_certificate"]);
    assert_eq!(told(&found, "tls", "found_by"), ["peer"]);
    assert_eq!(told(&found, "tls", "error_type"), ["cert_untrusted"]);
    assert_eq!(told(&found, "tls", "runbook"), ["docs/runbooks/tls.md#cert_untrusted"]);
    assert!(told(&found, "tls", "detail")[0].contains("CN=foreign (SHA-256 "), "{found}");
    assert_eq!(told(&found, "token", "result"), ["skipped"]);
    assert_eq!(told(&found, "elements", "result"), ["skipped"]);

    // A stranger is trusted in place of our authority: we refuse the server.
    let trusting = [format!("tls.ca_cert_file={}", path(&stranger.certificate))];
    let (code, found) = examine(&parts, "ingester", "ingester.toml", &trusting);
    assert_eq!(code, 1, "{found}");
    assert_eq!(told(&found, "tls", "culprit"), ["their_certificate"]);
    assert_eq!(told(&found, "tls", "found_by"), ["local"]);
    assert!(told(&found, "tls", "detail")[0].contains("CN=module (SHA-256 "), "{found}");

    // The key of another certificate.
    let mixed = [format!("tls.key_file={}", path(&foreign.key))];
    let (code, found) = examine(&parts, "ingester", "ingester.toml", &mixed);
    assert_eq!(code, 1, "{found}");
    assert_eq!(told(&found, "files", "result"), ["ok", "failed"]);
    assert_eq!(told(&found, "tls", "result"), ["skipped"]);

    // A wrong secret: TLS is well.
    let (code, found) = examine(&parts, "ingester", "ingester.toml", &["auth.client_secret=wrong".to_owned()]);
    assert_eq!(code, 1, "{found}");
    assert_eq!(told(&found, "tls", "result"), ["ok"]);
    assert_eq!(told(&found, "token", "error_type"), ["invalid_client"]);

    // As a client, at the port without TLS.
    let plain = parts.var("ARTSTORE_OPS_URL").replace("http:", "https:");
    let (code, found) = examine_client(&parts, &[("ARTSTORE_INGESTER_URL", &plain)]);
    assert_eq!(code, 1, "{found}");
    assert_eq!(told(&found, "tls", "culprit").last(), Some(&"plain_text"));
    assert_eq!(told(&found, "ingester", "result"), ["skipped"]);

    // An element is gone: only it is not reached.
    parts.process(Part::Rw).kill();
    let (code, found) = examine(&parts, "ingester", "ingester.toml", &[]);
    assert_eq!(code, 1, "{found}");
    assert_eq!(told(&found, "connect", "result"), ["ok", "ok", "failed"]);
    assert_eq!(told(&found, "element", "result"), ["ok", "skipped"]);
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    for arguments in [&["doctor", "ingester"][..], &["doctor", "--config", "/nowhere.toml", "ingester"], &["doctor"]] {
        let output = artstore().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout.is_empty());
    }
}
