//! The end-to-end tests, in one binary: each starts the release binary on free ports in a folder of its own.
#![expect(clippy::panic, clippy::unwrap_used, reason = "tests, and helpers of tests: what fails here fails the test")]

mod bad_input;
mod binding;
mod certs;
mod contract;
mod crash;
mod doctor;
mod faults;
mod interop;
mod memory;
mod methods;
mod path;
mod reload;
mod sandbox;
mod shutdown;
mod silence;
mod status;
mod testssl;
mod traces;
mod truth;
mod unavailable;
