//! What a certificate may be used for, and how strong its key and signature are.

use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::Oid;
use x509_parser::public_key::PublicKey;
use x509_parser::signature_algorithm::SignatureAlgorithm;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

/// The least bits of an RSA modulus that are not weak.
const RSA_BITS: usize = 2048;

/// The least bits of an elliptic curve that are not weak.
const EC_BITS: usize = 256;

/// What a certificate may be used for, and how strong it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// It is an authority's: CA:TRUE.
    pub authority: bool,
    /// Its key may sign certificates: keyCertSign, or no key usage at all.
    pub signs_certificates: bool,
    /// It may be a TLS server's: serverAuth, or no extended key usage at all.
    pub server_auth: bool,
    /// It may be a TLS client's: clientAuth, or no extended key usage at all.
    pub client_auth: bool,
    /// Subject and issuer are the same.
    pub self_issued: bool,
    /// The key's kind and size, such as `RSA 2048`.
    pub key: String,
    /// An RSA key below 2048 bits, an elliptic curve below 256, or DSA.
    pub weak_key: bool,
    /// The signature's algorithm, such as `ECDSA with SHA-256`.
    pub signature: String,
    /// A signature with MD2, MD4, MD5 or SHA-1.
    pub weak_signature: bool,
}

impl Profile {
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Self {
        let key_usage = certificate.key_usage().ok().flatten().map(|usage| usage.value.key_cert_sign());
        let purposes = certificate.extended_key_usage().ok().flatten().map(|usage| usage.value);
        let (key, weak_key) = key(certificate.public_key());
        let (signature, weak_signature) = signature(&certificate.signature_algorithm);
        Self {
            authority: certificate.is_ca(),
            signs_certificates: key_usage.unwrap_or(true),
            server_auth: purposes.is_none_or(|purposes| purposes.server_auth),
            client_auth: purposes.is_none_or(|purposes| purposes.client_auth),
            self_issued: certificate.subject().as_raw() == certificate.issuer().as_raw(),
            key,
            weak_key,
            signature,
            weak_signature,
        }
    }
}

/// The kind of a key in words, and whether it is weak.
fn key(info: &SubjectPublicKeyInfo<'_>) -> (String, bool) {
    match (info.parsed(), info.algorithm.algorithm.to_id_string().as_str()) {
        (Ok(PublicKey::RSA(rsa)), _) => {
            let bits = bits(rsa.modulus);
            (format!("RSA {bits}"), bits < RSA_BITS)
        }
        (Ok(PublicKey::EC(point)), _) => {
            let curve = info.algorithm.parameters.as_ref().and_then(|any| any.clone().oid().ok());
            let (name, bits) = match curve.map(|oid| oid.to_id_string()).as_deref() {
                Some("1.2.840.10045.3.1.1") => ("P-192".to_owned(), 192),
                Some("1.3.132.0.33") => ("P-224".to_owned(), 224),
                Some("1.2.840.10045.3.1.7") => ("P-256".to_owned(), 256),
                Some("1.3.132.0.34") => ("P-384".to_owned(), 384),
                Some("1.3.132.0.35") => ("P-521".to_owned(), 521),
                Some(other) => (format!("curve {other}"), point.key_size()),
                None => ("unknown curve".to_owned(), point.key_size()),
            };
            (format!("EC {name}"), bits < EC_BITS)
        }
        (Ok(PublicKey::DSA(_)), _) => ("DSA".to_owned(), true),
        (_, "1.3.101.112") => ("Ed25519".to_owned(), false),
        (_, "1.3.101.113") => ("Ed448".to_owned(), false),
        (_, "2.16.840.1.101.3.4.3.17") => ("ML-DSA-44".to_owned(), false),
        (_, "2.16.840.1.101.3.4.3.18") => ("ML-DSA-65".to_owned(), false),
        (_, "2.16.840.1.101.3.4.3.19") => ("ML-DSA-87".to_owned(), false),
        (_, other) => (format!("key type {other}"), false),
    }
}

/// The bits of an integer as DER writes it.
fn bits(integer: &[u8]) -> usize {
    let significant: &[u8] = match integer {
        [0, rest @ ..] => rest,
        all => all,
    };
    significant.first().map_or(0, |first| significant.len() * 8 - first.leading_zeros() as usize)
}

/// The algorithm of a signature in words, and whether its hash is broken.
fn signature(algorithm: &AlgorithmIdentifier<'_>) -> (String, bool) {
    let (name, weak) = match algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.2" => ("RSA with MD2", true),
        "1.2.840.113549.1.1.3" => ("RSA with MD4", true),
        "1.2.840.113549.1.1.4" => ("RSA with MD5", true),
        "1.2.840.113549.1.1.5" | "1.3.14.3.2.29" => ("RSA with SHA-1", true),
        "1.2.840.113549.1.1.10" => return pss(algorithm),
        "1.2.840.113549.1.1.11" => ("RSA with SHA-256", false),
        "1.2.840.113549.1.1.12" => ("RSA with SHA-384", false),
        "1.2.840.113549.1.1.13" => ("RSA with SHA-512", false),
        "1.2.840.10040.4.3" => ("DSA with SHA-1", true),
        "1.2.840.10045.4.1" => ("ECDSA with SHA-1", true),
        "1.2.840.10045.4.3.1" => ("ECDSA with SHA-224", false),
        "1.2.840.10045.4.3.2" => ("ECDSA with SHA-256", false),
        "1.2.840.10045.4.3.3" => ("ECDSA with SHA-384", false),
        "1.2.840.10045.4.3.4" => ("ECDSA with SHA-512", false),
        "1.3.101.112" => ("Ed25519", false),
        "1.3.101.113" => ("Ed448", false),
        other => return (format!("algorithm {other}"), false),
    };
    (name.to_owned(), weak)
}

/// RSASSA-PSS names its hash in its parameters; without them it is SHA-1 (RFC 4055 section 3.1).
fn pss(algorithm: &AlgorithmIdentifier<'_>) -> (String, bool) {
    let hash = match SignatureAlgorithm::try_from(algorithm) {
        Ok(SignatureAlgorithm::RSASSA_PSS(params)) => Oid::to_id_string(params.hash_algorithm_oid()),
        Ok(_) | Err(_) => "1.3.14.3.2.26".to_owned(),
    };
    let (name, weak) = match hash.as_str() {
        "1.3.14.3.2.26" => ("SHA-1", true),
        "2.16.840.1.101.3.4.2.1" => ("SHA-256", false),
        "2.16.840.1.101.3.4.2.2" => ("SHA-384", false),
        "2.16.840.1.101.3.4.2.3" => ("SHA-512", false),
        other => return (format!("RSA-PSS with hash {other}"), false),
    };
    (format!("RSA-PSS with {name}"), weak)
}
