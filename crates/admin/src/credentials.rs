//! What an account can register besides a secret: public keys for its assertions, and its client certificate.

use artstore_api::account::CertificateRule;
use artstore_auth::{Algorithm, KeySet, PublicKey};
use artstore_tls::PeerCertificate;
use serde_json::{Map, Value, json};

/// Most keys of one account: enough for two of each algorithm during a rotation.
const MAX_KEYS: usize = 8;
/// The longest modulus, as base64url: 4096 bits. What a verification costs grows with its square.
const MAX_MODULUS_CHARS: usize = 683;
/// The longest identifier of a key.
const MAX_KID_BYTES: usize = 128;
/// The longest subject or name of a certificate.
const MAX_NAME_BYTES: usize = 1024;
/// The members that only a private or a shared key has.
const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "k"];

/// The keys of a JWK or a JWK Set as they are stored: public members, algorithm and identifier alone. The identifier is the
/// given one or the RFC 7638 thumbprint.
pub(crate) fn normalized_keys(given: &Value) -> Result<Vec<Value>, String> {
    let keys = match given.get("keys") {
        Some(Value::Array(keys)) => keys.as_slice(),
        Some(_) => return Err("jwks.keys must be an array".to_owned()),
        None => std::slice::from_ref(given),
    };
    if !(1..=MAX_KEYS).contains(&keys.len()) {
        return Err(format!("jwks has 1 to {MAX_KEYS} keys"));
    }
    let mut normalized: Vec<Value> = Vec::with_capacity(keys.len());
    for (at, key) in keys.iter().enumerate() {
        let key = normalized_key(key).map_err(|error| format!("jwks: key {}: {error}", at + 1))?;
        if normalized.iter().any(|known| known["kid"] == key["kid"]) {
            return Err(format!("jwks: key {}: another one has this kid", at + 1));
        }
        normalized.push(key);
    }
    Ok(normalized)
}

fn normalized_key(key: &Value) -> Result<Value, &'static str> {
    const UNFIT: &str = "must be a public key for RS256 (2048 to 4096 bits), ES256 or EdDSA";
    let key = key.as_object().ok_or("must be an object")?;
    if PRIVATE.iter().any(|name| key.contains_key(*name)) {
        return Err("must be a public key: it has private members, and whoever saw it can use them");
    }
    let text = |name: &str| key.get(name).and_then(Value::as_str).map(str::to_owned);
    let (public, algorithm) = match (text("kty").as_deref(), text("crv").as_deref()) {
        (Some("RSA"), None) => match (text("n"), text("e")) {
            (Some(n), Some(e)) if n.len() <= MAX_MODULUS_CHARS => (PublicKey::Rsa { n, e }, Algorithm::Rs256),
            _ => return Err(UNFIT),
        },
        (Some("EC"), Some("P-256")) => match (text("x"), text("y")) {
            (Some(x), Some(y)) => (PublicKey::P256 { crv: "P-256", x, y }, Algorithm::Es256),
            _ => return Err(UNFIT),
        },
        (Some("OKP"), Some("Ed25519")) => {
            (PublicKey::Ed25519 { crv: "Ed25519", x: text("x").ok_or(UNFIT)? }, Algorithm::EdDsa)
        }
        _ => return Err(UNFIT),
    };
    let kid = match key.get("kid") {
        None => public.thumbprint(),
        Some(Value::String(kid)) if (1..=MAX_KID_BYTES).contains(&kid.len()) && !kid.contains(char::is_control) => {
            kid.clone()
        }
        Some(_) => return Err("kid must have 1 to 128 bytes, none a control character"),
    };
    // With its `use`, `key_ops` and `alg` as given, it must be a key that can verify.
    let mut given: Map<String, Value> = key.clone();
    given.insert("kid".to_owned(), json!(kid));
    // The name of RFC 9864.
    if algorithm == Algorithm::EdDsa && text("alg").as_deref() == Some("Ed25519") {
        given.remove("alg");
    }
    if KeySet::parse(json!({ "keys": [given] }).to_string().as_bytes(), &[algorithm]).is_err() {
        return Err(UNFIT);
    }
    let mut normalized = serde_json::to_value(&public).map_err(|_| UNFIT)?;
    normalized["alg"] = json!(algorithm.as_str());
    normalized["kid"] = json!(kid);
    Ok(normalized)
}

/// Checks a rule, and writes a fingerprint as it is compared.
pub(crate) fn normalized_rule(rule: CertificateRule) -> Result<CertificateRule, String> {
    let fits = |text: &str| (1..=MAX_NAME_BYTES).contains(&text.len()) && !text.contains(char::is_control);
    match rule {
        CertificateRule::Subject(subject) if fits(&subject) && subject.contains('=') => {
            Ok(CertificateRule::Subject(subject))
        }
        CertificateRule::Subject(_) => Err("certificate.subject must be an RFC 4514 name such as CN=a,O=b".to_owned()),
        CertificateRule::San(name) if fits(&name) => Ok(CertificateRule::San(name)),
        CertificateRule::San(_) => Err("certificate.san must be a name of the certificate".to_owned()),
        CertificateRule::Sha256(hex) => {
            let hex: String = hex.chars().filter(|c| *c != ':').map(|c| c.to_ascii_lowercase()).collect();
            if hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Ok(CertificateRule::Sha256(hex));
            }
            Err("certificate.sha256 must have 64 hexadecimal digits".to_owned())
        }
    }
}

/// Whether the verified certificate of a connection is the one of a rule.
pub(crate) fn certificate_matches(rule: &CertificateRule, shown: &PeerCertificate) -> bool {
    match rule {
        // Of a certificate with an empty subject, `subject` is its first name.
        CertificateRule::Subject(subject) => shown.subject == *subject && !shown.names.contains(subject),
        CertificateRule::San(name) => shown.names.contains(name),
        CertificateRule::Sha256(hex) => shown.fingerprint() == *hex,
    }
}
