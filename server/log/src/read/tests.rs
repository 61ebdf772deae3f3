//! What a read gives: whole batches, as many as fit, below the bound.

use std::sync::Arc;

use types::{LeaderEpoch, Millis};

use super::*;
use crate::testing::{batch, open_new};
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
