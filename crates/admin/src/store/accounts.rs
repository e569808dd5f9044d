//! Accounts: who may ask for tokens.

use super::{Store, StoreError, millis, moment};
use artstore_api::account::{Account, CertificateRule};
use artstore_metrics::UnixTime;
use serde_json::{Value, json};

/// An account with the hashes of its secrets and the keys of its assertions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) account: Account,
    /// `None` if the account has no secret.
    pub(crate) secret_sha256: Option<String>,
    pub(crate) previous_secret_sha256: Option<String>,
    /// A JWK Set.
    pub(crate) jwks: Option<String>,
}

/// A checked [`ChangeAccount`](artstore_api::account::ChangeAccount), with the keys as they are stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct AccountChange {
    pub(crate) jwks: Option<Option<String>>,
    pub(crate) certificate: Option<Option<CertificateRule>>,
    pub(crate) certificate_bound_tokens: Option<bool>,
    pub(crate) element_id: Option<Option<String>>,
}

/// What became of a change to one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Changed {
    Done,
    NoSuchAccount,
}

impl Changed {
    const fn of(rows: u64) -> Self {
        if rows == 0 { Self::NoSuchAccount } else { Self::Done }
    }
}

/// In the order of [`Row`].
macro_rules! columns {
    () => {
        "client_id, name, scopes, audiences, active, created_at, secret_sha256, previous_secret_sha256, jwks, \
         certificate, certificate_bound_tokens, element_id"
    };
}

type Row = (
    String,
    String,
    String,
    String,
    bool,
    i64,
    String,
    Option<String>,
    Option<String>,
    Option<String>,
    bool,
    Option<String>,
);

fn credentials(row: Row) -> Result<Credentials, StoreError> {
    let (client_id, name, scopes, audiences, active, created_at, secret, previous, jwks, certificate, bound, element) =
        row;
    let words = |text: String| text.split_whitespace().map(str::to_owned).collect();
    let bad = |what: &str, error: serde_json::Error| StoreError::Row(format!("{what}: {error}"));
    let certificate = certificate.map(|rule| serde_json::from_str::<CertificateRule>(&rule)).transpose();
    // The column cannot be null: an empty text is no hash.
    let secret_sha256 = Some(secret).filter(|hash| !hash.is_empty());
    let account = Account {
        client_id,
        name,
        scopes: words(scopes),
        audiences: words(audiences),
        active,
        created_at: moment(created_at)?,
        secrets: u8::from(secret_sha256.is_some()) + u8::from(previous.is_some()),
        key_ids: jwks.as_deref().map_or(Ok(Vec::new()), key_ids).map_err(|error| bad("jwks", error))?,
        certificate: certificate.map_err(|error| bad("certificate", error))?,
        certificate_bound_tokens: bound,
        element_id: element,
    };
    Ok(Credentials { account, secret_sha256, previous_secret_sha256: previous, jwks })
}

fn key_ids(jwks: &str) -> Result<Vec<String>, serde_json::Error> {
    let set: Value = serde_json::from_str(jwks)?;
    let keys = set["keys"].as_array().map_or(&[][..], Vec::as_slice);
    Ok(keys.iter().filter_map(|key| key["kid"].as_str()).map(str::to_owned).collect())
}

fn rule_json(account: &Account) -> Option<String> {
    account.certificate.as_ref().map(|rule| json!(rule).to_string())
}

impl Store {
    /// Adds an account; `false` if there is one with its identifier, or if there are `max` already.
    pub(crate) async fn insert_account(&self, new: &Credentials, max: u32) -> Result<bool, StoreError> {
        let done = sqlx::query(concat!(
            "INSERT INTO accounts (",
            columns!(),
            ") SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12 WHERE (SELECT COUNT(*) FROM accounts) < $13 \
             ON CONFLICT (client_id) DO NOTHING"
        ))
        .bind(&new.account.client_id)
        .bind(&new.account.name)
        .bind(new.account.scopes.join(" "))
        .bind(new.account.audiences.join(" "))
        .bind(new.account.active)
        .bind(super::millis_of(new.account.created_at))
        .bind(new.secret_sha256.as_deref().unwrap_or_default())
        .bind(&new.previous_secret_sha256)
        .bind(&new.jwks)
        .bind(rule_json(&new.account))
        .bind(new.account.certificate_bound_tokens)
        .bind(&new.account.element_id)
        .bind(i64::from(max))
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Adds an account, or gives the one with its identifier this name, these scopes, audiences and secret, and activates it.
    pub(crate) async fn put_account(&self, new: &Credentials) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO accounts (client_id, name, scopes, audiences, active, created_at, secret_sha256) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (client_id) DO UPDATE SET name = excluded.name, scopes = excluded.scopes, \
             audiences = excluded.audiences, active = excluded.active, \
             previous_secret_sha256 = CASE WHEN accounts.secret_sha256 IN (excluded.secret_sha256, '') \
             THEN accounts.previous_secret_sha256 ELSE accounts.secret_sha256 END, \
             secret_sha256 = excluded.secret_sha256",
        )
        .bind(&new.account.client_id)
        .bind(&new.account.name)
        .bind(new.account.scopes.join(" "))
        .bind(new.account.audiences.join(" "))
        .bind(new.account.active)
        .bind(super::millis_of(new.account.created_at))
        .bind(new.secret_sha256.as_deref().unwrap_or_default())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Makes a change in one statement, so that two changes of different fields at the same moment both last.
    pub(crate) async fn change_account(&self, client_id: &str, change: &AccountChange) -> Result<Changed, StoreError> {
        let done = sqlx::query(
            "UPDATE accounts SET jwks = CASE WHEN $2 THEN $3 ELSE jwks END, \
             certificate = CASE WHEN $4 THEN $5 ELSE certificate END, \
             certificate_bound_tokens = COALESCE($6, certificate_bound_tokens), \
             element_id = CASE WHEN $7 THEN $8 ELSE element_id END WHERE client_id = $1",
        )
        .bind(client_id)
        .bind(change.jwks.is_some())
        .bind(change.jwks.as_ref().and_then(Option::as_ref))
        .bind(change.certificate.is_some())
        .bind(change.certificate.as_ref().and_then(Option::as_ref).map(|rule| json!(rule).to_string()))
        .bind(change.certificate_bound_tokens)
        .bind(change.element_id.is_some())
        .bind(change.element_id.as_ref().and_then(Option::as_ref))
        .execute(&self.pool)
        .await?;
        Ok(Changed::of(done.rows_affected()))
    }

    /// The account of this identifier.
    pub(crate) async fn account(&self, client_id: &str) -> Result<Option<Credentials>, StoreError> {
        let row: Option<Row> = sqlx::query_as(concat!("SELECT ", columns!(), " FROM accounts WHERE client_id = $1"))
            .bind(client_id)
            .fetch_optional(&self.pool)
            .await?;
        row.map(credentials).transpose()
    }

    /// At most `limit` accounts whose identifiers come after `after`, in their order.
    pub(crate) async fn accounts(&self, after: &str, limit: u32) -> Result<Vec<Account>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(concat!(
            "SELECT ",
            columns!(),
            " FROM accounts WHERE client_id > $1 ORDER BY client_id LIMIT $2"
        ))
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(|row| Ok(credentials(row)?.account)).collect()
    }

    /// Gives the account a new secret; the one that it had stays valid beside it, an older one does not.
    pub(crate) async fn rotate_secret(&self, client_id: &str, secret_sha256: &str) -> Result<Changed, StoreError> {
        let done = sqlx::query(
            "UPDATE accounts SET previous_secret_sha256 = NULLIF(secret_sha256, ''), secret_sha256 = $2 \
             WHERE client_id = $1",
        )
        .bind(client_id)
        .bind(secret_sha256)
        .execute(&self.pool)
        .await?;
        Ok(Changed::of(done.rows_affected()))
    }

    /// Ends the secret before the present one.
    pub(crate) async fn end_previous_secret(&self, client_id: &str) -> Result<Changed, StoreError> {
        let done = sqlx::query("UPDATE accounts SET previous_secret_sha256 = NULL WHERE client_id = $1")
            .bind(client_id)
            .execute(&self.pool)
            .await?;
        Ok(Changed::of(done.rows_affected()))
    }

    /// Ends both secrets.
    pub(crate) async fn end_secrets(&self, client_id: &str) -> Result<Changed, StoreError> {
        let done =
            sqlx::query("UPDATE accounts SET secret_sha256 = '', previous_secret_sha256 = NULL WHERE client_id = $1")
                .bind(client_id)
                .execute(&self.pool)
                .await?;
        Ok(Changed::of(done.rows_affected()))
    }

    /// Suspends the account or activates it again.
    pub(crate) async fn set_active(&self, client_id: &str, active: bool) -> Result<Changed, StoreError> {
        let done = sqlx::query("UPDATE accounts SET active = $2 WHERE client_id = $1")
            .bind(client_id)
            .bind(active)
            .execute(&self.pool)
            .await?;
        Ok(Changed::of(done.rows_affected()))
    }

    /// Removes the account. What is remembered of its assertions stays until its time: should an account of this identifier
    /// come again with the same keys, none of them counts twice.
    pub(crate) async fn delete_account(&self, client_id: &str) -> Result<Changed, StoreError> {
        let done = sqlx::query("DELETE FROM accounts WHERE client_id = $1").bind(client_id).execute(&self.pool).await?;
        Ok(Changed::of(done.rows_affected()))
    }
}

/// A new, active account.
pub(crate) fn new_account(
    client_id: String,
    name: String,
    scopes: Vec<String>,
    audiences: Vec<String>,
    now: UnixTime,
) -> Result<Account, StoreError> {
    Ok(Account {
        client_id,
        name,
        scopes,
        audiences,
        active: true,
        created_at: moment(millis(now))?,
        secrets: 1,
        key_ids: Vec::new(),
        certificate: None,
        certificate_bound_tokens: false,
        element_id: None,
    })
}
