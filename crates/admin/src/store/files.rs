//! The index of files: which element holds which file. A deletion is final: no older report brings a file back.

use super::{Store, StoreError, millis_of};
use artstore_api::FileRecord;
use artstore_api::element::RecordChange;
use artstore_api::file::{FileId, IndexedFile};
use sqlx::SqliteConnection;

/// What a batch changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Applied {
    /// Files that came into the index.
    pub(crate) published: u64,
    /// Files that got another record, or another element.
    pub(crate) replaced: u64,
    /// Files that left the index.
    pub(crate) deleted: u64,
    /// Changes that were known already or came too late, and deletions of files that were not in the index.
    pub(crate) unchanged: u64,
}

/// What a sweep removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Swept {
    /// Files whose time was over, of which no deletion was told.
    pub(crate) expired: u64,
    /// Deletions that were remembered long enough.
    pub(crate) tombstones: u64,
}

type Row = (String, String);

fn indexed((element_id, record): Row) -> Result<IndexedFile, StoreError> {
    let record = serde_json::from_str(&record).map_err(|error| StoreError::Row(format!("record: {error}")))?;
    Ok(IndexedFile { element_id, record })
}

/// Who tells of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Its element, of itself.
    Report,
    /// A rebuild, which has just seen it there.
    Rebuild,
}

/// A known file keeps its element: another one that reports it (a copy of a folder) neither takes nor deletes it, until a
/// rebuild finds it gone from the first. The condition on the record leaves what is the same untouched.
const REPLACE: &str = "UPDATE files SET record = $3, expires_at = $4, changed_at = $5 \
     WHERE file_id = $1 AND element_id = $2 AND record IS NOT NULL AND record <> $3";

/// What a rebuild finds on an element is there, whatever the index says; only a deletion stays.
const ADOPT: &str = "UPDATE files SET element_id = $2, record = $3, expires_at = $4, changed_at = $5 \
     WHERE file_id = $1 AND record IS NOT NULL AND (element_id <> $2 OR record <> $3)";

/// A file that is not known, be it as deleted.
const PUBLISH: &str = "INSERT INTO files (file_id, element_id, record, expires_at, changed_at) \
     VALUES ($1, $2, $3, $4, $5) ON CONFLICT (file_id) DO NOTHING";

const DELETE: &str = "UPDATE files SET record = NULL, changed_at = $3 \
     WHERE file_id = $1 AND element_id = $2 AND record IS NOT NULL";

/// The deletion of a file that is not known: an older record of it may follow.
const REMEMBER: &str = "INSERT INTO files (file_id, element_id, record, expires_at, changed_at) \
     VALUES ($1, $2, NULL, NULL, $3) ON CONFLICT (file_id) DO NOTHING";

/// What one change did.
enum Effect {
    Published,
    Replaced,
    Deleted,
    Unchanged,
}

async fn publish(
    connection: &mut SqliteConnection,
    element_id: &str,
    record: &FileRecord,
    source: Source,
    now: i64,
) -> Result<Effect, StoreError> {
    let (file_id, json) = (record.file_id.to_string(), json(record)?);
    let replace = match source {
        Source::Report => REPLACE,
        Source::Rebuild => ADOPT,
    };
    for (sql, effect) in [(replace, Effect::Replaced), (PUBLISH, Effect::Published)] {
        let done = sqlx::query(sql)
            .bind(&file_id)
            .bind(element_id)
            .bind(&json)
            .bind(record.expires_at.map(millis_of))
            .bind(now)
            .execute(&mut *connection)
            .await?;
        if done.rows_affected() > 0 {
            return Ok(effect);
        }
    }
    Ok(Effect::Unchanged)
}

async fn delete(
    connection: &mut SqliteConnection,
    element_id: &str,
    file_id: FileId,
    now: i64,
) -> Result<Effect, StoreError> {
    let file_id = file_id.to_string();
    for (sql, effect) in [(DELETE, Effect::Deleted), (REMEMBER, Effect::Unchanged)] {
        let done = sqlx::query(sql).bind(&file_id).bind(element_id).bind(now).execute(&mut *connection).await?;
        if done.rows_affected() > 0 {
            return Ok(effect);
        }
    }
    Ok(Effect::Unchanged)
}

impl Store {
    /// Applies an element's changes in their order: all of them, durably, or none. Doing it twice changes nothing more.
    pub(crate) async fn apply(
        &self,
        element_id: &str,
        changes: &[RecordChange],
        source: Source,
        now: i64,
    ) -> Result<Applied, StoreError> {
        let mut applied = Applied::default();
        // Its first statement writes, so that two of them wait for one another and neither fails.
        let mut transaction = self.pool.begin().await?;
        for change in changes {
            let effect = match change {
                RecordChange::Published { record } => {
                    publish(&mut transaction, element_id, record, source, now).await?
                }
                RecordChange::Deleted { file_id } => delete(&mut transaction, element_id, *file_id, now).await?,
            };
            *match effect {
                Effect::Published => &mut applied.published,
                Effect::Replaced => &mut applied.replaced,
                Effect::Deleted => &mut applied.deleted,
                Effect::Unchanged => &mut applied.unchanged,
            } += 1;
        }
        transaction.commit().await?;
        Ok(applied)
    }

    /// The file of this identifier, if it is published and its time is not over at `now`.
    pub(crate) async fn file(&self, file_id: FileId, now: i64) -> Result<Option<IndexedFile>, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT element_id, record FROM files \
             WHERE file_id = $1 AND record IS NOT NULL AND (expires_at IS NULL OR expires_at > $2)",
        )
        .bind(file_id.to_string())
        .bind(now)
        .fetch_optional(&self.pool)
        .await?;
        row.map(indexed).transpose()
    }

    /// At most `limit` files after this one, in the order of their identifiers.
    pub(crate) async fn files(
        &self,
        after: Option<FileId>,
        limit: u32,
        now: i64,
    ) -> Result<Vec<IndexedFile>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT element_id, record FROM files \
             WHERE file_id > $1 AND record IS NOT NULL AND (expires_at IS NULL OR expires_at > $2) \
             ORDER BY file_id LIMIT $3",
        )
        .bind(after.map_or_else(String::new, |after| after.to_string()))
        .bind(now)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(indexed).collect()
    }

    /// How many files the index holds, those included whose time is over and whose deletion has not been told.
    pub(crate) async fn count_files(&self) -> Result<u64, StoreError> {
        let count: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM files WHERE record IS NOT NULL").fetch_one(&self.pool).await?;
        Ok(super::bytes(count))
    }

    /// The identifiers of an element's files from `after` (not with it) to `to` (with it; `None` is the end) that were last
    /// changed before `before`.
    pub(crate) async fn held_between(
        &self,
        element_id: &str,
        after: Option<FileId>,
        to: Option<FileId>,
        before: i64,
    ) -> Result<Vec<FileId>, StoreError> {
        let ids: Vec<String> = sqlx::query_scalar(
            "SELECT file_id FROM files WHERE element_id = $1 AND file_id > $2 AND file_id <= $3 \
             AND record IS NOT NULL AND changed_at < $4",
        )
        .bind(element_id)
        .bind(after.map_or_else(String::new, |after| after.to_string()))
        .bind(to.map_or_else(|| "g".to_owned(), |to| to.to_string()))
        .bind(before)
        .fetch_all(&self.pool)
        .await?;
        ids.iter().map(|id| id.parse().map_err(|_| StoreError::Row(format!("{id} is no file identifier")))).collect()
    }

    /// Takes files out of the index without a tombstone: the element does not have them, but may get them again.
    pub(crate) async fn drop_files(&self, element_id: &str, files: &[FileId], before: i64) -> Result<u64, StoreError> {
        let mut dropped = 0;
        let mut transaction = self.pool.begin().await?;
        for file in files {
            let done = sqlx::query(
                "DELETE FROM files WHERE file_id = $1 AND element_id = $2 AND record IS NOT NULL AND changed_at < $3",
            )
            .bind(file.to_string())
            .bind(element_id)
            .bind(before)
            .execute(&mut *transaction)
            .await?;
            dropped += done.rows_affected();
        }
        transaction.commit().await?;
        Ok(dropped)
    }

    /// Removes the rows whose file expired up to `expired`, and the tombstones from before `told_before`.
    pub(crate) async fn sweep_files(&self, expired: i64, told_before: i64) -> Result<Swept, StoreError> {
        let files = sqlx::query("DELETE FROM files WHERE expires_at <= $1 AND record IS NOT NULL")
            .bind(expired)
            .execute(&self.pool)
            .await?;
        let tombstones =
            sqlx::query("DELETE FROM files WHERE record IS NULL AND (expires_at <= $1 OR changed_at < $2)")
                .bind(expired)
                .bind(told_before)
                .execute(&self.pool)
                .await?;
        Ok(Swept { expired: files.rows_affected(), tombstones: tombstones.rows_affected() })
    }
}

fn json(record: &FileRecord) -> Result<String, StoreError> {
    serde_json::to_string(record).map_err(|error| StoreError::Row(format!("record: {error}")))
}
