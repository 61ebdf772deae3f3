//! The drill of bits that flip: each replica has lost something else, and gets it from the others.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use records::split_batches;
use types::ErrorCode;

use crate::client::{Client, Refused};
use crate::cluster::Cluster;
use crate::cluster::drill::TOPIC;
use crate::cluster::member::address;
use crate::process::wait_for;

/// What a replica lacks it has from another one in this time.
const MENDED_MAX: Duration = Duration::from_secs(60);
/// The batch that is damaged on the first node, and how much further that of the next one is.
const FLIPPED_FIRST: usize = 2;
const FLIPPED_APART: usize = 5;

impl Cluster {
    /// Each node in turn is stopped, a bit flips in its copy, and it comes back. Then all that
    /// was there is read from each.
    pub(super) fn flip_all(&mut self) -> anyhow::Result<()> {
        let ids: Vec<u8> = self.network.nodes().collect();
        let mut behind = 0;
        for (at, &id) in ids.iter().enumerate() {
            self.member(id).terminate()?;
            self.member(id).wait_end()?;
            let folders = self.replicas(TOPIC, 0);
            let folder = folders.iter().find(|(node, _)| *node == id).context("it has no copy")?;
            behind = behind.max(flip(&folder.1, FLIPPED_FIRST + at * FLIPPED_APART)?);
            self.member(id).start()?;
            self.wait_until_level()?;
        }
        ids.iter().try_for_each(|&id| self.read_until_whole(id, behind))
    }

    /// Reads everything before an offset from a node, whether it leads or follows. It may say
    /// that it cannot read, for a while, and nothing else.
    fn read_until_whole(&self, id: u8, end: i64) -> anyhow::Result<()> {
        let epoch = self.lead(TOPIC, 0)?.epoch;
        let mut client = Client { leader_epoch: epoch, ..Client::connect(address(id))? };
        let mut next = 0;
        wait_for(&format!("node {id} has all it lacked"), MENDED_MAX, || {
            while next < end {
                let data = match client.fetch(TOPIC, 0, next) {
                    Ok(data) => data,
                    Err(error) => match error.downcast::<Refused>()?.code {
                        ErrorCode::KafkaStorageError => return Ok(false),
                        code => bail!("node {id} answers {code} at {next}"),
                    },
                };
                let bytes = data.records.unwrap_or_default();
                let last = split_batches(&bytes).map_while(Result::ok).last();
                let (_, header) = last.context("there is nothing")?;
                next = header.next_offset().get();
            }
            Ok(true)
        })
    }
}

/// Flips a bit of the records of a batch; gives the offset behind it.
fn flip(folder: &Path, batch: usize) -> anyhow::Result<i64> {
    let path = folder.join(format!("{:020}.log", 0));
    let bytes = fs::read(&path)?;
    let (range, header) = split_batches(&bytes).nth(batch).context("so few batches")??;
    let at = range.end - 1;
    OpenOptions::new().write(true).open(&path)?.write_all_at(&[bytes[at] ^ 2], at as u64)?;
    Ok(header.next_offset().get())
}
