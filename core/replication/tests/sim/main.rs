//! Replicated partitions in one thread, with virtual time, under loss, delay, partitions, pauses,
//! elections and crashes that lose what was not synced.
//!
//! Leader, follower, fetcher and fetch sessions are the real ones; the controller and the logs are
//! models. A seed gives a run. `REPLICATION_SEEDS=N` runs so many, `REPLICATION_SEED=S` that one.

mod controller;
mod history;
mod node;
#[path = "../support/mod.rs"]
mod support;
mod world;

use world::World;

const SEEDS: u64 = 200;

fn seeds() -> Vec<u64> {
    let number = |name| std::env::var_os(name).and_then(|text| text.to_str()?.parse().ok());
    match number("REPLICATION_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("REPLICATION_SEEDS").unwrap_or(SEEDS)).collect(),
    }
}

/// Runs one seed and names it where it fails.
fn each_seed(run: impl Fn(u64) + std::panic::RefUnwindSafe) {
    for seed in seeds() {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("REPLICATION_SEED={seed} fails");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn what_is_acknowledged_stays_and_replicas_agree() {
    each_seed(|seed| {
        let min_isr = [2, 1, 2, 3][usize::try_from(seed % 4).expect("it is small")];
        // Each fifth seed counts what is written; its crashes are the process's alone.
        let mut world = World::new(seed, min_isr, !seed.is_multiple_of(5));
        world.run_with_faults(15_000);
        world.heal();
        world.run(3_000);
        world.check_settled();
        assert!(world.acknowledged() > 0, "nothing was acknowledged at all");
    });
}
