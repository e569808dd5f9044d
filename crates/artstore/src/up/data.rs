//! The data folder of `artstore up`: its lock, its secrets, and the file of variables for scripts.

use crate::failure::Failure;
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The secrets of the accounts that `up` made.
const SECRETS: &str = "secrets.json";

/// The folder, locked for this process.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    /// Held for the lock; the kernel gives it back however the process ends.
    _lock: File,
}

impl DataDir {
    /// Makes the folder if it is absent and locks it. An env file that a killed process left is removed.
    ///
    /// # Errors
    /// A folder that cannot be written or is in use by another `artstore up`.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let cannot = |error: std::io::Error| Failure::failed(format!("data folder {}: {error}", path.display()));
        std::fs::create_dir_all(path).map_err(cannot)?;
        let path = path.canonicalize().map_err(cannot)?;
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(path.join("lock")).map_err(cannot)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => Failure::failed(format!(
                "data folder {} is in use by another `artstore up`; stop it, or choose another folder with --data DIR",
                path.display()
            )),
            error => cannot(error.into()),
        })?;
        let dir = Self { path, _lock: lock };
        dir.remove_env_file();
        Ok(dir)
    }

    /// A path inside the folder.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The secrets of accounts that an earlier start kept.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(super) fn secrets(&self) -> Result<BTreeMap<String, SecretString>, Failure> {
        let file = self.join(SECRETS);
        let cannot = |error: &dyn std::fmt::Display| Failure::failed(format!("{}: {error}", file.display()));
        let secrets: BTreeMap<String, String> = match std::fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| cannot(&error))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(cannot(&error)),
        };
        Ok(secrets.into_iter().map(|(account, secret)| (account, SecretString::from(secret))).collect())
    }

    /// Keeps the secrets of accounts for the next start, readable by the owner alone.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(super) fn keep_secrets(&self, secrets: &BTreeMap<String, SecretString>) -> Result<(), Failure> {
        let file = self.join(SECRETS);
        let exposed: BTreeMap<&str, &str> =
            secrets.iter().map(|(account, secret)| (account.as_str(), secret.expose_secret())).collect();
        serde_json::to_vec_pretty(&exposed)
            .map_err(std::io::Error::from)
            .and_then(|text| write_private(&file, &text))
            .map_err(|error| Failure::failed(format!("{}: {error}", file.display())))
    }

    /// Writes `artstore.env`: shell variables, readable by the owner alone; it appears whole.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(super) fn write_env_file(&self, variables: &[(&str, String)]) -> Result<PathBuf, Failure> {
        let file = self.join("artstore.env");
        let text: String =
            variables.iter().map(|(name, value)| format!("export {name}={}\n", shell_quoted(value))).collect();
        write_private(&file, text.as_bytes())
            .map_err(|error| Failure::failed(format!("{}: {error}", file.display())))?;
        Ok(file)
    }

    /// Removes `artstore.env`: what it names answers no longer.
    pub(super) fn remove_env_file(&self) {
        // It need not be there.
        let _ = std::fs::remove_file(self.join("artstore.env"));
    }
}

/// In single quotes unless it is plain.
fn shell_quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Writes a file of mode 0600 beside its place and renames it there.
fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension("new");
    // A left-over of a killed process, with whatever mode.
    let _ = std::fs::remove_file(&new);
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_locked_folder_is_refused_until_its_owner_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path()).unwrap();
        assert!(DataDir::open(dir.path()).unwrap_err().to_string().contains("in use by another `artstore up`"));
        drop(first);
        assert!(DataDir::open(dir.path()).is_ok());
    }

    #[test]
    fn secrets_are_found_again_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        assert!(data.secrets().unwrap().is_empty());
        data.keep_secrets(&BTreeMap::from([("a".to_owned(), SecretString::from("canary"))])).unwrap();
        assert_eq!(data.secrets().unwrap()["a"].expose_secret(), "canary");
        assert_eq!(std::fs::metadata(data.join(SECRETS)).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn env_file_is_shell_private_and_removed_on_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        let file = data.write_env_file(&[("A", "https://[::1]:8000".into()), ("B", "it's".into())]).unwrap();
        let shell = format!(". '{}'; printf '%s %s' \"$A\" \"$B\"", file.display());
        let output = std::process::Command::new("sh").args(["-c", &shell]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "https://[::1]:8000 it's");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        drop(data);
        DataDir::open(dir.path()).unwrap();
        assert!(!file.exists());
    }
}
