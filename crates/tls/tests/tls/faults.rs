//! A transport under the test's control: writes fail and reads wait as told, on paused time.

use crate::fixture::*;
use artstore_tls::{ClientConnectionState, ClientStream, ConnectorSettings, FoundBy, TlsError, TlsErrorType};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf};
use tokio::task::JoinHandle;
use tokio_rustls::server::TlsStream;

#[derive(Default)]
struct Switches {
    writes_fail: bool,
    reads_wait: bool,
    /// After what has arrived.
    reads_fail: bool,
    reader: Option<Waker>,
}

/// The handle to a [`Faulty`] transport.
#[derive(Clone, Default)]
struct Faults(Arc<Mutex<Switches>>);

impl Faults {
    fn set(&self, change: impl FnOnce(&mut Switches)) {
        let mut switches = self.0.lock().unwrap();
        change(&mut switches);
        if let Some(reader) = switches.reader.take() {
            reader.wake();
        }
    }
}

struct Faulty {
    inner: DuplexStream,
    faults: Faults,
}

impl AsyncRead for Faulty {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut switches = this.faults.0.lock().unwrap();
        switches.reader = Some(cx.waker().clone());
        if switches.reads_wait {
            return Poll::Pending;
        }
        match Pin::new(&mut this.inner).poll_read(cx, buf) {
            Poll::Pending if switches.reads_fail => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            read => read,
        }
    }
}

impl AsyncWrite for Faulty {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.faults.0.lock().unwrap().writes_fail {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut this.inner).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

struct Scene {
    client: Client,
    stream: ClientStream<Faulty>,
    connection: Arc<ClientConnectionState>,
    faults: Faults,
    server: JoinHandle<io::Result<TlsStream<DuplexStream>>>,
}

/// A connection, complete for the client, whose reads wait and whose writes fail from now on.
async fn scene(world: &World, settings: ConnectorSettings, tickets: usize) -> Scene {
    let (near, far) = tokio::io::duplex(1 << 20);
    let server = tokio::spawn(raw_server(world, tickets).accept(far));
    let (client, faults) = (client(settings), Faults::default());
    let near = Faulty { inner: near, faults: faults.clone() };
    let stream = client.connector.connect(name("localhost"), near).await.unwrap();
    faults.set(|switches| (switches.writes_fail, switches.reads_wait) = (true, true));
    let connection = stream.connection();
    assert!(!connection.is_settled() && connection.tls_failure().is_none());
    Scene { client, stream, connection, faults, server }
}

fn kind_of(error: &io::Error) -> TlsErrorType {
    error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()).unwrap_or_else(|| panic!("{error:?}")).kind()
}

fn outcomes(client: &Client) -> (f64, f64, f64) {
    let of = |status| client.registry.sum_of("tls_handshake_total", &[("status", status)]);
    (of("success"), of("failure"), client.registry.sum_of("tls_handshake_unsettled_total", &[]))
}

/// Each way of writing, while the alert is still on its way.
#[tokio::test(start_paused = true)]
async fn a_failed_write_waits_for_the_alert() {
    let world = World::new();
    for way in 0..3 {
        let Scene { client, mut stream, connection, faults, server } = scene(&world, world.settings(), 0).await;
        let writing = tokio::spawn(async move {
            let error = match way {
                0 => stream.write_all(b"x").await.unwrap_err(),
                1 => stream.write_vectored(&[io::IoSlice::new(b"x")]).await.unwrap_err(),
                _ => stream.shutdown().await.unwrap_err(),
            };
            (stream, error)
        });
        server.await.unwrap().unwrap_err();
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(!writing.is_finished(), "the alert has not been read yet");
        faults.set(|switches| switches.reads_wait = false);
        let (stream, error) = writing.await.unwrap();
        assert_eq!(kind_of(&error), TlsErrorType::CertMissing);
        assert_eq!(connection.tls_failure().unwrap().found_by(), FoundBy::Peer);
        drop(stream);
        assert_eq!(outcomes(&client), (0.0, 1.0, 0.0), "way {way}");
    }
}

/// A flush that fails, as it does when an earlier write only filled the buffer.
#[tokio::test(start_paused = true)]
async fn a_failed_flush_waits_for_the_alert() {
    let world = World::new();
    let Scene { client, mut stream, faults, server, .. } = scene(&world, world.settings(), 0).await;
    server.await.unwrap().unwrap_err();
    let mut writing = Box::pin(stream.write_all(b"x"));
    assert!(futures_pending(&mut writing).await);
    drop(writing);
    let mut flushing = Box::pin(stream.flush());
    assert!(futures_pending(&mut flushing).await);
    faults.set(|switches| switches.reads_wait = false);
    assert_eq!(kind_of(&flushing.await.unwrap_err()), TlsErrorType::CertMissing);
    assert_eq!(outcomes(&client), (0.0, 1.0, 0.0));
}

/// Whether a future is pending when polled once.
async fn futures_pending<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx).is_pending())).await
}

/// No word comes: after a second the handshake counts as closed.
#[tokio::test(start_paused = true)]
async fn a_failed_write_does_not_wait_for_ever() {
    let world = World::new();
    let Scene { client, mut stream, connection, .. } = scene(&world, world.settings(), 0).await;
    let start = tokio::time::Instant::now();
    let error = stream.write_all(b"x").await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), 1);
    assert_eq!((error.kind(), kind_of(&error)), (io::ErrorKind::BrokenPipe, TlsErrorType::Closed));
    assert_eq!(connection.tls_failure().unwrap().found_by(), FoundBy::Transport);
    drop(stream);
    assert_eq!(outcomes(&client), (0.0, 1.0, 0.0));
}

/// As above, but we were closing: then there is no outcome.
#[tokio::test(start_paused = true)]
async fn a_failed_goodbye_without_an_alert_is_unsettled() {
    let world = World::new();
    let Scene { client, mut stream, connection, .. } = scene(&world, world.settings(), 0).await;
    let error = stream.shutdown().await.unwrap_err();
    assert!(error.get_ref().is_none(), "{error:?}");
    assert_eq!(connection.tls_failure(), None);
    drop(stream);
    assert_eq!(outcomes(&client), (0.0, 0.0, 1.0));
}

/// A ticket is found in place of an alert: the server had accepted us, so the failure is the connection's.
#[tokio::test(start_paused = true)]
async fn a_failed_write_finds_a_ticket() {
    let world = World::new();
    let Scene { client, mut stream, connection, faults, server } = scene(&world, world.mutual(), 1).await;
    let server = server.await.unwrap().unwrap();
    faults.set(|switches| switches.reads_wait = false);
    let error = stream.write_all(b"x").await.unwrap_err();
    assert!(error.get_ref().is_none() && error.kind() == io::ErrorKind::BrokenPipe, "{error:?}");
    assert!(connection.is_settled() && connection.tls_failure().is_none());
    assert_eq!(stream.write_all(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    drop((stream, server));
    assert_eq!(outcomes(&client), (1.0, 0.0, 0.0));
}

/// A ticket and then a reset, in one read.
#[tokio::test(start_paused = true)]
async fn a_ticket_before_a_reset_settles() {
    let world = World::new();
    let Scene { client, mut stream, connection, faults, server } = scene(&world, world.mutual(), 1).await;
    let server = server.await.unwrap().unwrap();
    faults.set(|switches| (switches.reads_wait, switches.reads_fail) = (false, true));
    assert_eq!(stream.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert!(connection.is_settled());
    drop((stream, server));
    assert_eq!(outcomes(&client), (1.0, 0.0, 0.0));
}

/// The writer reads in the reader's place, and must not leave it asleep.
#[tokio::test(start_paused = true)]
async fn a_waiting_reader_is_woken_by_the_writers_finding() {
    let world = World::new();
    let Scene { client, stream, faults, server, .. } = scene(&world, world.settings(), 0).await;
    server.await.unwrap().unwrap_err();
    let (mut reading, mut writing) = tokio::io::split(stream);
    let reader = tokio::spawn(async move { reading.read_u8().await.unwrap_err() });
    tokio::task::yield_now().await;
    let writer = tokio::spawn(async move { writing.write_all(b"x").await.unwrap_err() });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!reader.is_finished() && !writer.is_finished());
    faults.set(|switches| switches.reads_wait = false);
    assert_eq!(kind_of(&writer.await.unwrap()), TlsErrorType::CertMissing);
    assert_eq!(kind_of(&reader.await.unwrap()), TlsErrorType::CertMissing);
    assert_eq!(outcomes(&client), (0.0, 1.0, 0.0));
}
