//! Cutting a log: a follower drops what its leader does not have.

use std::sync::Arc;

use types::{Millis, Offset};

use crate::Log;
use crate::disk::OpenMode;
use crate::error::{IoContext, LogError};
use crate::scan::{Scanner, order_fault};
use crate::segment::{self, ActiveSegment, LOG};

impl Log {
    /// Drops everything from `end` on; a batch that spans it goes whole. Says whether anything
    /// was cut. Blocks, as what is appended next must not be found behind what was cut.
    ///
    /// A recovery point behind `end` must be lowered in the checkpoint before: after a crash, what
    /// is missing before it is damage.
    ///
    /// # Errors
    /// [`LogError::Io`], which takes the log offline.
    pub fn truncate_to(&mut self, end: Offset, now: Millis) -> Result<bool, LogError> {
        self.flush_writes()?;
        if end >= self.end {
            return Ok(false);
        }
        let cut = if end < self.first_base() {
            self.restart_at(end, now)
        } else {
            self.try_truncate(end, now)
        };
        self.failed |= cut.is_err();
        cut.map(|()| true)
    }

    /// Drops everything and begins anew at `offset`, as a follower does whose leader has nothing
    /// older. Blocks. The recovery point in the checkpoint must be 0 before: a crash may leave an
    /// empty log that begins where the former one began.
    ///
    /// # Errors
    /// [`LogError::Io`], which takes the log offline.
    pub fn truncate_fully_and_start_at(
        &mut self,
        offset: Offset,
        now: Millis,
    ) -> Result<(), LogError> {
        self.flush_writes()?;
        let restarted = self.restart_at(offset, now);
        self.failed |= restarted.is_err();
        restarted
    }

    fn try_truncate(&mut self, end: Offset, now: Millis) -> Result<(), LogError> {
        self.before_cut(end)?;
        // Newest first, so that a crash in between leaves a log without a hole.
        while self.active.base > end {
            let former = self.closed.pop().expect("the first segment begins at or before the end");
            self.delete_for_good(self.active.base)?;
            let path = segment::path(&self.dir, former.base, LOG);
            let file = self.disk.open(&path, OpenMode::Write).context("open", &path)?;
            self.active = ActiveSegment::empty(former.base, file, now);
            self.active.bytes = former.bytes;
        }
        self.cut_active(end, now)?;
        self.after_cut(now)
    }

    /// Rebuilds the active segment from the batches before `end` and cuts the rest of its file.
    fn cut_active(&mut self, end: Offset, now: Millis) -> Result<(), LogError> {
        let path = segment::path(&self.dir, self.active.base, LOG);
        let file = Arc::clone(&self.active.file);
        let mut kept = ActiveSegment::empty(self.active.base, Arc::clone(&file), now);
        let mut scanner = Scanner::new(file.as_ref(), 0, self.active.bytes);
        let mut next = self.active.base;
        let damaged = |position, reason| LogError::Damaged { file: path.clone(), position, reason };
        while let Some(step) = scanner.step().context("read", &path)? {
            let (position, header) =
                step.map_err(|error| damaged(scanner.at(), error.to_string()))?;
            // A former start need not have read this segment.
            if let Some(reason) = order_fault(&header, next, self.active.base) {
                return Err(damaged(position, reason));
            }
            if header.last_offset() >= end {
                break;
            }
            kept.note(&header, self.config.index_interval_bytes);
            next = header.next_offset();
        }
        file.set_len(kept.bytes).context("truncate", &path)?;
        // What is appended next must not end up before what was cut.
        file.sync_data().of_sync(&path)?;
        // The gap that a cut batch leaves is filled by what the leader has there.
        self.end = next.max(end.min(self.end));
        self.active = kept;
        self.sync.active_is_dirty = true;
        Ok(())
    }

    /// Deletes a segment before anything else is changed: after a power cut, names that changed
    /// together may be found changed in any order.
    fn delete_for_good(&mut self, base: Offset) -> Result<(), LogError> {
        self.delete_files(base)?;
        self.disk.sync_dir(&self.dir).of_sync(&self.dir)
    }

    /// What was planned or known of the part behind `end` is void.
    fn before_cut(&mut self, end: Offset) -> Result<(), LogError> {
        self.generation += 1;
        self.compacted_end = self.compacted_end.min(end);
        // A new segment may get the name of one that was dropped.
        self.finish_deletion()?;
        self.end_pending_swap()
    }

    fn after_cut(&mut self, now: Millis) -> Result<(), LogError> {
        let (start, end) = (self.start, self.end);
        self.start = start.min(end);
        self.hints.clear();
        self.epochs.truncate_from_end(end);
        self.retain_snapshots(|offset| offset <= end)?;
        self.truncate_txn_indexes(end)?;
        self.cap_durable(end);
        self.rebuild_producers(false, now)
    }

    /// Deletes all segments and begins an empty one at `offset`.
    pub(crate) fn restart_at(&mut self, offset: Offset, now: Millis) -> Result<(), LogError> {
        self.before_cut(offset)?;
        self.delete_for_good(self.active.base)?;
        while let Some(former) = self.closed.pop() {
            self.delete_for_good(former.base)?;
        }
        self.active = ActiveSegment::create(self.disk.as_ref(), &self.dir, offset, now)?;
        self.sync.files.clear();
        self.sync.active_is_dirty = true;
        self.sync.dir_is_dirty = true;
        (self.start, self.end) = (offset, offset);
        self.epochs.clear();
        self.producers.clear();
        self.hints.clear();
        self.retain_snapshots(|_| false)?;
        self.cap_durable(offset);
        // Durable is what is there; an empty log is as durable as its own file.
        self.durable_end = offset;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
