//! Handshakes within one thread of one process, of which the server's part is counted from outside.

use super::counts::{Case, Side};
use super::material::{Files, Kind, server_name};
use super::{events, material};
use rustls::server::Acceptor;
use rustls::{ClientConfig, HandshakeKind};
use std::error::Error;
use std::future::Future;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{LazyConfigAcceptor, TlsConnector};

/// Handshakes before those that are counted: the first one cannot be a resumed one, and sets up what stays.
const BEFORE: u32 = 20;

/// Makes so many handshakes and says nothing; for callgrind.
pub fn run(case: Case, count: u32) -> Result<(), Box<dyn Error>> {
    let kind = case.kind();
    let folder = tempfile::tempdir()?;
    let files = Files::create(folder.path())?;
    match case.side() {
        Side::Events => {
            let client = files.client.load()?.certificates().first().cloned().ok_or("no certificate")?;
            let events = events::Events::new(&material::policy(kind)?, kind, client);
            measured_events(&events, count);
            Ok(())
        }
        Side::Bare => {
            let acceptor = files.bare(kind)?;
            let accept = move |tcp| {
                let acceptor = acceptor.clone();
                async move { acceptor.accept(tcp).await.map(drop).is_ok() }
            };
            meetings(files.client(kind)?, kind, count, accept)
        }
        Side::Phases => {
            let config = Arc::clone(files.bare(kind)?.config());
            let accept = move |tcp| {
                let config = Arc::clone(&config);
                async move {
                    match LazyConfigAcceptor::new(Acceptor::default(), tcp).await {
                        Ok(start) => start.into_stream(config).await.map(drop).is_ok(),
                        Err(_) => false,
                    }
                }
            };
            meetings(files.client(kind)?, kind, count, accept)
        }
        Side::Ours => {
            let acceptor = files.acceptor(kind)?;
            let accept = move |tcp| {
                let acceptor = acceptor.clone();
                async move { acceptor.accept(tcp).await.map(drop).is_ok() }
            };
            meetings(files.client(kind)?, kind, count, accept)
        }
    }
}

/// Callgrind counts from here on.
#[inline(never)]
fn measured_events(events: &events::Events, count: u32) {
    for _ in 0..count {
        events.one_handshake();
    }
}

/// Callgrind counts from here on, too.
#[inline(never)]
fn measured_poll<F: Future>(future: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
    black_box(future.poll(cx))
}

/// A future whose polls are counted, or not.
struct Measured<F> {
    inner: Pin<Box<F>>,
    counted: bool,
}

impl<F: Future> Future for Measured<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if self.counted { measured_poll(self.inner.as_mut(), cx) } else { self.inner.as_mut().poll(cx) }
    }
}

/// Client and server meet on loopback, one connection after the other; the end of the server's is a part of its handshake.
fn meetings<F>(
    config: Arc<ClientConfig>,
    kind: Kind,
    count: u32,
    accept: impl Fn(TcpStream) -> F,
) -> Result<(), Box<dyn Error>>
where
    F: Future<Output = bool> + Send + 'static,
{
    let expected = if kind.resumed_12 { HandshakeKind::Resumed } else { HandshakeKind::Full };
    let connector = TlsConnector::from(config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        for number in 0..BEFORE + count {
            let near = TcpStream::connect(address).await?;
            let (far, _) = listener.accept().await?;
            let counted = number >= BEFORE;
            let serving = tokio::spawn(Measured { inner: Box::pin(accept(far)), counted });
            let stream = connector.connect(server_name()?, near).await?;
            let met = stream.get_ref().1.handshake_kind();
            if !serving.await? || counted && met != Some(expected) {
                return Err(format!("handshake {number} was {met:?} instead of {expected:?}").into());
            }
        }
        Ok(())
    })
}
