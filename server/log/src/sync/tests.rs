//! When a log calls itself durable.

use types::{LeaderEpoch, Millis};

use super::*;
use crate::testing::{batch, open_new, sync};
use crate::{AppendOrigin, LogConfig};

fn append(log: &mut Log) {
    let (epoch, origin) = (LeaderEpoch(0), AppendOrigin::Client);
    log.append_as_leader(batch(2, 0), epoch, origin, Millis(0)).unwrap();
}

#[test]
fn durable_end_follows_the_sync_that_covered_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_new(dir.path(), LogConfig::default());
    append(&mut log);
    let ticket = log.sync_ticket().unwrap().unwrap();
    append(&mut log);
    assert!(log.sync_ticket().unwrap().is_none(), "one at a time");
    assert_eq!(log.durable_end(), Offset::ZERO);
    log.synced(ticket.sync()).unwrap();
    assert_eq!(log.durable_end(), Offset::new(2), "what came meanwhile is not covered");
    sync(&mut log);
    assert_eq!(log.durable_end(), Offset::new(4));
    assert!(log.sync_ticket().unwrap().is_none(), "nothing to do");
}

#[test]
fn rolled_segments_are_synced_with_their_indexes() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_new(dir.path(), LogConfig::default());
    append(&mut log);
    log.roll(Millis(0)).unwrap();
    append(&mut log);
    let ticket = log.sync_ticket().unwrap().unwrap();
    // Two logs, two indexes, one snapshot.
    assert_eq!(ticket.files.len(), 5);
    assert!(ticket.dir_is_dirty && ticket.folder_is_new);
    log.synced(ticket.sync()).unwrap();
    append(&mut log);
    let ticket = log.sync_ticket().unwrap().unwrap();
    assert_eq!((ticket.files.len(), ticket.dir_is_dirty), (1, false));
}

#[test]
fn failed_sync_takes_the_log_offline() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open_new(dir.path(), LogConfig::default());
    append(&mut log);
    let _ticket = log.sync_ticket().unwrap().unwrap();
    log.synced(Err(io::Error::from_raw_os_error(5).into())).unwrap_err();
    assert!(log.is_offline());
    assert_eq!(log.durable_end(), Offset::ZERO);
    assert!(matches!(log.sync_ticket(), Err(LogError::Offline { .. })));
    let (epoch, origin) = (LeaderEpoch(0), AppendOrigin::Client);
    let refused = log.append_as_leader(batch(1, 0), epoch, origin, Millis(0)).unwrap_err();
    assert_eq!(refused.code(), types::ErrorCode::KafkaStorageError);
}
