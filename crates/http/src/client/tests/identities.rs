//! The certificate that a client shows changes: at once, or beside the old one until the tokens of that are gone.

use super::*;
use crate::server::PeerInfo;
use artstore_tls::Identity;
use axum::Extension;

/// Answers with the serial number of the client's certificate.
fn who() -> Router {
    let serial = |Extension(peer): Extension<PeerInfo>| async move { peer.certificate.unwrap().serial.clone() };
    Router::new().route("/", get(serial))
}

struct Site {
    authority: Authority,
    server: TestServer,
    client: TestClient,
    first: String,
}

/// The serial number that a server will see.
fn serial(identity: &Identity) -> String {
    identity.certificates()[0].serial.clone()
}

impl Site {
    async fn open() -> Self {
        let authority = Authority::new();
        let acceptor = authority.acceptor(authority.required(), &Registry::new());
        let server = TestServer::start_with(who(), ServerSettings::default(), Registry::new(), Some(acceptor)).await;
        let (registry, identity) = (Registry::new(), authority.client());
        let first = serial(&identity);
        let connector = authority.connector(Some(identity), &registry);
        let client = TestClient::with(ClientSettings::default(), registry, Some(connector));
        Self { authority, server, client, first }
    }

    async fn seen(&self, client: &Client) -> String {
        text(client.send(ask(self.server.https("/"))).await.unwrap()).await
    }
}

#[tokio::test]
async fn a_new_certificate_is_shown_by_the_next_request() {
    let site = Site::open().await;
    let client = &site.client.client;
    assert_eq!(site.seen(client).await, site.first);
    let second = site.authority.client();
    client.set_identity(Some(second.clone()));
    assert_eq!(site.seen(client).await, serial(&second));
    eventually("the old one's connection ends", || {
        site.client.sum("http_client_connections_closed_total", &[("reason", "retired")]) == 1.0
    })
    .await;
}

#[tokio::test]
async fn an_identity_beside_another_has_connections_of_its_own_until_that_is_retired() {
    let site = Site::open().await;
    let client = &site.client.client;
    let [second, third] = [site.authority.client(), site.authority.client()];
    let ((one, _), (two, newest)) =
        (client.add_identity(Some(second.clone())), client.add_identity(Some(third.clone())));
    assert_eq!((one, two), (1, 2));
    for _ in 0..2 {
        assert_eq!(site.seen(&client.for_identity(0)).await, site.first);
        assert_eq!(site.seen(&client.for_identity(1)).await, serial(&second));
        assert_eq!(site.seen(&client.for_identity(2)).await, serial(&third));
    }
    assert_eq!(site.client.sum("http_client_connections_open", &[]), 3.0);
    assert_eq!(site.client.sum("tls_connection_reuse_total", &[("reused", "true")]), 3.0);
    // A request under way over an earlier one goes on.
    let under_way = client.for_identity(1).send(ask(site.server.https("/"))).await.unwrap();
    client.retire_identities_before(2, Some(third.clone()));
    assert_eq!(text(under_way).await, serial(&second));
    for number in [0, 1, 2] {
        assert_eq!(site.seen(&client.for_identity(number)).await, serial(&third), "{number}");
    }
    eventually("the earlier connections end", || site.client.sum("http_client_connections_open", &[]) == 2.0).await;
    assert_eq!(site.seen(&newest).await, serial(&third));
    assert!(client.connector().is_some());
}

/// A handshake that is under way when the certificate changes shows the old one: its connection carries one request only.
#[tokio::test]
async fn a_handshake_under_way_does_not_bring_the_old_certificate_into_the_pool() {
    let site = Site::open().await;
    let slow = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (url, to) = (format!("https://{}/", slow.local_addr().unwrap()), site.server.address);
    let (held, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let gates = (Arc::clone(&held), Arc::clone(&go));
    // Holds the first connection's bytes back until told; passes on all others.
    tokio::spawn(async move {
        for number in 0.. {
            let (mut near, _) = slow.accept().await.unwrap();
            let mut far = TcpStream::connect(to).await.unwrap();
            if number == 0 {
                let mut hello = [0; 1];
                near.peek(&mut hello).await.unwrap();
                gates.0.notify_one();
                gates.1.notified().await;
            }
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    });
    let client = site.client.client.clone();
    let asked = {
        let (client, url) = (client.clone(), url.clone());
        tokio::spawn(async move { text(client.send(ask(&url)).await.unwrap()).await })
    };
    soon(held.notified()).await;
    let second = site.authority.client();
    client.set_identity(Some(second.clone()));
    go.notify_one();
    // Which of the two it shows is the connector's choice.
    soon(asked).await.unwrap();
    assert_eq!(text(soon(client.send(ask(&url))).await.unwrap()).await, serial(&second));
    assert_eq!(site.client.sum("tls_connection_reuse_total", &[("reused", "true")]), 0.0);
}
