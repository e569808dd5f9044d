//! OpenSSL's own client and server as processes on loopback.

use crate::plan::Side;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// How long a process may take to end once its connection is over.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A running `openssl` command; killed when dropped.
pub(crate) struct OpenSsl {
    child: Child,
    /// Open as long as it runs: both commands take its end as the wish to close the connection.
    _stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl OpenSsl {
    fn start(command: &str, arguments: impl IntoIterator<Item = OsString>) -> Self {
        let mut child = Command::new("openssl")
            .arg(command)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("openssl is needed (Debian package openssl; scripts/install.sh): {error}"));
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, _stdin: stdin, stdout }
    }

    /// A server for this many connections, and where it listens.
    pub(crate) async fn server(side: &Side, connections: u8) -> (Self, SocketAddr) {
        let connections = connections.to_string();
        let own = ["-accept", "127.0.0.1:0", "-naccept", &connections, "-Verify", "1"].map(OsString::from);
        let mut server = Self::start("s_server", own.into_iter().chain(side.arguments()));
        loop {
            let mut line = String::new();
            let count = server.stdout.read_line(&mut line).await.unwrap();
            assert!(count > 0, "s_server ended: {:?}", server.last_words().await);
            if let Some(address) = line.trim().strip_prefix("ACCEPT ") {
                return (server, address.parse().unwrap());
            }
        }
    }

    /// A client that connects here.
    pub(crate) fn client(side: &Side, address: SocketAddr) -> Self {
        let own = ["-connect", &address.to_string(), "-servername", "localhost", "-verify_hostname", "localhost"];
        Self::start("s_client", own.map(OsString::from).into_iter().chain(side.arguments()))
    }

    /// A client that takes us for an HTTP proxy, and so speaks plain text first.
    pub(crate) fn client_by_proxy(address: SocketAddr) -> Self {
        let own = ["-proxy", &address.to_string(), "-connect", "localhost:443"];
        Self::start("s_client", own.map(OsString::from))
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).unwrap())).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Stops it where it is: its connections stay, and it says nothing any more.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Has the system end it, without waiting for that.
    pub(crate) fn end(&self) {
        self.signal(Signal::KILL);
    }

    /// Ends it; the system closes its connections.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// What it reports about the handshake, once it has ended by itself.
    pub(crate) async fn report(mut self) -> Result<String, String> {
        let text = self.last_words().await?;
        says(&text).ok_or_else(|| format!("openssl says nothing that we understand: {text}"))
    }

    async fn last_words(&mut self) -> Result<String, String> {
        let mut stderr = self.child.stderr.take().unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let reading = async { tokio::join!(self.stdout.read_to_end(&mut out), stderr.read_to_end(&mut err)) };
        let ended = tokio::time::timeout(LAST_WORDS, reading).await;
        let text = [out, err].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        match ended {
            Ok((out, err)) => out.and(err).map(|_| text).map_err(|error| error.to_string()),
            Err(_) => Err(format!("openssl does not end after: {text}")),
        }
    }
}

/// Its own finding, else the number of the alert that it got, else its reason.
fn says(text: &str) -> Option<String> {
    let number = |mark: &str| {
        let (_, rest) = text.split_once(mark)?;
        Some(rest.chars().take_while(char::is_ascii_digit).collect::<String>())
    };
    if let Some(finding) = number("verify error:num=") {
        return Some(format!("verify error {finding}"));
    }
    if let Some(alert) = number("SSL alert number ") {
        return Some(format!("alert {alert}"));
    }
    // ID:error:CODE:library:function:reason:file:line:
    let reason = text.lines().find_map(|line| line.split_once(":error:"))?.1.split(':').nth(3)?;
    Some(reason.to_owned())
}

#[test]
fn reports_are_understood() {
    let alert = "40B7:error:0A000415:SSL routines:ssl3_read_bytes:sslv3 alert certificate expired:../x.c:1:SSL alert number 45\n";
    assert_eq!(says(alert).unwrap(), "alert 45");
    let finding = format!("verify error:num=10:certificate has expired\n{alert}");
    assert_eq!(says(&finding).unwrap(), "verify error 10");
    let reason =
        "ERROR\n40B7:error:0A0000C1:SSL routines:tls_post_process_client_hello:no shared cipher:../x.c:2220:\n";
    assert_eq!(says(reason).unwrap(), "no shared cipher");
    assert_eq!(says("ACCEPT"), None);
}
