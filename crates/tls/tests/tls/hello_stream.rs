//! Whatever comes in place of a hello: each connection ends once, counted, and the next good client is served.

use crate::fixture::*;
use artstore_tls::{Acceptor, AcceptorSettings, TlsErrorType};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

/// A seeded generator (xorshift64), so that a failure can be had again.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[3]).collect()
    }
}

/// What a real client says first.
async fn recorded_hello(world: &World) -> Vec<u8> {
    let client = client(world.settings());
    let (near, mut far) = tcp_pair().await;
    let connecting = tokio::spawn(async move { client.connector.connect(name("localhost"), near).await.map(|_| ()) });
    let mut hello = vec![0; 16 * 1024];
    let length = far.read(&mut hello).await.unwrap();
    drop(far);
    connecting.await.unwrap().unwrap_err();
    hello.truncate(length);
    assert_eq!(usize::from(u16::from_be_bytes([hello[3], hello[4]])), length - 5, "one record");
    hello
}

/// The same message in records of so many bytes.
fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
    let record = |piece: &[u8]| {
        let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
        [&[22, 3, 1, length[0], length[1]], piece].concat()
    };
    hello[5..].chunks(size).flat_map(record).collect()
}

/// The hello, broken in one of the ways that there are.
fn broken(hello: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = hello.to_vec();
    match chance.below(9) {
        0 => {
            for _ in 0..=chance.below(8) {
                let bit = chance.below(bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
        1 => bytes.truncate(chance.below(bytes.len())),
        2 => {
            let size = 1 + chance.below(16);
            bytes = in_records(hello, size);
            bytes.truncate(1 + chance.below(bytes.len()));
        }
        3 => {
            // Oversized: a record or a message as long as its field can say.
            let field = if chance.below(2) == 0 { 3..5 } else { 6..9 };
            bytes[field].fill(0xff);
            let more = chance.below(40_000);
            bytes.extend(chance.bytes(more));
        }
        4 => {
            let count = chance.below(2_000);
            bytes = chance.bytes(count);
        }
        5 => {
            // A record header that is right, and nonsense in it.
            let start = 5 + chance.below(bytes.len() - 5);
            let nonsense = chance.bytes(bytes.len() - start);
            bytes.splice(start.., nonsense);
        }
        6 => {
            let (start, more) = (chance.below(bytes.len()), chance.below(200));
            bytes.splice(start..start, chance.bytes(more));
        }
        7 => {
            let start = chance.below(bytes.len());
            let end = bytes.len().min(start + 1 + chance.below(100));
            bytes.drain(start..end);
        }
        _ => bytes = hello.repeat(2 + chance.below(3)),
    }
    bytes
}

/// Sends these bytes and closes the sending side; what the acceptor made of it.
async fn meets(acceptor: Acceptor<StepClock>, bytes: Vec<u8>, at_once: bool) -> TlsErrorType {
    let (mut near, far) = tcp_pair().await;
    let talking = async move {
        // The server may have heard enough before all is sent.
        if at_once {
            near.write_all(&bytes).await.ok();
        } else {
            near.set_nodelay(true).unwrap();
            for byte in bytes {
                near.write_all(&[byte]).await.ok();
                tokio::task::yield_now().await;
            }
        }
        near.shutdown().await.ok();
        near.read_to_end(&mut Vec::new()).await.ok();
    };
    let (accepted, ()) = tokio::join!(acceptor.accept(far), talking);
    accepted.unwrap_err().kind()
}

#[tokio::test]
async fn every_broken_hello_ends_once_and_the_next_good_client_is_served() {
    const AT_ONCE: usize = 50;
    let rounds = if std::env::var_os("ARTSTORE_TLS_SOAK").is_some_and(|value| value == "1") { 1_000 } else { 40 };
    let world = World::new();
    let hello = recorded_hello(&world).await;
    let mut chance = Chance(0x5eed_2026);
    for plain_text_answer in [None, Some(b"use https".to_vec())] {
        let limit = Duration::from_secs(20);
        let settings = AcceptorSettings { policy: both_versions(), handshake_timeout: limit, ..world.requiring() };
        let server = server(AcceptorSettings { plain_text_answer, ..settings });
        let client = client(world.mutual());
        for round in 1..=rounds {
            let all: JoinSet<_> =
                (0..AT_ONCE).map(|_| meets(server.acceptor.clone(), broken(&hello, &mut chance), true)).collect();
            let kinds = all.join_all().await;
            // Silence was not the matter: everything was understood, or understood to be nonsense.
            assert!(!kinds.contains(&TlsErrorType::Timeout) && !kinds.contains(&TlsErrorType::Internal), "{kinds:?}");
            let failures = server.registry.sum_of("tls_server_handshake_total", &[("status", "failure")]);
            assert_eq!(failures, (round * AT_ONCE) as f64);
        }
        assert_eq!(server.registry.sum_of("tls_server_handshakes_in_progress", &[]), 0.0);
        assert_eq!(server.registry.sum_of("tls_server_handshake_cancelled_total", &[]), 0.0);
        let (near, far) = meet(&client, &server).await;
        assert!(near.is_ok() && far.is_ok());
        assert_eq!(server.registry.sum_of("tls_server_handshake_total", &[("status", "success")]), 1.0);
        assert_sums_agree(&server.registry, "tls_server_");
    }
}

/// However a good hello is cut, by records or by the network, it is understood: the handshake goes on, until the client goes.
#[tokio::test]
async fn a_hello_in_pieces_is_a_hello() {
    let world = World::new();
    let hello = recorded_hello(&world).await;
    let server = server(AcceptorSettings { policy: both_versions(), ..world.requiring() });
    let pieces = [(in_records(&hello, 1), true), (in_records(&hello, 7), true), (hello.clone(), false)];
    let count = pieces.len() as f64;
    for (bytes, at_once) in pieces {
        assert_eq!(meets(server.acceptor.clone(), bytes, at_once).await, TlsErrorType::Closed);
    }
    assert_eq!(server.registry.sum_of("tls_server_client_hello_wait_seconds_count", &[]), count);
    assert_eq!(server.registry.sum_of("tls_server_handshake_total", &[("error_type", "closed")]), count);
}
