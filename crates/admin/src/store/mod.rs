//! The database: opened, migrated, its errors. The SQL is what SQLite and PostgreSQL both accept.

mod accounts;
mod assertions;
mod elements;
mod files;

pub(crate) use accounts::{AccountChange, Changed, Credentials, new_account};
pub(crate) use assertions::Remembered;
pub(crate) use elements::Reported;
pub(crate) use files::{Applied, Source, Swept};

use crate::settings::{AdminSettings, Database};
use artstore_metrics::UnixTime;
use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use std::path::PathBuf;
use std::time::Duration;
use time::OffsetDateTime;

/// The versions of the schema, in order. A released file is never changed: a change is a new file.
const MIGRATIONS: [(i64, &str, &str); 2] = [
    (1, "initial", include_str!("../../migrations/0001_initial.sql")),
    (2, "authentication", include_str!("../../migrations/0002_authentication.sql")),
];

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused, is busy or away.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// The schema is another program's, or a newer version's.
    #[error("database schema: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The folder of the database cannot be made.
    #[error("{}: {error}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A row holds what this program never writes.
    #[error("database row: {0}")]
    Row(String),
}

/// The database. Clones share its connections.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pool: SqlitePool,
}

impl Store {
    /// Opens the database, makes it if it is not there, and brings its schema up to date.
    pub(crate) async fn open(settings: &AdminSettings) -> Result<Self, StoreError> {
        let Database::Sqlite(path) = &settings.database;
        if let Some(dir) = path.parent() {
            let made = tokio::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).await;
            made.map_err(|error| StoreError::Folder { path: dir.to_owned(), error })?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(settings.busy_timeout);
        let pool = SqlitePoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(settings.busy_timeout)
            .idle_timeout(Duration::from_mins(10))
            .connect_with(options)
            .await?;
        let migrations = MIGRATIONS.map(|(version, description, sql)| {
            Migration::new(version, description.into(), MigrationType::Simple, sql.into_sql_str(), false)
        });
        Migrator::with_migrations(migrations.into()).run(&pool).await?;
        Ok(Self { pool })
    }

    /// Whether the database answers.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query_scalar::<_, i64>("SELECT 1").fetch_one(&self.pool).await?;
        Ok(())
    }

    /// Finishes what is under way and closes all connections.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}

/// Milliseconds since the epoch.
pub(crate) fn millis(moment: UnixTime) -> i64 {
    i64::try_from(moment.as_duration().as_millis()).unwrap_or(i64::MAX)
}

/// Milliseconds since the epoch.
fn millis_of(moment: OffsetDateTime) -> i64 {
    i64::try_from(moment.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

fn moment(millis: i64) -> Result<OffsetDateTime, StoreError> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000)
        .map_err(|_| StoreError::Row(format!("{millis} ms is no moment")))
}

/// A number of bytes as the database holds it.
fn stored_bytes(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn bytes(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}

#[cfg(test)]
mod tests;
