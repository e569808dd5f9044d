//! The cached token: what callers get of it, and until when, by wall and by monotonic time.

use crate::jws::{Compact, object};
use crate::metrics::TokenCheck;
use artstore_metrics::{Clock, Monotonic, UnixTime};
use http::HeaderValue;
use std::sync::Arc;
use std::time::Duration;

/// An access token. Its only form is the header that carries it; `Debug` shows none of it.
#[derive(Clone)]
pub struct AccessToken(Arc<Parts>);

struct Parts {
    authorization: HeaderValue,
    generation: u64,
    identity: u64,
    instance: usize,
}

impl AccessToken {
    pub(crate) fn new(authorization: HeaderValue, generation: u64, identity: u64, instance: usize) -> Self {
        Self(Arc::new(Parts { authorization, generation, identity, instance }))
    }

    /// The same token in memory of its own: cloning one does not touch what cloning the other does.
    pub(crate) fn detached(&self) -> Self {
        let mut copy = HeaderValue::from_bytes(self.0.authorization.as_bytes());
        if let Ok(copy) = &mut copy {
            copy.set_sensitive(self.0.authorization.is_sensitive());
        }
        // What was a header value is one.
        let authorization = copy.unwrap_or_else(|_| self.authorization());
        Self::new(authorization, self.0.generation, self.0.identity, self.0.instance)
    }

    /// The value of the `Authorization` header, marked as sensitive. A clone of it copies no bytes.
    #[must_use]
    pub fn authorization(&self) -> HeaderValue {
        self.0.authorization.clone()
    }

    /// The value of the `Authorization` header, lent.
    #[must_use]
    pub fn header(&self) -> &HeaderValue {
        &self.0.authorization
    }

    /// Which token this is, for [`AuthService::invalidate`](crate::AuthService::invalidate). Later tokens have larger numbers.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    /// Over which identity it was fetched: 0 for the first, one more for each
    /// [`AuthService::change_identity`](crate::AuthService::change_identity). A token that is bound to a certificate goes over
    /// connections of that identity only.
    #[must_use]
    pub fn identity(&self) -> u64 {
        self.0.identity
    }

    /// Whether it says that it is bound to a client certificate (RFC 8705). It came from its issuer over a trusted connection.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        let token = self.0.authorization.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
        let claims = token.and_then(|token| object(Compact::parse(token).ok()?.unverified_payload()));
        claims.is_some_and(|claims| claims.contains_key("cnf"))
    }

    pub(crate) fn instance(&self) -> usize {
        self.0.instance
    }
}

impl std::fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessToken").field("generation", &self.0.generation).finish_non_exhaustive()
    }
}

/// The same moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) wall: UnixTime,
    pub(crate) monotonic: Monotonic,
}

impl Moment {
    pub(crate) fn now<C: Clock>(clock: &C) -> Self {
        Self { wall: clock.wall(), monotonic: clock.monotonic() }
    }

    pub(crate) fn plus(self, duration: Duration) -> Self {
        Self { wall: self.wall.plus(duration), monotonic: self.monotonic.plus(duration) }
    }

    /// Whether this moment is reached, on whichever clock is there first.
    pub(crate) fn is_reached(self, now: Self) -> bool {
        now.wall >= self.wall || now.monotonic >= self.monotonic
    }

    /// How long until it is reached on the first of the two clocks.
    pub(crate) fn left(self, now: Self) -> Duration {
        self.wall.since(now.wall).min(self.monotonic.since(now.monotonic))
    }
}

/// A token in the cache, with its deadlines.
pub(crate) struct Held {
    pub(crate) token: AccessToken,
    /// The token's end, as its issuer says.
    pub(crate) expires: Moment,
    /// The end of its use here: exp − min(10 s, lifetime/10).
    usable: Moment,
    /// The start of its refresh margin: exp − min(300 s, lifetime/2), but not in the first half of its use.
    soon: Moment,
    /// The background refresh: up to a minute, or a fifth of the time to the margin, before the margin starts.
    refresh: Moment,
}

impl Held {
    /// A token that was asked for at `sent`, lives for `lifetime` and by its own claims ends no later than `claimed`.
    pub(crate) fn new(token: AccessToken, sent: Moment, lifetime: Duration, claimed: Option<UnixTime>) -> Self {
        let life = life(sent, lifetime, claimed);
        let usable = usable_for(life, lifetime);
        // The half of its use counts if its own end is so much earlier than its lifetime says that the margin would take it all:
        // an issuer that says too much is not asked again at once, and then again.
        let soon = life.saturating_sub((lifetime / 2).min(Duration::from_secs(300))).max(whole_millis(usable / 2));
        let jitter = crate::random::up_to(whole_millis(soon / 5).min(Duration::from_secs(60)));
        Self {
            token,
            expires: sent.plus(life),
            usable: sent.plus(usable),
            soon: sent.plus(soon),
            refresh: sent.plus(soon.saturating_sub(jitter)),
        }
    }

    /// What a caller finds.
    pub(crate) fn check(&self, now: Moment) -> TokenCheck {
        if self.usable.is_reached(now) {
            TokenCheck::Expired
        } else if self.soon.is_reached(now) {
            TokenCheck::ExpiringSoon
        } else {
            TokenCheck::Valid
        }
    }

    /// How long a caller goes on finding the same as now, if it is a usable token.
    pub(crate) fn unchanged_for(&self, check: TokenCheck, now: Moment) -> Duration {
        match check {
            TokenCheck::Valid => self.soon.left(now).min(self.usable.left(now)),
            TokenCheck::ExpiringSoon => self.usable.left(now),
            TokenCheck::Expired | TokenCheck::Missing => Duration::ZERO,
        }
    }

    /// How long the token may still be handed out.
    pub(crate) fn usable_for(&self, now: Moment) -> Duration {
        self.usable.left(now)
    }

    /// How long until the background refresh is due.
    pub(crate) fn refresh_in(&self, now: Moment) -> Duration {
        self.refresh.left(now)
    }
}

/// The end of a token's use: exp − min(10 s, lifetime/10).
pub(crate) fn usable_until(sent: Moment, lifetime: Duration, claimed: Option<UnixTime>) -> Moment {
    sent.plus(usable_for(life(sent, lifetime, claimed), lifetime))
}

fn usable_for(life: Duration, lifetime: Duration) -> Duration {
    life.saturating_sub((lifetime / 10).min(Duration::from_secs(10)))
}

/// Tokio's timers know no smaller unit: a margin with half a millisecond would begin at one moment and be seen at another.
const fn whole_millis(duration: Duration) -> Duration {
    Duration::new(duration.as_secs(), duration.subsec_millis() * 1_000_000)
}

/// The lifetime, or what is left of it by the token's own end.
fn life(sent: Moment, lifetime: Duration, claimed: Option<UnixTime>) -> Duration {
    claimed.map_or(lifetime, |exp| lifetime.min(exp.since(sent.wall)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(secs: u64) -> Moment {
        Moment { wall: UnixTime::from_secs(1_000 + secs), monotonic: Monotonic::from_origin(Duration::from_secs(secs)) }
    }

    fn held(lifetime: u64, claimed: Option<u64>) -> Held {
        let token = AccessToken::new(HeaderValue::from_static("Bearer canary"), 7, 3, 0);
        Held::new(token, moment(0), Duration::from_secs(lifetime), claimed.map(|exp| UnixTime::from_secs(1_000 + exp)))
    }

    #[test]
    fn a_token_is_bound_if_it_says_so() {
        let bound = |payload: &str| {
            use base64::Engine as _;
            let part = |json: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json);
            let text = format!("Bearer {}.{}.{}", part(r#"{"alg":"RS256"}"#), part(payload), part("signature"));
            AccessToken::new(HeaderValue::try_from(text).unwrap(), 1, 0, 0).is_bound()
        };
        assert!(bound(r#"{"cnf":{"x5t#S256":"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}}"#));
        assert!(!bound(r#"{"sub":"cnf"}"#));
        assert!(!bound("cnf"));
        assert!(!AccessToken::new(HeaderValue::from_static("Bearer opaque"), 1, 0, 0).is_bound());
        assert!(!AccessToken::new(HeaderValue::from_static("Basic cnf"), 1, 0, 0).is_bound());
    }

    #[test]
    fn margins_follow_the_lifetime() {
        // Lifetime, start of the margin, usable end, earliest refresh; in milliseconds.
        let cases = [
            (1, 500, 900, 400),
            (10, 5_000, 9_000, 4_000),
            (299, 149_500, 289_000, 119_600),
            (300, 150_000, 290_000, 120_000),
            (301, 150_500, 291_000, 120_400),
            (1_800, 1_500_000, 1_790_000, 1_440_000),
            (1_000_000_000, 999_999_700_000, 999_999_990_000, 999_999_640_000),
        ];
        for (lifetime, soon, usable, earliest) in cases {
            let held = held(lifetime, None);
            let at = |ms: u64| moment(0).plus(Duration::from_millis(ms));
            assert_eq!(held.check(at(soon - 1)), TokenCheck::Valid, "{lifetime}");
            assert_eq!(held.check(at(soon)), TokenCheck::ExpiringSoon, "{lifetime}");
            assert_eq!(held.check(at(usable - 1)), TokenCheck::ExpiringSoon, "{lifetime}");
            assert_eq!(held.check(at(usable)), TokenCheck::Expired, "{lifetime}");
            let refresh = held.refresh_in(moment(0)).as_millis();
            assert!(refresh >= earliest && refresh <= u128::from(soon), "{lifetime}: {refresh}");
        }
    }

    #[test]
    fn a_thousand_services_that_started_together_refresh_apart() {
        let mut seconds = std::collections::HashMap::new();
        for _ in 0..1_000 {
            let refresh = held(3_600, None).refresh_in(moment(0)).as_secs();
            assert!((3_240..=3_300).contains(&refresh), "{refresh}");
            *seconds.entry(refresh).or_insert(0) += 1;
        }
        assert!(seconds.values().all(|count| *count <= 50), "{seconds:?}");
    }

    #[test]
    fn either_clock_ends_it() {
        let held = held(1_800, None);
        let (early, late) = (moment(0), moment(1_790));
        assert_eq!(held.check(Moment { wall: early.wall, monotonic: late.monotonic }), TokenCheck::Expired);
        assert_eq!(held.check(Moment { wall: late.wall, monotonic: early.monotonic }), TokenCheck::Expired);
        assert_eq!(
            held.usable_for(Moment { wall: UnixTime::default(), monotonic: moment(1_780).monotonic }).as_secs(),
            10
        );
    }

    #[test]
    fn the_tokens_own_end_counts_if_it_is_earlier() {
        assert_eq!(held(1_800, Some(1_000)).usable_for(moment(0)).as_secs(), 990);
        assert_eq!(held(1_800, Some(9_000)).usable_for(moment(0)).as_secs(), 1_790);
        assert_eq!(held(1_800, Some(0)).check(moment(0)), TokenCheck::Expired);
        assert_eq!(held(1_800, Some(1_000)).expires.left(moment(0)).as_secs(), 1_000);
        // Of 200 s it is usable for 190, so its margin begins after 95 and its refresh up to 19 s earlier.
        let short = held(3_600, Some(200));
        assert_eq!(short.check(moment(94)), TokenCheck::Valid);
        assert_eq!(short.check(moment(95)), TokenCheck::ExpiringSoon);
        assert!((76..=95).contains(&short.refresh_in(moment(0)).as_secs()));
    }

    #[test]
    fn debug_shows_the_generation_only() {
        let token = held(1, None).token;
        assert_eq!(format!("{token:?}"), "AccessToken { generation: 7, .. }");
        assert_eq!((token.generation(), token.identity(), token.instance()), (7, 3, 0));
        assert_eq!(token.detached().identity(), 3);
    }
}
