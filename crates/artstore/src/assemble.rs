//! Puts a module together: certificates, client, token service, verifier, the module itself, its two listeners; and runs it
//! until it is told to stop.

use crate::failure::Failure;
use crate::rotation::Rotation;
use crate::traces::{TracePlan, Traces};
use artstore_api::scope;
use artstore_auth::{
    AdminInstance, Algorithm, AuthMetrics, AuthService, AuthSettings, Backoff, ClientAuthentication, Discovery,
    DiscoverySettings, ExpectedClaims, JwksSource, TokenEndpoint, TokenVerifier, VerifierSettings, http_transport,
};
use artstore_http::trace::OtlpExporter;
use artstore_http::{
    Client, ClientSettings, Health, HttpClientMetrics, Listener, PLAIN_HTTP_ANSWER, Server, ServerMetrics,
    ServerSettings, operations_router,
};
use artstore_metrics::{Registry, SystemClock};
use artstore_ops::Status;
use artstore_tls::{
    Acceptor, AcceptorSettings, AllowedClients, CertType, CertificateMetrics, CertificateMonitor, ClientAuth,
    Connector, ConnectorMetrics, ConnectorSettings, ExpiryWatch, IdentityFiles, ListenerMetrics, Policy, ReloadFiles,
    ReloadMetrics, ReloadTrigger, Reloader, SetupError, Trust, TrustFile, WatchedFile,
};
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The certificates of a module and how it uses them.
#[derive(Debug, Clone)]
pub(crate) struct TlsPlan {
    /// What the listener shows.
    pub(crate) server: IdentityFiles,
    /// What the module shows when it connects; none for a module that does not.
    pub(crate) client: Option<IdentityFiles>,
    /// Whom it trusts, on both sides.
    pub(crate) trust: TrustFile,
    /// Versions, suites and key-exchange groups.
    pub(crate) policy: Policy,
    /// Which of the clients with a good certificate are let in; all of them if it is absent.
    pub(crate) allowed_clients: Option<AllowedClients>,
    /// Longest handshake.
    pub(crate) handshake_timeout: Duration,
    /// Revocation lists; none, no checks of revocation.
    pub(crate) crl_files: Vec<PathBuf>,
    /// How often all of these files are looked at.
    pub(crate) reload_interval: Duration,
    /// Whether clients must show a certificate.
    pub(crate) clients_need_certificate: bool,
    /// Whether any certificate is accepted on connections that the module opens: the operator said that the danger is known.
    pub(crate) danger_accept_any_server: bool,
}

impl TlsPlan {
    fn reload_files(&self) -> ReloadFiles {
        ReloadFiles {
            server: Some(self.server.clone()),
            client: self.client.clone(),
            trust: Some(self.trust.clone()),
            crls: self.crl_files.clone(),
        }
    }

    /// What is demanded of clients.
    pub(crate) const fn client_auth(&self, trust: Trust) -> ClientAuth {
        if self.clients_need_certificate { ClientAuth::Required(trust) } else { ClientAuth::Optional(trust) }
    }
}

/// The module's own service account and where tokens come from.
#[derive(Debug, Clone)]
pub(crate) struct AuthPlan {
    /// Instances of the Admin Module.
    pub(crate) admin_urls: Vec<String>,
    /// The `iss` of tokens.
    pub(crate) issuer: String,
    /// The account.
    pub(crate) client_id: String,
    /// How it shows who it is.
    pub(crate) authentication: ClientAuthentication,
    /// Whether the issuer's metadata say where tokens and keys are.
    pub(crate) discovery: bool,
    /// Longest token request.
    pub(crate) timeout: Duration,
    /// How long the issuer is left alone after a failure.
    pub(crate) backoff: Backoff,
}

/// The two listeners of a module.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// Its API.
    pub(crate) main: TcpListener,
    /// Metrics and health.
    pub(crate) operations: TcpListener,
    /// Limits of the API's listener.
    pub(crate) settings: ServerSettings,
    /// What stands before the API; only `up` puts something there, and only when faults are asked for.
    pub(crate) before: Option<Before>,
}

/// Puts something in front of a module's router, once, before anything is served.
pub(crate) struct Before(Box<dyn FnOnce(axum::Router) -> axum::Router + Send>);

impl Before {
    /// What this makes of the router.
    pub(crate) fn new(wrap: impl FnOnce(axum::Router) -> axum::Router + Send + 'static) -> Self {
        Self(Box::new(wrap))
    }
}

impl std::fmt::Debug for Before {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Before").finish_non_exhaustive()
    }
}

/// Binds an address.
///
/// # Errors
/// One line that names the address: in use, not ours, not permitted.
pub(crate) async fn bind(address: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let advice = match error.kind() {
            std::io::ErrorKind::AddrInUse => " (is another artstore running? port 0 takes any free one)",
            _ => "",
        };
        Failure::failed(format!("cannot listen on {address}: {error}{advice}"))
    })
}

/// The address at which this machine reaches a listener.
///
/// # Errors
/// If the operating system does not say.
pub(crate) fn address_of(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    let failed = |error| Failure::failed(format!("listener without an address: {error}"));
    listener.local_addr().map(reachable).map_err(failed)
}

/// Who listens on all addresses, as in a container, is reached at the loopback address; no certificate names 0.0.0.0.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    address
}

/// What every module stands on.
#[derive(Debug)]
pub(crate) struct Foundation {
    pub(crate) name: &'static str,
    pub(crate) registry: Registry,
    pub(crate) clock: SystemClock,
    /// Opens connections; present when TLS is on and the module connects.
    connector: Option<Connector>,
    acceptor: Option<Acceptor>,
    monitor: Option<CertificateMonitor>,
    reloader: Option<Reloader>,
    rotation: Option<Rotation>,
    traces: Traces,
}

impl Foundation {
    /// Loads certificates and registers what is measured of them. Without a plan the module speaks plain HTTP.
    ///
    /// # Errors
    /// A certificate, key or bundle that cannot be used.
    pub(crate) fn new(name: &'static str, plan: Option<&TlsPlan>, traces: &TracePlan) -> Result<Self, Failure> {
        let (registry, clock) = (Registry::new(), SystemClock::new());
        artstore_ops::register_build_info(&registry, name);
        artstore_http::process::register(&registry);
        let traces = Traces::new(name, traces, plan, &registry, clock)?;
        let mut foundation = Self {
            name,
            registry,
            clock,
            connector: None,
            acceptor: None,
            monitor: None,
            reloader: None,
            rotation: None,
            traces,
        };
        if let Some(plan) = plan {
            foundation.set_up_tls(plan).map_err(|error| Failure::failed(format!("{name}: {error}")))?;
        }
        Ok(foundation)
    }

    fn set_up_tls(&mut self, plan: &TlsPlan) -> Result<(), SetupError> {
        let certificates = CertificateMetrics::new(&self.registry, self.clock);
        let mut watched =
            vec![WatchedFile::bundle(plan.trust.0.clone()), WatchedFile::identity(&plan.server, CertType::Server)];
        let reloads = ReloadMetrics::new(&self.registry, self.clock);
        let (reloader, loaded) = Reloader::load(&plan.reload_files(), reloads, certificates.clone(), self.clock)?;
        let (Some(server), Some(trust)) = (loaded.server, loaded.trust) else {
            return Err(SetupError::Configuration("a certificate and trust are needed".to_owned()));
        };
        if let Some(files) = &plan.client {
            let servers = if plan.danger_accept_any_server { Trust::danger_accept_any_server() } else { trust.clone() };
            let mut settings = ConnectorSettings::new(servers);
            settings.identity = loaded.client;
            settings.policy = plan.policy.clone();
            settings.handshake_timeout = plan.handshake_timeout;
            let metrics = ConnectorMetrics::new(&self.registry, &plan.policy, certificates.clone());
            self.connector = Some(Connector::new(settings, metrics, self.clock)?);
            watched.push(WatchedFile::identity(files, CertType::Client));
        }
        let mut settings = AcceptorSettings::new(server);
        settings.client_auth = plan.client_auth(trust);
        settings.allowed_clients.clone_from(&plan.allowed_clients);
        settings.policy = plan.policy.clone();
        settings.handshake_timeout = plan.handshake_timeout;
        settings.plain_text_answer = Some(PLAIN_HTTP_ANSWER.to_vec());
        let acceptor = Acceptor::new(settings, ListenerMetrics::new(&self.registry, &plan.policy), self.clock)?;
        self.rotation = Some(Rotation::new(plan.clone(), acceptor.clone()));
        self.acceptor = Some(acceptor);
        let monitor = CertificateMonitor::new(watched, certificates, self.clock);
        self.monitor = Some(monitor.beside(reloader.reloads()));
        self.reloader = Some(reloader.every(plan.reload_interval));
        Ok(())
    }

    /// The module's HTTP client, for its peers.
    pub(crate) fn client(&mut self) -> Client {
        let metrics = HttpClientMetrics::new(&self.registry);
        let client = Client::new(ClientSettings::default(), self.connector.clone(), metrics, self.clock);
        let client = client.traced(self.traces.tracer.clone());
        if let Some(rotation) = &mut self.rotation {
            rotation.client(client.clone());
        }
        client
    }

    /// The module's token service, for these scopes at these audiences, and the verifier of the tokens that come in for
    /// `own_audience`.
    ///
    /// # Errors
    /// An instance that is no URL, or settings that cannot work.
    pub(crate) fn auth(
        &mut self,
        plan: &AuthPlan,
        client: &Client,
        scopes: &[&str],
        audiences: &[&str],
        own_audience: &str,
    ) -> Result<(AuthService, TokenVerifier), Failure> {
        let name = self.name;
        let wrong = |error: &dyn std::fmt::Display| Failure::usage(format!("{name}: {error}"));
        let instances: Vec<AdminInstance> = plan
            .admin_urls
            .iter()
            .map(|url| AdminInstance::parse(url))
            .collect::<Result<_, _>>()
            .map_err(|error| wrong(&error))?;
        let metrics = AuthMetrics::new(&self.registry, &instances, self.clock);
        let transport = http_transport(client.clone());
        let mut settings = AuthSettings::new(&plan.client_id, plan.authentication.clone(), instances.clone());
        settings.scope = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        settings.timeout = plan.timeout;
        settings.backoff = plan.backoff;
        settings.tracer = Some(self.traces.tracer.clone());
        settings.expected = Some(ExpectedClaims {
            issuer: plan.issuer.clone(),
            audiences: audiences.iter().map(|audience| (*audience).to_owned()).collect(),
            algorithms: Algorithm::ALL.to_vec(),
            leeway: Duration::from_secs(10),
        });
        let jwks = if plan.discovery {
            let discovery = Discovery::new(DiscoverySettings::new(&plan.issuer)).map_err(|error| wrong(&error))?;
            settings.endpoint = TokenEndpoint::Discovered(discovery.clone());
            JwksSource::Discovered { discovery, instances, transport: transport.clone() }
        } else {
            JwksSource::Remote { instances, transport: transport.clone() }
        };
        let service = AuthService::new(settings, transport, metrics.clone(), self.clock).map_err(|e| wrong(&e))?;
        if let Some(rotation) = &mut self.rotation {
            rotation.auth(service.clone(), &plan.authentication);
        }
        let verifier = VerifierSettings::new(&plan.issuer, own_audience, jwks);
        let verifier = TokenVerifier::new(verifier, metrics, self.clock).map_err(|e| wrong(&e))?;
        Ok((service, verifier))
    }

    /// Starts the listeners and the background work of a module.
    pub(crate) fn start(self, module: ModuleParts, listeners: Listeners) -> Running {
        let metrics = ServerMetrics::new(&self.registry);
        let instance = listeners.operations.local_addr().map(|address| address.to_string()).unwrap_or_default();
        let health = Arc::clone(&module.health);
        let status = Status::new(self.registry.clone(), Arc::clone(&health), self.clock, self.name, instance);
        let operations = operations_router(self.registry.clone(), health).merge(status.router());
        let operations_settings = ServerSettings {
            listener: Listener::Operations,
            max_connections: 64,
            drain_timeout: Duration::from_secs(1),
            ..ServerSettings::default()
        };
        let operations =
            Server::new(listeners.operations, operations, operations_settings, metrics.clone(), self.clock);
        let router = match listeners.before {
            Some(before) => (before.0)(module.router),
            None => module.router,
        };
        let mut main = Server::new(listeners.main, router, listeners.settings, metrics, self.clock);
        main = main.traced(self.traces.tracer);
        let connector = self.connector;
        let expiry = self.acceptor.clone().map(|acceptor| ExpiryWatch::new(acceptor, connector));
        if let Some(acceptor) = self.acceptor {
            main = main.with_tls(acceptor);
        }
        let shutdown = CancellationToken::new();
        let reload_trigger = self.reloader.as_ref().map(Reloader::trigger);
        let watch = Watch { monitor: self.monitor, reloader: self.reloader, rotation: self.rotation, status, expiry };
        let task =
            tokio::spawn(run(main, operations, module.background, watch, self.traces.exporter, shutdown.clone()));
        Running { name: self.name, health: module.health, shutdown, task, reload_trigger }
    }
}

/// The work that a module does besides answering.
pub(crate) type Background = Box<dyn FnOnce(CancellationToken) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// What a module hands over to be run.
pub(crate) struct ModuleParts {
    /// Its API.
    pub(crate) router: axum::Router,
    /// Its health.
    pub(crate) health: Arc<dyn Health>,
    /// Its background work.
    pub(crate) background: Background,
}

/// A module that runs.
pub(crate) struct Running {
    pub(crate) name: &'static str,
    pub(crate) health: Arc<dyn Health>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
    reload_trigger: Option<ReloadTrigger>,
}

impl Running {
    /// Refuses new connections, lets requests in flight end, flushes, and ends.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        if self.task.await.is_err() {
            tracing::error!(module = self.name, "the module's task panicked while it stopped");
        }
    }

    /// What has its certificates looked at; none without TLS.
    pub(crate) fn reload_trigger(&self) -> Option<ReloadTrigger> {
        self.reload_trigger.clone()
    }

    /// Waits for the module to end by itself, which it does only by a defect.
    pub(crate) async fn ended(&mut self) {
        // Whether it returned or panicked: it is gone.
        let _ = (&mut self.task).await;
    }
}

/// What watches a module's certificates and numbers.
struct Watch {
    monitor: Option<CertificateMonitor>,
    reloader: Option<Reloader>,
    rotation: Option<Rotation>,
    status: Status<SystemClock>,
    expiry: Option<ExpiryWatch>,
}

impl Watch {
    async fn run(self, shutdown: CancellationToken) {
        let monitor = async {
            if let Some(monitor) = self.monitor {
                monitor.run(shutdown.clone()).await;
            }
        };
        let reloader = async {
            if let (Some(reloader), Some(rotation)) = (self.reloader, self.rotation) {
                let until = shutdown.clone();
                reloader.run(move |change| rotation.take(change, &until), shutdown.clone()).await;
            }
        };
        let expiry = async {
            if let Some(expiry) = self.expiry {
                expiry.run(shutdown.clone()).await;
            }
        };
        tokio::join!(monitor, reloader, expiry, self.status.run(shutdown.clone()));
    }
}

/// Requests first, then the background work (which flushes), then the spans of both, the operations listener last: it shows
/// the end.
async fn run(
    main: Server,
    operations: Server,
    background: Background,
    watch: Watch,
    exporter: Option<OtlpExporter<SystemClock>>,
    shutdown: CancellationToken,
) {
    let (requests_done, work_done, all_done) =
        (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
    let exporter = exporter.map(|exporter| tokio::spawn(exporter.run(work_done.clone())));
    let operations = tokio::spawn(operations.serve(all_done.clone()));
    let background = tokio::spawn(background(requests_done.clone()));
    let watch = tokio::spawn(watch.run(requests_done.clone()));
    main.serve(shutdown).await;
    requests_done.cancel();
    // A panic there was logged when it happened; the shutdown goes on.
    let _ = background.await;
    let _ = watch.await;
    work_done.cancel();
    if let Some(exporter) = exporter {
        let _ = exporter.await;
    }
    all_done.cancel();
    let _ = operations.await;
}

/// What the Ingester may do elsewhere.
pub(crate) const INGESTER_SCOPES: [&str; 4] =
    [scope::STORAGE_WRITE, scope::STORAGE_READ, scope::ELEMENTS_READ, scope::INDEX_READ];
/// Where the Ingester's token is valid.
pub(crate) const INGESTER_AUDIENCES: [&str; 2] = [scope::AUDIENCE_ELEMENT, scope::AUDIENCE_ADMIN];
/// What an element may do elsewhere.
pub(crate) const ELEMENT_SCOPES: [&str; 1] = [scope::ELEMENTS_REPORT];
/// Where an element's token is valid.
pub(crate) const ELEMENT_AUDIENCES: [&str; 1] = [scope::AUDIENCE_ADMIN];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_on_all_addresses_is_reached_at_the_loopback_address() {
        let told = |address: &str| reachable(address.parse().unwrap()).to_string();
        assert_eq!(told("0.0.0.0:8020"), "127.0.0.1:8020");
        assert_eq!(told("[::]:8020"), "[::1]:8020");
        assert_eq!(told("127.0.0.2:1"), "127.0.0.2:1");
        assert_eq!(told("[fe80::1]:1"), "[fe80::1]:1");
    }
}
