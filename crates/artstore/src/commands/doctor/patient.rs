//! Whom the doctor examines: a module by its configuration, or a client by its flags and environment.

use super::super::config::{ModuleName, read};
use super::super::connection::ConnectionArgs;
use super::super::serve::tls_plan;
use crate::assemble::{AuthPlan, ELEMENT_AUDIENCES, ELEMENT_SCOPES, INGESTER_AUDIENCES, INGESTER_SCOPES, TlsPlan};
use crate::authentication;
use crate::failure::Failure;
use artstore_api::scope;
use artstore_client::ConnectSettings;
use artstore_tls::diagnosis::OwnUse;
use artstore_tls::{IdentityFiles, Policy, TrustFile};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest handshake of a client, which has no key for it.
const CLIENT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a patient uses for TLS.
#[derive(Debug, Clone)]
pub(super) struct TlsFiles {
    pub(super) identity: Option<IdentityFiles>,
    /// What the identity is for.
    pub(super) uses: Vec<OwnUse>,
    pub(super) trust: TrustFile,
    pub(super) lists: Vec<PathBuf>,
    pub(super) policy: Policy,
    pub(super) handshake_timeout: Duration,
    pub(super) danger_accept_any_server: bool,
}

/// How it gets a token.
#[derive(Debug, Clone)]
pub(super) enum Account {
    /// Not at all.
    Absent,
    /// As a module.
    Module(Box<ModuleAccount>),
    /// As a client.
    Client(Box<ConnectSettings>),
}

/// A module's account, with what its foundation is made of.
#[derive(Debug, Clone)]
pub(super) struct ModuleAccount {
    pub(super) tls: Option<TlsPlan>,
    pub(super) auth: AuthPlan,
    pub(super) scopes: &'static [&'static str],
    pub(super) audiences: &'static [&'static str],
    pub(super) own_audience: &'static str,
}

/// The examined.
#[derive(Debug, Clone)]
pub(super) struct Patient {
    pub(super) name: &'static str,
    /// None if it does without TLS.
    pub(super) tls: Option<TlsFiles>,
    pub(super) account: Account,
    /// Instances of the Admin Module; of one itself, the address by which others reach it.
    pub(super) admins: Vec<String>,
    /// Elements that are configured, not listed by Admin; of one itself, the address by which others reach it.
    pub(super) elements: Vec<String>,
    pub(super) ingesters: Vec<String>,
    /// Whether it uses the elements of Admin's list.
    pub(super) uses_elements: bool,
}

impl Patient {
    /// A module, by its configuration.
    pub(super) fn module(module: ModuleName, file: &Path, set: &[String]) -> Result<Self, Failure> {
        let values = read(module, file, set)?;
        let connects = !matches!(module, ModuleName::Admin);
        let plan = tls_plan(&values, connects, matches!(module, ModuleName::Element))?;
        let uses = if connects { vec![OwnUse::Server, OwnUse::Client] } else { vec![OwnUse::Server] };
        let tls = plan.clone().map(|plan| TlsFiles {
            identity: Some(plan.server),
            uses,
            trust: plan.trust,
            lists: plan.crl_files,
            policy: plan.policy,
            handshake_timeout: plan.handshake_timeout,
            danger_accept_any_server: plan.danger_accept_any_server,
        });
        let mut patient = Self {
            name: "admin",
            tls,
            account: Account::Absent,
            admins: Vec::new(),
            elements: Vec::new(),
            ingesters: Vec::new(),
            uses_elements: false,
        };
        let (scopes, audiences, own_audience): (&[&str], &[&str], _) = match module {
            ModuleName::Admin => {
                patient.admins = vec![values.text_or_empty("admin.issuer").trim_end_matches('/').to_owned()];
                return Ok(patient);
            }
            ModuleName::Element => (&ELEMENT_SCOPES, &ELEMENT_AUDIENCES, scope::AUDIENCE_ELEMENT),
            ModuleName::Ingester => (&INGESTER_SCOPES, &INGESTER_AUDIENCES, scope::AUDIENCE_INGESTER),
        };
        let auth = authentication::plan(&values)?;
        patient.name = if matches!(module, ModuleName::Element) { "element" } else { "ingester" };
        patient.uses_elements = matches!(module, ModuleName::Ingester);
        patient.admins.clone_from(&auth.admin_urls);
        patient.elements.extend(values.text("element.url").map(|url| url.trim_end_matches('/').to_owned()));
        patient.account = Account::Module(Box::new(ModuleAccount { tls: plan, auth, scopes, audiences, own_audience }));
        Ok(patient)
    }

    /// A client, by the connection flags; `elements` are the addresses of elements that it is to reach as well.
    pub(super) fn client(args: &ConnectionArgs, elements: Vec<String>) -> Result<Self, String> {
        let settings = args.settings(Vec::new())?;
        let identity = settings.identity.clone().map(|(cert, key)| IdentityFiles { cert, key });
        let tls = settings.ca_cert.clone().map(|ca| TlsFiles {
            identity,
            uses: vec![OwnUse::Client],
            trust: TrustFile(ca),
            lists: Vec::new(),
            policy: Policy::default(),
            handshake_timeout: CLIENT_HANDSHAKE_TIMEOUT,
            danger_accept_any_server: false,
        });
        Ok(Self {
            name: "client",
            tls,
            admins: settings.admin.iter().map(|url| url.as_str().to_owned()).collect(),
            elements,
            ingesters: vec![args.ingester_url.trim_end_matches('/').to_owned()],
            account: Account::Client(Box::new(settings)),
            uses_elements: false,
        })
    }
}

#[cfg(test)]
impl Patient {
    /// One that has these files and nothing else.
    pub(super) fn of_files(files: TlsFiles) -> Self {
        Self {
            name: "element",
            tls: Some(files),
            account: Account::Absent,
            admins: Vec::new(),
            elements: Vec::new(),
            ingesters: Vec::new(),
            uses_elements: false,
        }
    }
}
