//! Revocation lists: which of them count, what is wrong with files, and whom handshakes refuse because of them.

use crate::fixture::*;
use artstore_metrics::UnixTime;
use artstore_tls::dev::{DevCa, DevCrl, Leaf, Purpose};
use artstore_tls::{
    AcceptorSettings, ClientAuth, ConnectorSettings, CrlFiles, FoundBy, Identity, Policy, Revocation, SetupError,
    TlsErrorType, Trust, TrustFile,
};
use std::path::PathBuf;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// A list of this authority in a file of this name.
fn list(world: &World, ca: &DevCa, file: &str, crl: &DevCrl) -> PathBuf {
    let path = world.path().join(file);
    ca.write_crl(&path, crl).unwrap();
    path
}

fn load(files: &[PathBuf]) -> Revocation {
    CrlFiles(files.to_vec()).load().unwrap()
}

fn trust(world: &World, files: &[PathBuf]) -> Trust {
    world.ca.trust().unwrap().with_revocation(load(files))
}

fn numbers(revocation: &Revocation) -> Vec<Option<String>> {
    revocation.lists().iter().map(|list| list.number.clone()).collect()
}

#[test]
fn the_newest_list_of_an_issuer_is_the_only_one_that_counts() {
    let world = World::new();
    let crl = DevCrl::empty(now());
    let stale = crl.clone().valid(now().minus(DAY * 3), now().minus(DAY));
    // A higher number is newer, whatever the dates say; 10 is higher than 9.
    let nine = list(&world, &world.ca, "nine.crl", &crl.number(9));
    let ten = list(&world, &world.ca, "ten.crl", &stale.clone().number(10));
    for order in [[nine.clone(), ten.clone()], [ten, nine.clone()]] {
        assert_eq!(numbers(&load(&order)), [Some("10".to_owned())]);
    }
    // With equal numbers the later one is newer.
    let older = list(&world, &world.ca, "older.crl", &stale.number(9));
    for order in [[nine.clone(), older.clone()], [older, nine.clone()]] {
        let loaded = load(&order);
        assert_eq!(numbers(&loaded), [Some("9".to_owned())]);
        assert_eq!(loaded.lists()[0].file, nine);
    }
}

#[test]
fn each_issuer_has_its_list_and_files_hold_many_in_pem_or_one_in_der() {
    let world = World::new();
    let moment = UnixTime::from_secs(1_700_000_000);
    let crl = DevCrl::empty(moment).number(7).revoking(&world.client().certificates()[0]);
    let own = list(&world, &world.ca, "own.der", &crl);
    let foreign = list(&world, &world.stranger, "foreign.pem", &DevCrl::empty(moment).number(3));
    let older = list(&world, &world.ca, "older.pem", &DevCrl::empty(moment).number(6));
    let bundle = world.path().join("bundle.pem");
    let both = [std::fs::read(&foreign).unwrap(), std::fs::read(&older).unwrap()].concat();
    std::fs::write(&bundle, both).unwrap();
    let loaded = load(&[own.clone(), bundle.clone()]);
    let [ours, theirs] = loaded.lists() else { panic!("{loaded:?}") };
    assert_eq!((ours.issuer.as_str(), ours.file.as_path()), ("CN=Test CA", own.as_path()));
    assert_eq!((ours.number.as_deref(), ours.revoked), (Some("7"), 1));
    assert_eq!(ours.this_update, moment.minus(HOUR));
    assert_eq!(ours.next_update, Some(moment.plus(DAY * 30)));
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &std::fs::read(&own).unwrap());
    assert_eq!(ours.sha256_fingerprint, digest.as_ref());
    assert_eq!(ours.fingerprint().len(), 64);
    assert_eq!((theirs.issuer.as_str(), theirs.file.as_path()), ("CN=Strange CA", bundle.as_path()));
    assert_eq!((theirs.number.as_deref(), theirs.revoked), (Some("3"), 0));
}

#[test]
fn files_that_hold_no_usable_list_are_named() {
    let world = World::new();
    let good = std::fs::read(list(&world, &world.ca, "good.pem", &DevCrl::empty(now()))).unwrap();
    let der = std::fs::read(list(&world, &world.ca, "good.der", &DevCrl::empty(now()))).unwrap();
    let path = world.path().join("bad");
    let outcome = |content: &[u8]| {
        std::fs::write(&path, content).unwrap();
        CrlFiles(vec![path.clone()]).load().unwrap_err()
    };
    let no_list = SetupError::NoPem { path: path.clone(), wanted: "revocation list" };
    assert_eq!(outcome(b""), no_list);
    assert_eq!(outcome(b"hello"), no_list);
    assert_eq!(outcome(&std::fs::read(world.ca.ca_file()).unwrap()), no_list);
    let is_broken = |error: SetupError| match error {
        SetupError::Broken { path: named, what, .. } => named == path && what == "revocation list",
        _ => false,
    };
    assert!(is_broken(outcome(&good[..good.len() / 2])));
    assert!(is_broken(outcome(&der[..der.len() - 1])));
    assert!(is_broken(outcome(&[der.as_slice(), b"\0"].concat())));
    let nonsense = b"-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n";
    assert!(is_broken(outcome(nonsense)));
    // One bad section spoils the file: what it would have said is not known.
    assert!(is_broken(outcome(&[good.as_slice(), nonsense].concat())));
    let missing = world.path().join("missing.pem");
    let error = CrlFiles(vec![missing.clone()]).load().unwrap_err();
    assert!(matches!(&error, SetupError::Unreadable { path, .. } if *path == missing), "{error}");
}

#[test]
fn a_trust_shows_its_lists_and_none_means_none() {
    let world = World::new();
    let plain = world.ca.trust().unwrap();
    assert!(plain.revocation().is_none());
    assert!(plain.clone().with_revocation(load(&[])).revocation().is_none());
    let file = list(&world, &world.ca, "a.pem", &DevCrl::empty(now()).number(1));
    let with = plain.with_revocation(load(&[file]));
    assert_eq!(numbers(with.revocation().unwrap()), [Some("1".to_owned())]);
    assert!(format!("{with:?}").contains(r#"issuer: "CN=Test CA", number: Some("1")"#), "{with:?}");
}

/// Which lists a verifier has, and what it then says about a peer.
struct Case {
    what: &'static str,
    lists: Vec<PathBuf>,
    says: Option<(TlsErrorType, &'static str)>,
}

fn cases(world: &World, peer: &Identity) -> Vec<Case> {
    let leaf = &peer.certificates()[0];
    let crl = || DevCrl::empty(now());
    let clean = list(world, &world.ca, "clean.pem", &crl().number(1));
    let revoking = list(world, &world.ca, "revoking.pem", &crl().number(2).revoking(leaf));
    let past = crl().valid(now().minus(DAY * 3), now().minus(DAY));
    let stale = list(world, &world.ca, "stale.pem", &past.clone().number(0));
    let stale_revoking = list(world, &world.ca, "stale-revoking.pem", &past.number(0).revoking(leaf));
    let foreign = list(world, &world.stranger, "foreign.pem", &crl());
    let case = |what, lists: &[&PathBuf], says| Case { what, lists: lists.iter().copied().cloned().collect(), says };
    let revoked = Some((TlsErrorType::CertRevoked, "revoked"));
    let unknown = Some((TlsErrorType::RevocationUnknown, "invalid"));
    vec![
        case("no list at all", &[], None),
        case("a clean list", &[&clean], None),
        case("revoked", &[&revoking], revoked),
        case("stale", &[&stale], unknown),
        case("only another issuer's list", &[&foreign], unknown),
        case("stale and new", &[&stale, &clean], None),
        case("new and stale", &[&clean, &stale], None),
        case("revoked meanwhile, new and stale", &[&revoking, &stale], revoked),
        case("revoked meanwhile, stale and new", &[&stale, &revoking], revoked),
        case("taken back, stale and new", &[&stale_revoking, &clean], None),
        case("another issuer's list before", &[&foreign, &revoking], revoked),
    ]
}

fn policies() -> [Policy; 2] {
    [Policy::default(), tls12()]
}

#[tokio::test]
async fn servers_are_judged_by_the_lists() {
    let world = World::new();
    let identity = world.server();
    for policy in policies() {
        for case in cases(&world, &identity) {
            let what = (case.what, &policy);
            let settings = ConnectorSettings::new(trust(&world, &case.lists));
            let client = client(ConnectorSettings { policy: policy.clone(), ..settings });
            let server = server(AcceptorSettings { policy: policy.clone(), ..AcceptorSettings::new(identity.clone()) });
            let (near, _far) = meet(&client, &server).await;
            let said = near.as_ref().err().map(|error| (error.kind(), error.found_by()));
            assert_eq!(said, case.says.map(|(kind, _)| (kind, FoundBy::Local)), "{what:?}");
            let verdict = case.says.map_or("valid", |(_, verdict)| verdict);
            let verdicts = client.registry.sum_of("tls_certificate_validation_total", &[("result", verdict)]);
            assert_eq!(verdicts, 1.0, "{what:?}");
            assert_sums_agree(&client.registry, "tls_");
        }
    }
}

#[tokio::test]
async fn clients_are_judged_by_the_lists() {
    let world = World::new();
    let identity = world.client();
    for policy in policies() {
        for case in cases(&world, &identity) {
            let what = (case.what, &policy);
            let settings = ConnectorSettings { identity: Some(identity.clone()), ..world.settings() };
            let client = client(ConnectorSettings { policy: policy.clone(), ..settings });
            let server = server(AcceptorSettings {
                policy: policy.clone(),
                client_auth: ClientAuth::Required(trust(&world, &case.lists)),
                ..AcceptorSettings::new(world.server())
            });
            let (_near, far) = meet(&client, &server).await;
            let said = far.as_ref().err().map(|error| (error.kind(), error.found_by()));
            assert_eq!(said, case.says.map(|(kind, _)| (kind, FoundBy::Local)), "{what:?}");
            let verdict = case.says.map_or("valid", |(_, verdict)| verdict);
            let verdicts = server.registry.sum_of("tls_server_certificate_validation_total", &[("result", verdict)]);
            assert_eq!(verdicts, 1.0, "{what:?}");
            assert_sums_agree(&server.registry, "tls_server_");
        }
    }
}

/// The whole chain counts: each issuer in it needs a list.
#[tokio::test]
async fn every_authority_of_a_chain_needs_a_list() {
    let world = World::new();
    let until = now().plus(DAY * 100);
    let middle = world.ca.intermediate("middle", "Middle CA", now().minus(DAY), until).unwrap();
    let lower = middle.intermediate("lower", "Lower CA", now().minus(DAY), until).unwrap();
    let files = lower.issue("deep", &Leaf::server("deep", now()).purpose(Purpose::Both)).unwrap();
    let identity = files.load().unwrap();
    let subjects: Vec<_> = identity.certificates().iter().map(|certificate| certificate.subject.as_str()).collect();
    assert_eq!(subjects, ["CN=deep", "CN=Lower CA", "CN=Middle CA"]);
    let clean = DevCrl::empty(now());
    let of_lower = list(&world, &lower, "lower.pem", &clean);
    let of_middle = list(&world, &middle, "middle.pem", &clean);
    let of_root = list(&world, &world.ca, "root.pem", &clean);
    let against_middle = list(&world, &world.ca, "against.pem", &clean.clone().revoking(&identity.certificates()[2]));
    for (lists, says) in [
        (vec![of_lower.clone(), of_middle.clone(), of_root.clone()], None),
        (vec![of_lower.clone(), of_middle.clone()], Some(TlsErrorType::RevocationUnknown)),
        (vec![of_lower.clone(), of_root.clone()], Some(TlsErrorType::RevocationUnknown)),
        (vec![of_middle.clone(), of_root], Some(TlsErrorType::RevocationUnknown)),
        (vec![of_lower, of_middle, against_middle], Some(TlsErrorType::CertRevoked)),
    ] {
        let trust = TrustFile(world.ca.ca_file().to_owned()).load().unwrap().with_revocation(load(&lists));
        let client = client(ConnectorSettings { identity: Some(identity.clone()), ..world.settings() });
        let server = server(AcceptorSettings {
            client_auth: ClientAuth::Required(trust),
            ..AcceptorSettings::new(identity.clone())
        });
        let (_near, far) = meet(&client, &server).await;
        assert_eq!(far.err().map(|error| error.kind()), says, "{lists:?}");
    }
}
