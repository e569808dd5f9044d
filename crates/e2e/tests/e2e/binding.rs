//! Tokens bound to a client certificate (RFC 8705): good over that certificate, refused over another and over none, by the
//! Ingester, the elements and the Admin Module alike.

use artstore_e2e::curl::{Answer, Curl};
use artstore_e2e::process::artstore;
use artstore_e2e::token::Token;
use artstore_e2e::up::Up;
use serde_json::Value;
use std::path::PathBuf;

/// One of the two clients of the same authority: its certificate and key.
type Shown = Option<(PathBuf, PathBuf)>;

fn shown(up: &Up, name: &str) -> Shown {
    let folder = up.data().join("tls");
    Some((folder.join(format!("{name}.pem")), folder.join(format!("{name}.key"))))
}

/// The secret of a new account of this role, whose tokens are bound.
fn account(up: &Up, role: &str) -> String {
    let config = up.scratch().join("admin.toml");
    let text =
        format!("admin.data_dir = {:?}\nadmin.issuer = {:?}\n", up.data().join("admin"), up.var("ARTSTORE_ADMIN_URL"));
    std::fs::write(&config, text).unwrap();
    let mut command = artstore();
    command.args(["admin", "accounts", "create", "--json", "--bound-tokens", "--role", role, "--client-id", role]);
    let output = command.arg("--config").arg(config).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    made["client_secret"].as_str().unwrap().to_owned()
}

fn send(curl: Curl, shown: &Shown) -> Answer {
    match shown {
        Some((certificate, key)) => curl.client(certificate, key).run(),
        None => curl.run(),
    }
}

fn ask(up: &Up, role: &str, secret: &str, shown: &Shown) -> Answer {
    let credentials = format!("{role}:{secret}");
    send(up.admin("/oauth2/token").with(["--user", &credentials, "--data", "grant_type=client_credentials"]), shown)
}

#[test]
fn a_bound_token_is_refused_over_another_certificate() {
    let up = Up::start();
    let (own, other) = (shown(&up, "client"), shown(&up, "module"));
    let (client, ingester) = (account(&up, "client"), account(&up, "ingester"));
    let unbound = ask(&up, "client", &client, &None);
    assert_eq!((unbound.status, &unbound.json()["error"]), (400, &"invalid_request".into()), "{unbound}");
    let token = |role: &str, secret: &str| {
        let token = ask(&up, role, secret, &own).expect(200).json()["access_token"].as_str().unwrap().to_owned();
        assert!(Token::read(&token).claims["cnf"]["x5t#S256"].is_string());
        token
    };
    let (client, ingester) = (token("client", &client), token("ingester", &ingester));
    let element = format!("{}/api/v1/capacity", up.var("ARTSTORE_ELEMENT_RW_URL"));
    let asked = [
        ("the Ingester", client.as_str(), format!("{}/api/v1/files/0", up.var("ARTSTORE_INGESTER_URL")), 404),
        ("an element", &ingester, element, 200),
        ("the Admin Module", &ingester, format!("{}/api/v1/storage-elements", up.var("ARTSTORE_ADMIN_URL")), 200),
    ];
    for (who, token, url, good) in asked {
        let ask = |shown: &Shown| send(Curl::new(&url, up.ca()).bearer(token), shown);
        let answer = ask(&own);
        assert_eq!(answer.status, good, "{who}: {answer}");
        // An element does not talk to clients without a certificate at all.
        let wrong = if who == "an element" { vec![&other] } else { vec![&other, &None] };
        for shown in wrong {
            let answer = ask(shown);
            assert_eq!(answer.status, 401, "{who}, {shown:?}: {answer}");
            let challenge = answer.header("www-authenticate").unwrap();
            assert!(challenge.contains("error=\"invalid_token\""), "{who}: {challenge}");
            let detail = "the access token is not valid: the token is bound to another client certificate";
            assert_eq!(answer.json()["detail"], detail, "{who}");
        }
        assert_eq!(ask(&own).status, good, "{who}: it is still good over its own");
    }
}
