//! The folder of signing keys as an operator sees it: which key signs, which waits, and when an old one may go.

use crate::keys::{KeyError, choose, read_all};
use crate::settings::AdminSettings;
use artstore_auth::Algorithm;
use artstore_metrics::UnixTime;
use std::path::PathBuf;

/// What a key does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It is published and does not sign before then.
    Waiting {
        /// The moment.
        signs_from: UnixTime,
    },
    /// It signs.
    Signing,
    /// It signed, or would if the one that signs were not there. Its tokens may be about until then.
    Old {
        /// The moment.
        removable_from: UnixTime,
    },
}

/// One key of the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKeyInfo {
    /// Its RFC 7638 thumbprint.
    pub kid: String,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// Its file.
    pub path: PathBuf,
    /// When it appeared.
    pub published_at: UnixTime,
    /// What it does at the moment.
    pub state: KeyState,
}

/// Why a key stays.
#[derive(Debug, thiserror::Error)]
pub enum RetireError {
    /// The folder.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// There is no such key.
    #[error("there is no key {0}")]
    Unknown(String),
    /// It signs.
    #[error("the key signs; another one must sign first")]
    Signing,
    /// Its tokens may be about.
    #[error("the key's tokens may be about for {} s more", .0)]
    InUse(u64),
    /// Its file cannot be removed.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// The keys of a folder at one moment.
#[derive(Debug, Clone)]
pub struct SigningKeys {
    /// In the order of their file names.
    pub keys: Vec<SigningKeyInfo>,
    now: UnixTime,
}

impl SigningKeys {
    /// Reads the folder as the settings have it. Blocks on files.
    ///
    /// # Errors
    /// If it or one of its files cannot be read.
    pub fn read(settings: &AdminSettings, now: UnixTime) -> Result<Self, KeyError> {
        let found = read_all(&settings.keys_dir)?;
        let settled_at = |published_at: UnixTime| published_at.plus(settings.key_settle);
        let facts = found.iter().map(|(key, _, published_at)| (key.algorithm(), settled_at(*published_at)));
        let signing = choose(&facts, settings.algorithm, now);
        // When the key that signs took over. If no key had settled it may have signed from its first moment.
        let took_over = signing.map(|at| settled_at(found[at].2).min(now));
        let keys = found.iter().enumerate().map(|(at, (key, path, published_at))| SigningKeyInfo {
            kid: key.thumbprint().to_owned(),
            algorithm: key.algorithm(),
            path: path.clone(),
            published_at: *published_at,
            state: if signing == Some(at) {
                KeyState::Signing
            } else if settled_at(*published_at) > now {
                KeyState::Waiting { signs_from: settled_at(*published_at) }
            } else {
                KeyState::Old { removable_from: took_over.unwrap_or(now).plus(settings.key_overlap()) }
            },
        });
        Ok(Self { keys: keys.collect(), now })
    }

    /// Removes a key's file, if none of its tokens can be about any more, or if `force` says that this does not matter:
    /// the key is in wrong hands. The key that signs is removed by force alone, and only if there is another one, which signs
    /// from then on, however new it is.
    ///
    /// # Errors
    /// If the key is not there, signs, or is still needed, or if its file cannot be removed.
    pub fn retire(&self, kid: &str, force: bool) -> Result<(), RetireError> {
        let of_kid = || self.keys.iter().filter(|key| key.kid == kid);
        if of_kid().next().is_none() {
            return Err(RetireError::Unknown(kid.to_owned()));
        }
        for key in of_kid() {
            match key.state {
                KeyState::Signing if !force || self.keys.iter().all(|other| other.kid == kid) => {
                    return Err(RetireError::Signing);
                }
                KeyState::Old { removable_from } if !force && removable_from > self.now => {
                    return Err(RetireError::InUse(removable_from.since(self.now).as_secs()));
                }
                KeyState::Signing | KeyState::Old { .. } | KeyState::Waiting { .. } => {}
            }
        }
        for SigningKeyInfo { path, .. } in of_kid() {
            std::fs::remove_file(path).map_err(|error| RetireError::Io { path: path.clone(), error })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::generate_key_file;
    use std::time::Duration;

    const START: UnixTime = UnixTime::from_secs(1_800_000_000);

    fn at(seconds: u64) -> UnixTime {
        START.plus(Duration::from_secs(seconds))
    }

    #[test]
    fn a_key_waits_signs_and_may_go_once_its_last_token_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let settings =
            AdminSettings { algorithm: Algorithm::EdDsa, ..AdminSettings::new(dir.path(), "https://admin.test") };
        let generate = |seconds| {
            let path = generate_key_file(&settings.keys_dir, Algorithm::EdDsa, at(seconds)).unwrap();
            SigningKeys::read(&settings, at(seconds)).unwrap().keys.into_iter().find(|key| key.path == path).unwrap()
        };
        let states = |seconds| {
            let keys = SigningKeys::read(&settings, at(seconds)).unwrap().keys;
            keys.into_iter().map(|key| key.state).collect::<Vec<_>>()
        };
        let first = generate(0);
        assert_eq!((first.state, first.published_at), (KeyState::Signing, at(0)), "there is no other");
        let second = generate(1_000);
        assert_eq!(states(1_359), [KeyState::Signing, KeyState::Waiting { signs_from: at(1_360) }]);
        // 360 s until it signs; then a lifetime of 1,800 s, 300 s in caches, and 30 s until the last replica noticed.
        let old = KeyState::Old { removable_from: at(1_360 + 2_130) };
        assert_eq!(states(1_360), [old, KeyState::Signing]);
        let retire = |seconds, kid: &str, force| {
            SigningKeys::read(&settings, at(seconds)).unwrap().retire(kid, force).map_err(|error| error.to_string())
        };
        assert_eq!(retire(3_489, &first.kid, false).unwrap_err(), "the key's tokens may be about for 1 s more");
        assert_eq!(retire(9_999, &second.kid, false).unwrap_err(), "the key signs; another one must sign first");
        assert_eq!(retire(9_999, "x", true).unwrap_err(), "there is no key x");
        let third = generate(3_000);
        assert!(third.state != KeyState::Signing);
        retire(3_001, &third.kid, false).unwrap();
        retire(3_490, &first.kid, false).unwrap();
        assert_eq!(states(3_490), [KeyState::Signing]);
        let fourth = generate(4_000);
        assert_eq!(states(4_001), [KeyState::Signing, KeyState::Waiting { signs_from: at(4_360) }]);
        retire(4_001, &second.kid, true).unwrap();
        assert_eq!(states(4_001), [KeyState::Signing], "in an emergency a new key signs at once");
        assert_eq!(retire(9_999, &fourth.kid, true).unwrap_err(), "the key signs; another one must sign first");
    }
}
