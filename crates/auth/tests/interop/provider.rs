//! The issuer's process: certificates for it, its start, its end.

use artstore_metrics::{Clock as _, Registry, SystemClock};
use artstore_tls::dev::{DevCa, Leaf};
use artstore_tls::{CertificateMetrics, Connector, ConnectorMetrics, ConnectorSettings, IdentityFiles};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// A running issuer. It ends when this is dropped.
pub(crate) struct Provider {
    process: Child,
    issuer: String,
    folder: tempfile::TempDir,
    ca: DevCa,
    client: IdentityFiles,
}

impl Provider {
    /// Starts it and waits until it answers.
    pub(crate) fn start() -> Self {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let modules = root.join(".node/node_modules");
        let package = modules.join("oidc-provider/package.json");
        assert!(package.is_file(), "{} is missing: run scripts/test --install", package.display());
        let folder = tempfile::tempdir().unwrap();
        let now = SystemClock::new().wall();
        let ca = DevCa::open(folder.path(), now).unwrap();
        ca.issue("server", &Leaf::server("issuer", now)).unwrap();
        let client = ca.issue("client", &Leaf::client("interop", now)).unwrap();
        let mut process = Command::new(modules.join(".bin/node"))
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/provider.mjs"))
            .args([&modules, &folder.path().to_owned()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node does not start; scripts/test --install installs it");
        let issuer = first_line(process.stdout.take().unwrap());
        let provider = Self { process, issuer, folder, ca, client };
        assert!(provider.issuer.starts_with("https://127.0.0.1:"), "the issuer did not start: {:?}", provider.issuer);
        provider
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// TLS as the client does it: trusting the issuer's authority, with a certificate of its own.
    pub(crate) fn connector(&self, registry: &Registry) -> Connector {
        let clock = SystemClock::new();
        let mut settings = ConnectorSettings::new(self.ca.trust().unwrap());
        settings.identity = Some(self.client.load().unwrap());
        let certificates = CertificateMetrics::new(registry, clock);
        let metrics = ConnectorMetrics::new(registry, &settings.policy, certificates);
        Connector::new(settings, metrics, clock).unwrap()
    }
}

/// What a process says first; nothing if it says nothing for a minute.
fn first_line(output: ChildStdout) -> String {
    let (said, line) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).unwrap();
        // Nobody listens any more after a minute.
        let _ = said.send(line.trim_end().to_owned());
    });
    line.recv_timeout(Duration::from_secs(60)).unwrap_or_default()
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
