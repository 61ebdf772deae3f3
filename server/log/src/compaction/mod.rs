//! Compaction: of each key, only the latest record stays.
//!
//! The log's owner plans a [`Compaction`] ([`Log::plan_compaction`]); a thread that may block maps
//! the keys of the new part and rewrites group after group of closed segments
//! ([`Compaction::rewrite_next`]), but none of which nothing is to be dropped; the owner puts each
//! [`Rewritten`] segment in the place of the former ones ([`Log::begin_swap`],
//! [`Log::replace_segments`], [`Log::end_swap`]), unless the log was cut meanwhile. Nothing else
//! rewrites the log as long as there is the plan. What is damaged is mended in the same way
//! ([`Mending`]).
//!
//! Not here: which log is next and at what pace (`node`).

mod dirty;
mod key_map;
mod mending;
mod output;
mod rewrite;
mod swap;
mod transactions;
mod writer;

use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use types::{Millis, Offset};

use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::LogError;
use crate::segment::{self, LOG};

pub use dirty::CompactionNeed;
pub use mending::{Donor, Mended, Mending};
pub use swap::SwapStep;
pub use writer::Rewritten;

use key_map::KeyMap;
use rewrite::LastBatches;
use transactions::Transactions;

pub(crate) use swap::{PendingSwap, recover_swaps};

/// Told of bytes read and written; it may wait, and ends the work by `Break`.
pub type Pace<'a> = &'a mut dyn FnMut(u64) -> ControlFlow<()>;

/// The least that is read or written at once.
const CHUNK_BYTES_MIN: usize = 4 << 10;
/// Segments that become one at most: each costs some renames, for which a cut of the log may wait.
const GROUP_SEGMENTS_MAX: usize = 64;

/// Memory for one compaction: its share of what all have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CleanerBuffers {
    /// `log.cleaner.dedupe.buffer.size`: for the keys.
    pub dedupe_bytes: usize,
    /// `log.cleaner.io.buffer.load.factor`: how full the table of keys may get.
    pub load_factor: f64,
    /// `log.cleaner.io.buffer.size`: one half for reading, one for writing.
    pub io_bytes: usize,
}

/// What a compaction has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CompactionTally {
    /// Bytes read to map the keys.
    pub bytes_mapped: u64,
    /// Bytes looked through for what may go.
    pub bytes_read: u64,
    /// Bytes of both that were not in memory.
    pub bytes_cold: u64,
    /// Bytes of the segments that were written anew.
    pub bytes_written: u64,
    /// Records without a key that were dropped: their time was before the topic was compacted.
    pub keyless_dropped: u64,
    /// How full the table of keys got, from 0 to 1.
    pub dedupe_utilization: f64,
}

/// Why a compaction ends early. The log is as it was.
#[derive(Debug, thiserror::Error)]
pub enum CompactionError {
    /// The files cannot be read or written, or are damaged.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The caller's pace said so.
    #[error("compaction was told to stop")]
    Stopped,
    /// A segment was deleted meanwhile.
    #[error("a segment was deleted while it was compacted")]
    Overtaken,
    /// Not even one batch can be mapped.
    #[error(
        "the keys of the batch at offset {offset} do not fit into a table of {slots} keys: \
         raise log.cleaner.dedupe.buffer.size or lower log.cleaner.threads"
    )]
    TooManyKeys { offset: Offset, slots: usize },
}

/// A segment to compact, as it was when the compaction was planned.
#[derive(Clone, Copy, Debug)]
struct Source {
    base: Offset,
    /// Where the next segment begins.
    end: Offset,
    bytes: u64,
    modified: Millis,
}

/// A planned compaction; see the head of this module.
#[derive(Debug)]
pub struct Compaction {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    config: Arc<crate::LogConfig>,
    generation: u64,
    now: Millis,
    /// From the log's first segment to the first that may not be compacted.
    sources: Vec<Source>,
    first_dirty: Offset,
    /// Where the first segment begins that may not be compacted.
    until: Offset,
    last_batches: LastBatches,
    txn_indexes: Vec<Offset>,
    /// Bytes read, or written, at once.
    chunk_bytes: usize,
    started: Option<Started>,
    tally: Cell<CompactionTally>,
    /// As long as it is held, nobody else rewrites the log.
    _claim: Arc<()>,
}

/// What a compaction has found out when its keys are mapped.
#[derive(Debug)]
struct Started {
    keys: KeyMap,
    transactions: Transactions,
    /// Segments that become one, the first group first.
    groups: VecDeque<Vec<Source>>,
}

impl Compaction {
    /// Maps the keys at the first call; goes on to the next group of segments of which something
    /// is to be dropped or that are to be one, and gives the result; `None` after the last group.
    /// Blocks.
    ///
    /// # Errors
    /// [`CompactionError`]; drop the compaction then.
    pub fn rewrite_next(
        &mut self,
        buffers: CleanerBuffers,
        pace: Pace<'_>,
    ) -> Result<Option<Rewritten>, CompactionError> {
        let mut started = match self.started.take() {
            Some(started) => started,
            None => self.start(buffers, pace)?,
        };
        let mut rewritten = None;
        while rewritten.is_none() {
            let Some(group) = started.groups.pop_front() else { break };
            rewritten = self.rewrite(&group, &mut started, pace)?;
        }
        self.started = Some(started);
        Ok(rewritten)
    }

    /// Up to where the log is compacted once every group is in place.
    pub fn end(&self) -> Offset {
        self.started.as_ref().map_or(self.first_dirty, |started| started.keys.mapped_until())
    }

    /// What has been done.
    pub fn tally(&self) -> CompactionTally {
        self.tally.get()
    }

    fn count(&self, change: impl FnOnce(&mut CompactionTally)) {
        let mut tally = self.tally.get();
        change(&mut tally);
        self.tally.set(tally);
    }

    fn start(
        &mut self,
        buffers: CleanerBuffers,
        pace: Pace<'_>,
    ) -> Result<Started, CompactionError> {
        self.chunk_bytes = (buffers.io_bytes / 2).max(CHUNK_BYTES_MIN);
        let transactions = Transactions::read(self.disk.as_ref(), &self.dir, &self.txn_indexes)?;
        let keys = self.map_keys(&transactions, buffers, pace)?;
        self.count(|tally| {
            tally.dedupe_utilization = keys.utilization();
            tally.bytes_mapped = std::mem::take(&mut tally.bytes_read);
        });
        let end = keys.mapped_until();
        let groups = self.group(end);
        Ok(Started { keys, transactions, groups })
    }

    /// Neighbours become one segment as long as it is no larger than `segment.bytes`.
    fn group(&self, end: Offset) -> VecDeque<Vec<Source>> {
        let mut groups: VecDeque<Vec<Source>> = VecDeque::new();
        for source in self.sources.iter().filter(|source| source.base < end) {
            match groups.back_mut() {
                Some(group) if self.fits(group, source) => group.push(*source),
                _ => groups.push_back(vec![*source]),
            }
        }
        groups
    }

    fn fits(&self, group: &[Source], source: &Source) -> bool {
        let bytes = group.iter().map(|source| source.bytes).sum::<u64>() + source.bytes;
        let reach = source.end - group[0].base;
        // An entry stands for more than the interval, and the time index closes with one more.
        let entries = bytes / (u64::from(self.config.index_interval_bytes) + 1) + 2;
        let index_bytes = entries * crate::time_index::ENTRY_BYTES as u64;
        group.len() < GROUP_SEGMENTS_MAX
            && bytes <= u64::from(self.config.segment_bytes)
            && reach <= i64::from(i32::MAX)
            && index_bytes <= u64::from(self.config.segment_index_bytes)
    }

    /// The log file of a segment.
    fn open(&self, base: Offset) -> Result<Arc<dyn DiskFile>, CompactionError> {
        let path = self.path(base);
        match self.disk.open(&path, OpenMode::Read) {
            Ok(file) => Ok(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(CompactionError::Overtaken)
            }
            Err(cause) => Err(LogError::Io { action: "open", path, cause }.into()),
        }
    }

    fn path(&self, base: Offset) -> PathBuf {
        segment::path(&self.dir, base, LOG)
    }
}

/// The file of a rewritten segment before it is in place.
fn marked(dir: &Path, base: Offset, kind: &str, suffix: &str) -> PathBuf {
    crate::disk::with_suffix(&segment::path(dir, base, kind), suffix)
}

#[cfg(test)]
mod tests;
