//! The published set of keys (RFC 7517).

use artstore_auth::{PublicKey, SigningKey};
use serde::Serialize;

/// One key of the set.
#[derive(Debug, Serialize)]
pub(crate) struct Jwk<'a> {
    #[serde(flatten)]
    key: &'a PublicKey,
    #[serde(rename = "use")]
    usage: &'static str,
    alg: &'static str,
    pub(crate) kid: &'a str,
}

impl<'a> Jwk<'a> {
    /// What is published of a signing key.
    pub(crate) fn of(key: &'a SigningKey) -> Self {
        Self { key: key.public_key(), usage: "sig", alg: key.algorithm().as_str(), kid: key.thumbprint() }
    }
}

/// The set.
#[derive(Debug, Serialize)]
pub(crate) struct JwkSet<'a> {
    pub(crate) keys: Vec<Jwk<'a>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use artstore_auth::Algorithm;

    #[test]
    fn a_key_is_published_with_its_use_algorithm_and_identifier() {
        let key = SigningKey::from_pkcs8(&SigningKey::generate_pkcs8(Algorithm::Es256).unwrap()).unwrap();
        let PublicKey::P256 { x, y, .. } = key.public_key() else { unreachable!() };
        let expected = serde_json::json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "x": x, "y": y, "use": "sig", "alg": "ES256", "kid": key.thumbprint()
        }] });
        assert_eq!(serde_json::to_value(JwkSet { keys: vec![Jwk::of(&key)] }).unwrap(), expected);
    }
}
