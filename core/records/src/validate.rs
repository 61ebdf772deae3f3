//! Whether a leader may append a batch: checksum, header, then every record.
//!
//! Uncompressed records are walked where they lie. Compressed ones are decompressed through a
//! window that stays small, so a bomb costs time up to its limit, not memory.
//! What a log knows about the past (sequences, epochs, offsets) is checked by the log.

use std::ops::RangeInclusive;

use types::Millis;

use crate::compression::{BoundedReader, CHUNK_BYTES, Compression, DecompressLimits};
use crate::control::ControlRecordType;
use crate::error::{BatchError, RECORD_ERRORS_MAX, RecordError, RecordErrorReason, RecordFault};
use crate::header::{AT_ATTRIBUTES, BatchHeader, TimestampType};
use crate::iter::payload;
use crate::long_record::take_long_record;
use crate::record::{RawRecord, take_record};
use crate::stamp::crc32c;
use crate::varint::take_varint;

/// Records up to this size are walked as a whole. A power of two times the smallest window.
const WINDOW_BYTES_MAX: usize = 1 << 20;

/// Who wrote a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// A producer over the network: control batches and offsets are not its to write.
    Client,
    /// This broker: coordinators and the quorum.
    Broker,
}

/// What a topic asks of the timestamps that producers set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TimestampLimits {
    /// The broker's clock.
    pub now: Millis,
    /// `message.timestamp.before.max.ms`.
    pub before_max: Millis,
    /// `message.timestamp.after.max.ms`.
    pub after_max: Millis,
}

/// The rules that a batch must follow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ValidateLimits {
    /// Who wrote the batch.
    pub origin: Origin,
    /// `max.message.bytes`, for the batch as it is sent.
    pub batch_bytes_max: usize,
    /// Bound of what its records may be decompressed to.
    pub decompress: DecompressLimits,
    /// Whether each record needs a key, as in compacted topics.
    pub require_keys: bool,
    /// Bounds of the timestamps; `None` where the topic uses LogAppendTime.
    pub timestamps: Option<TimestampLimits>,
}

/// What the walk of a batch found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ValidBatch {
    /// Records in the batch, at least 1.
    pub record_count: i32,
    /// The greatest timestamp of the records. Where the header says something else, the caller
    /// corrects it with [`crate::stamp_max_timestamp`] before the batch is stored.
    pub max_timestamp: i64,
    /// Position of the first record that has the greatest timestamp, relative to the base offset.
    pub max_timestamp_delta: i32,
}

/// Compares the CRC-32C of the batch at the front of `bytes` with the one in its header.
///
/// # Errors
/// [`BatchError::Truncated`] and [`BatchError::Crc`].
pub fn check_crc(bytes: &[u8], header: &BatchHeader) -> Result<(), BatchError> {
    let expected = header.batch_bytes();
    let covered = bytes
        .get(AT_ATTRIBUTES..expected)
        .ok_or(BatchError::Truncated { expected, found: bytes.len() })?;
    let computed = crc32c(covered);
    if computed != header.crc {
        return Err(BatchError::Crc { stored: header.crc, computed });
    }
    Ok(())
}

/// Checks one batch that a leader is about to append. `batch` holds it and nothing else.
///
/// # Errors
/// [`BatchError`] says which rule is broken; [`BatchError::code`] is what the producer is told.
pub fn validate(
    batch: &[u8],
    header: &BatchHeader,
    limits: &ValidateLimits,
) -> Result<ValidBatch, BatchError> {
    check_size(batch, header, limits)?;
    check_crc(batch, header)?;
    check_header(header)?;
    if limits.origin == Origin::Client {
        check_client_header(header)?;
    }
    let mut walk = Walk::new(header, limits);
    let payload = payload(batch, header)?;
    match header.attributes.compression()? {
        Compression::None => walk.slice(payload)?,
        codec => {
            let reader = BoundedReader::new(codec, payload, limits.decompress)?;
            // Small batches shrink four times at best, most of the time.
            let window_bytes = (payload.len() * 4).clamp(CHUNK_BYTES / 16, CHUNK_BYTES);
            walk.stream(reader, window_bytes)?;
        }
    }
    walk.finish()
}

fn check_size(
    batch: &[u8],
    header: &BatchHeader,
    limits: &ValidateLimits,
) -> Result<(), BatchError> {
    let bytes = header.batch_bytes();
    if bytes > limits.batch_bytes_max {
        return Err(BatchError::TooLarge { bytes, bytes_max: limits.batch_bytes_max });
    }
    if bytes > batch.len() {
        return Err(BatchError::Truncated { expected: bytes, found: batch.len() });
    }
    if bytes < batch.len() {
        return Err(BatchError::TrailingBytes);
    }
    Ok(())
}

/// Rules for whoever writes.
fn check_header(header: &BatchHeader) -> Result<(), BatchError> {
    let BatchHeader { attributes, producer_id, producer_epoch, base_sequence, .. } = *header;
    if attributes.unknown_bits() != 0 {
        return Err(BatchError::Attributes { bits: attributes.unknown_bits() });
    }
    let (last_offset_delta, record_count) = (header.last_offset_delta, header.record_count);
    if last_offset_delta != record_count - 1 {
        return Err(BatchError::CountMismatch { last_offset_delta, record_count });
    }
    // Without an id the other two mean nothing, and clients differ in what they put there.
    if producer_id < -1 || (producer_id >= 0 && producer_epoch < 0) {
        return Err(BatchError::Producer { producer_id, producer_epoch, base_sequence });
    }
    if attributes.is_transactional() && producer_id < 0 {
        return Err(BatchError::TransactionalWithoutProducer);
    }
    // A transaction ends with one marker; the quorum's control batches have no producer and may
    // hold several records.
    if attributes.is_control() && producer_id >= 0 && record_count != 1 {
        return Err(BatchError::RecordCount { record_count });
    }
    Ok(())
}

/// Rules for producers.
fn check_client_header(header: &BatchHeader) -> Result<(), BatchError> {
    let BatchHeader { attributes, producer_id, producer_epoch, base_sequence, .. } = *header;
    if header.base_offset != 0 {
        return Err(BatchError::BaseOffset { base_offset: header.base_offset });
    }
    if attributes.is_control() {
        return Err(BatchError::Reserved { what: "control batches" });
    }
    if attributes.has_delete_horizon() {
        return Err(BatchError::Reserved { what: "delete horizons" });
    }
    if attributes.timestamp_type() == TimestampType::LogAppendTime {
        return Err(BatchError::TimestampType);
    }
    if producer_id >= 0 && base_sequence < 0 {
        return Err(BatchError::Producer { producer_id, producer_epoch, base_sequence });
    }
    Ok(())
}

/// The walk over the records of one batch.
struct Walk {
    header: BatchHeader,
    is_control: bool,
    require_keys: bool,
    /// The timestamps that the topic takes, beside the -1 that means none.
    allowed: Option<RangeInclusive<i64>>,
    index: i32,
    max_timestamp: i64,
    max_timestamp_delta: i32,
    refused: usize,
    errors: Vec<RecordError>,
}

impl Walk {
    fn new(header: &BatchHeader, limits: &ValidateLimits) -> Self {
        // Kafka's own producers refuse times before 1970, except for the -1 that means none.
        let allowed = limits.timestamps.map(|TimestampLimits { now, before_max, after_max }| {
            (now - before_max).get().max(0)..=(now + after_max).get()
        });
        Self {
            header: *header,
            is_control: header.attributes.is_control(),
            require_keys: limits.require_keys,
            allowed,
            index: 0,
            max_timestamp: i64::MIN,
            max_timestamp_delta: 0,
            refused: 0,
            errors: Vec::new(),
        }
    }

    fn slice(&mut self, mut bytes: &[u8]) -> Result<(), BatchError> {
        while self.index < self.header.record_count {
            let record = take_record(&mut bytes).map_err(|fault| self.broken(fault))?;
            self.record(&record)?;
        }
        if bytes.is_empty() { Ok(()) } else { Err(BatchError::TrailingBytes) }
    }

    fn stream(
        &mut self,
        mut reader: BoundedReader<'_>,
        window_bytes: usize,
    ) -> Result<(), BatchError> {
        let mut window = vec![0; window_bytes];
        let (mut at, mut filled) = (0, 0);
        loop {
            let mut bytes = &window[at..filled];
            while self.index < self.header.record_count && holds_record(bytes) {
                let record = take_record(&mut bytes).map_err(|fault| self.broken(fault))?;
                self.record(&record)?;
            }
            if self.index == self.header.record_count && !bytes.is_empty() {
                return Err(BatchError::TrailingBytes);
            }
            at = filled - bytes.len();
            window.copy_within(at..filled, 0);
            (at, filled) = (0, filled - at);
            if filled == window.len() && filled < WINDOW_BYTES_MAX {
                window.resize(filled * 2, 0);
            } else if filled == window.len() {
                let record;
                (record, at, filled) = take_long_record(&mut reader, &mut window, self.index)?;
                self.record(&record)?;
                continue;
            }
            match reader.read(&mut window[filled..])? {
                0 if self.index < self.header.record_count => {
                    return Err(self.broken(RecordFault::Truncated));
                }
                0 => return Ok(()),
                read => filled += read,
            }
        }
    }

    #[inline]
    fn record(&mut self, record: &RawRecord<'_>) -> Result<(), BatchError> {
        let (index, delta) = (self.index, record.offset_delta);
        if delta != index {
            return Err(self.broken(RecordFault::OffsetDelta { expected: index, found: delta }));
        }
        let timestamp = crate::iter::timestamp(&self.header, record).map_err(|f| self.broken(f))?;
        if timestamp > self.max_timestamp {
            self.max_timestamp = timestamp;
            self.max_timestamp_delta = index;
        }
        if self.is_control {
            ControlRecordType::parse_key(record.key.unwrap_or_default())
                .ok_or_else(|| self.broken(RecordFault::Control))?;
        }
        if let Some(reason) = self.refusal(record, timestamp) {
            self.refuse(reason);
        }
        self.index += 1;
        Ok(())
    }

    #[cold]
    fn refuse(&mut self, reason: RecordErrorReason) {
        self.refused += 1;
        if self.errors.len() < RECORD_ERRORS_MAX {
            self.errors.push(RecordError { index: self.index, reason });
        }
    }

    /// Why the topic does not take this record. A missing key counts before a bad timestamp.
    #[inline]
    fn refusal(&self, record: &RawRecord<'_>, timestamp: i64) -> Option<RecordErrorReason> {
        if self.require_keys && record.key.is_none() {
            return Some(RecordErrorReason::NoKey);
        }
        let allowed = self.allowed.as_ref()?;
        if timestamp == -1 || allowed.contains(&timestamp) {
            return None;
        }
        let (earliest, latest) = (*allowed.start(), *allowed.end());
        Some(RecordErrorReason::Timestamp { timestamp, earliest, latest })
    }

    fn finish(self) -> Result<ValidBatch, BatchError> {
        if self.refused > 0 {
            return Err(BatchError::Records { count: self.refused, errors: self.errors });
        }
        Ok(ValidBatch {
            record_count: self.index,
            max_timestamp: self.max_timestamp,
            max_timestamp_delta: self.max_timestamp_delta,
        })
    }

    #[cold]
    fn broken(&self, fault: RecordFault) -> BatchError {
        BatchError::Record { index: self.index, fault }
    }
}

/// Whether `bytes` begin with a whole record, or with something that can never become one.
fn holds_record(mut bytes: &[u8]) -> bool {
    match take_varint(&mut bytes) {
        Ok(length) => {
            usize::try_from(length).is_ok_and(|length| length <= bytes.len()) || length < 0
        }
        Err(fault) => fault != RecordFault::Truncated,
    }
}
