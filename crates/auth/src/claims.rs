//! The claims of an access token (RFC 9068): which must be there, and what they must say.

use crate::jws::{Compact, object};
use crate::{Algorithm, AuthErrorType, VerifyError};
use artstore_metrics::UnixTime;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::time::Duration;

/// What a valid token says about its bearer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Whom the token is about.
    pub sub: String,
    /// The client that got it.
    pub client_id: String,
    /// What it allows.
    pub scope: BTreeSet<String>,
    /// The token's identifier.
    pub jti: String,
    /// When it was issued.
    pub iat: UnixTime,
    /// When it ends.
    pub exp: UnixTime,
    /// SHA-256 of the client certificate that the token is bound to (RFC 8705), if it is.
    pub certificate: Option<[u8; 32]>,
}

impl Claims {
    /// Whether the token allows this.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scope.contains(scope)
    }

    /// Reads the payload and checks it at `now` against what is expected.
    pub(crate) fn check(payload: &[u8], expected: &Expected<'_>, now: UnixTime) -> Result<Self, VerifyError> {
        let claims = object(payload).ok_or(VerifyError::Malformed("the payload is not a JSON object"))?;
        if text(&claims, "iss")? != expected.issuer {
            return Err(VerifyError::Issuer);
        }
        check_audience(&claims, expected.audiences)?;
        let exp = seconds(&claims, "exp")?.ok_or(VerifyError::MissingClaim("exp"))?;
        let iat = seconds(&claims, "iat")?.ok_or(VerifyError::MissingClaim("iat"))?;
        let nbf = seconds(&claims, "nbf")?;
        let latest_start = now.plus(expected.leeway);
        if iat > latest_start || nbf.is_some_and(|nbf| nbf > latest_start) {
            return Err(VerifyError::NotYetValid);
        }
        if now >= exp {
            return Err(VerifyError::Expired);
        }
        Ok(Self {
            sub: text(&claims, "sub")?.to_owned(),
            client_id: text(&claims, "client_id")?.to_owned(),
            scope: scope(&claims)?,
            jti: text(&claims, "jti")?.to_owned(),
            iat,
            exp,
            certificate: confirmation(&claims)?,
        })
    }
}

/// What a token must say.
pub(crate) struct Expected<'a> {
    pub(crate) issuer: &'a str,
    /// All of these.
    pub(crate) audiences: &'a [String],
    pub(crate) leeway: Duration,
}

/// What the token that an [`AuthService`](crate::AuthService) receives must say of itself. Its signature is not checked by
/// this: it came from the issuer over TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedClaims {
    /// The exact issuer.
    pub issuer: String,
    /// The audiences that must all be in it.
    pub audiences: Vec<String>,
    /// The algorithms that it may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// How far its `iat` and `nbf` may lie in the future.
    pub leeway: Duration,
}

impl ExpectedClaims {
    /// Checks a received token and gives its end.
    pub(crate) fn check(&self, token: &str, now: UnixTime) -> Result<UnixTime, VerifyError> {
        let compact = Compact::parse(token)?;
        compact.algorithm(&self.algorithms)?;
        compact.check_header()?;
        let expected = Expected { issuer: &self.issuer, audiences: &self.audiences, leeway: self.leeway };
        Ok(Claims::check(compact.unverified_payload(), &expected, now)?.exp)
    }
}

impl VerifyError {
    /// The kind of error when it is a token that we received from its issuer.
    #[must_use]
    pub const fn auth_error_type(&self) -> AuthErrorType {
        match self {
            Self::Expired | Self::NotYetValid => AuthErrorType::ClockSkew,
            Self::UnknownKey | Self::KeysUnavailable => AuthErrorType::JwksUnavailable,
            Self::Malformed(_)
            | Self::Algorithm
            | Self::Critical
            | Self::Type
            | Self::NoKeyId
            | Self::Signature
            | Self::MissingClaim(_)
            | Self::InvalidClaim(_)
            | Self::Issuer
            | Self::Audience
            | Self::Certificate => AuthErrorType::TokenInvalid,
        }
    }
}

/// A claim that must be a text and not empty.
pub(crate) fn text<'a>(claims: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, VerifyError> {
    match claims.get(name) {
        None => Err(VerifyError::MissingClaim(name)),
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(_) => Err(VerifyError::InvalidClaim(name)),
    }
}

/// A claim that is a whole number of seconds, if it is there.
pub(crate) fn seconds(claims: &Map<String, Value>, name: &'static str) -> Result<Option<UnixTime>, VerifyError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    value.as_u64().map(|secs| Some(UnixTime::from_secs(secs))).ok_or(VerifyError::InvalidClaim(name))
}

fn check_audience(claims: &Map<String, Value>, expected: &[String]) -> Result<(), VerifyError> {
    let audiences: Vec<&str> = match claims.get("aud") {
        None => return Err(VerifyError::MissingClaim("aud")),
        Some(Value::String(audience)) => vec![audience],
        Some(Value::Array(audiences)) => audiences
            .iter()
            .map(|audience| audience.as_str().ok_or(VerifyError::InvalidClaim("aud")))
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(VerifyError::InvalidClaim("aud")),
    };
    let all = expected.iter().all(|expected| audiences.contains(&expected.as_str()));
    if all { Ok(()) } else { Err(VerifyError::Audience) }
}

fn scope(claims: &Map<String, Value>) -> Result<BTreeSet<String>, VerifyError> {
    match claims.get("scope") {
        None => Ok(BTreeSet::new()),
        Some(Value::String(scope)) => {
            Ok(scope.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect())
        }
        Some(_) => Err(VerifyError::InvalidClaim("scope")),
    }
}

/// The certificate that the token is bound to. A binding of another kind cannot be checked, so it refuses the token.
fn confirmation(claims: &Map<String, Value>) -> Result<Option<[u8; 32]>, VerifyError> {
    let invalid = VerifyError::InvalidClaim("cnf");
    match claims.get("cnf") {
        None => Ok(None),
        Some(Value::Object(confirmation)) if confirmation.len() == 1 => {
            let thumbprint = confirmation.get("x5t#S256").and_then(Value::as_str).ok_or(invalid)?;
            let bytes = URL_SAFE_NO_PAD.decode(thumbprint).map_err(|_| invalid)?;
            bytes.try_into().map(Some).map_err(|_| invalid)
        }
        Some(_) => Err(invalid),
    }
}
