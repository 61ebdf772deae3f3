//! Record batches, after one byte that says how much of them is made right first.
//!
//! No fuzzer finds a CRC-32C by chance, and compressed data hardly. So the byte may ask for a right
//! CRC, and for the records to be compressed with the codec that the header announces.

use thalweg_records::compression::compress;
use thalweg_records::{
    Batch, BatchHeader, Compression, DecompressLimits, HEADER_BYTES, Origin, TimestampLimits,
    ValidBatch, ValidateLimits, check_crc, recompress, split_batches, stamp, stamp_log_append_time,
    validate,
};
use types::{LeaderEpoch, Millis, Offset};

/// Most bytes that a batch may be decompressed to here.
const DECOMPRESSED_BYTES_MAX: usize = 256 << 10;
const DECOMPRESS: DecompressLimits = DecompressLimits { bytes_max: DECOMPRESSED_BYTES_MAX };
/// What codecs and buffers take for a batch of any size.
const FIXED_BYTES: usize = 2 << 20;
/// Copies of the input, and of what it may decompress to, that are alive at a time.
const COPIES: usize = 4;

const SEAL: u8 = 1;
const COMPRESS: u8 = 2;
const FROM_BROKER: u8 = 4;
const REQUIRE_KEYS: u8 = 8;
const LOG_APPEND_TIME: u8 = 16;

/// Splits, validates, reads, stamps and recompresses what `input` has.
///
/// # Panics
/// If a batch that is accepted cannot be read or says something else when it is read.
pub fn run(input: &[u8]) {
    let Some((&mode, bytes)) = input.split_first() else { return };
    let made;
    let bytes = if mode & (SEAL | COMPRESS) == 0 {
        bytes
    } else {
        made = prepare(mode, bytes);
        &made
    };
    for (range, header) in split_batches(bytes).flatten() {
        let batch = &bytes[range];
        read(batch);
        if let Ok(valid) = validate(batch, &header, &limits(mode)) {
            check_accepted(batch, &header, &valid, &limits(mode));
        }
    }
}

/// Most memory that [`run`] may take for an input of so many bytes.
pub fn memory_max(input_bytes: usize) -> usize {
    COPIES * (input_bytes + DECOMPRESSED_BYTES_MAX) + FIXED_BYTES
}

fn limits(mode: u8) -> ValidateLimits {
    let day = Millis(86_400_000);
    let bounds =
        TimestampLimits { now: Millis(1_700_000_000_000), before_max: day, after_max: day };
    ValidateLimits {
        origin: if mode & FROM_BROKER == 0 { Origin::Client } else { Origin::Broker },
        batch_bytes_max: 1 << 20,
        decompress: DECOMPRESS,
        require_keys: mode & REQUIRE_KEYS != 0,
        timestamps: (mode & LOG_APPEND_TIME == 0).then_some(bounds),
    }
}

/// Makes one batch of all bytes, with its records compressed and its length and CRC right.
fn prepare(mode: u8, bytes: &[u8]) -> Vec<u8> {
    let Some((front, records)) = bytes.split_at_checked(HEADER_BYTES) else {
        return bytes.to_vec();
    };
    let codec = Compression::from_id(i16::from(front[22] & 7));
    let mut batch = front.to_vec();
    match codec {
        Some(codec) if mode & COMPRESS != 0 => {
            batch.extend_from_slice(&compress(codec, None, records));
        }
        _ => batch.extend_from_slice(records),
    }
    let length = i32::try_from(batch.len() - 12).unwrap_or(i32::MAX);
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes()[4..]);
    batch
}

/// Reads all records, as a consumer reads what it was sent.
fn read(batch: &[u8]) {
    let Ok(batch) = Batch::open(batch, DECOMPRESS) else { return };
    for record in batch.records().flatten() {
        assert_eq!(record.headers.count(), record.headers.len());
    }
}

/// What was accepted must be readable, in itself consistent, and survive what a leader does to it.
fn check_accepted(bytes: &[u8], header: &BatchHeader, valid: &ValidBatch, limits: &ValidateLimits) {
    let batch = Batch::open(bytes, DECOMPRESS).expect("an accepted batch opens");
    let mut max_timestamp = None;
    let mut next = header.base_offset();
    for record in batch.records() {
        let record = record.expect("an accepted record is read");
        assert_eq!(record.offset, next, "offsets count up");
        next = next.next();
        max_timestamp = max_timestamp.max(Some(record.timestamp));
    }
    assert_eq!(next - header.base_offset(), i64::from(valid.record_count));
    assert_eq!(next, header.next_offset());
    assert_eq!(max_timestamp, Some(valid.max_timestamp));

    let mut stored = bytes.to_vec();
    stamp(&mut stored, Offset::new(1 << 40), LeaderEpoch(5));
    stamp_log_append_time(&mut stored, Millis(1));
    let header = BatchHeader::parse(&stored).expect("a stamped batch parses");
    assert_eq!(header.base_offset().get(), 1 << 40);
    check_crc(&stored, &header).expect("stamping keeps the CRC right");

    let codec = Compression::ALL[bytes.len() % Compression::ALL.len()];
    let other = recompress(bytes, codec, None, DECOMPRESS).expect("an accepted batch recompresses");
    let header = BatchHeader::parse(&other).expect("a recompressed batch parses");
    assert_eq!(validate(&other, &header, limits), Ok(*valid));
}
