//! Writing a batch: records are appended, then the header is put in front and all is compressed.

use bytes::Bytes;

use crate::compression::{Compression, compress};
use crate::header::{
    AT_ATTRIBUTES, AT_BASE_SEQUENCE, AT_BASE_TIMESTAMP, AT_LAST_OFFSET_DELTA, AT_LEADER_EPOCH,
    AT_LENGTH, AT_MAGIC, AT_MAX_TIMESTAMP, AT_PRODUCER_EPOCH, AT_PRODUCER_ID, AT_RECORD_COUNT,
    Attributes, BatchHeader, HEADER_BYTES, LOG_OVERHEAD, MAGIC, TimestampType,
};
use crate::record::Header;
use crate::stamp::{put, stamp_crc};
use crate::varint::{put_varint, put_varlong, varlong_bytes};

/// Collects records and makes one batch of them. Offsets count from the base without a gap.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    /// Base offset, leader epoch, producer fields and flags; the rest is filled in at the end.
    header: BatchHeader,
    compression: Compression,
    level: Option<i32>,
    is_transactional: bool,
    is_control: bool,
    /// The records, behind room for the header.
    buffer: Vec<u8>,
}

impl BatchBuilder {
    /// An empty batch at offset 0, without a producer, with the codec's default level.
    pub fn new(compression: Compression) -> Self {
        let header = BatchHeader {
            partition_leader_epoch: -1,
            base_timestamp: -1,
            max_timestamp: -1,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            ..BatchHeader::default()
        };
        Self {
            header,
            compression,
            level: None,
            is_transactional: false,
            is_control: false,
            buffer: vec![0; HEADER_BYTES],
        }
    }

    /// Compresses with this level.
    #[must_use]
    pub fn level(mut self, level: i32) -> Self {
        self.level = Some(level);
        self
    }

    /// Where the batch lies in its log.
    #[must_use]
    pub fn base_offset(mut self, base_offset: types::Offset) -> Self {
        self.header.base_offset = base_offset.get();
        self
    }

    /// The epoch of the leader that appends the batch.
    #[must_use]
    pub fn leader_epoch(mut self, leader_epoch: types::LeaderEpoch) -> Self {
        self.header.partition_leader_epoch = leader_epoch.0;
        self
    }

    /// The idempotent producer; `base_sequence` is the first record's.
    #[must_use]
    pub fn producer(mut self, id: types::ProducerId, epoch: i16, base_sequence: i32) -> Self {
        self.header.producer_id = id.0;
        self.header.producer_epoch = epoch;
        self.header.base_sequence = base_sequence;
        self
    }

    /// Makes the batch part of its producer's transaction.
    #[must_use]
    pub fn transactional(mut self) -> Self {
        self.is_transactional = true;
        self
    }

    /// Makes it a batch of control records.
    #[must_use]
    pub fn control(mut self) -> Self {
        self.is_control = true;
        self
    }

    /// Adds a record; `timestamp` -1 means none.
    ///
    /// # Panics
    /// If the record or the batch becomes larger than 2 GiB, which the format cannot express.
    pub fn append(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) {
        let header = &mut self.header;
        if header.record_count == 0 {
            header.base_timestamp = timestamp;
        }
        header.max_timestamp = header.max_timestamp.max(timestamp);
        let timestamp_delta = timestamp.wrapping_sub(header.base_timestamp);
        let offset_delta = header.record_count;
        header.record_count += 1;

        let mut bytes = 1 + varlong_bytes(timestamp_delta) + varlong_bytes(offset_delta.into());
        bytes +=
            field_bytes(key) + field_bytes(value) + varlong_bytes(as_i32(headers.len()).into());
        for header in headers {
            bytes += field_bytes(Some(header.key)) + field_bytes(header.value);
        }
        let out = &mut self.buffer;
        out.reserve(bytes + varlong_bytes(as_i32(bytes).into()));
        put_varint(out, as_i32(bytes));
        // Attributes, which have no meaning yet.
        out.push(0);
        put_varlong(out, timestamp_delta);
        put_varint(out, offset_delta);
        put_field(out, key);
        put_field(out, value);
        put_varint(out, as_i32(headers.len()));
        for header in headers {
            put_field(out, Some(header.key));
            put_field(out, header.value);
        }
    }

    /// Records so far.
    pub fn record_count(&self) -> i32 {
        self.header.record_count
    }

    /// Bytes of the batch so far, before compression.
    pub fn uncompressed_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The finished batch.
    ///
    /// # Panics
    /// If there are no records.
    pub fn build(self) -> Bytes {
        assert!(self.header.record_count > 0, "a batch has records");
        let mut header = self.header;
        header.last_offset_delta = header.record_count - 1;
        header.attributes = Attributes::new(
            self.compression,
            TimestampType::CreateTime,
            self.is_transactional,
            self.is_control,
        );
        let mut batch = self.buffer;
        if self.compression != Compression::None {
            let compressed = compress(self.compression, self.level, &batch[HEADER_BYTES..]);
            batch.truncate(HEADER_BYTES);
            batch.extend_from_slice(&compressed);
        }
        write_header(&mut batch, &header);
        Bytes::from(batch)
    }
}

/// Writes `header` over the front of a batch that is otherwise complete; length and CRC are
/// computed.
pub(crate) fn write_header(batch: &mut [u8], header: &BatchHeader) {
    put(batch, 0, header.base_offset.to_be_bytes());
    put(batch, AT_LENGTH, as_i32(batch.len() - LOG_OVERHEAD).to_be_bytes());
    put(batch, AT_LEADER_EPOCH, header.partition_leader_epoch.to_be_bytes());
    put(batch, AT_MAGIC, MAGIC.to_be_bytes());
    put(batch, AT_ATTRIBUTES, header.attributes.0.to_be_bytes());
    put(batch, AT_LAST_OFFSET_DELTA, header.last_offset_delta.to_be_bytes());
    put(batch, AT_BASE_TIMESTAMP, header.base_timestamp.to_be_bytes());
    put(batch, AT_MAX_TIMESTAMP, header.max_timestamp.to_be_bytes());
    put(batch, AT_PRODUCER_ID, header.producer_id.to_be_bytes());
    put(batch, AT_PRODUCER_EPOCH, header.producer_epoch.to_be_bytes());
    put(batch, AT_BASE_SEQUENCE, header.base_sequence.to_be_bytes());
    put(batch, AT_RECORD_COUNT, header.record_count.to_be_bytes());
    stamp_crc(batch);
}

/// A length as batches write it.
pub(crate) fn as_i32(length: usize) -> i32 {
    i32::try_from(length).expect("the format holds less than 2 GiB")
}

fn field_bytes(field: Option<&[u8]>) -> usize {
    field.map_or(1, |field| varlong_bytes(as_i32(field.len()).into()) + field.len())
}

fn put_field(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        None => put_varint(out, -1),
        Some(field) => {
            put_varint(out, as_i32(field.len()));
            out.extend_from_slice(field);
        }
    }
}
