//! The command under what its systemd units let it do: their system calls, a root that cannot be written, no capability.
//!
//! systemd does not run here, so bubblewrap lays the restrictions on; `sandbox.py` makes its filter from the unit. All units restrict the
//! same, which a test beside them shows, so one process with all modules stands for each.

use artstore_e2e::payload::{Payload, sha256_of};
use artstore_e2e::poll;
use artstore_e2e::process::{Running, artstore, workspace};
use artstore_e2e::up::{House, START_LIMIT, command, data_folder, stored};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;
use tempfile::TempDir;

/// A shell's exit code of a process that SIGSYS ended: 128 and 31. bubblewrap gives the same.
const REFUSED_CALL: i32 = 159;

/// Who the process is, as seen by itself: no one that the machine knows. SQLite, for one, changes owners when it is root.
const USER: &str = "64000";

/// What is written can be written below one folder.
struct Sandbox {
    folder: TempDir,
    filter: PathBuf,
}

impl Sandbox {
    /// The restrictions of the Ingester's unit, with these lines after them.
    fn new(more: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let unit = folder.path().join("unit.service");
        let text = fs::read_to_string(workspace().join("deploy/systemd/artstore-ingester.service")).unwrap();
        fs::write(&unit, text.replace("SystemCallErrorNumber=", &format!("{more}\nSystemCallErrorNumber="))).unwrap();
        let filter = folder.path().join("filter.bpf");
        let made = Command::new(python())
            .arg(workspace().join("crates/e2e/tests/sandbox.py"))
            .arg(unit)
            .stdout(File::create(&filter).unwrap())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self { folder, filter }
    }

    /// The same command inside.
    fn inside(&self, command: &Command) -> Command {
        let mut shell = Command::new("sh");
        let script = r#"exec 9<"$1"; shift; exec bwrap --seccomp 9 "$@""#;
        shell.args(["-euc", script, "sh"]).arg(&self.filter);
        shell.args(["--ro-bind", "/", "/", "--dev", "/dev", "--unshare-user", "--unshare-ipc", "--cap-drop", "ALL"]);
        shell.args(["--uid", USER, "--gid", USER, "--die-with-parent", "--bind"]);
        shell.args([self.folder.path(), self.folder.path()]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell.current_dir(self.folder.path());
        shell
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn run<S: AsRef<OsStr>>(&self, program: impl AsRef<OsStr>, arguments: &[S]) -> (ExitStatus, String) {
        let output = self.inside(Command::new(program).args(arguments)).output().unwrap();
        (output.status, String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }
}

fn python() -> PathBuf {
    let python =
        std::env::var_os("ARTSTORE_PYTHON").map_or_else(|| workspace().join(".venv/bin/python"), PathBuf::from);
    assert!(python.exists(), "{} is needed: run scripts/test --install", python.display());
    python
}

/// Starts everything inside and waits for it.
fn start(sandbox: &Sandbox) -> (Running, House) {
    let mut process =
        Running::start(&mut sandbox.inside(&command(sandbox.path(), &[])), &sandbox.path().join("up.log"));
    let file = data_folder(sandbox.path()).join("artstore.env");
    let house = poll::until("artstore.env", START_LIMIT, || {
        process.assert_alive();
        file.exists().then(|| House::read(&file)).flatten().filter(|house| house.env.contains_key("ARTSTORE_PID"))
    });
    (process, house)
}

fn signal(house: &House, signal: Signal) {
    kill_process(Pid::from_raw(house.var("ARTSTORE_PID").parse().unwrap()).unwrap(), signal).unwrap();
}

#[test]
fn files_come_and_go_under_the_restrictions_of_the_units() {
    let sandbox = Sandbox::new("");
    let (mut process, house) = start(&sandbox);
    let token = house.token();
    let small = Payload::write(&sandbox.path().join("small"), 4_096, 1);
    let _ = stored(&house.upload_raw(&token, &small.path, &[("filename", "small")]), &small);
    // By name, so that it is resolved inside, too; large enough for a session of several requests.
    let large = Payload::write(&sandbox.path().join("large"), 5 << 20, 2);
    let by_name = house.var("ARTSTORE_INGESTER_URL").replace("127.0.0.1", "localhost");
    let client = |arguments: &[&str]| {
        let mut command = artstore();
        command.args(arguments).envs(&house.env).env("ARTSTORE_INGESTER_URL", &by_name);
        let output = sandbox.inside(&command).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let record: serde_json::Value = serde_json::from_slice(&client(&["upload", "--json", "large"])).unwrap();
    let id = record["file_id"].as_str().unwrap();
    assert_eq!(record["checksum"], large.sha256.as_str());
    let _ = client(&["download", id, "--output", "back"]);
    assert_eq!(sha256_of(&sandbox.path().join("back")), large.sha256);
    let deleted = house.ingester(&format!("/api/v1/files/{id}")).bearer(&token).with(["-X", "DELETE"]).run();
    assert_eq!(deleted.status, 204, "{deleted}");
    // What it tells of itself is read from /proc, which ProcSubset=pid would hide in part.
    for family in ["process_start_time_seconds", "process_open_fds", "process_resident_memory_bytes"] {
        assert!(house.scrape("ARTSTORE_OPS_URL").sum(family, &[]) > 0.0, "{family}");
    }
    signal(&house, Signal::HUP);
    poll::until("the files are looked at", Duration::from_secs(10), || process.log().contains("SIGHUP").then_some(()));
    signal(&house, Signal::TERM);
    assert_eq!(process.wait(Duration::from_secs(30)).code(), Some(0), "{}", process.log());
}

/// Otherwise the test above would show nothing.
#[test]
fn what_the_units_forbid_is_refused_here() {
    let sandbox = Sandbox::new("");
    let ends_with = |script: &str, expected: i32| {
        let (status, said) = sandbox.run("/usr/bin/env", &["python3", "-c", script]);
        assert_eq!(status.code(), Some(expected), "{script}: {said}");
        said
    };
    let _ = ends_with("print('hello')", 0);
    let _ = ends_with("import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", REFUSED_CALL);
    let _ = ends_with("import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)", REFUSED_CALL);
    let _ = ends_with("import os; os.chown('.', 0, 0)", REFUSED_CALL);
    let _ = ends_with("import os; os.setuid(0)", REFUSED_CALL);
    let _ = ends_with("import ctypes; ctypes.CDLL(None).unshare(0x20000000)", REFUSED_CALL);
    assert!(ends_with("open('/etc/artstore', 'w')", 1).contains("Read-only file system"));
    // A unit that takes away too much ends the process: nothing is stored without a call that syncs.
    let strict = Sandbox::new("SystemCallFilter=~@sync");
    let mut process = Running::start(&mut strict.inside(&command(strict.path(), &[])), &strict.path().join("up.log"));
    assert_eq!(process.wait(START_LIMIT).code(), Some(REFUSED_CALL), "{}", process.log());
}
