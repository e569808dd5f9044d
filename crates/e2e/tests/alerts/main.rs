//! Alerts, end to end: real Prometheus, real Alertmanager, a real socket that hears them.
#![expect(clippy::panic, clippy::unwrap_used, reason = "tests, and helpers of tests: what fails here fails the test")]

mod drill;
mod matrix;
mod rig;
mod runbook;
mod stack;
