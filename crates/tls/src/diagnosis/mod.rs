//! Finds out why a server and we do not come together, and says it in plain words: who refuses whom, which certificate, what
//! to do. For a person at a terminal; nothing is counted in a module's metrics.

mod explain;
mod own;
mod words;

pub use own::{OwnUse, examine_own};
pub use words::described;

use crate::certificate::CertificateInfo;
use crate::connector::{Connector, ConnectorSettings};
use crate::crl::CrlInfo;
use crate::error::{CertificateAnswer, TlsError};
use crate::identity::{Identity, SetupError, Trust};
use crate::metrics::{CertificateMetrics, ConnectorMetrics};
use crate::names::Protocol;
use crate::policy::Policy;
use artstore_metrics::{Clock, Registry, SystemClock};
use rustls::pki_types::ServerName;
use std::future::Future;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Culprit {
    /// The certificate that we show, or that we show none.
    OurCertificate,
    /// The certificate that the server shows.
    TheirCertificate,
    /// A revocation list of ours: stale, or there is none for the server's issuer.
    OurList,
    /// Something by which the server judges our good certificate: its revocation list, its trust or its clock.
    TheirJudgement,
    /// The versions that both sides allow.
    Versions,
    /// The suites, groups or signatures that both sides allow.
    Suites,
    /// The application protocols.
    ApplicationProtocol,
    /// The server does not speak TLS on this port.
    PlainText,
    /// The connection breaks inside the handshake.
    Connection,
    /// The server does not answer.
    Silence,
    /// None of these can be told.
    Unknown,
}

impl Culprit {
    /// The word for machines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OurCertificate => "our_certificate",
            Self::TheirCertificate => "their_certificate",
            Self::OurList => "our_revocation_list",
            Self::TheirJudgement => "their_judgement",
            Self::Versions => "versions",
            Self::Suites => "suites",
            Self::ApplicationProtocol => "application_protocol",
            Self::PlainText => "plain_text",
            Self::Connection => "connection",
            Self::Silence => "silence",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a handshake failed, for people.
#[derive(Debug, Clone)]
pub struct Diagnosis {
    /// The failure as a module would count and log it.
    pub error: TlsError,
    /// What is at fault.
    pub culprit: Culprit,
    /// The certificate at fault, if it is one and could be seen.
    pub certificate: Option<CertificateInfo>,
    /// The revocation list at fault, if it is one of ours.
    pub list: Option<CrlInfo>,
    /// Who refuses whom, and why.
    pub summary: String,
    /// What to do.
    pub advice: String,
}

/// A handshake in which both sides accepted each other.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The negotiated version.
    pub protocol: Protocol,
    /// IANA's name of the negotiated suite.
    pub cipher_suite: &'static str,
    /// The server's certificate.
    pub server: Option<CertificateInfo>,
    /// Whether the server asked for our certificate, and got it.
    pub answer: CertificateAnswer,
}

/// Examines servers as a module with these settings would meet them.
#[derive(Debug)]
pub struct Examiner<C: Clock = SystemClock> {
    connector: Connector<C>,
    /// Accepts anything, to see the certificate of a server that we refuse. Nothing is sent over it.
    onlooker: Connector<C>,
    identity: Option<Identity>,
    trust: Trust,
    policy: Policy,
    patience: Duration,
    clock: C,
}

impl<C: Clock> Examiner<C> {
    /// An examiner with the settings of the connector whose place it takes.
    ///
    /// # Errors
    /// As [`Connector::new`].
    pub fn new(settings: &ConnectorSettings, clock: C) -> Result<Self, SetupError> {
        let metrics = |clock: &C| {
            let registry = Registry::new();
            ConnectorMetrics::new(&registry, &settings.policy, CertificateMetrics::new(&registry, clock.clone()))
        };
        let anybody = ConnectorSettings { trust: Trust::danger_accept_any_server(), ..settings.clone() };
        Ok(Self {
            onlooker: Connector::new(anybody, metrics(&clock), clock.clone())?,
            identity: settings.identity.clone(),
            trust: settings.trust.clone(),
            policy: settings.policy.clone(),
            patience: settings.handshake_timeout,
            connector: Connector::new(settings.clone(), metrics(&clock), clock.clone())?,
            clock,
        })
    }

    /// Meets the server `name`, to which `dial` makes a TCP connection. `request` is sent once the handshake is done, for a
    /// TLS 1.3 server may refuse us after it: something that makes it answer. The limit of the handshake is that of the answer
    /// too.
    ///
    /// # Errors
    /// Why the two do not come together.
    pub async fn examine<D, F>(
        &self,
        name: ServerName<'static>,
        dial: D,
        request: &[u8],
    ) -> Result<Accepted, Box<Diagnosis>>
    where
        D: Fn() -> F,
        F: Future<Output = io::Result<TcpStream>>,
    {
        let error = match self.meet(&name, &dial, request).await {
            Ok(accepted) => return Ok(accepted),
            Err(error) => error,
        };
        let server = if explain::is_about_their_certificate(&error) { self.look(&name, &dial).await } else { None };
        let context = explain::Context {
            server: name.to_str().into_owned(),
            seen: server,
            identity: self.identity.as_ref(),
            trust: &self.trust,
            policy: &self.policy,
            now: self.clock.wall(),
        };
        Err(Box::new(context.explain(error)))
    }

    async fn meet<D, F>(&self, name: &ServerName<'static>, dial: &D, request: &[u8]) -> Result<Accepted, TlsError>
    where
        D: Fn() -> F,
        F: Future<Output = io::Result<TcpStream>>,
    {
        let broken = |error: io::Error| TlsError::from_io(&error, CertificateAnswer::NotRequested);
        let tcp = dial().await.map_err(broken)?;
        let mut stream = self.connector.connect(name.clone(), tcp).await?;
        let connection = stream.connection();
        let talk = async {
            // Why a write failed is known to the connection.
            let written = stream.write_all(request).await;
            let flushed = if written.is_ok() { stream.flush().await } else { written };
            match flushed {
                Ok(()) => stream.read_u8().await.map(drop),
                Err(error) => Err(error),
            }
        };
        let talked = tokio::time::timeout(self.patience, talk).await;
        match (connection.tls_failure(), connection.is_settled(), talked) {
            (Some(refusal), _, _) => Err(refusal),
            (None, true, _) | (None, false, Ok(Ok(()))) => Ok(Accepted {
                protocol: connection.protocol(),
                cipher_suite: connection.cipher_suite(),
                server: connection.peer_certificate().cloned(),
                answer: connection.certificate_answer(),
            }),
            (None, false, Ok(Err(error))) => Err(broken(error)),
            (None, false, Err(_)) => Err(TlsError::timeout("the server to accept or refuse our certificate")),
        }
    }

    /// The certificate that the server shows, whatever we think of it.
    async fn look<D, F>(&self, name: &ServerName<'static>, dial: &D) -> Option<CertificateInfo>
    where
        D: Fn() -> F,
        F: Future<Output = io::Result<TcpStream>>,
    {
        let stream = self.onlooker.connect(name.clone(), dial().await.ok()?).await.ok()?;
        stream.connection().peer_certificate().cloned()
    }
}
