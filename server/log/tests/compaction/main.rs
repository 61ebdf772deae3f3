//! Compaction against a model: random appends, transactions and cuts, compactions at any time,
//! and crashes at every change that a compaction makes to the disk.

#![allow(clippy::unwrap_used, reason = "all of this file is a test")]

mod world;

use thalweg_log::{CleanerBuffers, Loss};
use types::{Millis, Offset};
use world::World;

const SEEDS: std::ops::Range<u64> = 0..40;
const STEPS: u32 = 120;
const ROOMY: CleanerBuffers =
    CleanerBuffers { dedupe_bytes: 1 << 20, load_factor: 0.9, io_bytes: 1 << 16 };

/// One thing that happens to a log.
fn step(world: &mut World, may_cut: bool) {
    match world.rng.below(20) {
        0 => world.restart(),
        1 => {
            // Without snapshots, a producer whose batches were cut is no longer known.
            let lose_snapshots = !may_cut && world.rng.below(2) == 0;
            world.crash(Loss::Process, lose_snapshots);
        }
        2 => world.sync(),
        3 | 4 => _ = world.end_transaction(),
        5 | 6 => world.commit(),
        7 => {
            let now = world.now;
            world.log().roll(now).unwrap();
        }
        8 => world.now = world.now + Millis(i64::from(world.rng.below(400))),
        9 if may_cut => world.delete_records(),
        10 if may_cut => world.truncate(),
        11 => world.send_again(),
        _ => world.append(),
    }
}

/// What may happen while a compaction is on another thread.
fn meanwhile(world: &mut World, may_cut: bool) {
    match world.rng.below(8) {
        0 if may_cut => world.delete_records(),
        1 if may_cut => world.truncate(),
        2 => world.sync(),
        3 => _ = world.end_transaction(),
        4 => world.check("while a compaction is under way"),
        _ => world.append(),
    }
}

/// Nothing superseded is left where the compaction was.
fn check_compacted(world: &mut World, end: types::Offset, place: &str) {
    let start = world.log().start_offset();
    let seen = world.consume(start);
    let inside = seen.iter().filter(|(offset, _)| *offset < end.get());
    let mut keys: Vec<u32> = inside.map(|(_, record)| record.key).collect();
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count, "{place}: one record of each key before {end}");
}

/// Gives the number of compactions that had the log for themselves.
fn run(seed: u64, may_cut: bool) -> u32 {
    let mut compacted = 0;
    let mut world = World::new(seed);
    for at in 0..STEPS {
        let place = format!("seed {seed} step {at}, cuts: {may_cut}");
        if world.rng.below(6) == 0 {
            let memory = world.memory();
            let has_company = world.rng.below(2) == 0;
            let end = world.compact(memory, |world| {
                if has_company {
                    meanwhile(world, may_cut);
                }
            });
            if let Some(end) = end.unwrap()
                && !has_company
            {
                check_compacted(&mut world, end, &place);
                compacted += 1;
            }
        } else {
            step(&mut world, may_cut);
        }
        world.check(&place);
    }
    compacted
}

#[test]
fn readers_and_producers_notice_nothing_of_compactions() {
    let compacted: u32 = SEEDS.map(|seed| run(seed, false)).sum();
    assert!(compacted > 30, "only {compacted} compactions");
}

#[test]
fn cuts_void_what_is_compacted_meanwhile() {
    let compacted: u32 = SEEDS.map(|seed| run(seed, true)).sum();
    assert!(compacted > 30, "only {compacted} compactions");
}

#[test]
fn what_is_cut_in_the_middle_of_a_swap_stays_cut() {
    for seed in 0..12 {
        for loss in [Loss::Whole, Loss::Sectors] {
            let mut world = synced_world(seed);
            let memory = world.memory();
            let outcome = world.compact(memory, |world| {
                // As a follower does after an unclean election.
                world.high_watermark = Offset::ZERO;
                world.truncate();
                world.disk.die_after(0);
            });
            world.crash(loss, false);
            world.check(&format!("seed {seed}, {loss:?}, {outcome:?}"));
        }
    }
}

/// A log of several segments, all of it synced and committed.
fn synced_world(seed: u64) -> World {
    let mut world = World::new(seed);
    for _ in 0..24 {
        match world.rng.below(6) {
            0 => _ = world.end_transaction(),
            1 => world.sync(),
            _ => world.append(),
        }
        world.commit();
    }
    while world.log().segment_count() < 4 {
        world.append();
    }
    while world.end_transaction() {}
    let now = world.now;
    world.log().roll(now).unwrap();
    world.sync();
    world.high_watermark = world.log().end_offset();
    world
}

/// Compacts twice, with new records in between, and dies after so many changes of the second
/// compaction or goes through all of it. Whether it did.
fn die_in_compaction(seed: u64, changes: u64, loss: Loss) -> bool {
    let place = format!("seed {seed}, {loss:?} after {changes} changes");
    let mut world = synced_world(seed);
    if seed % 2 == 1 {
        // What was compacted before is met by the next one.
        world.compact(CleanerBuffers { dedupe_bytes: 24 * 20, ..ROOMY }, |_| {}).unwrap();
        (0..10).for_each(|_| world.append());
        while world.end_transaction() {}
        let now = world.now + Millis(i64::from(world.rng.below(1000)));
        world.now = now;
        world.log().roll(now).unwrap();
        world.sync();
        world.high_watermark = world.log().end_offset();
    }
    let memory = world.memory();
    world.disk.die_after(changes);
    let has_died = world.compact(memory, |_| {}).is_err();
    let again = u64::from(world.rng.below(12));
    match changes % 3 {
        0 => world.crash_twice(loss, again),
        other => world.crash(loss, other == 1),
    }
    world.check(&place);
    // What the crash has left is in order for good, and the next one ends.
    world.restart();
    world.check(&place);
    if let Some(end) = world.compact(ROOMY, |_| {}).unwrap() {
        check_compacted(&mut world, end, &place);
    }
    world.check(&place);
    let left = world.files();
    let is_left = |name: &String| name.ends_with(".cleaned") || name.ends_with(".swap");
    assert!(!left.iter().any(is_left), "{place}: {left:?}");
    has_died
}

#[test]
fn a_crash_at_any_change_of_a_compaction_loses_nothing() {
    for seed in 0..6 {
        for loss in [Loss::Process, Loss::Whole, Loss::Sectors, Loss::Pages] {
            let survived = (0..).find(|changes| !die_in_compaction(seed, *changes, loss));
            assert!(survived.is_some_and(|changes| changes > 8), "a compaction makes changes");
        }
    }
}
