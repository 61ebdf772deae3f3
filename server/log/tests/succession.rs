//! A log that takes the place of another one, as after a move between directories.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;
use records::{BatchBuilder, Compression};
use thalweg_log::{AppendOrigin, CleanerBuffers, Log, LogConfig, Opening, RealDisk};
use types::{LeaderEpoch, Millis, Offset};

/// A log of two batches in one closed segment; the same every time.
fn make(dir: &Path) -> Log {
    let config = LogConfig { compact: true, delete: false, ..LogConfig::default() };
    let (disk, folder) = (Arc::new(RealDisk), dir.join("t-0"));
    let mut log = Log::open(disk, folder, Arc::new(config), Opening::NEW, Millis(0)).unwrap();
    for at in [1, 2] {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.append(at, Some(b"key"), Some(b"value"), &[]);
        let batch = BytesMut::from(builder.build());
        log.append_as_leader(batch, LeaderEpoch(0), AppendOrigin::Client, Millis(at)).unwrap();
    }
    log.roll(Millis(20)).unwrap();
    log
}

#[test]
fn what_is_compacted_is_taken_over_and_nothing_that_is_planned() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [mut former, mut log] = dirs.each_ref().map(|dir| make(dir.path()));
    let planned = former.plan_compaction(former.end_offset(), Millis(20)).unwrap();
    let memory = CleanerBuffers { dedupe_bytes: 1 << 20, load_factor: 0.9, io_bytes: 1 << 16 };
    let rewritten =
        planned.unwrap().rewrite_next(memory, &mut |_| ControlFlow::Continue(())).unwrap();
    former.set_compacted_end(Offset::new(1));
    log.succeed(&former);
    assert_eq!(log.compacted_end(), Offset::new(1));
    // Its segments have the same offsets and sizes, its folder has no such files.
    assert!(log.begin_swap(&rewritten.unwrap()).unwrap().is_none());
    assert!(!log.is_offline());
}
