//! Hostile bytes against the real process: it withstands, and its memory and its log stay clean.

use std::net::SocketAddr;

use anyhow::ensure;
use thalweg_system::hostile::{CONTROL_MARK, Report, attack, attack_controller};
use thalweg_system::process::NodeSpec;

/// All attacks together may not make the process larger than this.
const GROWTH_BYTES_MAX: u64 = 256 << 20;

#[test]
fn hostile_bytes_are_withstood_in_bounded_memory() -> anyhow::Result<()> {
    withstands(|spec| attack(SocketAddr::from(([127, 0, 0, 1], spec.port))))
}

#[test]
fn hostile_bytes_for_the_controller_are_withstood_in_bounded_memory() -> anyhow::Result<()> {
    withstands(|spec| {
        let clients = SocketAddr::from(([127, 0, 0, 1], spec.port));
        let servers = &spec.properties["controller.quorum.bootstrap.servers"];
        attack_controller(servers.parse()?, clients)
    })
}

fn withstands(attack: impl FnOnce(&NodeSpec) -> anyhow::Result<Report>) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let spec = NodeSpec::new(folder.path())?;
    let node = spec.start()?;
    let before = node.resident_bytes_peak()?;
    let report = attack(&spec)?;
    let growth = node.resident_bytes_peak()? - before;
    println!("{report}the most memory it took: {} KiB more", growth >> 10);
    let output = node.output();
    ensure!(report.failures().next().is_none(), "{output}");
    ensure!(growth < GROWTH_BYTES_MAX, "{growth} bytes\n{output}");
    ensure!(!output.contains(CONTROL_MARK), "a stranger writes to the terminal\n{output}");
    let raw = output.chars().find(|&c| c.is_control() && c != '\n' && c != '\t');
    ensure!(raw.is_none(), "{raw:?} in the log\n{output:?}");
    ensure!(!output.contains("panicked"), "{output}");
    ensure!(node.stop()?.success(), "the node does not stop cleanly after attacks");
    // What was written down can be read again.
    ensure!(spec.start()?.stop()?.success(), "the node does not start again after attacks");
    Ok(())
}
