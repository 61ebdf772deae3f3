//! Batches that Apache Kafka wrote are read as it meant them, and ours are equal to its, byte for
//! byte where nothing is compressed.

#![allow(clippy::unwrap_used)]

mod common;

use common::{DECOMPRESS, accept, client_limits};
use thalweg_records::{
    Batch, BatchBuilder, BatchHeader, Compression, ControlRecordType, EndTxnMarker, Header, Origin,
    TimestampType, ValidateLimits, recompress, stamp, stamp_log_append_time,
};
use types::{LeaderEpoch, Millis, Offset, ProducerId};

const START: i64 = 1_700_000_000_000;

fn golden(name: &str) -> Vec<u8> {
    let hex = include_str!("golden/batches.txt")
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .unwrap_or_else(|| panic!("no batch {name}"));
    let digits: Vec<u8> =
        hex.chars().map(|c| u8::try_from(c.to_digit(16).unwrap()).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[derive(Debug, PartialEq)]
struct Owned {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fn owned(batch: &[u8]) -> Vec<Owned> {
    let batch = Batch::open(batch, DECOMPRESS).unwrap();
    let mut owned = Vec::new();
    for (i, record) in batch.records().enumerate() {
        let record = record.unwrap();
        assert_eq!(record.offset, batch.header().base_offset() + i64::try_from(i).unwrap());
        owned.push(Owned {
            timestamp: record.timestamp,
            key: record.key.map(Vec::from),
            value: record.value.map(Vec::from),
            headers: record.headers.map(|h| (h.key.to_vec(), h.value.map(Vec::from))).collect(),
        });
    }
    owned
}

fn record(timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Owned {
    let (key, value) = (key.map(Vec::from), value.map(Vec::from));
    Owned { timestamp, key, value, headers: vec![] }
}

fn mixed() -> Vec<Owned> {
    let mut records = vec![
        record(START, Some(b"k0"), Some(b"hello")),
        record(START + 5000, None, None),
        record(START - 3, Some(b""), Some(b"")),
        record(START + 5000, Some(b"k3"), Some(&[0; 200])),
    ];
    let header = |key: &str, value: Option<&[u8]>| (key.as_bytes().to_vec(), value.map(Vec::from));
    records[1].headers = vec![header("h", None), header("h", Some(b"x")), header("ü", Some(b""))];
    records
}

fn large() -> Vec<Owned> {
    let value = |i| format!("{}{i}", "abcdefghij".repeat(20));
    (0..400)
        .map(|i| {
            let (key, value) = (format!("key-{i}"), value(i));
            record(START + i, Some(key.as_bytes()), Some(value.as_bytes()))
        })
        .collect()
}

fn append_all(mut builder: BatchBuilder, records: &[Owned]) -> Vec<u8> {
    for record in records {
        let headers: Vec<_> = record
            .headers
            .iter()
            .map(|(key, value)| Header { key, value: value.as_deref() })
            .collect();
        builder.append(record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers);
    }
    builder.build().to_vec()
}

#[test]
fn every_codec_of_kafka_is_read() {
    for codec in Compression::ALL {
        let batch = golden(&format!("mixed/{}", codec.name()));
        assert_eq!(BatchHeader::parse(&batch).unwrap().attributes.compression(), Ok(codec));
        let valid = accept(&batch, &client_limits()).unwrap();
        assert_eq!(valid.record_count, 4, "{}", codec.name());
        assert_eq!(valid.max_timestamp, START + 5000, "{}", codec.name());
        assert_eq!(valid.max_timestamp_delta, 1, "the first of two equal ones, {}", codec.name());
        assert_eq!(owned(&batch), mixed(), "{}", codec.name());
    }
}

#[test]
fn every_level_of_kafka_is_read() {
    let levels = ["gzip-1", "gzip-9", "lz4-1", "lz4-17", "zstd--5", "zstd-22"];
    for name in ["gzip", "snappy", "lz4", "zstd"].into_iter().chain(levels) {
        let batch = golden(&format!("large/{name}"));
        assert_eq!(accept(&batch, &client_limits()).unwrap().record_count, 400, "{name}");
        assert_eq!(owned(&batch), large(), "{name}");
    }
}

#[test]
fn uncompressed_batches_equal_kafkas() {
    let producer = ProducerId(4711);
    let plain = BatchBuilder::new(Compression::None);
    assert_eq!(append_all(plain.clone(), &mixed()), golden("mixed/none"));
    let idempotent = plain.clone().producer(producer, 3, 2_147_483_646);
    assert_eq!(append_all(idempotent, &mixed()), golden("idempotent"));
    let transactional = plain.producer(producer, 3, 9).transactional();
    assert_eq!(append_all(transactional, &mixed()), golden("transactional"));
}

#[test]
fn codecs_that_follow_kafkas_choices_equal_its_bytes() {
    // The block compressors differ between libraries, the framing around them must not.
    let ours = append_all(BatchBuilder::new(Compression::Snappy), &mixed());
    assert_eq!(ours[..81], with_length_of(&ours, golden("mixed/snappy"))[..81]);
    let ours = append_all(BatchBuilder::new(Compression::Lz4), &mixed());
    assert_eq!(ours, golden("mixed/lz4"));
}

/// `golden` with the fields that depend on the compressed size, length and CRC, of `ours`.
fn with_length_of(ours: &[u8], mut golden: Vec<u8>) -> Vec<u8> {
    golden[8..12].copy_from_slice(&ours[8..12]);
    golden[17..21].copy_from_slice(&ours[17..21]);
    golden[77..81].copy_from_slice(&ours[77..81]);
    golden
}

#[test]
fn stamping_equals_kafkas() {
    let mut batch = golden("mixed/none");
    stamp(&mut batch, Offset::new(1_234_567_890_123), LeaderEpoch(77));
    assert_eq!(batch, golden("stamped"));
    let builder = BatchBuilder::new(Compression::None)
        .base_offset(Offset::new(1_234_567_890_123))
        .leader_epoch(LeaderEpoch(77));
    assert_eq!(append_all(builder, &mixed()), golden("stamped"));

    let mut batch = golden("mixed/none");
    stamp_log_append_time(&mut batch, Millis(START + 9999));
    assert_eq!(batch, golden("log-append-time"));
}

#[test]
fn log_append_time_is_every_records_time() {
    let batch = golden("log-append-time");
    let header = BatchHeader::parse(&batch).unwrap();
    assert_eq!(header.attributes.timestamp_type(), TimestampType::LogAppendTime);
    assert!(owned(&batch).iter().all(|record| record.timestamp == START + 9999));
    let limits = ValidateLimits { origin: Origin::Broker, ..client_limits() };
    let valid = accept(&batch, &limits).unwrap();
    assert_eq!((valid.max_timestamp, valid.max_timestamp_delta), (START + 9999, 0));
}

#[test]
fn markers_equal_kafkas() {
    for (name, kind) in [("commit", ControlRecordType::Commit), ("abort", ControlRecordType::Abort)]
    {
        let mut builder = BatchBuilder::new(Compression::None)
            .base_offset(Offset::new(55))
            .leader_epoch(LeaderEpoch(8))
            .producer(ProducerId(4711), 3, -1)
            .transactional()
            .control();
        let marker = EndTxnMarker { coordinator_epoch: 21 };
        builder.append(START, Some(&kind.to_key()), Some(&marker.to_bytes()), &[]);
        let ours = builder.build();
        assert_eq!(ours, golden(name), "{name}");

        let limits = ValidateLimits { origin: Origin::Broker, ..client_limits() };
        accept(&ours, &limits).unwrap();
        let batch = Batch::open(&ours, DECOMPRESS).unwrap();
        let record = batch.records().next().unwrap().unwrap();
        assert_eq!(ControlRecordType::parse_key(record.key.unwrap()), Some(kind));
        assert_eq!(EndTxnMarker::parse(record.value.unwrap()), Some(marker));
    }
}

#[test]
fn control_batches_of_the_quorum_are_read() {
    let batch = golden("leader-change");
    let limits = ValidateLimits { origin: Origin::Broker, ..client_limits() };
    accept(&batch, &limits).unwrap();
    let batch = Batch::open(&batch, DECOMPRESS).unwrap();
    let key = batch.records().next().unwrap().unwrap().key.unwrap();
    assert_eq!(ControlRecordType::parse_key(key), Some(ControlRecordType::LeaderChange));
}

#[test]
fn recompression_keeps_records_and_header() {
    for from in Compression::ALL {
        let before = golden(&format!("mixed/{}", from.name()));
        for to in Compression::ALL {
            let after = recompress(&before, to, None, DECOMPRESS).unwrap();
            let (old, new) =
                (BatchHeader::parse(&before).unwrap(), BatchHeader::parse(&after).unwrap());
            assert_eq!(new.attributes.compression(), Ok(to));
            let expected = BatchHeader {
                batch_length: new.batch_length,
                crc: new.crc,
                attributes: new.attributes,
                ..old
            };
            assert_eq!(new, expected);
            accept(&after, &client_limits()).unwrap();
            assert_eq!(owned(&after), mixed(), "{} to {}", from.name(), to.name());
        }
    }
    let uncompressed = recompress(&golden("mixed/zstd"), Compression::None, None, DECOMPRESS);
    assert_eq!(uncompressed.unwrap(), golden("mixed/none"));
}
