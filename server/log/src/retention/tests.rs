//! Which segments go, when, and when their files do.

use bytes::BytesMut;
use records::{BatchBuilder, Compression};
use types::LeaderEpoch;

use super::*;
use crate::testing::{batch, clean, open, open_new};
use crate::{AppendOrigin, LogConfig};

/// Five segments of one batch of two records; timestamps 1000 to 1004.
fn log(dir: &Path, config: LogConfig) -> Log {
    let mut log = open_new(dir, config);
    for seed in 0..5 {
        let (epoch, origin) = (LeaderEpoch(0), AppendOrigin::Client);
        log.append_as_leader(batch(2, seed), epoch, origin, Millis(0)).unwrap();
        if seed < 4 {
            log.roll(Millis(0)).unwrap();
        }
    }
    log.flush_writes().unwrap();
    log
}

fn config() -> LogConfig {
    LogConfig { retention_ms: None, ..LogConfig::default() }
}

#[test]
fn retention_rules() {
    let size = batch(2, 0).len() as u64;
    let by_time = LogConfig { retention_ms: Some(Millis(1000)), ..config() };
    let by_size = |bytes| LogConfig { retention_bytes: Some(bytes), ..config() };
    let cases = [
        ("nothing expires for ever", config(), 10, 9999, 0),
        ("by age of the data", by_time.clone(), 10, 2003, 6),
        ("exactly old enough is not over", by_time.clone(), 10, 2000, 0),
        ("never above the high watermark", by_time.clone(), 4, 9999, 4),
        ("the active segment goes, too", by_time.clone(), 10, 9999, 10),
        ("by size", by_size(size * 3), 10, 0, 4),
        ("never below the size", by_size(size * 3 - 1), 10, 0, 4),
        ("by size, all of it", by_size(0), 10, 0, 10),
        ("a policy without delete keeps all", LogConfig { delete: false, ..by_time }, 10, 9999, 0),
    ];
    for (name, config, high_watermark, now, start) in cases {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), config);
        log.delete_old_segments(Offset::new(high_watermark), Millis(now)).unwrap();
        assert_eq!(log.start_offset(), Offset::new(start), "{name}");
        assert_eq!(log.end_offset(), Offset::new(10), "{name}");
    }
}

#[test]
fn a_damaged_segment_that_is_gone_is_not_to_be_mended() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log(dir.path(), LogConfig { retention_bytes: Some(0), ..config() });
    for base in [0, 6] {
        let file = segment::path(&dir.path().join("t-0"), Offset::new(base), LOG);
        log.note_suspect(&LogError::Damaged { file, position: 0, reason: "broken".to_owned() });
    }
    assert_eq!(log.damaged_segments().len(), 2);
    log.delete_old_segments(Offset::new(4), Millis(0)).unwrap();
    assert!(log.damaged_segments().into_iter().eq([Offset::new(6)]));
}

/// A producer's clock may be years behind, and ahead by what the topic lets in: an hour by default.
#[test]
fn segments_expire_however_far_away_their_timestamps_are() {
    const HOUR: i64 = 3_600_000;
    let appended = 500_000 * HOUR;
    let config = LogConfig { retention_ms: Some(Millis(HOUR)), ..config() };
    let append = |log: &mut Log, timestamp: i64| {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.append(timestamp, None, Some(b"v"), &[]);
        let (epoch, origin) = (LeaderEpoch(0), AppendOrigin::Client);
        let batch = BytesMut::from(builder.build());
        log.append_as_leader(batch, epoch, origin, Millis(appended))
    };
    let cases = [
        ("the clock's beginning", 0, appended),
        ("a year behind", appended - 8760 * HOUR, appended),
        ("as it should be", appended, appended + HOUR + 1),
        ("as far ahead as may be", appended + HOUR, appended + 2 * HOUR + 1),
    ];
    for (name, timestamp, gone) in cases {
        for is_reopened in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let mut log = open_new(dir.path(), config.clone());
            append(&mut log, timestamp).unwrap();
            log.roll(Millis(appended)).unwrap();
            // What is behind it waits for it, and is older.
            append(&mut log, 1).unwrap();
            if is_reopened {
                log.close().unwrap();
                log = open(dir.path(), config.clone(), clean(Offset::new(2))).unwrap();
            }
            for (now, start) in [(gone - 1, 0), (gone, 2)] {
                // Nobody looks before it is there.
                if now >= appended {
                    log.delete_old_segments(Offset::new(2), Millis(now)).unwrap();
                    let found = log.start_offset().get();
                    assert_eq!(found, start, "{name}, reopened: {is_reopened}");
                }
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_new(dir.path(), config);
    let ahead = append(&mut log, appended + HOUR + 1).unwrap_err();
    assert_eq!(ahead.code(), types::ErrorCode::InvalidTimestamp);
}

#[test]
fn files_go_after_the_delay() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig { retention_bytes: Some(0), ..config() };
    let mut log = log(dir.path(), config);
    log.delete_old_segments(Offset::new(6), Millis(100)).unwrap();
    let count = |suffix: &str| {
        let names = std::fs::read_dir(dir.path().join("t-0")).unwrap();
        names.filter(|e| e.as_ref().unwrap().path().to_str().unwrap().ends_with(suffix)).count()
    };
    assert_eq!(count(".log.deleted"), 3);
    assert_eq!(count(".index.deleted"), 3);
    // The delay begins with the first look, by another clock than that of retention.
    assert!(log.take_removal(Millis(7)).is_none());
    assert!(log.take_removal(Millis(60_006)).is_none());
    log.take_removal(Millis(60_007)).unwrap().run().unwrap();
    assert_eq!(count(".deleted"), 0);
    assert_eq!(count(".log"), 2);
}

#[test]
fn deleted_records_are_out_of_reach_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log(dir.path(), config());
    assert_eq!(log.delete_records(Offset::new(5), Offset::new(10)).unwrap(), Offset::new(5));
    assert_eq!(log.delete_records(Offset::new(3), Offset::new(10)).unwrap(), Offset::new(5));
    let above = log.delete_records(Offset::new(9), Offset::new(8)).unwrap_err();
    assert!(matches!(above, ReadError::OutOfRange { .. }), "{above}");
    assert_eq!(log.delete_old_segments(Offset::new(10), Millis(0)).unwrap(), 2);
    assert_eq!(log.start_offset(), Offset::new(5));
    log.delete_records(Offset::new(10), Offset::new(10)).unwrap();
    log.delete_old_segments(Offset::new(10), Millis(0)).unwrap();
    assert_eq!((log.bytes(), log.segment_count()), (0, 1));
    assert_eq!((log.start_offset(), log.end_offset()), (Offset::new(10), Offset::new(10)));
}

/// A log whose first two segments are dropped, with their files not renamed yet, and the errand.
fn dropped(dir: &Path) -> (Log, Arc<Deletion>) {
    let mut log = log(dir, LogConfig { retention_bytes: Some(0), ..config() });
    assert_eq!(log.drop_old_segments(Offset::new(4), Millis(0)).unwrap(), 2);
    let deletion = log.deletion().unwrap();
    (log, deletion)
}

/// Bases of the log files under their names.
fn bases(dir: &Path) -> Vec<i64> {
    let names = std::fs::read_dir(dir.join("t-0")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let parsed = |name: String| match segment::parse_name(&name) {
        Some((base, LOG)) => Some(base.get()),
        Some(_) | None => None,
    };
    let mut bases: Vec<i64> = names.filter_map(parsed).collect();
    bases.sort_unstable();
    bases
}

#[test]
fn nothing_more_is_dropped_before_the_files_have_other_names() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, deletion) = dropped(dir.path());
    assert_eq!(log.drop_old_segments(Offset::new(8), Millis(0)).unwrap(), 0);
    let outcome = deletion.run();
    log.end_deletion(&deletion, outcome).unwrap();
    assert_eq!(log.drop_old_segments(Offset::new(8), Millis(0)).unwrap(), 2);
    assert_eq!(bases(dir.path()), [4, 6, 8]);
}

#[test]
fn thread_that_comes_late_does_not_rename_a_new_segment_of_the_same_name() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, late) = dropped(dir.path());
    log.truncate_fully_and_start_at(Offset::new(2), Millis(0)).unwrap();
    let outcome = late.run();
    log.end_deletion(&late, outcome).unwrap();
    assert_eq!(bases(dir.path()), [2]);
}

#[test]
fn a_closed_log_leaves_nothing_that_was_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _never_run) = dropped(dir.path());
    log.close().unwrap();
    assert_eq!(bases(dir.path()), [4, 6, 8]);
}
