//! Checks and generators for the workspace: `cargo xtask <task>`.
fn main() {}
