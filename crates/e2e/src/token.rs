//! Tokens that the Admin Module never would give: signed with its own key, or not at all.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;
use std::path::Path;

/// A token taken apart.
#[derive(Debug, Clone)]
pub struct Token {
    /// The header.
    pub header: Value,
    /// The claims.
    pub claims: Value,
}

impl Token {
    /// Takes a token apart.
    ///
    /// # Panics
    /// When it is no JWT.
    #[must_use]
    pub fn read(jwt: &str) -> Self {
        let mut parts = jwt.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
        let mut json = || serde_json::from_slice(&parts.next().unwrap()).unwrap();
        Self { header: json(), claims: json() }
    }

    /// The same with another claim.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims[name] = value.into();
        self
    }

    /// The same, with all its times moved by so many seconds.
    ///
    /// # Panics
    /// When it has no such claims.
    #[must_use]
    pub fn moved_by(mut self, seconds: i64) -> Self {
        for name in ["iat", "nbf", "exp"] {
            let time = self.claims[name].as_i64().unwrap();
            self.claims[name] = (time + seconds).into();
        }
        self
    }

    fn message(&self) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}", part(&self.header), part(&self.claims))
    }

    /// `alg=none`, without a signature.
    #[must_use]
    pub fn unsigned(mut self) -> String {
        self.header["alg"] = "none".into();
        format!("{}.", self.message())
    }

    /// Signed with RS256.
    ///
    /// # Panics
    /// When the key does not sign.
    #[must_use]
    pub fn signed(&self, key: &RsaKeyPair) -> String {
        let message = self.message();
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// The Admin Module's signing key: the one RSA key below its data folder.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn signing_key(data: &Path) -> RsaKeyPair {
    let files = crate::payload::files_below(data);
    let texts = files.iter().filter_map(|file| std::fs::read_to_string(data.join(file)).ok());
    let mut keys = texts.filter_map(|text| rsa_key(&text));
    keys.next().unwrap_or_else(|| panic!("no RSA key below {}: {files:?}", data.display()))
}

fn rsa_key(pem: &str) -> Option<RsaKeyPair> {
    let (_, rest) = pem.split_once("PRIVATE KEY-----")?;
    let (body, _) = rest.split_once("-----END")?;
    let der = STANDARD.decode(body.split_whitespace().collect::<String>()).ok()?;
    RsaKeyPair::from_pkcs8(&der).or_else(|_| RsaKeyPair::from_der(&der)).ok()
}
