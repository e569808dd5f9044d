//! Service accounts of the Admin Module, and the two forms of its token endpoint.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// `POST /api/v1/service-accounts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateAccount {
    /// A name for people.
    pub name: String,
    /// What its tokens allow; see [`scope`](crate::scope).
    pub scopes: Vec<String>,
    /// Where its tokens are valid; see [`scope::AUDIENCES`](crate::scope::AUDIENCES).
    pub audiences: Vec<String>,
}

/// An account without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The client identifier.
    pub client_id: String,
    /// A name for people.
    pub name: String,
    /// What its tokens allow.
    pub scopes: Vec<String>,
    /// Where its tokens are valid.
    pub audiences: Vec<String>,
    /// Whether it gets tokens.
    pub active: bool,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// The answer to [`CreateAccount`] and to a rotation: the only time that a secret is shown.
#[derive(Clone, Serialize, Deserialize)]
pub struct NewSecret {
    /// The client identifier.
    pub client_id: String,
    /// 256 random bits, base64url.
    pub client_secret: String,
}

impl std::fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewSecret").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// The original's token request, `POST /api/v1/auth/token`.
#[derive(Clone, Serialize, Deserialize)]
pub struct JsonTokenRequest {
    /// The client identifier.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
}

impl std::fmt::Debug for JsonTokenRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JsonTokenRequest").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}
