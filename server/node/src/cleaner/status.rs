//! What metrics show of compaction.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::CompactionTally;
use types::Millis;

/// One log's compaction that has ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct PassFacts {
    /// What was done.
    pub tally: CompactionTally,
    /// How long it took.
    pub took: Duration,
}

/// What the cleaner has found and done.
#[derive(Clone, Debug, Default)]
pub struct CleanerFacts {
    /// The dirty share of the dirtiest log, from 0 to 1.
    pub dirty_ratio_max: f64,
    /// For how much longer than `max.compaction.lag.ms` some record waits.
    pub delay_max: Millis,
    /// When the cleaner looked last what is to be done.
    pub looked_at: Option<Instant>,
    /// The last compactions, as many as run at once.
    pub passes: VecDeque<PassFacts>,
    /// Compactions that have panicked.
    pub panics: u32,
}

impl CleanerFacts {
    /// Bytes written for 100 bytes read.
    pub fn recopy_percent(&self) -> f64 {
        let sum = |pick: fn(&CompactionTally) -> u64| -> u64 {
            self.passes.iter().map(|pass| pick(&pass.tally)).sum()
        };
        let read = sum(|tally| tally.bytes_read).max(1);
        100.0 * sum(|tally| tally.bytes_written) as f64 / read as f64
    }

    /// The largest of what the last compactions say.
    pub fn max_of(&self, pick: impl Fn(&PassFacts) -> f64) -> f64 {
        self.passes.iter().map(pick).fold(0.0, f64::max)
    }
}

/// The facts, where the cleaner leaves them and a scrape finds them.
#[derive(Debug, Default)]
pub struct CleanerStatus(Mutex<CleanerFacts>);

impl CleanerStatus {
    /// A copy.
    pub fn facts(&self) -> CleanerFacts {
        self.lock().clone()
    }

    /// Notes what a look at all logs has found.
    pub fn note_look(&self, dirty_ratio_max: f64, delay_max: Millis) {
        let mut facts = self.lock();
        facts.looked_at = Some(Instant::now());
        (facts.dirty_ratio_max, facts.delay_max) = (dirty_ratio_max, delay_max);
    }

    /// Notes the end of a compaction, one of `threads` that may run at once.
    pub fn note_pass(&self, pass: PassFacts, threads: usize) {
        let mut facts = self.lock();
        facts.passes.push_back(pass);
        while facts.passes.len() > threads.max(1) {
            facts.passes.pop_front();
        }
    }

    /// Notes a compaction that panicked.
    pub fn note_panic(&self) {
        self.lock().panics += 1;
    }

    fn lock(&self) -> MutexGuard<'_, CleanerFacts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_compactions_count_and_no_older_ones() {
        let status = CleanerStatus::default();
        for (bytes_read, bytes_written) in [(9, 9), (100, 20), (300, 40)] {
            let tally = CompactionTally { bytes_read, bytes_written, ..Default::default() };
            let took = Duration::from_secs(bytes_read);
            status.note_pass(PassFacts { tally, took }, 2);
        }
        let facts = status.facts();
        assert_eq!((facts.passes.len(), facts.recopy_percent()), (2, 15.0));
        assert_eq!(facts.max_of(|pass| pass.took.as_secs_f64()), 300.0);
    }
}
