//! `cargo xtask sim`: as many simulated runs as wanted, or one again.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

/// Builds the simulation for speed and runs it with these words.
pub fn run(root: &Path, words: &[&str]) -> anyhow::Result<()> {
    let cargo = ["run", "--release", "--locked", "--quiet", "--package", "thalweg-sim", "--"];
    let mut command = Command::new(crate::ci::cargo());
    let status = command.args(cargo).args(words).current_dir(root).status();
    let status = status.context("start cargo")?;
    ensure!(status.success(), "some promises were broken: {status}");
    Ok(())
}
