//! What a topic asks of records that are well formed: keys, timestamps, size.

#![allow(clippy::unwrap_used)]

mod common;

use common::{accept, client_limits};
use thalweg_records::{
    BatchBuilder, BatchError, BatchHeader, Compression, RecordError, RecordErrorReason,
    TimestampLimits, ValidateLimits, stamp_max_timestamp,
};
use types::{ErrorCode, Millis};

const NOW: i64 = 1_700_000_000_000;

fn batch(records: &[(i64, Option<&[u8]>)]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None);
    for (timestamp, key) in records {
        builder.append(*timestamp, *key, Some(b"value"), &[]);
    }
    builder.build().to_vec()
}

fn hour_around_now() -> ValidateLimits {
    let hour = Millis(3_600_000);
    let timestamps = TimestampLimits { now: Millis(NOW), before_max: hour, after_max: hour };
    ValidateLimits { timestamps: Some(timestamps), ..client_limits() }
}

#[test]
fn timestamps_are_bounded_on_both_sides() {
    let hour = 3_600_000;
    let cases = [
        ("now", NOW, true),
        ("none", -1, true),
        ("an hour ago", NOW - hour, true),
        ("before that", NOW - hour - 1, false),
        ("in an hour", NOW + hour, true),
        ("after that", NOW + hour + 1, false),
        ("the epoch", 0, false),
        ("the end of time", i64::MAX, false),
    ];
    for (name, timestamp, allowed) in cases {
        let result = accept(&batch(&[(timestamp, None)]), &hour_around_now());
        assert_eq!(result.is_ok(), allowed, "{name}");
        if let Err(refusal) = result {
            assert_eq!(refusal.code(), ErrorCode::InvalidTimestamp, "{name}");
        }
    }
}

#[test]
fn negative_timestamps_are_refused_at_any_bound() {
    let refusal = accept(&batch(&[(-2, None)]), &client_limits()).unwrap_err();
    assert_eq!(refusal.code(), ErrorCode::InvalidTimestamp);
}

#[test]
fn timestamps_do_not_matter_where_the_broker_sets_them() {
    let limits = ValidateLimits { timestamps: None, ..hour_around_now() };
    assert!(accept(&batch(&[(0, None), (-7, None)]), &limits).is_ok());
}

#[test]
fn compacted_topics_name_each_record_without_a_key() {
    let limits = ValidateLimits { require_keys: true, ..client_limits() };
    let refusal =
        accept(&batch(&[(NOW, None), (NOW, Some(b"k")), (NOW, None), (NOW, Some(b""))]), &limits)
            .unwrap_err();
    assert_eq!(refusal.code(), ErrorCode::InvalidRecord);
    let no_key = |index| RecordError { index, reason: RecordErrorReason::NoKey };
    assert_eq!(refusal.record_errors(), [no_key(0), no_key(2)]);
}

#[test]
fn a_bad_timestamp_decides_the_code() {
    let limits = ValidateLimits { require_keys: true, ..hour_around_now() };
    let refusal = accept(&batch(&[(NOW, None), (0, Some(b"k"))]), &limits).unwrap_err();
    assert_eq!(refusal.code(), ErrorCode::InvalidTimestamp);
    let indexes: Vec<_> = refusal.record_errors().iter().map(|error| error.index).collect();
    assert_eq!(indexes, [0, 1]);
}

#[test]
fn a_flood_of_record_errors_is_counted_but_not_listed() {
    let limits = ValidateLimits { require_keys: true, ..client_limits() };
    let refusal = accept(&batch(&[(NOW, None); 1000]), &limits).unwrap_err();
    assert_eq!(refusal.record_errors().len(), 100);
    assert!(matches!(refusal, BatchError::Records { count: 1000, .. }));
}

#[test]
fn size_is_checked_before_the_checksum() {
    let mut batch = batch(&[(NOW, None)]);
    batch[20] ^= 1;
    let bytes_max = batch.len() - 1;
    let limits = ValidateLimits { batch_bytes_max: bytes_max, ..client_limits() };
    let refusal = accept(&batch, &limits).unwrap_err();
    assert_eq!(refusal, BatchError::TooLarge { bytes: batch.len(), bytes_max });
    assert_eq!(refusal.code(), ErrorCode::MessageTooLarge);
}

#[test]
fn a_wrong_checksum_is_a_corrupt_message() {
    let mut batch = batch(&[(NOW, None)]);
    batch[20] ^= 1;
    let refusal = accept(&batch, &client_limits()).unwrap_err();
    assert_eq!(refusal.code(), ErrorCode::CorruptMessage);
}

#[test]
fn a_wrong_max_timestamp_is_mended() {
    // Several clients write the time of the last record.
    let right = batch(&[(NOW, None), (NOW + 50, None), (NOW + 10, None)]);
    let mut wrong = right.clone();
    stamp_max_timestamp(&mut wrong, NOW + 10);
    assert_ne!(wrong, right);
    let valid = accept(&wrong, &client_limits()).unwrap();
    assert_eq!((valid.max_timestamp, valid.max_timestamp_delta), (NOW + 50, 1));
    assert_ne!(BatchHeader::parse(&wrong).unwrap().max_timestamp, valid.max_timestamp);
    stamp_max_timestamp(&mut wrong, valid.max_timestamp);
    assert_eq!(wrong, right);
}
