//! What a session is told beforehand: the address, the limits, and who hears of progress.

use std::sync::Arc;
use std::time::Duration;

/// The limits of a session, each with its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Attempts in a row that move nothing, before giving up; default 5.
    pub attempts: u32,
    /// The pause after the first failure; each further one doubles it; default 500 ms.
    pub backoff_first: Duration,
    /// The longest pause; default 15 s.
    pub backoff_max: Duration,
    /// The longest `Retry-After` that is waited for; a longer one ends the work; default 60 s.
    pub retry_after_max: Duration,
    /// How long a transfer may move nothing; default 60 s.
    pub stall: Duration,
    /// How long the answer may take once the last byte is sent; default 120 s.
    pub answer: Duration,
    /// How long an upload waits for `100 Continue` before it sends its first byte anyway; default 1 s.
    pub continue_wait: Duration,
    /// Bytes read from a file at a time; default 256 KiB.
    pub chunk_bytes: usize,
    /// The largest record or problem document that is read; default 1 MiB.
    pub document_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            attempts: 5,
            backoff_first: Duration::from_millis(500),
            backoff_max: Duration::from_secs(15),
            retry_after_max: Duration::from_secs(60),
            stall: Duration::from_secs(60),
            answer: Duration::from_secs(120),
            continue_wait: Duration::from_secs(1),
            chunk_bytes: 256 * 1024,
            document_bytes: 1024 * 1024,
        }
    }
}

/// The address of a module: `https://host:port`, optionally with a path prefix. Plain `http` is for this machine alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(String);

/// Why an address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} is no usable address: {reason}")]
pub struct InvalidUrl {
    /// The address, without user name or password.
    pub url: String,
    /// What is wrong and what is allowed.
    pub reason: &'static str,
}

impl BaseUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, InvalidUrl> {
        let shown = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
        let invalid = |reason| InvalidUrl { url: shown.to_owned(), reason };
        if text.contains('@') {
            return Err(invalid("user names and passwords do not belong in an address"));
        }
        let uri: http::Uri = text.trim().parse().map_err(|_| invalid("write it as https://host:port"))?;
        let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else {
            return Err(invalid("write it as https://host:port"));
        };
        if uri.query().is_some() {
            return Err(invalid("a query does not belong in an address"));
        }
        match scheme {
            "https" => {}
            "http" if is_loopback(host) => {}
            "http" => return Err(invalid("http would show the token to the network: use https")),
            _ => return Err(invalid("only https is spoken")),
        }
        Ok(Self(text.trim().trim_end_matches('/').to_owned()))
    }

    /// The address, without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What happens during a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The bytes on disk are being hashed: so many of so many.
    Hashing {
        /// Bytes hashed.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// Bytes are moving: so many of so many, if known. `done` falls back when a transfer starts again.
    Moving {
        /// Bytes moved.
        done: u64,
        /// Bytes in all.
        total: Option<u64>,
    },
    /// An attempt failed; another follows.
    Retrying {
        /// The number of the attempt that comes.
        attempt: u32,
        /// The pause before it.
        wait: Duration,
        /// Why the last one failed.
        reason: String,
    },
}

/// Hears of [`Event`]s; must be quick.
pub type Progress = Arc<dyn Fn(&Event) + Send + Sync>;

/// Hears nothing.
#[must_use]
pub fn no_progress() -> Progress {
    Arc::new(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_loses_its_last_slash_alone() {
        for (text, kept) in [
            ("https://a.example:8020", "https://a.example:8020"),
            ("https://a.example/art/", "https://a.example/art"),
            (" http://127.0.0.1:1/ ", "http://127.0.0.1:1"),
            ("http://[::1]:8020", "http://[::1]:8020"),
            ("http://localhost:8020", "http://localhost:8020"),
        ] {
            assert_eq!(BaseUrl::parse(text).unwrap().as_str(), kept);
        }
    }

    #[test]
    fn a_wrong_address_says_what_is_wrong_and_hides_the_password() {
        for (text, reason) in [
            ("http://a.example", "http would show the token to the network: use https"),
            ("ftp://a.example", "only https is spoken"),
            ("a.example:80", "write it as https://host:port"),
            ("", "write it as https://host:port"),
            ("https://a.example/?q", "a query does not belong in an address"),
            ("https://me:secret@a.example", "user names and passwords do not belong in an address"),
        ] {
            let refused = BaseUrl::parse(text).unwrap_err();
            assert_eq!(refused.reason, reason, "{text}");
            assert!(!refused.to_string().contains("secret"));
        }
    }
}
