//! Handshakes that succeed, in both versions, with and without client certificates.

use crate::fixture::*;
use artstore_metrics::Format;
use artstore_tls::dev::Leaf;
use artstore_tls::{AcceptorSettings, CertificateAnswer, ClientAuth, ConnectorSettings, Policy, Protocol, Trust};
use rustls::HandshakeKind;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

#[tokio::test]
async fn tls13_without_client_certificate_is_settled_at_once() {
    let world = World::new();
    let (client, server) = (client(world.settings()), server(AcceptorSettings::new(world.server())));
    let (near, far) = meet(&client, &server).await;
    let (near, far) = (near.unwrap(), far.unwrap());
    let connection = near.connection();
    assert!(connection.is_settled());
    assert_eq!((connection.server(), connection.certificate_answer()), ("localhost", CertificateAnswer::NotRequested));
    assert_eq!((connection.protocol(), connection.cipher_suite()), (Protocol::Tls13, "TLS_AES_256_GCM_SHA384"));
    assert_eq!(connection.peer_certificate().unwrap().subject, "CN=server");
    assert_eq!(connection.peer_certificate().unwrap().names, ["localhost", "127.0.0.1", "::1"]);
    assert_eq!((connection.alpn(), far.alpn(), far.peer_certificate()), (None, None, None));
    let suite = r#"cipher_suite="TLS_AES_256_GCM_SHA384""#;
    let open = moved(&client.registry);
    assert_eq!(
        open,
        samples([
            (r#"tls_certificate_validation_total{result="valid"}"#, "1"),
            (&format!(r#"tls_cipher_suite_usage_total{{{suite},protocol="TLSv1.3"}}"#), "1"),
            (r#"tls_connections_active{protocol="TLSv1.3"}"#, "1"),
            (&format!(r#"tls_handshake_duration_seconds_count{{protocol="TLSv1.3",{suite}}}"#), "1"),
            (r#"tls_handshake_total{status="success",error_type=""}"#, "1"),
            (r#"tls_protocol_usage_total{protocol="TLSv1.3"}"#, "1"),
        ])
    );
    assert_eq!(
        moved(&server.registry),
        samples([
            (&format!(r#"tls_server_cipher_suite_usage_total{{{suite},protocol="TLSv1.3"}}"#), "1"),
            ("tls_server_client_hello_wait_seconds_count", "1"),
            (r#"tls_server_connections_active{protocol="TLSv1.3"}"#, "1"),
            (&format!(r#"tls_server_handshake_duration_seconds_count{{protocol="TLSv1.3",{suite}}}"#), "1"),
            (r#"tls_server_handshake_total{status="success",error_type=""}"#, "1"),
            (r#"tls_server_protocol_usage_total{protocol="TLSv1.3"}"#, "1"),
        ])
    );
    assert_sums_agree(&client.registry, "tls_");
    assert_sums_agree(&server.registry, "tls_server_");
    drop((near, far));
    assert_eq!(client.registry.sum_of("tls_connections_active", &[]), 0.0);
    assert_eq!(server.registry.sum_of("tls_server_connections_active", &[]), 0.0);
    let before = open.into_iter().filter(|(name, _)| !name.contains("active")).collect();
    assert_eq!(moved(&client.registry), before, "closing a settled connection moves the gauge alone");
}

/// One step of the clock per phase: 30 ms fall into the bucket of 50 ms.
#[tokio::test]
async fn durations_are_those_of_the_phases() {
    let world = World::new();
    let (client, server) = (client(world.settings()), server(AcceptorSettings::new(world.server())));
    let (near, far) = meet(&client, &server).await;
    let open = (near.unwrap(), far.unwrap());
    let client_text = client.registry.encode(Format::Text);
    let server_text = server.registry.encode(Format::Text);
    for (text, metric) in [
        (
            &client_text,
            r#"tls_handshake_duration_seconds_SUFFIX{protocol="TLSv1.3",cipher_suite="TLS_AES_256_GCM_SHA384""#,
        ),
        (
            &server_text,
            r#"tls_server_handshake_duration_seconds_SUFFIX{protocol="TLSv1.3",cipher_suite="TLS_AES_256_GCM_SHA384""#,
        ),
    ] {
        let bucket = metric.replace("SUFFIX", "bucket");
        assert!(text.contains(&format!("{bucket},le=\"0.025\"}} 0\n")), "{text}");
        assert!(text.contains(&format!("{bucket},le=\"0.05\"}} 1\n")), "{text}");
        assert!(text.contains(&format!("{}}} 0.03\n", metric.replace("SUFFIX", "sum"))), "{text}");
    }
    assert!(server_text.contains("tls_server_client_hello_wait_seconds_sum 0.03\n"), "{server_text}");
    drop(open);
}

#[tokio::test]
async fn tls12_with_client_certificate_is_settled_at_once() {
    let world = World::new();
    let client = client(ConnectorSettings { policy: tls12(), ..world.mutual() });
    let server = server(AcceptorSettings { policy: both_versions(), ..world.requiring() });
    let (near, far) = meet(&client, &server).await;
    let (near, far) = (near.unwrap(), far.unwrap());
    assert!(near.connection().is_settled());
    assert_eq!(near.connection().certificate_answer(), CertificateAnswer::Sent);
    assert_eq!(far.peer_certificate().unwrap().subject, "CN=client");
    assert_eq!((far.protocol(), far.cipher_suite()), (Protocol::Tls12, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"));
    let suite = r#"cipher_suite="TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256""#;
    assert_eq!(
        moved(&client.registry),
        samples([
            (r#"tls_certificate_validation_total{result="valid"}"#, "1"),
            (&format!(r#"tls_cipher_suite_usage_total{{{suite},protocol="TLSv1.2"}}"#), "1"),
            (r#"tls_connections_active{protocol="TLSv1.2"}"#, "1"),
            (&format!(r#"tls_handshake_duration_seconds_count{{protocol="TLSv1.2",{suite}}}"#), "1"),
            (r#"tls_handshake_total{status="success",error_type=""}"#, "1"),
            (r#"tls_protocol_usage_total{protocol="TLSv1.2"}"#, "1"),
        ])
    );
    assert_eq!(server.registry.sum_of("tls_server_certificate_validation_total", &[("result", "valid")]), 1.0);
    assert_sums_agree(&client.registry, "tls_");
}

/// With a certificate asked for, TLS 1.3 leaves the verdict open until the first record.
#[tokio::test]
async fn tls13_with_client_certificate_is_settled_by_the_first_ticket() {
    let world = World::new();
    let (client, server) = (client(world.mutual()), server(world.requiring()));
    let (near, far) = meet(&client, &server).await;
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    assert!(!near.connection().is_settled());
    assert_eq!(client.registry.sum_of("tls_handshake_total", &[]), 0.0);
    assert_eq!(client.registry.sum_of("tls_connections_active", &[("protocol", "TLSv1.3")]), 1.0);
    assert_eq!(far.peer_certificate().unwrap().subject, "CN=client");

    near.write_all(b"ping").await.unwrap();
    near.flush().await.unwrap();
    let mut buffer = [0; 4];
    far.read_exact(&mut buffer).await.unwrap();
    far.write_all(b"pong").await.unwrap();
    far.flush().await.unwrap();
    near.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"pong");
    assert!(near.connection().is_settled());
    assert_eq!(near.connection().tls_failure(), None);
    assert_eq!(client.registry.sum_of("tls_handshake_total", &[("status", "success")]), 1.0);
    assert_eq!(client.registry.sum_of("tls_handshake_unsettled_total", &[]), 0.0);
    assert_sums_agree(&client.registry, "tls_");

    // A clean end is an end, not an error.
    far.shutdown().await.unwrap();
    assert_eq!(near.read(&mut buffer).await.unwrap(), 0);
    near.shutdown().await.unwrap();
    drop(near);
    assert_eq!(client.registry.sum_of("tls_handshake_total", &[]), 1.0);
}

/// Nothing but tickets arrives: they settle while the reader still waits.
#[tokio::test]
async fn a_waiting_read_settles_on_tickets_alone() {
    let world = World::new();
    let (client, server) = (client(world.mutual()), server(world.requiring()));
    let (near, far) = meet(&client, &server).await;
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    far.flush().await.unwrap();
    let connection = near.connection();
    let reading = tokio::spawn(async move {
        let mut buffer = [0; 1];
        near.read(&mut buffer).await.map(|count| (count, buffer))
    });
    while !connection.is_settled() {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.registry.sum_of("tls_handshake_total", &[("status", "success")]), 1.0);
    far.write_all(b"x").await.unwrap();
    far.flush().await.unwrap();
    assert_eq!(reading.await.unwrap().unwrap(), (1, *b"x"));
}

#[tokio::test]
async fn optional_client_certificate_may_be_missing_or_good() {
    let world = World::new();
    let optional = AcceptorSettings {
        client_auth: ClientAuth::Optional(world.ca.trust().unwrap()),
        ..AcceptorSettings::new(world.server())
    };
    let server = server(optional);
    for (settings, answer, subject) in [
        (world.settings(), CertificateAnswer::NoneSent, None),
        (world.mutual(), CertificateAnswer::Sent, Some("CN=client")),
    ] {
        let client = client(settings);
        let (near, far) = meet(&client, &server).await;
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
        assert_eq!(near.connection().certificate_answer(), answer);
        assert_eq!(far.peer_certificate().map(|peer| peer.subject.as_str()), subject);
        far.write_all(b"x").await.unwrap();
        far.flush().await.unwrap();
        assert_eq!(near.read_u8().await.unwrap(), b'x');
        assert!(near.connection().is_settled());
    }
    assert_eq!(server.registry.sum_of("tls_server_certificate_validation_total", &[]), 1.0);
    assert_eq!(server.registry.sum_of("tls_server_handshake_total", &[("status", "success")]), 2.0);
}

#[tokio::test]
async fn trusting_anybody_gives_no_verdict() {
    let world = World::new();
    for policy in [Policy::default(), tls12()] {
        let settings = ConnectorSettings { policy, ..ConnectorSettings::new(Trust::danger_accept_any_server()) };
        let client = client(settings);
        let server = server(AcceptorSettings { policy: both_versions(), ..AcceptorSettings::new(world.server()) });
        let (near, _far) = meet(&client, &server).await;
        near.unwrap();
        assert_eq!(client.registry.sum_of("tls_certificate_validation_total", &[]), 0.0);
        assert_eq!(client.registry.sum_of("tls_handshake_total", &[("status", "success")]), 1.0);
    }
}

#[tokio::test]
async fn requests_count_by_reuse() {
    let client = client(World::new().settings());
    client.connector.metrics().request_sent(false);
    let shared = client.connector.clone();
    shared.metrics().request_sent(true);
    drop(shared);
    client.connector.metrics().request_sent(true);
    assert_eq!(
        moved(&client.registry),
        samples([
            (r#"tls_connection_reuse_total{reused="false"}"#, "1"),
            (r#"tls_connection_reuse_total{reused="true"}"#, "2"),
        ])
    );
}

/// Vectored writes and both halves at once.
#[tokio::test]
async fn bytes_go_both_ways() {
    let world = World::new();
    let (client, server) = (client(world.mutual()), server(world.requiring()));
    let (near, far) = meet(&client, &server).await;
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    assert!(near.is_write_vectored() && far.is_write_vectored());
    assert_eq!(near.get_ref().peer_addr().unwrap(), far.get_ref().local_addr().unwrap());
    let parts = [std::io::IoSlice::new(b"ab"), std::io::IoSlice::new(b"cd")];
    assert_eq!(near.write_vectored(&parts).await.unwrap(), 4);
    near.flush().await.unwrap();
    let mut buffer = [0; 4];
    far.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"abcd");
    assert_eq!(far.write_vectored(&parts).await.unwrap(), 4);
    far.flush().await.unwrap();
    near.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"abcd");
}

/// A client that resumes whenever it can, with a certificate.
fn resuming_client(world: &World, versions: &[&'static rustls::SupportedProtocolVersion]) -> TlsConnector {
    let files = world.ca.issue("resuming", &Leaf::client("resuming", now())).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(world.ca.ca_file()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_file(&files.cert).unwrap()],
            PrivateKeyDer::from_pem_file(&files.key).unwrap(),
        )
        .unwrap();
    TlsConnector::from(Arc::new(config))
}

/// A resumed handshake verifies nobody, so it gives no verdict.
#[tokio::test]
async fn listeners_resume_sessions_without_a_verdict() {
    let world = World::new();
    let plain = AcceptorSettings::new(world.server());
    for (settings, version, kinds, verdicts) in [
        (world.requiring(), &rustls::version::TLS13, [HandshakeKind::Full, HandshakeKind::Resumed], 1.0),
        (world.requiring(), &rustls::version::TLS12, [HandshakeKind::Full, HandshakeKind::Resumed], 1.0),
        (plain, &rustls::version::TLS13, [HandshakeKind::Full, HandshakeKind::Resumed], 0.0),
    ] {
        let server = server(AcceptorSettings { policy: both_versions(), ..settings });
        let resuming = resuming_client(&world, &[version]);
        let mut seen = Vec::new();
        for _ in 0..2 {
            let (near, far) = tcp_pair().await;
            let (near, far) = tokio::join!(resuming.connect(name("localhost"), near), server.acceptor.accept(far));
            let (mut near, mut far) = (near.unwrap(), far.unwrap());
            far.write_all(b"x").await.unwrap();
            far.flush().await.unwrap();
            near.read_u8().await.unwrap();
            seen.push(near.get_ref().1.handshake_kind().unwrap());
        }
        assert_eq!(seen, kinds, "{version:?}");
        assert_eq!(server.registry.sum_of("tls_server_certificate_validation_total", &[]), verdicts);
    }
}

/// Tickets are given, but our own clients use none: each handshake verifies anew.
#[tokio::test]
async fn connectors_never_resume() {
    let world = World::new();
    let (client, server) = (client(world.mutual()), server(world.requiring()));
    for _ in 0..2 {
        let (near, far) = meet(&client, &server).await;
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
        far.write_all(b"x").await.unwrap();
        far.flush().await.unwrap();
        near.read_u8().await.unwrap();
    }
    assert_eq!(server.registry.sum_of("tls_server_certificate_validation_total", &[("result", "valid")]), 2.0);
    assert_eq!(client.registry.sum_of("tls_certificate_validation_total", &[("result", "valid")]), 2.0);
}
