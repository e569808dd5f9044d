//! Handshakes side by side: what `TlsListener` hands out, and what it gives up.

use crate::fixture::*;
use artstore_tls::{AcceptorSettings, TlsListener};
use std::future::Future as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

async fn listen(server: &Server) -> (TlsListener<StepClock>, SocketAddr) {
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let listener = TlsListener::new(tcp, server.acceptor.clone());
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn silent(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut silent = Vec::new();
    for _ in 0..count {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    silent
}

/// Polls a call once: nothing else of this thread's runtime moves meanwhile.
fn is_pending(listener: &mut TlsListener<StepClock>) -> bool {
    let call = std::pin::pin!(listener.accept());
    matches!(call.poll(&mut Context::from_waker(Waker::noop())), Poll::Pending)
}

#[tokio::test]
async fn a_client_overtakes_those_who_are_silent() {
    let world = World::new();
    let (client, server) = (client(world.mutual()), server(world.requiring()));
    let (mut listener, address) = listen(&server).await;
    let silent = silent(address, 20).await;
    let tcp = TcpStream::connect(address).await.unwrap();
    let expected = tcp.local_addr().unwrap();

    let connecting = client.connector.connect(name("localhost"), tcp);
    let (near, (mut far, remote)) = tokio::join!(connecting, listener.accept());
    assert_eq!(remote, expected);
    let mut near = near.unwrap();
    near.write_all(b"hello").await.unwrap();
    near.flush().await.unwrap();
    let mut heard = [0; 5];
    far.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");
    assert_eq!(server.registry.sum_of("tls_server_handshakes_in_progress", &[]), 20.0);

    // Given up together with the listener: no failures.
    drop(listener);
    drop(silent);
    while server.registry.sum_of("tls_server_handshakes_in_progress", &[]) != 0.0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.registry.sum_of("tls_server_handshake_cancelled_total", &[]), 20.0);
    assert_eq!(server.registry.sum_of("tls_server_handshake_total", &[("status", "failure")]), 0.0);
}

/// A failed handshake is nothing to hand out, and makes room for the next.
#[tokio::test]
async fn as_many_as_allowed_and_the_next_when_one_has_ended() {
    let world = World::new();
    let (client, server) = (client(world.settings()), server(AcceptorSettings::new(world.server())));
    let (listener, address) = listen(&server).await;
    // At least one, whatever is asked for.
    let mut listener = listener.max_handshakes(0);
    let silent = silent(address, 1).await;
    assert!(is_pending(&mut listener));
    while server.registry.sum_of("tls_server_handshakes_in_progress", &[]) != 1.0 {
        assert!(is_pending(&mut listener));
        tokio::task::yield_now().await;
    }

    let tcp = TcpStream::connect(address).await.unwrap();
    let connecting = tokio::spawn(async move { client.connector.connect(name("localhost"), tcp).await });
    let mut accepting = Box::pin(listener.accept());
    for _ in 0..100 {
        assert!(accepting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        tokio::task::yield_now().await;
    }
    assert_eq!(server.registry.sum_of("tls_server_handshakes_in_progress", &[]), 1.0);

    drop(silent);
    let (_far, remote) = accepting.await;
    assert_eq!(connecting.await.unwrap().unwrap().get_ref().local_addr().unwrap(), remote);
    let closed = &[("status", "failure"), ("error_type", "closed")];
    assert_eq!(server.registry.sum_of("tls_server_handshake_total", closed), 1.0);
    assert_eq!(server.registry.sum_of("tls_server_handshake_total", &[("status", "success")]), 1.0);
}

/// A call that is given up loses no client: the next call has it.
#[tokio::test]
async fn an_abandoned_call_loses_nobody() {
    let world = World::new();
    let (client, server) = (client(world.settings()), server(AcceptorSettings::new(world.server())));
    let (mut listener, address) = listen(&server).await;
    let tcp = TcpStream::connect(address).await.unwrap();
    let expected = tcp.local_addr().unwrap();
    let connecting = tokio::spawn(async move { client.connector.connect(name("localhost"), tcp).await });
    // Each call is abandoned at once, until the handshake is done without one.
    while server.registry.sum_of("tls_server_handshake_total", &[("status", "success")]) != 1.0 {
        if server.registry.sum_of("tls_server_handshakes_in_progress", &[]) == 0.0 {
            assert!(is_pending(&mut listener));
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(listener.accept().await.1, expected);
    connecting.await.unwrap().unwrap();
}
