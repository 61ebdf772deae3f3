//! Letting go of old data: by time, by size, and what lies before the log's start.
//!
//! Deleting a segment renames its files; they are removed after `file.delete.delay.ms`, so that
//! reads under way and other tools end in peace.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use types::{Millis, Offset};

use crate::Log;
use crate::disk::{Disk, remove_if_exists, with_suffix};
use crate::errand::Errand;
use crate::error::{IoContext, LogError, ReadError};
use crate::segment::{self, DELETED_SUFFIX, LOG, OFFSET_INDEX, SNAPSHOT, TIME_INDEX, TXN_INDEX};

/// Renamed files that wait for their removal.
#[derive(Debug)]
pub(crate) struct Deleted {
    /// From when on they may go; told by the first look for what is due, whose clock counts.
    due: Option<Millis>,
    paths: Vec<PathBuf>,
}

impl Deleted {
    pub fn into_removal(self, disk: Arc<dyn Disk>) -> Removal {
        Removal { disk, paths: self.paths }
    }

    /// The folder has another name now.
    pub fn moved_to(&mut self, dir: &Path) {
        for path in &mut self.paths {
            if let Some(name) = path.file_name() {
                *path = dir.join(name);
            }
        }
    }
}

/// Files to remove, on any thread: unlinking a large one takes its time.
#[derive(Debug)]
#[must_use = "the files stay until the log is opened again"]
pub struct Removal {
    disk: Arc<dyn Disk>,
    paths: Vec<PathBuf>,
}

impl Removal {
    /// Removes the files. Blocks.
    ///
    /// # Errors
    /// [`LogError::Io`], the first one that is not "there is no such file".
    pub fn run(self) -> Result<(), LogError> {
        let Some(dir) = self.paths.first().and_then(|path| path.parent()) else { return Ok(()) };
        // What takes their place must have its name for good before they go.
        match self.disk.sync_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            synced => synced.of_sync(dir)?,
        }
        let remove = |path| remove_if_exists(self.disk.as_ref(), path).context("remove", path);
        self.paths.iter().try_for_each(|path| remove(path))
    }
}

/// Segments that the log has dropped and whose files are to be renamed, once, by whichever thread
/// comes first.
#[derive(Debug)]
pub struct Deletion {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Oldest first; whether it has an index of aborted transactions.
    segments: Vec<(Offset, bool)>,
    renamed: Errand<Vec<PathBuf>>,
}

impl Deletion {
    /// Renames the files. Blocks; who comes while another thread is at it waits for it.
    ///
    /// # Errors
    /// [`LogError::Io`]; hand it to [`Log::end_deletion`].
    pub fn run(&self) -> Result<(), LogError> {
        self.renamed.run(|| self.rename())
    }

    fn rename(&self) -> Result<Vec<PathBuf>, LogError> {
        let mut paths = Vec::new();
        for (at, (base, has_aborted)) in self.segments.iter().enumerate() {
            if at > 0 {
                // Else a power cut could bring back one before others that are gone.
                self.disk.sync_dir(&self.dir).of_sync(&self.dir)?;
            }
            paths.extend(rename_segment(self.disk.as_ref(), &self.dir, *base, *has_aborted)?);
        }
        Ok(paths)
    }
}

/// Renames the files of a segment, to be removed later, and gives their names then.
fn rename_segment(
    disk: &dyn Disk,
    dir: &Path,
    base: Offset,
    has_aborted: bool,
) -> Result<Vec<PathBuf>, LogError> {
    let mut paths = rename_kinds(disk, dir, base, &[LOG, OFFSET_INDEX, TIME_INDEX, SNAPSHOT])?;
    if has_aborted {
        // Alone among the files it is not made anew: should a power cut bring the segment
        // back, it must be there.
        disk.sync_dir(dir).of_sync(dir)?;
    }
    paths.extend(rename_kinds(disk, dir, base, &[TXN_INDEX])?);
    Ok(paths)
}

/// Renames files of a segment, to be removed later, and gives their names then.
pub(crate) fn rename_kinds(
    disk: &dyn Disk,
    dir: &Path,
    base: Offset,
    kinds: &[&str],
) -> Result<Vec<PathBuf>, LogError> {
    let mut paths = Vec::new();
    for kind in kinds {
        let path = segment::path(dir, base, kind);
        let renamed = with_suffix(&path, DELETED_SUFFIX);
        match disk.rename(&path, &renamed) {
            Ok(()) => paths.push(renamed),
            // Not there, or renamed by a call that failed later.
            Err(error) if error.kind() == io::ErrorKind::NotFound => paths.push(renamed),
            Err(cause) => return Err(LogError::Io { action: "rename", path, cause }),
        }
    }
    Ok(paths)
}

impl Log {
    /// Deletes the oldest segments that the retention settings no longer cover and gives their
    /// number. Nothing at or above `high_watermark` goes. Where nothing is covered any more, the
    /// active segment is rolled first and goes, too. Blocks.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn delete_old_segments(
        &mut self,
        high_watermark: Offset,
        now: Millis,
    ) -> Result<usize, LogError> {
        let mut count = 0;
        loop {
            while let Some(read) = self.ages_for_retention(high_watermark, now) {
                self.learn_ages(read.run())?;
            }
            count += self.drop_old_segments(high_watermark, now)?;
            self.finish_deletion()?;
            match self.rolling().map(|_| self.finish_roll()) {
                // What was rolled may go now.
                Some(Ok(())) => {}
                Some(Err(fault)) if !fault.is_passing() => return Err(fault),
                // The older ones are gone, and make room.
                Some(Err(_)) | None => return Ok(count),
            }
        }
    }

    /// As [`Log::delete_old_segments`], but the files are left to a thread that may block
    /// ([`Log::deletion`]). Nothing is dropped before that has been done with what was dropped
    /// before. A segment that is rolled for it goes with the next call, once
    /// its files are made ([`Log::rolling`]).
    ///
    /// # Errors
    /// [`LogError::Io`] where what is staged cannot be written before a roll.
    pub fn drop_old_segments(
        &mut self,
        high_watermark: Offset,
        now: Millis,
    ) -> Result<usize, LogError> {
        self.check_online()?;
        if self.deletion.is_some() {
            return Ok(0);
        }
        let mut count = self.segments_before_start(high_watermark);
        if self.config.delete {
            count = count.max(self.segments_over_size(high_watermark));
            count = count.max(self.expired_segments(high_watermark, now));
        }
        if count > self.closed.len() && self.rolling.is_none() {
            match self.roll(now) {
                // The older ones go first then, and make room.
                Err(fault) if fault.is_passing() => {}
                rolled => rolled?,
            }
        }
        // The files of the last one may still be made.
        let count = count.min(self.closed.len() - usize::from(self.rolling.is_some()));
        self.drop_first(count)?;
        self.move_start(self.first_base());
        Ok(count)
    }

    /// Moves the log's start to `offset`, as DeleteRecords does, and says where it is now. Whole
    /// segments before it go at the next [`Log::delete_old_segments`].
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] where `offset` is above the high watermark.
    pub fn delete_records(
        &mut self,
        offset: Offset,
        high_watermark: Offset,
    ) -> Result<Offset, ReadError> {
        self.check_online()?;
        let end = high_watermark.min(self.end);
        if offset > end {
            return Err(ReadError::OutOfRange { offset, start: self.start, end });
        }
        self.move_start(offset);
        Ok(self.start)
    }

    /// Moves the start forward; backward it never goes. Followers take it from their leader.
    pub fn move_start(&mut self, offset: Offset) {
        if offset > self.start {
            self.start = offset;
            self.epochs.truncate_from_start(offset);
        }
    }

    /// Files of deleted segments whose delay is over, by the monotonic time `now`. The delay begins
    /// with the first call that finds them, so that no step of the wall clock can shorten it.
    pub fn take_removal(&mut self, now: Millis) -> Option<Removal> {
        let due = now + self.config.file_delete_delay_ms;
        let is_due = |deleted: &mut Deleted| *deleted.due.get_or_insert(due) <= now;
        let due: Vec<Deleted> = self.deleted.extract_if(.., is_due).collect();
        let paths: Vec<PathBuf> = due.into_iter().flat_map(|deleted| deleted.paths).collect();
        (!paths.is_empty()).then(|| Removal { disk: Arc::clone(&self.disk), paths })
    }

    pub(crate) fn first_base(&self) -> Offset {
        self.closed.first().map_or(self.active.base, |segment| segment.base)
    }

    /// Where the segment at `at` ends.
    pub(crate) fn end_of(&self, at: usize) -> Offset {
        match self.closed.get(at + 1) {
            Some(next) => next.base,
            None if at + 1 == self.closed.len() => self.active.base,
            None => self.end,
        }
    }

    fn segments_before_start(&self, high_watermark: Offset) -> usize {
        let limit = self.start.min(high_watermark);
        let segments = self.closed.len() + usize::from(self.active.bytes > 0);
        (0..segments).take_while(|at| self.end_of(*at) <= limit).count()
    }

    fn segments_over_size(&self, high_watermark: Offset) -> usize {
        let Some(bytes_max) = self.config.retention_bytes else { return 0 };
        let mut over = self.bytes().saturating_sub(bytes_max);
        let mut count = 0;
        for at in 0..=self.closed.len() {
            let bytes = self.closed.get(at).map_or(self.active.bytes, |segment| segment.bytes);
            // Compaction may have emptied a closed segment; an empty active one stays.
            let is_empty = at == self.closed.len() && bytes == 0;
            if is_empty || bytes > over || self.end_of(at) > high_watermark {
                break;
            }
            over -= bytes;
            count += 1;
        }
        count
    }

    /// How many of the oldest segments have expired, as far as their ages are known.
    pub(crate) fn expired_segments(&self, high_watermark: Offset, now: Millis) -> usize {
        let Some(retention) = self.config.retention_ms else { return 0 };
        let mut count = 0;
        for at in 0..=self.closed.len() {
            let is_empty = at == self.closed.len() && self.active.bytes == 0;
            if is_empty || self.end_of(at) > high_watermark {
                break;
            }
            let Some(newest) = self.known_newest_of(at) else { break };
            let newest = newest.map(|newest| Millis(newest.timestamp));
            let changed = self.closed.get(at).map_or(self.active.created, |s| s.modified);
            if now - newest.unwrap_or(changed) <= retention {
                break;
            }
            count += 1;
        }
        count
    }

    /// Drops the `count` oldest closed segments.
    pub(crate) fn drop_first(&mut self, count: usize) -> Result<(), LogError> {
        if count == 0 {
            return Ok(());
        }
        self.end_pending_swap()?;
        let dropped: Vec<Offset> = self.closed.drain(..count).map(|segment| segment.base).collect();
        let has_aborted = |base: &Offset| self.txn_indexes.contains(base);
        let segments = dropped.iter().map(|base| (*base, has_aborted(base))).collect();
        self.snapshots.retain(|offset| !dropped.contains(offset));
        self.forget_txn_indexes(&dropped);
        let (disk, dir) = (Arc::clone(&self.disk), self.dir.clone());
        let renamed = Errand::default();
        self.deletion = Some(Arc::new(Deletion { disk, dir, segments, renamed }));
        Ok(())
    }

    /// The files of dropped segments that are still to be renamed, for a thread that may block.
    pub fn deletion(&self) -> Option<Arc<Deletion>> {
        self.deletion.clone()
    }

    /// Takes note that a thread has renamed the files of dropped segments, or could not.
    ///
    /// # Errors
    /// The thread's own; the files are still to be renamed then.
    pub fn end_deletion(
        &mut self,
        deletion: &Arc<Deletion>,
        outcome: Result<(), LogError>,
    ) -> Result<(), LogError> {
        // Somebody could not wait and has renamed them meanwhile.
        if !self.deletion.as_ref().is_some_and(|pending| Arc::ptr_eq(pending, deletion)) {
            return Ok(());
        }
        outcome?;
        let paths = deletion.renamed.take();
        self.deletion = None;
        self.remove_later(paths);
        Ok(())
    }

    /// Sees to it that no dropped segment has its files under their names. Blocks if one does.
    pub(crate) fn finish_deletion(&mut self) -> Result<(), LogError> {
        let Some(deletion) = self.deletion() else { return Ok(()) };
        let outcome = deletion.run();
        self.end_deletion(&deletion, outcome)
    }

    /// Deletes the files of a segment at once. Blocks.
    pub(crate) fn delete_files(&mut self, base: Offset) -> Result<(), LogError> {
        let has_aborted = self.txn_indexes.contains(&base);
        let paths = rename_segment(self.disk.as_ref(), &self.dir, base, has_aborted)?;
        self.snapshots.retain(|offset| *offset != base);
        self.forget_txn_indexes(&[base]);
        self.remove_later(paths);
        Ok(())
    }

    /// Renamed files go when their delay is over.
    pub(crate) fn remove_later(&mut self, paths: Vec<PathBuf>) {
        self.sync.dir_is_dirty = true;
        self.deleted.push(Deleted { due: None, paths });
    }
}

#[cfg(test)]
mod tests;
