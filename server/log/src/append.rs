//! Appending: checks, offsets, rolling. What is appended is staged; `Log::flush_writes` writes it.

use std::hash::{BuildHasher, BuildHasherDefault};
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use records::{
    Batch, BatchError, BatchHeader, Compression, ControlRecordType, DecompressLimits, EndTxnMarker,
    Origin, RecordFault, TimestampLimits, TimestampType, ValidateLimits, check_crc, recompress,
    split_batches, stamp, stamp_log_append_time, stamp_max_timestamp, validate,
};
use rustc_hash::FxHasher;
use types::{LeaderEpoch, Millis, Offset};

use crate::Log;
use crate::error::{AppendError, LogError};
use crate::producer_state::{AppendOrigin, BatchMetadata, Marker, Updates};
use crate::read::Received;
use crate::txn_index::AbortedTxn;

/// The most that the records of one batch may be once decompressed.
pub(crate) const DECOMPRESS: DecompressLimits = DecompressLimits { bytes_max: 256 << 20 };

/// What became of an append.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AppendInfo {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Offset of the last record: acknowledge once the durable end or high watermark is past it.
    pub last_offset: Offset,
    /// The timestamp of all records where the topic uses LogAppendTime.
    pub log_append_time: Option<Millis>,
    /// The batch was there already; offsets are those of the first time.
    pub is_duplicate: bool,
    /// Records that were appended.
    pub record_count: u64,
    /// Bytes that were appended.
    pub bytes: u64,
}

/// One batch of an append.
struct Piece {
    range: Range<usize>,
    header: BatchHeader,
}

impl Log {
    /// Appends the batches of one produce request as the partition's leader: validates them, gives
    /// them the next offsets and `leader_epoch`, and stages them. All or nothing.
    ///
    /// `now` is wall time. The batches become durable by [`Log::sync_ticket`].
    ///
    /// # Errors
    /// [`AppendError`]; the log is unchanged, unless it is offline.
    pub fn append_as_leader(
        &mut self,
        batches: impl Into<Received>,
        leader_epoch: LeaderEpoch,
        origin: AppendOrigin,
        now: Millis,
    ) -> Result<AppendInfo, AppendError> {
        self.check_writable()?;
        let Received { mut batches, mut memory_bytes } = batches.into();
        let mut pieces = self.validate_all(&mut batches, origin, now)?;
        if let Some(target) = self.config.compression
            && pieces.iter().any(|piece| must_recompress(&piece.header, target))
        {
            batches = self.recompress_all(&batches, &mut pieces, target, origin)?;
            memory_bytes = batches.capacity();
        }
        let bytes_max = self.segment_bytes_max();
        if batches.len() > bytes_max {
            return Err(AppendError::LargerThanSegment { bytes: batches.len(), bytes_max });
        }
        let mut next = self.end;
        for Piece { range, header } in &mut pieces {
            header.base_offset = next.get();
            header.partition_leader_epoch = leader_epoch.0;
            stamp(&mut batches[range.clone()], next, leader_epoch);
            next = header.next_offset();
        }
        let updates = match self.check_producers(&batches, &pieces, origin)? {
            Ok(updates) => updates,
            Err(duplicate) => return Ok(duplicate_info(&duplicate)),
        };
        self.roll_if_due(&pieces, batches.len(), now)?;
        let info = AppendInfo {
            base_offset: self.end,
            last_offset: Offset::new(next.get() - 1),
            log_append_time: (self.config.timestamp_type == TimestampType::LogAppendTime)
                .then_some(now),
            is_duplicate: false,
            record_count: u64::try_from(next - self.end).expect("offsets only grow"),
            bytes: batches.len() as u64,
        };
        self.stage(batches.freeze(), memory_bytes, &pieces, updates);
        Ok(info)
    }

    /// Appends batches that the leader has, with the offsets and epochs it gave them. A last batch
    /// that is not whole is left out, as fetch responses may end with one. Gives the new end.
    ///
    /// The leader's log may begin within a batch: a log without records begins with all of it, and
    /// its start is to be moved then.
    ///
    /// # Errors
    /// [`AppendError`]; batches before the refused one are appended.
    pub fn append_as_follower(
        &mut self,
        batches: &Bytes,
        now: Millis,
    ) -> Result<Offset, AppendError> {
        self.check_writable()?;
        for cut in split_batches(batches) {
            let (range, header) = match cut {
                Ok(cut) => cut,
                Err(BatchError::Truncated { .. }) => break,
                Err(error) => return Err(error.into()),
            };
            let begins_before = header.base_offset < self.end.get();
            if begins_before && (self.bytes() > 0 || header.next_offset() <= self.end) {
                let found = header.base_offset;
                return Err(AppendError::OutOfOrderOffset { found, end: self.end });
            }
            let batch = batches.slice(range.clone());
            check_crc(&batch, &header)?;
            if begins_before {
                self.truncate_fully_and_start_at(header.base_offset(), now)?;
            }
            let pieces = [Piece { range: 0..batch.len(), header }];
            // The leader has checked: nothing is refused, and nothing is a duplicate.
            let Ok(updates) = self.check_producers(&batch, &pieces, AppendOrigin::Replication)?
            else {
                continue;
            };
            self.roll_if_due(&pieces, batch.len(), now)?;
            self.stage(batch, batches.len(), &pieces, updates);
        }
        Ok(self.end)
    }

    /// Checks each batch by itself and sets the timestamps that the topic prescribes.
    fn validate_all(
        &self,
        batches: &mut BytesMut,
        origin: AppendOrigin,
        now: Millis,
    ) -> Result<Vec<Piece>, AppendError> {
        let is_append_time = self.config.timestamp_type == TimestampType::LogAppendTime;
        let limits = self.validate_limits(origin, now);
        let mut pieces = Vec::with_capacity(1);
        for cut in split_batches(batches) {
            let (range, header) = cut?;
            pieces.push(Piece { range, header });
        }
        for Piece { range, header } in &mut pieces {
            let batch = &mut batches[range.clone()];
            let valid = validate(batch, header, &limits)?;
            if is_append_time {
                stamp_log_append_time(batch, now);
                header.max_timestamp = now.get();
            } else if header.max_timestamp != valid.max_timestamp {
                stamp_max_timestamp(batch, valid.max_timestamp);
                header.max_timestamp = valid.max_timestamp;
            }
        }
        if pieces.is_empty() { Err(AppendError::Empty) } else { Ok(pieces) }
    }

    fn validate_limits(&self, origin: AppendOrigin, now: Millis) -> ValidateLimits {
        let config = &self.config;
        let is_client = origin == AppendOrigin::Client;
        let checks_time = is_client && config.timestamp_type == TimestampType::CreateTime;
        ValidateLimits {
            origin: if is_client { Origin::Client } else { Origin::Broker },
            batch_bytes_max: self.batch_bytes_max(origin),
            decompress: DECOMPRESS,
            require_keys: is_client && config.compact,
            timestamps: checks_time.then_some(TimestampLimits {
                now,
                before_max: config.timestamp_before_max_ms,
                after_max: config.timestamp_after_max_ms,
            }),
        }
    }

    /// The quorum bounds its batches itself.
    fn batch_bytes_max(&self, origin: AppendOrigin) -> usize {
        match origin {
            AppendOrigin::Client | AppendOrigin::Coordinator => {
                self.config.max_message_bytes as usize
            }
            AppendOrigin::Metadata | AppendOrigin::Replication => usize::MAX,
        }
    }

    fn recompress_all(
        &self,
        batches: &[u8],
        pieces: &mut [Piece],
        target: Compression,
        origin: AppendOrigin,
    ) -> Result<BytesMut, AppendError> {
        let bytes_max = self.batch_bytes_max(origin);
        let level = self.config.compression_level;
        let mut out = BytesMut::with_capacity(batches.len());
        for Piece { range, header } in pieces {
            let begin = out.len();
            let batch = &batches[range.clone()];
            if must_recompress(header, target) {
                let batch = recompress(batch, target, level, DECOMPRESS)?;
                if batch.len() > bytes_max {
                    return Err(BatchError::TooLarge { bytes: batch.len(), bytes_max }.into());
                }
                *header = BatchHeader::parse(&batch)?;
                out.extend_from_slice(&batch);
            } else {
                out.extend_from_slice(batch);
            }
            *range = begin..out.len();
        }
        Ok(out)
    }

    /// What the batches change in the producer state, or the batch that one of them repeats.
    fn check_producers(
        &self,
        batches: &[u8],
        pieces: &[Piece],
        origin: AppendOrigin,
    ) -> Result<Result<Updates, BatchMetadata>, AppendError> {
        let mut updates = Updates::default();
        for Piece { range, header } in pieces {
            if !header.has_producer_id() {
                continue;
            }
            let marker = marker_of(&batches[range.clone()], header)?;
            let base = header.base_offset();
            let known = self.producers.prepare(&mut updates, header, marker, base, origin)?;
            if let Some(duplicate) = known {
                return Ok(Err(duplicate));
            }
        }
        Ok(Ok(updates))
    }

    fn stage(&mut self, bytes: Bytes, memory_bytes: usize, pieces: &[Piece], updates: Updates) {
        for Piece { header, .. } in pieces {
            self.active.note(header, self.config.index_interval_bytes);
            self.epochs.assign(LeaderEpoch(header.partition_leader_epoch), header.base_offset());
            self.end = header.next_offset();
        }
        self.staged_bytes += bytes.len() as u64;
        self.hints.recent.stage(&bytes, memory_bytes);
        self.staged.push(bytes);
        self.commit_producers(updates);
    }

    /// Lets producer updates take effect; what was aborted comes into the index with the next
    /// write.
    pub(crate) fn commit_producers(&mut self, updates: Updates) {
        for txn in self.producers.commit(updates) {
            let stable = self.producers.last_stable_offset(&txn);
            self.producers.complete(&txn);
            if txn.is_aborted {
                self.staged_aborted.push_back(AbortedTxn::new(&txn, stable));
            }
        }
    }

    fn roll_if_due(&mut self, pieces: &[Piece], bytes: usize, now: Millis) -> Result<(), LogError> {
        let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return Ok(()) };
        if self.active.bytes == 0 {
            // An empty segment may stand before a gap that offsets cannot reach across.
            let reach = last.header.last_offset() - self.active.base;
            if reach > i64::from(i32::MAX) {
                return self.replace_empty_active(first.header.base_offset(), now);
            }
            return Ok(());
        }
        let newest = pieces.iter().map(|piece| piece.header.max_timestamp).max().unwrap_or(-1);
        let reach = last.header.last_offset() - self.active.base;
        let is_full = self.active.bytes + bytes as u64 > self.segment_bytes_max() as u64;
        let is_due = is_full
            || reach > i64::from(i32::MAX)
            || self.active.index_is_full(self.config.segment_index_bytes)
            || self.is_old(newest, now);
        if !is_due {
            return Ok(());
        }
        // Where a segment ends before the next one begins, its end was lost: a gap that the leader
        // has goes into the new one, if offsets reach across.
        let fits = last.header.last_offset() - self.end <= i64::from(i32::MAX);
        self.roll_to(if fits { self.end } else { first.header.base_offset() }, now)
    }

    /// `segment.bytes`, as far as positions in an index reach.
    pub(crate) fn segment_bytes_max(&self) -> usize {
        self.config.segment_bytes.min(i32::MAX.cast_unsigned()) as usize
    }

    /// Whether the active segment has reached `segment.ms`, by the timestamps of its data where it
    /// has any, so that replicas roll at the same places. Where they are this node's own, its clock
    /// may have been ahead when the segment began: that must not keep it open.
    fn is_old(&self, newest: i64, now: Millis) -> bool {
        let config = &self.config;
        let age = match self.active.first_timestamp {
            Some(first) if first >= 0 => {
                let age = Millis(newest) - Millis(first);
                let is_own = config.timestamp_type == TimestampType::LogAppendTime;
                if is_own { Millis(age.get().abs()) } else { age }
            }
            _ => Millis((now - self.active.created).get().abs()),
        };
        // Only closed segments are compacted.
        let lag = if config.compact { config.max_compaction_lag_ms } else { Millis::MAX };
        age > config.segment_ms.min(lag) - self.roll_jitter()
    }

    /// Another share of `segment.jitter.ms` for each partition and segment, so that logs that were
    /// made together are not rolled together.
    fn roll_jitter(&self) -> Millis {
        let jitter_max = self.config.segment_jitter_ms.min(self.config.segment_ms).get();
        if jitter_max <= 0 {
            return Millis::ZERO;
        }
        let hasher = BuildHasherDefault::<FxHasher>::default();
        let seed = hasher.hash_one((&self.dir, self.active.base));
        Millis(i64::try_from(seed >> 1).expect("63 bits fit") % jitter_max)
    }
}

/// Control batches stay as they are: every reader must understand them.
fn must_recompress(header: &BatchHeader, target: Compression) -> bool {
    !header.attributes.is_control() && header.attributes.compression() != Ok(target)
}

fn duplicate_info(batch: &BatchMetadata) -> AppendInfo {
    AppendInfo {
        base_offset: batch.base_offset(),
        last_offset: Offset::new(batch.last_offset),
        log_append_time: Some(Millis(batch.timestamp)),
        is_duplicate: true,
        record_count: 0,
        bytes: 0,
    }
}

/// The end of a transaction, where the batch is a marker.
pub(crate) fn marker_of(batch: &[u8], header: &BatchHeader) -> Result<Option<Marker>, BatchError> {
    if !header.attributes.is_control() || header.record_count == 0 {
        return Ok(None);
    }
    let opened = Batch::open(batch, DECOMPRESS)?;
    let broken = BatchError::Record { index: 0, fault: RecordFault::Control };
    let record = opened.records().next().ok_or(broken.clone())??;
    let is_abort = match record.key.and_then(ControlRecordType::parse_key) {
        Some(ControlRecordType::Abort) => true,
        Some(ControlRecordType::Commit) => false,
        Some(_) | None => return Ok(None),
    };
    let marker = record.value.and_then(EndTxnMarker::parse).ok_or(broken)?;
    let (coordinator_epoch, timestamp) = (marker.coordinator_epoch, record.timestamp);
    Ok(Some(Marker { is_abort, coordinator_epoch, timestamp }))
}

#[cfg(test)]
mod tests;
