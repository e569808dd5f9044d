//! A certificate chain and its key, in one file or in two: what is taken belongs together.
#![no_main]

use artstore_fuzz::assert_showable;
use artstore_tls::IdentityFiles;
use libfuzzer_sys::fuzz_target;

const GOOD: &[u8] = include_bytes!("../seeds/identity/good");

fuzz_target!(|data: &[u8]| {
    let files = IdentityFiles { cert: "cert.pem".into(), key: "key.pem".into() };
    for (cert, key) in [(data, data), (data, GOOD), (GOOD, data)] {
        if let Ok(identity) = files.parse(cert, key) {
            assert!(!identity.certificates().is_empty());
            identity.certificates().iter().for_each(assert_showable);
        }
    }
});
