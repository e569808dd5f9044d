//! `artstore up` in a folder of its own, and the house that it opens: addresses, credentials, and what a client does there.

use crate::curl::{Answer, Curl};
use crate::payload::Payload;
use crate::poll;
use crate::process::{Running, artstore};
use crate::scrape::Scrape;
use artstore_api::FileRecord;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// The longest that a start may take.
pub const START_LIMIT: Duration = Duration::from_secs(30);

/// The variables of `artstore.env`.
pub const VARIABLES: [&str; 14] = [
    "ARTSTORE_ADMIN_URL",
    "ARTSTORE_ELEMENT_EDIT_URL",
    "ARTSTORE_ELEMENT_RW_URL",
    "ARTSTORE_INGESTER_URL",
    "ARTSTORE_OPS_URL",
    "ARTSTORE_ADMIN_OPS_URL",
    "ARTSTORE_ELEMENT_EDIT_OPS_URL",
    "ARTSTORE_ELEMENT_RW_OPS_URL",
    "ARTSTORE_CA_CERT",
    "ARTSTORE_CLIENT_CERT",
    "ARTSTORE_CLIENT_KEY",
    "ARTSTORE_CLIENT_ID",
    "ARTSTORE_CLIENT_SECRET",
    "ARTSTORE_PID",
];

/// Where everything listens and how a client gets in.
#[derive(Debug, Clone, Default)]
pub struct House {
    /// The variables of `artstore.env`.
    pub env: BTreeMap<String, String>,
}

/// Names and values of a query, not yet encoded.
pub type Query<'a> = &'a [(&'a str, &'a str)];

impl House {
    /// Reads an `artstore.env` as a shell does.
    ///
    /// # Panics
    /// When there is no shell.
    #[must_use]
    pub fn read(file: &Path) -> Option<Self> {
        let script = "set -a; . \"$1\" || exit 1; env -0";
        let output = Command::new("sh").args(["-euc", script, "sh"]).arg(file).env_clear().output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
        let env = pairs.filter(|(name, _)| name.starts_with("ARTSTORE_"));
        output.status.success().then(|| Self { env: env.map(|(n, v)| (n.to_owned(), v.to_owned())).collect() })
    }

    /// One variable.
    ///
    /// # Panics
    /// When it is missing.
    #[must_use]
    pub fn var(&self, name: &str) -> &str {
        self.env.get(name).unwrap_or_else(|| panic!("no {name} in artstore.env: {:?}", self.env.keys()))
    }

    /// The CA's certificate.
    #[must_use]
    pub fn ca(&self) -> &Path {
        Path::new(self.var("ARTSTORE_CA_CERT"))
    }

    /// A request to the Ingester; `path` begins with `/`.
    #[must_use]
    pub fn ingester(&self, path: &str) -> Curl {
        Curl::new(&format!("{}{path}", self.var("ARTSTORE_INGESTER_URL")), self.ca())
    }

    /// A request to the Admin Module.
    #[must_use]
    pub fn admin(&self, path: &str) -> Curl {
        Curl::new(&format!("{}{path}", self.var("ARTSTORE_ADMIN_URL")), self.ca())
    }

    /// A request to the element of mode `edit` or `rw`, with the client's certificate.
    #[must_use]
    pub fn element(&self, mode: &str, path: &str) -> Curl {
        let url = self.var(&format!("ARTSTORE_ELEMENT_{}_URL", mode.to_uppercase()));
        let (certificate, key) = (self.var("ARTSTORE_CLIENT_CERT"), self.var("ARTSTORE_CLIENT_KEY"));
        Curl::new(&format!("{url}{path}"), self.ca()).client(Path::new(certificate), Path::new(key))
    }

    /// The answer of the token endpoint; `scope` narrows the token.
    #[must_use]
    pub fn ask_token(&self, scope: Option<&str>) -> Answer {
        let account = format!("{}:{}", self.var("ARTSTORE_CLIENT_ID"), self.var("ARTSTORE_CLIENT_SECRET"));
        let mut curl =
            self.admin("/oauth2/token").with(["--user", &account, "--data", "grant_type=client_credentials"]);
        if let Some(scope) = scope {
            curl = curl.with(["--data-urlencode", &format!("scope={scope}")]);
        }
        curl.run()
    }

    /// An access token of the client's account.
    ///
    /// # Panics
    /// When none is given.
    #[must_use]
    pub fn token(&self) -> String {
        self.ask_token(None).expect(200).json()["access_token"].as_str().unwrap().to_owned()
    }

    /// A raw upload in the making.
    #[must_use]
    pub fn put(&self, token: &str, query: Query<'_>) -> Curl {
        self.ingester(&format!("/api/v1/files?{}", encode(query))).bearer(token)
    }

    /// Uploads a file raw.
    #[must_use]
    pub fn upload_raw(&self, token: &str, file: &Path, query: Query<'_>) -> Answer {
        self.put(token, query).with(["-T".as_ref(), file.as_os_str()]).run()
    }

    /// Uploads a form; `parts` are curl's `-F` arguments.
    #[must_use]
    pub fn upload_form(&self, token: &str, parts: &[&str]) -> Answer {
        let forms = parts.iter().flat_map(|part| ["-F", part]);
        self.ingester("/api/v1/files/upload").bearer(token).with(forms).run()
    }

    /// The SHA-256 of a file's content as it is downloaded.
    #[must_use]
    pub fn content_sha256(&self, token: &str, id: &str) -> String {
        let answer = self.ingester(&format!("/api/v1/files/{id}/content")).bearer(token).run().expect(200);
        crate::payload::sha256(&answer.body)
    }

    /// The record of a file.
    #[must_use]
    pub fn record(&self, token: &str, id: &str) -> Answer {
        self.ingester(&format!("/api/v1/files/{id}")).bearer(token).run()
    }

    /// `/metrics` of an operations listener in the format 0.0.4; `variable` names its address.
    #[must_use]
    pub fn scrape(&self, variable: &str) -> Scrape {
        Scrape::parse(&self.metrics_text(variable, "text/plain"))
    }

    /// The body of `/metrics`, as the caller accepts it.
    #[must_use]
    pub fn metrics_text(&self, variable: &str, accept: &str) -> String {
        let url = format!("{}/metrics", self.var(variable));
        Curl::plain(&url).header("Accept", accept).run().expect(200).text()
    }
}

/// A query string.
#[must_use]
pub fn encode(query: Query<'_>) -> String {
    let escape = |text: &str| -> String {
        let byte = |b: u8| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") };
        text.bytes().map(byte).collect()
    };
    query.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect::<Vec<_>>().join("&")
}

/// Fails unless `answer` is the 201 of exactly this file; the record.
///
/// # Panics
/// When it is not.
#[must_use]
pub fn stored(answer: &Answer, payload: &Payload) -> FileRecord {
    assert_eq!((answer.status, answer.exit), (201, 0), "{answer}");
    let record: FileRecord = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((record.size, record.checksum.as_str()), (payload.size, payload.sha256.as_str()), "{answer}");
    record
}

/// A running `artstore up`.
#[derive(Debug)]
pub struct Up {
    /// The process.
    pub process: Running,
    /// Where everything listens now.
    pub house: House,
    folder: TempDir,
    extra: Vec<String>,
}

impl std::ops::Deref for Up {
    type Target = House;

    fn deref(&self) -> &House {
        &self.house
    }
}

impl Up {
    /// Starts it in a new folder, every port a free one, and waits until it answers.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more arguments.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_with(extra: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let extra: Vec<String> = extra.iter().map(|&argument| argument.to_owned()).collect();
        let (process, house) = launch(folder.path(), &extra, &House::default());
        Self { process, house, folder, extra }
    }

    /// A folder for the test's own files.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// The folder given as `--data`.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        data_folder(self.folder.path())
    }

    /// Starts again on the same folder after the process has ended.
    pub fn restart(&mut self) {
        let (process, house) = launch(self.folder.path(), &self.extra, &House::default());
        (self.process, self.house) = (process, house);
    }

    /// The same at the same addresses, where others look for it.
    pub fn restart_in_place(&mut self) {
        let (process, house) = launch(self.folder.path(), &self.extra, &self.house);
        (self.process, self.house) = (process, house);
    }

    /// Writes a file of this size in the scratch folder.
    #[must_use]
    pub fn payload(&self, name: &str, size: u64, seed: u64) -> Payload {
        Payload::write(&self.folder.path().join(name), size, seed)
    }
}

/// The options that name a listener, and the variables that say where it listens.
const FLAGS: [(&str, &str); 10] = [
    ("admin", "ARTSTORE_ADMIN_URL"),
    ("element-edit", "ARTSTORE_ELEMENT_EDIT_URL"),
    ("element-rw", "ARTSTORE_ELEMENT_RW_URL"),
    ("element-spare", "ARTSTORE_ELEMENT_SPARE_URL"),
    ("ingester", "ARTSTORE_INGESTER_URL"),
    ("ops", "ARTSTORE_OPS_URL"),
    ("admin-ops", "ARTSTORE_ADMIN_OPS_URL"),
    ("element-edit-ops", "ARTSTORE_ELEMENT_EDIT_OPS_URL"),
    ("element-rw-ops", "ARTSTORE_ELEMENT_RW_OPS_URL"),
    ("element-spare-ops", "ARTSTORE_ELEMENT_SPARE_OPS_URL"),
];

/// The data folder inside a test's folder.
#[must_use]
pub fn data_folder(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// The command line of `artstore up` on this folder, every port a free one.
#[must_use]
pub fn command(folder: &Path, extra: &[String]) -> Command {
    command_at(folder, extra, &House::default())
}

/// The same where everything listens as in that house, if it says where.
fn command_at(folder: &Path, extra: &[String], house: &House) -> Command {
    let mut command = artstore();
    command.current_dir(folder).arg("up").arg("--data").arg(data_folder(folder));
    for (flag, variable) in FLAGS {
        let address = house.env.get(variable).map_or("127.0.0.1:0", |url| url.rsplit('/').next().unwrap_or(url));
        command.args([format!("--{flag}"), address.to_owned()]);
    }
    command.args(extra);
    command
}

fn launch(folder: &Path, extra: &[String], house: &House) -> (Running, House) {
    let mut process = Running::start(&mut command_at(folder, extra, house), &folder.join("up.log"));
    let file = data_folder(folder).join("artstore.env");
    let pid = process.pid().to_string();
    let house = poll::until("artstore.env of this process", START_LIMIT, || {
        process.assert_alive();
        // A file from an earlier start names another process.
        if !std::fs::read_to_string(&file).is_ok_and(|text| text.contains(&pid)) {
            return None;
        }
        House::read(&file).filter(|house| house.env.get("ARTSTORE_PID") == Some(&pid))
    });
    (process, house)
}
