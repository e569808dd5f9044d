//! Key sets: which keys are usable, and for what.

use crate::support::{SigningKey, b64, jwks};
use artstore_auth::{Algorithm, KeySet, KeySetError};
use serde_json::{Value, json};

fn parse(keys: &[Value]) -> Result<KeySet, KeySetError> {
    KeySet::parse(jwks(keys).to_string().as_bytes(), &Algorithm::ALL)
}

#[test]
fn keys_of_the_three_algorithms_are_read() {
    let keys = [SigningKey::rsa().jwk("r"), SigningKey::p256().jwk("p"), SigningKey::ed25519().jwk("e")];
    let set = parse(&keys).unwrap();
    assert_eq!((set.len(), set.is_empty()), (3, false));
    assert!(["r", "p", "e"].iter().all(|kid| set.contains(kid)) && !set.contains("x"));
    let only = KeySet::parse(jwks(&keys).to_string().as_bytes(), &[Algorithm::Es256]).unwrap();
    assert!(only.len() == 1 && only.contains("p"));
}

#[test]
fn what_cannot_verify_our_tokens_is_passed_over() {
    let (rsa, p256, ed) = (SigningKey::rsa().jwk("k"), SigningKey::p256().jwk("k"), SigningKey::ed25519().jwk("k"));
    let changed = |key: &Value, name: &str, value: Value| {
        let mut key = key.clone();
        key[name] = value;
        key
    };
    let unusable = [
        json!("text"),
        json!({"kty": "oct", "k": "c2VjcmV0", "kid": "k", "alg": "HS256"}),
        json!({"kty": "OKP", "crv": "X25519", "x": "AAAA", "kid": "k"}),
        changed(&rsa, "kid", json!("")),
        changed(&rsa, "kid", Value::Null),
        changed(&rsa, "kid", json!("k".repeat(129))),
        changed(&rsa, "use", json!("enc")),
        changed(&rsa, "key_ops", json!(["sign"])),
        changed(&rsa, "alg", json!("HS256")),
        changed(&rsa, "alg", json!("PS256")),
        changed(&rsa, "d", json!("AAAA")),
        changed(&rsa, "crv", json!("P-256")),
        changed(&rsa, "n", json!("AQAB")),
        changed(&rsa, "n", json!("not base64url!")),
        changed(&rsa, "n", Value::Null),
        changed(&rsa, "e", Value::Null),
        changed(&rsa, "e", json!("")),
        changed(&p256, "crv", json!("P-521")),
        changed(&p256, "x", json!("AAAA")),
        changed(&p256, "y", p256["x"].clone()),
        changed(&p256, "y", Value::Null),
        changed(&p256, "alg", json!("RS256")),
        changed(&ed, "x", json!("AAAA")),
        changed(&ed, "x", Value::Null),
        changed(&ed, "alg", json!("ES256")),
    ];
    for key in unusable {
        assert_eq!(parse(std::slice::from_ref(&key)).err(), Some(KeySetError::NoUsableKey), "{key}");
        // Beside a good one it does no harm.
        assert_eq!(parse(&[key, SigningKey::ed25519().jwk("good")]).unwrap().len(), 1);
    }
}

#[test]
fn different_keys_of_one_identifier_are_none() {
    let (first, second, good) = (SigningKey::ed25519(), SigningKey::p256(), SigningKey::ed25519());
    for pair in [[first.jwk("k"), second.jwk("k")], [first.jwk("k"), good.jwk("k")]] {
        let [a, b] = pair;
        let set = parse(&[a.clone(), b, good.jwk("good"), a]).unwrap();
        assert!(set.len() == 1 && set.contains("good"));
    }
    // The same key twice is one key.
    assert!(parse(&[first.jwk("k"), first.jwk("k")]).unwrap().contains("k"));
}

#[test]
fn what_is_no_key_set_is_refused() {
    for document in ["", "[]", "{}", "{\"keys\": {}}", "{\"keys\": []} x"] {
        assert_eq!(KeySet::parse(document.as_bytes(), &Algorithm::ALL).err(), Some(KeySetError::Malformed));
    }
    let not_utf8 = b"{\"keys\": [], \"x\": \"\xd0\"}";
    assert_eq!(KeySet::parse(not_utf8, &Algorithm::ALL).err(), Some(KeySetError::Malformed));
    let many = vec![json!({}); 101];
    assert_eq!(parse(&many).err(), Some(KeySetError::TooManyKeys));
}

#[test]
fn algorithms_have_exact_names() {
    for algorithm in Algorithm::ALL {
        assert_eq!(Algorithm::parse(algorithm.as_str()), Some(algorithm));
    }
    for name in ["none", "NONE", "", "HS256", "rs256", "PS256", "ES384", "Ed25519"] {
        assert_eq!(Algorithm::parse(name), None);
    }
}

#[test]
fn keys_that_no_issuer_should_publish_are_no_keys() {
    let (rsa, p256, ed) = (SigningKey::rsa().jwk("k"), SigningKey::p256().jwk("k"), SigningKey::ed25519().jwk("k"));
    let bytes = |length: usize, last: u8| b64(&[&vec![0xf1; length - 1][..], &[last]].concat());
    let with = |key: &Value, changes: Value| {
        let mut key = key.clone();
        key.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        key
    };
    let unusable = [
        // Too short, and numbers with which anyone signs.
        with(&rsa, json!({"n": bytes(128, 1)})),
        with(&rsa, json!({"n": bytes(255, 1)})),
        with(&rsa, json!({"n": bytes(1025, 1)})),
        with(&rsa, json!({"n": format!("AA{}", bytes(255, 1))})),
        with(&rsa, json!({"e": b64(&[1])})),
        with(&rsa, json!({"e": b64(&[2])})),
        with(&rsa, json!({"e": b64(&[0])})),
        with(&rsa, json!({"e": bytes(64, 1)})),
        with(&rsa, json!({"kty": "EC"})),
        with(&rsa, json!({"kty": "rsa"})),
        with(&rsa, json!({"alg": "RS512"})),
        with(&rsa, json!({"alg": "none"})),
        with(&rsa, json!({"alg": ""})),
        with(&rsa, json!({"use": "ENC"})),
        with(&rsa, json!({"use": ""})),
        with(&rsa, json!({"key_ops": []})),
        with(&rsa, json!({"key_ops": ["encrypt", "wrapKey"]})),
        with(&rsa, json!({"d": null, "p": "AA", "kid": ""})),
        // Points that are not on the curve.
        with(&p256, json!({"x": b64(&[0; 32]), "y": b64(&[0; 32])})),
        with(&p256, json!({"x": b64(&[0xff; 32])})),
        with(&p256, json!({"x": b64(&[5; 32]), "y": b64(&[1; 32])})),
        with(&p256, json!({"x": p256["y"], "y": p256["x"]})),
        with(&p256, json!({"x": bytes(33, 1)})),
        with(&p256, json!({"crv": "P-384"})),
        with(&p256, json!({"crv": "p-256"})),
        with(&p256, json!({"crv": "Ed25519"})),
        with(&p256, json!({"kty": "OKP"})),
        with(&ed, json!({"crv": "X25519"})),
        with(&ed, json!({"crv": "Ed448"})),
        with(&ed, json!({"x": bytes(31, 1)})),
        with(&ed, json!({"x": bytes(33, 1)})),
        with(&ed, json!({"x": format!("{}=", ed["x"].as_str().unwrap())})),
        with(&ed, json!({"kid": 7})),
        with(&ed, json!({"kid": "k".repeat(129)})),
        json!({"kty": "oct", "k": b64(&[7; 32]), "kid": "k"}),
        json!({"kty": "RSA", "x5c": [b64(&[0x30; 300])], "kid": "k"}),
    ];
    for key in unusable {
        assert_eq!(parse(std::slice::from_ref(&key)).err(), Some(KeySetError::NoUsableKey), "{key}");
    }
}
