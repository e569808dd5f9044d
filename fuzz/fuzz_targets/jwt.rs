//! An incoming access token: none is accepted without our signature, and none that does not say what it must.
#![no_main]

use artstore_auth::{JwksSource, TokenVerifier, VerifierSettings};
use artstore_fuzz::{ISSUER, NOW, keys, token};
use artstore_metrics::{Clock, Monotonic, UnixTime};
use futures_util::FutureExt;
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, OnceLock};

#[derive(Debug, Clone)]
struct Fixed;

impl Clock for Fixed {
    fn monotonic(&self) -> Monotonic {
        Monotonic::default()
    }

    fn wall(&self) -> UnixTime {
        UnixTime::from_secs(NOW)
    }
}

fn verifier() -> &'static TokenVerifier<Fixed> {
    static VERIFIER: OnceLock<TokenVerifier<Fixed>> = OnceLock::new();
    VERIFIER.get_or_init(|| {
        let keys = Arc::new(keys());
        let source = JwksSource::Local(Arc::new(move || Arc::clone(&keys)));
        TokenVerifier::new(VerifierSettings::new(ISSUER, "element", source), None, Fixed).expect("settings that work")
    })
}

fuzz_target!(|data: &[u8]| {
    let Some((token, signed)) = token(data) else { return };
    let Some(result) = verifier().verify(&token).now_or_never() else { panic!("local keys need no waiting") };
    let Ok(claims) = result else { return };
    assert!(signed, "accepted without a signature of ours: {token}");
    assert!(claims.exp.as_secs() > NOW && claims.iat.as_secs() <= NOW + 10);
    assert!(!claims.sub.is_empty() && !claims.client_id.is_empty() && !claims.jti.is_empty());
});
