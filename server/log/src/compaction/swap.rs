//! Putting a rewritten segment in the place of others, so that a crash at any step loses nothing.
//!
//! The steps and names are Kafka's: the finished `.cleaned` files become `.swap`, then the former
//! segments become `.deleted`, oldest first, then the `.swap` files get their real names. Not every
//! file system keeps the order of renames, so the directory is synced before each step. Readers
//! have the new segment from the second step on, by the files that are open already. Opening a log
//! takes a `.cleaned` file as never made, and finishes a swap that has a whole set of `.swap` files.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use types::Offset;

use super::marked;
use super::writer::{CLEANED, KINDS, Rewritten};
use crate::Log;
use crate::disk::{DirEntry, Disk, OpenMode, remove_if_exists, write_file_atomically};
use crate::error::{IoContext, LogError};
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
    base: Offset,
    kinds: Vec<&'static str>,
    /// Whether the former segments are gone.
    is_in_place: bool,
}

/// The directory to sync between two steps of a swap.
#[derive(Debug)]
#[must_use = "the swap does not go on before the sync"]
pub struct SwapTicket {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl SwapTicket {
    /// Forces the step onto stable storage. Blocks.
    ///
    /// # Errors
    /// The sync's own; hand it to the next step.
    pub fn sync(self) -> io::Result<()> {
        self.disk.sync_dir(&self.dir)
    }
}

impl Log {
    /// Begins to put a segment in place; `None` where the log was cut meanwhile, so that the
    /// segment is of no use any more. After the sync, a crash finishes the swap.
    ///
    /// # Errors
    /// [`LogError::Io`], which takes the log offline.
    pub fn begin_swap(&mut self, rewritten: &Rewritten) -> Result<Option<SwapTicket>, LogError> {
        self.check_online()?;
        self.finish_roll()?;
        if self.place_of(rewritten).is_none() {
            return Ok(None);
        }
        let base = rewritten.base();
        for kind in rewritten.kinds() {
            let renamed = self.rename_marked(base, kind, CLEANED, SWAP);
            self.failed |= renamed.is_err();
            renamed?;
        }
        let kinds = rewritten.kinds().collect();
        self.pending_swap = Some(PendingSwap { base, kinds, is_in_place: false });
        Ok(Some(self.swap_ticket()))
    }

    /// Lets the segment take the place of the former ones, with the outcome of the sync; `None`
    /// where the log was cut meanwhile and the segment is gone.
    ///
    /// # Errors
    /// [`LogError::Io`], which takes the log offline; opening it finishes the swap.
    pub fn replace_segments(
        &mut self,
        rewritten: Rewritten,
        synced: io::Result<()>,
    ) -> Result<Option<SwapTicket>, LogError> {
        self.check_online()?;
        let place = self.place_of(&rewritten);
        let Some((first, _)) = place.zip(self.pending_swap.as_ref()) else {
            self.end_pending_swap()?;
            return Ok(None);
        };
        let replaced = synced.of_sync(&self.dir).and_then(|()| self.replace(first, rewritten));
        self.failed |= replaced.is_err();
        replaced?;
        Ok(Some(self.swap_ticket()))
    }

    /// Gives the segment's files their names, with the outcome of the sync.
    ///
    /// # Errors
    /// [`LogError::Io`], which takes the log offline; opening it finishes the swap.
    pub fn finish_swap(&mut self, synced: io::Result<()>) -> Result<(), LogError> {
        self.check_online()?;
        let finished = synced.of_sync(&self.dir).and_then(|()| self.end_pending_swap());
        self.failed |= finished.is_err();
        finished
    }

    fn replace(&mut self, first: usize, rewritten: Rewritten) -> Result<(), LogError> {
        let base = rewritten.base();
        for (former, _) in &rewritten.former {
            let kinds: &[&str] = if *former == base { &REPLACED } else { &REMOVED };
            self.delete_kinds(*former, kinds)?;
        }
        if rewritten.has_txn_index {
            // It is read by its name, the other files are open.
            self.rename_marked(base, TXN_INDEX, SWAP, "")?;
        }
        if rewritten.has_aborted
            && let Err(at) = self.txn_indexes.binary_search(&base)
        {
            self.txn_indexes.insert(at, base);
        }
        if let Some(pending) = &mut self.pending_swap {
            pending.is_in_place = true;
            pending.kinds.retain(|kind| *kind != TXN_INDEX);
        }
        let behind = first + rewritten.former.len();
        self.closed.splice(first..behind, [rewritten.segment]);
        // They tell positions in the former files.
        self.hints.clear();
        Ok(())
    }

    /// A swap comes to its end at once, forward or back, before the log is cut or closed.
    pub(crate) fn end_pending_swap(&mut self) -> Result<(), LogError> {
        let Some(PendingSwap { base, kinds, is_in_place }) = self.pending_swap.take() else {
            return Ok(());
        };
        if is_in_place {
            self.sync.dir_is_dirty = true;
            return kinds.into_iter().try_for_each(|kind| self.rename_marked(base, kind, SWAP, ""));
        }
        // With this name a crash drops the whole set.
        self.rename_marked(base, LOG, SWAP, CLEANED)?;
        for kind in kinds.into_iter().filter(|kind| *kind != LOG) {
            let path = marked(&self.dir, base, kind, SWAP);
            remove_if_exists(self.disk.as_ref(), &path).context("remove", &path)?;
        }
        let path = marked(&self.dir, base, LOG, CLEANED);
        remove_if_exists(self.disk.as_ref(), &path).context("remove", &path)
    }

    fn swap_ticket(&self) -> SwapTicket {
        SwapTicket { disk: Arc::clone(&self.disk), dir: self.dir.clone() }
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

    fn rename_marked(
        &self,
        base: Offset,
        kind: &str,
        from: &str,
        to: &str,
    ) -> Result<(), LogError> {
        let path = marked(&self.dir, base, kind, from);
        self.disk.rename(&path, &marked(&self.dir, base, kind, to)).context("rename", &path)
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
