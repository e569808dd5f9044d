//! The last errors: which counters of failures moved, when, what that means and where to read on.
//!
//! Nothing here is text from outside: families, label values of closed sets and configured addresses only.

use artstore_auth::AuthErrorType;
use artstore_metrics::{Family, LabelValue as _, Sample};
use artstore_tls::{ReloadReason, TlsErrorType};
use serde::Serialize;
use std::collections::BTreeMap;

/// So many kinds of errors are kept, the latest ones.
pub(super) const KEPT: usize = 20;

/// One kind of error and when it last came.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct ErrorView {
    /// When it came last, in seconds since 1970, to the sampling interval.
    pub(super) last: f64,
    /// When it came first since it is listed.
    pub(super) first: f64,
    /// How often, since it is listed.
    pub(super) count: u64,
    /// The family that counts it.
    pub(super) family: &'static str,
    /// Its kind: the label that tells kinds apart, by its value.
    pub(super) kind: String,
    /// The configured address that it is about; empty if the family has none.
    pub(super) place: String,
    /// What it means.
    pub(super) meaning: String,
    /// Where to read on.
    pub(super) runbook: String,
}

/// A family that counts failures.
struct Watched {
    family: &'static Family,
    /// The label that names the kind; `""` if there is one kind.
    kind: &'static str,
    /// The values of that label which are failures of ours to tell; all but `""` if it is empty.
    only: &'static [&'static str],
    /// The label that names a configured address.
    place: &'static str,
    /// How a sentence about it begins.
    about: &'static str,
    meaning: fn(&str) -> Option<&'static str>,
    runbook: fn(&str) -> String,
}

const fn watched(family: &'static Family, kind: &'static str, about: &'static str) -> Watched {
    Watched { family, kind, only: &[], place: "", about, meaning: |_| None, runbook: |_| page("tls") }
}

/// A page of the runbooks.
fn page(name: &str) -> String {
    crate::rules::runbook_url(name)
}

fn tls_page(kind: &str) -> String {
    format!("{}#{kind}", page("tls"))
}

fn watch_list() -> [Watched; 11] {
    use artstore_admin::metrics as admin;
    use artstore_auth::metrics as auth;
    use artstore_element::metrics as element;
    use artstore_http::metrics as http;
    use artstore_ingester::metrics as ingester;
    use artstore_tls::metrics as tls;
    const OURS: &[&str] =
        &["INTERNAL", "ADMIN_UNAVAILABLE", "ELEMENT_UPLOAD_FAILED", "NO_STORAGE_AVAILABLE", "STORAGE_FULL"];
    [
        Watched {
            place: "admin_module_url",
            meaning: |kind| AuthErrorType::ALL.iter().find(|one| one.as_str() == kind).map(|one| of_auth(*one)),
            runbook: |_| page("ArtstoreAuthHighErrorRate"),
            ..watched(&auth::ERRORS, "error_type", "No token or no keys came from the Admin Module")
        },
        Watched {
            meaning: of_tls_kind,
            runbook: tls_page,
            ..watched(&tls::HANDSHAKES, "error_type", "A connection that this module opened failed")
        },
        Watched {
            meaning: of_tls_kind,
            runbook: tls_page,
            ..watched(&tls::SERVER_HANDSHAKES, "error_type", "A client's connection failed")
        },
        Watched {
            only: &["expired", "invalid", "untrusted", "revoked"],
            ..watched(&tls::CERTIFICATE_VALIDATION, "result", "A certificate was judged other than valid")
        },
        Watched {
            meaning: |kind| ReloadReason::ALL.iter().find(|one| one.as_str() == kind).map(|one| of_reload(*one)),
            runbook: |_| page("ArtstoreTlsReloadFailing"),
            ..watched(&tls::RELOADS, "reason", "Changed certificate files cannot be used")
        },
        Watched {
            only: OURS,
            runbook: |_| page("ArtstoreUploadFailures"),
            ..watched(&ingester::ERRORS_TOTAL, "code", "A request failed on our side")
        },
        Watched {
            runbook: |_| page("ArtstoreUploadFailures"),
            ..watched(&ingester::FAILOVERS_TOTAL, "reason", "An element did not take an upload")
        },
        Watched {
            only: &["unreachable", "refused", "denied", "no_token"],
            runbook: |_| page("ArtstoreOutboxLagging"),
            ..watched(&element::REPORTS, "result", "A report did not reach the Admin Module")
        },
        watched(&element::DAMAGED, "", "A published file was found damaged"),
        watched(&admin::STORE_ERRORS, "", "The database did not do an operation"),
        watched(&http::SERVER_PANICS, "", "A handler panicked, which is a defect"),
    ]
}

/// A family and the labels of one of its series.
type Series = (&'static str, Vec<(String, String)>);

/// The last errors of a module.
pub(super) struct Errors {
    watched: [Watched; 11],
    before: BTreeMap<Series, f64>,
    kept: Vec<ErrorView>,
}

impl Errors {
    /// None yet. All counters stood at 0 when the process began.
    pub(super) fn new() -> Self {
        Self { watched: watch_list(), before: BTreeMap::new(), kept: Vec::new() }
    }

    /// Whether a family is looked at.
    pub(super) fn wants(&self, family: &Family) -> bool {
        self.watched.iter().any(|watched| watched.family.name() == family.name())
    }

    /// The errors, the latest first.
    pub(super) fn kept(&self) -> &[ErrorView] {
        &self.kept
    }

    /// Takes a reading.
    pub(super) fn take(&mut self, now: f64, samples: &[Sample]) {
        for sample in samples {
            let Some(index) = self.watched.iter().position(|one| one.family.name() == sample.family.name()) else {
                continue;
            };
            let key = (sample.family.name(), sample.labels.clone());
            let grown = sample.value - self.before.insert(key, sample.value).unwrap_or_default();
            if let (Some(error), true) = (self.watched[index].view(sample), grown > 0.0) {
                self.add(ErrorView { last: now, first: now, count: whole(grown), ..error });
            }
        }
        self.kept.sort_by(|a, b| b.last.total_cmp(&a.last));
        self.kept.truncate(KEPT);
    }

    fn add(&mut self, error: ErrorView) {
        let same = |one: &ErrorView| (one.family, &one.kind, &one.place) == (error.family, &error.kind, &error.place);
        match self.kept.iter_mut().find(|one| same(one)) {
            Some(known) => {
                known.last = error.last;
                known.count += error.count;
            }
            None => self.kept.push(error),
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters are whole and grow")]
const fn whole(number: f64) -> u64 {
    number as u64
}

impl Watched {
    /// The error that a sample counts, if it is one.
    fn view(&self, sample: &Sample) -> Option<ErrorView> {
        let kind = sample.label(self.kind).unwrap_or_default();
        let counts =
            if self.only.is_empty() { self.kind.is_empty() || !kind.is_empty() } else { self.only.contains(&kind) };
        let meaning = match (self.meaning)(kind) {
            Some(why) => format!("{}: {why}.", self.about),
            None if kind.is_empty() => format!("{}.", self.about),
            None => format!("{}: {}.", self.about, kind.replace('_', " ").to_lowercase()),
        };
        counts.then(|| ErrorView {
            last: 0.0,
            first: 0.0,
            count: 0,
            family: self.family.name(),
            kind: kind.to_owned(),
            place: sample.label(self.place).unwrap_or_default().to_owned(),
            meaning,
            runbook: (self.runbook)(kind),
        })
    }
}

const fn of_auth(kind: AuthErrorType) -> &'static str {
    match kind {
        AuthErrorType::Dns => "its host name does not resolve",
        AuthErrorType::Connect => "it refuses connections or cannot be reached",
        AuthErrorType::Tls => "the TLS handshake failed; the handshake errors say why",
        AuthErrorType::Timeout => "it did not answer in time",
        AuthErrorType::Transport => "the connection broke before the answer was whole",
        AuthErrorType::RateLimited => "it answered 429: too many requests",
        AuthErrorType::ServerError => "it answered with a server error (5xx)",
        AuthErrorType::InvalidClient => "it does not accept the service account's credentials",
        AuthErrorType::UnauthorizedClient => "the account may not use this grant",
        AuthErrorType::InvalidScope => "it grants less than the scope that is needed",
        AuthErrorType::InvalidRequest => "it calls the request invalid",
        AuthErrorType::UnexpectedStatus => "it answered with a status that makes no sense here",
        AuthErrorType::MalformedResponse => "its answer is not a token response",
        AuthErrorType::TokenInvalid => "the token that came is not valid",
        AuthErrorType::ClockSkew => "its clock and ours disagree, by the token's own times",
        AuthErrorType::JwksUnavailable => "the keys to check tokens with cannot be fetched",
        AuthErrorType::ResourceRejected => "a module still refuses the token after it was renewed",
        AuthErrorType::Internal => "the fault is our own: the secret cannot be read, or a defect",
    }
}

fn of_tls_kind(kind: &str) -> Option<&'static str> {
    TlsErrorType::ALL.iter().find(|one| one.as_str() == kind).map(|one| of_tls(*one))
}

const fn of_tls(kind: TlsErrorType) -> &'static str {
    match kind {
        TlsErrorType::CertExpired => "the certificate has expired",
        TlsErrorType::CertNotYetValid => "the certificate is not valid yet",
        TlsErrorType::CertUntrusted => "the certificate is of an unknown issuer",
        TlsErrorType::CertRevoked => "the certificate is revoked",
        TlsErrorType::CertNameMismatch => "the certificate is for another name",
        TlsErrorType::CertWrongPurpose => "the certificate is not meant for this use",
        TlsErrorType::CertMissing => "no certificate was shown where one is required",
        TlsErrorType::CertInvalid => "the certificate is broken or not acceptable",
        TlsErrorType::RevocationUnknown => "no current revocation list covers the certificate",
        TlsErrorType::ProtocolVersion => "there is no TLS version that both sides speak",
        TlsErrorType::CipherMismatch => "there is no cipher suite, group or signature that both sides have",
        TlsErrorType::AlpnMismatch => "there is no application protocol that both sides speak",
        TlsErrorType::NotTls => "the other side does not speak TLS",
        TlsErrorType::ProtocolError => "the other side broke the protocol",
        TlsErrorType::PeerAlert => "the other side refused, without a usual reason",
        TlsErrorType::Timeout => "the handshake took too long",
        TlsErrorType::Closed => "the connection ended inside the handshake",
        TlsErrorType::Internal => "the fault is our own",
    }
}

const fn of_reload(reason: ReloadReason) -> &'static str {
    match reason {
        ReloadReason::Missing => "a file is not there",
        ReloadReason::Unreadable => "a file cannot be read",
        ReloadReason::Empty => "a file is empty",
        ReloadReason::TooLarge => "a file is too large",
        ReloadReason::NotPem => "a file holds nothing of the kind that is needed",
        ReloadReason::Broken => "a file is broken or cut off",
        ReloadReason::KeyMismatch => "the key is not that of the certificate",
        ReloadReason::Expired => "it has expired, and what is in use has not",
        ReloadReason::NotYetValid => "it is not valid yet, and what is in use is",
        ReloadReason::OlderList => "the revocation list is older than the one in use",
        ReloadReason::Refused => "TLS refuses it although it is well-formed",
    }
}
