//! What a read gives: whole batches, as many as fit, below the bound.

use std::sync::Arc;

use types::{LeaderEpoch, Millis};

use super::*;
use crate::disk::{Disk, OpenMode, RealDisk};
use crate::testing::{batch, clean, drops_cached, open, open_new, reads_past_cache, sync};
use crate::{AppendOrigin, LogConfig};

/// Ten batches of two records, three segments.
fn log(dir: &std::path::Path) -> (Log, usize) {
    let bytes = batch(2, 0).len();
    let segment_bytes = u32::try_from(bytes * 4).unwrap();
    let config = LogConfig { segment_bytes, index_interval_bytes: 0, ..LogConfig::default() };
    let mut log = open_new(dir, config);
    for n in 0..10 {
        let append = batch(2, n);
        log.append_as_leader(append, LeaderEpoch(0), AppendOrigin::Client, Millis(0)).unwrap();
    }
    assert_eq!(log.segment_count(), 3);
    (log, bytes)
}

/// Of 512 KiB and a little.
fn large_batch(byte: u8) -> bytes::BytesMut {
    let mut batch = records::BatchBuilder::new(records::Compression::None);
    batch.append(0, None, Some(&[byte; 512 << 10]), &[]);
    bytes::BytesMut::from(batch.build())
}

fn offsets(batches: &Batches) -> Vec<i64> {
    records::split_batches(&batches.bytes).map(|cut| cut.unwrap().1.base_offset).collect()
}

#[test]
fn reads_give_whole_batches_within_the_limits() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, size) = log(dir.path());
    let cases = [
        ("all of a segment", 0, 9999, 20, true, vec![0, 2, 4, 6]),
        ("from inside of a batch", 3, 9999, 20, true, vec![2, 4, 6]),
        ("in the middle segment", 8, size * 2, 20, true, vec![8, 10]),
        ("cut at a batch", 0, size * 3 - 1, 20, true, vec![0, 2]),
        ("below the bound", 0, 9999, 6, true, vec![0, 2, 4]),
        ("bound inside of a batch", 0, 9999, 5, true, vec![0, 2]),
        ("one batch whatever its size", 4, 1, 20, true, vec![4]),
        ("none where it is too large", 4, 1, 20, false, vec![]),
        ("nothing at the bound", 6, 9999, 6, true, vec![]),
        ("nothing at the end", 20, 9999, 20, true, vec![]),
        ("the active segment", 17, 9999, 20, true, vec![16, 18]),
    ];
    for (name, from, bytes_max, until, min_one, expected) in cases {
        let (from, until) = (Offset::new(from), Offset::new(until));
        let read = log.read_blocking(from, bytes_max, until, min_one).unwrap();
        assert_eq!(offsets(&read), expected, "{name}");
        let next = expected.last().map_or(from.get(), |last| last + 2);
        assert_eq!(read.next_offset.get(), next, "{name}");
    }
}

#[test]
fn going_on_reads_everything_once() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, size) = log(dir.path());
    for bytes_max in [0, size, size * 3, 1 << 20] {
        let mut at = Offset::ZERO;
        let mut seen = Vec::new();
        while at < log.end_offset() {
            let read = log.read_blocking(at, bytes_max, Offset::MAX, true).unwrap();
            seen.extend(offsets(&read));
            at = read.next_offset;
        }
        assert_eq!(seen, (0..10).map(|n| n * 2).collect::<Vec<i64>>(), "{bytes_max} bytes");
    }
}

#[test]
fn offsets_outside_of_the_log_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = log(dir.path());
    log.delete_records(Offset::new(3), Offset::new(20)).unwrap();
    for outside in [2, 21] {
        let error = log.read_blocking(Offset::new(outside), 1, Offset::MAX, true).unwrap_err();
        assert!(matches!(error, ReadError::OutOfRange { .. }), "{outside}: {error}");
    }
    let read = log.read_blocking(Offset::new(3), 1, Offset::MAX, true).unwrap();
    assert_eq!(offsets(&read), [2]);
}

#[test]
fn cold_read_gives_what_the_log_gives() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = log(dir.path());
    log.flush_writes().unwrap();
    let cold = |log: &mut Log, at, from| {
        let place = log.place_in(at, Offset::new(from));
        let plan = Plan { until: Offset::MAX, bytes_max: 9999, min_one: true, ..place };
        offsets(&log.hand_out(plan, at).run().0.unwrap())
    };
    assert_eq!(cold(&mut log, 1, 9), [8, 10, 12, 14]);
    // As if compaction had emptied the rest of the first segment.
    assert_eq!(cold(&mut log, 0, 8), [8, 10, 12, 14]);
    assert_eq!(cold(&mut log, 1, 16), [16, 18]);
}

#[test]
fn gap_at_the_end_of_a_segment_is_stepped_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut far = batch(2, 1);
    records::stamp(&mut far, Offset::new(100), LeaderEpoch(0));
    let segment_bytes = u32::try_from(far.len()).unwrap();
    let mut log = open_new(dir.path(), LogConfig { segment_bytes, ..LogConfig::default() });
    log.append_as_follower(&batch(2, 0).freeze(), Millis(0)).unwrap();
    log.append_as_follower(&far.freeze(), Millis(0)).unwrap();
    assert_eq!(log.segment_count(), 2);
    let read = log.read_blocking(Offset::new(50), 9999, Offset::MAX, true).unwrap();
    assert_eq!((offsets(&read), read.next_offset), (vec![100], Offset::new(102)));
}

#[test]
fn config_changes_take_effect() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = log(dir.path());
    log.set_config(Arc::new(LogConfig { max_message_bytes: 1, ..log.config().clone() }));
    let refused = log
        .append_as_leader(batch(1, 0), LeaderEpoch(0), AppendOrigin::Client, Millis(0))
        .unwrap_err();
    assert_eq!(refused.code(), types::ErrorCode::MessageTooLarge);
}

#[test]
fn who_reads_much_from_the_device_goes_on_there_until_it_is_in_memory() {
    const LARGE: usize = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_new(dir.path(), LogConfig::default());
    for n in 0..80 {
        let batch = large_batch(n);
        log.append_as_leader(batch, LeaderEpoch(0), AppendOrigin::Client, Millis(0)).unwrap();
    }
    let stretch = |log: &mut Log, from: i64| {
        let read = log.read(Offset::new(from), LARGE, Offset::MAX, true).unwrap();
        let Read::Ready(batches) = read else { panic!("it was just written") };
        batches
    };
    let (first, second) = (stretch(&mut log, 2), stretch(&mut log, 3));
    let batch_bytes = u64::try_from(first.bytes.len()).unwrap();
    let limit = log.written_bytes();
    let place = |offset: i64, cold_until| Place {
        offset: Offset::new(offset),
        segment: Offset::ZERO,
        position: batch_bytes * u64::try_from(offset).unwrap(),
        cold_until,
        limit,
    };
    let read = |log: &mut Log, bytes_max, place: Place| {
        log.hints.note(Offset::MAX, place);
        log.read(place.offset, bytes_max, Offset::MAX, true).unwrap()
    };
    let cases = [
        ("it did not come so", LARGE, place(2, None), false),
        ("it has far to go", LARGE, place(2, Some(u64::MAX)), true),
        ("it reads little", LARGE / 8, place(2, Some(u64::MAX)), false),
        ("it looks, and finds it in memory", LARGE, place(2, Some(0)), false),
        ("somebody appends", LARGE, Place { limit: limit - 1, ..place(2, Some(u64::MAX)) }, false),
        ("near the end of a segment", LARGE, place(70, Some(u64::MAX)), false),
    ];
    for (name, bytes_max, place, is_cold) in cases {
        let got = read(&mut log, bytes_max, place);
        assert_eq!(matches!(got, Read::Cold(_)), is_cold, "{name}");
    }
    let Read::Cold(cold) = read(&mut log, LARGE, place(2, Some(u64::MAX))) else { panic!() };
    let (batches, learned) = cold.run();
    assert_eq!(batches.unwrap().bytes, first.bytes);
    log.learn(learned);
    // It goes on from there in the same way.
    let Read::Cold(cold) = log.read(first.next_offset, LARGE, Offset::MAX, true).unwrap() else {
        panic!("it came from the device")
    };
    assert_eq!(cold.run().0.unwrap().bytes, second.bytes);
    // What it reads so does not come into memory.
    sync(&mut log);
    let file = Arc::clone(&log.active.file);
    if reads_past_cache(dir.path()) && drops_cached(file.as_ref()) {
        let Read::Cold(cold) = read(&mut log, LARGE, place(2, Some(u64::MAX))) else { panic!() };
        assert_eq!(cold.run().0.unwrap().bytes, first.bytes);
        assert!(file.read_cached_at(&mut [0], batch_bytes * 5 / 2).is_err(), "it is in memory");
    }
}

#[test]
fn what_must_be_opened_is_read_from_memory_where_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig { segment_bytes: 4 << 20, ..LogConfig::default() };
    let mut log = open_new(dir.path(), config.clone());
    for n in 0..16 {
        let append = large_batch(n);
        log.append_as_leader(append, LeaderEpoch(0), AppendOrigin::Client, Millis(0)).unwrap();
    }
    sync(&mut log);
    let end = log.end_offset();
    drop(log);
    let first = dir.path().join("t-0/00000000000000000000.log");
    let goes_on_cold = || {
        let mut log = open(dir.path(), config.clone(), clean(end)).unwrap();
        let read = log.read(Offset::new(2), 1 << 20, Offset::MAX, true).unwrap();
        let Read::Cold(cold) = read else { panic!("the segment is not open") };
        let (batches, learned) = cold.run();
        assert_eq!(offsets(&batches.unwrap()), [2]);
        learned.place.unwrap().cold_until.is_some()
    };
    assert!(!goes_on_cold());
    let file = RealDisk.open(&first, OpenMode::Read).unwrap();
    if reads_past_cache(dir.path()) && drops_cached(file.as_ref()) {
        assert!(goes_on_cold());
    }
}
