//! Files to send, their digests, what lies in a folder, and repeatable chance.

use artstore_metrics::{Clock, SystemClock};
use base64::Engine as _;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Repeatable chance (splitmix64).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// From `ARTSTORE_E2E_SEED`, else from the clock; it prints the seed.
    ///
    /// # Panics
    /// When the variable is no number.
    #[must_use]
    pub fn announced() -> Self {
        let given = std::env::var("ARTSTORE_E2E_SEED").ok().map(|text| text.parse().unwrap());
        let seed = given.unwrap_or_else(|| u64::from(SystemClock::new().wall().as_duration().subsec_nanos()));
        println!("seed: ARTSTORE_E2E_SEED={seed}");
        Self(seed)
    }

    /// From this seed.
    #[must_use]
    pub const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.bits() % limit
    }
}

/// A file and what its bytes hash to.
#[derive(Debug, Clone)]
pub struct Payload {
    /// Where it lies.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: String,
}

impl Payload {
    /// Writes `size` bytes that no other seed gives to `path`.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn write(path: &Path, size: u64, seed: u64) -> Self {
        let mut block = vec![0_u8; 1 << 20];
        let mut chance = Chance::seeded(seed);
        for word in block.chunks_exact_mut(8) {
            word.copy_from_slice(&chance.bits().to_le_bytes());
        }
        let mut file = std::fs::File::create(path).unwrap();
        let mut hash = Sha256::new();
        let (mut left, mut number) = (size, 0_u64);
        while left > 0 {
            block[..8].copy_from_slice(&number.to_le_bytes());
            let part = &block[..usize::try_from(left.min(block.len() as u64)).unwrap()];
            file.write_all(part).unwrap();
            hash.update(part);
            left -= part.len() as u64;
            number += 1;
        }
        Self { path: path.to_owned(), size, sha256: hex(&hash.finalize()) }
    }

    /// Its digest as RFC 9530 writes it.
    ///
    /// # Panics
    /// Never: the digest is hexadecimal.
    #[must_use]
    pub fn digest_field(&self) -> String {
        let bytes: Vec<u8> = (0..self.sha256.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&self.sha256[i..i + 2], 16).unwrap())
            .collect();
        format!("sha-256=:{}:", base64::engine::general_purpose::STANDARD.encode(bytes))
    }
}

/// Bytes in lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// SHA-256 of these bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of a file.
///
/// # Panics
/// When it cannot be read.
#[must_use]
pub fn sha256_of(path: &Path) -> String {
    let mut file = std::fs::File::open(path).unwrap();
    let mut hash = Sha256::new();
    let mut buffer = vec![0_u8; 1 << 20];
    loop {
        let read = file.read(&mut buffer).unwrap();
        if read == 0 {
            return hex(&hash.finalize());
        }
        hash.update(&buffer[..read]);
    }
}

/// The regular files below `folder`, relative to it.
///
/// # Panics
/// When a folder below it cannot be listed.
#[must_use]
pub fn files_below(folder: &Path) -> BTreeSet<PathBuf> {
    let (mut found, mut folders) = (BTreeSet::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        // What vanishes while we look is not there.
        let Ok(entries) = std::fs::read_dir(&next) else { continue };
        for entry in entries.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(_) => drop(found.insert(entry.path().strip_prefix(folder).unwrap().to_owned())),
                Err(_) => {}
            }
        }
    }
    found
}
