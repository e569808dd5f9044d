//! Client assertions (RFC 7523, RFC 10070): signed JWTs by which a client proves to an issuer who it is, as the issuer checks them.

use crate::claims::{seconds, text};
use crate::jws::{Compact, object};
use crate::{KeySet, VerifyError};
use artstore_metrics::UnixTime;
use serde_json::{Map, Value};
use std::time::Duration;

/// The longest assertion that is looked at, in bytes.
pub const MAX_ASSERTION_BYTES: usize = 8 * 1024;
/// The longest identifier (`jti`) of an assertion, in bytes.
pub const MAX_JTI_BYTES: usize = 256;

/// What an assertion must say.
#[derive(Debug, Clone, Copy)]
pub struct AssertionRules<'a> {
    /// The client whose keys they are: `iss` and `sub`.
    pub client_id: &'a str,
    /// The issuer's identifier: the sole audience, whatever else identifies the issuer.
    pub audience: &'a str,
    /// How far `exp` may lie ahead.
    pub max_lifetime: Duration,
    /// How much the client's clock may be ahead: `iat` and `nbf` may lie so far in the future, and `exp` so much further.
    pub leeway: Duration,
}

/// What a valid assertion leaves to do: it counts only if its issuer never saw it before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAssertion {
    /// The assertion's identifier, unique for its client until `exp`.
    pub jti: String,
    /// When it ends.
    pub exp: UnixTime,
}

impl ClientAssertion {
    /// Whom an assertion says to be from: only to find the keys with which it is verified then.
    #[must_use]
    pub fn unverified_client_id(assertion: &str) -> Option<String> {
        let claims = object(Compact::parse(bounded(assertion).ok()?).ok()?.unverified_payload())?;
        text(&claims, "sub").ok().map(str::to_owned)
    }

    /// Verifies an assertion with the client's keys, each of which is pinned to its algorithm.
    ///
    /// An assertion need not name its key: one without `kid` is tried with every key of its algorithm, so bound the set.
    ///
    /// # Errors
    /// If anything about it is wrong.
    pub fn verify(
        assertion: &str,
        keys: &KeySet,
        rules: &AssertionRules<'_>,
        now: UnixTime,
    ) -> Result<Self, VerifyError> {
        let compact = Compact::parse(bounded(assertion)?)?;
        let algorithm = compact.assertion_algorithm()?;
        compact.check_critical()?;
        let kind = compact.kind();
        if !matches!(kind.strip_prefix("application/").unwrap_or(&kind), "" | "jwt" | "client-authentication+jwt") {
            return Err(VerifyError::Type);
        }
        let payload = compact.payload_verified_by_any(keys, algorithm)?;
        let claims = object(payload).ok_or(VerifyError::Malformed("the payload is not a JSON object"))?;
        check(&claims, rules, now)
    }
}

fn bounded(assertion: &str) -> Result<&str, VerifyError> {
    if assertion.len() > MAX_ASSERTION_BYTES {
        return Err(VerifyError::Malformed("the assertion is too long"));
    }
    Ok(assertion)
}

fn check(
    claims: &Map<String, Value>,
    rules: &AssertionRules<'_>,
    now: UnixTime,
) -> Result<ClientAssertion, VerifyError> {
    if text(claims, "iss")? != rules.client_id {
        return Err(VerifyError::Issuer);
    }
    if text(claims, "sub")? != rules.client_id {
        return Err(VerifyError::InvalidClaim("sub"));
    }
    let sole = match claims.get("aud") {
        None => return Err(VerifyError::MissingClaim("aud")),
        Some(Value::Array(audiences)) => match audiences.as_slice() {
            [one] => one.as_str(),
            _ => None,
        },
        Some(one) => one.as_str(),
    };
    if sole != Some(rules.audience) {
        return Err(VerifyError::Audience);
    }
    let exp = seconds(claims, "exp")?.ok_or(VerifyError::MissingClaim("exp"))?;
    if now >= exp {
        return Err(VerifyError::Expired);
    }
    if exp > now.plus(rules.max_lifetime + rules.leeway) {
        return Err(VerifyError::InvalidClaim("exp"));
    }
    let latest_start = now.plus(rules.leeway);
    for name in ["iat", "nbf"] {
        if seconds(claims, name)?.is_some_and(|start| start > latest_start) {
            return Err(VerifyError::NotYetValid);
        }
    }
    let jti = text(claims, "jti")?;
    if jti.len() > MAX_JTI_BYTES {
        return Err(VerifyError::InvalidClaim("jti"));
    }
    Ok(ClientAssertion { jti: jti.to_owned(), exp })
}
