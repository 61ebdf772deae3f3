//! What must be true of everything that was seen while a cluster failed and recovered.
//!
//! `verdict` judges one log against what was acknowledged; here is what takes a cluster to break:
//! leaders, epochs, ends that readers saw. Judges values only, so planted histories can show that it
//! finds what it is there for.

use std::collections::BTreeMap;
use std::fmt;

/// Something that was seen of one partition, in the order in which it was seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Seen {
    /// A node said who leads.
    Lead { epoch: i32, leader: u8 },
    /// A reader was told by the leader of this epoch how far it may read.
    End { epoch: i32, end: i64 },
    /// An acknowledgement of all replicas that came before the sights behind it: the log was this
    /// long at least.
    Acknowledged { epoch: i32, end: i64 },
    /// A leader said that what was read before is not there.
    OutOfRange { offset: i64 },
    /// A batch in the log, in the order of offsets.
    Batch { offset: i64, epoch: i32 },
}

/// A broken promise.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Breach {
    /// An epoch has one leader, who is the only one to take writes in it.
    TwoLeaders { epoch: i32, leaders: (u8, u8) },
    /// What may be read never becomes less, within an epoch or from one to a later one.
    EndWentBack { epoch: i32, before: i64, now: i64 },
    /// A record was read, and later there was no such offset.
    ReadAndGone { offset: i64 },
    /// A leader showed less than what was acknowledged in its own epoch: it reads stale.
    StaleRead { epoch: i32, acknowledged: i64, end: i64 },
    /// Epochs rise along the log; else two histories are woven into one.
    EpochWentBack { offset: i64, before: i32, now: i32 },
}

impl fmt::Display for Breach {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, out)
    }
}

/// Judges what was seen of one partition.
pub fn judge(seen: &[Seen]) -> Vec<Breach> {
    let mut judge = Judge::default();
    for sight in seen {
        judge.see(*sight);
    }
    judge.breaches
}

#[derive(Default)]
struct Judge {
    leaders: BTreeMap<i32, u8>,
    /// The greatest end by the epoch in which it was shown or acknowledged.
    shown: BTreeMap<i32, i64>,
    acknowledged: BTreeMap<i32, i64>,
    last_batch: Option<i32>,
    breaches: Vec<Breach>,
}

impl Judge {
    fn see(&mut self, sight: Seen) {
        match sight {
            Seen::Lead { epoch, leader } => self.see_lead(epoch, leader),
            Seen::End { epoch, end } => self.see_end(epoch, end),
            Seen::Acknowledged { epoch, end } => raise(&mut self.acknowledged, epoch, end),
            Seen::OutOfRange { offset } => self.breaches.push(Breach::ReadAndGone { offset }),
            Seen::Batch { offset, epoch } => self.see_batch(offset, epoch),
        }
    }

    fn see_lead(&mut self, epoch: i32, leader: u8) {
        let known = *self.leaders.entry(epoch).or_insert(leader);
        if known != leader {
            self.breaches.push(Breach::TwoLeaders { epoch, leaders: (known, leader) });
        }
    }

    /// A leader that was deposed and does not know it may still show the end of its time, which
    /// is why later epochs do not count against it.
    fn see_end(&mut self, epoch: i32, end: i64) {
        let before = self.shown.range(..=epoch).map(|(_, &end)| end).max();
        let acknowledged = self.acknowledged.get(&epoch).copied();
        if let Some(before) = before.filter(|&before| before > end) {
            self.breaches.push(Breach::EndWentBack { epoch, before, now: end });
        } else if let Some(acknowledged) = acknowledged.filter(|&least| least > end) {
            self.breaches.push(Breach::StaleRead { epoch, acknowledged, end });
        }
        raise(&mut self.shown, epoch, end);
    }

    fn see_batch(&mut self, offset: i64, epoch: i32) {
        if let Some(before) = self.last_batch.filter(|&before| before > epoch) {
            self.breaches.push(Breach::EpochWentBack { offset, before, now: epoch });
        }
        self.last_batch = Some(epoch);
    }
}

fn raise(ends: &mut BTreeMap<i32, i64>, epoch: i32, end: i64) {
    let known = ends.entry(epoch).or_insert(end);
    *known = end.max(*known);
}

#[cfg(test)]
mod tests {
    use super::Seen::{Acknowledged, Batch, End, Lead, OutOfRange};
    use super::*;

    #[test]
    fn a_failover_is_no_breach() {
        let seen = [
            Lead { epoch: 0, leader: 1 },
            Acknowledged { epoch: 0, end: 10 },
            End { epoch: 0, end: 10 },
            Lead { epoch: 1, leader: 2 },
            End { epoch: 1, end: 12 },
            // The old leader was paused and wakes up.
            Lead { epoch: 0, leader: 1 },
            End { epoch: 0, end: 10 },
            Batch { offset: 0, epoch: 0 },
            Batch { offset: 10, epoch: 1 },
        ];
        assert_eq!(judge(&seen), []);
    }

    #[test]
    fn planted_breaches_are_found() {
        let cases = [
            (
                "two leaders of one epoch",
                vec![Lead { epoch: 3, leader: 1 }, Lead { epoch: 3, leader: 2 }],
                Breach::TwoLeaders { epoch: 3, leaders: (1, 2) },
            ),
            (
                "the end goes back within an epoch",
                vec![End { epoch: 3, end: 9 }, End { epoch: 3, end: 8 }],
                Breach::EndWentBack { epoch: 3, before: 9, now: 8 },
            ),
            (
                "a new leader has less than the old one showed",
                vec![End { epoch: 3, end: 9 }, End { epoch: 4, end: 8 }],
                Breach::EndWentBack { epoch: 4, before: 9, now: 8 },
            ),
            (
                "a read after an acknowledgement does not see it",
                vec![Acknowledged { epoch: 3, end: 9 }, End { epoch: 3, end: 8 }],
                Breach::StaleRead { epoch: 3, acknowledged: 9, end: 8 },
            ),
            (
                "what was read is gone",
                vec![OutOfRange { offset: 7 }],
                Breach::ReadAndGone { offset: 7 },
            ),
            (
                "an older epoch behind a newer one in the log",
                vec![Batch { offset: 0, epoch: 2 }, Batch { offset: 5, epoch: 1 }],
                Breach::EpochWentBack { offset: 5, before: 2, now: 1 },
            ),
        ];
        for (name, seen, expected) in cases {
            assert_eq!(judge(&seen), [expected], "{name}");
        }
    }
}
