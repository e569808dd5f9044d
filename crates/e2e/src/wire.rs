//! A connection whose bytes the test writes itself, for what curl would not send: OpenSSL's client does the TLS.

use crate::curl::Answer;
use crate::poll;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The longest wait for an answer.
const LIMIT: Duration = Duration::from_secs(60);

/// An open connection.
#[derive(Debug)]
pub struct Wire(Child);

impl Wire {
    /// Connects to the host and port of `url`.
    ///
    /// # Panics
    /// When openssl does not start.
    #[must_use]
    pub fn open(url: &str, ca: &Path) -> Self {
        let address = url.split_once("//").unwrap().1;
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-verify_return_error", "-connect", address, "-CAfile"]).arg(ca);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Sends these bytes.
    ///
    /// # Panics
    /// When the connection is closed.
    pub fn send(&mut self, bytes: &[u8]) {
        let stdin = self.0.stdin.as_mut().unwrap();
        stdin.write_all(bytes).unwrap();
        stdin.flush().unwrap();
    }

    /// Sends nothing more and keeps the connection open until the server has answered and closed it.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn await_answer(mut self) -> Answer {
        let mut stdout = self.0.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes).map(|_| bytes)
        });
        poll::until("an answer and the end of the connection", LIMIT, || reader.is_finished().then_some(()));
        Answer::parse(&reader.join().unwrap().unwrap())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
