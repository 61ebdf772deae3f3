//! Headers and records as readers meet them, who trust less than a leader that validated.

#![allow(clippy::unwrap_used)]

mod common;

use common::{DECOMPRESS, accept, client_limits, reseal};
use thalweg_records::{
    Batch, BatchBuilder, BatchError, BatchHeader, Compression, EndTxnMarker, RecordFault,
    check_crc, sequence_after, split_batches,
};
use types::{Offset, ProducerId};

/// Two records of 7 and 7 bytes.
fn batch() -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.append(0, None, None, &[]);
    builder.append(0, None, None, &[]);
    builder.build().to_vec()
}

fn read(batch: &[u8]) -> Vec<Result<Offset, BatchError>> {
    let batch = Batch::open(batch, DECOMPRESS).unwrap();
    batch.records().map(|record| record.map(|record| record.offset)).collect()
}

#[test]
fn header_fields_that_no_batch_has_are_refused() {
    let edit = |at: usize, field: &[u8]| {
        let mut batch = batch();
        batch[at..at + field.len()].copy_from_slice(field);
        BatchHeader::parse(&batch)
    };
    assert_eq!(edit(8, &[0, 0, 0, 48]), Err(BatchError::Length { batch_length: 48 }));
    assert_eq!(edit(8, &[0xff; 4]), Err(BatchError::Length { batch_length: -1 }));
    assert!(edit(8, &[0, 0, 0, 49]).is_ok());
    let range = |base_offset, last_offset_delta| {
        Err(BatchError::OffsetRange { base_offset, last_offset_delta })
    };
    assert_eq!(edit(0, &[0xff; 8]), range(-1, 1));
    assert_eq!(edit(23, &[0xff; 4]), range(0, -1));
    let mut last = i64::MAX.to_be_bytes();
    assert_eq!(edit(0, &last), range(i64::MAX, 1));
    last[7] -= 1;
    assert_eq!(edit(0, &last), range(i64::MAX - 1, 1));
    last[7] -= 1;
    assert_eq!(edit(0, &last).unwrap().next_offset(), Offset::MAX);
    assert_eq!(edit(57, &[0xff; 4]), Err(BatchError::RecordCount { record_count: -1 }));
}

#[test]
fn a_batch_cut_short_is_told_from_garbage() {
    let batch = batch();
    let expected = batch.len();
    let mut split = split_batches(&batch[..expected - 1]);
    let truncated = BatchError::Truncated { expected, found: expected - 1 };
    assert_eq!(split.next(), Some(Err(truncated)));
    assert_eq!(split.next(), None);
    let truncated = BatchError::Truncated { expected: 61, found: 16 };
    assert_eq!(split_batches(&batch[..16]).next(), Some(Err(truncated)));
    let garbage = Err(BatchError::Magic { magic: 0 });
    assert_eq!(split_batches(&[0; 100]).collect::<Vec<_>>(), [garbage]);
}

#[test]
fn a_batch_with_something_behind_it_is_not_one_batch() {
    let mut two = batch();
    two.push(0);
    assert_eq!(accept(&two, &client_limits()), Err(BatchError::TrailingBytes));
    let header = BatchHeader::parse(&two).unwrap();
    assert_eq!(check_crc(&two, &header), Ok(()));
}

#[test]
fn gaps_of_compaction_are_read() {
    let mut gap = batch();
    gap[26] = 9;
    // The offset delta of the second record, zigzag.
    gap[61 + 7 + 3] = 18;
    reseal(&mut gap);
    assert_eq!(read(&gap), [Ok(Offset::new(0)), Ok(Offset::new(9))]);
    let mut empty = batch();
    empty.truncate(61);
    empty[57..61].fill(0);
    reseal(&mut empty);
    assert_eq!(read(&empty), []);
}

#[test]
fn reading_ends_with_the_first_error() {
    let broken = |index, fault| Err(BatchError::Record { index, fault });
    let mut out_of_range = batch();
    out_of_range[61 + 3] = 4;
    assert_eq!(read(&out_of_range), [broken(0, RecordFault::OffsetOrder(2))]);
    let mut out_of_order = batch();
    out_of_order[61 + 7 + 3] = 0;
    let first = Ok(Offset::new(0));
    assert_eq!(read(&out_of_order), [first.clone(), broken(1, RecordFault::OffsetOrder(0))]);
    let mut one_too_many = batch();
    one_too_many[60] = 1;
    assert_eq!(read(&one_too_many), [first, Err(BatchError::TrailingBytes)]);
}

#[test]
fn sequences_wrap_to_zero() {
    assert_eq!(sequence_after(i32::MAX, 0), i32::MAX);
    assert_eq!(sequence_after(i32::MAX, 1), 0);
    assert_eq!(sequence_after(i32::MAX - 1, 3), 1);
    let mut builder = BatchBuilder::new(Compression::None).producer(ProducerId(1), 0, i32::MAX);
    builder.append(0, None, None, &[]);
    builder.append(0, None, None, &[]);
    assert_eq!(BatchHeader::parse(&builder.build()).unwrap().last_sequence(), 0);
    assert_eq!(BatchHeader::parse(&batch()).unwrap().last_sequence(), -1);
}

#[test]
fn markers_of_later_versions_are_read_but_not_of_negative_ones() {
    let marker = Some(EndTxnMarker { coordinator_epoch: 7 });
    assert_eq!(EndTxnMarker::parse(&[0, 0, 0, 0, 0, 7]), marker);
    assert_eq!(EndTxnMarker::parse(&[0, 1, 0, 0, 0, 7, 99]), marker);
    assert_eq!(EndTxnMarker::parse(&[0xff, 0xff, 0, 0, 0, 7]), None);
    assert_eq!(EndTxnMarker::parse(&[0, 0, 0, 0, 0]), None);
}
