//! The options that all client commands share: where the servers are, whom to trust, who asks.

use super::output::complain;
use crate::exit::Exit;
use artstore_client::{BaseUrl, ConnectError, ConnectSettings, Connection, Limits, SecretSource, Session};
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use secrecy::{ExposeSecret as _, SecretString};
use std::convert::Infallible;
use std::path::PathBuf;

/// Where the modules are and who asks. `artstore up` writes all of it to `artstore-data/artstore.env`.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection (flags win over the environment)")]
pub(crate) struct ConnectionArgs {
    /// The Ingester
    #[arg(long, env = "ARTSTORE_INGESTER_URL", value_name = "URL", default_value = "https://127.0.0.1:8020")]
    pub(crate) ingester_url: String,

    /// The Admin Module, which issues tokens; several, separated by commas, are tried in turn
    #[arg(
        long,
        env = "ARTSTORE_ADMIN_URL",
        value_name = "URL",
        value_delimiter = ',',
        default_value = "https://127.0.0.1:8000"
    )]
    pub(crate) admin_url: Vec<String>,

    /// Certificates of the authorities that vouch for the servers, in PEM form
    #[arg(long, env = "ARTSTORE_CA_CERT", value_name = "FILE", value_parser = path())]
    pub(crate) ca_cert: Option<PathBuf>,

    /// A certificate to show to the servers; they do not require one
    #[arg(long, env = "ARTSTORE_CLIENT_CERT", value_name = "FILE", value_parser = path())]
    pub(crate) client_cert: Option<PathBuf>,

    /// The private key of that certificate
    #[arg(long, env = "ARTSTORE_CLIENT_KEY", value_name = "FILE", value_parser = path())]
    pub(crate) client_key: Option<PathBuf>,

    /// The service account
    #[arg(long, env = "ARTSTORE_CLIENT_ID", value_name = "ID")]
    pub(crate) client_id: Option<String>,

    /// Its secret. Other users of this machine can see it on a command line: prefer the environment or the file
    #[arg(long, env = "ARTSTORE_CLIENT_SECRET", value_name = "SECRET", hide_env_values = true, value_parser = secret)]
    pub(crate) client_secret: Option<SecretString>,

    /// A file that holds the secret; wins over the environment
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub(crate) client_secret_file: Option<PathBuf>,
}

#[expect(clippy::unnecessary_wraps, reason = "clap wants a parser that could fail")]
fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(SecretString::from(text))
}

/// A path that may be empty: an empty variable is as good as none.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

impl ConnectionArgs {
    /// Opens what the commands need; on failure it has said why.
    pub(super) fn open(&self, scope: Vec<String>) -> Result<Connection, Exit> {
        let settings = self.settings(scope).map_err(|text| {
            complain(&text);
            Exit::Usage
        })?;
        Connection::open(settings).map_err(|error| {
            let exit = match &error {
                ConnectError::Tls(_) => Exit::Local,
                ConnectError::Settings(_) => Exit::Usage,
            };
            complain(&error.to_string());
            exit
        })
    }

    /// A session with the Ingester; on failure it has said why.
    pub(super) fn session(&self, connection: &Connection, attempts: u32) -> Result<Session, Exit> {
        let base = BaseUrl::parse(&self.ingester_url).map_err(|error| {
            complain(&format!("--ingester-url: {error}"));
            Exit::Usage
        })?;
        Ok(connection.session(base, Limits { attempts, ..Limits::default() }))
    }

    /// What the flags and the environment say; on failure which of them is wrong.
    pub(super) fn settings(&self, scope: Vec<String>) -> Result<ConnectSettings, String> {
        let admin = self
            .admin_url
            .iter()
            .map(|url| BaseUrl::parse(url).map_err(|error| format!("--admin-url: {error}")))
            .collect::<Result<_, _>>()?;
        let file = |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        let identity = match (file(&self.client_cert), file(&self.client_key)) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            (Some(_), None) => return Err("--client-cert needs --client-key (or ARTSTORE_CLIENT_KEY)".to_owned()),
            (None, Some(_)) => return Err("--client-key needs --client-cert (or ARTSTORE_CLIENT_CERT)".to_owned()),
        };
        let client_id =
            self.client_id.clone().filter(|id| !id.is_empty()).ok_or_else(|| missing("--client-id", "ID"))?;
        let secret = self.client_secret.as_ref().filter(|secret| !secret.expose_secret().is_empty());
        let secret = match (file(&self.client_secret_file), secret) {
            (Some(path), _) => SecretSource::File(path),
            (None, Some(secret)) => SecretSource::Inline(secret.clone()),
            (None, None) => return Err(missing("--client-secret-file", "SECRET")),
        };
        Ok(ConnectSettings { admin, ca_cert: file(&self.ca_cert), identity, client_id, secret, scope })
    }
}

fn missing(flag: &str, variable: &str) -> String {
    format!(
        "no service account: set ARTSTORE_CLIENT_{variable} or give {flag}; \
         beside a running `artstore up`, `. ./artstore-data/artstore.env` sets all that is needed"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::builder::{OsStr, Resettable};
    use clap::{CommandFactory as _, FromArgMatches as _, Parser};

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        connection: ConnectionArgs,
    }

    /// Reads the arguments alone, whatever the environment of the tests holds.
    fn parse(arguments: &[&str]) -> ConnectionArgs {
        let command = Command::command().mut_args(|argument| argument.env(Resettable::<OsStr>::Reset));
        let matches = command.get_matches_from([&["test"], arguments].concat());
        Command::from_arg_matches(&matches).unwrap().connection
    }

    #[test]
    fn the_secret_is_never_shown() {
        let arguments = parse(&["--client-id", "me", "--client-secret", "canary"]);
        assert!(!format!("{arguments:?}").contains("canary"));
        let settings = arguments.settings(vec![]).unwrap();
        assert!(!format!("{settings:?}").contains("canary"));
    }

    #[test]
    fn half_an_identity_and_a_wrong_address_are_refused() {
        let account = ["--client-id", "me", "--client-secret", "s"];
        let refused = |more: &[&str]| parse(&[&account, more].concat()).settings(vec![]).unwrap_err();
        assert_eq!(refused(&["--client-cert", "c"]), "--client-cert needs --client-key (or ARTSTORE_CLIENT_KEY)");
        assert_eq!(refused(&["--client-key", "k"]), "--client-key needs --client-cert (or ARTSTORE_CLIENT_CERT)");
        assert_eq!(
            refused(&["--admin-url", "https://a,http://b.example"]),
            "--admin-url: \"http://b.example\" is no usable address: http would show the token to the network: use https"
        );
    }

    #[test]
    fn what_is_empty_is_absent() {
        let empty = ["--client-cert", "", "--client-key", "", "--ca-cert", ""];
        let settings = parse(&[&["--client-id", "me", "--client-secret", "s"], &empty[..]].concat()).settings(vec![]);
        let settings = settings.unwrap();
        assert_eq!((settings.identity, settings.ca_cert), (None, None));
        for account in [["--client-id", "", "--client-secret", "s"], ["--client-id", "me", "--client-secret", ""]] {
            assert!(parse(&account).settings(vec![]).unwrap_err().starts_with("no service account: "));
        }
    }

    #[test]
    fn a_file_of_the_secret_wins() {
        let arguments = parse(&["--client-id", "me", "--client-secret", "s", "--client-secret-file", "f"]);
        let settings = arguments.settings(vec![]).unwrap();
        assert!(matches!(settings.secret, SecretSource::File(path) if path.as_os_str() == "f"));
    }
}
