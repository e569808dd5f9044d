//! Our client and verifier against an issuer that nobody here wrote: npm's oidc-provider, a process of its own over TLS.
//!
//! `scripts/test --install` installs it. Without it these tests fail; they are never skipped.

#![cfg(test)]

mod provider;

use artstore_auth::{
    AdminInstance, AssertionAudience, AuthError, AuthErrorType, AuthMetrics, AuthService, AuthSettings, Claims,
    ClientAuthentication, Discovery, DiscoverySettings, JwksSource, PrivateKeyJwt, SecretSource, TokenEndpoint,
    TokenVerifier, VerifierSettings, http_transport,
};
use artstore_http::{Client, ClientSettings, HttpClientMetrics};
use artstore_metrics::{Registry, SystemClock};
use provider::Provider;

/// As the provider's script has it: everything in it that an encoding could break.
const SECRET: &str = "p:w/+ &=%~* secret of more than 32 bytes";
/// Whom the tokens are for.
const RESOURCE: &str = "urn:artstore:interop";

/// What one client got.
struct Asked {
    result: Result<Claims, AuthError>,
    registry: Registry,
    issuer: String,
}

impl Asked {
    fn sum(&self, sample: &str, labels: &[(&str, &str)]) -> u64 {
        self.registry.sum_of(sample, labels) as u64
    }
}

/// One client asks for a token where the issuer's metadata say, and the token is verified with the keys that they name.
async fn ask(
    provider: &Provider,
    client_id: &str,
    authentication: impl Into<ClientAuthentication>,
    scope: &str,
) -> Asked {
    let (registry, clock) = (Registry::new(), SystemClock::new());
    let connector = provider.connector(&registry);
    let client = Client::new(ClientSettings::default(), Some(connector), HttpClientMetrics::new(&registry), clock);
    let transport = http_transport(client);
    let instances = vec![AdminInstance::parse(provider.issuer()).unwrap()];
    let metrics = AuthMetrics::new(&registry, &instances, clock);
    let discovery = Discovery::new(DiscoverySettings::new(provider.issuer())).unwrap();
    let jwks = JwksSource::Discovered {
        discovery: discovery.clone(),
        instances: instances.clone(),
        transport: transport.clone(),
    };
    let verifier = VerifierSettings::new(provider.issuer(), RESOURCE, jwks);
    let verifier = TokenVerifier::new(verifier, metrics.clone(), clock).unwrap();
    let mut settings = AuthSettings::new(client_id, authentication, instances);
    settings.endpoint = TokenEndpoint::Discovered(discovery);
    settings.scope = scope.split(' ').map(str::to_owned).collect();
    settings.parameters = vec![("resource".to_owned(), RESOURCE.to_owned())];
    let service = AuthService::with_verifier(settings, transport, verifier.clone(), metrics, clock).unwrap();
    let result = match service.access_token().await {
        Ok(token) => Ok(verifier.verify(token.authorization().to_str().unwrap().split_at(7).1).await.unwrap()),
        Err(error) => Err(error),
    };
    Asked { result, registry, issuer: provider.issuer().to_owned() }
}

/// That a token came, is this client's, and that nothing failed on the way.
fn assert_granted(asked: &Asked, client_id: &str) {
    let claims = asked.result.as_ref().unwrap_or_else(|error| panic!("{client_id}: {error}"));
    assert_eq!((claims.client_id.as_str(), claims.sub.as_str()), (client_id, client_id));
    assert_eq!(claims.scope.iter().collect::<Vec<_>>(), ["api:read"]);
    assert_eq!(claims.exp.as_secs() - claims.iat.as_secs(), 600);
    assert_eq!(asked.sum("auth_token_requests_total", &[("status", "success")]), 1);
    assert_eq!(asked.sum("auth_token_refresh_duration_seconds_count", &[]), 1);
    assert_eq!(asked.sum("auth_errors_total", &[]), 0);
    assert_eq!(asked.sum("auth_jwks_fetches_total", &[("status", "success")]), 1);
}

/// That no token came, by one failed exchange of this kind with this instance.
fn assert_refused(asked: &Asked, kind: AuthErrorType) {
    let error = asked.result.as_ref().unwrap_err();
    assert_eq!((error.kind(), error.instance()), (kind, Some(asked.issuer.as_str())), "{error}");
    let labels = [("error_type", kind.label()), ("admin_module_url", asked.issuer.as_str())];
    assert_eq!(asked.sum("auth_errors_total", &labels), 1);
    assert_eq!(asked.sum("auth_errors_total", &[]), 1);
    assert_eq!(asked.sum("auth_token_requests_total", &[("status", "failure"), ("error_type", kind.label())]), 1);
    assert_eq!(asked.sum("auth_token_refresh_duration_seconds_count", &[]), 1);
}

fn key(provider: &Provider, algorithm: &str) -> PrivateKeyJwt {
    PrivateKeyJwt::new(SecretSource::File(provider.file(&format!("{algorithm}.pem"))), provider.issuer())
}

#[tokio::test]
async fn client_secret_basic_and_post_get_tokens_that_we_accept() {
    let provider = Provider::start();
    let basic = SecretSource::inline(SECRET);
    assert_granted(&ask(&provider, "basic-RS256", basic, "api:read").await, "basic-RS256");
    let post = ClientAuthentication::SecretPost(SecretSource::inline(SECRET));
    assert_granted(&ask(&provider, "post-ES256", post, "api:read").await, "post-ES256");
}

#[tokio::test]
async fn private_key_jwt_of_every_algorithm_gets_tokens_that_we_accept() {
    let provider = Provider::start();
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let client_id = format!("key-{algorithm}");
        assert_granted(&ask(&provider, &client_id, key(&provider, algorithm), "api:read").await, &client_id);
    }
    let jwt = PrivateKeyJwt { audience: AssertionAudience::TokenEndpoint, ..key(&provider, "ES256") };
    assert_granted(&ask(&provider, "key-ES256", jwt, "api:read").await, "key-ES256");
}

#[tokio::test]
async fn a_client_certificate_gets_tokens_that_we_accept() {
    let provider = Provider::start();
    for client_id in ["tls", "self-signed"] {
        let asked = ask(&provider, client_id, ClientAuthentication::TlsClientAuth, "api:read").await;
        assert_granted(&asked, client_id);
    }
}

#[tokio::test]
async fn a_narrower_grant_is_one_invalid_scope() {
    let provider = Provider::start();
    let asked = ask(&provider, "basic-RS256", SecretSource::inline(SECRET), "api:read api:write").await;
    assert_refused(&asked, AuthErrorType::InvalidScope);
    assert_eq!(asked.result.unwrap_err().detail(), "a narrower scope was granted than asked for");
}

#[tokio::test]
async fn what_the_issuer_does_not_know_is_one_invalid_client() {
    let provider = Provider::start();
    let refused: [(&str, ClientAuthentication); 6] = [
        ("basic-RS256", SecretSource::inline("wrong").into()),
        ("post-ES256", ClientAuthentication::SecretPost(SecretSource::inline("wrong"))),
        ("key-ES256", key(&provider, "EdDSA").into()),
        ("key-ES256", PrivateKeyJwt { key_id: Some("another".to_owned()), ..key(&provider, "ES256") }.into()),
        ("key-ES256", PrivateKeyJwt::new(key(&provider, "ES256").key, "https://another.example").into()),
        ("basic-RS256", ClientAuthentication::TlsClientAuth),
    ];
    for (client_id, authentication) in refused {
        assert_refused(&ask(&provider, client_id, authentication, "api:read").await, AuthErrorType::InvalidClient);
    }
}
