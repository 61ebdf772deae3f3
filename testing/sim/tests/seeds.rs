//! Runs from many seeds; a part of them per test, so that they share the cores.
//!
//! `cargo xtask sim --seeds N` runs more, `--seed S` one.

use std::collections::BTreeSet;

use sim::{Happening, run};

/// What a build runs.
const SEEDS: u64 = 200;
const SHARES: usize = 4;

/// Also that nothing which can go wrong is left out.
fn share(number: u64) {
    let mut happened = BTreeSet::new();
    for seed in (number..SEEDS).step_by(SHARES) {
        match run(seed, None) {
            Ok(outcome) => happened.extend(outcome.happened.into_keys()),
            Err(failure) => panic!("{failure}"),
        }
    }
    assert!(happened.iter().eq(&Happening::ALL), "only {happened:?} happened");
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
