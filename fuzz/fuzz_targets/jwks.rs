//! A key set: whatever comes, it is bounded, and its keys accept no made-up signature.
#![no_main]

use artstore_auth::fuzzing::verify;
use artstore_auth::{Algorithm, KeySet};
use artstore_fuzz::json;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(keys) = KeySet::parse(data, &Algorithm::ALL) else { return };
    assert!((1..=100).contains(&keys.len()) && !keys.is_empty());
    let Some(document) = json(data) else { return };
    for jwk in document["keys"].as_array().expect("a list") {
        let Some(kid) = jwk["kid"].as_str() else { continue };
        for (algorithm, length) in [(Algorithm::Rs256, 256), (Algorithm::Es256, 64), (Algorithm::EdDsa, 64)] {
            for filler in [0, 1, 0xff] {
                let signature = vec![filler; length];
                assert!(!verify(&keys, kid, algorithm, b"message", &signature), "{kid} accepts {filler}");
            }
        }
    }
});
