//! What both sides of a cell are configured with, whoever they are: rendered as our settings, or as OpenSSL's arguments.

use crate::cell::{Cell, Fault, Role, Version};
use crate::certificates::Scene;
use artstore_tls::{
    AcceptorSettings, AllowedClients, ClientAuth, ConnectorSettings, CrlFiles, IdentityFiles, Policy, Protocol, Trust,
    TrustFile,
};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// How long we wait in the cells whose fault is silence.
const SHORT: Duration = Duration::from_millis(200);

/// One side. Both ask for each other's certificate.
#[derive(Debug, Clone)]
pub(crate) struct Side {
    pub(crate) identity: Option<IdentityFiles>,
    pub(crate) authority: PathBuf,
    pub(crate) list: Option<PathBuf>,
    pub(crate) version: Version,
    pub(crate) suite: Option<&'static str>,
    pub(crate) alpn: Option<&'static str>,
    /// The one client that is let in, if not all are.
    pub(crate) allows: Option<&'static str>,
    pub(crate) patience: Duration,
}

/// Both sides.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) client: Side,
    pub(crate) server: Side,
}

impl Plan {
    pub(crate) fn of(scene: &Scene, cell: &Cell) -> Self {
        let side = |role| Side {
            identity: Some(scene.identity(role, None)),
            authority: scene.authority().to_owned(),
            list: None,
            version: cell.version,
            suite: None,
            alpn: None,
            allows: None,
            patience: Duration::from_secs(10),
        };
        let mut plan = Self { client: side(Role::Client), server: side(Role::Server) };
        match cell.judged() {
            Some(judged) => plan.spoil_certificate(scene, cell.fault, judged),
            None => plan.spoil_handshake(cell),
        }
        plan
    }

    fn spoil_certificate(&mut self, scene: &Scene, fault: Fault, judged: Role) {
        let (judged_side, judge) = match judged {
            Role::Client => (&mut self.client, &mut self.server),
            Role::Server => (&mut self.server, &mut self.client),
        };
        let identity = scene.identity(judged, Some(fault));
        judge.list = match fault {
            Fault::Revoked => Some(scene.revoking(&identity)),
            Fault::StaleList => Some(scene.stale()),
            _ => None,
        };
        judge.allows = (fault == Fault::NotAllowed).then_some("subject:CN=somebody else");
        judged_side.identity = (fault != Fault::NonePresented).then_some(identity);
    }

    fn spoil_handshake(&mut self, cell: &Cell) {
        let (ours, theirs) = match cell.we {
            Role::Client => (&mut self.client, &mut self.server),
            Role::Server => (&mut self.server, &mut self.client),
        };
        match cell.fault {
            Fault::NoCommonVersion => {
                ours.version = if theirs.version == Version::V13 { Version::V12 } else { Version::V13 };
            }
            Fault::NoCommonSuite if cell.version == Version::V13 => {
                (ours.suite, theirs.suite) = (Some("TLS_AES_256_GCM_SHA384"), Some("TLS_AES_128_GCM_SHA256"));
            }
            Fault::NoCommonSuite => {
                ours.suite = Some("ECDHE-ECDSA-AES256-GCM-SHA384");
                theirs.suite = Some("ECDHE-ECDSA-AES128-GCM-SHA256");
            }
            Fault::Alpn => (ours.alpn, theirs.alpn) = (Some("http/1.1"), Some("h2")),
            Fault::TimeOut => ours.patience = SHORT,
            _ => {}
        }
    }
}

impl Side {
    fn policy(&self) -> Policy {
        let both = || vec!["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"];
        let suites = match (self.suite, self.version) {
            (Some(suite), _) => vec![suite],
            (None, Version::V13) => return Policy::default(),
            (None, Version::V10 | Version::V11 | Version::V12) => both(),
        };
        let minimum = if self.version == Version::V13 { Protocol::Tls13 } else { Protocol::Tls12 };
        let suites: Vec<String> = suites.into_iter().map(str::to_owned).collect();
        Policy::new(minimum, Some(&suites)).unwrap()
    }

    fn trust(&self) -> Trust {
        let trust = TrustFile(self.authority.clone()).load().unwrap();
        match &self.list {
            Some(list) => trust.with_revocation(CrlFiles(vec![list.clone()]).load().unwrap()),
            None => trust,
        }
    }

    fn protocols(&self) -> Vec<Vec<u8>> {
        self.alpn.iter().map(|alpn| alpn.as_bytes().to_vec()).collect()
    }

    pub(crate) fn connector(&self) -> ConnectorSettings {
        ConnectorSettings {
            identity: self.identity.as_ref().map(|files| files.load().unwrap()),
            policy: self.policy(),
            handshake_timeout: self.patience,
            alpn: self.protocols(),
            ..ConnectorSettings::new(self.trust())
        }
    }

    pub(crate) fn acceptor(&self) -> AcceptorSettings {
        AcceptorSettings {
            client_auth: ClientAuth::Required(self.trust()),
            policy: self.policy(),
            handshake_timeout: self.patience,
            alpn: self.protocols(),
            allowed_clients: self.allows.map(|rule| AllowedClients::new(&[rule.to_owned()]).unwrap()),
            ..AcceptorSettings::new(self.identity.as_ref().unwrap().load().unwrap())
        }
    }

    /// The arguments that `s_client` and `s_server` have in common.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["-verify_return_error".into(), "-CAfile".into()];
        arguments.push(self.authority.clone().into());
        if let Some(files) = &self.identity {
            arguments.extend(["-cert".into(), files.cert.clone().into(), "-key".into(), files.key.clone().into()]);
        }
        if let Some(list) = &self.list {
            arguments.extend(["-crl_check".into(), "-CRL".into(), list.clone().into()]);
        }
        match self.version {
            Version::V10 => arguments.extend(["-tls1", "-cipher", "ALL:@SECLEVEL=0"].map(Into::into)),
            Version::V11 => arguments.extend(["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"].map(Into::into)),
            Version::V12 => arguments.push("-tls1_2".into()),
            Version::V13 => arguments.push("-tls1_3".into()),
        }
        if let Some(suite) = self.suite {
            let flag = if self.version == Version::V13 { "-ciphersuites" } else { "-cipher" };
            arguments.extend([flag.into(), suite.into()]);
        }
        if let Some(alpn) = self.alpn {
            arguments.extend(["-alpn".into(), alpn.into()]);
        }
        arguments
    }
}
