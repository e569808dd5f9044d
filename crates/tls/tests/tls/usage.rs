//! What a handshake was like, who found its fault, whether its connection was used, and how long the peer's certificate lasts.

use crate::fixture::*;
use artstore_metrics::{Registry, UnixTime};
use artstore_tls::dev::Leaf;
use artstore_tls::{AcceptorSettings, ClientAuth, ConnectorSettings, Identity, Policy, Protocol};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn only(groups: &[&str]) -> Policy {
    let names: Vec<_> = groups.iter().map(|name| (*name).to_owned()).collect();
    Policy::new(Protocol::Tls12, None).unwrap().with_groups(&names).unwrap()
}

/// The series of this family that moved, as label value and count.
fn series(registry: &Registry, family: &str) -> Vec<(String, String)> {
    let text = registry.encode(artstore_metrics::Format::Text);
    let of = |line: &str| {
        let (label, value) = line.strip_prefix(family)?.strip_prefix('{')?.split_once("\"} ")?;
        let (_, label) = label.split_once("=\"")?;
        (value != "0").then(|| (label.to_owned(), value.to_owned()))
    };
    text.lines().filter_map(of).collect()
}

fn one(label: &str) -> Vec<(String, String)> {
    vec![(label.to_owned(), "1".to_owned())]
}

#[tokio::test]
async fn group_and_kind_of_a_handshake_are_counted_on_both_sides() {
    let world = World::new();
    for (near, far, group, kind) in [
        (only(&["X25519MLKEM768", "x25519"]), only(&["x25519", "X25519MLKEM768"]), "X25519MLKEM768", "full"),
        (only(&["secp256r1", "secp384r1"]), only(&["secp384r1"]), "secp384r1", "full_hello_retry"),
        (only(&["x25519"]), only(&["x25519"]), "x25519", "full"),
        (tls12(), tls12(), "x25519", "full"),
    ] {
        let client = client(ConnectorSettings { policy: near, ..world.settings() });
        let server = server(AcceptorSettings { policy: far, ..AcceptorSettings::new(world.server()) });
        let (near, far) = meet(&client, &server).await;
        near.unwrap();
        far.unwrap();
        for (registry, prefix) in [(&client.registry, "tls_"), (&server.registry, "tls_server_")] {
            assert_eq!(series(registry, &format!("{prefix}handshake_key_exchange_total")), one(group));
            assert_eq!(series(registry, &format!("{prefix}handshake_kind_total")), one(kind));
            assert_sums_agree(registry, prefix);
        }
    }
}

/// Every group that the policy enables stands at 0 before the first handshake, and no other.
#[test]
fn all_enabled_groups_are_there_from_the_start() {
    let world = World::new();
    let policy = only(&["secp384r1", "x25519"]);
    let server = server(AcceptorSettings { policy, ..AcceptorSettings::new(world.server()) });
    let text = server.registry.encode(artstore_metrics::Format::Text);
    let groups: Vec<_> =
        text.lines().filter_map(|line| line.strip_prefix("tls_server_handshake_key_exchange_total{group=")).collect();
    assert_eq!(groups, ["\"secp384r1\"} 0", "\"x25519\"} 0", "\"none\"} 0"]);
}

#[tokio::test]
async fn a_connection_without_a_byte_is_unused() {
    let world = World::new();
    let unused = |registry: &Registry, prefix| registry.sum_of(&format!("{prefix}connections_unused_total"), &[]);
    for policy in [Policy::default(), tls12()] {
        let client = client(ConnectorSettings { policy: policy.clone(), ..world.mutual() });
        let server = server(AcceptorSettings { policy, ..world.requiring() });
        let both = || (unused(&client.registry, "tls_"), unused(&server.registry, "tls_server_"));
        // Closed at once, by both: no byte, and the tickets of TLS 1.3 are none.
        let (near, far) = meet(&client, &server).await;
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
        far.shutdown().await.unwrap();
        assert_eq!(near.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(both(), (0.0, 0.0), "they are open");
        drop((near, far));
        assert_eq!(both(), (1.0, 1.0));
        // A byte each way, vectored or not, early or late, is use enough.
        for way in 0..4 {
            let (near, far) = meet(&client, &server).await;
            let (mut near, mut far) = (near.unwrap(), far.unwrap());
            let parts = [std::io::IoSlice::new(b"x")];
            match way {
                0 => near.write_all(b"x").await.unwrap(),
                1 => assert_eq!(near.write_vectored(&parts).await.unwrap(), 1),
                2 => far.write_all(b"x").await.unwrap(),
                _ => assert_eq!(far.write_vectored(&parts).await.unwrap(), 1),
            }
            near.flush().await.unwrap();
            far.flush().await.unwrap();
            match way {
                0 | 1 => assert_eq!(far.read_u8().await.unwrap(), b'x'),
                _ => assert_eq!(near.read_u8().await.unwrap(), b'x'),
            }
        }
        assert_eq!(both(), (1.0, 1.0));
    }
}

#[tokio::test]
async fn a_refused_connection_is_no_unused_one() {
    let world = World::new();
    let client = client(world.settings());
    let server = server(world.requiring());
    let (near, far) = meet(&client, &server).await;
    far.unwrap_err();
    near.unwrap().read_u8().await.unwrap_err();
    assert_eq!(client.registry.sum_of("tls_connections_unused_total", &[]), 0.0);
    assert_eq!(server.registry.sum_of("tls_server_connections_unused_total", &[]), 0.0);
    assert_eq!(series(&client.registry, "tls_handshake_failures_found_by_total"), one("peer"));
    assert_eq!(series(&server.registry, "tls_server_handshake_failures_found_by_total"), one("local"));
    assert_sums_agree(&client.registry, "tls_");
    assert_sums_agree(&server.registry, "tls_server_");
}

fn lasting(world: &World, name: &str, since: Duration, days: u32) -> Identity {
    let until: UnixTime = now().plus(DAY * days + Duration::from_secs(3600));
    world.ca.issue(name, &Leaf::server(name, now()).valid(now().minus(since), until)).unwrap().load().unwrap()
}

#[tokio::test]
async fn peers_whose_certificate_expires_soon_are_named_once() {
    let world = World::new();
    let client = client(world.settings());
    let (lines, _guard) = capture();
    let mut warned = Vec::new();
    for (name, since, days) in [
        ("later", DAY * 60, 31),
        ("soon", DAY * 80, 29),
        ("soon", DAY * 80, 29),
        ("critical", DAY * 80, 6),
        // Not long, but it never was: two thirds are left.
        ("short-lived", DAY, 2),
    ] {
        let server = server(AcceptorSettings::new(lasting(&world, name, since, days)));
        for _ in 0..2 {
            let (near, far) = meet(&client, &server).await;
            near.unwrap();
            far.unwrap();
        }
        let warnings: Vec<_> = lines.take().into_iter().filter(|line| line.starts_with("WARN")).collect();
        for line in &warnings {
            let start = format!(
                r#"WARN artstore_tls::metrics::peers: a peer's certificate expires soon peer="localhost" subject="CN={name}""#
            );
            assert!(line.starts_with(&start) && line.contains(&format!("days_left={days}.0")), "{line}");
        }
        warned.push(warnings.len());
    }
    // The second "soon" is another certificate.
    assert_eq!(warned, [0, 1, 1, 1, 0]);
    let bucket = |le| client.registry.sum_of("tls_peer_certificate_remaining_seconds_bucket", &[("le", le)]);
    assert_eq!(["86400.0", "259200.0", "604800.0", "2592000.0", "5184000.0"].map(bucket), [0.0, 2.0, 4.0, 8.0, 10.0]);
}

#[tokio::test]
async fn the_certificates_of_clients_are_watched_as_well() {
    let world = World::new();
    let leaf = Leaf::client("soon", now()).valid(now().minus(DAY * 80), now().plus(DAY * 5));
    let identity = world.ca.issue("soon", &leaf).unwrap().load().unwrap();
    let known = client(ConnectorSettings { identity: Some(identity), ..world.settings() });
    let client_auth = ClientAuth::Optional(world.ca.trust().unwrap());
    let server = server(AcceptorSettings { client_auth, ..world.requiring() });
    let (lines, _guard) = capture();
    for client in [&known, &client(world.settings())] {
        let (near, far) = meet(client, &server).await;
        near.unwrap();
        far.unwrap();
    }
    let count = server.registry.sum_of("tls_server_peer_certificate_remaining_seconds_count", &[]);
    assert_eq!(count, 1.0);
    let lines = lines.take();
    assert_eq!(lines.iter().filter(|line| line.contains(r#"peer="client" subject="CN=soon""#)).count(), 1, "{lines:?}");
}
