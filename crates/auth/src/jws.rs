//! The compact form of a signed token, read strictly: three parts, canonical base64url, JSON objects without repeated members.

use crate::keys::MAX_KID_BYTES;
use crate::{Algorithm, KeySet, VerifyError};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// A token taken apart, not yet verified.
pub(crate) struct Compact<'a> {
    signed: &'a str,
    signature: Vec<u8>,
    payload: Vec<u8>,
    header: Map<String, Value>,
}

impl<'a> Compact<'a> {
    pub(crate) fn parse(token: &'a str) -> Result<Self, VerifyError> {
        let malformed = VerifyError::Malformed;
        let (signed, signature) = token.rsplit_once('.').ok_or(malformed("the token has not three parts"))?;
        let (header, payload) = signed.split_once('.').ok_or(malformed("the token has not three parts"))?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed("a part is not base64url"));
        // A dot more than two ends up in the payload, which is then not base64url.
        let header = object(&decode(header)?).ok_or(malformed("the header is not a JSON object"))?;
        Ok(Self { signed, signature: decode(signature)?, payload: decode(payload)?, header })
    }

    /// The algorithm that the header names, if it is one of these.
    pub(crate) fn algorithm(&self, accepted: &[Algorithm]) -> Result<Algorithm, VerifyError> {
        let name = self.header.get("alg").and_then(Value::as_str);
        name.and_then(Algorithm::parse).filter(|named| accepted.contains(named)).ok_or(VerifyError::Algorithm)
    }

    /// The algorithm that the header names, also by the name of RFC 9864: clients choose it themselves.
    pub(crate) fn assertion_algorithm(&self) -> Result<Algorithm, VerifyError> {
        let ed25519 = self.header.get("alg").and_then(Value::as_str) == Some("Ed25519");
        if ed25519 { Ok(Algorithm::EdDsa) } else { self.algorithm(&Algorithm::ALL) }
    }

    /// That the header asks for nothing that we do not understand, and that this is an access token (RFC 9068).
    pub(crate) fn check_header(&self) -> Result<(), VerifyError> {
        self.check_critical()?;
        let kind = self.kind();
        if kind == "at+jwt" || kind == "application/at+jwt" { Ok(()) } else { Err(VerifyError::Type) }
    }

    /// That the header asks for nothing that we do not understand.
    pub(crate) fn check_critical(&self) -> Result<(), VerifyError> {
        let demands = self.header.contains_key("crit") || self.header.contains_key("b64");
        if demands { Err(VerifyError::Critical) } else { Ok(()) }
    }

    /// What the header says that this is, in lower case; empty if it does not say.
    pub(crate) fn kind(&self) -> String {
        match self.header.get("typ") {
            None => String::new(),
            Some(Value::String(kind)) => kind.to_ascii_lowercase(),
            Some(_) => "not a text".to_owned(),
        }
    }

    /// The identifier of the key. Keys, certificates and addresses inside a token are never looked at.
    pub(crate) fn kid(&self) -> Result<&str, VerifyError> {
        let kid = self.header.get("kid").and_then(Value::as_str);
        kid.filter(|kid| !kid.is_empty() && kid.len() <= MAX_KID_BYTES).ok_or(VerifyError::NoKeyId)
    }

    /// The payload, once the signature is verified.
    pub(crate) fn verified_payload(&self, keys: &KeySet, accepted: &[Algorithm]) -> Result<&[u8], VerifyError> {
        let (kid, algorithm) = (self.kid()?, self.algorithm(accepted)?);
        if keys.verify(kid, algorithm, self.signed.as_bytes(), &self.signature) {
            Ok(&self.payload)
        } else {
            Err(VerifyError::Signature)
        }
    }

    /// The payload, once the signature is verified by the key that the header names or, if it names none, by any of its
    /// algorithm.
    pub(crate) fn payload_verified_by_any(&self, keys: &KeySet, algorithm: Algorithm) -> Result<&[u8], VerifyError> {
        let signed = self.signed.as_bytes();
        let verified = if self.header.contains_key("kid") {
            let kid = self.kid()?;
            if !keys.contains(kid) {
                return Err(VerifyError::UnknownKey);
            }
            keys.verify(kid, algorithm, signed, &self.signature)
        } else {
            keys.verify_by_any(algorithm, signed, &self.signature)
        };
        if verified { Ok(&self.payload) } else { Err(VerifyError::Signature) }
    }

    /// The payload as it stands, for a token that came from its issuer over a trusted connection.
    pub(crate) fn unverified_payload(&self) -> &[u8] {
        &self.payload
    }
}

/// A JSON object in which no object, at any depth, has a member twice; `None` for anything else.
pub(crate) fn object(json: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice::<Strict>(json) {
        Ok(Strict(Value::Object(object))) => Some(object),
        Ok(_) | Err(_) => None,
    }
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON without repeated members")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((name, Strict(value))) = members.next_entry::<String, Strict>()? {
            if map.insert(name, value).is_some() {
                return Err(A::Error::custom("a repeated member"));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::PathBuf;

    #[test]
    fn only_objects_without_repeated_members_are_objects() {
        let good = json!({"a": {"b": [1, -1, 1.5, "x", true, null, {}], "a": {"a": u64::MAX}}});
        assert_eq!(object(format!(" {good}\n").as_bytes()).as_ref(), good.as_object());
        let deep = |depth| format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(object(deep(126).as_bytes()).is_some());
        let bad = [
            "",
            "{",
            "[]",
            "1",
            "null",
            "{\"a\":1,\"a\":1}",
            "{\"a\":1,\"\\u0061\":1}",
            "{\"a\":{\"b\":1,\"b\":1}}",
            "{\"a\":[[{\"b\":{},\"b\":{}}]]}",
            "{} {}",
            "{\"a\":NaN}",
            "{\"a\":1e400}",
            "{\"a\":\"\\ud800\"}",
            "\u{feff}{}",
        ];
        for bad in bad.map(str::to_owned).into_iter().chain([deep(127), deep(5_000)]) {
            assert!(object(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(object(b"{\"a\":\"\xd0\"}").is_none());
    }

    /// The public vectors: beside the project's folder, or where `ARTSTORE_VECTORS` says.
    fn vectors(file: &str) -> Option<Value> {
        let folder = match std::env::var_os("ARTSTORE_VECTORS") {
            Some(folder) => PathBuf::from(folder),
            None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors")),
        };
        let text = std::fs::read(folder.join(file)).ok()?;
        Some(serde_json::from_slice(&text).unwrap())
    }

    /// Whether the signature of a vector verifies with the group's keys, by everything but the rules for access tokens.
    fn verifies(keys: &Value, jws: &str) -> bool {
        let Ok(keys) = KeySet::parse(keys.to_string().as_bytes(), &Algorithm::ALL) else { return false };
        let Ok(compact) = Compact::parse(jws) else { return false };
        compact.verified_payload(&keys, &Algorithm::ALL).is_ok()
    }

    #[test]
    fn wycheproofs_signatures_are_judged_as_it_says() {
        let Some(vectors) = vectors("json_web_signature_test.json") else { return skipped() };
        let (mut judged, mut accepted, mut differences) = (0, 0, Vec::new());
        for group in vectors["testGroups"].as_array().unwrap() {
            let Some(jwk) = group.get("public") else { continue };
            let key_algorithm = jwk["alg"].as_str().unwrap_or_default();
            for test in group["tests"].as_array().unwrap() {
                let verified = verifies(&json!({ "keys": [jwk] }), test["jws"].as_str().unwrap());
                let valid = test["result"] == "valid";
                judged += 1;
                accepted += usize::from(verified);
                // Whatever is invalid must be refused; what is valid must be accepted if its key is one of ours.
                if verified != valid && (verified || Algorithm::parse(key_algorithm).is_some()) {
                    differences.push((test["tcId"].as_u64().unwrap(), test["comment"].as_str().unwrap().to_owned()));
                }
            }
        }
        println!("{judged} vectors judged, {accepted} accepted");
        assert_eq!(differences, []);
        // All that there are: eight of RS256 and two of ES256.
        assert_eq!((judged, accepted), (361, 10));
    }

    #[test]
    fn wycheproofs_key_sets_are_judged_as_it_says() {
        let Some(vectors) = vectors("json_web_key_test.json") else { return skipped() };
        let mut accepted = Vec::new();
        for group in vectors["testGroups"].as_array().unwrap() {
            // Sets of shared keys have no public half; they must be of no use here.
            let keys = group.get("public").unwrap_or(&group["private"]);
            for test in group["tests"].as_array().unwrap() {
                if verifies(keys, test["jws"].as_str().unwrap()) {
                    accepted.push(test["tcId"].as_u64().unwrap());
                }
            }
        }
        // 5 is the only valid one of our algorithms. 7 is the one difference: an RSA key of the ROCA generator verifies, since we
        // do not examine how the issuer's keys were made.
        assert_eq!(accepted, [5, 7]);
    }

    fn skipped() {
        println!("SKIPPED: the Wycheproof vectors are not there; ARTSTORE_VECTORS can name their folder");
    }
}
