//! The one binary: parses the command line and wires the rooms together.
fn main() {}
