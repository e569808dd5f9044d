//! TLS on real loopback sockets, with the exact metrics of every case.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod allowed_clients;
mod alpn_and_versions;
mod contract;
mod examples;
mod expiry;
mod faults;
mod fixture;
mod hello_stream;
mod inspect;
mod late_refusal;
mod listener;
mod live;
mod monitor;
mod reload;
mod reload_live;
mod resumption;
mod revocation;
mod servers;
mod setup;
mod side_by_side;
mod success;
mod usage;
