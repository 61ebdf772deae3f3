//! Hostile bytes against the real process: it withstands, and its memory and its log stay clean.

use anyhow::ensure;
use thalweg_system::hostile::{CONTROL_MARK, attack};
use thalweg_system::process::NodeSpec;

/// All attacks together may not make the process larger than this.
const GROWTH_BYTES_MAX: u64 = 256 << 20;

#[test]
fn hostile_bytes_are_withstood_in_bounded_memory() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = NodeSpec::new(folder.path())?.start()?;
    let before = node.resident_bytes_peak()?;
    let report = attack(node.address())?;
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
    Ok(())
}
