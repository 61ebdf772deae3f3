//! `cargo xtask ci`: what must be green before a change is handed in.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

/// In the order of what fails fastest.
const STEPS: [&[&str]; 3] = [
    &["fmt", "--all", "--check"],
    &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
    &["test", "--workspace", "--locked", "--quiet"],
];

/// Runs every step and stops at the first that fails.
pub fn run(root: &Path) -> anyhow::Result<()> {
    for step in STEPS {
        let line = step.join(" ");
        eprintln!("cargo {line}");
        let status =
            Command::new(cargo()).args(step).current_dir(root).status().context("start cargo")?;
        ensure!(status.success(), "cargo {line}: {status}");
    }
    Ok(())
}

/// The cargo that runs us, so that a pinned toolchain stays pinned.
pub fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
