//! Where everything lies in the folder, and what a name says.
//!
//! ```text
//! FOLDER/format                     says that this is one of our folders
//! FOLDER/lock                       held by the process that uses it
//! FOLDER/uploads/ID.part            bytes of an upload
//! FOLDER/uploads/ID.session         where it can be continued, and its notes
//! FOLDER/objects/PREFIX/ID          bytes of a published file
//! FOLDER/objects/PREFIX/ID.new      its attributes, while the Admin Module has not acknowledged it
//! FOLDER/objects/PREFIX/ID.json     its attributes, after that
//! FOLDER/objects/PREFIX/ID.gone     its attributes, once it is deleted, until the Admin Module has acknowledged that
//! ```
//!
//! The attributes' name is the outbox: renaming an object into place publishes it with attributes that are `.new`, so no
//! file can be published without being reported later.
//!
//! PREFIX is the first seven digits of the identifier, which are a time: a directory takes the files of about 17 minutes, so
//! that concurrent commits share a directory and its sync, and no directory grows without end.

use artstore_api::FileId;
use std::path::{Path, PathBuf};

const PREFIX_DIGITS: usize = 7;

/// Paths in a folder.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

/// What an entry of an object directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Entry {
    /// The bytes.
    Object,
    /// Attributes of a file that is not acknowledged.
    New,
    /// Attributes of a file that is acknowledged.
    Known,
    /// Attributes of a deleted file.
    Gone,
}

impl Entry {
    /// What a published file's attributes may be called.
    pub(crate) const LIVE: [Self; 2] = [Self::Known, Self::New];

    const fn suffix(self) -> &'static str {
        match self {
            Self::Object => "",
            Self::New => ".new",
            Self::Known => ".json",
            Self::Gone => ".gone",
        }
    }

    /// What a file name says; `None` if it is not ours.
    pub(crate) fn parse(name: &str) -> Option<(FileId, Self)> {
        let (id, suffix) = name.split_at(name.find('.').unwrap_or(name.len()));
        let entry = [Self::Object, Self::New, Self::Known, Self::Gone].into_iter().find(|e| e.suffix() == suffix)?;
        let file_id: FileId = id.parse().ok()?;
        (file_id.to_string() == id).then_some((file_id, entry))
    }
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn format(&self) -> PathBuf {
        self.root.join("format")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(crate) fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    pub(crate) fn part(&self, file_id: FileId) -> PathBuf {
        self.uploads().join(format!("{file_id}.part"))
    }

    pub(crate) fn session(&self, file_id: FileId) -> PathBuf {
        self.uploads().join(format!("{file_id}.session"))
    }

    /// The name of the directory that holds a file.
    pub(crate) fn prefix(file_id: FileId) -> String {
        file_id.0.simple().to_string().chars().take(PREFIX_DIGITS).collect()
    }

    pub(crate) fn directory(&self, file_id: FileId) -> PathBuf {
        self.objects().join(Self::prefix(file_id))
    }

    pub(crate) fn entry(&self, file_id: FileId, entry: Entry) -> PathBuf {
        self.directory(file_id).join(format!("{file_id}{}", entry.suffix()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        let layout = Layout::new(Path::new("/f"));
        let id = FileId::generate();
        for entry in [Entry::Object, Entry::New, Entry::Known, Entry::Gone] {
            let path = layout.entry(id, entry);
            assert_eq!(Entry::parse(path.file_name().unwrap().to_str().unwrap()), Some((id, entry)));
            assert_eq!(path.parent().unwrap(), layout.directory(id));
        }
        let simple = id.0.simple().to_string();
        for foreign in ["", "x.json", ".json", simple.as_str(), &format!("{id}.tmp"), &format!("{id}.json.new")] {
            assert_eq!(Entry::parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn directories_are_in_the_order_of_identifiers() {
        let id: FileId = "0193a1b2-c3d4-7000-8000-000000000000".parse().unwrap();
        assert_eq!(Layout::prefix(id), "0193a1b");
    }
}
