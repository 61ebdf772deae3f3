//! Drills a cluster of thalweg or of Apache Kafka by hand; the tests do the same in short.
//!
//!     drill thalweg=BINARY|kafka=FOLDER NODES DRILL [SEED]
//!     drill thalweg=BINARY|kafka=FOLDER all
//!
//! The latter does each with the nodes that it is made for. FOLDER holds the jars of Apache Kafka. THALWEG_ROUNDS says how often what is done again and again, THALWEG_PREVIOUS names the
//! binary that a rolling upgrade begins with, THALWEG_BESIDE has a client of others produce, too: `java=FOLDER`, or `librdkafka=PYTHON`
//! with the Python that has `confluent_kafka`. Runs as root in namespaces of its own and leaves nothing, but what the nodes had in the
//! folder KEEP, where that is set and the drill fails. RUST_LOG has thalweg's own client tell what it does.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use thalweg_system::cluster::drill::{self, DRILLS, Drill, Plan};
use thalweg_system::cluster::member::Kind;
use thalweg_system::sandbox::program_in_own_network;
use tracing_subscriber::EnvFilter;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (kind, nodes, drill) = match &arguments[..] {
        [kind, all] if all == "all" => return run_all(kind),
        [kind, nodes, drill] | [kind, nodes, drill, _] => {
            (parse_kind(kind)?, nodes.parse::<u8>()?, drill.parse::<Drill>()?)
        }
        _ => bail!(
            "drill thalweg=BINARY|kafka=FOLDER all, or NODES {} [SEED]",
            DRILLS.map(|(name, _)| name).join("|")
        ),
    };
    let seed = match arguments.get(3) {
        Some(seed) => seed.parse()?,
        None => u64::from(SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos()),
    };
    let plan = Plan::new(kind, nodes, drill, seed)?;
    let again: Vec<&str> = arguments.iter().map(String::as_str).collect();
    program_in_own_network(&again, || {
        if std::env::var_os("RUST_LOG").is_some() {
            let filter = EnvFilter::from_default_env();
            tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
        }
        let folder = tempfile::tempdir()?;
        let outcome = drill::run(&plan, folder.path());
        if outcome.as_ref().map_or(true, |outcome| !outcome.faults.is_empty()) {
            keep(folder.path())?;
        }
        let outcome = outcome?;
        println!("{drill:?}, {nodes} nodes, seed {seed}: {outcome}");
        for fault in &outcome.faults {
            println!("{fault}");
        }
        ensure!(outcome.faults.is_empty(), "promises were broken");
        Ok(())
    })
}

/// Each drill in a process of its own, whatever becomes of the others.
fn run_all(kind: &str) -> anyhow::Result<()> {
    let own = std::env::current_exe()?;
    let mut failed = Vec::new();
    for (name, drill) in DRILLS {
        let nodes = drill.nodes().to_string();
        let status = Command::new(&own).args([kind, nodes.as_str(), name]).status();
        if !status.with_context(|| format!("cannot run {}", own.display()))?.success() {
            println!("{name} has failed");
            failed.push(name);
        }
    }
    ensure!(failed.is_empty(), "{} of {} have failed: {failed:?}", failed.len(), DRILLS.len());
    println!("{} drills, none has failed", DRILLS.len());
    Ok(())
}

/// Copies what the nodes have left to the folder that KEEP names, if it names one.
fn keep(folder: &Path) -> anyhow::Result<()> {
    let Some(place) = std::env::var_os("KEEP") else { return Ok(()) };
    let copied =
        Command::new("cp").args(["-a", "--sparse=always"]).arg(folder).arg(&place).status();
    ensure!(copied.context("cannot run cp")?.success(), "cannot copy to {}", place.display());
    Ok(())
}

fn parse_kind(text: &str) -> anyhow::Result<Kind> {
    let (name, path) = text.split_once('=').context("thalweg=BINARY or kafka=FOLDER")?;
    match name {
        "thalweg" => Ok(Kind::Thalweg(PathBuf::from(path))),
        "kafka" => Ok(Kind::Kafka(PathBuf::from(path))),
        _ => bail!("{name} is no kind of node"),
    }
}
