//! A wall clock that is ten years off: handshakes, verdicts and gauges follow it on the side whose clock it is, and recover
//! when it comes back.

use crate::fixture::{DAY, World, name, now, tcp_pair};
use artstore_metrics::{Clock, Format, Monotonic, Registry, UnixTime};
use artstore_tls::dev::Leaf;
use artstore_tls::{
    Acceptor, AcceptorSettings, CertType, CertificateMetrics, CertificateMonitor, Connector, ConnectorMetrics,
    ConnectorSettings, ListenerMetrics, TlsError, WatchedFile,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const TEN_YEARS_IN_DAYS: i64 = 3_652;

/// A clock whose wall time is the real one, stepped by whole days.
#[derive(Debug, Clone)]
struct SkewedClock {
    start: UnixTime,
    days: Arc<AtomicI64>,
}

impl SkewedClock {
    fn new() -> Self {
        Self { start: now(), days: Arc::default() }
    }

    fn is_off_by(&self, days: i64) {
        self.days.store(days, Ordering::Relaxed);
    }
}

impl Clock for SkewedClock {
    fn monotonic(&self) -> Monotonic {
        Monotonic::from_origin(Duration::ZERO)
    }

    fn wall(&self) -> UnixTime {
        let days = self.days.load(Ordering::Relaxed);
        let by = DAY * u32::try_from(days.unsigned_abs()).unwrap();
        if days < 0 { self.start.minus(by) } else { self.start.plus(by) }
    }
}

/// A client and a server of one authority, each with a clock and a registry of its own.
struct Pair {
    client: Connector<SkewedClock>,
    client_clock: SkewedClock,
    client_registry: Registry,
    server: Acceptor<SkewedClock>,
    server_clock: SkewedClock,
    server_registry: Registry,
}

impl Pair {
    fn new(world: &World) -> Self {
        let (client_clock, server_clock) = (SkewedClock::new(), SkewedClock::new());
        let (client_registry, server_registry) = (Registry::new(), Registry::new());
        let settings: ConnectorSettings = world.mutual();
        let certificates = CertificateMetrics::new(&client_registry, client_clock.clone());
        let metrics = ConnectorMetrics::new(&client_registry, &settings.policy, certificates);
        let client = Connector::new(settings, metrics, client_clock.clone()).unwrap();
        let settings: AcceptorSettings = world.requiring();
        let metrics = ListenerMetrics::new(&server_registry, &settings.policy);
        let server = Acceptor::new(settings, metrics, server_clock.clone()).unwrap();
        Self { client, client_clock, client_registry, server, server_clock, server_registry }
    }

    /// One handshake and one byte from the server; how it ended on both sides.
    async fn meet(&self) -> (Outcome, Outcome) {
        let (near, far) = tcp_pair().await;
        let client = async {
            let mut stream = self.client.connect(name("localhost"), near).await.map_err(|error| kind(&error))?;
            match stream.read_u8().await {
                Ok(_) => Ok(()),
                Err(error) => Err(kind(error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()).unwrap())),
            }
        };
        let server = async {
            let mut stream = self.server.accept(far).await.map_err(|error| kind(&error))?;
            stream.write_all(b"x").await.unwrap();
            stream.flush().await.unwrap();
            Ok(())
        };
        tokio::join!(client, server)
    }

    fn verdicts(&self) -> (BTreeMap<String, f64>, BTreeMap<String, f64>) {
        let client = by_result(&self.client_registry, "tls_certificate_validation_total");
        (client, by_result(&self.server_registry, "tls_server_certificate_validation_total"))
    }
}

type Outcome = Result<(), &'static str>;

const fn kind(error: &TlsError) -> &'static str {
    error.kind().label()
}

/// The verdicts that are not 0.
fn by_result(registry: &Registry, family: &str) -> BTreeMap<String, f64> {
    let of = |result: &str| (result.to_owned(), registry.sum_of(family, &[("result", result)]));
    let all = ["valid", "expired", "invalid", "untrusted", "revoked"].map(of);
    all.into_iter().filter(|(_, count)| *count != 0.0).collect()
}

fn counts<const N: usize>(counts: [(&str, f64); N]) -> BTreeMap<String, f64> {
    counts.into_iter().map(|(result, count)| (result.to_owned(), count)).collect()
}

/// Ten years on, everything has expired for the side whose clock it is, and the other side is told so.
#[tokio::test]
async fn a_clock_ahead_sees_expired_certificates_and_recovers() {
    let pair = Pair::new(&World::new());
    assert_eq!(pair.meet().await, (Ok(()), Ok(())));
    pair.client_clock.is_off_by(TEN_YEARS_IN_DAYS);
    assert_eq!(pair.meet().await, (Err("cert_expired"), Err("cert_expired")));
    // The server's clock is right: it judged nobody, for the client had gone.
    assert_eq!(pair.verdicts(), (counts([("valid", 1.0), ("expired", 1.0)]), counts([("valid", 1.0)])));
    pair.client_clock.is_off_by(0);
    assert_eq!(pair.meet().await, (Ok(()), Ok(())));

    pair.server_clock.is_off_by(TEN_YEARS_IN_DAYS);
    assert_eq!(pair.meet().await, (Err("cert_expired"), Err("cert_expired")));
    assert_eq!(
        pair.verdicts(),
        (counts([("valid", 3.0), ("expired", 1.0)]), counts([("valid", 2.0), ("expired", 1.0)]))
    );
    pair.server_clock.is_off_by(0);
    assert_eq!(pair.meet().await, (Ok(()), Ok(())));
}

/// Ten years back, nothing is valid yet; the alert cannot say so and is counted as an expiry by who receives it.
#[tokio::test]
async fn a_clock_behind_sees_certificates_of_the_future_and_recovers() {
    let pair = Pair::new(&World::new());
    pair.client_clock.is_off_by(-TEN_YEARS_IN_DAYS);
    assert_eq!(pair.meet().await, (Err("cert_not_yet_valid"), Err("cert_expired")));
    assert_eq!(pair.verdicts(), (counts([("invalid", 1.0)]), counts([])));
    pair.client_clock.is_off_by(0);
    pair.server_clock.is_off_by(-TEN_YEARS_IN_DAYS);
    assert_eq!(pair.meet().await, (Err("cert_expired"), Err("cert_not_yet_valid")));
    assert_eq!(pair.verdicts(), (counts([("invalid", 1.0), ("valid", 1.0)]), counts([("invalid", 1.0)])));
    pair.server_clock.is_off_by(0);
    assert_eq!(pair.meet().await, (Ok(()), Ok(())));
    let of = |registry: &Registry, family: &str| registry.sum_of(family, &[("status", "success")]);
    assert_eq!(of(&pair.client_registry, "tls_handshake_total"), 1.0);
    assert_eq!(of(&pair.server_registry, "tls_server_handshake_total"), 1.0);
}

/// Both clocks off by the same: they agree that nobody is valid, and the client says it first.
#[tokio::test]
async fn clocks_that_are_off_together_refuse_together() {
    let pair = Pair::new(&World::new());
    for (days, ours, theirs) in [
        (TEN_YEARS_IN_DAYS, "cert_expired", "cert_expired"),
        (-TEN_YEARS_IN_DAYS, "cert_not_yet_valid", "cert_expired"),
    ] {
        pair.client_clock.is_off_by(days);
        pair.server_clock.is_off_by(days);
        assert_eq!(pair.meet().await, (Err(ours), Err(theirs)));
    }
}

/// The gauge follows the clock at every scrape, the monitor's verdict at every check, and both come back.
#[test]
fn gauges_and_the_monitor_follow_the_clock() {
    let world = World::new();
    let files = world.ca.issue("client", &Leaf::client("client", now())).unwrap();
    let (registry, clock) = (Registry::new(), SkewedClock::new());
    let metrics = CertificateMetrics::new(&registry, clock.clone());
    let watched = vec![WatchedFile::identity(&files, CertType::Client)];
    let monitor = CertificateMonitor::new(watched, metrics, clock.clone());
    let days_left = || registry.sum_of("tls_certificate_expiry_days", &[("cert_type", "client")]);
    monitor.check();
    let fresh = days_left();
    assert!((89.99..=90.0).contains(&fresh), "{fresh}");
    for (days, verdicts) in [
        (TEN_YEARS_IN_DAYS, counts([("valid", 1.0), ("expired", 1.0)])),
        (-TEN_YEARS_IN_DAYS, counts([("valid", 1.0), ("expired", 1.0), ("invalid", 1.0)])),
        (0, counts([("valid", 2.0), ("expired", 1.0), ("invalid", 1.0)])),
    ] {
        clock.is_off_by(days);
        // Without a check: the gauge is made at the scrape.
        assert!((days_left() - (fresh - days as f64)).abs() < 1e-6, "{days}: {}", days_left());
        monitor.check();
        assert_eq!(by_result(&registry, "tls_certificate_validation_total"), verdicts, "{days}");
    }
    // When it expires is the certificate's own: no clock moves it.
    let not_after = registry.encode(Format::Text);
    assert_eq!(not_after.matches("\ntls_certificate_not_after_timestamp_seconds{").count(), 1);
}
