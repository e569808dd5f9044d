//! The Admin Module on a real socket, with TLS.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod client;
mod flood;
mod house;
mod rotation;
