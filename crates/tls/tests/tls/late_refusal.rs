//! What a TLS 1.3 server thinks of our certificate arrives after our handshake: counted once, whatever we do meanwhile.

use crate::fixture::*;
use artstore_tls::dev::{Leaf, Purpose};
use artstore_tls::{CertificateAnswer, ClientStream, ConnectorSettings, FoundBy, Identity, TlsError, TlsErrorType};
use std::io;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A bad client certificate, what the server makes of it, and what we learn from its alert.
struct Bad {
    identity: Option<Identity>,
    server_says: TlsErrorType,
    client_learns: TlsErrorType,
    verdicts: &'static [(&'static str, f64)],
}

fn bad_identities(world: &World) -> Vec<Bad> {
    let issue = |name: &str, leaf: Leaf| Some(world.ca.issue(name, &leaf).unwrap().load().unwrap());
    let leaf = || Leaf::client("client", now());
    let untrusted = world.stranger.issue("client", &leaf()).unwrap().load().unwrap();
    vec![
        Bad {
            identity: None,
            server_says: TlsErrorType::CertMissing,
            client_learns: TlsErrorType::CertMissing,
            verdicts: &[],
        },
        Bad {
            identity: Some(untrusted),
            server_says: TlsErrorType::CertUntrusted,
            client_learns: TlsErrorType::CertUntrusted,
            verdicts: &[("untrusted", 1.0)],
        },
        Bad {
            identity: issue("expired", leaf().valid(now().minus(DAY * 2), now().minus(DAY))),
            server_says: TlsErrorType::CertExpired,
            client_learns: TlsErrorType::CertExpired,
            verdicts: &[("expired", 1.0)],
        },
        Bad {
            identity: issue("early", leaf().valid(now().plus(DAY), now().plus(DAY * 2))),
            server_says: TlsErrorType::CertNotYetValid,
            // One alert stands for both.
            client_learns: TlsErrorType::CertExpired,
            verdicts: &[("invalid", 1.0)],
        },
        Bad {
            identity: issue("purpose", leaf().purpose(Purpose::Server)),
            server_says: TlsErrorType::CertWrongPurpose,
            client_learns: TlsErrorType::CertWrongPurpose,
            verdicts: &[("invalid", 1.0)],
        },
    ]
}

fn tls_error(error: &io::Error) -> TlsError {
    error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()).unwrap_or_else(|| panic!("{error:?}")).clone()
}

/// The client's families after one refusal that was not known when the handshake ended.
fn assert_one_failure(client: &Client, kind: TlsErrorType) {
    let failure = format!(r#"tls_handshake_total{{status="failure",error_type="{kind}"}}"#);
    assert_eq!(
        moved(&client.registry),
        samples([(r#"tls_certificate_validation_total{result="valid"}"#, "1"), (failure.as_str(), "1")])
    );
    assert_sums_agree(&client.registry, "tls_");
}

async fn refuse_late(use_stream: impl AsyncFn(&mut ClientStream) -> io::Error) {
    let world = World::new();
    for bad in bad_identities(&world) {
        let client = client(ConnectorSettings { identity: bad.identity.clone(), ..world.settings() });
        let server = server(world.requiring());
        let (near, far) = tcp_pair().await;
        let accepting = async { server.acceptor.accept(far).await.unwrap_err() };
        let using = async {
            let mut stream = client.connector.connect(name("localhost"), near).await.unwrap();
            let error = use_stream(&mut stream).await;
            (stream, error)
        };
        let (server_error, (mut stream, error)) = tokio::join!(accepting, using);

        assert_eq!((server_error.kind(), server_error.found_by()), (bad.server_says, FoundBy::Local));
        let learnt = tls_error(&error);
        assert_eq!((learnt.kind(), learnt.found_by()), (bad.client_learns, FoundBy::Peer), "{learnt}");
        assert_eq!(stream.connection().tls_failure(), Some(learnt.clone()));
        assert!(!stream.connection().is_settled());
        // It goes on saying so, and never counts again.
        assert_eq!(tls_error(&stream.read_u8().await.unwrap_err()), learnt);
        assert_eq!(tls_error(&stream.write_all(b"x").await.unwrap_err()), learnt);
        assert_eq!(tls_error(&stream.flush().await.unwrap_err()), learnt);
        drop(stream);
        assert_one_failure(&client, bad.client_learns);

        assert_eq!(
            server.registry.sum_of(
                "tls_server_handshake_total",
                &[("status", "failure"), ("error_type", bad.server_says.label())]
            ),
            1.0
        );
        assert_eq!(server.registry.sum_of("tls_server_handshake_total", &[]), 1.0);
        let verdicts: f64 = bad.verdicts.iter().map(|(_, count)| count).sum();
        assert_eq!(server.registry.sum_of("tls_server_certificate_validation_total", &[]), verdicts);
        for (result, count) in bad.verdicts {
            assert_eq!(
                server.registry.sum_of("tls_server_certificate_validation_total", &[("result", result)]),
                *count
            );
        }
        assert_eq!(server.registry.sum_of("tls_server_handshakes_in_progress", &[]), 0.0);
    }
}

#[tokio::test]
async fn reading_finds_the_refusal() {
    refuse_late(async |stream| stream.read_u8().await.unwrap_err()).await;
}

/// Nobody reads, and the body is larger than all buffers: the failing write finds the alert.
#[tokio::test]
async fn writing_a_body_of_4_mib_finds_the_refusal() {
    refuse_late(async |stream| {
        let body = vec![7; 4 << 20];
        stream.write_all(&body).await.unwrap_err()
    })
    .await;
}

/// As above, in vectored writes of a few bytes and a flush each.
#[tokio::test]
async fn writing_and_flushing_pieces_finds_the_refusal() {
    refuse_late(async |stream| {
        loop {
            let pieces = [io::IoSlice::new(b"ab"), io::IoSlice::new(b"cd")];
            if let Err(error) = stream.write_vectored(&pieces).await {
                return error;
            }
            if let Err(error) = stream.flush().await {
                return error;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// One task reads while another writes: both end, and both know why.
#[tokio::test]
async fn reader_and_writer_both_learn_of_the_refusal() {
    let world = World::new();
    let (client, server) = (client(world.settings()), server(world.requiring()));
    let (near, far) = tcp_pair().await;
    let (stream, refused) =
        tokio::join!(client.connector.connect(name("localhost"), near), server.acceptor.accept(far));
    assert_eq!(refused.unwrap_err().kind(), TlsErrorType::CertMissing);
    let stream = stream.unwrap();
    let connection = stream.connection();
    let (mut reading, mut writing) = tokio::io::split(stream);
    let reader = tokio::spawn(async move { reading.read_u8().await.unwrap_err() });
    let writer = tokio::spawn(async move {
        let piece = vec![7; 1 << 16];
        loop {
            if let Err(error) = writing.write_all(&piece).await {
                return error;
            }
        }
    });
    for error in [reader.await.unwrap(), writer.await.unwrap()] {
        assert_eq!(tls_error(&error).kind(), TlsErrorType::CertMissing);
    }
    assert_eq!(connection.tls_failure().unwrap().kind(), TlsErrorType::CertMissing);
    assert_one_failure(&client, TlsErrorType::CertMissing);
}

/// TLS 1.2 tells within the handshake.
#[tokio::test]
async fn tls12_refusal_fails_the_connect() {
    let world = World::new();
    for bad in bad_identities(&world) {
        let client = client(ConnectorSettings { identity: bad.identity, policy: tls12(), ..world.settings() });
        let server = server(artstore_tls::AcceptorSettings { policy: both_versions(), ..world.requiring() });
        let (near, far) = meet(&client, &server).await;
        let (near, far) = (near.unwrap_err(), far.unwrap_err());
        assert_eq!((near.kind(), near.found_by()), (bad.client_learns, FoundBy::Peer));
        assert_eq!((far.kind(), far.found_by()), (bad.server_says, FoundBy::Local));
        assert_one_failure(&client, bad.client_learns);
    }
}

/// A server that asks for a certificate and gives no tickets: only data settles.
async fn quiet_pair(client: &Client, world: &World) -> (ClientStream, tokio_rustls::server::TlsStream<TcpStream>) {
    let (near, far) = tcp_pair().await;
    let (near, far) = tokio::join!(client.connector.connect(name("localhost"), near), raw_server(world, 0).accept(far));
    let near = near.unwrap();
    assert_eq!(near.connection().certificate_answer(), CertificateAnswer::Sent);
    (near, far.unwrap())
}

#[tokio::test]
async fn without_tickets_the_first_data_settles() {
    let world = World::new();
    let client = client(world.mutual());
    let (mut near, mut far) = quiet_pair(&client, &world).await;
    far.write_all(b"x").await.unwrap();
    far.flush().await.unwrap();
    assert_eq!(near.read(&mut []).await.unwrap(), 0);
    assert!(!near.connection().is_settled(), "a read into nothing learns nothing");
    near.read_u8().await.unwrap();
    assert!(near.connection().is_settled());
    assert_eq!(client.registry.sum_of("tls_handshake_total", &[("status", "success")]), 1.0);
}

#[tokio::test]
async fn closing_unsettled_moves_no_outcome() {
    let world = World::new();
    let client = client(world.mutual());
    let unsettled = |count| {
        samples([
            (r#"tls_certificate_validation_total{result="valid"}"#, count),
            ("tls_handshake_unsettled_total", count),
        ])
    };
    // Dropped at once.
    let (near, _far) = quiet_pair(&client, &world).await;
    drop(near);
    assert_eq!(moved(&client.registry), unsettled("1"));
    // Closed in good order, and then read to the end.
    let (mut near, mut far) = quiet_pair(&client, &world).await;
    near.shutdown().await.unwrap();
    assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
    far.shutdown().await.unwrap();
    drop(far);
    assert_eq!(near.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(near.connection().tls_failure(), None);
    drop(near);
    assert_eq!(moved(&client.registry), unsettled("2"));
    // Closed by us, and then cut off without a goodbye.
    let (mut near, far) = quiet_pair(&client, &world).await;
    near.shutdown().await.unwrap();
    drop(far);
    near.read(&mut [0]).await.unwrap_err();
    drop(near);
    assert_eq!(moved(&client.registry), unsettled("3"));
}

/// The server goes away before the first record: that is how the handshake ended.
#[tokio::test]
async fn an_end_before_the_first_record_is_a_failure() {
    let world = World::new();
    for goodbye in [true, false] {
        let client = client(world.mutual());
        let (mut near, mut far) = quiet_pair(&client, &world).await;
        if goodbye {
            far.shutdown().await.unwrap();
        }
        drop(far);
        let error = tls_error(&near.read_u8().await.unwrap_err());
        assert_eq!((error.kind(), error.found_by()), (TlsErrorType::Closed, FoundBy::Transport), "goodbye: {goodbye}");
        drop(near);
        assert_one_failure(&client, TlsErrorType::Closed);
    }
}

/// The server answers early, takes no more and resets: the write fails, but the answer settles and can be read.
#[tokio::test]
async fn an_early_answer_survives_a_failing_write() {
    let world = World::new();
    let client = client(world.mutual());
    let (mut near, mut far) = quiet_pair(&client, &world).await;
    far.write_all(b"413").await.unwrap();
    far.flush().await.unwrap();
    let body = vec![7; 8 << 20];
    let writing = async {
        let error = near.write_all(&body).await.unwrap_err();
        assert!(error.get_ref().is_none(), "the system's own error: {error:?}");
        near
    };
    let closing = async {
        far.read_u8().await.unwrap();
        drop(far);
    };
    let (mut near, ()) = tokio::join!(writing, closing);
    assert!(near.connection().is_settled());
    let mut answer = [0; 3];
    near.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"413");
    assert_eq!(client.registry.sum_of("tls_handshake_total", &[("status", "success")]), 1.0);
    assert_eq!(client.registry.sum_of("tls_handshake_total", &[]), 1.0);
}

/// The server resets without a word while we write.
#[tokio::test]
async fn a_reset_while_writing_is_a_closed_handshake() {
    let world = World::new();
    let client = client(world.mutual());
    let (mut near, mut far) = quiet_pair(&client, &world).await;
    let body = vec![7; 8 << 20];
    let writing = async {
        let error = near.write_all(&body).await.unwrap_err();
        (near, tls_error(&error))
    };
    let closing = async {
        far.read_u8().await.unwrap();
        drop(far);
    };
    let ((near, error), ()) = tokio::join!(writing, closing);
    assert_eq!((error.kind(), error.found_by()), (TlsErrorType::Closed, FoundBy::Transport));
    drop(near);
    assert_one_failure(&client, TlsErrorType::Closed);
}
