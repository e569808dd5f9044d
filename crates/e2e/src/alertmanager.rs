//! A real Alertmanager on loopback, with routes and inhibitions as shipped and the test's own receivers.

use crate::process::Running;
use crate::prometheus::{start_server, tool};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A running Alertmanager; it is killed when dropped, and its log is shown if the test fails.
#[derive(Debug)]
pub struct Alertmanager {
    process: Running,
    address: String,
    // Removed after the process has ended.
    _folder: TempDir,
}

impl Alertmanager {
    /// Starts it with the text of a configuration and waits until it answers.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(configuration: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("alertmanager.yml");
        std::fs::write(&file, configuration).unwrap();
        let mut command = tool("prometheus-alertmanager");
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.path={}", folder.path().join("data").display()));
        command.args(["--web.listen-address=127.0.0.1:0", "--cluster.listen-address="]);
        let (process, address) = start_server(&mut command, &folder.path().join("alertmanager.log"));
        Self { process, address, _folder: folder }
    }

    /// Where it listens: `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it has said.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// An exported configuration with its receivers replaced: each one, under its own name, is the webhook `url/NAME`, which also
/// hears of what is resolved. Everything before them (routes, inhibitions) stays as it is written.
///
/// # Panics
/// When the text names no receivers.
#[must_use]
pub fn with_webhooks(configuration: &str, url: &str) -> String {
    let (head, receivers) = configuration.split_once("\nreceivers:\n").unwrap();
    let names = receivers.lines().filter_map(|line| line.strip_prefix("  - name: "));
    let receivers: Vec<Value> = names
        .map(|name| json!({"name": name, "webhook_configs": [{"url": format!("{url}/{name}"), "send_resolved": true}]}))
        .collect();
    assert!(!receivers.is_empty(), "{configuration}");
    // JSON is YAML.
    format!("{head}\nreceivers: {}\n", Value::from(receivers))
}
