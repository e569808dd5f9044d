//! A certificate authority of a test's own, as PEM files.

use artstore_metrics::{Clock as _, SystemClock};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use time::OffsetDateTime;

/// The next serial number: each certificate of a process has its own.
static SERIALS: AtomicU64 = AtomicU64::new(1);

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct Identity {
    /// PEM.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
    /// By which the certificate is revoked.
    pub serial: u64,
    /// The last moment of its validity.
    pub not_after: OffsetDateTime,
}

/// An authority that signs what it is asked to.
#[derive(Debug)]
pub struct Authority {
    /// Its own certificate, PEM.
    pub certificate: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    /// A new one, whose files lie in `folder`.
    ///
    /// # Panics
    /// When a file cannot be written.
    #[must_use]
    pub fn new(folder: &Path, name: &str) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let mut params = params(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = folder.join("ca.pem");
        std::fs::write(&certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { certificate, issuer: Issuer::new(params, key), folder: folder.to_owned() }
    }

    /// One that is there already, to sign more: its certificate and key are PEM files. What it signs lies in `folder`.
    ///
    /// # Panics
    /// When a file cannot be read.
    #[must_use]
    pub fn existing(folder: &Path, certificate: &Path, key: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        let key = KeyPair::from_pem(&read(key)).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&read(certificate), key).unwrap();
        Self { certificate: certificate.to_owned(), issuer, folder: folder.to_owned() }
    }

    /// A certificate for this name, for servers on this machine and for clients.
    ///
    /// # Panics
    /// When a file cannot be written.
    #[must_use]
    pub fn identity(&self, name: &str) -> Identity {
        let mut params = params(name, &["localhost", "127.0.0.1"]);
        let serial = SERIALS.fetch_add(1, Ordering::Relaxed);
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        let identity = Identity {
            certificate: self.folder.join(format!("{name}.pem")),
            key: self.folder.join(format!("{name}.key")),
            serial,
            not_after: params.not_after,
        };
        std::fs::write(&identity.certificate, signed.pem()).unwrap();
        std::fs::write(&identity.key, key.serialize_pem()).unwrap();
        identity
    }

    /// Writes a revocation list with this number, in PEM form, that revokes these certificates.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn revoke(&self, list: &Path, number: u64, identities: &[&Identity]) {
        let (this_update, next_update) = list_dates();
        let revoked = |identity: &&Identity| RevokedCertParams {
            serial_number: SerialNumber::from(identity.serial),
            revocation_time: this_update,
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update,
            next_update,
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: identities.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let text = params.signed_by(&self.issuer).unwrap().pem().unwrap();
        // Beside, then renamed: nobody reads half a list.
        let beside = list.with_extension("new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, list).unwrap();
    }
}

/// How lists begin and end: an hour ago, and in a day.
fn list_dates() -> (OffsetDateTime, OffsetDateTime) {
    (now() - Duration::from_hours(1), now() + Duration::from_hours(24))
}

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(SystemClock::new().wall().as_secs().try_into().unwrap()).unwrap()
}

fn params(name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (now() - Duration::from_hours(1), now() + Duration::from_hours(90 * 24));
    params
}
