//! The way to one peer: name, connection, TLS.

use super::own::Held;
use super::patient::Patient;
use super::report::{Finding, Report};
use crate::exit::Exit;
use artstore_http::{Client, ClientSettings, HttpClientMetrics};
use artstore_metrics::{Registry, SystemClock};
use artstore_tls::diagnosis::{Accepted, Examiner, OwnUse};
use artstore_tls::{
    CertificateAnswer, CertificateMetrics, Connector, ConnectorMetrics, ConnectorSettings, ServerName, SetupError,
    Trust,
};
use http::Uri;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::net::TcpStream;

/// The share of a connection attempt in a step: several addresses are tried in turn.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How the patient reaches others.
#[derive(Debug)]
pub(super) struct Way {
    /// None if the patient's files are unusable or it does without TLS.
    examiner: Option<Examiner>,
    /// The modules' own client, with the patient's certificate and trust.
    pub(super) client: Client,
    uses_tls: bool,
}

/// A peer's address taken apart.
struct Place {
    tls: bool,
    host: String,
    port: u16,
}

impl Way {
    /// The way of this patient with what it holds.
    pub(super) fn new(patient: &Patient, held: Option<Held>, report: &mut Report) -> Result<Self, Exit> {
        let (clock, registry) = (SystemClock::new(), Registry::new());
        let metrics = HttpClientMetrics::new(&registry);
        let made = match (&patient.tls, held) {
            (Some(files), Some(held)) => {
                let trust = if files.danger_accept_any_server { Trust::danger_accept_any_server() } else { held.trust };
                let settings = ConnectorSettings {
                    // A module that opens no connections has a certificate for its listener only.
                    identity: held.identity.filter(|_| files.uses.contains(&OwnUse::Client)),
                    policy: files.policy.clone(),
                    handshake_timeout: files.handshake_timeout.min(report.limit() / 3),
                    ..ConnectorSettings::new(trust)
                };
                Some(connections(settings, &registry))
            }
            (None, _) | (_, None) => None,
        };
        let (examiner, connector) = match made {
            Some(Ok((examiner, connector))) => (Some(examiner), Some(connector)),
            Some(Err(error)) => {
                let advice = "correct the keys of the table tls";
                report.told("files", patient.name, Finding::failed(error.to_string(), advice, "files"))?;
                (None, None)
            }
            None => (None, None),
        };
        let client = Client::new(ClientSettings::default(), connector, metrics, clock);
        Ok(Self { examiner, client, uses_tls: patient.tls.is_some() })
    }

    /// Walks to the peer at this address; whether requests can be sent there.
    pub(super) async fn walk(&self, url: &str, report: &mut Report) -> Result<bool, Exit> {
        let place = match Place::of(url) {
            Ok(place) => place,
            Err(why) => {
                let advice = "correct the address where it is configured";
                report.told("dns", url, Finding::failed(why, advice, "dns"))?;
                return self.skip(&["connect", "tls"], url, "the address is none", report);
            }
        };
        let addresses = Mutex::new(Vec::new());
        if !report.step("dns", url, resolve(&place, &addresses)).await? {
            return self.skip(&["connect", "tls"], url, "the name does not resolve", report);
        }
        let addresses = addresses.into_inner().unwrap_or_else(PoisonError::into_inner);
        let reached = Mutex::new(None);
        if !report.step("connect", url, connect(&addresses, &reached)).await? {
            return self.skip(&["tls"], url, "there is no connection", report);
        }
        let Some(address) = reached.into_inner().unwrap_or_else(PoisonError::into_inner) else { return Ok(false) };
        if !place.tls {
            report.told("tls", url, Finding::skipped("the address is http: it is plain text"))?;
            return Ok(true);
        }
        let Some(examiner) = &self.examiner else {
            let why = if self.uses_tls { "our own files are unusable" } else { "TLS is not configured" };
            return self.skip(&["tls"], url, why, report);
        };
        report.step("tls", url, handshake(examiner, &place, address)).await
    }

    fn skip(&self, steps: &[&'static str], url: &str, because: &str, report: &mut Report) -> Result<bool, Exit> {
        for step in steps {
            report.told(step, url, Finding::skipped(because))?;
        }
        Ok(false)
    }
}

fn connections(settings: ConnectorSettings, registry: &Registry) -> Result<(Examiner, Connector), SetupError> {
    let clock = SystemClock::new();
    let examiner = Examiner::new(&settings, clock)?;
    let metrics = ConnectorMetrics::new(registry, &settings.policy, CertificateMetrics::new(registry, clock));
    Ok((examiner, Connector::new(settings, metrics, clock)?))
}

impl Place {
    fn of(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("{url:?} is no address: {error}"))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(format!("{url:?} is neither https nor http")),
        };
        let host = uri.host().ok_or_else(|| format!("{url:?} has no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        Ok(Self { tls, host, port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }) })
    }
}

async fn resolve(place: &Place, found: &Mutex<Vec<SocketAddr>>) -> Finding {
    let advice = "correct the name, or the resolver of this machine";
    match tokio::net::lookup_host((place.host.as_str(), place.port)).await {
        Ok(addresses) => {
            let addresses: Vec<SocketAddr> = addresses.collect();
            if addresses.is_empty() {
                return Finding::failed(format!("{} has no address", place.host), advice, "dns").of_type("dns");
            }
            let texts: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
            *found.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
            Finding::ok(texts.join(", "))
        }
        Err(error) => {
            Finding::failed(format!("{} does not resolve: {error}", place.host), advice, "dns").of_type("dns")
        }
    }
}

async fn connect(addresses: &[SocketAddr], reached: &Mutex<Option<SocketAddr>>) -> Finding {
    let mut failures = Vec::new();
    for address in addresses {
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(_)) => {
                *reached.lock().unwrap_or_else(PoisonError::into_inner) = Some(*address);
                return Finding::ok(address.to_string());
            }
            Ok(Err(error)) => failures.push(format!("{address}: {error}")),
            Err(_) => failures.push(format!("{address}: no answer within {CONNECT_TIMEOUT:?}")),
        }
    }
    let advice = "see whether the other module runs and listens there, and what lies between";
    Finding::failed(failures.join("; "), advice, "connect").of_type("connect")
}

async fn handshake(examiner: &Examiner, place: &Place, address: SocketAddr) -> Finding {
    let name = match ServerName::try_from(place.host.clone()) {
        Ok(name) => name,
        Err(_) => {
            let detail = format!("{} is no name that a certificate can have", place.host);
            return Finding::failed(detail, "correct the address", "cert_name_mismatch");
        }
    };
    // Any answer will do; this one is cheap everywhere.
    let request = format!("GET /api/v1/health/live HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", place.host);
    match examiner.examine(name, || TcpStream::connect(address), request.as_bytes()).await {
        Ok(accepted) => agreed(&accepted),
        Err(diagnosis) => Finding::of(&diagnosis),
    }
}

fn agreed(accepted: &Accepted) -> Finding {
    let server = accepted.server.as_ref();
    let days = server.map_or(0.0, |server| server.days_left(artstore_metrics::Clock::wall(&SystemClock::new())));
    let theirs = server.map_or_else(|| "a server without a certificate".to_owned(), |server| server.subject.clone());
    let ours = match accepted.answer {
        CertificateAnswer::NotRequested => "it asks for no certificate of ours",
        CertificateAnswer::Sent => "it accepts our certificate",
        CertificateAnswer::NoneSent => "it accepts us without a certificate",
    };
    let (protocol, suite) = (accepted.protocol, accepted.cipher_suite);
    Finding::ok(format!("{protocol} {suite} with {theirs}, good for {days:.1} more days; {ours}")).about(server)
}
