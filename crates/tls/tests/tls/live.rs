//! What a change of identity, trust or demands does to handshakes and to connections that are open.

use crate::fixture::*;
use artstore_tls::dev::{DevCrl, Leaf};
use artstore_tls::{
    AcceptorSettings, ClientAuth, ClientStream, ConnectionCut, ConnectorSettings, CrlFiles, CutReason, FoundBy,
    Identity, ServerStream, SetupError, TlsErrorType, Trust,
};
use std::io;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;

/// Trust in the world's authority with a list that revokes the leaves of these.
fn trust_but(world: &World, revoked: &[&Identity]) -> Trust {
    let crl = revoked.iter().fold(DevCrl::empty(now()), |crl, identity| crl.revoking(&identity.certificates()[0]));
    let path = world.path().join("list.pem");
    world.ca.write_crl(&path, &crl).unwrap();
    world.ca.trust().unwrap().with_revocation(CrlFiles(vec![path]).load().unwrap())
}

fn other(world: &World) -> Identity {
    world.ca.issue("other", &Leaf::client("other", now())).unwrap().load().unwrap()
}

async fn open(client: &Client, server: &Server) -> (ClientStream, ServerStream) {
    let (near, far) = meet(client, server).await;
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    talk(&mut near, &mut far).await;
    (near, far)
}

/// A byte each way.
pub(crate) async fn talk(near: &mut ClientStream, far: &mut ServerStream) {
    near.write_all(b"a").await.unwrap();
    near.flush().await.unwrap();
    assert_eq!(far.read_u8().await.unwrap(), b'a');
    far.write_all(b"b").await.unwrap();
    far.flush().await.unwrap();
    assert_eq!(near.read_u8().await.unwrap(), b'b');
}

pub(crate) fn assert_cut<T: std::fmt::Debug>(result: io::Result<T>, reason: CutReason) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    let cut = error.get_ref().unwrap().downcast_ref::<ConnectionCut>().unwrap();
    assert_eq!(cut.reason(), reason);
    assert!(!cut.detail().is_empty());
    let text = format!("the connection was cut: its peer is no longer trusted ({reason}): {}", cut.detail());
    assert_eq!(cut.to_string(), text);
}

#[tokio::test]
async fn a_client_that_is_revoked_is_cut_while_others_go_on() {
    let world = World::new();
    let identity = world.client();
    let bad = client(ConnectorSettings { identity: Some(identity.clone()), ..world.settings() });
    let good = client(ConnectorSettings { identity: Some(other(&world)), ..world.settings() });
    let server = server(world.requiring());
    let (_bad_near, mut bad_far) = open(&bad, &server).await;
    let (mut good_near, mut good_far) = open(&good, &server).await;
    let (lines, _guard) = capture();
    let auth = ClientAuth::Required(trust_but(&world, &[&identity]));
    assert_eq!(server.acceptor.set_client_auth(auth.clone()).unwrap(), 1);
    let lines = lines.take();
    let [line] = &*lines else { panic!("{lines:?}") };
    let start = r#"INFO artstore_tls::live: TLS connection cut peer="client" subject="CN=client" fingerprint=""#;
    assert!(line.starts_with(start) && line.contains(r#"error_type="cert_revoked""#), "{line}");
    assert_cut(bad_far.read_u8().await, CutReason::CertRevoked);
    assert_cut(bad_far.write_all(b"x").await, CutReason::CertRevoked);
    assert_cut(bad_far.write_vectored(&[io::IoSlice::new(b"x")]).await, CutReason::CertRevoked);
    assert_cut(bad_far.flush().await, CutReason::CertRevoked);
    assert_cut(bad_far.shutdown().await, CutReason::CertRevoked);
    talk(&mut good_near, &mut good_far).await;
    // Whoever is cut already is not cut again, and not counted again.
    assert_eq!(server.acceptor.set_client_auth(auth).unwrap(), 0);
    let cuts = |reason: &str| server.registry.sum_of("tls_server_connections_cut_total", &[("error_type", reason)]);
    assert_eq!((cuts("cert_revoked"), server.registry.sum_of("tls_server_connections_cut_total", &[])), (1.0, 1.0));
    drop((bad_far, good_far));
    assert_eq!(server.registry.sum_of("tls_server_connections_active", &[]), 0.0);
    // It was a success, and stays one.
    assert_eq!(server.registry.sum_of("tls_server_handshake_total", &[("status", "success")]), 2.0);
    assert_sums_agree(&server.registry, "tls_server_");
}

#[tokio::test]
async fn a_server_that_is_revoked_is_cut() {
    let world = World::new();
    let identity = world.server();
    let client = client(world.mutual());
    let server = server(AcceptorSettings { identity: identity.clone(), ..world.requiring() });
    let (mut near, _far) = open(&client, &server).await;
    let (lines, _guard) = capture();
    assert_eq!(client.connector.set_trust(trust_but(&world, &[&identity])).unwrap(), 1);
    let lines = lines.take();
    let [line] = &*lines else { panic!("{lines:?}") };
    assert!(line.contains(r#"peer="localhost" subject="CN=server" fingerprint=""#), "{line}");
    assert_cut(near.read_u8().await, CutReason::CertRevoked);
    assert_cut(near.write_all(b"x").await, CutReason::CertRevoked);
    assert_cut(near.flush().await, CutReason::CertRevoked);
    assert_cut(near.shutdown().await, CutReason::CertRevoked);
    assert_eq!(client.registry.sum_of("tls_connections_cut_total", &[("error_type", "cert_revoked")]), 1.0);
    assert_eq!(client.registry.sum_of("tls_connections_cut_total", &[]), 1.0);
    drop(near);
    assert_eq!(client.registry.sum_of("tls_connections_active", &[]), 0.0);
    assert_sums_agree(&client.registry, "tls_");
    let (near, _far) = meet(&client, &server).await;
    assert_eq!(near.unwrap_err().kind(), TlsErrorType::CertRevoked);
    assert!(client.connector.trust().revocation().is_some());
}

/// Both halves wait: one for more of a body, the other for room to send. The cut ends both at once.
#[tokio::test]
async fn a_cut_wakes_whoever_waits() {
    let world = World::new();
    let (theirs, ours) = (world.client(), world.server());
    let client = client(ConnectorSettings { identity: Some(theirs.clone()), ..world.settings() });
    let server = server(AcceptorSettings { identity: ours.clone(), ..world.requiring() });
    // In one connection the server waits for the client, in the other the client for the server.
    let (silent_near, far) = open(&client, &server).await;
    let (near, silent_far) = open(&client, &server).await;
    let waiting = [waiting(near).await, waiting(far).await];
    let auth = ClientAuth::Required(trust_but(&world, &[&theirs]));
    assert_eq!(server.acceptor.set_client_auth(auth).unwrap(), 2);
    assert_eq!(client.connector.set_trust(trust_but(&world, &[&ours])).unwrap(), 2);
    for task in waiting.into_iter().flatten() {
        assert_cut(task.await.unwrap(), CutReason::CertRevoked);
    }
    drop((silent_near, silent_far));
    assert_eq!(server.registry.sum_of("tls_server_connections_active", &[]), 0.0);
    assert_eq!(client.registry.sum_of("tls_connections_active", &[]), 0.0);
}

type Task = tokio::task::JoinHandle<io::Result<()>>;

/// A task that reads and one that has filled all buffers with writing; both wait by now.
async fn waiting<S>(stream: S) -> [Task; 2]
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (full, is_full) = oneshot::channel();
    let writing = tokio::spawn(async move {
        let mut full = Some(full);
        let body = vec![0; 64 << 10];
        loop {
            let mut write = std::pin::pin!(writer.write_all(&body));
            let first = std::future::poll_fn(|cx| std::task::Poll::Ready(write.as_mut().poll(cx))).await;
            match first {
                std::task::Poll::Ready(written) => written?,
                std::task::Poll::Pending => {
                    full.take().into_iter().for_each(|full| full.send(()).unwrap());
                    write.await?;
                }
            }
        }
    });
    is_full.await.unwrap();
    let reading = tokio::spawn(async move { reader.read_u8().await.map(|_| ()) });
    tokio::task::yield_now().await;
    [reading, writing]
}

#[tokio::test]
async fn who_showed_no_certificate_is_cut_when_one_is_demanded() {
    let world = World::new();
    let anonymous = client(world.settings());
    let named = client(world.mutual());
    let trust = world.ca.trust().unwrap();
    let server = server(AcceptorSettings { client_auth: ClientAuth::Optional(trust.clone()), ..world.requiring() });
    let (_near, mut far) = open(&anonymous, &server).await;
    let (mut named_near, mut named_far) = open(&named, &server).await;
    assert_eq!(server.acceptor.set_client_auth(ClientAuth::Required(trust)).unwrap(), 1);
    assert_cut(far.read_u8().await, CutReason::CertMissing);
    talk(&mut named_near, &mut named_far).await;
    assert!(matches!(server.acceptor.client_auth(), ClientAuth::Required(_)));
    // Without demands nobody is cut.
    assert_eq!(server.acceptor.set_client_auth(ClientAuth::None).unwrap(), 0);
    talk(&mut named_near, &mut named_far).await;
}

#[tokio::test]
async fn demands_that_cannot_be_made_change_nothing() {
    let world = World::new();
    let (client, server) = (client(world.mutual()), server(world.requiring()));
    let (mut near, mut far) = open(&client, &server).await;
    let nobody = ClientAuth::Required(Trust::danger_accept_any_server());
    let error = server.acceptor.set_client_auth(nobody).unwrap_err();
    assert!(matches!(error, SetupError::Configuration(_)), "{error}");
    talk(&mut near, &mut far).await;
    open(&client, &server).await;
    // A client that trusts any server has nothing against this one.
    assert_eq!(client.connector.set_trust(Trust::danger_accept_any_server()).unwrap(), 0);
    talk(&mut near, &mut far).await;
}

#[tokio::test]
async fn a_new_identity_is_shown_in_the_next_handshake() {
    let world = World::new();
    let (client, server) = (client(world.mutual()), server(world.requiring()));
    let (mut near, mut far) = open(&client, &server).await;
    let second = client.connector.with_identity(Some(other(&world)));
    let renewed = world.ca.issue("renewed", &Leaf::server("renewed", now())).unwrap().load().unwrap();
    server.acceptor.set_identity(renewed);
    let third = world.ca.issue("third", &Leaf::client("third", now())).unwrap().load().unwrap();
    client.connector.set_identity(Some(third));
    talk(&mut near, &mut far).await;
    let subject = |stream: &ServerStream| stream.peer_certificate().unwrap().subject.clone();
    assert_eq!(subject(&far), "CN=client");
    let (near, far) = meet(&client, &server).await;
    assert_eq!(near.unwrap().connection().peer_certificate().unwrap().subject, "CN=renewed");
    assert_eq!(subject(&far.unwrap()), "CN=third");
    let second = Client { connector: second, registry: client.registry.clone() };
    let (near, far) = meet(&second, &server).await;
    assert_eq!(subject(&far.unwrap()), "CN=other");
    // They share the trust, and what a change of it does.
    let revoking = trust_but(&world, &[&world.ca.issue("x", &Leaf::server("x", now())).unwrap().load().unwrap()]);
    assert_eq!(second.connector.set_trust(revoking).unwrap(), 0);
    let strange = world.stranger.trust().unwrap();
    // The first connection and this one; the second has ended.
    assert_eq!(client.connector.set_trust(strange).unwrap(), 2);
    assert_cut(near.unwrap().read_u8().await, CutReason::CertUntrusted);
    client.connector.set_identity(None);
    client.connector.set_trust(world.ca.trust().unwrap()).unwrap();
    let (_near, far) = meet(&client, &server).await;
    assert_eq!(far.unwrap_err().kind(), TlsErrorType::CertMissing);
}

/// A connection of the client whose second flight waits until the gate opens.
async fn gated(gate: oneshot::Receiver<()>) -> (tokio::net::TcpStream, tokio::net::TcpStream, Task) {
    let (near, middle_near) = tcp_pair().await;
    let (middle_far, far) = tcp_pair().await;
    let proxy = tokio::spawn(async move {
        let (mut from_client, mut to_client) = middle_near.into_split();
        let (mut from_server, mut to_server) = middle_far.into_split();
        let back = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await.map(|_| ()) });
        let mut hello = vec![0; 16 << 10];
        let header = from_client.read_exact(&mut hello[..5]).await?;
        assert_eq!(header, 5);
        let length = usize::from(u16::from_be_bytes([hello[3], hello[4]]));
        from_client.read_exact(&mut hello[5..5 + length]).await?;
        to_server.write_all(&hello[..5 + length]).await?;
        gate.await.ok();
        tokio::io::copy(&mut from_client, &mut to_server).await?;
        back.abort();
        Ok(())
    });
    (near, far, proxy)
}

#[tokio::test]
async fn a_handshake_under_way_ends_by_the_new_demands() {
    let world = World::new();
    let identity = world.client();
    for (revoked, wanted) in [(true, Err(TlsErrorType::CertRevoked)), (false, Ok(()))] {
        let client = client(ConnectorSettings { identity: Some(identity.clone()), ..world.settings() });
        let server = server(world.requiring());
        let (open, gate) = oneshot::channel();
        let (near, far, proxy) = gated(gate).await;
        let pending = server.acceptor.hello(far);
        let connecting = client.connector.connect(name("localhost"), near);
        let accepting = async {
            let pending = pending.await.unwrap();
            // The first poll takes the configuration of now and answers the hello.
            let mut finishing = Box::pin(pending.finish());
            std::future::poll_fn(|cx| {
                assert!(finishing.as_mut().poll(cx).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
            let list = if revoked { vec![&identity] } else { Vec::new() };
            let auth = ClientAuth::Required(trust_but(&world, &list));
            assert_eq!(server.acceptor.set_client_auth(auth).unwrap(), 0);
            open.send(()).unwrap();
            finishing.await
        };
        let (near, far) = tokio::join!(connecting, accepting);
        let said = far.as_ref().map(|_| ()).map_err(|error| {
            assert_eq!(error.found_by(), FoundBy::Local);
            error.kind()
        });
        assert_eq!(said, wanted);
        let total = |status: &str| server.registry.sum_of("tls_server_handshake_total", &[("status", status)]);
        assert_eq!((total("success"), total("failure")), if revoked { (0.0, 1.0) } else { (1.0, 0.0) });
        assert_eq!(server.registry.sum_of("tls_server_connections_cut_total", &[]), 0.0);
        assert_sums_agree(&server.registry, "tls_server_");
        drop((near, far));
        assert_eq!(server.registry.sum_of("tls_server_connections_active", &[]), 0.0);
        proxy.abort();
    }
}

/// The same when we are the client: here TLS 1.2 is the one in which the server has the last word.
#[tokio::test]
async fn a_handshake_under_way_ends_by_the_new_trust() {
    let world = World::new();
    let ours = world.server();
    for (revoked, wanted) in [(true, Err(TlsErrorType::CertRevoked)), (false, Ok(()))] {
        let client = client(ConnectorSettings { policy: tls12(), ..world.settings() });
        let plain = AcceptorSettings { policy: tls12(), ..AcceptorSettings::new(ours.clone()) };
        let server = server(plain);
        let (open, gate) = oneshot::channel();
        let (near, far, proxy) = gated(gate).await;
        let changing = async {
            let pending = server.acceptor.hello(far).await.unwrap();
            let list = if revoked { vec![&ours] } else { Vec::new() };
            // The hello is here, so the connection has taken its configuration.
            assert_eq!(client.connector.set_trust(trust_but(&world, &list)).unwrap(), 0);
            open.send(()).unwrap();
            pending.finish().await
        };
        let (near, far) = tokio::join!(client.connector.connect(name("localhost"), near), changing);
        let said = near.as_ref().map(|_| ()).map_err(|error| {
            assert_eq!(error.found_by(), FoundBy::Local);
            error.kind()
        });
        assert_eq!(said, wanted);
        assert_eq!(client.registry.sum_of("tls_connections_cut_total", &[]), 0.0);
        let failures = client.registry.sum_of("tls_handshake_total", &[("error_type", "cert_revoked")]);
        assert_eq!(failures, if revoked { 1.0 } else { 0.0 });
        assert_sums_agree(&client.registry, "tls_");
        drop((near, far));
        proxy.abort();
    }
}

/// The server's verdict is not known yet when trust in it ends: the handshake stays unsettled.
#[tokio::test]
async fn an_unsettled_connection_can_be_cut() {
    let world = World::new();
    let client = client(world.mutual());
    let quiet = raw_server(&world, 0);
    let (near, far) = tcp_pair().await;
    let (near, _far) = tokio::join!(client.connector.connect(name("localhost"), near), quiet.accept(far));
    let mut near = near.unwrap();
    let strange = world.stranger.trust().unwrap();
    assert_eq!(client.connector.set_trust(strange).unwrap(), 1);
    assert_cut(near.read_u8().await, CutReason::CertUntrusted);
    assert_eq!(near.connection().tls_failure(), None);
    drop(near);
    assert_eq!(
        moved(&client.registry),
        samples([
            (r#"tls_certificate_validation_total{result="valid"}"#, "1"),
            (r#"tls_connections_cut_total{error_type="cert_untrusted"}"#, "1"),
            ("tls_handshake_unsettled_total", "1"),
        ])
    );
}
