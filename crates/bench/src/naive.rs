//! A token cache as one writes it at first: a read lock, an exact clock, a shared value, and counters that all threads share.

use http::HeaderValue;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::RwLock;

/// Keeps one token.
pub struct TokenService {
    cached: RwLock<Option<Cached>>,
    /// `auth_token_validation_total{result="valid"}`.
    valid: AtomicU64,
    /// `auth_token_source_total{source="cache"}`.
    from_cache: AtomicU64,
    /// `auth_token_ttl_seconds`, as the bits of a float.
    ttl: AtomicU64,
}

struct Cached {
    authorization: HeaderValue,
    expires: Instant,
}

impl TokenService {
    /// A service whose cache has this token for a day.
    pub fn holding(token: &'static str) -> Self {
        let cached = Cached {
            authorization: HeaderValue::from_static(token),
            #[expect(clippy::disallowed_methods, reason = "as one writes it at first")]
            expires: Instant::now() + Duration::from_secs(86_400),
        };
        // A value that is shared, as one that came over the network is.
        let authorization = HeaderValue::from_bytes(cached.authorization.as_bytes()).unwrap_or(cached.authorization);
        Self {
            cached: RwLock::new(Some(Cached { authorization, ..cached })),
            valid: AtomicU64::new(0),
            from_cache: AtomicU64::new(0),
            ttl: AtomicU64::new(0),
        }
    }

    /// The token, if it lives for another five minutes.
    pub async fn access_token(&self) -> Option<HeaderValue> {
        let cached = self.cached.read().await;
        let cached = cached.as_ref()?;
        #[expect(clippy::disallowed_methods, reason = "as one writes it at first")]
        let left = cached.expires.saturating_duration_since(Instant::now());
        self.ttl.store(left.as_secs_f64().to_bits(), Ordering::Relaxed);
        if left < Duration::from_secs(300) {
            return None;
        }
        self.valid.fetch_add(1, Ordering::Relaxed);
        self.from_cache.fetch_add(1, Ordering::Relaxed);
        Some(cached.authorization.clone())
    }
}
