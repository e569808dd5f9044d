//! The status page of a module: what it remembers of its own numbers, judged and drawn.
//!
//! In: a module's registry, health and clock. Out: `/`, `/status.json`, and the page's style sheet and script.

mod alerts;
mod chart;
mod errors;
mod history;
mod html;
mod panels;
mod query;
mod report;
mod routes;
mod sections;
mod templates;
#[cfg(test)]
mod tests;

use crate::rules::{JOBS, groups};
use alerts::Alerts;
use artstore_http::Health;
use artstore_metrics::{Clock, Family, Kind, Monotonic, Registry, UnixTime};
use errors::Errors;
use history::{INTERVAL, Memory};
use panels::Panels;
use query::{Evaluation, Labels};
use report::Report;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// At most so many points has a curve.
const MOMENTS: usize = 180;

/// How much of the panels a report has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// None: a reading is taken.
    Reading,
    /// Those that a page shows at first.
    Page,
    /// Those about the connections of pool and listener too.
    All,
}

/// The status of a module. Clones share it.
#[derive(Clone)]
pub struct Status<C: Clock>(Arc<Shared<C>>);

struct Shared<C: Clock> {
    registry: Registry,
    health: Arc<dyn Health>,
    clock: C,
    module: &'static str,
    instance: String,
    began: (UnixTime, Monotonic),
    exported: BTreeSet<String>,
    board: Mutex<Board>,
}

struct Board {
    memory: Memory,
    alerts: Alerts,
    panels: Panels,
    errors: Errors,
    /// The names of the families that are read.
    families: BTreeSet<&'static str>,
}

impl<C: Clock> Status<C> {
    /// The status of a module whose families are all registered. `instance` is the address of its operations listener.
    #[must_use]
    pub fn new(
        registry: Registry,
        health: Arc<dyn Health>,
        clock: C,
        module: &'static str,
        instance: impl Into<String>,
    ) -> Self {
        let instance = instance.into();
        let exported: BTreeSet<String> = registry.families().into_iter().flat_map(sample_names).collect();
        let job =
            JOBS.into_iter().find(|job| job.strip_prefix("artstore-").is_some_and(|kind| module.starts_with(kind)));
        let target = [("job", job.unwrap_or(module)), ("instance", &instance)];
        let target = target.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let board = Board::new(&registry, &exported, Labels::from(target));
        let began = (clock.wall(), clock.monotonic());
        let status = Self(Arc::new(Shared {
            registry,
            health,
            clock,
            module,
            instance,
            began,
            exported,
            board: Mutex::new(board),
        }));
        status.sample();
        status
    }

    /// Takes a reading of the registry, and judges the alerts.
    pub fn sample(&self) {
        self.report_of(Extent::Reading);
    }

    /// Takes a reading every five seconds until it is told to stop.
    pub async fn run(self, until: CancellationToken) {
        let mut ticks = tokio::time::interval(Duration::from_secs(INTERVAL.into()));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.sample(),
                () = until.cancelled() => return,
            }
        }
    }

    /// `/`, `/status.json`, `/status.css` and `/status.js`, for a module's operations listener.
    pub fn router(&self) -> axum::Router {
        routes::router(self.clone())
    }

    /// The state of now.
    fn report_of(&self, extent: Extent) -> Report {
        let shared = &*self.0;
        let mut board = shared.board.lock().unwrap_or_else(PoisonError::into_inner);
        let samples = shared.registry.read(|family| board.families.contains(family.name()));
        let wall = shared.clock.wall().as_secs_f64();
        let up_seconds = shared.clock.monotonic().since(shared.began.1).as_secs_f64();
        // Readings stand on the monotonic clock, so that a change of the wall clock neither loses nor reorders them.
        let now = shared.began.0.as_secs_f64() + up_seconds;
        board.memory.push(now, &samples);
        board.errors.take(now, &samples);
        let times = board.memory.moments(MOMENTS);
        let Board { memory, alerts, panels, errors, .. } = &mut *board;
        let judged = {
            let records = alerts.records().clone();
            let at = Evaluation { memory, records: &records, times: &[now], wall_ahead: wall - now };
            alerts.judge(at, now, &shared.exported)
        };
        let at = Evaluation { memory, records: alerts.records(), times: &times, wall_ahead: wall - now };
        let gets_tokens = shared.exported.contains(artstore_auth::metrics::TTL.name());
        // Where there is no token to show, there is room.
        let with_plumbing = extent == Extent::All || !gets_tokens;
        let (certificates, more_certificates) = match extent {
            Extent::Reading => (Vec::new(), 0),
            Extent::Page | Extent::All => report::certificates(&samples, wall, &panels.days_left()),
        };
        Report {
            format: 1,
            module: shared.module,
            version: env!("CARGO_PKG_VERSION"),
            instance: shared.instance.clone(),
            now,
            up_seconds,
            interval_seconds: INTERVAL,
            is_truncated: memory.is_truncated(),
            health: shared.health.ready(),
            token: report::token(&samples, gets_tokens),
            alerts: judged,
            certificates,
            more_certificates,
            errors: errors.kept().to_vec(),
            panels: match extent {
                Extent::Reading => Vec::new(),
                Extent::Page | Extent::All => panels.show(at, &shared.exported, with_plumbing),
            },
            has_all_panels: with_plumbing,
            times,
        }
    }
}

impl<C: Clock> std::fmt::Debug for Status<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Status").field("module", &self.0.module).finish_non_exhaustive()
    }
}

impl Board {
    fn new(registry: &Registry, exported: &BTreeSet<String>, target: Labels) -> Self {
        let (alerts, panels, errors) = (Alerts::new(groups()), Panels::new(), Errors::new());
        let mut wanted: BTreeMap<String, f64> = BTreeMap::new();
        for (selector, window) in
            alerts.expressions().chain(panels.expressions()).flat_map(query::Expression::selectors)
        {
            if exported.contains(&selector.name) {
                let longest = wanted.entry(selector.name.clone()).or_default();
                *longest = longest.max(window);
            }
        }
        let shown = [artstore_auth::metrics::TTL.name(), artstore_tls::metrics::CERTIFICATE_NOT_AFTER.name()];
        let is_read = |family: &&'static Family| {
            shown.contains(&family.name())
                || errors.wants(family)
                || sample_names(family).iter().any(|name| wanted.contains_key(name))
        };
        let families = registry.families().into_iter().filter(is_read).map(Family::name).collect();
        Self { memory: Memory::new(&wanted, target), alerts, panels, errors, families }
    }
}

/// The names under which a family's samples are written.
fn sample_names(family: &Family) -> Vec<String> {
    match family.kind() {
        Kind::Counter | Kind::Gauge => vec![family.name().to_owned()],
        Kind::Histogram => ["_bucket", "_sum", "_count"].map(|suffix| format!("{}{suffix}", family.name())).to_vec(),
    }
}
