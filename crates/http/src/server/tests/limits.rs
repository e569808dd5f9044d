//! Silent clients and those of one address never keep out another.

use super::*;
use tokio::net::TcpSocket;

/// A TLS server with these limits, what its TLS measures, and a client whose every request needs a new handshake.
struct Guarded {
    server: TestServer,
    tls: Registry,
    authority: Authority,
}

impl Guarded {
    async fn start(settings: ServerSettings, handshake_timeout: Duration) -> Self {
        let (authority, tls) = (Authority::new(), Registry::new());
        let acceptor =
            authority.acceptor_with(ClientAuth::None, &tls, |settings| settings.handshake_timeout = handshake_timeout);
        let server = TestServer::start_with(hello(), settings, Registry::new(), Some(acceptor)).await;
        Self { server, tls, authority }
    }

    /// A request over a new connection is answered.
    async fn serves(&self) {
        let registry = Registry::new();
        let connector = self.authority.connector(None, &registry);
        let client = TestClient::with(ClientSettings::default(), registry, Some(connector));
        let request = Request::get(self.server.https("/")).body(body::empty()).unwrap();
        let response = soon(client.client.send(request)).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    }

    fn in_progress(&self) -> f64 {
        self.tls.sum_of("tls_server_handshakes_in_progress", &[])
    }

    fn cancelled(&self) -> f64 {
        self.tls.sum_of("tls_server_handshake_cancelled_total", &[])
    }

    /// Every connection is gone, and every handshake had one outcome.
    async fn ends_empty(&self) {
        eventually("no handshake is in progress", || self.in_progress() == 0.0).await;
        eventually("no connection is open", || self.server.sum("http_server_connections_open", &[]) == 0.0).await;
        assert_eq!(self.tls.sum_of("tls_server_connections_active", &[]), 0.0);
        let outcomes = self.tls.sum_of("tls_server_handshake_total", &[]) + self.cancelled();
        assert_eq!(outcomes, self.accepted());
    }

    fn accepted(&self) -> f64 {
        self.server.sum("http_server_connections_accepted_total", &[])
    }
}

const LONG: Duration = Duration::from_secs(30);

/// Connections, all of them in the server's hands, from the oldest on.
async fn silent(guarded: &Guarded, count: usize) -> Vec<TcpStream> {
    let mut sockets = Vec::new();
    for _ in 0..count {
        let accepted = guarded.accepted();
        sockets.push(connect(&guarded.server).await);
        eventually("it is accepted", || guarded.accepted() > accepted).await;
    }
    sockets
}

/// A connection from this address of loopback.
async fn connect_from(guarded: &Guarded, address: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
    soon(socket.connect(guarded.server.address)).await.unwrap()
}

/// The hello of a client that will not go on.
async fn a_hello(authority: &Authority) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connector = authority.connector(None, &Registry::new());
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut far, _) = listener.accept().await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut hello = vec![0; 16 * 1024];
    let length = tokio::select! {
        _ = connector.connect(name, near) => unreachable!("nobody answers"),
        length = far.read(&mut hello) => length.unwrap(),
    };
    hello.truncate(length);
    hello
}

#[tokio::test]
async fn silent_clients_hold_neither_a_place_nor_a_turn() {
    let settings = ServerSettings { max_connections: 1, max_handshakes: 1, ..ServerSettings::default() };
    let guarded = Guarded::start(settings, LONG).await;
    let mut silent = silent(&guarded, 20).await;
    // One byte of a hello is no hello.
    for socket in &mut silent[..10] {
        socket.write_all(&[22]).await.unwrap();
    }
    guarded.serves().await;
    guarded.serves().await;
    assert_eq!(guarded.in_progress(), 20.0);
    drop(silent);
    guarded.ends_empty().await;
    assert_eq!(guarded.tls.sum_of("tls_server_handshake_total", &[("error_type", "closed")]), 20.0);
    assert_eq!(guarded.tls.sum_of("tls_server_handshake_total", &[("status", "success")]), 2.0);
}

#[tokio::test]
async fn those_that_were_silent_for_longest_make_room() {
    let settings = ServerSettings { max_silent: 4, ..ServerSettings::default() };
    let guarded = Guarded::start(settings, LONG).await;
    let mut silent = silent(&guarded, 10).await;
    for oldest in &mut silent[..6] {
        assert_eq!(rest(oldest).await, "");
    }
    assert_eq!((faults(&guarded.server, "silent"), guarded.cancelled()), (6.0, 6.0));
    assert_eq!(guarded.in_progress(), 4.0);
    // The good client needs the place of one more.
    guarded.serves().await;
    assert_eq!(rest(&mut silent[6]).await, "");
    assert_eq!(guarded.cancelled(), 7.0);
    drop(silent);
    guarded.ends_empty().await;
}

/// Ten times as many silent sockets as may be, as fast as they come, beside a client that goes on being served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_silent_sockets_keep_nobody_out() {
    const FLOOD: u32 = 1_000;
    const KEPT: u32 = 100;
    let settings =
        ServerSettings { max_silent: KEPT as usize, max_handshakes_per_address: 0, ..ServerSettings::default() };
    let guarded = Guarded::start(settings, LONG).await;
    let address = guarded.server.address;
    let flood = tokio::spawn(async move {
        let mut sockets = Vec::new();
        for _ in 0..FLOOD {
            sockets.push(soon(TcpStream::connect(address)).await.unwrap());
        }
        sockets
    });
    let mut served = 0_u32;
    while !flood.is_finished() {
        guarded.serves().await;
        served += 1;
    }
    let sockets = soon(flood).await.unwrap();
    guarded.serves().await;
    served += 1;
    let good = f64::from(served);
    eventually("all are accepted", || guarded.accepted() == f64::from(FLOOD) + good).await;
    // The last good client took the place of a silent one, and left it empty, unless it came while there was room.
    let left = f64::from(KEPT) - 1.0..=f64::from(KEPT);
    eventually("the others are closed", || left.contains(&guarded.in_progress())).await;
    assert_eq!(guarded.cancelled(), f64::from(FLOOD) - guarded.in_progress());
    assert_eq!(faults(&guarded.server, "silent"), guarded.cancelled());
    assert_eq!(guarded.tls.sum_of("tls_server_handshake_total", &[("status", "success")]), good);
    drop(sockets);
    guarded.ends_empty().await;
}

/// Handshakes that go on, ones that are stuck and ones that never begin: the address's own new connections close the oldest,
/// once these are a second old, and nobody else's.
#[tokio::test]
async fn an_address_over_its_limit_makes_room_for_itself() {
    let settings = ServerSettings { max_handshakes_per_address: 2, ..ServerSettings::default() };
    let guarded = Guarded::start(settings, LONG).await;
    let mut other = connect_from(&guarded, "127.0.0.2").await;
    let mut stuck = connect(&guarded.server).await;
    stuck.write_all(&a_hello(&guarded.authority).await).await.unwrap();
    // The server's part came: the handshake has begun.
    assert_eq!(soon(stuck.read_u8()).await.unwrap(), 22);
    let mut silent = silent(&guarded, 3).await;
    // More than two, but all of them young: nothing happens to a client that opens many connections at once.
    assert_eq!((guarded.in_progress(), guarded.cancelled()), (5.0, 0.0));
    guarded.serves().await;
    while guarded.cancelled() == 0.0 {
        guarded.serves().await;
    }
    // The stuck one is the oldest; then, as it had to be two with the good client's, so are the first silent ones. Each goes
    // when somebody comes after it is old enough, which need not be the same moment for all.
    let mut alert = Vec::new();
    soon(stuck.read_to_end(&mut alert)).await.unwrap();
    while guarded.cancelled() < 3.0 {
        guarded.serves().await;
    }
    assert_eq!(rest(&mut silent[0]).await, "");
    assert_eq!(rest(&mut silent[1]).await, "");
    assert_eq!(faults(&guarded.server, "address_limit"), 3.0);
    // One silent connection is left, which is what the address may have beside the good client's. So has the other address.
    guarded.serves().await;
    assert_eq!((guarded.in_progress(), guarded.cancelled()), (2.0, 3.0));
    for socket in [&silent[2], &other] {
        assert_eq!(socket.try_read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
    other.shutdown().await.unwrap();
    drop((other, silent));
    guarded.ends_empty().await;
}

#[tokio::test]
async fn an_address_has_no_more_connections_than_it_may() {
    let settings = ServerSettings { max_connections_per_address: 1, ..ServerSettings::default() };
    let server = TestServer::start(hello(), settings).await;
    let mut first = connect(&server).await;
    first.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    read_until(&mut first, "hello").await;
    assert_eq!(rest(&mut connect(&server).await).await, "");
    eventually("it counts", || faults(&server, "address_limit") == 1.0).await;
    drop(first);
    eventually("it has gone", || server.sum("http_server_connections_open", &[]) == 0.0).await;
    let mut second = connect(&server).await;
    second.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert!(read_until(&mut second, "hello").await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn a_client_for_which_no_place_comes_free_in_time_is_let_go() {
    let settings = ServerSettings { max_connections: 1, ..ServerSettings::default() };
    let guarded = Guarded::start(settings, Duration::from_millis(200)).await;
    let said = a_hello(&guarded.authority).await;
    let connector = guarded.authority.connector(None, &Registry::new());
    let name = ServerName::try_from("localhost").unwrap();
    let open = connector.connect(name, connect(&guarded.server).await).await.unwrap();
    let mut waits = connect(&guarded.server).await;
    waits.write_all(&said).await.unwrap();
    assert_eq!(rest(&mut waits).await, "");
    eventually("it counts", || faults(&guarded.server, "busy") == 1.0).await;
    assert_eq!(guarded.cancelled(), 1.0);
    // Whoever waits gets the place of one that goes.
    drop(open);
    guarded.serves().await;
    guarded.ends_empty().await;
}
