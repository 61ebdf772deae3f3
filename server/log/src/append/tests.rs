//! What is appended, how, and what is refused.

use records::BatchBuilder;
use types::{ErrorCode, ProducerId};

use super::*;
use crate::segment::{self, LOG};
use crate::testing::{batch, fill, idempotent, open_new, reads};
use crate::{AbortedTxn, LogConfig, RealDisk};

const EPOCH: LeaderEpoch = LeaderEpoch(5);

fn send(log: &mut Log, batches: BytesMut) -> Result<AppendInfo, AppendError> {
    log.append_as_leader(batches, EPOCH, AppendOrigin::Client, Millis(5000))
}

fn headers(log: &mut Log) -> Vec<BatchHeader> {
    let all = reads(log, 1 << 20).concat();
    split_batches(&all).map(|cut| cut.unwrap().1).collect()
}

#[test]
fn batches_get_offsets_and_the_leaders_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_new(dir.path(), LogConfig::default());
    let mut two = batch(3, 0);
    two.extend_from_slice(&batch(2, 1));
    let info = send(&mut log, two).unwrap();
    assert_eq!((info.base_offset.get(), info.last_offset.get(), info.record_count), (0, 4, 5));
    assert_eq!(info.log_append_time, None);
    let offsets: Vec<_> =
        headers(&mut log).iter().map(|h| (h.base_offset, h.partition_leader_epoch)).collect();
    assert_eq!(offsets, [(0, 5), (3, 5)]);
    assert_eq!(log.leader_epochs().entries(), [(EPOCH, Offset::ZERO)]);
}

#[test]
fn log_append_time_replaces_the_producers() {
    let dir = tempfile::tempdir().unwrap();
    let timestamp_type = TimestampType::LogAppendTime;
    let mut log = open_new(dir.path(), LogConfig { timestamp_type, ..LogConfig::default() });
    let info = send(&mut log, batch(2, 0)).unwrap();
    assert_eq!(info.log_append_time, Some(Millis(5000)));
    let header = headers(&mut log)[0];
    assert_eq!(header.max_timestamp, 5000);
    assert_eq!(header.attributes.timestamp_type(), timestamp_type);
    let found = log.look_up_time(crate::TimeWanted::Since(5000)).unwrap().unwrap();
    assert_eq!((found.offset, found.timestamp), (Offset::ZERO, 5000));
}

#[test]
fn unfit_batches_are_refused_with_kafkas_codes() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig { max_message_bytes: 2000, segment_bytes: 2500, ..LogConfig::default() };
    let mut log = open_new(dir.path(), config);
    let mut corrupt = batch(1, 0);
    corrupt[70] ^= 1;
    let mut old = batch(1, 0);
    old[16] = 1;
    let control = {
        let builder = BatchBuilder::new(Compression::None).control();
        let mut builder = builder.producer(ProducerId(1), 0, 0).transactional();
        builder.append(0, Some(&[0, 0, 0, 1]), Some(&[0, 0, 0, 0, 0, 0]), &[]);
        BytesMut::from(builder.build())
    };
    let half = BytesMut::from(&batch(1, 0)[..70]);
    let mut many = BytesMut::new();
    for seed in 0..40 {
        many.extend_from_slice(&batch(1, seed));
    }
    let cases = [
        ("nothing", BytesMut::new(), ErrorCode::InvalidRecord),
        ("a flipped bit", corrupt, ErrorCode::CorruptMessage),
        ("half a batch", half, ErrorCode::CorruptMessage),
        ("format 1", old, ErrorCode::InvalidRecord),
        ("a control batch", control, ErrorCode::InvalidRecord),
        ("too large", batch(200, 0), ErrorCode::MessageTooLarge),
        ("more than a segment", many, ErrorCode::RecordListTooLarge),
    ];
    for (name, bytes, code) in cases {
        let error = send(&mut log, bytes).unwrap_err();
        assert_eq!(error.code(), code, "{name}: {error}");
    }
    assert_eq!((log.end_offset(), log.bytes()), (Offset::ZERO, 0));
}

#[test]
fn compacted_topics_need_keys_and_bounds_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig {
        compact: true,
        timestamp_before_max_ms: Millis(1000),
        timestamp_after_max_ms: Millis(1000),
        ..LogConfig::default()
    };
    let mut log = open_new(dir.path(), config);
    let one = |timestamp, key| {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.append(timestamp, key, None, &[]);
        BytesMut::from(builder.build())
    };
    let key = Some(&b"k"[..]);
    let cases = [
        ("without a key", one(5000, None), Err(ErrorCode::InvalidRecord)),
        ("too old", one(3999, key), Err(ErrorCode::InvalidTimestamp)),
        ("too new", one(6001, key), Err(ErrorCode::InvalidTimestamp)),
        ("just so", one(4000, key), Ok(())),
    ];
    for (name, bytes, expected) in cases {
        let outcome = send(&mut log, bytes).map(|_| ()).map_err(|error| error.code());
        assert_eq!(outcome, expected, "{name}");
    }
}

#[test]
fn topic_compression_is_applied() {
    let dir = tempfile::tempdir().unwrap();
    let zstd = Compression::Zstd;
    let mut log =
        open_new(dir.path(), LogConfig { compression: Some(zstd), ..LogConfig::default() });
    send(&mut log, batch(50, 0)).unwrap();
    send(&mut log, fill(BatchBuilder::new(zstd), 50, 0)).unwrap();
    for header in headers(&mut log) {
        assert_eq!(header.attributes.compression(), Ok(zstd));
        assert_eq!(header.record_count, 50);
    }
    assert_eq!(log.end_offset(), Offset::new(100));
}

#[test]
fn repeated_batch_is_answered_and_not_appended() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_new(dir.path(), LogConfig::default());
    send(&mut log, idempotent(9, 0, 3, 7)).unwrap();
    send(&mut log, idempotent(9, 3, 2, 7)).unwrap();
    let again = send(&mut log, idempotent(9, 0, 3, 7)).unwrap();
    assert!(again.is_duplicate);
    assert_eq!((again.base_offset.get(), again.last_offset.get()), (0, 2));
    assert_eq!(again.log_append_time, Some(Millis(1007)));
    assert_eq!(log.end_offset(), Offset::new(5));
    let gap = send(&mut log, idempotent(9, 6, 1, 7)).unwrap_err();
    assert_eq!(gap.code(), ErrorCode::OutOfOrderSequenceNumber);
}

#[test]
fn segments_roll_when_full_old_or_indexed_full() {
    let size = u32::try_from(batch(1, 0).len()).unwrap();
    let default = LogConfig::default;
    let cases = [
        ("by size", LogConfig { segment_bytes: size * 2, ..default() }, 3),
        ("by time", LogConfig { segment_ms: Millis(1), ..default() }, 3),
        (
            "by index",
            LogConfig { segment_index_bytes: 36, index_interval_bytes: 0, ..default() },
            2,
        ),
        ("not at all", default(), 1),
    ];
    for (name, config, segments) in cases {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open_new(dir.path(), config);
        for seed in 0..5 {
            send(&mut log, batch(1, seed)).unwrap();
        }
        assert_eq!(log.segment_count(), segments, "{name}");
        assert_eq!(headers(&mut log).len(), 5, "{name}");
    }
}

#[test]
fn one_vectored_write_takes_all_staged_batches() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_new(dir.path(), LogConfig::default());
    let path = segment::path(log.dir(), Offset::ZERO, LOG);
    for seed in 0..5 {
        send(&mut log, batch(1, seed)).unwrap();
    }
    assert_eq!(crate::disk::read_file(&RealDisk, &path).unwrap().len(), 0);
    log.flush_writes().unwrap();
    assert_eq!(crate::disk::read_file(&RealDisk, &path).unwrap().len() as u64, log.bytes());
}

#[test]
fn follower_keeps_offsets_and_epochs() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut leader = open_new(dir.path(), LogConfig::default());
    for seed in 0..5 {
        send(&mut leader, idempotent(3, i32::try_from(seed * 2).unwrap(), 2, seed)).unwrap();
    }
    let all = leader.read_blocking(Offset::ZERO, 1 << 20, Offset::MAX, true).unwrap().bytes;
    let size = u32::try_from(batch(2, 0).len()).unwrap();
    let config = LogConfig { segment_bytes: size * 2, ..LogConfig::default() };
    let mut follower = open_new(copy.path(), config);
    let cut = all.slice(..all.len() - 10);
    assert_eq!(follower.append_as_follower(&cut, Millis(0)).unwrap(), Offset::new(8));
    let last = all.slice(all.len() / 5 * 4..);
    assert_eq!(follower.append_as_follower(&last, Millis(0)).unwrap(), Offset::new(10));
    assert_eq!(follower.segment_count(), 3);
    assert_eq!(headers(&mut follower), headers(&mut leader));
    assert_eq!(follower.leader_epochs(), leader.leader_epochs());
    let known = |log: &Log| log.producers().entry(ProducerId(3)).cloned();
    assert_eq!(known(&follower), known(&leader));

    let again = follower.append_as_follower(&last, Millis(0)).unwrap_err();
    assert!(matches!(again, AppendError::OutOfOrderOffset { found: 8, .. }), "{again}");
    let mut bad = BytesMut::from(&last[..]);
    (bad[7], bad[70]) = (10, 0xff);
    let refused = follower.append_as_follower(&bad.freeze(), Millis(0)).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::CorruptMessage);
}

fn transactional(producer: i64, sequence: i32, records: u32) -> BytesMut {
    let builder = BatchBuilder::new(Compression::None).transactional();
    fill(builder.producer(ProducerId(producer), 0, sequence), records, 0)
}

fn end_txn(log: &mut Log, producer: i64, kind: ControlRecordType) {
    let builder = BatchBuilder::new(Compression::None).transactional().control();
    let mut builder = builder.producer(ProducerId(producer), 0, -1);
    let value = EndTxnMarker { coordinator_epoch: 0 }.to_bytes();
    builder.append(0, Some(&kind.to_key()), Some(&value), &[]);
    let marker = BytesMut::from(builder.build());
    log.append_as_leader(marker, EPOCH, AppendOrigin::Coordinator, Millis(0)).unwrap();
}

#[test]
fn aborted_transactions_are_listed_and_survive_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_new(dir.path(), LogConfig::default());
    send(&mut log, transactional(1, 0, 2)).unwrap();
    send(&mut log, transactional(2, 0, 2)).unwrap();
    assert_eq!(log.last_stable_offset(log.end_offset()), Offset::ZERO);
    end_txn(&mut log, 1, ControlRecordType::Abort);
    assert_eq!(log.last_stable_offset(log.end_offset()), Offset::new(2));
    log.roll(Millis(0)).unwrap();
    end_txn(&mut log, 2, ControlRecordType::Commit);
    send(&mut log, transactional(1, 2, 1)).unwrap();
    end_txn(&mut log, 1, ControlRecordType::Abort);
    assert_eq!(log.last_stable_offset(log.end_offset()), log.end_offset());

    let txn = |first, last, stable| AbortedTxn {
        producer: ProducerId(1),
        first_offset: Offset::new(first),
        last_offset: Offset::new(last),
        last_stable_offset: Offset::new(stable),
    };
    let expected = [txn(0, 4, 2), txn(6, 7, 8)];
    let listed = |log: &Log, from, until| {
        log.aborted_transactions(Offset::new(from), Offset::new(until)).unwrap()
    };
    log.flush_writes().unwrap();
    assert_eq!(listed(&log, 0, 8), expected);
    assert_eq!(listed(&log, 0, 2), expected[..1]);
    assert_eq!(listed(&log, 5, 8), expected[1..]);
    let index = segment::path(log.dir(), Offset::new(5), segment::TXN_INDEX);
    drop(log);
    // What a crash tore is written anew.
    let torn = std::fs::read(&index).unwrap();
    std::fs::write(&index, &torn[..torn.len() - 5]).unwrap();
    let log = open_new(dir.path(), LogConfig::default());
    assert_eq!(listed(&log, 0, 8), expected);
    // A replay does not note again what was synced.
    let point = log.end_offset();
    drop(log);
    let crash = crate::testing::crashed(point);
    let log = crate::testing::open(dir.path(), LogConfig::default(), crash).unwrap();
    assert_eq!(listed(&log, 0, 99), expected);
    let point = log.close().unwrap();
    let config = LogConfig::default();
    let log = crate::testing::open(dir.path(), config, crate::testing::clean(point)).unwrap();
    assert_eq!(listed(&log, 0, 8), expected);
}

#[test]
fn a_copy_begins_with_the_whole_batch_within_which_its_leader_begins() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut leader = open_new(dir.path(), LogConfig::default());
    send(&mut leader, batch(3, 0)).unwrap();
    let all = reads(&mut leader, 1 << 20).concat().into();
    let mut follower = open_new(copy.path(), LogConfig::default());
    for start in [3, 1] {
        follower.truncate_fully_and_start_at(Offset::new(start), Millis(0)).unwrap();
        let appended = follower.append_as_follower(&all, Millis(0));
        let range = (follower.start_offset().get(), follower.end_offset().get());
        match start {
            1 => assert_eq!((appended.unwrap().get(), range), (3, (0, 3))),
            _ => assert!(appended.is_err() && range == (3, 3), "nothing of it is wanted"),
        }
    }
    assert!(follower.append_as_follower(&all, Millis(0)).is_err(), "it is here already");
}
