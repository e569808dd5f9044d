//! A token over plain hyper and rustls, without the pooled client of `artstore-http`.
//!
//! ```sh
//! cargo run -p artstore-auth --example hyper -- https://127.0.0.1:8000 ca.pem CLIENT_ID SECRET_FILE
//! ```
//!
//! A token is asked for every half an hour or so, so that a connection for each request is all that is needed.

#![expect(clippy::print_stdout, reason = "an example")]

use artstore_auth::{
    AdminInstance, AuthErrorType, AuthMetrics, AuthService, AuthSettings, BoxError, RequestBody, ResponseBody,
    SecretSource, Transport, TransportError,
};
use artstore_metrics::{Format, Registry, SystemClock};
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, ca_file, client_id, secret_file] = arguments.as_slice() else {
        return Err("usage: hyper URL CA_FILE CLIENT_ID SECRET_FILE".into());
    };
    let tls = tls(ca_file)?;
    let transport = Transport::new(tower::service_fn(move |request| send(tls.clone(), request)));

    let (registry, clock) = (Registry::new(), SystemClock::new());
    let instances = vec![AdminInstance::parse(url)?];
    let metrics = AuthMetrics::new(&registry, &instances, clock);
    let settings = AuthSettings::new(client_id, SecretSource::File(secret_file.into()), instances);
    let service = AuthService::new(settings, transport, metrics, clock)?;

    let token = service.access_token().await;
    match &token {
        // The header is what a request to a resource server needs. It is marked as sensitive: Debug does not show it.
        Ok(token) => println!("got a token of {} bytes", token.authorization().len()),
        Err(error) => println!("no token: {error}"),
    }
    println!("{}", registry.encode(Format::Text));
    service.close();
    token.map(|_| ()).map_err(Into::into)
}

/// Trust in the certificates of this file.
fn tls(ca_file: &str) -> Result<TlsConnector, BoxError> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file)? {
        roots.add(certificate?)?;
    }
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// One request on a connection of its own. The kinds of its errors are what is counted, and whether the request was written
/// decides whether its duration is.
async fn send(tls: TlsConnector, mut request: Request<RequestBody>) -> Result<Response<ResponseBody>, TransportError> {
    let before = |kind, error: &dyn std::fmt::Display| TransportError::new(kind, false, error.to_string());
    let stream = connect(&tls, request.uri()).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| before(AuthErrorType::Transport, &error))?;
    tokio::spawn(connection);

    // A server wants the path in the first line and the host in a header.
    let uri = std::mem::take(request.uri_mut());
    let host = uri.authority().map(|authority| HeaderValue::from_str(authority.as_str()));
    let host = host.ok_or_else(|| before(AuthErrorType::Internal, &"a URL without a host"))?;
    request.headers_mut().insert(header::HOST, host.map_err(|error| before(AuthErrorType::Internal, &error))?);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|error| before(AuthErrorType::Internal, &error))?;

    let answer = sender
        .send_request(request)
        .await
        .map_err(|error| TransportError::new(AuthErrorType::Transport, true, error.to_string()))?;
    Ok(answer.map(|body| body.map_err(BoxError::from).boxed_unsync()))
}

async fn connect(tls: &TlsConnector, uri: &Uri) -> Result<TlsStream<TcpStream>, TransportError> {
    let failed = |kind, error: &dyn std::fmt::Display| TransportError::new(kind, false, error.to_string());
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(443);
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), port))
        .await
        .map_err(|error| failed(AuthErrorType::Dns, &error))?
        .collect();
    let stream =
        TcpStream::connect(addresses.as_slice()).await.map_err(|error| failed(AuthErrorType::Connect, &error))?;
    let name = ServerName::try_from(host).map_err(|error| failed(AuthErrorType::Internal, &error))?;
    tls.connect(name, stream).await.map_err(|error| failed(AuthErrorType::Tls, &error))
}
