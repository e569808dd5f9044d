//! What strikes a listener: scans, plain text, silence, old clients, shutdown.

use crate::fixture::*;
use artstore_tls::{AcceptorSettings, FoundBy, TlsError, TlsErrorType};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Lets `talk` speak to an acceptor; what the acceptor made of it, and what it sent until it closed.
async fn accept_from(
    settings: AcceptorSettings,
    talk: impl AsyncFnOnce(&mut TcpStream),
) -> (Server, TlsError, Vec<u8>) {
    let server = server(settings);
    let (mut near, far) = tcp_pair().await;
    let talking = async move {
        talk(&mut near).await;
        let mut heard = Vec::new();
        near.read_to_end(&mut heard).await.unwrap();
        heard
    };
    let (result, heard) = tokio::join!(server.acceptor.accept(far), talking);
    (server, result.unwrap_err(), heard)
}

fn assert_one_failure(server: &Server, error: &TlsError, kind: TlsErrorType, found_by: FoundBy) {
    assert_eq!((error.kind(), error.found_by()), (kind, found_by), "{error}");
    let failure = format!(r#"tls_server_handshake_total{{status="failure",error_type="{kind}"}}"#);
    assert_eq!(moved(&server.registry), samples([(failure.as_str(), "1")]));
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[tokio::test]
async fn plain_http_gets_an_alert() {
    let (server, error, heard) = accept_from(AcceptorSettings::new(World::new().server()), async |near| {
        near.write_all(REQUEST).await.unwrap();
    })
    .await;
    assert_one_failure(&server, &error, TlsErrorType::NotTls, FoundBy::Local);
    // A fatal alert record: decode_error.
    assert_eq!(heard, [21, 3, 3, 0, 2, 2, 50]);
}

#[tokio::test]
async fn plain_http_gets_the_answer_that_was_set() {
    let answer = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 9\r\n\r\nuse https";
    let settings =
        AcceptorSettings { plain_text_answer: Some(answer.to_vec()), ..AcceptorSettings::new(World::new().server()) };
    let (server, error, heard) = accept_from(settings, async |near| near.write_all(REQUEST).await.unwrap()).await;
    assert_one_failure(&server, &error, TlsErrorType::NotTls, FoundBy::Local);
    assert_eq!(heard, answer);
}

/// The answer to plain text is no hindrance to TLS.
#[tokio::test]
async fn tls_goes_on_working_with_an_answer_for_plain_text() {
    let world = World::new();
    let client = client(world.settings());
    let server = server(AcceptorSettings {
        plain_text_answer: Some(b"use https".to_vec()),
        ..AcceptorSettings::new(world.server())
    });
    let (near, far) = meet(&client, &server).await;
    assert!(near.is_ok() && far.is_ok());
}

/// The peer may send on and on: what it is told still reaches it, for what it sends is read, up to the limit.
#[tokio::test]
async fn the_alert_reaches_a_peer_that_sends_a_lot() {
    let (server, error, heard) = accept_from(AcceptorSettings::new(World::new().server()), async |near| {
        near.write_all(REQUEST).await.unwrap();
        near.write_all(&[b'x'; 60_000]).await.unwrap();
    })
    .await;
    assert_one_failure(&server, &error, TlsErrorType::NotTls, FoundBy::Local);
    assert_eq!(heard, [21, 3, 3, 0, 2, 2, 50]);
}

#[tokio::test]
async fn a_port_scan_is_closed() {
    let (lines, _guard) = capture();
    for settings in [None, Some(b"use https".to_vec())] {
        let settings = AcceptorSettings { plain_text_answer: settings, ..AcceptorSettings::new(World::new().server()) };
        let (server, error, heard) = accept_from(settings, async |near| near.shutdown().await.unwrap()).await;
        assert_one_failure(&server, &error, TlsErrorType::Closed, FoundBy::Transport);
        assert!(heard.is_empty());
        let lines = lines.take();
        assert!(lines.len() == 1 && lines[0].starts_with("DEBUG artstore_tls::error: "), "{lines:?}");
    }
}

#[tokio::test]
async fn silence_is_a_timeout() {
    let quick = Duration::from_millis(50);
    for said in [&b""[..], &[22, 3, 1]] {
        let settings = AcceptorSettings { handshake_timeout: quick, ..AcceptorSettings::new(World::new().server()) };
        let (server, error, _) = accept_from(settings, async |near| near.write_all(said).await.unwrap()).await;
        assert_one_failure(&server, &error, TlsErrorType::Timeout, FoundBy::Transport);
        assert_eq!(error.detail(), "timed out waiting for the client's hello");
    }
}

/// A hello, and then silence: one deadline covers both phases, and the wait for the hello was observed.
#[tokio::test]
async fn silence_after_the_hello_is_a_timeout() {
    let world = World::new();
    let client = client(world.settings());
    let (near, mut far) = tcp_pair().await;
    let connecting = tokio::spawn(async move { client.connector.connect(name("localhost"), near).await.map(|_| ()) });
    let mut hello = vec![0; 16 * 1024];
    let length = far.read(&mut hello).await.unwrap();
    drop(far);
    connecting.await.unwrap().unwrap_err();

    let settings =
        AcceptorSettings { handshake_timeout: Duration::from_millis(50), ..AcceptorSettings::new(world.server()) };
    let (server, error, _) = accept_from(settings, async |near| near.write_all(&hello[..length]).await.unwrap()).await;
    assert_eq!((error.kind(), error.found_by()), (TlsErrorType::Timeout, FoundBy::Transport));
    assert_eq!(error.detail(), "timed out waiting for the client's part of the handshake");
    assert_eq!(
        moved(&server.registry),
        samples([
            (r#"tls_server_handshake_total{status="failure",error_type="timeout"}"#, "1"),
            ("tls_server_client_hello_wait_seconds_count", "1"),
        ])
    );
}

/// A hello as OpenSSL sends it when told `-tls1`: no extensions, so rustls' own complaint is about signature algorithms.
#[tokio::test]
async fn an_old_client_is_a_version_error() {
    let mut hello = vec![22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 1];
    hello.extend([9; 32]);
    hello.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    let (server, error, heard) =
        accept_from(AcceptorSettings::new(World::new().server()), async |near| near.write_all(&hello).await.unwrap())
            .await;
    assert_one_failure(&server, &error, TlsErrorType::ProtocolVersion, FoundBy::Local);
    assert_eq!(heard.first(), Some(&21));
}

#[tokio::test]
async fn garbage_in_a_handshake_record_is_a_protocol_error() {
    let (server, error, heard) = accept_from(AcceptorSettings::new(World::new().server()), async |near| {
        near.write_all(&[22, 3, 3, 0, 4, 1, 0, 0, 0]).await.unwrap();
    })
    .await;
    assert_one_failure(&server, &error, TlsErrorType::ProtocolError, FoundBy::Local);
    assert_eq!(heard.first(), Some(&21));
}

/// A shutdown drops the handshake: it counts apart, and nothing stays in progress.
#[tokio::test]
async fn a_dropped_accept_is_cancelled() {
    let server = server(AcceptorSettings::new(World::new().server()));
    let (_near, far) = tcp_pair().await;
    let mut accepting = Box::pin(server.acceptor.accept(far));
    tokio::select! {
        biased;
        _ = &mut accepting => unreachable!("the client is silent"),
        () = tokio::task::yield_now() => {}
    }
    assert_eq!(moved(&server.registry), samples([("tls_server_handshakes_in_progress", "1")]));
    drop(accepting);
    assert_eq!(moved(&server.registry), samples([("tls_server_handshake_cancelled_total", "1")]));
}

/// Between the two phases a connection may wait for its turn: that is no part of the handshake's duration, and one that is
/// given up meanwhile is neither success nor failure.
#[tokio::test]
async fn the_wait_for_a_turn_is_measured_by_neither_phase() {
    let world = World::new();
    let (client, server) = (client(world.settings()), server(AcceptorSettings::new(world.server())));
    for gives_up in [false, true] {
        let (near, far) = tcp_pair().await;
        let connecting = client.connector.connect(name("localhost"), near);
        let accepting = async {
            let mut pending = server.acceptor.hello(far).await.unwrap();
            assert_eq!(server.registry.sum_of("tls_server_handshakes_in_progress", &[]), 1.0);
            // Two looks at a clock that steps by 30 ms: so long was the wait.
            pending.turn_came();
            pending.turn_came();
            if gives_up { None } else { Some(pending.finish().await.unwrap()) }
        };
        let (connected, accepted) = tokio::join!(connecting, accepting);
        assert_eq!((connected.is_err(), accepted.is_none()), (gives_up, gives_up));
        assert_eq!(server.registry.sum_of("tls_server_handshakes_in_progress", &[]), 0.0);
    }
    assert_eq!(server.registry.sum_of("tls_server_client_hello_wait_seconds_sum", &[]), 0.06);
    assert_eq!(server.registry.sum_of("tls_server_handshake_duration_seconds_sum", &[]), 0.03);
    assert_eq!(server.registry.sum_of("tls_server_handshake_total", &[]), 1.0);
    assert_eq!(server.registry.sum_of("tls_server_handshake_cancelled_total", &[]), 1.0);
}
