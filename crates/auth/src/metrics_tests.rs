//! The declarations against the contract, and what a scrape shows before anything happened.

use super::*;
use artstore_metrics::{Format, TestClock, Values};

/// Name, kind, labels with their values, and buckets, as the contract has them.
#[test]
fn the_nine_families_are_those_of_the_contract() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../contract/metrics.toml");
    let contract: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
    let sets = contract["set"].as_table().unwrap();
    let texts = |value: &toml::Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let families = contract["family"].as_array().unwrap();
    let ours = families.iter().filter(|family| family["name"].as_str().unwrap().starts_with("auth_"));
    assert_eq!(ours.clone().count(), 9);
    for (theirs, family) in ours.zip(FAMILIES) {
        assert_eq!(theirs["name"].as_str().unwrap(), family.name());
        assert_eq!(theirs["type"].as_str().unwrap(), family.kind().as_str());
        let labels = theirs.get("labels").and_then(toml::Value::as_table).cloned().unwrap_or_default();
        assert_eq!(labels.len(), family.label_declarations().len(), "{}", family.name());
        for label in family.label_declarations() {
            match label.values {
                Values::Open(_) => assert_eq!(labels[label.name]["open"].as_bool(), Some(true)),
                Values::Closed(values) => {
                    let expand = |text: String| match text.strip_prefix('@') {
                        Some(set) => texts(&sets[set]),
                        None => vec![text],
                    };
                    let theirs: Vec<String> =
                        texts(&labels[label.name]["values"]).into_iter().flat_map(expand).collect();
                    assert_eq!(theirs, values, "{} {}", family.name(), label.name);
                }
            }
        }
        let buckets = theirs.get("buckets").and_then(toml::Value::as_array).cloned().unwrap_or_default();
        let buckets: Vec<f64> = buckets.iter().map(|bound| bound.as_float().unwrap()).collect();
        assert_eq!(buckets, family.buckets());
    }
}

#[tokio::test(start_paused = true)]
async fn everything_is_there_at_0_on_the_first_scrape_and_a_ttl_is_not() {
    let registry = Registry::new();
    let instances = ["https://b", "https://a/x", "https://b/y"].map(|url| AdminInstance::parse(url).unwrap());
    let metrics = AuthMetrics::new(&registry, &instances, TestClock::starting_at(UnixTime::from_secs(1)));
    assert_eq!(
        registry.families(),
        [
            &VALIDATION,
            &REQUESTS,
            &REFRESH,
            &ERRORS,
            &ACQUISITION_DURATION,
            &REFRESH_DURATION,
            &CANCELLED,
            &WAITERS,
            &JWKS_FETCHES,
            &TTL,
            &REFRESHER_LAST_SUCCESS,
            &REFRESHER_BACKOFF,
            &REFRESHER_FAILURES,
            &JWKS_LAST_SUCCESS,
            &JWKS_AGE,
            &REFRESHER_STATE,
            &SOURCE,
            &HIT_RATE,
        ]
    );
    assert_eq!(registry.families().len(), FAMILIES.len());
    let text = registry.encode(Format::Text);
    let count = |start: &str| text.lines().filter(|line| line.starts_with(start) && line.ends_with(" 0")).count();
    assert_eq!(count("auth_token_requests_total{"), 19);
    assert_eq!(count("auth_token_source_total{"), 2);
    assert_eq!(count("auth_token_refresh_total{"), 8);
    assert_eq!(count("auth_token_validation_total{"), 4);
    // Two instances share an origin, and so a series.
    assert_eq!(count("auth_errors_total{"), 36);
    assert_eq!(count("auth_token_acquisition_duration_seconds_bucket{"), 9);
    assert_eq!(count("auth_token_refresh_duration_seconds_bucket{"), 8);
    assert!(text.contains("# TYPE auth_token_ttl_seconds gauge\n# HELP"), "{text}");
    assert!(text.contains("\nauth_token_cache_hit_rate NaN\n"));
    assert_eq!(metrics.instance(&instances[2]), Some(0));
    assert_eq!(metrics.instance(&AdminInstance::parse("https://c").unwrap()), None);
}

#[test]
fn hit_rate_is_a_percentage() {
    assert!(cache_hit_rate(0, 0).is_nan());
    assert_eq!((cache_hit_rate(0, 4), cache_hit_rate(1, 4), cache_hit_rate(4, 4)), (0.0, 25.0, 100.0));
}
