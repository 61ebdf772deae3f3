//! The fixed front of a record batch (format v2), and the cutting of a buffer into batches.
//!
//! Reading is total: any bytes give a header or a [`BatchError`]. What the header claims about the
//! records behind it is checked by `validate`, not here.

use std::ops::Range;

use types::Offset;

use crate::compression::Compression;
use crate::error::BatchError;

/// Bytes before the first record.
pub const HEADER_BYTES: usize = 61;

/// Base offset and length field, which the length itself does not count.
pub(crate) const LOG_OVERHEAD: usize = 12;
/// The only format that is written; 0 and 1 went out of use with Kafka 4.
pub(crate) const MAGIC: i8 = 2;

// Where each field begins.
pub(crate) const AT_LENGTH: usize = 8;
pub(crate) const AT_LEADER_EPOCH: usize = 12;
pub(crate) const AT_MAGIC: usize = 16;
pub(crate) const AT_CRC: usize = 17;
/// The CRC covers everything from here to the end of the batch.
pub(crate) const AT_ATTRIBUTES: usize = 21;
pub(crate) const AT_LAST_OFFSET_DELTA: usize = 23;
pub(crate) const AT_BASE_TIMESTAMP: usize = 27;
pub(crate) const AT_MAX_TIMESTAMP: usize = 35;
pub(crate) const AT_PRODUCER_ID: usize = 43;
pub(crate) const AT_PRODUCER_EPOCH: usize = 51;
pub(crate) const AT_BASE_SEQUENCE: usize = 53;
pub(crate) const AT_RECORD_COUNT: usize = 57;

/// Whose clock wrote the timestamps of a batch.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TimestampType {
    /// The producer's; each record has its own.
    #[default]
    CreateTime,
    /// The broker's; all records share the batch's max timestamp.
    LogAppendTime,
}

/// The INT16 of flags in a batch header.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Attributes(pub i16);

impl Attributes {
    const COMPRESSION: i16 = 0x07;
    const LOG_APPEND_TIME: i16 = 0x08;
    const TRANSACTIONAL: i16 = 0x10;
    const CONTROL: i16 = 0x20;
    const DELETE_HORIZON: i16 = 0x40;
    const KNOWN: i16 = 0x7f;

    /// The flags of a batch that this process writes.
    pub(crate) fn new(
        compression: Compression,
        timestamp_type: TimestampType,
        is_transactional: bool,
        is_control: bool,
    ) -> Self {
        let mut bits = compression.id();
        if timestamp_type == TimestampType::LogAppendTime {
            bits |= Self::LOG_APPEND_TIME;
        }
        if is_transactional {
            bits |= Self::TRANSACTIONAL;
        }
        if is_control {
            bits |= Self::CONTROL;
        }
        Self(bits)
    }

    /// How the records are compressed.
    ///
    /// # Errors
    /// [`BatchError::UnknownCompression`] for the ids 5 to 7, which no codec has.
    pub fn compression(self) -> Result<Compression, BatchError> {
        let id = self.0 & Self::COMPRESSION;
        Compression::from_id(id).ok_or(BatchError::UnknownCompression { id })
    }

    /// Whose clock the timestamps show.
    pub fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Whether the batch holds markers that consumers do not see.
    pub fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether the base timestamp is the time at which compaction may drop tombstones.
    pub fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    /// The bits to which the format gives no meaning.
    pub(crate) fn unknown_bits(self) -> i16 {
        self.0 & !Self::KNOWN
    }

    pub(crate) fn with_compression(self, compression: Compression) -> Self {
        Self(self.0 & !Self::COMPRESSION | compression.id())
    }

    pub(crate) fn with_delete_horizon(self) -> Self {
        Self(self.0 | Self::DELETE_HORIZON)
    }

    pub(crate) fn without_delete_horizon(self) -> Self {
        Self(self.0 & !Self::DELETE_HORIZON)
    }

    pub(crate) fn with_timestamp_type(self, timestamp_type: TimestampType) -> Self {
        match timestamp_type {
            TimestampType::CreateTime => Self(self.0 & !Self::LOG_APPEND_TIME),
            TimestampType::LogAppendTime => Self(self.0 | Self::LOG_APPEND_TIME),
        }
    }
}

/// The fields of a batch header as they stand on the wire.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct BatchHeader {
    /// Offset of the first record; 0 from producers. Never negative once parsed.
    pub base_offset: i64,
    /// Bytes behind the length field.
    pub batch_length: i32,
    /// Epoch of the leader that appended the batch; not covered by the CRC.
    pub partition_leader_epoch: i32,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Flags.
    pub attributes: Attributes,
    /// Offset of the last record, relative to the base offset.
    pub last_offset_delta: i32,
    /// What the timestamp deltas of the records count from, or the delete horizon.
    pub base_timestamp: i64,
    /// The greatest timestamp of the records, or the append time of all of them.
    pub max_timestamp: i64,
    /// Id of the idempotent producer, or -1.
    pub producer_id: i64,
    /// Epoch of the producer.
    pub producer_epoch: i16,
    /// Sequence number of the first record.
    pub base_sequence: i32,
    /// Records in the batch; 0 only in what compaction leaves behind.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the front of `bytes`; the records need not be there yet.
    ///
    /// # Errors
    /// [`BatchError`] where there are fewer bytes than a header has, the length cannot be right,
    /// the format is not v2 or a count is negative. The CRC is not looked at.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        // The magic byte lies at the same place in all formats, so an old one is named as such
        // even where it is shorter than a v2 header.
        if let Some(&magic) = bytes.get(AT_MAGIC)
            && magic != MAGIC.cast_unsigned()
        {
            return Err(BatchError::Magic { magic: magic.cast_signed() });
        }
        let Some(front) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(BatchError::Truncated { expected: HEADER_BYTES, found: bytes.len() });
        };
        let header = Self {
            base_offset: i64::from_be_bytes(field(front, 0)),
            batch_length: i32::from_be_bytes(field(front, AT_LENGTH)),
            partition_leader_epoch: i32::from_be_bytes(field(front, AT_LEADER_EPOCH)),
            crc: u32::from_be_bytes(field(front, AT_CRC)),
            attributes: Attributes(i16::from_be_bytes(field(front, AT_ATTRIBUTES))),
            last_offset_delta: i32::from_be_bytes(field(front, AT_LAST_OFFSET_DELTA)),
            base_timestamp: i64::from_be_bytes(field(front, AT_BASE_TIMESTAMP)),
            max_timestamp: i64::from_be_bytes(field(front, AT_MAX_TIMESTAMP)),
            producer_id: i64::from_be_bytes(field(front, AT_PRODUCER_ID)),
            producer_epoch: i16::from_be_bytes(field(front, AT_PRODUCER_EPOCH)),
            base_sequence: i32::from_be_bytes(field(front, AT_BASE_SEQUENCE)),
            record_count: i32::from_be_bytes(field(front, AT_RECORD_COUNT)),
        };
        header.check()?;
        Ok(header)
    }

    /// The facts on which the methods below rely.
    fn check(&self) -> Result<(), BatchError> {
        if usize::try_from(self.batch_length).unwrap_or(0) < HEADER_BYTES - LOG_OVERHEAD {
            return Err(BatchError::Length { batch_length: self.batch_length });
        }
        let next = self.base_offset.checked_add(i64::from(self.last_offset_delta) + 1);
        if self.base_offset < 0 || self.last_offset_delta < 0 || next.is_none() {
            return Err(BatchError::OffsetRange {
                base_offset: self.base_offset,
                last_offset_delta: self.last_offset_delta,
            });
        }
        if self.record_count < 0 {
            return Err(BatchError::RecordCount { record_count: self.record_count });
        }
        Ok(())
    }

    /// Length of the whole batch, header included.
    pub fn batch_bytes(&self) -> usize {
        usize::try_from(self.batch_length).expect("checked when parsed") + LOG_OVERHEAD
    }

    /// Offset of the first record.
    pub fn base_offset(&self) -> Offset {
        Offset::new(self.base_offset)
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> Offset {
        Offset::new(self.base_offset + i64::from(self.last_offset_delta))
    }

    /// Offset behind the last record.
    pub fn next_offset(&self) -> Offset {
        self.last_offset().next()
    }

    /// Whether an idempotent producer wrote the batch.
    pub fn has_producer_id(&self) -> bool {
        self.producer_id >= 0
    }

    /// Sequence number of the last record; sequences wrap from the greatest INT32 to 0.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return self.base_sequence;
        }
        sequence_after(self.base_sequence, self.last_offset_delta)
    }
}

/// The sequence number `records` after `sequence`, wrapping to 0 as producers do.
///
/// # Panics
/// If either is negative.
pub fn sequence_after(sequence: i32, records: i32) -> i32 {
    assert!(sequence >= 0 && records >= 0, "sequence numbers only grow from 0");
    // Without its sign bit the sum is the remainder by 2^31.
    sequence.wrapping_add(records) & i32::MAX
}

fn field<const N: usize>(front: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    *front[at..].first_chunk().expect("every field lies inside the header")
}

/// Cuts `bytes` into batches, without reading the records. Ends after the first error.
///
/// A batch that `bytes` does not hold whole is [`BatchError::Truncated`]; readers of fetch
/// responses and torn logs expect it at the end, appends do not.
pub fn split_batches(bytes: &[u8]) -> BatchSplitter<'_> {
    BatchSplitter { bytes, at: 0 }
}

/// Iterator of [`split_batches`].
#[derive(Clone, Debug)]
pub struct BatchSplitter<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Iterator for BatchSplitter<'_> {
    type Item = Result<(Range<usize>, BatchHeader), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return None;
        }
        let cut = BatchHeader::parse(rest).and_then(|header| {
            let expected = header.batch_bytes();
            if expected > rest.len() {
                return Err(BatchError::Truncated { expected, found: rest.len() });
            }
            Ok((self.at..self.at + expected, header))
        });
        self.at = match &cut {
            Ok((range, _)) => range.end,
            Err(_) => self.bytes.len(),
        };
        Some(cut)
    }
}
