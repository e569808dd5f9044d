//! Secrets of accounts: made with 256 random bits, kept as SHA-256, compared in constant time.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

/// The fewest characters of a secret that was not made here: 256 bits of base64url have 43.
pub const MIN_GIVEN_SECRET_CHARS: usize = 32;

/// The machine gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the machine gave no random bytes")]
pub struct NoRandomness;

/// A new secret: 256 random bits, base64url. Such a secret cannot be guessed, so a fast hash of it is enough.
pub(crate) fn generate() -> Result<SecretString, NoRandomness> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes).into())
}

/// Whether a secret that an operator gave can be used: long enough for a fast hash, and of unreserved characters, so that
/// it reads the same with and without percent-encoding (RFC 6749 section 2.3.1).
pub(crate) fn is_fit(secret: &SecretString) -> bool {
    let secret = secret.expose_secret().as_bytes();
    secret.len() >= MIN_GIVEN_SECRET_CHARS
        && secret.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'))
}

/// SHA-256 in lower-case hexadecimal: what is stored.
pub(crate) fn hash(secret: &SecretString) -> String {
    hex(&Sha256::digest(secret.expose_secret().as_bytes()))
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether `presented` is one of the (at most two) secrets whose hashes these are. The work is the same whatever is
/// stored, also when nothing is: an unknown client costs the same as a wrong secret.
pub(crate) fn matches(presented: &SecretString, stored: [Option<&str>; 2]) -> bool {
    // No SHA-256 in hexadecimal is this text.
    const NONE: &str = "----------------------------------------------------------------";
    let presented = hash(presented);
    let equal =
        |stored: Option<&str>| verify_slices_are_equal(presented.as_bytes(), stored.unwrap_or(NONE).as_bytes()).is_ok();
    let [first, second] = stored.map(equal);
    first | second
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_secrets_have_256_bits_and_differ() {
        let (one, other) = (generate().unwrap(), generate().unwrap());
        assert_eq!(URL_SAFE_NO_PAD.decode(one.expose_secret()).unwrap().len(), 32);
        assert_ne!(one.expose_secret(), other.expose_secret());
        assert!(is_fit(&one));
    }

    #[test]
    fn hash_is_sha256_in_hexadecimal() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash(&"abc".to_owned().into()), expected);
    }

    #[test]
    fn either_of_two_secrets_matches_and_nothing_else() {
        let (one, two, three) = ("one".to_owned().into(), "two".to_owned().into(), "three".to_owned().into());
        let (hash_one, hash_two) = (hash(&one), hash(&two));
        let both = [Some(hash_one.as_str()), Some(hash_two.as_str())];
        assert!(matches(&one, both) && matches(&two, both) && !matches(&three, both));
        assert!(!matches(&two, [Some(&hash_one), None]));
        assert!(!matches(&one, [None, None]));
    }

    #[test]
    fn a_given_secret_must_be_long_and_unreserved() {
        let fit = |text: &str| is_fit(&text.to_owned().into());
        assert!(fit("abcdefghijklmnopqrstuvwxyz-._~01"));
        assert!(!fit("abcdefghijklmnopqrstuvwxyz-._~0"), "one character short");
        assert!(!fit("abcdefghijklmnopqrstuvwxyz-._~0+"), "a plus sign reads as a space once decoded");
    }
}
