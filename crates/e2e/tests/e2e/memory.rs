//! Memory: it does not grow with the file, nor with uploads that cannot move on.

use artstore_e2e::big;
use artstore_e2e::parts::{Part, Parts};
use artstore_e2e::payload::Payload;
use artstore_e2e::poll;
use artstore_e2e::up::{Up, stored};
use rustix::process::Signal;
use std::process::Command;
use std::time::Duration;

const MIB: u64 = 1 << 20;

#[test]
fn peak_memory_does_not_depend_on_the_size_of_the_file() {
    let large = if big() { 4 << 30 } else { 512 * MIB };
    let up = Up::start();
    let token = up.token();
    let peak = |payload: &Payload| {
        up.process.forget_peak();
        let _ = stored(&up.upload_raw(&token, &payload.path, &[("filename", "a")]), payload);
        up.process.peak_memory()
    };
    let small = peak(&up.payload("small", 16 * MIB, 1));
    let payload = up.payload("large", large, 2);
    let raw = peak(&payload);
    up.process.forget_peak();
    let answer = up.upload_form(&token, &[&format!("file=@{}", payload.path.display())]);
    let _ = stored(&answer, &payload);
    let form = up.process.peak_memory();
    let grown = raw.max(form).saturating_sub(small);
    println!(
        "peak: {} KiB at 16 MiB; at {} MiB {} KiB raw, {} KiB by form",
        small / 1024,
        large / MIB,
        raw / 1024,
        form / 1024
    );
    assert!(grown <= 16 * MIB, "grown by {} KiB", grown / 1024);
}

#[test]
fn a_hundred_uploads_against_a_stalled_element_grow_the_ingester_by_at_most_1_mib_each() {
    const UPLOADS: usize = 100;
    let mut parts = Parts::start(&[]);
    let token = parts.token();
    let payload = parts.payload("payload", 16 * MIB, 1);
    let warm = parts.upload_raw(&token, &payload.path, &[("filename", "warm")]);
    let _ = stored(&warm, &payload);
    parts.process(Part::Ingester).forget_peak();
    let before = parts.process(Part::Ingester).peak_memory();
    let mut sending = start_parallel(&parts, &token, &payload, UPLOADS);
    let active = |parts: &Parts| parts.scrape("ARTSTORE_OPS_URL").sum("ingester_uploads_active", &[]);
    poll::until("all uploads are under way", Duration::from_secs(60), || (active(&parts) == 100.0).then_some(()));
    let received = |parts: &Parts| parts.scrape("ARTSTORE_OPS_URL").sum("ingester_upload_received_bytes_total", &[]);
    let at_stop = received(&parts);
    parts.process(Part::Edit).signal(Signal::STOP);
    let took =
        poll::until_steady("the uploads stand", Duration::from_secs(2), Duration::from_secs(40), || received(&parts));
    let uploads = active(&parts);
    let peak = parts.process(Part::Ingester).peak_memory();
    let grown = peak.saturating_sub(before);
    println!(
        "{uploads} uploads stand; {} KiB taken after the stop; grown by {} KiB",
        (took - at_stop) / 1024.0,
        grown / 1024
    );
    parts.process(Part::Edit).signal(Signal::CONT);
    sending.kill().unwrap();
    sending.wait().unwrap();
    assert_eq!(uploads, 100.0, "none has failed or ended yet");
    assert!(grown <= 100 * MIB, "grown by {} KiB", grown / 1024);
}

/// One curl that sends the file many times at once, each slowly enough to be under way for a while.
fn start_parallel(parts: &Parts, token: &str, payload: &Payload, times: usize) -> std::process::Child {
    let config = parts.scratch().join("curl.config");
    let one = format!(
        "url = \"{}/api/v1/files?filename=a\"\nupload-file = {:?}\nheader = \"Authorization: Bearer {token}\"\n\
         cacert = {:?}\nlimit-rate = 1M\nsilent\nhttp1.1\noutput = /dev/null\n",
        parts.var("ARTSTORE_INGESTER_URL"),
        payload.path,
        parts.ca(),
    );
    std::fs::write(&config, vec![one; times].join("next\n")).unwrap();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--parallel", "--parallel-immediate", "--parallel-max"]).arg(times.to_string());
    curl.arg("--config").arg(config).spawn().unwrap()
}
