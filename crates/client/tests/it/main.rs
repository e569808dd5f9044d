//! Transfers over real sockets against servers that fail.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod connection;
mod delete;
mod download;
mod support;
mod upload;
