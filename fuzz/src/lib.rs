//! What the targets share: one key pair for all runs, signed tokens of any bytes, and the moment at which they are judged.

use artstore_auth::{Algorithm, KeySet};
use artstore_tls::CertificateInfo;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::sync::OnceLock;

/// The second at which tokens are judged.
pub const NOW: u64 = 1_800_000_000;
/// The issuer that is believed.
pub const ISSUER: &str = "https://admin.example.org";

fn pair() -> &'static Ed25519KeyPair {
    static PAIR: OnceLock<Ed25519KeyPair> = OnceLock::new();
    PAIR.get_or_init(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("32 bytes are a seed"))
}

/// The set of the one key, which is called `k`.
#[must_use]
pub fn keys() -> KeySet {
    let x = URL_SAFE_NO_PAD.encode(pair().public_key().as_ref());
    let document = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"k","x":"{x}"}}]}}"#);
    KeySet::parse(document.as_bytes(), &Algorithm::ALL).expect("the key is one of ours")
}

/// What a target reads of its input: a text as it stands, or a header and a payload that are signed for it, so that what lies
/// behind the signature is reached as well.
#[must_use]
pub fn token(data: &[u8]) -> Option<(String, bool)> {
    let (mode, rest) = data.split_first()?;
    if mode % 4 == 0 {
        return Some((std::str::from_utf8(rest).ok()?.to_owned(), false));
    }
    let mut parts = rest.splitn(2, |byte| *byte == b'\n');
    let (header, payload) = (parts.next()?, parts.next()?);
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = URL_SAFE_NO_PAD.encode(pair().sign(signed.as_bytes()).as_ref());
    Some((format!("{signed}.{signature}"), true))
}

/// What a reader of grammatical JSON may still refuse when it looks at every value, as ours do not at members that they ignore.
const VALUES: [&str; 4] =
    ["number out of range", "recursion limit exceeded", "lone leading surrogate", "unexpected end of hex escape"];

/// The same JSON by a reader that looks at everything; `None` if it stumbles over a value.
///
/// # Panics
/// If it is no JSON.
#[must_use]
pub fn json(data: &[u8]) -> Option<serde_json::Value> {
    match serde_json::from_slice(data) {
        Ok(value) => Some(value),
        Err(error) => {
            let text = error.to_string();
            assert!(VALUES.iter().any(|value| text.starts_with(value)), "{text}");
            None
        }
    }
}

/// The particulars of a certificate can be shown in a label and in a line of the log.
///
/// # Panics
/// If they cannot.
pub fn assert_showable(info: &CertificateInfo) {
    assert_eq!(info.fingerprint().len(), 64);
    assert!(info.fingerprint().bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert!(!info.subject.contains(['\n', '\0']), "{:?}", info.subject);
}
