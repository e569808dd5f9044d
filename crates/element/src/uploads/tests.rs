//! Sessions against a real folder.
