//! The truth: after exactly N uploads every one of the 17 has moved by exactly what N uploads cause.

use artstore_e2e::contract::{Contract, check_identities};
use artstore_e2e::scrape::Scrape;
use artstore_e2e::up::{Up, stored};
use std::collections::BTreeMap;

const OPS: &str = "ARTSTORE_OPS_URL";

/// Uploads that go to their element in one request, and uploads in a session.
const SMALL: u32 = 20;
const LARGE: u32 = 5;

#[test]
fn n_uploads_move_every_family_by_exactly_what_they_cause() {
    let up = Up::start();
    let cold = up.scrape(OPS);
    let token = up.token();
    let (small, large) = (up.payload("small", 1_000, 1), up.payload("large", 1 << 20, 2));
    for _ in 0..SMALL {
        let _ = stored(&up.upload_raw(&token, &small.path, &[("filename", "a")]), &small);
    }
    for _ in 0..LARGE {
        let _ = stored(&up.upload_raw(&token, &large.path, &[("filename", "a")]), &large);
    }
    let warm = up.scrape(OPS);
    check_identities(&cold);
    check_identities(&warm);
    println!("{:#?}", moved(&warm, &cold));
    for family in Contract::read().families {
        assert!(warm.family(&family.name).is_some(), "{}", family.name);
    }
}

/// How much the sum of each sample name has grown.
fn moved(warm: &Scrape, cold: &Scrape) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for ((name, labels), by) in warm.moved_since(cold) {
        if name.starts_with("auth_")
            || name.starts_with("tls_")
            || name.starts_with("ingester_")
            || name.starts_with("http_")
        {
            *sums.entry(format!("{name} {labels:?}")).or_insert(0.0) += by;
        }
    }
    sums
}
