//! What files hold, and what is wrong with it: certificates that OpenSSL made, keys, bundles, revocation lists.

use crate::fixture::*;
use artstore_tls::dev::{DevCrl, Leaf, Purpose};
use artstore_tls::{
    CertType, IdentityFiles, InspectedCertificates, Inspection, Problem, SetupError, Urgency, inspect, problems,
};
use std::path::{Path, PathBuf};

fn committed(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(file)
}

fn certificates(path: &Path, cert_type: Option<CertType>, key: Option<&Path>) -> InspectedCertificates {
    match inspect(path, cert_type, key).unwrap() {
        Inspection::Certificates(found) => found,
        Inspection::Lists(lists) => panic!("{lists:?}"),
    }
}

/// The file was made with OpenSSL 3.0: `req -x509`, each certificate with the key and signature that its name says. As leaves
/// all are weak where `openssl x509 -text` shows 1024 bits, P-224, MD5 or SHA-1; as roots their signatures do not count.
#[test]
fn keys_and_signatures_are_told_and_the_weak_ones_found() {
    let found = certificates(&committed("profiles.pem"), Some(CertType::Ca), None);
    let shown: Vec<(String, &str, &str, bool, bool)> = found
        .certificates
        .iter()
        .map(|(info, _)| {
            let weak = problems(info, CertType::Server, true);
            let has = |problem| weak.contains(&problem);
            let profile = &info.profile;
            let name = info.subject.trim_start_matches("CN=").to_owned();
            (name, profile.key.as_str(), profile.signature.as_str(), has(Problem::WeakKey), has(Problem::WeakSignature))
        })
        .collect();
    let expected = [
        ("a1-rsa1024", "RSA 1024", "RSA with SHA-256", true, false),
        ("a2-rsa2048-sha1", "RSA 2048", "RSA with SHA-1", false, true),
        ("a3-rsa2048-md5", "RSA 2048", "RSA with MD5", false, true),
        ("a4-p224", "EC P-224", "ECDSA with SHA-256", true, false),
        ("a5-p256-sha1", "EC P-256", "ECDSA with SHA-1", false, true),
        ("a6-p384", "EC P-384", "ECDSA with SHA-384", false, false),
        ("a7-ed25519", "Ed25519", "Ed25519", false, false),
        ("a8-pss256", "RSA 2048", "RSA-PSS with SHA-256", false, false),
        ("a9-pss1", "RSA 2048", "RSA-PSS with SHA-1", false, true),
    ];
    assert_eq!(shown, expected.map(|(name, key, signature, a, b)| (name.to_owned(), key, signature, a, b)));
    for (info, problems) in &found.certificates {
        let weak_signature = problems.contains(&Problem::WeakSignature);
        assert!(!weak_signature, "{}: nobody verifies the signature of a root", info.subject);
    }
}

#[test]
fn purposes_are_those_of_the_role() {
    let world = World::new();
    let issued = |name: &str, purpose| world.ca.issue(name, &Leaf::server(name, now()).purpose(purpose)).unwrap();
    let wrong = |files: &IdentityFiles, cert_type| {
        let found = certificates(&files.cert, Some(cert_type), Some(&files.key));
        assert_eq!(found.key_matches, Some(true));
        found.certificates[0].1.clone()
    };
    let [server, client, both] =
        [issued("server", Purpose::Server), issued("client", Purpose::Client), issued("both", Purpose::Both)];
    assert_eq!(wrong(&server, CertType::Server), []);
    assert_eq!(wrong(&server, CertType::Client), [Problem::NoClientAuth]);
    assert_eq!(wrong(&client, CertType::Server), [Problem::NoServerAuth]);
    assert_eq!(wrong(&client, CertType::Client), []);
    assert_eq!((wrong(&both, CertType::Server), wrong(&both, CertType::Client)), (vec![], vec![]));
    assert_eq!(wrong(&both, CertType::Ca), [Problem::NoAuthority]);
    let guess = |path: &Path| certificates(path, None, None).cert_type;
    assert_eq!(guess(&server.cert), CertType::Server);
    assert_eq!(guess(&client.cert), CertType::Client);
    assert_eq!(guess(&both.cert), CertType::Server);
    assert_eq!(guess(world.ca.ca_file()), CertType::Ca);

    let mismatch = certificates(&server.cert, None, Some(&client.key));
    assert_eq!((mismatch.key_matches, &mismatch.certificates[0].1), (Some(false), &vec![Problem::KeyMismatch]));
}

#[test]
fn a_chain_is_in_order_when_each_is_followed_by_its_issuer() {
    let world = World::new();
    let leaf = world.ca.issue("leaf", &Leaf::server("leaf", now())).unwrap();
    let chain = |parts: &[&Path]| {
        let path = world.path().join("chain.pem");
        let text: Vec<String> = parts.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        std::fs::write(&path, text.concat()).unwrap();
        certificates(&path, None, None)
    };
    let good = chain(&[&leaf.cert, world.ca.ca_file()]);
    assert!(good.in_order && good.certificates.iter().all(|(_, problems)| problems.is_empty()), "{good:?}");
    assert!(!chain(&[&leaf.cert, world.stranger.ca_file()]).in_order);
    // Two leaves: the second one cannot be an intermediate.
    assert_eq!(chain(&[&leaf.cert, &leaf.cert]).certificates[1].1, [Problem::NoAuthority]);
    assert!(chain(&[world.ca.ca_file(), world.stranger.ca_file()]).in_order);
}

#[test]
fn lists_are_found_in_both_forms_and_nothing_else_is_taken_for_one() {
    let world = World::new();
    let client = world.client();
    for name in ["list.pem", "list.der"] {
        let path = world.path().join(name);
        world.ca.write_crl(&path, &DevCrl::empty(now()).number(5).revoking(&client.certificates()[0])).unwrap();
        match inspect(&path, None, None).unwrap() {
            Inspection::Lists(lists) => {
                assert_eq!((lists.len(), lists[0].revoked, lists[0].number.as_deref()), (1, 1, Some("5")), "{name}");
            }
            Inspection::Certificates(found) => panic!("{found:?}"),
        }
    }
    let text = world.path().join("text");
    std::fs::write(&text, "hello").unwrap();
    let wanted = "certificate or revocation list";
    assert_eq!(inspect(&text, None, None), Err(SetupError::NoPem { path: text, wanted }));
}

#[test]
fn urgency_turns_at_zero_and_at_the_bounds() {
    let world = World::new();
    let moment = now();
    let until = |seconds: u64| {
        let leaf =
            Leaf::client("leaf", moment).valid(moment.minus(DAY), artstore_metrics::UnixTime::from_secs(seconds));
        world.ca.issue("leaf", &leaf).unwrap().load().unwrap().certificates()[0].clone()
    };
    let (day, at) = (86_400, artstore_metrics::UnixTime::from_secs(moment.as_secs()));
    for (left, urgency) in [
        (0, Urgency::Critical),
        (7 * day - 1, Urgency::Critical),
        (7 * day, Urgency::ActionRequired),
        (30 * day - 1, Urgency::ActionRequired),
        (30 * day, Urgency::Fine),
    ] {
        assert_eq!(Urgency::of(&until(at.as_secs() + left), at), urgency, "{left}");
    }
    assert_eq!(Urgency::of(&until(at.as_secs() - 1), at), Urgency::Expired);
    assert_eq!(Urgency::of(&until(at.as_secs() + day), at.minus(DAY * 2)), Urgency::NotYetValid);
    assert_eq!(Urgency::within(&until(at.as_secs() + day), at, 0.5, 1.5), Urgency::ActionRequired);
}

/// What is said of each problem is about it, and no two are the same.
#[test]
fn every_problem_says_what_it_is_and_what_to_do() {
    let all = [
        Problem::KeyMismatch,
        Problem::NoServerAuth,
        Problem::NoClientAuth,
        Problem::NoAuthority,
        Problem::NoCertSign,
        Problem::WeakKey,
        Problem::WeakSignature,
    ];
    for (index, problem) in all.iter().enumerate() {
        let others = all.iter().enumerate().filter(|(other, _)| *other != index);
        for (_, other) in others {
            assert!(
                problem.what() != other.what() && problem.advice() != other.advice() && problem.code() != other.code()
            );
        }
    }
}
