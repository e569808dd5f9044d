//! Files, policies and the development authority: what is refused, and with which words.

use crate::fixture::*;
use artstore_metrics::Registry;
use artstore_tls::dev::{CA_VALIDITY, DevCa, DevCaError, LEAF_VALIDITY, Leaf, Purpose, RENEW_BELOW};
use artstore_tls::{
    Acceptor, AcceptorSettings, CertificateInfo, CertificateMetrics, ClientAuth, Connector, ConnectorMetrics,
    IdentityFiles, ListenerMetrics, MAX_PEM_BYTES, Policy, PolicyError, Protocol, SetupError, Trust, TrustFile,
};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn missing_and_empty_files_are_named() {
    let world = World::new();
    let missing = world.path().join("missing.pem");
    let error = TrustFile(missing.clone()).load().unwrap_err().to_string();
    assert_eq!(error, format!("{}: No such file or directory (os error 2)", missing.display()));
    let empty = world.path().join("empty.pem");
    std::fs::write(&empty, "nothing here\n").unwrap();
    assert_eq!(
        TrustFile(empty.clone()).load().unwrap_err(),
        SetupError::NoPem { path: empty.clone(), wanted: "certificate" }
    );
    let files = world.ca.issue("leaf", &Leaf::client("leaf", now())).unwrap();
    let keyless = IdentityFiles { key: empty.clone(), ..files.clone() };
    assert_eq!(keyless.load().unwrap_err(), SetupError::NoPem { path: empty, wanted: "private key" });
    // The certificate's file in the place of the key's.
    let swapped = IdentityFiles { key: files.cert.clone(), ..files };
    assert!(matches!(swapped.load().unwrap_err(), SetupError::NoPem { wanted: "private key", .. }));
}

#[test]
fn broken_files_are_named() {
    let world = World::new();
    let files = world.ca.issue("leaf", &Leaf::client("leaf", now())).unwrap();
    let broken = world.path().join("broken.pem");
    std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
    assert!(matches!(TrustFile(broken.clone()).load(), Err(SetupError::Broken { what: "certificate", .. })));
    std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    assert!(matches!(TrustFile(broken.clone()).load(), Err(SetupError::Broken { what: "certificate", .. })));
    let certificate = IdentityFiles { cert: broken.clone(), ..files.clone() };
    assert_eq!(
        certificate.load().unwrap_err().to_string(),
        format!("{}: broken certificate: not an X.509 certificate", broken.display())
    );
    std::fs::write(&broken, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    let key = IdentityFiles { key: broken.clone(), ..files.clone() };
    assert!(matches!(key.load(), Err(SetupError::Broken { what: "private key", .. })));
    std::fs::write(&broken, "-----BEGIN PRIVATE KEY-----\n!!!!\n-----END PRIVATE KEY-----\n").unwrap();
    let key = IdentityFiles { key: broken.clone(), ..files };
    assert!(matches!(key.load(), Err(SetupError::Broken { what: "private key", .. })));
    let huge = std::fs::File::create(&broken).unwrap();
    huge.set_len(MAX_PEM_BYTES + 1).unwrap();
    let error = TrustFile(broken).load().unwrap_err().to_string();
    assert!(error.ends_with("larger than 16777216 bytes"), "{error}");
}

/// Whatever is wrong with the text of a key, what is said of it has none of it: neither as text nor as numbers.
#[test]
fn what_is_wrong_with_a_key_is_told_without_any_of_it() {
    const CANARY: &str = "Q0FOQVJZ";
    let world = World::new();
    let files = world.ca.issue("leaf", &Leaf::client("leaf", now())).unwrap();
    for (text, reason) in [
        (format!("-----BEGIN PRIVATE KEY {CANARY}\n"), "the first line of a section is not as PEM has it"),
        (
            format!("-----BEGIN PRIVATE KEY-----{CANARY}\n-----END PRIVATE KEY-----\n"),
            "the first line of a section is not as PEM has it",
        ),
        (
            format!("-----BEGIN PRIVATE KEY-----\n{CANARY}\n"),
            "a section has no end line: the file may have been cut short",
        ),
        (
            format!("-----BEGIN PRIVATE KEY-----\n{CANARY}!\n-----END PRIVATE KEY-----\n"),
            "what a section holds is not base64",
        ),
    ] {
        std::fs::write(&files.key, &text).unwrap();
        let error = files.load().unwrap_err();
        assert_eq!(error.to_string(), format!("{}: broken private key: {reason}", files.key.display()));
        let bytes = CANARY.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
        assert!(!format!("{error:?}").contains(CANARY) && !format!("{error:?}").contains(&bytes), "{error:?}");
    }
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let world = World::new();
    let one = world.ca.issue("one", &Leaf::client("one", now())).unwrap();
    let two = world.ca.issue("two", &Leaf::client("two", now())).unwrap();
    let mixed = IdentityFiles { cert: one.cert.clone(), key: two.key.clone() };
    let error = mixed.load().unwrap_err();
    assert_eq!(error, SetupError::KeyMismatch { cert: one.cert, key: two.key });
    assert!(error.to_string().contains("does not belong to the certificate"), "{error}");
}

#[test]
fn debug_shows_no_key() {
    let world = World::new();
    let identity = world.client();
    assert_eq!(format!("{identity:?}"), r#"Identity { certificates: ["CN=client"], .. }"#);
    assert_eq!(format!("{:?}", world.ca.trust().unwrap()), r#"Trust(["CN=Test CA"])"#);
    assert_eq!(format!("{:?}", Trust::danger_accept_any_server()), "Trust(ANY SERVER)");
    assert!(Trust::danger_accept_any_server().certificates().is_empty());
    assert_eq!(world.ca.trust().unwrap().certificates()[0].issuer, "CN=Test CA");
    assert!(!format!("{:?}", world.ca).contains("KEY"));
    assert_eq!(identity.certificates()[0].fingerprint().len(), 64);
    assert!(CertificateInfo::from_der(&vec![1, 2, 3].into()).is_none());
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let world = World::new();
    let registry = Registry::new();
    let certificates = CertificateMetrics::new(&registry, clock());
    let outgoing = ConnectorMetrics::new(&registry, &both_versions(), certificates);
    let incoming = ListenerMetrics::new(&registry, &both_versions());
    assert_eq!(outgoing.policy(), incoming.policy());
    let error = Connector::new(world.settings(), outgoing, clock()).unwrap_err();
    assert_eq!(error, SetupError::PolicyMismatch);
    let error = Acceptor::new(AcceptorSettings::new(world.server()), incoming.clone(), clock()).unwrap_err();
    assert_eq!(error, SetupError::PolicyMismatch);
    let anybody = AcceptorSettings {
        client_auth: ClientAuth::Optional(Trust::danger_accept_any_server()),
        policy: both_versions(),
        ..AcceptorSettings::new(world.server())
    };
    let error = Acceptor::new(anybody, incoming.clone(), clock()).unwrap_err();
    assert_eq!(error.to_string(), "TLS configuration: a trust that accepts any server cannot verify clients");
    let fitting = AcceptorSettings { policy: both_versions(), ..AcceptorSettings::new(world.server()) };
    let acceptor = Acceptor::new(fitting, incoming, clock()).unwrap();
    assert_eq!(acceptor.metrics().policy(), &both_versions());
}

#[test]
fn policies_name_what_they_refuse() {
    for old in [Protocol::Tls10, Protocol::Tls11] {
        assert_eq!(Policy::new(old, None).unwrap_err(), PolicyError::VersionTooOld(old));
    }
    let unknown = Policy::new(Protocol::Tls12, Some(&["RC4-MD5".to_owned()])).unwrap_err().to_string();
    assert!(unknown.starts_with("unknown cipher suite \"RC4-MD5\"; known: TLS_AES_256_GCM_SHA384, "), "{unknown}");
    assert!(unknown.ends_with(", TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"), "{unknown}");
    let old_suite = ["ECDHE-RSA-AES256-GCM-SHA384".to_owned()];
    assert_eq!(
        Policy::new(Protocol::Tls13, Some(&old_suite)).unwrap_err().to_string(),
        "none of the cipher suites belongs to TLSv1.3 or later"
    );
    let mixed = ["tls_aes_128_gcm_sha256".to_owned(), " ECDHE-RSA-AES256-GCM-SHA384 ".to_owned()];
    let policy = Policy::new(Protocol::Tls12, Some(&mixed)).unwrap();
    assert_eq!(
        policy.suites().collect::<Vec<_>>(),
        [(Protocol::Tls13, "TLS_AES_128_GCM_SHA256"), (Protocol::Tls12, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384")]
    );
    assert_eq!(Policy::default(), Policy::new(Protocol::Tls13, None).unwrap());
    assert_eq!(Policy::default().minimum(), Protocol::Tls13);
    assert_eq!(both_versions().suites().count(), 9);
    let debug = format!("{:?}", Policy::default());
    assert!(debug.starts_with("Policy { minimum: Tls13, suites: [\"TLS_AES_256_GCM_SHA384\""), "{debug}");
}

#[test]
fn the_authority_is_made_once_and_kept() {
    let world = World::new();
    let dir = world.path().join("dev").join("pki");
    let first = DevCa::open(&dir, now()).unwrap();
    let before = std::fs::read(first.ca_file()).unwrap();
    assert_eq!((mode(&dir.join("ca.key")), mode(first.ca_file())), (0o600, 0o644));
    let again = DevCa::open(&dir, now()).unwrap();
    assert_eq!(std::fs::read(again.ca_file()).unwrap(), before);
    // What the reopened authority signs is trusted by the first one's trust.
    let files = again.keep("server", &Leaf::server("server", now()), now()).unwrap();
    assert_eq!(mode(&files.key), 0o600);
    assert_eq!(files.load().unwrap().certificates()[0].issuer, "CN=ArtStore development CA");
    // With less than 30 days left it is made anew.
    let late = now().plus(CA_VALIDITY - RENEW_BELOW + DAY);
    let renewed = DevCa::open(&dir, late).unwrap();
    assert_ne!(std::fs::read(renewed.ca_file()).unwrap(), before);
    // Its leaves too, for the old ones are not of this authority.
    let old = std::fs::read(&files.cert).unwrap();
    renewed.keep("server", &Leaf::server("server", late), late).unwrap();
    assert_ne!(std::fs::read(&files.cert).unwrap(), old);
}

#[test]
fn leaves_are_kept_until_30_days_are_left() {
    let world = World::new();
    let keep = |at| {
        let files = world.ca.keep("leaf", &Leaf::client("leaf", at).purpose(Purpose::Both), at).unwrap();
        (std::fs::read(&files.cert).unwrap(), files)
    };
    let start = now();
    let (first, files) = keep(start);
    let info = files.load().unwrap().certificates()[0].clone();
    assert_eq!(info.not_after.as_secs(), start.plus(LEAF_VALIDITY).as_secs());
    assert_eq!(keep(start.plus(DAY * 59)).0, first);
    assert_ne!(keep(start.plus(DAY * 61)).0, first);
    std::fs::write(&files.key, "broken").unwrap();
    let (_, files) = keep(start.plus(DAY * 61));
    files.load().unwrap();
}

#[test]
fn the_authority_says_what_it_cannot_do() {
    let world = World::new();
    let file = world.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(DevCa::open(file.join("below"), now()), Err(DevCaError::Write { .. })));
    let dir = world.path().join("torn");
    DevCa::open(&dir, now()).unwrap();
    std::fs::remove_file(dir.join("ca.key")).unwrap();
    let error = DevCa::open(&dir, now()).unwrap_err().to_string();
    assert!(error.ends_with("ca.key: No such file or directory (os error 2)"), "{error}");
    std::fs::write(dir.join("ca.pem"), "broken").unwrap();
    assert!(matches!(DevCa::open(&dir, now()), Err(DevCaError::File(_))));
    let endless = Leaf::client("leaf", now()).valid(now(), now().plus(std::time::Duration::MAX));
    assert!(matches!(world.ca.issue("leaf", &endless), Err(DevCaError::Validity)));
    let nameless = Leaf::client("leaf", now()).names(&["ünïcode"]);
    assert!(matches!(world.ca.issue("leaf", &nameless), Err(DevCaError::Certificate(_))));
}

#[test]
fn key_exchange_groups_are_enabled_by_name_in_order() {
    let groups = |policy: &Policy| policy.groups().map(str::to_owned).collect::<Vec<_>>();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(groups(&Policy::default()), ["X25519MLKEM768", "x25519", "secp256r1", "secp384r1"]);
    let policy = Policy::default().with_groups(&names(&["P-384", "X25519", "secp384r1"])).unwrap();
    assert_eq!(groups(&policy), ["secp384r1", "x25519"]);
    assert_ne!(policy, Policy::default());
    let unknown = Policy::default().with_groups(&names(&["x25519", "x448"])).unwrap_err();
    let known = "X25519MLKEM768, SecP256r1MLKEM768, x25519, secp256r1, secp384r1, MLKEM768, MLKEM1024";
    assert_eq!(unknown.to_string(), format!("unknown key-exchange group \"x448\"; known: {known}"));
    assert_eq!(Policy::default().with_groups(&[]).unwrap_err(), PolicyError::NoGroup(Protocol::Tls13));
    // What only TLS 1.3 knows leaves nothing for TLS 1.2.
    let hybrid = names(&["X25519MLKEM768"]);
    let older = Policy::new(Protocol::Tls12, None).unwrap();
    assert_eq!(older.with_groups(&hybrid).unwrap_err(), PolicyError::NoGroup(Protocol::Tls12));
    assert_eq!(groups(&Policy::default().with_groups(&hybrid).unwrap()), ["X25519MLKEM768"]);
}
