//! A certificate authority for development and tests: made on first use, kept in a folder, never for production.

use crate::certificate::CertificateInfo;
use crate::identity::{IdentityFiles, SetupError, Trust, TrustFile, infos, read_certificates};
use artstore_metrics::UnixTime;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// How long an issued certificate is valid.
pub const LEAF_VALIDITY: Duration = Duration::from_secs(90 * 86_400);

/// A kept certificate with less than this left is replaced.
pub const RENEW_BELOW: Duration = Duration::from_secs(30 * 86_400);

/// How long the authority itself is valid.
pub const CA_VALIDITY: Duration = Duration::from_secs(3650 * 86_400);

/// Names that servers on this machine are called by.
pub const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Why the development authority cannot do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum DevCaError {
    /// A file cannot be read, or does not hold what it should.
    #[error(transparent)]
    File(#[from] SetupError),
    /// A file cannot be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A certificate cannot be made.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A serial number that is not hexadecimal.
    #[error("a serial number that is not hexadecimal")]
    Serial,
    /// The times do not fit into a certificate.
    #[error("a validity that a certificate cannot express")]
    Validity,
}

/// What an issued certificate may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Being a TLS server.
    Server,
    /// Being a TLS client.
    Client,
    /// Both.
    Both,
}

/// What to issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The subject's common name.
    pub common_name: String,
    /// DNS names and addresses.
    pub names: Vec<String>,
    /// What it may be used for.
    pub purpose: Purpose,
    /// The first moment of validity.
    pub not_before: UnixTime,
    /// The last moment of validity.
    pub not_after: UnixTime,
}

impl Leaf {
    /// A server on this machine, valid for 90 days from an hour ago.
    #[must_use]
    pub fn server(common_name: &str, now: UnixTime) -> Self {
        let names = LOCAL_NAMES.map(str::to_owned).to_vec();
        Self { names, ..Self::client(common_name, now) }.purpose(Purpose::Server)
    }

    /// A client, valid for 90 days from an hour ago.
    #[must_use]
    pub fn client(common_name: &str, now: UnixTime) -> Self {
        Self {
            common_name: common_name.to_owned(),
            names: Vec::new(),
            purpose: Purpose::Client,
            not_before: now.minus(Duration::from_secs(3600)),
            not_after: now.plus(LEAF_VALIDITY),
        }
    }

    /// The same for this purpose.
    #[must_use]
    pub const fn purpose(mut self, purpose: Purpose) -> Self {
        self.purpose = purpose;
        self
    }

    /// The same for these names in place of this machine's.
    #[must_use]
    pub fn names(mut self, names: &[&str]) -> Self {
        self.names = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// The same with this validity.
    #[must_use]
    pub const fn valid(mut self, not_before: UnixTime, not_after: UnixTime) -> Self {
        self.not_before = not_before;
        self.not_after = not_after;
        self
    }
}

/// A revocation list to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevCrl {
    /// The serial numbers of the revoked certificates in hexadecimal, as [`CertificateInfo::serial`] has them.
    pub serials: Vec<String>,
    /// When it is issued.
    pub this_update: UnixTime,
    /// By when there will be a newer one.
    pub next_update: UnixTime,
    /// The list's number: that of a newer one is higher.
    pub number: u64,
}

impl DevCrl {
    /// A list that revokes nothing, issued an hour ago and good for 30 days, with the time as its number.
    #[must_use]
    pub fn empty(now: UnixTime) -> Self {
        Self {
            serials: Vec::new(),
            this_update: now.minus(Duration::from_secs(3600)),
            next_update: now.plus(30 * DAY),
            number: now.as_secs(),
        }
    }

    /// The same, but it revokes this certificate as well.
    #[must_use]
    pub fn revoking(mut self, certificate: &CertificateInfo) -> Self {
        self.serials.push(certificate.serial.clone());
        self
    }

    /// The same with these times.
    #[must_use]
    pub const fn valid(mut self, this_update: UnixTime, next_update: UnixTime) -> Self {
        self.this_update = this_update;
        self.next_update = next_update;
        self
    }

    /// The same with this number.
    #[must_use]
    pub const fn number(mut self, number: u64) -> Self {
        self.number = number;
        self
    }
}

/// A certificate authority in a folder: `ca.pem` and `ca.key`, and what it issues as `NAME.pem` and `NAME.key`. Keys are
/// readable by their owner only.
pub struct DevCa {
    dir: PathBuf,
    ca_file: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    /// What issued certificates need to reach a root: this authority's own and those above it, if it is none itself.
    chain: String,
}

impl DevCa {
    /// The authority in this folder; made, with the folder, if there is none or it has less than 30 days left.
    ///
    /// # Errors
    /// If the folder or its files cannot be read or written.
    pub fn open(dir: impl AsRef<Path>, now: UnixTime) -> Result<Self, DevCaError> {
        let dir = dir.as_ref();
        let (ca_file, key_file) = (dir.join("ca.pem"), dir.join("ca.key"));
        if !ca_file.exists() || days_short(&ca_file, now)? {
            return Self::create(dir, "ArtStore development CA", now.minus(DAY), now.plus(CA_VALIDITY));
        }
        let unreadable = |source| DevCaError::Write { path: key_file.clone(), source };
        let key = KeyPair::from_pem(&std::fs::read_to_string(&key_file).map_err(unreadable)?)?;
        let pem =
            std::fs::read_to_string(&ca_file).map_err(|source| DevCaError::Write { path: ca_file.clone(), source })?;
        Ok(Self { dir: dir.to_owned(), issuer: Issuer::from_ca_cert_pem(&pem, key)?, ca_file, chain: String::new() })
    }

    /// A new authority of this name and validity in this folder, in place of one that may be there.
    ///
    /// # Errors
    /// If the folder or its files cannot be written, or the validity cannot be expressed.
    pub fn create(
        dir: impl AsRef<Path>,
        common_name: &str,
        not_before: UnixTime,
        not_after: UnixTime,
    ) -> Result<Self, DevCaError> {
        let (params, key) = authority(common_name, not_before, not_after)?;
        let certificate = params.self_signed(&key)?;
        Self::kept(dir.as_ref(), &certificate.pem(), Issuer::new(params, key), String::new())
    }

    /// A new authority below this one, in a folder of this name inside this one's. What it issues comes with the chain.
    ///
    /// # Errors
    /// If the folder or its files cannot be written, or the validity cannot be expressed.
    pub fn intermediate(
        &self,
        name: &str,
        common_name: &str,
        not_before: UnixTime,
        not_after: UnixTime,
    ) -> Result<Self, DevCaError> {
        let (mut params, key) = authority(common_name, not_before, not_after)?;
        params.use_authority_key_identifier_extension = true;
        let pem = params.signed_by(&key, &self.issuer)?.pem();
        let chain = format!("{pem}{}", self.chain);
        Self::kept(&self.dir.join(name), &pem, Issuer::new(params, key), chain)
    }

    fn kept(dir: &Path, pem: &str, issuer: Issuer<'static, KeyPair>, chain: String) -> Result<Self, DevCaError> {
        std::fs::create_dir_all(dir).map_err(|source| DevCaError::Write { path: dir.to_owned(), source })?;
        let ca_file = dir.join("ca.pem");
        write(&dir.join("ca.key"), issuer.key().serialize_pem(), 0o600)?;
        write(&ca_file, pem, 0o644)?;
        Ok(Self { dir: dir.to_owned(), ca_file, issuer, chain })
    }

    /// Signs a revocation list and writes it to this file: in DER form if its name ends in `.der`, else in PEM form.
    ///
    /// # Errors
    /// If the file cannot be written, or the list cannot be expressed.
    pub fn write_crl(&self, path: impl AsRef<Path>, crl: &DevCrl) -> Result<(), DevCaError> {
        let revoked = |serial: &String| {
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from(unhex(serial)?),
                revocation_time: date(crl.this_update)?,
                reason_code: None,
                invalidity_date: None,
            })
        };
        let revoked: Result<Vec<_>, DevCaError> = crl.serials.iter().map(revoked).collect();
        let params = CertificateRevocationListParams {
            this_update: date(crl.this_update)?,
            next_update: date(crl.next_update)?,
            crl_number: SerialNumber::from(crl.number),
            issuing_distribution_point: None,
            revoked_certs: revoked?,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer)?;
        let path = path.as_ref();
        if path.extension().is_some_and(|extension| extension == "der") {
            return write(path, list.der(), 0o644);
        }
        write(path, list.pem()?, 0o644)
    }

    /// The authority's certificate.
    #[must_use]
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// Trust in this authority alone.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub fn trust(&self) -> Result<Trust, DevCaError> {
        Ok(TrustFile(self.ca_file.clone()).load()?)
    }

    /// The kept certificate of this name; issued anew if there is none, it has less than 30 days left, or this authority did
    /// not sign it.
    ///
    /// # Errors
    /// If files cannot be read or written.
    pub fn keep(&self, name: &str, leaf: &Leaf, now: UnixTime) -> Result<IdentityFiles, DevCaError> {
        let files = self.files(name);
        let kept = files.load().ok().and_then(|identity| identity.certificates().first().cloned());
        let authority = read_certificates(&self.ca_file)?;
        let authority = infos(&self.ca_file, &authority)?;
        let good = |kept: &CertificateInfo| {
            let signed_here = authority.iter().any(|ca| ca.subject == kept.issuer);
            signed_here && kept.not_after >= now.plus(RENEW_BELOW) && kept.not_before >= ca_since(&authority)
        };
        if kept.is_some_and(|kept| good(&kept)) { Ok(files) } else { self.issue(name, leaf) }
    }

    /// A new certificate with a new key, in the files of this name.
    ///
    /// # Errors
    /// If files cannot be written, or names or times cannot be expressed in a certificate.
    pub fn issue(&self, name: &str, leaf: &Leaf) -> Result<IdentityFiles, DevCaError> {
        let mut params = params(&leaf.common_name, &leaf.names, leaf.not_before, leaf.not_after)?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match leaf.purpose {
            Purpose::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Purpose::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Purpose::Both => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        };
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let files = self.files(name);
        write(&files.key, key.serialize_pem(), 0o600)?;
        write(&files.cert, format!("{}{}", certificate.pem(), self.chain), 0o644)?;
        Ok(files)
    }

    fn files(&self, name: &str) -> IdentityFiles {
        IdentityFiles { cert: self.dir.join(format!("{name}.pem")), key: self.dir.join(format!("{name}.key")) }
    }
}

impl std::fmt::Debug for DevCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DevCa").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// Since when the authority is valid: what is older was signed by one before it.
fn ca_since(authority: &[CertificateInfo]) -> UnixTime {
    authority.iter().map(|ca| ca.not_before).max().unwrap_or_default()
}

/// Whether a file's certificates have less than the renewal margin left.
fn days_short(file: &Path, now: UnixTime) -> Result<bool, DevCaError> {
    let certificates = infos(file, &read_certificates(file)?)?;
    Ok(certificates.iter().any(|certificate| certificate.not_after < now.plus(RENEW_BELOW)))
}

/// What an authority's certificate is made of.
fn authority(
    common_name: &str,
    not_before: UnixTime,
    not_after: UnixTime,
) -> Result<(CertificateParams, KeyPair), DevCaError> {
    let mut params = params(common_name, &[], not_before, not_after)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok((params, KeyPair::generate()?))
}

/// The bytes of a number in hexadecimal.
fn unhex(number: &str) -> Result<Vec<u8>, DevCaError> {
    let bytes = number.as_bytes().chunks(2).map(|pair| {
        let digits = std::str::from_utf8(pair).ok().filter(|digits| digits.len() == 2);
        digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or(DevCaError::Serial)
    });
    bytes.collect()
}

fn params(
    common_name: &str,
    names: &[String],
    not_before: UnixTime,
    not_after: UnixTime,
) -> Result<CertificateParams, DevCaError> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = date(not_before)?;
    params.not_after = date(not_after)?;
    Ok(params)
}

fn date(moment: UnixTime) -> Result<time::OffsetDateTime, DevCaError> {
    let seconds = i64::try_from(moment.as_secs()).map_err(|_| DevCaError::Validity)?;
    time::OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| DevCaError::Validity)
}

/// Writes beside, then renames: nobody reads half a file.
fn write(path: &Path, content: impl AsRef<[u8]>, mode: u32) -> Result<(), DevCaError> {
    let failed = |source| DevCaError::Write { path: path.to_owned(), source };
    let beside = path.with_extension("new");
    // Left over from a crash, it might have another mode.
    std::fs::remove_file(&beside).ok();
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside).map_err(failed)?;
    file.write_all(content.as_ref()).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)
}
