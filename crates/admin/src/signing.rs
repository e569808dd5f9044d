//! One signing key: made, read from PKCS#8, signs.

use crate::jwk::{Jwk, PublicKey};
use crate::settings::SigningAlgorithm;
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
};

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

/// A private key with its published form. It has no secret in its `Debug`.
pub(crate) struct SigningKey {
    pair: Pair,
    algorithm: SigningAlgorithm,
    jwk: Jwk,
}

enum Pair {
    Rsa(rsa::KeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// The PKCS#8 of a new key.
    pub(crate) fn generate_pkcs8(algorithm: SigningAlgorithm) -> Result<Vec<u8>, SigningError> {
        let pkcs8 = match algorithm {
            SigningAlgorithm::Rs256 => rsa::KeyPair::generate(rsa::KeySize::Rsa2048)
                .and_then(|pair| pair.as_der())
                .map(|der: Pkcs8V1Der<'_>| der.as_ref().to_vec()),
            SigningAlgorithm::Es256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
                .and_then(|pair| pair.to_pkcs8v1())
                .map(|document| document.as_ref().to_vec()),
            SigningAlgorithm::EdDsa => {
                Ed25519KeyPair::generate().and_then(|pair| pair.to_pkcs8v1()).map(|document| document.as_ref().to_vec())
            }
        };
        pkcs8.map_err(|_| SigningError::Generate)
    }

    /// Reads a key. Its kind tells its algorithm.
    pub(crate) fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, SigningError> {
        Self::pair_of(pkcs8)
            .and_then(|(pair, algorithm)| {
                let public = match &pair {
                    Pair::Rsa(pair) => PublicKey::rsa(pair.public_key().as_ref()),
                    Pair::P256(pair) => PublicKey::p256(pair.public_key().as_ref()),
                    Pair::Ed25519(pair) => Some(PublicKey::ed25519(pair.public_key().as_ref())),
                }?;
                let jwk = Jwk { kid: public.thumbprint(), key: public, usage: "sig", alg: algorithm.as_str() };
                Some(Self { pair, algorithm, jwk })
            })
            .ok_or(SigningError::NotAKey)
    }

    fn pair_of(pkcs8: &[u8]) -> Option<(Pair, SigningAlgorithm)> {
        let rsa = || Some((Pair::Rsa(rsa::KeyPair::from_pkcs8(pkcs8).ok()?), SigningAlgorithm::Rs256));
        let p256 = || {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).ok()?;
            Some((Pair::P256(pair), SigningAlgorithm::Es256))
        };
        let ed25519 = || {
            // Version 1, without the public key, is what OpenSSL writes.
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).ok()?;
            Some((Pair::Ed25519(pair), SigningAlgorithm::EdDsa))
        };
        rsa().or_else(p256).or_else(ed25519)
    }

    pub(crate) const fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    pub(crate) const fn jwk(&self) -> &Jwk {
        &self.jwk
    }

    pub(crate) fn kid(&self) -> &str {
        &self.jwk.kid
    }

    /// The signature as JWS wants it (RFC 7518 section 3, RFC 8037).
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningError> {
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
        f.debug_struct("SigningKey").field("alg", &self.algorithm).field("kid", &self.jwk.kid).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
    };
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

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
        for algorithm in SigningAlgorithm::ALL {
            let pkcs8 = SigningKey::generate_pkcs8(algorithm).unwrap();
            let key = SigningKey::from_pkcs8(&pkcs8).unwrap();
            assert_eq!(key.algorithm(), algorithm);
            let signature = key.sign(b"message").unwrap();
            assert!(verifies(&key.jwk().key, b"message", &signature), "{algorithm:?}");
            assert!(!verifies(&key.jwk().key, b"another", &signature), "{algorithm:?}");
            assert_eq!(key.kid(), key.jwk().key.thumbprint());
        }
    }

    /// RFC 8410 section 7: version 1, the private key alone, as `openssl genpkey` writes it. Key and public key are those of
    /// RFC 8037 appendix A.1.
    #[test]
    fn ed25519_keys_without_their_public_key_are_read() {
        let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        let head = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
        let key = SigningKey::from_pkcs8(&[&head[..], &seed].concat()).unwrap();
        assert_eq!(key.kid(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert!(verifies(&key.jwk().key, b"message", &key.sign(b"message").unwrap()));
    }

    #[test]
    fn bytes_that_are_no_key_are_refused() {
        assert_eq!(SigningKey::from_pkcs8(b"no key").unwrap_err(), SigningError::NotAKey);
    }

    #[test]
    fn debug_shows_no_private_part() {
        let key = SigningKey::from_pkcs8(&SigningKey::generate_pkcs8(SigningAlgorithm::EdDsa).unwrap()).unwrap();
        assert_eq!(format!("{key:?}"), format!("SigningKey {{ alg: EdDsa, kid: {:?}, .. }}", key.kid()));
    }
}
