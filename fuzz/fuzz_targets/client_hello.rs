//! A peer's first bytes: our reader of versions and rustls, which decides, take any of them without fault.
#![no_main]

use artstore_tls::fuzzing::{may_be_tls, offers_only_old_versions};
use libfuzzer_sys::fuzz_target;
use rustls::server::Acceptor;

fuzz_target!(|data: &[u8]| {
    let old = offers_only_old_versions(data);
    if old {
        assert!(may_be_tls(data[0]), "a hello lies in a record of TLS");
    }
    let (mut acceptor, mut rest) = (Acceptor::default(), data);
    while !rest.is_empty() {
        let Ok(1..) = acceptor.read_tls(&mut rest) else { break };
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(_)) => break,
            Err(_) => break,
        }
    }
});
