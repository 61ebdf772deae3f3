//! Checks and generators for the workspace: `cargo xtask tidy | codegen [--check] | ci`, and the long
//! forms of what a build does in short: `cargo xtask sim | system | bench`.
//!
//! Not here: running the product, and a build's own checks; `./run` and `./test` do that.

mod ci;
mod codegen;
mod long;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask <task>
  tidy              edges between crates, head comments, shape of the code, words
  codegen [--check] write the generated code; with --check only say whether it is stale
  ci                formatting, clippy with warnings as errors, tests
  sim --seeds N     runs of a simulated cluster, one for each seed below N; --seed S runs one again
  system            tests of running nodes with a hundred power cuts, then every drill of a cluster
  bench             micro-benchmarks, and the table beside Apache Kafka";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = root();
    let outcome = match words[..] {
        ["tidy"] => tidy::run(&root),
        ["codegen"] => codegen::run(&root, false),
        ["codegen", "--check"] => codegen::run(&root, true),
        ["ci"] => ci::run(&root),
        ["sim", ..] => long::sim(&root, &words[1..]),
        ["system"] => long::system(&root),
        ["bench"] => long::bench(&root),
        _ => Err(anyhow::anyhow!(USAGE)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of the workspace: the one above this crate.
fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().expect("xtask lies inside the workspace").to_path_buf()
}
