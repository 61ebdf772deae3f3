//! A damaged segment gets from another replica what it lacks, and is as it was then.

use std::ops::ControlFlow;

use thalweg_log::{Corruption, Disk, Fault, Log, Mended, Op, OpenMode, Rewritten};
use types::{Millis, Offset};

use crate::SECOND;
use crate::world::{BATCH_BYTES, BATCHES, RECORDS, World};

/// Bytes of the header that name the leader's epoch. No CRC covers them.
const EPOCH_BYTES: std::ops::Range<u64> = 12..16;

/// Mends the second segment with what another replica has before the batch `until`.
fn mend(world: &World, log: &mut Log, until: i64) -> Mended {
    let mending = log.plan_mending(Offset::new(SECOND * RECORDS), Millis(0)).unwrap();
    let mut donor = |from| world.given(from, until);
    mending.run(&mut donor, &mut |_| ControlFlow::Continue(())).unwrap()
}

fn put_in_place(log: &mut Log, rewritten: Rewritten) {
    let step = log.begin_swap(&rewritten).unwrap().unwrap();
    let outcome = step.run();
    let step = log.replace_segments(rewritten, outcome).unwrap().unwrap();
    let outcome = step.run();
    log.end_swap(&step, outcome).unwrap();
}

#[test]
fn a_mended_segment_is_as_it_was() {
    let flips = (0..12 * BATCH_BYTES as u64).filter(|byte| {
        let in_batch = byte % BATCH_BYTES as u64;
        // Of the records, and of most batches, some bytes stand for all.
        let is_chosen = (byte / BATCH_BYTES as u64).is_multiple_of(5)
            && (in_batch < 61 || in_batch.is_multiple_of(97));
        is_chosen && !EPOCH_BYTES.contains(&in_batch)
    });
    let flips = flips.map(|byte| Corruption::FlipBit(byte * 8 + (byte * 5) % 8));
    let others = [
        Corruption::ZeroPage(0),
        Corruption::ZeroPage(1),
        Corruption::SwapSectors(0, 11),
        Corruption::SwapSectors(3, 4),
    ];
    for corruption in flips.chain(others) {
        for interval in [0, 100_000] {
            let world = World::new(interval);
            let path = world.file(SECOND, "log");
            let before = world.content(&path);
            world.disk.corrupt(&path, corruption).unwrap();
            let mut log = world.log();
            let Mended::Rewritten(rewritten, 0) = mend(&world, &mut log, BATCHES) else {
                panic!("{corruption:?} is not mended");
            };
            put_in_place(&mut log, rewritten);
            assert_eq!(world.unreadable(&mut log, "mended"), [], "{corruption:?}");
            assert_eq!(world.content(&path), before, "{corruption:?}");
        }
    }
}

#[test]
fn a_lost_end_is_mended() {
    let world = World::new(0);
    let path = world.file(SECOND, "log");
    let before = world.content(&path);
    let file = world.disk.open(&path, OpenMode::Write).unwrap();
    file.set_len(9 * BATCH_BYTES as u64 + 100).unwrap();
    let mut log = world.log();
    let Mended::Rewritten(rewritten, 0) = mend(&world, &mut log, BATCHES) else {
        panic!("not mended");
    };
    put_in_place(&mut log, rewritten);
    assert_eq!(world.content(&path), before);
}

#[test]
fn what_cannot_be_read_comes_from_others() {
    let world = World::new(0);
    let mut log = world.log();
    let (op, name_end) = (Op::Read, format!("{:020}.log", SECOND * RECORDS));
    world.disk.fail(Fault { op, name_end, skip: 0, times: u32::MAX, errno: 5 });
    let Mended::Rewritten(rewritten, 0) = mend(&world, &mut log, BATCHES) else {
        panic!("not mended");
    };
    world.disk.repair();
    put_in_place(&mut log, rewritten);
    assert_eq!(world.unreadable(&mut log, "mended"), []);
}

#[test]
fn what_nobody_has_stays_as_it_is_and_keeps_nothing_else_from_being_mended() {
    let world = World::new(1000);
    let path = world.file(SECOND, "log");
    for batch in [2, 8] {
        let bit = 8 * (batch * BATCH_BYTES as u64 + 300);
        world.disk.corrupt(&path, Corruption::FlipBit(bit)).unwrap();
    }
    let mut log = world.log();
    // Nothing is written as long as nobody has any of it.
    let name_end = ".log.cleaned".to_owned();
    let fault = Fault { op: Op::Create, name_end, skip: 0, times: u32::MAX, errno: 28 };
    world.disk.fail(fault);
    assert!(matches!(mend(&world, &mut log, 0), Mended::Lacking));
    world.disk.repair();
    assert_eq!(world.unreadable(&mut log, "none"), [SECOND + 2, SECOND + 8]);
    let lost = [SECOND + 2, SECOND + 8].map(|batch| Offset::new(batch * RECORDS));
    assert_eq!(log.lost_of(Offset::new(SECOND * RECORDS)), lost);
    assert_eq!(log.lost_of(Offset::ZERO), []);
    // The other replica ends before the second one.
    let Mended::Rewritten(rewritten, 1) = mend(&world, &mut log, SECOND + 5) else {
        panic!("not mended");
    };
    put_in_place(&mut log, rewritten);
    assert_eq!(world.unreadable(&mut log, "mended in part"), [SECOND + 8]);
}

#[test]
fn nothing_is_taken_that_does_not_fit() {
    let world = World::new(1000);
    let bit = 8 * (2 * BATCH_BYTES as u64 + 300);
    world.disk.corrupt(&world.file(SECOND, "log"), Corruption::FlipBit(bit)).unwrap();
    let mut log = world.log();
    let base = Offset::new(SECOND * RECORDS);
    let mending = log.plan_mending(base, Millis(0)).unwrap();
    let before = |from: Offset| world.given(from + -RECORDS, SECOND + 2);
    let behind = |from: Offset| world.given(from + RECORDS, BATCHES);
    let broken = |from: Offset| {
        let mut given = world.given(from, BATCHES).unwrap().to_vec();
        given[300] ^= 1;
        Some(given.into())
    };
    // No CRC covers the epoch: batches of a leader that this log has seen, but not at these offsets.
    let of_another = |from: Offset| {
        let mut given = world.given(from, SECOND + 3).unwrap().to_vec();
        given[EPOCH_BYTES.end as usize - 1] = 5;
        Some(given.into())
    };
    let donors: [&dyn Fn(Offset) -> Option<bytes::Bytes>; 4] =
        [&before, &behind, &broken, &of_another];
    for (at, donor) in donors.into_iter().enumerate() {
        let mended = mending.run(&mut |from| donor(from), &mut |_| ControlFlow::Continue(()));
        assert!(matches!(mended, Ok(Mended::Lacking)), "{at}: {mended:?}");
    }
    assert!(log.plan_mending(base, Millis(0)).is_none(), "one rewrites at a time");
    drop(mending);
    assert!(log.plan_mending(base, Millis(0)).is_some());
}

/// Of a log that has every second batch, mended by one that has the first of every `step`.
#[test]
fn a_hole_in_a_compacted_log_takes_what_fills_it_to_the_byte_and_nothing_else() {
    let payload = [0_u64, 1, 5, 6, 11].map(|damaged| (damaged, 300_u64));
    // A broken header may take along what is before it.
    let headers = [0_u64, 1, 5, 11].map(|damaged| (damaged, 16));
    for (damaged, byte) in payload.into_iter().chain(headers) {
        for step in [1, 2, 4] {
            let world = World::compacted();
            let path = world.file(0, "log");
            let before = world.content(&path);
            let bit = 8 * (damaged * BATCH_BYTES as u64 + byte);
            world.disk.corrupt(&path, Corruption::FlipBit(bit)).unwrap();
            let broken = world.content(&path);
            let mut log = world.log();
            let mending = log.plan_mending(Offset::ZERO, Millis(0)).unwrap();
            let mut donor = |from| world.given_by_compacted(from, step);
            let mended = mending.run(&mut donor, &mut |_| ControlFlow::Continue(())).unwrap();
            let what = format!("byte {byte} of {damaged} by {step}");
            // Whoever has compacted less has more of it, and whoever has compacted more may lack it.
            let is_alone = byte == 300 || damaged == 0;
            let fits = step == 2 || (step == 4 && is_alone && damaged.is_multiple_of(2));
            match mended {
                Mended::Rewritten(rewritten, 0) if fits => {
                    put_in_place(&mut log, rewritten);
                    assert_eq!(world.content(&path), before, "{what}");
                }
                Mended::Lacking if !fits => assert_eq!(world.content(&path), broken, "{what}"),
                other => panic!("{what}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_sound_segment_is_left_alone() {
    let world = World::new(0);
    assert!(matches!(mend(&world, &mut world.log(), 0), Mended::Sound));
}
