//! Sequences that chance hardly ever brings about.

use std::sync::Arc;

use thalweg_log::{LogConfig, Loss};

use crate::crash_points::recover;
use crate::simulation::{is_replay, named};
use crate::world::World;

/// A world that has made so many segments, all of them synced.
fn with_segments(seed: u64, segments: usize) -> World {
    let mut world = World::new(seed);
    world.open().unwrap();
    while world.log().segment_count() < segments {
        world.append_as_leader().unwrap();
        world.append_as_follower().unwrap();
    }
    world.sync(|_| Ok(())).unwrap();
    world.checkpoint().unwrap();
    world
}

/// Whether the machine died before all segments were deleted.
fn delete_many(seed: u64, changes: u64) -> bool {
    let mut world = with_segments(seed, 6);
    let config = LogConfig { retention_bytes: Some(1), ..world.config.as_ref().clone() };
    world.log().set_config(Arc::new(config));
    world.disk.die_after(changes);
    let outcome = world.retain();
    recover(&mut world, Loss::Sectors);
    outcome.is_err()
}

#[test]
fn segments_that_are_deleted_together_leave_no_hole() {
    if is_replay() {
        return;
    }
    for seed in 0..30 {
        let mut changes = 0;
        while named(&format!("seed {seed}, {changes}"), || delete_many(seed, changes)) {
            changes += 3;
        }
    }
}

/// A world that rolls no segment.
fn with_one_segment(seed: u64) -> World {
    let mut world = World::new(seed);
    let (segment_bytes, segment_index_bytes) = (20_000, 1 << 20);
    let config = world.config.as_ref().clone();
    world.config = Arc::new(LogConfig { segment_bytes, segment_index_bytes, ..config });
    world.open().unwrap();
    world
}

/// Cuts what a clean stop has made a snapshot of, and goes on past it in another way. No name
/// changes but the snapshot's.
fn pass_a_snapshot(seed: u64) {
    let mut world = with_one_segment(seed);
    for _ in 0..6 {
        world.append_as_leader().unwrap();
    }
    world.restart().unwrap();
    let end = world.now.end();
    world.cut_to(world.now.batches[1].base).unwrap();
    while world.now.end() < end {
        world.append_as_leader().unwrap();
    }
    world.sync(|_| Ok(())).unwrap();
    world.checkpoint().unwrap();
    recover(&mut world, Loss::Sectors);
}

#[test]
fn snapshot_of_what_was_cut_does_not_come_back() {
    if is_replay() {
        return;
    }
    for seed in 0..60 {
        named(&format!("seed {seed}"), || pass_a_snapshot(seed));
    }
}

/// Loses power, writes in the place of what recovery has cut, and loses power again.
fn write_over_a_torn_tail(seed: u64) {
    let mut world = with_one_segment(seed);
    world.append_as_leader().unwrap();
    world.sync(|_| Ok(())).unwrap();
    for _ in 0..2 {
        for _ in 0..6 {
            world.append_as_follower().unwrap();
        }
        world.log().flush_writes().unwrap();
        recover(&mut world, Loss::Sectors);
    }
}

#[test]
fn torn_tail_does_not_come_back_between_what_is_written_in_its_place() {
    if is_replay() {
        return;
    }
    for seed in 0..30 {
        named(&format!("seed {seed}"), || write_over_a_torn_tail(seed));
    }
}

/// Kills the process while it deletes everything, writes on with what is left, and loses power.
/// Whether the process died before all was deleted.
fn go_on_after_a_kill(seed: u64, changes: u64) -> bool {
    let mut world = with_one_segment(seed);
    for _ in 0..2 {
        world.append_as_leader().unwrap();
        world.roll().unwrap();
        world.append_as_leader().unwrap();
    }
    world.sync(|_| Ok(())).unwrap();
    world.disk.die_after(changes);
    let outcome = world.begin_anew();
    // The second start finds no trace of what the first one has cleared away.
    for _ in 0..2 {
        recover(&mut world, Loss::Process);
    }
    for _ in 0..4 {
        world.append_as_follower().unwrap();
    }
    world.log().flush_writes().unwrap();
    recover(&mut world, Loss::Sectors);
    outcome.is_err()
}

#[test]
fn segments_that_were_deleted_before_a_kill_do_not_come_back() {
    if is_replay() {
        return;
    }
    for seed in 0..60 {
        let mut changes = 0;
        while named(&format!("seed {seed}, {changes}"), || go_on_after_a_kill(seed, changes)) {
            changes += 1;
        }
    }
}
