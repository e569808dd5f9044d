//! How a client proves to the token endpoint who it is: the methods, their credentials, and a new assertion for every request.

use crate::SecretSource;
use crate::signing::SigningKey;
use artstore_metrics::UnixTime;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// How the client shows the token endpoint who it is. Each method carries what it needs and nothing else, and only the one that
/// is configured is ever tried.
#[derive(Debug, Clone)]
pub enum ClientAuthentication {
    /// `client_secret_basic`: the secret in the header `Authorization: Basic` (RFC 6749, 2.3.1).
    SecretBasic(SecretSource),
    /// `client_secret_post`: the secret in the form. For issuers that want no Basic.
    SecretPost(SecretSource),
    /// `private_key_jwt`: a signed assertion in the form (RFC 7523). The issuer knows the public key only.
    PrivateKeyJwt(PrivateKeyJwt),
    /// `tls_client_auth` and `self_signed_tls_client_auth` (RFC 8705): the identifier in the form; the certificate that the
    /// transport shows proves it.
    TlsClientAuth,
    /// The original's form: `client_id` and `client_secret` in a JSON object.
    OriginalJson(SecretSource),
}

/// What `private_key_jwt` needs.
#[derive(Debug, Clone)]
pub struct PrivateKeyJwt {
    /// The private key, PEM of PKCS#8 (`BEGIN PRIVATE KEY`): RSA of 2048 to 8192 bits signs RS256, P-256 ES256, Ed25519 `EdDSA`.
    /// A file is read again when the issuer answers `invalid_client`.
    pub key: SecretSource,
    /// The key's name in the assertion's header (`kid`). Default: its RFC 7638 thumbprint.
    pub key_id: Option<String>,
    /// For whom the assertion is.
    pub audience: AssertionAudience,
    /// How long an assertion is valid. 60 s.
    pub lifetime: Duration,
}

impl PrivateKeyJwt {
    /// Assertions with this key for this issuer, with the defaults for the rest.
    #[must_use]
    pub fn new(key: SecretSource, issuer: impl Into<String>) -> Self {
        let audience = AssertionAudience::Issuer(issuer.into());
        Self { key, key_id: None, audience, lifetime: Duration::from_secs(60) }
    }
}

/// The `aud` of an assertion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AssertionAudience {
    /// The issuer's identifier, so that no other server can make use of the assertion (RFC 10070).
    Issuer(String),
    /// The URL of the token endpoint, for issuers that know only that.
    TokenEndpoint,
}

impl From<SecretSource> for ClientAuthentication {
    /// HTTP Basic, which every issuer must support.
    fn from(secret: SecretSource) -> Self {
        Self::SecretBasic(secret)
    }
}

impl From<PrivateKeyJwt> for ClientAuthentication {
    fn from(key: PrivateKeyJwt) -> Self {
        Self::PrivateKeyJwt(key)
    }
}

impl ClientAuthentication {
    /// The path at which the Admin Module takes this method.
    pub(crate) const fn standard_path(&self) -> &'static str {
        match self {
            Self::OriginalJson(_) => "/api/v1/auth/token",
            Self::SecretBasic(_) | Self::SecretPost(_) | Self::PrivateKeyJwt(_) | Self::TlsClientAuth => {
                "/oauth2/token"
            }
        }
    }

    /// Reads the secret or the key now, to find at start-up what would fail later. It blocks on the file.
    ///
    /// # Errors
    /// What is wrong, without any of the file's content.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::SecretBasic(secret) | Self::SecretPost(secret) | Self::OriginalJson(secret) => {
                secret.read_blocking("secret").map(drop)
            }
            Self::PrivateKeyJwt(settings) => {
                let pem = settings.key.read_blocking("key")?;
                Ok(SigningKey::from_pem(pem.expose_secret()).map(drop)?)
            }
            Self::TlsClientAuth => Ok(()),
        }
    }

    /// Reads the secret or the key. The error says what is wrong without any of its content.
    pub(crate) async fn read(&self) -> Result<Credential, String> {
        match self {
            Self::SecretBasic(secret) | Self::SecretPost(secret) | Self::OriginalJson(secret) => {
                secret.read("secret").await.map(Credential::Secret)
            }
            Self::PrivateKeyJwt(settings) => {
                let pem = settings.key.read("key").await?;
                Ok(Credential::Key(Arc::new(SigningKey::from_pem(pem.expose_secret())?)))
            }
            Self::TlsClientAuth => Ok(Credential::Certificate),
        }
    }
}

/// What was read, ready for use.
#[derive(Debug, Clone)]
pub(crate) enum Credential {
    Secret(SecretString),
    Key(Arc<SigningKey>),
    /// The transport has it.
    Certificate,
}

impl Credential {
    /// Whether this is another one, so that it is worth asking with it again.
    pub(crate) fn differs_from(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Secret(ours), Self::Secret(theirs)) => ours.expose_secret() != theirs.expose_secret(),
            (Self::Key(ours), Self::Key(theirs)) => ours.thumbprint() != theirs.thumbprint(),
            (Self::Certificate, Self::Certificate) => false,
            (Self::Secret(_) | Self::Key(_) | Self::Certificate, _) => true,
        }
    }
}

/// A new assertion (RFC 7523 section 3): from and about the client, for one audience, used once.
pub(crate) fn assertion(
    settings: &PrivateKeyJwt,
    key: &SigningKey,
    client_id: &str,
    token_endpoint: &str,
    now: UnixTime,
) -> Result<String, String> {
    let mut random = [0_u8; 16];
    SystemRandom::new().fill(&mut random).map_err(|_| "no random numbers for the client assertion")?;
    let audience = match &settings.audience {
        AssertionAudience::Issuer(issuer) => issuer,
        AssertionAudience::TokenEndpoint => token_endpoint,
    };
    let kid = settings.key_id.as_deref().unwrap_or(key.thumbprint());
    let header = json!({"typ": "client-authentication+jwt", "alg": key.algorithm().as_str(), "kid": kid});
    let claims = json!({
        "iss": client_id, "sub": client_id, "aud": audience, "jti": URL_SAFE_NO_PAD.encode(random),
        "iat": now.as_secs(), "exp": now.plus(settings.lifetime).as_secs(),
    });
    let encode = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", encode(&header), encode(&claims));
    let signature = key.sign(signed.as_bytes()).map_err(|_| "the client assertion cannot be signed")?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::tests::ed25519_pem;
    use crate::{Algorithm, AssertionRules, ClientAssertion, KeySet};

    /// The public key of RFC 8037 appendix A.2.
    fn public_key(kid: &str) -> KeySet {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid, "alg": "EdDSA"}]});
        KeySet::parse(keys.to_string().as_bytes(), &Algorithm::ALL).unwrap()
    }

    fn made(change: impl FnOnce(&mut PrivateKeyJwt), now: u64) -> String {
        let mut settings = PrivateKeyJwt::new(SecretSource::inline(ed25519_pem()), "https://issuer");
        change(&mut settings);
        let key = SigningKey::from_pem(&ed25519_pem()).unwrap();
        assertion(&settings, &key, "me", "https://issuer/token", UnixTime::from_secs(now)).unwrap()
    }

    fn part(assertion: &str, index: usize) -> serde_json::Value {
        let part = assertion.split('.').nth(index).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[test]
    fn an_assertion_is_what_an_issuer_wants() {
        let now = UnixTime::from_secs(1_800_000_000);
        let assertion = made(|_| {}, now.as_secs());
        let kid = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
        assert_eq!(part(&assertion, 0), json!({"typ": "client-authentication+jwt", "alg": "EdDSA", "kid": kid}));
        let jti = part(&assertion, 1)["jti"].clone();
        let claims = json!({
            "iss": "me", "sub": "me", "aud": "https://issuer", "jti": jti, "iat": 1_800_000_000, "exp": 1_800_000_060
        });
        assert_eq!(part(&assertion, 1), claims);
        let rules = AssertionRules {
            client_id: "me",
            audience: "https://issuer",
            max_lifetime: Duration::from_secs(60),
            leeway: Duration::ZERO,
        };
        let judged = ClientAssertion::verify(&assertion, &public_key(kid), &rules, now).unwrap();
        assert_eq!((judged.jti.len(), judged.exp), (22, UnixTime::from_secs(1_800_000_060)));
        assert_eq!(jti, judged.jti);
    }

    #[test]
    fn name_audience_and_life_can_be_chosen_and_no_two_are_alike() {
        let change = |settings: &mut PrivateKeyJwt| {
            settings.key_id = Some("2026".to_owned());
            settings.audience = AssertionAudience::TokenEndpoint;
            settings.lifetime = Duration::from_secs(5);
        };
        let (first, second) = (made(change, 7), made(change, 7));
        assert_eq!((&part(&first, 0)["kid"], &part(&first, 1)["exp"]), (&json!("2026"), &json!(12)));
        assert_eq!(part(&first, 1)["aud"], "https://issuer/token");
        assert_ne!(part(&first, 1)["jti"], part(&second, 1)["jti"]);
    }

    #[tokio::test]
    async fn credentials_are_read_compared_and_never_shown() {
        let key = ClientAuthentication::from(PrivateKeyJwt::new(SecretSource::inline(ed25519_pem()), "i"));
        let secret = |text: &str| ClientAuthentication::SecretPost(SecretSource::inline(text));
        let (a, b) = (secret("canary").read().await.unwrap(), secret("b").read().await.unwrap());
        assert!(a.differs_from(&b) && !a.differs_from(&a));
        let key_read = key.read().await.unwrap();
        assert!(key_read.differs_from(&a) && !key_read.differs_from(&key.read().await.unwrap()));
        let none = ClientAuthentication::TlsClientAuth.read().await.unwrap();
        assert!(!none.differs_from(&ClientAuthentication::TlsClientAuth.read().await.unwrap()));
        let wrong = ClientAuthentication::from(PrivateKeyJwt::new(SecretSource::inline("canary"), "i"));
        let error = wrong.read().await.unwrap_err();
        assert!(error.starts_with("the key file holds no PKCS#8 private key"), "{error}");
        let lost = ClientAuthentication::from(PrivateKeyJwt::new(SecretSource::File("/nowhere/key".into()), "i"));
        assert_eq!(lost.read().await.unwrap_err(), "the key file cannot be read: entity not found");
        let shown = format!("{a:?} {key_read:?} {key:?} {wrong:?} {:?} {error}", secret("canary"));
        assert!(!shown.contains("canary") && !shown.contains("MC4CAQAw"), "{shown}");
    }
}
