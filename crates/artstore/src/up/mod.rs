//! `artstore up`: Admin Module, two Storage Elements and an Ingester in one process, on real sockets, under a development CA.

mod data;

use crate::assemble::{AuthPlan, Listeners, Running, TlsPlan, address_of, bind};
use crate::development::{Certificates, certificates};
use crate::failure::Failure;
use crate::file_limit;
use crate::logging;
use crate::modules::{open_admin, start_admin, start_element, start_ingester};
use crate::signals::StopSignals;
use artstore_admin::{AccountError, Admin, AdminSettings};
use artstore_api::account::ChangeAccount;
use artstore_api::element::ElementMode;
use artstore_api::scope;
use artstore_auth::SecretSource;
use artstore_element::{ElementSettings, StoreSettings};
use artstore_http::{ServerSettings, Status};
use artstore_ingester::IngesterSettings;
use artstore_tls::{Policy, RELOAD_INTERVAL, TrustFile};
use clap::Args;
use data::DataDir;
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

/// How long everything may take to answer.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How often readiness is looked at.
const READY_INTERVAL: Duration = Duration::from_millis(20);
/// How often the development certificates are looked at while everything runs.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(3600);

const INGESTER: &str = "artstore-ingester";
const ELEMENT_EDIT: &str = "artstore-element-edit";
const ELEMENT_RW: &str = "artstore-element-rw";
const CLIENT: &str = "artstore-client";

/// `artstore up`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  artstore up\n  artstore up --data /tmp/try --ingester 127.0.0.1:0\n  . ./artstore-data/artstore.env && artstore upload README.md"
)]
pub(crate) struct UpArgs {
    /// Admin Module (https).
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8000")]
    admin: String,
    /// Storage Element for temporary files (https, client certificate required).
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8010")]
    element_edit: String,
    /// Storage Element for permanent files (https, client certificate required).
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8011")]
    element_rw: String,
    /// Ingester (https).
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8020")]
    ingester: String,
    /// Operations listener of the Ingester (http): metrics, health, status page.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9020")]
    ops: String,
    /// Operations listener of the Admin Module (http).
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9000")]
    admin_ops: String,
    /// Operations listener of the element for temporary files (http).
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9010")]
    element_edit_ops: String,
    /// Operations listener of the element for permanent files (http).
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9011")]
    element_rw_ops: String,
    /// Folder for everything on disk.
    #[arg(long, value_name = "DIR", default_value = "./artstore-data")]
    data: PathBuf,
    /// Largest file, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 40)]
    max_file_bytes: u64,
    /// Most bytes that each element holds; the file system's room if absent.
    #[arg(long, value_name = "BYTES")]
    element_capacity_bytes: Option<u64>,
    /// Longest silence of a client inside a body, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    read_timeout: u64,
    /// Least level that is logged.
    #[arg(long, env = "LOG_LEVEL", default_value = "info")]
    log_level: String,
    /// How log lines look; text on a terminal and json elsewhere if absent.
    #[arg(long, env = "LOG_FORMAT", value_enum)]
    log_format: Option<logging::Format>,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// A port in use, a locked folder, a certificate or store that cannot be used.
pub(crate) async fn run(args: UpArgs) -> Result<(), Failure> {
    let for_people = if std::io::stderr().is_terminal() { logging::Format::Text } else { logging::Format::Json };
    logging::start(&args.log_level, args.log_format.unwrap_or(for_people))
        .map_err(|error| Failure::failed(format!("logging: {error}")))?;
    file_limit::raise();
    let mut signals = StopSignals::catch()?;
    let data = DataDir::open(&args.data)?;
    let certificates = certificates(&data.join("tls"), &[])?;
    let sockets = Sockets::bind(&args).await?;
    let urls = sockets.urls()?;
    let (modules, secret) = start(&args, &data, &certificates, sockets, &urls).await?;
    signals.reload_on_hangup(modules.iter().filter_map(Running::reload_trigger).collect());
    let _renewal = AbortOnDropHandle::new(tokio::spawn(renew(data.join("tls"))));
    let signal = tokio::select! {
        ready = until_ready(&modules) => match ready {
            Ok(()) => None,
            Err(failure) => {
                stop(modules).await;
                return Err(failure);
            }
        },
        signal = signals.wait() => Some(signal),
    };
    let signal = match signal {
        Some(signal) => signal,
        None => {
            let file = data.write_env_file(&variables(&urls, &certificates, &secret))?;
            announce(&urls, &file)?;
            signals.wait().await
        }
    };
    tracing::info!(signal, "stopping: requests in flight finish first");
    data.remove_env_file();
    stop(modules).await;
    tracing::info!("stopped");
    Ok(())
}

/// Renews the development certificates, also of a process that runs for months; the modules take them in use.
async fn renew(dir: PathBuf) {
    loop {
        tokio::time::sleep(RENEWAL_INTERVAL).await;
        let dir = dir.clone();
        // A panic shows in the log, and the next round tries again.
        if let Ok(Err(failure)) = tokio::task::spawn_blocking(move || certificates(&dir, &[])).await {
            tracing::error!("the development certificates cannot be renewed: {failure}");
        }
    }
}

/// The bound listeners: ports are known before anything starts, and a port in use stops the start.
struct Sockets {
    admin: Listeners,
    element_edit: Listeners,
    element_rw: Listeners,
    ingester: Listeners,
}

impl Sockets {
    async fn bind(args: &UpArgs) -> Result<Self, Failure> {
        let pair = async |main: &str, operations: &str| {
            let (main, operations) = (bind(main).await?, bind(operations).await?);
            Ok::<_, Failure>(Listeners { main, operations, settings: ServerSettings::default() })
        };
        Ok(Self {
            admin: pair(&args.admin, &args.admin_ops).await?,
            element_edit: pair(&args.element_edit, &args.element_edit_ops).await?,
            element_rw: pair(&args.element_rw, &args.element_rw_ops).await?,
            ingester: pair(&args.ingester, &args.ops).await?,
        })
    }

    fn urls(&self) -> Result<Urls, Failure> {
        let pair = |listeners: &Listeners| {
            let (main, operations) = (address_of(&listeners.main)?, address_of(&listeners.operations)?);
            Ok::<_, Failure>((format!("https://{main}"), format!("http://{operations}")))
        };
        let (admin, admin_ops) = pair(&self.admin)?;
        let (element_edit, element_edit_ops) = pair(&self.element_edit)?;
        let (element_rw, element_rw_ops) = pair(&self.element_rw)?;
        let (ingester, ops) = pair(&self.ingester)?;
        Ok(Urls { admin, admin_ops, element_edit, element_edit_ops, element_rw, element_rw_ops, ingester, ops })
    }
}

/// Where everything answers.
struct Urls {
    admin: String,
    admin_ops: String,
    element_edit: String,
    element_edit_ops: String,
    element_rw: String,
    element_rw_ops: String,
    ingester: String,
    ops: String,
}

/// Starts Admin, the elements and the Ingester, in this order; gives them and the client account's secret.
async fn start(
    args: &UpArgs,
    data: &DataDir,
    certificates: &Certificates,
    sockets: Sockets,
    urls: &Urls,
) -> Result<(Vec<Running>, SecretString), Failure> {
    let tls = |connects: bool, clients_need_certificate: bool| TlsPlan {
        server: certificates.server.clone(),
        client: connects.then(|| certificates.module.clone()),
        trust: TrustFile(certificates.ca.clone()),
        policy: Policy::default(),
        allowed_clients: None,
        handshake_timeout: Duration::from_secs(10),
        crl_files: Vec::new(),
        reload_interval: RELOAD_INTERVAL,
        clients_need_certificate,
        danger_accept_any_server: false,
    };
    let admin_settings = AdminSettings::new(&data.join("admin"), &urls.admin);
    let (admin, foundation) = open_admin(admin_settings, Some(&tls(false, false))).await?;
    let secrets = accounts(&admin, data).await?;
    let secret = |account: &str| secrets.get(account).cloned().unwrap_or_default();
    let mut modules = vec![start_admin(admin, foundation, sockets.admin)];

    let auth = |account: &str| AuthPlan {
        admin_urls: vec![urls.admin.clone()],
        issuer: urls.admin.clone(),
        client_id: account.to_owned(),
        authentication: SecretSource::Inline(secret(account)).into(),
        discovery: false,
        timeout: Duration::from_secs(10),
    };
    let elements = [
        ("element-edit", ElementMode::Edit, ELEMENT_EDIT, &urls.element_edit, sockets.element_edit),
        ("element-rw", ElementMode::Rw, ELEMENT_RW, &urls.element_rw, sockets.element_rw),
    ];
    for (name, mode, account, url, listeners) in elements {
        let mut settings = ElementSettings::new(name, mode, url, StoreSettings::Folder { dir: data.join(name) });
        settings.max_file_bytes = args.max_file_bytes;
        settings.capacity_limit = args.element_capacity_bytes;
        modules.push(start_element(name, settings, Some(&tls(true, true)), &auth(account), listeners).await?);
    }

    // From a start on other ports the index remembers the old addresses: the Ingester reads the list once it has the new.
    until_ready(&modules).await?;
    let mut settings = IngesterSettings::new(Vec::new());
    settings.max_file_bytes = args.max_file_bytes;
    settings.read_timeout = Duration::from_secs(args.read_timeout);
    modules.push(start_ingester(settings, Some(&tls(true, false)), &auth(INGESTER), sockets.ingester).await?);
    Ok((modules, secret(CLIENT)))
}

/// Makes the four accounts, or gives them again the secrets that they had.
async fn accounts(admin: &Admin, data: &DataDir) -> Result<BTreeMap<String, SecretString>, Failure> {
    let wanted = [
        (INGESTER, &crate::assemble::INGESTER_SCOPES[..], &crate::assemble::INGESTER_AUDIENCES[..], None),
        (ELEMENT_EDIT, &crate::assemble::ELEMENT_SCOPES, &crate::assemble::ELEMENT_AUDIENCES, Some("element-edit")),
        (ELEMENT_RW, &crate::assemble::ELEMENT_SCOPES, &crate::assemble::ELEMENT_AUDIENCES, Some("element-rw")),
        (CLIENT, &[scope::FILES_READ, scope::FILES_WRITE], &[scope::AUDIENCE_INGESTER], None),
    ];
    let kept = data.secrets()?;
    let mut secrets = BTreeMap::new();
    for (account, scopes, audiences, element_id) in wanted {
        let failed = |error: AccountError| Failure::failed(format!("account {account}: {error}"));
        let secret = admin
            .bootstrap_account(account, account, scopes, audiences, kept.get(account).cloned())
            .await
            .map_err(failed)?;
        if let Some(element_id) = element_id {
            let change = ChangeAccount { element_id: Some(Some(element_id.to_owned())), ..ChangeAccount::default() };
            admin.change_account(account, change).await.map_err(failed)?;
        }
        secrets.insert(account.to_owned(), SecretString::from(secret.client_secret));
    }
    data.keep_secrets(&secrets)?;
    Ok(secrets)
}

/// Waits until every module says that it is ready.
async fn until_ready(modules: &[Running]) -> Result<(), Failure> {
    let all_ready = async {
        while !modules.iter().all(|module| module.health.ready().status == Status::Ok) {
            tokio::time::sleep(READY_INTERVAL).await;
        }
    };
    tokio::time::timeout(READY_WITHIN, all_ready).await.map_err(|_| {
        let reasons = modules.iter().flat_map(|module| {
            let waiting = module.health.ready().dependencies.into_iter().filter(|d| d.status != Status::Ok);
            waiting.map(|dependency| format!("{}: {}: {}", module.name, dependency.name, dependency.reason))
        });
        Failure::failed(format!("not ready after {READY_WITHIN:?}: {}", reasons.collect::<Vec<_>>().join("; ")))
    })
}

/// Stops the modules, the last started first, so that each finds those that it needs until its end.
async fn stop(modules: Vec<Running>) {
    for module in modules.into_iter().rev() {
        module.stop().await;
    }
}

fn variables(urls: &Urls, certificates: &Certificates, secret: &SecretString) -> Vec<(&'static str, String)> {
    let path = |path: &std::path::Path| path.display().to_string();
    vec![
        ("ARTSTORE_ADMIN_URL", urls.admin.clone()),
        ("ARTSTORE_ELEMENT_EDIT_URL", urls.element_edit.clone()),
        ("ARTSTORE_ELEMENT_RW_URL", urls.element_rw.clone()),
        ("ARTSTORE_INGESTER_URL", urls.ingester.clone()),
        ("ARTSTORE_OPS_URL", urls.ops.clone()),
        ("ARTSTORE_ADMIN_OPS_URL", urls.admin_ops.clone()),
        ("ARTSTORE_ELEMENT_EDIT_OPS_URL", urls.element_edit_ops.clone()),
        ("ARTSTORE_ELEMENT_RW_OPS_URL", urls.element_rw_ops.clone()),
        ("ARTSTORE_CA_CERT", path(&certificates.ca)),
        ("ARTSTORE_CLIENT_CERT", path(&certificates.client.cert)),
        ("ARTSTORE_CLIENT_KEY", path(&certificates.client.key)),
        ("ARTSTORE_CLIENT_ID", CLIENT.to_owned()),
        ("ARTSTORE_CLIENT_SECRET", secret.expose_secret().to_owned()),
        ("ARTSTORE_PID", std::process::id().to_string()),
    ]
}

/// Says where everything is and what to type next.
fn announce(urls: &Urls, env_file: &std::path::Path) -> Result<(), Failure> {
    let env_file = env_file.display();
    let text = format!(
        "ArtStore is up.\n\n\
         \x20 Ingester          {}   metrics, health, status: {}\n\
         \x20 Admin Module      {}   {}\n\
         \x20 Element, edit     {}   {}\n\
         \x20 Element, rw       {}   {}\n\n\
         Next, in another terminal:\n\n\
         \x20 . {env_file}\n\
         \x20 TOKEN=$(curl -s --cacert \"$ARTSTORE_CA_CERT\" -u \"$ARTSTORE_CLIENT_ID:$ARTSTORE_CLIENT_SECRET\" \\\n\
         \x20   -d grant_type=client_credentials \"$ARTSTORE_ADMIN_URL/oauth2/token\" | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')\n\
         \x20 curl --cacert \"$ARTSTORE_CA_CERT\" -H \"Authorization: Bearer $TOKEN\" -F file=@README.md \\\n\
         \x20   \"$ARTSTORE_INGESTER_URL/api/v1/files/upload\"\n\n\
         or: artstore upload README.md\n\n\
         Ctrl-C stops everything; a second start finds everything again.\n",
        urls.ingester,
        urls.ops,
        urls.admin,
        urls.admin_ops,
        urls.element_edit,
        urls.element_edit_ops,
        urls.element_rw,
        urls.element_rw_ops,
    );
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::output)
}
