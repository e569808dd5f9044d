//! Reloading under load: permitted peers notice nothing, peers that are permitted no longer are refused and cut.

use crate::fixture::*;
use artstore_metrics::{Registry, SystemClock};
use artstore_tls::dev::{DevCa, DevCrl, Leaf, Purpose};
use artstore_tls::{
    CertificateMetrics, Change, ClientAuth, ClientStream, ConnectorSettings, ReloadFiles, ReloadMetrics, Reloader,
    Reloads, TrustFile,
};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const INTERVAL: Duration = Duration::from_millis(50);

/// A server whose files are reloaded, and a client whose files are the same.
struct Site {
    world: World,
    second: DevCa,
    address: SocketAddr,
    server: Registry,
    client: Arc<Client>,
    reloads: Reloads,
    shutdown: CancellationToken,
    crl: PathBuf,
    bundle: PathBuf,
}

impl Site {
    async fn open() -> Self {
        let world = World::new();
        let second = DevCa::create(world.path().join("second"), "Second CA", now().minus(DAY), now().plus(DAY * 300));
        let second = second.unwrap();
        let (crl, bundle) = (world.path().join("list.pem"), world.path().join("bundle.pem"));
        std::fs::copy(world.ca.ca_file(), &bundle).unwrap();
        world.ca.write_crl(&crl, &DevCrl::empty(now()).number(1)).unwrap();
        let identity = world.ca.issue("peer", &leaf(0)).unwrap();
        let files = ReloadFiles {
            server: Some(identity.clone()),
            client: Some(identity),
            trust: Some(TrustFile(bundle.clone())),
            crls: vec![crl.clone()],
        };
        let (server_registry, clock) = (Registry::new(), SystemClock::new());
        let certificates = CertificateMetrics::new(&server_registry, clock);
        let metrics = ReloadMetrics::new(&server_registry, clock);
        let (reloader, loaded) = Reloader::load(&files, metrics, certificates, clock).unwrap();
        let trust = loaded.trust.unwrap();
        let mut settings = world.requiring();
        settings.identity = loaded.server.unwrap();
        settings.client_auth = ClientAuth::Required(trust.clone());
        let listening = server_in(settings, server_registry);
        let connecting = client(ConnectorSettings { identity: loaded.client, ..ConnectorSettings::new(trust) });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (reloads, shutdown) = (reloader.reloads(), CancellationToken::new());
        let (acceptor, connector) = (listening.acceptor.clone(), connecting.connector.clone());
        tokio::spawn(reloader.every(INTERVAL).run(
            move |change| match change {
                Change::ServerIdentity(identity) => {
                    acceptor.set_identity(identity);
                    Ok(0)
                }
                Change::ClientIdentity(identity) => {
                    connector.set_identity(Some(identity));
                    Ok(0)
                }
                Change::Trust(trust) => {
                    let cut = acceptor.set_client_auth(ClientAuth::Required(trust.clone()))?;
                    Ok(cut + connector.set_trust(trust)?)
                }
            },
            shutdown.clone(),
        ));
        let registry = listening.registry.clone();
        tokio::spawn(serve(listener, listening));
        Self { world, second, address, server: registry, client: Arc::new(connecting), reloads, shutdown, crl, bundle }
    }

    async fn connect(&self) -> std::io::Result<ClientStream> {
        connect(&self.client, self.address).await
    }

    async fn reloaded(&self) {
        let limit = Duration::from_secs(20);
        tokio::time::timeout(limit, self.reloads.changed()).await.unwrap();
    }

    fn reload_count(&self, result: &str) -> f64 {
        self.server.sum_of("tls_reload_total", &[("result", result)])
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// The certificate of this turn, for both sides; each lives a day longer than the one before.
fn leaf(turn: u32) -> Leaf {
    let leaf = Leaf::server(&format!("peer {turn}"), now()).purpose(Purpose::Both);
    leaf.valid(now().minus(DAY), now().plus(DAY * (100 + turn)))
}

async fn serve(listener: TcpListener, server: Server) {
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let acceptor = server.acceptor.clone();
        tokio::spawn(async move {
            let mut stream = acceptor.accept(tcp).await.ok()?;
            loop {
                let length = stream.read_u32().await.ok()?;
                tokio::io::copy(&mut (&mut stream).take(length.into()), &mut tokio::io::sink()).await.ok()?;
                stream.write_u32(length).await.ok()?;
                stream.flush().await.ok()?;
            }
            #[expect(unreachable_code, reason = "names the type of the block")]
            Some(())
        });
    }
}

async fn connect(client: &Client, address: SocketAddr) -> std::io::Result<ClientStream> {
    let tcp = TcpStream::connect(address).await?;
    client.connector.connect(name("localhost"), tcp).await.map_err(std::io::Error::other)
}

/// One request: so many bytes, and the server's word that it has them.
async fn upload(stream: &mut ClientStream, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_u32(u32::try_from(bytes.len()).unwrap()).await?;
    for chunk in bytes.chunks(16 << 10) {
        stream.write_all(chunk).await?;
    }
    stream.flush().await?;
    let taken = stream.read_u32().await?;
    assert_eq!(taken as usize, bytes.len());
    Ok(())
}

/// How uploads ended.
#[derive(Debug, Default)]
struct Counts {
    done: AtomicU64,
    failed: Mutex<Vec<String>>,
}

/// Uploads one after the other, three on each connection, until told to stop; counts them and the failed ones.
async fn uploads(site: (Arc<Client>, SocketAddr), stop: CancellationToken, counts: Arc<Counts>) {
    let body = vec![7; 256 << 10];
    while !stop.is_cancelled() {
        let result = async {
            let mut stream = connect(&site.0, site.1).await?;
            for _ in 0..3 {
                upload(&mut stream, &body).await?;
                counts.done.fetch_add(1, Ordering::Relaxed);
            }
            stream.shutdown().await
        };
        if let Err(error) = result.await {
            counts.failed.lock().unwrap().push(error.to_string());
        }
    }
}

fn soak() -> bool {
    std::env::var_os("ARTSTORE_TLS_SOAK").is_some_and(|value| value == "1")
}

/// A hundred reloads of certificates, roots and lists under a thousand connections and uploads without a pause (six under
/// fifty, in an ordinary run).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_under_load_fail_no_request_of_a_permitted_peer() {
    let (reloads, connections) = if soak() { (100, 1_000) } else { (6, 50) };
    let site = Site::open().await;
    let mut open = Vec::new();
    for _ in 0..connections {
        let mut stream = site.connect().await.unwrap();
        upload(&mut stream, b"hello").await.unwrap();
        open.push(stream);
    }
    let (stop, counts) = (CancellationToken::new(), Arc::<Counts>::default());
    let workers: Vec<_> = (0..if soak() { 4 } else { 2 })
        .map(|_| tokio::spawn(uploads((Arc::clone(&site.client), site.address), stop.clone(), Arc::clone(&counts))))
        .collect();
    let [first, second] = [site.world.ca.ca_file(), site.second.ca_file()].map(|path| std::fs::read(path).unwrap());
    for turn in 1..=reloads {
        match turn % 3 {
            0 => drop(site.world.ca.issue("peer", &leaf(turn)).unwrap()),
            // The second root comes and goes; nobody's certificate is of it.
            1 if turn % 2 == 1 => std::fs::write(&site.bundle, [first.clone(), second.clone()].concat()).unwrap(),
            1 => std::fs::write(&site.bundle, &first).unwrap(),
            _ => site.world.ca.write_crl(&site.crl, &DevCrl::empty(now()).number(u64::from(turn))).unwrap(),
        }
        site.reloaded().await;
        // Ten of them after each reload; all at the end.
        for stream in open.iter_mut().skip(turn as usize % 10).step_by(connections / 10) {
            upload(stream, b"still here").await.unwrap();
        }
    }
    stop.cancel();
    for worker in workers {
        worker.await.unwrap();
    }
    for stream in &mut open {
        upload(stream, b"to the last").await.unwrap();
    }
    let done = counts.done.load(Ordering::Relaxed);
    println!("{reloads} reloads under {connections} connections: {done} uploads of 256 KiB");
    assert_eq!(*counts.failed.lock().unwrap(), Vec::<String>::new());
    assert!(done > u64::from(reloads), "{done} uploads");
    assert_eq!((site.reload_count("success"), site.reload_count("failure")), (f64::from(reloads), 0.0));
    let cut = |registry: &Registry, name: &str| registry.sum_of(name, &[]);
    assert_eq!(cut(&site.server, "tls_server_connections_cut_total"), 0.0);
    assert_eq!(cut(&site.client.registry, "tls_connections_cut_total"), 0.0);
    no_ghosts(&site, reloads);
}

/// Exactly the series of what is in use, with the end of the last certificate.
fn no_ghosts(site: &Site, reloads: u32) {
    let series: Vec<String> = moved(&site.server).into_keys().collect();
    let of = |family: &str| series.iter().filter(|name| name.starts_with(family)).cloned().collect::<Vec<_>>();
    let last = reloads - reloads % 3;
    let roots = if (1..=reloads).filter(|turn| turn % 3 == 1).max().unwrap() % 2 == 1 { 2 } else { 1 };
    let mut expected = vec![r#"tls_certificate_expiry_days{cert_type="ca",subject="CN=Second CA"}"#.to_owned()];
    expected.truncate(roots - 1);
    expected.push(r#"tls_certificate_expiry_days{cert_type="ca",subject="CN=Test CA"}"#.to_owned());
    for role in ["client", "server"] {
        expected.push(format!(r#"tls_certificate_expiry_days{{cert_type="{role}",subject="CN=peer {last}"}}"#));
    }
    assert_eq!(of("tls_certificate_expiry_days"), expected);
    for family in ["tls_certificate_not_after_timestamp_seconds", "tls_certificate_not_before_timestamp_seconds"] {
        assert_eq!(of(family).len(), expected.len(), "{family}");
    }
    let days = site.server.sum_of("tls_certificate_expiry_days", &[("cert_type", "server")]);
    assert!((f64::from(100 + last) - days).abs() < 0.1, "{days}");
    assert_eq!(of("tls_crl_number"), [r#"tls_crl_number{issuer="CN=Test CA"}"#]);
}

/// Within five seconds of the file's change: no new connection, and the live one is cut in the middle of an upload.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_client_is_refused_and_cut_within_five_seconds() {
    let site = Site::open().await;
    let other = site.world.ca.issue("other", &Leaf::client("other", now())).unwrap().load().unwrap();
    let revoked = Client {
        registry: site.client.registry.clone(),
        connector: site.client.connector.with_identity(Some(other.clone())),
    };
    let mut permitted = site.connect().await.unwrap();
    let mut live = connect(&revoked, site.address).await.unwrap();
    upload(&mut live, b"hello").await.unwrap();
    upload(&mut permitted, b"hello").await.unwrap();
    live.write_u32(u32::MAX).await.unwrap();
    site.world.ca.write_crl(&site.crl, &DevCrl::empty(now()).number(2).revoking(&other.certificates()[0])).unwrap();
    let endless = async {
        while live.write_all(&[0; 1024]).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), endless).await.unwrap();
    let again = async {
        let mut stream = connect(&revoked, site.address).await?;
        upload(&mut stream, b"again").await
    };
    let error = tokio::time::timeout(Duration::from_secs(5), again).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("cert_revoked") || error.to_string().contains("CertificateRevoked"), "{error}");
    upload(&mut permitted, b"untouched").await.unwrap();
    assert_eq!(site.server.sum_of("tls_server_connections_cut_total", &[("error_type", "cert_revoked")]), 1.0);
    assert_eq!(site.server.sum_of("tls_server_connections_cut_total", &[]), 1.0);
    assert_eq!(site.server.sum_of("tls_crl_revoked_certificates", &[]), 1.0);
}
