//! What strangers can make of a house's series: nothing. Thousands of requests, handshakes and credentials, each unlike any other and each
//! with a secret of its own, reach every listener; afterwards there is no series more, and no label holds any of it.

use crate::stranger::{Stranger, Visit};
use crate::workload::OPS;
use artstore_e2e::certificates::Authority;
use artstore_e2e::curl::Curl;
use artstore_e2e::scrape::{Labels, Scrape};
use artstore_e2e::up::Up;
use std::collections::BTreeSet;
use std::path::Path;

/// Stands in whatever the strangers send, in one way or another.
const CANARY: &str = "canary";

/// Methods, of which some are none.
const METHODS: [&str; 9] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "CANARY", "TRACE"];

/// The listeners of the modules.
const MAIN: [&str; 4] =
    ["ARTSTORE_INGESTER_URL", "ARTSTORE_ADMIN_URL", "ARTSTORE_ELEMENT_EDIT_URL", "ARTSTORE_ELEMENT_RW_URL"];

/// The most series that any operations listener of this house may have: a little over what the largest, the Ingester's, has.
const MOST_SERIES: usize = 750;

/// How much is sent.
const TOTAL: usize = 10_000;

/// The series of a listener.
fn series(up: &Up, ops: &str) -> BTreeSet<(String, Labels)> {
    let scrape: Scrape = up.scrape(ops);
    let samples = scrape.families.values().flat_map(|family| &family.samples);
    samples.map(|sample| (sample.name.clone(), sample.labels.clone())).collect()
}

/// Requests to a module that were counted as the client's fault.
fn refused(up: &Up, ops: &str) -> f64 {
    up.scrape(ops).sum("http_server_requests_total", &[("listener", "main"), ("outcome", "4xx")])
}

/// A request like no other: where its secret stands changes with its number.
fn request(number: usize, host: &str) -> (String, Vec<u8>) {
    let secret = format!("{CANARY}-{number:06}-s3cr3t");
    let method = METHODS[number % METHODS.len()];
    let path = match number % 11 {
        0 => format!("/{secret}"),
        1 => format!("/api/v1/files/{secret}"),
        2 => format!("/api/v1/files/upload?token={secret}"),
        3 => format!("/api/v1/uploads/{secret}/complete"),
        4 => format!("/api/v1/files/00000000-0000-4000-8000-{number:012}/content?{secret}"),
        5 => format!("/api/v1/service-accounts/{secret}"),
        6 => format!("/metrics/{secret}"),
        7 => format!("/health/{secret}?a=%00%ff%22{secret}"),
        8 => "/oauth2/token".to_owned(),
        9 => format!("/api/v1/storage-elements?mode={secret}&status=%22%7D%0A"),
        _ => format!("/../..//{secret}/%2e%2e/{}", "x".repeat(number % 2_000)),
    };
    let host = if number.is_multiple_of(3) { format!("{secret}.example") } else { host.to_owned() };
    let authorization = match number % 4 {
        0 => format!("Bearer {secret}"),
        1 => format!("Bearer eyJhbGciOiJub25lIn0.{secret}.AAAA"),
        2 => "Basic Y2FuYXJ5OmNhbmFyeQ==".to_owned(),
        _ => secret.clone(),
    };
    let body = format!("grant_type=client_credentials&client_id={secret}&client_secret={secret}&scope={secret}");
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {secret}\r\nAuthorization: {authorization}\r\nX-Request-Id: {secret}\r\n\
         Traceparent: 00-{number:032x}-{:016x}-01\r\nTracestate: {CANARY}={secret}\r\nForwarded: for={secret}\r\nUpload-Metadata: filename {secret}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        number + 1,
        body.len()
    );
    (secret, text.into_bytes())
}

/// So many requests to one listener; how many were answered.
fn send_requests(stranger: &mut Stranger, host: &str, numbers: impl Iterator<Item = usize>) -> usize {
    numbers.filter(|number| stranger.ask(&request(*number, host).1).is_some()).count()
}

/// Handshakes with a name that nobody has, and from authorities that nobody knows or with subjects that nobody wrote down.
fn shake_hands(up: &Up, foreign: &Authority, own: &Authority, number: usize) {
    let address = up.var(MAIN[number % MAIN.len()]);
    let name = format!("{CANARY}-{number}.example");
    let identity = match number % 3 {
        0 => None,
        1 => Some(foreign.identity(&format!("{CANARY}-{number}"))),
        _ => Some(own.identity(&format!("{CANARY}-{number}"))),
    };
    let identity = identity.as_ref().map(|identity| (identity.certificate.as_path(), identity.key.as_path()));
    let visit = Visit { address, ca: up.ca(), name: &name, identity, alpn: &[CANARY, "http/1.1"][number % 2..] };
    let _ = Stranger::new(&visit).ask(&request(number, "localhost").1);
}

#[test]
fn strangers_add_no_series_and_leave_nothing_in_labels() {
    let up = Up::start();
    let payload = up.payload("small", 1_000, 1);
    let token = up.token();
    // Whatever a house has once it works: connections to every peer, a token.
    for policy in ["temporary", "permanent"] {
        let query = [("filename", "a"), ("retention_policy", policy)];
        let _ = up.upload_raw(&token, &payload.path, &query).expect(201);
    }
    let before = OPS.map(|ops| series(&up, ops));
    let refused_before = OPS.map(|ops| refused(&up, ops));
    let (mut answered, mut sent) = (0, 0);
    let module = (up.var("ARTSTORE_CLIENT_CERT").to_owned(), up.var("ARTSTORE_CLIENT_KEY").to_owned());
    let listeners = MAIN.iter().chain(&OPS);
    let share = TOTAL / 10;
    for (index, variable) in listeners.enumerate() {
        let identity = Some((Path::new(&module.0), Path::new(&module.1)));
        let visit = Visit { address: up.var(variable), ca: up.ca(), name: "localhost", identity, alpn: &[] };
        answered += send_requests(&mut Stranger::new(&visit), "localhost", (0..share).map(|n| index * share + n));
        sent += share;
    }
    let foreign = Authority::new(&up.scratch().join("foreign"), CANARY);
    let own = Authority::existing(&up.scratch().join("own"), up.ca(), &up.data().join("tls/ca.key"));
    (sent..TOTAL).for_each(|number| shake_hands(&up, &foreign, &own, number));
    assert!(answered * 10 > sent * 9, "{answered} of {sent} were answered");
    for (ops, before) in OPS.into_iter().zip(before) {
        let after = series(&up, ops);
        println!("{ops}: {} series before and {} after {TOTAL}", before.len(), after.len());
        let new: Vec<_> = after.difference(&before).collect();
        assert!(new.is_empty() && after.len() == before.len(), "{ops}: {new:?}");
        assert!(after.len() <= MOST_SERIES, "{ops}: {}", after.len());
        for accept in ["text/plain", "application/openmetrics-text;version=1.0.0"] {
            assert_clean(ops, &up.metrics_text(ops, accept));
        }
        for page in ["/", "/status.json", "/health/ready"] {
            assert_clean(page, &Curl::plain(&format!("{}{page}", up.var(ops))).run().text());
        }
    }
    for (ops, before) in OPS.into_iter().zip(refused_before) {
        let refused = refused(&up, ops) - before;
        assert!(refused > share as f64 / 2.0, "{ops} counted {refused} refusals of {share} requests and more");
    }
    assert_eq!(up.upload_raw(&token, &payload.path, &[("filename", "a")]).status, 201, "the house still works");
}

/// None of what was sent, in any case or encoding that a label could take it in.
fn assert_clean(ops: &str, text: &str) {
    let text = text.to_lowercase();
    for trace in [CANARY, "s3cr3t", "y2fuyxj5", "client_secret", "%2e", "propfind"] {
        let line = text.lines().find(|line| !line.starts_with('#') && line.contains(trace));
        assert_eq!(line, None, "{ops}");
    }
}

#[test]
#[should_panic(expected = "somewhere")]
fn a_label_that_holds_a_secret_is_found() {
    assert_clean("somewhere", "requests_total{path=\"/CANARY-1\"} 1\n");
}
