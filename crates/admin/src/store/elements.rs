//! Elements: where they are, what they are for, and when they last said so.

use super::{Store, StoreError, bytes, stored_bytes};
use artstore_api::element::{Capacity, ElementMode, ElementReport};

/// An element's last report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reported {
    pub(crate) element_id: String,
    pub(crate) report: ElementReport,
    /// Milliseconds since the epoch.
    pub(crate) reported_at: i64,
}

type Row = (String, String, String, i64, i64, i64);

fn reported((element_id, url, mode, capacity_bytes, free_bytes, reported_at): Row) -> Result<Reported, StoreError> {
    let mode: ElementMode = mode.parse().map_err(StoreError::Row)?;
    let capacity = Capacity { capacity_bytes: bytes(capacity_bytes), free_bytes: bytes(free_bytes) };
    Ok(Reported { element_id, report: ElementReport { url, mode, capacity }, reported_at })
}

impl Store {
    /// Takes an element's report; `false` if it is a new one and there are `max` already.
    pub(crate) async fn put_element(&self, new: &Reported, max: u32) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO elements (element_id, url, mode, capacity_bytes, free_bytes, reported_at) \
             SELECT $1, $2, $3, $4, $5, $6 WHERE (SELECT COUNT(*) FROM elements WHERE element_id <> $1) < $7 \
             ON CONFLICT (element_id) DO UPDATE SET url = excluded.url, mode = excluded.mode, \
             capacity_bytes = excluded.capacity_bytes, free_bytes = excluded.free_bytes, \
             reported_at = excluded.reported_at",
        )
        .bind(&new.element_id)
        .bind(&new.report.url)
        .bind(new.report.mode.as_str())
        .bind(stored_bytes(new.report.capacity.capacity_bytes))
        .bind(stored_bytes(new.report.capacity.free_bytes))
        .bind(new.reported_at)
        .bind(i64::from(max))
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// All elements, by identifier.
    pub(crate) async fn elements(&self) -> Result<Vec<Reported>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT element_id, url, mode, capacity_bytes, free_bytes, reported_at FROM elements ORDER BY element_id",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(reported).collect()
    }

    /// Forgets the elements that have not reported since this moment; how many that were.
    pub(crate) async fn forget_elements(&self, before: i64) -> Result<u64, StoreError> {
        let done = sqlx::query("DELETE FROM elements WHERE reported_at < $1").bind(before).execute(&self.pool).await?;
        Ok(done.rows_affected())
    }
}
