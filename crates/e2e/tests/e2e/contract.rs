//! The contract: a live scrape in both formats, read by this crate, by Python's two parsers and by promtool.

use artstore_e2e::contract::{Contract, check_identities};
use artstore_e2e::curl::Curl;
use artstore_e2e::process::{artstore, workspace};
use artstore_e2e::scrape::Scrape;
use artstore_e2e::up::{Up, stored};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0";
const OPS: [&str; 4] =
    ["ARTSTORE_OPS_URL", "ARTSTORE_ADMIN_OPS_URL", "ARTSTORE_ELEMENT_EDIT_OPS_URL", "ARTSTORE_ELEMENT_RW_OPS_URL"];

#[test]
fn a_live_scrape_is_the_contract_in_both_formats_before_and_after_uploads() {
    let (up, contract) = (Up::start(), Contract::read());
    let check = || {
        for (accept, open_metrics) in [("text/plain", false), (OPEN_METRICS, true)] {
            let text = up.metrics_text("ARTSTORE_OPS_URL", accept);
            let scrape = Scrape::parse(&text);
            contract.check(&scrape, up.var("ARTSTORE_ADMIN_URL"), open_metrics);
            check_identities(&scrape);
            assert!(!text.contains("_created"), "no _created samples");
        }
    };
    check();
    let (token, small) = (up.token(), up.payload("small", 1_000, 1));
    for _ in 0..3 {
        let _ = stored(&up.upload_raw(&token, &small.path, &[("filename", "a")]), &small);
    }
    check();
}

#[test]
fn every_name_of_every_module_is_in_the_catalogue_and_both_formats_agree() {
    let up = Up::start();
    let printed = artstore().args(["metrics", "--format", "json"]).output().unwrap();
    let catalogue: serde_json::Value = serde_json::from_slice(&printed.stdout).unwrap();
    let family = |family: &serde_json::Value| family["name"].as_str().unwrap().to_owned();
    let known: BTreeSet<String> = catalogue.as_array().unwrap().iter().map(family).collect();
    for module in OPS {
        let plain = Scrape::parse(&up.metrics_text(module, "text/plain"));
        let open = Scrape::parse(&up.metrics_text(module, OPEN_METRICS));
        let unknown: Vec<&String> = plain.families.keys().filter(|name| !known.contains(*name)).collect();
        assert!(unknown.is_empty(), "{module}: {unknown:?}");
        for (name, family) in &plain.families {
            let same = open.family(name).unwrap_or_else(|| panic!("{module}: {name} is in one format only"));
            assert_eq!((&same.kind, &same.help), (&family.kind, &family.help), "{name}");
            let keys = |samples: &[artstore_e2e::scrape::Sample]| -> Vec<_> {
                samples
                    .iter()
                    .map(|sample| (sample.name.clone(), sample.order.clone(), sample.labels.clone()))
                    .collect()
            };
            assert_eq!(keys(&family.samples), keys(&same.samples), "{name}: the same le text and labels");
        }
        assert_eq!(plain.families.len(), open.families.len(), "{module}");
    }
}

#[test]
fn the_format_follows_accept_without_a_redirect() {
    let up = Up::start();
    let url = format!("{}/metrics", up.var("ARTSTORE_OPS_URL"));
    let text = "text/plain; version=0.0.4; charset=utf-8";
    let open = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                      text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    for (accept, expected) in
        [("text/plain", text), ("*/*", text), ("", text), (OPEN_METRICS, open), (prometheus, open), ("text/html", text)]
    {
        // An empty value makes curl send no Accept at all.
        let answer = Curl::plain(&url).with(["-H", &format!("Accept: {accept}")]).run().expect(200);
        assert_eq!(answer.header("content-type"), Some(expected), "{accept:?}");
    }
}

#[test]
fn python_reads_both_formats_and_promtool_finds_the_one_allowed_thing() {
    let up = Up::start();
    let (token, small) = (up.token(), up.payload("small", 1_000, 1));
    let _ = stored(&up.upload_raw(&token, &small.path, &[("filename", "a")]), &small);
    let python = std::env::var("ARTSTORE_PYTHON")
        .unwrap_or_else(|_| workspace().join(".venv/bin/python").to_string_lossy().into_owned());
    let script = workspace().join("crates/e2e/tests/parse_metrics.py");
    for module in OPS {
        for (format, accept) in [("text", "text/plain"), ("openmetrics", OPEN_METRICS)] {
            let text = up.metrics_text(module, accept);
            let (status, output) = pipe(Command::new(&python).arg(&script).arg(format), &text);
            assert_eq!(status, Some(0), "{module} {format}: {output}");
        }
        let (status, output) =
            pipe(Command::new("promtool").args(["check", "metrics"]), &up.metrics_text(module, "text/plain"));
        let findings: Vec<&str> = output.lines().filter(|line| !line.trim().is_empty()).collect();
        assert!(findings.iter().all(|line| line.starts_with("tls_certificate_expiry_days ")), "{module}: {findings:?}");
        assert_eq!((findings.len(), status), (1, Some(3)), "{module}: {findings:?}");
        assert!(findings[0].contains("base unit"), "{findings:?}");
    }
}

/// Runs a command with this text as its standard input: its exit code and all that it printed.
fn pipe(command: &mut Command, text: &str) -> (Option<i32>, String) {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}; scripts/test --install installs it"));
    let mut stdin = child.stdin.take().unwrap();
    let text = text.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    // A reader that ends early breaks the pipe; what it printed says why.
    let _ = writer.join().unwrap();
    let texts = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.code(), texts.concat())
}
