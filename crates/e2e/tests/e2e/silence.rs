//! Silent sockets, up to ten thousand of them, beside a client that goes on being served by a real process.

use artstore_e2e::handshake::{Handshaker, allow_files, silent, still_open};
use artstore_e2e::parts::{Part, Parts};
use artstore_e2e::poll;
use artstore_e2e::tls_soak;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::net::SocketAddr;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

/// Keeps every silent socket for as long as the test runs.
const KEEPS_ALL: [(Part, &str); 3] = [
    (Part::Admin, "listen.max_silent = 12000"),
    (Part::Admin, "listen.max_handshakes_per_address = 0"),
    (Part::Admin, "tls.handshake_timeout = 120"),
];

/// One listener under siege.
struct Siege {
    parts: Parts,
    part: Part,
    ops: &'static str,
    address: SocketAddr,
    good: Handshaker,
}

impl Siege {
    fn new(parts: Parts, part: Part) -> Self {
        let (url, ops) = match part {
            Part::Admin => ("ARTSTORE_ADMIN_URL", "ARTSTORE_ADMIN_OPS_URL"),
            _ => ("ARTSTORE_INGESTER_URL", "ARTSTORE_OPS_URL"),
        };
        let address = parts.var(url).split_once("//").unwrap().1.parse().unwrap();
        let good = Handshaker::new(parts.ca());
        Self { parts, part, ops, address, good }
    }

    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.parts.scrape(self.ops).sum(name, labels)
    }

    fn in_progress(&self) -> f64 {
        self.sum("tls_server_handshakes_in_progress", &[])
    }

    fn await_in_progress(&self, what: &str, good: impl Fn(f64) -> bool) {
        poll::until(what, SOON, || good(self.in_progress()).then_some(()));
    }

    fn memory(&mut self) -> u64 {
        self.parts.process(self.part).memory()
    }
}

/// The listener keeps all of them: they cost the good client no time, the process little memory, and leave nothing behind.
///
/// The baseline is another process of the same kind that nobody besieges, asked in turn with the besieged one.
#[test]
fn silent_sockets_that_are_kept_cost_hardly_anything() {
    let (sockets, rounds, handshakes) = if tls_soak() { (10_000, 7, 500) } else { (1_000, 1, 50) };
    allow_files(sockets as u64 + 1_000);
    let mut siege = Siege::new(Parts::start(&KEEPS_ALL), Part::Admin);
    let quiet: SocketAddr = siege.parts.var("ARTSTORE_INGESTER_URL").split_once("//").unwrap().1.parse().unwrap();
    // What the first handshakes cost is not the question.
    siege.good.p99([quiet, siege.address], 200);
    let before = siege.memory();
    let (mut baselines, mut besieged, mut bytes_each) = (Vec::new(), Vec::new(), 0);
    for round in 1..=rounds {
        siege.await_in_progress("nobody is left", |count| count == 0.0);
        let closed = siege.sum("tls_server_handshake_total", &[("error_type", "closed")]);
        let held = silent(siege.address, sockets);
        siege.await_in_progress("all are there", |count| count == sockets as f64);
        let [baseline, with_silent] = siege.good.p99([quiet, siege.address], handshakes);
        let during = siege.memory();
        bytes_each = bytes_each.max(during.saturating_sub(before) / sockets as u64);
        println!("round {round}: p99 {baseline:?} with nobody else, {with_silent:?} beside {sockets} silent sockets");
        assert_eq!(siege.in_progress(), sockets as f64);
        assert_eq!(still_open(&held), sockets);
        drop(held);
        siege.await_in_progress("all are gone", |count| count == 0.0);
        let now_closed = siege.sum("tls_server_handshake_total", &[("error_type", "closed")]);
        assert_eq!(now_closed, closed + sockets as f64, "each ended once");
        baselines.push(baseline);
        besieged.push(with_silent);
    }
    let (baseline, with_silent) = (median(baselines), median(besieged));
    let after = siege.memory();
    println!(
        "median p99 {baseline:?} with nobody else, {with_silent:?} beside {sockets}; {bytes_each} bytes each; resident \
         {} KiB before, {} KiB after",
        before / 1024,
        after / 1024
    );
    assert_eq!(siege.sum("tls_server_handshake_cancelled_total", &[]), 0.0);
    assert!(bytes_each <= 8 * 1024, "{bytes_each} bytes for each silent socket");
    if tls_soak() {
        assert!(with_silent <= baseline * 2, "{with_silent:?} against {baseline:?}");
    }
}

/// The listener as it comes: those beyond the limits are closed, the good client, at the same address, is served meanwhile.
#[test]
fn silent_sockets_beyond_the_limits_make_room() {
    let sockets = if tls_soak() { 10_000 } else { 3_000 };
    allow_files(sockets as u64 + 1_000);
    let siege = Siege::new(Parts::start(&[]), Part::Ingester);
    let [baseline] = siege.good.p99([siege.address], 50);
    let address = siege.address;
    let flood = std::thread::spawn(move || silent(address, sockets));
    let mut served = Vec::new();
    while !flood.is_finished() || served.len() < 50 {
        served.push(siege.good.handshake(address));
    }
    let held = flood.join().unwrap();
    served.sort_unstable();
    let worst = served.last().unwrap();
    println!("p99 {baseline:?} alone; {} handshakes beside the flood, the slowest in {worst:?}", served.len());
    let most = 1_024.0;
    siege.await_in_progress("those beyond the limit are closed", |count| count <= most);
    assert!(still_open(&held) <= 1_024, "{} are open", still_open(&held));
    drop(held);
    siege.await_in_progress("nobody is left", |count| count == 0.0);
    let outcomes =
        siege.sum("tls_server_handshake_total", &[]) + siege.sum("tls_server_handshake_cancelled_total", &[]);
    let accepted = siege.sum("http_server_connections_accepted_total", &[("listener", "main")]);
    assert_eq!(outcomes, accepted, "each ended once");
    let displaced = siege.sum("tls_server_handshake_cancelled_total", &[]);
    let told =
        ["silent", "address_limit"].map(|fault| siege.sum("http_server_connection_faults_total", &[("fault", fault)]));
    assert_eq!(told[0] + told[1], displaced);
    assert!(displaced >= sockets as f64 - 1_024.0 - 1.0, "{displaced} made room");
}

/// A process that runs out of descriptors closes silent connections rather than keep a good client out.
#[test]
fn silent_sockets_give_back_descriptors_when_there_are_none() {
    const DESCRIPTORS: u64 = 256;
    let mut siege = Siege::new(Parts::start(&KEEPS_ALL), Part::Admin);
    let pid = Pid::from_raw(i32::try_from(siege.parts.process(siege.part).pid()).unwrap());
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(DESCRIPTORS), maximum: Some(DESCRIPTORS) }).unwrap();
    let held = silent(siege.address, 600);
    for _ in 0..20 {
        siege.good.handshake(siege.address);
    }
    assert!(siege.sum("http_server_connection_faults_total", &[("fault", "accept")]) >= 1.0);
    assert!(siege.sum("http_server_connection_faults_total", &[("fault", "silent")]) >= 600.0 - DESCRIPTORS as f64);
    drop(held);
    siege.await_in_progress("nobody is left", |count| count == 0.0);
    siege.parts.process(Part::Admin).assert_alive();
}

fn median(mut values: Vec<Duration>) -> Duration {
    values.sort_unstable();
    values[values.len() / 2]
}
