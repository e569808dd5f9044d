//! SIGTERM under load, and starts that must fail.

use artstore_e2e::curl::Sending;
use artstore_e2e::poll;
use artstore_e2e::process::{Running, artstore};
use artstore_e2e::up::{Up, command, data_folder, stored};
use rustix::process::Signal;
use std::time::Duration;

const UPLOADS: u64 = 6;

#[test]
fn uploads_in_flight_finish_new_ones_are_refused_and_the_exit_code_is_0() {
    let mut up = Up::start();
    let token = up.token();
    let payload = up.payload("payload", 6 << 20, 1);
    let path = payload.path.as_os_str();
    // About three seconds each.
    let slow =
        |_| up.put(&token, &[("filename", "slow")]).with(["--limit-rate".as_ref(), "2M".as_ref(), "-T".as_ref(), path]);
    let sending: Vec<Sending> = (0..UPLOADS).map(slow).map(|curl| curl.start(false)).collect();
    poll::until("all uploads are under way", Duration::from_secs(10), || {
        let scrape = up.scrape("ARTSTORE_OPS_URL");
        (scrape.sum("ingester_uploads_active", &[]) == 6.0).then_some(())
    });
    up.process.signal(Signal::TERM);
    let refused = poll::until("new uploads are refused", Duration::from_secs(2), || {
        let answer = up.upload_raw(&token, &payload.path, &[("filename", "late")]);
        (answer.status != 201).then_some(answer)
    });
    assert!(refused.status == 0 || refused.status == 503, "{refused}");
    let ids: Vec<String> =
        sending.into_iter().map(|sending| stored(&sending.finish(), &payload).file_id.to_string()).collect();
    let (status, took) = poll::timed(|| up.process.wait(Duration::from_secs(30)));
    assert_eq!(status.code(), Some(0), "{}", up.process.log());
    println!("from the last answer to the end of the process: {} ms", took.as_millis());
    up.restart();
    let token = up.token();
    for id in ids {
        assert_eq!(up.content_sha256(&token, &id), payload.sha256);
    }
    assert_eq!(up.process.terminate().code(), Some(0));
}

#[test]
fn a_second_start_on_the_same_folder_is_refused_with_one_line() {
    let up = Up::start();
    let second = command(up.scratch(), &[]).output().unwrap();
    assert!(!second.status.success());
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(text.trim().lines().count(), 1, "{text}");
    assert!(text.contains("in use"), "{text}");
    assert!(up.data().join("artstore.env").exists(), "the first one's file stays");
}

#[test]
fn a_port_in_use_and_a_bad_flag_are_one_clear_line() {
    let folder = tempfile::TempDir::new().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = command(folder.path(), &["--ingester".to_owned(), address.clone()]);
    let mut arguments: Vec<_> = output.get_args().map(ToOwned::to_owned).collect();
    // The flag stands there once, with port 0: replace it instead of repeating it.
    let last = arguments.len() - 2;
    arguments.truncate(last);
    let at = arguments.iter().position(|argument| argument == "--ingester").unwrap();
    arguments[at + 1] = address.clone().into();
    let output = artstore().current_dir(folder.path()).args(arguments).output().unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let about_it: Vec<&str> = text.lines().filter(|line| line.contains(&address)).collect();
    assert_eq!(about_it.len(), 1, "{text}");
    assert!(!data_folder(folder.path()).join("artstore.env").exists());
    let bad = artstore().args(["up", "--nonsense"]).output().unwrap();
    assert_eq!(bad.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&bad.stderr).contains("--nonsense"));
}

#[test]
fn a_second_start_finds_everything_again() {
    let mut up = Up::start();
    let (token, small) = (up.token(), up.payload("small", 300_000, 1));
    let id = stored(&up.upload_raw(&token, &small.path, &[("filename", "a")]), &small).file_id.to_string();
    let account = (up.var("ARTSTORE_CLIENT_ID").to_owned(), up.var("ARTSTORE_CLIENT_SECRET").to_owned());
    assert_eq!(up.process.terminate().code(), Some(0), "{}", up.process.log());
    assert!(!up.data().join("artstore.env").exists(), "what it names answers no longer");
    up.restart();
    assert_eq!(account.0, up.var("ARTSTORE_CLIENT_ID"));
    assert_eq!(account.1, up.var("ARTSTORE_CLIENT_SECRET"));
    assert_eq!(up.content_sha256(&up.token(), &id), small.sha256);
    let process: &Running = &up.process;
    assert!(process.pid() > 0);
}
