//! Crashes and clean stops: what is there afterwards.

use types::{ErrorCode, LeaderEpoch};

use super::*;
use crate::segment::LOG;
use crate::testing::{batch, clean, crashed, idempotent, open, open_new, reads, sync};
use crate::{AppendOrigin, Opening, RealDisk};

const EPOCH: LeaderEpoch = LeaderEpoch(3);

fn append(log: &mut Log, records: u32, seed: u32) {
    log.append_as_leader(batch(records, seed), EPOCH, AppendOrigin::Client, Millis(0)).unwrap();
}

fn content(log: &mut Log) -> Vec<u8> {
    reads(log, 1 << 20).concat()
}

/// Cuts the first segment's file short.
fn cut_file(dir: &Path, bytes: u64) {
    let file = std::fs::OpenOptions::new().write(true).open(log_file(dir, 0)).unwrap();
    file.set_len(bytes).unwrap();
}

/// Copies the files of a log, as a crash leaves them.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.join("t-0")).unwrap();
    for entry in std::fs::read_dir(from.join("t-0")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join("t-0").join(entry.file_name())).unwrap();
    }
}

fn log_file(dir: &Path, base: i64) -> PathBuf {
    segment::path(&dir.join("t-0"), Offset::new(base), LOG)
}

#[test]
fn every_cut_of_the_tail_leaves_the_whole_batches_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_new(dir.path(), LogConfig::default());
    append(&mut log, 3, 0);
    sync(&mut log);
    let synced = (log.durable_end(), log.bytes());
    append(&mut log, 1, 1);
    append(&mut log, 2, 2);
    log.flush_writes().unwrap();
    let whole = content(&mut log);
    let ends = [synced.1, synced.1 + batch(1, 1).len() as u64, whole.len() as u64];
    drop(log);
    for cut in synced.1..=whole.len() as u64 {
        let crash = tempfile::tempdir().unwrap();
        copy(dir.path(), crash.path());
        let file = std::fs::OpenOptions::new().write(true).open(log_file(crash.path(), 0));
        file.unwrap().set_len(cut).unwrap();
        let mut log = open(crash.path(), LogConfig::default(), crashed(synced.0)).unwrap();
        let kept = ends.iter().rev().find(|end| **end <= cut).unwrap();
        assert_eq!(content(&mut log), whole[..usize::try_from(*kept).unwrap()], "cut at {cut}");
        append(&mut log, 1, 9);
        assert!(content(&mut log).len() as u64 > *kept, "appends go on after a cut at {cut}");
    }
}

/// What a power cut right after a roll leaves: the next segment's empty file, and of the one before
/// only what was synced.
#[test]
fn a_roll_whose_records_are_gone_leaves_no_gap() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_new(dir.path(), LogConfig::default());
    append(&mut log, 3, 0);
    sync(&mut log);
    let (durable, bytes) = (log.durable_end(), log.bytes());
    append(&mut log, 2, 1);
    log.roll(Millis(0)).unwrap();
    sync(&mut log);
    drop(log);
    cut_file(dir.path(), bytes);

    let mut log = open(dir.path(), LogConfig::default(), crashed(durable)).unwrap();
    assert_eq!((log.end_offset(), log.segment_count()), (durable, 1));
    append(&mut log, 1, 2);
    assert_eq!(content(&mut log).len() as u64, bytes + batch(1, 2).len() as u64);
    let again = open(dir.path(), LogConfig::default(), crashed(durable)).unwrap();
    assert_eq!(again.segment_count(), 1);
}

/// All that a client has in flight was written, a roll came, and then the crash: it sends all of it
/// again.
#[test]
fn batches_before_a_snapshot_are_known_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_new(dir.path(), LogConfig::default());
    let send = |log: &mut Log, sequence: i32| {
        let batch = idempotent(4, sequence, 1, 0);
        let appended = log.append_as_leader(batch, EPOCH, AppendOrigin::Client, Millis(1000));
        appended.map(|appended| appended.base_offset.get())
    };
    for sequence in 0..7 {
        send(&mut log, sequence).unwrap();
    }
    log.roll(Millis(0)).unwrap();
    sync(&mut log);
    let durable = log.durable_end();
    drop(log);
    let mut log = open(dir.path(), LogConfig::default(), crashed(durable)).unwrap();
    assert_eq!(log.segment_count(), 2);
    for sequence in 2..7 {
        assert_eq!(send(&mut log, sequence).unwrap(), i64::from(sequence), "sent again");
    }
    assert!(send(&mut log, 1).is_err(), "more than a client may have in flight");
    assert_eq!(send(&mut log, 7).unwrap(), 7);
}

#[test]
fn a_compacted_log_keeps_the_gap_before_its_last_segment() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig { compact: true, ..LogConfig::default() };
    let mut log = open_new(dir.path(), config.clone());
    append(&mut log, 3, 0);
    let bytes = log.bytes();
    append(&mut log, 2, 1);
    log.roll(Millis(0)).unwrap();
    sync(&mut log);
    drop(log);
    cut_file(dir.path(), bytes);
    let log = open(dir.path(), config, Opening::NEW).unwrap();
    assert_eq!((log.end_offset().get(), log.segment_count()), (5, 2));
}

#[test]
fn zeros_and_garbage_behind_the_last_batch_are_cut() {
    for tail in [vec![0; 5000], vec![0xff; 61], b"not a batch, but longer than a header".repeat(9)]
    {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open_new(dir.path(), LogConfig::default());
        append(&mut log, 3, 0);
        let whole = content(&mut log);
        drop(log);
        let mut torn = whole.clone();
        torn.extend(tail);
        std::fs::write(log_file(dir.path(), 0), torn).unwrap();
        let mut log = open(dir.path(), LogConfig::default(), Opening::NEW).unwrap();
        assert_eq!(content(&mut log), whole);
        let bytes = std::fs::metadata(log_file(dir.path(), 0)).unwrap().len();
        assert_eq!(bytes, whole.len() as u64);
    }
}

#[test]
fn batch_inside_of_a_torn_value_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_new(dir.path(), LogConfig::default());
    append(&mut log, 1, 0);
    let whole = content(&mut log);
    let mut inner = batch(1, 0);
    records::stamp(&mut inner, Offset::new(9), LeaderEpoch(-1));
    let mut outer = records::BatchBuilder::new(records::Compression::None);
    outer.append(0, None, Some(&inner), &[]);
    outer.append(0, None, Some(&[0; 100]), &[]);
    let outer = bytes::BytesMut::from(outer.build());
    log.append_as_leader(outer, EPOCH, AppendOrigin::Client, Millis(0)).unwrap();
    log.flush_writes().unwrap();
    let bytes = log.bytes();
    drop(log);
    cut_file(dir.path(), bytes - 50);
    let mut log = open(dir.path(), LogConfig::default(), Opening::NEW).unwrap();
    assert_eq!(content(&mut log), whole);
}

#[test]
fn broken_batch_before_a_valid_one_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_new(dir.path(), LogConfig::default());
    let first = batch(3, 0).len() as u64;
    for seed in 0..3 {
        append(&mut log, 3, seed);
    }
    log.flush_writes().unwrap();
    drop(log);
    let path = log_file(dir.path(), 0);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[usize::try_from(first).unwrap() + 70] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let error = open(dir.path(), LogConfig::default(), Opening::NEW).unwrap_err();
    assert_eq!(error.code(), ErrorCode::KafkaStorageError);
    let LogError::Damaged { file, position, .. } = error else { panic!("{error}") };
    assert_eq!((file, position), (path.clone(), first));
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "nothing is cut");
}

#[test]
fn broken_batch_before_the_recovery_point_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_new(dir.path(), LogConfig::default());
    append(&mut log, 3, 0);
    sync(&mut log);
    let point = log.durable_end();
    drop(log);
    let path = log_file(dir.path(), 0);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let error = open(dir.path(), LogConfig::default(), crashed(point)).unwrap_err();
    assert!(matches!(error, LogError::Damaged { .. }), "{error}");
}

fn small_segments() -> LogConfig {
    let segment_bytes = u32::try_from(batch(2, 0).len() * 3).unwrap();
    LogConfig { segment_bytes, index_interval_bytes: 0, ..LogConfig::default() }
}

/// What opening says after `spoil` has changed the first of two segments, and how many are left.
fn open_spoiled(spoil: impl Fn(&mut Vec<u8>), opening: Opening) -> (Result<Log, LogError>, usize) {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_new(dir.path(), small_segments());
    for seed in 0..5 {
        append(&mut log, 2, seed);
    }
    log.flush_writes().unwrap();
    assert_eq!(log.segment_count(), 2);
    drop(log);
    let path = log_file(dir.path(), 0);
    let mut bytes = std::fs::read(&path).unwrap();
    spoil(&mut bytes);
    std::fs::write(&path, &bytes).unwrap();
    let opened = open(dir.path(), small_segments(), opening);
    let is_log = |name: &std::path::Path| name.extension().is_some_and(|kind| kind == "log");
    let files = std::fs::read_dir(dir.path().join("t-0")).unwrap();
    (opened, files.filter(|file| is_log(&file.as_ref().unwrap().path())).count())
}

#[test]
fn segment_whose_end_was_not_written_goes_with_those_behind() {
    let one_less = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 1);
    let one_batch_less = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 3 * 2);
    let zeros = |bytes: &mut Vec<u8>| {
        let from = bytes.len() / 3 * 2;
        bytes[from..].fill(0);
    };
    for spoil in [&one_less as &dyn Fn(&mut Vec<u8>), &one_batch_less, &zeros] {
        let (log, _) = open_spoiled(spoil, Opening::NEW);
        let log = log.unwrap();
        assert_eq!((log.end_offset(), log.segment_count()), (Offset::new(4), 1));
    }
}

#[test]
fn gap_that_compaction_left_between_segments_stays() {
    let one_batch_less = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 3 * 2);
    let compacted = Opening { compacted_end: Offset::new(6), ..Opening::NEW };
    let (log, _) = open_spoiled(one_batch_less, compacted);
    let log = log.unwrap();
    assert_eq!((log.end_offset(), log.segment_count()), (Offset::new(10), 2));
}

#[test]
fn damage_is_cut_where_nobody_counts_on_the_replica() {
    type Spoil = fn(&mut Vec<u8>);
    let spoils: [(&str, Spoil, i64); 4] = [
        ("records", |bytes| *bytes.last_mut().unwrap() ^= 1, 4),
        ("a magic number", |bytes| bytes[16] ^= 1, 0),
        ("an offset", |bytes| bytes[7] ^= 8, 0),
        ("an end", |bytes| bytes.truncate(bytes.len() - 1), 4),
    ];
    for (what, spoil, end) in spoils {
        // All of it was synced, what was not, and behind that.
        for point in [10, 0] {
            let recovery_point = Offset::new(point);
            let opening = Opening { recovery_point, cuts_damage: true, ..Opening::NEW };
            let (log, files) = open_spoiled(spoil, opening);
            let log = log.unwrap();
            // Of what was synced, only headers are looked at: reads find the rest.
            let is_unseen = what == "records" && point == 10;
            let expected = if is_unseen { (10, 2) } else { (end, 1) };
            assert_eq!((log.end_offset().get(), files), expected, "{what} from {point}");
        }
    }
}

#[test]
fn broken_batch_before_another_segment_is_damage() {
    let (opened, files) = open_spoiled(|bytes| *bytes.last_mut().unwrap() ^= 1, Opening::NEW);
    let error = opened.unwrap_err();
    assert!(matches!(error, LogError::Damaged { .. }), "{error}");
    assert_eq!(files, 2, "nothing is removed");
}

#[test]
fn clean_stop_keeps_everything_and_reads_no_data() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_new(dir.path(), small_segments());
    for seed in 0..8 {
        append(&mut log, 2, seed);
    }
    let whole = content(&mut log);
    let point = log.close().unwrap();
    assert_eq!(point, Offset::new(16));
    let path = log_file(dir.path(), 6);
    let sound = std::fs::read(&path).unwrap();
    let mut spoiled = sound.clone();
    *spoiled.last_mut().unwrap() ^= 1;
    std::fs::write(&path, spoiled).unwrap();
    // A flipped bit in a closed segment goes unnoticed, because it is not read.
    let mut log = open(dir.path(), small_segments(), clean(point)).unwrap();
    assert_eq!(log.scanned(), Size::default());
    std::fs::write(&path, sound).unwrap();
    assert_eq!(content(&mut log), whole);
    assert_eq!(log.durable_end(), point);
    assert_eq!(log.leader_epochs().latest(), Some(EPOCH));
    append(&mut log, 2, 9);
    assert_eq!(log.end_offset(), Offset::new(18));
}

#[test]
fn missing_and_broken_indexes_are_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_new(dir.path(), small_segments());
    for seed in 0..8 {
        append(&mut log, 2, seed);
    }
    let whole = content(&mut log);
    let point = log.close().unwrap();
    let folder = dir.path().join("t-0");
    let index = |base, kind| segment::path(&folder, Offset::new(base), kind);
    let good = std::fs::read(index(0, OFFSET_INDEX)).unwrap();
    std::fs::remove_file(index(0, OFFSET_INDEX)).unwrap();
    std::fs::write(index(6, TIME_INDEX), b"no index").unwrap();
    std::fs::write(index(12, OFFSET_INDEX), [0xff; 16]).unwrap();
    let mut log = open(dir.path(), small_segments(), clean(point)).unwrap();
    assert_eq!(content(&mut log), whole);
    assert_eq!(std::fs::read(index(0, OFFSET_INDEX)).unwrap(), good);
    assert_eq!(log.look_up_time(crate::TimeWanted::Greatest).unwrap().unwrap().timestamp, 1007);
}

#[test]
fn producers_are_known_after_a_clean_stop_and_after_a_crash() {
    for is_clean in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open_new(dir.path(), small_segments());
        let send = |log: &mut Log, sequence| {
            let batch = idempotent(7, sequence, 2, 0);
            log.append_as_leader(batch, EPOCH, AppendOrigin::Client, Millis(0)).unwrap()
        };
        for n in 0..8 {
            send(&mut log, n * 2);
        }
        let opening = if is_clean {
            clean(log.close().unwrap())
        } else {
            log.flush_writes().unwrap();
            drop(log);
            Opening::NEW
        };
        let mut log = open(dir.path(), small_segments(), opening).unwrap();
        let again = send(&mut log, 14);
        assert!(again.is_duplicate, "clean: {is_clean}");
        assert_eq!(again.base_offset, Offset::new(14));
        assert!(!send(&mut log, 16).is_duplicate);
    }
}

#[test]
fn snapshots_of_former_stops_do_not_pile_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_new(dir.path(), LogConfig::default());
    for seed in 0..4 {
        append(&mut log, 1, seed);
        let point = log.close().unwrap();
        log = open(dir.path(), LogConfig::default(), clean(point)).unwrap();
    }
    assert_eq!(log.snapshots, [Offset::new(4)]);
    append(&mut log, 1, 9);
    log.roll(Millis(0)).unwrap();
    append(&mut log, 1, 9);
    let point = log.close().unwrap();
    let log = open(dir.path(), LogConfig::default(), clean(point)).unwrap();
    assert_eq!(log.snapshots, [Offset::new(5), Offset::new(6)]);
}

#[test]
fn leader_epochs_are_rebuilt_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_new(dir.path(), LogConfig::default());
    for epoch in [1, 1, 4] {
        let (epoch, origin) = (LeaderEpoch(epoch), AppendOrigin::Client);
        log.append_as_leader(batch(2, 0), epoch, origin, Millis(0)).unwrap();
    }
    log.flush_writes().unwrap();
    drop(log);
    let log = open(dir.path(), LogConfig::default(), Opening::NEW).unwrap();
    let expected = [(LeaderEpoch(1), Offset::ZERO), (LeaderEpoch(4), Offset::new(4))];
    assert_eq!(log.leader_epochs().entries(), expected);
}

#[test]
fn leftovers_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("t-0");
    std::fs::create_dir_all(&folder).unwrap();
    let leftovers = [
        "00000000000000000000.log.deleted",
        "00000000000000000005.log.cleaned",
        "leader-epoch-checkpoint.tmp",
        "00000000000000000009.index",
    ];
    for name in leftovers {
        std::fs::write(folder.join(name), b"x").unwrap();
    }
    open_new(dir.path(), LogConfig::default());
    for name in leftovers {
        assert!(!folder.join(name).exists(), "{name}");
    }
}

/// Nothing of a batch before its attributes is covered by its checksum.
#[test]
fn an_offset_that_cannot_follow_is_damage_after_a_clean_stop_too() {
    for (name, byte, value) in [("far ahead", 0, 0x40), ("before", 7, 0)] {
        let dir = tempfile::tempdir().unwrap();
        let config = LogConfig { index_interval_bytes: 1, ..LogConfig::default() };
        let mut log = open_new(dir.path(), config.clone());
        for seed in 0..4 {
            append(&mut log, 2, seed);
        }
        let end = log.close().unwrap();
        for kind in [OFFSET_INDEX, TIME_INDEX] {
            std::fs::remove_file(segment::path(&dir.path().join("t-0"), Offset::ZERO, kind))
                .unwrap();
        }
        let path = log_file(dir.path(), 0);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = 2 * batch(2, 0).len();
        bytes[at + byte] = value;
        std::fs::write(&path, bytes).unwrap();
        let opened = open(dir.path(), config, clean(end));
        let Err(LogError::Damaged { position, .. }) = opened else { panic!("{name}: {opened:?}") };
        assert_eq!(position, at as u64, "{name}");
    }
}

#[test]
fn a_file_too_long_for_its_index_is_damage() {
    for opening in [crashed(Offset::ZERO), clean(Offset::ZERO)] {
        let dir = tempfile::tempdir().unwrap();
        open_new(dir.path(), LogConfig::default());
        let file = std::fs::OpenOptions::new().write(true).open(log_file(dir.path(), 0)).unwrap();
        file.set_len(4 << 30).unwrap();
        let opened = open(dir.path(), LogConfig::default(), opening);
        let Err(LogError::Damaged { reason, .. }) = opened else { panic!("{opened:?}") };
        assert!(reason.contains("4 GiB"), "{reason}");
    }
}

#[test]
fn who_watches_a_recovery_hears_how_many_segments_are_left() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_new(dir.path(), LogConfig::default());
    for seed in 0..3 {
        append(&mut log, 2, seed);
        log.roll(Millis(0)).unwrap();
    }
    sync(&mut log);
    drop(log);
    for (opening, expected) in
        [(Opening::NEW, vec![4, 3, 2, 1, 0]), (clean(Offset::new(6)), vec![0])]
    {
        let mut heard = Vec::new();
        let (disk, folder) = (Arc::new(RealDisk), dir.path().join("t-0"));
        let mut hear = |left| heard.push(left);
        Log::open_watched(disk, folder, Arc::default(), opening, Millis(0), &mut hear).unwrap();
        assert_eq!(heard, expected);
    }
}
