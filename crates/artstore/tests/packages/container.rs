//! The image: the linter finds nothing, what the build copies is enough for it, and the base image has the libraries that the
//! command needs. The image itself is not built by any test.

use crate::{python_tool, read, root, run};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Shared libraries in `gcr.io/distroless/cc-debian12` that a program in Rust may ask for: glibc of its base image, and libgcc1
/// (base/README.md and cc/README.md of GoogleContainerTools/distroless).
const IN_THE_BASE_IMAGE: [&str; 4] = ["ld-linux-x86-64.so.2", "libc.so.6", "libgcc_s.so.1", "libm.so.6"];

fn containerfile() -> String {
    read("container/Containerfile")
}

fn hadolint(text: &str) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("Containerfile");
    fs::write(&file, text).unwrap();
    run(Command::new(python_tool("hadolint")).args(["--no-color", "--format", "gnu"]).arg(file))
}

#[test]
fn the_linter_finds_nothing_and_finds_what_is_wrong() {
    assert_eq!(hadolint(&containerfile()), (0, String::new()));
    let (code, said) = hadolint(&containerfile().replace(":nonroot", ""));
    assert!(code == 1 && said.contains("DL3006"), "an image without a tag: {said}");
}

/// The last stage: no shell form, no root, nothing that a secret could hide in.
#[test]
fn it_runs_the_command_without_a_shell_as_a_user_by_number() {
    let text = containerfile();
    let (build, image) = text.split_once("FROM gcr.io/distroless/cc-debian12:nonroot\n").unwrap();
    let instructions: Vec<&str> = image
        .lines()
        .filter(|line| line.starts_with(|letter: char| letter.is_ascii_uppercase()))
        .map(|line| line.split_once(' ').unwrap().0)
        .collect();
    let expected = ["LABEL", "COPY", "COPY", "USER", "WORKDIR", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD"];
    assert_eq!(instructions, expected);
    for line in ["USER 65532:65532", "ENTRYPOINT [\"/usr/bin/artstore\"]", "STOPSIGNAL SIGTERM"] {
        assert!(image.lines().any(|given| given == line), "{line}");
    }
    assert!(build.contains("FROM rust:1.95-slim-bookworm AS build\n"), "the Debian of the last stage");
    let line = "cargo build --locked --release -p artstore";
    assert!(build.contains(&format!("RUN {line}")), "{build}");
    assert!(fs::read_to_string(root().join("scripts/test")).unwrap().contains(&format!("release() {{ {line}; }}")));
}

#[test]
fn the_base_image_has_each_library_that_the_command_needs() {
    let (code, said) = run(Command::new("readelf").args(["--dynamic", env!("CARGO_BIN_EXE_artstore")]));
    assert_eq!(code, 0, "{said}");
    let needed: BTreeSet<&str> = said
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .map(|line| line.split_once('[').unwrap().1.trim_end_matches(']'))
        .collect();
    let known = BTreeSet::from(IN_THE_BASE_IMAGE);
    assert!(needed.contains("libc.so.6") && needed.is_subset(&known), "{needed:?}");
}

/// What `.dockerignore` lets through is the whole workspace as far as cargo wants to know.
#[test]
fn the_build_finds_its_workspace_in_what_is_copied() {
    let ignored = fs::read_to_string(root().join(".dockerignore")).unwrap();
    let rules: Vec<&str> = ignored.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(rules, ["*", "!Cargo.toml", "!Cargo.lock", "!crates", "crates/*/tests", "crates/bench"]);
    let context = tempfile::tempdir().unwrap();
    for file in ["Cargo.toml", "Cargo.lock"] {
        fs::copy(root().join(file), context.path().join(file)).unwrap();
    }
    copy(&root().join("crates"), &context.path().join("crates"));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let metadata = ["metadata", "--locked", "--offline", "--format-version", "1", "--quiet"];
    let (code, said) = run(Command::new(cargo).args(metadata).current_dir(context.path()));
    assert!(code == 0 && said.contains("\"name\":\"artstore\""), "{code}: {said:.400}");
    // What the crates compile in lies in the context, too; what only tests read need not.
    let is_product = |file: &PathBuf| file.file_stem().is_some_and(|name| name != "tests");
    for file in sources(&context.path().join("crates")).into_iter().filter(is_product) {
        let text = fs::read_to_string(&file).unwrap();
        let product = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for path in product.split("include_str!(\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(file.parent().unwrap().join(path).exists(), "{}: {path}", file.display());
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (name, path) = (entry.file_name(), entry.path());
        if name == "tests" || name == "bench" || name == "target" {
            continue;
        }
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}
