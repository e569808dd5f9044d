//! Judges a certificate of our own as a peer with our trust would, before a peer does.

use crate::acceptor::ClientAuth;
use crate::certificate::CertificateInfo;
use crate::error::{CertificateAnswer, TlsErrorType, classify_tls_error};
use crate::identity::{Identity, SetupError, Trust};
use crate::policy::Policy;
use crate::verify::{ClientJudge, ServerJudge, ServerSeen};
use artstore_metrics::UnixTime;
use rustls::pki_types::ServerName;

/// What a certificate of ours is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnUse {
    /// Being shown to servers.
    Client,
    /// Being shown to clients.
    Server,
}

/// What a peer with this trust, revocation lists included, would think of our certificate; `None` is nothing bad. A server's
/// is asked for by its own first name.
///
/// # Errors
/// If this trust cannot judge anybody.
pub fn examine_own(
    identity: &Identity,
    trust: &Trust,
    purpose: OwnUse,
    now: UnixTime,
) -> Result<Option<TlsErrorType>, SetupError> {
    let provider = Policy::default().provider();
    let moment = rustls::pki_types::UnixTime::since_unix_epoch(now.as_duration());
    let chain = identity.clone().into_key().cert.clone();
    let verdict = match purpose {
        OwnUse::Client => {
            ClientJudge::new(&ClientAuth::Required(trust.clone()), None, &provider)?.judge(&chain, moment)
        }
        OwnUse::Server => {
            let names = identity.certificates().first().map(|leaf| leaf.names.as_slice()).unwrap_or_default();
            match names.iter().find_map(|name| ServerName::try_from(name.clone()).ok()) {
                Some(name) => ServerJudge::new(trust, &provider)?.judge(&ServerSeen { name, chain }, moment),
                None => return Ok(Some(TlsErrorType::CertNameMismatch)),
            }
        }
    };
    Ok(verdict.err().map(|error| classify_tls_error(&error, CertificateAnswer::NotRequested).0))
}

/// What the dates of a certificate say, whoever issued it.
pub(super) fn dates(certificate: &CertificateInfo, now: UnixTime) -> Option<TlsErrorType> {
    if now > certificate.not_after {
        Some(TlsErrorType::CertExpired)
    } else if now < certificate.not_before {
        Some(TlsErrorType::CertNotYetValid)
    } else {
        None
    }
}
