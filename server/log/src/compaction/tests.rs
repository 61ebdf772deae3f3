//! Single facts about compaction; the model of `tests/compaction` has the rest.

use bytes::{Bytes, BytesMut};
use records::{Batch, BatchBuilder, BatchHeader, Compression, ControlRecordType, EndTxnMarker};
use types::{LeaderEpoch, ProducerId};

use super::*;
use crate::append::DECOMPRESS;
use crate::testing::{clean, open, open_new, reads};
use crate::{AppendOrigin, Log, LogConfig};

const ROOMY: CleanerBuffers =
    CleanerBuffers { dedupe_bytes: 1 << 20, load_factor: 0.9, io_bytes: 1 << 16 };

fn config() -> LogConfig {
    LogConfig {
        compact: true,
        delete: false,
        delete_retention_ms: Millis(100),
        min_cleanable_dirty_ratio: 0.5,
        ..LogConfig::default()
    }
}

fn append(log: &mut Log, builder: BatchBuilder, records: &[(&str, Option<&str>)], at: i64) {
    let mut builder = builder;
    for (key, value) in records {
        builder.append(at, Some(key.as_bytes()), value.map(str::as_bytes), &[]);
    }
    let batch = BytesMut::from(builder.build());
    log.append_as_leader(batch, LeaderEpoch(0), AppendOrigin::Client, Millis(at)).unwrap();
}

fn put(log: &mut Log, records: &[(&str, Option<&str>)], at: i64) {
    append(log, BatchBuilder::new(Compression::None), records, at);
}

fn end_transaction(log: &mut Log, kind: ControlRecordType, at: i64) {
    let builder = BatchBuilder::new(Compression::None).transactional().control();
    let mut builder = builder.producer(ProducerId(7), 0, -1);
    let value = EndTxnMarker { coordinator_epoch: 0 }.to_bytes();
    builder.append(at, Some(&kind.to_key()), Some(&value), &[]);
    let (marker, origin) = (BytesMut::from(builder.build()), AppendOrigin::Coordinator);
    log.append_as_leader(marker, LeaderEpoch(0), origin, Millis(at)).unwrap();
}

/// Rolls and compacts everything.
fn compact(log: &mut Log, memory: CleanerBuffers, now: i64) -> Result<Offset, CompactionError> {
    log.roll(Millis(now)).unwrap();
    let planned = log.plan_compaction(log.end_offset(), Millis(now)).unwrap();
    let mut compaction = planned.expect("there is something to compact");
    while let Some(rewritten) =
        compaction.rewrite_next(memory, &mut |_| ControlFlow::Continue(()))?
    {
        let step = log.begin_swap(&rewritten)?.expect("nothing was cut");
        let step = log.replace_segments(rewritten, step.run())?.expect("nothing was cut");
        log.end_swap(&step, step.run())?;
    }
    log.end_compaction(&compaction);
    Ok(log.compacted_end())
}

/// A record's offset and key, and whether it has a value.
type Facts = (i64, String, bool);

/// Headers and records of the whole log.
fn content(log: &mut Log) -> Vec<(BatchHeader, Vec<Facts>)> {
    let facts = |bytes: &Bytes| {
        let batch = Batch::open(bytes, DECOMPRESS).unwrap();
        let records = batch.records().map(Result::unwrap).map(|record| {
            let key = String::from_utf8_lossy(record.key.unwrap()).into_owned();
            (record.offset.get(), key, record.value.is_some())
        });
        (*batch.header(), records.collect::<Vec<_>>())
    };
    reads(log, 1).iter().map(facts).collect()
}

fn records(log: &mut Log) -> Vec<Facts> {
    content(log).into_iter().flat_map(|(_, records)| records).collect()
}

fn keys(log: &mut Log) -> Vec<(i64, String)> {
    records(log).into_iter().map(|(offset, key, _)| (offset, key)).collect()
}

fn new_log(config: LogConfig) -> (tempfile::TempDir, Log) {
    let dir = tempfile::tempdir().unwrap();
    let log = open_new(dir.path(), config);
    (dir, log)
}

#[test]
fn latest_of_each_key_stays_at_its_offset() {
    let (_dir, mut log) = new_log(config());
    put(&mut log, &[("a", Some("1")), ("b", Some("1"))], 0);
    put(&mut log, &[("a", Some("2")), ("c", Some("1"))], 0);
    assert_eq!(compact(&mut log, ROOMY, 10).unwrap(), Offset::new(4));
    let expected = [(1, "b"), (2, "a"), (3, "c")].map(|(offset, key)| (offset, key.to_owned()));
    assert_eq!(keys(&mut log), expected);
}

#[test]
fn small_segments_become_one() {
    let (dir, mut log) = new_log(config());
    for n in 0..10 {
        put(&mut log, &[(&format!("k{n}"), Some("v"))], 0);
        log.roll(Millis(0)).unwrap();
    }
    assert_eq!(log.segment_count(), 11);
    compact(&mut log, ROOMY, 10).unwrap();
    assert_eq!((log.segment_count(), keys(&mut log).len()), (2, 10));
    let snapshots = log.snapshots.clone();
    assert_eq!(snapshots, [Offset::new(10)], "those of the merged segments are gone");
    let point = log.close().unwrap();
    let mut log = open(dir.path(), config(), clean(point)).unwrap();
    assert_eq!((log.segment_count(), keys(&mut log).len()), (2, 10));
    let names = std::fs::read_dir(dir.path().join("t-0")).unwrap();
    let names: Vec<_> = names.map(|n| n.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names.iter().filter(|name| name.ends_with(".log")).count(), 2, "{names:?}");
}

/// What a file is, whatever its name.
fn inode(dir: &Path, base: i64) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(segment::path(&dir.join("t-0"), Offset::new(base), LOG)).unwrap().ino()
}

#[test]
fn a_segment_of_which_nothing_goes_is_not_written_again() {
    let (dir, mut log) = new_log(config());
    put(&mut log, &[("a", Some("a long value that fills it")), ("b", Some("1"))], 0);
    log.roll(Millis(0)).unwrap();
    put(&mut log, &[("c", Some("1"))], 0);
    log.roll(Millis(0)).unwrap();
    let before = [inode(dir.path(), 0), inode(dir.path(), 2)];
    compact(&mut log, ROOMY, 10).unwrap();
    assert_eq!([inode(dir.path(), 0), inode(dir.path(), 2)], before);
    // Once something of it goes, neighbours become one as long as they are small enough.
    put(&mut log, &[("b", Some("2"))], 0);
    compact(&mut log, ROOMY, 10).unwrap();
    assert_ne!(inode(dir.path(), 0), before[0]);
    assert_eq!((log.segment_count(), keys(&mut log).len()), (2, 3));
}

#[test]
fn a_small_segment_grows_with_as_much_behind_it() {
    let (dir, mut log) = new_log(config());
    for n in 0..3 {
        put(&mut log, &[(&format!("k{n}"), Some("v"))], 0);
        log.roll(Millis(0)).unwrap();
    }
    let before = inode(dir.path(), 0);
    compact(&mut log, ROOMY, 10).unwrap();
    assert_eq!(log.segment_count(), 2, "two behind the first are as much as it is");
    let grown = inode(dir.path(), 0);
    assert_ne!(grown, before);
    put(&mut log, &[("k3", Some("v"))], 0);
    compact(&mut log, ROOMY, 10).unwrap();
    assert_eq!((log.segment_count(), inode(dir.path(), 0)), (3, grown), "one is less");
}

#[test]
fn a_rewritten_segment_is_as_old_as_the_newest_before_it() {
    let (dir, mut log) = new_log(config());
    put(&mut log, &[("a", Some("1")), ("a", Some("2"))], 0);
    log.roll(Millis(1_234_567)).unwrap();
    put(&mut log, &[("b", Some("1"))], 0);
    log.roll(Millis(7_654_321)).unwrap();
    compact(&mut log, ROOMY, 9_000_000).unwrap();
    assert_eq!(log.closed[0].modified, Millis(7_654_321));
    let path = segment::path(&dir.path().join("t-0"), Offset::ZERO, LOG);
    let modified = std::fs::metadata(path).unwrap().modified().unwrap();
    let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(since.as_millis(), 7_654_321);
}

#[test]
fn what_was_done_is_counted() {
    let (_dir, mut log) = new_log(LogConfig { compact: false, ..config() });
    let mut builder = BatchBuilder::new(Compression::None);
    builder.append(0, None, Some(b"no key"), &[]);
    append(&mut log, builder, &[("a", Some("1")), ("a", Some("2"))], 0);
    log.set_config(Arc::new(config()));
    log.roll(Millis(0)).unwrap();
    let bytes = log.bytes();
    let planned = log.plan_compaction(log.end_offset(), Millis(10)).unwrap();
    let mut compaction = planned.expect("there is something to compact");
    let go_on: Pace<'_> = &mut |_| ControlFlow::Continue(());
    let rewritten = compaction.rewrite_next(ROOMY, go_on).unwrap().expect("much goes");
    let tally = compaction.tally();
    assert_eq!((tally.bytes_mapped, tally.bytes_read, tally.keyless_dropped), (bytes, bytes, 1));
    assert_eq!((bytes, tally.bytes_written), rewritten.bytes());
    assert!(tally.bytes_written < bytes && tally.dedupe_utilization > 0.0);
    rewritten.discard().unwrap();
}

#[test]
fn tombstones_stay_until_their_horizon() {
    let (_dir, mut log) = new_log(config());
    put(&mut log, &[("a", Some("1"))], 0);
    put(&mut log, &[("a", None), ("b", Some("1"))], 0);
    compact(&mut log, ROOMY, 1000).unwrap();
    assert_eq!(records(&mut log), [(1, "a".to_owned(), false), (2, "b".to_owned(), true)]);
    let horizon = |log: &mut Log| {
        let header = content(log)[0].0;
        header.attributes.has_delete_horizon().then_some(header.base_timestamp)
    };
    assert_eq!(horizon(&mut log), Some(1100));
    put(&mut log, &[("c", Some("1"))], 0);
    compact(&mut log, ROOMY, 1099).unwrap();
    assert_eq!((records(&mut log).len(), horizon(&mut log)), (3, Some(1100)));
    put(&mut log, &[("d", Some("1"))], 0);
    compact(&mut log, ROOMY, 1100).unwrap();
    assert_eq!(keys(&mut log)[0], (2, "b".to_owned()));
}

#[test]
fn last_batch_of_a_producer_stays_empty() {
    let (_dir, mut log) = new_log(config());
    let builder =
        |sequence| BatchBuilder::new(Compression::Zstd).producer(ProducerId(5), 3, sequence);
    append(&mut log, builder(0), &[("a", Some("1"))], 0);
    append(&mut log, builder(1), &[("a", Some("2")), ("b", Some("2"))], 0);
    put(&mut log, &[("a", Some("3")), ("b", Some("3"))], 0);
    compact(&mut log, ROOMY, 10).unwrap();
    let all = content(&mut log);
    let facts = |header: &BatchHeader| {
        (header.base_offset, header.record_count, header.last_sequence(), header.producer_epoch)
    };
    assert_eq!(facts(&all[0].0), (1, 0, 2, 3));
    assert_eq!(all.len(), 2, "the batch before it is gone");
}

#[test]
fn aborted_data_goes_and_markers_go_later() {
    let (_dir, mut log) = new_log(config());
    let data = |sequence| {
        BatchBuilder::new(Compression::None).transactional().producer(ProducerId(7), 0, sequence)
    };
    put(&mut log, &[("a", Some("1"))], 0);
    append(&mut log, data(0), &[("a", Some("aborted"))], 0);
    end_transaction(&mut log, ControlRecordType::Abort, 0);
    append(&mut log, data(1), &[("b", Some("1"))], 0);
    end_transaction(&mut log, ControlRecordType::Commit, 0);
    let bases = |log: &mut Log| -> Vec<i64> {
        content(log).iter().map(|(header, _)| header.base_offset).collect()
    };
    let aborted = |log: &Log| log.aborted_transactions(Offset::ZERO, Offset::MAX).unwrap().len();

    compact(&mut log, ROOMY, 1000).unwrap();
    assert_eq!(bases(&mut log), [0, 2, 3, 4], "aborted data is dropped, its marker not");
    assert_eq!(aborted(&log), 1);
    // The marker is spent now, and its time begins to run.
    put(&mut log, &[("c", Some("1"))], 0);
    compact(&mut log, ROOMY, 1001).unwrap();
    assert_eq!((bases(&mut log), aborted(&log)), (vec![0, 2, 3, 4, 5], 0));
    put(&mut log, &[("d", Some("1"))], 0);
    compact(&mut log, ROOMY, 1101).unwrap();
    assert_eq!(bases(&mut log), [0, 3, 4, 5, 6], "the marker of data that is there stays");
}

/// A reader has records of before, and finds the index of after, or none.
#[test]
fn a_look_up_of_aborted_transactions_is_void_once_segments_were_replaced() {
    let (_dir, mut log) = new_log(config());
    put(&mut log, &[("a", Some("1"))], 0);
    let data = BatchBuilder::new(Compression::None).transactional().producer(ProducerId(7), 0, 0);
    append(&mut log, data, &[("a", Some("aborted"))], 0);
    end_transaction(&mut log, ControlRecordType::Abort, 0);
    log.roll(Millis(0)).unwrap();
    let lookup = log.aborted_lookup(Offset::ZERO).unwrap();
    assert_eq!(lookup.run(Offset::MAX).unwrap().len(), 1);
    put(&mut log, &[("b", Some("1"))], 0);
    assert!(log.is_current(&lookup), "more at the end changes nothing");

    compact(&mut log, ROOMY, 1000).unwrap();
    assert!(!log.is_current(&lookup));
    let lookup = log.aborted_lookup(Offset::ZERO).unwrap();
    assert!(log.is_current(&lookup));
}

#[test]
fn undecided_and_uncommitted_records_are_not_touched() {
    let (_dir, mut log) = new_log(config());
    put(&mut log, &[("a", Some("1"))], 0);
    log.roll(Millis(0)).unwrap();
    let data = BatchBuilder::new(Compression::None).transactional().producer(ProducerId(7), 0, 0);
    append(&mut log, data, &[("a", Some("2"))], 0);
    log.roll(Millis(0)).unwrap();
    let end = log.end_offset();
    let until = |log: &mut Log, high_watermark| {
        let planned = log.plan_compaction(high_watermark, Millis(10)).unwrap();
        planned.map(|compaction| compaction.until)
    };
    assert_eq!(until(&mut log, end), Some(Offset::new(1)), "the transaction is open");
    assert_eq!(until(&mut log, Offset::ZERO), None, "nothing is committed");
    end_transaction(&mut log, ControlRecordType::Commit, 0);
    log.roll(Millis(0)).unwrap();
    let end = log.end_offset();
    assert_eq!(until(&mut log, end), Some(end));
}

#[test]
fn lags_and_ratio_decide_when() {
    let needs = |config: LogConfig, now| {
        let (_dir, mut log) = new_log(config);
        put(&mut log, &[("a", Some("1")), ("b", Some("1"))], 1000);
        compact(&mut log, ROOMY, 1500).unwrap();
        put(&mut log, &[("a", Some("2"))], 2000);
        log.roll(Millis(2000)).unwrap();
        let end = log.end_offset();
        let need = log.compaction_need(end, Millis(now)).unwrap();
        need.filter(|need| need.is_due).map(|need| need.delay.get())
    };
    let ratio = |min_cleanable_dirty_ratio| LogConfig { min_cleanable_dirty_ratio, ..config() };
    assert_eq!(needs(ratio(0.4), 2000), Some(0));
    assert_eq!(needs(ratio(0.6), 2000), None, "too little is new");
    let min_lag = LogConfig { min_compaction_lag_ms: Millis(500), ..ratio(0.4) };
    assert_eq!(needs(min_lag.clone(), 2499), None, "too young");
    assert_eq!(needs(min_lag, 2500), Some(0));
    let max_lag = LogConfig { max_compaction_lag_ms: Millis(500), ..ratio(0.6) };
    assert_eq!(needs(max_lag.clone(), 2500), None);
    assert_eq!(needs(max_lag, 2507), Some(7), "too old to wait for the ratio");
    assert_eq!(needs(LogConfig { compact: false, ..ratio(0.0) }, 2000), None);
}

#[test]
fn small_memory_compacts_in_several_passes() {
    let (_dir, mut log) = new_log(config());
    for round in 0..4 {
        for key in 0..8 {
            put(&mut log, &[(&format!("k{key}"), Some(&format!("r{round}")))], 0);
        }
    }
    let small = CleanerBuffers { dedupe_bytes: 24 * 6, load_factor: 0.9, io_bytes: 1 << 16 };
    let mut ends = Vec::new();
    while log.compacted_end() < Offset::new(32) {
        ends.push(compact(&mut log, small, 10).unwrap().get());
    }
    assert!(ends.len() > 2 && ends.is_sorted(), "{ends:?}");
    let expected: Vec<i64> = (24..32).collect();
    let offsets: Vec<i64> = keys(&mut log).into_iter().map(|(offset, _)| offset).collect();
    assert!(expected.iter().all(|offset| offsets.contains(offset)), "{offsets:?}");
    let nothing = CleanerBuffers { dedupe_bytes: 0, load_factor: 0.9, io_bytes: 1 << 16 };
    put(&mut log, &[("a", Some("1"))], 0);
    let refused = compact(&mut log, nothing, 10).unwrap_err();
    assert!(matches!(refused, CompactionError::TooManyKeys { .. }), "{refused}");
}

#[test]
fn damage_and_a_stop_leave_the_log_as_it_was() {
    let (dir, mut log) = new_log(config());
    put(&mut log, &[("a", Some("1"))], 0);
    put(&mut log, &[("a", Some("2"))], 0);
    log.roll(Millis(0)).unwrap();
    let end = log.end_offset();
    let mut compaction = log.plan_compaction(end, Millis(10)).unwrap().unwrap();
    let stopped = compaction.rewrite_next(ROOMY, &mut |_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(CompactionError::Stopped)));
    let path = segment::path(&dir.path().join("t-0"), Offset::ZERO, LOG);
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    drop(compaction);
    let mut compaction = log.plan_compaction(end, Millis(10)).unwrap().unwrap();
    let fault = compaction.rewrite_next(ROOMY, &mut |_| ControlFlow::Continue(())).unwrap_err();
    let CompactionError::Log(LogError::Damaged { file, position, .. }) = fault else {
        panic!("{fault}")
    };
    assert_eq!((file, position > 0), (path.clone(), true));
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

/// Nothing of a batch before its attributes is covered by its checksum.
#[test]
fn an_offset_that_cannot_follow_is_damage() {
    let (dir, mut log) = new_log(config());
    (0..2).for_each(|_| put(&mut log, &[("a", Some("1"))], 0));
    log.roll(Millis(0)).unwrap();
    let path = segment::path(&dir.path().join("t-0"), Offset::ZERO, LOG);
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] = 0x40;
    std::fs::write(&path, &bytes).unwrap();
    let fault = compact(&mut log, ROOMY, 10).unwrap_err();
    let CompactionError::Log(LogError::Damaged { file, position, .. }) = fault else {
        panic!("{fault}")
    };
    assert_eq!((file, position), (path, at as u64));
}

#[test]
fn retention_meanwhile_voids_a_rewritten_segment() {
    let (dir, mut log) = new_log(config());
    put(&mut log, &[("a", Some("1")), ("a", Some("2"))], 0);
    log.roll(Millis(0)).unwrap();
    let end = log.end_offset();
    let mut compaction = log.plan_compaction(end, Millis(10)).unwrap().unwrap();
    let pace: Pace<'_> = &mut |_| ControlFlow::Continue(());
    let rewritten = compaction.rewrite_next(ROOMY, pace).unwrap().unwrap();
    let step = log.begin_swap(&rewritten).unwrap().unwrap();
    log.delete_records(end, end).unwrap();
    assert_eq!(log.delete_old_segments(end, Millis(10)).unwrap(), 1);
    assert!(log.replace_segments(rewritten, step.run()).unwrap().is_none());
    let names = std::fs::read_dir(dir.path().join("t-0")).unwrap();
    let mut names = names.map(|n| n.unwrap().file_name().into_string().unwrap());
    assert!(!names.any(|name| name.ends_with(".swap") || name.ends_with(".cleaned")));
}

/// A log of three segments of two batches each, closed: the folder and the recovery point.
fn three_segments(dir: &Path) -> (PathBuf, Offset) {
    let mut log = open_new(dir, config());
    for n in 0..6 {
        put(&mut log, &[(&format!("k{n}"), Some("v"))], 0);
        if n % 2 == 1 {
            log.roll(Millis(0)).unwrap();
        }
    }
    let folder = dir.join("t-0");
    let point = log.close().unwrap();
    (folder, point)
}

#[test]
fn swaps_that_kafka_left_half_done_end_by_its_rules() {
    let swap_only = "the former segments that it covers go";
    let cases: [(&str, &[&str], &[i64]); 4] = [
        (swap_only, &["00000000000000000000.log.swap"], &[1, 2, 4, 5]),
        (
            "part of its set is not renamed yet",
            &["00000000000000000000.log.swap", "00000000000000000000.index.cleaned"],
            &[0, 1, 2, 3, 4, 5],
        ),
        (
            "it was made from the last to the first",
            &["00000000000000000000.log.cleaned", "00000000000000000002.log.swap"],
            &[0, 1, 2, 3, 4, 5],
        ),
        (
            "what comes behind is another one's",
            &["00000000000000000000.log.swap", "00000000000000000004.log.cleaned"],
            &[1, 2, 4, 5],
        ),
    ];
    for (name, files, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        let (folder, point) = three_segments(dir.path());
        let read = |base| std::fs::read(segment::path(&folder, Offset::new(base), LOG)).unwrap();
        let (first, second) = (read(0), read(2));
        // Of both segments, what a compaction might keep: the second and the third batch.
        let kept = [&first[first.len() / 2..], &second[..second.len() / 2]].concat();
        for file in files {
            std::fs::write(folder.join(file), &kept).unwrap();
        }
        let mut log = open(dir.path(), config(), clean(point)).unwrap();
        let offsets: Vec<i64> = keys(&mut log).into_iter().map(|(offset, _)| offset).collect();
        assert_eq!(offsets, expected, "{name}");
        let left = std::fs::read_dir(&folder).unwrap();
        let mut left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert!(!left.any(|file| file.ends_with(".swap") || file.ends_with(".cleaned")), "{name}");
    }
}

#[test]
fn a_swap_without_a_transaction_index_leaves_no_aborted_transaction_without_its_marker() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_new(dir.path(), config());
    let data = |sequence| {
        BatchBuilder::new(Compression::None).transactional().producer(ProducerId(7), 0, sequence)
    };
    for sequence in 0..2 {
        append(&mut log, data(sequence), &[("a", Some("aborted"))], 0);
        end_transaction(&mut log, ControlRecordType::Abort, 0);
    }
    log.roll(Millis(0)).unwrap();
    put(&mut log, &[("b", Some("1"))], 0);
    assert_eq!(log.aborted_transactions(Offset::ZERO, Offset::MAX).unwrap().len(), 2);
    let point = log.close().unwrap();
    let path = segment::path(&dir.path().join("t-0"), Offset::ZERO, LOG);
    let former = std::fs::read(&path).unwrap();
    // The first transaction is gone with its marker.
    std::fs::write(path.with_extension("log.swap"), &former[former.len() / 2..]).unwrap();
    let log = open(dir.path(), config(), clean(point)).unwrap();
    let left = log.aborted_transactions(Offset::ZERO, Offset::MAX).unwrap();
    let left: Vec<_> = left.iter().map(|txn| txn.last_offset.get()).collect();
    assert_eq!(left, [3]);
}
