//! A token over reqwest.
//!
//! ```sh
//! cargo run --manifest-path crates/auth/examples/reqwest/Cargo.toml -- https://127.0.0.1:8000 ca.pem CLIENT_ID SECRET_FILE
//! ```

use artstore_auth::{
    AdminInstance, AuthErrorType, AuthMetrics, AuthService, AuthSettings, BoxError, RequestBody, ResponseBody,
    SecretSource, Transport, TransportError,
};
use artstore_metrics::{Format, Registry, SystemClock};
use http_body_util::BodyExt as _;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, ca_file, client_id, secret_file] = arguments.as_slice() else {
        return Err("usage: URL CA_FILE CLIENT_ID SECRET_FILE".into());
    };
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder()
        .tls_certs_only(reqwest::Certificate::from_pem_bundle(&std::fs::read(ca_file)?)?)
        // An issuer that sends a secret elsewhere is not to be followed.
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let transport = Transport::new(tower::service_fn(move |request| send(client.clone(), request)));

    let (registry, clock) = (Registry::new(), SystemClock::new());
    let instances = vec![AdminInstance::parse(url)?];
    let metrics = AuthMetrics::new(&registry, &instances, clock);
    let settings = AuthSettings::new(client_id, SecretSource::File(secret_file.into()), instances);
    let service = AuthService::new(settings, transport, metrics, clock)?;

    let token = service.access_token().await;
    match &token {
        Ok(token) => println!("got a token of {} bytes", token.authorization().len()),
        Err(error) => println!("no token: {error}"),
    }
    println!("{}", registry.encode(Format::Text));
    service.close();
    token.map(|_| ()).map_err(Into::into)
}

async fn send(
    client: reqwest::Client,
    request: http::Request<RequestBody>,
) -> Result<http::Response<ResponseBody>, TransportError> {
    let request = request.map(reqwest::Body::wrap);
    let request = reqwest::Request::try_from(request)
        .map_err(|error| TransportError::new(AuthErrorType::Internal, false, error.without_url().to_string()))?;
    let answer = client.execute(request).await.map_err(failure)?;
    let answer = http::Response::<reqwest::Body>::from(answer);
    Ok(answer.map(|body| body.map_err(|error| BoxError::from(failure(error))).boxed_unsync()))
}

/// reqwest tells less than the pooled client of artstore-http does: name lookup, refusal and handshake are all `connect`.
fn failure(error: reqwest::Error) -> TransportError {
    let kind = if error.is_timeout() {
        AuthErrorType::Timeout
    } else if error.is_connect() {
        AuthErrorType::Connect
    } else {
        AuthErrorType::Transport
    };
    TransportError::new(kind, !error.is_connect(), error.without_url().to_string())
}
