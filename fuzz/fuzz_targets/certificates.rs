//! A trust bundle in PEM, and one certificate in DER: what is taken has particulars that can be shown.
#![no_main]

use artstore_fuzz::assert_showable;
use artstore_tls::{CertificateInfo, TrustFile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(trust) = TrustFile("bundle.pem".into()).parse(data) {
        assert!(!trust.certificates().is_empty());
        trust.certificates().iter().for_each(assert_showable);
    }
    if let Some(info) = CertificateInfo::from_der(&data.into()) {
        assert_showable(&info);
    }
});
