//! `artstore admin`, `element` and `ingester`: one module from its configuration file, for production.

use crate::assemble::{Listeners, Running, TlsPlan, bind};
use crate::authentication;
use crate::commands::config::{ModuleName, read};
use crate::config::Values;
use crate::failure::Failure;
use crate::file_limit;
use crate::logging;
use crate::modules::{open_admin, start_admin, start_element, start_ingester};
use crate::signals::StopSignals;
use crate::traces::TracePlan;
use artstore_admin::{AdminSettings, FailureLimits};
use artstore_auth::Algorithm;
use artstore_element::{ElementSettings, S3Settings, StoreSettings};
use artstore_http::ServerSettings;
use artstore_ingester::IngesterSettings;
use artstore_metrics::SystemClock;
use artstore_tls::{AllowedClients, CrlFiles, IdentityFiles, Policy, Protocol, TrustFile};
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Looking at files more often would be work for nothing.
const SHORTEST_RELOAD_INTERVAL: Duration = Duration::from_millis(50);

/// Flags of a command that runs one module.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Configuration file; `artstore config MODULE` prints a commented one.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Override a key of the file and of the environment; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// Flags of a command that works on the Admin Module's database or keys.
#[derive(Debug, Args)]
pub(super) struct CommonArgs {
    #[command(flatten)]
    pub(super) serve: ServeArgs,
    /// JSON instead of text for people: one object a line.
    #[arg(long)]
    pub(super) json: bool,
}

/// Runs a module until SIGTERM or SIGINT.
///
/// # Errors
/// Mistakes in the configuration, a port in use, a certificate or store that cannot be used.
pub(crate) async fn run(module: ModuleName, args: &ServeArgs) -> Result<(), Failure> {
    let values = read(module, &args.config, &args.set)?;
    start_logging(&values)?;
    file_limit::raise();
    let mut signals = StopSignals::catch()?;
    let mut running = match module {
        ModuleName::Admin => admin(&values).await?,
        ModuleName::Element => element(&values).await?,
        ModuleName::Ingester => ingester(&values).await?,
    };
    signals.reload_on_hangup(running.reload_trigger().into_iter().collect());
    tracing::info!(module = running.name, "started");
    let signal = tokio::select! {
        signal = signals.wait() => signal,
        () = running.ended() => return Err(Failure::failed(format!("the {} module ended by itself", running.name))),
    };
    tracing::info!(signal, "stopping: requests in flight finish first");
    running.stop().await;
    tracing::info!("stopped");
    Ok(())
}

fn start_logging(values: &Values) -> Result<(), Failure> {
    let format = if values.text("log.format") == Some("text") { logging::Format::Text } else { logging::Format::Json };
    logging::start(values.text("log.level").unwrap_or("info"), format)
        .map_err(|error| Failure::failed(format!("logging: {error}")))
}

/// What is wrong with values that are each well-formed: a file that is not there, a danger that is not allowed, a key that
/// another one needs.
pub(crate) fn problems(module: ModuleName, values: &Values) -> Vec<String> {
    let mut results = vec![tls_plan(values, true, false).and_then(|plan| plan.map_or(Ok(()), |plan| loadable(&plan)))];
    match module {
        ModuleName::Admin => results.push(admin_settings(values).map(drop)),
        ModuleName::Element => results.push(store(values).map(drop)),
        ModuleName::Ingester => {}
    }
    let mut problems: Vec<String> =
        results.into_iter().filter_map(Result::err).map(|failure| failure.to_string()).collect();
    match module {
        ModuleName::Admin => {}
        ModuleName::Element | ModuleName::Ingester => problems.extend(authentication::problems(values)),
    }
    problems
}

fn loadable(plan: &TlsPlan) -> Result<(), Failure> {
    let wrong = |key: &str, error: &dyn std::fmt::Display| Failure::usage(format!("{key}: {error}"));
    plan.server.load().map_err(|error| wrong("tls.cert_file, tls.key_file", &error))?;
    plan.trust.load().map_err(|error| wrong("tls.ca_cert_file", &error))?;
    CrlFiles(plan.crl_files.clone()).load().map(drop).map_err(|error| wrong("tls.crl_files", &error))
}

/// The settings of the Admin Module.
pub(crate) fn admin_settings(values: &Values) -> Result<AdminSettings, Failure> {
    let mut settings = AdminSettings::new(
        Path::new(&values.text_or_empty("admin.data_dir")),
        values.text_or_empty("admin.issuer").trim_end_matches('/'),
    );
    settings.token_lifetime = values.seconds("admin.token_lifetime");
    settings.algorithm = Algorithm::parse(&values.text_or_empty("admin.algorithm"))
        .ok_or_else(|| Failure::usage("admin.algorithm must be \"RS256\", \"ES256\" or \"EdDSA\""))?;
    settings.element_offline_after = values.seconds("admin.element_offline_after");
    settings.jwks_max_age = values.seconds("admin.jwks_max_age");
    settings.key_check_interval = values.seconds("admin.key_check_interval");
    // Whichever replica finds a new key last, and whoever asked it just before.
    settings.key_settle = settings.jwks_max_age + settings.key_check_interval * 2;
    let count = |key: &str| values.integer(key).and_then(|count| u32::try_from(count).ok()).unwrap_or(u32::MAX);
    settings.max_assertions = count("admin.max_assertions");
    settings.failure_limits = FailureLimits {
        per_client: count("admin.failures_per_client"),
        per_address: count("admin.failures_per_address"),
        window: values.seconds("admin.failure_window"),
        entries: count("admin.failure_entries"),
    };
    Ok(settings)
}

async fn admin(values: &Values) -> Result<Running, Failure> {
    let tls = tls_plan(values, false, false)?;
    let traces = TracePlan::of(values);
    let (admin, foundation) = open_admin(admin_settings(values)?, tls.as_ref(), &traces, SystemClock::new()).await?;
    Ok(start_admin(admin, foundation, listeners(values).await?))
}

async fn element(values: &Values) -> Result<Running, Failure> {
    let mode =
        values.text_or_empty("element.mode").parse().map_err(|e| Failure::usage(format!("element.mode: {e}")))?;
    let url = values.text_or_empty("element.url");
    let mut settings =
        ElementSettings::new(values.text_or_empty("element.id"), mode, url.trim_end_matches('/'), store(values)?);
    settings.capacity_limit = values.integer("element.capacity_bytes");
    settings.max_file_bytes = values.integer("element.max_file_bytes").unwrap_or(settings.max_file_bytes);
    settings.read_timeout = values.seconds("element.read_timeout");
    settings.lease = values.seconds("element.lease");
    settings.session_ttl = values.seconds("element.session_ttl");
    let tls = tls_plan(values, true, true)?;
    let (auth, traces) = (authentication::plan(values)?, TracePlan::of(values));
    start_element("element", settings, tls.as_ref(), &auth, &traces, listeners(values).await?).await
}

async fn ingester(values: &Values) -> Result<Running, Failure> {
    let mut settings = IngesterSettings::new(Vec::new());
    settings.max_file_bytes = values.integer("ingester.max_file_bytes").unwrap_or(settings.max_file_bytes);
    if let Some(bytes) = values.integer("ingester.one_shot_bytes").and_then(|bytes| usize::try_from(bytes).ok()) {
        settings.one_shot_bytes = bytes;
    }
    settings.read_timeout = values.seconds("ingester.read_timeout");
    settings.element_list_ttl = values.seconds("ingester.element_list_ttl");
    let tls = tls_plan(values, true, false)?;
    let (auth, traces) = (authentication::plan(values)?, TracePlan::of(values));
    start_ingester(settings, tls.as_ref(), &auth, &traces, listeners(values).await?).await
}

fn store(values: &Values) -> Result<StoreSettings, Failure> {
    let dir = PathBuf::from(values.text_or_empty("store.dir"));
    if values.text("store.kind") != Some("s3") {
        return Ok(StoreSettings::Folder { dir });
    }
    let needed = |key: &str| {
        values
            .text(key)
            .map(str::to_owned)
            .ok_or_else(|| Failure::usage(format!("{key}: is required with store.kind = \"s3\"")))
    };
    let part_bytes = values.integer("store.s3_part_bytes").and_then(|bytes| usize::try_from(bytes).ok());
    Ok(StoreSettings::S3(S3Settings {
        endpoint: needed("store.s3_endpoint")?,
        bucket: needed("store.s3_bucket")?,
        prefix: String::new(),
        region: needed("store.s3_region")?,
        access_key_id: needed("store.s3_access_key_id")?,
        secret_access_key: needed("store.s3_secret_access_key")?.into(),
        part_bytes: part_bytes.unwrap_or(S3Settings::DEFAULT_PART_BYTES),
    }))
}

/// The TLS of a module; none only where the operator said that the danger is known.
pub(crate) fn tls_plan(values: &Values, connects: bool, clients_need: bool) -> Result<Option<TlsPlan>, Failure> {
    let insecure = values.flag("danger.allow_insecure");
    let verify_none = values.text("tls.verify_mode") == Some("CERT_NONE");
    if (!values.flag("tls.enabled") || verify_none) && !insecure {
        let key = if verify_none { "tls.verify_mode: CERT_NONE" } else { "tls.enabled: false" };
        return Err(Failure::usage(format!("{key} is refused unless danger.allow_insecure = true")));
    }
    if !values.flag("tls.enabled") {
        return Ok(None);
    }
    let needed = |key: &str| {
        values
            .text(key)
            .map(PathBuf::from)
            .ok_or_else(|| Failure::usage(format!("{key}: is required while tls.enabled")))
    };
    let minimum = values.text("tls.protocol_version").and_then(Protocol::parse).unwrap_or(Protocol::Tls13);
    let ciphers = values.list("tls.ciphers");
    let ciphers = (!ciphers.is_empty()).then_some(ciphers.as_slice());
    let mut policy = Policy::new(minimum, ciphers).map_err(|error| Failure::usage(format!("tls.ciphers: {error}")))?;
    let groups = values.list("tls.key_exchange_groups");
    if !groups.is_empty() {
        let wrong = |error| Failure::usage(format!("tls.key_exchange_groups: {error}"));
        policy = policy.with_groups(&groups).map_err(wrong)?;
    }
    let rules = values.list("tls.allowed_clients");
    let allowed_clients = (!rules.is_empty()).then(|| AllowedClients::new(&rules)).transpose();
    let identity = IdentityFiles { cert: needed("tls.cert_file")?, key: needed("tls.key_file")? };
    Ok(Some(TlsPlan {
        client: connects.then(|| identity.clone()),
        server: identity,
        trust: TrustFile(needed("tls.ca_cert_file")?),
        policy,
        allowed_clients: allowed_clients.map_err(|error| Failure::usage(format!("tls.allowed_clients: {error}")))?,
        handshake_timeout: values.seconds("tls.handshake_timeout"),
        crl_files: values.list("tls.crl_files").into_iter().map(PathBuf::from).collect(),
        reload_interval: values.seconds("tls.reload_interval").max(SHORTEST_RELOAD_INTERVAL),
        clients_need_certificate: clients_need,
        danger_accept_any_server: verify_none,
    }))
}

async fn listeners(values: &Values) -> Result<Listeners, Failure> {
    let default = ServerSettings::default();
    let most =
        |key: &str, default: usize| values.integer(key).and_then(|most| usize::try_from(most).ok()).unwrap_or(default);
    Ok(Listeners {
        main: bind(&values.text_or_empty("listen.address")).await?,
        operations: bind(&values.text_or_empty("listen.ops_address")).await?,
        settings: ServerSettings {
            max_connections: most("listen.max_connections", default.max_connections),
            max_handshakes: most("listen.max_handshakes", default.max_handshakes),
            max_silent: most("listen.max_silent", default.max_silent),
            max_handshakes_per_address: most("listen.max_handshakes_per_address", default.max_handshakes_per_address),
            max_connections_per_address: most(
                "listen.max_connections_per_address",
                default.max_connections_per_address,
            ),
            header_read_timeout: values.seconds("listen.header_timeout"),
            drain_timeout: values.seconds("listen.drain_timeout"),
            ..default
        },
        before: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{keys, load};

    fn plan(line: &str) -> Result<TlsPlan, String> {
        let file = format!(
            "[admin]\nissuer = 'https://a'\n[tls]\ncert_file = 'c'\nkey_file = 'k'\nca_cert_file = 'a'\n{line}\n"
        );
        let values = load(&keys::admin(), &file, &|_| None, &[]).unwrap();
        tls_plan(&values, false, false).map(Option::unwrap).map_err(|failure| failure.to_string())
    }

    #[test]
    fn groups_and_allowed_clients_are_those_of_the_file_or_all() {
        let given = plan("key_exchange_groups = ['x25519', 'secp256r1']\nallowed_clients = ['dns:a.example']").unwrap();
        assert_eq!(given.policy.groups().collect::<Vec<_>>(), ["x25519", "secp256r1"]);
        assert_eq!(given.allowed_clients.unwrap().rules().collect::<Vec<_>>(), ["dns:a.example"]);
        let absent = plan("").unwrap();
        let default = ["X25519MLKEM768", "x25519", "secp256r1", "secp384r1"];
        assert_eq!(absent.policy.groups().collect::<Vec<_>>(), default);
        assert!(absent.allowed_clients.is_none());
    }

    #[test]
    fn a_wrong_group_or_rule_is_told_with_those_that_are_known() {
        let error = plan("key_exchange_groups = ['x25519', 'ffdhe2048']").unwrap_err();
        assert!(error.starts_with("tls.key_exchange_groups: ") && error.contains("\"ffdhe2048\""), "{error}");
        assert!(error.contains("X25519MLKEM768, SecP256r1MLKEM768, x25519, secp256r1, secp384r1"), "{error}");
        let error = plan("allowed_clients = ['name:a']").unwrap_err();
        assert!(error.starts_with("tls.allowed_clients: \"name:a\"") && error.contains("dns:NAME"), "{error}");
    }
}
