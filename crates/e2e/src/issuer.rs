//! The Admin Module alone, as the issuer of parties that nobody here wrote.

use crate::certificates::{Authority, Identity};
use crate::curl::Curl;
use crate::parts::free_ports;
use crate::poll;
use crate::process::{Running, artstore};
use crate::up::START_LIMIT;
use serde_json::Value;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A running Admin Module.
#[derive(Debug)]
pub struct Issuer {
    /// Its URL, which is the `iss` of its tokens.
    pub url: String,
    /// Who signed its certificate, and signs those of clients.
    pub authority: Authority,
    process: Running,
    folder: TempDir,
}

impl Issuer {
    /// Starts one that signs tokens with this algorithm.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(algorithm: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let authority = Authority::new(&folder.path().join("tls"), "a test's authority");
        let Identity { certificate, key, .. } = authority.identity("admin");
        let [port, ops] = free_ports::<2>();
        let url = format!("https://127.0.0.1:{port}");
        let text = format!(
            "listen.address = '127.0.0.1:{port}'\nlisten.ops_address = '127.0.0.1:{ops}'\n\
             tls.cert_file = {certificate:?}\ntls.key_file = {key:?}\ntls.ca_cert_file = {:?}\n\
             admin.data_dir = {:?}\nadmin.issuer = '{url}'\nadmin.algorithm = '{algorithm}'\n",
            authority.certificate,
            folder.path().join("data"),
        );
        let config = folder.path().join("admin.toml");
        std::fs::write(&config, text).unwrap();
        let mut command = artstore();
        command.arg("admin").arg("--config").arg(&config);
        let mut process = Running::start(&mut command, &folder.path().join("admin.log"));
        let ready = format!("http://127.0.0.1:{ops}/health/ready");
        poll::until("the issuer is ready", START_LIMIT, || {
            process.assert_alive();
            (Curl::plain(&ready).run().status == 200).then_some(())
        });
        Self { url, authority, process, folder }
    }

    /// A folder for the test's own files.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("admin.toml")
    }

    /// Makes an account of the role `client`, as an operator does: its secret.
    ///
    /// # Panics
    /// When it is not made.
    #[must_use]
    pub fn account(&self, id: &str, more: &[&str]) -> String {
        let mut command = artstore();
        command.args(["admin", "accounts", "create", "--json", "--role", "client", "--client-id", id]);
        let output = command.args(more).arg("--config").arg(self.config()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let made: Value = serde_json::from_slice(&output.stdout).unwrap();
        made["client_secret"].as_str().unwrap().to_owned()
    }

    /// Fails the test if the process has ended.
    pub fn assert_alive(&mut self) {
        self.process.assert_alive();
    }
}
