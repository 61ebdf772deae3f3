//! Quorums in one thread, with virtual time, under loss, delay, partitions, pauses and crashes that
//! lose what was not synced; voters come and go, logs are replaced by snapshots.
//!
//! A seed gives a run. `RAFT_SEEDS=N` runs so many, `RAFT_SEED=S` that one alone.

mod node;
mod world;

use world::World;

/// Seeds of the run with faults; the quiet ones need fewer.
const SEEDS: u64 = 100;
const QUIET_SEEDS: u64 = 10;

fn seeds(default: u64) -> Vec<u64> {
    let number = |name| std::env::var_os(name).and_then(|text| text.to_str()?.parse().ok());
    match number("RAFT_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("RAFT_SEEDS").unwrap_or(default)).collect(),
    }
}

/// Runs one seed and names it where it fails.
fn each_seed(default: u64, run: impl Fn(u64) + std::panic::RefUnwindSafe) {
    for seed in seeds(default) {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("RAFT_SEED={seed} fails");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn what_is_committed_stays_and_epochs_have_one_leader() {
    each_seed(SEEDS, |seed| {
        let voters = [1, 3, 3, 4, 5][node::index((seed % 5).cast_signed())];
        let mut world = World::new(seed, voters, 2);
        world.run_with_faults(30_000);
        world.heal();
        world.run(15_000);
        world.check_settled();
    });
}

#[test]
fn a_quiet_quorum_keeps_its_leader() {
    each_seed(QUIET_SEEDS, |seed| {
        let mut world = World::new(seed, 3, 1);
        world.run(10_000);
        let (leader, epoch) = world.leader().expect("somebody leads");
        world.run(60_000);
        assert_eq!(world.leader(), Some((leader, epoch)));
    });
}

/// KIP-996: who was cut off and comes back asks first, and disturbs nobody.
#[test]
fn a_voter_that_was_cut_off_does_not_end_the_epoch() {
    each_seed(QUIET_SEEDS, |seed| {
        let mut world = World::new(seed, 3, 0);
        world.run(10_000);
        let before = world.leader().expect("somebody leads");
        let other = (0..3).find(|at| *at != before.0).expect("there are three");
        world.cut_off(other);
        world.run(20_000);
        world.heal();
        world.run(10_000);
        assert_eq!(world.leader(), Some(before));
    });
}

/// Who asks whether it would be elected hears of the old leader with every answer, and must not
/// go back to it for that. And the old leader, from which nobody fetches, gives up.
#[test]
fn a_leader_that_is_lost_is_followed() {
    each_seed(QUIET_SEEDS, |seed| {
        let mut world = World::new(seed, 3, 0);
        world.run(10_000);
        let before = world.leader().expect("somebody leads");
        world.cut_off(before.0);
        world.run(20_000);
        let after = world.leader().expect("somebody leads again");
        assert!(after.0 != before.0 && after.1 > before.1, "{before:?} {after:?}");
        assert!(!world.leads(before.0), "two lead, if in two epochs");
    });
}

#[test]
fn a_leader_that_steps_down_is_followed_soon() {
    each_seed(QUIET_SEEDS, |seed| {
        let mut world = World::new(seed, 3, 0);
        world.run(10_000);
        let before = world.leader().expect("somebody leads");
        world.step_down(before.0);
        world.run(2_000);
        let after = world.leader().expect("somebody leads again");
        assert!(after.0 != before.0 && after.1 > before.1, "{before:?} {after:?}");
    });
}
