//! Takes certificates, keys, trust and revocation lists in use when their files change, and keeps the old ones when the new
//! ones cannot be used.

mod part;

use crate::certificate::CertType;
use crate::crl::{CrlFiles, Revocation};
use crate::identity::{Identity, IdentityFiles, SetupError, Trust, TrustFile};
use crate::metrics::{CertificateMetrics, ReloadMetrics, ReloadReason};
use artstore_metrics::{Clock, Monotonic, SystemClock, UnixTime};
use part::{Looked, Material, Part, Rejection, Source};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How often files are looked at, unless told otherwise.
pub const RELOAD_INTERVAL: Duration = Duration::from_millis(500);

/// A change must have been the same for so long: a file that is being written may hold something that is well-formed and less
/// than it should be, such as the first of two roots.
const SETTLE: Duration = Duration::from_millis(200);

/// A change that cannot be used has so long to become one that can: two files are never written at once.
const GRACE: Duration = Duration::from_millis(800);

/// A change that cannot be used is tried again after this, since time alone can make it usable.
const RETRY: Duration = Duration::from_secs(10);

/// The files of one module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReloadFiles {
    /// What its listener shows.
    pub server: Option<IdentityFiles>,
    /// What it shows when it connects; may be the same files.
    pub client: Option<IdentityFiles>,
    /// Whom it trusts.
    pub trust: Option<TrustFile>,
    /// Who is trusted no longer; no files, no checks of revocation.
    pub crls: Vec<std::path::PathBuf>,
}

/// What was found in the files at the start.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the listener shows.
    pub server: Option<Identity>,
    /// What the module shows when it connects.
    pub client: Option<Identity>,
    /// Whom it trusts, with the revocation lists if there are any.
    pub trust: Option<Trust>,
}

/// What is to be taken in use.
#[derive(Debug, Clone)]
pub enum Change {
    /// What the listener shows from now on.
    ServerIdentity(Identity),
    /// What the module shows when it connects from now on.
    ClientIdentity(Identity),
    /// Whom it trusts from now on, with the revocation lists if there are any.
    Trust(Trust),
}

/// Takes a change in use and says how many live connections were cut by it.
type Take = Box<dyn FnMut(Change) -> Result<usize, SetupError> + Send>;

/// Looks at the files every half second and takes in use what has changed.
///
/// What cannot be used stays on disk, is counted once in `tls_reload_total` and logged once, within two seconds of the change;
/// what was in use before serves on. Files are read and judged off the async threads.
pub struct Reloader<C: Clock = SystemClock> {
    looker: Arc<Mutex<Looker<C>>>,
    interval: Duration,
    trigger: ReloadTrigger,
}

/// Makes a [`Reloader`] look at once, as SIGHUP asks for.
#[derive(Debug, Clone, Default)]
pub struct ReloadTrigger(Arc<Notify>);

impl ReloadTrigger {
    /// The files are read now, whatever their time stamps say.
    pub fn check_now(&self) {
        self.0.notify_one();
    }
}

/// Told when files were taken in use.
#[derive(Debug, Clone, Default)]
pub struct Reloads(Arc<Notify>);

impl Reloads {
    /// Resolves when files were taken in use since the last call.
    pub async fn changed(&self) {
        self.0.notified().await;
    }
}

impl<C: Clock> std::fmt::Debug for Reloader<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloader").field("interval", &self.interval).finish_non_exhaustive()
    }
}

impl<C: Clock> Reloader<C> {
    /// Loads the files, for a start, and prepares to watch them.
    ///
    /// # Errors
    /// If something in them cannot be used: a start is no time for old ones, for there are none.
    pub fn load(
        files: &ReloadFiles,
        metrics: ReloadMetrics,
        certificates: CertificateMetrics,
        clock: C,
    ) -> Result<(Self, Loaded), SetupError> {
        let looker = Looker::load(files, metrics, certificates, clock)?;
        let loaded = looker.loaded();
        let trigger = ReloadTrigger::default();
        Ok((Self { looker: Arc::new(Mutex::new(looker)), interval: RELOAD_INTERVAL, trigger }, loaded))
    }

    /// The same with this interval in place of half a second.
    #[must_use]
    pub const fn every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// What makes it look at once.
    #[must_use]
    pub fn trigger(&self) -> ReloadTrigger {
        self.trigger.clone()
    }

    /// What is told of files taken in use; one receiver hears of each.
    #[must_use]
    pub fn reloads(&self) -> Reloads {
        self.locked(|looker| looker.reloads.clone())
    }

    /// Watches until cancelled; to be spawned. `take` takes a change in use and says how many live connections it cut: those of
    /// peers that are no longer trusted. It runs on a thread where it may block, within the runtime. What it refuses counts as
    /// a change that cannot be used.
    pub async fn run(
        self,
        take: impl FnMut(Change) -> Result<usize, SetupError> + Send + 'static,
        shutdown: CancellationToken,
    ) {
        let take: Arc<Mutex<Take>> = Arc::new(Mutex::new(Box::new(take)));
        let mut pause = self.interval;
        loop {
            let forced = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = self.trigger.0.notified() => true,
                () = tokio::time::sleep(pause) => false,
            };
            let (looker, take) = (Arc::clone(&self.looker), Arc::clone(&take));
            // What it logs goes where this task logs.
            let log = tracing::dispatcher::get_default(Clone::clone);
            let looked = tokio::task::spawn_blocking(move || {
                let mut take = take.lock().unwrap_or_else(PoisonError::into_inner);
                let mut looker = looker.lock().unwrap_or_else(PoisonError::into_inner);
                tracing::dispatcher::with_default(&log, || looker.look(forced, &mut take))
            });
            // After a panic, which the log shows, the next look goes on.
            let settled = looked.await.unwrap_or(true);
            pause = if settled { self.interval } else { self.interval.min(SETTLE) };
        }
    }

    fn locked<R>(&self, with: impl FnOnce(&Looker<C>) -> R) -> R {
        with(&self.looker.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What each part's material is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Roles {
    server: bool,
    client: bool,
}

struct Looker<C: Clock> {
    identities: Vec<(Part, Roles)>,
    trust: Option<Part>,
    lists: Option<Part>,
    metrics: ReloadMetrics,
    certificates: CertificateMetrics,
    reloads: Reloads,
    clock: C,
}

impl<C: Clock> Looker<C> {
    fn load(
        files: &ReloadFiles,
        metrics: ReloadMetrics,
        certificates: CertificateMetrics,
        clock: C,
    ) -> Result<Self, SetupError> {
        let now = clock.monotonic();
        let part = |source| Part::load(source, now);
        let mut identities = Vec::new();
        // The same files are one part: a broken state of theirs is one failure.
        let same = files.server == files.client;
        if let Some(server) = &files.server {
            identities.push((part(Source::Identity(server.clone()))?, Roles { server: true, client: same }));
        }
        if let Some(client) = files.client.as_ref().filter(|_| !same) {
            identities.push((part(Source::Identity(client.clone()))?, Roles { server: false, client: true }));
        }
        let trust = files.trust.clone().map(Source::Trust).map(part).transpose()?;
        let lists = Some(CrlFiles(files.crls.clone())).filter(|files| !files.0.is_empty());
        let lists = lists.map(Source::Lists).map(part).transpose()?;
        let looker = Self { identities, trust, lists, metrics, certificates, reloads: Reloads::default(), clock };
        looker.metrics.started(looker.clock.wall());
        looker.show();
        Ok(looker)
    }

    fn loaded(&self) -> Loaded {
        let of = |wanted: fn(&Roles) -> bool| {
            let part = self.identities.iter().find(|(_, roles)| wanted(roles)).map(|(part, _)| part.current());
            part.and_then(|material| match material {
                Material::Identity(identity) => Some(identity.clone()),
                Material::Trust(_) | Material::Lists(_) => None,
            })
        };
        let (trust, lists) = (self.trust.as_ref().map(Part::current), self.lists.as_ref().map(Part::current));
        Loaded {
            server: of(|roles| roles.server),
            client: of(|roles| roles.client),
            trust: trust.and_then(|trust| joined(trust, lists)),
        }
    }

    /// Sets the series of what is in use.
    fn show(&self) {
        for (part, roles) in &self.identities {
            if let (Source::Identity(files), Material::Identity(identity)) = (part.source(), part.current()) {
                let held =
                    |cert_type| self.certificates.holds(&files.cert, cert_type, identity.certificates().to_vec());
                if roles.server {
                    held(CertType::Server);
                }
                if roles.client {
                    held(CertType::Client);
                }
            }
        }
        if let Some((Source::Trust(file), Material::Trust(trust))) =
            self.trust.as_ref().map(|p| (p.source(), p.current()))
        {
            self.certificates.holds(&file.0, CertType::Ca, trust.certificates().to_vec());
        }
        if let Some(Material::Lists(lists)) = self.lists.as_ref().map(Part::current) {
            self.metrics.lists(lists.lists());
        }
    }

    /// Looks at all files and takes in use what can be; says whether nothing is still on its way.
    fn look(&mut self, forced: bool, take: &mut Take) -> bool {
        let (now, wall) = (self.clock.monotonic(), self.clock.wall());
        let at = Moment { now, wall, forced };
        let (mut tally, mut taken) = (Tally::default(), false);
        let trust = self.trust.as_mut().and_then(|part| look(part, at, &self.metrics, &mut tally));
        let lists = self.lists.as_mut().and_then(|part| look(part, at, &self.metrics, &mut tally));
        let identities = self.identities.iter_mut().map(|(part, _)| look(part, at, &self.metrics, &mut tally));
        let identities: Vec<_> = identities.collect();
        // What changes together is taken together: roots without the list of theirs would cut whom they should let in. But
        // a file that never rests must not keep the others waiting.
        if !tally.unsettled || tally.overdue {
            if trust.is_some() || lists.is_some() {
                taken |= self.take_trust(trust, lists, take);
            }
            for ((part, roles), material) in self.identities.iter_mut().zip(identities) {
                if let Some(Material::Identity(identity)) = material {
                    taken |= take_identity(part, *roles, identity, &self.metrics, take);
                }
            }
        }
        let parts = self.identities.iter().map(|(part, _)| part).chain(&self.trust).chain(&self.lists);
        self.metrics.pending_failure(parts.into_iter().any(|part| part.is_overdue(now)));
        if taken {
            self.show();
            self.metrics.succeeded(wall);
            self.reloads.0.notify_one();
        }
        !tally.unsettled
    }

    /// Trust and lists are one: what changed of them goes with what did not.
    fn take_trust(&mut self, trust: Option<Material>, lists: Option<Material>, take: &mut Take) -> bool {
        let current = |part: &Option<Part>| part.as_ref().map(Part::current).cloned();
        let new_lists = lists.clone().or_else(|| current(&self.lists));
        let Some(whole) = trust.clone().or_else(|| current(&self.trust)) else { return false };
        let Some(whole) = joined(&whole, new_lists.as_ref()) else { return false };
        let changed = [(&mut self.trust, trust), (&mut self.lists, lists)];
        let mut changed =
            changed.into_iter().filter_map(|(part, material)| Some((part.as_mut()?, material?))).collect::<Vec<_>>();
        let names: Vec<String> = changed.iter().map(|(part, _)| part.names()).collect();
        match take(Change::Trust(whole)) {
            Ok(cut) => {
                tracing::info!(files = names.join(", "), connections_cut = cut, "changed trust is in use");
                changed.into_iter().for_each(|(part, material)| part.adopt(material));
                true
            }
            Err(error) => {
                let new = changed.iter_mut().map(|(part, _)| part.refuse()).fold(false, |any, new| any | new);
                if new {
                    failed(&names.join(", "), &Rejection::new(ReloadReason::Refused, error.to_string()), &self.metrics);
                }
                false
            }
        }
    }
}

/// When a look happens, and whether stamps are believed.
#[derive(Clone, Copy)]
struct Moment {
    now: Monotonic,
    wall: UnixTime,
    forced: bool,
}

/// What a look found of all parts.
#[derive(Debug, Default)]
struct Tally {
    /// Something is still on its way.
    unsettled: bool,
    /// Something that can be used has waited for longer than a change takes.
    overdue: bool,
}

/// Looks at a part; gives what is to be taken in use.
fn look(part: &mut Part, at: Moment, metrics: &ReloadMetrics, tally: &mut Tally) -> Option<Material> {
    match part.look(at.now, at.wall, at.forced) {
        Looked::Ready(material) => {
            tally.overdue |= part.is_overdue(at.now);
            return Some(material);
        }
        Looked::Unsettled => tally.unsettled = true,
        Looked::Rejected(rejection) => failed(&part.names(), &rejection, metrics),
        Looked::InUse { again: true } => {
            tracing::info!(files = part.names(), "the files on disk are those in use again");
        }
        Looked::InUse { again: false } | Looked::StillRejected => {}
    }
    None
}

fn take_identity(part: &mut Part, roles: Roles, identity: Identity, metrics: &ReloadMetrics, take: &mut Take) -> bool {
    let mut taken = Ok(0);
    if roles.server {
        taken = take(Change::ServerIdentity(identity.clone()));
    }
    if roles.client && taken.is_ok() {
        taken = take(Change::ClientIdentity(identity.clone()));
    }
    let leaf = identity.certificates().first();
    match taken {
        Ok(_) => {
            tracing::info!(
                files = part.names(),
                subject = leaf.map(|leaf| leaf.subject.as_str()),
                fingerprint = leaf.map(crate::certificate::CertificateInfo::fingerprint),
                "a changed certificate is in use"
            );
            part.adopt(Material::Identity(identity));
            true
        }
        Err(error) => {
            if part.refuse() {
                failed(&part.names(), &Rejection::new(ReloadReason::Refused, error.to_string()), metrics);
            }
            false
        }
    }
}

fn failed(files: &str, rejection: &Rejection, metrics: &ReloadMetrics) {
    metrics.failed(rejection.reason);
    let (reason, detail) = (rejection.reason.label(), &rejection.detail);
    tracing::error!(reason, files, "changed TLS files cannot be used, those in use serve on: {detail}");
}

/// Trust with the lists, if there are any.
fn joined(trust: &Material, lists: Option<&Material>) -> Option<Trust> {
    let Material::Trust(trust) = trust else { return None };
    let lists: Option<&Revocation> = lists.and_then(|lists| match lists {
        Material::Lists(lists) => Some(lists),
        Material::Identity(_) | Material::Trust(_) => None,
    });
    Some(match lists {
        Some(lists) => trust.clone().with_revocation(lists.clone()),
        None => trust.clone(),
    })
}
