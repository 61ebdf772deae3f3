//! Calls to one disk that are under way, and whether it hangs: whether one of them takes too long.
//!
//! A disk that hangs neither works nor fails, and whoever called it waits, in the kernel, where
//! nothing can end that. So each call that may wait for a disk is noted before.
//!
//! Not here: what follows from it (`hung_disks`).

use std::sync::{Mutex, MutexGuard, PoisonError};

use types::Millis;

use crate::clock;

/// The calls to the disk of one directory.
#[derive(Debug, Default)]
pub struct DiskCalls(Mutex<UnderWay>);

#[derive(Debug, Default)]
struct UnderWay {
    /// Their numbers, and when they began.
    calls: Vec<(u64, Millis)>,
    last_number: u64,
    hung_since: Option<Millis>,
}

/// A call that is under way, until it is dropped.
#[derive(Debug)]
pub struct Call<'a> {
    calls: &'a DiskCalls,
    number: u64,
}

/// What a look has found that was not so before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum News {
    /// The disk hangs: a call has been under way for so long.
    Hangs(Millis),
    /// It answers again, so long after the call began that took too long.
    Answers(Millis),
}

impl DiskCalls {
    /// A call begins.
    pub fn begin(&self) -> Call<'_> {
        self.begin_at(clock::monotonic())
    }

    fn begin_at(&self, now: Millis) -> Call<'_> {
        let mut under_way = self.lock();
        under_way.last_number += 1;
        let number = under_way.last_number;
        under_way.calls.push((number, now));
        Call { calls: self, number }
    }

    /// Whether the last look found that the disk hangs.
    pub fn is_hung(&self) -> bool {
        self.lock().hung_since.is_some()
    }

    /// Finds out whether the disk hangs: whether a call takes `hung_after` or longer.
    pub fn look(&self, now: Millis, hung_after: Millis) -> Option<News> {
        let mut under_way = self.lock();
        let oldest = under_way.calls.iter().map(|(_, begun)| *begun).min();
        let hung_since = oldest.filter(|begun| now - *begun >= hung_after);
        match (under_way.hung_since, hung_since) {
            (None, Some(since)) => {
                under_way.hung_since = Some(since);
                Some(News::Hangs(now - since))
            }
            (Some(since), None) => {
                under_way.hung_since = None;
                Some(News::Answers(now - since))
            }
            (None, None) | (Some(_), Some(_)) => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        // Each change is one step; a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.calls.lock().calls.retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Millis = Millis(5000);

    #[test]
    fn a_disk_hangs_while_one_call_takes_too_long() {
        let calls = DiskCalls::default();
        let look = |now| (calls.look(Millis(now), BOUND), calls.is_hung());
        assert_eq!(look(9_000_000), (None, false), "nobody calls");
        let slow = calls.begin_at(Millis(1000));
        let quick = calls.begin_at(Millis(3000));
        drop(quick);
        assert_eq!(look(5999), (None, false));
        assert_eq!(look(6000), (Some(News::Hangs(BOUND)), true));
        let second = calls.begin_at(Millis(2000));
        assert_eq!(look(8000), (None, true), "it is said once");
        drop(slow);
        assert_eq!(look(9000), (None, true), "another one hangs, too");
        drop(second);
        let _next = calls.begin_at(Millis(9000));
        assert_eq!(look(9500), (Some(News::Answers(Millis(8500))), false));
        assert_eq!(look(14_000), (Some(News::Hangs(BOUND)), true), "again");
    }
}
