//! Our issuer against clients and validators that nobody here wrote: npm's openid-client and oauth4webapi, PyPI's Authlib,
//! requests-oauthlib and PyJWT. They discover, authenticate, get tokens, and validate them with the published keys.

use artstore_e2e::issuer::Issuer;
use artstore_e2e::process::workspace;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(name)
}

/// What a script prints: one JSON object a line.
fn lines(command: &mut Command) -> Vec<Value> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; run scripts/test --install"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn node() -> (Command, PathBuf) {
    let modules = workspace().join(".node/node_modules");
    for package in ["openid-client", "oauth4webapi"] {
        assert!(modules.join(package).is_dir(), "{package} is missing: run scripts/test --install");
    }
    (Command::new(modules.join(".bin/node")), modules)
}

fn python() -> Command {
    let python =
        std::env::var_os("ARTSTORE_PYTHON").map_or_else(|| workspace().join(".venv/bin/python"), PathBuf::from);
    assert!(python.is_file(), "{} is missing: run scripts/test --install", python.display());
    Command::new(python)
}

/// An issuer with three accounts: by secret, by the keys that node made, by certificate.
struct Party {
    issuer: Issuer,
    secret: String,
    certificate: PathBuf,
    key: PathBuf,
}

impl Party {
    fn new(algorithm: &str) -> Self {
        let issuer = Issuer::start(algorithm);
        assert_eq!(lines(node().0.arg(script("keys.mjs")).arg(issuer.scratch())), [Value::Null; 0]);
        let identity = issuer.authority.identity("third-party");
        let jwks = issuer.scratch().join("jwks.json");
        let secret = issuer.account("by-secret", &[]);
        let _ = issuer.account("by-key", &["--jwks", jwks.to_str().unwrap()]);
        let _ = issuer.account("by-certificate", &["--certificate-subject", "CN=third-party", "--bound-tokens"]);
        Self { issuer, secret, certificate: identity.certificate, key: identity.key }
    }
}

const METHODS: [&str; 5] = [
    "client_secret_basic",
    "client_secret_post",
    "private_key_jwt RS256",
    "private_key_jwt ES256",
    "private_key_jwt EdDSA",
];

fn account(method: &str) -> &'static str {
    match method {
        "tls_client_auth" => "by-certificate",
        secret if secret.starts_with("client_secret") => "by-secret",
        _ => "by-key",
    }
}

#[test]
fn npm_clients_get_tokens_and_their_validators_accept_them() {
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let party = Party::new(algorithm);
        let (mut command, modules) = node();
        command.env("NODE_EXTRA_CA_CERTS", &party.issuer.authority.certificate).arg(script("clients.mjs")).arg(modules);
        command.args([&party.issuer.url, "by-secret", &party.secret, "by-key"]);
        let said = lines(command.arg(party.issuer.scratch()).arg(algorithm));
        let mut expected = vec![json!({
            "who": "oauth4webapi", "how": "metadata", "bound": true,
            "methods": ["client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth"],
            "algorithms": ["RS256", "ES256", "EdDSA", "Ed25519"],
        })];
        for who in ["openid-client", "oauth4webapi"] {
            expected.extend(METHODS.map(|how| {
                json!({
                    "who": who, "how": how, "expires_in": 1_800, "alg": algorithm, "typ": "at+jwt", "sub": account(how),
                    "client_id": account(how), "scope": "files:read", "issued_here": true, "lifetime": 1_800,
                })
            }));
        }
        let refused = |who: &str, how: &str, error: &str| json!({ "who": who, "how": how, "refused": error });
        let with_status = |how: &str, error: &str, status: u16| json!({ "who": "openid-client", "how": how, "refused": error, "challenge": status == 401, "status": status });
        expected.extend([
            with_status("wrong secret, basic", "invalid_client", 401),
            with_status("wrong secret, post", "invalid_client", 401),
            with_status("key of another client", "invalid_client", 401),
            with_status("scope that it has not", "invalid_scope", 400),
            refused("oauth4webapi", "token for another audience", "OAUTH_JWT_CLAIM_COMPARISON_FAILED"),
            refused("oauth4webapi", "token that was changed", "OAUTH_INVALID_RESPONSE"),
        ]);
        assert_eq!(said, expected);
    }
}

#[test]
fn pypi_clients_get_tokens_and_their_validators_accept_them() {
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let party = Party::new(algorithm);
        let mut command = python();
        command.arg(script("clients.py")).arg(&party.issuer.url).arg(&party.issuer.authority.certificate);
        command.args(["by-secret", &party.secret, "by-key"]).arg(party.issuer.scratch()).arg(algorithm);
        let said = lines(command.arg("by-certificate").arg(&party.certificate).arg(&party.key));
        let good = |who: &str, how: &str| json!({ "who": who, "how": how, "sub": account(how), "scope": "files:read", "lifetime": 1_800 });
        let mut by_certificate = good("requests-oauthlib", "tls_client_auth");
        by_certificate["bound"] = json!(true);
        let mut expected = vec![
            json!({ "who": "Authlib", "how": "metadata", "issuer_is_right": true }),
            good("requests-oauthlib", "client_secret_basic"),
            good("requests-oauthlib", "client_secret_post"),
            by_certificate,
            json!({ "who": "requests-oauthlib", "how": "wrong secret", "refused": "invalid_client", "status": 401 }),
        ];
        expected.extend(METHODS.map(|how| good("Authlib", how)));
        for how in ["audience that is the token endpoint", "an hour's assertion"] {
            expected.push(json!({ "who": "Authlib", "how": how, "refused": "invalid_client" }));
        }
        assert_eq!(said, expected);
    }
}
