//! `artstore token`: gets an access token from the Admin Module and prints it, for curl and for scripts.

use super::connection::ConnectionArgs;
use super::output::{Output, line, report};
use crate::exit::{EXIT_CODES, Exit};
use artstore_client::AccessTokenText;
use clap::Args;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const EXAMPLES: &str = "\
Examples:
  artstore token
  curl --cacert \"$ARTSTORE_CA_CERT\" -H \"Authorization: Bearer $(artstore token)\" \\
       -T picture.png \"$ARTSTORE_INGESTER_URL/api/v1/files?filename=picture.png\"
  artstore token --scope files:read --json | jq -r .expires_at

Whoever has the token may do what the account may until it expires: do not paste it where others read.";

/// Print an access token
#[derive(Debug, Clone, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct TokenArgs {
    /// A scope to ask for, for instance files:read; several times for several [default: all that the account has]
    #[arg(long, value_name = "SCOPE")]
    pub(crate) scope: Vec<String>,

    /// Print a JSON document with the token, its type and its expiry
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// The result for machines.
#[derive(Serialize)]
struct Document<'a> {
    access_token: &'a str,
    token_type: &'static str,
    scope: Option<&'a str>,
    /// RFC 3339, UTC; null if the token does not say.
    expires_at: Option<String>,
    /// Seconds from now; null if the token does not say.
    expires_in: Option<u64>,
}

/// Gets a token and prints it.
pub(crate) async fn run(args: &TokenArgs) -> Exit {
    let scope = args.scope.iter().flat_map(|words| words.split([' ', ','])).filter(|word| !word.is_empty());
    let connection = match args.connection.open(scope.map(str::to_owned).collect()) {
        Ok(connection) => connection,
        Err(exit) => return exit,
    };
    match connection.access_token().await {
        Ok(token) => print(args, &token).err().unwrap_or(Exit::Success),
        Err(error) => {
            report("token", &error);
            error.category().into()
        }
    }
}

fn print(args: &TokenArgs, token: &AccessTokenText) -> Result<(), Exit> {
    if !args.json {
        return line(token.token.expose_secret());
    }
    Output { json: true, quiet: false }.document(&document(token))
}

fn document(token: &AccessTokenText) -> Document<'_> {
    let expires_at = token.expires_at.and_then(|at| {
        let at = OffsetDateTime::from_unix_timestamp(i64::try_from(at.as_secs()).ok()?).ok()?;
        at.format(&Rfc3339).ok()
    });
    Document {
        access_token: token.token.expose_secret(),
        token_type: "Bearer",
        scope: token.scope.as_deref(),
        expires_at,
        expires_in: token.expires_in.map(|left| left.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use artstore_metrics::UnixTime;
    use std::time::Duration;

    #[test]
    fn the_document_shows_the_expiry_as_a_time_and_as_seconds() {
        let token = AccessTokenText {
            token: "t".to_owned().into(),
            scope: Some("files:read".to_owned()),
            expires_at: Some(UnixTime::from_secs(1_800_000_000)),
            expires_in: Some(Duration::from_secs(1_799)),
        };
        assert_eq!(
            serde_json::to_value(document(&token)).unwrap(),
            serde_json::json!({
                "access_token": "t", "token_type": "Bearer", "scope": "files:read",
                "expires_at": "2027-01-15T08:00:00Z", "expires_in": 1799
            })
        );
    }
}
