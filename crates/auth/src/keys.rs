//! The public keys of an issuer: read from a JWKS document, each pinned to one algorithm.

use aws_lc_rs::signature::{self, ParsedPublicKey, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use std::collections::HashMap;

/// The most keys that one set may hold.
const MAX_KEYS: usize = 100;
/// The longest key identifier that is looked up.
pub(crate) const MAX_KID_BYTES: usize = 128;

/// The signature algorithms that can be accepted. There is no `none`, and no algorithm with a shared key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    /// The name in a token's header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of this exact name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }
}

/// Why a document is not a set of usable keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// It is not JSON of the form `{"keys": [...]}`.
    #[error("the document is not a JSON Web Key Set")]
    Malformed,
    /// It has more keys than anyone needs.
    #[error("the key set has more than 100 keys")]
    TooManyKeys,
    /// None of its keys can verify a signature of an accepted algorithm.
    #[error("the key set has no usable key")]
    NoUsableKey,
}

/// Public keys by their identifier.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: HashMap<Box<str>, Key>,
}

#[derive(Debug)]
struct Key {
    algorithm: Algorithm,
    public: ParsedPublicKey,
}

impl Key {
    fn same_as(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.public.as_ref() == other.public.as_ref()
    }
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// Present only in a private key, which nobody may publish.
    d: Option<serde_json::Value>,
}

impl KeySet {
    /// Reads a JWKS document. Keys that cannot verify signatures of one of `algorithms` are passed over, so that an issuer may
    /// publish others beside; so are different keys with one identifier.
    ///
    /// # Errors
    /// If it is no key set, is too large, or no key is left.
    pub fn parse(document: &[u8], algorithms: &[Algorithm]) -> Result<Self, KeySetError> {
        // serde passes over bad UTF-8 in members that nobody reads.
        let document = std::str::from_utf8(document).map_err(|_| KeySetError::Malformed)?;
        let document: Document = serde_json::from_str(document).map_err(|_| KeySetError::Malformed)?;
        if document.keys.len() > MAX_KEYS {
            return Err(KeySetError::TooManyKeys);
        }
        let mut keys: HashMap<Box<str>, Key> = HashMap::new();
        let mut ambiguous = Vec::new();
        for jwk in document.keys {
            let Some((kid, key)) = read_key(jwk) else { continue };
            if !algorithms.contains(&key.algorithm) {
                continue;
            }
            if keys.get(&kid).is_some_and(|known| !known.same_as(&key)) {
                ambiguous.push(kid);
            } else {
                keys.insert(kid, key);
            }
        }
        keys.retain(|kid, _| !ambiguous.contains(kid));
        if keys.is_empty() { Err(KeySetError::NoUsableKey) } else { Ok(Self { keys }) }
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether there is a key with this identifier.
    #[must_use]
    pub fn contains(&self, kid: &str) -> bool {
        self.keys.contains_key(kid)
    }

    /// Whether the key `kid` is pinned to `algorithm` and made this signature.
    pub(crate) fn verify(&self, kid: &str, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.keys
            .get(kid)
            .is_some_and(|key| key.algorithm == algorithm && key.public.verify_sig(message, signature).is_ok())
    }

    /// Whether a key that is pinned to `algorithm` made this signature.
    pub(crate) fn verify_by_any(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let mut pinned = self.keys.values().filter(|key| key.algorithm == algorithm);
        pinned.any(|key| key.public.verify_sig(message, signature).is_ok())
    }
}

/// One key with its identifier, if it is a public key for signatures.
fn read_key(jwk: serde_json::Value) -> Option<(Box<str>, Key)> {
    let jwk: Jwk = serde_json::from_value(jwk).ok()?;
    let kid = jwk.kid.as_deref().filter(|kid| !kid.is_empty() && kid.len() <= MAX_KID_BYTES)?;
    let for_signatures = jwk.usage.as_deref().is_none_or(|usage| usage == "sig")
        && jwk.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
    if !for_signatures || jwk.d.is_some() {
        return None;
    }
    let (algorithm, public) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", None) => (Algorithm::Rs256, rsa_key(&jwk)?),
        ("EC", Some("P-256")) => (Algorithm::Es256, p256_key(&jwk)?),
        ("OKP", Some("Ed25519")) => (Algorithm::EdDsa, ed25519_key(&jwk)?),
        _ => return None,
    };
    let pinned = jwk.alg.as_deref().is_none_or(|name| name == algorithm.as_str());
    pinned.then(|| (kid.into(), Key { algorithm, public }))
}

fn rsa_key(jwk: &Jwk) -> Option<ParsedPublicKey> {
    let (n, e) = (decode(jwk.n.as_ref()?)?, decode(jwk.e.as_ref()?)?);
    // 2048 to 8192 bits; the verification itself is exact to the bit.
    if !(256..=1024).contains(&n.len()) || n.starts_with(&[0]) {
        return None;
    }
    // With an exponent of 1 the message is its own signature, an even one has no private half, a long one only costs time.
    if e.len() > 5 || e.starts_with(&[0]) || e == [1] || e.last().is_none_or(|last| last % 2 == 0) {
        return None;
    }
    RsaPublicKeyComponents { n: &n, e: &e }.to_parsed_public_key(&signature::RSA_PKCS1_2048_8192_SHA256).ok()
}

fn p256_key(jwk: &Jwk) -> Option<ParsedPublicKey> {
    let (x, y) = (decode(jwk.x.as_ref()?)?, decode(jwk.y.as_ref()?)?);
    if x.len() != 32 || y.len() != 32 {
        return None;
    }
    let uncompressed = [&[4_u8][..], &x, &y].concat();
    ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, uncompressed).ok()
}

fn ed25519_key(jwk: &Jwk) -> Option<ParsedPublicKey> {
    let x = decode(jwk.x.as_ref()?).filter(|x| x.len() == 32)?;
    ParsedPublicKey::new(&signature::ED25519, x).ok()
}

fn decode(text: &String) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
