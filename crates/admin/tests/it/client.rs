//! Our own client in every way to authenticate that both sides know, and its tokens bound to its certificate.

use crate::house::House;
use artstore_admin::{Admin, AdminSettings};
use artstore_api::account::{CertificateRule, ChangeAccount};
use artstore_api::scope::{AUDIENCE_INGESTER, FILES_READ};
use artstore_auth::{
    AdminInstance, Algorithm, AuthErrorType, AuthMetrics, AuthService, AuthSettings, ClientAuthentication,
    ExpectedClaims, PrivateKeyJwt, SecretSource, http_transport,
};
use artstore_http::Client;
use artstore_metrics::{Registry, SystemClock};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::BodyExt as _;
use serde_json::Value;
use std::time::Duration;
use tower::ServiceExt as _;

/// Makes an account and the change to it: its secret.
async fn account(house: &House, id: &str, change: ChangeAccount) -> String {
    let made = house.admin.bootstrap_account(id, id, &[FILES_READ], &[AUDIENCE_INGESTER], None).await.unwrap();
    house.admin.change_account(id, change).await.unwrap();
    made.client_secret
}

/// The claims of the token that a client gets, or why it gets none.
async fn claims(
    house: &House,
    client: Client,
    id: &str,
    authentication: ClientAuthentication,
) -> Result<Value, AuthErrorType> {
    let (registry, clock) = (Registry::new(), SystemClock::new());
    let instances = vec![AdminInstance::parse(&house.url).unwrap()];
    let metrics = AuthMetrics::new(&registry, &instances, clock);
    let mut settings = AuthSettings::new(id, authentication, instances);
    settings.expected = Some(ExpectedClaims {
        issuer: house.url.clone(),
        audiences: vec![AUDIENCE_INGESTER.to_owned()],
        algorithms: vec![Algorithm::Rs256],
        leeway: Duration::from_secs(10),
    });
    let service = AuthService::new(settings, http_transport(client), metrics, clock).unwrap();
    let token = service.access_token().await.map_err(|error| error.kind())?;
    let token = token.authorization().to_str().unwrap().to_owned();
    Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap())
}

/// A key pair as a module of ours would make it: the private key in PEM, the public one as JWK Set.
async fn key_pair(house: &House, algorithm: Algorithm) -> (SecretSource, Value) {
    let dir = house.dir.path().join(algorithm.as_str());
    let settings = AdminSettings { algorithm, ..AdminSettings::new(&dir, "https://keys.test") };
    let folder = settings.keys_dir.clone();
    let keys = Admin::open(settings, &Registry::new(), SystemClock::new()).await.unwrap();
    let request = http::Request::get("/oauth2/jwks").body(axum::body::Body::empty()).unwrap();
    let answer = keys.router().oneshot(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    keys.close().await;
    let file = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    (SecretSource::File(file), serde_json::from_slice(&answer).unwrap())
}

#[tokio::test]
async fn our_client_gets_tokens_by_secret_key_and_certificate() {
    let house = House::start(|_| {}).await;
    let secret = account(&house, "by-secret", ChangeAccount::default()).await;
    for authentication in [ClientAuthentication::SecretBasic, ClientAuthentication::SecretPost] {
        let authentication = authentication(SecretSource::inline(&secret));
        let claims = claims(&house, house.client(), "by-secret", authentication).await.unwrap();
        assert_eq!((&claims["client_id"], claims.get("cnf")), (&"by-secret".into(), None));
    }
    for algorithm in Algorithm::ALL {
        let (private, public) = key_pair(&house, algorithm).await;
        let id = format!("by-{}", algorithm.as_str());
        account(&house, &id, ChangeAccount { jwks: Some(Some(public)), ..ChangeAccount::default() }).await;
        let authentication = ClientAuthentication::PrivateKeyJwt(PrivateKeyJwt::new(private, &house.url));
        for _ in 0..2 {
            let claims = claims(&house, house.client(), &id, authentication.clone()).await.unwrap();
            assert_eq!(claims["client_id"], id, "each request has an assertion of its own");
        }
        let other = claims(&house, house.client(), "by-secret", authentication).await;
        assert_eq!(other, Err(AuthErrorType::InvalidClient), "the key of another account");
    }
    let bound = ChangeAccount {
        certificate: Some(Some(CertificateRule::Subject("CN=a module".to_owned()))),
        certificate_bound_tokens: Some(true),
        ..ChangeAccount::default()
    };
    account(&house, "by-certificate", bound).await;
    let by_certificate =
        async |client: Client| claims(&house, client, "by-certificate", ClientAuthentication::TlsClientAuth).await;
    let claims = by_certificate(house.client_named("a module")).await.unwrap();
    assert_eq!(claims["cnf"]["x5t#S256"].as_str().unwrap().len(), 43);
    assert_eq!(by_certificate(house.client_named("another module")).await, Err(AuthErrorType::InvalidClient));
    assert_eq!(by_certificate(house.client()).await, Err(AuthErrorType::InvalidClient));
    house.end().await;
}
