//! When a log calls itself durable.

use types::{LeaderEpoch, Millis};

use super::*;
use crate::testing::{batch, open_new, sync};
use crate::{AppendOrigin, Fault, FaultyDisk, LogConfig, Loss, Op, Opening};

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

#[test]
fn logs_are_synced_together_with_their_names_and_epochs() {
    let disk = FaultyDisk::new(3);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let open = |name: &str, opening| {
        let (disk, dir) = (Arc::clone(&shared), PathBuf::from("/d").join(name));
        Log::open(disk, dir, Arc::default(), opening, Millis(0)).unwrap()
    };
    let mut logs: Vec<_> = ["a-0", "b-0", "c-0"].map(|name| open(name, Opening::NEW)).into();
    logs.iter_mut().for_each(append);
    let tickets = logs.iter_mut().map(|log| log.sync_ticket().unwrap().unwrap()).collect();
    let volume = shared.volume(Path::new("/d")).unwrap();
    for (log, outcome) in logs.iter_mut().zip(sync_together(volume.as_ref(), tickets)) {
        log.synced(outcome).unwrap();
        assert_eq!(log.durable_end(), Offset::new(2));
    }
    disk.crash(Loss::Whole);
    for name in ["a-0", "b-0", "c-0"] {
        let log = open(name, Opening { recovery_point: Offset::new(2), ..Opening::NEW });
        assert_eq!(log.end_offset(), Offset::new(2), "{name}");
        assert_eq!(log.leader_epochs().latest(), Some(LeaderEpoch(0)), "{name}");
    }
}

#[test]
fn failed_sync_of_a_volume_takes_all_its_logs_offline() {
    let disk = FaultyDisk::new(3);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let open = |name: &str| {
        let (disk, dir) = (Arc::clone(&shared), PathBuf::from("/d").join(name));
        Log::open(disk, dir, Arc::default(), Opening::NEW, Millis(0)).unwrap()
    };
    let mut logs = [open("a-0"), open("b-0")];
    logs.iter_mut().for_each(append);
    let tickets = logs.iter_mut().map(|log| log.sync_ticket().unwrap().unwrap()).collect();
    let volume = shared.volume(Path::new("/d")).unwrap();
    // No room, said by a sync, is no reason to try again.
    let errno = 28;
    disk.fail(Fault { op: Op::Sync, name_end: "d".to_owned(), skip: 0, times: 1, errno });
    for (log, outcome) in logs.iter_mut().zip(sync_together(volume.as_ref(), tickets)) {
        log.synced(outcome).unwrap_err();
        assert!(log.is_offline());
    }
}
