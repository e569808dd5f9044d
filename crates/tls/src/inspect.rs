//! What a file holds, for a person who asks: judged as the monitor judges it.

use crate::certificate::{CertType, CertificateInfo};
use crate::crl::{CrlFiles, CrlInfo};
use crate::identity::{IdentityFiles, SetupError, infos, read_certificates};
use crate::problem::{Problem, problems};
use std::path::Path;

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inspection {
    /// Certificates.
    Certificates(InspectedCertificates),
    /// Revocation lists, the newest of each issuer.
    Lists(Vec<CrlInfo>),
}

/// The certificates of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspectedCertificates {
    /// What they are for, as said or as they look.
    pub cert_type: CertType,
    /// Each in the order of the file, with what is wrong with it besides its dates.
    pub certificates: Vec<(CertificateInfo, Vec<Problem>)>,
    /// Each is followed by its issuer's; of a bundle of authorities nothing is asked.
    pub in_order: bool,
    /// Whether the key is that of the first certificate, if there was one to compare.
    pub key_matches: Option<bool>,
}

/// Looks into a file of certificates (PEM) or revocation lists (PEM or DER). `cert_type` says what the certificates are for;
/// without it that is guessed. `key` is the file of the private key that should belong to the first one.
///
/// # Errors
/// If a file cannot be read or holds nothing of the kind.
pub fn inspect(path: &Path, cert_type: Option<CertType>, key: Option<&Path>) -> Result<Inspection, SetupError> {
    let ders = match read_certificates(path) {
        Ok(ders) => ders,
        Err(SetupError::NoPem { .. }) => {
            let lists = CrlFiles(vec![path.to_owned()]).load().map_err(|error| match error {
                SetupError::NoPem { path, .. } => SetupError::NoPem { path, wanted: "certificate or revocation list" },
                other => other,
            })?;
            return Ok(Inspection::Lists(lists.lists().to_vec()));
        }
        Err(other) => return Err(other),
    };
    let infos = infos(path, &ders)?;
    let cert_type = cert_type.unwrap_or_else(|| guess(&infos));
    let key_matches = key.map(|key| key_matches(path, key)).transpose()?;
    let in_order = cert_type == CertType::Ca
        || infos.windows(2).all(|pair| matches!(pair, [lower, upper] if lower.issuer == upper.subject));
    let certificates = infos.into_iter().enumerate().map(|(place, info)| {
        let mut problems = problems(&info, cert_type, place == 0);
        problems.extend((place == 0 && key_matches == Some(false)).then_some(Problem::KeyMismatch));
        (info, problems)
    });
    Ok(Inspection::Certificates(InspectedCertificates {
        cert_type,
        certificates: certificates.collect(),
        in_order,
        key_matches,
    }))
}

/// A file that begins with an authority is a bundle; any other is a server's, unless its first may be a client's only.
fn guess(infos: &[CertificateInfo]) -> CertType {
    match infos.first().map(|first| &first.profile) {
        Some(first) if first.authority => CertType::Ca,
        Some(first) if first.client_auth && !first.server_auth => CertType::Client,
        Some(_) | None => CertType::Server,
    }
}

fn key_matches(cert: &Path, key: &Path) -> Result<bool, SetupError> {
    match (IdentityFiles { cert: cert.to_owned(), key: key.to_owned() }).load() {
        Ok(_) => Ok(true),
        Err(SetupError::KeyMismatch { .. }) => Ok(false),
        Err(other) => Err(other),
    }
}
