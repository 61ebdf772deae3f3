//! Offsets by time, as ListOffsets asks for them.

use std::path::Path;
use std::sync::Arc;

use records::Batch;
use types::{LeaderEpoch, Offset};

use crate::Log;
use crate::append::DECOMPRESS;
use crate::disk::{DiskFile, read_full_at};
use crate::error::{IoContext, LogError};
use crate::offset_index;
use crate::scan::Scanner;
use crate::segment::{self, LOG, Newest};
use crate::time_index;

/// A record by its place in the log and in time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TimestampedOffset {
    /// The record's timestamp.
    pub timestamp: i64,
    /// The record's offset.
    pub offset: Offset,
    /// Epoch of the leader that appended it; `None` where the batch names none.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// Part of a segment's file in which to look.
struct Stretch {
    file: Arc<dyn DiskFile>,
    base: Offset,
    from: u64,
    until: u64,
}

impl Log {
    /// The first record with a timestamp of `timestamp` or later. Blocks.
    ///
    /// # Errors
    /// [`LogError`] where the files cannot be read.
    pub fn offset_for_timestamp(
        &mut self,
        timestamp: i64,
    ) -> Result<Option<TimestampedOffset>, LogError> {
        self.flush_for_read()?;
        let start = self.start;
        let is_match =
            |found: &TimestampedOffset| found.timestamp >= timestamp && found.offset >= start;
        for at in 0..=self.closed.len() {
            if self.newest_of(at)?.is_none_or(|newest| newest.timestamp < timestamp) {
                continue;
            }
            let stretch = self.stretch_from_timestamp(at, timestamp)?;
            let found = first_record(&stretch, &self.dir, timestamp, is_match)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The first record with the greatest timestamp of all; `None` where no record has one. Blocks.
    ///
    /// # Errors
    /// [`LogError`] where the files cannot be read.
    pub fn max_timestamp_offset(&mut self) -> Result<Option<TimestampedOffset>, LogError> {
        self.flush_for_read()?;
        let mut best: Option<(usize, Newest)> = None;
        for at in 0..=self.closed.len() {
            if let Some(newest) = self.newest_of(at)?
                && best.is_none_or(|(_, best)| newest.timestamp > best.timestamp)
            {
                best = Some((at, newest));
            }
        }
        let Some((at, Newest { timestamp, offset })) = best else { return Ok(None) };
        let stretch = self.stretch_from_offset(at, offset)?;
        first_record(&stretch, &self.dir, timestamp, |found| found.timestamp >= timestamp)
    }

    /// Greatest timestamp of the segment at `at`, the active one counted last.
    pub(crate) fn newest_of(&mut self, at: usize) -> Result<Option<Newest>, LogError> {
        match self.closed.get_mut(at) {
            Some(segment) => segment.newest(self.disk.as_ref(), &self.dir),
            None => Ok(self.active.newest.filter(|newest| newest.timestamp >= 0)),
        }
    }

    fn stretch_from_timestamp(&mut self, at: usize, timestamp: i64) -> Result<Stretch, LogError> {
        let Some(segment) = self.closed.get_mut(at) else {
            let relative = self.active.time_index.lookup(timestamp);
            let base = self.active.base;
            return self.stretch_from_offset(at, base + i64::from(relative));
        };
        let base = segment.base;
        let (file, bytes) = segment.time_index(self.disk.as_ref(), &self.dir)?;
        let relative = time_index::lookup_in_file(file.as_ref(), *bytes, timestamp, read_full_at)
            .context("read", &segment::path(&self.dir, base, segment::TIME_INDEX))?;
        self.stretch_from_offset(at, base + i64::from(relative))
    }

    fn stretch_from_offset(&mut self, at: usize, offset: Offset) -> Result<Stretch, LogError> {
        let Some(segment) = self.closed.get_mut(at) else {
            let active = &self.active;
            let from = active.offset_index.lookup(active.relative(offset)).into();
            let file = Arc::clone(&active.file);
            return Ok(Stretch { file, base: active.base, from, until: self.written_bytes() });
        };
        let (disk, base) = (self.disk.as_ref(), segment.base);
        let relative = u32::try_from(offset - base).unwrap_or(0);
        let (index, bytes) = segment.offset_index(disk, &self.dir)?;
        let from = offset_index::lookup_in_file(index.as_ref(), *bytes, relative, read_full_at)
            .context("read", &segment::path(&self.dir, base, segment::OFFSET_INDEX))?;
        let file = Arc::clone(segment.file(disk, &self.dir)?);
        Ok(Stretch { file, base, from: from.into(), until: segment.bytes })
    }
}

/// The first record for which `is_match` holds; batches without `timestamp` or later are skipped.
fn first_record(
    stretch: &Stretch,
    dir: &Path,
    timestamp: i64,
    is_match: impl Fn(&TimestampedOffset) -> bool,
) -> Result<Option<TimestampedOffset>, LogError> {
    let path = segment::path(dir, stretch.base, LOG);
    let damaged = |position, error: records::BatchError| LogError::Damaged {
        file: path.clone(),
        position,
        reason: error.to_string(),
    };
    let mut scanner = Scanner::new(stretch.file.as_ref(), stretch.from, stretch.until);
    while let Some(step) = scanner.step().context("read", &path)? {
        let (position, header) = step.map_err(|error| damaged(scanner.at(), error))?;
        if header.max_timestamp < timestamp {
            continue;
        }
        let bytes = scanner.batch(position, &header).context("read", &path)?;
        let batch = Batch::open(bytes, DECOMPRESS).map_err(|error| damaged(position, error))?;
        for record in batch.records() {
            let record = record.map_err(|error| damaged(position, error))?;
            let epoch = header.partition_leader_epoch;
            let found = TimestampedOffset {
                timestamp: record.timestamp,
                offset: record.offset,
                leader_epoch: (epoch >= 0).then_some(LeaderEpoch(epoch)),
            };
            if is_match(&found) {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
