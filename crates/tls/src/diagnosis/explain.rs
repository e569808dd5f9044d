//! From an error and what is known on our side to a culprit, a summary and advice.

use super::own::{OwnUse, dates, examine_own};
use super::words::{described, list, moment};
use super::{Culprit, Diagnosis};
use crate::certificate::CertificateInfo;
use crate::crl::CrlInfo;
use crate::error::{FoundBy, TlsError, TlsErrorType};
use crate::identity::{Identity, Trust};
use crate::names::Protocol;
use crate::policy::Policy;
use artstore_metrics::{LabelValue as _, UnixTime};

/// Whether we refused the server for its certificate, so that it is worth seeing.
pub(super) fn is_about_their_certificate(error: &TlsError) -> bool {
    error.found_by() == FoundBy::Local
        && match error.kind() {
            TlsErrorType::CertExpired
            | TlsErrorType::CertNotYetValid
            | TlsErrorType::CertUntrusted
            | TlsErrorType::CertRevoked
            | TlsErrorType::CertNameMismatch
            | TlsErrorType::CertWrongPurpose
            | TlsErrorType::CertInvalid
            | TlsErrorType::RevocationUnknown => true,
            TlsErrorType::CertMissing
            | TlsErrorType::ProtocolVersion
            | TlsErrorType::CipherMismatch
            | TlsErrorType::AlpnMismatch
            | TlsErrorType::NotTls
            | TlsErrorType::ProtocolError
            | TlsErrorType::PeerAlert
            | TlsErrorType::Timeout
            | TlsErrorType::Closed
            | TlsErrorType::Internal => false,
        }
}

/// What is known when a handshake has failed.
pub(super) struct Context<'a> {
    pub(super) server: String,
    /// The server's certificate, if we refused it and could see it.
    pub(super) seen: Option<CertificateInfo>,
    pub(super) identity: Option<&'a Identity>,
    pub(super) trust: &'a Trust,
    pub(super) policy: &'a Policy,
    pub(super) now: UnixTime,
}

/// What came out, before it is put together with the error.
struct Finding {
    culprit: Culprit,
    certificate: Option<CertificateInfo>,
    list: Option<CrlInfo>,
    summary: String,
    advice: String,
}

impl Finding {
    fn new(culprit: Culprit, summary: String, advice: &str) -> Self {
        Self { culprit, certificate: None, list: None, summary, advice: advice.to_owned() }
    }

    fn certificate(mut self, certificate: Option<CertificateInfo>) -> Self {
        self.certificate = certificate;
        self
    }
}

impl Context<'_> {
    pub(super) fn explain(&self, error: TlsError) -> Diagnosis {
        let finding = match error.found_by() {
            FoundBy::Local => self.found_by_us(&error),
            FoundBy::Peer => self.found_by_them(&error),
            FoundBy::Transport => self.broken(&error),
        };
        let Finding { culprit, certificate, list, summary, advice } = finding;
        Diagnosis { error, culprit, certificate, list, summary, advice }
    }

    fn found_by_us(&self, error: &TlsError) -> Finding {
        let server = &self.server;
        let theirs = self.seen.as_ref().map_or_else(|| "which could not be seen".to_owned(), described);
        let refused = |why: String, advice: &str| {
            let summary = format!("we refuse {server}: {why}: {theirs}");
            Finding::new(Culprit::TheirCertificate, summary, advice).certificate(self.seen.clone())
        };
        match error.kind() {
            TlsErrorType::CertExpired => refused(
                format!("by our clock ({}) its certificate or one of its issuers has expired", moment(self.now)),
                "renew the server's certificate; if its dates are good, set this machine's clock",
            ),
            TlsErrorType::CertNotYetValid => refused(
                format!("by our clock ({}) its certificate or one of its issuers is not valid yet", moment(self.now)),
                "set this machine's clock; if it is right, the server's certificate was issued with a date in the future",
            ),
            TlsErrorType::CertUntrusted => refused(
                format!("nobody whom we trust ({}) vouches for its certificate", self.authorities()),
                "add the server's issuer to our trust bundle, have the server send its intermediates, or give it a certificate of an authority that we trust",
            ),
            TlsErrorType::CertRevoked => refused(
                "its certificate is on a revocation list".to_owned(),
                "give the server a new certificate and find out why the old one was revoked",
            ),
            TlsErrorType::CertNameMismatch => refused(
                format!("its certificate is for {}, not for {server}", self.their_names()),
                "call the server by a name of its certificate, or give it one that has this name",
            ),
            TlsErrorType::CertWrongPurpose => refused(
                "its certificate may not be used by a server (extended key usage)".to_owned(),
                "give the server a certificate with the usage serverAuth",
            ),
            TlsErrorType::RevocationUnknown => self.unknown_status(),
            TlsErrorType::CertInvalid => refused(
                format!("its certificate is broken ({})", error.detail()),
                "inspect the server's certificate and chain with openssl s_client -showcerts, and replace what is broken",
            ),
            TlsErrorType::ProtocolVersion => self.no_version(error),
            TlsErrorType::CipherMismatch => self.no_suite(error),
            TlsErrorType::AlpnMismatch => self.no_protocol(error),
            TlsErrorType::NotTls => Finding::new(
                Culprit::PlainText,
                format!("{server} does not speak TLS on this port: it answered in plain text"),
                "check the port, and whether TLS is switched off at the server or ended before it by a proxy",
            ),
            TlsErrorType::CertMissing
            | TlsErrorType::ProtocolError
            | TlsErrorType::PeerAlert
            | TlsErrorType::Timeout
            | TlsErrorType::Closed
            | TlsErrorType::Internal => self.unexplained(error),
        }
    }

    /// We cannot tell whether the server's certificate is revoked: our lists are stale, or do not cover it.
    fn unknown_status(&self) -> Finding {
        let lists = self.trust.revocation().map(crate::crl::Revocation::lists).unwrap_or_default();
        let stale = lists.iter().find(|list| list.next_update.is_some_and(|until| until < self.now));
        let theirs = self.seen.as_ref().map_or_else(|| "its certificate".to_owned(), described);
        let (why, advice) = match stale {
            Some(stale) => (
                format!("our revocation list is stale: {}", list(stale)),
                "fetch the current revocation list; if its date is good, set this machine's clock",
            ),
            None => (
                format!("none of our {} revocation lists covers the issuers of its certificate", lists.len()),
                "add the revocation list of each authority in the server's chain",
            ),
        };
        let summary = format!("we refuse {}: {why}; it shows {theirs}", self.server);
        let finding = Finding::new(Culprit::OurList, summary, advice).certificate(self.seen.clone());
        Finding { list: stale.cloned(), ..finding }
    }

    fn found_by_them(&self, error: &TlsError) -> Finding {
        match error.kind() {
            TlsErrorType::CertExpired
            | TlsErrorType::CertNotYetValid
            | TlsErrorType::CertUntrusted
            | TlsErrorType::CertRevoked
            | TlsErrorType::CertNameMismatch
            | TlsErrorType::CertWrongPurpose
            | TlsErrorType::CertMissing
            | TlsErrorType::CertInvalid
            | TlsErrorType::RevocationUnknown => match self.identity {
                Some(identity) => self.they_refuse(identity, error),
                None => Finding::new(
                    Culprit::OurCertificate,
                    format!("{} refuses us: it requires a certificate and we show none", self.server),
                    "configure a client certificate and its key that the server trusts",
                ),
            },
            TlsErrorType::ProtocolVersion => self.no_version(error),
            TlsErrorType::CipherMismatch => self.no_suite(error),
            TlsErrorType::AlpnMismatch => self.no_protocol(error),
            TlsErrorType::PeerAlert if error.detail().contains("AccessDenied") => self.not_allowed(),
            TlsErrorType::NotTls
            | TlsErrorType::ProtocolError
            | TlsErrorType::PeerAlert
            | TlsErrorType::Timeout
            | TlsErrorType::Closed
            | TlsErrorType::Internal => self.unexplained(error),
        }
    }

    /// The server says something against our certificate. Alerts are vague, so we look at it ourselves: dates that are bad are
    /// the reason, whatever the alert; a certificate that our own trust finds good points to the server's judgement.
    fn they_refuse(&self, identity: &Identity, error: &TlsError) -> Finding {
        let (server, ours) = (&self.server, identity.certificates().first().cloned());
        let shown = ours.as_ref().map_or_else(|| "our certificate".to_owned(), described);
        let refused = |why: String, advice: &str| {
            let summary = format!("{server} refuses our certificate: {why}: {shown}");
            Finding::new(Culprit::OurCertificate, summary, advice).certificate(ours.clone())
        };
        let doubtful = |why: &str, advice: &str| {
            let summary = format!("{server} refuses our certificate, which seems good to us: {why}: {shown}");
            Finding::new(Culprit::TheirJudgement, summary, advice).certificate(ours.clone())
        };
        let by_dates = identity.certificates().iter().find_map(|certificate| dates(certificate, self.now));
        let by_us = examine_own(identity, self.trust, OwnUse::Client, self.now).ok().flatten();
        match (by_dates, error.kind(), by_us) {
            (Some(TlsErrorType::CertExpired), _, _) => refused(
                "it has expired".to_owned(),
                "renew our certificate; if its dates are good, set this machine's clock",
            ),
            (Some(_), _, _) => refused(
                "it is not valid yet".to_owned(),
                "wait for its first day, or have it issued anew; if its dates are good, set this machine's clock",
            ),
            (None, TlsErrorType::CertRevoked, _) | (None, _, Some(TlsErrorType::CertRevoked)) => refused(
                "it is on a revocation list".to_owned(),
                "get a new certificate, and find out why this one was revoked",
            ),
            (None, TlsErrorType::CertWrongPurpose, _) | (None, _, Some(TlsErrorType::CertWrongPurpose)) => refused(
                "it may not be used by a client (extended key usage)".to_owned(),
                "get a certificate with the usage clientAuth",
            ),
            (None, TlsErrorType::CertMissing, _) => refused(
                "none of ours fits what it asks for".to_owned(),
                "use a key and signature that the server accepts",
            ),
            (None, TlsErrorType::CertUntrusted, Some(TlsErrorType::CertUntrusted)) => refused(
                "nobody whom it trusts vouches for it, and nobody whom we trust either".to_owned(),
                "get a certificate of an authority that the server trusts, or add ours to the server's trust bundle; send the intermediates",
            ),
            (None, TlsErrorType::CertUntrusted, _) => doubtful(
                "its trust bundle lacks our issuer, or its revocation list is stale or missing",
                "compare the server's trust bundle with our issuer, and the nextUpdate of its revocation list with the date",
            ),
            (None, TlsErrorType::CertExpired | TlsErrorType::CertNotYetValid, _) => doubtful(
                "its clock is wrong, or its revocation list is stale (OpenSSL calls that an expired certificate)",
                "check the server's clock, and the nextUpdate of its revocation list",
            ),
            (
                None,
                TlsErrorType::CertNameMismatch
                | TlsErrorType::CertInvalid
                | TlsErrorType::RevocationUnknown
                | TlsErrorType::ProtocolVersion
                | TlsErrorType::CipherMismatch
                | TlsErrorType::AlpnMismatch
                | TlsErrorType::NotTls
                | TlsErrorType::ProtocolError
                | TlsErrorType::PeerAlert
                | TlsErrorType::Timeout
                | TlsErrorType::Closed
                | TlsErrorType::Internal,
                _,
            ) => refused(
                format!("it says no more than {:?}", error.detail()),
                "the server's log names the reason; check dates, names and usages of our certificate with artstore certs inspect",
            ),
        }
    }

    /// The server finds our certificate good, and does not let us in all the same.
    fn not_allowed(&self) -> Finding {
        let ours = self.identity.and_then(|identity| identity.certificates().first()).cloned();
        let shown = ours.as_ref().map_or_else(|| "our certificate".to_owned(), described);
        Finding::new(
            Culprit::TheirJudgement,
            format!(
                "{} denies us access: its list of allowed clients does not name our certificate: {shown}",
                self.server
            ),
            "have the server's operator add us to its allowed clients, by a name of our certificate or by its subject",
        )
        .certificate(ours)
    }

    fn no_version(&self, error: &TlsError) -> Finding {
        Finding::new(
            Culprit::Versions,
            format!(
                "{} and we have no TLS version in common, {}: we speak {}",
                self.server,
                finder(error),
                self.versions()
            ),
            "allow a common version at one side: tls.protocol_version is the oldest that we accept",
        )
    }

    fn no_suite(&self, error: &TlsError) -> Finding {
        let suites: Vec<&str> = self.policy.suites().map(|(_, suite)| suite).collect();
        Finding::new(
            Culprit::Suites,
            format!(
                "{} and we have no cipher suite, group or signature in common, {}: we allow {}",
                self.server,
                finder(error),
                suites.join(", ")
            ),
            "allow a common suite at one side: tls.ciphers lists ours",
        )
    }

    fn no_protocol(&self, error: &TlsError) -> Finding {
        Finding::new(
            Culprit::ApplicationProtocol,
            format!("{} and we have no application protocol (ALPN) in common, {}", self.server, finder(error)),
            "let the server offer http/1.1",
        )
    }

    fn broken(&self, error: &TlsError) -> Finding {
        let server = &self.server;
        match error.kind() {
            TlsErrorType::Timeout => Finding::new(
                Culprit::Silence,
                format!("{server} accepts the connection and is silent: {}", error.detail()),
                "check that the server is not stuck or overloaded, and that no firewall drops larger packets",
            ),
            TlsErrorType::Closed => Finding::new(
                Culprit::Connection,
                format!("the connection to {server} ends inside the handshake, without an alert: {}", error.detail()),
                "see the server's log at this moment; a proxy or firewall in between may cut TLS, and a server that stops may too",
            ),
            TlsErrorType::CertExpired
            | TlsErrorType::CertNotYetValid
            | TlsErrorType::CertUntrusted
            | TlsErrorType::CertRevoked
            | TlsErrorType::CertNameMismatch
            | TlsErrorType::CertWrongPurpose
            | TlsErrorType::CertMissing
            | TlsErrorType::CertInvalid
            | TlsErrorType::RevocationUnknown
            | TlsErrorType::ProtocolVersion
            | TlsErrorType::CipherMismatch
            | TlsErrorType::AlpnMismatch
            | TlsErrorType::NotTls
            | TlsErrorType::ProtocolError
            | TlsErrorType::PeerAlert
            | TlsErrorType::Internal => self.unexplained(error),
        }
    }

    fn unexplained(&self, error: &TlsError) -> Finding {
        let who = match error.found_by() {
            FoundBy::Local => "we give up the handshake with",
            FoundBy::Peer => "we are given up by",
            FoundBy::Transport => "the connection fails with",
        };
        Finding::new(
            Culprit::Unknown,
            format!("{who} {}: {}", self.server, error.detail()),
            "compare both sides' logs of this moment; something in between may change the bytes",
        )
    }

    fn authorities(&self) -> String {
        let subjects: Vec<&str> =
            self.trust.certificates().iter().map(|authority| authority.subject.as_str()).collect();
        subjects.join("; ")
    }

    fn their_names(&self) -> String {
        let names = self.seen.as_ref().map(|seen| seen.names.join(", ")).unwrap_or_default();
        if names.is_empty() { "other names".to_owned() } else { names }
    }

    fn versions(&self) -> String {
        let has = |version: Protocol| self.policy.suites().any(|(protocol, _)| protocol == version);
        let versions: Vec<&str> =
            Protocol::ALL.iter().filter(|version| has(**version)).map(|version| version.label()).collect();
        versions.join(", ")
    }
}

/// Who noticed, as half a sentence.
const fn finder(error: &TlsError) -> &'static str {
    match error.found_by() {
        FoundBy::Local => "we find",
        FoundBy::Peer => "it finds",
        FoundBy::Transport => "it seems",
    }
}
