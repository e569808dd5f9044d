//! What verifiers and clients read about the issuer: its keys (RFC 7517) and its metadata (RFC 8414).

use crate::module::Admin;
use artstore_api::scope;
use artstore_auth::Algorithm;
use artstore_metrics::Clock;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::json;

/// `GET /oauth2/jwks`.
pub(crate) async fn jwks<C: Clock>(State(admin): State<Admin<C>>) -> Response {
    let headers = [(CONTENT_TYPE, "application/jwk-set+json".to_owned()), (CACHE_CONTROL, cache_control(&admin))];
    (headers, admin.shared.keys.jwks()).into_response()
}

/// `GET /.well-known/oauth-authorization-server`.
pub(crate) async fn authorization_server<C: Clock>(State(admin): State<Admin<C>>) -> Response {
    let issuer = &admin.shared.settings.issuer;
    let mut methods = vec!["client_secret_basic", "client_secret_post", "private_key_jwt"];
    // Over plain HTTP nobody shows a certificate.
    let tls = issuer.starts_with("https://");
    if tls {
        methods.push("tls_client_auth");
    }
    // The last is another name of EdDSA with the only curve that there is here (RFC 9864).
    let mut algorithms = Algorithm::ALL.map(Algorithm::as_str).to_vec();
    algorithms.push("Ed25519");
    let document = json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/oauth2/token"),
        "jwks_uri": format!("{issuer}/oauth2/jwks"),
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": [],
        "scopes_supported": scope::ALL,
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "tls_client_certificate_bound_access_tokens": tls,
    });
    ([(CACHE_CONTROL, cache_control(&admin))], Json(document)).into_response()
}

fn cache_control<C: Clock>(admin: &Admin<C>) -> String {
    format!("public, max-age={}", admin.shared.settings.jwks_max_age.as_secs())
}
