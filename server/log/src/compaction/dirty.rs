//! What of a log is not compacted yet, and whether that is worth the work.

use std::cell::Cell;
use std::sync::Arc;

use types::{Millis, Offset};

use super::rewrite::LastBatches;
use super::{CHUNK_BYTES_MIN, Compaction, Source};
use crate::Log;
use crate::error::LogError;

/// How much a log is in need of compaction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompactionNeed {
    /// Share of the bytes, of all that may be compacted, that were never compacted.
    pub dirty_ratio: f64,
    /// Those bytes.
    pub dirty_bytes: u64,
    /// For how much longer than `max.compaction.lag.ms` records wait; 0 where none does.
    pub delay: Millis,
    /// Whether the settings have the log compacted now.
    pub is_due: bool,
}

/// The closed segments that may be compacted.
struct Range {
    /// How many, from the first one on.
    count: usize,
    first_dirty: Offset,
}

impl Log {
    /// Everything before this offset has been compacted; to be checkpointed.
    pub fn compacted_end(&self) -> Offset {
        self.compacted_end
    }

    /// Sets up to where the log was compacted, from the checkpoint.
    pub fn set_compacted_end(&mut self, offset: Offset) {
        self.compacted_end = offset;
    }

    /// Whether compaction of this log failed, so that it is not tried again.
    pub fn is_uncleanable(&self) -> bool {
        self.is_uncleanable
    }

    /// Sets the log aside from compaction until it is opened again or has other settings.
    pub fn set_uncleanable(&mut self) {
        self.is_uncleanable = true;
    }

    /// Lets compaction try the log again.
    pub fn clear_uncleanable(&mut self) {
        self.is_uncleanable = false;
    }

    /// Bytes that wait for compaction, where that has failed.
    pub fn uncleanable_bytes(&self) -> u64 {
        if !self.is_uncleanable {
            return 0;
        }
        let first = self.closed.partition_point(|segment| segment.base < self.compacted_end);
        self.closed[first..].iter().map(|segment| segment.bytes).sum()
    }

    /// How much the log is in need of compaction at the wall time `now`; `None` where it is not
    /// to be compacted or is empty.
    ///
    /// # Errors
    /// [`LogError`] where an index or a log file cannot be read.
    pub fn compaction_need(
        &mut self,
        high_watermark: Offset,
        now: Millis,
    ) -> Result<Option<CompactionNeed>, LogError> {
        self.check_online()?;
        if !self.config.compact || self.is_uncleanable || self.closed.is_empty() {
            return Ok(None);
        }
        let range = self.compactable(high_watermark, now)?;
        let (mut clean, mut dirty) = (0, 0);
        let mut earliest = None;
        for at in 0..range.count {
            if self.end_of(at) <= range.first_dirty {
                clean += self.closed[at].bytes;
                continue;
            }
            dirty += self.closed[at].bytes;
            // Without a lag nothing can be overdue, and no file needs a look.
            if self.config.max_compaction_lag_ms < Millis::MAX {
                let first = self.closed[at].first_timestamp(self.disk.as_ref(), &self.dir)?;
                let first = first.filter(|first| *first > 0);
                earliest = earliest.into_iter().chain(first).min();
            }
        }
        if clean + dirty == 0 {
            return Ok(None);
        }
        let limit = now - self.config.max_compaction_lag_ms;
        let delay =
            earliest.map_or(Millis::ZERO, |first| (limit - Millis(first)).max(Millis::ZERO));
        let dirty_ratio = dirty as f64 / (clean + dirty) as f64;
        let is_due = delay > Millis::ZERO || dirty_ratio > self.config.min_cleanable_dirty_ratio;
        Ok(Some(CompactionNeed {
            dirty_ratio,
            dirty_bytes: dirty,
            delay,
            is_due: is_due && dirty > 0,
        }))
    }

    /// Plans a compaction at the wall time `now`; `None` where no segment may be compacted, or the
    /// log is being rewritten already.
    ///
    /// # Errors
    /// [`LogError`] where an index cannot be read.
    pub fn plan_compaction(
        &mut self,
        high_watermark: Offset,
        now: Millis,
    ) -> Result<Option<Compaction>, LogError> {
        self.check_online()?;
        let range = self.compactable(high_watermark, now)?;
        let source = |at: usize| {
            let segment = &self.closed[at];
            let (base, bytes, modified) = (segment.base, segment.bytes, segment.modified);
            Source { base, end: self.end_of(at), bytes, modified }
        };
        let sources: Vec<Source> = (0..range.count).map(source).collect();
        let Some(until) = sources.last().map(|last| last.end) else { return Ok(None) };
        if range.first_dirty >= until {
            return Ok(None);
        }
        Ok(self.claim_rewriting().map(|claim| Compaction {
            disk: Arc::clone(&self.disk),
            dir: self.dir.clone(),
            config: Arc::clone(&self.config),
            generation: self.generation,
            now,
            sources,
            first_dirty: range.first_dirty,
            until,
            last_batches: LastBatches::of(&self.producers),
            txn_indexes: self.txn_indexes.clone(),
            chunk_bytes: CHUNK_BYTES_MIN,
            started: None,
            tally: Cell::default(),
            _claim: claim,
        }))
    }

    /// The right to rewrite segments, which one has at a time.
    pub(super) fn claim_rewriting(&mut self) -> Option<Arc<()>> {
        if self.rewriting.strong_count() > 0 {
            return None;
        }
        let claim = Arc::new(());
        self.rewriting = Arc::downgrade(&claim);
        Some(claim)
    }

    /// Notes that a compaction has put everything in place.
    pub fn end_compaction(&mut self, compaction: &Compaction) {
        if compaction.generation == self.generation {
            self.compacted_end = compaction.end();
        }
    }

    /// Not the active segment, nothing undecided or uncommitted, nothing within
    /// `min.compaction.lag.ms`.
    fn compactable(&mut self, high_watermark: Offset, now: Millis) -> Result<Range, LogError> {
        // A checkpoint may speak of what was deleted or cut.
        let known = (self.start..=self.end).contains(&self.compacted_end);
        let first_dirty = if known { self.compacted_end } else { self.start };
        let limit = self.last_stable_offset(high_watermark);
        let lag = self.config.min_compaction_lag_ms;
        let mut count = 0;
        while count < self.closed.len() && self.end_of(count) <= limit {
            if lag > Millis::ZERO && self.end_of(count) > first_dirty {
                let newest = self.newest_of(count)?.map(|newest| Millis(newest.timestamp));
                if newest.unwrap_or(self.closed[count].modified) > now - lag {
                    break;
                }
            }
            count += 1;
        }
        Ok(Range { count, first_dirty })
    }
}
