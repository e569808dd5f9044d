//! An issuer's metadata: only the right issuer's are taken, and no endpoint of theirs leads out of TLS or carries credentials.
#![no_main]

use artstore_auth::fuzzing::metadata;
use artstore_fuzz::json;
use libfuzzer_sys::fuzz_target;

const ISSUER: &str = "https://issuer.example/tenant";

fuzz_target!(|data: &[u8]| {
    for (instance, scheme) in [("https://127.0.0.1:8443/base", "https"), ("http://127.0.0.1:8080", "http")] {
        let Ok(urls) = metadata(data, ISSUER, instance) else { continue };
        assert_eq!(json(data).expect("JSON")["issuer"], ISSUER);
        for url in urls.into_iter().flatten() {
            let used = url.scheme_str().expect("a scheme");
            assert!(used == "https" || used == scheme, "{url}");
            assert!(!url.authority().expect("a host").as_str().contains('@'), "{url}");
            assert!(!url.host().expect("a host").is_empty(), "{url}");
        }
    }
});
