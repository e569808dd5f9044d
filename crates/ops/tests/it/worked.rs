//! The queries of `docs/promql.md` give the values that stand below them, over the hour that the page describes.

use crate::cases::{A, B, ELEMENT, grow, of};
use crate::committed::root;
use crate::lint_selector::series_findings;
use crate::promtool::run;
use artstore_auth::metrics::{ACQUISITION_DURATION, ERRORS, REFRESH, REFRESH_DURATION, REQUESTS, SOURCE, TTL};
use artstore_element::metrics::{CAPACITY, COMMIT_DURATION, FREE};
use artstore_http::metrics::{CLIENT_CLOSED, SERVER_FAULTS};
use artstore_ingester::metrics::{ERRORS_TOTAL, UPLOAD_RECEIVED_BYTES_TOTAL, UPLOADS_TOTAL};
use artstore_metrics::Family;
use artstore_tls::metrics::{CERTIFICATE_EXPIRY, CONNECTION_REUSE, HANDSHAKE_DURATION, PROTOCOL_USAGE};
use serde_json::{Value, json};
use std::fs;

/// Queries, and what the page says that they give.
fn worked(page: &str) -> Vec<(String, f64)> {
    let mut out = Vec::new();
    for rest in page.split("```promql\n").skip(1) {
        let (query, after) = rest.split_once("```").unwrap();
        let query: Vec<&str> = query.lines().filter(|line| !line.starts_with('#')).collect();
        match after.trim_start().strip_prefix("Gives `") {
            Some(value) => out.push((query.join("\n"), value.split('`').next().unwrap().parse().unwrap())),
            // Only what names no family gives nothing.
            None => assert!(rest.starts_with("# wrong: no family"), "{query:?} gives nothing"),
        }
    }
    out
}

/// The hour at the end of the page.
fn hour() -> Vec<(String, String)> {
    let every_minute = |growth| grow(&[(growth, 60)]);
    let four = || grow(&[(0, 10), (1, 4), (0, 46)]);
    let mut hour = vec![
        (of(A, &SOURCE, "", &[("source", "cache")]), every_minute(90)),
        (of(B, &SOURCE, "", &[("source", "fresh_request")]), every_minute(10)),
        (of(A, &REQUESTS, "", &[("status", "success"), ("error_type", "")]), every_minute(2)),
        (of(B, &REQUESTS, "", &[("status", "failure"), ("error_type", "server_error")]), every_minute(3)),
        (of(B, &REFRESH, "", &[("status", "failure"), ("trigger", "expiring_soon")]), every_minute(1)),
        (of(A, &TTL, "", &[]), "900+0x60".to_owned()),
        (of(B, &TTL, "", &[]), "200+0x60".to_owned()),
        (of(A, &PROTOCOL_USAGE, "", &[("protocol", "TLSv1.3")]), every_minute(95)),
        (of(A, &PROTOCOL_USAGE, "", &[("protocol", "TLSv1.2")]), every_minute(5)),
        (of(A, &CONNECTION_REUSE, "", &[("reused", "true")]), every_minute(320)),
        (of(B, &CONNECTION_REUSE, "", &[("reused", "false")]), every_minute(30)),
        (of(A, &UPLOAD_RECEIVED_BYTES_TOTAL, "", &[("way", "raw")]), every_minute(6_000_000)),
        (of(A, &SERVER_FAULTS, "", &[("listener", "main"), ("fault", "silent")]), every_minute(3)),
        (of(ELEMENT, &FREE, "", &[]), "375000000000+0x60".to_owned()),
        (of(ELEMENT, &CAPACITY, "", &[]), "1000000000000+0x60".to_owned()),
    ];
    for (kind, growth) in [("server_error", 2), ("timeout", 1)] {
        let labels = [("error_type", kind), ("admin_module_url", "https://admin:8000")];
        hour.push((of(B, &ERRORS, "", &labels), every_minute(growth)));
    }
    for (subject, days) in [("CN=leaf", "20.5+0x60"), ("CN=root", "400+0x60")] {
        let labels = [("cert_type", "client"), ("subject", subject)];
        hour.push((of(A, &CERTIFICATE_EXPIRY, "", &labels), days.to_owned()));
    }
    for (outcome, growth) in [("stored", 98), ("failed", 2), ("rejected", 50)] {
        let labels = [("policy", "temporary"), ("outcome", outcome)];
        hour.push((of(A, &UPLOADS_TOTAL, "", &labels), every_minute(growth)));
    }
    for (code, growth) in [("ELEMENT_UPLOAD_FAILED", 2), ("VALIDATION_ERROR", 50)] {
        hour.push((of(A, &ERRORS_TOTAL, "", &[("code", code)]), every_minute(growth)));
    }
    for (reason, growth) in [("peer", 1), ("idle_timeout", 5)] {
        hour.push((of(A, &CLIENT_CLOSED, "", &[("peer", "e:8010"), ("reason", reason)]), every_minute(growth)));
    }
    histogram(&mut hour, &COMMIT_DURATION, &[], |bound| match bound {
        ..0.01 => grow(&[(0, 60)]),
        0.01 => every_minute(90),
        _ => every_minute(100),
    });
    let tls = [("protocol", "TLSv1.3"), ("cipher_suite", "TLS_AES_256_GCM_SHA384")];
    histogram(&mut hour, &HANDSHAKE_DURATION, &tls, |bound| match bound {
        0.01 => every_minute(90),
        _ => every_minute(100),
    });
    histogram(&mut hour, &ACQUISITION_DURATION, &[], |bound| if bound < 0.25 { grow(&[(0, 60)]) } else { four() });
    histogram(&mut hour, &REFRESH_DURATION, &[], |bound| match bound {
        ..1.0 => grow(&[(0, 10), (1, 3), (0, 47)]),
        _ => four(),
    });
    hour
}

/// The buckets of a histogram at `a`, and its count.
fn histogram(
    hour: &mut Vec<(String, String)>,
    family: &Family,
    labels: &[(&str, &str)],
    values: impl Fn(f64) -> String,
) {
    for bound in family.buckets().iter().copied().chain([f64::INFINITY]) {
        let le = if bound.is_finite() { format!("{bound:?}") } else { "+Inf".to_owned() };
        hour.push((of(A, family, "_bucket", &[labels, &[("le", &le)]].concat()), values(bound)));
    }
    hour.push((of(A, family, "_count", labels), values(f64::INFINITY)));
}

#[test]
fn worked_queries_give_what_the_page_says() {
    let page = fs::read_to_string(root().join("docs/promql.md")).unwrap();
    let worked = worked(&page);
    assert!(worked.len() >= 15, "{}", worked.len());
    let hour = hour();
    for (series, _) in hour.iter().filter(|(series, _)| !series.contains("+Inf")) {
        assert_eq!(series_findings(series), Vec::<String>::new());
    }
    let test = |(query, value): &(String, f64)| {
        // scalar() gives the value of the only series, and NaN if there are none or several.
        let expr = format!("round(vector(scalar({query})), 0.0001)");
        json!({"expr": expr, "eval_time": "60m", "exp_samples": [{"labels": "{}", "value": value}]})
    };
    let series: Vec<Value> = hour.iter().map(|(series, values)| json!({"series": series, "values": values})).collect();
    let tests = worked.iter().map(test).collect::<Vec<_>>();
    let document = json!({
        "rule_files": [root().canonicalize().unwrap().join("deploy/prometheus/artstore.rules.yml")], "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": tests}],
    });
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("worked.json"), document.to_string()).unwrap();
    let (agree, said) = run("promtool", &["test", "rules", "worked.json"], folder.path());
    assert!(agree, "{said}");
}
