//! What people and metrics want to know of a certificate: subject, fingerprint, validity.

mod profile;

pub use profile::Profile;

use artstore_metrics::{UnixTime, label_enum};
use rustls::pki_types::CertificateDer;
use std::fmt::Write as _;
use std::time::Duration;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

label_enum! {
    /// The role of the file that a certificate was read from.
    pub enum CertType as "cert_type" {
        /// A trust bundle.
        Ca = "ca",
        /// Our own certificate as a client.
        Client = "client",
        /// Our own certificate as a server.
        Server = "server",
    }
}

/// A certificate's particulars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInfo {
    /// The subject as an RFC 4514 string; the first subject alternative name if the subject is empty.
    pub subject: String,
    /// The issuer as an RFC 4514 string.
    pub issuer: String,
    /// The serial number in hexadecimal.
    pub serial: String,
    /// DNS names and addresses that the certificate is for.
    pub names: Vec<String>,
    /// The first moment of validity.
    pub not_before: UnixTime,
    /// The last moment of validity.
    pub not_after: UnixTime,
    /// SHA-256 over the DER encoding.
    pub sha256_fingerprint: [u8; 32],
    /// What it may be used for, and how strong it is.
    pub profile: Profile,
}

/// The certificate that a peer presented and we verified.
pub type PeerCertificate = CertificateInfo;

impl CertificateInfo {
    /// Reads the particulars out of a DER encoding; nothing if it is none.
    #[must_use]
    pub fn from_der(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let names: Vec<String> = match certificate.subject_alternative_name() {
            Ok(Some(extension)) => extension.value.general_names.iter().filter_map(general_name).collect(),
            Ok(None) | Err(_) => Vec::new(),
        };
        let subject = rfc4514(certificate.subject());
        Some(Self {
            subject: if subject.is_empty() { names.first().cloned().unwrap_or_default() } else { subject },
            issuer: rfc4514(certificate.issuer()),
            serial: hex(certificate.raw_serial()),
            names,
            not_before: moment(certificate.validity().not_before.timestamp()),
            not_after: moment(certificate.validity().not_after.timestamp()),
            sha256_fingerprint: sha256(der),
            profile: Profile::of(&certificate),
        })
    }

    /// The fingerprint in hexadecimal.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        hex(&self.sha256_fingerprint)
    }

    /// Days until notAfter, with their fraction, negative once past.
    #[must_use]
    pub fn days_left(&self, now: UnixTime) -> f64 {
        days_between(now, self.not_after)
    }
}

/// The first and the last moment of validity, without the rest: for every handshake.
pub(crate) fn validity(der: &CertificateDer<'_>) -> Option<(UnixTime, UnixTime)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    Some((moment(validity.not_before.timestamp()), moment(validity.not_after.timestamp())))
}

/// Days from one moment to another, with their fraction, negative if it is before.
pub(crate) fn days_between(from: UnixTime, to: UnixTime) -> f64 {
    (to.as_secs_f64() - from.as_secs_f64()) / 86_400.0
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    out
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Times before 1970 are as good as the epoch: long past.
pub(crate) fn moment(timestamp: i64) -> UnixTime {
    UnixTime::from_duration(Duration::from_secs(u64::try_from(timestamp).unwrap_or(0)))
}

fn general_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => Some(one_line(name)),
        GeneralName::IPAddress(bytes) => match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
            (Ok(v4), _) => Some(std::net::Ipv4Addr::from(v4).to_string()),
            (_, Ok(v6)) => Some(std::net::Ipv6Addr::from(v6).to_string()),
            (Err(_), Err(_)) => None,
        },
        _ => None,
    }
}

/// A name as it is, but for control characters, in hexadecimal as RFC 4514 has them: whoever issued it cannot begin a line of a
/// log or steer a terminal. The backslash that they begin with is written so, too, so that no two names become one.
fn one_line(name: &str) -> String {
    name.chars().fold(String::with_capacity(name.len()), |mut out, character| {
        if character.is_control() || character == '\\' {
            push_hex(&mut out, character)
        } else {
            out.push(character)
        }
        out
    })
}

/// RFC 4514: the last relative name first, `+` inside one, special characters escaped.
pub(crate) fn rfc4514(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> =
        name.iter_rdn().map(|rdn| rdn.iter().map(attribute).collect::<Vec<_>>().join("+")).collect();
    parts.reverse();
    parts.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let short = match oid.as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        other => other,
    };
    match attribute.as_str() {
        Ok(value) => format!("{short}={}", escaped(value)),
        Err(_) => format!("{short}=#{}", hex(attribute.attr_value().data)),
    }
}

/// A value as RFC 4514 section 2.4 writes it; control characters in hexadecimal, so that logs stay one line.
fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut out = String::with_capacity(value.len());
    for (index, character) in value.chars().enumerate() {
        let at_edge = (index == 0 && matches!(character, ' ' | '#')) || (index == last && character == ' ');
        if at_edge || matches!(character, '"' | '+' | ',' | ';' | '<' | '>' | '\\') {
            out.push('\\');
            out.push(character);
        } else if character.is_control() {
            push_hex(&mut out, character);
        } else {
            out.push(character);
        }
    }
    out
}

/// Each byte as a backslash and two digits.
fn push_hex(out: &mut String, character: char) {
    let mut buffer = [0; 4];
    for byte in character.encode_utf8(&mut buffer).bytes() {
        // Writing to a String cannot fail.
        let _ = write!(out, "\\{byte:02X}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, SanType};

    fn issued(subject: &[(DnType, DnValue)], names: Vec<SanType>) -> CertificateInfo {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        params.subject_alt_names = names;
        params.not_before = time::OffsetDateTime::from_unix_timestamp(-5).unwrap();
        params.not_after = time::OffsetDateTime::from_unix_timestamp(86_400).unwrap();
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        CertificateInfo::from_der(certificate.der()).unwrap()
    }

    #[test]
    fn subjects_are_rfc_4514_strings() {
        let utf8 = |text: &str| DnValue::Utf8String(text.to_owned());
        let info = issued(
            &[
                (DnType::CountryName, DnValue::PrintableString("DE".try_into().unwrap())),
                (DnType::StateOrProvinceName, utf8("Berlin")),
                (DnType::LocalityName, utf8("#1")),
                (DnType::OrganizationName, utf8("Art, \"Store\" <a+b>; \\ ")),
                (DnType::OrganizationalUnitName, utf8(" x\ny")),
                (DnType::CustomDnType(vec![2, 5, 4, 9]), utf8("Street")),
                (DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 1]), utf8("uid")),
                (DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 25]), utf8("dc")),
                (DnType::CustomDnType(vec![2, 5, 4, 5]), utf8("serial")),
                (DnType::CommonName, utf8("Grüße")),
            ],
            Vec::new(),
        );
        assert_eq!(
            info.subject,
            "CN=Grüße,2.5.4.5=serial,DC=dc,UID=uid,STREET=Street,OU=\\ x\\0Ay,\
             O=Art\\, \\\"Store\\\" \\<a\\+b\\>\\; \\\\\\ ,L=\\#1,ST=Berlin,C=DE"
        );
        assert_eq!(info.issuer, info.subject);
    }

    #[test]
    fn a_text_that_is_none_is_written_in_hexadecimal() {
        let info = issued(&[(DnType::CommonName, DnValue::BmpString("ab".try_into().unwrap()))], Vec::new());
        assert_eq!(info.subject, "CN=#00610062");
    }

    #[test]
    fn an_empty_subject_is_shown_as_the_first_name() {
        let names = vec![
            SanType::OtherName((vec![1, 2, 3], rcgen::OtherNameValue::Utf8String("other".to_owned()))),
            SanType::DnsName("a.example".try_into().unwrap()),
            SanType::IpAddress("10.0.0.1".parse().unwrap()),
            SanType::IpAddress("::1".parse().unwrap()),
            SanType::URI("urn:x".try_into().unwrap()),
            SanType::Rfc822Name("a@b.example".try_into().unwrap()),
        ];
        let info = issued(&[], names);
        assert_eq!(info.subject, "a.example");
        assert_eq!(info.names, ["a.example", "10.0.0.1", "::1", "urn:x", "a@b.example"]);
        assert_eq!(issued(&[], Vec::new()).subject, "");
    }

    #[test]
    fn no_name_is_more_than_a_line() {
        let names = ["a.example\nERROR", "\u{1b}[31m", "\\0A"].map(|name| SanType::DnsName(name.try_into().unwrap()));
        let info = issued(&[], names.to_vec());
        assert_eq!(info.subject, r"a.example\0AERROR");
        assert_eq!(info.names, [r"a.example\0AERROR", r"\1B[31m", r"\5C0A"]);
    }

    #[test]
    fn validity_and_identity() {
        let info = issued(&[], Vec::new());
        assert_eq!((info.not_before, info.not_after), (UnixTime::default(), UnixTime::from_secs(86_400)));
        assert_eq!(info.days_left(UnixTime::from_secs(43_200)), 0.5);
        assert_eq!(info.days_left(UnixTime::from_secs(2 * 86_400)), -1.0);
        assert_eq!(info.fingerprint(), hex(&info.sha256_fingerprint));
        assert_eq!(hex(&sha256(b"abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(!info.serial.is_empty());
    }
}
