//! The diagnosis names the culprit in every cell in which one of our halves is the client: what it is told to find is the fault
//! that was planted, not what was measured.

use crate::cell::{Cell, Fault, Peer, Role, Version, Whose, universe};
use crate::certificates::Scene;
use crate::fixture::{clock, name, server};
use crate::openssl::OpenSsl;
use crate::plan::Plan;
use artstore_tls::diagnosis::{Accepted, Culprit, Diagnosis, Examiner};
use artstore_tls::{CertificateAnswer, Protocol};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::LazyConfigAcceptor;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Something that is connected to, and ends with the test.
enum Other {
    OpenSsl(Box<OpenSsl>),
    Task(JoinHandle<()>),
}

impl Drop for Other {
    fn drop(&mut self) {
        if let Self::Task(task) = self {
            task.abort();
        }
    }
}

/// What is at fault, by what was planted.
fn planted(cell: &Cell) -> Culprit {
    match (cell.fault, cell.judged()) {
        (Fault::StaleList | Fault::NotAllowed, Some(Role::Client)) => Culprit::TheirJudgement,
        (Fault::StaleList, _) => Culprit::OurList,
        (_, Some(Role::Client)) => Culprit::OurCertificate,
        (_, Some(Role::Server)) => Culprit::TheirCertificate,
        (Fault::NoCommonVersion, None) => Culprit::Versions,
        (Fault::NoCommonSuite, None) => Culprit::Suites,
        (Fault::Alpn, None) => Culprit::ApplicationProtocol,
        (Fault::PlainText, None) => Culprit::PlainText,
        (Fault::EndOfStream, None) => Culprit::Connection,
        (Fault::TimeOut, None) => Culprit::Silence,
        (other, None) => panic!("{other} without a certificate"),
    }
}

async fn other_side(plan: &Plan, cell: &Cell) -> (Other, SocketAddr) {
    if cell.peer == Peer::OpenSsl {
        let (them, address) = OpenSsl::server(&plan.server, 2).await;
        if matches!(cell.fault, Fault::EndOfStream | Fault::TimeOut) {
            them.freeze();
        }
        return (Other::OpenSsl(Box::new(them)), address);
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (fault, peer) = (cell.fault, cell.peer);
    let ours = server(plan.server.acceptor());
    let serve = async move {
        let mut kept = Vec::new();
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            match (fault, peer) {
                (Fault::PlainText, _) => {
                    tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
                    kept.push(tcp);
                }
                (Fault::TimeOut, _) => kept.push(tcp),
                (Fault::EndOfStream, Peer::Socket) => drop(tcp),
                (Fault::EndOfStream, _) => {
                    drop(LazyConfigAcceptor::new(rustls::server::Acceptor::default(), tcp).await.unwrap());
                }
                _ => {
                    if let Ok(mut stream) = ours.acceptor.accept(tcp).await {
                        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok();
                        stream.read_to_end(&mut Vec::new()).await.ok();
                    }
                }
            }
        }
    };
    (Other::Task(tokio::spawn(serve)), address)
}

async fn examine(scene: &Scene, cell: &Cell) -> Result<Accepted, Box<Diagnosis>> {
    let plan = Plan::of(scene, cell);
    let (other, address) = other_side(&plan, cell).await;
    let examiner = Examiner::new(&plan.client.connector(), clock()).unwrap();
    let dial = || async {
        let tcp = TcpStream::connect(address).await;
        if let (Other::OpenSsl(them), Fault::EndOfStream) = (&other, cell.fault) {
            them.end();
        }
        tcp
    };
    let examined = examiner.examine(name("localhost"), dial, REQUEST);
    tokio::time::timeout(Duration::from_secs(15), examined).await.unwrap_or_else(|_| panic!("{cell:?} hangs"))
}

/// What is wrong with a diagnosis, if anything.
fn mistake(scene: &Scene, cell: &Cell, found: &Diagnosis) -> Option<String> {
    let wanted = planted(cell);
    if found.culprit != wanted {
        return Some(format!("{:?} instead of {wanted:?}: {}", found.culprit, found.summary));
    }
    // A certificate at fault is named by subject and fingerprint, and its end is told.
    let role = match wanted {
        Culprit::OurCertificate if cell.fault == Fault::NonePresented => return None,
        Culprit::OurCertificate | Culprit::TheirJudgement => Role::Client,
        Culprit::TheirCertificate => Role::Server,
        _ => return None,
    };
    let shown = scene.identity(role, Some(cell.fault)).load().unwrap().certificates()[0].clone();
    let named = found.certificate.as_ref() == Some(&shown)
        && [shown.subject.as_str(), &shown.fingerprint(), "until 20"].iter().all(|word| found.summary.contains(word));
    (!named || found.advice.is_empty()).then(|| format!("{found:?} does not name {shown:?}"))
}

/// Plays these cells with the diagnosis as the client.
async fn diagnose(cells: impl Fn(&Cell) -> bool) -> usize {
    let scene = Scene::new();
    let (mut played, mut mistakes) = (0, Vec::new());
    for cell in universe().iter().filter(|cell| cell.impossible().is_none() && cells(cell)) {
        let found = match examine(&scene, cell).await {
            Ok(accepted) => Some(format!("accepted: {accepted:?}")),
            Err(diagnosis) => mistake(&scene, cell, &diagnosis),
        };
        mistakes.extend(found.map(|found| format!("{}: {found}", crate::table::key(cell))));
        played += 1;
    }
    assert!(mistakes.is_empty(), "{} of {played}:\n{}", mistakes.len(), mistakes.join("\n"));
    played
}

#[tokio::test]
async fn against_our_own_server() {
    assert_eq!(diagnose(|cell| cell.we == Role::Client && cell.peer == Peer::Rustls).await, 40);
}

/// The same meetings as the server sees them: its operator asks the client's doctor. Not those whose fault is a client that
/// leaves TLS, for the doctor does not.
#[tokio::test]
async fn against_our_own_server_for_its_operator() {
    let cells =
        |cell: &Cell| cell.we == Role::Server && cell.peer == Peer::Rustls && !cell.fault.is_of_the_connection();
    assert_eq!(diagnose(cells).await, 36);
}

#[tokio::test]
async fn against_openssl() {
    assert_eq!(diagnose(|cell| cell.we == Role::Client && cell.peer == Peer::OpenSsl).await, 40);
}

#[tokio::test]
async fn against_what_never_speaks_tls() {
    assert_eq!(diagnose(|cell| cell.we == Role::Client && cell.peer == Peer::Socket).await, 6);
}

#[tokio::test]
async fn a_good_server_is_accepted() {
    let scene = Scene::new();
    for (version, protocol) in [(Version::V12, Protocol::Tls12), (Version::V13, Protocol::Tls13)] {
        // A fault that never shows: the cell of a name that nobody asks for.
        let cell = Cell { fault: Fault::WrongName, whose: Whose::Ours, we: Role::Client, version, peer: Peer::Rustls };
        let accepted = examine(&scene, &cell).await.unwrap();
        assert_eq!((accepted.protocol, accepted.answer), (protocol, CertificateAnswer::Sent));
        assert_eq!(accepted.server.unwrap().subject, "CN=server");
    }
}
