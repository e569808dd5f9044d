//! The modules' own accounts without a secret: by key and by certificate, with endpoints that are discovered, and with tokens
//! that are bound to the modules' certificate: the elements check the Ingester's, the Admin Module that of an element.

use artstore_e2e::parts::{Part, Parts};
use artstore_e2e::process::artstore;
use artstore_e2e::up::stored;
use std::fmt::Write as _;

/// RFC 8037 appendix A: a private key as `openssl genpkey` writes it, and its public half.
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
const PUBLIC: &str = r#"{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

fn accounts(parts: &Parts, arguments: &[&str]) {
    let mut command = artstore();
    command.current_dir(parts.scratch()).args(["admin", "accounts"]).args(arguments).args(["--config", "admin.toml"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Starts a part again with these further lines in its file.
fn restart_with(parts: &mut Parts, part: Part, file: &str, lines: &str) {
    let path = parts.scratch().join(file);
    let mut text = std::fs::read_to_string(&path).unwrap();
    writeln!(text, "{lines}").unwrap();
    std::fs::write(path, text).unwrap();
    assert!(parts.process(part).terminate().success());
    parts.restart(part);
}

fn assert_no_failure(parts: &Parts, operations: &str) {
    let scrape = parts.scrape(operations);
    assert!(scrape.sum("auth_token_requests_total", &[("status", "success")]) >= 1.0, "{operations}");
    assert_eq!(scrape.sum("auth_errors_total", &[]), 0.0, "{operations}");
}

#[test]
fn modules_without_a_secret_authenticate_by_key_and_by_certificate() {
    let mut parts = Parts::start(&[]);
    std::fs::write(parts.scratch().join("key.pem"), PRIVATE).unwrap();
    std::fs::write(parts.scratch().join("key.json"), PUBLIC).unwrap();
    accounts(&parts, &["keys", "an-ingester", "--jwks", "key.json", "--bound-tokens"]);
    accounts(&parts, &["keys", "an-element", "--certificate-subject", "CN=module", "--bound-tokens"]);
    for account in ["an-ingester", "an-element"] {
        accounts(&parts, &["rotate", account, "--end-all"]);
    }
    let by_key = "auth.method = 'private_key_jwt'\nauth.key_file = 'key.pem'\nauth.discovery = true";
    restart_with(&mut parts, Part::Edit, "edit.toml", "auth.method = 'tls_client_auth'");
    restart_with(&mut parts, Part::Ingester, "ingester.toml", by_key);
    let payload = parts.payload("a", 1 << 20, 1);
    let token = parts.token();
    let record = stored(&parts.upload_raw(&token, &payload.path, &[("filename", "a")]), &payload);
    assert_eq!(parts.content_sha256(&token, &record.file_id.to_string()), payload.sha256);
    assert_no_failure(&parts, "ARTSTORE_OPS_URL");
    assert_no_failure(&parts, "ARTSTORE_ELEMENT_EDIT_OPS_URL");
}
