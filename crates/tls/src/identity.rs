//! Our certificate with its key, and whom we trust: loaded from PEM files with errors that say what is wrong.

use crate::certificate::CertificateInfo;
use crate::crl::Revocation;
use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files larger than this are refused: no bundle of certificates is.
pub const MAX_PEM_BYTES: u64 = 16 * 1024 * 1024;

/// Why certificates, keys or trust cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// The file cannot be read.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The file holds no PEM section of the kind that is needed.
    #[error("{}: no {wanted} in PEM form found", path.display())]
    NoPem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
    /// A PEM section is there but broken.
    #[error("{}: broken {what}: {reason}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is broken.
        what: &'static str,
        /// In which way.
        reason: String,
    },
    /// The key is not that of the certificate.
    #[error("the private key {} does not belong to the certificate {}", key.display(), cert.display())]
    KeyMismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// Metrics made for another policy would count suites under wrong names.
    #[error("the TLS metrics were made for another policy than the connector or listener that is to use them")]
    PolicyMismatch,
    /// rustls refuses the configuration.
    #[error("TLS configuration: {0}")]
    Configuration(String),
}

/// Where a certificate chain and its private key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFiles {
    /// The certificate, then its intermediates, in PEM form.
    pub cert: PathBuf,
    /// The private key in PEM form.
    pub key: PathBuf,
}

impl IdentityFiles {
    /// Reads both files.
    ///
    /// # Errors
    /// If one cannot be read, holds no PEM of its kind, or the two do not belong together.
    pub fn load(&self) -> Result<Identity, SetupError> {
        self.parse(&read(&self.cert)?, &read(&self.key)?)
    }

    /// The same out of what the two files hold.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    pub fn parse(&self, cert: &[u8], key: &[u8]) -> Result<Identity, SetupError> {
        let certificates = parse_certificates(&self.cert, cert)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            pem::Error::NoItemsFound => SetupError::NoPem { path: self.key.clone(), wanted: "private key" },
            other => SetupError::Broken { path: self.key.clone(), what: "private key", reason: pem_reason(&other) },
        })?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        // The reason must not carry any of the key: rustls' texts do not.
        let key = provider.key_provider.load_private_key(key).map_err(|error| SetupError::Broken {
            path: self.key.clone(),
            what: "private key",
            reason: error.to_string(),
        })?;
        let infos = infos(&self.cert, &certificates)?;
        let certified = CertifiedKey::new(certificates, key);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                return Err(SetupError::KeyMismatch { cert: self.cert.clone(), key: self.key.clone() });
            }
            Err(error) => {
                return Err(SetupError::Broken {
                    path: self.cert.clone(),
                    what: "certificate",
                    reason: error.to_string(),
                });
            }
        }
        Ok(Identity { certified: Arc::new(certified), certificates: infos })
    }
}

/// A certificate chain with its private key. `Debug` shows the certificates only.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    certificates: Vec<CertificateInfo>,
}

impl Identity {
    /// The chain, leaf first.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateInfo] {
        &self.certificates
    }

    pub(crate) fn into_key(self) -> Arc<CertifiedKey> {
        self.certified
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let subjects: Vec<&str> = self.certificates.iter().map(|certificate| certificate.subject.as_str()).collect();
        f.debug_struct("Identity").field("certificates", &subjects).finish_non_exhaustive()
    }
}

/// Where a trust bundle is: certificates of authorities in PEM form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustFile(pub PathBuf);

impl TrustFile {
    /// Reads the bundle.
    ///
    /// # Errors
    /// If it cannot be read, holds no certificate, or one of them cannot be a trust anchor.
    pub fn load(&self) -> Result<Trust, SetupError> {
        self.parse(&read(&self.0)?)
    }

    /// The same out of what the file holds.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    pub fn parse(&self, bundle: &[u8]) -> Result<Trust, SetupError> {
        let certificates = parse_certificates(&self.0, bundle)?;
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots.add(certificate.clone()).map_err(|error| SetupError::Broken {
                path: self.0.clone(),
                what: "certificate",
                reason: error.to_string(),
            })?;
        }
        let certificates = infos(&self.0, &certificates)?;
        Ok(Trust { verification: Verification::Roots(Arc::new(roots)), certificates, revocation: None })
    }
}

/// How peers are verified.
#[derive(Clone)]
pub(crate) enum Verification {
    /// Against these authorities.
    Roots(Arc<RootCertStore>),
    /// Not at all.
    Nothing,
}

/// Whom we trust to vouch for peers.
#[derive(Clone)]
pub struct Trust {
    verification: Verification,
    certificates: Vec<CertificateInfo>,
    revocation: Option<Revocation>,
}

impl Trust {
    /// Trusts any server, so protects from nobody who can intercept the connection: `TLS_VERIFY_MODE=CERT_NONE`. There are
    /// no verdicts then. Useless for verifying clients, and refused there.
    #[must_use]
    pub const fn danger_accept_any_server() -> Self {
        Self { verification: Verification::Nothing, certificates: Vec::new(), revocation: None }
    }

    /// The certificates of the authorities, in the order of the file.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateInfo] {
        &self.certificates
    }

    /// The same, but peers are believed only if a list of each issuer in their chain says that they are not revoked. Lists past
    /// their nextUpdate say nothing. Without any list nothing changes.
    #[must_use]
    pub fn with_revocation(self, revocation: Revocation) -> Self {
        let revocation = Some(revocation).filter(|revocation| !revocation.lists().is_empty());
        Self { revocation, ..self }
    }

    /// The revocation lists that are asked, if any.
    #[must_use]
    pub const fn revocation(&self) -> Option<&Revocation> {
        self.revocation.as_ref()
    }

    pub(crate) const fn verification(&self) -> &Verification {
        &self.verification
    }
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let subjects: Vec<&str> = self.certificates.iter().map(|certificate| certificate.subject.as_str()).collect();
        match self.verification {
            Verification::Roots(_) => {
                let mut tuple = f.debug_tuple("Trust");
                tuple.field(&subjects);
                if let Some(revocation) = &self.revocation {
                    tuple.field(revocation);
                }
                tuple.finish()
            }
            Verification::Nothing => f.write_str("Trust(ANY SERVER)"),
        }
    }
}

/// All certificates of a PEM file; at least one.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    parse_certificates(path, &read(path)?)
}

fn parse_certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = parsed.map_err(|error| SetupError::Broken {
        path: path.to_owned(),
        what: "certificate",
        reason: pem_reason(&error),
    })?;
    if certificates.is_empty() {
        return Err(SetupError::NoPem { path: path.to_owned(), wanted: "certificate" });
    }
    Ok(certificates)
}

/// What is wrong with a PEM text, in words that have none of it: it may be that of a private key, and the parser's own words
/// quote the line that it did not understand.
pub(crate) fn pem_reason(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => {
            "a section has no end line: the file may have been cut short".to_owned()
        }
        pem::Error::IllegalSectionStart { .. } => "the first line of a section is not as PEM has it".to_owned(),
        pem::Error::Base64Decode(_) => "what a section holds is not base64".to_owned(),
        pem::Error::Io(error) => error.to_string(),
        // NoItemsFound, SectionTooLarge, and what later versions add.
        _ => "not a PEM text that can be read".to_owned(),
    }
}

/// The particulars of all certificates of a file.
pub(crate) fn infos(path: &Path, certificates: &[CertificateDer<'_>]) -> Result<Vec<CertificateInfo>, SetupError> {
    let broken = || SetupError::Broken {
        path: path.to_owned(),
        what: "certificate",
        reason: "not an X.509 certificate".to_owned(),
    };
    certificates.iter().map(|der| CertificateInfo::from_der(der).ok_or_else(broken)).collect()
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, SetupError> {
    let unreadable = |reason: String| SetupError::Unreadable { path: path.to_owned(), reason };
    let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if size > MAX_PEM_BYTES {
        return Err(unreadable(format!("larger than {MAX_PEM_BYTES} bytes")));
    }
    std::fs::read(path).map_err(|error| unreadable(error.to_string()))
}
