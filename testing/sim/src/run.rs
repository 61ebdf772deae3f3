//! One run from one seed: first all goes well, then much goes wrong, then all has to come to rest.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use types::Millis;

use crate::bug::Bug;
use crate::faults::PAUSE_MAX;
use crate::happening::Happening;
use crate::trace::Trace;
use crate::world::World;

/// How long all goes well at first, and then much wrong.
const QUIET_MS: i64 = 3000;
const FAULTS_MS: i64 = 15_000;
/// How long it may take after that until all is at rest.
const REST_MAX: Millis = Millis(40_000);

/// What a run that went well has done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// The same for two runs only if every event was.
    pub hash: u64,
    /// Messages that arrived.
    pub events: u64,
    /// Batches whose producers were told that they are committed.
    pub acknowledged: usize,
    /// How often what went wrong.
    pub happened: BTreeMap<Happening, u64>,
}

/// A run that broke a promise, or did not come to rest.
#[derive(Debug)]
pub struct Failure {
    /// Its seed, which says it all.
    pub seed: u64,
    /// What does not hold.
    pub what: String,
    /// As for [`Outcome::hash`].
    pub hash: u64,
    /// What happened last, a line each.
    pub last: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.last {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "seed {} fails: {}", self.seed, self.what)?;
        write!(f, "again: cargo xtask sim --seed {}", self.seed)
    }
}

/// Runs one seed, with a bug planted or none.
///
/// # Errors
/// [`Failure`] where something that must hold does not.
pub fn run(seed: u64, bug: Option<Bug>) -> Result<Outcome, Box<Failure>> {
    let trace = Trace::new();
    let shared = trace.clone();
    let acknowledged = catch_unwind(AssertUnwindSafe(move || live(seed, bug, shared)));
    let (hash, events) = (trace.hash(), trace.events());
    match acknowledged {
        Ok(acknowledged) => Ok(Outcome { hash, events, acknowledged, happened: trace.happened() }),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| Some((*panic.downcast_ref::<&str>()?).to_owned()));
            let what = text.unwrap_or_else(|| "a panic without words".to_owned());
            Err(Box::new(Failure { seed, what, hash, last: trace.last() }))
        }
    }
}

fn live(seed: u64, bug: Option<Bug>, trace: Trace) -> usize {
    let mut world = World::new(seed, bug, trace);
    let end = world.now + Millis(QUIET_MS);
    while world.step(end) {}
    world.run_with_faults(FAULTS_MS);
    world.heal();
    world.finish();
    // What was on its way to a machine that stood still arrives first.
    let end = world.now + PAUSE_MAX;
    while world.step(end) {}
    let end = world.now + REST_MAX;
    // Whether all is at rest need not be asked after every event.
    loop {
        let until = (world.now + Millis(200)).min(end);
        while world.step(until) {}
        world.mend();
        let Some(unrest) = world.unrest() else { break };
        assert!(world.now < end, "no rest: {unrest}{}", world.roles());
    }
    world.check_settled();
    world.check_stays();
    world.history.acknowledged()
}
