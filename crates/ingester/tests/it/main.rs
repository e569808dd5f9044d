//! The Ingester on real sockets, before doubles of the Admin Module and of elements that can be told to fail.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::result_large_err,
    reason = "a test fails by panicking"
)]

mod doubles;
mod faults;
mod files;
mod limits;
mod pages;
mod uploads;
mod wire;
mod world;
