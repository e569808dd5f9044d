//! Private keys that sign tokens and client assertions: made, read from PKCS#8, named by their thumbprints.

use crate::{Algorithm, PublicKey};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const NOT_A_KEY: &str = "the key file holds no PKCS#8 private key (BEGIN PRIVATE KEY) for RS256, ES256 or EdDSA";

/// The cryptographic library refused: not a key that can sign here, or no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// The bytes are no PKCS#8 private key for RS256 (2048 to 8192 bits), ES256 or `EdDSA`.
    #[error("no PKCS#8 private key for RS256, ES256 or EdDSA")]
    NotAKey,
    /// A key could not be made.
    #[error("a key could not be made")]
    Generate,
    /// A signature could not be made.
    #[error("a signature could not be made")]
    Sign,
}

/// A private key. Its kind tells its algorithm. It has no secret in its `Debug`.
pub struct SigningKey {
    pair: Pair,
    public: PublicKey,
    thumbprint: String,
}

enum Pair {
    Rsa(rsa::KeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// The PKCS#8 of a new key; RSA with 2048 bits.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn generate_pkcs8(algorithm: Algorithm) -> Result<Vec<u8>, SigningError> {
        let pkcs8 = match algorithm {
            Algorithm::Rs256 => rsa::KeyPair::generate(rsa::KeySize::Rsa2048)
                .and_then(|pair| pair.as_der())
                .map(|der: Pkcs8V1Der<'_>| der.as_ref().to_vec()),
            Algorithm::Es256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
                .and_then(|pair| pair.to_pkcs8v1())
                .map(|document| document.as_ref().to_vec()),
            Algorithm::EdDsa => {
                Ed25519KeyPair::generate().and_then(|pair| pair.to_pkcs8v1()).map(|document| document.as_ref().to_vec())
            }
        };
        pkcs8.map_err(|_| SigningError::Generate)
    }

    /// Reads a key.
    ///
    /// # Errors
    /// If it is none that can sign here.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, SigningError> {
        let pair = Pair::from_pkcs8(pkcs8).ok_or(SigningError::NotAKey)?;
        let public = pair.public_key().ok_or(SigningError::NotAKey)?;
        Ok(Self { thumbprint: public.thumbprint(), public, pair })
    }

    /// Reads the first PKCS#8 key of a PEM text. The error says what is wrong without any of the text.
    pub(crate) fn from_pem(pem: &str) -> Result<Self, &'static str> {
        pkcs8(pem).and_then(|pkcs8| Self::from_pkcs8(&pkcs8).ok()).ok_or(NOT_A_KEY)
    }

    /// What it signs with.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match &self.pair {
            Pair::Rsa(_) => Algorithm::Rs256,
            Pair::P256(_) => Algorithm::Es256,
            Pair::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    /// What may be published of it.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// RFC 7638: the same for the same key, whoever computes it.
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// The signature as JWS wants it (RFC 7518 section 3, RFC 8037).
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningError> {
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).map(|()| signature)
            }
            Pair::P256(pair) => pair.sign(&SystemRandom::new(), message).map(|signature| signature.as_ref().to_vec()),
            Pair::Ed25519(pair) => pair.try_sign(message).map(|signature| signature.as_ref().to_vec()),
        }
        .map_err(|_| SigningError::Sign)
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

    fn public_key(&self) -> Option<PublicKey> {
        match self {
            Self::Rsa(pair) => PublicKey::rsa(pair.public_key().as_ref()),
            Self::P256(pair) => PublicKey::p256(pair.public_key().as_ref()),
            Self::Ed25519(pair) => Some(PublicKey::ed25519(pair.public_key().as_ref())),
        }
    }
}

/// The bytes between the lines of the first `PRIVATE KEY` block.
fn pkcs8(pem: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once("-----BEGIN PRIVATE KEY-----")?;
    let (block, _) = rest.split_once("-----END PRIVATE KEY-----")?;
    let text: String = block.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(text).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
    };
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

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

    #[test]
    fn every_kind_of_key_is_told_apart_and_others_are_refused() {
        let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap().to_pkcs8v1().unwrap();
        assert_eq!(SigningKey::from_pem(&pem(p256.as_ref())).unwrap().algorithm(), Algorithm::Es256);
        let rsa = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
        let rsa = aws_lc_rs::encoding::AsDer::<Pkcs8V1Der<'_>>::as_der(&rsa).unwrap();
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

    /// Checks a signature against the published form of the key alone.
    fn verifies(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        match key {
            PublicKey::Rsa { n, e } => RsaPublicKeyComponents { n: bytes(n), e: bytes(e) }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
            PublicKey::P256 { x, y, .. } => {
                let point = [vec![4], bytes(x), bytes(y)].concat();
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }
            PublicKey::Ed25519 { x, .. } => {
                UnparsedPublicKey::new(&ED25519, bytes(x)).verify(message, signature).is_ok()
            }
        }
    }

    #[test]
    fn each_algorithm_signs_what_its_published_key_verifies() {
        for algorithm in Algorithm::ALL {
            let pkcs8 = SigningKey::generate_pkcs8(algorithm).unwrap();
            let key = SigningKey::from_pkcs8(&pkcs8).unwrap();
            assert_eq!(key.algorithm(), algorithm);
            let signature = key.sign(b"message").unwrap();
            assert!(verifies(key.public_key(), b"message", &signature), "{algorithm:?}");
            assert!(!verifies(key.public_key(), b"another", &signature), "{algorithm:?}");
            assert_eq!(key.thumbprint(), key.public_key().thumbprint());
        }
    }

    #[test]
    fn bytes_that_are_no_key_are_refused() {
        assert_eq!(SigningKey::from_pkcs8(b"no key").unwrap_err(), SigningError::NotAKey);
    }
}
