//! Service accounts: made, given secrets, suspended.

use crate::credentials::{normalized_keys, normalized_rule};
use crate::elements::{ELEMENT_ID_RULE, is_element_id};
use crate::module::{Admin, Shared};
use crate::secret::{self, MIN_GIVEN_SECRET_CHARS, NoRandomness};
use crate::store::{AccountChange, Changed, Credentials, StoreError, new_account};
use artstore_api::account::{Account, ChangeAccount, CreateAccount, NewSecret};
use artstore_api::scope;
use artstore_metrics::Clock;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use uuid::Uuid;

/// Longest name of an account, in characters.
const MAX_NAME_CHARS: usize = 100;
/// Longest client identifier, in characters.
const MAX_CLIENT_ID_CHARS: usize = 100;

/// Why an account is not as it was to be.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// A field is not what it may be; the text names it.
    #[error("{0}")]
    Invalid(String),
    /// There is no account of this identifier.
    #[error("there is no such account")]
    NotFound,
    /// There are as many accounts as there may be.
    #[error("there are as many accounts as there may be")]
    Full,
    /// The machine gave no random bytes.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Checks name, scopes and audiences.
fn check(name: &str, scopes: &[String], audiences: &[String]) -> Result<(), AccountError> {
    let invalid = |text: String| Err(AccountError::Invalid(text));
    if !(1..=MAX_NAME_CHARS).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return invalid(format!("name has 1 to {MAX_NAME_CHARS} characters, none a control character"));
    }
    let mistake = |given: &[String], known: &[&str]| {
        let unique = (1..given.len()).all(|index| !given[..index].contains(&given[index]));
        given.is_empty() || !unique || !given.iter().all(|word| known.contains(&word.as_str()))
    };
    if mistake(scopes, &scope::ALL) {
        return invalid(format!("scopes are one or more, each once, of {}", scope::ALL.join(", ")));
    }
    if mistake(audiences, &scope::AUDIENCES) {
        return invalid(format!("audiences are one or more, each once, of {}", scope::AUDIENCES.join(", ")));
    }
    Ok(())
}

/// Checks a client identifier that was not made here: what reads the same in every encoding.
fn check_client_id(client_id: &str) -> Result<(), AccountError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    if (1..=MAX_CLIENT_ID_CHARS).contains(&client_id.len()) && client_id.bytes().all(fits) {
        return Ok(());
    }
    let text = format!("client_id has 1 to {MAX_CLIENT_ID_CHARS} characters of letters, digits, '-', '.', '_' and '~'");
    Err(AccountError::Invalid(text))
}

fn told(client_id: String, secret: &SecretString) -> NewSecret {
    NewSecret { client_id, client_secret: secret.expose_secret().to_owned() }
}

impl<C: Clock> Admin<C> {
    /// Makes sure that there is an active account of this identifier with this name, these scopes and audiences, and gives it
    /// this secret, or a new one; the secret that it had before stays valid beside it. For the first account of all, which
    /// nobody can make over HTTP.
    ///
    /// # Errors
    /// If a field is not what it may be, or the database fails.
    pub async fn bootstrap_account(
        &self,
        name: &str,
        client_id: &str,
        scopes: &[&str],
        audiences: &[&str],
        secret: Option<SecretString>,
    ) -> Result<NewSecret, AccountError> {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
        let (scopes, audiences) = (owned(scopes), owned(audiences));
        check(name, &scopes, &audiences)?;
        check_client_id(client_id)?;
        let secret = match secret {
            Some(given) if !secret::is_fit(&given) => {
                let text = format!(
                    "the secret has at least {MIN_GIVEN_SECRET_CHARS} characters of letters, digits, '-', '.', '_' and '~'"
                );
                return Err(AccountError::Invalid(text));
            }
            Some(given) => given,
            None => secret::generate()?,
        };
        let shared = &*self.shared;
        let account = new_account(client_id.to_owned(), name.to_owned(), scopes, audiences, shared.clock.wall())?;
        let new = with_secret(account, &secret);
        shared.noted(shared.store.put_account(&new).await)?;
        Ok(told(client_id.to_owned(), &secret))
    }

    /// At most `limit` accounts whose identifiers come after `after`, in their order.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn accounts(&self, after: &str, limit: u32) -> Result<Vec<Account>, AccountError> {
        self.shared.list_accounts(after, limit).await
    }

    /// The account of this identifier.
    ///
    /// # Errors
    /// If there is none, or the database fails.
    pub async fn account(&self, client_id: &str) -> Result<Account, AccountError> {
        self.shared.account(client_id).await
    }

    /// Whether a change can be made to any account.
    ///
    /// # Errors
    /// If a field is not what it may be.
    pub fn check_change(change: &ChangeAccount) -> Result<(), AccountError> {
        checked(change.clone()).map(drop)
    }

    /// Changes keys, certificate, binding and element of an account.
    ///
    /// # Errors
    /// If there is no such account, a field is not what it may be, or the database fails.
    pub async fn change_account(&self, client_id: &str, change: ChangeAccount) -> Result<Account, AccountError> {
        self.shared.change_account(client_id, change).await
    }

    /// Gives an account a new secret; the one that it had stays valid beside it, an older one does not.
    ///
    /// # Errors
    /// If there is no such account, or the database fails.
    pub async fn rotate_secret(&self, client_id: &str) -> Result<NewSecret, AccountError> {
        self.shared.rotate_secret(client_id).await
    }

    /// Ends the secret before the present one: the end of a rotation.
    ///
    /// # Errors
    /// If there is no such account, or the database fails.
    pub async fn end_previous_secret(&self, client_id: &str) -> Result<(), AccountError> {
        self.shared.end_previous_secret(client_id).await
    }

    /// Ends both secrets of an account that authenticates in another way.
    ///
    /// # Errors
    /// If there is no such account, or the database fails.
    pub async fn end_secrets(&self, client_id: &str) -> Result<(), AccountError> {
        self.shared.end_secrets(client_id).await
    }

    /// Suspends an account, so that it gets no more tokens, or lets it have tokens again.
    ///
    /// # Errors
    /// If there is no such account, or the database fails.
    pub async fn set_active(&self, client_id: &str, active: bool) -> Result<(), AccountError> {
        self.shared.set_active(client_id, active).await
    }

    /// Deletes an account. Its tokens stay valid until they expire.
    ///
    /// # Errors
    /// If there is no such account, or the database fails.
    pub async fn delete_account(&self, client_id: &str) -> Result<(), AccountError> {
        self.shared.delete_account(client_id).await
    }
}

/// An account with its first secret.
fn with_secret(account: Account, secret: &SecretString) -> Credentials {
    let secret_sha256 = Some(secret::hash(secret));
    Credentials { account, secret_sha256, previous_secret_sha256: None, jwks: None }
}

/// The change as it is stored, if every field is what it may be.
fn checked(change: ChangeAccount) -> Result<AccountChange, AccountError> {
    let ChangeAccount { jwks, certificate, certificate_bound_tokens, element_id } = change;
    if element_id.iter().flatten().any(|id| !is_element_id(id)) {
        return Err(AccountError::Invalid(ELEMENT_ID_RULE.to_owned()));
    }
    let jwks = match jwks {
        Some(Some(jwks)) => {
            let keys = normalized_keys(&jwks).map_err(AccountError::Invalid)?;
            Some(Some(json!({ "keys": keys }).to_string()))
        }
        other => other.map(|_| None),
    };
    let certificate = match certificate {
        Some(Some(rule)) => Some(Some(normalized_rule(rule).map_err(AccountError::Invalid)?)),
        other => other,
    };
    Ok(AccountChange { jwks, certificate, certificate_bound_tokens, element_id })
}

impl<C: Clock> Shared<C> {
    pub(crate) async fn create_account(&self, wanted: CreateAccount) -> Result<NewSecret, AccountError> {
        let CreateAccount { name, scopes, audiences, jwks, certificate, certificate_bound_tokens, element_id } = wanted;
        check(&name, &scopes, &audiences)?;
        let secret = secret::generate()?;
        let client_id = format!("sa-{}", Uuid::new_v4().simple());
        let account = new_account(client_id.clone(), name, scopes, audiences, self.clock.wall())?;
        let mut new = with_secret(account, &secret);
        let change = ChangeAccount {
            jwks: jwks.map(Some),
            certificate: certificate.map(Some),
            certificate_bound_tokens: Some(certificate_bound_tokens),
            element_id: element_id.map(Some),
        };
        let change = checked(change)?;
        new.jwks = change.jwks.flatten();
        new.account.certificate = change.certificate.flatten();
        new.account.certificate_bound_tokens = certificate_bound_tokens;
        new.account.element_id = change.element_id.flatten();
        if !self.noted(self.store.insert_account(&new, self.settings.max_accounts).await)? {
            return Err(AccountError::Full);
        }
        Ok(told(client_id, &secret))
    }

    pub(crate) async fn list_accounts(&self, after: &str, limit: u32) -> Result<Vec<Account>, AccountError> {
        Ok(self.noted(self.store.accounts(after, limit).await)?)
    }

    pub(crate) async fn account(&self, client_id: &str) -> Result<Account, AccountError> {
        let found = self.noted(self.store.account(client_id).await)?;
        found.map(|found| found.account).ok_or(AccountError::NotFound)
    }

    pub(crate) async fn change_account(&self, client_id: &str, change: ChangeAccount) -> Result<Account, AccountError> {
        changed(self.noted(self.store.change_account(client_id, &checked(change)?).await)?)?;
        self.account(client_id).await
    }

    pub(crate) async fn end_secrets(&self, client_id: &str) -> Result<(), AccountError> {
        changed(self.noted(self.store.end_secrets(client_id).await)?)
    }

    pub(crate) async fn delete_account(&self, client_id: &str) -> Result<(), AccountError> {
        changed(self.noted(self.store.delete_account(client_id).await)?)
    }

    /// A new secret beside the present one. The one before that ends.
    pub(crate) async fn rotate_secret(&self, client_id: &str) -> Result<NewSecret, AccountError> {
        let secret = secret::generate()?;
        changed(self.noted(self.store.rotate_secret(client_id, &secret::hash(&secret)).await)?)?;
        Ok(told(client_id.to_owned(), &secret))
    }

    /// Ends the secret before the present one: the end of a rotation.
    pub(crate) async fn end_previous_secret(&self, client_id: &str) -> Result<(), AccountError> {
        changed(self.noted(self.store.end_previous_secret(client_id).await)?)
    }

    /// Tokens that were issued before a suspension stay valid until they expire.
    pub(crate) async fn set_active(&self, client_id: &str, active: bool) -> Result<(), AccountError> {
        changed(self.noted(self.store.set_active(client_id, active).await)?)
    }
}

const fn changed(changed: Changed) -> Result<(), AccountError> {
    match changed {
        Changed::Done => Ok(()),
        Changed::NoSuchAccount => Err(AccountError::NotFound),
    }
}
