//! What logs share when they are closed, and what a failure means for each.

use std::path::Path;
use std::sync::atomic::Ordering;

use log::{AppendOrigin, FaultyDisk, LogConfig, Opening};
use types::{LeaderEpoch, Millis};

use super::*;
use crate::shares::testing::Counting;

/// Logs with one record each.
fn logs(count: i32) -> Vec<LeftLog> {
    let disk = Arc::new(FaultyDisk::new(1));
    let log = |index| {
        let (name, dir) = (TopicPartition::new("t", index), PathBuf::from("/data"));
        let config = Arc::new(LogConfig::default());
        let folder = dir.join(format!("t-{index}"));
        let disk = Arc::clone(&disk);
        let mut log = Log::open(disk, folder, config, Opening::NEW, Millis(0)).unwrap();
        let mut batch = records::BatchBuilder::new(records::Compression::None);
        batch.append(1, None, Some(b"value"), &[]);
        let batch = bytes::BytesMut::from(batch.build());
        let (epoch, origin) = (LeaderEpoch(0), AppendOrigin::Client);
        log.append_as_leader(batch, epoch, origin, Millis(0)).unwrap();
        LeftLog { name, dir, log: Some(log) }
    };
    (0..count).map(log).collect()
}

#[test]
fn many_logs_share_one_sync() {
    let volume = Counting::default();
    let closed = close_share(logs(9), Some(&volume));
    assert_eq!(closed.len(), 9);
    for log in closed {
        assert_eq!(log.end.unwrap(), Offset::new(1), "{}", log.name);
    }
    // Once for the data, and once for the epoch checkpoints.
    assert_eq!(volume.syncs.load(Ordering::Relaxed), 2);
}

#[test]
fn no_log_is_taken_for_closed_whose_sync_failed() {
    let volume = Counting { fails: true, ..Counting::default() };
    let closed = close_share(logs(3), Some(&volume));
    assert_eq!(closed.len(), 3);
    assert!(closed.iter().all(|log| log.end.is_err() && log.dir == Path::new("/data")));
}

#[test]
fn log_that_is_in_use_does_not_keep_others_open() {
    let mut logs = logs(3);
    logs[1].log = None;
    let closed = close_share(logs, None);
    let failed: Vec<_> =
        closed.iter().filter(|log| log.end.is_err()).map(|log| &log.name).collect();
    assert_eq!((closed.len(), failed), (3, vec![&TopicPartition::new("t", 1)]));
}
