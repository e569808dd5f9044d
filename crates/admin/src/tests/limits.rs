//! The limits of failed authentications, through the router.

use super::{Answer, Fixture, problem};
use artstore_api::scope::FILES_READ;
use artstore_http::PeerInfo;
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::json;
use std::time::Duration;

const GRANT: &str = "grant_type=client_credentials";
const ATTACKER: &str = "192.0.2.66";
const GOOD: &str = "192.0.2.1";

/// A request of a client at an address.
async fn ask(fixture: &Fixture, address: &str, credentials: &str) -> Answer {
    let mut request = Request::post("/oauth2/token")
        .header(AUTHORIZATION, format!("Basic {}", STANDARD.encode(credentials)))
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(GRANT))
        .unwrap();
    let remote = std::net::SocketAddr::new(address.parse().unwrap(), 50_000);
    request.extensions_mut().insert(PeerInfo { remote, certificate: None });
    fixture.send(request).await
}

async fn statuses(fixture: &Fixture, address: &str, credentials: &str, count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(ask(fixture, address, credentials).await.status);
    }
    statuses
}

#[tokio::test]
async fn a_guesser_is_told_to_wait_in_the_form_of_the_rfc() {
    let fixture = Fixture::new().await;
    fixture.account("client", &[FILES_READ]).await;
    assert_eq!(statuses(&fixture, ATTACKER, "client:wrong", 10).await, [401; 10]);
    let answer = ask(&fixture, ATTACKER, "client:wrong").await;
    let description = "too many failed authentications; the right credentials are still served";
    let expected = json!({ "error": "temporarily_unavailable", "error_description": description });
    assert_eq!((answer.status, answer.json()), (429, expected));
    assert_eq!((answer.header("retry-after"), answer.header("cache-control")), ("6", "no-store"));
    assert!(!answer.headers.contains_key("www-authenticate"));
    fixture.clock.advance(Duration::from_millis(5_001));
    assert_eq!(ask(&fixture, ATTACKER, "client:wrong").await.header("retry-after"), "1");
    fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(statuses(&fixture, ATTACKER, "client:wrong", 2).await, [401, 429]);
    for (outcome, count) in [("invalid_client", 11.0), ("rate_limited", 3.0), ("issued", 0.0)] {
        assert_eq!(fixture.sum("admin_token_requests_total", &[("outcome", outcome)]), count, "{outcome}");
    }
    assert_eq!(fixture.sum("admin_token_failures_limited_total", &[("limit", "client")]), 3.0);
    assert_eq!(fixture.sum("admin_token_failures_remembered", &[]), 2.0);
}

#[tokio::test]
async fn the_right_secret_is_served_whatever_others_did() {
    let fixture = Fixture::new().await;
    let secret = fixture.account("client", &[FILES_READ]).await;
    let neighbour = fixture.account("neighbour", &[FILES_READ]).await;
    let (client, neighbour) = (format!("client:{secret}"), format!("neighbour:{neighbour}"));
    // The attacker knows the client's identifier, sits behind its address, and has spent both limits.
    for guess in 0..200 {
        ask(&fixture, GOOD, &format!("nobody-{guess}:wrong")).await;
    }
    assert_eq!(statuses(&fixture, GOOD, "client:wrong", 11).await, [429; 11]);
    assert_eq!(statuses(&fixture, GOOD, &client, 20).await, [200; 20]);
    assert_eq!(statuses(&fixture, GOOD, &neighbour, 20).await, [200; 20]);
    assert_eq!(statuses(&fixture, ATTACKER, &client, 1).await, [200], "nor does the address matter");
    assert_eq!(fixture.sum("admin_token_failures_limited_total", &[("limit", "address")]), 111.0);
}

#[tokio::test]
async fn whoever_presents_nothing_readable_is_limited_by_address() {
    let fixture = Fixture::with(|settings| settings.failure_limits.per_address = 2).await;
    assert_eq!(statuses(&fixture, ATTACKER, "no colon", 3).await, [401, 401, 429]);
    assert_eq!(statuses(&fixture, GOOD, "no colon", 1).await, [401]);
}

#[tokio::test]
async fn the_original_form_is_limited_alike() {
    let fixture = Fixture::with(|settings| settings.failure_limits.per_client = 1).await;
    let body = || Some(json!({ "client_id": "client", "client_secret": "wrong" }));
    let ask = async || fixture.call(http::Method::POST, "/api/v1/auth/token", "", body()).await;
    assert_eq!(ask().await.status, 401);
    let answer = ask().await;
    let detail = "too many failed authentications; the right credentials are still served";
    assert_eq!(answer.problem(), problem(429, "RATE_LIMITED", detail));
    assert_eq!(answer.header("retry-after"), "60");
}
