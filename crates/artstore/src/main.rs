//! The artstore command.
fn main() {}
