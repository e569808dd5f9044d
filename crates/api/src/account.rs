//! Service accounts of the Admin Module, and the two forms of its token endpoint.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
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
    /// As in [`ChangeAccount`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Value>,
    /// As in [`ChangeAccount`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateRule>,
    /// As in [`ChangeAccount`].
    #[serde(default)]
    pub certificate_bound_tokens: bool,
    /// As in [`ChangeAccount`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub element_id: Option<String>,
}

/// `PATCH /api/v1/service-accounts/{client_id}`: what is absent stays, what is null is removed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeAccount {
    /// The public keys of its assertions (`private_key_jwt`): a JWK or a JWK Set.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub jwks: Option<Option<Value>>,
    /// The client certificate by which it authenticates (`tls_client_auth`).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub certificate: Option<Option<CertificateRule>>,
    /// Whether its tokens are bound to the certificate of the connection over which they are asked for (RFC 8705).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_bound_tokens: Option<bool>,
    /// The one Storage Element for which it may report.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub element_id: Option<Option<String>>,
}

/// Tells null apart from absent.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Which client certificates are an account's. Each must be issued by an authority that the module trusts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateRule {
    /// The whole subject as an RFC 4514 string, as `artstore certs inspect` shows it.
    Subject(String),
    /// One of its subject alternative names: a DNS name, an address, a URI or a mail address.
    San(String),
    /// The SHA-256 of the certificate itself, in hexadecimal.
    Sha256(String),
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
    /// How many secrets it has: two during a rotation, none if it authenticates in another way.
    pub secrets: u8,
    /// The identifiers of the keys of its assertions.
    #[serde(default)]
    pub key_ids: Vec<String>,
    /// The client certificate by which it authenticates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateRule>,
    /// Whether its tokens are bound to a client certificate.
    #[serde(default)]
    pub certificate_bound_tokens: bool,
    /// The one Storage Element for which it may report; any if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub element_id: Option<String>,
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
