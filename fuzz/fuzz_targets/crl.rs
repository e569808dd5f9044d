//! Revocation lists in PEM or DER, in one file or in two: of each issuer no more than one is in force.
#![no_main]

use artstore_tls::Revocation;
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeSet;
use std::path::Path;

const GOOD: &[u8] = include_bytes!("../seeds/crl/good");

fuzz_target!(|data: &[u8]| {
    let (one, other) = (Path::new("one.crl"), Path::new("other.crl"));
    for files in [vec![(one, data)], vec![(one, data), (other, GOOD)], vec![(one, GOOD), (other, data)]] {
        if let Ok(revocation) = Revocation::from_files(files) {
            let lists = revocation.lists();
            let issuers: BTreeSet<&str> = lists.iter().map(|list| list.issuer.as_str()).collect();
            assert!(!lists.is_empty() && issuers.len() == lists.len(), "one for each issuer");
            for list in lists {
                assert!(list.number.iter().all(|number| number.bytes().all(|byte| byte.is_ascii_digit())));
                assert_eq!(list.fingerprint().len(), 64);
            }
        }
    }
});
