//! The taxonomy of TLS errors: one classification decides label and log level, whoever noticed the error.

use artstore_metrics::label_enum;
use rustls::{AlertDescription, CertificateError, InvalidMessage, PeerIncompatible};
use std::io;
use std::net::SocketAddr;

label_enum! {
    /// Why a TLS handshake failed.
    pub enum TlsErrorType as "error_type" {
        /// The certificate is past its notAfter.
        CertExpired = "cert_expired",
        /// The certificate is before its notBefore.
        CertNotYetValid = "cert_not_yet_valid",
        /// Unknown issuer.
        CertUntrusted = "cert_untrusted",
        /// The certificate is on a revocation list.
        CertRevoked = "cert_revoked",
        /// The certificate is for another name.
        CertNameMismatch = "cert_name_mismatch",
        /// The extended key usage does not allow this use.
        CertWrongPurpose = "cert_wrong_purpose",
        /// None was presented where one is required.
        CertMissing = "cert_missing",
        /// Bad encoding, bad signature, unhandled critical extension, any other.
        CertInvalid = "cert_invalid",
        /// No revocation list covers the certificate, or the list is stale.
        RevocationUnknown = "revocation_unknown",
        /// No common version.
        ProtocolVersion = "protocol_version",
        /// No common suite, group or signature scheme.
        CipherMismatch = "cipher_mismatch",
        /// No common application protocol.
        AlpnMismatch = "alpn_mismatch",
        /// Plain text on a TLS port.
        NotTls = "not_tls",
        /// A malformed or misbehaving peer, or a decrypt error.
        ProtocolError = "protocol_error",
        /// An alert with no place in the table.
        PeerAlert = "peer_alert",
        /// The handshake took too long.
        Timeout = "timeout",
        /// End of stream or reset inside the handshake.
        Closed = "closed",
        /// Our own fault.
        Internal = "internal",
    }
}

label_enum! {
    /// Who noticed that a handshake cannot succeed.
    pub enum FoundBy as "found_by" {
        /// We did.
        Local = "local",
        /// The peer, which told us by an alert.
        Peer = "peer",
        /// Neither: the connection below broke or stayed silent.
        Transport = "transport",
    }
}

/// A failed TLS handshake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("TLS handshake failed ({kind}): {detail}")]
pub struct TlsError {
    kind: TlsErrorType,
    found_by: FoundBy,
    detail: String,
}

impl TlsError {
    pub(crate) fn new(kind: TlsErrorType, found_by: FoundBy, detail: impl Into<String>) -> Self {
        Self { kind, found_by, detail: detail.into() }
    }

    /// The handshake was not complete within its limit.
    pub(crate) fn timeout(waiting_for: &str) -> Self {
        Self::new(TlsErrorType::Timeout, FoundBy::Transport, format!("timed out waiting for {waiting_for}"))
    }

    /// From what a verifier says against a peer.
    pub(crate) fn from_verdict(error: &rustls::Error) -> Self {
        let (kind, found_by) = classify_tls_error(error, CertificateAnswer::NotRequested);
        Self::new(kind, found_by, error.to_string())
    }

    /// From an I/O error of a TLS stream: rustls' own error inside it, or what became of the connection.
    pub(crate) fn from_io(error: &io::Error, certificate: CertificateAnswer) -> Self {
        let inner = error.get_ref();
        if let Some(known) = inner.and_then(|inner| inner.downcast_ref::<Self>()) {
            return known.clone();
        }
        if let Some(tls) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            let (kind, found_by) = classify_tls_error(tls, certificate);
            return Self::new(kind, found_by, tls.to_string());
        }
        match error.kind() {
            io::ErrorKind::TimedOut => Self::new(TlsErrorType::Timeout, FoundBy::Transport, error.to_string()),
            _ => Self::new(TlsErrorType::Closed, FoundBy::Transport, error.to_string()),
        }
    }

    /// One line about a handshake with `server` that failed. Our own faults are errors; the
    /// rest are warnings, for we need that server.
    pub(crate) fn log_outgoing(&self, server: &str) {
        let (kind, found_by, detail) = (self.kind.label(), self.found_by.label(), self.detail.as_str());
        match self.kind {
            TlsErrorType::Internal => {
                tracing::error!(server, error_type = kind, found_by, detail, "TLS handshake failed")
            }
            _ => tracing::warn!(server, error_type = kind, found_by, detail, "TLS handshake failed"),
        }
    }

    /// One line about a handshake of `peer` with our listener that failed. Anybody can make these, so they are quiet; what a
    /// port scan causes is quieter still.
    pub(crate) fn log_incoming(&self, peer: Option<SocketAddr>) {
        let (kind, found_by, detail) = (self.kind.label(), self.found_by.label(), self.detail.as_str());
        let peer = peer.map(|peer| peer.to_string()).unwrap_or_default();
        match self.kind {
            TlsErrorType::Internal => {
                tracing::error!(peer, error_type = kind, found_by, detail, "TLS handshake failed")
            }
            TlsErrorType::Closed | TlsErrorType::NotTls | TlsErrorType::Timeout => {
                tracing::debug!(peer, error_type = kind, found_by, detail, "TLS handshake failed");
            }
            _ => tracing::info!(peer, error_type = kind, found_by, detail, "TLS handshake failed"),
        }
    }

    /// What went wrong.
    #[must_use]
    pub const fn kind(&self) -> TlsErrorType {
        self.kind
    }

    /// Who noticed.
    #[must_use]
    pub const fn found_by(&self) -> FoundBy {
        self.found_by
    }

    /// The particulars, for logs.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

/// What the client did about its own certificate; decides what alert 40 means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CertificateAnswer {
    /// The server asked for none.
    #[default]
    NotRequested,
    /// The server asked for one and got one.
    Sent,
    /// The server asked for one and got none: we have none, or none that fits.
    NoneSent,
}

/// The class of a rustls error and who noticed it.
#[must_use]
pub fn classify_tls_error(error: &rustls::Error, certificate: CertificateAnswer) -> (TlsErrorType, FoundBy) {
    use rustls::Error;
    let kind = match error {
        Error::AlertReceived(alert) => return (classify_alert(*alert, certificate), FoundBy::Peer),
        Error::InvalidCertificate(error) => classify_certificate_error(error),
        Error::NoCertificatesPresented => TlsErrorType::CertMissing,
        Error::UnsupportedNameType => TlsErrorType::CertNameMismatch,
        Error::InvalidCertRevocationList(_) => TlsErrorType::RevocationUnknown,
        Error::NoApplicationProtocol => TlsErrorType::AlpnMismatch,
        Error::PeerIncompatible(error) => classify_incompatible(error),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => TlsErrorType::NotTls,
        Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::InvalidEncryptedClientHello(_)
        | Error::DecryptError
        | Error::PeerMisbehaved(_)
        | Error::PeerSentOversizedRecord => TlsErrorType::ProtocolError,
        // EncryptError, General, FailedToGetCurrentTime, FailedToGetRandomBytes, HandshakeNotComplete, BadMaxFragmentSize,
        // InconsistentKeys, Other, and what later versions add.
        _ => TlsErrorType::Internal,
    };
    (kind, FoundBy::Local)
}

/// What a peer's fatal alert says, by the contract's table.
#[must_use]
pub fn classify_alert(alert: AlertDescription, certificate: CertificateAnswer) -> TlsErrorType {
    match u8::from(alert) {
        40 => match certificate {
            CertificateAnswer::NoneSent => TlsErrorType::CertMissing,
            CertificateAnswer::NotRequested | CertificateAnswer::Sent => TlsErrorType::CipherMismatch,
        },
        42 | 46 => TlsErrorType::CertInvalid,
        43 => TlsErrorType::CertWrongPurpose,
        44 => TlsErrorType::CertRevoked,
        45 => TlsErrorType::CertExpired,
        48 => TlsErrorType::CertUntrusted,
        51 => TlsErrorType::ProtocolError,
        70 => TlsErrorType::ProtocolVersion,
        116 => TlsErrorType::CertMissing,
        120 => TlsErrorType::AlpnMismatch,
        _ => TlsErrorType::PeerAlert,
    }
}

/// The class of a verifier's verdict.
#[must_use]
pub fn classify_certificate_error(error: &CertificateError) -> TlsErrorType {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsErrorType::CertExpired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => TlsErrorType::CertNotYetValid,
        CertificateError::UnknownIssuer => TlsErrorType::CertUntrusted,
        CertificateError::Revoked => TlsErrorType::CertRevoked,
        CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => TlsErrorType::RevocationUnknown,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            TlsErrorType::CertNameMismatch
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            TlsErrorType::CertWrongPurpose
        }
        // BadEncoding, UnhandledCriticalExtension, BadSignature, the UnsupportedSignatureAlgorithm ones, InvalidOcspResponse,
        // ApplicationVerificationFailure, Other, and what later versions add.
        _ => TlsErrorType::CertInvalid,
    }
}

fn classify_incompatible(error: &PeerIncompatible) -> TlsErrorType {
    match error {
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::Tls13RequiredForQuic => TlsErrorType::ProtocolVersion,
        PeerIncompatible::NoCipherSuitesInCommon
        | PeerIncompatible::NoKxGroupsInCommon
        | PeerIncompatible::NoEcPointFormatsInCommon
        | PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon
        | PeerIncompatible::NamedGroupsExtensionRequired
        | PeerIncompatible::KeyShareExtensionRequired
        | PeerIncompatible::EcPointsExtensionRequired
        | PeerIncompatible::UncompressedEcPointsRequired
        | PeerIncompatible::SignatureAlgorithmsExtensionRequired => TlsErrorType::CipherMismatch,
        // Extensions and forms that both sides must have: ExtendedMasterSecretExtensionRequired, NullCompressionRequired…
        _ => TlsErrorType::ProtocolError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::{CertRevocationListError, ContentType, Error, HandshakeType, InconsistentKeys, OtherError};
    use rustls::{ExtendedKeyPurpose, PeerMisbehaved};
    use std::sync::Arc;

    fn other() -> OtherError {
        OtherError(Arc::new(io::Error::other("x")))
    }

    #[test]
    fn verdicts_with_and_without_context() {
        let moment = UnixTime::since_unix_epoch(std::time::Duration::ZERO);
        let name = ServerName::try_from("a.example").unwrap();
        for (error, kind) in [
            (CertificateError::Expired, TlsErrorType::CertExpired),
            (CertificateError::ExpiredContext { time: moment, not_after: moment }, TlsErrorType::CertExpired),
            (CertificateError::NotValidYet, TlsErrorType::CertNotYetValid),
            (CertificateError::NotValidYetContext { time: moment, not_before: moment }, TlsErrorType::CertNotYetValid),
            (CertificateError::UnknownIssuer, TlsErrorType::CertUntrusted),
            (CertificateError::Revoked, TlsErrorType::CertRevoked),
            (CertificateError::UnknownRevocationStatus, TlsErrorType::RevocationUnknown),
            (CertificateError::ExpiredRevocationList, TlsErrorType::RevocationUnknown),
            (
                CertificateError::ExpiredRevocationListContext { time: moment, next_update: moment },
                TlsErrorType::RevocationUnknown,
            ),
            (CertificateError::NotValidForName, TlsErrorType::CertNameMismatch),
            (
                CertificateError::NotValidForNameContext { expected: name, presented: Vec::new() },
                TlsErrorType::CertNameMismatch,
            ),
            (CertificateError::InvalidPurpose, TlsErrorType::CertWrongPurpose),
            (
                CertificateError::InvalidPurposeContext {
                    required: ExtendedKeyPurpose::ClientAuth,
                    presented: Vec::new(),
                },
                TlsErrorType::CertWrongPurpose,
            ),
            // What falls to the wildcard.
            (CertificateError::BadEncoding, TlsErrorType::CertInvalid),
            (CertificateError::BadSignature, TlsErrorType::CertInvalid),
            (CertificateError::UnhandledCriticalExtension, TlsErrorType::CertInvalid),
            (CertificateError::InvalidOcspResponse, TlsErrorType::CertInvalid),
            (CertificateError::ApplicationVerificationFailure, TlsErrorType::CertInvalid),
            (
                CertificateError::UnsupportedSignatureAlgorithmContext {
                    signature_algorithm_id: Vec::new(),
                    supported_algorithms: Vec::new(),
                },
                TlsErrorType::CertInvalid,
            ),
            (
                CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
                    signature_algorithm_id: Vec::new(),
                    public_key_algorithm_id: Vec::new(),
                },
                TlsErrorType::CertInvalid,
            ),
            (CertificateError::Other(other()), TlsErrorType::CertInvalid),
        ] {
            let wrapped = Error::InvalidCertificate(error.clone());
            let classified = classify_tls_error(&wrapped, CertificateAnswer::NotRequested);
            assert_eq!(classified, (kind, FoundBy::Local), "{error:?}");
        }
    }

    #[test]
    fn errors_of_the_protocol() {
        for (error, kind) in [
            (Error::NoCertificatesPresented, TlsErrorType::CertMissing),
            (Error::UnsupportedNameType, TlsErrorType::CertNameMismatch),
            (Error::InvalidCertRevocationList(CertRevocationListError::ParseError), TlsErrorType::RevocationUnknown),
            (Error::NoApplicationProtocol, TlsErrorType::AlpnMismatch),
            (Error::InvalidMessage(InvalidMessage::InvalidContentType), TlsErrorType::NotTls),
            (Error::InvalidMessage(InvalidMessage::MessageTooShort), TlsErrorType::ProtocolError),
            (
                Error::InappropriateMessage { expect_types: Vec::new(), got_type: ContentType::Alert },
                TlsErrorType::ProtocolError,
            ),
            (
                Error::InappropriateHandshakeMessage { expect_types: Vec::new(), got_type: HandshakeType::Finished },
                TlsErrorType::ProtocolError,
            ),
            (Error::DecryptError, TlsErrorType::ProtocolError),
            (Error::PeerMisbehaved(PeerMisbehaved::TooManyEmptyFragments), TlsErrorType::ProtocolError),
            (Error::PeerSentOversizedRecord, TlsErrorType::ProtocolError),
            // What falls to the wildcard.
            (Error::EncryptError, TlsErrorType::Internal),
            (Error::General("x".to_owned()), TlsErrorType::Internal),
            (Error::FailedToGetCurrentTime, TlsErrorType::Internal),
            (Error::FailedToGetRandomBytes, TlsErrorType::Internal),
            (Error::HandshakeNotComplete, TlsErrorType::Internal),
            (Error::BadMaxFragmentSize, TlsErrorType::Internal),
            (Error::InconsistentKeys(InconsistentKeys::KeyMismatch), TlsErrorType::Internal),
            (Error::Other(other()), TlsErrorType::Internal),
        ] {
            let classified = classify_tls_error(&error, CertificateAnswer::NotRequested);
            assert_eq!(classified, (kind, FoundBy::Local), "{error:?}");
        }
    }

    #[test]
    fn incompatible_peers() {
        use PeerIncompatible as P;
        for (errors, kind) in [
            (
                vec![
                    P::ServerDoesNotSupportTls12Or13,
                    P::ServerTlsVersionIsDisabledByOurConfig,
                    P::SupportedVersionsExtensionRequired,
                    P::Tls12NotOffered,
                    P::Tls12NotOfferedOrEnabled,
                    P::Tls13RequiredForQuic,
                ],
                TlsErrorType::ProtocolVersion,
            ),
            (
                vec![
                    P::NoCipherSuitesInCommon,
                    P::NoKxGroupsInCommon,
                    P::NoEcPointFormatsInCommon,
                    P::NoSignatureSchemesInCommon,
                    P::NoCertificateRequestSignatureSchemesInCommon,
                    P::NamedGroupsExtensionRequired,
                    P::KeyShareExtensionRequired,
                    P::EcPointsExtensionRequired,
                    P::UncompressedEcPointsRequired,
                    P::SignatureAlgorithmsExtensionRequired,
                ],
                TlsErrorType::CipherMismatch,
            ),
            (
                vec![
                    P::ExtendedMasterSecretExtensionRequired,
                    P::IncorrectCertificateTypeExtension,
                    P::NullCompressionRequired,
                    P::ServerSentHelloRetryRequestWithUnknownExtension,
                    P::UnsolicitedCertificateTypeExtension,
                    P::ServerRejectedEncryptedClientHello(None),
                ],
                TlsErrorType::ProtocolError,
            ),
        ] {
            for error in errors {
                assert_eq!(classify_incompatible(&error), kind, "{error:?}");
            }
        }
    }

    #[test]
    fn io_errors_carry_their_cause() {
        let answer = CertificateAnswer::NoneSent;
        let alert = Error::AlertReceived(AlertDescription::HandshakeFailure);
        let error = TlsError::from_io(&io::Error::new(io::ErrorKind::InvalidData, alert), answer);
        assert_eq!((error.kind(), error.found_by()), (TlsErrorType::CertMissing, FoundBy::Peer));
        assert_eq!(error.to_string(), "TLS handshake failed (cert_missing): received fatal alert: HandshakeFailure");
        let again = TlsError::from_io(&io::Error::other(error.clone()), CertificateAnswer::NotRequested);
        assert_eq!(again, error);
        for (kind, wanted) in [
            (io::ErrorKind::TimedOut, TlsErrorType::Timeout),
            (io::ErrorKind::ConnectionReset, TlsErrorType::Closed),
            (io::ErrorKind::UnexpectedEof, TlsErrorType::Closed),
        ] {
            let error = TlsError::from_io(&io::Error::from(kind), answer);
            assert_eq!((error.kind(), error.found_by()), (wanted, FoundBy::Transport));
        }
    }
}
