//! `contract/metrics.toml`, and what it says of a scrape: names, types, labels, value sets, buckets, series, identities.

use crate::process::workspace;
use crate::scrape::{Labels, Sample, Scrape, Scraped};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// The file.
#[derive(Debug, Deserialize)]
pub struct Contract {
    /// The 17.
    #[serde(rename = "family")]
    pub families: Vec<Family>,
    set: BTreeMap<String, Vec<String>>,
}

/// One family of the contract.
#[derive(Debug, Deserialize)]
pub struct Family {
    /// Its name in the format 0.0.4.
    pub name: String,
    /// counter, gauge or histogram.
    #[serde(rename = "type")]
    pub kind: String,
    /// Upper bounds without `+Inf`.
    #[serde(default)]
    pub buckets: Vec<f64>,
    #[serde(default)]
    labels: BTreeMap<String, LabelRule>,
}

#[derive(Debug, Deserialize)]
struct LabelRule {
    #[serde(default)]
    values: Vec<String>,
    #[serde(default)]
    open: bool,
}

/// Families beyond the 17 whose names begin like theirs.
const NEIGHBOURS: [&str; 16] = [
    "auth_token_acquisition_cancelled_total",
    "auth_token_acquisition_waiters",
    "auth_token_refresher_",
    "auth_jwks_",
    "tls_handshake_unsettled_total",
    "tls_handshake_failures_found_by_total",
    "tls_handshake_kind_total",
    "tls_handshake_key_exchange_total",
    "tls_connections_cut_total",
    "tls_connections_unused_total",
    "tls_peer_certificate_remaining_seconds",
    "tls_certificate_not_before_timestamp_seconds",
    "tls_certificate_not_after_timestamp_seconds",
    "tls_server_",
    "tls_reload",
    "tls_crl_",
];

/// The suites that the policy TLSv1.3 enables, which is the default.
pub const SUITES: [&str; 3] = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

impl Contract {
    /// Reads the project's copy.
    ///
    /// # Panics
    /// When it is not what it should be.
    #[must_use]
    pub fn read() -> Self {
        let text = std::fs::read_to_string(workspace().join("contract/metrics.toml")).unwrap();
        let contract: Self = toml::from_str(&text).unwrap();
        assert_eq!(contract.families.len(), 17);
        contract
    }

    fn values(&self, rule: &LabelRule) -> BTreeSet<String> {
        let expand = |value: &String| match value.strip_prefix('@') {
            Some(set) => self.set[set].clone(),
            None => vec![value.clone()],
        };
        rule.values.iter().flat_map(expand).collect()
    }

    /// Fails unless the scrape of an Ingester with the one Admin instance `admin_url` and the default TLS policy holds
    /// exactly the contract's series of the 17, and no neighbour that is not known.
    ///
    /// # Panics
    /// When it does not.
    pub fn check(&self, scrape: &Scrape, admin_url: &str, open_metrics: bool) {
        assert_eq!(scrape.ended, open_metrics, "only OpenMetrics ends with # EOF");
        for family in &self.families {
            let shown = if open_metrics { family.name.trim_end_matches("_total") } else { &family.name };
            let scraped = scrape.families.get(shown).unwrap_or_else(|| panic!("no family {shown}"));
            assert_eq!(scraped.kind, family.kind, "type of {shown}");
            self.check_series(family, scraped, admin_url);
        }
        let known: BTreeSet<&str> = self.families.iter().map(|f| f.name.trim_end_matches("_total")).collect();
        for name in scrape.families.keys().filter(|name| name.starts_with("auth_") || name.starts_with("tls_")) {
            let short = name.trim_end_matches("_total");
            let neighbour = NEIGHBOURS.iter().any(|n| name.starts_with(n.trim_end_matches("_total")));
            assert!(known.contains(short) || neighbour, "{name} is no family of the contract");
        }
    }

    fn check_series(&self, family: &Family, scraped: &Scraped, admin_url: &str) {
        let name = &family.name;
        if name == "auth_token_ttl_seconds" && scraped.samples.is_empty() {
            return; // before the first token
        }
        let names: BTreeSet<&String> = family.labels.keys().collect();
        for sample in &scraped.samples {
            let found: BTreeSet<&String> = sample.labels.keys().filter(|label| *label != "le").collect();
            assert_eq!(found, names, "labels of {name}");
            self.check_sample_name(family, sample);
        }
        let series: BTreeSet<Labels> = scraped.samples.iter().map(|sample| without_le(&sample.labels)).collect();
        if name == "tls_certificate_expiry_days" {
            let types: BTreeSet<&str> = series.iter().map(|labels| labels["cert_type"].as_str()).collect();
            assert_eq!(types, BTreeSet::from(["ca", "client", "server"]), "{name}");
            assert!(series.iter().all(|labels| !labels["subject"].is_empty()), "{name}: an empty subject");
            return;
        }
        assert_eq!(series, self.expected_series(family, admin_url), "series of {name}");
        if family.kind == "histogram" {
            check_buckets(family, scraped);
        }
    }

    fn check_sample_name(&self, family: &Family, sample: &Sample) {
        let suffix = sample.name.strip_prefix(family.name.as_str());
        let valid = match family.kind.as_str() {
            "histogram" => matches!(suffix, Some("_bucket" | "_sum" | "_count")),
            _ => suffix == Some(""),
        };
        assert!(valid, "{} is no sample of {}", sample.name, family.name);
        assert_eq!(sample.labels.contains_key("le"), sample.name.ends_with("_bucket"), "{sample:?}");
    }

    /// Every valid combination of the family's labels.
    fn expected_series(&self, family: &Family, admin_url: &str) -> BTreeSet<Labels> {
        let mut series = BTreeSet::from([Labels::new()]);
        for (label, rule) in &family.labels {
            let values: BTreeSet<String> = match (rule.open, label.as_str()) {
                (false, _) => self.values(rule),
                (true, "admin_module_url") => BTreeSet::from([admin_url.to_owned()]),
                (true, "cipher_suite") => SUITES.map(str::to_owned).into(),
                (true, other) => panic!("no rule for the open label {other}"),
            };
            let with = |labels: &Labels, value: &String| {
                let mut more = labels.clone();
                more.insert(label.clone(), value.clone());
                more
            };
            series = series.iter().flat_map(|labels| values.iter().map(move |value| with(labels, value))).collect();
        }
        series.retain(valid);
        series
    }
}

/// An error type goes with a failure alone, a suite with its own protocol version alone.
fn valid(labels: &Labels) -> bool {
    let error = match (labels.get("status"), labels.get("error_type")) {
        (Some(status), Some(error)) => error.is_empty() == (status == "success"),
        _ => true,
    };
    let suite = match (labels.get("cipher_suite"), labels.get("protocol")) {
        (Some(_), Some(protocol)) => protocol == "TLSv1.3",
        _ => true,
    };
    error && suite
}

fn without_le(labels: &Labels) -> Labels {
    labels.iter().filter(|(name, _)| *name != "le").map(|(n, v)| (n.clone(), v.clone())).collect()
}

fn check_buckets(family: &Family, scraped: &Scraped) {
    let mut bounds: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for sample in scraped.samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
        let le = &sample.labels["le"];
        let bound = if le == "+Inf" { f64::INFINITY } else { le.parse().unwrap() };
        bounds.entry(without_le(&sample.labels)).or_default().push((bound, sample.value));
    }
    let expected: Vec<f64> = family.buckets.iter().copied().chain([f64::INFINITY]).collect();
    for (labels, buckets) in bounds {
        let found: Vec<f64> = buckets.iter().map(|(bound, _)| *bound).collect();
        assert_eq!(found, expected, "buckets of {}", family.name);
        assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{} {labels:?} is cumulative", family.name);
        let count = scraped.samples.iter().find(|s| s.name.ends_with("_count") && s.labels == labels).unwrap();
        assert_eq!(buckets.last().unwrap().1, count.value, "{} {labels:?}: +Inf is the count", family.name);
        assert!(scraped.samples.iter().any(|s| s.name.ends_with("_sum") && s.labels == labels));
    }
}

/// Fails unless the identities of the contract hold, of a scrape with no acquisition under way.
///
/// # Panics
/// When one does not.
pub fn check_identities(scrape: &Scrape) {
    let all = |name: &str| scrape.sum(name, &[]);
    let requests = all("auth_token_requests_total");
    assert_eq!(requests, all("auth_token_refresh_total"), "requests = refreshes");
    assert_eq!(requests, all("auth_token_acquisition_duration_seconds_count"), "requests = acquisitions timed");
    assert_eq!(all("auth_token_validation_total"), all("auth_token_source_total"), "validations = sources");
    let usable = ["valid", "expiring_soon"].map(|r| scrape.value("auth_token_validation_total", &[("result", r)]));
    let cached = scrape.value("auth_token_source_total", &[("source", "cache")]);
    assert_eq!(cached, usable.iter().sum::<f64>(), "cache = valid + expiring_soon");
    let rate = scrape.value("auth_token_cache_hit_rate", &[]);
    let callers = all("auth_token_source_total");
    if callers == 0.0 {
        assert!(rate.is_nan(), "no caller yet: {rate}");
    } else {
        assert!((rate - 100.0 * cached / callers).abs() < 1e-9, "{rate} is no percentage of {cached}/{callers}");
    }
    let settled = scrape.value("tls_handshake_total", &[("status", "success"), ("error_type", "")]);
    for family in [
        "tls_handshake_duration_seconds_count",
        "tls_protocol_usage_total",
        "tls_cipher_suite_usage_total",
        "tls_handshake_kind_total",
        "tls_handshake_key_exchange_total",
    ] {
        assert_eq!(settled, all(family), "successful handshakes = {family}");
    }
    let failed = all("tls_handshake_total") - settled;
    assert_eq!(failed, all("tls_handshake_failures_found_by_total"), "failed handshakes = those whose fault was found");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_type_goes_with_a_failure_alone() {
        let contract = Contract::read();
        let family = contract.families.iter().find(|family| family.name == "tls_handshake_total").unwrap();
        let series = contract.expected_series(family, "");
        assert_eq!(series.len(), 1 + 18);
        let errors = contract.families.iter().find(|family| family.name == "auth_errors_total").unwrap();
        assert_eq!(contract.expected_series(errors, "https://a:1").len(), 18);
    }
}
