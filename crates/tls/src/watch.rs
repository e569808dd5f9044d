//! Whether a file's content has changed: a stamp that is cheap to compare, a digest that is sure.
//!
//! Polling works wherever a file can be read: for a file renamed over another, one written in place, the symbolic links that
//! Kubernetes swaps, and file systems that tell nobody of a change, such as NFS.

use crate::certificate::sha256;
use crate::identity::MAX_PEM_BYTES;
use artstore_metrics::Monotonic;
use std::fs::Metadata;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// For so long after a change of the stamp the content is read at every look: a file system whose clock ticks every two
/// seconds gives two changes within one tick the same stamp.
const YOUNG: Duration = Duration::from_secs(2);

/// The content is read after this time although the stamp is the same: a program may have set the times back.
const REREAD: Duration = Duration::from_secs(3600);

/// What a file held when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// Bytes with this SHA-256.
    Bytes([u8; 32]),
    /// Nothing.
    Empty,
    /// There is no such file.
    Missing,
    /// More than any bundle has.
    TooLarge,
    /// The system refuses, in these words.
    Unreadable(String),
}

/// A file that is looked at again and again.
#[derive(Debug)]
pub(crate) struct FileWatch {
    path: PathBuf,
    stamp: Option<Stamp>,
    /// When the stamp was seen to change.
    changed: Monotonic,
    /// When the content was read.
    read: Monotonic,
    content: Content,
}

/// Tells one state of a file from another without reading it, after all links were followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl FileWatch {
    /// A watch of this file, read now.
    pub(crate) fn new(path: &Path, now: Monotonic) -> Self {
        let stamp = stamp(path);
        Self { content: read(path).0, path: path.to_owned(), stamp, changed: now, read: now }
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the file holds; it is read if it may have changed.
    pub(crate) fn look(&mut self, now: Monotonic) -> &Content {
        // Before the content: a change after this one is then seen at the next look.
        let stamp = stamp(&self.path);
        if stamp != self.stamp {
            (self.stamp, self.changed) = (stamp, now);
        }
        if stamp.is_none() || now.since(self.changed) < YOUNG || now.since(self.read) >= REREAD {
            self.reread(now);
        }
        &self.content
    }

    /// What the file holds, read now: what is known of it, and the bytes.
    pub(crate) fn reread(&mut self, now: Monotonic) -> (&Content, Vec<u8>) {
        let (content, bytes) = read(&self.path);
        (self.content, self.read) = (content, now);
        (&self.content, bytes)
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    std::fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata))
}

fn read(path: &Path) -> (Content, Vec<u8>) {
    let bytes = std::fs::metadata(path).and_then(|metadata| {
        if !metadata.is_file() {
            // A pipe would let us wait for ever.
            return Err(std::io::Error::other("not a regular file"));
        }
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(MAX_PEM_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    match bytes {
        Ok(bytes) if bytes.is_empty() => (Content::Empty, bytes),
        Ok(bytes) if bytes.len() as u64 > MAX_PEM_BYTES => (Content::TooLarge, Vec::new()),
        Ok(bytes) => (Content::Bytes(sha256(&bytes)), bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => (Content::Missing, Vec::new()),
        Err(error) => (Content::Unreadable(error.to_string()), Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File, FileTimes};
    use tempfile::TempDir;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_origin(Duration::from_secs(seconds))
    }

    /// Sets the time of modification back: the time of the change of the inode cannot be.
    fn age(path: &Path, modified: std::time::SystemTime) {
        File::options().write(true).open(path).unwrap().set_times(FileTimes::new().set_modified(modified)).unwrap();
    }

    #[test]
    fn every_kind_of_content_is_told() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("f");
        let mut watch = FileWatch::new(&path, at(0));
        assert_eq!(watch.path(), path.as_path());
        assert_eq!(watch.look(at(0)), &Content::Missing);
        fs::write(&path, "").unwrap();
        assert_eq!(watch.look(at(0)), &Content::Empty);
        fs::write(&path, "abc").unwrap();
        // FIPS 180-2, appendix B.1.
        let abc = [
            0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03,
            0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
        ];
        assert_eq!(watch.look(at(0)), &Content::Bytes(abc));
        File::create(&path).unwrap().set_len(MAX_PEM_BYTES + 1).unwrap();
        assert_eq!(watch.look(at(0)), &Content::TooLarge);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(watch.look(at(0)), &Content::Unreadable("not a regular file".to_owned()));
        let below = FileWatch::new(&dir.path().join("x".repeat(300)), at(0));
        assert!(matches!(&below.content, Content::Unreadable(text) if text.contains("too long")), "{below:?}");
    }

    /// A change of content under the same stamp is found while the stamp is young, and after an hour.
    #[test]
    fn an_unchanged_stamp_is_trusted_between_two_seconds_and_an_hour() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "one").unwrap();
        let mut watch = FileWatch::new(&path, at(0));
        let [one, two] = ["one", "two"].map(|text| Content::Bytes(sha256(text.as_bytes())));
        // What a coarse file system clock would give: other bytes, the same stamp.
        let change = |watch: &mut FileWatch, text: &str| {
            fs::write(&path, text).unwrap();
            watch.stamp = stamp(&path);
        };
        change(&mut watch, "two");
        assert_eq!(watch.look(at(1)), &two);
        change(&mut watch, "one");
        assert_eq!(watch.look(at(2)), &two);
        assert_eq!(watch.look(at(3600)), &two);
        assert_eq!(watch.look(at(3601)), &one);
        change(&mut watch, "two");
        assert_eq!(watch.look(at(3602)), &one);
        assert_eq!(watch.reread(at(3602)), (&two, b"two".to_vec()));
    }

    #[test]
    fn a_changed_stamp_is_followed_through_links() {
        let dir = TempDir::new().unwrap();
        let [old, new, link, swap] = ["old", "new", "link", "swap"].map(|name| dir.path().join(name));
        fs::write(&old, "one").unwrap();
        fs::write(&new, "two").unwrap();
        // The same size, and the same time of modification.
        age(&new, fs::metadata(&old).unwrap().modified().unwrap());
        std::os::unix::fs::symlink(&old, &link).unwrap();
        let mut watch = FileWatch::new(&link, at(0));
        std::os::unix::fs::symlink(&new, &swap).unwrap();
        fs::rename(&swap, &link).unwrap();
        assert_eq!(watch.look(at(10)), &Content::Bytes(sha256(b"two")));
    }
}
