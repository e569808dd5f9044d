//! The folder of signing keys: made on first start, read again while running, all published, one signs.

use crate::jwk::{Jwk, JwkSet};
use crate::secret::hex;
use artstore_auth::{Algorithm, KeySet, KeySetError, SigningError, SigningKey};
use artstore_metrics::{Clock, Monotonic, UnixTime};
use bytes::Bytes;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Longest key file that is read, in bytes; an RSA key of 8192 bits has 6.4 KB.
const MAX_KEY_FILE_BYTES: u64 = 64 * 1024;

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file or the folder could not be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A file of the folder is not what it should be.
    #[error("{}: {reason}", path.display())]
    Invalid {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A key could not be made.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// The folder has no key of the configured algorithm any more.
    #[error("{}: no key for {algorithm} is left", dir.display())]
    NoneLeft {
        /// The folder.
        dir: PathBuf,
        /// The algorithm's name.
        algorithm: &'static str,
    },
    /// The set could not be written as JSON.
    #[error("the key set cannot be written: {0}")]
    Json(#[from] serde_json::Error),
    /// The set could not be read again by the verifier of this module's own API.
    #[error("the key set cannot be used: {0}")]
    Set(#[from] KeySetError),
}

/// Makes a new signing key in `dir`: PKCS#8 in PEM, mode 0600, there whole or not at all. The name begins with the moment, so
/// that the newest key is the last in the order of names: that one signs.
///
/// # Errors
/// If the file cannot be written, or the key not be made.
pub fn generate_key_file(dir: &Path, algorithm: Algorithm, now: UnixTime) -> Result<PathBuf, KeyError> {
    let pkcs8 = SigningKey::generate_pkcs8(algorithm)?;
    let kid = SigningKey::from_pkcs8(&pkcs8)?.thumbprint().to_owned();
    let millis = now.as_duration().as_millis();
    let path = dir.join(format!("{millis:015}-{}-{kid}.pem", algorithm.as_str()));
    let temporary = dir.join(format!(".{kid}.tmp"));
    let io = |error| KeyError::Io { path: path.clone(), error };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).map_err(io)?;
    file.write_all(pem(&pkcs8).as_bytes()).map_err(io)?;
    file.sync_all().map_err(io)?;
    std::fs::rename(&temporary, &path).map_err(io)?;
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)?;
    Ok(path)
}

/// PKCS#8 as PEM (RFC 7468).
fn pem(pkcs8: &[u8]) -> String {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(pkcs8);
    let mut text = String::from("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END PRIVATE KEY-----\n");
    text
}

/// A key with the file that it came from.
#[derive(Debug, Clone)]
struct Held {
    name: String,
    digest: String,
    key: Arc<SigningKey>,
    /// From when on it signs: by then every replica publishes it, and nobody keeps an older set.
    settled_at: Monotonic,
}

#[derive(Debug)]
struct Current {
    /// In the order of names.
    keys: Vec<Held>,
    /// The published document.
    jwks: Bytes,
    /// The same, for this module's own API.
    set: Arc<KeySet>,
}

impl Current {
    fn new(keys: Vec<Held>) -> Result<Self, KeyError> {
        // A key that is there in two files is published once: verifiers take two of one identifier for an attack.
        let mut published: Vec<Jwk<'_>> = Vec::with_capacity(keys.len());
        for jwk in keys.iter().map(|held| Jwk::of(&held.key)) {
            if !published.iter().any(|known| known.kid == jwk.kid) {
                published.push(jwk);
            }
        }
        let jwks = serde_json::to_vec(&JwkSet { keys: published })?;
        let set = Arc::new(KeySet::parse(&jwks, &Algorithm::ALL)?);
        Ok(Self { keys, jwks: jwks.into(), set })
    }
}

/// The keys in use. Clones share them.
#[derive(Debug)]
pub(crate) struct KeyRing<C> {
    dir: PathBuf,
    algorithm: Algorithm,
    settle: Duration,
    clock: C,
    current: RwLock<Arc<Current>>,
}

impl<C: Clock> KeyRing<C> {
    /// Reads the folder; makes it, and a key of this algorithm, if there is none. Blocks on files.
    pub(crate) fn open(dir: &Path, algorithm: Algorithm, settle: Duration, clock: C) -> Result<Self, KeyError> {
        let start = |name: &str, modified| {
            let age = clock.wall().since(published_at(name, modified));
            clock.monotonic().plus(settle.saturating_sub(age))
        };
        let mut keys = if dir.exists() { load(dir, &[], start)? } else { Vec::new() };
        if !keys.iter().any(|held| held.key.algorithm() == algorithm) {
            let path = generate_key_file(dir, algorithm, clock.wall())?;
            tracing::info!(path = %path.display(), algorithm = algorithm.as_str(), "made a signing key");
            keys = load(dir, &keys, start)?;
        }
        let current = RwLock::new(Arc::new(Current::new(keys)?));
        Ok(Self { dir: dir.to_owned(), algorithm, settle, clock, current })
    }

    /// Reads the folder again; `true` if the set of keys is another now. On an error the keys stay as they were.
    /// Blocks on files.
    pub(crate) fn reload(&self) -> Result<bool, KeyError> {
        let before = self.current();
        let keys = load(&self.dir, &before.keys, |_, _| self.clock.monotonic().plus(self.settle))?;
        if !keys.iter().any(|held| held.key.algorithm() == self.algorithm) {
            return Err(KeyError::NoneLeft { dir: self.dir.clone(), algorithm: self.algorithm.as_str() });
        }
        let same = |(one, other): (&Held, &Held)| one.name == other.name && one.digest == other.digest;
        if keys.len() == before.keys.len() && keys.iter().zip(&before.keys).all(same) {
            return Ok(false);
        }
        let current = Arc::new(Current::new(keys)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
        Ok(true)
    }

    /// The key that signs: the last by name of those of the configured algorithm that have been published long enough; if
    /// there is none, the last of another algorithm (the configured one is another than before, and its key is too new); if
    /// no key has been published long enough, the one that will be first.
    pub(crate) fn signing_key(&self) -> Option<Arc<SigningKey>> {
        let (current, now) = (self.current(), self.clock.monotonic());
        let facts = current.keys.iter().map(|held| (held.key.algorithm(), held.settled_at));
        choose(&facts, self.algorithm, now).map(|at| Arc::clone(&current.keys[at].key))
    }

    /// The published set, as JSON.
    pub(crate) fn jwks(&self) -> Bytes {
        self.current().jwks.clone()
    }

    /// The published set, to verify with.
    pub(crate) fn key_set(&self) -> Arc<KeySet> {
        Arc::clone(&self.current().set)
    }

    /// How many keys of each algorithm are published.
    pub(crate) fn count(&self, algorithm: Algorithm) -> usize {
        self.current().keys.iter().filter(|held| held.key.algorithm() == algorithm).count()
    }

    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Which of these keys, in the order of their names, signs at `now`.
pub(crate) fn choose<T: Ord + Copy>(
    keys: &(impl DoubleEndedIterator<Item = (Algorithm, T)> + ExactSizeIterator + Clone),
    configured: Algorithm,
    now: T,
) -> Option<usize> {
    let settled = || keys.clone().enumerate().rev().filter(|(_, (_, settled_at))| *settled_at <= now);
    let fitting = settled().find(|(_, (algorithm, _))| *algorithm == configured).or_else(|| settled().next());
    let first = || keys.clone().enumerate().min_by_key(|(_, (algorithm, at))| (*at, *algorithm != configured));
    fitting.or_else(first).map(|(at, _)| at)
}

/// When a key appeared: files made here begin with the moment, in milliseconds; of others it is when they were written.
pub(crate) fn published_at(name: &str, modified: UnixTime) -> UnixTime {
    let millis =
        name.split_once('-').filter(|(digits, _)| digits.len() == 15).and_then(|(digits, _)| digits.parse().ok());
    millis.map_or(modified, |millis| UnixTime::from_duration(Duration::from_millis(millis)))
}

/// All `*.pem` files of the folder that do not begin with a dot, in the order of their names. A file that has not changed
/// since `before` is not parsed again.
fn load(dir: &Path, before: &[Held], settled_at: impl Fn(&str, UnixTime) -> Monotonic) -> Result<Vec<Held>, KeyError> {
    names(dir)?.into_iter().map(|name| load_one(dir, name, before, &settled_at)).collect()
}

/// All keys of the folder in the order of their files, each with its file and the moment at which it appeared.
pub(crate) fn read_all(dir: &Path) -> Result<Vec<(Arc<SigningKey>, PathBuf, UnixTime)>, KeyError> {
    let read = |name: String| {
        let path = dir.join(&name);
        let io = |error| KeyError::Io { path: path.clone(), error };
        let published_at = published_at(&name, modified(&std::fs::metadata(&path).map_err(io)?));
        let held = load_one(dir, name, &[], |_, _| Monotonic::from_origin(Duration::ZERO))?;
        Ok((held.key, path, published_at))
    };
    names(dir)?.into_iter().map(read).collect()
}

/// The names of the files that hold keys, in their order.
fn names(dir: &Path) -> Result<Vec<String>, KeyError> {
    let io = |error| KeyError::Io { path: dir.to_owned(), error };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        if let Ok(name) = entry.map_err(io)?.file_name().into_string()
            && name.ends_with(".pem")
            && !name.starts_with('.')
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn load_one(
    dir: &Path,
    name: String,
    before: &[Held],
    settled_at: impl Fn(&str, UnixTime) -> Monotonic,
) -> Result<Held, KeyError> {
    let path = dir.join(&name);
    let io = |error| KeyError::Io { path: path.clone(), error };
    let metadata = std::fs::metadata(&path).map_err(io)?;
    if metadata.len() > MAX_KEY_FILE_BYTES {
        return Err(KeyError::Invalid { path, reason: format!("more than {MAX_KEY_FILE_BYTES} bytes") });
    }
    let content = std::fs::read(&path).map_err(io)?;
    let digest = hex(&Sha256::digest(&content));
    if let Some(held) = before.iter().find(|held| held.name == name && held.digest == digest) {
        return Ok(held.clone());
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "others may read this signing key; set its mode to 0600");
    }
    let invalid = |reason: String| KeyError::Invalid { path: path.clone(), reason };
    let pkcs8 = PrivatePkcs8KeyDer::from_pem_slice(&content)
        .map_err(|_| invalid("no PEM of a PKCS#8 private key".to_owned()))?;
    let key = SigningKey::from_pkcs8(pkcs8.secret_pkcs8_der()).map_err(|error| invalid(error.to_string()))?;
    let settled_at = settled_at(&name, modified(&metadata));
    Ok(Held { name, digest, key: Arc::new(key), settled_at })
}

fn modified(metadata: &std::fs::Metadata) -> UnixTime {
    UnixTime::from_secs(u64::try_from(metadata.mtime()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use artstore_metrics::TestClock;

    const SETTLE: Duration = Duration::from_secs(60);

    fn clock() -> TestClock {
        TestClock::starting_at(UnixTime::from_secs(1_800_000_000))
    }

    fn open(dir: &Path, clock: &TestClock) -> Result<KeyRing<TestClock>, KeyError> {
        KeyRing::open(dir, Algorithm::EdDsa, SETTLE, clock.clone())
    }

    fn kid(ring: &KeyRing<TestClock>) -> String {
        ring.signing_key().unwrap().thumbprint().to_owned()
    }

    fn published(ring: &KeyRing<TestClock>) -> Vec<String> {
        let set: serde_json::Value = serde_json::from_slice(&ring.jwks()).unwrap();
        set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_start_makes_one_private_file_and_a_second_finds_it() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
        let keys = dir.path().join("keys");
        let first = open(&keys, &clock).unwrap();
        let entries: Vec<_> = std::fs::read_dir(&keys).unwrap().map(|entry| entry.unwrap().path()).collect();
        let expected = keys.join(format!("001800000000000-EdDSA-{}.pem", kid(&first)));
        assert_eq!(entries, std::slice::from_ref(&expected));
        assert_eq!(std::fs::metadata(&expected).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o700);
        let second = open(&keys, &clock).unwrap();
        assert_eq!((kid(&second), second.jwks()), (kid(&first), first.jwks()));
    }

    #[tokio::test(start_paused = true)]
    async fn keys_of_other_algorithms_are_published_and_do_not_sign() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
        generate_key_file(dir.path(), Algorithm::Es256, clock.wall()).unwrap();
        let ring = open(dir.path(), &clock).unwrap();
        assert_eq!((ring.count(Algorithm::Es256), ring.count(Algorithm::EdDsa)), (1, 1));
        assert_eq!(ring.signing_key().unwrap().algorithm(), Algorithm::EdDsa);
        assert_eq!(published(&ring).len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_key_is_published_at_once_and_signs_once_settled() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
        let ring = open(dir.path(), &clock).unwrap();
        let old = kid(&ring);
        assert!(!ring.reload().unwrap());
        tokio::time::advance(Duration::from_secs(1)).await;
        let path = generate_key_file(dir.path(), Algorithm::EdDsa, clock.wall()).unwrap();
        assert!(ring.reload().unwrap());
        let [first, new] = published(&ring).try_into().unwrap();
        assert_eq!((first, kid(&ring)), (old.clone(), old.clone()));
        tokio::time::advance(SETTLE - Duration::from_millis(1)).await;
        assert!(!ring.reload().unwrap(), "an unchanged file keeps the moment at which it appeared");
        assert_eq!(kid(&ring), old);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(kid(&ring), new);
        std::fs::remove_file(path).unwrap();
        assert!(ring.reload().unwrap());
        assert_eq!((published(&ring), kid(&ring)), (vec![old.clone()], old));
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_file_or_an_emptied_folder_keeps_the_keys() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
        let ring = open(dir.path(), &clock).unwrap();
        let (before, broken) = (ring.jwks(), dir.path().join("9.pem"));
        std::fs::write(&broken, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
        let error = ring.reload().unwrap_err().to_string();
        assert_eq!(error, format!("{}: no PKCS#8 private key for RS256, ES256 or EdDSA", broken.display()));
        assert_eq!(open(dir.path(), &clock).unwrap_err().to_string(), error);
        std::fs::write(&broken, "half").unwrap();
        let error = ring.reload().unwrap_err().to_string();
        assert_eq!(error, format!("{}: no PEM of a PKCS#8 private key", broken.display()));
        std::fs::write(&broken, vec![b' '; 65 * 1024]).unwrap();
        let error = ring.reload().unwrap_err().to_string();
        assert_eq!(error, format!("{}: more than 65536 bytes", broken.display()));
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        let error = ring.reload().unwrap_err().to_string();
        assert_eq!(error, format!("{}: no key for EdDSA is left", dir.path().display()));
        std::fs::remove_dir(dir.path()).unwrap();
        assert!(matches!(ring.reload(), Err(KeyError::Io { .. })));
        assert_eq!(ring.jwks(), before);
    }

    /// A restart does not make a key older than it is: verifiers keep what they have read, whatever the module does.
    #[tokio::test(start_paused = true)]
    async fn a_restart_does_not_shorten_the_wait_of_a_new_key() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
        let old = kid(&open(dir.path(), &clock).unwrap());
        tokio::time::advance(SETTLE).await;
        generate_key_file(dir.path(), Algorithm::EdDsa, clock.wall()).unwrap();
        tokio::time::advance(SETTLE - Duration::from_millis(1)).await;
        let ring = open(dir.path(), &clock).unwrap();
        assert_eq!(kid(&ring), old);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_ne!(kid(&ring), old);
    }

    #[tokio::test(start_paused = true)]
    async fn another_algorithm_waits_for_its_key_to_settle() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
        let old = kid(&open(dir.path(), &clock).unwrap());
        tokio::time::advance(SETTLE).await;
        let ring = KeyRing::open(dir.path(), Algorithm::Es256, SETTLE, clock.clone()).unwrap();
        assert_eq!((published(&ring).len(), kid(&ring)), (2, old));
        tokio::time::advance(SETTLE).await;
        assert_eq!(ring.signing_key().unwrap().algorithm(), Algorithm::Es256);
    }

    #[test]
    fn a_key_is_as_old_as_its_name_says_or_else_its_file() {
        let modified = UnixTime::from_secs(7);
        assert_eq!(published_at("001800000000123-EdDSA-x.pem", modified).as_duration().as_millis(), 1_800_000_000_123);
        for name in ["2026-key.pem", "key.pem", "00180000000012x-EdDSA.pem"] {
            assert_eq!(published_at(name, modified), modified, "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn if_every_key_is_new_the_first_to_appear_signs() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
        let ring = open(dir.path(), &clock).unwrap();
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        generate_key_file(dir.path(), Algorithm::EdDsa, clock.wall()).unwrap();
        assert!(ring.reload().unwrap());
        assert_eq!(published(&ring), [kid(&ring)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_copied_file_is_published_once() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
        let path = generate_key_file(dir.path(), Algorithm::EdDsa, clock.wall()).unwrap();
        std::fs::copy(path, dir.path().join("9.pem")).unwrap();
        let ring = open(dir.path(), &clock).unwrap();
        assert_eq!(published(&ring), [kid(&ring)]);
        assert_eq!(ring.key_set().len(), 1);
    }

    #[test]
    fn dotfiles_and_other_files_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".x.pem"), "half").unwrap();
        std::fs::write(dir.path().join("README"), "text").unwrap();
        assert!(names(dir.path()).unwrap().is_empty());
    }
}
