//! Putting a rewritten segment in the place of others, so that a crash at any step loses nothing.
//!
//! The steps and names are Kafka's: the finished `.cleaned` files become `.swap`, then the former
//! segments become `.deleted`, oldest first, then the `.swap` files get their real names. Not every
//! file system keeps the order of renames, so the directory is synced before each step. A thread
//! that may block does that ([`SwapStep::run`]); readers have the new segment from the second step
//! on, whatever its files are called by then. Opening a log takes a `.cleaned` file as never made,
//! and finishes a swap that has a whole set of `.swap` files.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use types::Offset;

use super::marked;
use super::writer::{CLEANED, KINDS, Rewritten};
use crate::Log;
use crate::disk::{DirEntry, Disk, OpenMode, remove_if_exists, write_file_atomically};
use crate::errand::Errand;
use crate::error::{IoContext, LogError};
use crate::retention::rename_kinds;
use crate::scan::Scanner;
use crate::segment::{self, LOG, OFFSET_INDEX, SNAPSHOT, TIME_INDEX, TXN_INDEX};
use crate::txn_index::{AbortedTxn, read_entries};

/// Kafka's mark of a segment that takes the place of others.
const SWAP: &str = ".swap";
/// What of a former segment goes where another segment takes its name.
const REPLACED: [&str; 4] = [LOG, OFFSET_INDEX, TIME_INDEX, TXN_INDEX];
/// What of a former segment goes where its name is free then.
const REMOVED: [&str; 5] = [LOG, OFFSET_INDEX, TIME_INDEX, TXN_INDEX, SNAPSHOT];

/// A swap that is not finished.
#[derive(Debug)]
pub(crate) struct PendingSwap {
    step: Arc<SwapStep>,
    /// What the segment's index of aborted transactions says, until that has its name.
    aborted: Arc<[AbortedTxn]>,
}

/// New names for the files of a swap. They are given once, by whichever thread comes first.
#[derive(Debug)]
#[must_use = "the swap does not go on before its files have their names"]
pub struct SwapStep {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    base: Offset,
    kinds: Vec<&'static str>,
    /// The segments that go, once the log has dropped them.
    former: Option<Vec<Offset>>,
    /// What is to be removed later.
    renamed: Errand<Vec<PathBuf>>,
}

impl SwapStep {
    /// Renames the files. Blocks; who comes while another thread is at it waits for it.
    ///
    /// # Errors
    /// [`LogError::Io`]; hand it to the next step.
    pub fn run(&self) -> Result<(), LogError> {
        self.renamed.run(|| match &self.former {
            None => self.mark(),
            Some(former) => self.replace(former),
        })
    }

    /// After this, a crash finishes the swap.
    fn mark(&self) -> Result<Vec<PathBuf>, LogError> {
        self.rename(self.kinds.iter().copied(), CLEANED, SWAP)?;
        self.disk.sync_dir(&self.dir).of_sync(&self.dir)?;
        Ok(Vec::new())
    }

    fn replace(&self, former: &[Offset]) -> Result<Vec<PathBuf>, LogError> {
        let disk = self.disk.as_ref();
        let mut paths = Vec::new();
        for former in former {
            let kinds: &[&str] = if *former == self.base { &REPLACED } else { &REMOVED };
            paths.extend(rename_kinds(disk, &self.dir, *former, kinds)?);
        }
        disk.sync_dir(&self.dir).of_sync(&self.dir)?;
        self.rename(self.kinds.iter().copied(), SWAP, "")?;
        Ok(paths)
    }

    /// Takes back what [`SwapStep::mark`] has done.
    fn undo(&self) -> Result<(), LogError> {
        let disk = self.disk.as_ref();
        // With this name a crash drops the whole set.
        self.rename([LOG], SWAP, CLEANED)?;
        for kind in self.kinds.iter().filter(|kind| **kind != LOG) {
            let path = marked(&self.dir, self.base, kind, SWAP);
            remove_if_exists(disk, &path).context("remove", &path)?;
        }
        let path = marked(&self.dir, self.base, LOG, CLEANED);
        remove_if_exists(disk, &path).context("remove", &path)
    }

    fn rename(
        &self,
        kinds: impl IntoIterator<Item = &'static str>,
        from: &str,
        to: &str,
    ) -> Result<(), LogError> {
        kinds.into_iter().try_for_each(|kind| {
            let path = marked(&self.dir, self.base, kind, from);
            let renamed = self.disk.rename(&path, &marked(&self.dir, self.base, kind, to));
            renamed.context("rename", &path)
        })
    }
}

impl Log {
    /// Begins to put a segment in place; `None` where the log was cut meanwhile, so that the
    /// segment is of no use any more.
    ///
    /// # Errors
    /// [`LogError`] where the log is offline or goes offline.
    pub fn begin_swap(&mut self, rewritten: &Rewritten) -> Result<Option<Arc<SwapStep>>, LogError> {
        self.check_online()?;
        self.finish_roll()?;
        if self.place_of(rewritten).is_none() {
            return Ok(None);
        }
        Ok(Some(self.swap_step(rewritten, None)))
    }

    /// Lets the segment take the place of the former ones, with the outcome of the first step;
    /// `None` where the log was cut meanwhile and the segment is gone.
    ///
    /// # Errors
    /// [`LogError::Io`], which takes the log offline; opening it finishes the swap.
    pub fn replace_segments(
        &mut self,
        rewritten: Rewritten,
        outcome: Result<(), LogError>,
    ) -> Result<Option<Arc<SwapStep>>, LogError> {
        self.check_online()?;
        self.failed |= outcome.is_err();
        outcome?;
        let place = self.place_of(&rewritten);
        let Some((first, _)) = place.zip(self.pending_swap.as_ref()) else {
            self.end_pending_swap()?;
            return Ok(None);
        };
        let (base, count) = (rewritten.base(), rewritten.former.len());
        let former: Vec<Offset> = rewritten.former.iter().map(|(former, _)| *former).collect();
        self.snapshots.retain(|offset| *offset == base || !former.contains(offset));
        self.forget_txn_indexes(&former);
        if !rewritten.aborted.is_empty() {
            let at = self.txn_indexes.partition_point(|offset| *offset < base);
            self.txn_indexes.insert(at, base);
        }
        let step = self.swap_step(&rewritten, Some(former));
        self.closed.splice(first..first + count, [rewritten.segment]);
        // They tell positions in the former files.
        self.hints.clear();
        // What kept it from being compacted may be gone.
        self.clear_uncleanable();
        Ok(Some(step))
    }

    /// Takes note that the segment's files have their names, or could not get them.
    ///
    /// # Errors
    /// The step's own, which takes the log offline; opening it finishes the swap.
    pub fn end_swap(
        &mut self,
        step: &Arc<SwapStep>,
        outcome: Result<(), LogError>,
    ) -> Result<(), LogError> {
        self.check_online()?;
        // Somebody could not wait and has renamed them meanwhile.
        if !self.pending_swap.as_ref().is_some_and(|pending| Arc::ptr_eq(&pending.step, step)) {
            return Ok(());
        }
        self.failed |= outcome.is_err();
        outcome?;
        self.end_pending_swap()
    }

    /// A swap comes to its end at once, forward or back, before the log is cut or closed. Blocks
    /// where its files have not got their names yet.
    pub(crate) fn end_pending_swap(&mut self) -> Result<(), LogError> {
        let Some(PendingSwap { step, .. }) = self.pending_swap.take() else { return Ok(()) };
        step.run()?;
        let paths = step.renamed.take();
        if step.former.is_none() {
            return step.undo();
        }
        self.remove_later(paths);
        Ok(())
    }

    /// The aborted transactions of a segment whose index has not got its name yet.
    pub(crate) fn unnamed_aborted(&self, base: Offset) -> Option<Arc<[AbortedTxn]>> {
        let is_its =
            |pending: &&PendingSwap| pending.step.base == base && pending.step.former.is_some();
        self.pending_swap.as_ref().filter(is_its).map(|pending| Arc::clone(&pending.aborted))
    }

    fn swap_step(&mut self, rewritten: &Rewritten, former: Option<Vec<Offset>>) -> Arc<SwapStep> {
        let step = Arc::new(SwapStep {
            disk: Arc::clone(&self.disk),
            dir: self.dir.clone(),
            base: rewritten.base(),
            kinds: rewritten.kinds().collect(),
            former,
            renamed: Errand::default(),
        });
        let aborted = Arc::clone(&rewritten.aborted);
        self.pending_swap = Some(PendingSwap { step: Arc::clone(&step), aborted });
        step
    }

    /// Where the segments are whose place a rewritten one takes; `None` where they are not what
    /// they were.
    fn place_of(&self, rewritten: &Rewritten) -> Option<usize> {
        let first = self.closed.partition_point(|segment| segment.base < rewritten.base());
        let found = self.closed.get(first..first + rewritten.former.len())?;
        let found = found.iter().map(|segment| (segment.base, segment.bytes));
        let is_same = rewritten.generation == self.generation;
        (is_same && found.eq(rewritten.former.iter().copied())).then_some(first)
    }
}

/// Finishes or takes back the swaps that a crash left, Kafka's included.
pub(crate) fn recover_swaps(
    disk: &dyn Disk,
    dir: &Path,
    entries: &[DirEntry],
) -> Result<(), LogError> {
    let mut swaps = BTreeSet::new();
    let mut unfinished = BTreeSet::new();
    for entry in entries {
        for (suffix, bases) in [(SWAP, &mut swaps), (CLEANED, &mut unfinished)] {
            let plain = entry.name.strip_suffix(suffix);
            if let Some((base, _)) = plain.and_then(segment::parse_name) {
                bases.insert(base);
            }
        }
    }
    let first_unfinished = unfinished.first().copied().unwrap_or(Offset::MAX);
    for base in swaps {
        // The files of a swap get their names one by one. Kafka, where it makes several segments
        // of one, does so from the last to the first: then those behind are part of it, too.
        if base >= first_unfinished {
            tracing::info!(log = %dir.display(), %base, "dropping a compaction that had not ended");
            remove_marked(disk, dir, base, SWAP)?;
        } else {
            tracing::info!(log = %dir.display(), %base, "finishing the swap of a compacted segment");
            recover_swap(disk, dir, base, entries)?;
        }
    }
    if !unfinished.is_empty() {
        // A `.swap` file that a crash brings back must not be taken for a whole set.
        disk.sync_dir(dir).of_sync(dir)?;
    }
    for base in unfinished {
        remove_marked(disk, dir, base, CLEANED)?;
    }
    Ok(())
}

fn remove_marked(disk: &dyn Disk, dir: &Path, base: Offset, suffix: &str) -> Result<(), LogError> {
    for kind in KINDS {
        let path = marked(dir, base, kind, suffix);
        remove_if_exists(disk, &path).context("remove", &path)?;
    }
    Ok(())
}

fn recover_swap(
    disk: &dyn Disk,
    dir: &Path,
    base: Offset,
    entries: &[DirEntry],
) -> Result<(), LogError> {
    let swap = marked(dir, base, LOG, SWAP);
    let end = match disk.open(&swap, OpenMode::Read) {
        Ok(file) => {
            let bytes = file.len().context("read", &swap)?;
            let mut scanner = Scanner::new(file.as_ref(), 0, bytes);
            let (mut end, mut markers) = (base, BTreeSet::new());
            while let Some(Ok((_, header))) = scanner.step().context("read", &swap)? {
                end = header.next_offset();
                if header.attributes.is_control() && header.record_count > 0 {
                    markers.insert(header.base_offset());
                }
            }
            retain_aborted(disk, dir, base, &markers)?;
            end
        }
        // The log file has its name already, what is left are indexes.
        Err(error) if error.kind() == io::ErrorKind::NotFound => base,
        Err(cause) => return Err(LogError::Io { action: "open", path: swap, cause }),
    };
    let names = entries.iter().filter_map(|entry| segment::parse_name(&entry.name));
    let mut former: Vec<Offset> =
        names.filter(|(b, kind)| *kind == LOG && *b > base && *b < end).map(|(b, _)| b).collect();
    former.sort();
    for former in former {
        for kind in REMOVED {
            let path = segment::path(dir, former, kind);
            remove_if_exists(disk, &path).context("remove", &path)?;
        }
    }
    // Without their rest, what the swap replaces cannot come back beside it.
    disk.sync_dir(dir).of_sync(dir)?;
    for kind in KINDS {
        let path = marked(dir, base, kind, SWAP);
        match disk.rename(&path, &segment::path(dir, base, kind)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed.context("rename", &path)?,
        }
    }
    Ok(())
}

/// Drops the aborted transactions of the former segment at `base` whose markers are gone. Kafka
/// makes no index where none is left, and then the former one is still there.
fn retain_aborted(
    disk: &dyn Disk,
    dir: &Path,
    base: Offset,
    markers: &BTreeSet<Offset>,
) -> Result<(), LogError> {
    let mut known = read_entries(disk, dir, base)?;
    let count = known.len();
    known.retain(|txn| markers.contains(&txn.last_offset));
    if known.len() == count {
        return Ok(());
    }
    let path = segment::path(dir, base, TXN_INDEX);
    let content: Vec<u8> = known.into_iter().flat_map(AbortedTxn::to_bytes).collect();
    write_file_atomically(disk, &path, &content).context("write", &path)
}
