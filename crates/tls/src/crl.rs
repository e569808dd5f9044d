//! Revocation lists: loaded from files with errors that say what is wrong, and of each issuer only the newest.

use crate::certificate::{hex, moment, rfc4514, sha256};
use crate::identity::{SetupError, pem_reason, read};
use artstore_metrics::UnixTime;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateRevocationListDer, Der, TrustAnchor};
use rustls::server::WebPkiClientVerifier;
use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use x509_parser::extensions::ParsedExtension;
use x509_parser::num_bigint::BigUint;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

const LIST: &str = "revocation list";

/// Where revocation lists are: each file holds any number of them in PEM form, or one in DER form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlFiles(pub Vec<PathBuf>);

impl CrlFiles {
    /// Reads all files. Of the lists of one issuer only the newest counts, for an older one may not know what has been revoked
    /// since: that with the highest number, and if they are equal or missing, that which was issued last. Lists for different
    /// parts of an issuer's certificates (issuing distribution points) are kept side by side. An issuer is known by its name, so
    /// of two authorities with the same name, as after a change of key, only one list counts, and what the other issued is
    /// refused as of unknown revocation status: give the new authority a name of its own.
    ///
    /// # Errors
    /// If a file cannot be read, holds no list, or one of its lists is broken or of a kind that is not understood, such as a
    /// delta list.
    pub fn load(&self) -> Result<Revocation, SetupError> {
        let contents: Result<Vec<_>, _> = self.0.iter().map(|path| Ok((path.as_path(), read(path)?))).collect();
        Revocation::from_files(contents?.iter().map(|(path, bytes)| (*path, bytes.as_slice())))
    }
}

/// What is known of one revocation list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlInfo {
    /// The file that it was read from.
    pub file: PathBuf,
    /// The issuer as an RFC 4514 string.
    pub issuer: String,
    /// The list's number, decimal, if it has one.
    pub number: Option<String>,
    /// When it was issued.
    pub this_update: UnixTime,
    /// By when there will be a newer one: afterwards it no longer counts.
    pub next_update: Option<UnixTime>,
    /// How many certificates it revokes.
    pub revoked: usize,
    /// SHA-256 over the DER encoding.
    pub sha256_fingerprint: [u8; 32],
}

impl CrlInfo {
    /// The fingerprint in hexadecimal.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        hex(&self.sha256_fingerprint)
    }
}

/// Revocation lists, the newest of each issuer.
#[derive(Clone)]
pub struct Revocation {
    ders: Vec<CertificateRevocationListDer<'static>>,
    infos: Vec<CrlInfo>,
}

impl Revocation {
    /// The lists in these files' contents, as [`CrlFiles::load`] reads them.
    ///
    /// # Errors
    /// As for [`CrlFiles::load`].
    pub fn from_files<'a>(files: impl IntoIterator<Item = (&'a Path, &'a [u8])>) -> Result<Self, SetupError> {
        let mut newest: Vec<List> = Vec::new();
        for (path, bytes) in files {
            for der in lists_in(path, bytes)? {
                let list = List::parse(path, der)?;
                match newest.iter_mut().find(|known| known.scope == list.scope) {
                    Some(known) if list.cmp_age(known) == Ordering::Greater => *known = list,
                    Some(_) => {}
                    None => newest.push(list),
                }
            }
        }
        let (ders, infos) = newest.into_iter().map(|list| (list.der, list.info)).unzip();
        Ok(Self { ders, infos })
    }

    /// The lists that count, in the order of the files.
    #[must_use]
    pub fn lists(&self) -> &[CrlInfo] {
        &self.infos
    }

    /// Until when all of the lists count.
    #[must_use]
    pub fn next_update(&self) -> Option<UnixTime> {
        self.infos.iter().filter_map(|list| list.next_update).min()
    }

    pub(crate) fn ders(&self) -> impl Iterator<Item = CertificateRevocationListDer<'static>> + '_ {
        self.ders.iter().cloned()
    }
}

impl std::fmt::Debug for Revocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.infos).finish()
    }
}

/// One list with what decides whether it counts.
struct List {
    der: CertificateRevocationListDer<'static>,
    info: CrlInfo,
    /// The issuer, and the part of its certificates if it is not all of them; both as they are encoded.
    scope: (Vec<u8>, Option<Vec<u8>>),
    number: Option<BigUint>,
}

impl List {
    fn parse(path: &Path, der: CertificateRevocationListDer<'static>) -> Result<Self, SetupError> {
        let broken = |reason: String| SetupError::Broken { path: path.to_owned(), what: LIST, reason };
        acceptable(&der).map_err(broken)?;
        let (rest, list) =
            CertificateRevocationList::from_der(&der).map_err(|_| broken("not an X.509 revocation list".to_owned()))?;
        if !rest.is_empty() {
            return Err(broken("followed by something else".to_owned()));
        }
        let part = list.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::IssuingDistributionPoint(_) => Some(extension.value.to_vec()),
            _ => None,
        });
        let number = list.crl_number().cloned();
        let info = CrlInfo {
            file: path.to_owned(),
            issuer: rfc4514(list.issuer()),
            number: number.as_ref().map(ToString::to_string),
            this_update: moment(list.last_update().timestamp()),
            next_update: list.next_update().map(|time| moment(time.timestamp())),
            revoked: list.iter_revoked_certificates().count(),
            sha256_fingerprint: sha256(&der),
        };
        let scope = (list.issuer().as_raw().to_vec(), part);
        Ok(Self { info, scope, number, der })
    }

    /// `Greater` if this list is newer than that one.
    fn cmp_age(&self, other: &Self) -> Ordering {
        let by_number = match (&self.number, &other.number) {
            (Some(mine), Some(theirs)) => mine.cmp(theirs),
            (None, _) | (_, None) => Ordering::Equal,
        };
        by_number.then(self.info.this_update.cmp(&other.info.this_update))
    }
}

/// The encoded lists of a file's contents; at least one.
fn lists_in(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, SetupError> {
    // A DER encoded list begins with a sequence, which no text does that holds PEM sections only.
    if bytes.first() == Some(&0x30) && !bytes.is_ascii() {
        return Ok(vec![CertificateRevocationListDer::from(bytes.to_vec())]);
    }
    let parsed: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(bytes).collect();
    let lists =
        parsed.map_err(|error| SetupError::Broken { path: path.to_owned(), what: LIST, reason: pem_reason(&error) })?;
    if lists.is_empty() {
        return Err(SetupError::NoPem { path: path.to_owned(), wanted: LIST });
    }
    Ok(lists)
}

/// Whether the verifiers will take this list: what they refuse is to be known when it is loaded.
fn acceptable(der: &CertificateRevocationListDer<'static>) -> Result<(), String> {
    let nobody = TrustAnchor {
        subject: Der::from_slice(&[]),
        subject_public_key_info: Der::from_slice(&[]),
        name_constraints: None,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(RootCertStore { roots: vec![nobody] }), provider);
    builder.with_crls([der.clone()]).build().map(|_| ()).map_err(|error| error.to_string())
}
