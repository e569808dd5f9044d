//! Plain curl: what a client developer types, and what came back.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// What curl prints when it is done.
const WRITE_OUT: &str = "%{http_code} %{size_upload}";

/// One curl command in the making. `Debug` shows its arguments.
#[derive(Debug, Clone)]
pub struct Curl {
    arguments: Vec<OsString>,
    output: Option<PathBuf>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status; 0 if there was no answer.
    pub status: u16,
    /// Bytes of the body that were sent.
    pub sent: u64,
    /// curl's exit code: 0, or what broke.
    pub exit: i32,
    /// Header fields of the last answer, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body; empty if it went to a file of the caller's.
    pub body: Vec<u8>,
    /// curl's own message.
    pub message: String,
}

/// A curl that is under way.
#[derive(Debug)]
pub struct Sending {
    child: Child,
    files: TempDir,
}

impl Curl {
    /// A request to `url`, trusting the CA in the file `ca`.
    #[must_use]
    pub fn new(url: &str, ca: &Path) -> Self {
        Self { arguments: vec![url.into(), "--cacert".into(), ca.into()], output: None }
    }

    /// A request over plain HTTP.
    #[must_use]
    pub fn plain(url: &str) -> Self {
        Self { arguments: vec![url.into()], output: None }
    }

    /// The same with the body in this file instead of in memory.
    #[must_use]
    pub fn into_file(mut self, path: &Path) -> Self {
        self.output = Some(path.to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn with<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// One header field.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        self.with(["-H", &format!("{name}: {value}")])
    }

    /// A bearer token.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// A client certificate and its key.
    #[must_use]
    pub fn client(self, certificate: &Path, key: &Path) -> Self {
        self.with([OsStr::new("--cert"), certificate.as_os_str(), OsStr::new("--key"), key.as_os_str()])
    }

    /// Starts it, with an open pipe as its standard input if `piped`.
    ///
    /// # Panics
    /// When curl does not start.
    #[must_use]
    pub fn start(&self, piped: bool) -> Sending {
        let files = TempDir::new().unwrap();
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--max-time", "300", "--noproxy", "*", "--write-out", WRITE_OUT]);
        command.arg("--dump-header").arg(files.path().join("headers"));
        command.arg("--output").arg(self.output.clone().unwrap_or_else(|| files.path().join("body")));
        command.args(&self.arguments);
        command.stdin(if piped { Stdio::piped() } else { Stdio::null() }).stdout(Stdio::piped()).stderr(Stdio::piped());
        Sending { child: command.spawn().unwrap(), files }
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When curl does not start.
    #[must_use]
    pub fn run(&self) -> Answer {
        self.start(false).finish()
    }
}

impl Sending {
    /// The child, for its standard input or to kill it.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Kills it: a client that vanishes.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub fn vanish(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When curl's output cannot be read.
    #[must_use]
    pub fn finish(self) -> Answer {
        let output = self.child.wait_with_output().unwrap();
        let headers = std::fs::read_to_string(self.files.path().join("headers")).unwrap_or_default();
        let last = headers.trim_end().rsplit("\r\n\r\n").next().unwrap_or_default();
        let printed = String::from_utf8_lossy(&output.stdout);
        let (status, sent) = printed.split_once(' ').unwrap_or_default();
        Answer {
            status: status.parse().unwrap_or(0),
            sent: sent.trim().parse().unwrap_or(0),
            exit: output.status.code().unwrap_or(-1),
            headers: fields(last),
            body: std::fs::read(self.files.path().join("body")).unwrap_or_default(),
            message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }
    }
}

/// Header fields, names in lower case.
fn fields(head: &str) -> Vec<(String, String)> {
    let pairs = head.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned())).collect()
}

impl Answer {
    /// Reads an answer from the bytes of a connection that the server has closed.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let (headers, body) = (fields(head), body.as_bytes().to_vec());
        Self { status, sent: 0, exit: 0, headers, body, message: String::new() }
    }

    /// The first header field of this name (lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {self}"))
    }

    /// Fails the test unless the status is `status`.
    ///
    /// # Panics
    /// When it is another.
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self.text();
        let shown: String = text.chars().take(600).collect();
        write!(f, "status {}, curl {} {:?}, {:?}: {shown}", self.status, self.exit, self.message, self.headers)
    }
}
