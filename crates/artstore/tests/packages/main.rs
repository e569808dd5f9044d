//! What `deploy/` offers operators besides the generated documents: units, image, manifests and compose file hold together with the
//! command, and the tools that know their formats find nothing wrong.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod compose;
mod configuration;
mod container;
mod document;
mod kubernetes;
mod systemd;

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A file below `deploy/`.
fn deploy(path: &str) -> PathBuf {
    root().join("deploy").join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(deploy(path)).unwrap()
}

/// The command, deaf to the settings of whoever runs the tests.
fn artstore() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_artstore"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["ARTSTORE_", "SERVICE_ACCOUNT_", "TLS_", "LOG_"].iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command
}

/// A tool of `.venv`, which scripts/install.sh fills.
fn python_tool(name: &str) -> PathBuf {
    let tool = root().join(".venv/bin").join(name);
    assert!(tool.exists(), "{name} is needed: run scripts/test --install");
    tool
}

/// A script of `.node`, which scripts/install.sh fills.
fn node_script(path: &str) -> PathBuf {
    let script = root().join(".node/node_modules").join(path);
    assert!(script.exists(), "{path} is needed: run scripts/test --install");
    script
}

/// The Node.js that those scripts are made for; Debian's is older.
fn node() -> Command {
    Command::new(node_script(".bin/node"))
}

/// Runs a tool: the exit code, then all that it said.
fn run(command: &mut Command) -> (i32, String) {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic_missing(command.get_program(), &error));
    let text = [stdout, stderr].concat();
    (status.code().unwrap_or(-1), String::from_utf8(text).unwrap())
}

#[expect(clippy::panic, reason = "a tool that is missing is a test that fails")]
fn panic_missing(program: &std::ffi::OsStr, error: &std::io::Error) -> ! {
    panic!("{}: {error}: run scripts/test --install", program.display())
}

/// The documents of a YAML text, read by PyYAML as Kubernetes and Docker read them.
fn yaml(text: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("documents.yaml");
    fs::write(&file, text).unwrap();
    let script = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(open(sys.argv[1]))), sys.stdout)";
    let output = Command::new(python_tool("python")).args(["-c", script]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The words of a list in a document.
fn words(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
}

/// Fails unless our command line takes these arguments: with `--help` after them nothing is done, but what is wrong before it is told.
fn assert_parses(arguments: &[&str]) {
    let (code, said) = run(artstore().args(arguments).arg("--help"));
    assert_eq!(code, 0, "{arguments:?}: {said}");
}

#[test]
fn arguments_that_the_command_does_not_take_are_noticed() {
    for wrong in [&["up", "--demo-trafic"][..], &["up", "--read-timeout", "soon"], &["ingestor", "--config", "c"]] {
        let (code, said) = run(artstore().args(wrong).arg("--help"));
        assert_eq!(code, 2, "{said}");
    }
}
