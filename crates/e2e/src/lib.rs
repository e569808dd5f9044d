//! What the end-to-end tests share: real processes, plain curl, scrapes, forged tokens, bounded waiting.
//!
//! [`up`] runs `artstore up`, [`parts`] each module by itself, [`process`] any command of the binary. [`curl`] is the client
//! and [`wire`] one that does what curl would not, [`handshake`] one that measures, or says nothing. [`scrape`] reads `/metrics`, [`contract`] is what a scrape must hold,
//! [`prometheus`] and [`alertmanager`] are the real ones, [`webhook`] hears what they tell, [`otlp`] receives spans, [`plain`] asks them,
//! [`token`] makes tokens that the Admin Module never would, [`certificates`] a CA, [`payload`] files; [`poll`] waits. A helper
//! that cannot do its work fails the test.
#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a library of tests only: what fails here fails the test"
)]

pub mod alertmanager;
pub mod certificates;
pub mod contract;
pub mod curl;
pub mod handshake;
pub mod issuer;
pub mod otlp;
pub mod parts;
pub mod payload;
pub mod plain;
pub mod poll;
pub mod process;
pub mod prometheus;
pub mod scrape;
pub mod token;
pub mod up;
pub mod webhook;
pub mod wire;

/// Whether the large files are asked for: `ARTSTORE_E2E_BIG=1`.
#[must_use]
pub fn big() -> bool {
    std::env::var_os("ARTSTORE_E2E_BIG").is_some_and(|value| value == "1")
}

/// Whether the long runs are asked for: `ARTSTORE_E2E_SOAK=1`.
#[must_use]
pub fn soak() -> bool {
    std::env::var_os("ARTSTORE_E2E_SOAK").is_some_and(|value| value == "1")
}

/// Whether the long runs of TLS are asked for: `ARTSTORE_TLS_SOAK=1`.
#[must_use]
pub fn tls_soak() -> bool {
    std::env::var_os("ARTSTORE_TLS_SOAK").is_some_and(|value| value == "1")
}

/// Whether the long runs of alerts and mutants are asked for: `ARTSTORE_OPS_SOAK=1`.
#[must_use]
pub fn ops_soak() -> bool {
    std::env::var_os("ARTSTORE_OPS_SOAK").is_some_and(|value| value == "1")
}
