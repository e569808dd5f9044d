//! Starts the modules of `artstore up`: Admin, the elements, the Ingester.

use super::accounts::{CLIENT, ELEMENT_EDIT, ELEMENT_RW, ELEMENT_SPARE, INGESTER, accounts};
use super::args::UpArgs;
use super::data::DataDir;
use super::fault::{Present, before_admin, before_element};
use super::sockets::{Sockets, Urls};
use super::until_ready;
use crate::assemble::{AuthPlan, Listeners, Running, TlsPlan};
use crate::development::Certificates;
use crate::failure::Failure;
use crate::modules::{open_admin, start_admin, start_element, start_ingester};
use artstore_admin::AdminSettings;
use artstore_api::element::ElementMode;
use artstore_auth::SecretSource;
use artstore_element::{ElementSettings, StoreSettings};
use artstore_ingester::IngesterSettings;
use artstore_tls::{Policy, RELOAD_INTERVAL, TrustFile};
use secrecy::SecretString;
use std::time::Duration;

/// How often files are looked at while faults are armed.
const ARMED_RELOAD_INTERVAL: Duration = Duration::from_millis(200);
/// What each element holds at most while faults are armed: little enough to be filled in a moment.
const ARMED_CAPACITY_BYTES: u64 = 64 << 20;

/// All modules, and the secret of the client's account.
pub(super) struct Started {
    pub(super) modules: Vec<Running>,
    pub(super) secret: SecretString,
}

/// Starts Admin, the elements and the Ingester, in this order; `present` is there if faults are armed.
///
/// # Errors
/// A certificate, a store or an account that cannot be used.
pub(super) async fn start(
    args: &UpArgs,
    data: &DataDir,
    certificates: &Certificates,
    sockets: Sockets,
    urls: &Urls,
    present: Option<&Present>,
) -> Result<Started, Failure> {
    let tls = |connects, needed| tls_plan(certificates, present.is_some(), connects, needed);
    let mut admin_settings = AdminSettings::new(&data.join("admin"), &urls.admin);
    admin_settings.token_lifetime = args.token_lifetime();
    let (admin, foundation) = open_admin(admin_settings, Some(&tls(false, false))).await?;
    let secrets = accounts(&admin, data, urls.element_spare.is_some()).await?;
    let secret = |account: &str| secrets.get(account).cloned().unwrap_or_default();
    let listeners = Listeners { before: present.map(before_admin), ..sockets.admin };
    let mut modules = vec![start_admin(admin, foundation, listeners)];

    let auth = |account: &str| AuthPlan {
        admin_urls: vec![urls.admin.clone()],
        issuer: urls.admin.clone(),
        client_id: account.to_owned(),
        authentication: SecretSource::Inline(secret(account)).into(),
        discovery: false,
        timeout: Duration::from_secs(10),
    };
    let armed_capacity = present.map(|_| ARMED_CAPACITY_BYTES);
    let capacity = args.element_capacity_bytes.or(armed_capacity);
    let mut elements = vec![
        ("element-edit", ElementMode::Edit, ELEMENT_EDIT, &urls.element_edit, sockets.element_edit, capacity),
        ("element-rw", ElementMode::Rw, ELEMENT_RW, &urls.element_rw, sockets.element_rw, capacity),
    ];
    if let (Some((url, _)), Some(listeners)) = (&urls.element_spare, sockets.element_spare) {
        // The Ingester asks the emptiest first: this one has half the room, so that it has its turn only when the other fails.
        let half = capacity.map(|bytes| bytes / 2);
        elements.push(("element-spare", ElementMode::Edit, ELEMENT_SPARE, url, listeners, half));
    }
    for (name, mode, account, url, listeners, capacity) in elements {
        let listeners = Listeners { before: present.map(before_element), ..listeners };
        let mut settings = ElementSettings::new(name, mode, url, StoreSettings::Folder { dir: data.join(name) });
        settings.max_file_bytes = args.max_file_bytes;
        settings.capacity_limit = capacity;
        modules.push(start_element(name, settings, Some(&tls(true, true)), &auth(account), listeners).await?);
    }

    // From a start on other ports the index remembers the old addresses: the Ingester reads the list once it has the new.
    until_ready(&modules).await?;
    let mut settings = IngesterSettings::new(Vec::new());
    settings.max_file_bytes = args.max_file_bytes;
    settings.read_timeout = Duration::from_secs(args.read_timeout);
    modules.push(start_ingester(settings, Some(&tls(true, false)), &auth(INGESTER), sockets.ingester).await?);
    Ok(Started { modules, secret: secret(CLIENT) })
}

/// The certificates of a module and how it uses them.
fn tls_plan(certificates: &Certificates, armed: bool, connects: bool, clients_need_certificate: bool) -> TlsPlan {
    TlsPlan {
        server: certificates.server.clone(),
        client: connects.then(|| certificates.module.clone()),
        trust: TrustFile(certificates.ca.clone()),
        policy: Policy::default(),
        allowed_clients: None,
        handshake_timeout: Duration::from_secs(10),
        crl_files: Vec::new(),
        reload_interval: if armed { ARMED_RELOAD_INTERVAL } else { RELOAD_INTERVAL },
        clients_need_certificate,
        danger_accept_any_server: false,
    }
}
