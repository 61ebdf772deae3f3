//! Each known bug, planted, is found within the seeds that a build runs, and the failing seed fails
//! in the same way again.

use sim::{Bug, run};

/// As many as a build runs without a bug.
const SEEDS: u64 = 200;

fn is_found(bug: Bug) {
    let failure = (0..SEEDS).find_map(|seed| run(seed, Some(bug)).err());
    let failure = failure.unwrap_or_else(|| panic!("{bug:?} is not found"));
    println!("{bug:?}: seed {}, {}", failure.seed, failure.what);
    let again = run(failure.seed, Some(bug)).expect_err("it failed before");
    assert_eq!((&again.what, again.hash), (&failure.what, failure.hash), "{bug:?}");
}

#[test]
fn planted_bugs_are_found() {
    let only = std::env::var("BUG").ok();
    for bug in Bug::ALL {
        if only.as_ref().is_none_or(|only| *only == format!("{bug:?}")) {
            is_found(bug);
        }
    }
}
