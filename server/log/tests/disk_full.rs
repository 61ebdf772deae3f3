//! A disk that fills up in the middle of a write, and a process that runs out of descriptors.

#![allow(clippy::unwrap_used, reason = "all of this file is a test")]

use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;
use records::{BatchBuilder, BatchHeader, Compression, ControlRecordType, EndTxnMarker};
use thalweg_log::{
    AppendError, AppendOrigin, Disk, Fault, FaultyDisk, Log, LogConfig, LogError, Loss, Op, Opening,
};
use types::{LeaderEpoch, Millis, Offset, ProducerId};

const ROOM: u64 = 1 << 30;
const EMFILE: i32 = 24;

/// The calls that need a descriptor.
const OPENING: [Op; 3] = [Op::Open, Op::Create, Op::SyncDir];

fn disk_with_folder(seed: u64) -> FaultyDisk {
    let disk = FaultyDisk::new(seed);
    disk.create_dir_all(Path::new("/d")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

fn append(log: &mut Log) -> Result<(), AppendError> {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.append(1, None, Some(&[7; 100]), &[]);
    let (batch, epoch) = (BytesMut::from(builder.build()), LeaderEpoch(0));
    log.append_as_leader(batch, epoch, AppendOrigin::Client, Millis(0))?;
    Ok(())
}

fn sync(log: &mut Log) -> Result<(), LogError> {
    match log.sync_ticket()? {
        Some(ticket) => {
            let outcome = ticket.sync();
            log.synced(outcome)
        }
        None => Ok(()),
    }
}

fn open(disk: &FaultyDisk, recovery_point: Offset) -> Log {
    let config = LogConfig { segment_bytes: 400, ..LogConfig::default() };
    let opening = Opening { recovery_point, ..Opening::NEW };
    let disk = Arc::new(disk.clone());
    Log::open(disk, Path::new("/d/t-0").to_owned(), Arc::new(config), opening, Millis(0)).unwrap()
}

/// Every offset from the start to the end is there once.
fn count_records(log: &mut Log) -> i64 {
    let mut next = Offset::ZERO;
    while next < log.written_end() {
        let read = log.read_blocking(next, 9999, Offset::MAX, true).unwrap();
        assert_eq!(BatchHeader::parse(&read.bytes).unwrap().base_offset(), next);
        assert!(read.next_offset > next);
        next = read.next_offset;
    }
    next.get()
}

#[test]
fn a_log_on_a_full_disk_goes_on_where_it_was_once_there_is_room() {
    let mut refusals = 0;
    for room in (0..400).step_by(7) {
        for crashes in [false, true] {
            let disk = disk_with_folder(room);
            let mut log = open(&disk, Offset::ZERO);
            append(&mut log).unwrap();
            append(&mut log).unwrap();
            sync(&mut log).unwrap();
            disk.set_room(room);
            // The third one rolls: indexes and a snapshot are written before it.
            let mut staged = 2;
            for _ in 0..4 {
                staged += i64::from(append(&mut log).is_ok());
                refusals += u32::from(sync(&mut log).is_err());
            }
            assert!(!log.is_offline(), "room for {room} bytes");
            let acknowledged = log.durable_end();
            assert!(acknowledged >= Offset::new(2));
            assert_eq!(count_records(&mut log), log.written_end().get(), "reads go on");
            disk.set_room(ROOM);
            if crashes {
                drop(log);
                disk.crash(Loss::Pages);
                log = open(&disk, acknowledged);
                assert!(log.end_offset() >= acknowledged);
            } else {
                sync(&mut log).unwrap();
                assert_eq!(log.durable_end().get(), staged, "what was taken is kept");
            }
            let before = log.end_offset();
            append(&mut log).unwrap();
            sync(&mut log).unwrap();
            assert_eq!(log.durable_end(), before.next());
            assert_eq!(count_records(&mut log), before.next().get());
            drop(log);
            let mut log = open(&disk, Offset::ZERO);
            assert_eq!(count_records(&mut log), before.next().get(), "after a restart, too");
        }
    }
    assert!(refusals > 100, "most do not fit: {refusals}");
}

#[test]
fn an_append_that_waits_for_room_lets_none_overtake_it() {
    let disk = disk_with_folder(1);
    let mut log = open(&disk, Offset::ZERO);
    disk.set_room(50);
    append(&mut log).unwrap();
    let fault = log.flush_writes().unwrap_err();
    assert!(fault.is_passing() && fault.failed_path().is_none(), "{fault}");
    let refused = append(&mut log).unwrap_err();
    assert!(matches!(refused, AppendError::Log(LogError::Stalled { .. })), "{refused}");
    assert_eq!((log.end_offset(), log.written_end()), (Offset::new(1), Offset::ZERO));
    disk.set_room(ROOM);
    sync(&mut log).unwrap();
    append(&mut log).unwrap();
    assert_eq!(log.end_offset(), Offset::new(2));
}

#[test]
fn a_log_without_descriptors_goes_on_once_there_are_some() {
    (0..20).for_each(goes_on_without_descriptors);
}

fn goes_on_without_descriptors(seed: u64) {
    let disk = disk_with_folder(seed);
    let mut log = open(&disk, Offset::ZERO);
    append(&mut log).unwrap();
    for op in OPENING {
        disk.fail(Fault { op, name_end: String::new(), skip: 0, times: u32::MAX, errno: EMFILE });
    }
    // The folder is new, and its name must be synced, too.
    assert!(sync(&mut log).unwrap_err().is_passing());
    append(&mut log).unwrap();
    append(&mut log).unwrap();
    // The next segment cannot be made.
    assert!(log.flush_writes().unwrap_err().is_passing());
    assert!(append(&mut log).is_err());
    assert!(!log.is_offline());
    assert_eq!(log.durable_end(), Offset::ZERO);
    disk.repair();
    log.flush_writes().unwrap();
    append(&mut log).unwrap();
    sync(&mut log).unwrap();
    assert_eq!(log.durable_end(), Offset::new(4));
    drop(log);
    disk.crash(Loss::Whole);
    let mut log = open(&disk, Offset::new(4));
    assert_eq!(count_records(&mut log), 4, "seed {seed}: the folder has its name for good");
}

/// Appends a record of a producer's transaction, and the marker that aborts it.
fn append_aborted(log: &mut Log, sequence: i32) -> Result<(), AppendError> {
    let of_producer = |builder: BatchBuilder, sequence| {
        builder.transactional().producer(ProducerId(7), 0, sequence)
    };
    let mut data = of_producer(BatchBuilder::new(Compression::None), sequence);
    data.append(1, None, Some(&[7; 10]), &[]);
    let mut marker = of_producer(BatchBuilder::new(Compression::None).control(), -1);
    let value = EndTxnMarker { coordinator_epoch: 0 }.to_bytes();
    marker.append(1, Some(&ControlRecordType::Abort.to_key()), Some(&value), &[]);
    for (batch, origin) in [(data, AppendOrigin::Client), (marker, AppendOrigin::Coordinator)] {
        let batch = BytesMut::from(batch.build());
        log.append_as_leader(batch, LeaderEpoch(0), origin, Millis(0))?;
    }
    Ok(())
}

/// First offset and marker of each aborted transaction.
fn aborted(log: &Log) -> Vec<(i64, i64)> {
    let all = log.aborted_transactions(Offset::ZERO, log.end_offset()).unwrap();
    all.iter().map(|txn| (txn.first_offset.get(), txn.last_offset.get())).collect()
}

#[test]
fn an_abort_waits_for_room_in_its_index_and_counts_then() {
    let mut waited = 0;
    for room in 0..220 {
        for crashes in [false, true] {
            let disk = disk_with_folder(room);
            let mut log = open(&disk, Offset::ZERO);
            append_aborted(&mut log, 0).unwrap();
            sync(&mut log).unwrap();
            disk.set_room(room);
            append_aborted(&mut log, 1).unwrap();
            waited += u32::from(sync(&mut log).is_err());
            assert!(!log.is_offline(), "room for {room} bytes");
            let written = log.written_end();
            let known = aborted(&log);
            assert!(known.contains(&(0, 1)), "what is there is told all the while");
            assert!(written < Offset::new(4) || known.contains(&(2, 3)), "no marker without it");
            disk.set_room(ROOM);
            if crashes {
                let durable = log.durable_end();
                drop(log);
                disk.crash(Loss::Pages);
                log = open(&disk, durable);
            } else {
                sync(&mut log).unwrap();
                assert_eq!(log.durable_end(), Offset::new(4));
            }
            let counted = if log.end_offset() == Offset::new(4) { 2 } else { 1 };
            assert_eq!(aborted(&log), [(0, 1), (2, 3)][..counted], "room for {room} bytes");
        }
    }
    assert!(waited > 100, "most do not fit: {waited}");
}

#[test]
fn an_abort_without_descriptors_waits_for_one() {
    let disk = disk_with_folder(1);
    let mut log = open(&disk, Offset::ZERO);
    append(&mut log).unwrap();
    sync(&mut log).unwrap();
    for op in OPENING {
        disk.fail(Fault { op, name_end: String::new(), skip: 0, times: u32::MAX, errno: EMFILE });
    }
    append_aborted(&mut log, 0).unwrap();
    assert!(sync(&mut log).unwrap_err().is_passing());
    assert!(!log.is_offline());
    disk.repair();
    sync(&mut log).unwrap();
    assert_eq!(aborted(&log), [(1, 2)]);
}
