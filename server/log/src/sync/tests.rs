//! When a log calls itself durable.

use types::{LeaderEpoch, Millis};

use super::*;
use crate::testing::{batch, idempotent, open_new, sync};
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

/// A log of three synced segments, with a producer that a snapshot tells of.
fn synced_log(disk: &FaultyDisk) -> Log {
    disk.create_dir_all(Path::new("/d")).unwrap();
    let config = LogConfig { retention_bytes: Some(0), ..LogConfig::default() };
    let (dir, disk) = (PathBuf::from("/d/t-0"), Arc::new(disk.clone()));
    let mut log = Log::open(disk, dir, Arc::new(config), Opening::NEW, Millis(0)).unwrap();
    for sequence in 0..3 {
        log.roll(Millis(0)).unwrap();
        let batch = idempotent(7, sequence, 1, 0);
        log.append_as_leader(batch, LeaderEpoch(0), AppendOrigin::Client, Millis(0)).unwrap();
    }
    sync(&mut log);
    log
}

/// What forces something onto stable storage beside the tickets.
type Step = fn(Log) -> Result<(), LogError>;

#[test]
fn a_sync_that_finds_no_room_is_final_whoever_asks_for_it() {
    let rest: Step = |log| log.rest().map(|_| ());
    let truncate: Step = |mut log| log.truncate_to(Offset::new(1), Millis(0)).map(|_| ());
    let retain: Step = |mut log| log.delete_old_segments(Offset::new(3), Millis(0)).map(|_| ());
    let rename: Step = |mut log| log.rename(PathBuf::from("/d/t-1"));
    let remove: Step = |mut log| {
        log.drop_first(1)?;
        log.finish_deletion()?;
        log.take_removal(Millis::MAX).expect("a segment was deleted").run()
    };
    let cases = [
        ("rest", Op::Sync, rest),
        ("rest", Op::SyncDir, rest),
        ("truncation", Op::SyncDir, truncate),
        ("retention", Op::SyncDir, retain),
        ("another name", Op::SyncDir, rename),
        ("removal", Op::SyncDir, remove),
    ];
    for (name, op, step) in cases {
        for (errno, is_passing) in [(28, false), (122, false), (5, false), (24, true)] {
            let disk = FaultyDisk::new(1);
            let log = synced_log(&disk);
            disk.fail(Fault { op, name_end: String::new(), skip: 0, times: 1, errno });
            let fault = step(log).unwrap_err();
            assert_eq!(fault.is_passing(), is_passing, "{name}, {op:?}: {fault}");
            assert_eq!(fault.failed_path().is_none(), is_passing, "it fences the directory");
        }
    }
}
