//! Runs from many seeds; a part of them per test, so that they share the cores.
//!
//! `cargo xtask sim --seeds N` runs more, `--seed S` one.

use sim::run;

/// What a build runs.
const SEEDS: u64 = 200;
const SHARES: usize = 4;

fn share(number: u64) {
    for seed in (number..SEEDS).step_by(SHARES) {
        if let Err(failure) = run(seed, None) {
            panic!("{failure}");
        }
    }
}

#[test]
fn promises_hold_first_share() {
    share(0);
}

#[test]
fn promises_hold_second_share() {
    share(1);
}

#[test]
fn promises_hold_third_share() {
    share(2);
}

#[test]
fn promises_hold_last_share() {
    share(3);
}

#[test]
fn a_seed_gives_the_same_run_again() {
    for seed in [7, 8] {
        assert_eq!(run(seed, None).unwrap(), run(seed, None).unwrap(), "seed {seed}");
    }
    assert_ne!(run(7, None).unwrap().hash, run(8, None).unwrap().hash);
}
