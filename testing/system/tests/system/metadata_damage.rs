//! Damage to what the controller keeps: the node does not start from less than it had, and takes no
//! topic away.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use records::{BatchBuilder, Compression, split_batches};
use thalweg_system::client::Client;
use thalweg_system::process::NodeSpec;

const TOPICS: usize = 5;
/// Where the metadata log lies.
const METADATA: &str = "__cluster_metadata-0";

fn topic(number: usize) -> String {
    format!("kept-{number}")
}

/// A node that has made some topics and was killed, or stopped in good order.
fn used(folder: &Path, is_killed: bool) -> anyhow::Result<NodeSpec> {
    let spec = NodeSpec::new(folder)?;
    let node = spec.start()?;
    let mut client = Client::connect(node.address())?;
    for number in 0..TOPICS {
        client.create_topic(&topic(number), 1, &[])?;
        let mut batch = BatchBuilder::new(Compression::None);
        batch.append(0, None, Some(b"kept"), &[]);
        client.produce(&topic(number), 0, batch.build())?;
    }
    drop(client);
    match is_killed {
        true => node.kill()?,
        false => ensure!(node.stop()?.success()),
    }
    Ok(spec)
}

fn metadata(spec: &NodeSpec) -> PathBuf {
    spec.data().join(METADATA)
}

/// Demands that the node ends by itself, says why, and leaves all folders of topics.
fn refuses_to_start(spec: &NodeSpec, why: &str) -> anyhow::Result<()> {
    let (status, output) = spec.spawn()?.wait_end()?;
    ensure!(!status.success() && output.contains(why), "{status}: {output}");
    ensure!(!output.contains("panicked"), "{output}");
    for number in 0..TOPICS {
        let folder = spec.data().join(format!("{}-0", topic(number)));
        ensure!(folder.is_dir(), "{} is gone\n{output}", folder.display());
    }
    Ok(())
}

#[test]
fn a_log_that_is_damaged_in_its_middle_is_not_cut_there() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let spec = used(folder.path(), true)?;
    damage_the_middle(&spec.data())?;
    refuses_to_start(&spec, "damaged")
}

/// Flips a bit of a batch in the middle of the metadata log below a directory.
pub fn damage_the_middle(data: &Path) -> anyhow::Result<()> {
    let path = data.join(METADATA).join(format!("{:020}.log", 0));
    let bytes = fs::read(&path)?;
    let batches: Vec<_> = split_batches(&bytes).map_while(Result::ok).collect();
    let (range, _) = &batches[batches.len() / 2];
    let at = (range.end - 1) as u64;
    let file = OpenOptions::new().write(true).open(&path)?;
    file.write_all_at(&[bytes[range.end - 1] ^ 1], at)?;
    Ok(())
}

#[test]
fn a_checkpoint_that_is_cut_between_its_batches_is_not_a_smaller_cluster() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let spec = used(folder.path(), false)?;
    let files = fs::read_dir(metadata(&spec))?.map(|file| Ok(file?.path()));
    let files: Vec<PathBuf> = files.collect::<anyhow::Result<_>>()?;
    let is_checkpoint = |path: &&PathBuf| path.extension().is_some_and(|it| it == "checkpoint");
    let newest = files.iter().filter(is_checkpoint).max().context("no checkpoint")?;
    let bytes = fs::read(newest)?;
    let (first, _) = split_batches(&bytes).next().context("it is empty")??;
    OpenOptions::new().write(true).open(newest)?.set_len(first.end as u64)?;
    refuses_to_start(&spec, "damaged")
}
