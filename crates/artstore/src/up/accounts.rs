//! The service accounts of `artstore up`: made on the first start, found again with the same secrets later.

use super::data::DataDir;
use crate::assemble::{ELEMENT_AUDIENCES, ELEMENT_SCOPES, INGESTER_AUDIENCES, INGESTER_SCOPES};
use crate::failure::Failure;
use artstore_admin::{AccountError, Admin};
use artstore_api::account::ChangeAccount;
use artstore_api::scope;
use artstore_metrics::Clock;
use secrecy::SecretString;
use std::collections::BTreeMap;

pub(super) const INGESTER: &str = "artstore-ingester";
pub(super) const ELEMENT_EDIT: &str = "artstore-element-edit";
pub(super) const ELEMENT_RW: &str = "artstore-element-rw";
pub(super) const ELEMENT_SPARE: &str = "artstore-element-spare";
pub(super) const CLIENT: &str = "artstore-client";

/// Makes the accounts, or gives them again the secrets that they had; that of the spare element only if there is one.
///
/// # Errors
/// An account that cannot be made, or secrets that cannot be kept.
pub(super) async fn accounts<C: Clock>(
    admin: &Admin<C>,
    data: &DataDir,
    spare: bool,
) -> Result<BTreeMap<String, SecretString>, Failure> {
    let mut wanted = vec![
        (INGESTER, &INGESTER_SCOPES[..], &INGESTER_AUDIENCES[..], None),
        (ELEMENT_EDIT, &ELEMENT_SCOPES, &ELEMENT_AUDIENCES, Some("element-edit")),
        (ELEMENT_RW, &ELEMENT_SCOPES, &ELEMENT_AUDIENCES, Some("element-rw")),
        (CLIENT, &[scope::FILES_READ, scope::FILES_WRITE], &[scope::AUDIENCE_INGESTER], None),
    ];
    if spare {
        wanted.push((ELEMENT_SPARE, &ELEMENT_SCOPES, &ELEMENT_AUDIENCES, Some("element-spare")));
    }
    // Secrets of accounts that are not wanted this time stay.
    let mut secrets = data.secrets()?;
    for (account, scopes, audiences, element_id) in wanted {
        let failed = |error: AccountError| Failure::failed(format!("account {account}: {error}"));
        let secret = admin
            .bootstrap_account(account, account, scopes, audiences, secrets.get(account).cloned())
            .await
            .map_err(failed)?;
        if let Some(element_id) = element_id {
            let change = ChangeAccount { element_id: Some(Some(element_id.to_owned())), ..ChangeAccount::default() };
            admin.change_account(account, change).await.map_err(failed)?;
        }
        secrets.insert(account.to_owned(), SecretString::from(secret.client_secret));
    }
    data.keep_secrets(&secrets)?;
    Ok(secrets)
}
