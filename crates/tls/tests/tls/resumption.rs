//! Who may resume a session, and who may not any more: by rustls clients that keep sessions, and by OpenSSL's.

use crate::fixture::*;
use artstore_metrics::{Registry, TestClock};
use artstore_tls::dev::{DevCrl, Leaf};
use artstore_tls::{
    Acceptor, AcceptorSettings, ClientAuth, CrlFiles, IdentityFiles, ListenerMetrics, Policy, Protocol, TlsErrorType,
    Trust,
};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, HandshakeKind};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_rustls::TlsConnector;

const HOUR: Duration = Duration::from_secs(3600);

/// An acceptor that requires certificates, with a clock that can be moved.
struct House {
    world: World,
    clock: TestClock,
    registry: Registry,
    acceptor: Acceptor<TestClock>,
    /// The client's certificate, which ends in three days.
    client: IdentityFiles,
}

impl House {
    fn new(policy: &Policy, adjust: impl FnOnce(&mut AcceptorSettings)) -> Self {
        let world = World::new();
        let (clock, registry) = (TestClock::starting_at(now()), Registry::new());
        let leaf = Leaf::client("resuming", now()).valid(now().minus(DAY), now().plus(DAY * 3));
        let client = world.ca.issue("resuming", &leaf).unwrap();
        let metrics = ListenerMetrics::new(&registry, policy);
        let clean = DevCrl::empty(now()).valid(now().minus(HOUR), now().plus(DAY * 2)).number(1);
        let client_auth = ClientAuth::Required(trust(&world, &clean));
        let mut settings =
            AcceptorSettings { policy: policy.clone(), client_auth, ..AcceptorSettings::new(world.server()) };
        adjust(&mut settings);
        let acceptor = Acceptor::new(settings, metrics, clock.clone()).unwrap();
        Self { world, clock, registry, acceptor, client }
    }

    fn demand(&self, crl: &DevCrl) {
        self.acceptor.set_client_auth(ClientAuth::Required(trust(&self.world, crl))).unwrap();
    }

    fn advance(&self, by: Duration) {
        self.clock.step_wall_ms(i64::try_from(by.as_millis()).unwrap());
    }

    fn failures(&self, kind: TlsErrorType) -> f64 {
        self.registry.sum_of("tls_server_handshake_total", &[("error_type", kind.label())])
    }

    fn connector(&self) -> TlsConnector {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.world.ca.ca_file()).unwrap()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(&self.client.cert).unwrap()],
                PrivateKeyDer::from_pem_file(&self.client.key).unwrap(),
            )
            .unwrap();
        config.resumption = Resumption::in_memory_sessions(8);
        TlsConnector::from(Arc::new(config))
    }

    /// One connection of a client that keeps its sessions: how its handshake went, or what we found against it.
    async fn visit(&self, connector: &TlsConnector) -> Result<HandshakeKind, TlsErrorType> {
        let (near, far) = tcp_pair().await;
        let serve = async {
            let mut stream = self.acceptor.accept(far).await.map_err(|error| error.kind())?;
            stream.write_all(b"!").await.unwrap();
            stream.shutdown().await.unwrap();
            stream.read_to_end(&mut Vec::new()).await.ok();
            assert_eq!(stream.peer_certificate().unwrap().subject, "CN=resuming");
            Ok(())
        };
        let connect = async {
            let mut stream = connector.connect(name("localhost"), near).await.ok()?;
            // The sessions come before the first byte.
            stream.read_to_end(&mut Vec::new()).await.ok()?;
            stream.shutdown().await.ok();
            stream.get_ref().1.handshake_kind()
        };
        let (served, connected) = tokio::join!(serve, connect);
        served.map(|()| connected.unwrap())
    }
}

fn trust(world: &World, crl: &DevCrl) -> Trust {
    let path = world.path().join("list.pem");
    world.ca.write_crl(&path, crl).unwrap();
    world.ca.trust().unwrap().with_revocation(CrlFiles(vec![path]).load().unwrap())
}

fn policies() -> [Policy; 2] {
    [Policy::default(), tls12()]
}

const FULL: Result<HandshakeKind, TlsErrorType> = Ok(HandshakeKind::Full);
const RESUMED: Result<HandshakeKind, TlsErrorType> = Ok(HandshakeKind::Resumed);

#[tokio::test]
async fn a_session_outlives_a_new_leaf_but_no_change_of_demands() {
    for policy in policies() {
        let house = House::new(&policy, |_| {});
        let client = house.connector();
        assert_eq!(house.visit(&client).await, FULL, "{policy:?}");
        assert_eq!(house.visit(&client).await, RESUMED, "{policy:?}");
        let renewed = house.world.ca.issue("server", &Leaf::server("renewed", now())).unwrap().load().unwrap();
        house.acceptor.set_identity(renewed);
        assert_eq!(house.visit(&client).await, RESUMED, "{policy:?}");
        // The client is as welcome as before, but has to show itself again.
        house.demand(&DevCrl::empty(now()).number(2));
        assert_eq!(house.visit(&client).await, FULL, "{policy:?}");
        assert_eq!(house.visit(&client).await, RESUMED, "{policy:?}");
        let of = |family, label, value| house.registry.sum_of(family, &[(label, value)]);
        let kind = |kind| of("tls_server_handshake_kind_total", "kind", kind);
        assert_eq!((kind("full"), kind("resumed")), (2.0, 3.0));
        let without_exchange = if policy.minimum() == Protocol::Tls12 { 3.0 } else { 0.0 };
        assert_eq!(of("tls_server_handshake_key_exchange_total", "group", "none"), without_exchange);
        assert_sums_agree(&house.registry, "tls_server_");
    }
}

#[tokio::test]
async fn a_revoked_client_does_not_resume() {
    for policy in policies() {
        let house = House::new(&policy, |_| {});
        let client = house.connector();
        assert_eq!(house.visit(&client).await, FULL);
        let leaf = house.client.load().unwrap().certificates()[0].clone();
        house.demand(&DevCrl::empty(now()).number(2).revoking(&leaf));
        for attempt in 1..=3 {
            assert_eq!(house.visit(&client).await, Err(TlsErrorType::CertRevoked), "{policy:?}");
            assert_eq!(house.failures(TlsErrorType::CertRevoked), f64::from(attempt));
        }
    }
}

#[tokio::test]
async fn a_client_that_has_expired_meanwhile_does_not_resume() {
    for policy in policies() {
        // A list that lasts longer than the client's certificate, and sessions that would.
        let house = House::new(&policy, |settings| settings.session_lifetime = DAY * 30);
        house.demand(&DevCrl::empty(now()));
        let client = house.connector();
        assert_eq!(house.visit(&client).await, FULL);
        house.advance(DAY * 3 - HOUR);
        assert_eq!(house.visit(&client).await, RESUMED, "{policy:?}");
        house.advance(HOUR * 2);
        for _ in 0..3 {
            assert_eq!(house.visit(&client).await, Err(TlsErrorType::CertExpired), "{policy:?}");
        }
        // A clock that is set back before its beginning does not help either.
        house.clock.step_wall_ms(-i64::try_from((DAY * 10).as_millis()).unwrap());
        assert_eq!(house.visit(&client).await, Err(TlsErrorType::CertNotYetValid), "{policy:?}");
    }
}

#[tokio::test]
async fn nobody_resumes_once_a_list_is_stale() {
    for policy in policies() {
        let house = House::new(&policy, |settings| settings.session_lifetime = DAY * 30);
        let client = house.connector();
        assert_eq!(house.visit(&client).await, FULL);
        house.advance(DAY * 2 - HOUR);
        assert_eq!(house.visit(&client).await, RESUMED, "{policy:?}");
        house.advance(HOUR * 2);
        for _ in 0..3 {
            assert_eq!(house.visit(&client).await, Err(TlsErrorType::RevocationUnknown), "{policy:?}");
        }
        // With a new list the client is welcome again, with a full handshake.
        house.demand(&DevCrl::empty(now()).number(2).valid(now(), now().plus(DAY * 4)));
        assert_eq!(house.visit(&client).await, FULL, "{policy:?}");
    }
}

#[tokio::test]
async fn sessions_end_by_age_and_there_may_be_none() {
    for policy in policies() {
        let house = House::new(&policy, |settings| settings.session_lifetime = Duration::ZERO);
        let client = house.connector();
        assert_eq!((house.visit(&client).await, house.visit(&client).await), (FULL, FULL), "{policy:?}");
        let house = House::new(&policy, |settings| settings.session_limit = 0);
        let client = house.connector();
        assert_eq!((house.visit(&client).await, house.visit(&client).await), (FULL, FULL), "{policy:?}");
    }
}

/// An hour after the full handshake there is another one, however often the client comes.
#[tokio::test]
async fn resuming_does_not_prolong() {
    for policy in policies() {
        let house = House::new(&policy, |_| {});
        let client = house.connector();
        let mut kinds = Vec::new();
        for _ in 0..5 {
            kinds.push(house.visit(&client).await);
            house.advance(HOUR / 4 + Duration::from_secs(60));
        }
        assert_eq!(kinds, [FULL, RESUMED, RESUMED, RESUMED, FULL], "{policy:?}");
    }
}

/// One connection of OpenSSL's client, with a session that it keeps in this file; what it prints.
async fn openssl(house: &House, session: &Path) -> (Option<TlsErrorType>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address, "-ign_eof", "-CAfile"]).arg(house.world.ca.ca_file());
    command.arg("-cert").arg(&house.client.cert).arg("-key").arg(&house.client.key);
    if session.exists() {
        command.arg("-sess_in").arg(session);
    } else {
        command.arg("-sess_out").arg(session);
    }
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("openssl is needed (Debian package openssl; scripts/install.sh): {error}"));
    let serve = async {
        let (tcp, _) = listener.accept().await.unwrap();
        match house.acceptor.accept(tcp).await {
            Ok(mut stream) => {
                stream.write_all(b"!\n").await.unwrap();
                stream.shutdown().await.unwrap();
                stream.read_to_end(&mut Vec::new()).await.ok();
                None
            }
            Err(error) => Some(error.kind()),
        }
    };
    let (served, output) = tokio::join!(serve, child.wait_with_output());
    let output = output.unwrap();
    (served, String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

fn session_file(house: &House) -> PathBuf {
    house.world.path().join("session.pem")
}

/// The word for the version, and with it whether the session was resumed.
fn kind(text: &str) -> &str {
    text.lines().find(|line| line.starts_with("New, ") || line.starts_with("Reused, ")).unwrap_or(text)
}

#[tokio::test]
async fn openssl_resumes_until_its_certificate_is_revoked() {
    for (policy, version) in policies().into_iter().zip(["TLSv1.3", "TLSv1.2"]) {
        let house = House::new(&policy, |_| {});
        let session = session_file(&house);
        let (refused, text) = openssl(&house, &session).await;
        assert_eq!(refused, None, "{text}");
        assert!(kind(&text).starts_with(&format!("New, {version}")), "{text}");
        let kept = std::fs::read(&session).unwrap();
        let (refused, text) = openssl(&house, &session).await;
        assert_eq!(refused, None, "{text}");
        assert!(kind(&text).starts_with(&format!("Reused, {version}")), "{text}");
        // The same, but revoked before it comes back.
        std::fs::remove_file(&session).unwrap();
        let (refused, text) = openssl(&house, &session).await;
        assert_eq!(refused, None, "{text}");
        assert_ne!(std::fs::read(&session).unwrap(), kept);
        let leaf = house.client.load().unwrap().certificates()[0].clone();
        house.demand(&DevCrl::empty(now()).number(2).revoking(&leaf));
        let (refused, text) = openssl(&house, &session).await;
        assert_eq!(refused, Some(TlsErrorType::CertRevoked), "{text}");
        assert!(text.contains("SSL alert number 44"), "{text}");
    }
}

#[tokio::test]
async fn openssl_resumes_until_its_certificate_expires_or_the_list_does() {
    for policy in policies() {
        for (lists, meanwhile, wanted, alert) in [
            (DAY * 30, DAY * 3 + HOUR, TlsErrorType::CertExpired, "SSL alert number 45"),
            (DAY * 2, DAY * 2 + HOUR, TlsErrorType::RevocationUnknown, "SSL alert number 48"),
        ] {
            let house = House::new(&policy, |settings| settings.session_lifetime = DAY * 30);
            house.demand(&DevCrl::empty(now()).valid(now().minus(HOUR), now().plus(lists)));
            let session = session_file(&house);
            let (refused, text) = openssl(&house, &session).await;
            assert_eq!(refused, None, "{text}");
            house.advance(meanwhile);
            let (refused, text) = openssl(&house, &session).await;
            assert_eq!(refused, Some(wanted), "{text}");
            assert!(text.contains(alert), "{text}");
        }
    }
}
