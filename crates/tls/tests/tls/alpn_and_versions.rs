//! Two sides that have nothing in common: both count why.

use crate::fixture::*;
use artstore_tls::{AcceptorSettings, ConnectorSettings, FoundBy, Policy, Protocol, TlsErrorType};

/// Lets both meet; the server finds the mismatch, the client learns of it.
async fn disagree(near: ConnectorSettings, far: AcceptorSettings, kind: TlsErrorType) {
    let (client, server) = (client(near), server(far));
    let (near, far) = meet(&client, &server).await;
    let (near, far) = (near.unwrap_err(), far.unwrap_err());
    assert_eq!((far.kind(), far.found_by()), (kind, FoundBy::Local), "{far}");
    assert_eq!((near.kind(), near.found_by()), (kind, FoundBy::Peer), "{near}");
    let failure = [("status", "failure"), ("error_type", kind.label())];
    assert_eq!(client.registry.sum_of("tls_handshake_total", &failure), 1.0);
    assert_eq!(client.registry.sum_of("tls_handshake_total", &[]), 1.0);
    assert_eq!(server.registry.sum_of("tls_server_handshake_total", &failure), 1.0);
    assert_eq!(server.registry.sum_of("tls_server_handshake_total", &[]), 1.0);
}

#[tokio::test]
async fn no_common_version() {
    let world = World::new();
    let near = ConnectorSettings { policy: tls12(), ..world.settings() };
    disagree(near, AcceptorSettings::new(world.server()), TlsErrorType::ProtocolVersion).await;
    let far = AcceptorSettings { policy: tls12(), ..AcceptorSettings::new(world.server()) };
    disagree(world.settings(), far, TlsErrorType::ProtocolVersion).await;
}

#[tokio::test]
async fn no_common_suite() {
    let world = World::new();
    let only = |name: &str| Policy::new(Protocol::Tls13, Some(&[name.to_owned()])).unwrap();
    let near = ConnectorSettings { policy: only("TLS_AES_256_GCM_SHA384"), ..world.settings() };
    let far =
        AcceptorSettings { policy: only("TLS_CHACHA20_POLY1305_SHA256"), ..AcceptorSettings::new(world.server()) };
    disagree(near, far, TlsErrorType::CipherMismatch).await;
}

#[tokio::test]
async fn no_common_application_protocol() {
    let world = World::new();
    let near = ConnectorSettings { alpn: vec![b"h2".to_vec()], ..world.settings() };
    let far = AcceptorSettings { alpn: vec![b"http/1.1".to_vec()], ..AcceptorSettings::new(world.server()) };
    disagree(near, far, TlsErrorType::AlpnMismatch).await;
}

#[tokio::test]
async fn the_common_application_protocol_is_known_to_both() {
    let world = World::new();
    let protocols = || vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let client = client(ConnectorSettings { alpn: protocols(), ..world.settings() });
    let server = server(AcceptorSettings { alpn: protocols(), ..AcceptorSettings::new(world.server()) });
    let (near, far) = meet(&client, &server).await;
    assert_eq!(near.unwrap().connection().alpn(), Some(&b"h2"[..]));
    assert_eq!(far.unwrap().alpn(), Some(&b"h2"[..]));
}

/// Both offer two suites, each with another one first.
#[tokio::test]
async fn the_listener_says_which_suite_is_best() {
    let world = World::new();
    let [aes, chacha] = ["TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];
    for order in [[aes, chacha], [chacha, aes]] {
        let policy = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            Policy::new(Protocol::Tls13, Some(&names)).unwrap()
        };
        let server = server(AcceptorSettings { policy: policy(&order), ..AcceptorSettings::new(world.server()) });
        let backwards = policy(&[order[1], order[0]]);
        let client = client(ConnectorSettings { policy: backwards, ..world.settings() });
        let (near, far) = meet(&client, &server).await;
        assert_eq!(near.unwrap().connection().cipher_suite(), order[0]);
        assert_eq!(far.unwrap().cipher_suite(), order[0]);
    }
}

/// The group of the handshake is one that both allow; without one there is no handshake.
#[tokio::test]
async fn key_exchange_groups_are_kept_to() {
    let world = World::new();
    let only = |name: &str| Policy::default().with_groups(&[name.to_owned()]).unwrap();
    let of = |policy| server(AcceptorSettings { policy, ..AcceptorSettings::new(world.server()) });
    let by = |policy| client(ConnectorSettings { policy, ..world.settings() });
    let (near, far) = meet(&by(only("secp384r1")), &of(only("x25519"))).await;
    assert_eq!(near.unwrap_err().kind(), TlsErrorType::CipherMismatch);
    assert_eq!(far.unwrap_err().kind(), TlsErrorType::CipherMismatch);
    let (near, _far) = meet(&by(only("secp384r1")), &of(Policy::default())).await;
    near.unwrap();
}
