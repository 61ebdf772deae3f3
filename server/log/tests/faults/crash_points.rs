//! The machine dies at every change in turn that a workload makes to the disk.

use thalweg_log::Loss;

use crate::simulation::named;
use crate::world::{Failure, World};

pub const LOSSES: [Loss; 4] = [Loss::Sectors, Loss::Whole, Loss::Pages, Loss::Process];

/// One thing that happens to a log.
pub fn step(world: &mut World) -> Result<(), Failure> {
    let draw = world.rng.below(26);
    world.tell(format!("step {draw}"));
    world.hear();
    match draw {
        0 => world.restart(),
        1 => world.roll(),
        2 => world.truncate(),
        3 => world.delete_records(),
        4 => world.retain(),
        5 => world.checkpoint(),
        6 => {
            world.begin_epoch();
            Ok(())
        }
        7..10 => world.sync(|_| Ok(())),
        10 => world.sync(World::append_as_leader),
        11 => world.sync(World::truncate),
        12 => world.sync(World::roll),
        13..17 => world.append_as_follower(),
        17 if world.rng.below(4) == 0 => world.begin_anew(),
        18 => Ok(world.log().flush_writes()?),
        19..21 => world.do_errands(),
        _ => world.append_as_leader(),
    }
}

/// Opens the log until that ends without dying, and compares.
pub fn recover(world: &mut World, loss: Loss) {
    world.tell(format!("crash that loses {loss:?}"));
    world.crash(loss);
    let kept_by_kafka = world.kept_by_kafka();
    world.open().unwrap();
    world.tell("opened");
    world.check_recovered();
    world.check_files(&kept_by_kafka);
    world.tell("recovered");
}

/// A start and some steps.
pub fn workload(world: &mut World, steps: u32) -> Result<(), Failure> {
    world.open()?;
    (0..steps).try_for_each(|_| step(world))
}

/// Whether the machine died before the workload was over.
fn run(seed: u64, changes: u64) -> bool {
    let mut world = World::new(seed);
    world.disk.die_after(changes);
    let died = workload(&mut world, 30);
    assert!(died.is_ok() || world.disk.is_dead(), "{}", died.unwrap_err());
    recover(&mut world, LOSSES[(changes % 4) as usize]);
    let facts = world.facts();
    recover(&mut world, Loss::Process);
    assert_eq!(world.facts(), facts, "a second start finds what the first one found");
    for _ in 0..4 {
        world.append_as_leader().unwrap();
    }
    world.sync(|_| Ok(())).unwrap();
    world.check();
    recover(&mut world, Loss::Whole);
    died.is_err()
}

#[test]
fn crash_at_every_change_loses_nothing_that_was_synced() {
    if let Some((seed, changes)) = crate::simulation::replayed_crash() {
        run(seed, changes);
        return;
    }
    if crate::simulation::is_replay() {
        return;
    }
    for seed in 0..12 {
        let mut changes = 0;
        while named(&format!("THALWEG_CRASH={seed}:{changes}"), || run(seed, changes)) {
            changes += 1;
        }
        assert!(changes > 30, "a workload makes changes");
    }
}
