//! One cell played on real sockets: both sides meet, and what our side counts and the other says is taken down.

use crate::cell::{Cell, Fault, Peer, Role, Version};
use crate::certificates::Scene;
use crate::fixture::{Client, Server, client, name, server, tcp_pair};
use crate::openssl::OpenSsl;
use crate::plan::Plan;
use crate::table::Expected;
use artstore_metrics::{Format, Registry};
use artstore_tls::{FoundBy, TlsError};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::LazyConfigAcceptor;

/// More than any cell takes.
const HUNG: Duration = Duration::from_secs(10);

/// What the other side says when it does not live to tell.
const NOTHING: &str = "-";

/// How one side's handshake failed, and whether that was known only after it.
struct Refusal {
    error: TlsError,
    late: bool,
}

/// Plays a cell; what is seen on our side and heard from the other, or why it is not what it should be at all.
pub(crate) async fn play(scene: &Scene, cell: &Cell) -> Result<Expected, String> {
    let plan = Plan::of(scene, cell);
    let meeting = async {
        match cell.we {
            Role::Client => play_client(&plan, cell).await,
            Role::Server => play_server(&plan, cell).await,
        }
    };
    tokio::time::timeout(HUNG, Box::pin(meeting)).await.unwrap_or_else(|_| Err("hung".to_owned()))
}

async fn play_client(plan: &Plan, cell: &Cell) -> Result<Expected, String> {
    let us = client(plan.client.connector());
    let before = scrape(&us.registry);
    let (refusal, peer_says) = match cell.peer {
        Peer::OpenSsl => client_meets_openssl(&us, plan, cell).await?,
        Peer::Rustls if cell.fault.is_of_the_connection() => client_meets_half_a_server(&us, cell).await?,
        Peer::Rustls => {
            let them = server(plan.server.acceptor());
            let (near, far) = tcp_pair().await;
            let (ours, theirs) = tokio::join!(connect(&us, near), accept(&them, far));
            (ours?, verdict_of_ours(&theirs?.error))
        }
        Peer::Socket => client_meets_socket(&us, cell).await?,
    };
    expected(cell, &before, &scrape(&us.registry), &refusal, peer_says)
}

async fn play_server(plan: &Plan, cell: &Cell) -> Result<Expected, String> {
    let us = server(plan.server.acceptor());
    let before = scrape(&us.registry);
    let (refusal, peer_says) = match cell.peer {
        Peer::OpenSsl => server_meets_openssl(&us, plan, cell).await?,
        Peer::Rustls if cell.fault.is_of_the_connection() => server_meets_half_a_client(&us, plan, cell).await?,
        Peer::Rustls => {
            let them = client(plan.client.connector());
            let (near, far) = tcp_pair().await;
            let (theirs, ours) = tokio::join!(connect(&them, near), accept(&us, far));
            (ours?, verdict_of_ours(&theirs?.error))
        }
        Peer::Socket => server_meets_socket(&us, cell).await?,
    };
    expected(cell, &before, &scrape(&us.registry), &refusal, peer_says)
}

/// Our client's part: it connects and, if that went well, waits for the first record.
async fn connect(us: &Client, tcp: TcpStream) -> Result<Refusal, String> {
    let mut stream = match us.connector.connect(name("localhost"), tcp).await {
        Ok(stream) => stream,
        Err(error) => return Ok(Refusal { error, late: false }),
    };
    let Err(error) = stream.read_u8().await else { return Err("the server accepted".to_owned()) };
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
    tls.map(|error| Refusal { error: error.clone(), late: true }).ok_or_else(|| format!("settled, and then {error}"))
}

/// Our server's part.
async fn accept(us: &Server, tcp: TcpStream) -> Result<Refusal, String> {
    match us.acceptor.accept(tcp).await {
        Ok(_) => Err("we accepted the client".to_owned()),
        Err(error) => Ok(Refusal { error, late: false }),
    }
}

/// What the other half reports when it is ours as well.
fn verdict_of_ours(error: &TlsError) -> String {
    format!("{} ({})", error.kind(), found_by(error))
}

const fn found_by(error: &TlsError) -> &'static str {
    match error.found_by() {
        FoundBy::Local => "local",
        FoundBy::Peer => "peer",
        FoundBy::Transport => "transport",
    }
}

async fn client_meets_openssl(us: &Client, plan: &Plan, cell: &Cell) -> Result<(Refusal, String), String> {
    let (them, address) = OpenSsl::server(&plan.server, 1).await;
    match cell.fault {
        Fault::EndOfStream => {
            them.freeze();
            let tcp = TcpStream::connect(address).await.unwrap();
            them.kill().await;
            Ok((connect(us, tcp).await?, NOTHING.to_owned()))
        }
        Fault::TimeOut => {
            them.freeze();
            let refusal = connect(us, TcpStream::connect(address).await.unwrap()).await?;
            them.kill().await;
            Ok((refusal, NOTHING.to_owned()))
        }
        _ => {
            let refusal = connect(us, TcpStream::connect(address).await.unwrap()).await?;
            Ok((refusal, them.report().await?))
        }
    }
}

async fn server_meets_openssl(us: &Server, plan: &Plan, cell: &Cell) -> Result<(Refusal, String), String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    if cell.fault == Fault::PlainText {
        let them = OpenSsl::client_by_proxy(address);
        let refusal = accept(us, listener.accept().await.unwrap().0).await?;
        // It would wait for the proxy's answer for ever.
        them.kill().await;
        return Ok((refusal, NOTHING.to_owned()));
    }
    let them = OpenSsl::client(&plan.client, address);
    let (tcp, _) = listener.accept().await.unwrap();
    match cell.fault {
        Fault::EndOfStream => {
            // Its hello is there; then it is gone.
            tcp.peek(&mut [0]).await.unwrap();
            them.kill().await;
            Ok((accept(us, tcp).await?, NOTHING.to_owned()))
        }
        Fault::TimeOut => {
            tcp.peek(&mut [0]).await.unwrap();
            them.freeze();
            let refusal = accept(us, tcp).await?;
            them.kill().await;
            Ok((refusal, NOTHING.to_owned()))
        }
        _ => {
            let refusal = accept(us, tcp).await?;
            Ok((refusal, them.report().await?))
        }
    }
}

/// A rustls server that reads the hello, and then leaves or falls silent.
async fn client_meets_half_a_server(us: &Client, cell: &Cell) -> Result<(Refusal, String), String> {
    let (near, far) = tcp_pair().await;
    let (met, left) = tokio::sync::oneshot::channel();
    let them = async {
        let heard = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), far).await.unwrap();
        if cell.fault == Fault::TimeOut {
            left.await.unwrap();
        }
        drop(heard);
    };
    let ours = async {
        let refusal = connect(us, near).await;
        met.send(()).ok();
        refusal
    };
    let (refusal, ()) = tokio::join!(ours, them);
    Ok((refusal?, NOTHING.to_owned()))
}

/// A rustls client that says hello, and then leaves or falls silent.
async fn server_meets_half_a_client(us: &Server, plan: &Plan, cell: &Cell) -> Result<(Refusal, String), String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&plan.client.authority).unwrap()).unwrap();
    let version = if cell.version == Version::V12 { &rustls::version::TLS12 } else { &rustls::version::TLS13 };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let mut hello = Vec::new();
    rustls::ClientConnection::new(Arc::new(config), name("localhost")).unwrap().write_tls(&mut hello).unwrap();
    let (near, far) = tcp_pair().await;
    talk_to(us, near, far, &hello, cell.fault).await
}

async fn client_meets_socket(us: &Client, cell: &Cell) -> Result<(Refusal, String), String> {
    let (near, mut far) = tcp_pair().await;
    let them = async {
        far.read_u8().await.unwrap();
        match cell.fault {
            Fault::PlainText => far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap(),
            Fault::EndOfStream => far.shutdown().await.unwrap(),
            _ => {}
        }
        // Until we close; we may do it by a reset.
        far.read_to_end(&mut Vec::new()).await.ok();
    };
    let (refusal, ()) = tokio::join!(connect(us, near), them);
    Ok((refusal?, NOTHING.to_owned()))
}

async fn server_meets_socket(us: &Server, cell: &Cell) -> Result<(Refusal, String), String> {
    let said: &[u8] = if cell.fault == Fault::PlainText { b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" } else { b"" };
    let (near, far) = tcp_pair().await;
    talk_to(us, near, far, said, cell.fault).await
}

/// A client that says this, then ends its side if that is the fault, and stays until we close.
async fn talk_to(
    us: &Server,
    mut near: TcpStream,
    far: TcpStream,
    said: &[u8],
    fault: Fault,
) -> Result<(Refusal, String), String> {
    let them = async {
        near.write_all(said).await.unwrap();
        if fault == Fault::EndOfStream {
            near.shutdown().await.unwrap();
        }
        // Until we close; we may do it by a reset.
        near.read_to_end(&mut Vec::new()).await.ok();
    };
    let (refusal, ()) = tokio::join!(accept(us, far), them);
    Ok((refusal?, NOTHING.to_owned()))
}

/// Every sample but the sums and buckets of histograms, whose counts are enough.
fn scrape(registry: &Registry) -> BTreeMap<String, f64> {
    let text = registry.encode(Format::Text);
    let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    samples
        .filter(|(name, _)| !name.contains("_sum") && !name.contains("_bucket"))
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

/// What the scrapes before and after say: the outcome, at most one verdict, the hello if there was one, and nothing else.
fn expected(
    cell: &Cell,
    before: &BTreeMap<String, f64>,
    after: &BTreeMap<String, f64>,
    refusal: &Refusal,
    peer_says: String,
) -> Result<Expected, String> {
    let prefix = if cell.we == Role::Client { "tls_" } else { "tls_server_" };
    let (outcome, verdict, finder) = (
        format!("{prefix}handshake_total{{status=\"failure\",error_type=\""),
        format!("{prefix}certificate_validation_total{{result=\""),
        format!("{prefix}handshake_failures_found_by_total{{found_by=\""),
    );
    let (mut outcomes, mut verdicts, mut finders, mut rest) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (name, value) in after {
        let by = value - before.get(name).ok_or_else(|| format!("{name} is new"))?;
        if by == 0.0 {
            continue;
        }
        let value_of = |start: &str| name.strip_prefix(start).and_then(|rest| rest.strip_suffix("\"}"));
        match (value_of(&outcome), value_of(&verdict), value_of(&finder)) {
            _ if by != 1.0 => return Err(format!("{name} moved by {by}")),
            (Some(kind), _, _) => outcomes.push(kind),
            (None, Some(result), _) => verdicts.push(result),
            (None, None, Some(who)) => finders.push(who),
            (None, None, None) => rest.push(name.as_str()),
        }
    }
    if after.len() != before.len() {
        return Err("a series is gone".to_owned());
    }
    if rest != others_that_move(cell, refusal) {
        return Err(format!("{rest:?} moved as well"));
    }
    if finders != [found_by(&refusal.error)] {
        return Err(format!("found by {finders:?}, but the error is {:?}", refusal.error));
    }
    match (outcomes.as_slice(), verdicts.as_slice()) {
        ([counts], [] | [_]) if *counts == refusal.error.kind().label() => Ok(Expected {
            counts: (*counts).to_owned(),
            found_by: found_by(&refusal.error).to_owned(),
            verdict: verdicts.first().map_or("-", |verdict| verdict).to_owned(),
            when: if refusal.late { "first read" } else { "handshake" }.to_owned(),
            peer_says,
        }),
        _ => Err(format!("{outcomes:?} and {verdicts:?} moved, but the error is {}", refusal.error)),
    }
}

/// The series besides outcome, finder and verdict: a client that is refused late had seen the server's certificate; a listener
/// observes how long it waited for a hello that it understood, and counts whom its list of allowed clients does not name.
fn others_that_move(cell: &Cell, refusal: &Refusal) -> Vec<&'static str> {
    if cell.we == Role::Client {
        return if refusal.late { vec!["tls_peer_certificate_remaining_seconds_count"] } else { Vec::new() };
    }
    let understood = match cell.fault {
        Fault::PlainText => false,
        Fault::EndOfStream | Fault::TimeOut => cell.peer != Peer::Socket,
        Fault::NoCommonVersion => !matches!(cell.version, Version::V10 | Version::V11),
        _ => true,
    };
    let unnamed = cell.fault == Fault::NotAllowed;
    [
        (understood, "tls_server_client_hello_wait_seconds_count"),
        (unnamed, r#"tls_server_client_identity_total{identity="other"}"#),
    ]
    .into_iter()
    .filter_map(|(moves, name)| moves.then_some(name))
    .collect()
}
