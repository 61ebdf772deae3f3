//! Reading the segments: once to map the keys of the new part, once to copy what stays.

use std::ops::ControlFlow;

use records::{
    Batch, BatchError, BatchHeader, DeleteHorizon, Record, Retained, check_crc, empty_batch, retain,
};
use rustc_hash::FxHashMap;
use types::{Millis, Offset};

use super::key_map::KeyMap;
use super::output::Output;
use super::transactions::{MarkerFate, Transactions};
use super::{CleanerBuffers, Compaction, CompactionError, Pace, Rewritten, Source, Started};
use crate::append::{DECOMPRESS, marker_of};
use crate::error::{IoContext, LogError};
use crate::producer_state::ProducerStates;
use crate::scan::{Scanner, order_fault};

/// The pace is told of so many bytes at once.
const PACE_BYTES: u64 = 256 << 10;

/// The last batch of each producer, which stays, empty if need be: a restart without a producer
/// snapshot learns the sequence from it.
#[derive(Debug, Default)]
pub(super) struct LastBatches {
    /// Offset of the last record, or the epoch of a producer that only a marker speaks of.
    of: FxHashMap<i64, Result<Offset, i16>>,
}

impl LastBatches {
    pub fn of(states: &ProducerStates) -> Self {
        let last = states.iter().map(|(producer, entry)| {
            let offset = entry.batches().last().map(|batch| Offset::new(batch.last_offset));
            (producer.0, offset.ok_or(entry.epoch))
        });
        Self { of: last.collect() }
    }

    fn contains(&self, header: &BatchHeader) -> bool {
        match self.of.get(&header.producer_id) {
            Some(Ok(offset)) => header.last_offset() == *offset,
            Some(Err(epoch)) => header.attributes.is_control() && header.producer_epoch == *epoch,
            None => false,
        }
    }
}

/// What is decided of a batch before its records are looked at.
struct Fate {
    /// Its records are aborted, or it is a marker that nobody needs any more.
    drop_all: bool,
    /// It is a marker whose transaction is gone: from now on its time runs.
    is_spent_marker: bool,
    aborted: Option<crate::AbortedTxn>,
}

impl Compaction {
    /// Maps the latest offset of each key from the first dirty offset on, as far as memory reaches.
    pub(super) fn map_keys(
        &self,
        transactions: &Transactions,
        buffers: CleanerBuffers,
        pace: Pace<'_>,
    ) -> Result<KeyMap, CompactionError> {
        let begin = self.first_dirty;
        let records = u64::try_from(self.until - begin).unwrap_or(0);
        let mut keys = KeyMap::new(records, buffers.dedupe_bytes, buffers.load_factor, begin);
        for source in self.sources.iter().filter(|source| source.end > begin) {
            let mapped = self.each_batch(source, pace, |header, bytes, _| {
                if header.last_offset() < begin {
                    return Ok(ControlFlow::Continue(()));
                }
                let speaks = !header.attributes.is_control() && !transactions.is_aborted(header);
                if speaks && self.map_batch(source, &mut keys, bytes)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                keys.set_mapped_until(header.next_offset());
                Ok(ControlFlow::Continue(()))
            })?;
            if mapped.is_break() {
                break;
            }
            keys.set_mapped_until(source.end);
        }
        if keys.mapped_until() <= begin {
            let (offset, slots) = (begin, keys.capacity());
            return Err(CompactionError::TooManyKeys { offset, slots });
        }
        Ok(keys)
    }

    fn map_batch(
        &self,
        source: &Source,
        keys: &mut KeyMap,
        bytes: &[u8],
    ) -> Result<ControlFlow<()>, CompactionError> {
        let damaged = |error: BatchError| self.damaged(source, 0, &error);
        let batch = Batch::open(bytes, DECOMPRESS).map_err(damaged)?;
        for record in batch.records() {
            let record = record.map_err(damaged)?;
            let Some(key) = record.key else { continue };
            if record.offset >= self.first_dirty && keys.insert(key, record.offset).is_err() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Copies what stays of a group into one segment; `None` if all of it stays where it is.
    pub(super) fn rewrite(
        &self,
        group: &[Source],
        started: &mut Started,
        pace: Pace<'_>,
    ) -> Result<Option<Rewritten>, CompactionError> {
        let mut output = Output::new(self, group);
        for source in group {
            let copied = self.each_batch(source, pace, |header, bytes, pace| {
                self.copy(source, (header, bytes), started, &mut output, pace)?;
                Ok(ControlFlow::Continue(()))
            });
            if let Err(error) = copied.and_then(|_| output.end_segment(pace)) {
                output.discard()?;
                return Err(error);
            }
        }
        output.finish(pace)
    }

    fn copy(
        &self,
        source: &Source,
        (header, bytes): (&BatchHeader, &[u8]),
        started: &mut Started,
        output: &mut Output<'_>,
        pace: Pace<'_>,
    ) -> Result<(), CompactionError> {
        let damaged = |error: BatchError| self.damaged(source, header.base_offset, &error);
        let fate = self.fate_of(header, bytes, &mut started.transactions).map_err(damaged)?;
        let retained = if fate.drop_all {
            Retained::Nothing
        } else {
            let batch = Batch::open(bytes, DECOMPRESS).map_err(damaged)?;
            let at = self.now + self.config.delete_retention_ms;
            let horizon = DeleteHorizon { at, always: fate.is_spent_marker };
            let keep = |record: &Record<'_>| self.must_stay(header, record, &started.keys);
            retain(&batch, horizon, keep).map_err(damaged)?
        };
        let changed = match retained {
            Retained::All => None,
            Retained::Some(batch) => Some(Some(batch)),
            Retained::Nothing if self.must_stay_empty(header) => {
                Some(Some(empty_batch(header))).filter(|batch| batch.as_deref() != Some(bytes))
            }
            Retained::Nothing => Some(None),
        };
        match changed {
            None => output.keep(header, bytes, pace)?,
            Some(None) => output.change(header, None, pace)?,
            Some(Some(batch)) => {
                let new = BatchHeader::parse(&batch).map_err(damaged)?;
                output.change(header, Some((new, &batch)), pace)?;
            }
        }
        if let Some(txn) = fate.aborted {
            output.push_aborted(txn);
        }
        Ok(())
    }

    fn fate_of(
        &self,
        header: &BatchHeader,
        bytes: &[u8],
        transactions: &mut Transactions,
    ) -> Result<Fate, BatchError> {
        let mut fate = Fate { drop_all: false, is_spent_marker: false, aborted: None };
        if !header.attributes.is_control() {
            fate.drop_all = transactions.meet_batch(header);
        } else if let Some(marker) = marker_of(bytes, header)? {
            match transactions.meet_marker(header, marker) {
                MarkerFate::Needed(aborted) => fate.aborted = aborted,
                MarkerFate::Spent => {
                    fate.is_spent_marker = true;
                    fate.drop_all = horizon_of(header).is_some_and(|horizon| horizon <= self.now);
                }
            }
        }
        Ok(fate)
    }

    /// Whether the batch stays although no record of it does.
    fn must_stay_empty(&self, header: &BatchHeader) -> bool {
        // The last batch of all tells where the compacted part ends.
        (header.has_producer_id() && self.last_batches.contains(header))
            || header.next_offset() == self.until
    }

    /// Whether a record is the latest of its key, and no tombstone whose time is over.
    fn must_stay(&self, header: &BatchHeader, record: &Record<'_>, keys: &KeyMap) -> bool {
        if header.attributes.is_control() || record.offset >= keys.mapped_until() {
            return true;
        }
        // Kafka, too, drops records without a key once the topic is compacted.
        let Some(key) = record.key else {
            self.count(|tally| tally.keyless_dropped += 1);
            return false;
        };
        let is_latest = keys.latest(key).is_none_or(|latest| record.offset >= latest);
        let may_be_dropped = || horizon_of(header).is_some_and(|horizon| horizon <= self.now);
        is_latest && (record.value.is_some() || !may_be_dropped())
    }

    /// Walks over the batches of a segment, each of them checked.
    pub(super) fn each_batch(
        &self,
        source: &Source,
        pace: Pace<'_>,
        mut visit: impl FnMut(&BatchHeader, &[u8], Pace<'_>) -> Result<ControlFlow<()>, CompactionError>,
    ) -> Result<ControlFlow<()>, CompactionError> {
        let file = self.open(source.base)?;
        let path = self.path(source.base);
        let mut scanner = Scanner::once(file.as_ref(), source.bytes, self.chunk_bytes);
        let (mut told, mut told_cold, mut next) = (0, 0, source.base);
        while let Some(step) = scanner.step().context("read", &path)? {
            let at = scanner.at();
            let (position, header) = step.map_err(|error| self.damaged_at(source, at, &error))?;
            let bytes = scanner.batch(position, &header).context("read", &path)?;
            check_crc(bytes, &header).map_err(|error| self.damaged_at(source, position, &error))?;
            // No checksum covers the offset.
            if let Some(reason) = order_fault(&header, next, source.base) {
                return Err(LogError::Damaged { file: path, position, reason }.into());
            }
            next = header.next_offset();
            if visit(&header, bytes, pace)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            let at = scanner.at();
            if at - told >= PACE_BYTES || at == source.bytes {
                let (bytes, cold) = (at - told, scanner.cold_bytes() - told_cold);
                self.count(|tally| {
                    tally.bytes_read += bytes;
                    tally.bytes_cold += cold;
                });
                if pace(bytes).is_break() {
                    return Err(CompactionError::Stopped);
                }
                (told, told_cold) = (at, told_cold + cold);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn damaged_at(&self, source: &Source, position: u64, error: &BatchError) -> CompactionError {
        let (file, reason) = (self.path(source.base), error.to_string());
        LogError::Damaged { file, position, reason }.into()
    }

    /// As [`Compaction::damaged_at`] for a batch whose records are broken under a sound CRC.
    fn damaged(&self, source: &Source, base_offset: i64, error: &BatchError) -> CompactionError {
        let file = self.path(source.base);
        let reason = format!("batch at offset {base_offset}: {error}");
        LogError::Malformed { file, reason }.into()
    }
}

/// When what the batch marks as deleted may go.
fn horizon_of(header: &BatchHeader) -> Option<Millis> {
    header.attributes.has_delete_horizon().then_some(Millis(header.base_timestamp))
}
