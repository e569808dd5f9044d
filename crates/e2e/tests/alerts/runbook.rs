//! A runbook taken at its word: its queries and commands as they stand on the page.

use artstore_e2e::process::{artstore, binary, workspace};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A page of `docs/runbooks`.
#[derive(Debug)]
pub(crate) struct Runbook(String);

impl Runbook {
    /// The page that an alert's `runbook_url` names: the file at the same path in this repository.
    pub(crate) fn at(url: &str) -> Self {
        let (_, path) = url.split_once("/blob/main/").unwrap_or_else(|| panic!("{url}"));
        assert!(path.starts_with("docs/runbooks/"), "{url}");
        Self(fs::read_to_string(workspace().join(path)).unwrap_or_else(|error| panic!("{url}: {error}")))
    }

    fn section(&self, title: &str) -> &str {
        let (_, rest) = self.0.split_once(&format!("\n## {title}\n")).unwrap_or_else(|| panic!("no section {title}"));
        rest.split("\n## ").next().unwrap_or(rest)
    }

    /// The queries of a section, in order.
    pub(crate) fn queries(&self, section: &str) -> Vec<String> {
        blocks(self.section(section), "promql")
            .flat_map(|block| block.trim().split("\n\n"))
            .map(str::to_owned)
            .collect()
    }

    /// The lines of each block of commands of a section, in order.
    pub(crate) fn commands(&self, section: &str) -> Vec<Vec<String>> {
        blocks(self.section(section), "sh").map(|block| block.lines().map(str::to_owned).collect()).collect()
    }
}

fn blocks<'a>(text: &'a str, language: &str) -> impl Iterator<Item = &'a str> {
    let begin = format!("```{language}\n");
    text.split("```").enumerate().filter(|(index, _)| index % 2 == 1).filter_map({
        let language = begin.trim_start_matches('`').to_owned();
        move |(_, block)| block.strip_prefix(language.as_str())
    })
}

/// A folder in which the names that runbooks use are those of an installation, so that a command runs as it is written.
#[derive(Debug)]
pub(crate) struct Desk(PathBuf);

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    /// Its exit code.
    pub(crate) code: Option<i32>,
    /// What it printed on both streams.
    pub(crate) said: String,
}

impl Desk {
    /// With these names leading to these files or folders.
    pub(crate) fn set_up(folder: &Path, names: &[(&str, PathBuf)]) -> Self {
        fs::create_dir(folder).unwrap();
        fs::create_dir(folder.join("bin")).unwrap();
        symlink(binary().canonicalize().unwrap(), folder.join("bin/artstore")).unwrap();
        for (name, target) in names {
            symlink(target, folder.join(name)).unwrap();
        }
        Self(folder.to_owned())
    }

    /// Writes a file there.
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    /// Runs a line in a shell, as the operator would.
    pub(crate) fn run(&self, line: &str) -> Done {
        let path = format!("{}:{}", self.0.join("bin").display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("sh");
        command.arg("-c").arg(line).current_dir(&self.0);
        // As clean of the caller's settings as any command of the binary.
        for (name, value) in artstore().get_envs() {
            assert!(value.is_none());
            command.env_remove(name);
        }
        let output = command.env("PATH", path).output().unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        Done { code: output.status.code(), said }
    }
}
