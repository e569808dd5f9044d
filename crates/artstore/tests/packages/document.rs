//! `docs/deploying.md`: our command takes each command line in it, and what it names is there.

use crate::{assert_parses, root};
use std::fs;

fn page() -> String {
    fs::read_to_string(root().join("docs/deploying.md")).unwrap()
}

/// The lines of the blocks marked `sh`.
fn commands(page: &str) -> Vec<&str> {
    page.split("```sh\n").skip(1).flat_map(|rest| rest.split("```").next().unwrap().lines()).collect()
}

#[test]
fn our_command_takes_each_of_its_command_lines() {
    let page = page();
    let ours: Vec<Vec<&str>> = commands(&page)
        .into_iter()
        .filter(|line| !line.starts_with("install ") && !line.starts_with("docker "))
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            // After `runuser … --` and `kubectl … --`, too; the namespace of Kubernetes is no command.
            let begin = words.iter().position(|&word| word == "--").map_or(0, |at| at + 1);
            (words[begin] == "artstore").then(|| words[begin + 1..].to_vec())
        })
        .collect();
    assert_eq!(ours.len(), 8, "{ours:#?}");
    ours.iter().for_each(|arguments| assert_parses(arguments));
}

#[test]
fn units_and_files_that_it_names_are_there() {
    let page = page();
    for word in page.split(|c: char| c.is_whitespace() || "`()[]".contains(c)) {
        if let Some(path) = word.strip_prefix("../").or_else(|| word.starts_with("deploy/").then_some(word)) {
            let (folder, pattern) = path.rsplit_once('/').unwrap();
            let there = pattern.contains('*') || root().join(path).exists();
            assert!(there && root().join(folder).exists(), "{path}");
        }
        let unit = word.trim_end_matches(',').strip_suffix(".service").unwrap_or(word);
        if let Some(unit) = unit.strip_prefix("artstore-").filter(|unit| unit.starts_with("element@")) {
            assert!(["element@edit", "element@rw", "element@NAME"].contains(&unit), "{unit}");
        }
    }
    assert!(page.contains("](accounts.md)") && root().join("docs/accounts.md").exists());
}

/// The pods are those that the manifests make.
#[test]
fn names_of_kubernetes_are_those_of_the_manifests() {
    let page = page();
    for name in ["artstore-ingester-account", "artstore-element-edit-account", "artstore-element-rw-account"] {
        let module = name.trim_start_matches("artstore-").trim_end_matches("-account");
        let manifest = crate::read(&format!("kubernetes/modules/{module}.yaml"));
        assert!(page.contains(name) && manifest.contains(&format!("secretName: {name}\n")), "{name}");
    }
    assert!(page.contains("exec artstore-admin-0 -- artstore admin"));
    assert!(
        crate::read("kubernetes/modules/admin.yaml").contains("kind: StatefulSet\nmetadata:\n  name: artstore-admin\n")
    );
}
