//! Names of protocol versions and cipher suites: IANA's in metrics and logs, OpenSSL's understood in configuration.

use artstore_metrics::label_enum;
use rustls::{CipherSuite, NamedGroup, ProtocolVersion};

label_enum! {
    /// A TLS protocol version.
    pub enum Protocol as "protocol" {
        /// TLS 1.3.
        Tls13 = "TLSv1.3",
        /// TLS 1.2.
        Tls12 = "TLSv1.2",
        /// TLS 1.1: never negotiated, its series stand at 0.
        Tls11 = "TLSv1.1",
        /// TLS 1.0: never negotiated, its series stand at 0.
        Tls10 = "TLSv1.0",
    }
}

impl Protocol {
    /// The version with this name, as in `TLS_PROTOCOL_VERSION`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        use artstore_metrics::LabelValue as _;
        Self::ALL.iter().copied().find(|protocol| protocol.label().eq_ignore_ascii_case(name.trim()))
    }

    /// rustls' version as ours, if it is one of the four.
    #[must_use]
    pub fn from_rustls(version: ProtocolVersion) -> Option<Self> {
        match version {
            ProtocolVersion::TLSv1_3 => Some(Self::Tls13),
            ProtocolVersion::TLSv1_2 => Some(Self::Tls12),
            ProtocolVersion::TLSv1_1 => Some(Self::Tls11),
            ProtocolVersion::TLSv1_0 => Some(Self::Tls10),
            _ => None,
        }
    }
}

/// The name of a protocol version as metrics and logs write it, `unknown` for one that is none of ours.
#[must_use]
pub fn protocol_name(version: ProtocolVersion) -> &'static str {
    Protocol::from_rustls(version).map_or("unknown", Protocol::label)
}

/// IANA and OpenSSL name of every suite that can be enabled, and its number.
const SUITES: [(CipherSuite, &str, &str); 9] = [
    (CipherSuite::TLS13_AES_256_GCM_SHA384, "TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
    (CipherSuite::TLS13_AES_128_GCM_SHA256, "TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
    (CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, "TLS_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256"),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        "ECDHE-RSA-CHACHA20-POLY1305",
    ),
];

/// IANA's name of a suite; rustls' own for one that cannot be enabled here, `unknown` if it has none either.
#[must_use]
pub fn cipher_suite_name(suite: CipherSuite) -> &'static str {
    let known = SUITES.iter().find(|(number, _, _)| *number == suite).map(|(_, iana, _)| *iana);
    known.or_else(|| suite.as_str()).unwrap_or("unknown")
}

/// The suite with this IANA or OpenSSL name, in any case.
#[must_use]
pub fn parse_cipher_suite(name: &str) -> Option<CipherSuite> {
    let wanted = name.trim();
    let is_wanted = |known: &str| known.eq_ignore_ascii_case(wanted);
    SUITES.iter().find(|(_, iana, openssl)| is_wanted(iana) || is_wanted(openssl)).map(|(number, _, _)| *number)
}

/// IANA's names of all suites that can be enabled, strongest first.
pub fn known_cipher_suites() -> impl Iterator<Item = &'static str> {
    SUITES.iter().map(|(_, iana, _)| *iana)
}

/// Number, IANA name and another known name of every key-exchange group that can be enabled.
const GROUPS: [(NamedGroup, &str, &str); 7] = [
    (NamedGroup::X25519MLKEM768, "X25519MLKEM768", "X25519MLKEM768"),
    (NamedGroup::secp256r1MLKEM768, "SecP256r1MLKEM768", "SecP256r1MLKEM768"),
    (NamedGroup::X25519, "x25519", "Curve25519"),
    (NamedGroup::secp256r1, "secp256r1", "P-256"),
    (NamedGroup::secp384r1, "secp384r1", "P-384"),
    (NamedGroup::MLKEM768, "MLKEM768", "MLKEM768"),
    (NamedGroup::MLKEM1024, "MLKEM1024", "MLKEM1024"),
];

/// IANA's name of a key-exchange group; rustls' own for one that cannot be enabled here, `unknown` if it has none either.
#[must_use]
pub fn group_name(group: NamedGroup) -> &'static str {
    let known = GROUPS.iter().find(|(number, _, _)| *number == group).map(|(_, iana, _)| *iana);
    known.or_else(|| group.as_str()).unwrap_or("unknown")
}

/// The key-exchange group with this name, IANA's or NIST's, in any case.
#[must_use]
pub fn parse_group(name: &str) -> Option<NamedGroup> {
    let wanted = name.trim();
    let is_wanted = |known: &str| known.eq_ignore_ascii_case(wanted);
    GROUPS.iter().find(|(_, iana, other)| is_wanted(iana) || is_wanted(other)).map(|(number, _, _)| *number)
}

/// IANA's names of all key-exchange groups that can be enabled.
pub fn known_groups() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().map(|(_, iana, _)| *iana)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_the_names_of_the_contract() {
        for (version, name) in [
            (ProtocolVersion::TLSv1_3, "TLSv1.3"),
            (ProtocolVersion::TLSv1_2, "TLSv1.2"),
            (ProtocolVersion::TLSv1_1, "TLSv1.1"),
            (ProtocolVersion::TLSv1_0, "TLSv1.0"),
            (ProtocolVersion::SSLv3, "unknown"),
        ] {
            assert_eq!(protocol_name(version), name);
        }
        assert_eq!(Protocol::parse(" tlsv1.3 "), Some(Protocol::Tls13));
        assert_eq!(Protocol::parse("TLSv1.0"), Some(Protocol::Tls10));
        assert_eq!(Protocol::parse("SSLv3"), None);
    }

    /// Whatever can be enabled has IANA's name, and is found by either name.
    #[test]
    fn every_suite_of_the_provider_is_known_by_both_names() {
        let all = rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES;
        assert_eq!(all.len(), SUITES.len());
        for suite in all {
            let (number, iana, openssl) = SUITES.iter().find(|(number, _, _)| *number == suite.suite()).unwrap();
            assert_eq!(cipher_suite_name(suite.suite()), *iana);
            assert_eq!(parse_cipher_suite(&iana.to_lowercase()), Some(*number));
            assert_eq!(parse_cipher_suite(openssl), Some(*number));
            let own = suite.suite().as_str().unwrap().replace("TLS13_", "TLS_");
            assert_eq!(own, *iana);
        }
        assert_eq!(parse_cipher_suite("TLS_RSA_WITH_NULL_MD5"), None);
        assert_eq!(cipher_suite_name(CipherSuite::TLS_RSA_WITH_AES_128_CBC_SHA), "TLS_RSA_WITH_AES_128_CBC_SHA");
        assert_eq!(cipher_suite_name(CipherSuite::Unknown(0xfafa)), "unknown");
        assert_eq!(known_cipher_suites().count(), 9);
    }

    /// Whatever can be enabled has IANA's name, by which it is found.
    #[test]
    fn every_group_of_the_provider_is_known() {
        let all = rustls::crypto::aws_lc_rs::ALL_KX_GROUPS;
        assert_eq!(all.len(), GROUPS.len());
        for group in all {
            let name = group_name(group.name());
            assert!(known_groups().any(|known| known == name), "{name}");
            assert_eq!(parse_group(&name.to_uppercase()), Some(group.name()));
        }
        // From IANA's registry of supported groups.
        for (number, name) in [(0x0017, "secp256r1"), (0x0018, "secp384r1"), (0x001d, "x25519"), (0x0201, "MLKEM768")] {
            assert_eq!(group_name(NamedGroup::from(number)), name);
        }
        for (number, name) in [(0x0202, "MLKEM1024"), (0x11eb, "SecP256r1MLKEM768"), (0x11ec, "X25519MLKEM768")] {
            assert_eq!(group_name(NamedGroup::from(number)), name);
        }
        assert_eq!(parse_group(" p-256 "), Some(NamedGroup::secp256r1));
        assert_eq!(parse_group("secp521r1"), None);
        assert_eq!(group_name(NamedGroup::secp521r1), "secp521r1");
        assert_eq!(group_name(NamedGroup::Unknown(0xfafa)), "unknown");
    }
}
