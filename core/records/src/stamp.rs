//! What the leader writes into a validated batch, in place.
//!
//! Base offset and leader epoch lie outside of the CRC, so stamping them costs nothing; the
//! timestamps lie inside, so theirs costs a new CRC.

use crc_fast::CrcAlgorithm;
use types::{LeaderEpoch, Millis, Offset};

use crate::header::{
    AT_ATTRIBUTES, AT_CRC, AT_LEADER_EPOCH, AT_LENGTH, AT_MAX_TIMESTAMP, Attributes, LOG_OVERHEAD,
    TimestampType,
};

/// CRC-32C, as batches use it.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    // The library has one type for all widths; a CRC-32 fills the lower half.
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// Gives the batch its place in the log.
///
/// # Panics
/// If `batch` is shorter than a header.
pub fn stamp(batch: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    put(batch, 0, base_offset.get().to_be_bytes());
    put(batch, AT_LEADER_EPOCH, leader_epoch.0.to_be_bytes());
}

/// Gives all records of the batch the time at which it was appended. Recomputes the CRC.
///
/// # Panics
/// If `batch` is not one whole batch.
pub fn stamp_log_append_time(batch: &mut [u8], now: Millis) {
    stamp_timestamp(batch, TimestampType::LogAppendTime, now.get());
}

/// Corrects a max timestamp that a producer got wrong, see `ValidBatch::max_timestamp`; Kafka
/// mends it too, since several clients send the last record's. Recomputes the CRC.
///
/// # Panics
/// If `batch` is not one whole batch.
pub fn stamp_max_timestamp(batch: &mut [u8], max_timestamp: i64) {
    stamp_timestamp(batch, TimestampType::CreateTime, max_timestamp);
}

fn stamp_timestamp(batch: &mut [u8], timestamp_type: TimestampType, max_timestamp: i64) {
    let old = [batch[AT_ATTRIBUTES], batch[AT_ATTRIBUTES + 1]];
    let attributes = Attributes(i16::from_be_bytes(old)).with_timestamp_type(timestamp_type);
    put(batch, AT_ATTRIBUTES, attributes.0.to_be_bytes());
    put(batch, AT_MAX_TIMESTAMP, max_timestamp.to_be_bytes());
    stamp_crc(batch);
}

pub(crate) fn stamp_crc(batch: &mut [u8]) {
    // A CRC over one batch too few or too many bytes would only be found by a consumer.
    let length = batch[AT_LENGTH..].first_chunk().map(|field| i32::from_be_bytes(*field));
    let bytes = length.and_then(|length| usize::try_from(length).ok());
    assert_eq!(bytes.map(|bytes| bytes + LOG_OVERHEAD), Some(batch.len()), "one whole batch");
    let crc = crc32c(&batch[AT_ATTRIBUTES..]);
    put(batch, AT_CRC, crc.to_be_bytes());
}

pub(crate) fn put<const N: usize>(batch: &mut [u8], at: usize, field: [u8; N]) {
    batch[at..at + N].copy_from_slice(&field);
}
