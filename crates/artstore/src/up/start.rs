//! Starts the modules of `artstore up`: Admin, the elements, the Ingester.

use super::accounts::{CLIENT, ELEMENT_EDIT, ELEMENT_RW, ELEMENT_SPARE, INGESTER, accounts};
use super::args::UpArgs;
use super::data::DataDir;
use super::fault::{FaultFiles, Present, Room, UpClock, before_admin, before_element};
use super::sockets::{Sockets, Urls};
use super::until_ready;
use crate::assemble::{AuthPlan, Listeners, Running, TlsPlan};
use crate::development::Certificates;
use crate::failure::Failure;
use crate::modules::{open_admin, start_admin, start_element, start_ingester};
use artstore_admin::AdminSettings;
use artstore_api::element::ElementMode;
use artstore_auth::{Backoff, SecretSource};
use artstore_element::{ElementSettings, StoreSettings};
use artstore_ingester::IngesterSettings;
use artstore_tls::{Policy, RELOAD_INTERVAL, TrustFile};
use secrecy::SecretString;
use std::sync::Arc;
use std::time::Duration;

/// The element for temporary files, at which faults of one element are.
pub(super) const EDIT: &str = "element-edit";
/// How often files are looked at while faults are armed.
const ARMED_RELOAD_INTERVAL: Duration = Duration::from_millis(200);
/// How long a module waits for a token while faults are armed.
const ARMED_AUTH_TIMEOUT: Duration = Duration::from_secs(2);
/// How often an element reports itself while faults are armed, and waits at most after a report that failed.
const ARMED_HEARTBEAT: Duration = Duration::from_secs(2);

/// How long Admin is left alone after a token could not be had; while faults are armed, not so long that a repair is not seen.
pub(super) fn backoff(armed: bool) -> Backoff {
    let usual = Backoff::default();
    if armed { Backoff { floor: Duration::from_millis(200), cap: Duration::from_secs(3), ..usual } } else { usual }
}

/// What the modules need to know of faults.
pub(super) struct Armed {
    pub(super) present: Present,
    pub(super) files: Arc<FaultFiles>,
    /// Room of the element for temporary files.
    pub(super) room: Room,
}

/// All modules, and the secret of the client's account.
pub(super) struct Started {
    pub(super) modules: Vec<Running>,
    pub(super) secret: SecretString,
}

/// Starts Admin, the elements and the Ingester, in this order; `armed` is there if faults may come.
///
/// # Errors
/// A certificate, a store or an account that cannot be used.
pub(super) async fn start(
    args: &UpArgs,
    data: &DataDir,
    certificates: &Certificates,
    sockets: Sockets,
    urls: &Urls,
    armed: Option<&Armed>,
) -> Result<Started, Failure> {
    let traces = args.traces();
    let present = armed.map(|armed| &armed.present);
    let tls = |connects, needed| tls_plan(certificates, armed, connects, needed);
    let mut admin_settings = AdminSettings::new(&data.join("admin"), &urls.admin);
    admin_settings.token_lifetime = args.token_lifetime();
    let (admin, foundation) =
        open_admin(admin_settings, Some(&tls(false, false)), &traces, UpClock::new(present.cloned())).await?;
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
        timeout: if armed.is_some() { ARMED_AUTH_TIMEOUT } else { Duration::from_secs(10) },
        backoff: backoff(armed.is_some()),
    };
    let told = args.element_capacity_bytes;
    let room = |name: &str| if armed.is_some() { Some(Room::of(&data.join(name), told).capacity) } else { told };
    let mut elements = vec![
        (EDIT, ElementMode::Edit, ELEMENT_EDIT, &urls.element_edit, sockets.element_edit, room(EDIT)),
        ("element-rw", ElementMode::Rw, ELEMENT_RW, &urls.element_rw, sockets.element_rw, room("element-rw")),
    ];
    if let (Some((url, _)), Some(listeners)) = (&urls.element_spare, sockets.element_spare) {
        let room = Room::spare(&data.join("element-spare"), told).capacity;
        elements.push(("element-spare", ElementMode::Edit, ELEMENT_SPARE, url, listeners, Some(room)));
    }
    for (name, mode, account, url, listeners, capacity) in elements {
        let first = name == EDIT;
        let listeners = Listeners { before: present.map(|present| before_element(present, first)), ..listeners };
        let mut plan = tls(true, true);
        if let (Some(armed), true) = (armed, first) {
            plan.server = armed.files.element.clone();
        }
        let mut settings = ElementSettings::new(name, mode, url, StoreSettings::Folder { dir: data.join(name) });
        settings.max_file_bytes = args.max_file_bytes;
        settings.capacity_limit = capacity;
        if armed.is_some() {
            settings.heartbeat = ARMED_HEARTBEAT;
        }
        modules.push(start_element(name, settings, Some(&plan), &auth(account), &traces, listeners).await?);
    }

    // From a start on other ports the index remembers the old addresses: the Ingester reads the list once it has the new.
    until_ready(&modules).await?;
    let mut settings = IngesterSettings::new(Vec::new());
    settings.max_file_bytes = args.max_file_bytes;
    settings.read_timeout = Duration::from_secs(args.read_timeout);
    let tls = tls(true, false);
    modules.push(start_ingester(settings, Some(&tls), &auth(INGESTER), &traces, sockets.ingester).await?);
    Ok(Started { modules, secret: secret(CLIENT) })
}

/// The certificates of a module and how it uses them.
fn tls_plan(
    certificates: &Certificates,
    armed: Option<&Armed>,
    connects: bool,
    clients_need_certificate: bool,
) -> TlsPlan {
    TlsPlan {
        server: certificates.server.clone(),
        client: connects.then(|| certificates.module.clone()),
        trust: TrustFile(certificates.ca.clone()),
        policy: Policy::default(),
        allowed_clients: None,
        handshake_timeout: Duration::from_secs(10),
        crl_files: armed.map(|armed| armed.files.crl.clone()).into_iter().collect(),
        reload_interval: if armed.is_some() { ARMED_RELOAD_INTERVAL } else { RELOAD_INTERVAL },
        clients_need_certificate,
        danger_accept_any_server: false,
    }
}
