//! The catalogue against the contract: names, kinds, labels, value sets, buckets, the alert table, the zero series.

use crate::fixture::*;
use artstore_metrics::{Format, Kind, LabelValue as _, Registry, Values};
use artstore_tls::metrics::FAMILIES;
use artstore_tls::{
    CertificateAnswer, CertificateMetrics, ConnectorMetrics, ListenerMetrics, ReloadMetrics, TlsErrorType,
    classify_alert,
};
use rustls::AlertDescription;
use std::collections::BTreeSet;
use toml::{Table, Value};

fn contract() -> Table {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../contract/metrics.toml");
    std::fs::read_to_string(path).unwrap().parse().unwrap()
}

fn text<'a>(table: &'a Table, key: &str) -> &'a str {
    table[key].as_str().unwrap()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect()
}

/// The values of a label, with `@x` replaced by the set x.
fn values<'a>(contract: &'a Table, label: &'a Table) -> Vec<&'a str> {
    let expand = |value: &'a str| match value.strip_prefix('@') {
        Some(set) => strings(&contract["set"][set]),
        None => vec![value],
    };
    strings(&label["values"]).into_iter().flat_map(expand).collect()
}

fn tls_families(contract: &Table) -> Vec<&Table> {
    let families = contract["family"].as_array().unwrap().iter().map(|family| family.as_table().unwrap());
    families.filter(|family| text(family, "name").starts_with("tls_")).collect()
}

#[test]
fn the_eight_families_are_declared_as_the_contract_says() {
    let contract = contract();
    let wanted = tls_families(&contract);
    assert_eq!(wanted.len(), 8);
    for wanted in wanted {
        let name = text(wanted, "name");
        let family =
            FAMILIES.iter().find(|family| family.name() == name).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(family.kind().as_str(), text(wanted, "type"), "{name}");
        if family.kind() == Kind::Histogram {
            let buckets: Vec<f64> =
                wanted["buckets"].as_array().unwrap().iter().map(|bound| bound.as_float().unwrap()).collect();
            assert_eq!(family.buckets(), buckets, "{name}");
        }
        let labels = wanted["labels"].as_table().unwrap();
        let names: BTreeSet<&str> = labels.keys().map(String::as_str).collect();
        assert_eq!(
            family.label_declarations().iter().map(|label| label.name).collect::<BTreeSet<_>>(),
            names,
            "{name}"
        );
        for label in family.label_declarations() {
            let wanted = labels[label.name].as_table().unwrap();
            match label.values {
                Values::Closed(declared) => assert_eq!(declared, values(&contract, wanted), "{name} {}", label.name),
                Values::Open(_) => assert_eq!(wanted["open"].as_bool(), Some(true), "{name} {}", label.name),
            }
        }
    }
}

#[test]
fn alerts_become_what_the_table_says() {
    let contract = contract();
    let table = contract["alert"].as_table().unwrap();
    for number in 0..=u8::MAX {
        let in_table = table.get(&number.to_string()).map_or("peer_alert", |kind| kind.as_str().unwrap());
        let alert = AlertDescription::from(number);
        for answer in [CertificateAnswer::NotRequested, CertificateAnswer::Sent, CertificateAnswer::NoneSent] {
            let wanted = if number == 40 && answer == CertificateAnswer::NoneSent { "cert_missing" } else { in_table };
            assert_eq!(classify_alert(alert, answer).label(), wanted, "alert {number}, {answer:?}");
        }
    }
    assert_eq!(TlsErrorType::ALL.len(), 18);
}

fn full_registry() -> Registry {
    let registry = Registry::new();
    let policy = both_versions();
    // They live as long as the registry, which collects through them.
    let _connector = ConnectorMetrics::new(&registry, &policy, CertificateMetrics::new(&registry, clock()));
    let _listener = ListenerMetrics::new(&registry, &policy);
    let _reload = ReloadMetrics::new(&registry, clock());
    registry
}

#[test]
fn the_catalogue_is_what_gets_registered() {
    let registered: BTreeSet<&str> = full_registry().families().iter().map(|family| family.name()).collect();
    assert_eq!(registered, FAMILIES.iter().map(|family| family.name()).collect());
    assert_eq!(registered.len(), FAMILIES.len());
    for family in FAMILIES {
        assert!(family.help().ends_with('.') && family.help().len() > 30, "{}", family.name());
    }
}

/// Each suite appears with its own version only, each failure without success.
#[test]
fn every_valid_series_stands_at_zero() {
    let text = full_registry().encode(Format::Text);
    let series = |prefix: &str| text.lines().filter(|line| line.starts_with(prefix)).count();
    let at_zero = |prefix: &str| text.lines().filter(|line| line.starts_with(prefix) && line.ends_with(" 0")).count();
    for (prefix, count) in [
        ("tls_handshake_total{", 19),
        ("tls_handshake_duration_seconds_count{", 9),
        ("tls_cipher_suite_usage_total{", 9),
        ("tls_protocol_usage_total{", 4),
        ("tls_connections_active{", 4),
        ("tls_connection_reuse_total{", 2),
        ("tls_certificate_validation_total{", 5),
        ("tls_certificate_expiry_days{", 0),
        ("tls_handshake_unsettled_total ", 1),
        ("tls_server_handshake_total{", 19),
        ("tls_server_cipher_suite_usage_total{", 9),
        ("tls_server_certificate_validation_total{", 5),
    ] {
        assert_eq!((series(prefix), at_zero(prefix)), (count, count), "{prefix}");
    }
    let suite = r#"tls_cipher_suite_usage_total{cipher_suite="TLS_AES_128_GCM_SHA256",protocol="TLSv1.3"} 0"#;
    assert!(text.contains(suite), "{text}");
    assert!(!text.contains(r#"cipher_suite="TLS_AES_128_GCM_SHA256",protocol="TLSv1.2""#));
}
