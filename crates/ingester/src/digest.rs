//! The digest fields of RFC 9530: which SHA-256 a client says its body has.

use crate::failure::Failure;
use crate::structured::{BareItem, Member, dictionary};
use http::{HeaderMap, HeaderName};

/// The digest of the bytes of a message's content.
pub const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
/// The digest of the whole representation; the same as the content's in a plain `PUT`.
pub const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// A SHA-256.
pub type Sha256 = [u8; 32];

/// The SHA-256 that the digest fields of a request name, if they name one. Other algorithms are ignored, as RFC 9530 allows.
///
/// # Errors
/// A field that is not a dictionary of byte sequences, a `sha-256` that is not 32 bytes, or two fields that disagree.
pub fn requested_sha256(headers: &HeaderMap) -> Result<Option<Sha256>, Failure> {
    let content = field(headers, &CONTENT_DIGEST, "Content-Digest")?;
    let repr = field(headers, &REPR_DIGEST, "Repr-Digest")?;
    match (content, repr) {
        (Some(content), Some(repr)) if content != repr => {
            Err(Failure::invalid("Content-Digest and Repr-Digest name two different sha-256 digests"))
        }
        (content, repr) => Ok(content.or(repr)),
    }
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(digest: &Sha256) -> String {
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
        text
    })
}

fn field(headers: &HeaderMap, name: &HeaderName, shown: &str) -> Result<Option<Sha256>, Failure> {
    let malformed = || Failure::invalid(format!("{shown} is not a dictionary of digests such as sha-256=:base64:"));
    let mut lines = Vec::new();
    for value in headers.get_all(name) {
        lines.push(value.to_str().map_err(|_| malformed())?);
    }
    if lines.is_empty() {
        return Ok(None);
    }
    let members = dictionary(&lines.join(",")).map_err(|error| malformed().because(error))?;
    // RFC 9651: of two members of one name, the last one counts.
    match members.into_iter().rev().find(|(key, _)| key == "sha-256") {
        None => Ok(None),
        Some((_, Member::Item(BareItem::Bytes(bytes)))) => bytes.try_into().map(Some).map_err(|bytes: Vec<u8>| {
            Failure::invalid(format!("{shown}: a sha-256 has 32 bytes, not {}", bytes.len()))
        }),
        Some((_, Member::Item(BareItem::Other) | Member::InnerList)) => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use artstore_api::Code;
    use http::HeaderValue;

    const EMPTY: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    const EMPTY_HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn read(lines: &[(&HeaderName, &str)]) -> Result<Option<String>, Failure> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        requested_sha256(&headers).map(|digest| digest.as_ref().map(hex))
    }

    #[test]
    fn a_sha256_is_found_in_either_field_among_others_and_on_any_line() {
        let sha = format!("sha-256=:{EMPTY}:");
        for lines in [
            vec![(&CONTENT_DIGEST, sha.clone())],
            vec![(&REPR_DIGEST, sha.clone())],
            vec![(&CONTENT_DIGEST, sha.clone()), (&REPR_DIGEST, sha.clone())],
            vec![(&REPR_DIGEST, format!("sha-512=:AAAA:, {sha};note=\"x, y\""))],
            vec![(&REPR_DIGEST, "crc32c=:AAAAAA==:".to_owned()), (&REPR_DIGEST, sha.clone())],
            vec![(&REPR_DIGEST, format!("sha-256=:AAAA:, {sha}"))],
            vec![(&REPR_DIGEST, format!("unknown=(1 2.5 \"a\" tok), flag, {sha}"))],
            vec![(&REPR_DIGEST, sha.replace("=:\n", ":"))],
        ] {
            let lines: Vec<_> = lines.iter().map(|(name, value)| (*name, value.as_str())).collect();
            assert_eq!(read(&lines).unwrap().as_deref(), Some(EMPTY_HEX), "{lines:?}");
        }
    }

    #[test]
    fn unknown_algorithms_and_absence_ask_for_nothing() {
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&[(&CONTENT_DIGEST, "sha-512=:AAAA:, md5=:AAAA:, future=42")]).unwrap(), None);
    }

    #[test]
    fn malformed_fields_are_validation_errors() {
        let shown = "Content-Digest is not a dictionary of digests such as sha-256=:base64:";
        for bad in [
            "",
            "sha-256",
            "sha-256=",
            "sha-256=abc",
            "sha-256=:a b:",
            "sha-256=:AAAA",
            "sha-256=?1",
            "sha-256=(:AAAA:)",
            "sha-256=\"AAAA\"",
            "SHA-256=:AAAA:",
            "sha-256=:AAAA:,",
            "sha-256=:AAAA: sha-512=:AAAA:",
            ",",
        ] {
            let refused = read(&[(&CONTENT_DIGEST, bad)]);
            if bad.is_empty() {
                // An empty dictionary is a legal field that names nothing.
                assert_eq!(refused.unwrap(), None);
                continue;
            }
            let refused = refused.unwrap_err();
            assert_eq!((refused.code(), refused.detail()), (Code::ValidationError, shown), "{bad:?}");
        }
    }

    #[test]
    fn a_digest_of_another_length_and_two_that_disagree_are_validation_errors() {
        let short = read(&[(&REPR_DIGEST, "sha-256=:AAAA:")]).unwrap_err();
        assert_eq!(short.detail(), "Repr-Digest: a sha-256 has 32 bytes, not 3");
        let zeros = format!("sha-256=:{}=:", "A".repeat(43));
        let other = read(&[(&REPR_DIGEST, &format!("sha-256=:{EMPTY}:")), (&CONTENT_DIGEST, &zeros)]).unwrap_err();
        assert_eq!(other.detail(), "Content-Digest and Repr-Digest name two different sha-256 digests");
    }
}
