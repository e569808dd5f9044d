//! Reloading: every way of writing a file, every state in which it cannot be used, and what happens to what is in use.

use crate::fixture::*;
use artstore_metrics::{Clock as _, Registry, TestClock, UnixTime};
use artstore_tls::dev::{DevCa, DevCrl, Leaf};
use artstore_tls::{
    Acceptor, AcceptorSettings, CertificateMetrics, Change, ClientAuth, Connector, ConnectorMetrics, ConnectorSettings,
    IdentityFiles, ListenerMetrics, Loaded, MAX_PEM_BYTES, Policy, ReloadFiles, ReloadMetrics, ReloadTrigger, Reloader,
    Reloads, SetupError, TrustFile,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const START: UnixTime = UnixTime::from_secs(2_000_000_000);
const NAMES: [&str; 4] = ["tls.crt", "tls.key", "ca.crt", "crl.pem"];
const HOUR: Duration = Duration::from_secs(3600);
/// Longer than any change takes to be noticed.
const SOON: Duration = Duration::from_secs(2);

/// What lies at a path.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    File(Vec<u8>),
    Huge,
    Folder,
    Nothing,
}

impl Entry {
    fn place(&self, path: &Path) {
        match self {
            Self::File(bytes) => fs::write(path, bytes).unwrap(),
            Self::Huge => fs::File::create(path).unwrap().set_len(MAX_PEM_BYTES + 1).unwrap(),
            Self::Folder => fs::create_dir(path).unwrap(),
            Self::Nothing => {}
        }
    }
}

/// The four files: certificate, key, roots, list.
type Set = [Entry; 4];

#[derive(Debug, Clone, Copy)]
enum Writing {
    RenameOver,
    InPlace,
    Kubernetes,
}

/// A folder whose files change in one of the ways of the world.
struct Folder {
    dir: TempDir,
    writing: Writing,
    versions: AtomicU32,
}

impl Folder {
    fn new(writing: Writing, set: &Set) -> Self {
        let folder = Self { dir: TempDir::new().unwrap(), writing, versions: AtomicU32::new(0) };
        match writing {
            Writing::RenameOver | Writing::InPlace => {}
            Writing::Kubernetes => {
                for name in NAMES {
                    std::os::unix::fs::symlink(format!("..data/{name}"), folder.path(name)).unwrap();
                }
            }
        }
        folder.write(set);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn files(&self) -> ReloadFiles {
        let identity = IdentityFiles { cert: self.path(NAMES[0]), key: self.path(NAMES[1]) };
        ReloadFiles {
            server: Some(identity.clone()),
            client: Some(identity),
            trust: Some(TrustFile(self.path(NAMES[2]))),
            crls: vec![self.path(NAMES[3])],
        }
    }

    fn write(&self, set: &Set) {
        let version = self.versions.fetch_add(1, Ordering::Relaxed);
        match self.writing {
            Writing::RenameOver => {
                for (name, entry) in NAMES.iter().zip(set) {
                    let (beside, path) = (self.path("beside"), self.path(name));
                    clear(&path, matches!(entry, Entry::File(_) | Entry::Huge));
                    entry.place(&beside);
                    if beside.exists() {
                        fs::rename(&beside, &path).unwrap();
                    }
                }
            }
            Writing::InPlace => {
                for (name, entry) in NAMES.iter().zip(set) {
                    clear(&self.path(name), matches!(entry, Entry::File(_) | Entry::Huge));
                    entry.place(&self.path(name));
                }
            }
            Writing::Kubernetes => {
                let dir = self.path(&format!("..{version}"));
                fs::create_dir(&dir).unwrap();
                NAMES.iter().zip(set).for_each(|(name, entry)| entry.place(&dir.join(name)));
                std::os::unix::fs::symlink(format!("..{version}"), self.path("..data_tmp")).unwrap();
                fs::rename(self.path("..data_tmp"), self.path("..data")).unwrap();
                if version > 0 {
                    fs::remove_dir_all(self.path(&format!("..{}", version - 1))).unwrap();
                }
            }
        }
    }
}

/// Makes room for an entry; a file stays where a file will be.
fn clear(path: &Path, for_file: bool) {
    if path.is_dir() {
        fs::remove_dir(path).unwrap();
    } else if path.exists() && !for_file {
        fs::remove_file(path).unwrap();
    }
}

/// Makes sets of files.
struct Maker {
    dir: TempDir,
    ca: DevCa,
}

impl Maker {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let ca = DevCa::create(dir.path(), "Test CA", START.minus(DAY), START.plus(DAY * 400)).unwrap();
        Self { dir, ca }
    }

    fn set(&self, leaf: &Leaf, number: u64) -> Set {
        let files = self.ca.issue("leaf", leaf).unwrap();
        let list = self.dir.path().join("list.pem");
        self.ca.write_crl(&list, &DevCrl { number, ..DevCrl::empty(START) }).unwrap();
        [&files.cert, &files.key, self.ca.ca_file(), &list].map(|path| Entry::File(fs::read(path).unwrap()))
    }

    fn good(&self, number: u64) -> Set {
        self.set(&leaf(number), number)
    }
}

fn leaf(number: u64) -> Leaf {
    Leaf::server(&format!("leaf {number}"), START).purpose(artstore_tls::dev::Purpose::Both)
}

/// A reloader that runs, and what it did.
struct Scene {
    registry: Registry,
    clock: TestClock,
    taken: Arc<Mutex<Vec<String>>>,
    refuse: Arc<AtomicBool>,
    acceptor: Option<Acceptor<TestClock>>,
    connector: Option<Connector<TestClock>>,
    lines: Lines,
    trigger: ReloadTrigger,
    reloads: Reloads,
    loaded: Loaded,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Scene {
    fn start(files: &ReloadFiles) -> Self {
        let (registry, clock) = (Registry::new(), TestClock::starting_at(START));
        let certificates = CertificateMetrics::new(&registry, clock.clone());
        let metrics = ReloadMetrics::new(&registry, clock.clone());
        let (lines, guard) = capture();
        let (reloader, loaded) = Reloader::load(files, metrics, certificates, clock.clone()).unwrap();
        let (taken, refuse) = (Arc::<Mutex<Vec<String>>>::default(), Arc::new(AtomicBool::new(false)));
        let (note, refused) = (Arc::clone(&taken), Arc::clone(&refuse));
        let (acceptor, connector) = ends(&loaded, &clock);
        let users = (acceptor.clone(), connector.clone());
        let take = move |change: Change| {
            if refused.load(Ordering::Relaxed) {
                return Err(SetupError::Configuration("no".to_owned()));
            }
            note.lock().unwrap().push(change_name(&change));
            match (change, &users) {
                (Change::ServerIdentity(identity), (Some(acceptor), _)) => acceptor.set_identity(identity),
                (Change::ClientIdentity(identity), (_, Some(connector))) => connector.set_identity(Some(identity)),
                (Change::Trust(trust), (Some(acceptor), Some(connector))) => {
                    let cut = acceptor.set_client_auth(ClientAuth::Required(trust.clone()))?;
                    return Ok(cut + connector.set_trust(trust)?);
                }
                _ => {}
            }
            Ok(0)
        };
        let (trigger, reloads, shutdown) = (reloader.trigger(), reloader.reloads(), CancellationToken::new());
        assert_eq!(format!("{reloader:?}"), "Reloader { interval: 500ms, .. }");
        let task = tokio::spawn(reloader.run(take, shutdown.clone()));
        Self {
            registry,
            clock,
            taken,
            refuse,
            acceptor,
            connector,
            lines,
            trigger,
            reloads,
            loaded,
            shutdown,
            task,
            _guard: guard,
        }
    }

    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut self.taken.lock().unwrap())
    }

    fn count(&self, reason: &str) -> f64 {
        let result = if reason.is_empty() { "success" } else { "failure" };
        self.registry.sum_of("tls_reload_total", &[("result", result), ("reason", reason)])
    }

    fn total(&self) -> f64 {
        self.registry.sum_of("tls_reload_total", &[])
    }

    fn gauge(&self, name: &str) -> f64 {
        self.registry.sum_of(name, &[])
    }

    /// Both ends of a connection on loopback, in real time: the subjects that they show each other.
    async fn subjects(&self) -> [String; 2] {
        tokio::time::resume();
        let (near, far) = tcp_pair().await;
        let (acceptor, connector) = (self.acceptor.as_ref().unwrap(), self.connector.as_ref().unwrap());
        let (client, server) = tokio::join!(connector.connect(name("localhost"), near), acceptor.accept(far));
        let (client, server) = (client.unwrap(), server.unwrap());
        tokio::time::pause();
        [client.connection().peer_certificate(), server.peer_certificate()].map(|peer| peer.unwrap().subject.clone())
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

/// A listener and what connects to it, with what was loaded.
fn ends(loaded: &Loaded, clock: &TestClock) -> (Option<Acceptor<TestClock>>, Option<Connector<TestClock>>) {
    let (Some(server), Some(trust)) = (loaded.server.clone(), loaded.trust.clone()) else { return (None, None) };
    let (registry, policy) = (Registry::new(), Policy::default());
    let mut settings = AcceptorSettings::new(server);
    settings.client_auth = ClientAuth::Required(trust.clone());
    let acceptor = Acceptor::new(settings, ListenerMetrics::new(&registry, &policy), clock.clone()).unwrap();
    let certificates = CertificateMetrics::new(&registry, clock.clone());
    let settings = ConnectorSettings { identity: loaded.client.clone(), ..ConnectorSettings::new(trust) };
    let metrics = ConnectorMetrics::new(&registry, &policy, certificates);
    (Some(acceptor), Some(Connector::new(settings, metrics, clock.clone()).unwrap()))
}

/// A change in short: what of whom.
fn change_name(change: &Change) -> String {
    match change {
        Change::ServerIdentity(identity) => format!("server {}", identity.certificates()[0].subject),
        Change::ClientIdentity(identity) => format!("client {}", identity.certificates()[0].subject),
        Change::Trust(trust) => {
            let numbers: Vec<_> = trust.revocation().into_iter().flat_map(artstore_tls::Revocation::lists).collect();
            let numbers: Vec<&str> = numbers.iter().filter_map(|list| list.number.as_deref()).collect();
            format!("trust of {} with list {}", trust.certificates().len(), numbers.join(","))
        }
    }
}

fn half(entry: &Entry) -> Entry {
    match entry {
        Entry::File(bytes) => Entry::File(bytes[..bytes.len() / 2].to_vec()),
        other => other.clone(),
    }
}

/// The states that cannot be used, with their reason: each in one or two of the files.
fn broken_states(maker: &Maker) -> Vec<(&'static str, &'static str, Set)> {
    let [cert, key, ca, list] = maker.good(11);
    let [_, other_key, _, older] = maker.good(9);
    let dated = |from, to| maker.set(&leaf(11).valid(from, to), 11);
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".as_bytes().to_vec();
    let stale = maker.dir.path().join("stale.pem");
    let past = DevCrl { next_update: START.minus(DAY / 48), number: 12, ..DevCrl::empty(START) };
    maker.ca.write_crl(&stale, &past).unwrap();
    let stale = Entry::File(fs::read(stale).unwrap());
    let with = |index: usize, entry: Entry| {
        // Only this file changes: one failure must be one however many are broken together.
        let mut set = maker.good_files();
        set[index] = entry;
        set
    };
    let (expired, early) = (dated(START.minus(DAY * 2), START.minus(DAY)), dated(START.plus(DAY), START.plus(DAY * 9)));
    let both = |set: &Set| {
        let mut whole = maker.good_files();
        whole[..2].clone_from_slice(&set[..2]);
        whole
    };
    vec![
        ("half a certificate", "broken", with(0, half(&cert))),
        ("half a key", "broken", with(1, half(&key))),
        ("half a bundle", "broken", with(2, half(&ca))),
        ("half a list", "broken", with(3, half(&list))),
        ("no certificate inside", "broken", with(2, Entry::File(garbage))),
        ("another's key", "key_mismatch", with(1, other_key)),
        ("an empty certificate", "empty", with(0, Entry::File(Vec::new()))),
        ("a missing key", "missing", with(1, Entry::Nothing)),
        ("an unreadable bundle", "unreadable", with(2, Entry::Folder)),
        ("plain text", "not_pem", with(2, Entry::File(b"hello".to_vec()))),
        ("a huge list", "too_large", with(3, Entry::Huge)),
        ("an expired certificate", "expired", both(&expired)),
        ("a list past its end", "expired", with(3, stale)),
        ("a certificate of the future", "not_yet_valid", both(&early)),
        ("an older list", "older_list", with(3, older)),
    ]
}

impl Maker {
    /// The set that is in use at first; always the same bytes.
    fn good_files(&self) -> Set {
        let kept = ["first.pem", "first.key", "ca.pem", "first.crl"].map(|name| self.dir.path().join(name));
        if !kept[0].exists() {
            self.ca.issue("first", &leaf(10)).unwrap();
            self.ca
                .write_crl(self.dir.path().join("first.crl"), &DevCrl { number: 10, ..DevCrl::empty(START) })
                .unwrap();
        }
        kept.map(|path| Entry::File(fs::read(path).unwrap()))
    }
}

async fn cell(writing: Writing, maker: &Maker, state: &str, reason: &str, broken: &Set) {
    let folder = Folder::new(writing, &maker.good_files());
    let scene = Scene::start(&folder.files());
    tokio::time::sleep(SOON * 2).await;
    assert_eq!((scene.total(), scene.taken()), (0.0, vec![]), "{writing:?} {state}");
    assert_eq!(scene.lines.take(), Vec::<String>::new(), "{writing:?} {state}");

    folder.write(broken);
    tokio::time::sleep(SOON).await;
    let at_once = (scene.count(reason), scene.total(), scene.gauge("tls_reload_pending_failure"));
    assert_eq!(at_once, (1.0, 1.0, 1.0), "{writing:?} {state}");
    tokio::time::sleep(SOON * 20).await;
    assert_eq!((scene.total(), scene.taken()), (1.0, vec![]), "{writing:?} {state}");
    assert_eq!(scene.subjects().await, ["CN=leaf 10"; 2], "{writing:?} {state}");
    let lines = scene.lines.take();
    let lines: Vec<_> = lines.into_iter().filter(|line| line.contains("artstore_tls::reload")).collect();
    assert_eq!(lines.len(), 1, "{writing:?} {state}: {lines:?}");
    let start = "ERROR artstore_tls::reload: changed TLS files cannot be used, those in use serve on: ";
    assert!(lines[0].starts_with(start), "{writing:?} {state}: {lines:?}");
    assert!(lines[0].contains(&format!("reason=\"{reason}\"")), "{writing:?} {state}: {lines:?}");

    folder.write(&maker.good(12));
    tokio::time::sleep(SOON).await;
    let expected = ["trust of 1 with list 12", "server CN=leaf 12", "client CN=leaf 12"];
    assert_eq!(scene.taken(), expected, "{writing:?} {state}");
    let after = (scene.count(""), scene.count(reason), scene.total(), scene.gauge("tls_reload_pending_failure"));
    assert_eq!(scene.subjects().await, ["CN=leaf 12"; 2], "{writing:?} {state}");
    // What changed was taken in use in one look.
    assert_eq!(after, (1.0, 1.0, 2.0, 0.0), "{writing:?} {state}");
    scene.stop().await;
}

#[tokio::test(start_paused = true)]
async fn whatever_cannot_be_used_and_however_it_is_written_the_old_serves_on() {
    let maker = Maker::new();
    let states = {
        let _ = maker.good_files();
        broken_states(&maker)
    };
    for writing in [Writing::RenameOver, Writing::InPlace, Writing::Kubernetes] {
        for (state, reason, set) in &states {
            cell(writing, &maker, state, reason, set).await;
        }
    }
}

/// Certificate first, key 700 ms later: no failure, one reload.
#[tokio::test(start_paused = true)]
async fn two_files_written_one_after_the_other_are_one_reload() {
    let maker = Maker::new();
    let folder = Folder::new(Writing::InPlace, &maker.good_files());
    let scene = Scene::start(&folder.files());
    let [cert, key, _, _] = maker.good(11);
    tokio::time::sleep(Duration::from_millis(450)).await;
    cert.place(&folder.path(NAMES[0]));
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!((scene.total(), scene.gauge("tls_reload_pending_failure")), (0.0, 0.0));
    key.place(&folder.path(NAMES[1]));
    tokio::time::sleep(SOON).await;
    assert_eq!((scene.count(""), scene.total()), (1.0, 1.0));
    assert_eq!(scene.taken(), ["server CN=leaf 11", "client CN=leaf 11"]);
    scene.stop().await;
}

/// A bundle that is being written holds one root for a moment, which is well-formed: it is never taken in use.
#[tokio::test(start_paused = true)]
async fn a_bundle_on_its_way_is_not_taken_for_a_smaller_one() {
    let (maker, second) = (Maker::new(), TempDir::new().unwrap());
    let second = DevCa::create(second.path(), "Second CA", START.minus(DAY), START.plus(DAY * 400)).unwrap();
    let root = fs::read(maker.ca.ca_file()).unwrap();
    let both = [root.clone(), fs::read(second.ca_file()).unwrap()].concat();
    let mut set = maker.good_files();
    set[2] = Entry::File(both.clone());
    let folder = Folder::new(Writing::InPlace, &set);
    let scene = Scene::start(&folder.files());
    tokio::time::sleep(Duration::from_millis(450)).await;
    fs::write(folder.path(NAMES[2]), &root).unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    fs::write(folder.path(NAMES[2]), [both, root].concat()).unwrap();
    tokio::time::sleep(SOON).await;
    assert_eq!(scene.taken(), ["trust of 3 with list 10"]);
    scene.stop().await;
}

/// A second root and the list that goes with it, 150 ms apart, are one change; and a file that never rests holds up nobody.
#[tokio::test(start_paused = true)]
async fn what_changes_together_is_taken_together() {
    let (maker, second) = (Maker::new(), TempDir::new().unwrap());
    let second = DevCa::create(second.path(), "Second CA", START.minus(DAY), START.plus(DAY * 400)).unwrap();
    let folder = Folder::new(Writing::InPlace, &maker.good_files());
    let scene = Scene::start(&folder.files());
    let [_, _, root, list] = maker.good(11);
    let roots = [fs::read(maker.ca.ca_file()).unwrap(), fs::read(second.ca_file()).unwrap()].concat();
    tokio::time::sleep(Duration::from_millis(450)).await;
    fs::write(folder.path(NAMES[2]), roots).unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    list.place(&folder.path(NAMES[3]));
    tokio::time::sleep(SOON).await;
    assert_eq!(scene.taken(), ["trust of 2 with list 11"]);

    root.place(&folder.path(NAMES[2]));
    for text in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
        fs::write(folder.path(NAMES[3]), text).unwrap();
        tokio::time::sleep(Duration::from_millis(190)).await;
    }
    assert_eq!(scene.taken(), ["trust of 1 with list 11"]);
    scene.stop().await;
}

/// What was broken and is put back as it was is no reload.
#[tokio::test(start_paused = true)]
async fn putting_the_old_files_back_is_no_reload_and_is_said() {
    let maker = Maker::new();
    let folder = Folder::new(Writing::RenameOver, &maker.good_files());
    let scene = Scene::start(&folder.files());
    let mut broken = maker.good_files();
    broken[3] = Entry::Nothing;
    folder.write(&broken);
    tokio::time::sleep(SOON).await;
    folder.write(&maker.good_files());
    tokio::time::sleep(SOON).await;
    assert_eq!((scene.count("missing"), scene.total(), scene.taken()), (1.0, 1.0, vec![]));
    assert_eq!(scene.gauge("tls_reload_pending_failure"), 0.0);
    let lines = scene.lines.take();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].starts_with("INFO artstore_tls::reload: the files on disk are those in use again"), "{lines:?}");
    scene.stop().await;
}

/// Two broken states one after the other are two failures; one that never ends shows in the gauge although none lasts.
#[tokio::test(start_paused = true)]
async fn each_state_counts_once_and_one_that_never_rests_shows_in_the_gauge() {
    let maker = Maker::new();
    let folder = Folder::new(Writing::InPlace, &maker.good_files());
    let scene = Scene::start(&folder.files());
    for (number, text) in ["one", "two"].into_iter().enumerate() {
        fs::write(folder.path(NAMES[2]), text).unwrap();
        tokio::time::sleep(SOON * 3).await;
        assert_eq!((scene.count("not_pem"), scene.total()), (1.0 + number as f64, 1.0 + number as f64));
    }
    folder.write(&maker.good_files());
    tokio::time::sleep(SOON).await;
    for text in ["a", "b", "c", "d", "e", "f"] {
        fs::write(folder.path(NAMES[2]), text).unwrap();
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    assert_eq!((scene.total(), scene.gauge("tls_reload_pending_failure")), (2.0, 1.0));
    scene.stop().await;
}

/// A certificate of the future is taken in use when its time has come, without another change of the file.
#[tokio::test(start_paused = true)]
async fn time_makes_a_certificate_usable() {
    let maker = Maker::new();
    let folder = Folder::new(Writing::RenameOver, &maker.good_files());
    let scene = Scene::start(&folder.files());
    let mut set = maker.good_files();
    let early = maker.set(&leaf(11).valid(START.plus(Duration::from_secs(60)), START.plus(DAY * 9)), 10);
    set[..2].clone_from_slice(&early[..2]);
    folder.write(&set);
    tokio::time::sleep(Duration::from_secs(58)).await;
    assert_eq!((scene.count("not_yet_valid"), scene.total(), scene.taken()), (1.0, 1.0, vec![]));
    tokio::time::sleep(Duration::from_secs(13)).await;
    assert_eq!(
        (scene.count(""), scene.taken()),
        (1.0, vec!["server CN=leaf 11".to_owned(), "client CN=leaf 11".to_owned()])
    );
    scene.stop().await;
}

/// What is in use has itself expired: then any other will do.
#[tokio::test(start_paused = true)]
async fn an_expired_certificate_replaces_an_expired_one() {
    let maker = Maker::new();
    let dated = |number, days| maker.set(&leaf(number).valid(START.minus(DAY * 9), START.minus(DAY * days)), 10);
    let folder = Folder::new(Writing::RenameOver, &dated(10, 2));
    let scene = Scene::start(&folder.files());
    let mut later = dated(11, 1);
    // Signed anew, the list would be another one.
    later[3] = Entry::File(fs::read(folder.path(NAMES[3])).unwrap());
    folder.write(&later);
    tokio::time::sleep(SOON).await;
    assert_eq!((scene.count(""), scene.taken().len()), (1.0, 2));
    scene.stop().await;
}

/// What is not taken although it is well-formed is tried again, and counted once.
#[tokio::test(start_paused = true)]
async fn what_is_refused_is_one_failure_and_tried_again() {
    let maker = Maker::new();
    let folder = Folder::new(Writing::RenameOver, &maker.good_files());
    let scene = Scene::start(&folder.files());
    scene.refuse.store(true, Ordering::Relaxed);
    folder.write(&maker.good(11));
    tokio::time::sleep(Duration::from_secs(30)).await;
    // Trust with its list is one change, the certificate another.
    assert_eq!((scene.count("refused"), scene.total()), (2.0, 2.0));
    assert_eq!((scene.gauge("tls_reload_pending_failure"), scene.lines.take().len()), (1.0, 2));
    scene.refuse.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(scene.taken(), ["trust of 1 with list 11", "server CN=leaf 11", "client CN=leaf 11"]);
    assert_eq!(scene.count(""), 1.0);
    scene.stop().await;
}

/// SIGHUP: the content counts, whatever the stamps say, and at once.
#[tokio::test(start_paused = true)]
async fn a_trigger_reads_the_files_at_once() {
    let maker = Maker::new();
    let folder = Folder::new(Writing::RenameOver, &maker.good_files());
    let mut files = folder.files();
    (files.client, files.trust) = (None, None);
    let scene = Scene::start(&files);
    assert!(scene.loaded.client.is_none() && scene.loaded.trust.is_none() && scene.loaded.server.is_some());
    tokio::time::sleep(Duration::from_millis(510)).await;
    folder.write(&maker.good(11));
    scene.trigger.check_now();
    tokio::time::sleep(Duration::from_millis(250)).await;
    scene.reloads.changed().await;
    // Without trust there is nothing that lists could be asked for.
    assert_eq!((scene.count(""), scene.taken()), (1.0, vec!["server CN=leaf 11".to_owned()]));
    scene.stop().await;
}

/// Days, dates and lists are of what is in use; no series stays behind.
#[tokio::test(start_paused = true)]
async fn series_follow_what_is_in_use() {
    let maker = Maker::new();
    let folder = Folder::new(Writing::Kubernetes, &maker.good_files());
    let scene = Scene::start(&folder.files());
    let series = |scene: &Scene| -> Vec<String> {
        let moved = moved(&scene.registry).into_iter();
        moved.filter(|(name, _)| !name.contains("timestamp")).map(|(name, value)| format!("{name} {value}")).collect()
    };
    assert_eq!(
        series(&scene),
        [
            r#"tls_certificate_expiry_days{cert_type="ca",subject="CN=Test CA"} 400.0"#,
            r#"tls_certificate_expiry_days{cert_type="client",subject="CN=leaf 10"} 90.0"#,
            r#"tls_certificate_expiry_days{cert_type="server",subject="CN=leaf 10"} 90.0"#,
            r#"tls_crl_age_seconds{issuer="CN=Test CA"} 3600.0"#,
            r#"tls_crl_number{issuer="CN=Test CA"} 10.0"#,
            r#"tls_crl_revoked_certificates{issuer="CN=Test CA"} 0.0"#,
        ]
    );
    assert_eq!(scene.gauge("tls_reload_last_success_timestamp_seconds"), START.as_secs_f64());
    assert_eq!(scene.gauge("tls_crl_next_update_timestamp_seconds"), START.plus(DAY * 30).as_secs_f64());
    tokio::time::sleep(HOUR).await;

    let [cert, key, ca, _] = maker.set(&leaf(11).valid(START, START.plus(DAY * 100)), 11);
    let leaf = scene.loaded.server.as_ref().unwrap().certificates()[0].clone();
    let list = maker.dir.path().join("list.pem");
    maker.ca.write_crl(&list, &DevCrl { number: 11, ..DevCrl::empty(START.plus(HOUR)) }.revoking(&leaf)).unwrap();
    folder.write(&[cert, key, ca, Entry::File(fs::read(list).unwrap())]);
    scene.trigger.check_now();
    tokio::time::sleep(SOON).await;
    let expected = [
        r#"tls_certificate_expiry_days{cert_type="ca",subject="CN=Test CA"} "#,
        r#"tls_certificate_expiry_days{cert_type="client",subject="CN=leaf 11"} 99.95"#,
        r#"tls_certificate_expiry_days{cert_type="server",subject="CN=leaf 11"} 99.95"#,
        r#"tls_crl_age_seconds{issuer="CN=Test CA"} 3602.0"#,
        r#"tls_crl_number{issuer="CN=Test CA"} 11.0"#,
        r#"tls_crl_revoked_certificates{issuer="CN=Test CA"} 1.0"#,
        r#"tls_reload_total{result="success",reason=""} 1"#,
    ];
    let found = series(&scene);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
    let ago = scene.clock.wall().as_secs_f64() - scene.gauge("tls_reload_last_success_timestamp_seconds");
    assert!((0.0..2.0).contains(&ago), "{ago}");
    scene.stop().await;
}

/// Every reason stands at 0 from the start.
#[tokio::test(start_paused = true)]
async fn every_reason_stands_at_zero() {
    let registry = Registry::new();
    let _metrics = ReloadMetrics::new(&registry, TestClock::starting_at(START));
    let text = registry.encode(artstore_metrics::Format::Text);
    let zeros: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("tls_reload_total")).collect();
    assert_eq!(zeros.len(), 12, "{zeros:?}");
    assert!(zeros.iter().all(|line| line.ends_with("} 0")), "{zeros:?}");
    assert!(zeros[0].starts_with(r#"{result="success",reason=""}"#), "{zeros:?}");
    assert!(text.contains("\ntls_reload_pending_failure 0\n"), "{text}");
    assert!(!text.contains("\ntls_reload_last_success_timestamp_seconds "), "{text}");
}

/// At the start nothing serves yet: what cannot be used stops it.
#[tokio::test(start_paused = true)]
async fn at_the_start_what_cannot_be_used_is_an_error() {
    let maker = Maker::new();
    let _ = maker.good_files();
    for (state, reason, set) in broken_states(&maker) {
        let folder = Folder::new(Writing::InPlace, &set);
        let (registry, clock) = (Registry::new(), TestClock::starting_at(START));
        let certificates = CertificateMetrics::new(&registry, clock.clone());
        let loaded = Reloader::load(&folder.files(), ReloadMetrics::new(&registry, clock.clone()), certificates, clock);
        // Dates and ages are compared with what is in use, and nothing is.
        let usable = ["expired", "not_yet_valid", "older_list"].contains(&reason);
        assert_eq!(loaded.is_ok(), usable, "{state}");
    }
}
