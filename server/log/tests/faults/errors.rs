//! Every call of a workload to the disk fails in turn, and the disk is full at every byte.

use thalweg_log::{Fault, Loss, Op};

use crate::crash_points::{LOSSES, recover, workload};
use crate::simulation::{is_replay, named};
use crate::world::World;

const EIO: i32 = 5;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;
const ERRNOS: [i32; 4] = [EIO, ENOSPC, EROFS, EMFILE];
const OPS: [Op; 10] = [
    Op::Open,
    Op::Create,
    Op::Read,
    Op::Write,
    Op::SetLen,
    Op::Sync,
    Op::SyncDir,
    Op::Rename,
    Op::Remove,
    Op::List,
];
const STEPS: u32 = 30;
const ROOM: u64 = 1 << 30;

/// A log that failed takes and gives nothing, and does not try a sync again.
fn check_refusal(world: &mut World) {
    if !world.log.as_ref().is_some_and(|log| log.is_offline()) {
        return;
    }
    world.append_as_leader().unwrap_err();
    let log = world.log();
    log.flush_writes().unwrap_err();
    let ticket = log.sync_ticket();
    assert!(!matches!(ticket, Ok(Some(_))), "nothing is synced after a failure");
    let start = log.start_offset();
    log.read_blocking(start, 1000, start.next(), true).unwrap_err();
}

/// After the cause is gone and the process was started anew, everything goes on.
fn check_recovery(world: &mut World, loss: Loss) {
    world.disk.repair();
    world.disk.set_room(ROOM);
    recover(world, loss);
    for _ in 0..3 {
        world.append_as_leader().unwrap();
    }
    world.sync(|_| Ok(())).unwrap();
    recover(world, Loss::Whole);
}

/// Whether there was a call to fail.
fn run_with_fault(seed: u64, op: Op, skip: u32) -> bool {
    let mut world = World::new(seed);
    // A file that is open needs no descriptor to be synced.
    let errnos = if op == Op::Sync { &ERRNOS[..3] } else { &ERRNOS };
    let errno = errnos[skip as usize % errnos.len()];
    world.disk.fail(Fault { op, name_end: String::new(), skip, times: 1, errno });
    let Err(_) = workload(&mut world, STEPS) else { return false };
    check_refusal(&mut world);
    let mut loss = LOSSES[skip as usize % LOSSES.len()];
    if op == Op::Sync && world.log.is_some() {
        // The disk takes the next sync, but has forgotten what the failed one was for.
        _ = world.sync(|_| Ok(()));
        loss = Loss::Whole;
    }
    check_recovery(&mut world, loss);
    true
}

#[test]
fn failed_calls_lose_nothing_that_was_synced() {
    if is_replay() {
        return;
    }
    let mut failures = 0;
    for seed in 0..4 {
        for op in OPS {
            let mut skip = 0;
            while named(&format!("seed {seed}, {op:?} {skip}"), || run_with_fault(seed, op, skip)) {
                skip += 1;
            }
            failures += skip;
        }
    }
    assert!(failures > 300, "most calls are there to fail: {failures}");
}

/// Whether the disk was full before the end.
fn run_with_room(seed: u64, room: u64) -> bool {
    let mut world = World::new(seed);
    world.disk.set_room(room);
    world.disk.set_short_writes(room.is_multiple_of(2));
    let Err(_) = workload(&mut world, STEPS) else { return false };
    check_refusal(&mut world);
    // It is still full at the next start, which may fail, but must not spoil anything.
    world.crash(Loss::Process);
    world.disk.set_room(room % 64);
    if world.open().is_ok() {
        world.check_recovered();
    }
    check_recovery(&mut world, LOSSES[room as usize % LOSSES.len()]);
    true
}

#[test]
fn full_disk_loses_nothing_that_was_synced() {
    if is_replay() {
        return;
    }
    for seed in 0..4 {
        let mut room = 0;
        while named(&format!("seed {seed}, room {room}"), || run_with_room(seed, room)) {
            room += 41;
        }
        assert!(room > 1500, "a workload writes more than {room} bytes");
    }
}
