//! A token request as it comes in: the form, the client's credentials, and every way in which they are wrong (RFC 6749).

use artstore_auth::ClientAssertion;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::BTreeMap;

/// The only type of assertion (RFC 7523 section 2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Why there is no token. The texts are `error_description`s: printable ASCII without quotes and backslashes (section 5.2),
/// and nothing of what the client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenError {
    /// 400 `invalid_request`.
    InvalidRequest(&'static str),
    /// 413 `invalid_request`.
    TooLarge,
    /// 408 `invalid_request`.
    TooSlow,
    /// 401 `invalid_client`.
    InvalidClient(&'static str),
    /// 400 `unauthorized_client`.
    Suspended,
    /// 400 `unsupported_grant_type`.
    UnsupportedGrantType,
    /// 400 `invalid_scope`.
    InvalidScope,
    /// 429 `temporarily_unavailable`: too many failures; the next may come after so many seconds.
    Limited {
        /// At least 1.
        retry_after: u32,
    },
    /// 503 `temporarily_unavailable`; the log says why.
    Unavailable,
}

impl TokenError {
    /// What an unknown client and a wrong secret are told alike.
    pub(crate) const NO_MATCH: Self = Self::InvalidClient("the client is unknown, or its credentials are wrong");

    /// The status, the code and the description.
    pub(crate) const fn parts(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::InvalidRequest(description) => (400, "invalid_request", description),
            Self::TooLarge => (413, "invalid_request", "the request is too long"),
            Self::TooSlow => (408, "invalid_request", "the request took too long to arrive"),
            Self::InvalidClient(description) => (401, "invalid_client", description),
            Self::Suspended => (400, "unauthorized_client", "the account is suspended"),
            Self::UnsupportedGrantType => (400, "unsupported_grant_type", "the only grant_type is client_credentials"),
            Self::InvalidScope => (400, "invalid_scope", "the account does not have every scope that was asked for"),
            Self::Limited { .. } => (
                429,
                "temporarily_unavailable",
                "too many failed authentications; the right credentials are still served",
            ),
            Self::Unavailable => (503, "temporarily_unavailable", "no token can be made at the moment"),
        }
    }
}

/// What a client presents to prove who it is.
#[derive(Debug)]
pub(crate) enum Presented {
    /// `client_secret_basic`, `client_secret_post`, or the original's form.
    Secret { client_id: String, secret: SecretString },
    /// `private_key_jwt`: an assertion of the client that it names.
    Assertion { client_id: String, assertion: SecretString },
    /// `tls_client_auth`: the certificate of the connection.
    Certificate { client_id: String },
}

impl Presented {
    /// Who it says to be.
    pub(crate) fn client_id(&self) -> &str {
        match self {
            Self::Secret { client_id, .. } | Self::Assertion { client_id, .. } | Self::Certificate { client_id } => {
                client_id
            }
        }
    }
}

/// A client-credentials request of `POST /oauth2/token`.
#[derive(Debug)]
pub(crate) struct TokenRequest {
    pub(crate) client: Presented,
    /// The scopes asked for; empty if none were, which means all that the account has.
    pub(crate) scopes: Vec<String>,
}

impl TokenRequest {
    /// Reads headers and body. `certificate` tells whether the connection shows one, by which a client may authenticate.
    pub(crate) fn read(headers: &HeaderMap, body: &[u8], certificate: bool) -> Result<Self, TokenError> {
        if !has_media_type(headers, "application/x-www-form-urlencoded") {
            return Err(TokenError::InvalidRequest("Content-Type must be application/x-www-form-urlencoded"));
        }
        let mut form = read_form(body)?;
        let client = client_of(headers, &mut form, certificate)?;
        match form.get("grant_type").map(|value| value.expose_secret()) {
            None => return Err(TokenError::InvalidRequest("grant_type is missing")),
            Some("client_credentials") => {}
            Some(_) => return Err(TokenError::UnsupportedGrantType),
        }
        let mut scopes: Vec<String> = Vec::new();
        for scope in form.get("scope").map_or("", |scope| scope.expose_secret()).split(' ') {
            if !scope.is_empty() && !scopes.iter().any(|known| known == scope) {
                scopes.push(scope.to_owned());
            }
        }
        Ok(Self { client, scopes })
    }
}

/// Whether the body is declared to be of this media type, whatever its parameters.
pub(crate) fn has_media_type(headers: &HeaderMap, wanted: &str) -> bool {
    let declared = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    declared.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case(wanted))
}

/// Every parameter may hold a secret, so all do. One without a value counts as absent (section 3.2).
type Form = BTreeMap<String, SecretString>;

fn read_form(body: &[u8]) -> Result<Form, TokenError> {
    const NOT_TEXT: TokenError = TokenError::InvalidRequest("the body is not UTF-8");
    let mut form = Form::new();
    for pair in std::str::from_utf8(body).map_err(|_| NOT_TEXT)?.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (form_decode(name).ok_or(NOT_TEXT)?, form_decode(value).ok_or(NOT_TEXT)?);
        if !value.is_empty() && form.insert(name, value.into()).is_some() {
            return Err(TokenError::InvalidRequest("a parameter is there more than once"));
        }
    }
    Ok(form)
}

/// Undoes `application/x-www-form-urlencoded`; `None` if the result is no text.
fn form_decode(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// The client's credentials: one way of presenting them, never two (section 2.3).
fn client_of(headers: &HeaderMap, form: &mut Form, certificate: bool) -> Result<Presented, TokenError> {
    let mut authorization = headers.get_all(AUTHORIZATION).iter();
    let header = authorization.next();
    if authorization.next().is_some() {
        return Err(TokenError::InvalidRequest("Authorization is there more than once"));
    }
    let (body_id, body_secret) = (form.remove("client_id"), form.remove("client_secret"));
    let asserted = form.contains_key("client_assertion") || form.contains_key("client_assertion_type");
    match (header, body_secret) {
        (Some(_), Some(_)) => Err(TokenError::InvalidRequest("the client authenticates in more than one way")),
        (Some(_), None) | (None, Some(_)) if asserted => {
            Err(TokenError::InvalidRequest("the client authenticates in more than one way"))
        }
        (Some(header), None) => {
            let client = header.to_str().ok().and_then(read_basic).ok_or(TokenError::InvalidClient(
                "Authorization is not Basic with client_id and secret, each form-encoded",
            ))?;
            if body_id.is_some_and(|id| id.expose_secret() != client.client_id()) {
                return Err(TokenError::InvalidRequest("client_id is not the one in Authorization"));
            }
            Ok(client)
        }
        (None, Some(secret)) => match body_id {
            Some(id) => Ok(Presented::Secret { client_id: id.expose_secret().to_owned(), secret }),
            None => Err(TokenError::InvalidRequest("client_id is missing")),
        },
        (None, None) if asserted => asserted_client(form, body_id),
        (None, None) => match body_id {
            Some(id) if certificate => Ok(Presented::Certificate { client_id: id.expose_secret().to_owned() }),
            _ => Err(TokenError::InvalidClient(
                "the client must authenticate: HTTP Basic, client_secret, client_assertion or a certificate",
            )),
        },
    }
}

/// `client_assertion` (RFC 7523 section 2.2): whom it says to be from is only looked up by this, and verified later.
fn asserted_client(form: &mut Form, body_id: Option<SecretString>) -> Result<Presented, TokenError> {
    let kind = form.remove("client_assertion_type");
    if kind.is_none_or(|kind| kind.expose_secret() != ASSERTION_TYPE) {
        return Err(TokenError::InvalidClient("client_assertion_type is not the jwt-bearer of RFC 7523"));
    }
    let assertion = form.remove("client_assertion").ok_or(TokenError::InvalidRequest("client_assertion is missing"))?;
    let client_id = ClientAssertion::unverified_client_id(assertion.expose_secret())
        .ok_or(TokenError::InvalidClient("client_assertion is no JWT with a sub"))?;
    if body_id.is_some_and(|id| id.expose_secret() != client_id) {
        return Err(TokenError::InvalidRequest("client_id is not the one in client_assertion"));
    }
    Ok(Presented::Assertion { client_id, assertion })
}

/// `Basic base64(form-encoded id ":" form-encoded secret)` (section 2.3.1).
fn read_basic(header: &str) -> Option<Presented> {
    let (scheme, credentials) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let decoded: SecretString = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?.into();
    let (id, secret) = decoded.expose_secret().split_once(':')?;
    Some(Presented::Secret { client_id: form_decode(id)?, secret: form_decode(secret)?.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(pairs: &[(http::HeaderName, &str)]) -> HeaderMap {
        let form = (CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded; charset=UTF-8"));
        let given = pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()));
        let mut headers = HeaderMap::new();
        for (name, value) in std::iter::once(form).chain(given) {
            headers.append(name, value);
        }
        headers
    }

    fn basic(credentials: &str) -> HeaderMap {
        headers(&[(AUTHORIZATION, &format!("Basic {}", STANDARD.encode(credentials)))])
    }

    fn read(headers: &HeaderMap, body: &str) -> Result<(String, String, Vec<String>), TokenError> {
        let TokenRequest { client, scopes } = TokenRequest::read(headers, body.as_bytes(), false)?;
        let Presented::Secret { client_id, secret } = client else { panic!("{client:?}") };
        Ok((client_id, secret.expose_secret().to_owned(), scopes))
    }

    fn expected(id: &str, secret: &str, scopes: &[&str]) -> Result<(String, String, Vec<String>), TokenError> {
        Ok((id.to_owned(), secret.to_owned(), scopes.iter().map(|scope| (*scope).to_owned()).collect()))
    }

    #[test]
    fn basic_credentials_are_form_decoded() {
        let grant = "grant_type=client_credentials";
        assert_eq!(read(&basic("id:secret"), grant), expected("id", "secret", &[]));
        assert_eq!(read(&basic("a%3Ab:c%25d+e:f"), grant), expected("a:b", "c%d e:f", &[]));
        assert_eq!(read(&basic("id:"), grant), expected("id", "", &[]));
        let lower = headers(&[(AUTHORIZATION, &format!("basic {}", STANDARD.encode("id:s")))]);
        assert_eq!(read(&lower, grant), expected("id", "s", &[]));
        assert_eq!(read(&basic("id:s"), "grant_type=client_credentials&client_id=id"), expected("id", "s", &[]));
    }

    #[test]
    fn body_credentials_and_scopes_are_read() {
        let body =
            "grant_type=client_credentials&client_id=a%20b&client_secret=c%2Bd&scope=x%3Ay+z++x%3Ay&other=&&audience=q";
        assert_eq!(read(&headers(&[]), body), expected("a b", "c+d", &["x:y", "z"]));
        let empty_scope = "grant_type=client_credentials&client_id=a&client_secret=b&scope=";
        assert_eq!(read(&headers(&[]), empty_scope), expected("a", "b", &[]));
    }

    #[test]
    fn more_than_one_way_to_authenticate_is_refused() {
        let twice = Err(TokenError::InvalidRequest("the client authenticates in more than one way"));
        assert_eq!(read(&basic("id:s"), "grant_type=client_credentials&client_id=id&client_secret=s"), twice);
        assert_eq!(read(&basic("id:s"), "grant_type=client_credentials&client_assertion=e"), twice);
        let both = "grant_type=client_credentials&client_id=id&client_secret=s&client_assertion_type=t";
        assert_eq!(read(&headers(&[]), both), twice);
        let other = Err(TokenError::InvalidRequest("client_id is not the one in Authorization"));
        assert_eq!(read(&basic("id:s"), "grant_type=client_credentials&client_id=another"), other);
        let header = format!("Basic {}", STANDARD.encode("id:s"));
        let headers = headers(&[(AUTHORIZATION, &header), (AUTHORIZATION, &header)]);
        let repeated = Err(TokenError::InvalidRequest("Authorization is there more than once"));
        assert_eq!(read(&headers, "grant_type=client_credentials"), repeated);
    }

    #[test]
    fn what_is_missing_repeated_or_unreadable_is_named() {
        let none = headers(&[]);
        let invalid = |description| Err(TokenError::InvalidRequest(description));
        assert_eq!(read(&none, "client_id=a&client_secret=b"), invalid("grant_type is missing"));
        assert_eq!(read(&none, "grant_type=client_credentials&client_secret=b"), invalid("client_id is missing"));
        let repeated = "grant_type=client_credentials&grant_type=client_credentials&client_id=a&client_secret=b";
        assert_eq!(read(&none, repeated), invalid("a parameter is there more than once"));
        assert_eq!(read(&none, "a=%ff"), invalid("the body is not UTF-8"));
        assert_eq!(
            TokenRequest::read(&none, b"a=\xff", false).unwrap_err(),
            TokenError::InvalidRequest("the body is not UTF-8")
        );
        let media = invalid("Content-Type must be application/x-www-form-urlencoded");
        assert_eq!(read(&HeaderMap::new(), "grant_type=client_credentials"), media);
        let other = read(&none, "grant_type=password&client_id=a&client_secret=b");
        assert_eq!(other, Err(TokenError::UnsupportedGrantType));
    }

    #[test]
    fn a_client_that_does_not_authenticate_is_told_how() {
        let none = TokenError::InvalidClient(
            "the client must authenticate: HTTP Basic, client_secret, client_assertion or a certificate",
        );
        assert_eq!(read(&headers(&[]), "grant_type=client_credentials&client_id=a"), Err(none));
        let broken =
            TokenError::InvalidClient("Authorization is not Basic with client_id and secret, each form-encoded");
        for value in ["Bearer abc", "Basic", "Basic ***", "Basic aWQ=", "Basic /w==", "Basic JWZmOnM="] {
            let headers = headers(&[(AUTHORIZATION, value)]);
            assert_eq!(read(&headers, "grant_type=client_credentials"), Err(broken), "{value}");
        }
    }

    #[test]
    fn descriptions_hold_only_the_characters_that_the_rfc_allows() {
        let all = [
            TokenError::InvalidRequest("x"),
            TokenError::TooLarge,
            TokenError::TooSlow,
            TokenError::NO_MATCH,
            TokenError::Suspended,
            TokenError::UnsupportedGrantType,
            TokenError::InvalidScope,
            TokenError::Limited { retry_after: 1 },
            TokenError::Unavailable,
        ];
        for error in all {
            let (_, _, description) = error.parts();
            assert!(
                description.bytes().all(|byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e)),
                "{error:?}"
            );
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let canary = "canary-4c1e6b0f";
        let body = format!("grant_type=client_credentials&client_id=a&client_secret={canary}");
        let request = TokenRequest::read(&headers(&[]), body.as_bytes(), false).unwrap();
        assert!(!format!("{request:?}").contains(canary));
        assert!(!format!("{:?}", read_form(body.as_bytes())).contains(canary));
    }
}
