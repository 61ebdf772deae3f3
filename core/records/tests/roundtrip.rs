//! What the builder writes is valid and reads back, for every codec and all records.

#![allow(clippy::unwrap_used)]

mod common;

use common::{DECOMPRESS, accept, client_limits};
use proptest::prelude::*;
use thalweg_records::{
    Batch, BatchBuilder, Compression, Header, Headers, compression, recompress, split_batches,
};

type OwnedHeader = (Vec<u8>, Option<Vec<u8>>);

#[derive(Clone, Debug)]
struct Owned {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<OwnedHeader>,
}

/// Long runs as well as noise, so that the codecs have something to do.
fn bytes(bytes_max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..64),
        (any::<u8>(), 0..bytes_max).prop_map(|(byte, count)| vec![byte; count]),
    ]
}

fn record() -> impl Strategy<Value = Owned> {
    let headers = proptest::collection::vec((bytes(32), proptest::option::of(bytes(200))), 0..4);
    let timestamp =
        prop_oneof![Just(-1_i64), 0..i64::MAX, 1_700_000_000_000..1_700_000_100_000_i64];
    let optional = || proptest::option::of(bytes(20_000));
    (timestamp, optional(), optional(), headers)
        .prop_map(|(timestamp, key, value, headers)| Owned { timestamp, key, value, headers })
}

fn codec() -> impl Strategy<Value = Compression> {
    proptest::sample::select(&Compression::ALL[..])
}

fn build(codec: Compression, records: &[Owned]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec);
    for Owned { timestamp, key, value, headers } in records {
        let headers: Vec<_> =
            headers.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect();
        builder.append(*timestamp, key.as_deref(), value.as_deref(), &headers);
    }
    builder.build().to_vec()
}

fn headers_of(headers: Headers<'_>) -> Vec<OwnedHeader> {
    headers.map(|header| (header.key.to_vec(), header.value.map(Vec::from))).collect()
}

fn assert_reads_back(batch: &[u8], records: &[Owned]) {
    let batch = Batch::open(batch, DECOMPRESS).unwrap();
    assert_eq!(batch.records().count(), records.len());
    for (read, written) in batch.records().zip(records) {
        let read = read.unwrap();
        assert_eq!(read.timestamp, written.timestamp);
        assert_eq!(read.key, written.key.as_deref());
        assert_eq!(read.value, written.value.as_deref());
        assert_eq!(read.headers.len(), written.headers.len());
        assert_eq!(headers_of(read.headers), written.headers);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn built_batches_are_valid_and_read_back(
        codec in codec(),
        records in proptest::collection::vec(record(), 1..20),
    ) {
        let batch = build(codec, &records);
        let valid = accept(&batch, &client_limits()).unwrap();
        prop_assert_eq!(usize::try_from(valid.record_count).unwrap(), records.len());
        let max = records.iter().map(|record| record.timestamp).max().unwrap();
        let first = records.iter().position(|record| record.timestamp == max).unwrap();
        prop_assert_eq!(valid.max_timestamp, max);
        prop_assert_eq!(usize::try_from(valid.max_timestamp_delta).unwrap(), first);
        assert_reads_back(&batch, &records);
    }

    #[test]
    fn recompressed_batches_read_back(
        from in codec(),
        to in codec(),
        records in proptest::collection::vec(record(), 1..5),
    ) {
        let batch = recompress(&build(from, &records), to, None, DECOMPRESS).unwrap();
        prop_assert!(accept(&batch, &client_limits()).is_ok());
        assert_reads_back(&batch, &records);
    }

    #[test]
    fn every_level_decompresses(codec in codec(), level: i32, data in bytes(200_000)) {
        let levels = codec.levels().unwrap_or(0..=0);
        let span = i64::from(levels.end() - levels.start()) + 1;
        let level = levels.start() + i32::try_from(i64::from(level).rem_euclid(span)).unwrap();
        let compressed = compression::compress(codec, Some(level), &data);
        let out = compression::decompress_bounded(codec, &compressed, DECOMPRESS);
        prop_assert_eq!(out.unwrap(), data);
    }

    #[test]
    fn batches_are_split_where_they_were_joined(
        batches in proptest::collection::vec((codec(), record()), 0..6),
        cut in 1..61_usize,
    ) {
        let batches: Vec<_> =
            batches.into_iter().map(|(codec, record)| build(codec, &[record])).collect();
        let mut joined = batches.concat();
        let split: Vec<_> = split_batches(&joined)
            .map(|batch| joined[batch.unwrap().0].to_vec())
            .collect();
        prop_assert_eq!(&split, &batches);

        joined.truncate(joined.len().saturating_sub(cut));
        let whole = split_batches(&joined).filter(Result::is_ok).count();
        prop_assert_eq!(whole, batches.len().saturating_sub(1));
    }
}
