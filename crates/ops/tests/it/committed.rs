//! What is committed under `deploy/` is what the code makes.

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn committed_documents_are_current() {
    for (path, text) in artstore_ops::documents() {
        let committed = fs::read_to_string(root().join("deploy").join(path)).unwrap_or_default();
        assert!(committed == text, "deploy/{path} is stale: run `artstore ops export deploy`");
    }
}

/// A PrometheusRule's `spec` is the plain rule file.
#[test]
fn kubernetes_gets_the_same_rules() {
    let documents = artstore_ops::documents();
    let of = |name: &str| &documents.iter().find(|(path, _)| path.ends_with(name)).unwrap().1;
    let (_, spec) = of("prometheusrule.yaml").split_once("spec:\n").unwrap();
    let plain = of("artstore.rules.yml").split_once('\n').unwrap().1;
    let without_indent: String =
        spec.lines().map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line))).collect();
    assert_eq!(without_indent, plain);
}
