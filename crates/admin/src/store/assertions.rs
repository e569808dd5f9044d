//! Accepted assertions: each counts once, whichever replica it comes to, also after a restart.

use super::{Store, StoreError};

/// What became of an assertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remembered {
    /// It is the first of its identifier.
    First,
    /// There was one of this identifier before.
    Seen,
    /// The client has as many as it may have at once.
    Full,
}

impl Store {
    /// Remembers an assertion of a client until `forget_at`, unless it is known or the client has `max`. One statement, so
    /// that of two requests at the same moment one is the first.
    pub(crate) async fn remember_assertion(
        &self,
        client_id: &str,
        jti_sha256: &str,
        forget_at: i64,
        max: u32,
    ) -> Result<Remembered, StoreError> {
        let done = sqlx::query(
            "INSERT INTO assertions (client_id, jti_sha256, forget_at) \
             SELECT $1, $2, $3 WHERE (SELECT COUNT(*) FROM assertions WHERE client_id = $1) < $4 \
             ON CONFLICT (client_id, jti_sha256) DO NOTHING",
        )
        .bind(client_id)
        .bind(jti_sha256)
        .bind(forget_at)
        .bind(i64::from(max))
        .execute(&self.pool)
        .await?;
        if done.rows_affected() == 1 {
            return Ok(Remembered::First);
        }
        let seen: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM assertions WHERE client_id = $1 AND jti_sha256 = $2")
            .bind(client_id)
            .bind(jti_sha256)
            .fetch_one(&self.pool)
            .await?;
        Ok(if seen == 0 { Remembered::Full } else { Remembered::Seen })
    }

    /// Forgets those whose time is over.
    pub(crate) async fn sweep_assertions(&self, now: i64) -> Result<u64, StoreError> {
        let done = sqlx::query("DELETE FROM assertions WHERE forget_at <= $1").bind(now).execute(&self.pool).await?;
        Ok(done.rows_affected())
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(crate) async fn count_assertions(&self) -> i64 {
        sqlx::query_scalar("SELECT COUNT(*) FROM assertions").fetch_one(&self.pool).await.unwrap()
    }
}
