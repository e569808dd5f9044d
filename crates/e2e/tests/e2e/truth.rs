//! The truth: after exactly N uploads from a cold start every one of the 17 has moved by exactly what N uploads cause, or
//! stands at 0 for the reason given here. The expected numbers come from what the test did, not from the metrics.

use artstore_e2e::contract::{Contract, check_identities};
use artstore_e2e::scrape::Scrape;
use artstore_e2e::up::{Up, stored};
use std::collections::BTreeSet;

const OPS: &str = "ARTSTORE_OPS_URL";

/// Uploads that go to their element in one request.
const SMALL: u32 = 20;
/// Uploads in a session: three requests to the element, which open, append and complete.
const LARGE: u32 = 5;

/// What the uploads and the start before them cause, by counting what the Ingester does.
struct Expected {
    /// Callers of `access_token()`: each fetch of the list of elements, and each request to an element.
    callers: f64,
    /// Requests over connections that the Ingester opened: the callers', the key set for the clients' tokens, and the
    /// exchange for the Ingester's own token.
    requests: f64,
    /// Connections, one after the other used again: to Admin and to the element of temporary files.
    connections: f64,
}

impl Expected {
    /// Before any upload: until both elements have reported themselves the Ingester fetches their list `lists` times.
    fn cold(lists: f64) -> Self {
        Self { callers: lists, requests: lists + 1.0, connections: 1.0 }
    }

    /// After the uploads, in which the list stays fresh.
    fn warm(lists: f64) -> Self {
        let to_element = f64::from(SMALL + 3 * LARGE);
        Self { callers: lists + to_element, requests: lists + 2.0 + to_element, connections: 2.0 }
    }
}

#[test]
fn n_uploads_move_every_family_by_exactly_what_they_cause() {
    let up = Up::start();
    let token = up.token();
    let (small, large) = (up.payload("small", 1_000, 1), up.payload("large", 1 << 20, 2));
    let cold = up.scrape(OPS);
    let lists = |scrape: &Scrape| scrape.sum("ingester_element_list_fetches_total", &[]);
    assert!((1.0..=3.0).contains(&lists(&cold)), "{}", lists(&cold));
    all_families(&cold, &Expected::cold(lists(&cold)));
    for (payload, times) in [(&small, SMALL), (&large, LARGE)] {
        for _ in 0..times {
            let _ = stored(&up.upload_raw(&token, &payload.path, &[("filename", "a")]), payload);
            check_identities(&up.scrape(OPS));
        }
    }
    let scrape = up.scrape(OPS);
    all_families(&scrape, &Expected::warm(lists(&cold)));
    let bytes = f64::from(SMALL) * 1_000.0 + f64::from(LARGE) * 1_048_576.0;
    assert_eq!(scrape.sum("ingester_upload_received_bytes_total", &[]), bytes);
    let stored = [("policy", "temporary"), ("outcome", "stored")];
    assert_eq!(scrape.value("ingester_uploads_total", &stored), f64::from(SMALL + LARGE));
    assert_eq!(scrape.sum("ingester_uploads_total", &[]), f64::from(SMALL + LARGE), "and none of another kind");
    assert_eq!(scrape.sum("ingester_errors_total", &[]), 0.0);
}

/// Every one of the 17 has exactly the expected values.
fn all_families(scrape: &Scrape, expected: &Expected) {
    check_identities(scrape);
    let mut truth = Truth::of(scrape);
    auth(&mut truth, expected);
    tls(&mut truth, expected);
    let names: BTreeSet<String> = Contract::read().families.into_iter().map(|family| family.name).collect();
    assert_eq!(truth.seen, names, "the test speaks of all");
}

/// A scrape, and which families the test has spoken of.
struct Truth<'a> {
    scrape: &'a Scrape,
    seen: BTreeSet<String>,
}

impl<'a> Truth<'a> {
    fn of(scrape: &'a Scrape) -> Self {
        Self { scrape, seen: BTreeSet::new() }
    }

    /// These series of a counter or gauge have these values, and every other series of it is 0.
    fn exactly(&mut self, family: &str, series: &[(&[(&str, &str)], f64)]) {
        for (labels, value) in series {
            assert_eq!(self.scrape.value(family, labels), *value, "{family}{labels:?}");
        }
        let sum: f64 = series.iter().map(|(_, value)| value).sum();
        assert_eq!(self.scrape.sum(family, &[]), sum, "the other series of {family} are 0");
        self.seen.insert(family.to_owned());
    }

    /// A histogram has seen so many.
    fn counted(&mut self, family: &str, count: f64) {
        assert_eq!(self.scrape.sum(&format!("{family}_count"), &[]), count, "{family}");
        assert_eq!(self.scrape.sum(&format!("{family}_bucket"), &[("le", "+Inf")]), count, "{family}");
        let sum = self.scrape.sum(&format!("{family}_sum"), &[]);
        assert!(sum > 0.0 && sum < 5.0 * count, "{family}: {sum} s for {count}");
        self.seen.insert(family.to_owned());
    }
}

fn auth(truth: &mut Truth<'_>, expected: &Expected) {
    let callers = expected.callers;
    // One acquisition, since a token lives far longer than the test; the first caller waits for it.
    truth.exactly("auth_token_requests_total", &[(&[("status", "success"), ("error_type", "")], 1.0)]);
    truth.exactly("auth_token_refresh_total", &[(&[("status", "success"), ("trigger", "initial")], 1.0)]);
    let fresh: (&[(&str, &str)], f64) = (&[("source", "fresh_request")], 1.0);
    truth.exactly("auth_token_source_total", &[(&[("source", "cache")], callers - 1.0), fresh]);
    let missing: (&[(&str, &str)], f64) = (&[("result", "missing")], 1.0);
    truth.exactly("auth_token_validation_total", &[(&[("result", "valid")], callers - 1.0), missing]);
    // No exchange and no fetch of keys fails.
    truth.exactly("auth_errors_total", &[]);
    truth.counted("auth_token_acquisition_duration_seconds", 1.0);
    truth.counted("auth_token_refresh_duration_seconds", 1.0);
    let ttl = truth.scrape.value("auth_token_ttl_seconds", &[]);
    assert!(ttl > 1_740.0 && ttl <= 1_800.0, "the one token lives 1800 s, and the test less than a minute: {ttl}");
    let rate = truth.scrape.value("auth_token_cache_hit_rate", &[]);
    assert!((rate - 100.0 * (callers - 1.0) / callers).abs() < 1e-9, "{rate}");
    truth.seen.extend(["auth_token_ttl_seconds", "auth_token_cache_hit_rate"].map(str::to_owned));
}

fn tls(truth: &mut Truth<'_>, expected: &Expected) {
    let connections = expected.connections;
    truth.counted("tls_handshake_duration_seconds", connections);
    truth.exactly("tls_handshake_total", &[(&[("status", "success"), ("error_type", "")], connections)]);
    // Both stay in the pool.
    truth.exactly("tls_connections_active", &[(&[("protocol", "TLSv1.3")], connections)]);
    let again: (&[(&str, &str)], f64) = (&[("reused", "true")], expected.requests - connections);
    truth.exactly("tls_connection_reuse_total", &[(&[("reused", "false")], connections), again]);
    truth.exactly("tls_protocol_usage_total", &[(&[("protocol", "TLSv1.3")], connections)]);
    let suite = [("cipher_suite", "TLS_AES_256_GCM_SHA384"), ("protocol", "TLSv1.3")];
    truth.exactly("tls_cipher_suite_usage_total", &[(&suite, connections)]);
    // Uploads move no expiry. Each certificate has its days: the leaves 90 at first, the authority far more.
    let mut held = 0.0;
    for sample in truth.scrape.samples("tls_certificate_expiry_days") {
        held += 1.0;
        let least = if sample.labels["cert_type"] == "ca" { 365.0 } else { 89.0 };
        assert!(sample.value > least, "{sample:?}");
    }
    truth.seen.insert("tls_certificate_expiry_days".to_owned());
    // One verdict at each handshake, and one on each certificate held, when the monitor checked them at the start.
    truth.exactly("tls_certificate_validation_total", &[(&[("result", "valid")], connections + held)]);
}
