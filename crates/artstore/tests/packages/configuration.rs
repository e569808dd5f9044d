//! Each configuration file of the packages has no mistakes, where the files that it names are what it says.

use crate::{artstore, deploy, run};
use std::fs;
use std::path::{Path, PathBuf};

/// The files below `deploy/`, and the module that reads each.
pub(crate) const FILES: [(&str, &str); 8] = [
    ("systemd/etc/artstore/admin/config.toml", "admin"),
    ("systemd/etc/artstore/element-edit/config.toml", "element"),
    ("systemd/etc/artstore/element-rw/config.toml", "element"),
    ("systemd/etc/artstore/ingester/config.toml", "ingester"),
    ("kubernetes/modules/config/admin.toml", "admin"),
    ("kubernetes/modules/config/element-edit.toml", "element"),
    ("kubernetes/modules/config/element-rw.toml", "element"),
    ("kubernetes/modules/config/ingester.toml", "ingester"),
];

/// A machine's root: what `config --check` looks at lies below it.
struct Machine {
    folder: tempfile::TempDir,
    certificates: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certificates = folder.path().join("certificates");
        let (code, said) = run(artstore().args(["certs", "make-dev"]).arg(&certificates));
        assert_eq!(code, 0, "{said}");
        Self { folder, certificates }
    }

    fn path(&self, absolute: &str) -> PathBuf {
        self.folder.path().join(absolute.trim_start_matches('/'))
    }

    /// Puts there what a module's file names, but for `missing`, and the file itself with its paths below this root.
    fn install(&self, file: &str, missing: &str) -> PathBuf {
        let text = fs::read_to_string(deploy(file)).unwrap();
        for path in text.split('"').filter(|word| word.starts_with('/') && !word.contains(char::is_whitespace)) {
            let source = match Path::new(path).file_name().unwrap().to_str().unwrap() {
                name if name == missing => continue,
                "tls.crt" => "server.pem",
                "tls.key" => "server.key",
                "ca.crt" => "ca.pem",
                // Any text is a secret.
                "client-secret" => "ca.pem",
                _ => continue,
            };
            fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
            fs::copy(self.certificates.join(source), self.path(path)).unwrap();
        }
        let copy = self.path("config.toml");
        fs::write(&copy, text.replace("\"/", &format!("\"{}/", self.folder.path().display()))).unwrap();
        copy
    }
}

fn check(module: &str, file: &Path) -> (i32, String) {
    run(artstore().args(["config", module, "--check"]).arg(file))
}

#[test]
fn no_configuration_file_has_a_mistake() {
    for (file, module) in FILES {
        let machine = Machine::new();
        let copy = machine.install(file, "");
        assert_eq!(check(module, &copy), (0, format!("{}: no mistakes\n", copy.display())), "{file}");
    }
}

#[test]
fn a_file_that_is_not_there_is_told_by_its_key() {
    let (file, module) = FILES[3];
    let expected = [
        ("tls.crt", "tls.cert_file, tls.key_file: "),
        ("tls.key", "tls.cert_file, tls.key_file: "),
        ("ca.crt", "tls.ca_cert_file: "),
        ("client-secret", "auth.client_secret_file: "),
    ];
    for (missing, key) in expected {
        let machine = Machine::new();
        let copy = machine.install(file, missing);
        let (code, said) = check(module, &copy);
        let mistake = said.strip_prefix(&format!("error: {} has 1 mistake\n  {key}", copy.display()));
        assert!(code == 2 && mistake.is_some(), "{missing}: {code}: {said}");
    }
}

/// Whoever writes a unit or a manifest sees the ports in the file that it runs with.
#[test]
fn every_listener_has_a_port_of_its_own() {
    let ports = |file: &str| {
        let table: toml::Table = fs::read_to_string(deploy(file)).unwrap().parse().unwrap();
        let port = |key: &str| table["listen"][key].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
        [port("address"), port("ops_address")]
    };
    for package in FILES.chunks(4) {
        let ports: Vec<String> = package.iter().flat_map(|(file, _)| ports(file)).collect();
        assert_eq!(ports, ["8000", "9000", "8010", "9010", "8011", "9011", "8020", "9020"]);
    }
}
