//! What an operator can set of the Admin Module, with the defaults.

use crate::limiter::FailureLimits;
use artstore_auth::Algorithm;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where accounts, elements and the index are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// One SQLite file, made with its folder if it is not there.
    Sqlite(PathBuf),
}

/// The settings of the Admin Module.
#[derive(Debug, Clone, PartialEq)]
pub struct AdminSettings {
    /// Where accounts, elements and the index are kept.
    pub database: Database,
    /// The folder of the signing keys, made if it is not there. Replicas share it.
    pub keys_dir: PathBuf,
    /// The issuer of the tokens: the base address at which clients reach this module, `https://host[:port]`.
    pub issuer: String,
    /// How long a token lives. Default 1800 s; from 1 s to 24 h.
    pub token_lifetime: Duration,
    /// What new tokens are signed with. Default RS256. Keys of other algorithms in the folder are still published.
    pub algorithm: Algorithm,
    /// An element whose last report is older than this is offline. Default 30 s: three of its reports.
    pub element_offline_after: Duration,
    /// Most connections to the database. Default 4.
    pub max_connections: u32,
    /// How long a write waits for another writer, and a request for a connection. Default 5 s.
    pub busy_timeout: Duration,
    /// How often the folder of keys is read again. Default 30 s.
    pub key_check_interval: Duration,
    /// How long a key is published before it signs, so that by then all replicas publish it and nobody keeps an older set:
    /// at least `jwks_max_age` and `key_check_interval`. Default 360 s.
    pub key_settle: Duration,
    /// How long verifiers may keep the published keys. Default 300 s.
    pub jwks_max_age: Duration,
    /// How often expired rows are swept, and the counts for the metrics are read again. Default 60 s.
    pub sweep_interval: Duration,
    /// How long the row of an expired file stays, unseen, so that its element's deletion still meets it. Default 24 h.
    pub expired_retention: Duration,
    /// How long the deletion of a file without a known end is remembered; that of another one is forgotten with its end,
    /// because a record that is told again later has expired anyway. Default 366 days: longer than any temporary file lives.
    pub tombstone_retention: Duration,
    /// After how long without a report an element leaves the list. Default 30 days.
    pub forget_elements_after: Duration,
    /// Longest body of a token request, in bytes. Default 16 KiB.
    pub max_token_body_bytes: usize,
    /// Longest body of the other requests, in bytes. Default 64 KiB.
    pub max_body_bytes: usize,
    /// Longest body of a batch of records, in bytes. Default 16 MiB: [`MAX_RECORDS`](artstore_api::element::MAX_RECORDS)
    /// of the longest records.
    pub max_batch_body_bytes: usize,
    /// How long a request's whole body may take. Default 30 s.
    pub body_timeout: Duration,
    /// Most elements of the list; a report of a new one beyond that is refused. Default 10 000.
    pub max_elements: u32,
    /// Most accounts; another one is refused. Default 10 000.
    pub max_accounts: u32,
    /// Most assertions of one account that are remembered at once, each for at most 10 minutes; more are refused with 429
    /// until then. Default 10 000.
    pub max_assertions: u32,
    /// How many failed authentications the token endpoint answers as such.
    pub failure_limits: FailureLimits,
}

impl AdminSettings {
    /// The defaults, with database and keys in `data_dir`.
    #[must_use]
    pub fn new(data_dir: &Path, issuer: impl Into<String>) -> Self {
        Self {
            database: Database::Sqlite(data_dir.join("admin.db")),
            keys_dir: data_dir.join("keys"),
            issuer: issuer.into(),
            token_lifetime: Duration::from_secs(1_800),
            algorithm: Algorithm::Rs256,
            element_offline_after: Duration::from_secs(30),
            max_connections: 4,
            busy_timeout: Duration::from_secs(5),
            key_check_interval: Duration::from_secs(30),
            key_settle: Duration::from_secs(360),
            jwks_max_age: Duration::from_secs(300),
            sweep_interval: Duration::from_secs(60),
            expired_retention: Duration::from_hours(24),
            tombstone_retention: Duration::from_hours(24 * 366),
            forget_elements_after: Duration::from_hours(24 * 30),
            max_token_body_bytes: 16 * 1024,
            max_body_bytes: 64 * 1024,
            max_batch_body_bytes: 16 * 1024 * 1024,
            body_timeout: Duration::from_secs(30),
            max_elements: 10_000,
            max_accounts: 10_000,
            max_assertions: 10_000,
            failure_limits: FailureLimits::default(),
        }
    }

    /// How long a key must stay published once it signs no more: until the last of its tokens has expired, a replica that
    /// noticed its successor late included, and nobody keeps the set that they came with.
    #[must_use]
    pub fn key_overlap(&self) -> Duration {
        self.token_lifetime + self.jwks_max_age + self.key_check_interval
    }

    /// All that is wrong with these settings, one sentence each; empty if nothing is.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, sentence: &str| {
            if !holds {
                problems.push(sentence.to_owned());
            }
        };
        require(is_base_url(&self.issuer), "issuer must be https://host[:port], without a slash at the end");
        let lifetime = Duration::from_secs(1)..=Duration::from_hours(24);
        require(lifetime.contains(&self.token_lifetime), "token_lifetime must be from 1 s to 24 h");
        require(!self.element_offline_after.is_zero(), "element_offline_after must not be zero");
        require(self.max_connections > 0, "max_connections must not be zero");
        require(!self.key_check_interval.is_zero(), "key_check_interval must not be zero");
        require(!self.sweep_interval.is_zero(), "sweep_interval must not be zero");
        require(
            self.key_settle >= self.jwks_max_age + self.key_check_interval,
            "key_settle must not be shorter than jwks_max_age and key_check_interval together",
        );
        let limits = self.failure_limits;
        let some = limits.per_client > 0 && limits.per_address > 0 && !limits.window.is_zero() && limits.entries > 0;
        require(some, "failure_limits must not be zero");
        problems
    }
}

/// `http://` or `https://`, an authority and nothing else.
pub(crate) fn is_base_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<http::Uri>() else { return false };
    let Some(authority) = uri.authority() else { return false };
    matches!(uri.scheme_str(), Some("http" | "https"))
        && !authority.as_str().contains('@')
        && text.len() == uri.scheme_str().map_or(0, str::len) + "://".len() + authority.as_str().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> AdminSettings {
        AdminSettings::new(Path::new("/data"), "https://127.0.0.1:8000")
    }

    #[test]
    fn defaults_are_valid_and_as_documented() {
        let settings = settings();
        assert_eq!(settings.problems(), [""; 0]);
        assert_eq!(settings.database, Database::Sqlite("/data/admin.db".into()));
        assert_eq!(settings.keys_dir, Path::new("/data/keys"));
        assert_eq!(settings.token_lifetime.as_secs(), 1_800);
        assert_eq!(settings.element_offline_after.as_secs(), 30);
        assert_eq!(settings.tombstone_retention.as_secs(), 366 * 86_400);
    }

    #[test]
    fn every_mistake_is_told() {
        let wrong = AdminSettings {
            issuer: "https://a/".into(),
            token_lifetime: Duration::ZERO,
            element_offline_after: Duration::ZERO,
            max_connections: 0,
            key_check_interval: Duration::ZERO,
            sweep_interval: Duration::ZERO,
            key_settle: Duration::ZERO,
            failure_limits: FailureLimits { per_client: 0, ..FailureLimits::default() },
            ..settings()
        };
        assert_eq!(wrong.problems().len(), 8);
        assert_eq!(wrong.problems()[1], "token_lifetime must be from 1 s to 24 h");
    }

    #[test]
    fn base_urls_have_a_scheme_and_an_authority_alone() {
        for good in ["https://admin.example", "http://127.0.0.1:8000", "https://[::1]:8000"] {
            assert!(is_base_url(good), "{good}");
        }
        for bad in
            ["", "admin", "https://", "ftp://a", "https://a/", "https://a/b", "https://a?b", "https://u:p@a", "/a"]
        {
            assert!(!is_base_url(bad), "{bad}");
        }
    }
}
