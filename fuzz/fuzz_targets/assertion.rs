//! A client's assertion: none is accepted without the client's signature, nor one for another client, audience or time.
#![no_main]

use artstore_auth::{AssertionRules, ClientAssertion, KeySet};
use artstore_fuzz::{ISSUER, NOW, keys, token};
use artstore_metrics::UnixTime;
use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;
use std::time::Duration;

fuzz_target!(|data: &[u8]| {
    static KEYS: OnceLock<KeySet> = OnceLock::new();
    let Some((token, signed)) = token(data) else { return };
    let client = ClientAssertion::unverified_client_id(&token);
    let rules = AssertionRules {
        client_id: "ingester",
        audience: ISSUER,
        max_lifetime: Duration::from_secs(300),
        leeway: Duration::from_secs(10),
    };
    let result = ClientAssertion::verify(&token, KEYS.get_or_init(keys), &rules, UnixTime::from_secs(NOW));
    let Ok(assertion) = result else { return };
    assert!(signed, "accepted without the client's signature: {token}");
    assert_eq!(client.as_deref(), Some("ingester"));
    assert!((NOW + 1..=NOW + 310).contains(&assertion.exp.as_secs()));
    assert!((1..=256).contains(&assertion.jti.len()));
});
