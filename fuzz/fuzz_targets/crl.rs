//! Revocation lists in PEM or DER, in one file or in two: no list is in force twice, and reading the same again changes nothing.
#![no_main]

use artstore_tls::{CrlInfo, Revocation};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeSet;
use std::path::Path;

const GOOD: &[u8] = include_bytes!("../seeds/crl/good");

fuzz_target!(|data: &[u8]| {
    let (one, other) = (Path::new("one.crl"), Path::new("other.crl"));
    for files in [vec![(one, data)], vec![(one, data), (other, GOOD)], vec![(one, GOOD), (other, data)]] {
        if let Ok(revocation) = Revocation::from_files(files) {
            let lists = revocation.lists();
            // Not the issuers: names of other bytes, which are other issuers, may be the same as text.
            let fingerprints: BTreeSet<String> = lists.iter().map(CrlInfo::fingerprint).collect();
            assert!(!lists.is_empty() && fingerprints.len() == lists.len(), "none twice");
            for list in lists {
                assert!(list.number.iter().all(|number| number.bytes().all(|byte| byte.is_ascii_digit())));
                assert_eq!(list.fingerprint().len(), 64);
            }
        }
    }
    let fingerprints = |files: Vec<(&Path, &[u8])>| {
        Revocation::from_files(files).ok().map(|all| all.lists().iter().map(CrlInfo::fingerprint).collect::<Vec<_>>())
    };
    assert_eq!(fingerprints(vec![(one, data)]), fingerprints(vec![(one, data), (other, data)]));
});
