//! A log against its model, under random operations and crashes, for many seeds.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use thalweg_log::Loss;

use crate::crash_points::{recover, step};
use crate::world::World;

/// What a build runs; the tests below share them.
const SEEDS: u64 = 1000;
/// Batches of these have tens of KiB.
const SEEDS_WITH_ZEROS: u64 = 30;
const STEPS: u32 = 60;

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Whether one run is to be looked at.
pub fn is_replay() -> bool {
    variable("THALWEG_SEED").or(variable("THALWEG_CRASH")).is_some()
}

/// Seed and number of changes of the one crash that is to be run.
pub fn replayed_crash() -> Option<(u64, u64)> {
    let text = variable("THALWEG_CRASH")?;
    let (seed, changes) = text.split_once(':').unwrap();
    Some((seed.parse().unwrap(), changes.parse().unwrap()))
}

/// Says how to run again what failed.
pub fn named<T>(name: &str, run: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        eprintln!("run it again with {name}");
        resume_unwind(panic)
    })
}

/// A few lives of one log.
fn simulate(mut world: World) {
    world.open().unwrap();
    for at in 0..STEPS {
        if !world.disk.is_dead() && world.rng.below(10) == 0 {
            let changes = u64::from(world.rng.below(25));
            world.disk.die_after(changes);
        }
        let stepped = step(&mut world);
        let dies = world.disk.is_dead();
        assert!(stepped.is_ok() || dies, "step {at}: {}", stepped.unwrap_err());
        if dies || world.rng.below(25) == 0 {
            let losses = [Loss::Process, Loss::Whole, Loss::Sectors, Loss::Pages];
            let loss = losses[world.rng.below(4) as usize];
            // The next start may die, too.
            if world.rng.below(4) == 0 {
                world.crash(loss);
                let changes = u64::from(world.rng.below(12));
                world.disk.die_after(changes);
                let opened = world.open();
                assert!(opened.is_ok() || world.disk.is_dead(), "{}", opened.unwrap_err());
            }
            recover(&mut world, loss);
        } else if world.rng.below(6) == 0 && world.log().flush_writes().is_ok() {
            world.check();
        }
    }
}

fn seeds(share: u64) {
    if replayed_crash().is_some() {
        return;
    }
    let set = |name| variable(name).map(|text| text.parse::<u64>().unwrap());
    if let Some(seed) = set("THALWEG_SEED") {
        if seed % 4 == share {
            simulate(World::new(seed));
        }
        return;
    }
    for seed in (share..set("THALWEG_SEEDS").unwrap_or(SEEDS)).step_by(4) {
        named(&format!("THALWEG_SEED={seed}"), || simulate(World::new(seed)));
    }
}

#[test]
fn log_agrees_with_its_model_first_share() {
    seeds(0);
}

#[test]
fn log_agrees_with_its_model_second_share() {
    seeds(1);
}

#[test]
fn log_agrees_with_its_model_third_share() {
    seeds(2);
}

#[test]
fn log_agrees_with_its_model_last_share() {
    seeds(3);
}

#[test]
fn log_with_zeros_ahead_agrees_with_its_model() {
    if is_replay() {
        return;
    }
    for seed in 0..SEEDS_WITH_ZEROS {
        named(&format!("seed {seed}"), || simulate(World::with_zeros(seed)));
    }
}
