//! The TLS families and how they are recorded: typed events and drop-safe spans.

mod certificates;
mod handshakes;
mod identities;
mod peers;
mod reload;

pub use certificates::CertificateMetrics;
pub use handshakes::{ClientHandshake, ConnectorMetrics, ListenerMetrics, Negotiated, ServerHandshake, Usage};
pub use reload::{
    CRL_AGE, CRL_NEXT_UPDATE, CRL_NUMBER, CRL_REVOKED, RELOAD_LAST_SUCCESS, RELOAD_PENDING_FAILURE, RELOADS,
    ReloadMetrics, ReloadReason,
};

use crate::Protocol;
use crate::certificate::CertType;
use crate::error::{FoundBy, TlsErrorType};
use artstore_metrics::{Family, Label, LabelValue as _, Outcome, label_enum};

label_enum! {
    /// A verdict on a certificate.
    pub enum Verdict as "result" {
        /// Nothing against it.
        Valid = "valid",
        /// Past its notAfter.
        Expired = "expired",
        /// Not yet valid, for another name or purpose, of unknown revocation status, broken.
        Invalid = "invalid",
        /// Of an unknown issuer.
        Untrusted = "untrusted",
        /// On a revocation list.
        Revoked = "revoked",
    }
}

label_enum! {
    /// Whether a request went over a connection that had carried one before.
    pub enum Reused as "reused" {
        /// It had.
        True = "true",
        /// It had not.
        False = "false",
    }
}

label_enum! {
    /// How much of a handshake there was.
    pub enum HandshakeKind as "kind" {
        /// All of it.
        Full = "full",
        /// All of it, after the server had asked for another key-exchange group than the client had guessed.
        FullHelloRetry = "full_hello_retry",
        /// A session was resumed, and nobody showed a certificate.
        Resumed = "resumed",
    }
}

label_enum! {
    /// What there is against the peer of an open connection that is cut.
    pub enum CutReason as "error_type" {
        /// Its certificate is past its notAfter.
        CertExpired = "cert_expired",
        /// Its certificate is before its notBefore.
        CertNotYetValid = "cert_not_yet_valid",
        /// Its issuer is no longer trusted.
        CertUntrusted = "cert_untrusted",
        /// Its certificate is on a revocation list.
        CertRevoked = "cert_revoked",
        /// Its certificate is for another name.
        CertNameMismatch = "cert_name_mismatch",
        /// The extended key usage does not allow this use.
        CertWrongPurpose = "cert_wrong_purpose",
        /// It showed none, and now must.
        CertMissing = "cert_missing",
        /// Anything else, such as an identity that is no longer allowed.
        CertInvalid = "cert_invalid",
        /// No revocation list covers its certificate, or the list is stale.
        RevocationUnknown = "revocation_unknown",
    }
}

impl From<TlsErrorType> for CutReason {
    /// The reason that a verifier's error amounts to.
    fn from(kind: TlsErrorType) -> Self {
        match kind {
            TlsErrorType::CertExpired => Self::CertExpired,
            TlsErrorType::CertNotYetValid => Self::CertNotYetValid,
            TlsErrorType::CertUntrusted => Self::CertUntrusted,
            TlsErrorType::CertRevoked => Self::CertRevoked,
            TlsErrorType::CertNameMismatch => Self::CertNameMismatch,
            TlsErrorType::CertWrongPurpose => Self::CertWrongPurpose,
            TlsErrorType::CertMissing => Self::CertMissing,
            TlsErrorType::RevocationUnknown => Self::RevocationUnknown,
            TlsErrorType::CertInvalid
            | TlsErrorType::ProtocolVersion
            | TlsErrorType::CipherMismatch
            | TlsErrorType::AlpnMismatch
            | TlsErrorType::NotTls
            | TlsErrorType::ProtocolError
            | TlsErrorType::PeerAlert
            | TlsErrorType::Timeout
            | TlsErrorType::Closed
            | TlsErrorType::Internal => Self::CertInvalid,
        }
    }
}

const CIPHER_SUITE: Label =
    Label::open("cipher_suite", "the enabled suites by IANA name, each with its own protocol version only");
const SUBJECT: Label = Label::open("subject", "the certificates loaded; RFC 4514 strings");
const FINGERPRINT: Label = Label::open("fingerprint", "the certificates loaded; SHA-256 in hexadecimal");
const IDENTITY: Label = Label::open("identity", "the rules of the list of allowed clients, and other");
const GROUP: Label = Label::open("group", "the enabled key-exchange groups by IANA name, and none");
const BUCKETS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0];
const REMAINING: &[f64] =
    &[0.0, 86_400.0, 259_200.0, 604_800.0, 1_209_600.0, 2_592_000.0, 5_184_000.0, 7_776_000.0, 31_536_000.0];
const OUTCOME: &[Label] = &[Outcome::<TlsErrorType>::STATUS, TlsErrorType::OR_EMPTY];
const PROTOCOL: &[Label] = &[Protocol::LABEL];
const BY_SUITE: &[Label] = &[CIPHER_SUITE, Protocol::LABEL];
const BY_PROTOCOL_AND_SUITE: &[Label] = &[Protocol::LABEL, CIPHER_SUITE];

/// Duration of successful client handshakes.
pub const HANDSHAKE_DURATION: Family = Family::histogram(
    "tls_handshake_duration_seconds",
    "Time that successful TLS handshakes of outgoing connections took, without DNS, TCP connect and the wait for settling.",
    BUCKETS,
)
.labels(BY_PROTOCOL_AND_SUITE);

/// Client handshakes by outcome.
pub const HANDSHAKES: Family =
    Family::counter("tls_handshake_total", "TLS handshakes of outgoing connections by outcome.").labels(OUTCOME);

/// Open client connections.
pub const CONNECTIONS_ACTIVE: Family = Family::gauge(
    "tls_connections_active",
    "Open outgoing TLS connections, idle pooled ones included, by negotiated version.",
)
.labels(PROTOCOL);

/// Requests by reuse of their connection.
pub const CONNECTION_REUSE: Family = Family::counter(
    "tls_connection_reuse_total",
    "Requests sent over outgoing TLS connections by whether their connection had carried one before.",
)
.labels(&[Reused::LABEL]);

/// Days until certificates expire.
pub const CERTIFICATE_EXPIRY: Family = Family::gauge(
    "tls_certificate_expiry_days",
    "Days until the earliest notAfter of the held certificates with this role and subject, negative once expired.",
)
.labels(&[CertType::LABEL, SUBJECT]);

/// When certificates expire.
pub const CERTIFICATE_NOT_AFTER: Family = Family::gauge(
    "tls_certificate_not_after_timestamp_seconds",
    "The notAfter of each held certificate in seconds since 1970-01-01.",
)
.labels(&[CertType::LABEL, SUBJECT, FINGERPRINT]);

/// When certificates begin to be valid.
pub const CERTIFICATE_NOT_BEFORE: Family = Family::gauge(
    "tls_certificate_not_before_timestamp_seconds",
    "The notBefore of each held certificate in seconds since 1970-01-01.",
)
.labels(&[CertType::LABEL, SUBJECT, FINGERPRINT]);

/// Verdicts on certificates.
pub const CERTIFICATE_VALIDATION: Family = Family::counter(
    "tls_certificate_validation_total",
    "Verdicts on certificates of servers in outgoing handshakes and of held certificates by the certificate monitor.",
)
.labels(&[Verdict::LABEL]);

/// Successful client handshakes by version.
pub const PROTOCOL_USAGE: Family = Family::counter(
    "tls_protocol_usage_total",
    "Successful TLS handshakes of outgoing connections by negotiated version.",
)
.labels(PROTOCOL);

/// Successful client handshakes by suite.
pub const CIPHER_SUITE_USAGE: Family = Family::counter(
    "tls_cipher_suite_usage_total",
    "Successful TLS handshakes of outgoing connections by negotiated cipher suite.",
)
.labels(BY_SUITE);

/// Client handshakes that we gave up before they settled.
pub const HANDSHAKES_UNSETTLED: Family = Family::counter(
    "tls_handshake_unsettled_total",
    "Outgoing TLS connections that we closed before it was known whether the server accepts them.",
);

/// Server handshakes by outcome.
pub const SERVER_HANDSHAKES: Family =
    Family::counter("tls_server_handshake_total", "TLS handshakes of accepted connections by outcome.").labels(OUTCOME);

/// Duration of successful server handshakes.
pub const SERVER_HANDSHAKE_DURATION: Family = Family::histogram(
    "tls_server_handshake_duration_seconds",
    "Time from a client's hello to the end of the TLS handshake, for successful handshakes of accepted connections.",
    BUCKETS,
)
.labels(BY_PROTOCOL_AND_SUITE);

/// How long clients take to say hello.
pub const SERVER_CLIENT_HELLO_WAIT: Family = Family::histogram(
    "tls_server_client_hello_wait_seconds",
    "Time from accepting a connection to a client's complete TLS hello.",
    BUCKETS,
);

/// Server handshakes under way.
pub const SERVER_HANDSHAKES_IN_PROGRESS: Family =
    Family::gauge("tls_server_handshakes_in_progress", "Accepted connections whose TLS handshake is under way.");

/// Server handshakes that we gave up.
pub const SERVER_HANDSHAKES_CANCELLED: Family = Family::counter(
    "tls_server_handshake_cancelled_total",
    "TLS handshakes of accepted connections that we gave up ourselves, as when shutting down.",
);

/// Open server connections.
pub const SERVER_CONNECTIONS_ACTIVE: Family =
    Family::gauge("tls_server_connections_active", "Open accepted TLS connections by negotiated version.")
        .labels(PROTOCOL);

/// Successful server handshakes by version.
pub const SERVER_PROTOCOL_USAGE: Family = Family::counter(
    "tls_server_protocol_usage_total",
    "Successful TLS handshakes of accepted connections by negotiated version.",
)
.labels(PROTOCOL);

/// Successful server handshakes by suite.
pub const SERVER_CIPHER_SUITE_USAGE: Family = Family::counter(
    "tls_server_cipher_suite_usage_total",
    "Successful TLS handshakes of accepted connections by negotiated cipher suite.",
)
.labels(BY_SUITE);

/// Verdicts on clients' certificates.
pub const SERVER_CERTIFICATE_VALIDATION: Family = Family::counter(
    "tls_server_certificate_validation_total",
    "Verdicts on certificates of clients in handshakes of accepted connections.",
)
.labels(&[Verdict::LABEL]);

/// Client connections that were cut.
pub const CONNECTIONS_CUT: Family = Family::counter(
    "tls_connections_cut_total",
    "Open outgoing TLS connections that were cut because a change of trust or revocation lists turned against the server.",
)
.labels(&[CutReason::LABEL]);

/// Server connections that were cut.
pub const SERVER_CONNECTIONS_CUT: Family = Family::counter(
    "tls_server_connections_cut_total",
    "Open accepted TLS connections that were cut because a change of trust or revocation lists turned against the client.",
)
.labels(&[CutReason::LABEL]);

/// Clients by the rule that allows them.
pub const SERVER_CLIENT_IDENTITY: Family = Family::counter(
    "tls_server_client_identity_total",
    "Clients let in by each rule of the list of allowed clients, and clients refused because none names them (other).",
)
.labels(&[IDENTITY]);

/// Who found what was wrong with client handshakes.
pub const HANDSHAKE_FAILURES_FOUND_BY: Family = Family::counter(
    "tls_handshake_failures_found_by_total",
    "Failed TLS handshakes of outgoing connections by who found the reason: we, the peer by an alert, or the transport.",
)
.labels(&[FoundBy::LABEL]);

/// Successful client handshakes by kind.
pub const HANDSHAKE_KIND: Family = Family::counter(
    "tls_handshake_kind_total",
    "Successful TLS handshakes of outgoing connections by kind: full, full after a hello retry, or resumed.",
)
.labels(&[HandshakeKind::LABEL]);

/// Successful client handshakes by key-exchange group.
pub const HANDSHAKE_KEY_EXCHANGE: Family = Family::counter(
    "tls_handshake_key_exchange_total",
    "Successful TLS handshakes of outgoing connections by key-exchange group; none in resumed handshakes of TLS 1.2.",
)
.labels(&[GROUP]);

/// Client connections that carried nothing.
pub const CONNECTIONS_UNUSED: Family = Family::counter(
    "tls_connections_unused_total",
    "Outgoing TLS connections that were closed after a successful handshake without a byte of application data either way.",
);

/// How long servers' certificates are still valid.
pub const PEER_CERTIFICATE_REMAINING: Family = Family::histogram(
    "tls_peer_certificate_remaining_seconds",
    "Time until the notAfter of the server's certificate in each complete handshake of outgoing connections.",
    REMAINING,
);

/// Who found what was wrong with server handshakes.
pub const SERVER_HANDSHAKE_FAILURES_FOUND_BY: Family = Family::counter(
    "tls_server_handshake_failures_found_by_total",
    "Failed TLS handshakes of accepted connections by who found the reason: we, the peer by an alert, or the transport.",
)
.labels(&[FoundBy::LABEL]);

/// Successful server handshakes by kind.
pub const SERVER_HANDSHAKE_KIND: Family = Family::counter(
    "tls_server_handshake_kind_total",
    "Successful TLS handshakes of accepted connections by kind: full, full after a hello retry, or resumed.",
)
.labels(&[HandshakeKind::LABEL]);

/// Successful server handshakes by key-exchange group.
pub const SERVER_HANDSHAKE_KEY_EXCHANGE: Family = Family::counter(
    "tls_server_handshake_key_exchange_total",
    "Successful TLS handshakes of accepted connections by key-exchange group; none in resumed handshakes of TLS 1.2.",
)
.labels(&[GROUP]);

/// Server connections that carried nothing.
pub const SERVER_CONNECTIONS_UNUSED: Family = Family::counter(
    "tls_server_connections_unused_total",
    "Accepted TLS connections that were closed after a successful handshake without a byte of application data either way.",
);

/// How long clients' certificates are still valid.
pub const SERVER_PEER_CERTIFICATE_REMAINING: Family = Family::histogram(
    "tls_server_peer_certificate_remaining_seconds",
    "Time until the notAfter of the client's certificate in each complete handshake of accepted connections.",
    REMAINING,
);

/// All families of this crate.
pub const FAMILIES: &[&Family] = &[
    &HANDSHAKE_DURATION,
    &HANDSHAKES,
    &CONNECTIONS_ACTIVE,
    &CONNECTION_REUSE,
    &CERTIFICATE_EXPIRY,
    &CERTIFICATE_VALIDATION,
    &PROTOCOL_USAGE,
    &CIPHER_SUITE_USAGE,
    &HANDSHAKES_UNSETTLED,
    &CERTIFICATE_NOT_AFTER,
    &CONNECTIONS_CUT,
    &HANDSHAKE_FAILURES_FOUND_BY,
    &HANDSHAKE_KIND,
    &HANDSHAKE_KEY_EXCHANGE,
    &CONNECTIONS_UNUSED,
    &PEER_CERTIFICATE_REMAINING,
    &CERTIFICATE_NOT_BEFORE,
    &RELOADS,
    &RELOAD_LAST_SUCCESS,
    &RELOAD_PENDING_FAILURE,
    &CRL_AGE,
    &CRL_NUMBER,
    &CRL_NEXT_UPDATE,
    &CRL_REVOKED,
    &SERVER_HANDSHAKES,
    &SERVER_HANDSHAKE_DURATION,
    &SERVER_CLIENT_HELLO_WAIT,
    &SERVER_HANDSHAKES_IN_PROGRESS,
    &SERVER_HANDSHAKES_CANCELLED,
    &SERVER_CONNECTIONS_ACTIVE,
    &SERVER_PROTOCOL_USAGE,
    &SERVER_CIPHER_SUITE_USAGE,
    &SERVER_CERTIFICATE_VALIDATION,
    &SERVER_CONNECTIONS_CUT,
    &SERVER_CLIENT_IDENTITY,
    &SERVER_HANDSHAKE_FAILURES_FOUND_BY,
    &SERVER_HANDSHAKE_KIND,
    &SERVER_HANDSHAKE_KEY_EXCHANGE,
    &SERVER_CONNECTIONS_UNUSED,
    &SERVER_PEER_CERTIFICATE_REMAINING,
];

impl From<TlsErrorType> for Verdict {
    /// The verdict that a verifier's error amounts to.
    fn from(kind: TlsErrorType) -> Self {
        match kind {
            TlsErrorType::CertExpired => Self::Expired,
            TlsErrorType::CertUntrusted => Self::Untrusted,
            TlsErrorType::CertRevoked => Self::Revoked,
            TlsErrorType::CertNotYetValid
            | TlsErrorType::CertNameMismatch
            | TlsErrorType::CertWrongPurpose
            | TlsErrorType::CertMissing
            | TlsErrorType::CertInvalid
            | TlsErrorType::RevocationUnknown
            | TlsErrorType::ProtocolVersion
            | TlsErrorType::CipherMismatch
            | TlsErrorType::AlpnMismatch
            | TlsErrorType::NotTls
            | TlsErrorType::ProtocolError
            | TlsErrorType::PeerAlert
            | TlsErrorType::Timeout
            | TlsErrorType::Closed
            | TlsErrorType::Internal => Self::Invalid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_certificates_have_their_own_verdict_and_others_are_invalid() {
        for kind in TlsErrorType::ALL {
            let wanted = match kind.label() {
                "cert_expired" => Verdict::Expired,
                "cert_untrusted" => Verdict::Untrusted,
                "cert_revoked" => Verdict::Revoked,
                _ => Verdict::Invalid,
            };
            assert_eq!(Verdict::from(*kind), wanted, "{kind}");
        }
    }

    /// A cut is called as the failure of a handshake would be, if it can be about a certificate at all.
    #[test]
    fn reasons_for_cuts_are_those_of_failures() {
        for kind in TlsErrorType::ALL {
            let same = CutReason::ALL.iter().find(|reason| reason.label() == kind.label());
            assert_eq!(CutReason::from(*kind), *same.unwrap_or(&CutReason::CertInvalid), "{kind}");
        }
    }
}
