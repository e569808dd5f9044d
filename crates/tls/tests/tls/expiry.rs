//! Connections whose peer's certificate expires, or whose revocation list becomes stale, while they are open and nobody changes anything.

use crate::fixture::*;
use crate::live::{assert_cut, talk};
use artstore_metrics::{Registry, TestClock};
use artstore_tls::dev::{DevCrl, Leaf};
use artstore_tls::{
    Acceptor, AcceptorSettings, CertificateMetrics, ClientAuth, ClientStream, Connector, ConnectorMetrics,
    ConnectorSettings, CrlFiles, CutReason, ExpiryWatch, Identity, ListenerMetrics, ServerStream, Trust,
};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio_util::sync::CancellationToken;

const HOUR: Duration = Duration::from_secs(3_600);
const HOUR_MS: i64 = 3_600_000;

/// An acceptor and a connector on one clock, which the test sets.
struct Pair {
    clock: TestClock,
    registry: Registry,
    acceptor: Acceptor<TestClock>,
    connector: Connector<TestClock>,
}

impl Pair {
    fn new(connecting: ConnectorSettings, accepting: AcceptorSettings) -> Self {
        let (clock, registry) = (TestClock::starting_at(now()), Registry::new());
        let certificates = CertificateMetrics::new(&registry, clock.clone());
        let metrics = ConnectorMetrics::new(&registry, &connecting.policy, certificates);
        let connector = Connector::new(connecting, metrics, clock.clone()).unwrap();
        let metrics = ListenerMetrics::new(&registry, &accepting.policy);
        let acceptor = Acceptor::new(accepting, metrics, clock.clone()).unwrap();
        Self { clock, registry, acceptor, connector }
    }

    async fn open(&self) -> (ClientStream, ServerStream) {
        self.open_by(&self.connector).await
    }

    async fn open_by(&self, connector: &Connector<TestClock>) -> (ClientStream, ServerStream) {
        let (near, far) = tcp_pair().await;
        let (near, far) = tokio::join!(connector.connect(name("localhost"), near), self.acceptor.accept(far));
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
        talk(&mut near, &mut far).await;
        (near, far)
    }

    /// How many the acceptor cut, and the connector.
    fn cut(&self) -> (usize, usize) {
        (self.acceptor.cut_expired(), self.connector.cut_expired())
    }

    fn counted(&self, family: &str, reason: &str) -> (f64, f64) {
        (self.registry.sum_of(family, &[("error_type", reason)]), self.registry.sum_of(family, &[]))
    }
}

/// A certificate that ends in an hour.
fn ending(world: &World, leaf: &str) -> Identity {
    let made = if leaf == "server" { Leaf::server(leaf, now()) } else { Leaf::client(leaf, now()) };
    world.ca.issue(leaf, &made.valid(now().minus(DAY), now().plus(HOUR))).unwrap().load().unwrap()
}

/// Trust with a list whose successor is due in an hour.
fn listed(world: &World) -> Trust {
    let path = world.path().join("list.pem");
    world.ca.write_crl(&path, &DevCrl::empty(now()).valid(now().minus(DAY), now().plus(HOUR))).unwrap();
    world.ca.trust().unwrap().with_revocation(CrlFiles(vec![path]).load().unwrap())
}

#[tokio::test]
async fn a_client_whose_certificate_expires_is_cut_while_others_go_on() {
    let world = World::new();
    let settings = ConnectorSettings { identity: Some(ending(&world, "client")), ..world.settings() };
    let pair = Pair::new(settings, world.requiring());
    let (_near, mut far) = pair.open().await;
    let lasting = pair.connector.with_identity(Some(world.client()));
    let (mut other_near, mut other_far) = pair.open_by(&lasting).await;
    // Its last seconds count; a look that finds nothing changes nothing.
    pair.clock.step_wall_ms(HOUR_MS - 60_000);
    assert_eq!(pair.cut(), (0, 0));
    pair.clock.step_wall_ms(61_000);
    assert_eq!(pair.cut(), (1, 0));
    assert_cut(far.read_u8().await, CutReason::CertExpired);
    assert_eq!(pair.cut(), (0, 0), "once");
    talk(&mut other_near, &mut other_far).await;
    assert_eq!(pair.counted("tls_server_connections_cut_total", "cert_expired"), (1.0, 1.0));
    assert_eq!(pair.counted("tls_connections_cut_total", "cert_expired"), (0.0, 0.0));
}

#[tokio::test]
async fn a_server_whose_certificate_expires_is_cut() {
    let world = World::new();
    let accepting = AcceptorSettings { identity: ending(&world, "server"), ..world.requiring() };
    let pair = Pair::new(world.mutual(), accepting);
    let (mut near, _far) = pair.open().await;
    pair.clock.step_wall_ms(HOUR_MS + 1_000);
    assert_eq!(pair.cut(), (0, 1));
    assert_cut(near.read_u8().await, CutReason::CertExpired);
    assert_eq!(pair.counted("tls_connections_cut_total", "cert_expired"), (1.0, 1.0));
    assert_eq!(pair.cut(), (0, 0));
}

#[tokio::test]
async fn when_a_list_becomes_stale_both_sides_cut_whom_it_does_not_vouch_for_any_more() {
    let world = World::new();
    let connecting = ConnectorSettings { trust: listed(&world), ..world.mutual() };
    let accepting = AcceptorSettings { client_auth: ClientAuth::Required(listed(&world)), ..world.requiring() };
    let pair = Pair::new(connecting, accepting);
    let (mut near, mut far) = pair.open().await;
    pair.clock.step_wall_ms(HOUR_MS - 60_000);
    assert_eq!(pair.cut(), (0, 0));
    pair.clock.step_wall_ms(61_000);
    assert_eq!(pair.cut(), (1, 1));
    assert_cut(near.read_u8().await, CutReason::RevocationUnknown);
    assert_cut(far.read_u8().await, CutReason::RevocationUnknown);
    assert_eq!(pair.counted("tls_connections_cut_total", "revocation_unknown"), (1.0, 1.0));
    assert_eq!(pair.counted("tls_server_connections_cut_total", "revocation_unknown"), (1.0, 1.0));
}

/// A successor that came in time keeps everybody.
#[tokio::test]
async fn a_list_that_was_renewed_in_time_keeps_connections() {
    let world = World::new();
    let connecting = ConnectorSettings { trust: listed(&world), ..world.mutual() };
    let pair = Pair::new(connecting, world.requiring());
    let (mut near, mut far) = pair.open().await;
    let path = world.path().join("next.pem");
    world.ca.write_crl(&path, &DevCrl::empty(now()).valid(now().minus(DAY), now().plus(DAY))).unwrap();
    let renewed = world.ca.trust().unwrap().with_revocation(CrlFiles(vec![path]).load().unwrap());
    assert_eq!(pair.connector.set_trust(renewed).unwrap(), 0);
    pair.clock.step_wall_ms(HOUR_MS + 1_000);
    assert_eq!(pair.cut(), (0, 0));
    talk(&mut near, &mut far).await;
}

/// Who was not asked for a certificate has none that could expire.
#[tokio::test]
async fn a_client_without_a_certificate_stays() {
    let world = World::new();
    let pair = Pair::new(world.settings(), AcceptorSettings::new(world.server()));
    let (mut near, mut far) = pair.open().await;
    pair.clock.step_wall_ms(HOUR_MS);
    assert_eq!(pair.acceptor.cut_expired(), 0);
    talk(&mut near, &mut far).await;
}

#[tokio::test]
async fn the_watch_cuts_within_a_second_and_ends_when_it_is_told_to() {
    let world = World::new();
    let settings = ConnectorSettings { identity: Some(ending(&world, "client")), ..world.settings() };
    let accepting = AcceptorSettings { identity: ending(&world, "server"), ..world.requiring() };
    let pair = Pair::new(settings, accepting);
    let (mut near, mut far) = pair.open().await;
    tokio::time::pause();
    let shutdown = CancellationToken::new();
    let watch = ExpiryWatch::new(pair.acceptor.clone(), Some(pair.connector.clone()));
    let watch = tokio::spawn(watch.run(shutdown.clone()));
    pair.clock.step_wall_ms(HOUR_MS + 1_000);
    let began = tokio::time::Instant::now();
    // Both wait; nothing but the watch can wake them.
    let (server, client) = tokio::join!(far.read_u8(), near.read_u8());
    assert_cut(server, CutReason::CertExpired);
    assert_cut(client, CutReason::CertExpired);
    assert_eq!(began.elapsed().as_secs(), 1);
    shutdown.cancel();
    watch.await.unwrap();
}
