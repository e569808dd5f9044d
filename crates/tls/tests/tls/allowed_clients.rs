//! A listener's list of allowed clients: whom it lets in, what the others are told, and what a change of it does.

use crate::fixture::*;
use artstore_tls::dev::Leaf;
use artstore_tls::{
    Acceptor, AcceptorSettings, AllowedClients, ClientAuth, ConnectorSettings, FoundBy, ListenerMetrics, SetupError,
    TlsErrorType,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn list(rules: &[&str]) -> AllowedClients {
    AllowedClients::new(&rules.iter().map(|rule| (*rule).to_owned()).collect::<Vec<_>>()).unwrap()
}

fn named(world: &World, name: &str) -> Client {
    let leaf = Leaf::client(name, now()).names(&[&format!("{name}.example")]);
    let identity = world.ca.issue(name, &leaf).unwrap().load().unwrap();
    client(ConnectorSettings { identity: Some(identity), policy: both_versions(), ..world.settings() })
}

fn let_in(server: &Server) -> Vec<(String, String)> {
    let of = |(name, value): (String, String)| {
        let rule = name.strip_prefix("tls_server_client_identity_total{identity=\"")?.strip_suffix("\"}")?.to_owned();
        Some((rule, value))
    };
    moved(&server.registry).into_iter().filter_map(of).collect()
}

fn counts(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(rule, count)| ((*rule).to_owned(), (*count).to_owned())).collect()
}

#[tokio::test]
async fn only_clients_on_the_list_are_let_in() {
    let world = World::new();
    for policy in [both_versions(), tls12()] {
        let server = server(AcceptorSettings {
            policy,
            allowed_clients: Some(list(&["dns:a.example", "subject:CN=b"])),
            ..world.requiring()
        });
        for name in ["a", "b", "b"] {
            let (near, far) = meet(&named(&world, name), &server).await;
            assert_eq!(far.unwrap().peer_certificate().unwrap().subject, format!("CN={name}"));
            near.unwrap();
        }
        assert_eq!(let_in(&server), counts(&[("dns:a.example", "1"), ("subject:CN=b", "2")]));
        let (lines, guard) = capture();
        let stranger = named(&world, "c");
        let (near, far) = meet(&stranger, &server).await;
        let error = far.unwrap_err();
        assert_eq!((error.kind(), error.found_by()), (TlsErrorType::CertInvalid, FoundBy::Local));
        assert_eq!(error.detail(), "not among the allowed clients: subject:CN=c dns:c.example");
        let lines = lines.take();
        drop(guard);
        assert_eq!(lines.iter().filter(|line| line.contains(error.detail())).count(), 1, "{lines:?}");
        // access_denied has no place in the contract's table.
        let told = match near {
            Ok(mut near) => {
                near.read_u8().await.unwrap_err();
                near.connection().tls_failure().unwrap()
            }
            Err(error) => error,
        };
        assert_eq!((told.kind(), told.found_by()), (TlsErrorType::PeerAlert, FoundBy::Peer));
        assert!(told.detail().contains("AccessDenied"), "{told}");
        assert_eq!(let_in(&server), counts(&[("dns:a.example", "1"), ("other", "1"), ("subject:CN=b", "2")]));
        let verdicts =
            |result| server.registry.sum_of("tls_server_certificate_validation_total", &[("result", result)]);
        assert_eq!((verdicts("valid"), verdicts("invalid")), (3.0, 1.0));
        assert_sums_agree(&server.registry, "tls_server_");
    }
}

/// A bad certificate is refused for what it is, whatever the list says.
#[tokio::test]
async fn the_list_is_asked_after_the_chain() {
    let world = World::new();
    let server = server(AcceptorSettings { allowed_clients: Some(list(&["dns:x"])), ..world.requiring() });
    let identity = world.stranger.issue("d", &Leaf::client("d", now())).unwrap().load().unwrap();
    let foreign = client(ConnectorSettings { identity: Some(identity), ..world.settings() });
    let (_near, far) = meet(&foreign, &server).await;
    assert_eq!(far.unwrap_err().kind(), TlsErrorType::CertUntrusted);
    assert_eq!(let_in(&server), []);
}

#[tokio::test]
async fn a_change_of_the_list_cuts_and_admits() {
    let world = World::new();
    let server = server(AcceptorSettings { policy: both_versions(), ..world.requiring() });
    let (a, b) = (named(&world, "a"), named(&world, "b"));
    let (_a_near, a_far) = meet(&a, &server).await;
    let (mut b_near, b_far) = meet(&b, &server).await;
    let (mut a_far, mut b_far) = (a_far.unwrap(), b_far.unwrap());
    assert_eq!(server.acceptor.set_allowed_clients(Some(list(&["dns:b.example"]))).unwrap(), 1);
    assert!(a_far.read_u8().await.unwrap_err().to_string().contains("cert_invalid"));
    let reason = [("error_type", "cert_invalid")];
    assert_eq!(server.registry.sum_of("tls_server_connections_cut_total", &reason), 1.0);
    b_far.write_all(b"x").await.unwrap();
    b_far.flush().await.unwrap();
    assert_eq!(b_near.as_mut().unwrap().read_u8().await.unwrap(), b'x');
    let (_near, far) = meet(&a, &server).await;
    assert_eq!(far.unwrap_err().kind(), TlsErrorType::CertInvalid);
    // A change of the trust leaves the list alone.
    server.acceptor.set_client_auth(ClientAuth::Required(world.ca.trust().unwrap())).unwrap();
    let (_near, far) = meet(&a, &server).await;
    assert_eq!(far.unwrap_err().kind(), TlsErrorType::CertInvalid);
    server.acceptor.set_allowed_clients(None).unwrap();
    let (_near, far) = meet(&a, &server).await;
    far.unwrap();
    assert_eq!(let_in(&server), counts(&[("other", "2")]));
}

#[tokio::test]
async fn who_may_do_without_a_certificate_is_not_asked() {
    let world = World::new();
    let client_auth = ClientAuth::Optional(world.ca.trust().unwrap());
    let settings = AcceptorSettings { client_auth, allowed_clients: Some(list(&["dns:x"])), ..world.requiring() };
    let server = server(settings);
    let (_near, far) = meet(&client(world.settings()), &server).await;
    assert!(far.unwrap().peer_certificate().is_none());
    let (_near, far) = meet(&client(world.mutual()), &server).await;
    assert_eq!(far.unwrap_err().kind(), TlsErrorType::CertInvalid);
}

#[test]
fn a_list_without_certificates_is_a_mistake() {
    let world = World::new();
    let settings =
        AcceptorSettings { allowed_clients: Some(list(&["dns:x"])), ..AcceptorSettings::new(world.server()) };
    let metrics = ListenerMetrics::new(&artstore_metrics::Registry::new(), &settings.policy);
    let error = Acceptor::new(settings, metrics, clock()).unwrap_err();
    let reason = "a list of allowed clients is useless while clients are not asked for a certificate";
    assert_eq!(error, SetupError::Configuration(reason.to_owned()));
    let server = server(world.requiring());
    server.acceptor.set_allowed_clients(Some(list(&["dns:x"]))).unwrap();
    assert_eq!(server.acceptor.set_client_auth(ClientAuth::None).unwrap_err(), error);
}
