//! `cargo xtask sim | system | bench`: the long forms of what a build does in short.
//!
//! Not here: what they do. That is in `testing/sim`, `testing/system` and `testing/bench`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::ci::cargo;

/// How often a build's few rounds are done, where the environment does not say otherwise.
const ROUNDS: [(&str, &str); 2] = [("THALWEG_POWER_CUTS", "100"), ("THALWEG_ROUNDS", "20")];

/// As many simulated runs as wanted, or one again; built for speed.
pub fn sim(root: &Path, words: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new(cargo());
    command.args(["run", "--release", "--locked", "--quiet", "--package", "thalweg-sim", "--"]);
    end(command.args(words), root, "some promises were broken")
}

/// The tests of running nodes with more rounds, then every drill of a cluster.
pub fn system(root: &Path) -> anyhow::Result<()> {
    let mut tests = Command::new(root.join("test"));
    end(lengthen(tests.arg("--system")), root, "some tests have failed")?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), Into::into);
    let node = format!("thalweg={}", target.join("release/thalweg").display());
    let mut drills = Command::new(cargo());
    drills.args(["run", "--locked", "--quiet", "--package", "thalweg-system", "--bin", "drill"]);
    end(lengthen(drills.args(["--", node.as_str(), "all"])), root, "some drills have failed")
}

/// The micro-benchmarks and the table beside Apache Kafka.
pub fn bench(root: &Path) -> anyhow::Result<()> {
    end(Command::new(root.join("test")).arg("--bench"), root, "not all could be measured")
}

fn lengthen(command: &mut Command) -> &mut Command {
    let unset = ROUNDS.into_iter().filter(|(name, _)| std::env::var_os(name).is_none());
    command.envs(unset)
}

fn end(command: &mut Command, root: &Path, otherwise: &str) -> anyhow::Result<()> {
    let name = command.get_program().to_owned();
    let status = command.current_dir(root).status();
    let status = status.with_context(|| format!("start {}", name.display()))?;
    ensure!(status.success(), "{otherwise}: {status}");
    Ok(())
}
