//! `docs/migration.md` names all that an operator of the original has: the 17 families and the variables.

#![expect(clippy::expect_used, reason = "a helper that fails is a test that fails")]

use std::path::Path;

const VARIABLES: [&str; 13] = [
    "SERVICE_ACCOUNT_CLIENT_ID",
    "SERVICE_ACCOUNT_CLIENT_SECRET",
    "SERVICE_ACCOUNT_ADMIN_MODULE_URL",
    "SERVICE_ACCOUNT_TIMEOUT",
    "TLS_ENABLED",
    "TLS_CERT_FILE",
    "TLS_KEY_FILE",
    "TLS_CA_CERT_FILE",
    "TLS_PROTOCOL_VERSION",
    "TLS_CIPHERS",
    "TLS_VERIFY_MODE",
    "LOG_LEVEL",
    "LOG_FORMAT",
];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read_to_string(path).expect("the file is in the repository")
}

#[test]
fn every_family_of_the_contract_has_a_row() {
    let contract: toml::Table = read("contract/metrics.toml").parse().expect("the contract is TOML");
    let families = contract["family"].as_array().expect("the contract lists families");
    let page = read("docs/migration.md");
    let missing: Vec<&str> = families
        .iter()
        .filter_map(|family| family["name"].as_str())
        .filter(|name| !page.contains(&format!("\n| `{name}` |")))
        .collect();
    assert_eq!((families.len(), missing), (17, vec![]));
}

#[test]
fn every_variable_of_the_original_has_a_row() {
    let page = read("docs/migration.md");
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    for variable in VARIABLES {
        assert!(rows.iter().any(|row| row.contains(&format!("`{variable}`"))), "{variable}");
    }
}
