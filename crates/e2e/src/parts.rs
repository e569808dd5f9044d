//! Admin, one element of each mode and an Ingester, each a process of its own from a configuration file.

use crate::certificates::{Authority, Identity};
use crate::curl::{Answer, Curl};
use crate::payload::{Chance, Payload};
use crate::poll;
use crate::process::{Running, artstore};
use crate::token::{Token, signing_key};
use crate::up::{House, START_LIMIT};
use artstore_metrics::{Clock as _, SystemClock};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// One of the four processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The Admin Module.
    Admin,
    /// The element of mode `edit`.
    Edit,
    /// The element of mode `rw`.
    Rw,
    /// The Ingester.
    Ingester,
}

impl Part {
    /// All of them, in the order of their start.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Edit, Self::Rw, Self::Ingester];

    const fn command(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Edit | Self::Rw => "element",
            Self::Ingester => "ingester",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Edit => "edit",
            Self::Rw => "rw",
            Self::Ingester => "ingester",
        }
    }

    /// The variable of its address and that of its operations listener.
    const fn variables(self) -> (&'static str, &'static str) {
        match self {
            Self::Admin => ("ARTSTORE_ADMIN_URL", "ARTSTORE_ADMIN_OPS_URL"),
            Self::Edit => ("ARTSTORE_ELEMENT_EDIT_URL", "ARTSTORE_ELEMENT_EDIT_OPS_URL"),
            Self::Rw => ("ARTSTORE_ELEMENT_RW_URL", "ARTSTORE_ELEMENT_RW_OPS_URL"),
            Self::Ingester => ("ARTSTORE_INGESTER_URL", "ARTSTORE_OPS_URL"),
        }
    }
}

/// Further lines of a part's file: `key = value`, the key with its table.
pub type More<'a> = &'a [(Part, &'a str)];

/// The four processes.
#[derive(Debug)]
pub struct Parts {
    /// Where everything listens.
    pub house: House,
    /// Who signed the certificates of all.
    pub authority: Authority,
    running: BTreeMap<Part, Running>,
    folder: TempDir,
}

impl std::ops::Deref for Parts {
    type Target = House;

    fn deref(&self) -> &House {
        &self.house
    }
}

impl Parts {
    /// Makes certificates and files, starts the processes, makes their accounts, and waits until all are ready.
    ///
    /// # Panics
    /// When one does not start.
    #[must_use]
    pub fn start(more: More<'_>) -> Self {
        let folder = TempDir::new().unwrap();
        let authority = Authority::new(&folder.path().join("tls"), "a test's authority");
        let module = authority.identity("module");
        let client = authority.identity("client");
        let mut env = BTreeMap::new();
        for (part, port) in Part::ALL.into_iter().zip(free_ports::<8>().chunks_exact(2)) {
            let (url, ops) = part.variables();
            env.insert(url.to_owned(), format!("https://127.0.0.1:{}", port[0]));
            env.insert(ops.to_owned(), format!("http://127.0.0.1:{}", port[1]));
        }
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        env.insert("ARTSTORE_CA_CERT".to_owned(), path(&authority.certificate));
        env.insert("ARTSTORE_CLIENT_CERT".to_owned(), path(&client.certificate));
        env.insert("ARTSTORE_CLIENT_KEY".to_owned(), path(&client.key));
        let mut parts = Self { house: House { env }, authority, running: BTreeMap::new(), folder };
        parts.configure(Part::Admin, &module, None, more);
        let element = parts.account("an-element", "element");
        let ingester = parts.account("an-ingester", "ingester");
        let client = parts.account("a-client", "client");
        parts.restart(Part::Admin);
        for (part, account) in [(Part::Edit, &element), (Part::Rw, &element), (Part::Ingester, &ingester)] {
            parts.configure(part, &module, Some(account), more);
            parts.restart(part);
        }
        parts.house.env.insert("ARTSTORE_CLIENT_ID".to_owned(), client.0);
        parts.house.env.insert("ARTSTORE_CLIENT_SECRET".to_owned(), client.1);
        parts
    }

    /// A folder for the test's own files.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// Where a part keeps what it keeps.
    #[must_use]
    pub fn data(&self, part: Part) -> PathBuf {
        self.folder.path().join(part.name())
    }

    /// A part's process.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn process(&mut self, part: Part) -> &mut Running {
        self.running.get_mut(&part).unwrap()
    }

    /// Starts a part, also again after its process has ended, at the same address, and waits until it lacks nothing.
    pub fn restart(&mut self, part: Part) {
        self.launch(part);
        self.await_health(part, "ready", |answer| answer.status == 200 && answer.json()["status"] == "ok");
    }

    /// The same for a part that cannot become ready, since one that it needs is away: waits until it lives.
    pub fn restart_alone(&mut self, part: Part) {
        self.launch(part);
    }

    /// Starts a part again with these further lines in its file.
    ///
    /// # Panics
    /// When it does not end well or does not start.
    pub fn restart_with(&mut self, part: Part, lines: &str) {
        let path = self.file(part, "toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, format!("{text}{lines}\n")).unwrap();
        assert!(self.process(part).terminate().success());
        self.restart(part);
    }

    /// Writes a file of this size in the scratch folder.
    #[must_use]
    pub fn payload(&self, name: &str, size: u64, seed: u64) -> Payload {
        Payload::write(&self.folder.path().join(name), size, seed)
    }

    /// A token that the Admin Module's key signs, whatever it says.
    ///
    /// # Panics
    /// When the Admin Module publishes no key.
    #[must_use]
    pub fn forge(&self, scope: &str, audience: &str) -> String {
        forged(&self.house, &self.data(Part::Admin), scope, audience)
    }

    /// Makes an account, as an operator does: its identifier and secret.
    fn account(&self, id: &str, role: &str) -> (String, String) {
        let mut command = artstore();
        command.args(["admin", "account", "create", "--json", "--client-id", id, "--role", role, "--config"]);
        let output = command.current_dir(self.folder.path()).arg(self.file(Part::Admin, "toml")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let made: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        (text("client_id"), text("client_secret"))
    }

    fn configure(&self, part: Part, module: &Identity, account: Option<&(String, String)>, more: More<'_>) {
        let (url, ops) = part.variables();
        let address = |variable: &str| self.var(variable).split_once("//").unwrap().1.to_owned();
        let mut lines: Vec<(&str, String)> = vec![
            ("listen.address", address(url)),
            ("listen.ops_address", address(ops)),
            ("tls.cert_file", module.certificate.display().to_string()),
            ("tls.key_file", module.key.display().to_string()),
            ("tls.ca_cert_file", self.var("ARTSTORE_CA_CERT").to_owned()),
        ];
        match part {
            Part::Admin => {
                lines.push(("admin.data_dir", self.data(part).display().to_string()));
                lines.push(("admin.issuer", self.var(url).to_owned()));
            }
            Part::Edit | Part::Rw => {
                lines.push(("element.id", format!("element-{}", part.name())));
                lines.push(("element.mode", part.name().to_owned()));
                lines.push(("element.url", self.var(url).to_owned()));
                lines.push(("store.dir", self.data(part).display().to_string()));
            }
            Part::Ingester => {}
        }
        if let Some((id, secret)) = account {
            lines.push(("auth.client_id", id.clone()));
            lines.push(("auth.client_secret", secret.clone()));
        }
        let mut text: String = lines.iter().map(|(key, value)| format!("{key} = {value:?}\n")).collect();
        if account.is_some() {
            text.push_str(&format!("auth.admin_urls = [{:?}]\n", self.var("ARTSTORE_ADMIN_URL")));
        }
        for (_, line) in more.iter().filter(|(of, _)| *of == part) {
            text.push_str(&format!("{line}\n"));
        }
        std::fs::write(self.file(part, "toml"), text).unwrap();
    }

    fn file(&self, part: Part, ending: &str) -> PathBuf {
        self.folder.path().join(format!("{}.{ending}", part.name()))
    }

    fn launch(&mut self, part: Part) {
        let mut command = artstore();
        command.current_dir(self.folder.path()).arg(part.command()).arg("--config").arg(self.file(part, "toml"));
        let process = Running::start(&mut command, &self.file(part, "log"));
        self.running.insert(part, process);
        self.await_health(part, "live", |answer| answer.status == 200);
    }

    fn await_health(&mut self, part: Part, which: &str, good: impl Fn(&Answer) -> bool) {
        let url = format!("{}/health/{which}", self.house.var(part.variables().1));
        let process = self.running.get_mut(&part).unwrap();
        poll::until(&format!("{} is {which}", part.name()), START_LIMIT, || {
            process.assert_alive();
            good(&Curl::plain(&url).run()).then_some(())
        });
    }
}

/// A token signed by the key of the Admin Module whose data lie in `data`.
///
/// # Panics
/// When it publishes no RSA key.
#[must_use]
pub fn forged(house: &House, data: &Path, scope: &str, audience: &str) -> String {
    let keys = house.admin("/oauth2/jwks").run().expect(200).json();
    let rsa = keys["keys"].as_array().unwrap().iter().find(|key| key["kty"] == "RSA").unwrap();
    let now = SystemClock::new().wall().as_secs();
    let claims = json!({
        "iss": house.var("ARTSTORE_ADMIN_URL"), "sub": "a test", "aud": audience, "client_id": "a test", "scope": scope,
        "iat": now, "nbf": now, "exp": now + 600, "jti": format!("a-test-{now}"),
    });
    let header: Value = json!({"alg": "RS256", "typ": "at+jwt", "kid": rsa["kid"]});
    Token { header, claims }.signed(&signing_key(data))
}

/// Ports that were free a moment ago, below those that the kernel gives to outgoing connections: one of these would take
/// the port before its process listens, or while it is down.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let mut chance = Chance::seeded(
        u64::from(std::process::id()) << 32 | u64::from(SystemClock::new().wall().as_duration().subsec_nanos()),
    );
    let mut listen = || loop {
        let port = 15_000 + u16::try_from(chance.below(17_000)).unwrap();
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            break listener;
        }
    };
    let listeners: [TcpListener; N] = std::array::from_fn(|_| listen());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
