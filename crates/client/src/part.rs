//! The partial file of a download: locked while it is written, hashed as it grows, given its name only when it is whole.

use crate::digest::Digest;
use crate::error::Error;
use bytes::BytesMut;
use sha2::{Digest as _, Sha256};
use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

const READ_BYTES: usize = 256 * 1024;

/// `NAME.part`, open and locked.
pub(crate) struct PartFile {
    path: PathBuf,
    file: File,
    length: u64,
    hasher: Sha256,
}

impl PartFile {
    /// Opens or creates the partial file, takes its lock and hashes what it holds. More than `size` bytes are thrown away all.
    pub(crate) async fn open(path: PathBuf, size: u64) -> Result<Self, Error> {
        let file = open_locked(path.clone()).await?;
        let mut part = Self { path, file, length: 0, hasher: Sha256::new() };
        let length = part.file.metadata().await.map_err(part.failed("read"))?.len();
        if length > size {
            part.restart().await?;
        } else {
            part.hash_existing().await?;
        }
        Ok(part)
    }

    async fn hash_existing(&mut self) -> Result<(), Error> {
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        loop {
            buffer.clear();
            let read = self.file.read_buf(&mut buffer).await.map_err(self.failed("read"))?;
            if read == 0 {
                return Ok(());
            }
            self.hasher.update(&buffer);
            self.length = self.length.saturating_add(read as u64);
        }
    }

    /// Bytes that it holds.
    pub(crate) const fn length(&self) -> u64 {
        self.length
    }

    /// The SHA-256 of what it holds.
    pub(crate) fn digest(&self) -> Digest {
        Digest::finish(self.hasher.clone())
    }

    /// Appends.
    pub(crate) async fn append(&mut self, piece: &[u8]) -> Result<(), Error> {
        self.file.write_all(piece).await.map_err(self.failed("write"))?;
        self.hasher.update(piece);
        self.length = self.length.saturating_add(piece.len() as u64);
        Ok(())
    }

    /// Throws away what it holds.
    pub(crate) async fn restart(&mut self) -> Result<(), Error> {
        self.file.set_len(0).await.map_err(self.failed("empty"))?;
        self.file.rewind().await.map_err(self.failed("empty"))?;
        (self.length, self.hasher) = (0, Sha256::new());
        Ok(())
    }

    /// Writes what waits in memory, so that a later run finds it.
    pub(crate) async fn flush(&mut self) -> Result<(), Error> {
        self.file.flush().await.map_err(self.failed("write"))
    }

    /// Removes the partial file.
    pub(crate) async fn discard(self) -> Result<(), Error> {
        tokio::fs::remove_file(&self.path).await.map_err(self.failed("remove"))
    }

    /// Makes it durable and gives it its name. Without `overwrite` an existing file stays as it is.
    pub(crate) async fn publish(mut self, target: &Path, overwrite: bool) -> Result<(), Error> {
        self.flush().await?;
        self.file.sync_all().await.map_err(self.failed("write"))?;
        let (part, name) = (self.path.clone(), target.to_owned());
        let named = tokio::task::spawn_blocking(move || give_name(&part, &name, overwrite)).await;
        match named.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Error::TargetExists(target.to_owned())),
            Err(source) => Err(Error::Local { action: "write", path: target.to_owned(), source }),
        }
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> Error + use<> {
        let path = self.path.clone();
        move |source| Error::Local { action, path, source }
    }
}

async fn open_locked(path: PathBuf) -> Result<File, Error> {
    let failed = |action, source| Error::Local { action, path: path.clone(), source };
    let link = tokio::fs::symlink_metadata(&path).await.is_ok_and(|metadata| metadata.is_symlink());
    if link {
        return Err(failed("write", io::Error::other("it is a symbolic link")));
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .await
        .map_err(|source| failed("create", source))?;
    let file = file.into_std().await;
    match file.try_lock() {
        Ok(()) => Ok(File::from_std(file)),
        Err(TryLockError::WouldBlock) => Err(Error::PartLocked(path)),
        // A file system without locks: two downloads into one name are then the user's care.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(File::from_std(file)),
        Err(TryLockError::Error(source)) => Err(failed("lock", source)),
    }
}

/// Renames, durably. A hard link is the one step that both names a file and refuses an existing name.
fn give_name(part: &Path, target: &Path, overwrite: bool) -> io::Result<()> {
    if overwrite {
        std::fs::rename(part, target)?;
    } else {
        match std::fs::hard_link(part, target) {
            Ok(()) => std::fs::remove_file(part)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
            // A file system without hard links: look first, then rename.
            Err(_) if !target.try_exists()? => std::fs::rename(part, target)?,
            Err(_) => return Err(io::ErrorKind::AlreadyExists.into()),
        }
    }
    let folder = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_an_earlier_run_left_is_hashed_and_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.part");
        std::fs::write(&path, "abc").unwrap();
        let mut part = PartFile::open(path.clone(), 6).await.unwrap();
        assert_eq!((part.length(), part.digest()), (3, Digest::of(b"abc")));
        part.append(b"def").await.unwrap();
        assert_eq!((part.length(), part.digest()), (6, Digest::of(b"abcdef")));
        let target = folder.path().join("a");
        part.publish(&target, false).await.unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"abcdef");
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn too_much_from_an_earlier_run_is_thrown_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.part");
        std::fs::write(&path, "abcdefg").unwrap();
        let part = PartFile::open(path.clone(), 6).await.unwrap();
        assert_eq!((part.length(), part.digest()), (0, Digest::of(b"")));
        part.discard().await.unwrap();
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn one_writer_at_a_time_and_no_symbolic_link() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.part");
        let held = PartFile::open(path.clone(), 6).await.unwrap();
        assert!(matches!(PartFile::open(path.clone(), 6).await, Err(Error::PartLocked(locked)) if locked == path));
        drop(held);
        let link = folder.path().join("b.part");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let refused = PartFile::open(link.clone(), 6).await.err().unwrap();
        assert_eq!(refused.to_string(), format!("cannot write {}: it is a symbolic link", link.display()));
    }

    #[tokio::test]
    async fn an_existing_file_is_replaced_only_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let (path, target) = (folder.path().join("a.part"), folder.path().join("a"));
        std::fs::write(&target, "old").unwrap();
        let mut part = PartFile::open(path.clone(), 3).await.unwrap();
        part.append(b"new").await.unwrap();
        let refused = part.publish(&target, false).await.unwrap_err();
        assert_eq!(refused.to_string(), format!("{} exists already", target.display()));
        assert_eq!(std::fs::read(&target).unwrap(), b"old");
        let part = PartFile::open(path, 3).await.unwrap();
        part.publish(&target, true).await.unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"new");
    }
}
