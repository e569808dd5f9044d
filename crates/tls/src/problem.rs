//! What is wrong with a held certificate, and what to do about it: judged alike by the monitor and by `artstore certs inspect`.

use crate::certificate::{CertType, CertificateInfo};
use artstore_metrics::UnixTime;

/// Days left below which a certificate is critical, unless told otherwise.
pub const CRITICAL_DAYS: f64 = 7.0;

/// Days left below which it is time to act, unless told otherwise.
pub const WARN_DAYS: f64 = 30.0;

/// How near the end of a certificate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Past its notAfter.
    Expired,
    /// Before its notBefore.
    NotYetValid,
    /// Less than [`CRITICAL_DAYS`] left.
    Critical,
    /// Less than [`WARN_DAYS`] left.
    ActionRequired,
    /// More.
    Fine,
}

impl Urgency {
    /// How near the end is by the ordinary bounds.
    #[must_use]
    pub fn of(certificate: &CertificateInfo, now: UnixTime) -> Self {
        Self::within(certificate, now, CRITICAL_DAYS, WARN_DAYS)
    }

    /// How near the end is by these bounds in days.
    #[must_use]
    pub fn within(certificate: &CertificateInfo, now: UnixTime, critical: f64, warn: f64) -> Self {
        let days = certificate.days_left(now);
        if days < 0.0 {
            Self::Expired
        } else if now < certificate.not_before {
            Self::NotYetValid
        } else if days < critical {
            Self::Critical
        } else if days < warn {
            Self::ActionRequired
        } else {
            Self::Fine
        }
    }
}

/// Why a certificate cannot do what it is held for, however long it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// The private key beside it is another one's.
    KeyMismatch,
    /// A server's without serverAuth.
    NoServerAuth,
    /// A client's without clientAuth.
    NoClientAuth,
    /// In a place for authorities without CA:TRUE.
    NoAuthority,
    /// An authority's without keyCertSign.
    NoCertSign,
    /// Its key is too short.
    WeakKey,
    /// It is signed with a broken hash.
    WeakSignature,
}

impl Problem {
    /// What is wrong.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::KeyMismatch => "the private key does not belong to the certificate",
            Self::NoServerAuth => "the certificate may not be a TLS server's: its extended key usage lacks serverAuth",
            Self::NoClientAuth => "the certificate may not be a TLS client's: its extended key usage lacks clientAuth",
            Self::NoAuthority => "the certificate is not an authority's: its basic constraints lack CA:TRUE",
            Self::NoCertSign => "the authority may not sign certificates: its key usage lacks keyCertSign",
            Self::WeakKey => "the key is weak",
            Self::WeakSignature => "the signature uses a broken hash",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::KeyMismatch => {
                "install the key that the certificate was requested with, or have the certificate issued anew"
            }
            Self::NoServerAuth => "have it issued anew with extended key usage serverAuth",
            Self::NoClientAuth => "have it issued anew with extended key usage clientAuth",
            Self::NoAuthority => "put certificates of authorities in its place",
            Self::NoCertSign => "have the authority's certificate issued anew with key usage keyCertSign",
            Self::WeakKey => "have it issued anew for a key of RSA 2048 bits or EC P-256 at least",
            Self::WeakSignature => "have it issued anew with a SHA-256 signature at least",
        }
    }

    /// A word for programs.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::KeyMismatch => "key_mismatch",
            Self::NoServerAuth => "no_server_auth",
            Self::NoClientAuth => "no_client_auth",
            Self::NoAuthority => "no_authority",
            Self::NoCertSign => "no_cert_sign",
            Self::WeakKey => "weak_key",
            Self::WeakSignature => "weak_signature",
        }
    }
}

/// Everything that is wrong with a certificate, besides its dates and its key's file. `leaf` says whether it is the first in
/// its file; the others of a server's or client's are intermediates.
#[must_use]
pub fn problems(certificate: &CertificateInfo, cert_type: CertType, leaf: bool) -> Vec<Problem> {
    let profile = &certificate.profile;
    let authority = !leaf || cert_type == CertType::Ca;
    let mut problems = Vec::new();
    let mut found = |wrong: bool, problem: Problem| problems.extend(wrong.then_some(problem));
    if authority {
        found(!profile.authority, Problem::NoAuthority);
        found(profile.authority && !profile.signs_certificates, Problem::NoCertSign);
    } else {
        found(cert_type == CertType::Server && !profile.server_auth, Problem::NoServerAuth);
        found(cert_type == CertType::Client && !profile.client_auth, Problem::NoClientAuth);
    }
    found(profile.weak_key, Problem::WeakKey);
    // Nobody verifies the signature of a root: it is trusted for being there.
    found(profile.weak_signature && !(authority && profile.self_issued), Problem::WeakSignature);
    problems
}
