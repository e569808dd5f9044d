//! `kill -9` at random moments of a stream of uploads: every acknowledged file is whole, what is visible is whole, leftovers
//! are swept, and the index agrees with the elements.

use artstore_api::FileRecord;
use artstore_api::element::{IndexPage, RecordPage};
use artstore_e2e::curl::Answer;
use artstore_e2e::parts::{Part, Parts, forged};
use artstore_e2e::payload::{Chance, Payload, files_below};
use artstore_e2e::poll;
use artstore_e2e::soak;
use artstore_e2e::up::{House, Up};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Clients that upload at once.
const CLIENTS: usize = 3;
/// How long a round uploads before the kill, at most.
const ROUND_MS: u64 = 300;

fn rounds() -> usize {
    if soak() { 500 } else { 50 }
}

/// What the test knows: the files that it sends, and those that were acknowledged.
struct Ledger {
    payloads: Vec<Payload>,
    acknowledged: BTreeMap<String, FileRecord>,
    /// How often each status came; 0 is an answer that never came.
    statuses: BTreeMap<u16, u64>,
    chance: Chance,
}

impl Ledger {
    /// Files of sizes that go each way: in one request, and in sessions of one or more writes.
    fn new(scratch: &Path) -> Self {
        let sizes = [0, 1, 4_096, 100_000, 262_144, 262_145, 700_000, 3_000_000];
        let payload = |(seed, size): (u64, u64)| Payload::write(&scratch.join(format!("payload-{size}")), size, seed);
        let payloads = (1..).zip(sizes).map(payload).collect();
        Self { payloads, acknowledged: BTreeMap::new(), statuses: BTreeMap::new(), chance: Chance::announced() }
    }

    /// Uploads with all clients until `kill` returns, which happens at a random moment. Both modes take their turn.
    fn round(&mut self, house: &House, token: &str, kill: impl FnOnce()) {
        let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
        let moment = Duration::from_millis(self.chance.below(ROUND_MS));
        let seeds: Vec<u64> = (0..CLIENTS).map(|_| self.chance.bits()).collect();
        let payloads = &self.payloads;
        let client = |seed: u64| {
            let (mut chance, mut answers) = (Chance::seeded(seed), Vec::new());
            while !stop.load(Ordering::Relaxed) {
                let payload = &payloads[usize::try_from(chance.below(payloads.len() as u64)).unwrap()];
                let policy = if chance.below(2) == 0 { "temporary" } else { "permanent" };
                let query = [("filename", "a"), ("retention_policy", policy)];
                answers.push((house.upload_raw(token, &payload.path, &query), payload));
                sent.fetch_add(1, Ordering::Relaxed);
            }
            answers
        };
        let answers: Vec<(Answer, &Payload)> = std::thread::scope(|scope| {
            let clients: Vec<_> = seeds.into_iter().map(|seed| scope.spawn(move || client(seed))).collect();
            poll::random_moment(moment);
            kill();
            stop.store(true, Ordering::Relaxed);
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
        });
        for (answer, payload) in answers {
            *self.statuses.entry(answer.status).or_default() += 1;
            if answer.status == 201 && answer.exit == 0 {
                let record: FileRecord = serde_json::from_slice(&answer.body).unwrap();
                assert_eq!(record.checksum, payload.sha256, "{answer}");
                self.acknowledged.insert(record.file_id.to_string(), record);
            }
        }
    }

    /// Every acknowledged file is there with its record, and whatever is there is whole.
    fn check(&self, elements: &BTreeMap<String, (FileRecord, PathBuf)>) {
        for (id, record) in &self.acknowledged {
            let (found, _) =
                elements.get(id).unwrap_or_else(|| panic!("{id} was acknowledged and is gone: {record:?}"));
            assert_eq!(found, record);
        }
        for (id, (record, object)) in elements {
            let payload = self.payloads.iter().find(|payload| payload.sha256 == record.checksum);
            let payload = payload.unwrap_or_else(|| panic!("{id} is visible and no file that was sent: {record:?}"));
            assert_eq!((record.size, object.metadata().unwrap().len()), (payload.size, payload.size), "{id}");
        }
    }

    /// The bytes of every visible file are those of its record.
    fn check_bytes(elements: &BTreeMap<String, (FileRecord, PathBuf)>) {
        for (id, (record, object)) in elements {
            assert_eq!(artstore_e2e::payload::sha256_of(object), record.checksum, "{id}");
        }
    }
}

/// What both elements say that they hold, with where the bytes lie.
fn visible(house: &House, admin_data: &Path, folders: &[(&str, PathBuf)]) -> BTreeMap<String, (FileRecord, PathBuf)> {
    let token = forged(house, admin_data, "storage:read", "artstore-element");
    let mut all = BTreeMap::new();
    for (mode, folder) in folders {
        let objects: BTreeMap<String, PathBuf> = files_below(folder)
            .into_iter()
            .filter(|path| path.extension().is_none())
            .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), folder.join(path)))
            .collect();
        let mut after = String::new();
        loop {
            let answer =
                house.element(mode, &format!("/api/v1/files?limit=500{after}")).bearer(&token).run().expect(200);
            let page: RecordPage = serde_json::from_slice(&answer.body).unwrap();
            for record in page.records {
                let id = record.file_id.to_string();
                all.insert(id.clone(), (record, objects[&id].clone()));
            }
            let Some(next) = page.next else { break };
            after = format!("&after={next}");
        }
    }
    all
}

/// The identifiers in the index.
fn indexed(house: &House, admin_data: &Path) -> BTreeSet<String> {
    let token = forged(house, admin_data, "index:read", "artstore-admin");
    let (mut all, mut after) = (BTreeSet::new(), String::new());
    loop {
        let answer = house.admin(&format!("/api/v1/files?limit=500{after}")).bearer(&token).run();
        if answer.status != 200 {
            return all;
        }
        let page: IndexPage = serde_json::from_slice(&answer.body).unwrap();
        all.extend(page.files.into_iter().map(|file| file.record.file_id.to_string()));
        let Some(next) = page.next else { return all };
        after = format!("&after={next}");
    }
}

/// No half of anything: each object has attributes and the other way round, each part of an upload its session.
///
/// The element works on meanwhile, and a listing may miss a file that is being renamed from `.new` to `.json`; so what is not
/// in the listing is looked for by its name, in the order of the renames.
fn no_leftovers(folder: &Path) {
    let names: BTreeSet<PathBuf> = files_below(folder);
    for name in &names {
        let other = |ending: &str| {
            let other = name.with_extension(ending);
            names.contains(&other) || folder.join(&other).exists()
        };
        let whole = match name.extension().and_then(|ending| ending.to_str()) {
            None if name.starts_with("objects") => other("new") || other("json"),
            Some("new" | "json") => other(""),
            Some("part") => other("session"),
            Some("session") => other("part"),
            Some("tmp") => false,
            _ => true,
        };
        assert!(whole, "{} is a leftover in {}: {names:?}", name.display(), folder.display());
    }
}

fn agree(house: &House, admin_data: &Path, elements: &BTreeMap<String, (FileRecord, PathBuf)>) {
    let expected: BTreeSet<String> = elements.keys().cloned().collect();
    poll::until("the index agrees with the elements", Duration::from_secs(30), || {
        (indexed(house, admin_data) == expected).then_some(())
    });
}

#[test]
fn one_process_killed_at_random_moments_loses_nothing_that_it_acknowledged() {
    let mut up = Up::start();
    let mut ledger = Ledger::new(up.scratch());
    let folders = |up: &Up| element_folders(&up.data());
    for round in 0..rounds() {
        let (house, token) = (up.house.clone(), up.token());
        ledger.round(&house, &token, || up.process.kill());
        up.restart();
        for (_, folder) in folders(&up) {
            no_leftovers(&folder);
        }
        let elements = visible(&up, &up.data(), &folders(&up));
        ledger.check(&elements);
        if round % 10 == 9 || round + 1 == rounds() {
            Ledger::check_bytes(&elements);
            agree(&up, &up.data(), &elements);
        }
    }
    println!("{} kills, answers by status {:?}", rounds(), ledger.statuses);
    assert!(ledger.acknowledged.len() > rounds(), "the stream of uploads was one");
}

/// The folders of the two elements of `artstore up`: those that hold a `format`.
fn element_folders(data: &Path) -> Vec<(&'static str, PathBuf)> {
    let formats = files_below(data).into_iter().filter(|path| path.file_name().is_some_and(|name| name == "format"));
    let folders: Vec<PathBuf> = formats.map(|path| data.join(path.parent().unwrap())).collect();
    let of = |mode: &'static str| {
        let found = folders.iter().find(|folder| folder.to_string_lossy().contains(mode));
        (mode, found.unwrap_or_else(|| panic!("no folder of {mode} in {folders:?}")).clone())
    };
    vec![of("edit"), of("rw")]
}

#[test]
fn each_of_four_processes_killed_at_random_moments_loses_nothing_that_was_acknowledged() {
    let mut parts = Parts::start(&[]);
    let mut ledger = Ledger::new(parts.scratch());
    let admin = parts.data(Part::Admin);
    let folders = vec![("edit", parts.data(Part::Edit)), ("rw", parts.data(Part::Rw))];
    for round in 0..rounds() {
        for part in Part::ALL {
            let (house, token) = (parts.house.clone(), parts.token());
            ledger.round(&house, &token, || parts.process(part).kill());
            parts.restart(part);
            if part == Part::Edit || part == Part::Rw {
                no_leftovers(&parts.data(part));
            }
        }
        let elements = visible(&parts, &admin, &folders);
        ledger.check(&elements);
        if round % 10 == 9 || round + 1 == rounds() {
            Ledger::check_bytes(&elements);
            agree(&parts, &admin, &elements);
        }
    }
    println!("{} kills of each, answers by status {:?}", rounds(), ledger.statuses);
    assert!(ledger.acknowledged.len() > rounds(), "the stream of uploads was one");
}
