//! Bytes that lie, with and without a right CRC: refused, without a panic and within bounds.

#![allow(clippy::unwrap_used)]

mod common;

use common::{DECOMPRESS, accept, client_limits, reseal};
use proptest::prelude::*;
use thalweg_records::{
    Batch, BatchBuilder, BatchError, BatchHeader, Compression, DecompressLimits, Header, Origin,
    RecordFault, ValidateLimits, recompress, split_batches, stamp,
};
use types::{ErrorCode, LeaderEpoch, Offset, ProducerId};

const START: i64 = 1_700_000_000_000;
/// Where the first record begins.
const RECORDS: usize = 61;

fn valid(codec: Compression) -> Vec<u8> {
    let header = Header { key: b"h", value: Some(b"x") };
    let mut builder = BatchBuilder::new(codec).producer(ProducerId(9), 0, 0);
    builder.append(START, Some(b"key"), Some(b"value"), &[header]);
    builder.append(START + 100, None, Some(&[7; 100]), &[]);
    builder.append(START + 2, Some(b"key"), None, &[]);
    builder.build().to_vec()
}

/// The payload as the records of a batch whose header announces three of them.
fn with_payload(codec: Compression, payload: &[u8]) -> Vec<u8> {
    let mut batch = valid(codec);
    batch.truncate(RECORDS);
    batch.extend_from_slice(payload);
    reseal(&mut batch);
    batch
}

#[test]
fn every_flipped_bit_is_caught() {
    for codec in Compression::ALL {
        let batch = valid(codec);
        accept(&batch, &client_limits()).unwrap();
        for bit in 0..batch.len() * 8 {
            let mut flipped = batch.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let result = accept(&flipped, &client_limits());
            if (12..16).contains(&(bit / 8)) {
                // The leader epoch is outside of the CRC; whoever appends overwrites it.
                stamp(&mut flipped, Offset::ZERO, LeaderEpoch(-1));
                assert_eq!(flipped, batch);
            } else {
                assert!(result.is_err(), "{} bit {bit}", codec.name());
            }
        }
    }
}

#[test]
fn every_truncation_is_caught() {
    for codec in Compression::ALL {
        let batch = valid(codec);
        for length in 0..batch.len() {
            assert!(accept(&batch[..length], &client_limits()).is_err());
            assert!(Batch::open(&batch[..length], DECOMPRESS).is_err());
            if length > RECORDS {
                // The same with a header that knows of it.
                let resealed = with_payload(codec, &batch[RECORDS..length]);
                let result = accept(&resealed, &client_limits());
                assert!(result.is_err(), "{} cut to {length}", codec.name());
            }
        }
    }
}

/// Header edits, by name: where, the new bytes, and what must come of it.
#[test]
fn headers_that_lie_are_refused() {
    use ErrorCode::{CorruptMessage, InvalidRecord, InvalidTimestamp, UnsupportedCompressionType};
    let cases: &[(&str, usize, &[u8], ErrorCode)] = &[
        ("base offset 1", 0, &[0, 0, 0, 0, 0, 0, 0, 1], InvalidRecord),
        ("base offset negative", 0, &[0xff; 8], InvalidRecord),
        ("magic 0", 16, &[0], InvalidRecord),
        ("magic 1", 16, &[1], InvalidRecord),
        ("magic 3", 16, &[3], CorruptMessage),
        ("magic -1", 16, &[0xff], CorruptMessage),
        ("no codec 5", 21, &[0, 5], UnsupportedCompressionType),
        ("no codec 7", 21, &[0, 7], UnsupportedCompressionType),
        ("LogAppendTime", 21, &[0, 8], InvalidTimestamp),
        ("control bit", 21, &[0, 0x20], InvalidRecord),
        ("control bit of a transaction", 21, &[0, 0x30], InvalidRecord),
        ("delete horizon", 21, &[0, 0x40], InvalidRecord),
        ("unknown bit", 21, &[0x01, 0], InvalidRecord),
        ("sign bit", 21, &[0x80, 0], InvalidRecord),
        ("gzip that is none", 21, &[0, 1], InvalidRecord),
        ("snappy that is none", 21, &[0, 2], InvalidRecord),
        ("lz4 that is none", 21, &[0, 3], InvalidRecord),
        ("zstd that is none", 21, &[0, 4], InvalidRecord),
        ("last offset delta too low", 23, &[0, 0, 0, 1], InvalidRecord),
        ("last offset delta too high", 23, &[0, 0, 0, 3], InvalidRecord),
        ("last offset delta negative", 23, &[0xff; 4], InvalidRecord),
        ("base timestamp overflows", 27, &[0x7f, 255, 255, 255, 255, 255, 255, 255], InvalidRecord),
        ("base timestamp negative", 27, &[0x80, 0, 0, 0, 0, 0, 0, 0], InvalidTimestamp),
        ("producer id -2", 43, &[255, 255, 255, 255, 255, 255, 255, 254], InvalidRecord),
        ("producer id without epoch", 51, &[0xff, 0xff], InvalidRecord),
        ("producer id without sequence", 53, &[0xff; 4], InvalidRecord),
        ("transaction without producer", 21, &[0, 0x10], InvalidRecord),
        ("count too low", 57, &[0, 0, 0, 2], InvalidRecord),
        ("count too high", 57, &[0, 0, 0, 4], InvalidRecord),
        ("count 0", 57, &[0, 0, 0, 0], InvalidRecord),
        ("count negative", 57, &[0xff; 4], InvalidRecord),
    ];
    for &(name, at, field, code) in cases {
        let mut batch = valid(Compression::None);
        if name == "transaction without producer" {
            batch[43..51].fill(0xff);
        }
        batch[at..at + field.len()].copy_from_slice(field);
        reseal(&mut batch);
        let refusal = accept(&batch, &client_limits()).expect_err(name);
        assert_eq!(refusal.code(), code, "{name}: {refusal}");
    }
}

#[test]
fn counts_that_agree_with_each_other_but_not_with_the_records_are_refused() {
    for codec in Compression::ALL {
        for (count, expected) in [
            (2, BatchError::TrailingBytes),
            (4, BatchError::Record { index: 3, fault: RecordFault::Truncated }),
            (i32::MAX, BatchError::Record { index: 3, fault: RecordFault::Truncated }),
        ] {
            let mut batch = valid(codec);
            batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
            batch[57..61].copy_from_slice(&count.to_be_bytes());
            reseal(&mut batch);
            assert_eq!(accept(&batch, &client_limits()), Err(expected), "{}", codec.name());
        }
    }
}

/// Payloads whose second record is broken, each under every codec.
#[test]
fn records_that_lie_are_refused() {
    let good = |delta: u8| vec![16, 0, 0, delta * 2, 1, 4, b'o', b'k', 0];
    let cases: &[(&str, &[u8], RecordFault)] = &[
        (
            "delta repeats",
            &[12, 0, 0, 0, 1, 1, 0],
            RecordFault::OffsetDelta { expected: 1, found: 0 },
        ),
        (
            "delta skips",
            &[12, 0, 0, 4, 1, 1, 0],
            RecordFault::OffsetDelta { expected: 1, found: 2 },
        ),
        (
            "delta negative",
            &[12, 0, 0, 1, 1, 1, 0],
            RecordFault::OffsetDelta { expected: 1, found: -1 },
        ),
        ("empty record", &[0], RecordFault::Size { claimed: 0 }),
        ("length negative", &[1], RecordFault::Length(-1)),
        ("length malformed", &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80], RecordFault::Varint),
        ("one byte too long", &[14, 0, 0, 2, 1, 1, 0, 0], RecordFault::Size { claimed: 7 }),
        ("one byte too short", &[10, 0, 0, 2, 1, 1], RecordFault::Size { claimed: 5 }),
        ("key runs out of the record", &[12, 0, 0, 2, 8, 1, 0], RecordFault::Size { claimed: 6 }),
        ("key length -2", &[12, 0, 0, 2, 3, 1, 0], RecordFault::Length(-2)),
        ("value length -2", &[12, 0, 0, 2, 1, 3, 0], RecordFault::Length(-2)),
        ("header count negative", &[12, 0, 0, 2, 1, 1, 1], RecordFault::Length(-1)),
        ("headers run out", &[12, 0, 0, 2, 1, 1, 2], RecordFault::Size { claimed: 6 }),
        ("header without a key", &[16, 0, 0, 2, 1, 1, 2, 1, 1], RecordFault::Length(-1)),
        (
            "timestamp overflows",
            &[30, 0, 254, 255, 255, 255, 255, 255, 255, 255, 255, 1, 2, 1, 1, 0],
            RecordFault::TimestampOverflow(i64::MAX),
        ),
    ];
    for codec in Compression::ALL {
        for &(name, record, fault) in cases {
            let payload = [&good(0)[..], record, &good(2)[..]].concat();
            let payload = thalweg_records::compression::compress(codec, None, &payload);
            let result = accept(&with_payload(codec, &payload), &client_limits());
            let expected = Err(BatchError::Record { index: 1, fault });
            assert_eq!(result, expected, "{name}, {}", codec.name());
        }
    }
}

#[test]
fn compressed_data_with_something_behind_it_is_refused() {
    for codec in Compression::ALL {
        let mut payload = valid(codec)[RECORDS..].to_vec();
        payload.extend_from_slice(b"garbage!");
        let result = accept(&with_payload(codec, &payload), &client_limits());
        assert!(result.is_err(), "{}", codec.name());
    }
}

#[test]
fn only_brokers_write_control_records_and_those_need_their_key() {
    let broker = ValidateLimits { origin: Origin::Broker, ..client_limits() };
    let control = |key: Option<&[u8]>, records: usize, producer: i64| {
        let mut builder = BatchBuilder::new(Compression::None).control().producer(
            ProducerId(producer),
            if producer < 0 { -1 } else { 0 },
            -1,
        );
        for _ in 0..records {
            builder.append(START, key, Some(&[0; 6]), &[]);
        }
        builder.build()
    };
    let commit = Some(&[0, 0, 0, 1][..]);
    assert!(accept(&control(commit, 1, 5), &broker).is_ok());
    assert!(accept(&control(commit, 3, -1), &broker).is_ok(), "quorum batches may be longer");
    let refusal = accept(&control(commit, 1, 5), &client_limits());
    assert_eq!(refusal, Err(BatchError::Reserved { what: "control batches" }));
    let refusal = accept(&control(commit, 2, 5), &broker);
    assert_eq!(refusal, Err(BatchError::RecordCount { record_count: 2 }));
    for key in [None, Some(&[][..]), Some(&[0, 0, 0][..]), Some(&[0xff, 0xff, 0, 0][..])] {
        let refusal = accept(&control(key, 1, 5), &broker);
        let expected = BatchError::Record { index: 0, fault: RecordFault::Control };
        assert_eq!(refusal, Err(expected), "{key:?}");
    }
}

/// Compressed payloads of about a megabyte that would become gigabytes.
fn bombs() -> Vec<(Compression, Vec<u8>)> {
    let zeros = vec![0; 32 << 20];
    let compress = thalweg_records::compression::compress;
    let gzip_member = compress(Compression::Gzip, Some(9), &zeros);
    let gzip = gzip_member.repeat((1 << 20) / gzip_member.len());
    // Xerial blocks behind one another: each is honest, together they are too much.
    let snappy = compress(Compression::Snappy, None, &zeros);
    let lz4 = compress(Compression::Lz4, None, &zeros);
    // A frame with a window of 1 MiB and nothing but blocks that say "128 KiB of zeros".
    let mut zstd = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x50];
    let block: u32 = (128 << 10) << 3 | 1 << 1;
    while zstd.len() < 1 << 20 {
        zstd.extend_from_slice(&block.to_le_bytes()[..3]);
        zstd.push(0);
    }
    vec![
        (Compression::Gzip, gzip),
        (Compression::Snappy, snappy),
        (Compression::Lz4, lz4),
        (Compression::Zstd, zstd),
    ]
}

#[test]
fn bombs_are_refused_at_the_limit() {
    let bytes_max = 4 << 20;
    let expected = |codec| BatchError::DecompressedTooLarge { codec, bytes_max };
    for (codec, payload) in bombs() {
        let batch = with_payload(codec, &payload);
        let limits = DecompressLimits { bytes_max };
        // A single record that claims to go on to the end of the bomb.
        let refusal = Batch::open(&batch, limits).map(|_| ());
        assert_eq!(refusal, Err(expected(codec)));
        let refusal = recompress(&batch, Compression::None, None, limits).map(|_| ());
        assert_eq!(refusal, Err(expected(codec)));
        // Zeros are no records, so the walk ends at the very first one.
        let refusal = accept(&batch, &client_limits()).unwrap_err();
        let fault = RecordFault::Size { claimed: 0 };
        assert_eq!(refusal, BatchError::Record { index: 0, fault });
    }
}

#[test]
fn a_record_as_large_as_a_bomb_is_refused_at_the_limit() {
    // Length 2^30, key of nearly as many bytes, then zeros.
    let mut payload = vec![0x80, 0x80, 0x80, 0x80, 0x08, 0, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x07];
    payload.resize(32 << 20, 0);
    for codec in Compression::ALL.into_iter().skip(1) {
        let compressed = thalweg_records::compression::compress(codec, None, &payload);
        let refusal = accept(&with_payload(codec, &compressed), &client_limits()).unwrap_err();
        let bytes_max = DECOMPRESS.bytes_max;
        assert_eq!(refusal, BatchError::DecompressedTooLarge { codec, bytes_max });
        assert_eq!(refusal.code(), ErrorCode::MessageTooLarge);
    }
}

/// What is too large for the window is walked in another way, which must judge no other way.
#[test]
fn long_compressed_records_are_judged_as_uncompressed_ones_are() {
    let large = vec![7; 1_200_000];
    let header = Header { key: b"h", value: Some(&large[..300_000]) };
    let mut builder = BatchBuilder::new(Compression::None);
    builder.append(START, Some(b"key"), Some(b"value"), &[]);
    builder.append(START + 100, Some(&large), Some(&large), &[header, header]);
    builder.append(START + 2, None, None, &[]);
    let good = builder.build()[RECORDS..].to_vec();
    assert!(accept(&with_payload(Compression::None, &good), &client_limits()).is_ok());
    // The first record takes 15 bytes; then come the length of the second (4 bytes), attributes,
    // the deltas (2 bytes and 1) and the length of the key.
    let edit = |at: usize, add: u8| {
        let mut payload = good.clone();
        payload[at] = payload[at].wrapping_add(add);
        payload
    };
    let behind_value = 15 + 4 + 1 + 2 + 1 + 2 * (4 + large.len());
    let cases = [
        ("good", good.clone()),
        ("one byte too long", edit(15, 2)),
        ("one byte too short", edit(15, 0xfe)),
        ("length negative", edit(15, 1)),
        ("offset delta repeats", edit(22, 0xfe)),
        ("key one byte too long", edit(23, 2)),
        ("key length negative", edit(23, 1)),
        ("one header less", edit(behind_value, 0xfe)),
        ("headers run out", edit(behind_value, 2)),
        ("header count negative", edit(behind_value, 1)),
        ("header without a key", edit(behind_value + 1, 0xff)),
        ("cut in the key", good[..500_000].to_vec()),
        ("cut in a number", good[..behind_value - large.len() - 2].to_vec()),
        ("cut in the last header", good[..good.len() - 1000].to_vec()),
    ];
    for (name, payload) in cases {
        let expected = accept(&with_payload(Compression::None, &payload), &client_limits());
        assert_eq!(expected.is_ok(), name == "good", "{name}: {expected:?}");
        for codec in Compression::ALL.into_iter().skip(1) {
            let compressed = thalweg_records::compression::compress(codec, None, &payload);
            let result = accept(&with_payload(codec, &compressed), &client_limits());
            assert_eq!(result, expected, "{name}, {}", codec.name());
        }
    }
}

#[test]
fn ratio_bounds_what_the_byte_limit_would_allow() {
    let limits = DecompressLimits { bytes_max: usize::MAX };
    let (codec, zstd) = bombs().pop().unwrap();
    let payload = &zstd[..6 + 4 * 2048];
    let refusal = Batch::open(&with_payload(codec, payload), limits).map(|_| ());
    let bytes_max = (16 << 20) + 1024 * payload.len();
    assert_eq!(refusal, Err(BatchError::DecompressedTooLarge { codec, bytes_max }));
}

#[test]
fn snappy_blocks_that_announce_too_much_are_refused_before_any_allocation() {
    // Raw: 2^32 - 1 bytes announced. Framed: the same within a block of 6 bytes.
    let raw = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    let framed = [b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x06", &raw[..]].concat();
    for payload in [&raw[..], &framed] {
        let limits = DecompressLimits { bytes_max: usize::MAX };
        let batch = with_payload(Compression::Snappy, payload);
        let refusal = Batch::open(&batch, limits);
        assert!(matches!(refusal, Err(BatchError::Decompress { .. })));
    }
}

/// Reads `bytes` in every way there is.
fn read_all(bytes: &[u8]) {
    for (range, header) in split_batches(bytes).flatten() {
        let batch = &bytes[range];
        _ = thalweg_records::validate(batch, &header, &client_limits());
        _ = recompress(batch, Compression::None, None, DECOMPRESS);
        if let Ok(batch) = Batch::open(batch, DECOMPRESS) {
            for record in batch.records().flatten() {
                assert_eq!(record.headers.count(), record.headers.len());
            }
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        _ = BatchHeader::parse(&bytes);
        read_all(&bytes);
    }

    #[test]
    fn edited_batches_never_panic(
        codec in proptest::sample::select(&Compression::ALL[..]),
        edits in proptest::collection::vec((0..400_usize, any::<u8>()), 1..8),
    ) {
        let mut batch = valid(codec);
        for (at, byte) in edits {
            let at = at % batch.len();
            // Magic stays, else nothing behind it is looked at.
            if at != 16 {
                batch[at] = byte;
            }
        }
        reseal(&mut batch);
        read_all(&batch);
    }

    #[test]
    fn random_compressed_data_never_panics(
        codec in proptest::sample::select(&Compression::ALL[..]),
        keep in 0..40_usize,
        noise in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        // The front of real data lets the noise get past the magic of the codec.
        let real = valid(codec)[RECORDS..].to_vec();
        let payload = [&real[..keep.min(real.len())], &noise].concat();
        read_all(&with_payload(codec, &payload));
    }
}
