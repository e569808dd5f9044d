//! Service accounts: made, given secrets, suspended.

use crate::module::{Admin, Shared};
use crate::secret::{self, MIN_GIVEN_SECRET_CHARS, NoRandomness};
use crate::store::{Credentials, Rotated, StoreError, new_account};
use artstore_api::account::{Account, CreateAccount, NewSecret};
use artstore_api::scope;
use artstore_metrics::Clock;
use secrecy::{ExposeSecret as _, SecretString};
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
        let new = Credentials { account, secret_sha256: secret::hash(&secret), previous_secret_sha256: None };
        shared.noted(shared.store.put_account(&new).await)?;
        Ok(told(client_id.to_owned(), &secret))
    }
}

impl<C: Clock> Shared<C> {
    pub(crate) async fn create_account(&self, wanted: CreateAccount) -> Result<NewSecret, AccountError> {
        let CreateAccount { name, scopes, audiences } = wanted;
        check(&name, &scopes, &audiences)?;
        let secret = secret::generate()?;
        let client_id = format!("sa-{}", Uuid::new_v4().simple());
        let account = new_account(client_id.clone(), name, scopes, audiences, self.clock.wall())?;
        let new = Credentials { account, secret_sha256: secret::hash(&secret), previous_secret_sha256: None };
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

const fn changed(rotated: Rotated) -> Result<(), AccountError> {
    match rotated {
        Rotated::Done => Ok(()),
        Rotated::NoSuchAccount => Err(AccountError::NotFound),
    }
}
