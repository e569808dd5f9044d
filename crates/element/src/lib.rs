//! The Storage Element: upload sessions, bytes, hashes and attributes; the truth about files.
