//! One upload is one trace: in what the modules export, in their logs and in their exemplars, with nothing secret in any of it.

use artstore_e2e::otlp::{Received, Receiver};
use artstore_e2e::poll;
use artstore_e2e::prometheus::{Plan, Prometheus};
use artstore_e2e::scrape::Scrape;
use artstore_e2e::up::{Up, stored};
use serde_json::Value;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
const CLIENT_SPAN: &str = "00f067aa0ba902b7";
const SERVER: &str = "SPAN_KIND_SERVER";
const CLIENT: &str = "SPAN_KIND_CLIENT";

fn traceparent(trace: &str) -> String {
    format!("00-{trace}-{CLIENT_SPAN}-01")
}

/// Nothing but the traces of the test is sampled.
fn start(receiver: &Receiver) -> Up {
    Up::start_with(&["--otlp-endpoint", &receiver.url(), "--sample-ratio", "0", "--log-format", "json"])
}

/// The one span of this service, kind and name.
fn one<'a>(spans: &'a [Received], service: &str, kind: &str, name: &str) -> &'a Received {
    let matching = |span: &&Received| span.service() == service && span.kind == kind && span.name == name;
    let found: Vec<&Received> = spans.iter().filter(matching).collect();
    assert_eq!(found.len(), 1, "{service} {kind} {name}: {spans:#?}");
    found[0]
}

#[test]
fn one_upload_is_one_trace_from_the_client_to_the_element_with_nothing_secret_in_it() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let receiver = Receiver::start();
    let up = start(&receiver);
    let account = format!("{}:{}", up.var("ARTSTORE_CLIENT_ID"), up.var("ARTSTORE_CLIENT_SECRET"));
    let asked = up.admin("/oauth2/token").with(["--user", &account, "--data", "grant_type=client_credentials"]);
    let traced = |curl: artstore_e2e::curl::Curl| {
        let curl = curl.header("traceparent", &traceparent(TRACE)).header("tracestate", "vendor=1");
        curl.header("x-request-id", "canary-request").header("user-agent", "canary-agent")
    };
    let answer = traced(asked).run().expect(200);
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let small = up.payload("small", 1_000, 1);
    let query = [("filename", "canary-name"), ("description", "canary-description")];
    let put = traced(up.put(&token, &query)).with(["-T".as_ref(), small.path.as_os_str()]);
    let record = stored(&put.run(), &small);

    // Ingester and element had to fetch the keys for the first token that came to them.
    let spans = receiver.await_trace(TRACE, 8);
    let issued = one(&spans, "artstore-admin", SERVER, "POST /oauth2/token");
    let served = one(&spans, "artstore-ingester", SERVER, "PUT /api/v1/files");
    let keys = one(&spans, "artstore-ingester", CLIENT, "GET");
    let sent = one(&spans, "artstore-ingester", CLIENT, "PUT");
    let kept = one(&spans, "artstore-element-edit", SERVER, "PUT /api/v1/files/{id}");
    let checked = one(&spans, "artstore-element-edit", CLIENT, "GET");
    let published = |asked: &Received| {
        let answered = |span: &&Received| span.parent_span_id == asked.span_id;
        spans.iter().find(answered).filter(|span| span.name == "GET /oauth2/jwks").unwrap()
    };
    for (child, parent) in [
        (issued, CLIENT_SPAN),
        (served, CLIENT_SPAN),
        (keys, &served.span_id),
        (published(keys), &keys.span_id),
        (checked, &kept.span_id),
        (published(checked), &checked.span_id),
        (sent, &served.span_id),
        (kept, &sent.span_id),
    ] {
        assert_eq!(child.parent_span_id, parent, "{child:#?}");
        assert_eq!((child.status.as_str(), child.trace_state.as_str()), ("STATUS_CODE_UNSET", "vendor=1"));
        let remote = if child.kind == SERVER { 0x200 } else { 0 };
        assert_eq!(child.flags, 0x101 | remote, "{child:#?}");
        assert!(child.start < child.end && child.scope == "artstore-http", "{child:#?}");
    }
    assert!(served.start <= sent.start && sent.end <= served.end && sent.start <= kept.start);
    let statuses = [issued, served, sent, kept].map(|span| span.attributes["http.response.status_code"].clone());
    assert_eq!(statuses, [200, 201, 201, 201].map(Value::from));
    let element = up.var("ARTSTORE_ELEMENT_EDIT_URL").rsplit_once(':').unwrap().1;
    assert_eq!(sent.attributes["server.port"].to_string(), element);

    let exported = receiver.text();
    let id = record.file_id.to_string();
    for secret in ["canary", &id, &token, up.var("ARTSTORE_CLIENT_SECRET"), up.var("ARTSTORE_CLIENT_ID")] {
        assert!(!exported.contains(secret), "{secret} was exported: {exported}");
    }
    the_log_and_the_exemplars_name_the_same_trace(&up, TRACE, &[issued, served, kept]);
}

fn the_log_and_the_exemplars_name_the_same_trace(up: &Up, trace: &str, servers: &[&Received]) {
    let log = up.process.log();
    let access = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let access = access.filter(|line| line["target"] == "artstore::access" && line["trace_id"] == trace);
    let spans: Vec<String> = access.map(|line| line["span_id"].as_str().unwrap().to_owned()).collect();
    for server in servers {
        assert!(spans.contains(&server.span_id), "{}: {spans:?}", server.name);
    }
    for (ops, names) in [
        ("ARTSTORE_OPS_URL", &["ingester_upload_duration_seconds", "http_client_request_duration_seconds"][..]),
        ("ARTSTORE_ADMIN_OPS_URL", &["admin_token_issue_duration_seconds", "http_server_request_duration_seconds"]),
        ("ARTSTORE_ELEMENT_EDIT_OPS_URL", &["element_commit_duration_seconds"]),
    ] {
        let text = up.metrics_text(ops, "application/openmetrics-text; version=1.0.0");
        let scrape = Scrape::parse(&text);
        for name in names {
            let bucket = format!("{name}_bucket");
            let exemplars: Vec<_> = scrape.samples(&bucket).filter_map(|sample| sample.exemplar.as_ref()).collect();
            let ours = exemplars.iter().find(|exemplar| exemplar.labels["trace_id"] == trace);
            assert!(ours.is_some(), "{name}: {exemplars:?}");
        }
        assert!(!up.metrics_text(ops, "text/plain").contains("trace_id"), "{ops}");
    }
}

#[test]
fn a_large_upload_is_one_tree_and_a_real_prometheus_gives_its_trace_as_exemplar() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let receiver = Receiver::start();
    let up = start(&receiver);
    let prometheus = Prometheus::start(&Plan::of(&up.house, Duration::from_millis(500)));
    let (token, large) = (up.token(), up.payload("large", 5_000_000, 2));
    let put = up.put(&token, &[("filename", "a")]).header("traceparent", &traceparent(TRACE));
    let _ = stored(&put.with(["-T".as_ref(), large.path.as_os_str()]).run(), &large);

    let spans = receiver.await_trace(TRACE, 11);
    let root = one(&spans, "artstore-ingester", SERVER, "PUT /api/v1/files");
    assert_eq!(root.parent_span_id, CLIENT_SPAN);
    for (name, route) in [("PATCH", "/api/v1/uploads/{id}"), ("POST", "/api/v1/uploads")] {
        let inner = one(&spans, "artstore-element-edit", SERVER, &format!("{name} {route}"));
        let outer = spans.iter().find(|span| span.span_id == inner.parent_span_id).unwrap();
        assert_eq!((outer.service(), outer.name.as_str()), ("artstore-ingester", name));
        assert_eq!(outer.parent_span_id, root.span_id);
    }
    let complete = one(&spans, "artstore-element-edit", SERVER, "POST /api/v1/uploads/{id}/complete");
    let outer = spans.iter().find(|span| span.span_id == complete.parent_span_id).unwrap();
    assert_eq!((outer.name.as_str(), outer.parent_span_id.as_str()), ("POST", root.span_id.as_str()));

    let query = [("query", "ingester_upload_duration_seconds_bucket"), ("start", "0"), ("end", "9999999999")];
    let found: Value = poll::until("the exemplar is in Prometheus", LIMIT, || {
        let found: Value = prometheus.ask("/api/v1/query_exemplars", &query).unwrap();
        found.as_array().is_some_and(|series| !series.is_empty()).then_some(found)
    });
    let exemplar = &found[0]["exemplars"][0];
    assert_eq!(exemplar["labels"]["trace_id"], TRACE, "{found}");
    let text = up.metrics_text("ARTSTORE_OPS_URL", "application/openmetrics-text; version=1.0.0");
    let scrape = Scrape::parse(&text);
    let shown = scrape.samples("ingester_upload_duration_seconds_bucket").find_map(|sample| sample.exemplar.clone());
    let shown = shown.unwrap();
    assert_eq!(exemplar["value"].as_str().unwrap().parse::<f64>().unwrap(), shown.value);
    assert_eq!(exemplar["timestamp"].as_f64().unwrap(), shown.time);
    assert_eq!(found[0]["seriesLabels"]["way"], "raw");
}

#[test]
fn what_is_exported_is_counted_and_a_receiver_that_is_away_holds_nothing_up() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4737";
    let receiver = Receiver::start();
    let url = receiver.url();
    let mut up = start(&receiver);
    let spans = |up: &Up, outcome| up.scrape("ARTSTORE_OPS_URL").sum("trace_spans_total", &[("outcome", outcome)]);
    let (token, small) = (up.token(), up.payload("small", 1_000, 3));
    let upload = |up: &Up, token: &str| {
        let put = up.put(token, &[("filename", "a")]).header("traceparent", &traceparent(TRACE));
        stored(&put.with(["-T".as_ref(), small.path.as_os_str()]).run(), &small)
    };
    let _ = upload(&up, &token);
    let sent = receiver.await_trace(TRACE, 7).iter().filter(|span| span.service() == "artstore-ingester").count();
    poll::until("the exported spans are counted", LIMIT, || (spans(&up, "exported") == sent as f64).then_some(()));
    assert_eq!((spans(&up, "dropped"), spans(&up, "failed")), (0.0, 0.0));
    drop(receiver);
    let _ = upload(&up, &token);
    poll::until("lost spans are counted", LIMIT, || (spans(&up, "failed") == 2.0).then_some(()));
    // One line of the Ingester, one of the element.
    let log = poll::until("the log says so", LIMIT, || {
        let log = up.process.log();
        (log.matches("spans cannot be exported").count() == 2).then_some(log)
    });
    assert!(log.contains(&format!("\"url\":\"{url}/v1/traces\"")), "{log}");
    // Spans that wait are lost, not waited for.
    let _ = upload(&up, &token);
    let (status, took) = poll::timed(|| up.process.terminate());
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(10), "{took:?}");
}
