//! Accounts: who may ask for tokens.

use super::{Store, StoreError, millis, moment};
use artstore_api::account::Account;
use artstore_metrics::UnixTime;

/// An account with the hashes of its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) account: Account,
    pub(crate) secret_sha256: String,
    pub(crate) previous_secret_sha256: Option<String>,
}

/// What became of a change to one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rotated {
    Done,
    NoSuchAccount,
}

impl Rotated {
    const fn of(rows: u64) -> Self {
        if rows == 0 { Self::NoSuchAccount } else { Self::Done }
    }
}

type Row = (String, String, String, String, bool, i64, String, Option<String>);

fn credentials(row: Row) -> Result<Credentials, StoreError> {
    let (client_id, name, scopes, audiences, active, created_at, secret_sha256, previous_secret_sha256) = row;
    let words = |text: String| text.split_whitespace().map(str::to_owned).collect();
    let account = Account {
        client_id,
        name,
        scopes: words(scopes),
        audiences: words(audiences),
        active,
        created_at: moment(created_at)?,
    };
    Ok(Credentials { account, secret_sha256, previous_secret_sha256 })
}

impl Store {
    /// Adds an account; `false` if there is one with its identifier, or if there are `max` already.
    pub(crate) async fn insert_account(&self, new: &Credentials, max: u32) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO accounts (client_id, name, scopes, audiences, active, created_at, secret_sha256) \
             SELECT $1, $2, $3, $4, $5, $6, $7 WHERE (SELECT COUNT(*) FROM accounts) < $8 \
             ON CONFLICT (client_id) DO NOTHING",
        )
        .bind(&new.account.client_id)
        .bind(&new.account.name)
        .bind(new.account.scopes.join(" "))
        .bind(new.account.audiences.join(" "))
        .bind(new.account.active)
        .bind(super::millis_of(new.account.created_at))
        .bind(&new.secret_sha256)
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
             previous_secret_sha256 = CASE WHEN accounts.secret_sha256 = excluded.secret_sha256 \
             THEN accounts.previous_secret_sha256 ELSE accounts.secret_sha256 END, \
             secret_sha256 = excluded.secret_sha256",
        )
        .bind(&new.account.client_id)
        .bind(&new.account.name)
        .bind(new.account.scopes.join(" "))
        .bind(new.account.audiences.join(" "))
        .bind(new.account.active)
        .bind(super::millis_of(new.account.created_at))
        .bind(&new.secret_sha256)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The account of this identifier.
    pub(crate) async fn account(&self, client_id: &str) -> Result<Option<Credentials>, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT client_id, name, scopes, audiences, active, created_at, secret_sha256, previous_secret_sha256 \
             FROM accounts WHERE client_id = $1",
        )
        .bind(client_id)
        .fetch_optional(&self.pool)
        .await?;
        row.map(credentials).transpose()
    }

    /// At most `limit` accounts whose identifiers come after `after`, in their order.
    pub(crate) async fn accounts(&self, after: &str, limit: u32) -> Result<Vec<Account>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT client_id, name, scopes, audiences, active, created_at, secret_sha256, previous_secret_sha256 \
             FROM accounts WHERE client_id > $1 ORDER BY client_id LIMIT $2",
        )
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(|row| Ok(credentials(row)?.account)).collect()
    }

    /// Gives the account a new secret; the one that it had stays valid beside it, an older one does not.
    pub(crate) async fn rotate_secret(&self, client_id: &str, secret_sha256: &str) -> Result<Rotated, StoreError> {
        let done = sqlx::query(
            "UPDATE accounts SET previous_secret_sha256 = secret_sha256, secret_sha256 = $2 WHERE client_id = $1",
        )
        .bind(client_id)
        .bind(secret_sha256)
        .execute(&self.pool)
        .await?;
        Ok(Rotated::of(done.rows_affected()))
    }

    /// Ends the secret before the present one.
    pub(crate) async fn end_previous_secret(&self, client_id: &str) -> Result<Rotated, StoreError> {
        let done = sqlx::query("UPDATE accounts SET previous_secret_sha256 = NULL WHERE client_id = $1")
            .bind(client_id)
            .execute(&self.pool)
            .await?;
        Ok(Rotated::of(done.rows_affected()))
    }

    /// Suspends the account or activates it again.
    pub(crate) async fn set_active(&self, client_id: &str, active: bool) -> Result<Rotated, StoreError> {
        let done = sqlx::query("UPDATE accounts SET active = $2 WHERE client_id = $1")
            .bind(client_id)
            .bind(active)
            .execute(&self.pool)
            .await?;
        Ok(Rotated::of(done.rows_affected()))
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
    Ok(Account { client_id, name, scopes, audiences, active: true, created_at: moment(millis(now))? })
}
