//! Public keys as JSON Web Keys (RFC 7517, 7518, 8037) and their thumbprints (RFC 7638).

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

/// The members of a public key that make its thumbprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kty")]
pub enum PublicKey {
    /// An RSA key.
    #[serde(rename = "RSA")]
    Rsa {
        /// The modulus.
        n: String,
        /// The public exponent.
        e: String,
    },
    /// A point on P-256.
    #[serde(rename = "EC")]
    P256 {
        /// `P-256`.
        crv: &'static str,
        /// One coordinate.
        x: String,
        /// The other.
        y: String,
    },
    /// An Ed25519 key.
    #[serde(rename = "OKP")]
    Ed25519 {
        /// `Ed25519`.
        crv: &'static str,
        /// The key.
        x: String,
    },
}

impl PublicKey {
    /// From the DER of an `RSAPublicKey` (RFC 8017 appendix A.1.1): a sequence of two integers.
    #[must_use]
    pub fn rsa(der: &[u8]) -> Option<Self> {
        let (sequence, []) = der_value(der, 0x30)? else { return None };
        let (n, rest) = der_value(sequence, 0x02)?;
        let (e, []) = der_value(rest, 0x02)? else { return None };
        Some(Self::Rsa { n: unsigned(n), e: unsigned(e) })
    }

    /// From an uncompressed point (SEC 1 section 2.3.3).
    #[must_use]
    pub fn p256(point: &[u8]) -> Option<Self> {
        let [4, coordinates @ ..] = point else { return None };
        let (x, y) = (coordinates.len() == 64).then(|| coordinates.split_at(32))?;
        Some(Self::P256 { crv: "P-256", x: URL_SAFE_NO_PAD.encode(x), y: URL_SAFE_NO_PAD.encode(y) })
    }

    /// From the 32 bytes of the key.
    #[must_use]
    pub fn ed25519(key: &[u8]) -> Self {
        Self::Ed25519 { crv: "Ed25519", x: URL_SAFE_NO_PAD.encode(key) }
    }

    /// The thumbprint: SHA-256 over the required members in the order of their names, base64url. Their values are base64url
    /// and names of curves, so none needs an escape.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        let canonical = match self {
            Self::Rsa { n, e } => format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
            Self::P256 { crv, x, y } => format!(r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}"#),
            Self::Ed25519 { crv, x } => format!(r#"{{"crv":"{crv}","kty":"OKP","x":"{x}"}}"#),
        };
        URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes()))
    }
}

/// The value of the DER element of this tag at the start of `input`, and what follows it.
fn der_value(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        let (bytes, rest) = (count <= 4).then(|| rest.split_at_checked(count))??;
        (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
    };
    (found == tag).then(|| rest.split_at_checked(length))?
}

/// A DER integer as JWK wants it: base64url of its bytes without the leading zeros.
fn unsigned(integer: &[u8]) -> String {
    let start = integer.iter().position(|byte| *byte != 0).unwrap_or(integer.len());
    URL_SAFE_NO_PAD.encode(&integer[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7638 section 3.1.
    #[test]
    fn thumbprint_is_that_of_the_rfc() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3okn\
                 jhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5h\
                 ajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let key = PublicKey::Rsa { n: n.to_owned(), e: "AQAB".to_owned() };
        assert_eq!(key.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    /// The example of RFC 8037 appendix A.3.
    #[test]
    fn thumbprint_of_ed25519_is_that_of_the_rfc() {
        let key = PublicKey::Ed25519 { crv: "Ed25519", x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".to_owned() };
        assert_eq!(key.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn rsa_integers_lose_their_leading_zero_and_long_lengths_are_read() {
        let mut der = vec![0x30, 0x82, 0x00, 0x8d, 0x02, 0x81, 0x81, 0x00];
        der.extend([0xff; 128]);
        let head = der.len();
        der.extend([0x02, 0x03, 0x01, 0x00, 0x01, 0x02]);
        der.truncate(head + 5);
        der[3] = u8::try_from(der.len() - 4).unwrap();
        let expected = PublicKey::Rsa { n: URL_SAFE_NO_PAD.encode([0xff; 128]), e: "AQAB".to_owned() };
        assert_eq!(PublicKey::rsa(&der), Some(expected));
    }

    #[test]
    fn other_encodings_give_no_key() {
        for der in [&b""[..], &[0x30], &[0x30, 0x80], &[0x30, 0x85, 0, 0, 0, 0, 0], &[0x30, 3, 2, 1], &[0x31, 0]] {
            assert_eq!(PublicKey::rsa(der), None, "{der:?}");
        }
        assert_eq!(PublicKey::p256(&[4; 64]), None);
        assert_eq!(PublicKey::p256(&[2; 65]), None);
    }
}
