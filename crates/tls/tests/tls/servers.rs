//! Servers that we refuse, and peers that are no TLS servers: each with its type, verdict and alert.

use crate::fixture::*;
use artstore_tls::dev::{Leaf, Purpose};
use artstore_tls::{AcceptorSettings, ConnectorSettings, FoundBy, Identity, TlsError, TlsErrorType, cipher_suite_name};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A bad server certificate: what we find, our verdict, and what the server learns from our alert.
struct Bad {
    identity: Identity,
    we_find: TlsErrorType,
    verdict: &'static str,
    server_learns: TlsErrorType,
}

fn bad_servers(world: &World) -> Vec<Bad> {
    let issue = |name: &str, leaf: Leaf| world.ca.issue(name, &leaf).unwrap().load().unwrap();
    let leaf = || Leaf::server("server", now());
    let bad = |identity, we_find, verdict, server_learns| Bad { identity, we_find, verdict, server_learns };
    vec![
        bad(
            issue("expired", leaf().valid(now().minus(DAY * 2), now().minus(DAY))),
            TlsErrorType::CertExpired,
            "expired",
            TlsErrorType::CertExpired,
        ),
        bad(
            issue("early", leaf().valid(now().plus(DAY), now().plus(DAY * 2))),
            TlsErrorType::CertNotYetValid,
            "invalid",
            TlsErrorType::CertExpired,
        ),
        bad(
            world.stranger.issue("server", &leaf()).unwrap().load().unwrap(),
            TlsErrorType::CertUntrusted,
            "untrusted",
            TlsErrorType::CertUntrusted,
        ),
        bad(
            issue("elsewhere", leaf().names(&["elsewhere.example"])),
            TlsErrorType::CertNameMismatch,
            "invalid",
            TlsErrorType::CertInvalid,
        ),
        bad(
            issue("client-only", leaf().purpose(Purpose::Client)),
            TlsErrorType::CertWrongPurpose,
            "invalid",
            TlsErrorType::CertWrongPurpose,
        ),
    ]
}

#[tokio::test]
async fn bad_server_certificates_are_refused_and_told_why() {
    let world = World::new();
    for policy in [both_versions(), tls12()] {
        for bad in bad_servers(&world) {
            let client = client(ConnectorSettings { policy: policy.clone(), ..world.settings() });
            let server = server(AcceptorSettings { policy: both_versions(), ..AcceptorSettings::new(bad.identity) });
            let (near, far) = meet(&client, &server).await;
            let (near, far) = (near.unwrap_err(), far.unwrap_err());
            assert_eq!((near.kind(), near.found_by()), (bad.we_find, FoundBy::Local), "{near}");
            assert_eq!((far.kind(), far.found_by()), (bad.server_learns, FoundBy::Peer), "{far}");
            assert_eq!(
                moved(&client.registry),
                samples([
                    (&format!(r#"tls_certificate_validation_total{{result="{}"}}"#, bad.verdict), "1"),
                    (&format!(r#"tls_handshake_total{{status="failure",error_type="{}"}}"#, bad.we_find), "1"),
                ])
            );
            let failure =
                format!(r#"tls_server_handshake_total{{status="failure",error_type="{}"}}"#, bad.server_learns);
            assert_eq!(
                moved(&server.registry),
                samples([("tls_server_client_hello_wait_seconds_count", "1"), (failure.as_str(), "1")])
            );
            assert_sums_agree(&client.registry, "tls_");
        }
    }
}

/// Connects to a server that does `serve` with its end.
async fn connect_to(
    settings: ConnectorSettings,
    serve: impl AsyncFnOnce(TcpStream),
) -> (Client, Result<artstore_tls::ClientStream, TlsError>) {
    let client = client(settings);
    let (near, far) = tcp_pair().await;
    let (result, ()) = tokio::join!(client.connector.connect(name("localhost"), near), serve(far));
    (client, result)
}

fn assert_one_failure(client: &Client, error: &TlsError, kind: TlsErrorType, found_by: FoundBy) {
    assert_eq!((error.kind(), error.found_by()), (kind, found_by), "{error}");
    let failure = format!(r#"tls_handshake_total{{status="failure",error_type="{kind}"}}"#);
    assert_eq!(moved(&client.registry), samples([(failure.as_str(), "1")]));
    assert_sums_agree(&client.registry, "tls_");
    let found = client.registry.sum_of("tls_handshake_failures_found_by_total", &[("found_by", found_by.label())]);
    assert_eq!(found, 1.0);
}

#[tokio::test]
async fn a_plain_http_server_is_not_tls() {
    let (client, result) = connect_to(World::new().settings(), async |mut far| {
        far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        far.flush().await.unwrap();
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.ok();
    })
    .await;
    assert_one_failure(&client, &result.unwrap_err(), TlsErrorType::NotTls, FoundBy::Local);
}

#[tokio::test]
async fn a_server_that_hangs_up_is_closed() {
    let (client, result) = connect_to(World::new().settings(), async |mut far| {
        far.read_u8().await.unwrap();
        drop(far);
    })
    .await;
    assert_one_failure(&client, &result.unwrap_err(), TlsErrorType::Closed, FoundBy::Transport);
}

#[tokio::test]
async fn a_silent_server_is_a_timeout() {
    let settings = ConnectorSettings { handshake_timeout: Duration::from_millis(50), ..World::new().settings() };
    let (client, result) = connect_to(settings, async |mut far| {
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.ok();
    })
    .await;
    assert_one_failure(&client, &result.unwrap_err(), TlsErrorType::Timeout, FoundBy::Transport);
}

/// A server as old as TLS 1.0 answers with its own version.
#[tokio::test]
async fn an_old_server_is_a_version_error() {
    let (client, result) = connect_to(World::new().settings(), async |mut far| {
        // ServerHello: version 1.0, random, no session, AES128-SHA, no compression.
        let mut hello = vec![22, 3, 1, 0, 42, 2, 0, 0, 38, 3, 1];
        hello.extend([9; 32]);
        hello.extend([0, 0, 0x2f, 0]);
        far.write_all(&hello).await.unwrap();
        far.flush().await.unwrap();
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.ok();
    })
    .await;
    assert_one_failure(&client, &result.unwrap_err(), TlsErrorType::ProtocolVersion, FoundBy::Local);
}

/// Alerts from a server's mouth, before anything else was said.
#[tokio::test]
async fn alerts_are_classified_by_the_table() {
    for (number, kind) in [
        (40, TlsErrorType::CipherMismatch),
        (70, TlsErrorType::ProtocolVersion),
        (80, TlsErrorType::PeerAlert),
        (112, TlsErrorType::PeerAlert),
    ] {
        let (client, result) = connect_to(World::new().settings(), async |mut far| {
            far.write_all(&[21, 3, 3, 0, 2, 2, number]).await.unwrap();
            far.flush().await.unwrap();
            let mut rest = Vec::new();
            far.read_to_end(&mut rest).await.ok();
        })
        .await;
        assert_one_failure(&client, &result.unwrap_err(), kind, FoundBy::Peer);
    }
}

#[tokio::test]
async fn a_connect_that_is_dropped_is_unsettled() {
    let client = client(World::new().settings());
    let (near, mut far) = tcp_pair().await;
    let mut connecting = Box::pin(client.connector.connect(name("localhost"), near));
    tokio::select! {
        biased;
        _ = &mut connecting => unreachable!("nobody answers"),
        _ = far.read_u8() => {}
    }
    drop(connecting);
    assert_eq!(moved(&client.registry), samples([("tls_handshake_unsettled_total", "1")]));
}

#[test]
fn the_error_reads_well() {
    let error = rustls::Error::AlertReceived(rustls::AlertDescription::UnknownCA);
    let error = artstore_tls::classify_tls_error(&error, artstore_tls::CertificateAnswer::Sent);
    assert_eq!(error, (TlsErrorType::CertUntrusted, FoundBy::Peer));
    assert_eq!(cipher_suite_name(rustls::CipherSuite::TLS13_AES_128_GCM_SHA256), "TLS_AES_128_GCM_SHA256");
}

/// The alert arrives although the server had sent more than we read: closing at once would reset the connection.
#[tokio::test]
async fn the_alert_reaches_a_server_that_sent_a_lot() {
    let (client, result) = connect_to(World::new().settings(), async |mut far| {
        far.write_all(&[b'x'; 60_000]).await.unwrap();
        let mut heard = Vec::new();
        far.read_to_end(&mut heard).await.unwrap();
        // decode_error, fatal, in clear.
        assert!(heard.ends_with(&[21, 3, 3, 0, 2, 2, 50]), "{heard:?}");
    })
    .await;
    assert_one_failure(&client, &result.unwrap_err(), TlsErrorType::NotTls, FoundBy::Local);
}

#[tokio::test]
async fn failures_are_logged_on_both_sides() {
    let world = World::new();
    let (lines, _guard) = capture();
    let foreign = world.stranger.issue("server", &Leaf::server("server", now())).unwrap().load().unwrap();
    let (client, server) = (client(world.settings()), server(AcceptorSettings::new(foreign)));
    let (near, far) = meet(&client, &server).await;
    near.unwrap_err();
    far.unwrap_err();
    let mut lines = lines.take();
    lines.sort();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("INFO artstore_tls::error: TLS handshake failed peer=\"127.0.0.1:"), "{lines:?}");
    assert!(
        lines[1].starts_with(
            "WARN artstore_tls::error: TLS handshake failed server=\"localhost\" error_type=\"cert_untrusted\" found_by=\"local\" detail="
        ),
        "{lines:?}"
    );
}
