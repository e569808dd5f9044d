//! Waiting to be told to stop, and being told to look at certificates.

use crate::failure::Failure;
use artstore_tls::ReloadTrigger;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM, SIGINT and SIGHUP, caught from construction on.
#[derive(Debug)]
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Option<Signal>,
}

impl StopSignals {
    /// Catches the signals.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub(crate) fn catch() -> Result<Self, Failure> {
        let catch = |kind| signal(kind).map_err(|error| Failure::failed(format!("cannot catch signals: {error}")));
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            hangup: Some(catch(SignalKind::hangup())?),
        })
    }

    /// From now on SIGHUP has certificates, keys, trust and revocation lists looked at; one that came before does, too.
    pub(crate) fn reload_on_hangup(&mut self, triggers: Vec<ReloadTrigger>) {
        let Some(mut hangup) = self.hangup.take() else { return };
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                tracing::info!("SIGHUP: certificates, keys, trust and revocation lists are looked at");
                triggers.iter().for_each(ReloadTrigger::check_now);
            }
        });
    }

    /// Waits for one of them and gives its name.
    pub(crate) async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
