//! `artstore certs inspect`: what it says, and by which code it ends.

use artstore_e2e::certificates::Authority;
use artstore_e2e::process::artstore;
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;

/// Exit code, standard output, standard error.
fn inspect(arguments: &[&str], files: &[&Path]) -> (i32, String, String) {
    let output = artstore().args(["certs", "inspect"]).args(arguments).args(files).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn it_tells_good_from_critical_by_its_exit_code() {
    let folder = TempDir::new().unwrap();
    let authority = Authority::new(folder.path(), "an authority");
    let (leaf, other) = (authority.identity("leaf"), authority.identity("other"));
    let list = folder.path().join("list.pem");
    authority.revoke(&list, 7, &[&other]);
    let nothing = folder.path().join("nothing.pem");
    std::fs::write(&nothing, "hello").unwrap();
    let key = leaf.key.to_str().unwrap();
    let wrong = other.key.to_str().unwrap();
    let files = [leaf.certificate.as_path(), authority.certificate.as_path(), list.as_path()];
    for (arguments, files, code, said) in [
        (&["--key", key][..], &files[..], 0, ""),
        (&["--as", "client"], &files[..1], 0, ""),
        (&["--key", wrong], &files[..1], 1, "1 of 1 certificates and revocation lists are critical"),
        (&["--as", "ca"], &files[..1], 1, "1 of 1 certificates and revocation lists are critical"),
        // They end in the year 4096.
        (&["--warn-days", "9e9", "--critical-days", "9e9"], &files[..2], 1, "2 of 2"),
        (&["--warn-days", "9e9"], &files[..2], 0, ""),
        (&[], &[nothing.as_path()], 1, "no certificate or revocation list in PEM form found"),
        (&[], &[folder.path().join("absent").as_path()], 1, "No such file"),
        (&["--warn-days", "1"], &files[..1], 2, "--critical-days must lie between 0 and --warn-days"),
        (&["--key", key], &files[2..], 2, "--key belongs to a certificate"),
        (&["--unknown"], &files[..1], 2, "--unknown"),
        (&[], &[], 2, "<FILES>"),
    ] {
        let (exit, _, message) = inspect(arguments, files);
        assert!(exit == code && message.contains(said), "{arguments:?} {files:?}: {exit} {message}");
    }
}

#[test]
fn the_table_is_aligned_and_without_colours_in_a_pipe() {
    let folder = TempDir::new().unwrap();
    let authority = Authority::new(folder.path(), "an authority");
    let leaf = authority.identity("leaf");
    let list = folder.path().join("list.pem");
    authority.revoke(&list, 7, &[&leaf]);
    let key = leaf.key.to_str().unwrap();
    let (exit, text, _) = inspect(&["--key", key], &[&leaf.certificate, &authority.certificate, &list]);
    assert_eq!(exit, 0, "{text}");
    assert!(!text.contains('\x1b'), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], format!("{}: server, 1 certificate, the key matches", leaf.certificate.display()));
    let headings = lines[1];
    let row = lines[2];
    let expires = leaf.not_after.date().to_string();
    // Each column begins below its heading; days end below theirs.
    for (heading, cell) in [("STATE", "good"), ("EXPIRES (UTC)", &expires), ("SUBJECT", "CN=leaf"), ("KEY", "EC P-256")]
    {
        let place = row.find(cell);
        assert!(place.is_some() && place == headings.find(heading), "{heading}:\n{text}");
    }
    let columns =
        |name: &str| lines.iter().filter(|line| line.contains(name)).map(|line| line.find(name)).collect::<Vec<_>>();
    let subjects = columns("SUBJECT");
    assert!(subjects.len() == 2 && subjects[0] == subjects[1], "{text}");
    assert!(text.contains("itself"), "{text}");
    let last = lines.iter().rev().nth(1).unwrap();
    let cells: Vec<&str> = last.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(
        (cells[0], cells[1], cells[3], cells[4], cells[5]),
        ("good", "1 h", "CN=an authority", "7", "1"),
        "{text}"
    );
}

#[test]
fn programs_get_one_json_document() {
    let folder = TempDir::new().unwrap();
    let authority = Authority::new(folder.path(), "an authority");
    let (leaf, other) = (authority.identity("leaf"), authority.identity("other"));
    let list = folder.path().join("list.pem");
    authority.revoke(&list, 7, &[]);
    let wrong = other.key.to_str().unwrap();
    let (exit, text, _) = inspect(&["--json", "--key", wrong], &[&leaf.certificate, &list]);
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(exit, 1);
    let [certificates, lists] = document.as_array().unwrap().as_slice() else { panic!("{document}") };
    assert_eq!((&certificates["role"], &certificates["key_matches"]), (&"server".into(), &false.into()));
    let first = &certificates["certificates"][0];
    assert_eq!((&first["state"], &first["subject"]), (&"unusable".into(), &"CN=leaf".into()));
    assert_eq!(first["problems"][0]["code"], "key_mismatch");
    let list = &lists["lists"][0];
    assert_eq!((&list["state"], &list["number"], &list["revoked"]), (&"good".into(), &"7".into(), &0.into()));
}
