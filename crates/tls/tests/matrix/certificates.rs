//! The certificates and revocation lists of the matrix, made when first asked for.

use crate::cell::{Fault, Role};
use crate::fixture::{DAY, World, now};
use artstore_metrics::UnixTime;
use artstore_tls::IdentityFiles;
use artstore_tls::dev::{Leaf, Purpose};
use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevocationReason, RevokedCertParams, SerialNumber,
};
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

/// An authority and what it issued.
pub(crate) struct Scene {
    world: World,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self { world: World::new() }
    }

    /// The authority that all trust.
    pub(crate) fn authority(&self) -> &Path {
        self.world.ca.ca_file()
    }

    /// The certificate that this side shows when this is wrong with it; a good one if nothing is.
    pub(crate) fn identity(&self, role: Role, fault: Option<Fault>) -> IdentityFiles {
        let leaf = match role {
            Role::Client => Leaf::client("client", now()),
            Role::Server => Leaf::server("server", now()),
        };
        let (mut ca, mut name) = (&self.world.ca, "good");
        let leaf = match fault {
            Some(Fault::Expired) => {
                name = "expired";
                leaf.valid(now().minus(DAY * 2), now().minus(DAY))
            }
            Some(Fault::NotYetValid) => {
                name = "early";
                leaf.valid(now().plus(DAY), now().plus(DAY * 2))
            }
            Some(Fault::Untrusted) => {
                (ca, name) = (&self.world.stranger, "stranger");
                leaf
            }
            Some(Fault::Revoked) => {
                name = "revoked";
                leaf
            }
            Some(Fault::WrongPurpose) => {
                name = "purpose";
                leaf.purpose(if role == Role::Client { Purpose::Server } else { Purpose::Client })
            }
            Some(Fault::WrongName) => {
                name = "elsewhere";
                leaf.names(&["elsewhere.example"])
            }
            _ => leaf,
        };
        let name = format!("{role}-{name}");
        let dir = ca.ca_file().parent().unwrap();
        let files = IdentityFiles { cert: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) };
        if files.cert.exists() { files } else { ca.issue(&name, &leaf).unwrap() }
    }

    /// A current list that revokes this certificate.
    pub(crate) fn revoking(&self, files: &IdentityFiles) -> PathBuf {
        let serial = files.load().unwrap().certificates()[0].serial.clone();
        let name = format!("{}.crl", files.cert.file_stem().unwrap().to_str().unwrap());
        self.list(&name, Some(&serial), now().minus(DAY), now().plus(DAY))
    }

    /// A list that should have been replaced an hour ago.
    pub(crate) fn stale(&self) -> PathBuf {
        self.list("stale.crl", None, now().minus(DAY), now().minus(DAY / 24))
    }

    fn list(&self, name: &str, revoked: Option<&str>, from: UnixTime, until: UnixTime) -> PathBuf {
        let path = self.world.path().join(name);
        if path.exists() {
            return path;
        }
        let key = std::fs::read_to_string(self.authority().with_extension("key")).unwrap();
        let authority = std::fs::read_to_string(self.authority()).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&authority, KeyPair::from_pem(&key).unwrap()).unwrap();
        let revoked = revoked.map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(bytes(serial)),
            revocation_time: date(from),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date(from),
            next_update: date(until),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.into_iter().collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        std::fs::write(&path, list.signed_by(&issuer).unwrap().pem().unwrap()).unwrap();
        path
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn date(moment: UnixTime) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(i64::try_from(moment.as_secs()).unwrap()).unwrap()
}
