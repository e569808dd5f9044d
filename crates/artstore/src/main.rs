//! The artstore command.
mod config;
fn main() {}
