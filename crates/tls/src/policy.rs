//! Which protocol versions, cipher suites and key-exchange groups may be negotiated.

use crate::Protocol;
use crate::names::{cipher_suite_name, group_name, known_cipher_suites, known_groups, parse_cipher_suite, parse_group};
use artstore_metrics::LabelValue as _;
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::{CipherSuite, NamedGroup, SupportedCipherSuite, SupportedProtocolVersion, version};
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
    /// A name that is neither IANA's nor NIST's for a key-exchange group that can be enabled.
    #[error("unknown key-exchange group {name:?}; known: {known}")]
    UnknownGroup {
        /// What was asked for.
        name: String,
        /// All known groups, comma-separated.
        known: String,
    },
    /// None of the groups can be used with this version, which is enabled.
    #[error("none of the key-exchange groups can be used with {0}")]
    NoGroup(Protocol),
}

/// The versions, suites and key-exchange groups that may be negotiated. The default is TLS 1.3 alone, with all its suites, and
/// the post-quantum hybrid X25519MLKEM768 before x25519, secp256r1 and secp384r1.
#[derive(Clone, PartialEq)]
pub struct Policy {
    minimum: Protocol,
    suites: Vec<SupportedCipherSuite>,
    groups: Vec<NamedGroup>,
}

impl Policy {
    /// Versions from `minimum` on. `suites` restricts the suites to these, best first, named as IANA or OpenSSL names them, and
    /// with that the versions to those which have a suite left; none given means all. A listener takes the first of its own
    /// that a client offers.
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
        let mut suites: Vec<SupportedCipherSuite> = all.iter().copied().filter(is_enabled).collect();
        suites.sort_by_key(|suite| wanted.iter().position(|name| *name == suite.suite()));
        if suites.is_empty() {
            return Err(PolicyError::NoSuite(minimum));
        }
        Ok(Self { minimum, suites, groups: default_groups() })
    }

    /// The same with these key-exchange groups, best first, named as IANA or NIST names them.
    ///
    /// # Errors
    /// If a name is unknown, or an enabled version is left without a group.
    pub fn with_groups(self, names: &[String]) -> Result<Self, PolicyError> {
        let mut groups = Vec::new();
        for name in names {
            let known = || known_groups().collect::<Vec<_>>().join(", ");
            let group =
                parse_group(name).ok_or_else(|| PolicyError::UnknownGroup { name: name.clone(), known: known() })?;
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        let policy = Self { groups, ..self };
        for version in policy.versions() {
            if !policy.kx_groups().any(|group| group.usable_for_version(version.version)) {
                let protocol = Protocol::from_rustls(version.version).unwrap_or(policy.minimum);
                return Err(PolicyError::NoGroup(protocol));
            }
        }
        Ok(policy)
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

    /// Every enabled key-exchange group by IANA name, best first.
    pub fn groups(&self) -> impl Iterator<Item = &'static str> {
        self.groups.iter().map(|group| group_name(*group))
    }

    /// The place of a group among [`groups`](Self::groups).
    pub(crate) fn index_of_group(&self, group: NamedGroup) -> Option<usize> {
        self.groups.iter().position(|enabled| *enabled == group)
    }

    fn kx_groups(&self) -> impl Iterator<Item = &'static dyn SupportedKxGroup> {
        let all = rustls::crypto::aws_lc_rs::ALL_KX_GROUPS;
        self.groups.iter().filter_map(|group| all.iter().find(|known| known.name() == *group).copied())
    }

    /// The one crypto provider, with the enabled suites and groups only.
    pub(crate) fn provider(&self) -> Arc<CryptoProvider> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        Arc::new(CryptoProvider {
            cipher_suites: self.suites.clone(),
            kx_groups: self.kx_groups().collect(),
            ..provider
        })
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
            groups: default_groups(),
        }
    }
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let suites: Vec<&str> = self.suites().map(|(_, name)| name).collect();
        let groups: Vec<&str> = self.groups().collect();
        f.debug_struct("Policy")
            .field("minimum", &self.minimum)
            .field("suites", &suites)
            .field("groups", &groups)
            .finish()
    }
}

fn default_groups() -> Vec<NamedGroup> {
    rustls::crypto::aws_lc_rs::DEFAULT_KX_GROUPS.iter().map(|group| group.name()).collect()
}

fn protocol_of(suite: &SupportedCipherSuite) -> Protocol {
    if suite.tls13().is_some() { Protocol::Tls13 } else { Protocol::Tls12 }
}
