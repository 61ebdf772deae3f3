//! Reading the records of one batch.

use std::borrow::Cow;

use types::Offset;

use crate::compression::{Compression, DecompressLimits, decompress_bounded};
use crate::error::{BatchError, RecordFault};
use crate::header::{BatchHeader, HEADER_BYTES, TimestampType};
use crate::record::{RawRecord, Record, take_record};

/// A batch whose records can be read: borrowed where it is not compressed, else decompressed.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    header: BatchHeader,
    payload: Cow<'a, [u8]>,
}

impl<'a> Batch<'a> {
    /// Opens the batch at the front of `bytes`. Does not check the CRC; see [`crate::check_crc`].
    ///
    /// # Errors
    /// [`BatchError`] where the header is broken, the batch is not whole or its records cannot be
    /// decompressed within `limits`.
    pub fn open(bytes: &'a [u8], limits: DecompressLimits) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        let payload = payload(bytes, &header)?;
        let payload = match header.attributes.compression()? {
            Compression::None => Cow::Borrowed(payload),
            codec => Cow::Owned(decompress_bounded(codec, payload, limits)?),
        };
        Ok(Self { header, payload })
    }

    /// The header of the batch.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The records as they lie one behind the other, decompressed.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The records, first to last.
    pub fn records(&self) -> RecordIter<'_> {
        RecordIter { header: self.header, rest: &self.payload, index: 0, last_delta: -1 }
    }
}

/// The bytes behind the header of the batch at the front of `bytes`.
pub(crate) fn payload<'a>(bytes: &'a [u8], header: &BatchHeader) -> Result<&'a [u8], BatchError> {
    let expected = header.batch_bytes();
    bytes.get(HEADER_BYTES..expected).ok_or(BatchError::Truncated { expected, found: bytes.len() })
}

/// Iterator over the records of a [`Batch`]. Ends after the first error.
#[derive(Clone, Debug)]
pub struct RecordIter<'a> {
    header: BatchHeader,
    rest: &'a [u8],
    index: i32,
    /// Compaction leaves gaps between offsets, but their order stays.
    last_delta: i32,
}

impl<'a> RecordIter<'a> {
    fn take(&mut self) -> Result<Record<'a>, BatchError> {
        let index = self.index;
        let broken = |fault| BatchError::Record { index, fault };
        let raw = take_record(&mut self.rest).map_err(broken)?;
        let delta = raw.offset_delta;
        if delta <= self.last_delta || delta > self.header.last_offset_delta {
            return Err(broken(RecordFault::OffsetOrder(delta)));
        }
        self.last_delta = delta;
        Ok(Record {
            offset: Offset::new(self.header.base_offset + i64::from(delta)),
            timestamp: timestamp(&self.header, &raw).map_err(broken)?,
            key: raw.key,
            value: raw.value,
            headers: raw.headers,
        })
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index == self.header.record_count {
            // `validate` lets no such batch in; a reader of foreign bytes must not miss it.
            let trailing = !std::mem::take(&mut self.rest).is_empty();
            return trailing.then_some(Err(BatchError::TrailingBytes));
        }
        let record = self.take();
        self.index += 1;
        if record.is_err() {
            self.index = self.header.record_count;
            self.rest = &[];
        }
        Some(record)
    }
}

/// The timestamp of a record of this batch.
pub(crate) fn timestamp(header: &BatchHeader, raw: &RawRecord<'_>) -> Result<i64, RecordFault> {
    match header.attributes.timestamp_type() {
        TimestampType::LogAppendTime => Ok(header.max_timestamp),
        TimestampType::CreateTime => header
            .base_timestamp
            .checked_add(raw.timestamp_delta)
            .ok_or(RecordFault::TimestampOverflow(raw.timestamp_delta)),
    }
}
