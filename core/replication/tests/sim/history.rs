//! What has been promised to whom, and whether it holds.

use std::collections::BTreeMap;

use types::{LeaderEpoch, Offset};

use crate::support::{Entry, Log, index};

/// All that was seen of a partition, by anybody.
#[derive(Default)]
pub struct History {
    /// What some replica has served as committed, by offset.
    pub committed: Vec<Entry>,
    /// Values whose producers were told that they are committed, and where.
    pub acknowledged: Vec<(Offset, u32)>,
    /// Who led: broker and process.
    leaders: BTreeMap<LeaderEpoch, (usize, i64)>,
}

impl History {
    /// A process begins to lead: nobody else leads in that epoch, and nothing committed is missing.
    pub fn leads(&mut self, epoch: LeaderEpoch, who: (usize, i64), log: &Log) {
        let begins = self.leaders.keys().next_back().is_none_or(|latest| *latest < epoch);
        let first = *self.leaders.entry(epoch).or_insert(who);
        assert_eq!(first, who, "two leaders in epoch {epoch}");
        // One that has not heard that it leads no more may lack what others committed since.
        let lacks_some = || !log.entries.starts_with(&self.committed);
        assert!(!(begins && lacks_some()), "leader {who:?} of {epoch} lacks what is committed");
    }

    /// A replica moves its high watermark, so that its readers see more.
    pub fn serves(&mut self, who: usize, log: &Log, (from, to): (Offset, Offset)) {
        assert!(from <= to, "high watermark of {who} goes back from {from} to {to}");
        for at in index(from)..index(to) {
            let entry =
                log.entries.get(at).unwrap_or_else(|| panic!("{who} serves {at}, not there"));
            match self.committed.get(at) {
                Some(known) => assert_eq!(entry, known, "{who} serves another value at {at}"),
                None => self.committed.push(*entry),
            }
        }
    }

    /// A producer is told that its value is at `at`; `logs` are all replicas', as on their disks or
    /// as written, by durability.
    pub fn acknowledges(&mut self, at: Offset, value: u32, logs: &[(&Log, usize)], min_isr: usize) {
        let copies = logs
            .iter()
            .filter(|(log, counted)| index(at) < *counted && log.entries[index(at)].value == value);
        assert!(copies.count() >= min_isr, "{value} at {at} is acknowledged on too few replicas");
        assert_eq!(self.committed.get(index(at)).map(|entry| entry.value), Some(value));
        self.acknowledged.push((at, value));
    }

    /// Everything acknowledged is where it was, in a log that all agree on.
    pub fn check_settled(&self, logs: &[&Log]) {
        for log in logs {
            assert!(log.entries == logs[0].entries, "replicas differ");
        }
        let all = &logs[0].entries;
        assert!(all.starts_with(&self.committed), "committed records changed");
        for (at, value) in &self.acknowledged {
            assert_eq!(all[index(*at)].value, *value, "acknowledged record lost at {at}");
        }
    }
}

/// Two logs with a record of the same epoch at the same offset are the same up to there.
pub fn check_matching(logs: &[&Log]) {
    for (at, one) in logs.iter().enumerate() {
        for other in &logs[at + 1..] {
            let common = one.entries.len().min(other.entries.len());
            let last = (0..common).rev().find(|&i| one.entries[i].epoch == other.entries[i].epoch);
            let same = last.map_or(0, |last| last + 1);
            assert!(one.entries[..same] == other.entries[..same], "logs do not match");
        }
    }
}
