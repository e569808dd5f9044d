//! The fault matrix: every way in which a handshake goes wrong, on real sockets, against rustls and OpenSSL, cell by cell as
//! `table.toml` says.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod cell;
mod certificates;
mod diagnoses;
#[path = "../tls/fixture.rs"]
#[expect(dead_code, reason = "the other test binary uses more of it")]
mod fixture;
mod late;
mod meeting;
mod openssl;
mod page;
mod plan;
mod runbook;
mod skew;
mod table;

use cell::{Cell, Peer, Role, universe};
use certificates::Scene;
use std::collections::BTreeMap;
use table::Entry;

/// Plays every cell of this corner of the matrix that can exist, and reports all that differ from the table together.
async fn play(we: Role, peer: Peer) {
    let (scene, table) = (Scene::new(), table::read());
    let (mut played, mut differing) = (0, Vec::new());
    for (cell, expected) in &table {
        let Entry::Expected(expected) = expected else { continue };
        if (cell.we, cell.peer) != (we, peer) {
            continue;
        }
        played += 1;
        match meeting::play(&scene, cell).await {
            Ok(observed) if observed == *expected => {}
            Ok(observed) => differing.push(format!("measured: {}", table::line(cell, &Entry::Expected(observed)))),
            Err(problem) => differing.push(format!("{}: {problem}", table::key(cell))),
        }
    }
    assert!(played > 0, "no cell was played");
    assert!(differing.is_empty(), "{} of {played} cells differ:\n{}", differing.len(), differing.join("\n"));
}

#[tokio::test]
async fn we_are_client_and_the_peer_is_rustls() {
    play(Role::Client, Peer::Rustls).await;
}

#[tokio::test]
async fn we_are_server_and_the_peer_is_rustls() {
    play(Role::Server, Peer::Rustls).await;
}

#[tokio::test]
async fn we_are_client_and_the_peer_is_openssl() {
    play(Role::Client, Peer::OpenSsl).await;
}

#[tokio::test]
async fn we_are_server_and_the_peer_is_openssl() {
    play(Role::Server, Peer::OpenSsl).await;
}

#[tokio::test]
async fn we_are_client_and_the_peer_is_a_socket() {
    play(Role::Client, Peer::Socket).await;
}

#[tokio::test]
async fn we_are_server_and_the_peer_is_a_socket() {
    play(Role::Server, Peer::Socket).await;
}

/// No cell is missing, none is there twice or made up, and those that cannot exist are the ones that the code knows.
#[test]
fn the_table_has_every_cell_once() {
    let table = table::read();
    let impossible = |cell: &Cell| match &table.get(cell) {
        Some(Entry::Impossible(reason)) => Some(reason.clone()),
        Some(Entry::Expected(_)) => None,
        None => panic!("the table has no {}", table::key(cell)),
    };
    let cells = universe();
    for cell in &cells {
        assert_eq!(impossible(cell), cell.impossible().map(str::to_owned), "{}", table::key(cell));
    }
    assert_eq!(table.len(), cells.len());
}

/// What a peer's alert is counted as follows from the alert and the contract's table, whatever was measured.
#[test]
fn alerts_are_counted_as_the_contract_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../contract/metrics.toml");
    let contract: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
    let alerts = contract["alert"].as_table().unwrap();
    // By RFC 8446 and OpenSSL's X509_verify_cert_error: the alert that each finding of OpenSSL's becomes.
    let by_finding = BTreeMap::from([
        ("3", 48),  // no list for the certificate
        ("9", 42),  // not yet valid
        ("10", 45), // expired
        ("12", 45), // the list has expired
        ("20", 48), // no issuer
        ("23", 44), // revoked
        ("26", 43), // purpose
        ("62", 42), // name
    ]);
    let mut seen = 0;
    for (cell, entry) in table::read() {
        let Entry::Expected(expected) = entry else { continue };
        let Some(finding) = expected.peer_says.strip_prefix("verify error ") else { continue };
        let alert = by_finding[finding].to_string();
        assert_eq!(expected.counts, alerts[&alert].as_str().unwrap(), "{}", table::key(&cell));
        assert_eq!(expected.found_by, "peer", "{}", table::key(&cell));
        seen += 1;
    }
    assert!(seen >= 20, "only {seen} cells have a finding of OpenSSL's");
}

/// The page for people shows the same table. With `ARTSTORE_TLS_WRITE_PAGE=1` it is made to.
#[test]
fn the_page_shows_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/tls.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (shown, wanted) = (page::between_marks(&page), page::section(&table::read()));
    if std::env::var_os("ARTSTORE_TLS_WRITE_PAGE").is_some() {
        std::fs::write(path, page.replace(&page::marked(shown), &page::marked(&wanted))).unwrap();
        return;
    }
    assert!(shown == wanted, "docs/tls.md shows another table; ARTSTORE_TLS_WRITE_PAGE=1 writes it anew");
}
