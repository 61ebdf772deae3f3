//! Why bytes are not a record batch, and what the client is told.

use types::ErrorCode;

use crate::compression::Compression;

/// Most record errors that a [`BatchError::Records`] lists; the rest are only counted.
pub(crate) const RECORD_ERRORS_MAX: usize = 100;

/// Why a batch is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("batch has {expected} bytes, {found} are there")]
    Truncated { expected: usize, found: usize },
    /// The length field is less than a header needs.
    #[error("batch length {batch_length} is too small for a header")]
    Length { batch_length: i32 },
    /// The batch is not of format v2.
    #[error("magic {magic} is not record format v2")]
    Magic { magic: i8 },
    /// The offsets of the header make no range.
    #[error("base offset {base_offset} and last offset delta {last_offset_delta} make no range")]
    OffsetRange { base_offset: i64, last_offset_delta: i32 },
    /// The count is negative, or 0 where records must be.
    #[error("a batch cannot have {record_count} records")]
    RecordCount { record_count: i32 },
    /// The offsets of the header leave room for another number of records than it claims.
    #[error("last offset delta is {last_offset_delta} but there are {record_count} records")]
    CountMismatch { last_offset_delta: i32, record_count: i32 },
    /// A producer may not choose offsets.
    #[error("base offset must be 0, not {base_offset}")]
    BaseOffset { base_offset: i64 },
    /// The batch has more bytes than the topic allows.
    #[error("batch has {bytes} bytes, at most {bytes_max} are allowed")]
    TooLarge { bytes: usize, bytes_max: usize },
    /// The checksum does not match.
    #[error("CRC-32C is {computed:#010x}, the batch says {stored:#010x}")]
    Crc { stored: u32, computed: u32 },
    /// No codec has this id.
    #[error("there is no compression with id {id}")]
    UnknownCompression { id: i16 },
    /// The attributes have bits without a meaning.
    #[error("attributes have unknown bits {bits:#06x}")]
    Attributes { bits: i16 },
    /// Only brokers write control batches and delete horizons.
    #[error("clients may not write {what}")]
    Reserved { what: &'static str },
    /// Producers may not claim that a broker set the timestamps.
    #[error("timestamp type is LogAppendTime, which producers may not set")]
    TimestampType,
    /// The producer's fields contradict each other.
    #[error(
        "producer id {producer_id}, epoch {producer_epoch} and sequence {base_sequence} \
         do not go together"
    )]
    Producer { producer_id: i64, producer_epoch: i16, base_sequence: i32 },
    /// A transactional batch needs a producer.
    #[error("batch is transactional but has no producer id")]
    TransactionalWithoutProducer,
    /// The compressed records cannot be decompressed.
    #[error("{} data cannot be decompressed: {reason}", codec.name())]
    Decompress { codec: Compression, reason: String },
    /// The compressed records are larger than the reader is willing to decompress.
    #[error("{} data decompresses to more than {bytes_max} bytes", codec.name())]
    DecompressedTooLarge { codec: Compression, bytes_max: usize },
    /// A record's structure is broken.
    #[error("record {index} of the batch is broken: {fault}")]
    Record { index: i32, fault: RecordFault },
    /// There are bytes behind the last record.
    #[error("there are bytes behind the last record")]
    TrailingBytes,
    /// Records are readable but not allowed here; the first ones are listed.
    #[error(
        "{count} records are not allowed, the first is {}",
        errors.first().map_or_else(String::new, ToString::to_string)
    )]
    Records { count: usize, errors: Vec<RecordError> },
}

/// What is wrong with the bytes of one record.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RecordFault {
    /// The batch ends inside of the record.
    #[error("the batch ends within it")]
    Truncated,
    /// A variable-length number has too many bytes.
    #[error("a number is malformed")]
    Varint,
    /// A length is negative where null is not allowed, or less than -1.
    #[error("length {0} makes no sense")]
    Length(i32),
    /// The parts of the record do not fill the length it claims.
    #[error("it claims {claimed} bytes but its parts have another length")]
    Size { claimed: i32 },
    /// Offset deltas count 0, 1, 2, ... in what producers send.
    #[error("offset delta is {found}, expected {expected}")]
    OffsetDelta { expected: i32, found: i32 },
    /// The offset lies outside of the batch's range or does not grow.
    #[error("offset delta {0} is out of order")]
    OffsetOrder(i32),
    /// The timestamp cannot be represented.
    #[error("timestamp delta {0} overflows")]
    TimestampOverflow(i64),
    /// The key of a control record is not a version and a type.
    #[error("it is no control record")]
    Control,
}

/// A record that can be read but is not allowed in this topic.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("record {index}: {reason}")]
pub struct RecordError {
    /// Position of the record in its batch, from 0.
    pub index: i32,
    /// Which rule it breaks.
    pub reason: RecordErrorReason,
}

/// Rules of a topic about its records.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RecordErrorReason {
    /// Compacted topics need keys.
    #[error("compacted topic cannot accept a record without a key")]
    NoKey,
    /// `message.timestamp.before.max.ms` or `message.timestamp.after.max.ms`.
    #[error("timestamp {timestamp} is not within {earliest} and {latest}")]
    Timestamp { timestamp: i64, earliest: i64, latest: i64 },
}

impl BatchError {
    /// What a producer is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Truncated { .. } | Self::Length { .. } | Self::Crc { .. } => {
                ErrorCode::CorruptMessage
            }
            // Formats 0 and 1 exist but may not be produced any more; others are garbage.
            Self::Magic { magic: 0 | 1 } => ErrorCode::InvalidRecord,
            Self::Magic { .. } => ErrorCode::CorruptMessage,
            Self::TooLarge { .. } | Self::DecompressedTooLarge { .. } => ErrorCode::MessageTooLarge,
            Self::UnknownCompression { .. } => ErrorCode::UnsupportedCompressionType,
            Self::TimestampType => ErrorCode::InvalidTimestamp,
            // One bad timestamp decides over all other reasons.
            Self::Records { errors, .. } => {
                let is_timestamp =
                    |e: &RecordError| matches!(e.reason, RecordErrorReason::Timestamp { .. });
                if errors.iter().any(is_timestamp) {
                    ErrorCode::InvalidTimestamp
                } else {
                    ErrorCode::InvalidRecord
                }
            }
            Self::OffsetRange { .. }
            | Self::RecordCount { .. }
            | Self::CountMismatch { .. }
            | Self::BaseOffset { .. }
            | Self::Attributes { .. }
            | Self::Reserved { .. }
            | Self::Producer { .. }
            | Self::TransactionalWithoutProducer
            | Self::Decompress { .. }
            | Self::Record { .. }
            | Self::TrailingBytes => ErrorCode::InvalidRecord,
        }
    }

    /// The records to name in a produce response; empty where the whole batch is at fault.
    pub fn record_errors(&self) -> &[RecordError] {
        match self {
            Self::Records { errors, .. } => errors,
            _ => &[],
        }
    }
}
