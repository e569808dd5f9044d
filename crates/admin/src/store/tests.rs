//! Tests of the database by itself: how it is opened and what its schema refuses.

use super::Store;
use crate::AdminSettings;
use std::path::Path;

impl Store {
    /// A connection that nobody else has meanwhile.
    pub(crate) async fn hold_connection(&self) -> sqlx::pool::PoolConnection<sqlx::Sqlite> {
        self.pool.acquire().await.unwrap()
    }

    /// How many rows the index has, tombstones too.
    pub(crate) async fn count_rows(&self) -> u64 {
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM files").fetch_one(&self.pool).await.unwrap();
        u64::try_from(count).unwrap()
    }
}

fn settings(dir: &Path) -> AdminSettings {
    AdminSettings::new(dir, "https://admin")
}

#[tokio::test]
async fn the_folder_is_made_and_one_that_cannot_be_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (deep, file) = (dir.path().join("a/b"), dir.path().join("file"));
    Store::open(&settings(&deep)).await.unwrap();
    assert!(deep.join("admin.db").exists());
    std::fs::write(&file, "").unwrap();
    let error = Store::open(&settings(&file)).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: ", file.display())), "{error}");
}

#[tokio::test]
async fn every_connection_is_durable_and_waits_for_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&settings(dir.path())).await.unwrap();
    let text: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&store.pool).await.unwrap();
    assert_eq!(text, "wal");
    for (pragma, expected) in [("PRAGMA synchronous", 2), ("PRAGMA busy_timeout", 5_000), ("PRAGMA foreign_keys", 1)] {
        let value: i64 = sqlx::query_scalar(pragma).fetch_one(&store.pool).await.unwrap();
        assert_eq!(value, expected, "{pragma}");
    }
}

#[tokio::test]
async fn a_schema_of_a_newer_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&settings(dir.path())).await.unwrap();
    sqlx::query("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (3, 'later', TRUE, x'00', 0)")
        .execute(&store.pool)
        .await
        .unwrap();
    store.close().await;
    let error = Store::open(&settings(dir.path())).await.unwrap_err().to_string();
    assert_eq!(error, "database schema: migration 3 was previously applied but is missing in the resolved migrations");
}

#[tokio::test]
async fn a_row_that_this_program_never_writes_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&settings(dir.path())).await.unwrap();
    sqlx::query("INSERT INTO files (file_id, element_id, record, changed_at) VALUES ('a', 'b', '{}', 0)")
        .execute(&store.pool)
        .await
        .unwrap();
    let error = store.files(None, 1, 0).await.unwrap_err().to_string();
    assert!(error.starts_with("database row: record: missing field `file_id`"), "{error}");
    sqlx::query("INSERT INTO elements VALUES ('a', 'b', 'ro', 0, 0, 0)").execute(&store.pool).await.unwrap();
    let error = store.elements().await.unwrap_err().to_string();
    assert_eq!(error, "database row: mode must be \"edit\" or \"rw\"");
}
