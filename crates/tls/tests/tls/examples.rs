//! The crate's examples, run together: what each side says, and what its families count. And the README's table of them.

use crate::fixture::{self, DAY, World, assert_sums_agree, now};
use artstore_metrics::Registry;
use artstore_tls::dev::Leaf;
use artstore_tls::metrics::FAMILIES;
use artstore_tls::{Identity, IdentityFiles, TrustFile};
use std::net::Ipv4Addr;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

#[expect(dead_code, reason = "its `main` is for people")]
#[path = "../../examples/axum_listener.rs"]
mod axum_listener;
#[expect(dead_code, reason = "its `main` is for people")]
#[path = "../../examples/hyper_client.rs"]
mod hyper_client;

use axum_listener::Client;
use hyper_client::{HttpsClient, tls_error};

/// The example's server on a port of its own.
async fn serve(world: &World, identity: IdentityFiles) -> (String, Registry, JoinHandle<()>) {
    let registry = Registry::new();
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("https://{}", tcp.local_addr().unwrap());
    let listener = axum_listener::listener(tcp, identity, TrustFile(world.ca.ca_file().to_owned()), &registry).unwrap();
    let app = axum_listener::app(registry.clone()).into_make_service_with_connect_info::<Client>();
    let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, registry, serving)
}

fn client(world: &World, identity: Identity) -> (HttpsClient, Registry) {
    let registry = Registry::new();
    (HttpsClient::new(identity, world.ca.trust().unwrap(), &registry).unwrap(), registry)
}

fn server_files(world: &World) -> IdentityFiles {
    world.ca.issue("server", &Leaf::server("server", now())).unwrap()
}

const SUCCESS: &[(&str, &str)] = &[("status", "success")];
const FAILURE: &[(&str, &str)] = &[("status", "failure")];

#[tokio::test]
async fn two_requests_over_one_connection_that_both_examples_measure() {
    let world = World::new();
    let (url, served, serving) = serve(&world, server_files(&world)).await;
    let (client, sent) = client(&world, world.client());

    assert_eq!(client.get(format!("{url}/").parse().unwrap()).await.unwrap(), "hello, CN=client\n");
    let scraped = client.get(format!("{url}/metrics").parse().unwrap()).await.unwrap();
    serving.abort();

    let suite = r#"cipher_suite="TLS_AES_256_GCM_SHA384""#;
    for line in [
        r#"tls_server_handshake_total{status="success",error_type=""} 1"#.to_owned(),
        r#"tls_server_handshake_total{status="failure",error_type="cert_untrusted"} 0"#.to_owned(),
        r#"tls_server_connections_active{protocol="TLSv1.3"} 1"#.to_owned(),
        r#"tls_server_certificate_validation_total{result="valid"} 1"#.to_owned(),
        format!(r#"tls_server_handshake_duration_seconds_count{{protocol="TLSv1.3",{suite}}} 1"#),
    ] {
        assert!(scraped.lines().any(|scraped| scraped == line), "{line}\n{scraped}");
    }
    assert_sums_agree(&served, "tls_server_");
    assert_sums_agree(&sent, "tls_");
    assert_eq!(sent.sum_of("tls_handshake_total", SUCCESS), 1.0);
    assert_eq!(sent.sum_of("tls_handshake_total", FAILURE), 0.0);
    assert_eq!(sent.sum_of("tls_connection_reuse_total", &[("reused", "false")]), 1.0);
    assert_eq!(sent.sum_of("tls_connection_reuse_total", &[("reused", "true")]), 1.0);
    assert_eq!(sent.sum_of("tls_connections_active", &[("protocol", "TLSv1.3")]), 1.0);
}

/// The reason is in the error, whether hyper met it as it connected or later, and each side counts one failure.
#[tokio::test]
async fn a_refused_client_learns_why() {
    let world = World::new();
    let (url, served, _serving) = serve(&world, server_files(&world)).await;
    let stranger = world.stranger.issue("client", &Leaf::client("client", now())).unwrap().load().unwrap();
    let (client, sent) = client(&world, stranger);
    let error = client.get(url.parse().unwrap()).await.unwrap_err();
    assert_eq!(tls_error(error.as_ref()).map(|tls| tls.kind().to_string()).as_deref(), Some("cert_untrusted"));
    let untrusted = &[("status", "failure"), ("error_type", "cert_untrusted")];
    assert_eq!(served.sum_of("tls_server_handshake_total", untrusted), 1.0);
    assert_eq!(sent.sum_of("tls_handshake_total", untrusted), 1.0);
    assert_eq!(sent.sum_of("tls_handshake_total", SUCCESS), 0.0);
}

/// A server of another authority: hyper's error is about connecting.
#[tokio::test]
async fn a_client_that_refuses_the_server_says_why() {
    let world = World::new();
    let stranger = world.stranger.issue("server", &Leaf::server("server", now())).unwrap();
    let (url, served, _serving) = serve(&world, stranger).await;
    let (client, sent) = client(&world, world.client());
    let error = client.get(url.parse().unwrap()).await.unwrap_err();
    assert_eq!(tls_error(error.as_ref()).map(|tls| tls.kind().to_string()).as_deref(), Some("cert_untrusted"));
    let untrusted = &[("status", "failure"), ("error_type", "cert_untrusted")];
    assert_eq!(sent.sum_of("tls_handshake_total", untrusted), 1.0);
    assert_eq!(served.sum_of("tls_server_handshake_total", SUCCESS), 0.0);
}

/// Nothing is restarted: the next handshake shows the new certificate, and who is connected stays so.
#[tokio::test]
async fn a_certificate_is_renewed_while_the_example_runs() {
    let world = World::new();
    let (url, served, _serving) = serve(&world, server_files(&world)).await;
    let (first, sent) = client(&world, world.client());
    let greeting = async || first.get(url.parse().unwrap()).await.unwrap();
    assert_eq!(greeting().await, "hello, CN=client\n");
    // `DevCa::issue` writes the same files.
    let leaf = Leaf::server("renewed", now()).valid(now().minus(DAY), now().plus(DAY * 200));
    world.ca.issue("server", &leaf).unwrap();
    // As an operator sees it: from outside there is no other sign.
    let scrape = async || first.get(format!("{url}/metrics").parse().unwrap()).await.unwrap();
    while !scrape().await.contains("tls_reload_total{result=\"success\",reason=\"\"} 1\n") {}
    let tcp = TcpStream::connect(url.trim_start_matches("https://")).await.unwrap();
    let second = fixture::client(world.mutual()).connector.connect(fixture::name("localhost"), tcp).await.unwrap();
    assert_eq!(second.connection().peer_certificate().unwrap().subject, "CN=renewed");
    assert_eq!(greeting().await, "hello, CN=client\n");
    assert_eq!(sent.sum_of("tls_handshake_total", SUCCESS), 1.0);
    assert_eq!(served.sum_of("tls_certificate_expiry_days", &[("subject", "CN=server")]), 0.0, "no ghost series");
    assert!(served.sum_of("tls_certificate_expiry_days", &[("subject", "CN=renewed")]) > 199.0);
    assert_eq!(served.sum_of("tls_reload_total", &[("result", "failure")]), 0.0);
}

/// Those who say nothing are handshakes under way, and in nobody's way.
#[tokio::test]
async fn silent_clients_do_not_keep_others_waiting() {
    let world = World::new();
    let (url, served, _serving) = serve(&world, server_files(&world)).await;
    let address = url.trim_start_matches("https://");
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let (client, _) = client(&world, world.client());
    assert_eq!(client.get(url.parse().unwrap()).await.unwrap(), "hello, CN=client\n");
    // They were accepted before, in the order of their connecting.
    assert_eq!(served.sum_of("tls_server_handshakes_in_progress", &[]), 50.0);
}

/// In a row of the README a name stands for itself, or without its prefix for a family of each direction.
#[test]
fn the_readme_names_every_family_and_no_other() {
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once("## Metrics\n").unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")).filter_map(|row| row.split(" |").next());
    let mut named = Vec::new();
    for name in rows.flat_map(|cell| cell.split(", ")) {
        let name = name.trim_matches('`').split('{').next().unwrap();
        if name.starts_with("tls_") {
            named.push(name.to_owned());
        } else {
            named.extend([format!("tls_{name}"), format!("tls_server_{name}")]);
        }
    }
    named.sort_unstable();
    let mut declared: Vec<&str> = FAMILIES.iter().map(|family| family.name()).collect();
    declared.sort_unstable();
    assert_eq!(named, declared, "the README's tables and `metrics::FAMILIES`");
}
