//! Limits on size, silence and number; back-pressure.

use crate::doubles::Fault;
use crate::wire::{read_reply, req};
use crate::world::World;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;

#[tokio::test]
async fn a_file_over_the_limit_is_refused_with_and_without_a_length_and_leaves_nothing() {
    let limit: usize = 600_000;
    let world = World::with(|settings| settings.max_file_bytes = limit as u64).await;
    let expected = (413, "FILE_TOO_LARGE".to_owned(), "a file has at most 600000 bytes here".to_owned());
    for size in [limit + 1, 3_000_000] {
        for chunked in [false, true] {
            let bytes = vec![1; size];
            let raw = world.req("PUT", "/api/v1/files?filename=a").body(bytes.clone());
            let form = world.req("POST", "/api/v1/files/upload").form(&[("file", Some("a"), &bytes)]);
            for request in [raw, form] {
                let reply = world.send(if chunked { request.chunked() } else { request }).await;
                assert_eq!(reply.problem(), expected, "{size} {chunked}");
            }
        }
    }
    world.expect_nothing_left().await;
    assert_eq!(world.uploads("temporary", "rejected") + world.uploads("unknown", "rejected"), 8.0);
    assert_eq!(world.put("filename=a", vec![1; limit]).await.status, 201);
    // The one-shot buffer obeys the limit, too.
    let world = World::with(|settings| settings.max_file_bytes = 10).await;
    let reply = world.send(world.req("PUT", "/api/v1/files?filename=a").body("12345678901").chunked()).await;
    assert_eq!(reply.problem().1, "FILE_TOO_LARGE");
    world.expect_nothing_left().await;
}

#[tokio::test]
async fn a_length_over_the_limit_is_refused_before_the_client_is_told_to_send() {
    let world = World::with(|settings| settings.max_file_bytes = 10).await;
    let request = world.req("PUT", "/api/v1/files?filename=a").header("expect", "100-continue");
    let mut stream = request.begin(world.address, 1 << 30, b"").await;
    let reply = read_reply(&mut stream, false).await;
    assert_eq!(reply.problem().1, "FILE_TOO_LARGE");
}

#[tokio::test]
async fn a_client_that_stalls_is_refused_in_time_and_leaves_nothing() {
    let world = World::with(|settings| settings.read_timeout = Duration::from_millis(200)).await;
    let expected = (400, "VALIDATION_ERROR".to_owned(), "no byte of the body arrived for 0.2 seconds".to_owned());
    for length in [100, 1_000_000] {
        let raw = world.req("PUT", "/api/v1/files?filename=a").begin(world.address, length, b"some").await;
        let form = world.req("POST", "/api/v1/files/upload").header("content-type", "multipart/form-data; boundary=XX");
        let part = b"--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nsome";
        let form = form.begin(world.address, length, part).await;
        for mut stream in [raw, form] {
            assert_eq!(read_reply(&mut stream, false).await.problem(), expected);
        }
    }
    world.expect_nothing_left().await;
    assert_eq!(world.uploads("temporary", "rejected"), 4.0);
}

#[tokio::test]
async fn a_client_that_vanishes_is_counted_as_cancelled_and_leaves_nothing() {
    let world = World::start().await;
    for (length, log) in [(100_u64, 0), (10_000_000, 1)] {
        let before = world.edit.log().iter().filter(|operation| *operation == "append").count();
        let stream = world.req("PUT", "/api/v1/files?filename=a").begin(world.address, length, &[1; 50]).await;
        if log > 0 {
            world.edit.until(|element| element.log().iter().filter(|op| *op == "append").count() > before).await;
        }
        drop(stream);
    }
    // The first one never reached an element; the second is given up there.
    world.edit.until(|element| element.log().contains(&"abandon".to_owned()) && element.sessions() == 0).await;
    let cancelled = async {
        while world.uploads("temporary", "cancelled") < 2.0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::wire::PATIENCE, cancelled).await.unwrap();
    world.expect_nothing_left().await;
    assert_eq!(world.metric("ingester_uploads_total", &[]), 2.0);
}

#[tokio::test]
async fn a_stalled_element_stops_the_client_and_is_given_up_in_time() {
    let world = World::with(|settings| settings.element_stall_timeout = Duration::from_secs(2)).await;
    world.edit.fail("append", Fault::Stall);
    let total = 512 << 20;
    let mut stream = world.req("PUT", "/api/v1/files?filename=a").begin(world.address, total, b"").await;
    let (mut sent, chunk) = (0, vec![0; 64 * 1024]);
    // A write that is not taken within this time is not going to be.
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(700), stream.write(&chunk)).await {
        sent += written.unwrap();
        assert!(sent < 64 << 20, "{sent} bytes went nowhere");
    }
    let reply = read_reply(&mut stream, false).await;
    let detail = "the Storage Element refused or broke off; nothing is stored, try again".to_owned();
    assert_eq!(reply.problem(), (502, "ELEMENT_UPLOAD_FAILED".to_owned(), detail));
    world.expect_nothing_left().await;
    assert_eq!(world.uploads("temporary", "failed"), 1.0);
}

#[tokio::test]
async fn one_upload_too_many_is_told_to_come_again() {
    let world = World::with(|settings| settings.max_uploads = 1).await;
    let first = world.req("PUT", "/api/v1/files?filename=a").begin(world.address, 300_000, b"x").await;
    world.edit.until(|element| element.sessions() == 1).await;
    let reply = world.put("filename=a", "x").await;
    let detail = "too many uploads are under way; try again in a moment".to_owned();
    assert_eq!(reply.problem(), (429, "RATE_LIMITED".to_owned(), detail));
    assert_eq!(reply.header("retry-after"), "1");
    drop(first);
    world.expect_nothing_left().await;
    let again = async {
        while world.put("filename=a", "x").await.status != 201 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::wire::PATIENCE, again).await.unwrap();
    // The place is asked for before the token: a stranger does not hold one either.
    assert_eq!(world.send(req("PUT", "/api/v1/files?filename=a")).await.status, 401);
}

/// Kilobytes of this process that are in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Begins an upload of half a GiB and sends until nothing more is taken.
async fn send_in_vain(world: &World, form: bool) -> tokio::net::TcpStream {
    let total = 512 << 20;
    let mut stream = if form {
        let part = b"--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n";
        let form = world.req("POST", "/api/v1/files/upload").header("content-type", "multipart/form-data; boundary=XX");
        form.begin(world.address, total, part).await
    } else {
        world.req("PUT", "/api/v1/files?filename=a").begin(world.address, total, b"").await
    };
    let chunk = vec![0; 64 * 1024];
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(500), stream.write(&chunk)).await {
        written.unwrap();
    }
    stream
}

#[tokio::test]
async fn uploads_to_a_stalled_element_cost_less_than_a_mebibyte_each() {
    let world = World::start().await;
    world.edit.fail_always("append", Fault::Stall);
    let warm = send_in_vain(&world, false).await;
    let before = resident();
    let count = 40;
    let uploads = (0..count).map(|number| send_in_vain(&world, number % 2 == 0));
    let streams = futures_util::future::join_all(uploads).await;
    assert_eq!(world.metric("ingester_uploads_active", &[]), 41.0);
    // The doubles' own buffers are in this figure, too.
    let each = resident().saturating_sub(before) / count;
    assert!(each < 1024, "{each} kB each");
    drop((warm, streams));
}
