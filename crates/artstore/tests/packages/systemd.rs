//! The units: systemd's own tools accept them, what they leave open is exactly what is said here, and who may read what is as small as it can be.

use crate::{artstore, assert_parses, deploy, read, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The unit files, and the name by which each is started.
const UNITS: [(&str, &str); 3] = [
    ("artstore-admin.service", "artstore-admin.service"),
    ("artstore-element@.service", "artstore-element@edit.service"),
    ("artstore-ingester.service", "artstore-ingester.service"),
];

/// Ten times the exposure that `systemd-analyze security` finds: networks, the host's root directory, /proc/stat and the clock that
/// ProtectClock= lets be read. 0 is nothing at all.
const EXPOSURE: u32 = 11;

fn unit(file: &str) -> String {
    read(&format!("systemd/{file}"))
}

/// Writes the units under the names of instances, with the command where this build has it.
fn instances(folder: &Path, change: impl Fn(String) -> String) -> Vec<PathBuf> {
    let program = artstore().get_program().to_str().unwrap().to_owned();
    let write = |(file, name): (&str, &str)| {
        let path = folder.join(name);
        fs::write(&path, change(unit(file).replace("/usr/bin/artstore", &program))).unwrap();
        path
    };
    UNITS.into_iter().map(write).collect()
}

fn analyze(arguments: &[&str], units: &[PathBuf]) -> (i32, String) {
    run(Command::new("systemd-analyze").arg("--no-pager").args(arguments).args(units))
}

#[test]
fn systemd_accepts_the_units_and_finds_a_misspelt_directive() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(analyze(&["verify"], &instances(folder.path(), |text| text)), (0, String::new()));
    let misspelt = instances(folder.path(), |text| text.replace("ProtectHome=", "ProtectHomes="));
    let (_, said) = analyze(&["verify"], &misspelt);
    assert_eq!(said.matches(": Unknown key 'ProtectHomes' in section [Service], ignoring.\n").count(), 3, "{said}");
}

#[test]
fn what_the_units_leave_open_is_no_more_than_is_said() {
    let folder = tempfile::tempdir().unwrap();
    for unit in instances(folder.path(), |text| text) {
        let threshold = |most: u32| {
            let most = format!("--threshold={most}");
            analyze(&["security", "--offline=true", &most], std::slice::from_ref(&unit))
        };
        let (code, said) = threshold(EXPOSURE);
        assert_eq!(code, 0, "{said}");
        assert_eq!(threshold(EXPOSURE - 1).0, 1, "less is open than EXPOSURE says: lower it");
        let open: Vec<&str> =
            said.lines().filter_map(|line| line.strip_prefix("✗ ")?.split_whitespace().next()).collect();
        let expected = [
            "RootDirectory=/RootImage=",
            "RestrictAddressFamilies=~AF_UNIX",
            "RestrictAddressFamilies=~AF_(INET|INET6)",
            "ProcSubset=",
            "PrivateNetwork=",
            "DeviceAllow=",
            "IPAddressDeny=",
        ];
        assert_eq!(open, expected, "{}", unit.display());
    }
}

/// One block of restrictions for the three, so that what is shown of one holds for all.
#[test]
fn the_units_restrict_the_same() {
    let restrictions = |file: &str| unit(file).split_once("\n# What the process may see").unwrap().1.to_owned();
    for (file, _) in UNITS {
        assert_eq!(restrictions(file), restrictions(UNITS[0].0), "{file}");
    }
}

fn directive(file: &str, key: &str) -> String {
    let unit = unit(file);
    let mut values = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let value = values.next().unwrap_or_default().to_owned();
    assert_eq!(values.next(), None, "{file}: {key} stands twice");
    value
}

#[test]
fn each_unit_runs_its_module_as_a_user_of_its_own_and_waits_for_requests_in_flight() {
    let expected = [
        ("admin --config /etc/artstore/admin/config.toml", "artstore-admin", ""),
        (
            "element --config /etc/artstore/element-%i/config.toml",
            "artstore-element",
            "client-secret:/etc/artstore/element-%i/client-secret",
        ),
        (
            "ingester --config /etc/artstore/ingester/config.toml",
            "artstore-ingester",
            "client-secret:/etc/artstore/ingester/client-secret",
        ),
    ];
    for ((file, _), (arguments, user, credential)) in UNITS.into_iter().zip(expected) {
        let command = directive(file, "ExecStart");
        assert_eq!(command.strip_prefix("/usr/bin/artstore "), Some(arguments), "{file}");
        assert_parses(&arguments.split(' ').collect::<Vec<_>>());
        assert_eq!(directive(file, "User"), user);
        assert_eq!(directive(file, "LoadCredential"), credential);
        assert_eq!(directive(file, "ExecReload"), "/bin/kill -HUP $MAINPID");
        assert!(directive(file, "TimeoutStopSec").parse::<u64>().unwrap() > drain_timeout(arguments), "{file}");
    }
}

/// The default of `listen.drain_timeout`, as the command prints it.
fn drain_timeout(arguments: &str) -> u64 {
    let (_, text) = run(artstore().args(["config", arguments.split(' ').next().unwrap()]));
    text.lines().find_map(|line| line.strip_prefix("drain_timeout = ")).unwrap().parse().unwrap()
}

/// A secret that the configuration names is the one that the unit loads.
#[test]
fn configurations_name_the_credentials_of_their_units() {
    for (file, unit) in [
        ("element-edit", "artstore-element@edit.service"),
        ("element-rw", "artstore-element@rw.service"),
        ("ingester", "artstore-ingester.service"),
    ] {
        let text = read(&format!("systemd/etc/artstore/{file}/config.toml"));
        let line = format!("client_secret_file = \"/run/credentials/{unit}/client-secret\"\n");
        assert!(text.contains(&line), "{file}");
    }
}

/// systemd-sysusers and systemd-tmpfiles, on a root of its own: the users, and who may read which file. Whoever is not root sees
/// modes only.
#[test]
fn keys_are_read_by_their_module_alone_and_secrets_by_root_alone() {
    let folder = tempfile::tempdir().unwrap();
    let etc = folder.path().join("etc/artstore");
    let modules = ["admin", "element-edit", "element-rw", "ingester"];
    for file in modules
        .iter()
        .flat_map(|module| ["config.toml", "tls.key", "client-secret"].map(|name| etc.join(module).join(name)))
    {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "").unwrap();
    }
    let root = format!("--root={}", folder.path().display());
    let (code, said) = run(Command::new("systemd-sysusers").arg(&root).arg(deploy("systemd/sysusers.d/artstore.conf")));
    assert_eq!(code, 0, "{said}");
    let users = fs::read_to_string(folder.path().join("etc/passwd")).unwrap();
    let names: Vec<&str> = users.lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(names, ["artstore-admin", "artstore-element", "artstore-ingester"]);
    assert!(users.lines().all(|line| line.ends_with(":/usr/sbin/nologin")), "{users}");
    let is_root = run(Command::new("id").arg("-u")).1.trim() == "0";
    let rules = read("systemd/tmpfiles.d/artstore.conf");
    let rules = if is_root { rules } else { without_owners(&rules) };
    let file = folder.path().join("rules.conf");
    fs::write(&file, rules).unwrap();
    let (code, said) = run(Command::new("systemd-tmpfiles").arg(&root).arg("--create").arg(file));
    assert_eq!((code, said.as_str()), (0, ""));
    let groups = fs::read_to_string(folder.path().join("etc/group")).unwrap();
    for module in modules {
        let user = format!("artstore-{}", module.split('-').next().unwrap());
        let group = groups.lines().find_map(|line| line.strip_prefix(&format!("{user}:x:"))).unwrap();
        let group = group.trim_end_matches(':');
        let secret = if module == "admin" { ("640", group) } else { ("600", "0") };
        for (name, (mode, group)) in [
            ("", ("750", group)),
            ("config.toml", ("640", group)),
            ("tls.key", ("640", group)),
            ("client-secret", secret),
        ] {
            let format = if is_root { "%a 0 %g" } else { "%a" };
            let expected = if is_root { format!("{mode} 0 {group}\n") } else { format!("{mode}\n") };
            let said = run(Command::new("stat").args(["-c", format]).arg(etc.join(module).join(name))).1;
            assert_eq!(said, expected, "{module}/{name}");
        }
    }
}

fn without_owners(rules: &str) -> String {
    let line = |line: &str| {
        let mut fields: Vec<&str> = line.split_whitespace().collect();
        if !line.starts_with('#') {
            (fields[3], fields[4]) = ("-", "-");
        }
        fields.join(" ") + "\n"
    };
    rules.lines().map(line).collect()
}
