//! The list of client identities that a listener lets in, when not everybody with a good certificate may come.

use crate::certificate::rfc4514;
use rustls::pki_types::CertificateDer;
use std::net::IpAddr;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The kinds of rules, for whoever wrote another one.
const KINDS: &str =
    "dns:NAME, uri:URI, uri:spiffe://TRUST-DOMAIN/PATH/*, ip:ADDRESS, email:ADDRESS, subject:RFC-4514-NAME";

/// Why a rule cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule:?} is no rule for allowed clients: {reason}; known: {KINDS}")]
pub struct AllowedClientsError {
    /// The rule.
    pub rule: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Which clients a listener lets in, once their certificate is good: those that one of the rules names. A rule is one of
/// `dns:NAME`, `uri:URI`, `ip:ADDRESS` and `email:ADDRESS`, which compare with the subject alternative names of that kind, or
/// `subject:NAME` with the whole subject as an RFC 4514 string. `uri:spiffe://example.org/path/*` names all SPIFFE IDs below
/// that path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedClients {
    rules: Vec<(String, Rule)>,
}

impl AllowedClients {
    /// The list of these rules.
    ///
    /// # Errors
    /// If one cannot be used; the first is named.
    pub fn new(rules: &[String]) -> Result<Self, AllowedClientsError> {
        let mut list: Vec<(String, Rule)> = Vec::new();
        for text in rules {
            let rule = Rule::parse(text.trim()).map_err(|reason| AllowedClientsError { rule: text.clone(), reason })?;
            if !list.iter().any(|(_, known)| *known == rule) {
                list.push((text.trim().to_owned(), rule));
            }
        }
        Ok(Self { rules: list })
    }

    /// The rules as they were written, without repetitions.
    pub fn rules(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|(text, _)| text.as_str())
    }

    /// The first rule that names this client.
    pub(crate) fn rule_for(&self, leaf: &CertificateDer<'_>) -> Option<&str> {
        let identity = Identity::of(leaf)?;
        self.rules.iter().find(|(_, rule)| rule.names(&identity)).map(|(text, _)| text.as_str())
    }

    /// What this client calls itself, for whoever has to write a rule for it.
    pub(crate) fn identity_of(leaf: &CertificateDer<'_>) -> String {
        Identity::of(leaf).map(|identity| identity.to_string()).unwrap_or_default()
    }
}

/// What a certificate calls its holder.
#[derive(Debug, Default)]
struct Identity {
    subject: String,
    dns: Vec<String>,
    uris: Vec<String>,
    ips: Vec<IpAddr>,
    emails: Vec<String>,
}

impl Identity {
    fn of(leaf: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
        let mut identity = Self { subject: rfc4514(certificate.subject()), ..Self::default() };
        let names = certificate.subject_alternative_name().ok()?;
        for name in names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default() {
            match name {
                GeneralName::DNSName(name) => identity.dns.push((*name).to_owned()),
                GeneralName::URI(uri) => identity.uris.push((*uri).to_owned()),
                GeneralName::RFC822Name(address) => identity.emails.push((*address).to_owned()),
                GeneralName::IPAddress(bytes) => {
                    let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                    identity.ips.extend(v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)));
                }
                _ => {}
            }
        }
        Some(identity)
    }
}

/// As rules would be written.
impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "subject:{}", self.subject)?;
        self.dns.iter().try_for_each(|name| write!(f, " dns:{}", name.escape_debug()))?;
        self.uris.iter().try_for_each(|uri| write!(f, " uri:{}", uri.escape_debug()))?;
        self.ips.iter().try_for_each(|ip| write!(f, " ip:{ip}"))?;
        self.emails.iter().try_for_each(|address| write!(f, " email:{}", address.escape_debug()))
    }
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Dns(String),
    Uri(String),
    /// All SPIFFE IDs that begin with this, which ends in a slash.
    Below(String),
    Ip(IpAddr),
    Email(String),
    Subject(String),
}

const SPIFFE: &str = "spiffe://";

impl Rule {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (kind, value) = text.split_once(':').ok_or("it has no kind")?;
        if value.is_empty() {
            return Err("it names nobody");
        }
        match kind {
            "dns" => Ok(Self::Dns(value.to_ascii_lowercase())),
            "uri" => Self::parse_uri(value),
            "ip" => value.parse().map(Self::Ip).map_err(|_| "that is no address"),
            "email" => Ok(Self::Email(folded(value))),
            "subject" => Ok(Self::Subject(value.to_owned())),
            _ => Err("its kind is unknown"),
        }
    }

    fn parse_uri(value: &str) -> Result<Self, &'static str> {
        let Some(start) = value.strip_suffix('*') else {
            return if value.contains('*') { Err("* goes to the end") } else { Ok(Self::Uri(value.to_owned())) };
        };
        match start.strip_prefix(SPIFFE).and_then(|rest| rest.split_once('/')) {
            Some((domain, _)) if !domain.is_empty() && start.ends_with('/') && !start.contains('*') => {
                Ok(Self::Below(start.to_owned()))
            }
            Some(_) | None => Err("* goes after a slash in the path of a SPIFFE ID"),
        }
    }

    fn names(&self, identity: &Identity) -> bool {
        match self {
            Self::Dns(wanted) => identity.dns.iter().any(|name| name.eq_ignore_ascii_case(wanted)),
            Self::Uri(wanted) => match wanted.strip_prefix(SPIFFE) {
                Some(_) => identity.spiffe_id() == Some(wanted),
                None => identity.uris.contains(wanted),
            },
            Self::Below(start) => identity.spiffe_id().is_some_and(|id| is_below(id, start)),
            Self::Ip(wanted) => identity.ips.contains(wanted),
            Self::Email(wanted) => identity.emails.iter().any(|address| folded(address) == *wanted),
            Self::Subject(wanted) => identity.subject == *wanted,
        }
    }
}

impl Identity {
    /// The SPIFFE ID, which is the only URI of a certificate that has one (X509-SVID, section 2).
    fn spiffe_id(&self) -> Option<&str> {
        match self.uris.as_slice() {
            [only] if only.starts_with(SPIFFE) => Some(only),
            _ => None,
        }
    }
}

/// Whether an ID is below this path, and not only seems so: no segment of the rest is empty or leads up again.
fn is_below(id: &str, start: &str) -> bool {
    let is_name = |segment: &str| !matches!(segment, "" | "." | "..");
    id.strip_prefix(start).is_some_and(|rest| rest.split('/').all(is_name))
}

/// An address of e-mail whose domain, but not whose mailbox, is compared in any case.
fn folded(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((mailbox, domain)) => format!("{mailbox}@{}", domain.to_ascii_lowercase()),
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    fn list(rules: &[&str]) -> AllowedClients {
        AllowedClients::new(&rules.iter().map(|rule| (*rule).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn certificate(names: Vec<SanType>) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Art, Store");
        params.distinguished_name.push(DnType::CommonName, "client");
        params.subject_alt_names = names;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    #[test]
    fn each_kind_compares_with_names_of_its_kind_alone() {
        let leaf = certificate(vec![
            SanType::DnsName("Client.Example".try_into().unwrap()),
            SanType::IpAddress("10.0.0.1".parse().unwrap()),
            SanType::IpAddress("2001:db8::1".parse().unwrap()),
            SanType::Rfc822Name("Me@Mail.Example".try_into().unwrap()),
            uri("urn:client:1"),
        ]);
        for (rule, names) in [
            ("dns:client.example", true),
            ("dns:CLIENT.example", true),
            ("dns:example", false),
            ("dns:10.0.0.1", false),
            ("dns:urn:client:1", false),
            ("ip:10.0.0.1", true),
            ("ip:2001:DB8:0::1", true),
            ("ip:10.0.0.2", false),
            ("email:Me@mail.example", true),
            ("email:me@mail.example", false),
            ("uri:urn:client:1", true),
            ("uri:urn:client:10", false),
            ("uri:URN:client:1", false),
            ("subject:CN=client,O=Art\\, Store", true),
            ("subject:CN=client", false),
        ] {
            assert_eq!(list(&[rule]).rule_for(&leaf), names.then_some(rule), "{rule}");
        }
        let both = list(&["dns:other", "ip:10.0.0.1", "dns:client.example"]);
        assert_eq!(both.rule_for(&leaf), Some("ip:10.0.0.1"));
        assert_eq!(list(&[]).rule_for(&leaf), None);
        assert_eq!(
            AllowedClients::identity_of(&leaf),
            "subject:CN=client,O=Art\\, Store dns:Client.Example uri:urn:client:1 ip:10.0.0.1 ip:2001:db8::1 \
             email:Me@Mail.Example"
        );
        let nobody = CertificateDer::from(vec![0]);
        assert_eq!((both.rule_for(&nobody), AllowedClients::identity_of(&nobody)), (None, String::new()));
    }

    #[test]
    fn spiffe_ids_are_compared_whole_or_below_a_path() {
        let below = "uri:spiffe://example.org/ingester/*";
        for (id, names) in [
            ("spiffe://example.org/ingester/1", true),
            ("spiffe://example.org/ingester/a/b", true),
            ("spiffe://example.org/ingester/", false),
            ("spiffe://example.org/ingester", false),
            ("spiffe://example.org/ingester2/1", false),
            ("spiffe://example.org/ingester/../admin", false),
            ("spiffe://example.org/ingester/./1", false),
            ("spiffe://example.org/ingester//1", false),
            ("spiffe://example.org.evil/ingester/1", false),
            ("https://example.org/ingester/1", false),
        ] {
            assert_eq!(list(&[below]).rule_for(&certificate(vec![uri(id)])).is_some(), names, "{id}");
        }
        let exact = "uri:spiffe://example.org/a";
        assert_eq!(list(&[exact]).rule_for(&certificate(vec![uri("spiffe://example.org/a")])), Some(exact));
        // With two of them it is none.
        let two = certificate(vec![uri("spiffe://example.org/a"), uri("spiffe://example.org/ingester/1")]);
        assert_eq!(list(&[exact, below]).rule_for(&two), None);
    }

    #[test]
    fn wrong_rules_are_named_with_the_known_kinds() {
        for (rule, reason) in [
            ("client", "it has no kind"),
            ("dns:", "it names nobody"),
            ("cn:client", "its kind is unknown"),
            ("ip:10.0.0", "that is no address"),
            ("uri:spiffe://*/a", "* goes to the end"),
            ("uri:https://a/*", "* goes after a slash in the path of a SPIFFE ID"),
            ("uri:spiffe://*", "* goes after a slash in the path of a SPIFFE ID"),
            ("uri:spiffe:///*", "* goes after a slash in the path of a SPIFFE ID"),
            ("uri:spiffe://a/b*", "* goes after a slash in the path of a SPIFFE ID"),
            ("uri:spiffe://a/*/*", "* goes after a slash in the path of a SPIFFE ID"),
        ] {
            let error = AllowedClients::new(&["dns:a".to_owned(), rule.to_owned()]).unwrap_err();
            assert_eq!((error.rule.as_str(), error.reason), (rule, reason));
            let text = format!("{rule:?} is no rule for allowed clients: {reason}; known: dns:NAME, ");
            assert!(error.to_string().starts_with(&text), "{error}");
        }
        assert_eq!(list(&[" dns:a ", "dns:A", "ip:::1"]).rules().collect::<Vec<_>>(), ["dns:a", "ip:::1"]);
        assert_eq!(list(&["email:postmaster"]).rules().count(), 1);
    }
}
