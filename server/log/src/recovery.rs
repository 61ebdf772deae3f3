//! Opening a log: what the files say, and what of that may be trusted.
//!
//! After a clean stop no data is read but the end of the active segment. After a crash the
//! batches from the recovery point on are read whole (`unsynced`); indexes, producer state and
//! leader epochs are rebuilt from them.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use types::{Millis, Offset};

use crate::checkpoint::read_epochs;
use crate::compaction::recover_swaps;
use crate::config::LogConfig;
use crate::disk::{Disk, OpenMode, read_file_if_exists, remove_if_exists};
use crate::error::{IoContext, LogError};
use crate::leader_epochs::{CHECKPOINT_NAME, LeaderEpochs};
use crate::log::{Log, Opening};
use crate::offset_index::{self, OffsetIndex};
use crate::read::ReadHints;
use crate::rest::Size;
use crate::scan::{Scanner, order_fault};
use crate::segment::{
    self, ActiveSegment, DELETED_SUFFIX, LOG, Newest, OFFSET_INDEX, SNAPSHOT, Segment, TIME_INDEX,
    TXN_INDEX,
};
use crate::sync::SyncState;
use crate::time_index::{self, TimeIndex};

mod front;
mod unsynced;

/// Indexes say with 32 bits where a batch is. Segments are rolled before 2 GiB, but for a batch.
const SEGMENT_BYTES_MAX: u64 = u32::MAX as u64;

/// What a folder holds, by the names of its files.
#[derive(Debug, Default)]
struct Listing {
    segments: Vec<Segment>,
    /// Lengths of the index files: offset index, time index.
    indexes: Vec<(Offset, &'static str, u64)>,
    snapshots: Vec<Offset>,
    txn_indexes: Vec<Offset>,
}

impl Listing {
    fn has_indexes(&self, segment: &Segment) -> bool {
        let bytes = |wanted| {
            let mut all = self.indexes.iter();
            all.find(|(base, kind, _)| *base == segment.base && *kind == wanted).map(|i| i.2)
        };
        let offset_entry = offset_index::ENTRY_BYTES as u64;
        let time_entry = time_index::ENTRY_BYTES as u64;
        bytes(OFFSET_INDEX).is_some_and(|bytes| bytes % offset_entry == 0)
            && bytes(TIME_INDEX).is_some_and(|bytes| bytes % time_entry == 0)
    }
}

impl Log {
    /// Opens the log in `dir`, or makes it where there is none. `now` is wall time. Blocks.
    ///
    /// # Errors
    /// [`LogError::Damaged`] names file and position of what cannot be right; nothing has been cut
    /// then.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        config: Arc<LogConfig>,
        opening: Opening,
        now: Millis,
    ) -> Result<Self, LogError> {
        Self::open_watched(disk, dir, config, opening, now, &mut |_| {})
    }

    /// As [`Log::open`]; `left` hears how many segments are still to be scanned, at first and after
    /// each.
    ///
    /// # Errors
    /// Those of [`Log::open`].
    pub fn open_watched(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        config: Arc<LogConfig>,
        opening: Opening,
        now: Millis,
        left: &mut dyn FnMut(usize),
    ) -> Result<Self, LogError> {
        disk.create_dir_all(&dir).context("create", &dir)?;
        let mut listing = list(disk.as_ref(), &dir)?;
        let epochs = load_epochs(disk.as_ref(), &dir)?;
        let known = epochs.entries().to_vec();
        let is_new = listing.segments.is_empty();
        let base = listing.segments.last().map_or(opening.start_offset, |last| last.base);
        // A placeholder for the moment: `recover` puts the real one in its place.
        let path = segment::path(&dir, base, LOG);
        let mode = if is_new { OpenMode::Create } else { OpenMode::Write };
        let active = disk.open(&path, mode).context("open", &path)?;
        let active = ActiveSegment::empty(base, active, now);
        let mut sync = SyncState::default();
        sync.dir_is_dirty = is_new;
        sync.folder_is_new = is_new;
        let mut log = Self {
            disk,
            dir,
            config,
            closed: Vec::new(),
            active,
            staged: Vec::new(),
            staged_bytes: 0,
            staged_aborted: VecDeque::new(),
            stalled: false,
            start: opening.start_offset,
            end: base,
            durable_end: Offset::ZERO,
            sync,
            epochs,
            producers: Default::default(),
            snapshots: std::mem::take(&mut listing.snapshots),
            txn_indexes: std::mem::take(&mut listing.txn_indexes),
            txn_indexes_replaced: 0,
            rolling: None,
            deletion: None,
            deleted: Vec::new(),
            hints: ReadHints::default(),
            generation: 0,
            pending_swap: None,
            rewriting: Weak::new(),
            compacted_end: opening.compacted_end,
            is_uncleanable: false,
            failed: false,
            scanned: Size::default(),
        };
        log.recover(listing, opening, now, left)?;
        // Made anew from the batches as they were, they need not be written again.
        log.epochs.compare_with_checkpoint(&known);
        Ok(log)
    }

    fn recover(
        &mut self,
        mut listing: Listing,
        opening: Opening,
        now: Millis,
        left: &mut dyn FnMut(usize),
    ) -> Result<(), LogError> {
        let segments = std::mem::take(&mut listing.segments);
        if let Some(first) = segments.first() {
            self.start = self.start.max(first.base);
        }
        let point = opening.recovery_point;
        // One that ends at the point has been synced, but for its indexes. Where damage is to be
        // cut, it may be anywhere.
        let first_unsynced = match opening.cuts_damage {
            true => 0,
            false => segments.partition_point(|s| s.base < point).saturating_sub(1),
        };
        if !opening.is_clean
            && let Some(first) = segments.get(first_unsynced)
        {
            // What the checkpoint says of the rest may be older than a truncation.
            self.epochs.truncate_from_end(first.base);
        }
        let mut segments = VecDeque::from(segments);
        let mut at = 0;
        while let Some(segment) = segments.pop_front() {
            let must_scan = !opening.is_clean && at >= first_unsynced;
            at += 1;
            if must_scan {
                left(segments.len() + 1);
            }
            if !segments.is_empty() && !must_scan && listing.has_indexes(&segment) {
                self.closed.push(segment);
                continue;
            }
            let active = if must_scan {
                self.scan_segment(&segment, opening, &mut segments, now)?
            } else {
                self.load_segment(&segment, segments.is_empty(), now)?
            };
            self.place(active, segments.is_empty(), segment.modified)?;
        }
        left(0);
        self.finish(opening, now)
    }

    /// Makes a recovered segment the active one, or a closed one.
    fn place(
        &mut self,
        mut segment: ActiveSegment,
        is_last: bool,
        modified: Millis,
    ) -> Result<(), LogError> {
        if is_last {
            self.active = segment;
            return Ok(());
        }
        for index in segment.write_indexes(self.disk.as_ref(), &self.dir)? {
            // The next start takes an index before the recovery point for one that was synced.
            index.sync_data().of_sync(&self.dir)?;
        }
        self.sync.files.push(Arc::clone(&segment.file));
        self.sync.dir_is_dirty = true;
        self.closed.push(segment.into_closed(modified));
        Ok(())
    }

    /// Takes a segment as it is: its indexes where they are sound, else rebuilt from the headers.
    fn load_segment(
        &mut self,
        segment: &Segment,
        is_last: bool,
        now: Millis,
    ) -> Result<ActiveSegment, LogError> {
        let path = segment::path(&self.dir, segment.base, LOG);
        let file = self.disk.open(&path, OpenMode::Write).context("open", &path)?;
        let mut active = ActiveSegment::empty(segment.base, Arc::clone(&file), now);
        let mut next = segment.base;
        if is_last {
            if let Some((offset_index, time_index)) = self.load_indexes(segment)? {
                active.bytes = offset_index.last().map_or(0, |last| last.position.into());
                active.newest = time_index.last().map(|last| Newest {
                    timestamp: last.timestamp,
                    offset: segment.base + i64::from(last.relative),
                });
                (active.offset_index, active.time_index) = (offset_index, time_index);
            }
            let first = Scanner::new(file.as_ref(), 0, segment.bytes).step();
            if let Some(Ok((_, header))) = first.context("read", &path)? {
                active.first_timestamp = Some(header.max_timestamp);
            }
        }
        let mut scanner = Scanner::new(file.as_ref(), active.bytes, segment.bytes);
        // The batch at the last entry has been indexed; counting it anew must not index it twice.
        active.bytes_since_index = 0;
        let damaged = |position, reason| LogError::Damaged { file: path.clone(), position, reason };
        while let Some(step) = scanner.step().context("read", &path)? {
            let (position, header) =
                step.map_err(|error| damaged(scanner.at(), error.to_string()))?;
            // No checksum covers the offset.
            if let Some(reason) = order_fault(&header, next, segment.base) {
                return Err(damaged(position, reason));
            }
            active.note(&header, self.config.index_interval_bytes);
            next = header.next_offset();
        }
        self.end = next;
        Ok(active)
    }

    /// Both indexes of a segment, `None` where either is missing or cannot be right.
    fn load_indexes(
        &self,
        segment: &Segment,
    ) -> Result<Option<(OffsetIndex, TimeIndex)>, LogError> {
        let read = |kind| {
            let path = segment::path(&self.dir, segment.base, kind);
            read_file_if_exists(self.disk.as_ref(), &path).context("read", &path)
        };
        let offsets = read(OFFSET_INDEX)?;
        let offsets = offsets.and_then(|bytes| OffsetIndex::from_bytes(&bytes, segment.bytes));
        let times = read(TIME_INDEX)?.and_then(|bytes| TimeIndex::from_bytes(&bytes));
        Ok(offsets.zip(times))
    }

    /// What follows once all segments are known.
    fn finish(&mut self, opening: Opening, now: Millis) -> Result<(), LogError> {
        if self.end < self.start {
            // The start was moved further than the data that is left.
            self.restart_at(self.start, now)?;
        }
        if self.end < opening.recovery_point {
            // Either a truncation whose checkpoint was not written any more, or a loss.
            let (end, point) = (self.end, opening.recovery_point);
            tracing::warn!(log = %self.dir.display(), %end, %point, "log ends before its recovery point");
        }
        self.durable_end =
            if opening.is_clean { self.end } else { opening.recovery_point.min(self.end) };
        if !opening.is_clean {
            // A process may have died between writing and syncing anything of the folder.
            self.sync.active_is_dirty = true;
            self.sync.dir_is_dirty = true;
            self.sync.folder_is_new = true;
        }
        // In this order an empty log has no epochs, whatever its checkpoint says of what was deleted.
        self.epochs.truncate_from_start(self.start);
        self.epochs.truncate_from_end(self.end);
        self.drop_stray_snapshots(opening)?;
        if opening.is_clean && self.snapshots.is_empty() {
            return Ok(());
        }
        if !opening.is_clean {
            self.truncate_txn_indexes(self.end.min(opening.recovery_point))?;
        }
        self.rebuild_producers(opening.is_clean, now)
    }

    /// Keeps the snapshots that belong to a segment, and of the others that clean stops left the
    /// newest. After a crash, one behind the recovery point may speak of what was cut since.
    fn drop_stray_snapshots(&mut self, opening: Opening) -> Result<(), LogError> {
        let mut bases: Vec<Offset> = self.closed.iter().map(|segment| segment.base).collect();
        bases.push(self.active.base);
        let (newest, start, end) = (self.snapshots.last().copied(), self.start, self.end);
        self.retain_snapshots(|offset| {
            (start..=end).contains(&offset)
                && (opening.is_clean || offset <= opening.recovery_point)
                && (Some(offset) == newest || bases.contains(&offset))
        })
    }
}

fn load_epochs(disk: &dyn Disk, dir: &Path) -> Result<LeaderEpochs, LogError> {
    let path = dir.join(CHECKPOINT_NAME);
    let entries = read_epochs(disk, &path)?;
    LeaderEpochs::from_checkpoint(entries)
        .ok_or_else(|| LogError::Malformed { file: path, reason: "epochs do not rise".to_owned() })
}

/// Lists the folder and removes what a crash left half done.
fn list(disk: &dyn Disk, dir: &Path) -> Result<Listing, LogError> {
    let mut listing = Listing::default();
    recover_swaps(disk, dir, &disk.list(dir).context("list", dir)?)?;
    let entries = disk.list(dir).context("list", dir)?;
    for entry in &entries {
        if entry.name.ends_with(DELETED_SUFFIX) || entry.name.ends_with(".tmp") {
            let path = dir.join(&entry.name);
            remove_if_exists(disk, &path).context("remove", &path)?;
            continue;
        }
        let Some((offset, kind)) = segment::parse_name(&entry.name) else { continue };
        match kind {
            LOG if entry.bytes > SEGMENT_BYTES_MAX => {
                let (file, position) = (dir.join(&entry.name), SEGMENT_BYTES_MAX);
                let reason = "no segment has 4 GiB".to_owned();
                return Err(LogError::Damaged { file, position, reason });
            }
            LOG => listing.segments.push(Segment::new(offset, entry.bytes, entry.modified)),
            OFFSET_INDEX => listing.indexes.push((offset, OFFSET_INDEX, entry.bytes)),
            TIME_INDEX => listing.indexes.push((offset, TIME_INDEX, entry.bytes)),
            SNAPSHOT => listing.snapshots.push(offset),
            TXN_INDEX => listing.txn_indexes.push(offset),
            _ => {}
        }
    }
    listing.segments.sort_by_key(|segment| segment.base);
    listing.snapshots.sort();
    listing.txn_indexes.sort();
    let has_log = |base: &Offset| listing.segments.iter().any(|segment| segment.base == *base);
    if !listing.txn_indexes.iter().all(has_log) {
        // A segment that a power cut could bring back needs it.
        disk.sync_dir(dir).of_sync(dir)?;
    }
    let txn_indexes = listing.txn_indexes.iter().map(|base| (*base, TXN_INDEX));
    let indexes = listing.indexes.iter().map(|(base, kind, _)| (*base, *kind));
    for (base, kind) in indexes.chain(txn_indexes) {
        if listing.segments.binary_search_by_key(&base, |segment| segment.base).is_err() {
            let path = segment::path(dir, base, kind);
            remove_if_exists(disk, &path).context("remove", &path)?;
        }
    }
    let segments = &listing.segments;
    listing.txn_indexes.retain(|base| segments.iter().any(|segment| segment.base == *base));
    Ok(listing)
}

#[cfg(test)]
mod tests;
