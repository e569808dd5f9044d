//! What `artstore up` says once everything answers: the file of variables, and what to type next.

use super::accounts::CLIENT;
use super::args::UpArgs;
use super::data::DataDir;
use super::fault::FILE;
use super::sockets::Urls;
use crate::development::Certificates;
use crate::failure::Failure;
use secrecy::{ExposeSecret as _, SecretString};
use std::io::Write as _;
use std::path::Path;

/// The variables of `artstore.env`.
pub(super) fn variables(
    urls: &Urls,
    certificates: &Certificates,
    secret: &SecretString,
) -> Vec<(&'static str, String)> {
    let path = |path: &Path| path.display().to_string();
    let mut variables = vec![
        ("ARTSTORE_ADMIN_URL", urls.admin.clone()),
        ("ARTSTORE_ELEMENT_EDIT_URL", urls.element_edit.clone()),
        ("ARTSTORE_ELEMENT_RW_URL", urls.element_rw.clone()),
        ("ARTSTORE_INGESTER_URL", urls.ingester.clone()),
        ("ARTSTORE_OPS_URL", urls.ops.clone()),
        ("ARTSTORE_ADMIN_OPS_URL", urls.admin_ops.clone()),
        ("ARTSTORE_ELEMENT_EDIT_OPS_URL", urls.element_edit_ops.clone()),
        ("ARTSTORE_ELEMENT_RW_OPS_URL", urls.element_rw_ops.clone()),
        ("ARTSTORE_CA_CERT", path(&certificates.ca)),
        ("ARTSTORE_CLIENT_CERT", path(&certificates.client.cert)),
        ("ARTSTORE_CLIENT_KEY", path(&certificates.client.key)),
        ("ARTSTORE_CLIENT_ID", CLIENT.to_owned()),
        ("ARTSTORE_CLIENT_SECRET", secret.expose_secret().to_owned()),
        ("ARTSTORE_PID", std::process::id().to_string()),
    ];
    if let Some((url, operations)) = &urls.element_spare {
        variables.push(("ARTSTORE_ELEMENT_SPARE_URL", url.clone()));
        variables.push(("ARTSTORE_ELEMENT_SPARE_OPS_URL", operations.clone()));
    }
    variables
}

/// Says where everything is and what to type next.
///
/// # Errors
/// If standard output is closed.
pub(super) fn announce(args: &UpArgs, urls: &Urls, data: &DataDir, env_file: &Path) -> Result<(), Failure> {
    let env_file = env_file.display();
    let spare = urls.element_spare.as_ref();
    let spare = spare.map(|(url, operations)| format!("  Element, spare    {url}   {operations}\n"));
    let text = format!(
        "ArtStore is up.\n\n\
         \x20 Ingester          {}   metrics, health, status: {}\n\
         \x20 Admin Module      {}   {}\n\
         \x20 Element, edit     {}   {}\n\
         \x20 Element, rw       {}   {}\n{}\n\
         {}Next, in another terminal:\n\n\
         \x20 . {env_file}\n\
         \x20 TOKEN=$(curl -s --cacert \"$ARTSTORE_CA_CERT\" -u \"$ARTSTORE_CLIENT_ID:$ARTSTORE_CLIENT_SECRET\" \\\n\
         \x20   -d grant_type=client_credentials \"$ARTSTORE_ADMIN_URL/oauth2/token\" | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')\n\
         \x20 curl --cacert \"$ARTSTORE_CA_CERT\" -H \"Authorization: Bearer $TOKEN\" -F file=@README.md \\\n\
         \x20   \"$ARTSTORE_INGESTER_URL/api/v1/files/upload\"\n\n\
         or: artstore upload README.md\n\n\
         Ctrl-C stops everything; a second start finds everything again.\n",
        urls.ingester,
        urls.ops,
        urls.admin,
        urls.admin_ops,
        urls.element_edit,
        urls.element_edit_ops,
        urls.element_rw,
        urls.element_rw_ops,
        spare.unwrap_or_default(),
        demonstration(args, data),
    );
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::output)
}

/// What is demonstrated, and how a fault is changed.
fn demonstration(args: &UpArgs, data: &DataDir) -> String {
    let mut text = String::new();
    if args.demo_rate() > 0.0 {
        text.push_str(&format!("Demo traffic: {} uploads a second.\n", args.demo_rate()));
    }
    if let Some(fault) = args.fault {
        let file = data.join(FILE).display().to_string();
        text.push_str(&format!(
            "Fault: {}. Repair: rm {file}   Another: echo NAME > {file}   Names: artstore up --help\n",
            fault.name()
        ));
    }
    if text.is_empty() { text } else { text + "\n" }
}
