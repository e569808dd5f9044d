//! `artstore admin accounts` as a process: what it prints, once, and what it answers when it cannot.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// Runs a command of accounts in a folder: exit code, standard output, standard error.
fn accounts(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let config = folder.join("admin.toml");
    std::fs::write(&config, "[admin]\nissuer = 'https://127.0.0.1:8000'\ndata_dir = 'data'\nalgorithm = 'EdDSA'\n")
        .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_artstore"));
    command.current_dir(folder).args(["admin", "accounts"]).args(arguments).arg("--config").arg(config);
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn json_of(folder: &Path, arguments: &[&str]) -> Value {
    let (code, out, err) = accounts(folder, &[arguments, &["--json"]].concat());
    assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}");
    serde_json::from_str(&out).unwrap()
}

#[test]
fn an_account_is_made_shown_rotated_suspended_resumed_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let made = json_of(folder, &["create", "--client-id", "backup", "--role", "client", "--name", "Backups"]);
    assert_eq!((made["client_id"].as_str(), made["client_secret"].as_str().unwrap().len()), (Some("backup"), 43));
    let shown = json_of(folder, &["show", "backup"]);
    let expected = json!({
        "client_id": "backup", "name": "Backups", "scopes": ["files:read", "files:write"], "audiences": ["artstore-ingester"],
        "active": true, "created_at": shown["created_at"], "secrets": 1, "key_ids": [], "certificate_bound_tokens": false
    });
    assert_eq!(shown, expected);
    let rotated = json_of(folder, &["rotate", "backup"]);
    assert_ne!(rotated["client_secret"], made["client_secret"]);
    let secrets = || json_of(folder, &["show", "backup"])["secrets"].clone();
    assert_eq!(secrets(), 2);
    assert_eq!(accounts(folder, &["rotate", "backup", "--end"]), (0, String::new(), String::new()));
    assert_eq!(secrets(), 1);
    assert_eq!(accounts(folder, &["suspend", "backup"]).0, 0);
    assert_eq!(accounts(folder, &["list"]).1, "backup\tsuspended\tfiles:read files:write\tBackups\n");
    assert_eq!(accounts(folder, &["resume", "backup"]).0, 0);
    assert_eq!(json_of(folder, &["list"])["active"], true);
    assert_eq!(accounts(folder, &["rotate", "backup", "--end-all"]).0, 0);
    assert_eq!(secrets(), 0);
    assert_eq!(accounts(folder, &["delete", "backup"]).0, 0);
    assert_eq!(accounts(folder, &["list"]), (0, String::new(), String::new()));
}

#[test]
fn keys_certificate_binding_and_element_are_registered_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // RFC 8037 appendix A: the private key, and its public half.
    let public = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    let mut private = public.clone();
    private["d"] = json!("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
    std::fs::write(folder.join("public.json"), public.to_string()).unwrap();
    std::fs::write(folder.join("private.json"), private.to_string()).unwrap();
    let create = ["create", "--client-id", "e", "--role", "element", "--element-id", "e-1", "--bound-tokens", "--json"];
    assert_eq!(accounts(folder, &create).0, 0);
    let with = json_of(folder, &["keys", "e", "--jwks", "public.json", "--certificate-subject", "CN=e"]);
    assert_eq!(with["key_ids"], json!(["kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"]));
    assert_eq!((&with["certificate"], &with["element_id"]), (&json!({ "subject": "CN=e" }), &json!("e-1")));
    assert_eq!(with["certificate_bound_tokens"], true);
    let (code, out, err) = accounts(folder, &["keys", "e", "--jwks", "private.json"]);
    let expected = "error: account e: jwks: key 1: must be a public key: it has private members, and whoever saw it can use them\n";
    assert_eq!((code, out.as_str(), err.as_str()), (1, "", expected));
    let create = ["create", "--client-id", "new", "--role", "client", "--jwks", "private.json"];
    assert_eq!(accounts(folder, &create).2, expected.replace("account e", "account new"));
    assert_eq!(accounts(folder, &["show", "new"]).0, 1, "an account that cannot be as it was to be is not made");
    let without = json_of(folder, &["keys", "e", "--remove-jwks", "--remove-certificate", "--bound-tokens", "false"]);
    assert_eq!((&without["key_ids"], without.get("certificate")), (&json!([]), None));
    assert_eq!(without["certificate_bound_tokens"], false);
}

#[test]
fn scopes_and_audiences_may_be_given_instead_of_a_role() {
    let folder = tempfile::tempdir().unwrap();
    let create = |more: &[&str]| accounts(folder.path(), &[&["create", "--client-id", "a"], more].concat());
    let made = create(&["--scope", "index:read", "--scope", "elements:read", "--audience", "artstore-admin"]);
    assert_eq!((made.0, made.2.as_str()), (0, ""));
    let shown = json_of(folder.path(), &["show", "a"]);
    assert_eq!(
        (&shown["scopes"], &shown["audiences"]),
        (&json!(["index:read", "elements:read"]), &json!(["artstore-admin"]))
    );
    assert_eq!(
        (create(&[]).0, create(&["--scope", "index:read"]).0, create(&["--role", "client", "--scope", "x"]).0),
        (2, 2, 2)
    );
    let unknown = create(&["--scope", "index:write", "--audience", "artstore-admin"]);
    assert!(unknown.2.starts_with("error: account a: scopes are one or more, each once, of "), "{unknown:?}");
}

#[test]
fn what_cannot_be_done_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    for verb in ["show", "rotate", "suspend", "resume", "delete", "keys"] {
        let expected = (1, String::new(), "error: account nobody: there is no such account\n".to_owned());
        assert_eq!(accounts(folder.path(), &[verb, "nobody"]), expected, "{verb}");
    }
    let missing = accounts(folder.path(), &["keys", "x", "--jwks", "nothing.json"]);
    assert_eq!((missing.0, missing.2.as_str()), (2, "error: nothing.json: No such file or directory (os error 2)\n"));
}

#[test]
fn a_key_is_made_listed_and_retired_only_when_nobody_needs_it() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let config = folder.path().join("admin.toml");
        let text = "[admin]\nissuer = 'https://127.0.0.1:8000'\ndata_dir = 'data'\nalgorithm = 'EdDSA'\n";
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_artstore"));
        command.current_dir(folder.path()).args(["admin", "keys"]).args(arguments).arg("--config").arg(config);
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let object = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let first = object(&run(&["generate", "--json"]).1);
    assert_eq!((&first["alg"], &first["state"]), (&json!("EdDSA"), &json!("signing")));
    let second = object(&run(&["generate", "--json"]).1);
    assert_eq!((&second["state"], second["signs_from"].is_string()), (&json!("waiting"), true));
    let (first, second) = (first["kid"].as_str().unwrap(), second["kid"].as_str().unwrap());
    let listed = run(&["list"]).1;
    let words: Vec<Vec<&str>> = listed.lines().map(|line| line.split(['\t', ' ']).take(4).collect()).collect();
    assert_eq!(words, [vec![first, "EdDSA", "signing"], vec![second, "EdDSA", "waiting", "signs_from"]]);
    let refused = (1, String::new(), "error: keys: the key signs; another one must sign first\n".to_owned());
    assert_eq!(run(&["retire", first]), refused);
    assert_eq!(run(&["retire", second]), (0, String::new(), String::new()));
    assert_eq!(run(&["retire", first, "--force"]), refused, "there is no other");
    assert_eq!(run(&["retire", second]).2, format!("error: keys: there is no key {second}\n"));
    assert_eq!(run(&["list"]).1, format!("{first}\tEdDSA\tsigning\n"));
    for arguments in [&["retire", "-eTj", "--force"][..], &["retire", "--force", "-eTj"]] {
        assert_eq!(run(arguments), (1, String::new(), "error: keys: there is no key -eTj\n".to_owned()));
    }
}
