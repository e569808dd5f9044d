//! A first token over real TLS: a new connection, a handshake, and one exchange with an Admin Module that runs.

use artstore_auth::SecretSource;
use artstore_client::{BaseUrl, ConnectSettings, Connection};
use artstore_metrics::{Registry, SystemClock};
use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Instant;

/// Where an `artstore up` listens, as its `artstore.env` has it.
#[derive(Debug, clap::Args)]
pub struct House {
    #[arg(long, env = "ARTSTORE_ADMIN_URL")]
    admin_url: String,
    #[arg(long, env = "ARTSTORE_ADMIN_OPS_URL")]
    admin_ops_url: String,
    #[arg(long, env = "ARTSTORE_CA_CERT")]
    ca_cert: PathBuf,
    #[arg(long, env = "ARTSTORE_CLIENT_ID")]
    client_id: String,
    #[arg(long, env = "ARTSTORE_CLIENT_SECRET", hide_env_values = true)]
    client_secret: String,
}

/// Prints the quantiles of the acquisitions, and the mean of each of their parts.
pub fn run(house: &House, samples: usize) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    // One for the caches of both sides.
    runtime.block_on(acquire(house))?;
    let issuing_before = issuing(house)?;
    let mut took = Vec::new();
    let (mut handshake, mut exchange, mut acquisition) = (0.0, 0.0, 0.0);
    for _ in 0..samples {
        let (registry, seconds) = runtime.block_on(acquire(house))?;
        took.push(seconds);
        handshake += registry.sum_of("tls_handshake_duration_seconds_sum", &[]);
        exchange += registry.sum_of("auth_token_refresh_duration_seconds_sum", &[]);
        acquisition += registry.sum_of("auth_token_acquisition_duration_seconds_sum", &[]);
    }
    let issued = issuing(house)?;
    took.sort_by(f64::total_cmp);
    let quantile = |q: usize| took.get((took.len() * q / 100).min(took.len() - 1)).copied().unwrap_or(f64::NAN) * 1e3;
    println!("milliseconds of {samples} first tokens, each over a new connection");
    println!("{:>8.2}  p50\n{:>8.2}  p95\n{:>8.2}  p99", quantile(50), quantile(95), quantile(99));
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let mean = |sum: f64| sum * 1e3 / samples as f64;
    let issuer = mean(issued - issuing_before);
    println!("means");
    println!("{:>8.2}  from the call to the token", mean(took.iter().sum()));
    println!("{:>8.2}  the acquisition", mean(acquisition));
    println!("{:>8.2}    before its exchange: the secret, name, TCP, TLS", mean(acquisition - exchange));
    println!("{:>8.2}      of these the TLS handshake", mean(handshake));
    println!("{:>8.2}    the exchange, request to response", mean(exchange));
    println!("{:>8.2}      of these the issuer: whole request to signed token", issuer);
    Ok(())
}

/// One token by a client of its own: what it measured, and the seconds that its caller waited.
async fn acquire(house: &House) -> Result<(Registry, f64), Box<dyn Error>> {
    let settings = ConnectSettings {
        admin: vec![BaseUrl::parse(&house.admin_url)?],
        ca_cert: Some(house.ca_cert.clone()),
        identity: None,
        client_id: house.client_id.clone(),
        secret: SecretSource::inline(house.client_secret.as_str()),
        scope: Vec::new(),
    };
    let registry = Registry::new();
    let connection = Connection::open_with(settings, &registry, SystemClock::new())?;
    #[expect(clippy::disallowed_methods, reason = "it times the call")]
    let start = Instant::now();
    connection.access_token().await?;
    Ok((registry, start.elapsed().as_secs_f64()))
}

/// The seconds that the issuer has spent on issuing so far, by its own histogram.
fn issuing(house: &House) -> Result<f64, Box<dyn Error>> {
    let authority = house.admin_ops_url.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(authority)?;
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: {authority}\r\nAccept: text/plain\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let sum = text.lines().find_map(|line| line.strip_prefix("admin_token_issue_duration_seconds_sum "));
    Ok(sum.ok_or("the operations listener shows no admin_token_issue_duration_seconds")?.parse()?)
}
