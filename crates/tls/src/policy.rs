//! Which protocol versions and cipher suites may be negotiated.

use crate::Protocol;
use crate::names::{cipher_suite_name, known_cipher_suites, parse_cipher_suite};
use artstore_metrics::LabelValue as _;
use rustls::crypto::CryptoProvider;
use rustls::{CipherSuite, SupportedCipherSuite, SupportedProtocolVersion, version};
use std::sync::Arc;

/// Why a policy cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A version that is never negotiated was asked for as the lowest.
    #[error("{0} is never negotiated: use TLSv1.2 or TLSv1.3")]
    VersionTooOld(Protocol),
    /// A name that is neither IANA's nor OpenSSL's for a suite that can be enabled.
    #[error("unknown cipher suite {name:?}; known: {known}")]
    UnknownSuite {
        /// What was asked for.
        name: String,
        /// All known suites, comma-separated.
        known: String,
    },
    /// None of the suites belongs to an enabled protocol version.
    #[error("none of the cipher suites belongs to {0} or later")]
    NoSuite(Protocol),
}

/// The versions and suites that may be negotiated. The default is TLS 1.3 alone, with all its suites.
#[derive(Clone, PartialEq)]
pub struct Policy {
    minimum: Protocol,
    suites: Vec<SupportedCipherSuite>,
}

impl Policy {
    /// Versions from `minimum` on. `suites` restricts the suites to these, named as IANA or OpenSSL names them, and with
    /// that the versions to those which have a suite left; none given means all.
    ///
    /// # Errors
    /// If `minimum` is older than TLS 1.2, a name is unknown, or no suite is left.
    pub fn new(minimum: Protocol, suites: Option<&[String]>) -> Result<Self, PolicyError> {
        match minimum {
            Protocol::Tls13 | Protocol::Tls12 => {}
            Protocol::Tls11 | Protocol::Tls10 => return Err(PolicyError::VersionTooOld(minimum)),
        }
        let mut wanted = Vec::new();
        for name in suites.unwrap_or_default() {
            let known = || known_cipher_suites().collect::<Vec<_>>().join(", ");
            wanted.push(
                parse_cipher_suite(name)
                    .ok_or_else(|| PolicyError::UnknownSuite { name: name.clone(), known: known() })?,
            );
        }
        let is_enabled = |suite: &SupportedCipherSuite| {
            let version_fits = minimum == Protocol::Tls12 || protocol_of(suite) == Protocol::Tls13;
            version_fits && (suites.is_none() || wanted.contains(&suite.suite()))
        };
        let all = rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES;
        let suites: Vec<SupportedCipherSuite> = all.iter().copied().filter(is_enabled).collect();
        if suites.is_empty() { Err(PolicyError::NoSuite(minimum)) } else { Ok(Self { minimum, suites }) }
    }

    /// The lowest version that may be negotiated.
    #[must_use]
    pub const fn minimum(&self) -> Protocol {
        self.minimum
    }

    /// Every enabled suite with the one version that it belongs to, by IANA name.
    pub fn suites(&self) -> impl Iterator<Item = (Protocol, &'static str)> {
        self.suites.iter().map(|suite| (protocol_of(suite), cipher_suite_name(suite.suite())))
    }

    /// The place of a suite among [`suites`](Self::suites).
    pub(crate) fn index_of(&self, suite: CipherSuite) -> Option<usize> {
        self.suites.iter().position(|enabled| enabled.suite() == suite)
    }

    /// The one crypto provider, with the enabled suites only.
    pub(crate) fn provider(&self) -> Arc<CryptoProvider> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        Arc::new(CryptoProvider { cipher_suites: self.suites.clone(), ..provider })
    }

    /// The versions that have a suite, newest first.
    pub(crate) fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let has_suite = |protocol| self.suites.iter().any(|suite| protocol_of(suite) == protocol);
        let mut versions = Vec::new();
        for protocol in Protocol::ALL.iter().copied().filter(|protocol| has_suite(*protocol)) {
            match protocol {
                Protocol::Tls13 => versions.push(&version::TLS13),
                Protocol::Tls12 => versions.push(&version::TLS12),
                Protocol::Tls11 | Protocol::Tls10 => {}
            }
        }
        versions
    }
}

impl Default for Policy {
    fn default() -> Self {
        let suites = rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES.iter().copied();
        Self {
            minimum: Protocol::Tls13,
            suites: suites.filter(|suite| protocol_of(suite) == Protocol::Tls13).collect(),
        }
    }
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let suites: Vec<&str> = self.suites().map(|(_, name)| name).collect();
        f.debug_struct("Policy").field("minimum", &self.minimum).field("suites", &suites).finish()
    }
}

fn protocol_of(suite: &SupportedCipherSuite) -> Protocol {
    if suite.tls13().is_some() { Protocol::Tls13 } else { Protocol::Tls12 }
}
