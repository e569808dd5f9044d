//! `artstore up`: Admin Module, two Storage Elements and an Ingester in one process, on real sockets, under a development CA.

mod accounts;
mod announce;
mod args;
mod data;
mod fault;
mod sockets;
mod start;
mod traffic;

pub(crate) use args::UpArgs;

use crate::assemble::Running;
use crate::development::certificates;
use crate::failure::Failure;
use crate::file_limit;
use crate::logging;
use crate::signals::StopSignals;
use accounts::CLIENT;
use announce::{announce, variables};
use artstore_http::Status;
use data::DataDir;
use fault::{Fault, FaultFiles, Hands, Present, Room, Switch};
use sockets::Sockets;
use start::{Armed, EDIT, Started, backoff, start};
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use traffic::Traffic;

/// How long everything may take to answer.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How often readiness is looked at.
const READY_INTERVAL: Duration = Duration::from_millis(20);
/// How often the development certificates are looked at while everything runs.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(3600);

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// A port in use, a locked folder, a certificate or store that cannot be used.
pub(crate) async fn run(args: UpArgs) -> Result<(), Failure> {
    let for_people = if std::io::stderr().is_terminal() { logging::Format::Text } else { logging::Format::Json };
    logging::start(&args.log_level, args.log_format.unwrap_or(for_people))
        .map_err(|error| Failure::failed(format!("logging: {error}")))?;
    file_limit::raise();
    let mut signals = StopSignals::catch()?;
    let data = DataDir::open(&args.data)?;
    let certificates = certificates(&data.join("tls"), &[])?;
    let sockets = Sockets::bind(&args).await?;
    let urls = sockets.urls()?;
    let switch = args.fault.map(|_| Switch::new(data.join(fault::FILE)));
    let armed = switch.as_ref().map(|switch| arm(&args, switch, &data)).transpose()?;
    let Started { modules, secret } = start(&args, &data, &certificates, sockets, &urls, armed.as_ref()).await?;
    signals.reload_on_hangup(modules.iter().filter_map(Running::reload_trigger).collect());
    let _renewal = AbortOnDropHandle::new(tokio::spawn(renew(
        data.join("tls"),
        armed.as_ref().map(|armed| armed.present.clone()),
    )));
    let signal = tokio::select! {
        ready = until_ready(&modules) => match ready {
            Ok(()) => None,
            Err(failure) => {
                stop(modules).await;
                return Err(failure);
            }
        },
        signal = signals.wait() => Some(signal),
    };
    let signal = match signal {
        Some(signal) => signal,
        None => {
            let file = data.write_env_file(&variables(&urls, &certificates, &secret))?;
            announce(&args, &urls, &data, &file)?;
            let way = traffic::Way {
                admin: &urls.admin,
                ingester: &urls.ingester,
                certificates: &certificates,
                client_id: CLIENT,
                secret,
                backoff: backoff(armed.is_some()),
            };
            let demonstration = Demonstration::start(&args, &way, switch.zip(armed))?;
            let signal = signals.wait().await;
            demonstration.stop().await;
            signal
        }
    };
    tracing::info!(signal, "stopping: requests in flight finish first");
    data.remove_env_file();
    stop(modules).await;
    tracing::info!("stopped");
    Ok(())
}

/// Makes what exists only while faults are armed.
fn arm(args: &UpArgs, switch: &Switch, data: &DataDir) -> Result<Armed, Failure> {
    let files = Arc::new(FaultFiles::healthy(data.join("tls"))?);
    Ok(Armed { present: switch.present(), files, room: Room::of(&data.join(EDIT), args.element_capacity_bytes) })
}

/// Renews the development certificates, also of a process that runs for months; the modules take them in use. What a fault
/// has done to them stays until its end.
async fn renew(dir: PathBuf, present: Option<Present>) {
    loop {
        tokio::time::sleep(RENEWAL_INTERVAL).await;
        if present.as_ref().is_some_and(|present| present.now() != Fault::None) {
            continue;
        }
        let dir = dir.clone();
        // A panic shows in the log, and the next round tries again.
        if let Ok(Err(failure)) = tokio::task::spawn_blocking(move || certificates(&dir, &[])).await {
            tracing::error!("the development certificates cannot be renewed: {failure}");
        }
    }
}

/// What goes on for people to see: traffic, and a fault.
struct Demonstration {
    traffic: Option<Traffic>,
    fault: Option<JoinHandle<()>>,
    shutdown: CancellationToken,
}

impl Demonstration {
    /// Starts what was asked for.
    ///
    /// # Errors
    /// A certificate that the traffic cannot use.
    fn start(args: &UpArgs, way: &traffic::Way<'_>, faults: Option<(Switch, Armed)>) -> Result<Self, Failure> {
        let (rate, shutdown) = (args.demo_rate(), CancellationToken::new());
        let traffic = if rate > 0.0 { Some(Traffic::start(way.session()?, rate)) } else { None };
        let mut fault = None;
        if let Some((switch, armed)) = faults {
            let switch = switch.with_hands(Hands::new(armed.files, way.session()?, armed.room));
            let first = args.fault.unwrap_or(Fault::None);
            fault = Some(tokio::spawn(switch.run(first, shutdown.clone())));
        }
        Ok(Self { traffic, fault, shutdown })
    }

    /// Ends it: the fault, too, so that it does not hold up what follows.
    async fn stop(self) {
        self.shutdown.cancel();
        if let Some(fault) = self.fault {
            // A panic there was logged when it happened.
            let _ = fault.await;
        }
        if let Some(traffic) = self.traffic {
            traffic.stop().await;
        }
    }
}

/// Waits until every module says that it is ready.
async fn until_ready(modules: &[Running]) -> Result<(), Failure> {
    let all_ready = async {
        while !modules.iter().all(|module| module.health.ready().status == Status::Ok) {
            tokio::time::sleep(READY_INTERVAL).await;
        }
    };
    tokio::time::timeout(READY_WITHIN, all_ready).await.map_err(|_| {
        let reasons = modules.iter().flat_map(|module| {
            let waiting = module.health.ready().dependencies.into_iter().filter(|d| d.status != Status::Ok);
            waiting.map(|dependency| format!("{}: {}: {}", module.name, dependency.name, dependency.reason))
        });
        Failure::failed(format!("not ready after {READY_WITHIN:?}: {}", reasons.collect::<Vec<_>>().join("; ")))
    })
}

/// Stops the modules, the last started first, so that each finds those that it needs until its end.
async fn stop(modules: Vec<Running>) {
    for module in modules.into_iter().rev() {
        module.stop().await;
    }
}
