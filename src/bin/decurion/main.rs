//! The `decurion` command.

fn main() {}
