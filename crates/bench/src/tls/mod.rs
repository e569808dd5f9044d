//! What a TLS handshake costs: `counts` (instructions, gated) and `nginx` (rates in alternation, reported).

pub mod counts;
mod events;
mod load;
mod material;
pub mod nginx;
mod process;
pub mod server;
mod within;

pub use counts::Case;
pub use within::run as handshakes;
