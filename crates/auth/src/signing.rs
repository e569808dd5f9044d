//! The private key that signs client assertions: read from PEM, named by its thumbprint, signs.

use crate::Algorithm;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

const NOT_A_KEY: &str = "the key file holds no PKCS#8 private key (BEGIN PRIVATE KEY) for RS256, ES256 or EdDSA";

/// A private key. Its kind tells its algorithm.
pub(crate) struct SigningKey {
    pair: Pair,
    thumbprint: String,
}

enum Pair {
    Rsa(rsa::KeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// Reads the first PKCS#8 key of a PEM text. The error says what is wrong without any of the text.
    pub(crate) fn from_pem(pem: &str) -> Result<Self, &'static str> {
        let pair = pkcs8(pem).as_deref().and_then(Pair::from_pkcs8).ok_or(NOT_A_KEY)?;
        let thumbprint = pair.thumbprint().ok_or(NOT_A_KEY)?;
        Ok(Self { pair, thumbprint })
    }

    pub(crate) const fn algorithm(&self) -> Algorithm {
        match &self.pair {
            Pair::Rsa(_) => Algorithm::Rs256,
            Pair::P256(_) => Algorithm::Es256,
            Pair::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    /// RFC 7638: the same for the same key, whoever computes it.
    pub(crate) fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// The signature as JWS wants it (RFC 7518 section 3, RFC 8037).
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, &'static str> {
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).map(|()| signature)
            }
            Pair::P256(pair) => pair.sign(&SystemRandom::new(), message).map(|signature| signature.as_ref().to_vec()),
            Pair::Ed25519(pair) => pair.try_sign(message).map(|signature| signature.as_ref().to_vec()),
        }
        .map_err(|_| "the client assertion cannot be signed")
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("thumbprint", &self.thumbprint).finish_non_exhaustive()
    }
}

impl Pair {
    fn from_pkcs8(pkcs8: &[u8]) -> Option<Self> {
        let p256 = || EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map(Self::P256);
        // Version 1, without the public key, is what OpenSSL writes.
        let ed25519 = || Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map(Self::Ed25519);
        rsa::KeyPair::from_pkcs8(pkcs8).map(Self::Rsa).or_else(|_| p256()).or_else(|_| ed25519()).ok()
    }

    /// SHA-256 over the required members of the public JWK in the order of their names.
    fn thumbprint(&self) -> Option<String> {
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let members = match self {
            Self::Rsa(pair) => {
                let (n, e) = rsa_numbers(pair.public_key().as_ref())?;
                format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, b64(e), b64(n))
            }
            Self::P256(pair) => {
                let [4, point @ ..] = pair.public_key().as_ref() else { return None };
                let (x, y) = point.split_at_checked(32)?;
                format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, b64(x), b64(y))
            }
            Self::Ed25519(pair) => {
                format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, b64(pair.public_key().as_ref()))
            }
        };
        Some(b64(digest(&SHA256, members.as_bytes()).as_ref()))
    }
}

/// The bytes between the lines of the first `PRIVATE KEY` block.
fn pkcs8(pem: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once("-----BEGIN PRIVATE KEY-----")?;
    let (block, _) = rest.split_once("-----END PRIVATE KEY-----")?;
    let text: String = block.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(text).ok()
}

/// Modulus and exponent, without leading zeros, from the DER of an `RSAPublicKey` (RFC 8017 appendix A.1.1).
fn rsa_numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (sequence, _) = der_value(der, 0x30)?;
    let (n, rest) = der_value(sequence, 0x02)?;
    let (e, _) = der_value(rest, 0x02)?;
    let unsigned = |integer: &'_ [u8]| integer.iter().take_while(|byte| **byte == 0).count();
    Some((&n[unsigned(n)..], &e[unsigned(e)..]))
}

/// The value of the DER element of this tag at the start of `input`, and what follows it.
fn der_value(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let [found, first, rest @ ..] = input else { return None };
    let (length, rest) = match *first {
        short @ ..0x80 => (usize::from(short), rest),
        long => {
            let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f).min(4))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
    };
    (*found == tag).then(|| rest.split_at_checked(length))?
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The key of RFC 8037 appendix A.1 as `openssl genpkey` writes it (RFC 8410 section 7).
    pub(crate) fn ed25519_pem() -> String {
        let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        let head = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
        pem(&[&head[..], &seed].concat())
    }

    fn pem(pkcs8: &[u8]) -> String {
        let text = STANDARD.encode(pkcs8);
        let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN PRIVATE KEY-----\r\n{}\r\n-----END PRIVATE KEY-----\r\n", lines.join("\r\n"))
    }

    #[test]
    fn the_thumbprint_is_that_of_rfc_8037() {
        let key = SigningKey::from_pem(&format!("a comment\n{}", ed25519_pem())).unwrap();
        assert_eq!(key.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(key.algorithm(), Algorithm::EdDsa);
        // RFC 8037 appendix A.4 signs with this key.
        let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let expected = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        assert_eq!(URL_SAFE_NO_PAD.encode(key.sign(message).unwrap()), expected);
        assert_eq!(
            format!("{key:?}"),
            "SigningKey { thumbprint: \"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k\", .. }"
        );
    }

    /// The modulus of the example of RFC 7638 section 3.1, in the encoding that the library gives.
    #[test]
    fn rsa_numbers_lose_their_leading_zero() {
        let n = [vec![0], vec![0xff; 256]].concat();
        let integers = [&[0x02, 0x82, 0x01, 0x01][..], &n, &[0x02, 0x03, 0x01, 0x00, 0x01]].concat();
        let der = [&[0x30, 0x82, 0x01, 0x0a][..], &integers].concat();
        assert_eq!(rsa_numbers(&der), Some((&[0xff; 256][..], &[1, 0, 1][..])));
        for bad in [&b""[..], &[0x30], &[0x30, 0x80], &[0x30, 0x85, 0, 0, 0, 0], &[0x30, 3, 2, 1], &[0x31, 0]] {
            assert_eq!(rsa_numbers(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn every_kind_of_key_is_told_apart_and_others_are_refused() {
        let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap().to_pkcs8v1().unwrap();
        assert_eq!(SigningKey::from_pem(&pem(p256.as_ref())).unwrap().algorithm(), Algorithm::Es256);
        let rsa = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
        let rsa = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&rsa).unwrap();
        let rsa = SigningKey::from_pem(&pem(rsa.as_ref())).unwrap();
        assert_eq!((rsa.algorithm(), rsa.thumbprint().len()), (Algorithm::Rs256, 43));
        let other = EcdsaKeyPair::generate(&aws_lc_rs::signature::ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        let refused = [String::new(), "canary".into(), pem(b"canary"), pem(other.to_pkcs8v1().unwrap().as_ref())];
        for text in refused {
            assert_eq!(SigningKey::from_pem(&text).unwrap_err(), NOT_A_KEY);
        }
        assert_eq!(
            SigningKey::from_pem("-----BEGIN PRIVATE KEY-----\n*\n-----END PRIVATE KEY-----").unwrap_err(),
            NOT_A_KEY
        );
    }
}
