//! Segments that may not be on stable storage, after a crash: read whole, checked, cut.
//!
//! A power cut leaves batches of which sectors are missing, or the end, with whole ones and whole
//! segments behind them: all that is cut. A batch that is broken although it was synced is damage,
//! and so is one before others that is broken in another way: nothing is cut then, the log does
//! not open.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use records::{BatchHeader, check_crc};
use types::{LeaderEpoch, Millis, Offset};

use crate::Log;
use crate::ahead::Ahead;
use crate::disk::{DiskFile, OpenMode, remove_if_exists};
use crate::error::{IoContext, LogError};
use crate::log::Opening;
use crate::lost_sectors::Loss;
use crate::scan::{Scanner, order_fault};
use crate::segment::{self, ActiveSegment, LOG, OFFSET_INDEX, Segment, TIME_INDEX, TXN_INDEX};
use crate::tail::{is_zero, valid_batch_behind};

impl Log {
    /// Reads what of a segment was not synced, checks all its batches and rebuilds the indexes; cuts
    /// a torn tail, and with it the segments `behind`.
    pub(super) fn scan_segment(
        &mut self,
        segment: &Segment,
        opening: Opening,
        behind: &mut VecDeque<Segment>,
        now: Millis,
    ) -> Result<ActiveSegment, LogError> {
        let point = opening.recovery_point;
        let path = segment::path(&self.dir, segment.base, LOG);
        let file = self.disk.open(&path, OpenMode::Write).context("open", &path)?;
        let (rebuilt, fault) = self.scan_batches(segment, &file, opening, now)?;
        let next = self.end;
        let position = rebuilt.bytes;
        let Some(reason) = fault else {
            // Only compaction leaves gaps between segments, which a checkpoint that is behind
            // does not know yet.
            let may_have_gaps = self.config.compact || next < self.compacted_end;
            let gap = behind.front().filter(|next_one| next_one.base > next && !may_have_gaps);
            if let Some(next_one) = gap {
                if next < point && !opening.cuts_damage {
                    let file = segment::path(&self.dir, next_one.base, LOG);
                    let reason = format!("the segment before it ends at offset {next}");
                    return Err(LogError::Damaged { file, position: 0, reason });
                }
                self.drop_behind(&path, "its end was not written", behind)?;
            }
            return Ok(rebuilt);
        };
        let tail = position..segment.bytes;
        let is_empty = is_zero(file.as_ref(), tail.clone()).context("read", &path)?;
        let is_damage = next < point || {
            let loss = Loss::of(file.as_ref(), position, segment.bytes).context("read", &path)?;
            let valid_behind = || {
                valid_batch_behind(file.as_ref(), tail.clone(), next, self.epochs.latest())
                    .context("read", &path)
            };
            match loss {
                Loss::Sectors => false,
                Loss::End => valid_behind()?,
                Loss::Nothing => behind.iter().any(|later| later.bytes > 0) || valid_behind()?,
            }
        };
        if is_damage && !opening.cuts_damage {
            return Err(LogError::Damaged { file: path, position, reason });
        }
        self.drop_behind(&path, &reason, behind)?;
        let cut = segment.bytes - position;
        if is_empty {
            tracing::debug!(file = %path.display(), position, cut, "cutting zeros");
        } else {
            tracing::warn!(file = %path.display(), position, cut, reason, "cutting a torn tail");
        }
        file.set_len(position).context("truncate", &path)?;
        if !is_empty {
            // Else, after another crash, sectors of what was cut may stand between those of what is
            // written in its place: a batch that looks whole and broken.
            file.sync_data().of_sync(&path)?;
        }
        Ok(rebuilt)
    }

    /// The segment up to the first batch that cannot be right, and why it cannot.
    fn scan_batches(
        &mut self,
        segment: &Segment,
        file: &Arc<dyn DiskFile>,
        opening: Opening,
        now: Millis,
    ) -> Result<(ActiveSegment, Option<String>), LogError> {
        let path = segment::path(&self.dir, segment.base, LOG);
        let (mut rebuilt, mut next) = self.synced_front(segment, file, opening, now)?;
        if rebuilt.bytes < segment.bytes {
            self.scanned.segments += 1;
            self.scanned.bytes += segment.bytes - rebuilt.bytes;
        }
        // Where a sync failed, memory holds what the device does not, and no later sync would
        // write it.
        file.drop_cached(rebuilt.bytes..u64::MAX);
        let mut scanner = Scanner::new(file.as_ref(), rebuilt.bytes, segment.bytes);
        let fault = loop {
            let (position, header) = match scanner.step().context("read", &path)? {
                None => break None,
                Some(Err(error)) => break Some(error.to_string()),
                Some(Ok(step)) => step,
            };
            let batch = scanner.batch(position, &header).context("read", &path)?;
            if let Some(reason) = fault_of(batch, &header, next, segment.base) {
                break Some(reason);
            }
            if opening.cuts_damage && scanner.is_denied(&header).context("read", &path)? {
                break Some("the batch behind has smaller offsets".to_owned());
            }
            rebuilt.note(&header, self.config.index_interval_bytes);
            self.note_epoch(&header);
            next = header.next_offset();
        };
        self.end = next;
        rebuilt.ahead = Ahead::after_crash(rebuilt.bytes, self.config.reserve_from_bytes);
        Ok((rebuilt, fault))
    }

    /// A leader epoch may begin with a batch.
    pub(super) fn note_epoch(&mut self, header: &BatchHeader) {
        let epoch = LeaderEpoch(header.partition_leader_epoch);
        if self.epochs.latest().is_none_or(|latest| latest < epoch) {
            self.epochs.assign(epoch, header.base_offset());
        }
    }

    /// Removes the segments behind one whose end was lost, before that is cut: after another crash
    /// they would follow a segment that looks whole.
    fn drop_behind(
        &mut self,
        path: &Path,
        reason: &str,
        behind: &mut VecDeque<Segment>,
    ) -> Result<(), LogError> {
        for segment in behind.drain(..) {
            let (base, bytes) = (segment.base, segment.bytes);
            tracing::warn!(file = %path.display(), reason, %base, bytes, "dropping the segment behind");
            for kind in [LOG, OFFSET_INDEX, TIME_INDEX, TXN_INDEX] {
                let path = segment::path(&self.dir, base, kind);
                remove_if_exists(self.disk.as_ref(), &path).context("remove", &path)?;
            }
            self.txn_indexes.retain(|other| *other != base);
        }
        self.disk.sync_dir(&self.dir).of_sync(&self.dir)
    }
}

/// Why a batch of a log file cannot be the next one.
fn fault_of(batch: &[u8], header: &BatchHeader, next: Offset, base: Offset) -> Option<String> {
    order_fault(header, next, base)
        .or_else(|| check_crc(batch, header).err().map(|error| error.to_string()))
}
