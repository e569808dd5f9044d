//! Scopes and audiences: what a token lets its bearer do, and where.

/// Upload and delete files through an Ingester.
pub const FILES_WRITE: &str = "files:write";
/// Read files and their records through an Ingester.
pub const FILES_READ: &str = "files:read";
/// Open uploads, write, publish and delete on a Storage Element.
pub const STORAGE_WRITE: &str = "storage:write";
/// Read files, records and capacity on a Storage Element.
pub const STORAGE_READ: &str = "storage:read";
/// Read the Admin Module's list of elements.
pub const ELEMENTS_READ: &str = "elements:read";
/// Report an element and its records to the Admin Module.
pub const ELEMENTS_REPORT: &str = "elements:report";
/// Read the Admin Module's index of files.
pub const INDEX_READ: &str = "index:read";
/// Create, list, rotate and suspend accounts.
pub const ACCOUNTS_ADMIN: &str = "accounts:admin";

/// All scopes.
pub const ALL: [&str; 8] =
    [FILES_WRITE, FILES_READ, STORAGE_WRITE, STORAGE_READ, ELEMENTS_READ, ELEMENTS_REPORT, INDEX_READ, ACCOUNTS_ADMIN];

/// The audience of tokens for the Ingester Module.
pub const AUDIENCE_INGESTER: &str = "artstore-ingester";
/// The audience of tokens for Storage Elements.
pub const AUDIENCE_ELEMENT: &str = "artstore-element";
/// The audience of tokens for the Admin Module's own API.
pub const AUDIENCE_ADMIN: &str = "artstore-admin";

/// All audiences.
pub const AUDIENCES: [&str; 3] = [AUDIENCE_INGESTER, AUDIENCE_ELEMENT, AUDIENCE_ADMIN];
