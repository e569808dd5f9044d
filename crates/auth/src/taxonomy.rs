//! Every way in which getting or checking a token fails: one classification for label, log level and advice.

use artstore_metrics::label_enum;
use tracing::Level;

label_enum! {
    /// Why an exchange, a key-set fetch or a request with our token failed.
    pub enum AuthErrorType as "error_type" {
        /// The host does not resolve.
        Dns = "dns",
        /// Refused or unreachable.
        Connect = "connect",
        /// The TLS handshake failed; `tls_handshake_total` says why.
        Tls = "tls",
        /// A connect or read deadline passed.
        Timeout = "timeout",
        /// The connection was reset or ended early.
        Transport = "transport",
        /// 429.
        RateLimited = "rate_limited",
        /// 5xx, also one that carries an OAuth code; `temporarily_unavailable`.
        ServerError = "server_error",
        /// The OAuth code, or a bare 401.
        InvalidClient = "invalid_client",
        /// The OAuth code.
        UnauthorizedClient = "unauthorized_client",
        /// The OAuth code, or a narrower scope granted than asked.
        InvalidScope = "invalid_scope",
        /// The OAuth code; also `unsupported_grant_type` and `invalid_grant`.
        InvalidRequest = "invalid_request",
        /// Any other 3xx or 4xx.
        UnexpectedStatus = "unexpected_status",
        /// Bad JSON, no token, a wrong token type, an oversized body, a lifetime that is not in 1 to 10^9 seconds.
        MalformedResponse = "malformed_response",
        /// Signature, issuer, audience, type or algorithm of the received token.
        TokenInvalid = "token_invalid",
        /// The received token's own times are in the future or past.
        ClockSkew = "clock_skew",
        /// Keys cannot be fetched, or the key stays unknown.
        JwksUnavailable = "jwks_unavailable",
        /// A resource server still says 401 after one forced refresh.
        ResourceRejected = "resource_rejected",
        /// The secret is unreadable, or a defect of ours.
        Internal = "internal",
    }
}

impl AuthErrorType {
    /// How loudly to log it: what heals by itself is a warning, what needs a person is an error.
    #[must_use]
    pub const fn level(self) -> Level {
        match self {
            Self::Dns
            | Self::Connect
            | Self::Timeout
            | Self::Transport
            | Self::RateLimited
            | Self::ServerError
            | Self::JwksUnavailable => Level::WARN,
            Self::Tls
            | Self::InvalidClient
            | Self::UnauthorizedClient
            | Self::InvalidScope
            | Self::InvalidRequest
            | Self::UnexpectedStatus
            | Self::MalformedResponse
            | Self::TokenInvalid
            | Self::ClockSkew
            | Self::ResourceRejected
            | Self::Internal => Level::ERROR,
        }
    }

    /// Whether another instance of the same issuer would answer the same, so that asking it would only repeat a bad secret.
    #[must_use]
    pub const fn is_verdict(self) -> bool {
        match self {
            Self::InvalidClient | Self::UnauthorizedClient | Self::InvalidScope | Self::InvalidRequest => true,
            Self::Dns
            | Self::Connect
            | Self::Tls
            | Self::Timeout
            | Self::Transport
            | Self::RateLimited
            | Self::ServerError
            | Self::UnexpectedStatus
            | Self::MalformedResponse
            | Self::TokenInvalid
            | Self::ClockSkew
            | Self::JwksUnavailable
            | Self::ResourceRejected
            | Self::Internal => false,
        }
    }
}

/// The error type of a token endpoint's answer, from its status and the OAuth error code in its body, if there is one.
///
/// A 2xx that is asked about here carried no usable token.
#[must_use]
pub fn classify_auth_error(status: u16, oauth_code: Option<&str>) -> AuthErrorType {
    match (status, oauth_code) {
        (200..=299, _) => AuthErrorType::MalformedResponse,
        (429, _) => AuthErrorType::RateLimited,
        (500..=599, _) => AuthErrorType::ServerError,
        (400..=499, Some("temporarily_unavailable" | "server_error")) => AuthErrorType::ServerError,
        (400..=499, Some("invalid_client")) => AuthErrorType::InvalidClient,
        (400..=499, Some("unauthorized_client")) => AuthErrorType::UnauthorizedClient,
        (400..=499, Some("invalid_scope")) => AuthErrorType::InvalidScope,
        (400..=499, Some("invalid_request" | "unsupported_grant_type" | "invalid_grant")) => {
            AuthErrorType::InvalidRequest
        }
        (401, _) => AuthErrorType::InvalidClient,
        _ => AuthErrorType::UnexpectedStatus,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use artstore_metrics::LabelValue;

    #[test]
    fn status_and_code_decide() {
        let cases = [
            (200, None, AuthErrorType::MalformedResponse),
            (204, Some("invalid_client"), AuthErrorType::MalformedResponse),
            (302, Some("invalid_client"), AuthErrorType::UnexpectedStatus),
            (304, None, AuthErrorType::UnexpectedStatus),
            (400, None, AuthErrorType::UnexpectedStatus),
            (400, Some("temporarily_unavailable"), AuthErrorType::ServerError),
            (400, Some("server_error"), AuthErrorType::ServerError),
            (400, Some("invalid_client"), AuthErrorType::InvalidClient),
            (400, Some("unauthorized_client"), AuthErrorType::UnauthorizedClient),
            (400, Some("invalid_scope"), AuthErrorType::InvalidScope),
            (400, Some("invalid_request"), AuthErrorType::InvalidRequest),
            (400, Some("unsupported_grant_type"), AuthErrorType::InvalidRequest),
            (400, Some("invalid_grant"), AuthErrorType::InvalidRequest),
            (400, Some("something_new"), AuthErrorType::UnexpectedStatus),
            (401, None, AuthErrorType::InvalidClient),
            (401, Some("invalid_scope"), AuthErrorType::InvalidScope),
            (403, None, AuthErrorType::UnexpectedStatus),
            (429, Some("invalid_client"), AuthErrorType::RateLimited),
            (500, None, AuthErrorType::ServerError),
            (503, Some("invalid_client"), AuthErrorType::ServerError),
            (600, None, AuthErrorType::UnexpectedStatus),
        ];
        for (status, code, expected) in cases {
            assert_eq!(classify_auth_error(status, code), expected, "{status} {code:?}");
        }
    }

    #[test]
    fn only_verdicts_of_the_issuer_stop_the_pass_over_its_instances() {
        let verdicts: Vec<&str> =
            AuthErrorType::ALL.iter().filter(|kind| kind.is_verdict()).map(|kind| kind.label()).collect();
        assert_eq!(verdicts, ["invalid_client", "unauthorized_client", "invalid_scope", "invalid_request"]);
    }

    #[test]
    fn what_heals_by_itself_is_a_warning() {
        let warnings: Vec<&str> =
            AuthErrorType::ALL.iter().filter(|kind| kind.level() == Level::WARN).map(|kind| kind.label()).collect();
        let expected = ["dns", "connect", "timeout", "transport", "rate_limited", "server_error", "jwks_unavailable"];
        assert_eq!(warnings, expected);
    }
}
