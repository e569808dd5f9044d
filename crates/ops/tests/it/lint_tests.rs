//! The lint finds what it should, and nothing in what we ship.

use crate::lint::findings;
use crate::lint_selector::series_findings;

#[track_caller]
fn assert_finds(query: &str, finding: &str) {
    let findings = findings(query);
    assert!(findings.iter().any(|text| text.contains(finding)), "{query}: {findings:#?}");
}

/// The original's two ratios, as published and with `_total` put in: by then they read exactly 1, whatever the truth is.
#[test]
fn a_ratio_that_matches_each_series_with_itself_is_found() {
    for (family, matcher) in [("auth_token_source", r#"source="cache""#), ("tls_connection_reuse", r#"reused="true""#)]
    {
        assert_finds(&format!("rate({family}{{{matcher}}}[5m]) / rate({family}[5m]) * 100"), "no family");
        let wrong = format!("rate({family}_total{{{matcher}}}[5m]) / rate({family}_total[5m]) * 100");
        assert_finds(&wrong, "each series meets itself");
        let kept = matcher.split('=').next().unwrap();
        let half_summed = format!(
            "sum by ({kept}) (rate({family}_total{{{matcher}}}[5m])) / sum by ({kept}) (rate({family}_total[5m]))"
        );
        assert_finds(&half_summed, "each series meets itself");
        let right = format!("sum(rate({family}_total{{{matcher}}}[5m])) / sum(rate({family}_total[5m])) * 100");
        assert_eq!(findings(&right), Vec::<String>::new());
    }
}

#[test]
fn names_labels_values_and_bounds_that_do_not_exist_are_found() {
    assert_finds("rate(auth_errors[5m])", r#"no family "auth_errors""#);
    assert_finds("sum(rate(tls_handshake_duration_seconds[5m]))", "no family");
    assert_finds("job:auth_token_requests:ratio7m", "no family");
    assert_finds(r#"rate(auth_errors_total{status="failure"}[5m])"#, "has no label status");
    assert_finds(r#"rate(auth_errors_total{error_type="dns_error"}[5m])"#, r#"error_type is never "dns_error""#);
    assert_finds(r#"rate(auth_errors_total{error_type=~"dns|tsl"}[5m])"#, r#"error_type is never "tsl""#);
    assert_finds(r#"up{job="ingester"} == 0"#, r#"job is never "ingester""#);
    assert_finds(r#"rate(auth_token_refresh_duration_seconds_bucket{le="0.3"}[5m])"#, "is not a bound");
    assert_finds(r#"rate(auth_token_refresh_duration_seconds_bucket{le="1"}[5m])"#, "is not a bound");
    assert_finds("sum by (source) (rate(auth_errors_total[5m]))", "has no label source");
    assert_finds("up ==", "does not parse");
    // A recorded series has the labels that its rule keeps, with its family's values.
    assert_finds(r#"instance_status:auth_token_requests:rate1h{status="ok"}"#, r#"status is never "ok""#);
    assert_finds(r#"sum by (error_type) (instance_status:auth_token_requests:rate1h)"#, "has no label error_type");
    assert_finds(r#"job:auth_token_requests:failure_ratio5m{instance="a"}"#, "has no label instance");
}

#[test]
fn what_cannot_mean_anything_is_found() {
    assert_finds("auth_errors_total > 5", "is a counter");
    assert_finds("rate(auth_token_ttl_seconds[5m])", "rate of a gauge");
    assert_finds("max_over_time(auth_errors_total[5m])", "max_over_time of a counter");
    assert_finds(
        "histogram_quantile(0.9, sum by (job) (rate(tls_handshake_duration_seconds_bucket[5m])))",
        "without the label le",
    );
    assert_finds(
        r#"rate(auth_token_source_total{source="cache"}[5m]) / sum(rate(auth_token_source_total[5m]))"#,
        "nothing with nothing",
    );
    assert_finds("auth_token_ttl_seconds and on (subject) up", "one side has no label subject");
    assert_finds("tls_certificate_expiry_days / on (job, instance) auth_token_ttl_seconds", "several series match one");
    assert_finds("label_replace(up, \"a\", \"b\", \"c\", \"d\")", "does not know label_replace");
}

#[test]
fn series_of_tests_must_have_all_labels_of_their_family() {
    let whole = r#"auth_token_source_total{job="artstore-ingester",instance="a",source="cache"}"#;
    assert_eq!(series_findings(whole), Vec::<String>::new());
    assert_eq!(series_findings(r#"auth_token_source_total{job="artstore-ingester",source="cache"}"#).len(), 1);
}

#[test]
fn every_rule_is_sound() {
    for group in artstore_ops::groups() {
        for (name, expr) in
            group.records.iter().map(|r| (r.name, &r.expr)).chain(group.alerts.iter().map(|a| (a.name, &a.expr)))
        {
            assert_eq!(findings(expr), Vec::<String>::new(), "{name}: {expr}");
            // A percentage since the start cannot be averaged, and does not say how it goes now.
            assert!(!expr.contains(artstore_auth::metrics::HIT_RATE.name()), "{name}");
        }
    }
}

/// Labels that templates use are those that the expression gives.
#[test]
fn annotations_name_labels_of_their_expression() {
    for alert in artstore_ops::groups().iter().flat_map(|group| &group.alerts) {
        let labels = crate::lint::labels_of(&alert.expr);
        for template in [alert.summary, alert.description] {
            for rest in template.split("$labels.").skip(1) {
                let label: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                assert!(labels.contains(&label), "{}: {label} is none of {labels:?}", alert.name);
            }
        }
    }
}
