//! The token service and the verifier from outside, on paused time, against a scripted issuer.

#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "these are tests")]

mod answers;
mod assertion;
mod attacks;
mod cached;
mod canary;
mod clocks;
mod discovery;
mod faults;
mod flights;
mod identity;
mod jwks;
mod lots;
mod methods;
mod oracle;
mod outages;
mod progress;
mod require_token;
mod schedules;
mod sockets;
mod spans;
mod support;
mod tokens;
mod traces;
mod verifier;
mod wire;
