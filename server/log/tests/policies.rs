//! What each `cleanup.policy` takes from a log: the empty one, which keeps everything for ever,
//! and `compact,delete`, whose two halves work on the same segments, among them.

#![allow(clippy::unwrap_used, reason = "all of this file is a test")]

mod support;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;
use records::{Batch, BatchBuilder, Compression, DecompressLimits};
use thalweg_log::{
    AppendOrigin, CleanerBuffers, Disk, FaultyDisk, Log, LogConfig, Opening, RealDisk,
};
use types::{LeaderEpoch, Millis, Offset};

const DIR: &str = "/d/t-0";
const BUFFERS: CleanerBuffers =
    CleanerBuffers { dedupe_bytes: 1 << 16, load_factor: 0.9, io_bytes: 1 << 16 };
const LIMITS: DecompressLimits = DecompressLimits { bytes_max: 1 << 20 };
/// Each key is written twice.
const KEYS: i64 = 3;
const RECORDS: i64 = 2 * KEYS;

fn batch(offset: i64) -> BytesMut {
    let mut batch = BatchBuilder::new(Compression::None);
    batch.append(time_of(offset).get(), Some(&(offset % KEYS).to_be_bytes()), Some(b"v"), &[]);
    BytesMut::from(batch.build())
}

fn time_of(offset: i64) -> Millis {
    Millis(1000 + offset)
}

/// A closed segment for each record.
fn append(log: &mut Log, offsets: std::ops::Range<i64>) {
    for offset in offsets {
        let (batch, now) = (batch(offset), time_of(offset));
        log.append_as_leader(batch, LeaderEpoch(0), AppendOrigin::Client, now).unwrap();
        log.roll(now).unwrap();
    }
}

fn new_log(disk: &FaultyDisk, config: LogConfig) -> Log {
    disk.create_dir_all(Path::new("/d")).unwrap();
    // None is merged with its neighbour.
    let segment_bytes = u32::try_from(batch(0).len()).unwrap();
    let config = LogConfig { segment_bytes, min_cleanable_dirty_ratio: 0.0, ..config };
    let (disk, dir) = (Arc::new(disk.clone()), Path::new(DIR).to_owned());
    let mut log = Log::open(disk, dir, Arc::new(config), Opening::NEW, time_of(0)).unwrap();
    append(&mut log, 0..RECORDS);
    log
}

/// Compacts what is committed, where the policy says so.
fn compact(log: &mut Log, high_watermark: Offset, now: Millis) {
    if !log.config().compact {
        return;
    }
    let Some(mut compaction) = log.plan_compaction(high_watermark, now).unwrap() else { return };
    let mut pace = |_| ControlFlow::Continue(());
    while let Some(rewritten) = compaction.rewrite_next(BUFFERS, &mut pace).unwrap() {
        let step = log.begin_swap(&rewritten).unwrap().unwrap();
        let step = log.replace_segments(rewritten, step.run()).unwrap().unwrap();
        log.end_swap(&step, step.run()).unwrap();
    }
    log.end_compaction(&compaction);
}

/// Offsets of the records from the log's start on.
fn offsets(log: &mut Log) -> Vec<i64> {
    let mut all = Vec::new();
    for bytes in support::reads(log, 1) {
        let batch = Batch::open(&bytes, LIMITS).unwrap();
        all.extend(batch.records().map(|record| record.unwrap().offset.get()));
    }
    all
}

/// Bases of the segments that are there.
fn bases(disk: &FaultyDisk) -> Vec<i64> {
    let entries = disk.list(Path::new(DIR)).unwrap();
    let names = entries.iter().filter_map(|entry| entry.name.strip_suffix(".log"));
    let mut bases: Vec<i64> = names.map(|name| name.parse().unwrap()).collect();
    bases.sort_unstable();
    bases
}

#[test]
fn each_policy_takes_what_it_says_and_nothing_else() {
    let size = u64::try_from(batch(0).len()).unwrap();
    let by_time = LogConfig { retention_ms: Some(Millis(100)), ..LogConfig::default() };
    let never = LogConfig { retention_ms: None, ..LogConfig::default() };
    let by_size = LogConfig { retention_bytes: Some(2 * size), ..never.clone() };
    // At this time what is older than the record at offset 4 is over.
    let now = time_of(4) + Millis(100);
    let cases: [(&str, &LogConfig, i64, [&[i64]; 4]); 4] = [
        // What stays with no policy, `delete`, `compact`, `compact,delete`.
        ("no limit", &never, 0, [&[0, 1, 2, 3, 4, 5], &[0, 1, 2, 3, 4, 5], &[3, 4, 5], &[3, 4, 5]]),
        ("time", &by_time, 0, [&[0, 1, 2, 3, 4, 5], &[4, 5], &[3, 4, 5], &[4, 5]]),
        ("size", &by_size, 0, [&[0, 1, 2, 3, 4, 5], &[4, 5], &[3, 4, 5], &[4, 5]]),
        ("a start that was moved", &never, 4, [&[4, 5]; 4]),
    ];
    let policies = [("", false, false), ("delete", true, false), ("compact", false, true)];
    let policies = policies.into_iter().chain([("compact,delete", true, true)]);
    for (at, (policy, delete, compacts)) in policies.enumerate() {
        for (limit, config, start, expected) in &cases {
            let case = format!("{policy:?}, {limit}");
            let disk = FaultyDisk::new(1);
            let mut log =
                new_log(&disk, LogConfig { delete, compact: compacts, ..(*config).clone() });
            let end = log.end_offset();
            log.delete_records(Offset::new(*start), end).unwrap();
            compact(&mut log, end, now);
            log.delete_old_segments(end, now).unwrap();
            assert_eq!(offsets(&mut log), expected[at], "{case}");
            // Compaction leaves a segment where it empties one.
            let first = if delete || *start > 0 { log.start_offset().get() } else { 0 };
            let left: Vec<i64> = (first..=RECORDS).collect();
            assert_eq!(bases(&disk), left, "{case}");
            assert_eq!(log.end_offset(), end, "{case}");
        }
    }
}

#[test]
fn compaction_goes_on_where_deletion_has_overtaken_it() {
    let disk = FaultyDisk::new(1);
    let config = LogConfig {
        compact: true,
        delete: true,
        retention_ms: Some(Millis(100)),
        ..LogConfig::default()
    };
    let mut log = new_log(&disk, config);
    compact(&mut log, Offset::new(2), time_of(2));
    assert_eq!(log.compacted_end(), Offset::new(2));
    log.delete_old_segments(Offset::new(RECORDS), time_of(4) + Millis(100)).unwrap();
    assert_eq!(log.start_offset(), Offset::new(4));
    append(&mut log, RECORDS..RECORDS + 2);
    let end = log.end_offset();
    compact(&mut log, end, time_of(RECORDS));
    // The records at 6 and 7 have the keys of those at 0 and 3, 1 and 4.
    assert_eq!(offsets(&mut log), [5, 6, 7]);
    assert_eq!(log.compacted_end(), end);
}

#[test]
fn the_empty_policy_keeps_everything_over_a_restart_until_another_one_is_set() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("t-0");
    let keeps = LogConfig {
        delete: false,
        retention_ms: Some(Millis(0)),
        retention_bytes: Some(0),
        ..LogConfig::default()
    };
    let open = |config: &LogConfig, opening| {
        let config = Arc::new(config.clone());
        Log::open(Arc::new(RealDisk), folder.clone(), config, opening, Millis(0)).unwrap()
    };
    let mut log = open(&keeps, Opening::NEW);
    append(&mut log, 0..RECORDS);
    let end = log.end_offset();
    assert_eq!(log.delete_old_segments(end, Millis::MAX).unwrap(), 0);
    let recovery_point = log.close().unwrap();
    let mut log = open(&keeps, Opening { recovery_point, is_clean: true, ..Opening::NEW });
    assert_eq!(log.delete_old_segments(end, Millis::MAX).unwrap(), 0);
    assert_eq!(offsets(&mut log), (0..RECORDS).collect::<Vec<_>>());
    log.set_config(Arc::new(LogConfig { delete: true, ..keeps }));
    log.delete_old_segments(end, Millis::MAX).unwrap();
    assert_eq!((log.start_offset(), log.bytes()), (end, 0));
}
