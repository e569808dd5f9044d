//! From the keys of `[auth]` to how the module shows the Admin Module who it is, and where it asks.

use crate::assemble::AuthPlan;
use crate::config::Values;
use crate::failure::Failure;
use artstore_auth::{AssertionAudience, Backoff, ClientAuthentication, PrivateKeyJwt, SecretSource};

/// The words of `auth.method`.
pub(crate) const METHODS: &[&str] =
    &["client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth", "original_json"];
/// The words of `auth.assertion_audience`.
pub(crate) const AUDIENCES: &[&str] = &["issuer", "token_endpoint"];

/// The module's own account.
///
/// # Errors
/// A key that the method needs and that is not there.
pub(crate) fn plan(values: &Values) -> Result<AuthPlan, Failure> {
    let trimmed = |url: &str| url.trim_end_matches('/').to_owned();
    let admin_urls: Vec<String> = values.list("auth.admin_urls").iter().map(|url| trimmed(url)).collect();
    let first = admin_urls.first().cloned().unwrap_or_default();
    let issuer = values.text("auth.issuer").map_or(first, trimmed);
    Ok(AuthPlan {
        authentication: method(values, &issuer)?,
        issuer,
        admin_urls,
        client_id: values.text_or_empty("auth.client_id"),
        discovery: values.flag("auth.discovery"),
        timeout: values.seconds("auth.timeout"),
        backoff: Backoff::default(),
    })
}

/// What is wrong with keys that are each well-formed, by key: all of it.
pub(crate) fn problems(values: &Values) -> Vec<String> {
    let mut problems = Vec::new();
    match plan(values) {
        Err(failure) => problems.push(failure.to_string()),
        Ok(plan) => problems.extend(unreadable(values, &plan.authentication)),
    }
    let method = values.text("auth.method").unwrap_or_default();
    if method != "private_key_jwt" {
        let unused = ["auth.key_file", "auth.key_id"].into_iter().filter(|key| values.text(key).is_some());
        problems.extend(unused.map(|key| format!("{key}: is used with auth.method = \"private_key_jwt\" only")));
    }
    if method == "tls_client_auth" && !values.flag("tls.enabled") {
        problems.push("auth.method: tls_client_auth needs tls.enabled".to_owned());
    }
    if method == "original_json" && values.flag("auth.discovery") {
        problems.push("auth.discovery: finds no endpoint for auth.method = \"original_json\"".to_owned());
    }
    problems
}

fn unreadable(values: &Values, authentication: &ClientAuthentication) -> Option<String> {
    let error = authentication.check().err()?;
    let key = match (authentication, values.text("auth.client_secret_file")) {
        (ClientAuthentication::PrivateKeyJwt(_), _) => "auth.key_file",
        (_, Some(_)) => "auth.client_secret_file",
        (_, None) => "auth.client_secret",
    };
    Some(format!("{key}: {error}"))
}

fn method(values: &Values, issuer: &str) -> Result<ClientAuthentication, Failure> {
    Ok(match values.text("auth.method").unwrap_or_default() {
        "client_secret_post" => ClientAuthentication::SecretPost(secret(values)?),
        "private_key_jwt" => ClientAuthentication::PrivateKeyJwt(key(values, issuer)?),
        "tls_client_auth" => ClientAuthentication::TlsClientAuth,
        "original_json" => ClientAuthentication::OriginalJson(secret(values)?),
        _ => ClientAuthentication::SecretBasic(secret(values)?),
    })
}

fn secret(values: &Values) -> Result<SecretSource, Failure> {
    match (values.text("auth.client_secret"), values.text("auth.client_secret_file")) {
        (_, Some(file)) => Ok(SecretSource::File(file.into())),
        (Some(secret), None) => Ok(SecretSource::inline(secret)),
        (None, None) => Err(Failure::usage(
            "auth.client_secret: is required (or SERVICE_ACCOUNT_CLIENT_SECRET, or auth.client_secret_file)",
        )),
    }
}

fn key(values: &Values, issuer: &str) -> Result<PrivateKeyJwt, Failure> {
    let file = values.text("auth.key_file");
    let file =
        file.ok_or_else(|| Failure::usage("auth.key_file: is required with auth.method = \"private_key_jwt\""))?;
    let mut key = PrivateKeyJwt::new(SecretSource::File(file.into()), issuer);
    key.key_id = values.text("auth.key_id").map(str::to_owned);
    if values.text("auth.assertion_audience") == Some("token_endpoint") {
        key.audience = AssertionAudience::TokenEndpoint;
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{keys, load};

    const PEM: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";

    fn values(auth: &str) -> Values {
        let file = format!("[auth]\nadmin_urls = ['https://a:1/', 'https://b:2']\nclient_id = 'me'\n{auth}");
        load(&keys::ingester(), &file, &|_| None, &[]).map_err(|mistakes| format!("{mistakes:?}")).unwrap()
    }

    #[test]
    fn a_secret_is_sent_by_basic_unless_told_otherwise() {
        let plan = |auth: &str| plan(&values(auth)).unwrap();
        let default = plan("client_secret = 'canary'");
        assert_eq!(format!("{:?}", default.authentication), "SecretBasic(Inline([redacted]))");
        assert_eq!((default.issuer.as_str(), default.discovery), ("https://a:1", false));
        let post = plan("method = 'client_secret_post'\nclient_secret_file = '/s'\nclient_secret = 'canary'");
        assert_eq!(format!("{:?}", post.authentication), "SecretPost(File(\"/s\"))");
        let original = plan("method = 'original_json'\nclient_secret = 'canary'");
        assert_eq!(format!("{:?}", original.authentication), "OriginalJson(Inline([redacted]))");
        let tls = plan("method = 'tls_client_auth'\ndiscovery = true");
        assert!(matches!(tls.authentication, ClientAuthentication::TlsClientAuth) && tls.discovery);
    }

    #[test]
    fn a_key_signs_for_the_issuer_unless_told_otherwise() {
        let key = |auth: &str| match plan(&values(auth)).unwrap().authentication {
            ClientAuthentication::PrivateKeyJwt(key) => key,
            other => panic!("{other:?}"),
        };
        let default = key("method = 'private_key_jwt'\nkey_file = '/k'\nissuer = 'https://i:3'");
        assert_eq!(default.audience, AssertionAudience::Issuer("https://i:3".to_owned()));
        assert_eq!((format!("{:?}", default.key).as_str(), default.key_id), ("File(\"/k\")", None));
        let told =
            key("method = 'private_key_jwt'\nkey_file = '/k'\nkey_id = '7'\nassertion_audience = 'token_endpoint'");
        assert_eq!((told.audience, told.key_id.as_deref()), (AssertionAudience::TokenEndpoint, Some("7")));
    }

    #[test]
    fn all_that_cannot_work_is_told_by_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.pem");
        let path = file.display();
        let cases = [
            (
                "",
                vec!["auth.client_secret: is required (or SERVICE_ACCOUNT_CLIENT_SECRET, or auth.client_secret_file)"],
            ),
            ("client_secret = 's'", vec![]),
            (
                "client_secret_file = '/no'",
                vec!["auth.client_secret_file: the secret file cannot be read: entity not found"],
            ),
            ("method = 'private_key_jwt'", vec!["auth.key_file: is required with auth.method = \"private_key_jwt\""]),
            (
                "method = 'private_key_jwt'\nkey_file = '/no'",
                vec!["auth.key_file: the key file cannot be read: entity not found"],
            ),
            (
                "client_secret = 's'\nkey_file = '/k'\nkey_id = '7'",
                vec![
                    "auth.key_file: is used with auth.method = \"private_key_jwt\" only",
                    "auth.key_id: is used with auth.method = \"private_key_jwt\" only",
                ],
            ),
            (
                "method = 'original_json'\ndiscovery = true",
                vec![
                    "auth.client_secret: is required (or SERVICE_ACCOUNT_CLIENT_SECRET, or auth.client_secret_file)",
                    "auth.discovery: finds no endpoint for auth.method = \"original_json\"",
                ],
            ),
            (
                "method = 'tls_client_auth'\n[tls]\nenabled = false",
                vec!["auth.method: tls_client_auth needs tls.enabled"],
            ),
        ];
        for (auth, expected) in cases {
            assert_eq!(problems(&values(auth)), expected, "{auth}");
        }
        let by_key = values(&format!("method = 'private_key_jwt'\nkey_file = '{path}'"));
        std::fs::write(&file, PEM).unwrap();
        assert_eq!(problems(&by_key), Vec::<String>::new());
        std::fs::write(&file, "canary").unwrap();
        let wrong =
            "auth.key_file: the key file holds no PKCS#8 private key (BEGIN PRIVATE KEY) for RS256, ES256 or EdDSA";
        assert_eq!(problems(&by_key), [wrong]);
    }
}
