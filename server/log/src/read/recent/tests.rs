//! What is kept in memory is what a read of the file gives, within the budget, and for who reads it.

use records::{BatchBuilder, Compression};
use types::{LeaderEpoch, Millis, Rng};

use super::*;
use crate::testing::{batch, open_new};
use crate::{AppendOrigin, Log, LogConfig};

fn budget(bytes_max: usize) -> &'static Budget {
    Box::leak(Box::new(Budget::new(bytes_max)))
}

fn log_within(dir: &std::path::Path, config: LogConfig, bytes_max: usize) -> Log {
    let mut log = open_new(dir, config);
    log.hints.recent = Recent::within(budget(bytes_max));
    log
}

fn append(log: &mut Log, batches: impl Into<Received>) {
    let (epoch, origin) = (LeaderEpoch(3), AppendOrigin::Client);
    log.append_as_leader(batches, epoch, origin, Millis(0)).unwrap();
    log.flush_writes().unwrap();
}

/// A reader that waits at the end.
fn wait_at_end(log: &mut Log) {
    let end = log.end_offset();
    assert_eq!(log.read_recent(end, 1 << 20, end).unwrap(), None);
}

fn large(value_bytes: usize) -> BytesMut {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.append(0, Some(b"key"), Some(&vec![7; value_bytes]), &[]);
    BytesMut::from(builder.build())
}

fn used(log: &Log) -> usize {
    log.hints.recent.budget.used.load(Ordering::Relaxed)
}

#[test]
fn what_is_kept_is_what_the_file_holds_whatever_happens_to_the_log() {
    let mut hits = 0;
    for seed in 0..60 {
        let dir = tempfile::tempdir().unwrap();
        let mut rng = Rng::new(seed);
        let config = LogConfig { segment_bytes: 300 + rng.below(2000), ..LogConfig::default() };
        let bytes_max = [0, 600, 3000, 1 << 20][rng.below(4) as usize];
        let mut log = log_within(dir.path(), config, bytes_max);
        for step in 0..300 {
            let offset = |rng: &mut Rng, log: &Log| {
                let span = u32::try_from(log.end_offset() - log.start_offset()).unwrap();
                log.start_offset() + i64::from(rng.below(span + 1))
            };
            match rng.below(12) {
                0..5 => append(&mut log, batch(1 + rng.below(4), step)),
                5 => {
                    let mut two = batch(2, step);
                    two.extend_from_slice(&batch(1, step));
                    append(&mut log, Received { batches: two, memory_bytes: 700 });
                }
                6..9 => wait_at_end(&mut log),
                9 => log.age_recent(),
                10 if rng.below(4) == 0 => {
                    let to = offset(&mut rng, &log);
                    log.truncate_to(to, Millis(0)).unwrap();
                }
                10 => {
                    let to = offset(&mut rng, &log);
                    log.move_start(to);
                }
                _ => {}
            }
            assert!(used(&log) <= bytes_max, "seed {seed} step {step}");
            for _ in 0..4 {
                let (from, until) = (offset(&mut rng, &log), offset(&mut rng, &log));
                let room = rng.below(1000) as usize;
                let Some(found) = log.read_recent(from, room, until).unwrap() else { continue };
                hits += 1;
                let (mut file, mut next) = (Vec::new(), from);
                while next < found.next_offset {
                    let left = found.pieces.concat().len() - file.len();
                    // The file is read up to the end of a segment.
                    let read = log.read_blocking(next, left, found.next_offset, false).unwrap();
                    assert!(read.next_offset > next, "seed {seed} step {step}: {from}");
                    file.extend_from_slice(&read.bytes);
                    next = read.next_offset;
                }
                assert_eq!(found.pieces.concat(), file, "seed {seed} step {step}: {from}");
                assert!(file.len() <= room && next <= until, "seed {seed} step {step}: {from}");
            }
        }
    }
    assert!(hits > 1000, "{hits}");
}

#[test]
fn nothing_is_kept_before_someone_reads_at_the_end_or_long_after() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log_within(dir.path(), LogConfig::default(), 64 << 20);
    append(&mut log, large(1000));
    assert_eq!(used(&log), 0, "nobody reads");
    wait_at_end(&mut log);
    append(&mut log, large(1000));
    assert!(used(&log) > 1000);
    log.age_recent();
    assert!(used(&log) > 1000, "it has just come");
    log.age_recent();
    assert_eq!(used(&log), 0, "nothing came since");
    append(&mut log, large(1000));
    assert!(used(&log) > 1000, "the reader is still there");
    for _ in 0..=LOG_BYTES_MAX / 500_000 {
        append(&mut log, large(500_000));
    }
    assert_eq!(used(&log), 0, "the reader has gone");
}

#[test]
fn large_batches_stay_where_they_are_and_small_shares_of_a_buffer_are_copied() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log_within(dir.path(), LogConfig::default(), 64 << 20);
    wait_at_end(&mut log);
    for (share, is_copied) in [(1, false), (SHARE, false), (SHARE + 1, true)] {
        let batches = large(20_000);
        let (place, bytes) = (batches.as_ptr(), batches.len());
        let from = log.end_offset();
        let before = used(&log);
        append(&mut log, Received { batches, memory_bytes: share * bytes });
        let found = log.read_recent(from, 1 << 20, Offset::MAX).unwrap().unwrap();
        assert_eq!(found.pieces[0].as_ptr() != place, is_copied, "a {share}th");
        let held = if is_copied { bytes } else { share * bytes };
        assert_eq!(used(&log) - before, held + ENTRY_BYTES, "a {share}th");
    }
    let found = log.read_recent(Offset::ZERO, 1 << 20, Offset::MAX).unwrap().unwrap();
    assert_eq!(found.pieces.len(), 3);
}

#[test]
fn small_batches_come_in_one_piece() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log_within(dir.path(), LogConfig::default(), 64 << 20);
    wait_at_end(&mut log);
    for bytes in [100, 200, 9000, 300, 400] {
        append(&mut log, large(bytes));
    }
    let found = log.read_recent(Offset::ZERO, 1 << 20, Offset::MAX).unwrap().unwrap();
    assert_eq!((found.pieces.len(), found.next_offset.get()), (3, 5));
}

#[test]
fn logs_share_a_budget_and_each_gives_up_its_own_oldest() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let shared = budget(50_000);
    let mut logs = dirs.each_ref().map(|dir| open_new(dir.path(), LogConfig::default()));
    for log in &mut logs {
        log.hints.recent = Recent::within(shared);
        wait_at_end(log);
        for _ in 0..4 {
            append(log, large(9_000));
        }
    }
    let [first, second] = &mut logs;
    assert!(first.read_recent(Offset::ZERO, 1 << 20, Offset::MAX).unwrap().is_some());
    assert_eq!(second.read_recent(Offset::ZERO, 1 << 20, Offset::MAX).unwrap(), None);
    assert!(second.read_recent(Offset::new(3), 1 << 20, Offset::MAX).unwrap().is_some());
    assert!(used(second) <= 50_000);
    drop(logs);
    assert_eq!(shared.used.load(Ordering::Relaxed), 0);
}
