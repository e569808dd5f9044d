//! `artstore upload`, `download` and `token` as processes, beside a real `artstore up`: output, exit codes, one clear line.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// Everything in one process, ended when dropped.
struct Up {
    child: Child,
    env: Vec<(String, String)>,
    folder: tempfile::TempDir,
}

impl Up {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listeners = [
            "admin",
            "element-edit",
            "element-rw",
            "ingester",
            "ops",
            "admin-ops",
            "element-edit-ops",
            "element-rw-ops",
        ];
        let mut child = artstore()
            .arg("up")
            .arg("--data")
            .arg(folder.path().join("data"))
            .args(listeners.iter().flat_map(|name| [format!("--{name}"), "127.0.0.1:0".to_owned()]))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        lines.find(|line| line.as_ref().unwrap() == "ArtStore is up.").unwrap().unwrap();
        let env = std::fs::read_to_string(folder.path().join("data/artstore.env")).unwrap();
        let unquoted = |text: &str| text.trim_matches(|quote| matches!(quote, '\'' | '"')).to_owned();
        let pairs = env.lines().filter_map(|line| line.trim_start_matches("export ").split_once('='));
        let env = pairs.map(|(name, value)| (name.to_owned(), unquoted(value))).collect();
        Self { child, env, folder }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let work = self.folder.path();
        artstore().envs(self.env.iter().cloned()).current_dir(work).args(arguments).output().unwrap()
    }

    fn file(&self, name: &str, content: &[u8]) {
        std::fs::write(self.folder.path().join(name), content).unwrap();
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The command, deaf to the settings of whoever runs the tests.
fn artstore() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_artstore"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ARTSTORE_")) {
        command.env_remove(name);
    }
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap().trim_end()
}

/// The exit code and the one line on standard error.
fn failure(output: &Output) -> (Option<i32>, &str) {
    let line = text(&output.stderr);
    assert!(line.starts_with("error: ") && line.lines().count() == 1, "{line}");
    (output.status.code(), line)
}

#[test]
fn files_go_and_come_back() {
    let up = Up::start();
    up.file("a.txt", b"hello\n");
    up.file("b.bin", &[7; 300_000]);

    let sent = up.run(&["upload", "a.txt", "b.bin"]);
    assert_eq!((sent.status.code(), text(&sent.stderr)), (Some(0), ""));
    let lines: Vec<Vec<&str>> = text(&sent.stdout).lines().map(|line| line.split("  ").collect()).collect();
    let [first, second] = &lines[..] else { panic!("two lines: {lines:?}") };
    assert_eq!(first[1..], ["5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03", "a.txt"]);
    assert_eq!(second[2], "b.bin");

    // Nothing on a pipe but the result: neither a bar nor colours.
    let fetched = up.run(&["download", second[0], "-o", "c.bin"]);
    assert_eq!((fetched.status.code(), text(&fetched.stdout), text(&fetched.stderr)), (Some(0), "c.bin", ""));
    assert_eq!(std::fs::read(up.folder.path().join("c.bin")).unwrap(), [7; 300_000]);
    let streamed = up.run(&["download", first[0], "-o", "-"]);
    assert_eq!(streamed.stdout, b"hello\n");

    up.file("d.bin.part", &[7; 100_000]);
    let resumed = up.run(&["download", "--json", second[0], "-o", "d.bin"]);
    let document: serde_json::Value = serde_json::from_slice(&resumed.stdout).unwrap();
    assert_eq!((&document["resumed_from"], &document["path"]), (&100_000.into(), &"d.bin".into()));
    assert_eq!(std::fs::read(up.folder.path().join("d.bin")).unwrap(), [7; 300_000]);
    assert!(!Path::new(&up.folder.path().join("d.bin.part")).exists());

    let (code, line) = {
        let again = up.run(&["download", first[0]]);
        (again.status.code(), text(&again.stderr).to_owned())
    };
    let expected = format!(
        "error: download {}: ./a.txt exists already; choose another name with -o, or replace it with --force",
        first[0]
    );
    assert_eq!((code, line), (Some(3), expected));
    assert_eq!(up.run(&["download", "--force", first[0]]).status.code(), Some(0));
}

#[test]
fn a_stream_is_sent_and_a_failure_does_not_hide_the_others() {
    let up = Up::start();
    up.file("a.txt", b"hello\n");
    let mut child = artstore()
        .envs(up.env.iter().cloned())
        .args(["upload", "--name", "s.txt", "--tag", "a", "--tag", "b,c", "--ttl-days", "3", "--json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"from a pipe").unwrap();
    let sent = child.wait_with_output().unwrap();
    let document: serde_json::Value = serde_json::from_slice(&sent.stdout).unwrap();
    let part = |name: &str| document[name].clone();
    assert_eq!(part("original_filename"), "s.txt");
    assert_eq!(part("content_type"), "text/plain");
    assert_eq!(part("size"), 11);
    assert_eq!(part("tags"), serde_json::json!(["a", "b,c"]));
    assert_eq!(part("ttl_days"), 3);
    assert_eq!(part("source"), "-");

    let mixed = up.run(&["upload", "--json", "missing", "a.txt"]);
    let (code, line) = failure(&mixed);
    assert_eq!(code, Some(3));
    assert_eq!(
        line,
        "error: upload missing: cannot read missing: No such file or directory (os error 2); \
         check the path, its permissions and the free space"
    );
    let documents: Vec<serde_json::Value> =
        text(&mixed.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(documents[0]["error"]["category"], "local");
    assert_eq!((&documents[1]["source"], &documents[1]["size"]), (&"a.txt".into(), &6.into()));
}

#[test]
fn a_token_is_printed_alone_or_with_its_end() {
    let up = Up::start();
    let plain = up.run(&["token"]);
    assert_eq!(text(&plain.stdout).split('.').count(), 3);
    let told = up.run(&["token", "--scope", "files:read", "--json"]);
    let document: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!((&document["scope"], &document["token_type"]), (&"files:read".into(), &"Bearer".into()));
    let left = document["expires_in"].as_u64().unwrap();
    assert!((1_700..=1_800).contains(&left), "{left}");
    assert!(document["expires_at"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn each_failure_has_its_code_and_its_line() {
    let up = Up::start();
    up.file("a.txt", b"hello\n");
    up.file("no.pem", b"nothing");
    let zeros = "0".repeat(64);
    let cases: [(&[&str], i32, &str); 7] = [
        (&["download", "0198c5a2-7d3e-7a41-9a3b-0c54f0a1b2c3"], 7, "there is no such file (404 NOT_FOUND)"),
        (&["upload", "--client-secret", "wrong", "a.txt"], 6, "invalid_client"),
        (&["token", "--scope", "files:delete"], 6, "ask only for scopes that the account has"),
        (&["upload", "--ca-cert", "no.pem", "a.txt"], 3, "no.pem: no certificate in PEM form found"),
        (&["upload", "--sha256", &zeros, "a.txt"], 10, &format!("not the announced {zeros}")),
        (&["upload", "--attempts", "1", "--ingester-url", "https://127.0.0.1:1", "a.txt"], 4, "Connection refused"),
        (&["upload", "--ingester-url", "http://example.org", "a.txt"], 2, "use https"),
    ];
    for (arguments, expected, said) in cases {
        let output = up.run(arguments);
        let (code, line) = failure(&output);
        assert_eq!(code, Some(expected), "{line}");
        assert!(line.contains(said), "{line}");
        assert_eq!(output.stdout, b"");
    }
}

#[test]
fn without_an_account_the_line_says_where_to_find_one() {
    let output = artstore().args(["upload", "a.txt"]).output().unwrap();
    let (code, line) = failure(&output);
    assert_eq!(code, Some(2));
    assert!(line.contains("`. ./artstore-data/artstore.env` sets all that is needed"), "{line}");
}
